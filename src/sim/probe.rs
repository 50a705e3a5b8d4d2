//! Single requests: what smoke tests, proxies and synthetic probes are answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::active::ActiveFaults;
use super::cluster::Cluster;
use super::pods::PodIndex;
use super::queue::Millis;
use super::series;
use super::traffic::plane::Miss;
use super::world::{Shared, State};
use crate::ports::probe::{HttpAnswer, HttpQuestion, Probe, ProbeError};

/// Paths that tell of health; injected errors spare them.
const HEALTH: [&str; 6] = ["/health", "/healthz", "/health/ready", "/ready", "/readyz", "/live"];

/// Body and status of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, lower-case names.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: String,
    /// Seconds until it came.
    pub latency: f64,
}

impl Answer {
    fn plain(status: u16, body: &str) -> Self {
        let headers = BTreeMap::from([("content-type".to_owned(), "text/plain".to_owned())]);
        Self { status, headers, body: body.to_owned(), latency: 0.002 }
    }
}

impl Cluster {
    /// The process of a pod of this name, if it answers.
    #[must_use]
    pub fn pod_by_name(&self, namespace: &str, name: &str) -> Option<PodIndex> {
        self.kubelet.of_name(namespace, name).filter(|index| self.kubelet.runs[*index].answers())
    }

    /// Some ready process behind a Service, if there is one.
    pub fn pod_of_service(&mut self, namespace: &str, name: &str) -> Option<PodIndex> {
        let service = (namespace.to_owned(), name.to_owned());
        let live: Vec<PodIndex> = self
            .traffic
            .plane()
            .endpoints_of(&service)
            .iter()
            .copied()
            .filter(|index| self.kubelet.runs[*index].answers())
            .collect();
        let place = self.draw_below(live.len());
        live.get(place).copied()
    }

    /// What a request through the routers is answered.
    pub fn request(
        &mut self,
        host: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        faults: &ActiveFaults,
        at: Millis,
    ) -> Answer {
        let draw = self.draw_unit();
        match self.traffic.plane().choose(host, path, headers, draw) {
            Err(Miss::NoRoute) => Answer::plain(404, "default backend - 404"),
            Err(Miss::NoEndpoint) => Answer::plain(503, "no endpoints"),
            Ok((namespace, service)) => match self.pod_of_service(&namespace, &service) {
                None => Answer::plain(503, "no endpoints"),
                Some(pod) => self.answer(pod, path, headers, faults, at),
            },
        }
    }

    /// What a process answers.
    pub fn answer(
        &mut self,
        pod: PodIndex,
        path: &str,
        _headers: &BTreeMap<String, String>,
        faults: &ActiveFaults,
        at: Millis,
    ) -> Answer {
        let changed = faults.behaviour(self, pod, at);
        let path = path.split('?').next().unwrap_or(path);
        let draw = self.draw_unit();
        let run = &self.kubelet.runs[pod];
        let behaviour = changed.as_ref().unwrap_or(&run.own);
        if path == "/metrics" {
            let mut answer = Answer::plain(200, &series::exposition(run));
            answer.headers.insert("content-type".to_owned(), "text/plain; version=0.0.4".to_owned());
            return answer;
        }
        let on = at >= run.started_at + (behaviour.late * 1000.0) as Millis;
        let health = HEALTH.contains(&path);
        let broken = on && !health && draw < behaviour.error_share;
        let status = if health && (behaviour.smoke_fail || behaviour.unready) {
            503
        } else if broken {
            500
        } else {
            200
        };
        let body = json!({
            "pod": run.name, "version": run.version, "image": run.image, "revision": run.revision,
            "status": if status == 200 { "ok" } else { "error" },
        });
        let added = if on { behaviour.added_latency } else { 0.0 };
        let (rate, component, name) = (run.load, run.component.clone(), run.name.clone());
        let headers = BTreeMap::from([
            ("content-type".to_owned(), "application/json".to_owned()),
            ("x-pod".to_owned(), name),
        ]);
        let latency = self.draw_latency(rate, &component, added);
        Answer { status, headers, body: body.to_string(), latency }
    }
}

/// Asks the clusters' routers from outside.
#[derive(Clone)]
pub struct SimProbe {
    shared: Arc<Shared>,
    cluster: Option<usize>,
}

impl SimProbe {
    /// Questions to one cluster, or to whichever answers for a host.
    #[must_use]
    pub fn new(shared: Arc<Shared>, cluster: Option<usize>) -> Self {
        Self { shared, cluster }
    }

    /// What a request is answered now; `Err` says why nothing answers.
    pub fn request(&self, question: &HttpQuestion) -> Result<Answer, String> {
        let (host, path) = split_url(&question.url);
        let named = question.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = named.map_or(host, |(_, value)| value.as_str());
        let host = host.split(':').next().unwrap_or(host);
        let mut state = self.shared.state();
        let at = state.moment().at;
        let state = &mut *state;
        if let Some(answer) = inside(state, self.cluster, host, path, question, at) {
            return answer;
        }
        let place = self.cluster.or_else(|| cluster_for(state, host, path));
        let Some(place) = place else {
            return Err(format!("{host}: no such host"));
        };
        let answer = state.clusters[place].request(host, path, &question.headers, &state.faults, at);
        // Ends of the earth: an answer of the router itself needs no process
        Ok(answer)
    }
}

/// Answers for the addresses of pods and for names of Services.
fn inside(
    state: &mut State,
    only: Option<usize>,
    host: &str,
    path: &str,
    question: &HttpQuestion,
    at: Millis,
) -> Option<Result<Answer, String>> {
    let places: Vec<usize> = only.map_or_else(|| (0..state.clusters.len()).collect(), |place| vec![place]);
    let mut parts = host.split('.');
    let (name, namespace, third) = (parts.next()?, parts.next()?, parts.next()?);
    let service = third == "svc";
    for place in places {
        let cluster = &mut state.clusters[place];
        let pod = if service {
            cluster.pod_of_service(namespace, name)
        } else {
            cluster.kubelet.present().find(|index| cluster.kubelet.runs[*index].ip == host)
        };
        let Some(pod) = pod else {
            continue;
        };
        if !cluster.kubelet.runs[pod].answers() {
            return Some(Err(format!("dial tcp {host}: connect: connection refused")));
        }
        return Some(Ok(cluster.answer(pod, path, &question.headers, &state.faults, at)));
    }
    service.then(|| Err(format!("{host}: connection refused")))
}

/// The cluster that answers for a host: one with users before one without.
fn cluster_for(state: &State, host: &str, path: &str) -> Option<usize> {
    let knows = |place: &usize| state.clusters[*place].traffic.plane().knows(host, path);
    let busy = |place: &usize| !state.clusters[*place].spec().load.is_empty();
    let places = 0..state.clusters.len();
    places
        .clone()
        .filter(knows)
        .find(busy)
        .or_else(|| places.clone().find(knows))
        .or_else(|| places.clone().next())
}

/// Host (with its port) and path of a URL.
fn split_url(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.find('/') {
        Some(slash) => (&rest[..slash], &rest[slash..]),
        None => (rest, "/"),
    }
}

#[async_trait]
impl Probe for SimProbe {
    async fn ask(&self, question: &HttpQuestion, timeout: Duration) -> Result<HttpAnswer, ProbeError> {
        let answer = self.request(question).map_err(|message| ProbeError { message })?;
        let latency = Duration::from_secs_f64(answer.latency.max(0.001));
        if latency > timeout {
            tokio::time::sleep(timeout).await;
            return Err(ProbeError { message: format!("no answer within {} ms", timeout.as_millis()) });
        }
        tokio::time::sleep(latency).await;
        Ok(HttpAnswer { status: answer.status, headers: answer.headers, body: answer.body, latency })
    }
}
