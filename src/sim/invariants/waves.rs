//! How much of the new version a cluster shall have.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::object::LABEL_COMPONENT;
use crate::sim::cluster::{Cluster, lock};
use crate::sim::kube::controllers::object;
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::{Store, Stored};

/// Pods with images that were not there before, as the workloads ask for them.
pub(super) fn fresh(cluster: &Cluster, before: &BTreeSet<String>) -> u64 {
    let store = lock(&cluster.store);
    let sizes = workloads(&store).map(|workload| {
        let is_new = images_of(workload).any(|image| !before.contains(image));
        if is_new { object::count(workload, &["spec", "replicas"]).max(0) as u64 } else { 0 }
    });
    sizes.sum()
}

/// The images of all workloads of the application.
pub(super) fn images(cluster: &Cluster) -> BTreeSet<String> {
    let store = lock(&cluster.store);
    workloads(&store)
        .flat_map(|workload| images_of(workload).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn workloads(store: &Store) -> impl Iterator<Item = &Arc<Stored>> {
    let all =
        [KindId::DEPLOYMENTS, KindId::STATEFUL_SETS].into_iter().flat_map(|kind| store.iter(kind, None));
    all.filter(|workload| !object::label(workload, LABEL_COMPONENT).is_empty())
}

fn images_of(workload: &Stored) -> impl Iterator<Item = &str> {
    let containers = object::items(workload, &["spec", "template", "spec", "containers"]);
    containers.iter().map(|container| object::text(container, &["image"]))
}
