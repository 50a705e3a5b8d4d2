//! What a pod takes of a namespace and of a node: its requests and limits, with what a `LimitRange` adds.

use crate::domain::quantity::thousandths;
use serde_json::Value;
use std::collections::BTreeMap;

/// Amounts by resource, thousandths of each resource's unit.
pub type Amounts = BTreeMap<String, u64>;

/// What one pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// All its requests together.
    pub requests: Amounts,
    /// All its limits together.
    pub limits: Amounts,
    /// Containers without a request or limit: `requests.cpu` → `api`.
    pub missing: BTreeMap<String, String>,
    /// What a `LimitRange` refuses of it, in words.
    pub refused: Vec<String>,
}

/// The pod of a template in a namespace with these `LimitRange`s.
///
/// Init containers run one by one before the others: the pod takes the larger of both; those that restart always run
/// beside them (Kubernetes documentation, "Sidecar containers: resource sharing").
#[must_use]
pub fn of(template: &Value, ranges: &[Value]) -> Footprint {
    let spec = &template["spec"];
    let mut footprint = Footprint::default();
    let (mut beside, mut first) = (Footprint::default(), Footprint::default());
    for container in spec["initContainers"].as_array().into_iter().flatten() {
        let own = one(container, ranges, &mut footprint);
        if container["restartPolicy"] == "Always" {
            add(&mut beside.requests, &own.0);
            add(&mut beside.limits, &own.1);
        } else {
            let mut with = beside.clone();
            add(&mut with.requests, &own.0);
            add(&mut with.limits, &own.1);
            most(&mut first.requests, &with.requests);
            most(&mut first.limits, &with.limits);
        }
    }
    for container in spec["containers"].as_array().into_iter().flatten() {
        let own = one(container, ranges, &mut footprint);
        add(&mut beside.requests, &own.0);
        add(&mut beside.limits, &own.1);
    }
    most(&mut beside.requests, &first.requests);
    most(&mut beside.limits, &first.limits);
    let overhead = amounts(&spec["overhead"]);
    add(&mut beside.requests, &overhead);
    Footprint { requests: beside.requests, limits: beside.limits, ..footprint }
}

/// A container's requests and limits as they are admitted.
fn one(container: &Value, ranges: &[Value], pod: &mut Footprint) -> (Amounts, Amounts) {
    let name = container["name"].as_str().unwrap_or_default();
    let mut limits = amounts(&container["resources"]["limits"]);
    let mut requests = amounts(&container["resources"]["requests"]);
    // The API server takes a limit for the request that is missing, before any default is added.
    for (resource, amount) in &limits {
        requests.entry(resource.clone()).or_insert(*amount);
    }
    let items = ranges.iter().flat_map(|range| range["spec"]["limits"].as_array().into_iter().flatten());
    for item in items.filter(|item| item["type"] == "Container") {
        for (resource, amount) in amounts(&item["default"]) {
            limits.entry(resource).or_insert(amount);
        }
        for (resource, amount) in amounts(&item["defaultRequest"]) {
            requests.entry(resource).or_insert(amount);
        }
        let show = crate::domain::quantity::show;
        for (resource, most) in amounts(&item["max"]) {
            if let Some(limit) = limits.get(&resource).filter(|limit| **limit > most) {
                let (limit, most) = (show(&resource, *limit), show(&resource, most));
                pod.refused.push(format!(
                    "container {name} may use {limit} of {resource}, {most} at the most is allowed"
                ));
            }
        }
        for (resource, least) in amounts(&item["min"]) {
            if let Some(request) = requests.get(&resource).filter(|request| **request < least) {
                let (request, least) = (show(&resource, *request), show(&resource, least));
                pod.refused.push(format!(
                    "container {name} asks for {request} of {resource}, {least} at the least is allowed"
                ));
            }
        }
    }
    for resource in ["cpu", "memory"] {
        for (part, known) in [("requests", &requests), ("limits", &limits)] {
            if !known.contains_key(resource) {
                pod.missing.entry(format!("{part}.{resource}")).or_insert_with(|| name.to_owned());
            }
        }
    }
    (requests, limits)
}

fn amounts(value: &Value) -> Amounts {
    let amount = |value: &Value| match value {
        Value::String(text) => thousandths(text),
        Value::Number(number) => thousandths(&number.to_string()),
        _ => None,
    };
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(resource, value)| Some((resource.clone(), amount(value)?))).collect()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (resource, amount) in more {
        *sum.entry(resource.clone()).or_default() += amount;
    }
}

fn most(sum: &mut Amounts, other: &Amounts) {
    for (resource, amount) in other {
        let known = sum.entry(resource.clone()).or_default();
        *known = (*known).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_takes_what_its_containers_take_together() {
        let template = json!({"spec": {
            "initContainers": [
                {"name": "proxy", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "load", "resources": {"requests": {"cpu": 2, "memory": "1Gi"}}}],
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "256Mi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "250m"}}}],
            "overhead": {"cpu": "50m"}}});
        let pod = of(&template, &[]);
        // 100m beside 2 while it loads, more than the 850m that run later.
        assert_eq!(pod.requests["cpu"], 2_150);
        assert_eq!(pod.requests["memory"], 1_073_741_824_000);
        assert_eq!(pod.limits["memory"], 268_435_456_000);
        assert_eq!(pod.missing["limits.cpu"], "proxy");
    }

    #[test]
    fn a_limit_range_fills_in_and_refuses() {
        let range = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": 1},
            "defaultRequest": {"cpu": "100m"}, "max": {"cpu": 2}, "min": {"memory": "64Mi"}}]}});
        let template =
            |cpu: Value| json!({"spec": {"containers": [{"name": "a", "resources": {"limits": cpu}}]}});
        let bare = of(&template(json!({})), std::slice::from_ref(&range));
        assert_eq!((bare.requests["cpu"], bare.limits["cpu"]), (100, 1_000));
        let large = of(&template(json!({"cpu": 4, "memory": "32Mi"})), &[range]);
        assert_eq!(
            large.refused,
            [
                "container a may use 4 of cpu, 2 at the most is allowed",
                "container a asks for 32Mi of memory, 64Mi at the least is allowed"
            ]
        );
    }
}
