//! Records and lock of a machine without a cluster, in memory.

use crate::ports::Clock;
use crate::ports::state::{Holder, Lock, LockError, Record, RecordKind, StateError, StateStore};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Somebody who wants to know what a kind's records with a prefix are.
struct Follower {
    kind: RecordKind,
    prefix: String,
    sender: watch::Sender<Option<Vec<Record>>>,
}

/// A machine's records and lock.
pub struct MemoryState {
    clock: Arc<dyn Clock>,
    records: Mutex<BTreeMap<(RecordKind, String), Vec<u8>>>,
    followers: Mutex<Vec<Follower>>,
    holder: Mutex<Option<Holder>>,
}

impl MemoryState {
    /// An empty one.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, records: Mutex::default(), followers: Mutex::default(), holder: Mutex::default() }
    }

    /// The same records and lock on another clock.
    #[must_use]
    pub fn copy(&self, clock: Arc<dyn Clock>) -> Self {
        let copy = Self::new(clock);
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *copy.records.lock().unwrap_or_else(PoisonError::into_inner) = records;
        copy
    }

    fn matching(&self, kind: RecordKind, prefix: &str) -> Vec<Record> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let matching = records.iter().filter(|((of, name), _)| *of == kind && name.starts_with(prefix));
        matching
            .map(|((_, name), content)| Record { name: name.clone(), content: content.clone(), damage: None })
            .collect()
    }

    /// Those who still listen are told; the others are forgotten.
    fn tell(&self, kind: RecordKind) {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|follower| follower.sender.receiver_count() > 0);
        for follower in followers.iter().filter(|follower| follower.kind == kind) {
            follower.sender.send_replace(Some(self.matching(kind, &follower.prefix)));
        }
    }
}

#[async_trait]
impl StateStore for MemoryState {
    async fn create(&self, kind: RecordKind, name: &str, content: &[u8]) -> Result<(), StateError> {
        {
            let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (kind, name.to_owned());
            if records.contains_key(&key) {
                return Err(StateError::Exists { name: name.to_owned() });
            }
            records.insert(key, content.to_vec());
        }
        self.tell(kind);
        Ok(())
    }

    fn place(&self, kind: RecordKind, name: &str) -> String {
        format!("{}/{name}", kind.as_str())
    }

    async fn list(&self, kind: RecordKind, prefix: &str) -> Result<Vec<Record>, StateError> {
        Ok(self.matching(kind, prefix))
    }

    fn follow(&self, kind: RecordKind, prefix: &str) -> watch::Receiver<Option<Vec<Record>>> {
        let (sender, receiver) = watch::channel(Some(self.matching(kind, prefix)));
        let follower = Follower { kind, prefix: prefix.to_owned(), sender };
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(follower);
        receiver
    }

    async fn delete(&self, kind: RecordKind, name: &str) -> Result<(), StateError> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, name.to_owned()));
        self.tell(kind);
        Ok(())
    }
}

impl MemoryState {
    fn take(&self, holder: &Holder, anew: bool) -> Result<(), LockError> {
        let mut held = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_ref() {
            Some(other) if other.id != holder.id && !other.expired(self.clock.now()) => {
                Err(LockError::Held(Box::new(other.clone())))
            }
            None if !anew => Err(LockError::Forbidden("the lock is gone".to_owned())),
            _ => {
                *held = Some(holder.clone());
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Lock for MemoryState {
    async fn acquire(&self, holder: &Holder) -> Result<(), LockError> {
        self.take(holder, true)
    }

    async fn renew(&self, holder: &Holder) -> Result<(), LockError> {
        self.take(holder, false)
    }

    async fn release(&self, holder: &Holder) -> Result<(), LockError> {
        let mut held = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|other| other.id == holder.id) {
            *held = None;
        }
        Ok(())
    }

    async fn inspect(&self) -> Result<Option<Holder>, LockError> {
        Ok(self.holder.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn break_lock(&self) -> Result<(), LockError> {
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}
