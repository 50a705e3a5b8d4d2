//! Field by field: what a desired object would change in the live one.
//!
//! Only fields that the desired object names (or the previous release named and this one dropped) count;
//! what the server defaulted or others own is none of our business.

use super::FieldChange;
use serde_json::{Map, Value};

/// Differences between what is wanted and what is there. `previous` is the manifest of the release before, whose
/// dropped fields are removals.
#[must_use]
pub fn fields(desired: &Value, live: &Value, previous: Option<&Value>) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare("", desired, Some(live), &mut changes);
    if let Some(previous) = previous {
        dropped("", previous, desired, live, &mut changes);
    }
    changes
}

fn compare(path: &str, desired: &Value, live: Option<&Value>, changes: &mut Vec<FieldChange>) {
    match (desired, live) {
        (Value::Object(want), Some(Value::Object(have))) => {
            for (key, value) in want {
                if skipped(path, key) {
                    continue;
                }
                compare(&join(path, key), value, have.get(key), changes);
            }
        }
        (Value::Array(want), Some(Value::Array(have))) if list_key(want).is_some() => {
            let key = list_key(want).unwrap_or("name");
            for item in want {
                let id = item.get(key);
                let at = format!("{path}[{key}={}]", id.map_or_else(String::new, plain));
                compare(&at, item, have.iter().find(|other| other.get(key) == id), changes);
            }
        }
        (Value::Array(want), Some(Value::Array(have))) if want.len() == have.len() => {
            for (index, (item, other)) in want.iter().zip(have).enumerate() {
                compare(&format!("{path}[{index}]"), item, Some(other), changes);
            }
        }
        (want, Some(have)) if same(want, have) => {}
        (Value::Object(want), None) if want.is_empty() => {}
        (Value::Array(want), None) if want.is_empty() => {}
        (Value::Null, None) => {}
        (want, have) => {
            changes.push(FieldChange { path: path.to_owned(), from: have.cloned(), to: Some(want.clone()) });
        }
    }
}

/// Fields of the previous manifest that the new one leaves out and that are still live.
fn dropped(path: &str, previous: &Value, desired: &Value, live: &Value, changes: &mut Vec<FieldChange>) {
    match (previous, desired, live) {
        (Value::Object(old), Value::Object(want), Value::Object(have)) => {
            for (key, value) in old {
                if skipped(path, key) {
                    continue;
                }
                let at = join(path, key);
                match (want.get(key), have.get(key)) {
                    (Some(next), Some(now)) => dropped(&at, value, next, now, changes),
                    (None, Some(now)) => {
                        changes.push(FieldChange { path: at, from: Some(now.clone()), to: None });
                    }
                    _ => {}
                }
            }
        }
        (Value::Array(old), Value::Array(want), Value::Array(have)) => {
            let Some(key) = list_key(old) else { return };
            for item in old {
                let id = item.get(key);
                let find = |list: &[Value]| list.iter().find(|other| other.get(key) == id).cloned();
                let at = format!("{path}[{key}={}]", id.map_or_else(String::new, plain));
                match (find(want), find(have)) {
                    (Some(next), Some(now)) => dropped(&at, item, &next, &now, changes),
                    (None, Some(now)) => changes.push(FieldChange { path: at, from: Some(now), to: None }),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// `spec.replicas` of a workload is owned by whoever scales it; status and server bookkeeping are not ours.
fn skipped(path: &str, key: &str) -> bool {
    match path {
        "" => key == "status",
        "metadata" => {
            matches!(key, "resourceVersion" | "uid" | "generation" | "managedFields" | "creationTimestamp")
        }
        _ => false,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The key that tells the items of an associative list apart, if all have it and it is unique.
fn list_key(items: &[Value]) -> Option<&'static str> {
    ["name", "mountPath", "containerPort", "port", "topologyKey", "type", "host", "ip"].into_iter().find(
        |key| {
            let ids: Vec<_> = items.iter().map(|item| item.get(key)).collect();
            !items.is_empty()
                && ids.iter().all(Option::is_some)
                && ids.iter().enumerate().all(|(i, id)| !ids[..i].contains(id))
        },
    )
}

/// Equal, or two spellings of one quantity (`1000m` and `1`), or a number and its text.
fn same(want: &Value, have: &Value) -> bool {
    if want == have {
        return true;
    }
    match (quantity(want), quantity(have)) {
        (Some(a), Some(b)) => (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs()),
        _ => false,
    }
}

/// A Kubernetes quantity as a number; `None` for other text.
fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text.as_str(),
        _ => return None,
    };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..split].parse().ok()?;
    let factor = match &text[split..] {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(number * factor)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A live object without what the server added: fit to be applied again.
#[must_use]
pub fn without_server_fields(live: &Value) -> Value {
    let mut object = live.clone();
    if let Some(root) = object.as_object_mut() {
        root.remove("status");
    }
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        for key in ["managedFields", "uid", "resourceVersion", "creationTimestamp", "generation", "selfLink"]
        {
            metadata.remove(key);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            annotations.remove("deployment.kubernetes.io/revision");
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    object
}

/// The object map of a value, created if it is something else.
pub(super) fn object_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object just above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_wanted_is_compared() {
        let live = json!({
            "metadata": {"name": "api", "uid": "1", "labels": {"app": "api", "other": "x"}},
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
                     "resources": {"cpu": "1", "memory": "1Gi"}},
            "status": {"x": 1},
        });
        let cases = [
            (
                json!({"metadata": {"labels": {"app": "api"}}, "spec": {"ports": [{"name": "http", "port": 80}]}}),
                vec![],
            ),
            (json!({"spec": {"resources": {"cpu": "1000m", "memory": "1024Mi"}}}), vec![]),
            (
                json!({"spec": {"ports": [{"name": "http", "port": 8080}]}}),
                vec![FieldChange {
                    path: "spec.ports[name=http].port".into(),
                    from: Some(json!(80)),
                    to: Some(json!(8080)),
                }],
            ),
            (
                json!({"metadata": {"labels": {"tier": "web"}}}),
                vec![FieldChange { path: "metadata.labels.tier".into(), from: None, to: Some(json!("web")) }],
            ),
        ];
        for (desired, expected) in cases {
            assert_eq!(fields(&desired, &live, None), expected, "{desired}");
        }
    }

    #[test]
    fn a_field_that_the_release_before_had_is_removed() {
        let previous = json!({"data": {"A": "1", "B": "2"}});
        let desired = json!({"data": {"A": "1"}});
        let live = json!({"data": {"A": "1", "B": "2", "C": "theirs"}});
        let expected = vec![FieldChange { path: "data.B".into(), from: Some(json!("2")), to: None }];
        assert_eq!(fields(&desired, &live, Some(&previous)), expected);
    }
}
