//! Prometheus (and what speaks its HTTP API: Thanos, Mimir, VictoriaMetrics) as the metric store.

mod answer;
mod query;
mod samples;
mod store;
mod way;

use crate::adapters::aws::Aws;
use crate::domain::counters::{CounterNames, PodSample};
use crate::domain::ids::TargetId;
use crate::domain::metric_store::PrometheusStore;
use crate::ports::metrics::{CountersOf, Measurement, MetricsError, Reading};
use crate::ports::{Metrics, Secrets};
use async_trait::async_trait;
use jiff::Timestamp;
use query::Templates;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, TIMEOUT};

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

/// What an answer tells of each process.
///
/// # Errors
/// When it is no answer of a metric store, or holds no raw samples.
pub fn samples(names: &CounterNames, status: u16, body: &[u8]) -> Result<Vec<PodSample>, MetricsError> {
    Ok(samples::rows(names, &samples::read(status, body)?))
}

/// The Prometheus servers of an environment, one store per target.
#[derive(Debug)]
pub struct Prometheus {
    stores: BTreeMap<TargetId, Store>,
    templates: Templates,
}

impl Prometheus {
    /// Takes the store of each target and the environment's query templates. Credentials are read when a request needs them.
    ///
    /// # Errors
    /// When a URL or a template is malformed.
    pub fn new(
        stores: &BTreeMap<TargetId, PrometheusStore>,
        queries: &BTreeMap<String, String>,
        secrets: &Arc<dyn Secrets>,
        aws: &Arc<Aws>,
    ) -> Result<Self, SetupError> {
        let store = |(target, store): (&TargetId, &PrometheusStore)| {
            let made = Store::new(target, store, Arc::clone(secrets), Arc::clone(aws))?;
            Ok((target.clone(), made))
        };
        let stores = stores.iter().map(store).collect::<Result<_, SetupError>>()?;
        Ok(Self { stores, templates: Templates::new(queries)? })
    }

    fn store(&self, target: &TargetId) -> Result<&Store, MetricsError> {
        let none = || MetricsError::Refused { message: format!("{target} names no `prometheus`") };
        self.stores.get(target).ok_or_else(none)
    }

    /// Runs an instant query now.
    async fn query(&self, target: &TargetId, query: &str) -> Result<Option<f64>, MetricsError> {
        self.store(target)?.ask("query", &query::form(query, TIMEOUT), answer::read).await
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
        let form = query::form(&samples::query(what), TIMEOUT);
        let series = self.store(&what.target)?.ask("query", &form, samples::read).await?;
        Ok(samples::rows(&what.names, &series))
    }

    async fn history(
        &self,
        what: &CountersOf,
        until: Timestamp,
        step: Duration,
    ) -> Result<Vec<PodSample>, MetricsError> {
        let until = until.as_millisecond() as f64 / 1000.0;
        let store = self.store(&what.target)?;
        let ask = async |query: String| {
            let form = samples::range_form(&query, until, what.window, step);
            store.ask("query_range", &form, samples::read).await
        };
        let [requests, errors, buckets] = samples::sums(what);
        let (requests, errors, buckets) = tokio::try_join!(ask(requests), ask(errors), ask(buckets))?;
        Ok(samples::summed(&requests, &errors, &buckets))
    }

    fn knows(&self, target: &TargetId) -> bool {
        self.stores.contains_key(target)
    }

    fn notices(&self, target: &TargetId) -> Vec<String> {
        self.stores.get(target).map(Store::notices).unwrap_or_default()
    }

    async fn reachable(&self, target: &TargetId) -> Result<(), MetricsError> {
        self.query(target, "vector(1)").await.map(|_| ())
    }
}
