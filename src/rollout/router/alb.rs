//! AWS Load Balancer Controller: a forward action with weighted target groups, named by the rule's backend.
//!
//! A rule whose backend port is `use-annotation` is served by `actions.BACKEND`. Field names are written as its guide has
//! them; it reads them in any case. Source: aws-load-balancer-controller, `docs/guide/ingress/annotations.md`.

use super::{ALWAYS, canary_name, portions};
use crate::domain::environment::Testers;
use serde_json::{Map, Value, json};

const PREFIX: &str = "alb.ingress.kubernetes.io/";
const ACTION: &str = "alb.ingress.kubernetes.io/actions.";
const CONDITIONS: &str = "alb.ingress.kubernetes.io/conditions.";
/// Largest weight of a target group. Source: Elastic Load Balancing API, `TargetGroupTuple.Weight`.
const MOST: u64 = 999;

pub(super) fn leads(ingress: &Value, services: &[String]) -> bool {
    let ours = |name: &Value| services.iter().any(|service| name == service.as_str());
    let rules = ingress["spec"]["rules"].as_array().into_iter().flatten();
    let mut paths = rules.flat_map(|rule| rule["http"]["paths"].as_array().into_iter().flatten());
    paths.any(|path| ours(&path["backend"]["service"]["name"]) && !is_action(path))
        || actions(ingress).iter().any(|(_, action)| {
            groups(action).is_some_and(|groups| groups.iter().any(|group| ours(field(group, "serviceName"))))
        })
}

pub(super) fn ports(ingress: &Value) -> Vec<(String, Value)> {
    // A path that an annotation serves names an action, not a Service.
    let mut named = super::nginx::ports(ingress);
    named.retain(|(_, port)| port != "use-annotation");
    for (_, action) in actions(ingress) {
        named.extend(groups(&action).into_iter().flatten().filter_map(|group| {
            Some((field(group, "serviceName").as_str()?.to_owned(), field(group, "servicePort").clone()))
        }));
    }
    named
}

pub(super) fn weigh(testers: &Testers, ingress: &Value, services: &[String], percent: u8) -> Value {
    let mut ingress = ingress.clone();
    let mut written: Vec<(String, Value)> = Vec::new();
    for (key, mut action) in actions(&ingress) {
        if divide_groups(&mut action, services, percent) {
            written.push((key, action));
        }
    }
    for rule in ingress["spec"]["rules"].as_array_mut().into_iter().flatten() {
        for path in rule["http"]["paths"].as_array_mut().into_iter().flatten() {
            let name = path["backend"]["service"]["name"].as_str().unwrap_or_default().to_owned();
            if is_action(path) || !services.contains(&name) {
                continue;
            }
            let port = path["backend"]["service"]["port"].as_object().and_then(|port| port.values().next());
            let action = plain_action(&name, port.unwrap_or(&Value::Null), percent);
            // One Service under two ports needs two actions.
            let free = |key: &str| !written.iter().any(|(known, other)| known == key && *other != action);
            let own = format!("{ACTION}{name}");
            let key = if free(&own) { own } else { format!("{own}-{}", port.map(plain).unwrap_or_default()) };
            let backend = key.strip_prefix(ACTION).unwrap_or(&name);
            path["backend"]["service"] = json!({"name": backend, "port": {"name": "use-annotation"}});
            written.push((key, action));
        }
    }
    if !ingress["metadata"]["annotations"].is_object() {
        ingress["metadata"]["annotations"] = Value::Object(Map::new());
    }
    for (key, action) in &written {
        ingress["metadata"]["annotations"][key] = json!(action.to_string());
    }
    if let Some(header) = &testers.header {
        rules_of_testers(header, &mut ingress, services, &written);
    }
    ingress
}

/// Before each path with one of the actions, the same path for testers: the controller keeps the order of equal paths.
/// Source: aws-load-balancer-controller, `pkg/ingress/rule_optimizer.go`, and its guide on `conditions.NAME`.
fn rules_of_testers(header: &str, ingress: &mut Value, services: &[String], written: &[(String, Value)]) {
    let mut own: Vec<(String, Value)> = Vec::new();
    let annotations = ingress["metadata"]["annotations"].clone();
    for rule in ingress["spec"]["rules"].as_array_mut().into_iter().flatten() {
        let Some(paths) = rule["http"]["paths"].as_array_mut() else { continue };
        let mut all = Vec::new();
        for path in paths.iter() {
            let name = path["backend"]["service"]["name"].as_str().unwrap_or_default().to_owned();
            let action = written.iter().find(|(key, _)| is_action(path) && *key == format!("{ACTION}{name}"));
            if let Some((_, action)) = action {
                let testers = format!("{name}-testers");
                let known = annotations[format!("{CONDITIONS}{name}")].as_str();
                let known = known.and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
                let mut conditions = known.unwrap_or_default();
                conditions.push(json!({
                    "field": "http-header",
                    "httpHeaderConfig": {"httpHeaderName": header, "values": [ALWAYS]},
                }));
                own.push((format!("{CONDITIONS}{testers}"), Value::Array(conditions)));
                own.push((format!("{ACTION}{testers}"), canaries_alone(action, services)));
                let mut path = path.clone();
                path["backend"]["service"]["name"] = json!(testers);
                all.push(path);
            }
            all.push(path.clone());
        }
        *paths = all;
    }
    for (key, value) in own {
        ingress["metadata"]["annotations"][key] = json!(value.to_string());
    }
}

/// A divided action with its canaries alone.
fn canaries_alone(action: &Value, services: &[String]) -> Value {
    let mut action = action.clone();
    let canaries: Vec<String> = services.iter().map(|service| canary_name(service)).collect();
    let config = action.as_object_mut().and_then(|map| find_mut(map, "forwardConfig"));
    let list = config.and_then(Value::as_object_mut).and_then(|map| find_mut(map, "targetGroups"));
    if let Some(groups) = list.and_then(Value::as_array_mut) {
        groups.retain(|group| canaries.iter().any(|name| field(group, "serviceName") == name.as_str()));
        for group in groups {
            put(group, "weight", json!(1));
        }
    }
    action
}

fn plain_action(service: &str, port: &Value, percent: u8) -> Value {
    let group = |name: &str, weight: u8| json!({"serviceName": name, "servicePort": port, "weight": weight});
    json!({
        "type": "forward",
        "forwardConfig": {
            "targetGroups": [group(service, 100 - percent), group(&canary_name(service), percent)],
        },
    })
}

/// Divides the groups of the Services in a forward action; false if it has none.
fn divide_groups(action: &mut Value, services: &[String], percent: u8) -> bool {
    let Some(before) = groups(action).cloned() else { return false };
    let ours = |group: &Value| services.iter().any(|service| field(group, "serviceName") == service.as_str());
    if !before.iter().any(ours) {
        return false;
    }
    // Groups that share a rule say their weights: the controller refuses them otherwise.
    let weight = |group: &Value| field(group, "weight").as_u64().unwrap_or(100);
    let weights: Vec<(u64, bool)> = before.iter().map(|group| (weight(group), ours(group))).collect();
    let after = before.iter().zip(portions(&weights, percent, MOST)).flat_map(|(group, portion)| {
        let at = |weight: u64| {
            let mut group = group.clone();
            put(&mut group, "weight", json!(weight));
            group
        };
        let canary = portion.goes.map(|goes| {
            let mut canary = at(goes);
            let name = field(group, "serviceName").as_str().unwrap_or_default();
            put(&mut canary, "serviceName", json!(canary_name(name)));
            canary
        });
        std::iter::once(at(portion.stays)).chain(canary)
    });
    let after = Value::Array(after.collect());
    let config = action.as_object_mut().and_then(|map| find_mut(map, "forwardConfig"));
    let list = config.and_then(Value::as_object_mut).and_then(|map| find_mut(map, "targetGroups"));
    list.map(|list| *list = after).is_some()
}

/// The Service of the revision under test. What the controller reads from a Service's annotations (health checks, protocol,
/// target type) makes its target group, and targets of type `instance` are reached by the node ports that a `NodePort` has,
/// and a `LoadBalancer` too. Source: its guide, `docs/guide/ingress/annotations.md`, column "Location".
pub(super) fn service_beside(service: &Value, name: &str) -> Value {
    let mut canary = super::service_beside(service, name);
    if service["spec"]["type"] == "LoadBalancer" {
        canary["spec"]["type"] = json!("NodePort");
    }
    let annotations = service["metadata"]["annotations"].as_object().into_iter().flatten();
    for (key, value) in annotations.filter(|(key, _)| key.starts_with(PREFIX)) {
        canary["metadata"]["annotations"][key] = value.clone();
    }
    canary
}

/// The annotations that hold actions.
fn actions(ingress: &Value) -> Vec<(String, Value)> {
    let annotations = ingress["metadata"]["annotations"].as_object().into_iter().flatten();
    let actions = annotations.filter(|(key, _)| key.starts_with(ACTION));
    actions
        .filter_map(|(key, text)| Some((key.clone(), serde_json::from_str(text.as_str()?).ok()?)))
        .collect()
}

fn groups(action: &Value) -> Option<&Vec<Value>> {
    field(field(action, "forwardConfig"), "targetGroups").as_array()
}

fn is_action(path: &Value) -> bool {
    path["backend"]["service"]["port"]["name"] == "use-annotation"
}

/// A field whatever the case of its name, as the controller reads it.
fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
    let fields = value.as_object().into_iter().flatten();
    fields
        .into_iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map_or(&Value::Null, |(_, value)| value)
}

fn find_mut<'v>(map: &'v mut Map<String, Value>, name: &str) -> Option<&'v mut Value> {
    map.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn put(group: &mut Value, name: &str, value: Value) {
    let Some(map) = group.as_object_mut() else { return };
    match find_mut(map, name) {
        Some(place) => *place = value,
        None => {
            map.insert(name.to_owned(), value);
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
