//! Where secret values are read from, at the moment they are needed.

use crate::domain::secret::{SecretRef, SecretValue};
use async_trait::async_trait;

/// The value cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SecretError {
    /// Why; never the value.
    pub message: String,
}

/// Reads secrets.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Reads one.
    async fn read(&self, reference: &SecretRef) -> Result<SecretValue, SecretError>;
}
