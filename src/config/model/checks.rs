//! Gates, metrics and smoke tests as people write them.

use crate::config::defaults;
use crate::config::model::MetricFile;
use crate::config::scalar::{Limit, Percent, Time};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A condition that must hold while a new revision takes traffic: what is measured, and `max` or `min`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GateFile {
    /// `stable`: no limit of its own; a sequential test says at every look whether the new version is worse than the old
    /// one beside it, and is wrong in at most 1 % of all rollouts. Instead of `metric` and `query`.
    pub against: Option<AgainstFile>,
    /// What is tolerated of the new version's share of failed requests (`against: stable`). Default: 1.1 times the old
    /// version's, or 0.05 points above it, whichever is more.
    pub errors: Option<ToleratedFile>,
    /// What is tolerated of its share of requests slower than each bound of the histogram (`against: stable`). Default:
    /// 1.5 times the old version's, or 1 point above it. `off`: latency is not compared.
    pub latency: Option<LatencyFile>,
    /// Whether a hold ends as soon as the new version is shown to be as good as the old one (`against: stable`).
    #[schemars(extend("default" = false))]
    pub early_promotion: Option<bool>,
    /// Where the counters are read (`against: stable`). Default: `auto`.
    pub source: Option<SourceFile>,
    /// What is measured: `error_rate`, `availability`, or a latency quantile `p50` … `p99.9`; or another store:
    /// `{cloudwatch: …}`, `{http: …}`. This or `query`.
    pub metric: Option<MetricFile>,
    /// Any `PromQL` that gives one number. `{{ pods }}` (a regular expression that matches the revision's pods),
    /// `{{ version }}`, `{{ revision }}` (the N of `NAME-rN`), `{{ namespace }}`, `{{ window }}`, `{{ component }}`,
    /// `{{ target }}` and `{{ region }}` are filled in.
    pub query: Option<String>,
    /// Largest value that passes: `5%` for an error rate, `200ms` for a latency, a number for a query.
    pub max: Option<Limit>,
    /// Smallest value that passes: `99.95%` for availability.
    pub min: Option<Limit>,
    /// How far back each measurement looks.
    #[schemars(extend("default" = defaults::WINDOW))]
    pub window: Option<Time>,
    /// Time between measurements.
    #[schemars(extend("default" = defaults::INTERVAL))]
    pub interval: Option<Time>,
    /// Components that are watched. Default: all.
    pub components: Option<Vec<String>>,
    /// Consecutive breaches that count as a failure.
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::BREACHES))]
    pub breaches: Option<u32>,
    /// Fewest requests in the window for a verdict; with less there is "no data".
    #[schemars(extend("default" = defaults::MIN_REQUESTS))]
    pub min_requests: Option<u64>,
    /// What a lack of data at the end of a hold means. Default: `hold`.
    pub no_data: Option<NoDataFile>,
    /// What a breach that the old version shows too means. Default: `hold`.
    pub shared: Option<SharedFile>,
}

/// What a version is compared with.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AgainstFile {
    /// The version that serves beside it.
    Stable,
}

/// What is tolerated beside stable: a rate up to the larger of the two.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ToleratedFile {
    /// So many times the old version's rate.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub ratio: Option<f64>,
    /// So much above the old version's rate.
    #[schemars(extend("examples" = ["0.05%"]))]
    pub margin: Option<Percent>,
}

/// Whether and how latency is compared.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LatencyFile {
    /// Not at all.
    Off(OffFile),
    /// With this tolerance.
    Tolerated(ToleratedFile),
}

/// `off`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OffFile {
    /// Not at all.
    Off,
}

/// Where counters are read.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceFile {
    /// From the pods while the API server lets us, else from Prometheus.
    Auto,
    /// From the pods' own `/metrics`, through the API server, every 5 s.
    Pods,
    /// From Prometheus.
    Prometheus,
}

/// When objects of one kind are ready.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadinessFile {
    /// As in the manifests: `postgresql.cnpg.io/v1`. The group alone stands for all its versions.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// `Cluster`.
    pub kind: String,
    /// What must hold. One of `condition`, `path` and `exists`.
    pub ready: ReadyTestFile,
    /// What says that waiting is in vain: the run fails at once.
    #[serde(default)]
    pub failed: Option<ReadyTestFile>,
}

/// One thing that a live object can show: a condition, a field, or that it exists at all.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReadyTestFile {
    /// Type of a condition in `status.conditions`.
    #[schemars(extend("examples" = ["Ready"]))]
    pub condition: Option<String>,
    /// Status that the condition must have. Default: `True`.
    pub status: Option<StatusFile>,
    /// A field, from the object's root.
    #[schemars(extend("examples" = ["status.phase"]))]
    pub path: Option<String>,
    /// Value that the field must have.
    pub value: Option<Value>,
    /// `true`: that it exists is enough.
    pub exists: Option<bool>,
}

/// The status of a condition, in quotes: YAML takes a bare `True` for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum StatusFile {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl StatusFile {
    /// As the API writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a lack of data means.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoDataFile {
    /// Wait for data up to `limits.shared_breach`, then roll back.
    Hold,
    /// Roll back.
    Fail,
    /// Go on, and say so.
    Pass,
}

/// What a breach that the old version shows too means.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SharedFile {
    /// Hold and alert: rolling back would not help.
    Hold,
    /// Roll back all the same.
    Rollback,
}

/// How metrics are asked.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsFile {
    /// `PromQL` templates.
    pub queries: QueriesFile,
    /// The counters that `against: stable` compares, as selectors without range and function. They select in Prometheus
    /// (where `namespace` and `pod` are added) and in the pods' own `/metrics`.
    pub counters: CountersFile,
}

/// Counters of one process.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CountersFile {
    /// All requests.
    #[schemars(extend("default" = defaults::COUNTER_REQUESTS))]
    pub requests: Option<String>,
    /// The failed ones among them.
    #[schemars(extend("default" = defaults::COUNTER_ERRORS))]
    pub errors: Option<String>,
    /// The histogram of their durations in seconds, by its base name.
    #[schemars(extend("default" = defaults::COUNTER_LATENCY))]
    pub latency: Option<String>,
}

/// `PromQL` templates with `{{ pods }}`, `{{ namespace }}`, `{{ window }}`, `{{ component }}`, `{{ target }}`,
/// `{{ region }}` inside. The defaults read the counter `http_requests_total{namespace, pod, status}` and the
/// histogram `http_request_duration_seconds`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueriesFile {
    /// Failed requests divided by requests, 0–1.
    #[schemars(extend("default" = defaults::QUERY_ERROR_RATE))]
    pub error_rate: Option<String>,
    /// A latency in seconds; `{{ quantile }}` is 0–1.
    #[schemars(extend("default" = defaults::QUERY_LATENCY))]
    pub latency: Option<String>,
    /// Number of requests in the window.
    #[schemars(extend("default" = defaults::QUERY_REQUESTS))]
    pub requests: Option<String>,
    /// 1 minus the error rate, 0–1.
    #[schemars(extend("default" = defaults::QUERY_AVAILABILITY))]
    pub availability: Option<String>,
}

/// An HTTP check after a cut-over.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SmokeFile {
    /// The component that is asked. Required.
    pub component: Option<String>,
    /// HTTP method.
    #[schemars(extend("default" = "GET"))]
    pub method: Option<MethodFile>,
    /// Path and query. Required.
    #[schemars(extend("examples" = ["/health"]))]
    pub path: Option<String>,
    /// Host header through the ingress. Default: the host of the target's `ingress`.
    pub host: Option<String>,
    /// More request headers.
    pub headers: BTreeMap<String, String>,
    /// Way in after the cut-over; before it, the new pods are asked directly. Default: `service`.
    pub through: Option<ThroughFile>,
    /// What must be answered.
    pub expect: Option<ExpectFile>,
    /// Longest wait for one answer.
    #[schemars(extend("default" = defaults::SMOKE_TIMEOUT))]
    pub timeout: Option<Time>,
    /// Attempts before the test fails.
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::ATTEMPTS))]
    pub attempts: Option<u32>,
    /// Wait between attempts.
    #[schemars(extend("default" = defaults::RETRY_DELAY))]
    pub retry_delay: Option<Time>,
}

/// HTTP methods of smoke tests.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum MethodFile {
    /// Read.
    Get,
    /// Read the headers only.
    Head,
    /// Send nothing to an endpoint that wants a POST.
    Post,
    /// Ask for the options.
    Options,
}

/// How a smoke test reaches the component after the cut-over.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ThroughFile {
    /// The target's public ingress URL.
    Ingress,
    /// The component's Service, through the API server.
    Service,
}

/// What a smoke test must be answered.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectFile {
    /// HTTP status.
    #[schemars(range(min = 100, max = 599), extend("default" = 200))]
    pub status: Option<u16>,
    /// Text that the body contains.
    pub contains: Option<String>,
    /// Values in a JSON body, by JSON pointer.
    #[schemars(extend("examples" = [{"/status": "ok"}]))]
    pub json: BTreeMap<String, Value>,
    /// Slowest answer that still passes. Default: the `timeout`.
    pub max_latency: Option<Time>,
}
