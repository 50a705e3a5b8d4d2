//! Istio: weights of a `VirtualService`'s destinations, which sum to what they summed to before (100).
//!
//! A destination may name a subset; that of stable is kept. The canary's is left out: the canary Service leads to one
//! revision already. Source: istio/api, `networking/v1/virtual_service.proto`, `HTTPRouteDestination.weight`.

use super::{canary_name, divide};
use serde_json::{Value, json};

const PROTOCOLS: [&str; 3] = ["http", "tls", "tcp"];

pub(super) fn leads(service: &Value, services: &[String]) -> bool {
    let namespace = service["metadata"]["namespace"].as_str().unwrap_or_default();
    let routes =
        PROTOCOLS.iter().flat_map(|protocol| service["spec"][protocol].as_array().into_iter().flatten());
    let mut targets = routes.flat_map(|route| route["route"].as_array().into_iter().flatten());
    targets.any(|target| canary_of(target, namespace, services).is_some())
}

pub(super) fn weigh(service: &Value, services: &[String], percent: u8) -> Value {
    let mut service = service.clone();
    let namespace = service["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    for protocol in PROTOCOLS {
        let Some(routes) = service["spec"].get_mut(protocol).and_then(Value::as_array_mut) else { continue };
        for route in routes {
            let Some(targets) = route["route"].as_array() else { continue };
            let alone = targets.len() == 1;
            let divided = targets.iter().flat_map(|target| {
                let Some(mut canary) = canary_of(target, &namespace, services) else {
                    return vec![target.clone()];
                };
                let whole = if alone { 100 } else { target["weight"].as_u64().unwrap_or(0) };
                let (stays, goes) = divide(whole, percent);
                let mut stable = target.clone();
                stable["weight"] = json!(stays);
                canary["weight"] = json!(goes);
                vec![stable, canary]
            });
            route["route"] = Value::Array(divided.collect());
        }
    }
    service
}

/// The destination for the revision under test beside one that leads to a Service of ours.
fn canary_of(target: &Value, namespace: &str, services: &[String]) -> Option<Value> {
    let host = canary_host(target["destination"]["host"].as_str()?, namespace, services)?;
    let mut canary = target.clone();
    canary["destination"]["host"] = json!(host);
    canary["destination"].as_object_mut().map(|destination| destination.remove("subset"));
    Some(canary)
}

/// The canary's host for one of the Services': `api`, `api.shop`, `api.shop.svc.cluster.local`.
pub(super) fn canary_host(host: &str, namespace: &str, services: &[String]) -> Option<String> {
    let (name, rest) = host.split_once('.').map_or((host, None), |(name, rest)| (name, Some(rest)));
    let here = rest.is_none_or(|rest| rest.split('.').next() == Some(namespace));
    let ours = here && services.iter().any(|service| service == name);
    ours.then(|| match rest {
        None => canary_name(name),
        Some(rest) => format!("{}.{rest}", canary_name(name)),
    })
}
