//! The metric store behind gates.

use crate::domain::counters::{CounterNames, PodSample};
use crate::domain::gate::Metric;
use crate::domain::ids::{ComponentId, TargetId};
use async_trait::async_trait;
use jiff::Timestamp;
use std::time::Duration;

/// An owner that stands for the one pod of this name: what tells the pods of a `StatefulSet` apart.
#[must_use]
pub fn only(pod: &str) -> String {
    format!("={pod}")
}

/// The pod that such an owner stands for.
#[must_use]
pub fn only_pod(owner: &str) -> Option<&str> {
    owner.strip_prefix('=')
}

/// One measurement of one side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// What.
    pub metric: Metric,
    /// Where.
    pub target: TargetId,
    /// The target's region name for queries that need it; the target's name if it has none.
    pub region: String,
    /// Namespace of the pods.
    pub namespace: String,
    /// Whose.
    pub component: ComponentId,
    /// Names of the `ReplicaSets` (or other owners) whose pods are meant: pods are `OWNER-xxxxx`, but for [`only`].
    pub owners: Vec<String>,
    /// Which version they run, where that is known.
    pub version: Option<String>,
    /// Which of our revisions they are (the N of `NAME-rN`), where their workload's name says so.
    pub revision: Option<String>,
    /// How far back.
    pub window: Duration,
}

/// The N of a workload that is named `NAME-rN`.
#[must_use]
pub fn revision_in(workload: &str) -> Option<String> {
    let (_, number) = workload.rsplit_once("-r")?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| number.to_owned())
}

/// What the store knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The value in the metric's unit; `None` when the store has no data for it (an empty result, NaN, 0/0).
    pub value: Option<f64>,
    /// Requests in the window, if the store can tell.
    pub requests: Option<f64>,
}

/// The store could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// It cannot be reached or does not answer in time.
    #[error("{message}")]
    Down {
        /// Why.
        message: String,
    },
    /// It refuses the credentials, or there are none to show.
    #[error("{message}")]
    Denied {
        /// Which, and where they come from; never a value.
        message: String,
    },
    /// It does not understand the query.
    #[error("query refused: {message}")]
    Refused {
        /// The store's words.
        message: String,
    },
}

/// Whose counters are read, each process by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct CountersOf {
    /// Where.
    pub target: TargetId,
    /// Namespace of the pods.
    pub namespace: String,
    /// Whose.
    pub component: ComponentId,
    /// Names of the `ReplicaSets` (or other owners) whose pods are meant: pods are `OWNER-xxxxx`.
    pub owners: Vec<String>,
    /// Which counters.
    pub names: CounterNames,
    /// How far back.
    pub window: Duration,
}

/// A metric store.
#[async_trait]
pub trait Metrics: Send + Sync {
    /// Measures once, now.
    async fn measure(&self, what: &Measurement) -> Result<Reading, MetricsError>;

    /// The raw samples of each process in the window before now, as they were scraped: no rates, no extrapolation.
    async fn samples(&self, what: &CountersOf) -> Result<Vec<PodSample>, MetricsError>;

    /// What these processes counted together, every `step` of the window before `until`: one row per moment, of no pod.
    async fn history(
        &self,
        what: &CountersOf,
        until: Timestamp,
        step: Duration,
    ) -> Result<Vec<PodSample>, MetricsError>;

    /// Whether there is a store for a target.
    fn knows(&self, target: &TargetId) -> bool;

    /// What is to be told of the way to the store since this was last asked: which endpoint is asked now, and why.
    fn notices(&self, _target: &TargetId) -> Vec<String> {
        Vec::new()
    }

    /// Whether the store answers at all.
    async fn reachable(&self, target: &TargetId) -> Result<(), MetricsError>;
}
