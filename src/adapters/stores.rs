//! The metric stores of an environment behind one port: whose a measurement is, its metric says.

use crate::adapters::cloudwatch::CloudWatch;
use crate::adapters::http_metrics::HttpMetrics;
use crate::adapters::prometheus::Prometheus;
use crate::domain::counters::PodSample;
use crate::domain::gate::Metric;
use crate::domain::ids::TargetId;
use crate::ports::Metrics;
use crate::ports::metrics::{CountersOf, Measurement, MetricsError, Reading};
use async_trait::async_trait;
use jiff::Timestamp;
use std::time::Duration;

/// All of them. Counters for comparisons are Prometheus' alone.
#[derive(Debug)]
pub struct Stores {
    /// The targets' own.
    pub prometheus: Prometheus,
    /// Amazon `CloudWatch`.
    pub cloudwatch: CloudWatch,
    /// What answers JSON.
    pub http: HttpMetrics,
}

#[async_trait]
impl Metrics for Stores {
    async fn measure(&self, what: &Measurement) -> Result<Reading, MetricsError> {
        match &what.metric {
            Metric::CloudWatch(query) => self.cloudwatch.measure(what, query).await,
            Metric::Http(query) => self.http.measure(what, query).await,
            _ => self.prometheus.measure(what).await,
        }
    }

    async fn samples(&self, what: &CountersOf) -> Result<Vec<PodSample>, MetricsError> {
        self.prometheus.samples(what).await
    }

    async fn history(
        &self,
        what: &CountersOf,
        until: Timestamp,
        step: Duration,
    ) -> Result<Vec<PodSample>, MetricsError> {
        self.prometheus.history(what, until, step).await
    }

    fn knows(&self, target: &TargetId) -> bool {
        self.prometheus.knows(target)
    }

    fn notices(&self, target: &TargetId) -> Vec<String> {
        self.prometheus.notices(target)
    }

    async fn reachable(&self, target: &TargetId) -> Result<(), MetricsError> {
        self.prometheus.reachable(target).await
    }
}
