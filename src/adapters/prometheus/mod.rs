//! Prometheus (and what speaks its HTTP API: Thanos, Mimir, VictoriaMetrics) as the metric store.

mod answer;
mod query;
mod samples;

use crate::adapters::errors::chain;
use crate::adapters::tls;
use crate::domain::counters::PodSample;
use crate::domain::ids::TargetId;
use crate::ports::Metrics;
use crate::ports::metrics::{CountersOf, Measurement, MetricsError, Reading};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use query::Templates;
use reqwest::Url;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a query may take; a gate asks again at its next interval.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no metric store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The base URL of a target is none.
    #[error("the Prometheus URL `{url}` of {target}: {message}")]
    Url {
        /// The target.
        target: TargetId,
        /// What stands there.
        url: String,
        /// What is wrong.
        message: String,
    },
    /// A query template does not parse.
    #[error("the query template `{name}`: {message}")]
    Template {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The HTTP client cannot be made (no certificates to trust).
    #[error("no HTTP client: {0}")]
    Client(String),
}

/// The one number that an answer to an instant query gives, if there is one.
///
/// # Errors
/// When it is no answer of a metric store, or gives something else than one number.
pub fn number(status: u16, body: &[u8]) -> Result<Option<f64>, MetricsError> {
    answer::read(status, body)
}

/// What an answer to a range query tells of each process; each counter's samples are in the same answer here.
///
/// # Errors
/// When it is no answer of a metric store, or holds no raw samples.
pub fn samples(status: u16, body: &[u8]) -> Result<Vec<PodSample>, MetricsError> {
    let series = samples::read(status, body)?;
    Ok(samples::merge(&series, &series, &series))
}

/// The Prometheus servers of an environment, one per target.
#[derive(Debug)]
pub struct Prometheus {
    client: reqwest::Client,
    endpoints: BTreeMap<TargetId, Url>,
    templates: Templates,
}

impl Prometheus {
    /// Takes the base URL of each target and the environment's query templates.
    ///
    /// # Errors
    /// When a URL or a template is malformed.
    pub fn new(
        bases: &BTreeMap<TargetId, String>,
        queries: &BTreeMap<String, String>,
    ) -> Result<Self, SetupError> {
        tls::ensure_provider();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| SetupError::Client(chain(&error)))?;
        let endpoints = bases
            .iter()
            .map(|(target, base)| Ok((target.clone(), endpoint(target, base)?)))
            .collect::<Result<_, SetupError>>()?;
        Ok(Self { client, endpoints, templates: Templates::new(queries)? })
    }

    /// Runs an instant query now.
    async fn query(&self, target: &TargetId, query: &str) -> Result<Option<f64>, MetricsError> {
        let (status, body) = self.post(target, "query", query::form(query, TIMEOUT)).await?;
        answer::read(status, &body)
    }

    /// The series that each of some queries gives.
    async fn series(
        &self,
        target: &TargetId,
        path: &str,
        forms: [String; 3],
    ) -> Result<Vec<PodSample>, MetricsError> {
        let ask = async |form: String| {
            let (status, body) = self.post(target, path, form).await?;
            samples::read(status, &body)
        };
        let [requests, errors, buckets] = forms;
        let (requests, errors, buckets) = tokio::try_join!(ask(requests), ask(errors), ask(buckets))?;
        Ok(samples::merge(&requests, &errors, &buckets))
    }

    async fn post(&self, target: &TargetId, path: &str, form: String) -> Result<(u16, Bytes), MetricsError> {
        let Some(base) = self.endpoints.get(target) else {
            return Err(MetricsError::Refused { message: format!("{target} names no `prometheus`") });
        };
        let down = |error: &reqwest::Error| MetricsError::Down {
            // The URL in reqwest's own words would tell a password in it.
            message: format!("Prometheus of {target} does not answer: {}", reqwest_chain(error)),
        };
        let request = self
            .client
            .post(base.join(path).expect("a path after a base that ends with a slash"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let response = request.send().await.map_err(|error| down(&error))?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| down(&error))?;
        Ok((status, body))
    }
}

#[async_trait]
impl Metrics for Prometheus {
    async fn measure(&self, what: &Measurement) -> Result<Reading, MetricsError> {
        let queries = self.templates.render(what)?;
        let requests = async {
            match &queries.requests {
                Some(query) => self.query(&what.target, query).await,
                None => Ok(None),
            }
        };
        let (value, requests) = tokio::try_join!(self.query(&what.target, &queries.value), requests)?;
        Ok(Reading { value, requests })
    }

    async fn samples(&self, what: &CountersOf) -> Result<Vec<PodSample>, MetricsError> {
        let forms = samples::queries(what).map(|query| query::form(&query, TIMEOUT));
        self.series(&what.target, "query", forms).await
    }

    async fn history(
        &self,
        what: &CountersOf,
        until: Timestamp,
        step: Duration,
    ) -> Result<Vec<PodSample>, MetricsError> {
        let until = until.as_millisecond() as f64 / 1000.0;
        let forms = samples::sums(what).map(|query| samples::range_form(&query, until, what.window, step));
        self.series(&what.target, "query_range", forms).await
    }

    fn knows(&self, target: &TargetId) -> bool {
        self.endpoints.contains_key(target)
    }

    async fn reachable(&self, target: &TargetId) -> Result<(), MetricsError> {
        self.query(target, "vector(1)").await.map(|_| ())
    }
}

fn endpoint(target: &TargetId, base: &str) -> Result<Url, SetupError> {
    let wrong = |message: String| SetupError::Url { target: target.clone(), url: base.to_owned(), message };
    let url =
        Url::parse(&format!("{}/api/v1/", base.trim_end_matches('/'))).map_err(|e| wrong(e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it must begin with http:// or https://".to_owned()));
    }
    Ok(url)
}

fn reqwest_chain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {TIMEOUT:?}");
    }
    std::error::Error::source(error).map_or_else(|| "no answer".to_owned(), chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_may_have_paths_and_must_be_http() {
        let target = TargetId::from("east");
        for (base, expected) in [
            ("http://prom:9090", "http://prom:9090/api/v1/"),
            ("https://mimir.example/prometheus/", "https://mimir.example/prometheus/api/v1/"),
        ] {
            assert_eq!(endpoint(&target, base).unwrap().as_str(), expected);
        }
        for base in ["prom:9090", "", "ftp://prom"] {
            assert!(endpoint(&target, base).is_err(), "{base}");
        }
    }
}
