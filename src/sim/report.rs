//! What happened, in numbers, for tests and for the end of a rehearsal.

use std::collections::BTreeMap;

use super::queue::Millis;
use super::traffic::Received;
use super::world::State;

/// What a pod did in its life.
#[derive(Clone, Debug, PartialEq)]
pub struct PodReport {
    /// Namespace and name.
    pub name: String,
    /// Component.
    pub component: String,
    /// Revision label.
    pub revision: String,
    /// Requests that it answered.
    pub requests: u64,
    /// Of those, 5xx.
    pub failed: u64,
    /// Restarts.
    pub restarts: u32,
    /// Whether it is in the API now.
    pub present: bool,
}

/// What happened in a cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterReport {
    /// What each component received.
    pub components: BTreeMap<String, Received>,
    /// Every pod that ever had a node, in that order.
    pub pods: Vec<PodReport>,
}

impl ClusterReport {
    /// Requests that users sent.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.components.values().map(|received| received.all.requests).sum()
    }

    /// Requests that were answered 5xx.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.components.values().map(|received| received.all.failed).sum()
    }
}

/// What happened in the world.
#[derive(Clone, Debug, Default)]
pub struct WorldReport {
    /// Virtual milliseconds since the world began.
    pub at: Millis,
    /// By cluster.
    pub clusters: BTreeMap<String, ClusterReport>,
    /// Faults that began, and when.
    pub faults: Vec<(Millis, String)>,
}

impl WorldReport {
    /// Counts.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let clusters = state.clusters.iter().map(|cluster| {
            let components =
                cluster.traffic.received().map(|(name, received)| (name.to_owned(), received.clone()));
            let pods = cluster.kubelet.runs.iter().map(|run| PodReport {
                name: format!("{}/{}", run.namespace, run.name),
                component: run.component.clone(),
                revision: run.revision.clone(),
                requests: run.total.requests(),
                failed: run.total.errors,
                restarts: run.restarts,
                present: !run.gone,
            });
            (cluster.name.clone(), ClusterReport { components: components.collect(), pods: pods.collect() })
        });
        Self { at: state.moment().at, clusters: clusters.collect(), faults: state.faults.begun() }
    }

    /// All requests that users sent.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.clusters.values().map(ClusterReport::requests).sum()
    }

    /// All requests that were answered 5xx.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.clusters.values().map(ClusterReport::failed).sum()
    }
}
