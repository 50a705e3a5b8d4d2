//! A Kubernetes cluster, its records and its locks, over any [`kube::Client`]: a real API server or the simulated one.
//!
//! Requests are built in `request` and sent in `send`, and nowhere else.

mod access;
mod closed;
pub mod connect;
mod credentials;
mod delete;
mod discovery;
mod document_cache;
mod errors;
mod follow;
pub mod lease;
mod lines;
mod listing;
mod look;
mod namespace;
mod objects;
mod openapi;
mod request;
mod room;
mod seen;
mod seen_pod;
mod send;
pub mod state;
mod tail;
mod warnings;
mod watched;

use crate::adapters::kubernetes::discovery::Discovery;
use crate::adapters::kubernetes::follow::Rooms;
use crate::adapters::kubernetes::lease::LeaseLock;
use crate::adapters::kubernetes::openapi::Documents;
use crate::adapters::kubernetes::send::{Api, Patience};
use crate::adapters::kubernetes::state::SecretStore;
use crate::domain::definitions::ApiKind;
use crate::domain::kube_schema::Schema;
use crate::domain::object::ObjectRef;
use crate::domain::observed::{Event, LiveObjects, NodeRoom, Snapshot};
use crate::domain::secret::redact;
use crate::ports::cluster::{Applied, Identity, Permission, Terms, Tried};
use crate::ports::probe::{HttpAnswer, HttpQuestion, ProbeError};
use crate::ports::{Clock, Cluster, ClusterError};
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Client;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub use closed::closed;
pub use connect::{ConnectError, connect, connect_in_cluster};

/// Requests of one operation that may be under way at once.
const IN_FLIGHT: usize = 64;

/// One cluster. Its watches end when it is dropped.
pub struct KubeCluster {
    api: Arc<Api>,
    discovery: Discovery,
    documents: Documents,
    rooms: Rooms,
}

impl KubeCluster {
    /// A cluster behind a client; `name` is what messages call the server (its URL).
    ///
    /// Must be called inside a tokio runtime, as [`Client::new`] must.
    #[must_use]
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        let api = Arc::new(Api::new(client, name.into(), 0));
        Self {
            api,
            discovery: Discovery::default(),
            documents: Documents::default(),
            rooms: Rooms::default(),
        }
    }

    /// Keeps the server's `OpenAPI` documents in a folder from command to command; without one they are fetched each time.
    #[must_use]
    pub fn with_document_cache(mut self, folder: PathBuf) -> Self {
        self.documents.keep_in(folder);
        self
    }

    /// Sets the seed that the jitter of pauses is drawn from. Processes should differ, repetitions of a rehearsal not.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        Arc::get_mut(&mut self.api).expect("the seed is set before the first use").set_seed(seed);
        self
    }

    /// The records of an application's environment in a namespace of this cluster.
    #[must_use]
    pub fn state_store(&self, namespace: &str, application: &str, environment: &str) -> SecretStore {
        SecretStore::new(Arc::clone(&self.api), namespace, application, environment)
    }

    /// The lock of an application's environment in a namespace of this cluster.
    #[must_use]
    pub fn lock(
        &self,
        namespace: &str,
        application: &str,
        environment: &str,
        clock: Arc<dyn Clock>,
    ) -> LeaseLock {
        LeaseLock::new(Arc::clone(&self.api), namespace, application, environment, clock)
    }

    /// The sign of life of the guard of an application's environment in a namespace of this cluster.
    #[must_use]
    pub fn guard_lock(
        &self,
        namespace: &str,
        application: &str,
        environment: &str,
        clock: Arc<dyn Clock>,
    ) -> LeaseLock {
        self.lock(namespace, application, environment, clock).of_guard()
    }
}

impl std::fmt::Debug for KubeCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeCluster").field("server", &self.api.server).finish_non_exhaustive()
    }
}

#[async_trait]
impl Cluster for KubeCluster {
    async fn identity(&self) -> Result<Identity, ClusterError> {
        access::identity(&self.api).await
    }

    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, ClusterError> {
        self.get_object(object).await
    }

    async fn replicas(&self, workload: &ObjectRef) -> Result<Option<u32>, ClusterError> {
        self.replicas_of(workload).await
    }

    async fn get_all(&self, objects: &[ObjectRef]) -> Result<Vec<Option<Value>>, ClusterError> {
        self.read_all(objects).await
    }

    async fn list(&self, api_version: &str, kind: &str, namespace: &str) -> Result<Vec<Value>, ClusterError> {
        // Whatever its name is: it stands for its kind.
        self.list_all(&ObjectRef::new(api_version, kind, namespace, "any")).await
    }

    async fn apply(&self, object: &Value, terms: Terms) -> Result<Applied, ClusterError> {
        self.apply_object(object, terms).await
    }

    async fn try_apply(&self, object: &Value, terms: Terms) -> Result<Tried, ClusterError> {
        self.try_object(object, terms).await
    }

    async fn delete(&self, object: &ObjectRef) -> Result<(), ClusterError> {
        self.delete_object(object).await
    }

    async fn scale(&self, workload: &ObjectRef, replicas: u32) -> Result<u32, ClusterError> {
        self.scale_object(workload, replicas).await
    }

    async fn modify(
        &self,
        object: &ObjectRef,
        change: &(dyn for<'v> Fn(&'v Value) -> Option<Value> + Send + Sync),
    ) -> Result<Applied, ClusterError> {
        self.modify_object(object, change).await
    }

    fn follow(&self, namespace: &str) -> watch::Receiver<Snapshot> {
        self.rooms.enter(&self.api, namespace)
    }

    async fn watch_objects(
        &self,
        objects: &[ObjectRef],
    ) -> Result<watch::Receiver<LiveObjects>, ClusterError> {
        look::watch_objects(&self.api, &self.discovery, objects).await
    }

    async fn rooms(&self) -> Result<Vec<NodeRoom>, ClusterError> {
        room::rooms(&self.api).await
    }

    async fn events(&self, about: &ObjectRef) -> Result<Vec<Event>, ClusterError> {
        access::events(&self.api, about).await
    }

    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        lines: u32,
    ) -> Result<String, ClusterError> {
        let text = access::logs(&self.api, namespace, pod, container, previous, lines).await?;
        Ok(redact(&text).into_owned())
    }

    async fn lacking(&self, permissions: &[Permission]) -> Result<Vec<Permission>, ClusterError> {
        let asked: Vec<_> =
            permissions.iter().map(|permission| access::denied(&self.api, permission)).collect();
        let answers: Vec<Option<Permission>> =
            futures::stream::iter(asked).buffered(IN_FLIGHT).try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn plural(&self, api_version: &str, kind: &str) -> Result<Option<String>, ClusterError> {
        let found = self.discovery.find(&self.api, api_version, kind, Patience::read()).await?;
        Ok(found.map(|resource| resource.plural))
    }

    async fn schemas(&self, kinds: &[ApiKind]) -> Vec<Arc<Schema>> {
        self.documents.schemas(&self.api, kinds).await
    }

    async fn proxy(
        &self,
        namespace: &str,
        target: &str,
        question: &HttpQuestion,
        timeout: Duration,
    ) -> Result<HttpAnswer, ProbeError> {
        access::proxy(&self.api, namespace, target, question, timeout).await
    }

    async fn stream(
        &self,
        namespace: &str,
        target: &str,
        path: &str,
        limit: usize,
        timeout: Duration,
        sink: &mut (dyn for<'p> FnMut(&'p [u8]) + Send),
    ) -> Result<(), ProbeError> {
        access::stream(&self.api, namespace, target, path, limit, timeout, sink).await
    }
}
