//! Deployments: a `ReplicaSet` per template, moved from the old ones to the new one within surge and unavailability.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::object;
use super::pod_control::{TEMPLATE_HASH, hash_of};
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;

mod rolling;
mod status;

const ME: Controller = Controller::Deployment;
const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

/// What one look sees: the Deployment and its `ReplicaSets`, oldest first.
struct View {
    deployment: Arc<Stored>,
    /// All `ReplicaSets`, as they were when the look began.
    sets: Vec<Arc<Stored>>,
    /// The name of the `ReplicaSet` of the current template.
    new_name: String,
    replicas: i64,
    max_surge: i64,
    max_unavailable: i64,
    recreate: bool,
    paused: bool,
}

impl View {
    fn of(cx: &Context<'_>, deployment: Arc<Stored>) -> Self {
        let mut sets = cx.controlled(KindId::REPLICA_SETS, object::uid(&deployment));
        sets.sort_by_cached_key(|set| {
            (
                object::text(set, &["metadata", "creationTimestamp"]).to_owned(),
                revision_of(set),
                object::name(set).to_owned(),
            )
        });
        let replicas = object::number(&deployment, &["spec", "replicas"]).unwrap_or(1);
        let recreate = object::text(&deployment, &["spec", "strategy", "type"]) == "Recreate";
        let (max_surge, max_unavailable) = bounds(&deployment, replicas, recreate);
        let hash = hash_of(object::at(&deployment, &["spec", "template"]));
        Self {
            new_name: format!("{}-{hash}", object::name(&deployment)),
            sets,
            replicas,
            max_surge,
            max_unavailable,
            recreate,
            paused: deployment["spec"]["paused"] == true,
            deployment,
        }
    }

    fn new_set(&self) -> Option<&Arc<Stored>> {
        self.sets.iter().find(|set| object::name(set) == self.new_name)
    }

    fn old_sets(&self) -> impl Iterator<Item = &Arc<Stored>> {
        self.sets.iter().filter(|set| object::name(set) != self.new_name)
    }

    fn total(&self, path: &[&str]) -> i64 {
        self.sets.iter().map(|set| object::count(set, path)).sum()
    }
}

/// (`maxSurge`, `maxUnavailable`) in pods; never both zero.
fn bounds(deployment: &Value, replicas: i64, recreate: bool) -> (i64, i64) {
    if recreate {
        return (0, replicas);
    }
    let rolling = object::at(deployment, &["spec", "strategy", "rollingUpdate"]);
    let quarter = json!("25%");
    let given = |key: &str| match rolling.get(key) {
        Some(value) if !value.is_null() => value.clone(),
        _ => quarter.clone(),
    };
    let surge = object::share_of(&given("maxSurge"), replicas, true).unwrap_or(0);
    let unavailable = object::share_of(&given("maxUnavailable"), replicas, false).unwrap_or(0).min(replicas);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn revision_of(set: &Value) -> i64 {
    object::annotation(set, REVISION).parse().unwrap_or(0)
}

/// Looks at one Deployment.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(deployment) = cx.get(KindId::DEPLOYMENTS, namespace, name) else {
        return;
    };
    let view = View::of(cx, deployment);
    if object::deleting(&view.deployment) {
        status::write(cx, &view);
        return;
    }
    if status::note_paused(cx, &view) {
        return;
    }
    if view.paused {
        rolling::scale(cx, &view);
        status::write(cx, &view);
        return;
    }
    if needs_scaling(&view) {
        rolling::scale(cx, &view);
        status::write(cx, &view);
        return;
    }
    if view.recreate && old_pods_remain(cx, &view) {
        rolling::scale_down_all_old(cx, &view);
        status::write(cx, &view);
        return;
    }
    match settle_new_set(cx, &view) {
        // another look follows from the write: this one's view is stale
        Settled::Created => {}
        Settled::Renumbered => {
            let view = View::of(cx, Arc::clone(&view.deployment));
            rolling::step(cx, &view);
        }
        Settled::Unchanged => {
            if !rolling::step(cx, &view) && status::complete(&view) {
                clean_up(cx, &view);
            }
            status::write(cx, &view);
        }
    }
}

/// True if `spec.replicas` changed since the `ReplicaSets` were last scaled.
fn needs_scaling(view: &View) -> bool {
    view.sets.iter().filter(|set| object::count(set, &["spec", "replicas"]) > 0).any(|set| {
        object::annotation(set, DESIRED).parse::<i64>().is_ok_and(|desired| desired != view.replicas)
    })
}

/// Recreate makes new pods only when no old one runs any more.
fn old_pods_remain(cx: &Context<'_>, view: &View) -> bool {
    view.old_sets().any(|set| {
        object::count(set, &["spec", "replicas"]) > 0
            || cx.controlled(KindId::PODS, object::uid(set)).iter().any(|pod| !object::ended_pod(pod))
    })
}

enum Settled {
    Unchanged,
    Renumbered,
    Created,
}

/// Makes sure that the `ReplicaSet` of the current template is there and carries the newest revision.
fn settle_new_set(cx: &mut Context<'_>, view: &View) -> Settled {
    let newest_old = view.old_sets().map(|set| revision_of(set)).max().unwrap_or(0);
    let Some(set) = view.new_set() else {
        create_new_set(cx, view, newest_old + 1);
        return Settled::Created;
    };
    let mut revision = revision_of(set);
    let mut changed = false;
    if revision <= newest_old {
        let before = revision;
        revision = newest_old + 1;
        changed = true;
        cx.modify(KindId::REPLICA_SETS, set, ME, |set| {
            let history = object::annotation(set, HISTORY);
            let history = if history.is_empty() { before.to_string() } else { format!("{history},{before}") };
            let annotations = &mut set["metadata"]["annotations"];
            annotations[REVISION] = revision.to_string().into();
            annotations[HISTORY] = history.into();
        });
    }
    let text = revision.to_string();
    if object::annotation(&view.deployment, REVISION) != text {
        changed = true;
        cx.modify_status(KindId::DEPLOYMENTS, &view.deployment, ME, |deployment| {
            object::set(deployment, &["metadata", "annotations", REVISION], text.into());
        });
    }
    if changed { Settled::Renumbered } else { Settled::Unchanged }
}

fn create_new_set(cx: &mut Context<'_>, view: &View, revision: i64) {
    let deployment = &view.deployment;
    let hash = view.new_name[object::name(deployment).len() + 1..].to_owned();
    let mut template = object::at(deployment, &["spec", "template"]).clone();
    object::set(&mut template, &["metadata", "labels", TEMPLATE_HASH], hash.clone().into());
    let mut selector = object::at(deployment, &["spec", "selector"]).clone();
    object::set(&mut selector, &["matchLabels", TEMPLATE_HASH], hash.into());
    let replicas = rolling::new_set_size(view, 0);
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": view.new_name,
            "namespace": object::namespace(deployment),
            "labels": template["metadata"]["labels"],
            "annotations": annotations_of_set(view, revision),
            "ownerReferences": [object::owner_reference(deployment, "apps/v1", "Deployment")],
        },
        "spec": {
            "replicas": replicas,
            "selector": selector,
            "template": template,
            "minReadySeconds": object::count(deployment, &["spec", "minReadySeconds"]),
        },
        "status": {"replicas": 0},
    });
    let refused = cx.create(KindId::REPLICA_SETS, set, ME).err();
    if let Some(refused) = refused {
        let message = format!("Failed to create new replica set \"{}\": {}", view.new_name, refused.message);
        cx.event(deployment, ME, true, "ReplicaSetCreateError", &message);
        cx.back_off(ME, deployment, 100);
        return;
    }
    cx.succeeded(ME, deployment);
    status::note_created(cx, view, revision);
    if replicas > 0 {
        let message = format!("Scaled up replica set {} from 0 to {replicas}", view.new_name);
        cx.event(deployment, ME, false, "ScalingReplicaSet", &message);
    }
}

fn annotations_of_set(view: &View, revision: i64) -> Value {
    let mut annotations = Map::new();
    let own = object::at(&view.deployment, &["metadata", "annotations"]);
    for (key, value) in own.as_object().into_iter().flatten() {
        if key != "kubectl.kubernetes.io/last-applied-configuration"
            && !key.starts_with("deployment.kubernetes.io/")
        {
            annotations.insert(key.clone(), value.clone());
        }
    }
    annotations.insert(DESIRED.into(), view.replicas.to_string().into());
    annotations.insert(MAXIMUM.into(), (view.replicas + view.max_surge).to_string().into());
    annotations.insert(REVISION.into(), revision.to_string().into());
    Value::Object(annotations)
}

/// Deletes the oldest empty `ReplicaSets` beyond `revisionHistoryLimit`.
fn clean_up(cx: &mut Context<'_>, view: &View) {
    let limit = object::number(&view.deployment, &["spec", "revisionHistoryLimit"]).unwrap_or(10);
    let mut old: Vec<_> = view.old_sets().cloned().collect();
    let surplus = old.len() as i64 - limit;
    if surplus <= 0 {
        return;
    }
    old.sort_by_cached_key(|set| revision_of(set));
    for set in &old[..surplus as usize] {
        let empty = object::count(set, &["spec", "replicas"]) == 0
            && object::count(set, &["status", "replicas"]) == 0;
        if empty && !object::deleting(set) {
            cx.delete(KindId::REPLICA_SETS, set, ME);
        }
    }
}
