//! `ReplicaSets`: as many pods as asked, no more.

use std::sync::Arc;

use serde_json::{Value, json};

use super::object;
use super::pod_control::{available, rank_for_deletion, set_condition, until_available};
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;

const ME: Controller = Controller::ReplicaSet;

/// The wait after the first refused creation, in milliseconds; it doubles.
const FIRST_BACK_OFF: u64 = 10;

/// Looks at one `ReplicaSet`.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(set) = cx.get(KindId::REPLICA_SETS, namespace, name) else {
        return;
    };
    let pods = cx.controlled(KindId::PODS, object::uid(&set));
    let mut failure = None;
    if !object::deleting(&set) {
        failure = manage(cx, &set, &pods).err();
    }
    // the status tells of the pods as they were seen, so it lags one look behind
    write_status(cx, &set, &pods, failure.as_deref());
    if failure.is_some() {
        cx.back_off(ME, &set, FIRST_BACK_OFF);
    } else {
        cx.succeeded(ME, &set);
    }
    let min_ready = object::count(&set, &["spec", "minReadySeconds"]);
    let waits = pods.iter().filter_map(|pod| until_available(cx, pod, min_ready)).min();
    if let Some(wait) = waits {
        cx.again(ME, &set, wait);
    }
}

/// Creates what is missing or deletes what is too much; the first refusal ends a round of creations.
fn manage(cx: &mut Context<'_>, set: &Value, pods: &[Arc<Stored>]) -> Result<(), String> {
    let mut active: Vec<_> = pods.iter().filter(|pod| object::active_pod(pod)).cloned().collect();
    let wanted = object::count(set, &["spec", "replicas"]);
    let difference = wanted - active.len() as i64;
    for _ in 0..difference {
        create_pod(cx, set)?;
    }
    if difference < 0 {
        rank_for_deletion(&mut active);
        for pod in &active[..difference.unsigned_abs() as usize] {
            if cx.delete(KindId::PODS, pod, ME) {
                cx.event(set, ME, false, "SuccessfulDelete", &format!("Deleted pod: {}", object::name(pod)));
            }
        }
    }
    Ok(())
}

fn create_pod(cx: &mut Context<'_>, set: &Value) -> Result<(), String> {
    let prefix = format!("{}-", object::name(set));
    let name = format!("{prefix}{}", cx.random.suffix(5));
    let template = object::at(set, &["spec", "template"]);
    let mut pod = cx.pod_from(set, ("apps/v1", "ReplicaSet"), template, &name);
    pod["metadata"]["generateName"] = prefix.into();
    match cx.create(KindId::PODS, pod, ME) {
        Ok(_) => {
            cx.event(set, ME, false, "SuccessfulCreate", &format!("Created pod: {name}"));
            Ok(())
        }
        Err(refused) => {
            cx.event(set, ME, true, "FailedCreate", &format!("Error creating: {}", refused.message));
            Err(refused.message)
        }
    }
}

fn write_status(cx: &mut Context<'_>, set: &Value, pods: &[Arc<Stored>], failure: Option<&str>) {
    let template_labels = object::at(set, &["spec", "template", "metadata", "labels"]);
    let min_ready = object::count(set, &["spec", "minReadySeconds"]);
    let (mut replicas, mut labelled, mut ready, mut usable, mut terminating) = (0, 0, 0, 0, 0);
    for pod in pods {
        if object::ended_pod(pod) {
            continue;
        }
        if object::deleting(pod) {
            terminating += 1;
            continue;
        }
        replicas += 1;
        labelled +=
            i64::from(object::selects_plain(template_labels, object::at(pod, &["metadata", "labels"])));
        ready += i64::from(object::ready(pod));
        usable += i64::from(available(cx, pod, min_ready));
    }
    let stamp = cx.stamp();
    let generation = object::generation(set);
    cx.modify_status(KindId::REPLICA_SETS, set, ME, |set| {
        let mut conditions = object::items(set, &["status", "conditions"]).to_vec();
        let failing = conditions.iter().any(|condition| condition["type"] == "ReplicaFailure");
        match failure {
            // the first refusal stands until a round succeeds
            Some(message) if !failing => set_condition(
                &mut conditions,
                json!({"type": "ReplicaFailure", "status": "True", "lastTransitionTime": stamp,
                       "reason": "FailedCreate", "message": message}),
            ),
            Some(_) => {}
            None => conditions.retain(|condition| condition["type"] != "ReplicaFailure"),
        }
        let mut status = json!({"replicas": replicas});
        object::set_unless_zero(&mut status, "fullyLabeledReplicas", labelled);
        object::set_unless_zero(&mut status, "readyReplicas", ready);
        object::set_unless_zero(&mut status, "availableReplicas", usable);
        status["terminatingReplicas"] = terminating.into();
        status["observedGeneration"] = generation.into();
        if !conditions.is_empty() {
            status["conditions"] = conditions.into();
        }
        set["status"] = status;
    });
}
