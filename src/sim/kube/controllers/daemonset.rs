//! `DaemonSets`: one pod on every node that takes it, replaced a few at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::object;
use super::pod_control::{REVISION_HASH, available, ensure_revision};
use super::scheduler::{pinned_node, untolerated_taint};
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;

const ME: Controller = Controller::DaemonSet;
const KIND: (&str, &str) = ("apps/v1", "DaemonSet");

/// Taints that pods of a `DaemonSet` always tolerate.
const TOLERATED: [&str; 5] =
    ["not-ready", "unreachable", "disk-pressure", "memory-pressure", "unschedulable"];

/// Looks at one `DaemonSet`.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(set) = cx.get(KindId::DAEMON_SETS, namespace, name) else {
        return;
    };
    let (_, hash) = ensure_revision(cx, &set, KIND, ME);
    let mut by_node: BTreeMap<String, Vec<Arc<Stored>>> = BTreeMap::new();
    for pod in cx.controlled(KindId::PODS, object::uid(&set)) {
        let node = match object::text(&pod, &["spec", "nodeName"]) {
            "" => pinned_node(&pod).unwrap_or_default(),
            node => node,
        };
        by_node.entry(node.to_owned()).or_default().push(pod);
    }
    let nodes: Vec<String> = cx
        .list(KindId::NODES, None)
        .iter()
        .filter(|node| wants(&set, node))
        .map(|node| object::name(node).to_owned())
        .collect();
    let mut created = 0;
    if !object::deleting(&set) {
        created = place_pods(cx, &set, &hash, &nodes, &by_node);
        if created == 0 && object::text(&set, &["spec", "updateStrategy", "type"]) != "OnDelete" {
            replace_outdated(cx, &set, &hash, &nodes, &by_node);
        }
    }
    // a whole round of creations is seen before the status is written, a single one after
    if created > 1 {
        by_node.clear();
        for pod in cx.list(KindId::PODS, Some(namespace)) {
            if object::controlled_by(&pod, object::uid(&set)) {
                by_node.entry(pinned_node(&pod).unwrap_or_default().to_owned()).or_default().push(pod);
            }
        }
    }
    write_status(cx, &set, &hash, &nodes, &by_node);
}

/// True if the template's pods belong on `node`.
fn wants(set: &Value, node: &Value) -> bool {
    let spec = object::at(set, &["spec", "template", "spec"]);
    let labels = object::at(node, &["metadata", "labels"]);
    let selector = object::at(spec, &["nodeSelector"]);
    let selected =
        selector.as_object().is_none_or(serde_json::Map::is_empty) || object::selects_plain(selector, labels);
    let template = json!({"spec": {"tolerations": spec.get("tolerations")}});
    let tainted = untolerated_taint(&template, node).is_some_and(|taint| {
        !TOLERATED.iter().any(|known| taint.starts_with(&format!("node.kubernetes.io/{known}")))
    });
    selected && !tainted
}

/// Creates a pod where none is and deletes those of nodes that take none; returns how many were created.
fn place_pods(
    cx: &mut Context<'_>,
    set: &Value,
    hash: &str,
    nodes: &[String],
    by_node: &BTreeMap<String, Vec<Arc<Stored>>>,
) -> usize {
    let mut created = 0;
    for node in nodes {
        let pods = by_node.get(node).map_or(&[][..], Vec::as_slice);
        for pod in pods.iter().filter(|pod| object::ended_pod(pod) && !object::deleting(pod)) {
            cx.delete(KindId::PODS, pod, ME);
        }
        if pods.is_empty() {
            created += usize::from(create_pod(cx, set, hash, node));
        }
    }
    for (node, pods) in by_node {
        for pod in pods.iter().filter(|pod| !nodes.contains(node) && !object::deleting(pod)) {
            cx.delete(KindId::PODS, pod, ME);
        }
    }
    created
}

fn create_pod(cx: &mut Context<'_>, set: &Value, hash: &str, node: &str) -> bool {
    let prefix = format!("{}-", object::name(set));
    let name = format!("{prefix}{}", cx.random.suffix(5));
    let mut pod = cx.pod_from(set, KIND, object::at(set, &["spec", "template"]), &name);
    pod["metadata"]["generateName"] = prefix.into();
    pod["metadata"]["labels"][REVISION_HASH] = hash.into();
    pod["metadata"]["labels"]["pod-template-generation"] = object::generation(set).to_string().into();
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]});
    object::set(
        &mut pod,
        &[
            "spec",
            "affinity",
            "nodeAffinity",
            "requiredDuringSchedulingIgnoredDuringExecution",
            "nodeSelectorTerms",
        ],
        json!([term]),
    );
    let mut tolerations = object::items(&pod, &["spec", "tolerations"]).to_vec();
    for (place, taint) in TOLERATED.iter().enumerate() {
        let effect = if place < 2 { "NoExecute" } else { "NoSchedule" };
        tolerations.push(
            json!({"key": format!("node.kubernetes.io/{taint}"), "operator": "Exists", "effect": effect}),
        );
    }
    pod["spec"]["tolerations"] = tolerations.into();
    match cx.create(KindId::PODS, pod, ME) {
        Ok(_) => {
            cx.event(set, ME, false, "SuccessfulCreate", &format!("Created pod: {name}"));
            true
        }
        Err(refused) => {
            cx.event(set, ME, true, "FailedCreate", &format!("Error creating: {}", refused.message));
            cx.back_off(ME, set, 10);
            false
        }
    }
}

/// Deletes outdated pods: those that are not available at once, the others within `maxUnavailable`.
fn replace_outdated(
    cx: &mut Context<'_>,
    set: &Value,
    hash: &str,
    nodes: &[String],
    by_node: &BTreeMap<String, Vec<Arc<Stored>>>,
) {
    let most = object::at(set, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]);
    let most = object::share_of(most, nodes.len() as i64, true).unwrap_or(1).max(1);
    let min_ready = object::count(set, &["spec", "minReadySeconds"]);
    let (mut unavailable, mut candidates) = (0, Vec::new());
    for node in nodes {
        let pod = by_node.get(node).and_then(|pods| pods.iter().find(|pod| !object::deleting(pod)));
        let Some(pod) = pod else {
            unavailable += 1;
            continue;
        };
        let usable = available(cx, pod, min_ready);
        unavailable += i64::from(!usable);
        if object::label(pod, REVISION_HASH) != hash {
            candidates.push((usable, Arc::clone(pod)));
        }
    }
    candidates.sort_by_key(|(usable, _)| *usable);
    let mut budget = most - unavailable;
    for (usable, pod) in candidates {
        if usable && budget <= 0 {
            return;
        }
        budget -= i64::from(usable);
        if cx.delete(KindId::PODS, &pod, ME) {
            cx.event(set, ME, false, "SuccessfulDelete", &format!("Deleted pod: {}", object::name(&pod)));
        }
    }
}

fn write_status(
    cx: &mut Context<'_>,
    set: &Value,
    hash: &str,
    nodes: &[String],
    by_node: &BTreeMap<String, Vec<Arc<Stored>>>,
) {
    let min_ready = object::count(set, &["spec", "minReadySeconds"]);
    let (mut current, mut ready, mut usable, mut updated) = (0, 0, 0, 0);
    for pod in nodes.iter().filter_map(|node| by_node.get(node)?.first()) {
        current += 1;
        ready += i64::from(object::ready(pod));
        usable += i64::from(available(cx, pod, min_ready));
        updated += i64::from(object::label(pod, REVISION_HASH) == hash);
    }
    let misplaced = by_node.keys().filter(|node| !nodes.contains(node)).count() as i64;
    let generation = object::generation(set);
    let desired = nodes.len() as i64;
    cx.modify_status(KindId::DAEMON_SETS, set, ME, |set| {
        let mut status = json!({
            "currentNumberScheduled": current,
            "numberMisscheduled": misplaced,
            "desiredNumberScheduled": desired,
            "numberReady": ready,
            "observedGeneration": generation,
        });
        object::set_unless_zero(&mut status, "updatedNumberScheduled", updated);
        object::set_unless_zero(&mut status, "numberAvailable", usable);
        object::set_unless_zero(&mut status, "numberUnavailable", desired - usable);
        set["status"] = status;
    });
}
