//! Whether quotas that count objects have room for those that the plan makes: while two revisions are there, a namespace
//! has more Deployments, Services and `ConfigMaps` than before and after.

use super::{Check, Level};
use crate::domain::effect::Effect;
use crate::domain::ids::TargetId;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::quantity::thousandths;
use crate::plan::Plan;
use crate::ports::Cluster;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is there at one time: each object, and how much it counts for which resource.
type Crowd = BTreeMap<ObjectRef, BTreeMap<String, i64>>;

/// Asks only where a quota counts objects.
pub(super) async fn check(plan: &Plan, target: &TargetId, cluster: &dyn Cluster) -> Vec<Check> {
    let written = written(plan, target);
    let namespaces: BTreeSet<&str> = written.iter().map(|object| object.namespace.as_str()).collect();
    let mut checks = Vec::new();
    for namespace in namespaces.into_iter().filter(|namespace| !namespace.is_empty()) {
        // Quotas that may not be read are told of with those that count pods.
        let quotas = cluster.list("v1", "ResourceQuota", namespace).await.unwrap_or_default();
        if !quotas.iter().any(|quota| limits(quota).next().is_some()) {
            continue;
        }
        let own: Vec<ObjectRef> =
            written.iter().filter(|object| object.namespace == namespace).cloned().collect();
        let Ok(found) = cluster.get_all(&own).await else { continue };
        let live: Crowd = own
            .into_iter()
            .zip(found)
            .filter_map(|(reference, live)| Some((reference, weights(&live?))))
            .collect();
        let peaks = peaks(plan, target, namespace, &live);
        checks.extend(quotas.iter().flat_map(|quota| judge(quota, &peaks, target)));
    }
    checks
}

/// All objects that the plan applies or deletes on the way forward, on a target.
fn written(plan: &Plan, target: &TargetId) -> BTreeSet<ObjectRef> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| step.target == *target);
    let names = steps.flat_map(|step| match &step.effect {
        Effect::Delete { objects } => objects.clone(),
        effect => made(plan, effect).map(Object::reference).collect(),
    });
    names.collect()
}

/// The objects that an effect makes where they are not there.
fn made<'p>(plan: &'p Plan, effect: &'p Effect) -> impl Iterator<Item = &'p Object> {
    let indices: &[usize] = match effect {
        Effect::Apply { objects }
        | Effect::Create { objects }
        | Effect::Replace { objects }
        | Effect::Switch { objects, .. } => objects,
        // At weight 0 it makes nothing once there is no canary.
        Effect::Weigh { objects, percent, .. } if *percent > 0 => objects,
        _ => &[],
    };
    indices.iter().map(|index| &plan.objects[*index])
}

/// The most that the plan adds of each resource to what is there, and when.
fn peaks<'p>(
    plan: &'p Plan,
    target: &TargetId,
    namespace: &str,
    live: &Crowd,
) -> BTreeMap<String, (i64, &'p str)> {
    let mut now = live.clone();
    let before = sums(live);
    let mut peaks: BTreeMap<String, (i64, &'p str)> = BTreeMap::new();
    for stage in &plan.stages {
        for step in stage.steps.iter().filter(|step| step.target == *target) {
            if let Effect::Delete { objects } = &step.effect {
                now.retain(|name, _| !objects.contains(name));
            }
            let made = made(plan, &step.effect).filter(|object| object.reference().namespace == namespace);
            now.extend(made.map(|object| (object.reference(), weights(&object.value))));
            for (resource, count) in sums(&now) {
                let more = count - before.get(&resource).copied().unwrap_or(0);
                let peak = peaks.entry(resource).or_insert((0, stage.title.as_str()));
                if more > peak.0 {
                    *peak = (more, stage.title.as_str());
                }
            }
        }
    }
    peaks
}

fn sums(crowd: &Crowd) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for (resource, count) in crowd.values().flatten() {
        *sums.entry(resource.clone()).or_insert(0) += count;
    }
    sums
}

/// What an object counts for, in the words of quotas: `count/deployments.apps`, and the older names of some core kinds.
fn weights(object: &Value) -> BTreeMap<String, i64> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let group =
        object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
    let plural = plural(kind);
    let mut weights = BTreeMap::new();
    let name = group.map_or_else(|| plural.clone(), |group| format!("{plural}.{group}"));
    weights.insert(format!("count/{name}"), 1);
    let older = ["services", "configmaps", "secrets", "persistentvolumeclaims", "replicationcontrollers"];
    if group.is_none() && older.contains(&plural.as_str()) {
        weights.insert(plural, 1);
    }
    if (group, kind) == (None, "Service") {
        let spec = &object["spec"];
        let balanced = spec["type"] == "LoadBalancer";
        let has_ports =
            spec["type"] == "NodePort" || (balanced && spec["allocateLoadBalancerNodePorts"] != false);
        weights.insert("services.loadbalancers".to_owned(), i64::from(balanced));
        let ports = spec["ports"].as_array().map_or(0, Vec::len) as i64;
        weights.insert("services.nodeports".to_owned(), if has_ports { ports } else { 0 });
    }
    // Each Deployment that is made makes a ReplicaSet.
    if (group, kind) == (Some("apps"), "Deployment") {
        weights.insert("count/replicasets.apps".to_owned(), 1);
    }
    weights
}

/// As the API machinery guesses it (`UnsafeGuessKindToResource`).
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    if lower.ends_with("endpoints") {
        lower
    } else if lower.ends_with('s') {
        format!("{lower}es")
    } else if let Some(stem) = lower.strip_suffix('y') {
        format!("{stem}ies")
    } else {
        format!("{lower}s")
    }
}

/// The numbers of objects that a quota allows; pods are judged with what they need.
fn limits(quota: &Value) -> impl Iterator<Item = (&str, i64)> {
    let known = &quota["status"]["hard"];
    let hard = if known.is_object() { known } else { &quota["spec"]["hard"] };
    let counts = |resource: &str| {
        let older = ["services", "configmaps", "secrets", "persistentvolumeclaims", "replicationcontrollers"];
        older.contains(&resource)
            || matches!(resource, "services.loadbalancers" | "services.nodeports")
            || (resource.starts_with("count/") && resource != "count/pods")
    };
    let fields = hard.as_object().into_iter().flatten().filter(move |(resource, _)| counts(resource));
    fields.filter_map(|(resource, value)| Some((resource.as_str(), number(value)?)))
}

fn number(value: &Value) -> Option<i64> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    thousandths(&text).and_then(|thousandths| i64::try_from(thousandths / 1000).ok())
}

fn judge(quota: &Value, peaks: &BTreeMap<String, (i64, &str)>, target: &TargetId) -> Vec<Check> {
    let name = quota.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let short = limits(quota).filter_map(|(resource, hard)| {
        let (more, title) = peaks.get(resource).copied()?;
        let used = number(&quota["status"]["used"][resource]).unwrap_or(0);
        let left = (hard - used).max(0);
        if more <= left {
            return None;
        }
        let what = resource.strip_prefix("count/").unwrap_or(resource);
        let detail =
            format!("{title}: {more} {what} more, {left} of {hard} are left in ResourceQuota/{name}");
        let fix = format!("raise hard.{resource} of ResourceQuota/{name} by {}", more - left);
        Some(Check::new(Level::Fail, Some(target), "quota", detail).fix(fix))
    });
    short.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_count_under_the_names_that_quotas_know() {
        let names = |object: Value| {
            weights(&object)
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .map(|(name, n)| format!("{name}={n}"))
                .collect::<Vec<_>>()
        };
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
        assert_eq!(names(deployment), ["count/deployments.apps=1", "count/replicasets.apps=1"]);
        let service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer", "ports": [{}, {}]}});
        assert_eq!(
            names(service),
            ["count/services=1", "services=1", "services.loadbalancers=1", "services.nodeports=2"]
        );
        let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"});
        assert_eq!(names(ingress), ["count/ingresses.networking.k8s.io=1"]);
        let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"});
        assert_eq!(names(policy), ["count/networkpolicies.networking.k8s.io=1"]);
    }
}
