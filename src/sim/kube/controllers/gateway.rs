//! A gateway controller: says of every `HTTPRoute` whether its gateways take it over. Whether they do is another matter.

use serde_json::{Value, json};

use super::object;
use super::{Context, Controller};
use crate::sim::clock::seconds_text;
use crate::sim::kube::kinds::KindId;

const ME: Controller = Controller::Gateway;

/// Looks at a route.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(kind) = cx.store.kind("gateway.networking.k8s.io", "httproutes") else { return };
    let Some(route) = cx.get(kind, namespace, name).filter(|route| !object::deleting(route)) else { return };
    let generation = route["metadata"]["generation"].clone();
    let missing = missing_backend(cx, &route, namespace);
    let resolved = match &missing {
        None => ("True", "ResolvedRefs", String::new()),
        Some(name) => ("False", "BackendNotFound", format!("Service {name} not found")),
    };
    let at = seconds_text(cx.now);
    let condition = |kind: &str, (status, reason, message): (&str, &str, String)| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
               "observedGeneration": generation, "lastTransitionTime": at})
    };
    let conditions = json!([
        condition("Accepted", ("True", "Accepted", String::new())),
        condition("ResolvedRefs", resolved),
    ]);
    if same(&route, &conditions) {
        return;
    }
    let parents = object::items(&route, &["spec", "parentRefs"]).iter().map(|parent| {
        json!({"parentRef": parent, "controllerName": "gateway.example/controller", "conditions": conditions})
    });
    let parents: Vec<Value> = parents.collect();
    cx.modify_status(kind, &route, ME, |route| {
        object::set(route, &["status", "parents"], Value::Array(parents));
    });
}

/// A backend that does not exist.
fn missing_backend(cx: &Context<'_>, route: &Value, namespace: &str) -> Option<String> {
    let rules = object::items(route, &["spec", "rules"]).iter();
    let mut backends = rules.flat_map(|rule| object::items(rule, &["backendRefs"]));
    let missing = backends.find(|backend| {
        let other = object::text(backend, &["namespace"]);
        let namespace = if other.is_empty() { namespace } else { other };
        cx.get(KindId::SERVICES, namespace, object::text(backend, &["name"])).is_none()
    });
    missing.map(|backend| object::text(backend, &["name"]).to_owned())
}

/// Whether the status says so already, whenever it was said.
fn same(route: &Value, conditions: &Value) -> bool {
    let parents = object::items(route, &["status", "parents"]);
    let told = |parent: &Value| {
        let (old, new) = (object::items(parent, &["conditions"]), conditions.as_array());
        new.is_some_and(|new| {
            old.len() == new.len()
                && old.iter().zip(new).all(|(old, new)| {
                    ["status", "reason", "observedGeneration"].iter().all(|key| old[*key] == new[*key])
                })
        })
    };
    !parents.is_empty() && parents.iter().all(told)
}
