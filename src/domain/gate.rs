//! A metric gate: what is measured, where its limits are, and what each of five answers means.

use crate::domain::counters::CounterNames;
use crate::domain::ids::ComponentId;
use crate::domain::metric_store::{CloudWatchQuery, HttpQuery, names_a_version};
use crate::domain::units;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A condition that must hold while the new revision takes traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Its name in reports.
    pub name: String,
    /// Components it watches.
    pub components: Vec<ComponentId>,
    /// What is measured.
    pub metric: Metric,
    /// Largest value that passes, in the metric's unit (a ratio 0–1, or seconds).
    pub max: Option<f64>,
    /// Smallest value that passes.
    pub min: Option<f64>,
    /// How far back each measurement looks.
    #[serde(with = "units::duration")]
    pub window: Duration,
    /// Time between measurements.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// Consecutive breaches that end the run.
    pub breaches: u32,
    /// Fewest requests in the window for a verdict.
    pub min_requests: u64,
    /// What a lack of data (or of a metric store) means at the end of a hold.
    pub no_data: NoData,
    /// What a breach that stable shows too means.
    pub shared: Shared,
}

/// What is measured; the environment's query templates say how Prometheus is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Failed requests / requests, 0–1.
    ErrorRate,
    /// A latency quantile in seconds.
    Latency {
        /// 0–1, e.g. 0.95.
        quantile: f64,
    },
    /// 1 − error rate, 0–1.
    Availability,
    /// How good the new revision is beside stable, by a sequential test over both sides' counters.
    AgainstStable(Comparison),
    /// Any PromQL with `{{ pods }}`, `{{ namespace }}`, `{{ window }}` … inside.
    Query(String),
    /// A series of Amazon `CloudWatch`, or a formula over several.
    #[serde(rename = "cloudwatch")]
    CloudWatch(Box<CloudWatchQuery>),
    /// A number in a JSON document that is read over HTTP.
    Http(Box<HttpQuery>),
}

impl Metric {
    /// Whether the target's Prometheus is asked.
    #[must_use]
    pub fn asks_prometheus(&self) -> bool {
        match self {
            Self::ErrorRate | Self::Latency { .. } | Self::Availability | Self::Query(_) => true,
            // Otherwise the pods themselves can be read.
            Self::AgainstStable(comparison) => comparison.source == Source::Prometheus,
            Self::CloudWatch(_) | Self::Http(_) => false,
        }
    }

    /// Whether a measurement tells how many requests there were.
    #[must_use]
    pub fn counts_requests(&self) -> bool {
        match self {
            Self::CloudWatch(query) => query.requests.is_some(),
            Self::Http(query) => query.requests.is_some(),
            Self::ErrorRate
            | Self::Latency { .. }
            | Self::Availability
            | Self::Query(_)
            | Self::AgainstStable(_) => true,
        }
    }

    /// Whether its templates fill in which version is meant; `queries` are the environment's, by metric. Without that, the
    /// new version's value and stable's are one and the same.
    #[must_use]
    pub fn tells_versions_apart(&self, queries: &BTreeMap<String, String>) -> bool {
        let named = |name: &str| queries.get(name).is_none_or(|text| names_a_version(text));
        match self {
            Self::ErrorRate => named("error_rate"),
            Self::Latency { .. } => named("latency"),
            Self::Availability => named("availability"),
            Self::AgainstStable(_) => true,
            Self::Query(text) => names_a_version(text),
            Self::CloudWatch(query) => query.texts().into_iter().any(names_a_version),
            Self::Http(query) => query.texts().into_iter().any(names_a_version),
        }
    }

    /// Name in reports: `error rate`, `p95`, `availability`, `query`.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::ErrorRate => "error rate".to_owned(),
            Self::Latency { quantile } => format!("p{}", (quantile * 1000.0).round() / 10.0),
            Self::Availability => "availability".to_owned(),
            Self::AgainstStable(_) => "comparison with stable".to_owned(),
            Self::Query(_) => "query".to_owned(),
            Self::CloudWatch(_) => "CloudWatch".to_owned(),
            Self::Http(_) => "value".to_owned(),
        }
    }

    /// A value as people read it: `4.10 %`, `182 ms`, plain for queries.
    #[must_use]
    pub fn format(&self, value: f64) -> String {
        match self {
            // Of the largest number a record keeps what is more than any.
            _ if value >= f64::MAX => "∞".to_owned(),
            _ if value <= f64::MIN => "-∞".to_owned(),
            Self::ErrorRate => format!("{:.2} %", value * 100.0),
            Self::Availability => format!("{:.3} %", value * 100.0),
            Self::Latency { .. } => format!("{:.0} ms", value * 1000.0),
            Self::Query(_) | Self::CloudWatch(_) | Self::Http(_) | Self::AgainstStable(_) => {
                format!("{value}")
            }
        }
    }
}

/// A comparison with stable: what is tolerated, and where the counters come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Of the share of failed requests.
    pub errors: Tolerated,
    /// Of the share of requests slower than each bound of the histogram; `None`: latency is not compared.
    pub latency: Option<Tolerated>,
    /// Whether a hold may end early once the new revision is shown to be as good as stable.
    pub early_promotion: bool,
    /// Where the counters come from.
    pub source: Source,
    /// Which counters.
    pub counters: CounterNames,
}

/// What is tolerated: a rate up to `max(ratio · stable's, stable's + margin)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerated {
    /// Factor on stable's rate, 1 at least.
    pub ratio: f64,
    /// Added to stable's rate, 0–1.
    pub margin: f64,
}

/// Where counters come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The pods while they can be read, else Prometheus.
    Auto,
    /// The pods' own `/metrics`, through the API server.
    Pods,
    /// Prometheus.
    Prometheus,
}

/// What a lack of data means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoData {
    /// Wait for data, up to the shared-breach limit, then roll back. The default: no data is no pass.
    Hold,
    /// Roll back at the end of the hold.
    Fail,
    /// Go on, and say so.
    Pass,
}

/// What a breach that stable shows too means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shared {
    /// Hold and alert: rolling back would not help.
    Hold,
    /// Roll back all the same.
    Rollback,
}
