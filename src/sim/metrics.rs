//! The simulated metric store: counters of the processes as scraped, with the store's own faults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::faults::FaultKind;
use super::series::Increase;
use super::world::Shared;
use crate::domain::counters::PodSample;
use crate::domain::gate::Metric;
use crate::domain::ids::TargetId;
use crate::ports::metrics::{CountersOf, Measurement, Metrics, MetricsError, Reading, only_pod};

/// The counter of requests that the processes have.
const REQUESTS: &str = "http_requests_total";

/// How long a query takes.
const QUERY: Duration = Duration::from_millis(20);

/// How long a client waits for a store that does not answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whose counters are asked for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Namespace, any if empty.
    pub namespace: String,
    /// Component, any if empty.
    pub component: String,
    /// Owners whose pods (`OWNER-xxxxx`) are meant; all if empty.
    pub owners: Vec<String>,
}

/// The metric store.
#[derive(Clone)]
pub struct SimMetrics {
    shared: Arc<Shared>,
}

impl SimMetrics {
    /// The metric store of the world.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What the selected processes of a cluster counted in the window before now, whatever the store's faults;
    /// `delay` is how far the store lags behind.
    #[must_use]
    pub fn increase(
        &self,
        cluster: &str,
        selection: &Selection,
        window: Duration,
        delay: Duration,
    ) -> Option<Increase> {
        let state = self.shared.state();
        let cluster = state.clusters.iter().find(|known| known.name == cluster)?;
        let now = state.moment().at.saturating_sub(delay.as_millis() as u64);
        let wanted = |run: &super::pods::PodRun| {
            (selection.namespace.is_empty() || run.namespace == selection.namespace)
                && (selection.component.is_empty()
                    || run.component == selection.component
                    || !selection.owners.is_empty())
                && (selection.owners.is_empty()
                    || selection.owners.iter().any(|owner| owned_by(&run.name, owner)))
        };
        Some(cluster.history.increase(&cluster.kubelet, now, window.as_millis() as u64, &wanted))
    }

    /// The time that a question takes, with the store's faults: how far it lags behind, or nothing if it has no data.
    async fn asked(&self, cluster: &str) -> Result<Option<Duration>, MetricsError> {
        let fault = self.fault(cluster);
        if matches!(fault, Some((FaultKind::MetricsDown, _))) {
            tokio::time::sleep(TIMEOUT).await;
            return Err(MetricsError::Down { message: "connection timed out".to_owned() });
        }
        tokio::time::sleep(QUERY).await;
        Ok(match fault {
            Some((FaultKind::NoData | FaultKind::NotANumber, _)) => None,
            Some((FaultKind::MetricsDelay, seconds)) => Some(Duration::from_secs_f64(seconds)),
            _ => Some(Duration::ZERO),
        })
    }

    /// The fault that the store shows for a cluster now: its kind and amount.
    fn fault(&self, cluster: &str) -> Option<(FaultKind, f64)> {
        let state = self.shared.state();
        let at = state.moment().at;
        [FaultKind::MetricsDown, FaultKind::NoData, FaultKind::NotANumber, FaultKind::MetricsDelay]
            .iter()
            .find_map(|kind| state.faults.of_kind(*kind, cluster, at))
            .map(|fault| (fault.kind, fault.amount))
    }
}

/// True if a pod of this name is `OWNER-xxxxx`.
fn owned_by(pod: &str, owner: &str) -> bool {
    if let Some(only) = only_pod(owner) {
        return pod == only;
    }
    pod.strip_prefix(owner).and_then(|rest| rest.strip_prefix('-')).is_some_and(|rest| !rest.contains('-'))
}

/// What processes counted together at every step: each stands as it was last scraped.
fn summed(samples: &[PodSample], step: Duration) -> Vec<PodSample> {
    let place = |sample: &PodSample| (sample.at / step.as_secs_f64().max(1.0)).floor() as u64;
    let mut sorted: Vec<&PodSample> = samples.iter().collect();
    sorted.sort_by(|one, other| one.at.total_cmp(&other.at));
    let mut last: BTreeMap<&str, &PodSample> = BTreeMap::new();
    let mut rows = Vec::new();
    for group in sorted.chunk_by(|one, other| place(one) == place(other)) {
        last.extend(group.iter().map(|sample| (sample.pod.as_str(), *sample)));
        let mut row = PodSample {
            pod: String::new(),
            at: (place(group[0]) + 1) as f64 * step.as_secs_f64(),
            requests: 0.0,
            errors: 0.0,
            buckets: group[0].buckets.iter().map(|(bound, _)| (*bound, 0.0)).collect(),
        };
        for sample in last.values() {
            row.requests += sample.requests;
            row.errors += sample.errors;
            for (sum, (_, count)) in row.buckets.iter_mut().zip(&sample.buckets) {
                sum.1 += count;
            }
        }
        rows.push(row);
    }
    rows
}

#[async_trait]
impl Metrics for SimMetrics {
    async fn measure(&self, what: &Measurement) -> Result<Reading, MetricsError> {
        let cluster = what.target.as_str();
        let Some(delay) = self.asked(cluster).await? else {
            return Ok(Reading { value: None, requests: None });
        };
        let selection = Selection {
            namespace: what.namespace.clone(),
            component: what.component.as_str().to_owned(),
            owners: what.owners.clone(),
        };
        let Some(increase) = self.increase(cluster, &selection, what.window, delay) else {
            return Ok(Reading { value: None, requests: None });
        };
        let value = match &what.metric {
            Metric::ErrorRate => increase.error_rate(),
            Metric::Availability => increase.error_rate().map(|rate| 1.0 - rate),
            Metric::Latency { quantile } => increase.quantile(*quantile),
            // What such a query means, only its author knows: an invented number would rehearse a gate that is none.
            Metric::Query(_) | Metric::CloudWatch(_) | Metric::Http(_) => None,
            Metric::AgainstStable(_) => {
                return Err(MetricsError::Refused { message: "a comparison is no single query".to_owned() });
            }
        };
        let requests = (increase.series > 0).then(|| increase.requests());
        Ok(Reading { value, requests })
    }

    async fn samples(&self, what: &CountersOf) -> Result<Vec<PodSample>, MetricsError> {
        let Some(delay) = self.asked(what.target.as_str()).await? else { return Ok(Vec::new()) };
        if what.names.requests.name != REQUESTS {
            return Ok(Vec::new());
        }
        let state = self.shared.state();
        let Some(cluster) = state.clusters.iter().find(|known| known.name == what.target.as_str()) else {
            return Ok(Vec::new());
        };
        let now = state.moment().at.saturating_sub(delay.as_millis() as u64);
        let wanted = |run: &super::pods::PodRun| {
            run.namespace == what.namespace && what.owners.iter().any(|owner| owned_by(&run.name, owner))
        };
        Ok(cluster.history.samples(&cluster.kubelet, now, what.window.as_millis() as u64, &wanted))
    }

    async fn history(
        &self,
        what: &CountersOf,
        _until: Timestamp,
        step: Duration,
    ) -> Result<Vec<PodSample>, MetricsError> {
        Ok(summed(&self.samples(what).await?, step))
    }

    fn knows(&self, _target: &TargetId) -> bool {
        true
    }

    async fn reachable(&self, target: &TargetId) -> Result<(), MetricsError> {
        if matches!(self.fault(target.as_str()), Some((FaultKind::MetricsDown, _))) {
            tokio::time::sleep(TIMEOUT).await;
            return Err(MetricsError::Down { message: "connection timed out".to_owned() });
        }
        tokio::time::sleep(QUERY).await;
        Ok(())
    }
}
