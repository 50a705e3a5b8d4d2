//! `StatefulSets`: pods with names that stay, made in order, replaced in reverse order down to the partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::object;
use super::pod_control::{REVISION_HASH, available, ensure_revision, template_of_revision};
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;

const ME: Controller = Controller::StatefulSet;
const KIND: (&str, &str) = ("apps/v1", "StatefulSet");

/// What one look sees, and what it is about to say.
struct View {
    set: Arc<Stored>,
    pods: BTreeMap<i64, Arc<Stored>>,
    replicas: i64,
    min_ready: i64,
    partition: i64,
    in_order: bool,
    current: String,
    update: String,
    /// Pods of the current revision that this look has deleted.
    deleted_current: i64,
}

/// Looks at one `StatefulSet`.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(set) = cx.get(KindId::STATEFUL_SETS, namespace, name) else {
        return;
    };
    let (update, _) = ensure_revision(cx, &set, KIND, ME);
    let current = match object::text(&set, &["status", "currentRevision"]) {
        "" => update.clone(),
        known => known.to_owned(),
    };
    let pods: BTreeMap<i64, Arc<Stored>> = cx
        .controlled(KindId::PODS, object::uid(&set))
        .into_iter()
        .filter_map(|pod| Some((object::name(&pod).rsplit('-').next()?.parse().ok()?, pod)))
        .collect();
    let rolling = object::text(&set, &["spec", "updateStrategy", "type"]) != "OnDelete";
    let mut view = View {
        pods,
        replicas: object::number(&set, &["spec", "replicas"]).unwrap_or(1),
        min_ready: object::count(&set, &["spec", "minReadySeconds"]),
        partition: object::count(&set, &["spec", "updateStrategy", "rollingUpdate", "partition"]),
        in_order: object::text(&set, &["spec", "podManagementPolicy"]) != "Parallel",
        current,
        update,
        deleted_current: 0,
        set,
    };
    if !object::deleting(&view.set) && settle_replicas(cx, &view) && scale_down(cx, &view) && rolling {
        replace_outdated(cx, &mut view);
    }
    write_status(cx, &view, rolling);
    if view.min_ready > 0
        && view.pods.values().any(|pod| object::ready(pod) && !available(cx, pod, view.min_ready))
    {
        cx.again(ME, &view.set, 1000);
    }
}

/// Makes the pods that are missing; true if all are there and healthy (or order does not matter).
fn settle_replicas(cx: &mut Context<'_>, view: &View) -> bool {
    let mut settled = true;
    for ordinal in 0..view.replicas {
        let healthy = match view.pods.get(&ordinal) {
            None => {
                create_pod(cx, view, ordinal);
                false
            }
            Some(pod) if object::ended_pod(pod) && !object::deleting(pod) => {
                cx.delete(KindId::PODS, pod, ME);
                false
            }
            Some(pod) => !object::deleting(pod) && available(cx, pod, view.min_ready),
        };
        if !healthy {
            settled = false;
            if view.in_order {
                return false;
            }
        }
    }
    settled || !view.in_order
}

/// Deletes the highest surplus pod (all of them if order does not matter); true if none is surplus.
fn scale_down(cx: &mut Context<'_>, view: &View) -> bool {
    for (_, pod) in view.pods.range(view.replicas..).rev() {
        if !object::deleting(pod) && cx.delete(KindId::PODS, pod, ME) {
            let message = format!(
                "delete Pod {0} in StatefulSet {1} successful",
                object::name(pod),
                object::name(&view.set)
            );
            cx.event(&view.set, ME, false, "SuccessfulDelete", &message);
        }
        if view.in_order {
            return false;
        }
    }
    view.pods.range(view.replicas..).next().is_none()
}

/// Deletes the highest pod of an old revision, once every higher one is healthy.
fn replace_outdated(cx: &mut Context<'_>, view: &mut View) {
    for ordinal in (view.partition..view.replicas).rev() {
        let Some(pod) = view.pods.get(&ordinal).cloned() else {
            return;
        };
        if object::deleting(&pod) {
            return;
        }
        let revision = object::label(&pod, REVISION_HASH);
        if revision != view.update {
            view.deleted_current += i64::from(revision == view.current);
            if cx.delete(KindId::PODS, &pod, ME) {
                let message = format!(
                    "delete Pod {0} in StatefulSet {1} successful",
                    object::name(&pod),
                    object::name(&view.set)
                );
                cx.event(&view.set, ME, false, "SuccessfulDelete", &message);
            }
            return;
        }
        if !available(cx, &pod, view.min_ready) {
            return;
        }
    }
}

fn create_pod(cx: &mut Context<'_>, view: &View, ordinal: i64) {
    let set = &view.set;
    let revision = if ordinal < view.partition { &view.current } else { &view.update };
    let template = template_of_revision(cx, object::namespace(set), revision)
        .unwrap_or_else(|| object::at(set, &["spec", "template"]).clone());
    let name = format!("{}-{ordinal}", object::name(set));
    let mut pod = cx.pod_from(set, KIND, &template, &name);
    pod["metadata"]["generateName"] = format!("{}-", object::name(set)).into();
    let labels = &mut pod["metadata"]["labels"];
    labels["apps.kubernetes.io/pod-index"] = ordinal.to_string().into();
    labels[REVISION_HASH] = revision.as_str().into();
    labels["statefulset.kubernetes.io/pod-name"] = name.as_str().into();
    pod["spec"]["hostname"] = name.as_str().into();
    let service = object::text(set, &["spec", "serviceName"]);
    if !service.is_empty() {
        pod["spec"]["subdomain"] = service.into();
    }
    claim_volumes(cx, set, &mut pod, &name);
    match cx.create(KindId::PODS, pod, ME) {
        Ok(_) => {
            let message = format!("create Pod {name} in StatefulSet {} successful", object::name(set));
            cx.event(set, ME, false, "SuccessfulCreate", &message);
            cx.succeeded(ME, set);
        }
        Err(refused) => {
            let message = format!(
                "create Pod {name} in StatefulSet {} failed error: {}",
                object::name(set),
                refused.message
            );
            cx.event(set, ME, true, "FailedCreate", &message);
            cx.back_off(ME, set, 10);
        }
    }
}

fn claim_volumes(cx: &mut Context<'_>, set: &Value, pod: &mut Value, pod_name: &str) {
    for template in object::items(set, &["spec", "volumeClaimTemplates"]) {
        let claim = format!("{}-{pod_name}", object::name(template));
        if cx.get(KindId::PERSISTENT_VOLUME_CLAIMS, object::namespace(set), &claim).is_none() {
            let body = json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": claim,
                    "namespace": object::namespace(set),
                    "labels": object::at(set, &["spec", "selector", "matchLabels"]),
                    "finalizers": ["kubernetes.io/pvc-protection"],
                },
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            });
            // a claim that cannot be made leaves the pod pending, which says so
            let _ = cx.create(KindId::PERSISTENT_VOLUME_CLAIMS, body, ME);
        }
        let volume = json!({"name": object::name(template), "persistentVolumeClaim": {"claimName": claim}});
        match pod["spec"].get_mut("volumes").and_then(Value::as_array_mut) {
            Some(volumes) => volumes.push(volume),
            None => pod["spec"]["volumes"] = json!([volume]),
        }
    }
}

fn write_status(cx: &mut Context<'_>, view: &View, rolling: bool) {
    let pods = || view.pods.values().filter(|pod| !object::text(pod, &["status", "phase"]).is_empty());
    let of_revision = |revision: &str| {
        pods().filter(|pod| !object::deleting(pod) && object::label(pod, REVISION_HASH) == revision).count()
            as i64
    };
    let replicas = pods().count() as i64;
    let ready = pods().filter(|pod| object::ready(pod)).count() as i64;
    let usable = pods().filter(|pod| available(cx, pod, view.min_ready)).count() as i64;
    let updated = of_revision(&view.update);
    let mut current_replicas = of_revision(&view.current) - view.deleted_current;
    let mut current = view.current.as_str();
    if rolling && updated == view.replicas && ready == view.replicas && replicas == view.replicas {
        current = &view.update;
        current_replicas = updated;
    }
    let generation = object::generation(&view.set);
    cx.modify_status(KindId::STATEFUL_SETS, &view.set, ME, |set| {
        let mut status = json!({"observedGeneration": generation, "replicas": replicas});
        object::set_unless_zero(&mut status, "readyReplicas", ready);
        object::set_unless_zero(&mut status, "currentReplicas", current_replicas);
        object::set_unless_zero(&mut status, "updatedReplicas", updated);
        status["currentRevision"] = current.into();
        status["updateRevision"] = view.update.as_str().into();
        status["collisionCount"] = 0.into();
        status["availableReplicas"] = usable.into();
        set["status"] = status;
    });
}
