//! What the API server needs of the world around it, and who may do what.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::errors::ApiStatus;
use super::request::RequestInfo;
use super::store::Store;

/// The world that an API server is part of.
pub trait Host: Send + Sync {
    /// The cluster's objects.
    fn store(&self) -> &Mutex<Store>;

    /// The time.
    fn now(&self) -> Timestamp;

    /// A request is about to be carried out that may write.
    fn before_write(&self, _who: &Identity, _request: &RequestInfo) {}

    /// A request that may write was carried out, or refused: the world may let its controllers react.
    fn after_write(&self, _who: &Identity, _request: &RequestInfo, _done: bool) {}

    /// What goes wrong with somebody's request.
    fn fault(&self, _who: &Identity, _request: &RequestInfo) -> Option<Fault> {
        None
    }

    /// How far the server's watch cache lags behind what is stored.
    fn cache_lag(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether somebody may do something; the identity's own denials decide unless the world knows better.
    fn allows(&self, identity: &Identity, access: &Access<'_>) -> bool {
        identity.allows(access)
    }

    /// The log of a container, or why there is none.
    fn pod_log(&self, request: &LogRequest<'_>) -> Result<String, ApiStatus> {
        Err(ApiStatus::bad_request(format!(
            "container \"{}\" in pod \"{}\" is waiting to start: ContainerCreating",
            request.container, request.pod
        )))
    }

    /// What a service or pod answers through the API server's proxy; `None` if nothing can be reached.
    fn proxy(&self, _request: &ProxyRequest<'_>) -> Option<http::Response<Bytes>> {
        None
    }
}

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// It takes longer.
    Delay(Duration),
    /// It is answered with an error; `Retry-After` in seconds, where given.
    Refuse(ApiStatus, Option<u64>),
    /// The connection is lost before anything happens.
    Drop,
    /// It is performed, and the connection is lost before the answer.
    DropAfter,
    /// It is never answered: the connection hangs.
    Hang,
    /// It is performed, and never answered.
    HangAfter,
}

/// A request for a container's log.
#[derive(Clone, Copy, Debug)]
pub struct LogRequest<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod.
    pub pod: &'a str,
    /// The container.
    pub container: &'a str,
    /// Whether the log of the container's previous run is wanted.
    pub previous: bool,
    /// Whether each line begins with its time.
    pub timestamps: bool,
    /// How many lines from the end, if not all.
    pub tail: Option<usize>,
}

/// A request through the proxy.
#[derive(Clone, Copy, Debug)]
pub struct ProxyRequest<'a> {
    /// `services` or `pods`.
    pub resource: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// Name of the service or pod.
    pub name: &'a str,
    /// Port as number or name, empty if not given.
    pub port: &'a str,
    /// Path after `proxy`, with a leading slash.
    pub path: &'a str,
    /// The method.
    pub method: &'a http::Method,
    /// The query as it was sent.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a http::HeaderMap,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    /// `get`, `list`, `create` and so on.
    pub verb: &'a str,
    /// API group.
    pub group: &'a str,
    /// Resource, with its subresource after a slash.
    pub resource: &'a str,
    /// Namespace, empty for the cluster scope.
    pub namespace: &'a str,
}

/// What somebody may not do; `*` stands for everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The verb.
    pub verb: String,
    /// The API group.
    pub group: String,
    /// The resource.
    pub resource: String,
    /// The namespace.
    pub namespace: String,
}

impl Denial {
    fn covers(&self, access: &Access<'_>) -> bool {
        let fits = |pattern: &str, value: &str| pattern == "*" || pattern == value;
        fits(&self.verb, access.verb)
            && fits(&self.group, access.group)
            && fits(&self.resource, access.resource)
            && fits(&self.namespace, access.namespace)
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User name.
    pub user: String,
    /// Unique id, empty if there is none.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// What it may not do; everything else it may.
    pub denied: Vec<Denial>,
    /// Whether its credentials are accepted at all.
    pub authenticated: bool,
}

impl Identity {
    /// Somebody who may do everything.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            user: "admin".to_owned(),
            uid: "admin".to_owned(),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
            denied: Vec::new(),
            authenticated: true,
        }
    }

    /// Somebody whose credentials are refused.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self { authenticated: false, ..Self::admin() }
    }

    /// Somebody who may do all but something; `*` stands for everything.
    #[must_use]
    pub fn denied(user: &str, denials: &[(&str, &str, &str, &str)]) -> Self {
        let denied = denials
            .iter()
            .map(|(verb, group, resource, namespace)| Denial {
                verb: (*verb).to_owned(),
                group: (*group).to_owned(),
                resource: (*resource).to_owned(),
                namespace: (*namespace).to_owned(),
            })
            .collect();
        Self {
            user: user.to_owned(),
            uid: String::new(),
            groups: vec!["system:authenticated".to_owned()],
            denied,
            authenticated: true,
        }
    }

    /// Whether none of its denials covers something.
    #[must_use]
    pub fn allows(&self, access: &Access<'_>) -> bool {
        !self.denied.iter().any(|denial| denial.covers(access))
    }
}

/// A host without a world: a store and a clock that follows tokio's.
#[derive(Debug)]
pub struct StandaloneHost {
    store: Mutex<Store>,
    start: Timestamp,
    began: tokio::time::Instant,
}

impl StandaloneHost {
    /// A host whose time is `start` now and goes on with tokio's clock.
    #[must_use]
    pub fn new(store: Store, start: Timestamp) -> Self {
        Self { store: Mutex::new(store), start, began: tokio::time::Instant::now() }
    }
}

impl Host for StandaloneHost {
    fn store(&self) -> &Mutex<Store> {
        &self.store
    }

    fn now(&self) -> Timestamp {
        self.start.checked_add(self.began.elapsed()).unwrap_or(self.start)
    }
}
