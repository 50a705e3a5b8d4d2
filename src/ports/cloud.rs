//! Managed services around the clusters. Real adapters come with the cloud work; a rehearsal simulates them.

use async_trait::async_trait;

/// State of an RDS snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotState {
    /// Being made; percent done.
    Creating(u8),
    /// Usable.
    Available,
    /// Will not be.
    Failed(String),
}

/// The cloud refused or could not be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CloudError {
    /// Why.
    pub message: String,
}

/// The managed services of one target's region.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// State of a DB instance, e.g. `available`.
    async fn db_instance(&self, instance: &str) -> Result<String, CloudError>;
    /// Begins a snapshot; one of that name that exists already is fine.
    async fn create_snapshot(&self, instance: &str, snapshot: &str) -> Result<(), CloudError>;
    /// How far a snapshot is.
    async fn snapshot(&self, snapshot: &str) -> Result<SnapshotState, CloudError>;
    /// Terraform plan + apply of a folder; the summary line.
    async fn terraform(&self, dir: &str) -> Result<String, CloudError>;
}
