//! A gateway controller: says of every `HTTPRoute` whether its gateways take it over. Whether they do is another matter.

use serde_json::{Value, json};

use super::object;
use super::{Context, Controller};
use crate::sim::clock::seconds_text;
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Store;

const ME: Controller = Controller::Gateway;

/// Looks at a route.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(kind) = cx.store.kind("gateway.networking.k8s.io", "httproutes") else { return };
    let Some(route) = cx.get(kind, namespace, name).filter(|route| !object::deleting(route)) else { return };
    let generation = route["metadata"]["generation"].clone();
    let resolved = match wrong_backend(cx, &route, namespace) {
        None => ("True", "ResolvedRefs", String::new()),
        Some((reason, message)) => ("False", reason, message),
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

/// A backend that does not exist, or that nobody there lets the route lead to.
fn wrong_backend(cx: &Context<'_>, route: &Value, namespace: &str) -> Option<(&'static str, String)> {
    let rules = object::items(route, &["spec", "rules"]).iter();
    let mut backends = rules.flat_map(|rule| object::items(rule, &["backendRefs"]));
    backends.find_map(|backend| {
        let (other, name) = (object::text(backend, &["namespace"]), object::text(backend, &["name"]));
        let place = if other.is_empty() { namespace } else { other };
        if place != namespace && !is_granted(cx.store, namespace, (place, name)) {
            let message = format!("Service {place}/{name} may not be referred to from {namespace}");
            return Some(("RefNotPermitted", message));
        }
        let missing = cx.get(KindId::SERVICES, place, name).is_none();
        missing.then(|| ("BackendNotFound", format!("Service {place}/{name} not found")))
    })
}

/// The kind that lets routes of other namespaces lead to Services, if the cluster serves it.
#[must_use]
pub fn grants(store: &Store) -> Option<KindId> {
    store.kind("gateway.networking.k8s.io", "referencegrants")
}

/// Whether a grant beside the Service lets `HTTPRoute`s of a namespace lead to it.
#[must_use]
pub fn is_granted(store: &Store, from: &str, (namespace, service): (&str, &str)) -> bool {
    let Some(kind) = grants(store) else { return false };
    let grants = store.iter(kind, Some(namespace));
    grants.filter(|grant| !object::deleting(grant)).any(|grant| {
        let mut sources = object::items(grant, &["spec", "from"]).iter();
        let mut aims = object::items(grant, &["spec", "to"]).iter();
        let source = sources.any(|source| {
            source["group"] == "gateway.networking.k8s.io"
                && source["kind"] == "HTTPRoute"
                && source["namespace"] == from
        });
        source
            && aims.any(|aim| {
                aim["group"] == ""
                    && aim["kind"] == "Service"
                    && aim.get("name").is_none_or(|name| name == service)
            })
    })
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
