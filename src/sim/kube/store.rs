//! One cluster's objects and their history: what etcd and the storage layer of a Kubernetes API server keep.
//!
//! Synchronous and deterministic: no tasks, no locks, no clock (the time of a write is a parameter). Writes go
//! through `write` and `delete`, which add the semantics of the API; watches read `changes_since`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::defaults;
use super::kinds::{Kind, Kinds};
use super::shape::Shape;

pub use super::delete::{DeleteOptions, Propagation};
pub use super::errors::ApiStatus;
pub use super::kinds::KindId;
pub use super::stored::{Managed, Stored};

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: KindId,
    /// Its namespace, empty if the kind is cluster-scoped.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    #[must_use]
    pub fn new(kind: KindId, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeType {
    /// It was created.
    Added,
    /// It was changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One write, as watches and controllers see it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The resourceVersion that the write was given.
    pub seq: u64,
    /// What happened.
    pub typ: ChangeType,
    /// To which object.
    pub key: Key,
    /// The object after the write; for a deletion its last state, with the deletion's resourceVersion.
    pub object: Arc<Stored>,
    /// The object before the write.
    pub old: Option<Arc<Stored>>,
}

/// A change in the history, with its encoding as a watch event, made once for all watchers.
#[derive(Debug)]
pub struct Recorded {
    /// The change.
    pub change: Change,
    at: Timestamp,
    pub(crate) encoded: OnceLock<Bytes>,
}

impl Recorded {
    /// When it was written.
    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }
}

/// The objects of one cluster.
#[derive(Debug)]
pub struct Store {
    kinds: Kinds,
    objects: Vec<BTreeMap<String, BTreeMap<String, Arc<Stored>>>>,
    history: Vec<VecDeque<Arc<Recorded>>>,
    version: u64,
    /// Watches from a version below this are too old, per kind.
    floor: Vec<u64>,
    window: usize,
    /// When the last write was.
    written_at: Timestamp,
    undrained: Vec<Change>,
    random: u64,
    /// Per kind: the shape of its objects, and its empty object.
    shapes: Vec<(Arc<Shape>, Arc<Stored>)>,
    /// Wakes the watches of a kind: holds the version of its last write.
    signals: Vec<tokio::sync::watch::Sender<u64>>,
}

/// How many changes of a kind stay in the watch window unless `set_history_window` says otherwise.
const HISTORY_WINDOW: usize = 10_000;

/// How long a change stays in the watch window: `DefaultEventFreshDuration` of the API server's watch cache.
const HISTORY_AGE: Duration = Duration::from_secs(75);

/// A copy has no watchers.
impl Clone for Store {
    fn clone(&self) -> Self {
        let signals = self.signals.iter().map(|_| tokio::sync::watch::Sender::new(0)).collect();
        Self {
            kinds: self.kinds.clone(),
            objects: self.objects.clone(),
            history: self.history.clone(),
            version: self.version,
            floor: self.floor.clone(),
            window: self.window,
            written_at: self.written_at,
            undrained: self.undrained.clone(),
            random: self.random,
            shapes: self.shapes.clone(),
            signals,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Store {
    /// An empty cluster with the namespaces that every cluster has; the seed decides the uids.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut store = Self {
            kinds: Kinds::default(),
            objects: Vec::new(),
            history: Vec::new(),
            version: 0,
            floor: Vec::new(),
            window: HISTORY_WINDOW,
            written_at: Timestamp::UNIX_EPOCH,
            undrained: Vec::new(),
            random: seed,
            shapes: Vec::new(),
            signals: Vec::new(),
        };
        store.grow();
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let namespace =
                serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            store
                .create(Timestamp::UNIX_EPOCH, "kube-apiserver", KindId::NAMESPACES, namespace)
                .expect("the namespaces of an empty cluster can be created");
        }
        store
    }

    fn grow(&mut self) {
        let count = self.kinds.iter().count();
        self.objects.resize_with(count, BTreeMap::new);
        self.history.resize_with(count, VecDeque::new);
        self.floor.resize(count, self.version);
        self.signals.resize_with(count, || tokio::sync::watch::Sender::new(0));
        for index in self.shapes.len()..count {
            let shape = Shape::builtin(self.kinds.get(KindId(index as u16)));
            let empty = defaults::empty(&shape);
            self.shapes.push((Arc::new(shape), Arc::new(Stored::new(empty, Managed::new()))));
        }
    }

    pub(crate) fn shape(&self, kind: KindId) -> Arc<Shape> {
        Arc::clone(&self.shapes[usize::from(kind.0)].0)
    }

    pub(crate) fn empty_object(&self, kind: KindId) -> Arc<Stored> {
        Arc::clone(&self.shapes[usize::from(kind.0)].1)
    }

    /// The kinds that are served now.
    #[must_use]
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Finds a kind by group and resource: `store.kind("apps", "deployments")`.
    #[must_use]
    pub fn kind(&self, group: &str, plural: &str) -> Option<KindId> {
        self.kinds.find(group, plural)
    }

    /// What is known of a kind.
    #[must_use]
    pub fn kind_info(&self, id: KindId) -> &Kind {
        self.kinds.get(id)
    }

    /// Serves one more kind, as a CRD does once it is established.
    pub fn serve(&mut self, kind: Kind, shape: Shape) -> KindId {
        let id = self.kinds.add(kind);
        self.grow();
        let empty = defaults::empty(&shape);
        self.shapes[usize::from(id.0)] = (Arc::new(shape), Arc::new(Stored::new(empty, Managed::new())));
        id
    }

    /// Stops serving a kind.
    pub(crate) fn stop_serving(&mut self, kind: KindId) {
        self.kinds.hide(kind);
    }

    /// Serves a kind under another version's path too.
    pub(crate) fn serve_alias(&mut self, kind: KindId, version: &str) {
        self.kinds.alias(kind, version);
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        self.peek(key).cloned()
    }

    pub(crate) fn peek(&self, key: &Key) -> Option<&Arc<Stored>> {
        self.lookup(key.kind, &key.namespace, &key.name)
    }

    /// One object by its parts, without a key.
    #[must_use]
    pub fn lookup(&self, kind: KindId, namespace: &str, name: &str) -> Option<&Arc<Stored>> {
        self.objects[usize::from(kind.0)].get(namespace)?.get(name)
    }

    /// The objects of a kind, of one namespace or of all, sorted by namespace and name.
    #[must_use]
    pub fn list(&self, kind: KindId, namespace: Option<&str>) -> Vec<Arc<Stored>> {
        self.iter(kind, namespace).cloned().collect()
    }

    /// As `list`, without collecting.
    pub fn iter<'a>(
        &'a self,
        kind: KindId,
        namespace: Option<&'a str>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Stored>> + 'a> {
        let objects = &self.objects[usize::from(kind.0)];
        match namespace {
            Some(namespace) => Box::new(objects.get(namespace).into_iter().flat_map(BTreeMap::values)),
            None => Box::new(objects.values().flat_map(BTreeMap::values)),
        }
    }

    /// The resourceVersion of the last write.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Every change since the last call, oldest first: what controllers react to.
    pub fn drain_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.undrained)
    }

    /// The changes of a kind after a version, oldest first; `Err` holds the oldest version that can still be
    /// watched from.
    pub fn changes_since(
        &self,
        kind: KindId,
        version: u64,
    ) -> Result<impl Iterator<Item = &Arc<Recorded>>, u64> {
        let floor = self.floor[usize::from(kind.0)];
        if version < floor {
            return Err(floor);
        }
        let history = &self.history[usize::from(kind.0)];
        let start = history.partition_point(|recorded| recorded.change.seq <= version);
        Ok(history.range(start..))
    }

    /// The objects of a kind as they were at a version, sorted; `Err` holds the oldest version still known.
    pub fn list_at(
        &self,
        kind: KindId,
        namespace: Option<&str>,
        version: u64,
    ) -> Result<Vec<Arc<Stored>>, u64> {
        if version >= self.version {
            return Ok(self.list(kind, namespace));
        }
        let mut objects: BTreeMap<(String, String), Arc<Stored>> = BTreeMap::new();
        for object in self.iter(kind, namespace) {
            let key = super::write::key_of(kind, object);
            objects.insert((key.namespace, key.name), Arc::clone(object));
        }
        let later: Vec<&Arc<Recorded>> = self.changes_since(kind, version)?.collect();
        for recorded in later.into_iter().rev() {
            let change = &recorded.change;
            if namespace.is_some_and(|namespace| namespace != change.key.namespace) {
                continue;
            }
            let names = (change.key.namespace.clone(), change.key.name.clone());
            match &change.old {
                Some(old) => objects.insert(names, Arc::clone(old)),
                None => objects.remove(&names),
            };
        }
        Ok(objects.into_values().collect())
    }

    /// The oldest version from which a kind can be watched or listed exactly.
    #[must_use]
    pub fn oldest_version(&self, kind: KindId) -> u64 {
        self.floor[usize::from(kind.0)]
    }

    /// Keeps at most so many changes of each kind for watches.
    pub fn set_history_window(&mut self, changes: usize) {
        self.window = changes;
    }

    /// Forgets the history up to now: a watch from an older version gets 410 Gone.
    pub fn compact(&mut self) {
        self.floor.fill(self.version);
        self.history.iter_mut().for_each(VecDeque::clear);
    }

    /// Uids, generated names and addresses follow from another seed from here on.
    pub fn reseed(&mut self, seed: u64) {
        self.random = seed;
    }

    /// The next number of the store's own sequence: uids, generated names and addresses come from it.
    pub(crate) fn next_random(&mut self) -> u64 {
        // splitmix64: a whole sequence from one seed, equal in every run
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn next_uid(&mut self) -> String {
        let (a, b) = (self.next_random(), self.next_random());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
    }

    /// Takes an object over as it is, with its uid, status and owners of fields: how a recorded state is set up.
    pub fn load(&mut self, kind: KindId, object: Value) -> Arc<Stored> {
        self.put(super::write::key_of(kind, &object), Stored::of_client(object))
    }

    /// Keeps an object under the next version and tells everybody.
    pub(crate) fn put(&mut self, key: Key, mut object: Stored) -> Arc<Stored> {
        self.version += 1;
        object.value_mut()["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        let names = self.objects[usize::from(key.kind.0)].entry(key.namespace.clone()).or_default();
        let old = names.insert(key.name.clone(), Arc::clone(&object));
        let typ = if old.is_some() { ChangeType::Modified } else { ChangeType::Added };
        self.record(Change { seq: self.version, typ, key, object: Arc::clone(&object), old });
        object
    }

    /// Removes an object and tells everybody; its last state carries the version of the removal.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Stored>> {
        let names = self.objects[usize::from(key.kind.0)].get_mut(&key.namespace)?;
        let old = names.remove(&key.name)?;
        self.version += 1;
        let mut last = (*old).clone();
        last.value_mut()["metadata"]["resourceVersion"] = self.version.to_string().into();
        let last = Arc::new(last);
        self.record(Change {
            seq: self.version,
            typ: ChangeType::Deleted,
            key: key.clone(),
            object: Arc::clone(&last),
            old: Some(old),
        });
        Some(last)
    }

    /// Breaks every watch off; the clients begin new ones.
    pub fn drop_watches(&mut self) {
        self.signals.fill_with(|| tokio::sync::watch::Sender::new(0));
    }

    /// Tells of every write of a kind, for watches.
    pub(crate) fn subscribe(&self, kind: KindId) -> tokio::sync::watch::Receiver<u64> {
        self.signals[usize::from(kind.0)].subscribe()
    }

    fn record(&mut self, change: Change) {
        let kind = usize::from(change.key.kind.0);
        self.signals[kind].send_replace(change.seq);
        self.undrained.push(change.clone());
        let history = &mut self.history[kind];
        let at = self.written_at;
        history.push_back(Arc::new(Recorded { change, at, encoded: OnceLock::new() }));
        let window = self.window;
        let is_old = |oldest: &Recorded, count: usize| count > window || oldest.at + HISTORY_AGE < at;
        while history.front().is_some_and(|oldest| is_old(oldest, history.len())) {
            if let Some(gone) = history.pop_front() {
                self.floor[kind] = gone.change.seq;
            }
        }
    }

    /// The time of the writes that follow.
    pub(crate) fn note_time(&mut self, now: Timestamp) {
        self.written_at = self.written_at.max(now);
    }
}
