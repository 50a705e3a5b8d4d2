//! Volumes: claims are bound by a default storage class, or wait; a claim in use is not removed.

use serde_json::{Value, json};

use super::object;
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::quantity::nanos;

const ME: Controller = Controller::PersistentVolume;
const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// How often a claim that nothing provisions is complained about, in milliseconds.
const RETRY: u64 = 15_000;

/// How long a volume takes to be made, in milliseconds.
const PROVISIONING: (u64, u64) = (600, 2_500);

/// Looks at one claim.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(claim) = cx.get(KindId::PERSISTENT_VOLUME_CLAIMS, namespace, name) else {
        return;
    };
    if object::deleting(&claim) {
        release(cx, &claim);
        return;
    }
    if object::text(&claim, &["status", "phase"]) == "Bound" {
        expand(cx, &claim);
        return;
    }
    let class = object::text(&claim, &["spec", "storageClassName"]);
    if class.is_empty() && !cx.settings.default_storage_class {
        let message = "no persistent volumes available for this claim and no storage class is set";
        cx.event(&claim, ME, false, "FailedBinding", message);
        cx.again(ME, &claim, RETRY);
        return;
    }
    if waits_for_pod(cx, &claim) && !is_placed(cx, &claim) {
        cx.again(ME, &claim, PROVISIONING.0);
        return;
    }
    let age = cx.seconds_since(object::text(&claim, &["metadata", "creationTimestamp"])).unwrap_or(1.0);
    if age < PROVISIONING.0 as f64 / 1000.0 {
        let wait = cx.random.millis(PROVISIONING);
        cx.again(ME, &claim, wait);
        return;
    }
    provision(cx, &claim);
}

/// Whether a claim's class makes the volume only once a pod that mounts it has a node.
pub(super) fn waits_for_pod(cx: &Context<'_>, claim: &Value) -> bool {
    let class = object::text(claim, &["spec", "storageClassName"]);
    let class = cx.get(KindId::STORAGE_CLASSES, "", class);
    class.is_some_and(|class| object::text(&class, &["volumeBindingMode"]) == "WaitForFirstConsumer")
}

fn is_placed(cx: &Context<'_>, claim: &Value) -> bool {
    let mounts = |pod: &Value| {
        let mut volumes = object::items(pod, &["spec", "volumes"]).iter();
        volumes.any(|volume| {
            object::text(volume, &["persistentVolumeClaim", "claimName"]) == object::name(claim)
        })
    };
    let pods = cx.list(KindId::PODS, Some(object::namespace(claim)));
    pods.iter().any(|pod| mounts(pod) && !object::text(pod, &["spec", "nodeName"]).is_empty())
}

fn provision(cx: &mut Context<'_>, claim: &Value) {
    let volume = format!("pvc-{}", object::uid(claim));
    let class = match object::text(claim, &["spec", "storageClassName"]) {
        "" => "standard".to_owned(),
        class => class.to_owned(),
    };
    let (modes, requests) =
        (claim["spec"]["accessModes"].clone(), claim["spec"]["resources"]["requests"].clone());
    let body = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": volume},
        "spec": {
            "capacity": requests, "accessModes": modes, "storageClassName": class,
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": object::namespace(claim),
                "name": object::name(claim), "uid": object::uid(claim),
            },
        },
        "status": {"phase": "Bound"},
    });
    // made already if an earlier look was cut short
    let _ = cx.create(KindId::PERSISTENT_VOLUMES, body, ME);
    cx.modify(KindId::PERSISTENT_VOLUME_CLAIMS, claim, ME, |claim| {
        claim["spec"]["volumeName"] = volume.as_str().into();
        claim["spec"]["storageClassName"] = class.into();
    });
    cx.modify_status(KindId::PERSISTENT_VOLUME_CLAIMS, claim, ME, |claim| {
        claim["status"] = json!({"phase": "Bound", "accessModes": modes, "capacity": requests});
    });
    let message = format!("Successfully provisioned volume {volume}");
    cx.event(claim, ME, false, "ProvisioningSucceeded", &message);
    let waiting: Vec<_> = cx
        .list(KindId::PODS, Some(object::namespace(claim)))
        .into_iter()
        .filter(|pod| super::scheduler::waiting(pod))
        .collect();
    for pod in waiting {
        cx.again(Controller::Scheduler, &pod, 5);
    }
}

/// Makes the volume of a claim as large as the claim asks; none shrinks.
fn expand(cx: &mut Context<'_>, claim: &Value) {
    let asked = claim["spec"]["resources"]["requests"]["storage"].clone();
    let amount = |size: &Value| size.as_str().and_then(nanos);
    if amount(&asked) <= amount(&claim["status"]["capacity"]["storage"]) {
        return;
    }
    if let Some(volume) = cx.get(KindId::PERSISTENT_VOLUMES, "", object::text(claim, &["spec", "volumeName"]))
    {
        cx.modify(KindId::PERSISTENT_VOLUMES, &volume, ME, |volume| {
            volume["spec"]["capacity"]["storage"] = asked.clone();
        });
    }
    cx.modify_status(KindId::PERSISTENT_VOLUME_CLAIMS, claim, ME, |claim| {
        claim["status"]["capacity"]["storage"] = asked.clone();
    });
}

/// Lets a claim go when no pod uses it.
fn release(cx: &mut Context<'_>, claim: &Value) {
    let in_use = cx.store.iter(KindId::PODS, Some(object::namespace(claim))).any(|pod| {
        !object::ended_pod(pod)
            && object::items(pod, &["spec", "volumes"]).iter().any(|volume| {
                object::text(volume, &["persistentVolumeClaim", "claimName"]) == object::name(claim)
            })
    });
    if in_use {
        cx.again(ME, claim, 1_000);
        return;
    }
    let volume = object::text(claim, &["spec", "volumeName"]);
    if let Some(volume) = cx.get(KindId::PERSISTENT_VOLUMES, "", volume) {
        cx.delete(KindId::PERSISTENT_VOLUMES, &volume, ME);
    }
    cx.modify(KindId::PERSISTENT_VOLUME_CLAIMS, claim, ME, |claim| {
        let mut finalizers = object::items(claim, &["metadata", "finalizers"]).to_vec();
        finalizers.retain(|one| one != PROTECTION);
        claim["metadata"]["finalizers"] = finalizers.into();
    });
}
