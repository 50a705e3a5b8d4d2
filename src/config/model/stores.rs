//! Metric stores as people write them: Prometheus with its credentials, `CloudWatch`, anything that answers JSON.

use crate::config::scalar::{SecretText, Time};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A target's Prometheus: its base URL, or how it is reached.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PrometheusFile {
    /// Base URL of a Prometheus that asks for no credentials.
    Url(String),
    /// With credentials, certificates or more than one endpoint.
    Store(Box<PrometheusStoreFile>),
}

/// A Prometheus (or what speaks its HTTP API: Thanos, Mimir, `VictoriaMetrics`, Amazon Managed Service for Prometheus).
/// At most one of `basic`, `bearer` and `sigv4`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrometheusStoreFile {
    /// Base URL, asked first.
    #[schemars(extend("examples" = ["https://prometheus.us-east-1.example.com"]))]
    pub url: String,
    /// Base URLs that are asked in this order when those before give no answer: replicas of the same data.
    #[serde(default)]
    pub fallback: Vec<String>,
    /// A name and a password.
    #[serde(default)]
    pub basic: Option<BasicFile>,
    /// A token for `Authorization: Bearer`. It is read anew for every request, so that a file may be replaced.
    #[serde(default)]
    #[schemars(extend("examples" = ["${file:/var/run/secrets/tokens/prometheus}"]))]
    pub bearer: Option<SecretText>,
    /// AWS Signature Version 4.
    #[serde(default)]
    pub sigv4: Option<SigV4File>,
    /// More request headers; `${env:NAME}` and `${file:PATH}` inside are read for every request.
    #[serde(default)]
    #[schemars(extend("examples" = [{"X-Scope-OrgID": "shop"}]))]
    pub headers: BTreeMap<String, String>,
    /// Certificates beside those that the machine trusts.
    #[serde(default)]
    pub tls: Option<StoreTlsFile>,
}

/// A name and a password.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicFile {
    /// The name.
    pub username: String,
    /// A reference to the password.
    #[schemars(extend("examples" = ["${env:PROMETHEUS_PASSWORD}"]))]
    pub password: SecretText,
}

/// What requests to AWS are signed with. Credentials come from the environment, the shared files, a web identity, a
/// container's endpoint or the instance's metadata.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SigV4File {
    /// Default: the target's region.
    pub region: Option<String>,
    /// Service that is signed for.
    #[schemars(extend("default" = "aps"))]
    pub service: Option<String>,
    /// Profile of the shared files, instead of the usual search.
    pub profile: Option<String>,
    /// ARN of a role that is assumed with the credentials that were found.
    #[schemars(extend("examples" = ["arn:aws:iam::111122223333:role/metrics-reader"]))]
    pub role: Option<String>,
}

/// PEM files of a TLS connection, relative to the folder that has `environments`. They are read anew when they change.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreTlsFile {
    /// Authorities that the server's certificate is checked against, instead of the machine's.
    pub ca: Option<String>,
    /// Certificate of ours; needs `key`.
    pub cert: Option<String>,
    /// Its key.
    pub key: Option<String>,
    /// Name that the server's certificate must have. Default: the host of the URL.
    pub server_name: Option<String>,
}

/// What a gate measures: a word, or where else a number comes from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MetricFile {
    /// `error_rate`, `availability`, or a latency quantile `p50` … `p99.9`, from the target's Prometheus.
    Word(MetricWord),
    /// From another store.
    Store(Box<MetricStoreFile>),
}

/// A word of Prometheus' templates.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct MetricWord(
    #[schemars(
        regex(pattern = r"^(error_rate|availability|p[0-9]{1,2}(\.[0-9]+)?)$"),
        extend("examples" = ["error_rate", "p95", "availability"])
    )]
    pub String,
);

/// Another store. One of the two.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricStoreFile {
    /// Amazon `CloudWatch`.
    pub cloudwatch: Option<CloudWatchFile>,
    /// A JSON document that is read over HTTP.
    pub http: Option<HttpMetricFile>,
}

/// Amazon `CloudWatch`: one metric (`namespace`, `name`, `stat`), or an `expression` over `queries`. The newest whole data
/// point in the gate's `window` is judged. `{{ version }}`, `{{ revision }}`, `{{ component }}`, `{{ namespace }}`,
/// `{{ target }}`, `{{ region }}` and `{{ pods }}` are filled in.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CloudWatchFile {
    /// Namespace of the metric.
    #[schemars(extend("examples" = ["AWS/ApplicationELB"]))]
    pub namespace: Option<String>,
    /// Its name.
    #[schemars(extend("examples" = ["HTTPCode_Target_5XX_Count"]))]
    pub name: Option<String>,
    /// All of its dimensions: `CloudWatch` matches the whole set.
    pub dimensions: BTreeMap<String, String>,
    /// `Sum`, `Average`, `Minimum`, `Maximum`, `SampleCount`, `p99`, …
    pub stat: Option<String>,
    /// Only values of this unit.
    pub unit: Option<String>,
    /// Metric math over the ids of `queries`, or a Metrics Insights query, that gives one series.
    #[schemars(extend("examples" = ["100 * errors / requests"]))]
    pub expression: Option<String>,
    /// Metrics by id, for `expression` and `requests`.
    pub queries: BTreeMap<String, CloudWatchSeriesFile>,
    /// Id of the query whose sum over the window is the number of requests, for `min_requests`.
    pub requests: Option<String>,
    /// Length of one data point: 1, 5, 10, 20, 30 s or whole minutes. Default: the whole minutes of `window`.
    pub period: Option<Time>,
    /// Region that is asked. Default: the target's.
    pub region: Option<String>,
    /// Profile of the shared files of AWS, instead of the usual search for credentials.
    pub profile: Option<String>,
    /// ARN of a role that is assumed with the credentials that were found.
    pub role: Option<String>,
}

/// A statistic of one metric.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudWatchSeriesFile {
    /// Namespace of the metric.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// All of its dimensions.
    #[serde(default)]
    pub dimensions: BTreeMap<String, String>,
    /// `Sum`, `Average`, `p99`, …
    pub stat: String,
    /// Only values of this unit.
    #[serde(default)]
    pub unit: Option<String>,
}

/// A number in a JSON document. In `url` and `body` the names of queries are filled in, and also `{{ now }}` and
/// `{{ from }}` (the ends of the window, seconds since 1970) and `{{ window_seconds }}`. What is filled in is encoded for its
/// place.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpMetricFile {
    /// What is asked.
    #[schemars(extend("examples" = ["https://stats.example.com/errors?version={{ version }}"]))]
    pub url: String,
    /// Default: `GET`, or `POST` with a `body`.
    #[serde(default)]
    pub method: Option<HttpMethodFile>,
    /// Request headers; `${env:NAME}` and `${file:PATH}` inside are read for every request.
    #[serde(default)]
    #[schemars(extend("examples" = [{"Authorization": "Bearer ${env:STATS_TOKEN}"}]))]
    pub headers: BTreeMap<String, String>,
    /// Body of a `POST`.
    #[serde(default)]
    pub body: Option<String>,
    /// JSON pointer to the number that is judged. `null`, NaN or nothing there is no data.
    #[schemars(extend("examples" = ["/data/0/value"]))]
    pub value: String,
    /// JSON pointer to the number of requests in the window, for `min_requests`.
    #[serde(default)]
    pub requests: Option<String>,
}

/// How a document is asked for.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethodFile {
    /// Read.
    Get,
    /// Send a query in the body.
    Post,
}
