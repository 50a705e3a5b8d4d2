//! Whether a target has room for the most pods that the plan ever has there: quotas, limit ranges, nodes; and whether
//! autoscalers and budgets do what they should while two revisions are there.

use super::{Check, Level};
use crate::domain::ids::TargetId;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::quantity::{show, thousandths};
use crate::plan::Plan;
use crate::plan::peak::{self, Crowd, Moment};
use crate::ports::Cluster;
use crate::rollout::autoscaler;
use crate::rollout::footprint::{self, Footprint};
use crate::rollout::placement::{self, Ask, Standing};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// All of it.
pub(super) async fn check(plan: &Plan, target: &TargetId, cluster: &dyn Cluster) -> Vec<Check> {
    let names: Vec<ObjectRef> = peak::workloads(plan, target).into_iter().collect();
    if names.is_empty() {
        return Vec::new();
    }
    // A cluster that does not answer is told of by the others.
    let Ok(found) = cluster.get_all(&names).await else { return Vec::new() };
    let found = names.into_iter().zip(found);
    let live: BTreeMap<ObjectRef, Value> =
        found.filter_map(|(reference, live)| Some((reference, live?))).collect();
    let moments = peak::moments(plan, target, &live);
    let (quotas, room, scalers) = tokio::join!(
        quotas(&moments, target, cluster),
        room(&moments, target, cluster),
        autoscalers(plan, target, cluster),
    );
    let mut checks = [quotas, room, scalers].concat();
    checks.extend(budgets(plan, target, &moments));
    checks
}

/// What a namespace allows.
struct Namespace<'m> {
    name: &'m str,
    ranges: Vec<Value>,
    quotas: Vec<Value>,
}

async fn quotas(moments: &[Moment<'_>], target: &TargetId, cluster: &dyn Cluster) -> Vec<Check> {
    let names: BTreeSet<&str> =
        moments.iter().flat_map(|moment| moment.crowds.keys()).map(|name| name.namespace.as_str()).collect();
    let mut checks = Vec::new();
    let mut counted = 0;
    for name in names {
        let (ranges, quotas) =
            tokio::join!(cluster.list("v1", "LimitRange", name), cluster.list("v1", "ResourceQuota", name),);
        let (ranges, quotas) = match (ranges, quotas) {
            (Ok(ranges), Ok(quotas)) => (ranges, quotas),
            (Err(error), _) | (_, Err(error)) => {
                let detail = format!("not known: {error}");
                let check = Check::new(Level::Warn, Some(target), "quota", detail);
                checks.push(check.fix("allow list on resourcequotas and limitranges"));
                continue;
            }
        };
        counted += quotas.len();
        let namespace = Namespace { name, ranges, quotas };
        checks.extend(namespace.refusals(moments, target));
        checks.extend(namespace.quotas.iter().flat_map(|quota| namespace.judge(quota, moments, target)));
    }
    if checks.is_empty() && counted > 0 {
        let detail = format!("{counted} with room for {}", most(moments).map_or(0, |(_, more)| more));
        checks.push(Check::new(Level::Pass, Some(target), "quota", format!("{detail} more pods")));
    }
    checks
}

impl Namespace<'_> {
    /// Pods that a limit range, or a quota that counts what they do not say, refuses.
    fn refusals(&self, moments: &[Moment<'_>], target: &TargetId) -> Vec<Check> {
        let mut told: BTreeMap<String, String> = BTreeMap::new();
        for (name, crowd) in moments.iter().flat_map(|moment| &moment.crowds) {
            let made = crowd.pods > crowd.before || crowd.surge > 0;
            if name.namespace != self.name || !made {
                continue;
            }
            let pod = footprint::of(crowd.template, &self.ranges);
            for why in &pod.refused {
                told.insert(
                    format!("pods of {name} are refused by a LimitRange: {why}"),
                    "mend its resources".into(),
                );
            }
            for quota in self.quotas.iter().filter(|quota| counts(quota)) {
                for resource in hard(quota).keys() {
                    let key = if resource.contains('.') {
                        resource.clone()
                    } else {
                        format!("requests.{resource}")
                    };
                    if let Some(container) = pod.missing.get(&key) {
                        let quota = name_of(quota);
                        let detail = format!(
                            "pods of {name} are refused: ResourceQuota/{quota} counts {key}, and container {container} says none"
                        );
                        told.insert(
                            detail,
                            format!(
                                "set its resources.{key}, or give the namespace a LimitRange with a default"
                            ),
                        );
                    }
                }
            }
        }
        let check =
            |(detail, fix): (String, String)| Check::new(Level::Fail, Some(target), "quota", detail).fix(fix);
        told.into_iter().map(check).collect()
    }

    /// What a quota has too little of.
    fn judge(&self, quota: &Value, moments: &[Moment<'_>], target: &TargetId) -> Vec<Check> {
        if !counts(quota) {
            return Vec::new();
        }
        let used = amounts(&quota["status"]["used"]);
        let short = hard(quota).into_iter().filter_map(|(resource, hard)| {
            let used = i128::from(used.get(&resource).copied().unwrap_or(0));
            let left = i128::from(hard) - used;
            let (need, title) = self.peak(moments, &resource, false)?;
            let (surging, surge_title) = self.peak(moments, &resource, true)?;
            let text = |amount: i128| show(&plain(&resource), u64::try_from(amount.max(0)).unwrap_or(0));
            let (level, need, title) = if need > left && need > 0 {
                (Level::Fail, need, title)
            } else if surging > left && surging > 0 {
                (Level::Warn, surging, surge_title)
            } else {
                return None;
            };
            let name = name_of(quota);
            let (wanted, rest, all) = (count(&resource, need, &text), text(left), text(i128::from(hard)));
            let detail = format!("{title}: {wanted} more, {rest} of {all} are left in ResourceQuota/{name}");
            let by = text(need - left.max(0));
            let fix = format!(
                "raise hard.{resource} of ResourceQuota/{name} by {by}, or lower replicas or the steps"
            );
            let slower = "; without it the rollout only takes longer";
            let detail = if level == Level::Warn { format!("{detail}{slower}") } else { detail };
            Some(Check::new(level, Some(target), "quota", detail).fix(fix))
        });
        short.collect()
    }

    /// The most that the plan takes of a resource beyond what it takes now, and when.
    fn peak<'m>(&self, moments: &[Moment<'m>], resource: &str, surge: bool) -> Option<(i128, &'m str)> {
        let need = |moment: &Moment<'_>| -> i128 {
            let own = moment.crowds.iter().filter(|(name, _)| name.namespace == self.name);
            own.map(|(_, crowd)| {
                let one = |template| i128::from(taken(&footprint::of(template, &self.ranges), resource));
                let pods = crowd.pods + if surge { crowd.surge } else { 0 };
                let before = crowd.old.map_or(0, one) * i128::from(crowd.before);
                one(crowd.template) * i128::from(pods) - before
            })
            .sum()
        };
        // The first of equals.
        moments.iter().rev().map(|moment| (need(moment), moment.title)).max_by_key(|(need, _)| *need)
    }
}

/// `6 pods`, `1.5 requests.cpu`.
fn count(resource: &str, need: i128, text: &dyn Fn(i128) -> String) -> String {
    match resource {
        "pods" | "count/pods" => format!("{} pods", text(need)),
        _ => format!("{} of {resource}", text(need)),
    }
}

/// What one pod takes of a quota's resource.
fn taken(pod: &Footprint, resource: &str) -> u64 {
    match resource.split_once('.') {
        _ if matches!(resource, "pods" | "count/pods") => 1000,
        Some(("requests", name)) => pod.requests.get(name).copied().unwrap_or(0),
        Some(("limits", name)) => pod.limits.get(name).copied().unwrap_or(0),
        _ => pod.requests.get(resource).copied().unwrap_or(0),
    }
}

/// The resource without `requests.` or `limits.`.
fn plain(resource: &str) -> String {
    let name = resource.strip_prefix("requests.").or_else(|| resource.strip_prefix("limits."));
    name.unwrap_or(resource).to_owned()
}

/// Whether a quota counts usual pods: one for pods that end, or of one priority, does not.
fn counts(quota: &Value) -> bool {
    let scopes = quota["spec"]["scopes"].as_array().into_iter().flatten();
    let mut usual = scopes.map(|scope| matches!(scope.as_str(), Some("NotTerminating" | "NotBestEffort")));
    usual.all(|usual| usual) && quota["spec"].get("scopeSelector").is_none()
}

fn hard(quota: &Value) -> BTreeMap<String, u64> {
    let known = amounts(&quota["status"]["hard"]);
    if known.is_empty() { amounts(&quota["spec"]["hard"]) } else { known }
}

fn amounts(value: &Value) -> BTreeMap<String, u64> {
    let fields = value.as_object().into_iter().flatten();
    let amount =
        |value: &Value| thousandths(value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str());
    fields.filter_map(|(resource, value)| Some((resource.clone(), amount(value)?))).collect()
}

fn name_of(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// Pods beyond those that are there now, with those that its own rollout makes for a while.
fn more(crowd: &Crowd<'_>) -> u32 {
    (crowd.pods + crowd.surge).saturating_sub(crowd.before)
}

/// The moment with the most pods, and how many of them are new.
fn most<'a, 'm>(moments: &'a [Moment<'m>]) -> Option<(&'a Moment<'m>, u32)> {
    let all = |moment: &&Moment<'_>| -> i64 {
        let crowds = moment.crowds.values();
        crowds.map(|crowd| i64::from(crowd.pods + crowd.surge) - i64::from(crowd.before)).sum()
    };
    // The first of equals.
    let moment = moments.iter().rev().max_by_key(all).filter(|moment| all(moment) > 0)?;
    Some((moment, moment.crowds.values().map(more).sum()))
}

async fn room(moments: &[Moment<'_>], target: &TargetId, cluster: &dyn Cluster) -> Vec<Check> {
    let Some((moment, all)) = most(moments) else { return Vec::new() };
    let nodes = match cluster.rooms().await {
        Ok(nodes) => nodes,
        Err(error) => {
            let detail = format!("not known, nodes and pods may not be read: {error}");
            return vec![Check::new(Level::Pass, Some(target), "room", detail)];
        }
    };
    let namespaces: BTreeSet<&str> = moment.crowds.keys().map(|name| name.namespace.as_str()).collect();
    let mut pods = Vec::new();
    for namespace in &namespaces {
        // What limit ranges add is counted by the nodes, too; who may not read them is told of under `quota`.
        let ranges = cluster.list("v1", "LimitRange", namespace).await.unwrap_or_default();
        let standing = cluster.list("v1", "Pod", namespace).await.unwrap_or_default();
        pods.push((*namespace, ranges, standing));
    }
    let mut checks = Vec::new();
    for (namespace, ranges, standing) in &pods {
        let own =
            moment.crowds.iter().filter(|(name, crowd)| name.namespace == *namespace && more(crowd) > 0);
        let own: Vec<_> =
            own.map(|(name, crowd)| (name, crowd, footprint::of(crowd.template, ranges))).collect();
        let asks = own.iter().map(|(name, crowd, pod)| Ask {
            name: name.to_string(),
            count: more(crowd),
            requests: &pod.requests,
            template: crowd.template,
        });
        let labels: Vec<(&str, BTreeMap<String, String>)> = standing
            .iter()
            .filter(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")))
            .filter_map(|pod| Some((pod["spec"]["nodeName"].as_str()?, placement::labels(pod))))
            .collect();
        let standing: Vec<Standing<'_>> =
            labels.iter().map(|(node, labels)| Standing { node, labels }).collect();
        for left in placement::place(&nodes, &standing, &asks.collect::<Vec<_>>()) {
            let why = left.why.iter().map(|(why, nodes)| format!("{nodes} {why}"));
            let detail = format!(
                "{}: {} of {} new pods of {} find no place on {} nodes: {}",
                moment.title,
                left.left,
                left.asked,
                left.name,
                nodes.len(),
                why.collect::<Vec<_>>().join(", ")
            );
            let fix = if left.neighbours {
                "add `matchLabelKeys: [pod-template-hash]` to the rule, so that it counts one revision alone; or add nodes"
            } else {
                "add nodes (a cluster autoscaler does), or lower requests, replicas or the steps"
            };
            checks.push(Check::new(Level::Warn, Some(target), "room", detail).fix(fix));
        }
    }
    if checks.is_empty() {
        let detail = format!("{} nodes take the {all} more pods of {}", nodes.len(), moment.title);
        checks.push(Check::new(Level::Pass, Some(target), "room", detail));
    }
    checks
}

/// Autoscalers that would act against the run: two of one workload, or one that nobody turns to the new revision.
async fn autoscalers(plan: &Plan, target: &TargetId, cluster: &dyn Cluster) -> Vec<Check> {
    let Some(target_plan) = plan.targets.get(target) else { return Vec::new() };
    let inventory: Vec<&Object> = target_plan.inventory.iter().map(|index| &plan.objects[*index]).collect();
    let ours: Vec<&&Object> = inventory.iter().filter(|object| autoscaler::is_one(&object.value)).collect();
    let mut checks = Vec::new();
    for (place, one) in ours.iter().enumerate() {
        let rival = ours[..place].iter().find(|other| {
            autoscaler::target(&other.value) == autoscaler::target(&one.value)
                && other.reference().namespace == one.reference().namespace
        });
        if let Some(rival) = rival {
            let (kind, name) = autoscaler::target(&one.value);
            let (one, rival) = (one.reference(), rival.reference());
            let detail =
                format!("{rival} and {one} both scale {kind}/{name}: neither acts (AmbiguousSelector)");
            checks.push(Check::new(Level::Fail, Some(target), "autoscalers", detail).fix("keep one of them"));
        }
    }
    let workloads = peak::workloads(plan, target);
    let namespaces: BTreeSet<&str> = workloads.iter().map(|name| name.namespace.as_str()).collect();
    for namespace in namespaces {
        let live =
            cluster.list("autoscaling/v2", "HorizontalPodAutoscaler", namespace).await.unwrap_or_default();
        for hpa in &live {
            let (kind, name) = autoscaler::target(hpa);
            let scaled = workloads.iter().any(|workload| {
                workload.kind == kind && workload.name == name && workload.namespace == namespace
            });
            let known = ours.iter().any(|object| {
                object.reference().namespace == namespace
                    && autoscaler::measuring(&object.value) == name_of(hpa)
            });
            if scaled && !known {
                let own = name_of(hpa);
                let detail = format!(
                    "HorizontalPodAutoscaler/{own} scales {kind}/{name} and is in no manifest: nobody turns it to the new revision"
                );
                let fix = format!(
                    "put it among the component's manifests under its name, or kubectl delete hpa {own} -n {namespace}"
                );
                checks.push(Check::new(Level::Warn, Some(target), "autoscalers", detail).fix(fix));
            }
        }
    }
    checks
}

/// Budgets that count both revisions together, so that all pods of the one that serves might be evicted at once.
fn budgets(plan: &Plan, target: &TargetId, moments: &[Moment<'_>]) -> Vec<Check> {
    let Some(target_plan) = plan.targets.get(target) else { return Vec::new() };
    let inventory = target_plan.inventory.iter().map(|index| &plan.objects[*index]);
    let budgets = inventory.filter(|object| object.kind() == "PodDisruptionBudget");
    let mut checks = Vec::new();
    for budget in budgets {
        let reference = budget.reference();
        let is_matched = |name: &ObjectRef, crowd: &Crowd<'_>| {
            let selector = &budget.value["spec"]["selector"];
            name.namespace == reference.namespace
                && crowd.pods > 0
                && placement::selects(selector, &placement::labels(crowd.template))
        };
        let risky = moments.iter().find_map(|moment| {
            let matched = || moment.crowds.iter().filter(|(name, crowd)| is_matched(name, crowd));
            let all: u32 = matched().map(|(_, crowd)| crowd.pods).sum();
            let allowed = allowed(&budget.value["spec"], all);
            let (name, crowd) = matched().find(|(_, crowd)| crowd.before > 0)?;
            let risky = matched().count() > 1 && allowed >= crowd.pods;
            risky.then(|| (moment.title, name.name.clone(), crowd.pods, allowed, all))
        });
        if let Some((title, name, pods, allowed, all)) = risky {
            let detail = format!(
                "{title}: {reference} counts both revisions, {all} pods, and lets {allowed} be evicted at once: all {pods} of {name} may go"
            );
            let fix = "write `maxUnavailable: 1` in place of minAvailable";
            checks.push(Check::new(Level::Warn, Some(target), "budgets", detail).fix(fix));
        }
    }
    checks
}

/// Pods of `all` healthy ones that a budget lets be evicted: shares are rounded up.
fn allowed(spec: &Value, all: u32) -> u32 {
    let amount = |value: &Value| match value {
        Value::Number(pods) => pods.as_u64().map(|pods| pods as u32),
        Value::String(share) => {
            let percent: u32 = share.strip_suffix('%')?.parse().ok()?;
            Some((all * percent).div_ceil(100))
        }
        _ => None,
    };
    match (amount(&spec["minAvailable"]), amount(&spec["maxUnavailable"])) {
        (Some(least), _) => all.saturating_sub(least),
        (None, Some(most)) => most.min(all),
        (None, None) => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn budgets_allow_what_the_disruption_controller_allows() {
        for (spec, all, evicted) in [
            (json!({"minAvailable": 3}), 8, 5),
            (json!({"minAvailable": "50%"}), 5, 2),
            (json!({"maxUnavailable": 1}), 8, 1),
            (json!({"maxUnavailable": "25%"}), 5, 2),
            (json!({"minAvailable": 9}), 8, 0),
        ] {
            assert_eq!(allowed(&spec, all), evicted, "{spec} of {all}");
        }
    }
}
