//! Doors with one mistake in them.

use async_trait::async_trait;
use deployctl::domain::definitions::ApiKind;
use deployctl::domain::kube_schema::Schema;
use deployctl::domain::object::ObjectRef;
use deployctl::domain::observed::{Event, LiveObjects, NodeRoom, Snapshot};
use deployctl::ports::Cluster;
use deployctl::ports::cluster::{Applied, ClusterError, Identity, Permission, Terms, Tried};
use deployctl::ports::probe::{HttpAnswer, HttpQuestion, ProbeError};
use deployctl::ports::state::{Holder, Lock, LockError, Record, RecordKind, StateError, StateStore};
use deployctl::run::World;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Stable is scaled to one pod as soon as the new revision is scaled up.
    DrainsBeforeTheSwitch,
    /// The new revision has no pods when its first weight is written.
    WeighsBeforeReady,
    /// The weights of a route are too many.
    WeightsOverHundred,
    /// What is written in the first wave's region is written in the other one at the same time.
    BothWavesAtOnce,
    /// A lock that was lost counts as held.
    WritesWithoutTheLock,
    /// Deployments are not deleted.
    LeavesTheCanaryBehind,
    /// Records of outcomes are not written.
    LosesOutcomes,
    /// A write is never answered.
    Hangs,
}

/// The doors with the mistake in them.
pub fn twisted(mut doors: World, mistake: Mistake) -> World {
    let clusters: Vec<Arc<dyn Cluster>> =
        doors.sites.values().map(|site| Arc::clone(site.cluster().unwrap())).collect();
    for site in doors.sites.values_mut() {
        let inner = Arc::clone(site.cluster().unwrap());
        site.cluster = Some(Arc::new(Twisted { inner, others: clusters.clone(), mistake }));
        if mistake == Mistake::WritesWithoutTheLock {
            site.lock = Arc::new(Confident(Arc::clone(&site.lock)));
        }
        if mistake == Mistake::LosesOutcomes {
            site.state = Arc::new(Forgetful(Arc::clone(&site.state)));
        }
    }
    doors
}

struct Twisted {
    inner: Arc<dyn Cluster>,
    others: Vec<Arc<dyn Cluster>>,
    mistake: Mistake,
}

impl Twisted {
    fn stable() -> ObjectRef {
        ObjectRef::deployment("shop", "api-r1")
    }

    fn new_one() -> ObjectRef {
        ObjectRef::deployment("shop", "api-r2")
    }

    /// What the mistake does before an object is applied; the object as it is sent.
    async fn meddle(&self, object: &Value) -> Value {
        let mut sent = object.clone();
        let weight = &object["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"];
        match self.mistake {
            Mistake::WeighsBeforeReady if weight.is_string() && weight != "0" => {
                let _ = self.inner.scale(&Self::new_one(), 0).await;
            }
            Mistake::WeightsOverHundred => {
                let rules = sent.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
                for backends in
                    rules.into_iter().flatten().filter_map(|rule| rule["backendRefs"].as_array_mut())
                {
                    if let [stable, canary] = backends.as_mut_slice()
                        && canary["weight"].as_u64() > Some(0)
                    {
                        stable["weight"] = json!(100);
                    }
                }
            }
            Mistake::BothWavesAtOnce if object["kind"] == "Deployment" => {
                for other in &self.others {
                    let _ = other.apply(object, Terms::FORCED).await;
                }
            }
            Mistake::Hangs if object["kind"] == "Deployment" => std::future::pending().await,
            _ => {}
        }
        sent
    }
}

#[async_trait]
impl Cluster for Twisted {
    async fn identity(&self) -> Result<Identity, ClusterError> {
        self.inner.identity().await
    }

    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, ClusterError> {
        self.inner.get(object).await
    }

    async fn get_all(&self, objects: &[ObjectRef]) -> Result<Vec<Option<Value>>, ClusterError> {
        self.inner.get_all(objects).await
    }

    async fn list(&self, api_version: &str, kind: &str, namespace: &str) -> Result<Vec<Value>, ClusterError> {
        self.inner.list(api_version, kind, namespace).await
    }

    async fn apply(&self, object: &Value, terms: Terms) -> Result<Applied, ClusterError> {
        let sent = self.meddle(object).await;
        self.inner.apply(&sent, terms).await
    }

    async fn try_apply(&self, object: &Value, terms: Terms) -> Result<Tried, ClusterError> {
        self.inner.try_apply(object, terms).await
    }

    async fn delete(&self, object: &ObjectRef) -> Result<(), ClusterError> {
        if self.mistake == Mistake::LeavesTheCanaryBehind && object.kind == "Deployment" {
            return Ok(());
        }
        self.inner.delete(object).await
    }

    async fn scale(&self, workload: &ObjectRef, replicas: u32) -> Result<u32, ClusterError> {
        if self.mistake == Mistake::DrainsBeforeTheSwitch && *workload == Self::new_one() && replicas > 0 {
            let _ = self.inner.scale(&Self::stable(), 1).await;
        }
        self.inner.scale(workload, replicas).await
    }

    async fn modify(
        &self,
        object: &ObjectRef,
        change: &(dyn for<'v> Fn(&'v Value) -> Option<Value> + Send + Sync),
    ) -> Result<Applied, ClusterError> {
        self.inner.modify(object, change).await
    }

    fn follow(&self, namespace: &str) -> watch::Receiver<Snapshot> {
        self.inner.follow(namespace)
    }

    async fn watch_objects(
        &self,
        objects: &[ObjectRef],
    ) -> Result<watch::Receiver<LiveObjects>, ClusterError> {
        self.inner.watch_objects(objects).await
    }

    async fn rooms(&self) -> Result<Vec<NodeRoom>, ClusterError> {
        self.inner.rooms().await
    }

    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        lines: u32,
    ) -> Result<String, ClusterError> {
        self.inner.logs(namespace, pod, container, previous, lines).await
    }

    async fn lacking(&self, permissions: &[Permission]) -> Result<Vec<Permission>, ClusterError> {
        self.inner.lacking(permissions).await
    }

    async fn plural(&self, api_version: &str, kind: &str) -> Result<Option<String>, ClusterError> {
        self.inner.plural(api_version, kind).await
    }

    async fn schemas(&self, kinds: &[ApiKind]) -> Vec<Arc<Schema>> {
        self.inner.schemas(kinds).await
    }

    async fn events(&self, about: &ObjectRef) -> Result<Vec<Event>, ClusterError> {
        self.inner.events(about).await
    }

    async fn proxy(
        &self,
        namespace: &str,
        target: &str,
        question: &HttpQuestion,
        timeout: Duration,
    ) -> Result<HttpAnswer, ProbeError> {
        self.inner.proxy(namespace, target, question, timeout).await
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
        self.inner.stream(namespace, target, path, limit, timeout, sink).await
    }
}

/// A lock that is never lost, as far as its holder hears.
struct Confident(Arc<dyn Lock>);

#[async_trait]
impl Lock for Confident {
    async fn acquire(&self, holder: &Holder) -> Result<(), LockError> {
        self.0.acquire(holder).await
    }

    async fn renew(&self, holder: &Holder) -> Result<(), LockError> {
        let _ = self.0.renew(holder).await;
        Ok(())
    }

    async fn release(&self, holder: &Holder) -> Result<(), LockError> {
        self.0.release(holder).await
    }

    async fn inspect(&self) -> Result<Option<Holder>, LockError> {
        self.0.inspect().await
    }

    async fn break_lock(&self) -> Result<(), LockError> {
        self.0.break_lock().await
    }
}

/// A store that keeps no outcomes.
struct Forgetful(Arc<dyn StateStore>);

#[async_trait]
impl StateStore for Forgetful {
    async fn create(&self, kind: RecordKind, name: &str, content: &[u8]) -> Result<(), StateError> {
        let text = String::from_utf8_lossy(content);
        if kind == RecordKind::Journal && text.contains("\"event\":\"finish\"") {
            return Ok(());
        }
        self.0.create(kind, name, content).await
    }

    fn place(&self, kind: RecordKind, name: &str) -> String {
        self.0.place(kind, name)
    }

    async fn list(&self, kind: RecordKind, prefix: &str) -> Result<Vec<Record>, StateError> {
        self.0.list(kind, prefix).await
    }

    fn follow(&self, kind: RecordKind, prefix: &str) -> watch::Receiver<Option<Vec<Record>>> {
        self.0.follow(kind, prefix)
    }

    async fn delete(&self, kind: RecordKind, name: &str) -> Result<(), StateError> {
        self.0.delete(kind, name).await
    }
}
