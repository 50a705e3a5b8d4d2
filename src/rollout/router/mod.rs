//! Routers: how a route object reads at a weight. From the release's own route and a share to the object that is to be
//! applied, without IO.
//!
//! A stable Service `NAME` leads to one revision, its canary Service `NAME-canary` to the other; a router divides between
//! the two and touches nothing else of the route.

mod alb;
mod gateway;
mod istio;
pub mod namespaces;
pub mod nginx;

use crate::domain::environment::Router;
use serde_json::{Value, json};

/// The value that sends a tester to the revision under test.
const ALWAYS: &str = "always";

/// The name of what stands beside an object for the revision under test.
#[must_use]
pub fn canary_name(name: &str) -> String {
    format!("{name}-canary")
}

/// Whether an object is a route that this router divides and that leads to one of the Services.
#[must_use]
pub fn leads(router: &Router, object: &Value, services: &[String]) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default();
    let group =
        object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
    match (router, group.unwrap_or_default(), kind) {
        (Router::Nginx(_), "networking.k8s.io", "Ingress") => {
            !nginx::is_canary(object) && !nginx::rules(object, services).is_empty()
        }
        (Router::Gateway(_), "gateway.networking.k8s.io", "HTTPRoute") => gateway::leads(object, services),
        (Router::Istio(_), "networking.istio.io", "VirtualService") => istio::leads(object, services),
        (Router::Alb(_), "networking.k8s.io", "Ingress") => alb::leads(object, services),
        _ => false,
    }
}

/// The ports by which a route leads to the Services, with the names of these. One that is not named is whichever the
/// Service has.
#[must_use]
pub fn ports(router: &Router, route: &Value, services: &[String]) -> Vec<(String, Value)> {
    let named = match router {
        Router::Pods => Vec::new(),
        Router::Nginx(_) => nginx::ports(route),
        Router::Gateway(_) => gateway::ports(route),
        Router::Istio(_) => istio::ports(route, services),
        Router::Alb(_) => alb::ports(route),
    };
    named.into_iter().filter(|(name, port)| services.contains(name) && !port.is_null()).collect()
}

/// The route with `percent` (0–100) of what goes to each of `services` sent to its canary. For nginx that is an Ingress
/// beside the route, for the others the route itself. Testers go to the canary whatever the weight: by a rule before the one that they are
/// told apart from.
#[must_use]
pub fn weigh(router: &Router, route: &Value, services: &[String], percent: u8) -> Value {
    match router {
        Router::Pods => route.clone(),
        Router::Nginx(settings) => nginx::weigh(settings, route, services, percent),
        Router::Gateway(testers) => gateway::weigh(testers, route, services, percent),
        Router::Istio(testers) => istio::weigh(testers, route, services, percent),
        Router::Alb(testers) => alb::weigh(testers, route, services, percent),
    }
}

/// A route at weight 0 that also copies `percent` (1–100) of what goes to the Services to their canaries; `None` where the
/// router cannot, or the route copies requests already.
#[must_use]
pub fn mirror(router: &Router, route: &Value, services: &[String], percent: u8) -> Option<Value> {
    match router {
        Router::Gateway(_) => gateway::mirror(route, services, percent),
        Router::Istio(_) => istio::mirror(route, services, percent),
        Router::Pods | Router::Nginx(_) | Router::Alb(_) => None,
    }
}

/// The name of a Service that leads to green before the switch.
#[must_use]
pub fn preview_name(name: &str) -> String {
    format!("{name}-preview")
}

/// The Service that leads to the revision under test, as the router needs it.
#[must_use]
pub fn canary_service(router: &Router, service: &Value) -> Value {
    let name = canary_name(service["metadata"]["name"].as_str().unwrap_or_default());
    match router {
        Router::Alb(_) => alb::service_beside(service, &name),
        _ => service_beside(service, &name),
    }
}

/// A Service of this name beside the released one, leading where that leads, reachable inside the cluster only.
#[must_use]
pub fn service_beside(service: &Value, name: &str) -> Value {
    let mut clone = beside(service);
    clone["metadata"]["name"] = json!(name);
    let Some(spec) = clone["spec"].as_object_mut() else { return clone };
    let headless = spec.get("clusterIP").is_some_and(|ip| ip == "None");
    for key in [
        "clusterIPs",
        "externalIPs",
        "externalTrafficPolicy",
        "healthCheckNodePort",
        "loadBalancerClass",
        "loadBalancerIP",
        "loadBalancerSourceRanges",
        "allocateLoadBalancerNodePorts",
    ] {
        spec.remove(key);
    }
    if !headless {
        spec.remove("clusterIP");
    }
    if spec.get("type").is_some_and(|kind| kind == "LoadBalancer") {
        spec.remove("type");
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        port.as_object_mut().map(|port| port.remove("nodePort"));
    }
    clone
}

/// What a router needs for the canary's Services beside the route: for Istio a `DestinationRule` with the traffic policy
/// of stable's. Subsets are left out, since their labels pick pods of stable.
#[must_use]
pub fn companion(router: &Router, object: &Value, services: &[String]) -> Option<Value> {
    let is_rule = object["kind"] == "DestinationRule" && matches!(router, Router::Istio(_));
    if !is_rule {
        return None;
    }
    let host = object["spec"]["host"].as_str()?;
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let host = istio::canary_host(host, namespace, services)?;
    let mut clone = beside(object);
    clone["spec"]["host"] = json!(host);
    clone["spec"].as_object_mut().map(|spec| spec.remove("subsets"));
    Some(clone)
}

/// An object under its canary's name, with the labels of the original and none of its annotations.
fn beside(object: &Value) -> Value {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut clone = json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": {"name": canary_name(name)},
        "spec": object["spec"],
    });
    for key in ["namespace", "labels"] {
        if let Some(value) = object["metadata"].get(key) {
            clone["metadata"][key] = value.clone();
        }
    }
    clone
}

/// What a backend of a rule carries, and its canary if it is one of ours.
struct Portion {
    stays: u64,
    goes: Option<u64>,
}

/// The weights of a rule's backends (and which of them are ours) with `percent` of ours sent to their canaries. All of
/// them are multiplied by the smallest number that makes every weight whole; where one would be larger than `most`, all
/// shrink alike, and none that takes traffic shrinks to nothing.
fn portions(backends: &[(u64, bool)], percent: u8, most: u64) -> Vec<Portion> {
    // A rule's only backend carries all of it, whatever its weight.
    let whole = |weight: u64| if backends.len() == 1 { 100 } else { weight.min(u64::from(u32::MAX)) };
    let percent = u64::from(percent);
    let ours = backends.iter().filter(|(_, ours)| *ours);
    let scale = 100 / ours.fold(100, |common, (weight, _)| divisor(common, whole(*weight) * percent));
    let exact = backends.iter().map(|(weight, ours)| {
        let all = whole(*weight) * scale;
        let goes = ours.then_some(all * percent / 100);
        Portion { stays: all - goes.unwrap_or(0), goes }
    });
    let exact: Vec<Portion> = exact.collect();
    let largest = exact.iter().map(|portion| portion.stays.max(portion.goes.unwrap_or(0))).max().unwrap_or(0);
    if largest <= most {
        return exact;
    }
    let fitted = |weight: u64| ((weight * most + largest / 2) / largest).max(u64::from(weight > 0));
    let shrunk = |portion: Portion| Portion { stays: fitted(portion.stays), goes: portion.goes.map(fitted) };
    exact.into_iter().map(shrunk).collect()
}

/// The greatest common divisor.
fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
