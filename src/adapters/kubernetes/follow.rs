//! One LIST+WATCH per kind and namespace, shared by everybody who waits: they feed one [`Snapshot`].
//!
//! A watch lasts half a minute at the most and is then renewed from where it ended, so a connection that has silently died
//! is noticed. When a watch is broken, `Snapshot::stale_since` says since when; what was seen before stays.

use crate::adapters::kubernetes::request::{self, Selection};
use crate::adapters::kubernetes::send::{Api, Patience};
use crate::adapters::kubernetes::tail::{End, GOOD, RETRY_FORBIDDEN, SPAN, Tail, Told};
use crate::adapters::kubernetes::watched::{
    DaemonSets, Deployments, Events, Jobs, Pods, ReplicaSets, Slices, StatefulSets, Watched,
};
use crate::domain::observed::Snapshot;
use crate::ports::ClusterError;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Kinds watched per namespace.
const KINDS: usize = 8;

/// The namespaces that are followed. The tasks end when this is dropped.
#[derive(Default)]
pub(crate) struct Rooms {
    rooms: Mutex<BTreeMap<String, Arc<Room>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Rooms {
    /// The shared state of a namespace; the first call begins to watch.
    pub(crate) fn enter(&self, api: &Arc<Api>, namespace: &str) -> watch::Receiver<Snapshot> {
        let mut rooms = self.rooms.lock().expect("no panic while held");
        if let Some(room) = rooms.get(namespace) {
            return room.sender.subscribe();
        }
        let room = Arc::new(Room::default());
        let receiver = room.sender.subscribe();
        rooms.insert(namespace.to_owned(), Arc::clone(&room));
        let mut tasks = self.tasks.lock().expect("no panic while held");
        let eye = Eye { api: Arc::clone(api), room, namespace: namespace.to_owned() };
        tasks.spawn(eye.clone().follow::<Deployments>());
        tasks.spawn(eye.clone().follow::<StatefulSets>());
        tasks.spawn(eye.clone().follow::<DaemonSets>());
        tasks.spawn(eye.clone().follow::<Jobs>());
        tasks.spawn(eye.clone().follow::<ReplicaSets>());
        tasks.spawn(eye.clone().follow::<Pods>());
        tasks.spawn(eye.clone().follow::<Slices>());
        tasks.spawn(eye.follow::<Events>());
        receiver
    }
}

/// One namespace.
#[derive(Default)]
struct Room {
    sender: watch::Sender<Snapshot>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    listed: BTreeSet<&'static str>,
    broken: BTreeMap<&'static str, Instant>,
}

impl Room {
    /// Changes the snapshot; all who wait are told once.
    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        self.sender.send_modify(|snapshot| {
            change(snapshot);
            snapshot.version += 1;
        });
    }

    /// A kind was listed: `change` puts the objects in.
    fn listed(&self, plural: &'static str, change: impl FnOnce(&mut Snapshot)) {
        let mut progress = self.progress.lock().expect("no panic while held");
        progress.listed.insert(plural);
        progress.broken.remove(plural);
        self.change(|snapshot| {
            change(snapshot);
            snapshot.unseen.remove(plural);
            snapshot.synced = progress.listed.len() == KINDS;
            snapshot.stale_since = progress.broken.values().min().copied();
        });
    }

    /// A kind is watched again.
    fn found(&self, plural: &'static str) {
        let mut progress = self.progress.lock().expect("no panic while held");
        if progress.broken.remove(plural).is_some() {
            self.change(|snapshot| snapshot.stale_since = progress.broken.values().min().copied());
        }
    }

    /// Contact is lost; returns whether the server refuses us for good (as against being away).
    fn lost(&self, plural: &'static str, error: &ClusterError) -> bool {
        let mut progress = self.progress.lock().expect("no panic while held");
        let refused = matches!(error, ClusterError::Forbidden { .. } | ClusterError::NotFound { .. });
        let unseen = self.sender.borrow().unseen.contains_key(plural);
        if refused && (unseen || !progress.listed.contains(plural)) {
            // Never seen, not allowed: those who wait for other kinds need not wait for this one.
            progress.listed.insert(plural);
            self.change(|snapshot| {
                snapshot.unseen.insert(plural.to_owned(), error.to_string());
                snapshot.synced = progress.listed.len() == KINDS;
            });
            return true;
        }
        if let std::collections::btree_map::Entry::Vacant(entry) = progress.broken.entry(plural) {
            entry.insert(Instant::now());
            tracing::debug!(plural, %error, "a watch has lost contact");
            self.change(|snapshot| snapshot.stale_since = progress.broken.values().min().copied());
        }
        false
    }
}

/// What a watching task works with.
#[derive(Clone)]
struct Eye {
    api: Arc<Api>,
    room: Arc<Room>,
    namespace: String,
}

#[derive(Deserialize)]
struct ListOf<T> {
    metadata: ListMeta,
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct ListMeta {
    resource_version: String,
    r#continue: String,
}

impl Eye {
    async fn follow<K: Watched>(self) {
        let path = request::path(K::API_VERSION, K::PLURAL, &self.namespace, "", "");
        let mut memory = K::Memory::default();
        let mut breaks = 0;
        loop {
            match self.list::<K>(&path).await {
                Ok((items, version)) => {
                    self.room.listed(K::PLURAL, |snapshot| {
                        K::clear(&mut memory, snapshot);
                        for item in items {
                            item.put(&self.namespace, &mut memory, snapshot);
                        }
                        K::settle(&mut memory, snapshot);
                    });
                    self.watch::<K>(&path, version, &mut memory, &mut breaks).await;
                }
                Err(error) => {
                    let pause = self.api.pause(&path, breaks);
                    breaks += 1;
                    let refused = self.room.lost(K::PLURAL, &error);
                    tokio::time::sleep(if refused { RETRY_FORBIDDEN } else { pause }).await;
                }
            }
        }
    }

    async fn list<K: Watched>(&self, path: &str) -> Result<(Vec<K>, String), ClusterError> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let call = request::list(path, selection::<K>(), &next);
            let piece: ListOf<K> = match self.api.read(&call, Patience::quick()).await {
                Ok(piece) => piece,
                // The list grew too old while we read it: from the start.
                Err(ClusterError::Server { code: 410, .. }) if !next.is_empty() => {
                    items.clear();
                    next.clear();
                    continue;
                }
                Err(error) => return Err(error),
            };
            items.extend(piece.items.unwrap_or_default());
            request::go_on(&mut next, piece.metadata.r#continue)?;
            if next.is_empty() {
                return Ok((items, piece.metadata.resource_version));
            }
        }
    }

    /// Watches from `version` until it is too old.
    async fn watch<K: Watched>(
        &self,
        path: &str,
        mut version: String,
        memory: &mut K::Memory,
        breaks: &mut u32,
    ) {
        loop {
            let began = Instant::now();
            let call = request::watch(path, selection::<K>(), &version, SPAN);
            let end = match self.api.open(&call).await {
                Ok(body) => {
                    self.room.found(K::PLURAL);
                    self.read::<K>(Tail::of(path, body), &mut version, memory).await
                }
                Err(ClusterError::Server { code: 410, .. }) => End::Expired,
                Err(error) => {
                    self.room.lost(K::PLURAL, &error);
                    End::Broken(error.to_string())
                }
            };
            if began.elapsed() >= GOOD {
                *breaks = 0;
            }
            match end {
                // A server (or a proxy) that hangs up at once must not be asked in a tight loop.
                End::Over if began.elapsed() >= GOOD => {}
                End::Over | End::Broken(_) => {
                    tracing::debug!(plural = K::PLURAL, namespace = %self.namespace, "a watch ended early");
                    let pause = self.api.pause(path, *breaks);
                    *breaks += 1;
                    tokio::time::sleep(pause).await;
                }
                End::Expired => return,
            }
        }
    }

    /// Reads one watch to its end.
    async fn read<K: Watched>(&self, mut tail: Tail, version: &mut String, memory: &mut K::Memory) -> End {
        loop {
            let (told, end) = tail.next::<K>().await;
            let versions = told.iter().map(|told| &told.object().meta().resource_version);
            if let Some(last) = versions.rev().find(|version| !version.is_empty()) {
                version.clone_from(last);
            }
            self.take_in(told, memory);
            match end {
                None => {}
                Some(End::Broken(message)) => {
                    let error = ClusterError::Unreachable { server: self.api.server.clone(), message };
                    self.room.lost(K::PLURAL, &error);
                    return End::Broken(error.to_string());
                }
                Some(end) => return end,
            }
        }
    }

    /// Takes in all that a packet told at once, so that those who wait are woken once.
    fn take_in<K: Watched>(&self, told: Vec<Told<K>>, memory: &mut K::Memory) {
        if told.iter().all(|told| matches!(told, Told::Mark(_))) {
            return;
        }
        self.room.change(|snapshot| {
            for told in told {
                match told {
                    Told::Put(item) => item.put(&self.namespace, memory, snapshot),
                    Told::Gone(item) => item.remove(&self.namespace, memory, snapshot),
                    Told::Mark(_) => {}
                }
            }
            K::settle(memory, snapshot);
        });
    }
}

fn selection<K: Watched>() -> Selection<'static> {
    Selection { fields: K::FIELDS, labels: "" }
}
