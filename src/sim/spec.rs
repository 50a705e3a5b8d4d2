//! What a world is made of.

use jiff::Timestamp;

use super::faults::ScheduledFault;
use super::kube::controllers::Settings;
use super::pods::Times;
use super::queue::Millis;
use super::traffic::LoadSpec;

/// A world to simulate.
#[derive(Clone, Debug)]
pub struct WorldSpec {
    /// Decides everything that is random.
    pub seed: u64,
    /// Virtual time at which the world begins.
    pub start: Timestamp,
    /// Its clusters.
    pub clusters: Vec<ClusterSpec>,
    /// What goes wrong.
    pub faults: Vec<ScheduledFault>,
    /// Between two scrapes of a pod by the metric store, in seconds.
    pub scrape_seconds: u64,
}

impl WorldSpec {
    /// A world of these clusters that begins on Monday, 2026-01-05 at 03:00 UTC, without faults.
    #[must_use]
    pub fn new(seed: u64, clusters: Vec<ClusterSpec>) -> Self {
        let start = Timestamp::from_second(1_767_582_000).expect("2026-01-05T03:00:00Z is a time");
        Self { seed, start, clusters, faults: Vec::new(), scrape_seconds: 15 }
    }

    /// The same world with faults, written as `NAME[:ARGUMENT…]@WHEN`.
    #[must_use]
    pub fn with_faults(mut self, faults: Vec<ScheduledFault>) -> Self {
        self.faults = faults;
        self
    }
}

/// A cluster to simulate.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// Its name: the target's.
    pub name: String,
    /// How many nodes.
    pub nodes: usize,
    /// The zones that the nodes are in, in turn.
    pub zones: Vec<String>,
    /// Allocatable CPU of a node, as a quantity.
    pub node_cpu: String,
    /// Allocatable memory of a node, as a quantity.
    pub node_memory: String,
    /// `amd64` or `arm64`.
    pub architecture: String,
    /// Further labels of every node.
    pub node_labels: Vec<(String, String)>,
    /// Who uses it.
    pub load: Vec<LoadSpec>,
    /// How its controllers behave.
    pub settings: Settings,
    /// How its nodes behave.
    pub times: Times,
    /// From a change of routers or endpoints to the data plane, in milliseconds.
    pub plane_lag: (Millis, Millis),
    /// The share of requests over long-lived connections, which stay on old endpoints.
    pub held_share: f64,
}

impl ClusterSpec {
    /// A cluster of six nodes in three zones that nobody uses.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            nodes: 6,
            zones: ["a", "b", "c"].iter().map(|zone| format!("{name}{zone}")).collect(),
            node_cpu: "16".to_owned(),
            node_memory: "64Gi".to_owned(),
            architecture: "amd64".to_owned(),
            node_labels: Vec::new(),
            load: Vec::new(),
            settings: Settings::default(),
            times: Times::default(),
            plane_lag: (200, 1_000),
            held_share: 0.1,
        }
    }

    /// The same cluster with live traffic: 60 requests per second for `kva-api` and 25 for `web`.
    #[must_use]
    pub fn live(self) -> Self {
        self.with_load(vec![LoadSpec::new("kva-api", 60.0), LoadSpec::new("web", 25.0)])
    }

    /// The same cluster with this traffic.
    #[must_use]
    pub fn with_load(mut self, load: Vec<LoadSpec>) -> Self {
        self.load = load;
        self
    }
}
