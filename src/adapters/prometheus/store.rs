//! One target's store behind its endpoints: who is asked first, and what becomes of one that gives no answer.

use super::SetupError;
use super::answer::REFUSES;
use super::way::{SILENT, Way};
use crate::adapters::aws::Aws;
use crate::domain::ids::TargetId;
use crate::domain::metric_store::PrometheusStore;
use crate::ports::Secrets;
use crate::ports::metrics::MetricsError;
use reqwest::Url;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How long a question may take, over all endpoints; a gate asks again at its next interval.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// How long an endpoint that gave no answer is asked last.
const AVOIDED: Duration = Duration::from_secs(30);

/// The store of one target.
#[derive(Debug)]
pub(super) struct Store {
    target: TargetId,
    /// In the order in which they are written.
    endpoints: Vec<Url>,
    /// Longest wait for one of them.
    patience: Duration,
    way: Way,
    memory: Mutex<Memory>,
}

/// What earlier questions found out.
#[derive(Debug, Default)]
struct Memory {
    /// Place of the endpoint that answered last.
    first: usize,
    /// Until when each is asked last.
    avoided: Vec<Option<Instant>>,
    notices: Vec<String>,
}

impl Store {
    pub fn new(
        target: &TargetId,
        store: &PrometheusStore,
        secrets: Arc<dyn Secrets>,
        aws: Arc<Aws>,
    ) -> Result<Self, SetupError> {
        let endpoints: Vec<Url> =
            store.urls.iter().map(|base| endpoint(target, base)).collect::<Result<_, _>>()?;
        let many = u32::try_from(endpoints.len().max(1)).unwrap_or(u32::MAX);
        let patience = TIMEOUT / many;
        let way = Way::new(target, store, &endpoints, patience, secrets, aws)?;
        let memory = Memory { avoided: vec![None; endpoints.len()], ..Memory::default() };
        Ok(Self { target: target.clone(), endpoints, patience, way, memory: Mutex::new(memory) })
    }

    /// Asks the endpoints one after the other until one has an answer; what it says of the query is an answer too.
    pub async fn ask<T>(
        &self,
        path: &str,
        form: &str,
        read: fn(u16, &[u8]) -> Result<T, MetricsError>,
    ) -> Result<T, MetricsError> {
        let mut failures = Vec::new();
        for at in self.order() {
            match self.way.post(&self.endpoints[at], path, form, self.patience, read).await {
                Err(error @ (MetricsError::Down { .. } | MetricsError::Denied { .. })) => {
                    self.avoid(at);
                    failures.push((at, error));
                }
                answer => {
                    self.answered(at, &failures);
                    return answer;
                }
            }
        }
        Err(self.no_answer(&failures))
    }

    /// Whoever answered last, then the others as they are written; at the end those that gave no answer lately.
    fn order(&self) -> Vec<usize> {
        let memory = self.memory();
        let now = Instant::now();
        let mut order: Vec<usize> = (0..self.endpoints.len()).collect();
        let avoided = |at: usize| memory.avoided[at].is_some_and(|until| until > now);
        order.sort_by_key(|at| (avoided(*at), *at != memory.first, *at));
        order
    }

    fn avoid(&self, at: usize) {
        self.memory().avoided[at] = Some(Instant::now() + AVOIDED);
    }

    fn answered(&self, at: usize, failures: &[(usize, MetricsError)]) {
        let mut memory = self.memory();
        memory.avoided[at] = None;
        if memory.first == at {
            return;
        }
        let (before, now) = (shown(&self.endpoints[memory.first]), shown(&self.endpoints[at]));
        let why = failures.iter().find(|(failed, _)| *failed == memory.first);
        let why = why.map_or_else(|| "gave no answer".to_owned(), |(_, error)| error.to_string());
        let notice = format!("Prometheus of {} is asked at {now} from now on; {before}: {why}", self.target);
        memory.first = at;
        memory.notices.push(notice);
    }

    fn no_answer(&self, failures: &[(usize, MetricsError)]) -> MetricsError {
        let target = &self.target;
        let all_denied = failures.iter().all(|(_, error)| matches!(error, MetricsError::Denied { .. }));
        let causes = match failures {
            [(_, one)] => one.to_string(),
            many => {
                let words =
                    |(at, error): &(usize, MetricsError)| format!("{}: {error}", shown(&self.endpoints[*at]));
                many.iter().map(words).collect::<Vec<_>>().join("; ")
            }
        };
        let message = match failures.len() {
            1 if [SILENT, REFUSES].iter().any(|begin| causes.starts_with(begin)) => {
                format!("Prometheus of {target} {causes}")
            }
            1 => format!("Prometheus of {target}: {causes}"),
            _ => format!("no Prometheus of {target} answers: {causes}"),
        };
        if all_denied {
            let message = format!("{message}; check targets.{target}.prometheus");
            return MetricsError::Denied { message };
        }
        MetricsError::Down { message }
    }

    /// What is to be told, once.
    pub fn notices(&self) -> Vec<String> {
        std::mem::take(&mut self.memory().notices)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().expect("no panic while held")
    }
}

/// An endpoint as people wrote it, without name and password.
fn shown(url: &Url) -> String {
    let path = url.path().trim_end_matches("api/v1/").trim_end_matches('/');
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}{path}", url.scheme(), url.host_str().unwrap_or_default())
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

    #[test]
    fn no_password_is_shown() {
        let url = endpoint(&TargetId::from("east"), "https://me:hidden@prom:9090/a/b").unwrap();
        assert_eq!(shown(&url), "https://prom:9090/a/b");
    }
}
