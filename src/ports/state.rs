//! What must outlive the command, kept where the application runs: a lock and records that are created, never rewritten.
//!
//! Object storage with conditional writes must fit these traits as well as a cluster does.

use crate::domain::release::Actor;
use async_trait::async_trait;
use jiff::Timestamp;
use std::time::Duration;
use tokio::sync::watch;

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// The plan of a run.
    Plan,
    /// One entry of a run's journal.
    Journal,
    /// The record of a release.
    Release,
    /// What an operator asks of a run that goes on.
    Intent,
    /// What the gates of a run looked at.
    Evidence,
}

impl RecordKind {
    /// `plan`, `journal`, `release`, `intent`, `evidence`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Journal => "journal",
            Self::Release => "release",
            Self::Intent => "intent",
            Self::Evidence => "evidence",
        }
    }
}

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name, unique within the kind; names sort in the order of writing.
    pub name: String,
    /// Its content; nothing of one that is damaged.
    pub content: Vec<u8>,
    /// What is wrong with it (checksum, missing part), if it is damaged.
    pub damage: Option<String>,
}

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A record of that name exists: somebody else took over.
    #[error("the record {name} exists already")]
    Exists {
        /// Its name.
        name: String,
    },
    /// The store could not be reached: whether it was written is unknown.
    #[error("{message}")]
    Unreachable {
        /// Why.
        message: String,
    },
    /// We may not.
    #[error("{message}")]
    Forbidden {
        /// The store's words.
        message: String,
    },
}

/// The records of one application and environment on one target.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Stores a new record, durably; never overwrites.
    async fn create(&self, kind: RecordKind, name: &str, content: &[u8]) -> Result<(), StateError>;
    /// All records of a kind whose names begin with `prefix`, sorted by name; those that are damaged with what is wrong.
    async fn list(&self, kind: RecordKind, prefix: &str) -> Result<Vec<Record>, StateError>;
    /// The last record of a kind by name, if there is one.
    async fn newest(&self, kind: RecordKind) -> Result<Option<Record>, StateError> {
        Ok(self.list(kind, "").await?.pop())
    }
    /// The same, kept current for as long as somebody listens: `None` until it was seen for the first time. What was
    /// seen stays while contact is lost; a record that is damaged is left out.
    fn follow(&self, kind: RecordKind, prefix: &str) -> watch::Receiver<Option<Vec<Record>>>;
    /// Removes a record; absent is fine.
    async fn delete(&self, kind: RecordKind, name: &str) -> Result<(), StateError>;
    /// The object that holds a record, as a command takes it: `-n deployctl secret/shop.prod.journal.r1`.
    fn place(&self, kind: RecordKind, name: &str) -> String;
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Unique to one process of one run: `RUN/EPOCH`.
    pub id: String,
    /// User, host, CI link.
    pub by: Actor,
    /// What for: `deploy 1.4.2`.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Last sign of life.
    pub renewed: Timestamp,
    /// How long it holds without renewal.
    pub ttl: Duration,
}

impl Holder {
    /// When the lock lapses if its holder gives no more sign of life.
    #[must_use]
    pub fn lapses(&self) -> Timestamp {
        self.renewed.checked_add(self.ttl + REQUEST_TIMEOUT).unwrap_or(Timestamp::MAX)
    }

    /// Whether the lock has lapsed at `now`: its time-to-live and, on top, the time-out of a request that its holder
    /// may have sent just before (rule: takeover waits for lease + time-out).
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        let silent = now.duration_since(self.renewed).unsigned_abs();
        now > self.renewed && silent > self.ttl + REQUEST_TIMEOUT
    }
}

/// Longest time that one request of a lock's holder may be under way.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the lock was not had or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("held by {}", .0.by)]
    Held(Box<Holder>),
    /// The store could not be reached.
    #[error("{0}")]
    Unreachable(String),
    /// We may not.
    #[error("{0}")]
    Forbidden(String),
    /// It was ours, and somebody took it away.
    #[error("{0}")]
    Gone(String),
}

/// The lock of one application and environment on one target.
#[async_trait]
pub trait Lock: Send + Sync {
    /// Takes the lock if it is free, expired, or ours (same `id`).
    async fn acquire(&self, holder: &Holder) -> Result<(), LockError>;
    /// Renews it; `Held` when somebody else has it by now. Fails, too, when it is gone.
    async fn renew(&self, holder: &Holder) -> Result<(), LockError>;
    /// Gives it back if it is ours.
    async fn release(&self, holder: &Holder) -> Result<(), LockError>;
    /// Who holds it, if anybody (expired ones included).
    async fn inspect(&self) -> Result<Option<Holder>, LockError>;
    /// Takes it away from whoever holds it.
    async fn break_lock(&self) -> Result<(), LockError>;
}
