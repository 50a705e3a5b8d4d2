//! `ResourceQuotas`: what a namespace has used up.

use serde_json::{Map, Value};

use super::object;
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Store;

const ME: Controller = Controller::ResourceQuota;

/// True if objects of `kind` can be counted by a quota.
#[must_use]
pub fn counted(kind: KindId) -> bool {
    kind != KindId::EVENTS && kind != KindId::ENDPOINT_SLICES && kind != KindId::LEASES
}

/// Looks at one quota.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(quota) = cx.get(KindId::RESOURCE_QUOTAS, namespace, name) else {
        return;
    };
    let hard = object::at(&quota, &["spec", "hard"]).clone();
    let used: Map<String, Value> = hard
        .as_object()
        .into_iter()
        .flatten()
        .map(|(resource, _)| (resource.clone(), used(cx.store, namespace, resource)))
        .map(|(resource, used)| (resource.clone(), text_of(&resource, used).into()))
        .collect();
    cx.modify_status(KindId::RESOURCE_QUOTAS, &quota, ME, |quota| {
        quota["status"] = serde_json::json!({"hard": hard, "used": used});
    });
}

/// The amount of `resource` that `namespace` uses: thousandths of a core, bytes, or objects.
#[must_use]
pub fn used(store: &Store, namespace: &str, resource: &str) -> i64 {
    let pods = || {
        store
            .iter(KindId::PODS, Some(namespace))
            .filter(|pod| !object::ended_pod(pod))
            .map(|pod| of_pod(pod, resource))
    };
    match resource {
        "pods" => pods().count() as i64,
        "services" => store.iter(KindId::SERVICES, Some(namespace)).count() as i64,
        "services.loadbalancers" => store
            .iter(KindId::SERVICES, Some(namespace))
            .filter(|service| object::text(service, &["spec", "type"]) == "LoadBalancer")
            .count() as i64,
        "configmaps" => store.iter(KindId::CONFIG_MAPS, Some(namespace)).count() as i64,
        "secrets" => store.iter(KindId::SECRETS, Some(namespace)).count() as i64,
        "persistentvolumeclaims" => {
            store.iter(KindId::PERSISTENT_VOLUME_CLAIMS, Some(namespace)).count() as i64
        }
        _ => match resource.strip_prefix("count/") {
            Some(counted) => {
                let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
                store.kind(group, plural).map_or(0, |kind| store.iter(kind, Some(namespace)).count() as i64)
            }
            None => pods().sum(),
        },
    }
}

/// What one pod takes of `resource`.
#[must_use]
pub fn of_pod(pod: &Value, resource: &str) -> i64 {
    let (part, name) = match resource.split_once('.') {
        Some((part @ ("requests" | "limits"), name)) => (part, name),
        _ => ("requests", resource),
    };
    match name {
        "pods" => 1,
        "cpu" | "memory" | "nvidia.com/gpu" | "ephemeral-storage" => {
            object::items(pod, &["spec", "containers"])
                .iter()
                .map(|container| {
                    let value = object::at(container, &["resources", part, name]);
                    if name == "cpu" { object::cpu_millis(value) } else { object::quantity(value) }
                })
                .sum()
        }
        _ => 0,
    }
}

/// An amount as quotas show it: `1500m`, `2Gi`, `3`.
#[must_use]
pub fn text_of(resource: &str, amount: i64) -> String {
    if resource.ends_with("cpu") {
        return if amount % 1000 == 0 { (amount / 1000).to_string() } else { format!("{amount}m") };
    }
    if resource.ends_with("memory") || resource.ends_with("storage") {
        for (unit, scale) in [("Gi", 1_i64 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
            if amount != 0 && amount % scale == 0 {
                return format!("{}{unit}", amount / scale);
            }
        }
    }
    amount.to_string()
}
