//! Every recorded exchange, replayed in the state that it was recorded in.

use serde_json::{Value, json};

use super::replay_cases::set_up;
use super::support::{Server, normalise, recorded};

#[tokio::test(start_paused = true)]
async fn every_recorded_exchange_is_answered_alike() {
    let exchanges = recorded("kube_exchanges.jsonl.gz");
    let mut failures = Vec::new();
    for exchange in &exchanges {
        let case = exchange["case"].as_str().expect("a case");
        let mut server = Server::new();
        let request = set_up(&mut server, case, &exchanges);
        let (code, mut body) = server.send(&request).await;
        let mut wanted = exchange["response"]["body"].clone();
        // the body of a watch was recorded as text
        if let Value::String(text) = &wanted
            && let Ok(parsed) = serde_json::from_str::<Value>(text)
        {
            wanted = parsed;
        }
        normalise(&mut body);
        normalise(&mut wanted);
        if case == "table" {
            // the age of the object when it was recorded
            wanted["rows"][0]["cells"][4] = json!("<age>");
            body["rows"][0]["cells"][4] = json!("<age>");
        }
        if u64::from(code) != exchange["response"]["status"].as_u64().expect("a code") {
            failures.push(format!("{case}: answered {code}: {body}"));
        } else if body != wanted {
            failures.push(format!("{case}:{}", difference(&wanted, &body, "")));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), exchanges.len(), failures.join("\n"));
}

/// Where two values differ, one line each.
fn difference(wanted: &Value, found: &Value, path: &str) -> String {
    match (wanted, found) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let null = json!("<absent>");
            let parts = names.into_iter().map(|name| {
                let (a, b) = (a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null));
                difference(a, b, &format!("{path}.{name}"))
            });
            parts.collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let parts = a.iter().zip(b).enumerate();
            parts.map(|(index, (a, b))| difference(a, b, &format!("{path}[{index}]"))).collect()
        }
        _ if wanted == found => String::new(),
        _ => format!("\n    {path}: wanted {wanted}, found {found}"),
    }
}

#[tokio::test(start_paused = true)]
async fn discovery_is_answered_alike() {
    let server = Server::new();
    for exchange in recorded("kube_discovery.jsonl.gz") {
        let (code, body) = server.send(&exchange["request"]).await;
        assert_eq!(code, 200, "{}", exchange["case"]);
        let mut wanted = exchange["response"]["body"].clone();
        // these share their objects with another version or group, or have none, and are not served here
        for list in ["groups", "items"] {
            if wanted.get(list).is_none() {
                continue;
            }
            for group in wanted[list].as_array_mut().into_iter().flatten() {
                if group["name"] == "autoscaling" || group["metadata"]["name"] == "autoscaling" {
                    group["versions"].as_array_mut().expect("versions").retain(|one| one["version"] != "v1");
                }
            }
            if let Some(groups) = wanted[list].as_array_mut() {
                groups.retain(|group| {
                    let name = group["name"].as_str().or(group["metadata"]["name"].as_str());
                    !matches!(name, Some("apiregistration.k8s.io" | "events.k8s.io"))
                });
            }
        }
        assert_eq!(difference(&wanted, &body, ""), "", "{}", exchange["case"]);
    }
}
