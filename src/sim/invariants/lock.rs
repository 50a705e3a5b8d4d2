//! Who may write: the process that wrote the Lease last, for as long as the server has heard of it in time.

use crate::sim::cluster::{Cluster, lock};
use crate::sim::kube::controllers::object;
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::request::RequestInfo;
use crate::sim::kube::store::Key;
use crate::sim::queue::Millis;

/// A Lease as a process left it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    key: Key,
    identity: String,
    process: String,
    since: Millis,
    ttl: Millis,
}

impl Held {
    /// The Lease after a process wrote it; nothing if nobody holds it.
    pub fn read(cluster: &Cluster, process: &str, request: &RequestInfo, now: Millis) -> Option<Self> {
        let store = lock(&cluster.store);
        let namespace = &request.namespace;
        let lease = store
            .iter(KindId::LEASES, Some(namespace))
            .find(|lease| request.name.is_empty() || object::name(lease) == request.name)?;
        let identity = object::text(lease, &["spec", "holderIdentity"]).to_owned();
        let ttl = object::count(lease, &["spec", "leaseDurationSeconds"]).max(0) as Millis * 1000;
        let key = Key::new(KindId::LEASES, namespace, object::name(lease));
        (!identity.is_empty()).then(|| Self { key, identity, process: process.to_owned(), since: now, ttl })
    }

    /// Whether a request is about what lies beside the Lease: records, and their namespace.
    pub fn is_about(&self, request: &RequestInfo) -> bool {
        let own = &self.key.namespace;
        request.namespace == *own || (request.resource == "namespaces" && request.name == *own)
    }

    /// Whether it is held and has not lapsed.
    pub fn stands(&self, cluster: &Cluster, now: Millis) -> bool {
        now <= self.since + self.ttl && self.in_store(cluster)
    }

    fn in_store(&self, cluster: &Cluster) -> bool {
        let lease = lock(&cluster.store).get(&self.key);
        lease.is_some_and(|lease| object::text(&lease, &["spec", "holderIdentity"]) == self.identity)
    }
}

/// Whether a request is about records and locks though nobody holds one yet, or any more.
pub(super) fn is_state(cluster: &Cluster, request: &RequestInfo) -> bool {
    let store = lock(&cluster.store);
    let mut leases =
        store.iter(KindId::LEASES, None).filter(|lease| object::namespace(lease) != "kube-node-lease");
    leases.any(|lease| {
        let own = object::namespace(lease);
        request.namespace == own
            || (request.resource == "namespaces" && [own, ""].contains(&request.name.as_str()))
    }) || (request.resource == "namespaces" && request.name.is_empty())
}

/// Why a process may not write now, if it may not.
pub(super) fn trespass(held: Option<&Held>, cluster: &Cluster, process: &str, now: Millis) -> Option<String> {
    match held {
        None => Some("nobody holds the lock".to_owned()),
        Some(held) if held.process != process => Some(format!("the lock was taken by {}", held.process)),
        // Whoever takes a lock by force is not heard of before the next renewal, which is due at a third of its time.
        Some(held) if !held.in_store(cluster) && now > held.since + held.ttl / 2 => {
            Some("somebody else took the lock".to_owned())
        }
        Some(held) if now > held.since + held.ttl => {
            Some(format!("the lock lapsed {} ms ago", now - held.since - held.ttl))
        }
        Some(_) => None,
    }
}
