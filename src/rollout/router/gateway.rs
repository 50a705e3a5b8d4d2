//! Gateway API: weights of an `HTTPRoute`'s backends.
//!
//! A backend's share is its weight divided by the sum of the rule's, 1 where none is written; filters of a backend go
//! along with it. Source: gateway-api, `apis/v1/shared_types.go`, `BackendRef.Weight`.

use super::canary_name;
use serde_json::{Value, json};

pub(super) fn leads(route: &Value, services: &[String]) -> bool {
    let rules = route["spec"]["rules"].as_array().into_iter().flatten();
    let mut backends = rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten());
    let namespace = &route["metadata"]["namespace"];
    backends.any(|backend| is_ours(backend, namespace, services))
}

pub(super) fn weigh(route: &Value, services: &[String], percent: u8) -> Value {
    let mut route = route.clone();
    let namespace = route["metadata"]["namespace"].clone();
    for rule in route["spec"]["rules"].as_array_mut().into_iter().flatten() {
        let Some(backends) = rule["backendRefs"].as_array() else { continue };
        if !backends.iter().any(|backend| is_ours(backend, &namespace, services)) {
            continue;
        }
        let alone = backends.len() == 1;
        let divided = backends.iter().flat_map(|backend| {
            let weight = if alone { 1 } else { backend["weight"].as_u64().unwrap_or(1) };
            let at = |weight: u64| {
                let mut backend = backend.clone();
                backend["weight"] = json!(weight);
                backend
            };
            if !is_ours(backend, &namespace, services) {
                return vec![at(weight * 100)];
            }
            let mut canary = at(weight * u64::from(percent));
            canary["name"] = json!(canary_name(backend["name"].as_str().unwrap_or_default()));
            vec![at(weight * u64::from(100 - percent)), canary]
        });
        rule["backendRefs"] = Value::Array(divided.collect());
    }
    route
}

/// Whether a backend is one of the Services, in the route's own namespace.
fn is_ours(backend: &Value, namespace: &Value, services: &[String]) -> bool {
    let other = backend.get("namespace").is_some_and(|other| other != namespace);
    let kind = backend.get("kind").is_none_or(|kind| kind == "Service");
    !other && kind && services.iter().any(|service| backend["name"] == service.as_str())
}
