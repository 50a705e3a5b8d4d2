//! Gateway API: weights of an `HTTPRoute`'s backends.
//!
//! A backend's share is its weight divided by the sum of the rule's, 1 where none is written; filters of a backend go
//! along with it. Source: gateway-api, `apis/v1/shared_types.go`, `BackendRef.Weight`.

use super::{ALWAYS, canary_name, portions};
use crate::domain::environment::Testers;
use serde_json::{Value, json};

/// Largest weight. Source: gateway-api, `apis/v1/shared_types.go`, `BackendRef.Weight`.
const MOST: u64 = 1_000_000;

pub(super) fn leads(route: &Value, services: &[String]) -> bool {
    let rules = route["spec"]["rules"].as_array().into_iter().flatten();
    let mut backends = rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten());
    let namespace = &route["metadata"]["namespace"];
    backends.any(|backend| is_ours(backend, namespace, services))
}

pub(super) fn ports(route: &Value) -> Vec<(String, Value)> {
    let rules = route["spec"]["rules"].as_array().into_iter().flatten();
    let backends = rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten());
    backends
        .filter_map(|backend| Some((backend["name"].as_str()?.to_owned(), backend["port"].clone())))
        .collect()
}

pub(super) fn weigh(testers: &Testers, route: &Value, services: &[String], percent: u8) -> Value {
    let mut route = route.clone();
    let namespace = route["metadata"]["namespace"].clone();
    let mut rules = Vec::new();
    for rule in route["spec"]["rules"].as_array_mut().into_iter().flatten() {
        rules.extend(rule_of_testers(testers, rule, &namespace, services));
        rules.push(divided(rule, &namespace, services, percent));
    }
    if !rules.is_empty() {
        route["spec"]["rules"] = Value::Array(rules);
    }
    route
}

/// A rule with its backends at a weight.
fn divided(rule: &Value, namespace: &Value, services: &[String], percent: u8) -> Value {
    let mut rule = rule.clone();
    let Some(backends) = rule["backendRefs"].as_array() else { return rule };
    if !backends.iter().any(|backend| is_ours(backend, namespace, services)) {
        return rule;
    }
    let weight = |backend: &Value| backend["weight"].as_u64().unwrap_or(1);
    let weights: Vec<(u64, bool)> =
        backends.iter().map(|backend| (weight(backend), is_ours(backend, namespace, services))).collect();
    let divided = backends.iter().zip(portions(&weights, percent, MOST)).flat_map(|(backend, portion)| {
        let at = |weight: u64| {
            let mut backend = backend.clone();
            backend["weight"] = json!(weight);
            backend
        };
        let canary = portion.goes.map(|goes| {
            let mut canary = at(goes);
            canary["name"] = json!(canary_name(backend["name"].as_str().unwrap_or_default()));
            canary
        });
        std::iter::once(at(portion.stays)).chain(canary)
    });
    rule["backendRefs"] = Value::Array(divided.collect());
    rule
}

/// The same rule for testers: each match with their header, which makes it the more specific one, and the canaries alone
/// behind it. Source: gateway-api, `apis/v1/httproute_types.go`, precedence in `HTTPRouteRule.Matches`.
fn rule_of_testers(testers: &Testers, rule: &Value, namespace: &Value, services: &[String]) -> Option<Value> {
    let header = testers.header.as_ref()?;
    let backends = rule["backendRefs"].as_array()?;
    let canaries = backends.iter().filter(|backend| is_ours(backend, namespace, services)).map(|backend| {
        let mut canary = backend.clone();
        canary["name"] = json!(canary_name(backend["name"].as_str().unwrap_or_default()));
        canary
    });
    let canaries: Vec<Value> = canaries.collect();
    // A rule without matches matches every path.
    let every = vec![json!({"path": {"type": "PathPrefix", "value": "/"}})];
    let matches = rule["matches"].as_array().filter(|matches| !matches.is_empty()).unwrap_or(&every);
    let matches = matches.iter().filter_map(|one| {
        let mut headers = one["headers"].as_array().cloned().unwrap_or_default();
        let known =
            |other: &Value| other["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(header));
        if headers.iter().any(known) {
            return None;
        }
        headers.push(json!({"type": "Exact", "name": header, "value": ALWAYS}));
        let mut one = one.clone();
        one["headers"] = Value::Array(headers);
        Some(one)
    });
    let matches: Vec<Value> = matches.collect();
    if canaries.is_empty() || matches.is_empty() {
        return None;
    }
    let mut own = rule.clone();
    own["matches"] = Value::Array(matches);
    own["backendRefs"] = Value::Array(canaries);
    if let Some(name) = rule["name"].as_str() {
        own["name"] = json!(canary_name(name));
    }
    Some(own)
}

/// The route with a filter that copies requests. All are copied where the filter says no share; shares came with the
/// Gateway API 1.3 (GEP-3171).
pub(super) fn mirror(route: &Value, services: &[String], percent: u8) -> Option<Value> {
    let mut route = route.clone();
    let namespace = route["metadata"]["namespace"].clone();
    for rule in route["spec"]["rules"].as_array_mut().into_iter().flatten() {
        let backends = rule["backendRefs"].as_array().into_iter().flatten();
        let ours = backends.filter(|backend| is_ours(backend, &namespace, services));
        let mirrors = ours.map(|backend| {
            let name = canary_name(backend["name"].as_str().unwrap_or_default());
            let mut mirror = json!({"backendRef": {"name": name, "port": backend["port"]}});
            if percent < 100 {
                mirror["percent"] = json!(percent);
            }
            json!({"type": "RequestMirror", "requestMirror": mirror})
        });
        let mirrors: Vec<Value> = mirrors.collect();
        if mirrors.is_empty() {
            continue;
        }
        let mut filters = rule["filters"].as_array().cloned().unwrap_or_default();
        if filters.iter().any(|filter| filter["type"] == "RequestMirror") {
            return None;
        }
        filters.extend(mirrors);
        rule["filters"] = Value::Array(filters);
    }
    Some(route)
}

/// Whether a backend is one of the Services, in the route's own namespace.
fn is_ours(backend: &Value, namespace: &Value, services: &[String]) -> bool {
    let other = backend.get("namespace").is_some_and(|other| other != namespace);
    let kind = backend.get("kind").is_none_or(|kind| kind == "Service");
    !other && kind && services.iter().any(|service| backend["name"] == service.as_str())
}
