//! Istio: weights of a `VirtualService`'s destinations, each a share of their sum. They sum to what they summed to before
//! (100), unless a percent of one would not be whole.
//!
//! A destination may name a subset; that of stable is kept. The canary's is left out: the canary Service leads to one
//! revision already. Source: istio/api, `networking/v1/virtual_service.proto`, `HTTPRouteDestination.weight`.

use super::{ALWAYS, canary_name, portions};
use crate::domain::environment::Testers;
use serde_json::{Value, json};

/// A weight is an `int32`, and Envoy wants their sum in a `uint32`.
const MOST: u64 = 1_000_000;
const PROTOCOLS: [&str; 3] = ["http", "tls", "tcp"];

pub(super) fn leads(service: &Value, services: &[String]) -> bool {
    let namespace = service["metadata"]["namespace"].as_str().unwrap_or_default();
    let routes =
        PROTOCOLS.iter().flat_map(|protocol| service["spec"][protocol].as_array().into_iter().flatten());
    let mut targets = routes.flat_map(|route| route["route"].as_array().into_iter().flatten());
    targets.any(|target| canary_of(target, namespace, services).is_some())
}

pub(super) fn ports(service: &Value, services: &[String]) -> Vec<(String, Value)> {
    let namespace = service["metadata"]["namespace"].as_str().unwrap_or_default();
    let routes =
        PROTOCOLS.iter().flat_map(|protocol| service["spec"][protocol].as_array().into_iter().flatten());
    let targets = routes.flat_map(|route| route["route"].as_array().into_iter().flatten());
    let named = targets.filter_map(|target| {
        canary_of(target, namespace, services)?;
        let name = target["destination"]["host"].as_str()?.split('.').next()?;
        Some((name.to_owned(), target["destination"]["port"]["number"].clone()))
    });
    named.collect()
}

pub(super) fn weigh(testers: &Testers, service: &Value, services: &[String], percent: u8) -> Value {
    let mut service = service.clone();
    let namespace = service["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    for protocol in PROTOCOLS {
        let Some(routes) = service["spec"].get_mut(protocol).and_then(Value::as_array_mut) else { continue };
        let own: Vec<(usize, Value)> = routes
            .iter()
            .enumerate()
            .filter(|_| protocol == "http")
            .filter_map(|(index, route)| {
                Some((index, route_of_testers(testers, route, &namespace, services)?))
            })
            .collect();
        for route in routes.iter_mut() {
            let Some(targets) = route["route"].as_array() else { continue };
            let canaries: Vec<Option<Value>> =
                targets.iter().map(|target| canary_of(target, &namespace, services)).collect();
            if canaries.iter().all(Option::is_none) {
                continue;
            }
            let weights = targets.iter().zip(&canaries);
            let weights =
                weights.map(|(target, canary)| (target["weight"].as_u64().unwrap_or(0), canary.is_some()));
            let portions = portions(&weights.collect::<Vec<_>>(), percent, MOST);
            let divided =
                targets.iter().zip(canaries).zip(portions).flat_map(|((target, canary), portion)| {
                    let mut stable = target.clone();
                    stable["weight"] = json!(portion.stays);
                    let canary = canary.zip(portion.goes).map(|(mut canary, goes)| {
                        canary["weight"] = json!(goes);
                        canary
                    });
                    std::iter::once(stable).chain(canary)
                });
            route["route"] = Value::Array(divided.collect());
        }
        // The first route that matches serves.
        for (index, route) in own.into_iter().rev() {
            routes.insert(index, route);
        }
    }
    service
}

/// The service with HTTP routes that copy requests. Source: istio/api, `networking/v1/virtual_service.proto`,
/// `HTTPRoute.mirror` and `mirror_percentage`.
pub(super) fn mirror(service: &Value, services: &[String], percent: u8) -> Option<Value> {
    let mut service = service.clone();
    let namespace = service["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    for route in service["spec"]["http"].as_array_mut().into_iter().flatten() {
        let mut targets = route["route"].as_array().into_iter().flatten();
        let Some(canary) = targets.find_map(|target| canary_of(target, &namespace, services)) else {
            continue;
        };
        if route.get("mirror").is_some() || route.get("mirrors").is_some() {
            return None;
        }
        route["mirror"] = canary["destination"].clone();
        route["mirrorPercentage"] = json!({"value": f64::from(percent)});
    }
    Some(service)
}

/// The same route for testers: each match with their header or cookie, and the canaries alone behind it.
/// Source: istio/api, `networking/v1/virtual_service.proto`, `HTTPMatchRequest.headers` (lower-case names).
fn route_of_testers(testers: &Testers, route: &Value, namespace: &str, services: &[String]) -> Option<Value> {
    let targets = route["route"].as_array()?;
    let canaries = targets.iter().filter_map(|target| canary_of(target, namespace, services));
    let mut canaries: Vec<Value> = canaries.collect();
    let by_header = testers.header.as_ref().map(|name| (name.to_ascii_lowercase(), json!({"exact": ALWAYS})));
    let by_cookie = testers.cookie.as_ref().map(|name| {
        let name = name.replace('.', "\\.");
        ("cookie".to_owned(), json!({"regex": format!("^(.*;\\s*)?{name}={ALWAYS}(;.*)?$")}))
    });
    let every = vec![json!({})];
    let matches = route["match"].as_array().filter(|matches| !matches.is_empty()).unwrap_or(&every);
    let matches = [by_header, by_cookie].into_iter().flatten().flat_map(|(name, wanted)| {
        let free = matches.iter().filter(|one| one["headers"].get(&name).is_none()).cloned();
        let with = free.map(|mut one| {
            one["headers"][&name] = wanted.clone();
            one
        });
        with.collect::<Vec<_>>()
    });
    let matches: Vec<Value> = matches.collect();
    if canaries.is_empty() || matches.is_empty() {
        return None;
    }
    let count = canaries.len() as u64;
    for (index, canary) in canaries.iter_mut().enumerate() {
        // They sum to 100.
        let rest = if index == 0 { 100 % count } else { 0 };
        canary["weight"] = json!(100 / count + rest);
    }
    let mut own = route.clone();
    own["match"] = Value::Array(matches);
    own["route"] = Value::Array(canaries);
    if let Some(name) = route["name"].as_str() {
        own["name"] = json!(canary_name(name));
    }
    Some(own)
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
