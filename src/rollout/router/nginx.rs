//! ingress-nginx: a second Ingress of the same hosts and paths, with canary annotations.
//!
//! One canary is effective for each host and path, and it is ignored while its Service also backs an ordinary Ingress.
//! Header comes before cookie before weight.
//! Source: kubernetes/ingress-nginx, `docs/user-guide/nginx-configuration/annotations.md`, section "Canary".

use super::{beside, canary_name};
use crate::domain::environment::Testers;
use serde_json::{Value, json};

const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
const CLASS: &str = "kubernetes.io/ingress.class";

/// Whether an Ingress is a canary of another.
#[must_use]
pub fn is_canary(ingress: &Value) -> bool {
    ingress["metadata"]["annotations"].get(CANARY).is_some_and(|value| value == "true")
}

/// The name of a component's canary of an Ingress that other components divide, too.
#[must_use]
pub fn canary_apart(ingress: &str, component: &str) -> String {
    canary_name(&format!("{ingress}-{component}"))
}

/// Hosts and paths of an Ingress.
#[must_use]
pub fn addresses(ingress: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for rule in ingress["spec"]["rules"].as_array().into_iter().flatten() {
        let host = rule["host"].as_str().unwrap_or_default();
        for path in rule["http"]["paths"].as_array().into_iter().flatten() {
            found.push((host.to_owned(), path["path"].as_str().unwrap_or("/").to_owned()));
        }
    }
    found
}

/// Names of the Services that an Ingress leads to.
#[must_use]
pub fn backends(ingress: &Value) -> Vec<&str> {
    let rules = ingress["spec"]["rules"].as_array().into_iter().flatten();
    let paths = rules.flat_map(|rule| rule["http"]["paths"].as_array().into_iter().flatten());
    let default = ingress.pointer("/spec/defaultBackend/service/name");
    let named = paths.filter_map(|path| path.pointer("/backend/service/name")).chain(default);
    named.filter_map(Value::as_str).collect()
}

/// Names and ports of the Services that the rules of an Ingress lead to.
pub(super) fn ports(ingress: &Value) -> Vec<(String, Value)> {
    let rules = ingress["spec"]["rules"].as_array().into_iter().flatten();
    let paths = rules.flat_map(|rule| rule["http"]["paths"].as_array().into_iter().flatten());
    let named = paths.filter_map(|path| {
        let service = path.pointer("/backend/service")?;
        let port = service["port"].get("number").or_else(|| service["port"].get("name"))?;
        Some((service["name"].as_str()?.to_owned(), port.clone()))
    });
    named.collect()
}

/// The rules that lead to the Services, with those paths only, leading to the canaries.
pub(super) fn rules(ingress: &Value, services: &[String]) -> Vec<Value> {
    let mut kept = Vec::new();
    for rule in ingress["spec"]["rules"].as_array().into_iter().flatten() {
        let mut paths = Vec::new();
        for path in rule["http"]["paths"].as_array().into_iter().flatten() {
            let name = path.pointer("/backend/service/name").and_then(Value::as_str);
            let Some(name) = name.filter(|name| services.iter().any(|service| service == name)) else {
                continue;
            };
            let mut path = path.clone();
            path["backend"]["service"]["name"] = json!(canary_name(name));
            paths.push(path);
        }
        if !paths.is_empty() {
            let mut rule = rule.clone();
            rule["http"]["paths"] = Value::Array(paths);
            kept.push(rule);
        }
    }
    kept
}

pub(super) fn weigh(settings: &Testers, ingress: &Value, services: &[String], percent: u8) -> Value {
    let mut canary = beside(ingress);
    let mut annotations = json!({
        CANARY: "true",
        "nginx.ingress.kubernetes.io/canary-weight": percent.to_string(),
    });
    if let Some(header) = &settings.header {
        annotations["nginx.ingress.kubernetes.io/canary-by-header"] = json!(header);
    }
    if let Some(cookie) = &settings.cookie {
        annotations["nginx.ingress.kubernetes.io/canary-by-cookie"] = json!(cookie);
    }
    if let Some(class) = ingress["metadata"]["annotations"].get(CLASS) {
        annotations[CLASS] = class.clone();
    }
    canary["metadata"]["annotations"] = annotations;
    let mut spec = json!({"rules": rules(ingress, services)});
    for key in ["ingressClassName", "tls"] {
        if let Some(value) = ingress["spec"].get(key) {
            spec[key] = value.clone();
        }
    }
    canary["spec"] = spec;
    canary
}
