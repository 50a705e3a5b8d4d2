//! In which order objects are applied, and components are rolled out.
//!
//! The order of objects is a graph, not a row of stages: an object waits for what it names (or lives in, or is a kind of)
//! and for nothing else.

mod frontier;
mod graph;
mod pods;

pub use frontier::Frontier;
pub use graph::{Cycle, needs};

use crate::domain::environment::Component;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::ComponentId;
use crate::domain::object::{Object, ObjectRef};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Rank of a kind: what others need comes first, what admits traffic or judges requests last. It decides among objects
/// that may all be applied now.
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
        "ReferenceGrant" => 9,
        "Ingress" | "HTTPRoute" | "VirtualService" => 14,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" | "APIService" => 15,
        _ => 10,
    }
}

/// Sorts indices of objects into an order in which each comes after what it needs; ties go by rank, then by the order of
/// the manifests.
pub(super) fn apply_order(indices: &mut Vec<usize>, objects: &[Object]) {
    indices.sort_by_key(|index| rank(objects[*index].kind()));
    let sorted: Vec<&Object> = indices.iter().map(|index| &objects[*index]).collect();
    // A cycle was refused before a plan is made; an order by rank is all there is then.
    let Ok(needs) = needs(&sorted) else { return };
    let order = graph::sorted(&needs);
    *indices = order.into_iter().map(|place| indices[place]).collect();
}

/// Those of `indices` that come after one of `first`, directly or through others; in order.
pub(super) fn dependents(indices: &[usize], first: &[usize], objects: &[Object]) -> Vec<usize> {
    let all: Vec<&Object> = indices.iter().map(|index| &objects[*index]).collect();
    let Ok(needs) = needs(&all) else { return Vec::new() };
    let mut after: Vec<bool> = vec![false; indices.len()];
    // `indices` are sorted: what an object needs stands before it.
    for (place, needs) in needs.iter().enumerate() {
        after[place] = needs.iter().any(|need| after[*need] || first.contains(&indices[*need]));
    }
    indices
        .iter()
        .zip(after)
        .filter(|(index, after)| *after && !first.contains(index))
        .map(|(i, _)| *i)
        .collect()
}

/// What each object needs of the others, by place; nothing where they need each other in a circle.
pub(super) fn needed(objects: &[Object]) -> Vec<Vec<usize>> {
    let all: Vec<&Object> = objects.iter().collect();
    needs(&all).unwrap_or_default()
}

/// Objects to delete in groups: what others need goes after them.
#[must_use]
pub fn removal(objects: &[ObjectRef]) -> Vec<Vec<&ObjectRef>> {
    let mut groups: BTreeMap<Reverse<u8>, Vec<&ObjectRef>> = BTreeMap::new();
    for object in objects {
        groups.entry(Reverse(rank(&object.kind))).or_default().push(object);
    }
    groups.into_values().collect()
}

/// Refuses objects that wait for each other in a circle.
pub fn check(objects: &[Object]) -> Result<(), Failure> {
    let all: Vec<&Object> = objects.iter().collect();
    let Err(Cycle(places)) = needs(&all) else { return Ok(()) };
    let names: Vec<String> = places.iter().map(|place| objects[*place].reference().to_string()).collect();
    let first = objects.get(places[0]).map(|object| object.origin.clone()).unwrap_or_default();
    Err(Failure::new(Code(303), Exit::Usage, "objects wait for each other in a circle")
        .why(names.join(" waits for "))
        .next(format!("take one `{}` away ({first})", graph::DEPENDS_ON)))
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
