//! `EndpointSlices`: which pods a Service may send to, and which of them are ready, serving or terminating.

use std::sync::Arc;

use serde_json::{Value, json};

use super::object;
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Change;
use crate::sim::kube::store::Stored;

const ME: Controller = Controller::EndpointSlice;
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Endpoints in one slice, at most.
const PER_SLICE: usize = 100;

/// True if a pod's change can change an endpoint.
#[must_use]
pub fn concerns(change: &Change) -> bool {
    let Some(old) = &change.old else {
        return true;
    };
    let new = &change.object;
    let ip = ["status", "podIP"];
    change.typ == crate::sim::kube::store::ChangeType::Deleted
        || object::ready(old) != object::ready(new)
        || object::text(old, &ip) != object::text(new, &ip)
        || object::deleting(old) != object::deleting(new)
        || object::ended_pod(old) != object::ended_pod(new)
        || object::at(old, &["metadata", "labels"]) != object::at(new, &["metadata", "labels"])
}

/// Looks at one Service.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(service) = cx.get(KindId::SERVICES, namespace, name) else {
        return;
    };
    let selector = object::at(&service, &["spec", "selector"]);
    let external = object::text(&service, &["spec", "type"]) == "ExternalName";
    if external || object::deleting(&service) || selector.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    let mut slices = cx.controlled(KindId::ENDPOINT_SLICES, object::uid(&service));
    slices.sort_by_cached_key(|slice| object::text(slice, &["metadata", "creationTimestamp"]).to_owned());
    let endpoints = wanted(cx, &service, &slices);
    let mut parts: Vec<&[(Value, u16)]> = endpoints.chunks(PER_SLICE).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    for (place, part) in parts.iter().enumerate() {
        let values: Vec<Value> = part.iter().map(|(endpoint, _)| endpoint.clone()).collect();
        let targets = ports_of(&service, part.first().map(|(_, target)| *target));
        match slices.get(place) {
            Some(slice) => update(cx, slice, values, targets),
            None => create(cx, &service, &values, &targets),
        }
    }
    for slice in slices.iter().skip(parts.len()) {
        cx.delete(KindId::ENDPOINT_SLICES, slice, ME);
    }
}

/// The endpoints that should be there: those known keep their order, new ones follow.
fn wanted(cx: &Context<'_>, service: &Value, slices: &[Arc<Stored>]) -> Vec<(Value, u16)> {
    let namespace = object::namespace(service);
    let selector = object::at(service, &["spec", "selector"]);
    let publish_all = service["spec"]["publishNotReadyAddresses"] == true;
    let known: Vec<&str> = slices
        .iter()
        .flat_map(|slice| object::items(slice, &["endpoints"]))
        .map(|endpoint| object::text(endpoint, &["targetRef", "uid"]))
        .collect();
    let mut found: Vec<(usize, u64, Value, u16)> = Vec::new();
    for pod in cx.store.iter(KindId::PODS, Some(namespace)) {
        let ip = object::text(pod, &["status", "podIP"]);
        let labels = object::at(pod, &["metadata", "labels"]);
        if ip.is_empty() || object::ended_pod(pod) || !object::selects_plain(selector, labels) {
            continue;
        }
        let place = known.iter().position(|uid| *uid == object::uid(pod)).unwrap_or(usize::MAX);
        let version = object::text(pod, &["metadata", "resourceVersion"]).parse().unwrap_or(0);
        found.push((place, version, endpoint_of(cx, pod, ip, publish_all), target_port(service, pod)));
    }
    found.sort_by_key(|(place, version, ..)| (*place, *version));
    found.into_iter().map(|(_, _, endpoint, port)| (endpoint, port)).collect()
}

fn endpoint_of(cx: &Context<'_>, pod: &Value, ip: &str, publish_all: bool) -> Value {
    let ready = object::ready(pod);
    let terminating = object::deleting(pod);
    let mut endpoint = json!({
        "addresses": [ip],
        "conditions": {
            "ready": publish_all || (ready && !terminating),
            "serving": ready,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod", "namespace": object::namespace(pod), "name": object::name(pod), "uid": object::uid(pod),
        },
    });
    let node = object::text(pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        endpoint["nodeName"] = node.into();
        if let Some(node) = cx.store.lookup(KindId::NODES, "", node) {
            let zone = object::label(node, "topology.kubernetes.io/zone");
            if !zone.is_empty() {
                endpoint["zone"] = zone.into();
            }
        }
    }
    endpoint
}

/// The port of the pod behind the Service's first port.
#[must_use]
pub fn target_port(service: &Value, pod: &Value) -> u16 {
    let port = object::items(service, &["spec", "ports"]).first().cloned().unwrap_or_default();
    let target = match port.get("targetPort") {
        Some(target) if !target.is_null() => target.clone(),
        _ => port["port"].clone(),
    };
    if let Some(number) = target.as_u64() {
        return number as u16;
    }
    let name = target.as_str().unwrap_or_default();
    object::items(pod, &["spec", "containers"])
        .iter()
        .flat_map(|container| object::items(container, &["ports"]))
        .find(|port| port["name"] == name)
        .map_or(0, |port| object::count(port, &["containerPort"]) as u16)
}

fn ports_of(service: &Value, first: Option<u16>) -> Vec<Value> {
    let Some(first) = first else {
        return Vec::new();
    };
    object::items(service, &["spec", "ports"])
        .iter()
        .enumerate()
        .map(|(place, port)| {
            let number = if place == 0 {
                i64::from(first)
            } else {
                object::number(port, &["targetPort"]).unwrap_or_else(|| object::count(port, &["port"]))
            };
            let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
            json!({"name": object::text(port, &["name"]), "protocol": protocol, "port": number})
        })
        .collect()
}

fn create(cx: &mut Context<'_>, service: &Value, endpoints: &[Value], ports: &[Value]) {
    let prefix = format!("{}-", object::name(service));
    let mut labels = object::at(service, &["metadata", "labels"]).clone();
    if !labels.is_object() {
        labels = json!({});
    }
    labels["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io".into();
    labels[SERVICE_NAME] = object::name(service).into();
    let name = format!("{prefix}{}", cx.random.suffix(5));
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "generateName": prefix,
            "namespace": object::namespace(service),
            "labels": labels,
            "annotations": {TRIGGER: cx.stamp()},
            "ownerReferences": [object::owner_reference(service, "v1", "Service")],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    });
    // refused only in a namespace that goes away
    let _ = cx.create(KindId::ENDPOINT_SLICES, slice, ME);
}

fn update(cx: &mut Context<'_>, slice: &Value, endpoints: Vec<Value>, ports: Vec<Value>) {
    if object::items(slice, &["endpoints"]) == endpoints && object::items(slice, &["ports"]) == ports {
        return;
    }
    let stamp = cx.stamp();
    cx.modify(KindId::ENDPOINT_SLICES, slice, ME, |slice| {
        slice["endpoints"] = endpoints.into();
        slice["ports"] = ports.into();
        object::set(slice, &["metadata", "annotations", TRIGGER], stamp.into());
    });
}
