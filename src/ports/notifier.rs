//! Where alerts go.

use async_trait::async_trait;

/// Sends a message to people; a failure to send never fails a run.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Sends, or says why it could not.
    async fn notify(&self, severity: &str, message: &str) -> Result<(), String>;
}
