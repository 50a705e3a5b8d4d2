//! What a Deployment says of itself: counts, and the conditions Available, Progressing and `ReplicaFailure`.

use serde_json::{Value, json};

use super::{ME, REVISION, View};
use crate::sim::kube::controllers::{Context, object};
use crate::sim::kube::kinds::KindId;

struct Counts {
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
    unavailable: i64,
    terminating: i64,
}

impl Counts {
    fn of(view: &View) -> Self {
        let available = view.total(&["status", "availableReplicas"]);
        Self {
            replicas: view.total(&["status", "replicas"]),
            updated: view.new_set().map_or(0, |set| object::count(set, &["status", "replicas"])),
            ready: view.total(&["status", "readyReplicas"]),
            available,
            unavailable: (view.total(&["spec", "replicas"]) - available).max(0),
            terminating: view.total(&["status", "terminatingReplicas"]),
        }
    }

    fn complete(&self, wanted: i64) -> bool {
        self.updated == wanted && self.replicas == wanted && self.available == wanted
    }

    fn progressing_from(&self, old: &Value) -> bool {
        let was = |key: &str| object::count(old, &[key]);
        self.updated > was("updatedReplicas")
            || self.replicas - self.updated < was("replicas") - was("updatedReplicas")
            || self.ready > was("readyReplicas")
            || self.available > was("availableReplicas")
    }
}

/// True if the roll-out is over and nothing of the old templates is left.
pub fn complete(view: &View) -> bool {
    Counts::of(view).complete(view.replicas)
}

/// Writes the status that follows from the `ReplicaSets`, if it says anything new.
pub fn write(cx: &mut Context<'_>, view: &View) {
    let counts = Counts::of(view);
    let deployment = &view.deployment;
    let mut conditions = object::items(deployment, &["status", "conditions"]).to_vec();
    set_available(cx, view, &counts, &mut conditions);
    let deadline =
        object::number(deployment, &["spec", "progressDeadlineSeconds"]).filter(|d| *d < i64::from(i32::MAX));
    let mut wait = None;
    if let Some(deadline) = deadline
        && !view.paused
        && !object::deleting(deployment)
    {
        wait = set_progressing(cx, view, &counts, deadline, &mut conditions);
    }
    set_replica_failure(cx, view, &mut conditions);
    let generation = object::generation(deployment);
    cx.modify_status(KindId::DEPLOYMENTS, deployment, ME, |deployment| {
        let mut status = json!({"observedGeneration": generation});
        object::set_unless_zero(&mut status, "replicas", counts.replicas);
        object::set_unless_zero(&mut status, "updatedReplicas", counts.updated);
        object::set_unless_zero(&mut status, "readyReplicas", counts.ready);
        object::set_unless_zero(&mut status, "availableReplicas", counts.available);
        object::set_unless_zero(&mut status, "unavailableReplicas", counts.unavailable);
        status["terminatingReplicas"] = counts.terminating.into();
        status["conditions"] = conditions.into();
        deployment["status"] = status;
    });
    if let Some(seconds) = wait {
        cx.again(ME, deployment, (seconds * 1000.0).max(50.0) as u64);
    }
}

fn condition(cx: &Context<'_>, kind: &str, holds: bool, reason: &str, message: &str) -> Value {
    let stamp = cx.stamp();
    json!({
        "type": kind,
        "status": if holds { "True" } else { "False" },
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    })
}

/// Puts a condition at the end of the list, as the controller does whenever status or reason changes.
fn replace(conditions: &mut Vec<Value>, mut new: Value) {
    if let Some(at) = conditions.iter().position(|known| known["type"] == new["type"]) {
        let known = conditions.remove(at);
        if known["status"] == new["status"] {
            new["lastTransitionTime"] = known["lastTransitionTime"].clone();
        }
    }
    conditions.push(new);
}

fn set_available(cx: &Context<'_>, view: &View, counts: &Counts, conditions: &mut Vec<Value>) {
    let enough = counts.available >= view.replicas - view.max_unavailable;
    let new = if enough {
        condition(cx, "Available", true, "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        let message = "Deployment does not have minimum availability.";
        condition(cx, "Available", false, "MinimumReplicasUnavailable", message)
    };
    let same = conditions.iter().any(|known| {
        known["type"] == "Available" && known["status"] == new["status"] && known["reason"] == new["reason"]
    });
    if !same {
        replace(conditions, new);
    }
}

/// Judges progress; returns the seconds until the deadline must be looked at again.
fn set_progressing(
    cx: &Context<'_>,
    view: &View,
    counts: &Counts,
    deadline: i64,
    conditions: &mut Vec<Value>,
) -> Option<f64> {
    let current = conditions.iter().find(|known| known["type"] == "Progressing").cloned();
    let reason = current.as_ref().map_or("", |known| object::text(known, &["reason"]));
    if reason == "NewReplicaSetAvailable" && counts.replicas == counts.updated {
        return None;
    }
    let set = &view.new_name;
    if counts.complete(view.replicas) {
        let message = format!("ReplicaSet \"{set}\" has successfully progressed.");
        let new = condition(cx, "Progressing", true, "NewReplicaSetAvailable", &message);
        if reason != "NewReplicaSetAvailable" {
            replace(conditions, new);
        }
        return None;
    }
    if counts.progressing_from(object::at(&view.deployment, &["status"])) {
        let message = format!("ReplicaSet \"{set}\" is progressing.");
        replace(conditions, condition(cx, "Progressing", true, "ReplicaSetUpdated", &message));
        return Some(deadline as f64 + 1.0);
    }
    let current = current.as_ref()?;
    if matches!(reason, "ProgressDeadlineExceeded" | "NewReplicaSetAvailable") {
        return None;
    }
    let waited = cx.seconds_since(object::text(current, &["lastUpdateTime"])).unwrap_or(0.0);
    if waited < deadline as f64 {
        return Some(deadline as f64 - waited + 0.1);
    }
    let message = format!("ReplicaSet \"{set}\" has timed out progressing.");
    replace(conditions, condition(cx, "Progressing", false, "ProgressDeadlineExceeded", &message));
    None
}

fn set_replica_failure(cx: &Context<'_>, view: &View, conditions: &mut Vec<Value>) {
    let failure = view.new_set().and_then(|set| object::condition(set, "ReplicaFailure"));
    match failure {
        Some(failure) => {
            let (reason, message) = (object::text(failure, &["reason"]), object::text(failure, &["message"]));
            let new = condition(cx, "ReplicaFailure", true, reason, message);
            let same =
                conditions.iter().any(|known| known["type"] == "ReplicaFailure" && known["reason"] == reason);
            if !same {
                replace(conditions, new);
            }
        }
        None => conditions.retain(|known| known["type"] != "ReplicaFailure"),
    }
}

/// The first status of a template: its `ReplicaSet` was made. The counts follow with the next look.
pub fn note_created(cx: &mut Context<'_>, view: &View, revision: i64) {
    let message = format!("Created new replica set \"{}\"", view.new_name);
    let new = condition(cx, "Progressing", true, "NewReplicaSetCreated", &message);
    let judged = object::number(&view.deployment, &["spec", "progressDeadlineSeconds"]).is_some();
    cx.modify_status(KindId::DEPLOYMENTS, &view.deployment, ME, |deployment| {
        object::set(deployment, &["metadata", "annotations", REVISION], revision.to_string().into());
        if judged {
            let mut conditions = object::items(deployment, &["status", "conditions"]).to_vec();
            replace(&mut conditions, new);
            object::set(deployment, &["status", "conditions"], conditions.into());
        }
    });
}

/// A paused Deployment is not judged by its deadline: the condition says when it was paused and when resumed.
/// True if that was written, and another look follows.
pub fn note_paused(cx: &mut Context<'_>, view: &View) -> bool {
    let judged = object::number(&view.deployment, &["spec", "progressDeadlineSeconds"]).is_some();
    let known = object::condition(&view.deployment, "Progressing");
    let reason = known.map_or("", |known| object::text(known, &["reason"]));
    let was_paused = reason == "DeploymentPaused";
    if !judged || was_paused == view.paused || (view.paused && reason == "ProgressDeadlineExceeded") {
        return false;
    }
    let (reason, message) = if view.paused {
        ("DeploymentPaused", "Deployment is paused")
    } else {
        ("DeploymentResumed", "Deployment is resumed")
    };
    let mut new = condition(cx, "Progressing", true, reason, message);
    new["status"] = "Unknown".into();
    cx.modify_status(KindId::DEPLOYMENTS, &view.deployment, ME, |deployment| {
        let mut conditions = object::items(deployment, &["status", "conditions"]).to_vec();
        replace(&mut conditions, new);
        object::set(deployment, &["status", "conditions"], conditions.into());
    });
    true
}
