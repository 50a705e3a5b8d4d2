//! The world behind a cluster's API server: time, faults of requests, logs, and what the proxy reaches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::active::ActiveFaults;
use super::faults::FaultKind;
use super::kube::errors::ApiStatus;
use super::kube::host::{Fault, Host, Identity, LogRequest, ProxyRequest};
use super::kube::request::RequestInfo;
use super::kube::store::Store;
use super::process::{Fate, changes_something};
use super::world::Shared;

/// What an overloaded API server tells a client to wait, in seconds.
const RETRY_AFTER: u64 = 1;

/// One cluster's view of the world.
pub struct ClusterHost {
    shared: Arc<Shared>,
    cluster: usize,
}

impl ClusterHost {
    /// The host of the cluster at this place.
    #[must_use]
    pub fn new(shared: Arc<Shared>, cluster: usize) -> Self {
        Self { shared, cluster }
    }
}

impl Host for ClusterHost {
    fn store(&self) -> &Mutex<Store> {
        self.shared.store(self.cluster)
    }

    fn now(&self) -> Timestamp {
        self.shared.clock().now()
    }

    fn before_write(&self, who: &Identity, request: &RequestInfo) {
        if changes_something(request) {
            self.shared.state().before_write(self.cluster, &who.uid, request);
        }
    }

    fn after_write(&self, who: &Identity, request: &RequestInfo, done: bool) {
        self.shared.changed();
        if done && changes_something(request) {
            self.shared.state().after_write(self.cluster, &who.uid, request);
        }
    }

    fn fault(&self, who: &Identity, request: &RequestInfo) -> Option<Fault> {
        // the world catches up before the request looks at it
        let mut state = self.shared.state();
        let name = state.clusters[self.cluster].name.clone();
        let at = state.moment().at;
        let random = state.random().bits();
        let fault = request_fault(&mut state.faults, &name, at, request, random);
        match state.processes.meet(&who.uid, request) {
            Fate::Lives => fault,
            Fate::Dead => Some(Fault::Hang),
            Fate::DiesAfter => Some(fault.unwrap_or(Fault::HangAfter)),
        }
    }

    fn cache_lag(&self) -> Duration {
        self.shared.cache_lag(self.cluster)
    }

    fn pod_log(&self, request: &LogRequest<'_>) -> Result<String, ApiStatus> {
        let state = self.shared.state();
        let kubelet = &state.clusters[self.cluster].kubelet;
        let Some(lines) = kubelet.log(request.namespace, request.pod, request.previous) else {
            let why = if request.previous {
                format!(
                    "previous terminated container \"{}\" in pod \"{}\" not found",
                    request.container, request.pod
                )
            } else {
                format!(
                    "container \"{}\" in pod \"{}\" is waiting to start: ContainerCreating",
                    request.container, request.pod
                )
            };
            return Err(ApiStatus::bad_request(why));
        };
        let skip = request.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        let clock = self.shared.clock();
        let shown = lines.iter().skip(skip).map(|(at, line)| {
            let stamp = if request.timestamps {
                format!("{} ", clock.at(*at).strftime("%Y-%m-%dT%H:%M:%S.%9fZ"))
            } else {
                String::new()
            };
            format!("{stamp}{line}\n")
        });
        Ok(shown.collect())
    }

    fn proxy(&self, request: &ProxyRequest<'_>) -> Option<http::Response<Bytes>> {
        let headers: BTreeMap<String, String> = request
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect();
        let mut state = self.shared.state();
        let pod = if request.resource == "pods" {
            state.clusters[self.cluster].pod_by_name(request.namespace, request.name)
        } else {
            state.clusters[self.cluster].pod_of_service(request.namespace, request.name)
        }?;
        let at = state.moment().at;
        let state = &mut *state;
        let answer = state.clusters[self.cluster].answer(pod, request.path, &headers, &state.faults, at);
        let mut response = http::Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value);
        }
        response.body(Bytes::from(answer.body)).ok()
    }
}

/// What goes wrong with a request.
fn request_fault(
    faults: &mut ActiveFaults,
    cluster: &str,
    at: u64,
    request: &RequestInfo,
    random: u64,
) -> Option<Fault> {
    if faults.of_kind(FaultKind::Partition, cluster, at).is_some() {
        return Some(Fault::Hang);
    }
    if faults.of_kind(FaultKind::ApiDown, cluster, at).is_some() {
        return Some(Fault::Drop);
    }
    if faults.of_kind(FaultKind::TokenExpired, cluster, at).is_some() {
        return Some(Fault::Refuse(ApiStatus::new(401, "Unauthorized", "Unauthorized"), None));
    }
    let stores = changes_something(request) && !request.verb.starts_with("delete");
    if stores && faults.of_kind(FaultKind::DiskFull, cluster, at).is_some() {
        return Some(Fault::Refuse(ApiStatus::internal("etcdserver: mvcc: database space exceeded"), None));
    }
    if faults.of_kind(FaultKind::Throttle, cluster, at).is_some() {
        let message = "the server has received too many requests and has asked us to try again later";
        return Some(Fault::Refuse(ApiStatus::new(429, "TooManyRequests", message), Some(RETRY_AFTER)));
    }
    let conflicting = matches!(request.verb.as_str(), "update" | "patch") && !request.name.is_empty();
    if conflicting && faults.take_conflict(cluster) {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes to the latest version and try again",
            request.resource, request.name
        );
        return Some(Fault::Refuse(ApiStatus::new(409, "Conflict", message), None));
    }
    let slow = faults.of_kind(FaultKind::ApiSlow, cluster, at)?;
    // half to one and a half times as slow as said
    let millis = slow.amount * (0.5 + (random % 1000) as f64 / 1000.0);
    Some(Fault::Delay(Duration::from_millis(millis as u64)))
}
