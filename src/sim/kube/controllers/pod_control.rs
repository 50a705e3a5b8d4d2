//! What the controllers of pods share: which pods to delete first, hashes of templates, revisions of templates.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::object;
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;
use crate::sim::random::{Fnv, safe_name};

/// The label that ties a pod to the template it was made from, under a Deployment.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

/// The label that ties a pod to the template it was made from, under a `StatefulSet` or `DaemonSet`.
pub const REVISION_HASH: &str = "controller-revision-hash";

/// The hash of a pod template: equal templates have equal hashes in every run.
#[must_use]
pub fn hash_of(template: &Value) -> String {
    let mut hash = Fnv::default();
    serde_json::to_writer(&mut hash, template).expect("a hash takes anything");
    safe_name(hash.0)
}

/// True if the pod has been ready for at least `min_ready` seconds.
#[must_use]
pub fn available(cx: &Context<'_>, pod: &Value, min_ready: i64) -> bool {
    let Some(condition) = object::condition(pod, "Ready") else {
        return false;
    };
    if condition["status"] != "True" {
        return false;
    }
    let since = object::text(condition, &["lastTransitionTime"]);
    min_ready == 0 || cx.seconds_since(since).is_none_or(|seconds| seconds >= min_ready as f64)
}

/// Milliseconds until a ready pod has been so for `min_ready` seconds; `None` if it has, or is not ready.
#[must_use]
pub fn until_available(cx: &Context<'_>, pod: &Value, min_ready: i64) -> Option<u64> {
    let condition = object::condition(pod, "Ready").filter(|condition| condition["status"] == "True")?;
    let ready = cx.seconds_since(object::text(condition, &["lastTransitionTime"]))?;
    let left = min_ready as f64 - ready;
    (min_ready > 0 && left > 0.0).then(|| (left * 1000.0).ceil() as u64)
}

/// Sorts `pods` so that those to delete first come first: not scheduled, not running, not ready, cheap to delete,
/// with many siblings on their node, ready for the shortest time, restarted most, youngest.
pub fn rank_for_deletion(pods: &mut [Arc<Stored>]) {
    let mut on_node: BTreeMap<String, i64> = BTreeMap::new();
    for pod in pods.iter() {
        *on_node.entry(object::text(pod, &["spec", "nodeName"]).to_owned()).or_default() += 1;
    }
    pods.sort_by_cached_key(|pod| {
        let node = object::text(pod, &["spec", "nodeName"]);
        let phase = match object::text(pod, &["status", "phase"]) {
            "Pending" => 0,
            "Running" => 2,
            _ => 1,
        };
        let cost: i64 =
            object::annotation(pod, "controller.kubernetes.io/pod-deletion-cost").parse().unwrap_or(0);
        let ready_since =
            object::condition(pod, "Ready").map(|c| object::text(c, &["lastTransitionTime"]).to_owned());
        (
            !node.is_empty(),
            phase,
            object::ready(pod),
            cost,
            Reverse(on_node.get(node).copied().unwrap_or(0)),
            Reverse(ready_since),
            Reverse(restarts(pod)),
            Reverse(object::text(pod, &["metadata", "creationTimestamp"]).to_owned()),
        )
    });
}

/// The most restarts of any container of the pod.
#[must_use]
pub fn restarts(pod: &Value) -> i64 {
    object::items(pod, &["status", "containerStatuses"])
        .iter()
        .map(|status| object::count(status, &["restartCount"]))
        .max()
        .unwrap_or(0)
}

/// The name of the current `ControllerRevision` of `owner` (whose kind is given as `apiVersion`, `kind`), created
/// if its template is new; and the bare hash.
pub fn ensure_revision(
    cx: &mut Context<'_>,
    owner: &Value,
    owner_kind: (&str, &str),
    who: Controller,
) -> (String, String) {
    let template = object::at(owner, &["spec", "template"]);
    let hash = hash_of(template);
    let name = format!("{}-{hash}", object::name(owner));
    let known = cx.controlled(KindId::CONTROLLER_REVISIONS, object::uid(owner));
    let newest = known.iter().map(|revision| object::count(revision, &["revision"])).max().unwrap_or(0);
    match known.iter().find(|revision| object::name(revision) == name) {
        Some(found) if object::count(found, &["revision"]) == newest => {}
        Some(found) => {
            cx.modify(KindId::CONTROLLER_REVISIONS, found, who, |revision| {
                revision["revision"] = (newest + 1).into();
            });
        }
        None => {
            let labels = object::at(template, &["metadata", "labels"]).clone();
            let revision = json!({
                "apiVersion": "apps/v1",
                "kind": "ControllerRevision",
                "metadata": {
                    "name": name,
                    "namespace": object::namespace(owner),
                    "labels": labels,
                    "ownerReferences": [object::owner_reference(owner, owner_kind.0, owner_kind.1)],
                },
                "data": {"spec": {"template": template}},
                "revision": newest + 1,
            });
            // an equal revision that another controls would be a collision; the hash of a name makes that absurd
            let _ = cx.create(KindId::CONTROLLER_REVISIONS, revision, who);
        }
    }
    (name, hash)
}

/// The template stored in the `ControllerRevision` of that name.
#[must_use]
pub fn template_of_revision(cx: &Context<'_>, namespace: &str, name: &str) -> Option<Value> {
    let revision = cx.get(KindId::CONTROLLER_REVISIONS, namespace, name)?;
    Some(object::at(&revision, &["data", "spec", "template"]).clone())
}

/// Replaces the condition of the same type, keeping its transition time while the status stays; appends a new one.
pub fn set_condition(conditions: &mut Vec<Value>, mut condition: Value) {
    match conditions.iter_mut().find(|known| known["type"] == condition["type"]) {
        Some(known) => {
            if known["status"] == condition["status"] {
                condition["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}
