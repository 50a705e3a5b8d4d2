//! How much of the new version a cluster shall have.

use crate::domain::object::{LABEL_COMPONENT, LABEL_REVISION};
use crate::sim::active::revision_number;
use crate::sim::cluster::{Cluster, lock};
use crate::sim::kube::controllers::object;
use crate::sim::kube::kinds::KindId;

/// Pods of revisions that are newer than what was stable, as the workloads ask for them.
pub(super) fn fresh(cluster: &Cluster) -> u64 {
    let store = lock(&cluster.store);
    let workloads = [KindId::DEPLOYMENTS, KindId::STATEFUL_SETS].into_iter().flat_map(|kind| store.iter(kind, None));
    let sizes = workloads.map(|workload| {
        let labels = object::at(workload, &["spec", "template", "metadata", "labels"]);
        let (component, revision) =
            (object::text(labels, &[LABEL_COMPONENT]), object::text(labels, &[LABEL_REVISION]));
        let known = cluster.baseline.get(component).copied().unwrap_or(0);
        let is_new = !component.is_empty() && revision_number(revision) > known;
        if is_new { object::count(workload, &["spec", "replicas"]).max(0) as u64 } else { 0 }
    });
    sizes.sum()
}
