//! In which order objects are applied, and components are rolled out.

use crate::domain::environment::Component;
use crate::domain::ids::ComponentId;
use crate::domain::object::Object;
use std::collections::BTreeMap;

/// Rank of a kind: what others need comes first, what admits traffic or judges requests last.
fn rank(kind: &str) -> u8 {
    match kind {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "PriorityClass" | "StorageClass" | "IngressClass" => 2,
        "ResourceQuota" | "LimitRange" | "NetworkPolicy" => 3,
        "ServiceAccount" | "ClusterRole" | "Role" => 4,
        "ClusterRoleBinding" | "RoleBinding" => 5,
        "ConfigMap" | "Secret" => 6,
        "PersistentVolume" | "PersistentVolumeClaim" => 7,
        "Service" => 8,
        "PodDisruptionBudget" => 12,
        "HorizontalPodAutoscaler" => 13,
        "Ingress" | "HTTPRoute" | "VirtualService" => 14,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" | "APIService" => 15,
        _ => 10,
    }
}

/// Sorts indices of objects into the order of applying; ties keep the order of the manifests.
pub(super) fn apply_order(indices: &mut [usize], objects: &[Object]) {
    indices.sort_by_key(|index| rank(objects[*index].kind()));
}

/// Depth of each component in the dependency graph: 0 needs nothing. The configuration has no cycles.
pub(super) fn levels(components: &[Component]) -> BTreeMap<ComponentId, u32> {
    let mut levels: BTreeMap<ComponentId, u32> = BTreeMap::new();
    // Dependencies stand before dependents, so one pass suffices.
    for component in components {
        let depth =
            component.depends_on.iter().filter_map(|need| levels.get(need)).max().map_or(0, |max| max + 1);
        levels.insert(component.id.clone(), depth);
    }
    levels
}
