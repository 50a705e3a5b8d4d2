//! Records and lock of a machine without a cluster, in memory.

use crate::ports::Clock;
use crate::ports::state::{Holder, Lock, LockError, Record, RecordKind, StateError, StateStore};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A machine's records and lock.
pub struct MemoryState {
    clock: Arc<dyn Clock>,
    records: Mutex<BTreeMap<(RecordKind, String), Vec<u8>>>,
    holder: Mutex<Option<Holder>>,
}

impl MemoryState {
    /// An empty one.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, records: Mutex::default(), holder: Mutex::default() }
    }
}

#[async_trait]
impl StateStore for MemoryState {
    async fn create(&self, kind: RecordKind, name: &str, content: &[u8]) -> Result<(), StateError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (kind, name.to_owned());
        if records.contains_key(&key) {
            return Err(StateError::Exists { name: name.to_owned() });
        }
        records.insert(key, content.to_vec());
        Ok(())
    }

    async fn list(&self, kind: RecordKind, prefix: &str) -> Result<Vec<Record>, StateError> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let matching = records.iter().filter(|((of, name), _)| *of == kind && name.starts_with(prefix));
        Ok(matching
            .map(|((_, name), content)| Record { name: name.clone(), content: content.clone() })
            .collect())
    }

    async fn delete(&self, kind: RecordKind, name: &str) -> Result<(), StateError> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, name.to_owned()));
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
