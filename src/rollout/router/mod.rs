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

/// `whole` in two: what stays, and what goes to the canary.
fn divide(whole: u64, percent: u8) -> (u64, u64) {
    let canary = (whole * u64::from(percent) + 50) / 100;
    (whole - canary, canary)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
