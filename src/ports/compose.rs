//! A Docker Compose project on one machine. The real adapter comes with the edge work; a rehearsal simulates it.

use async_trait::async_trait;
use std::time::Duration;

/// One service of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Whether it is up and its health check passes.
    pub healthy: bool,
}

/// The engine refused, or something in it failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ComposeError {
    /// Why.
    pub message: String,
}

/// A Compose project.
#[async_trait]
pub trait Compose: Send + Sync {
    /// What runs now.
    async fn services(&self, project: &str) -> Result<Vec<Service>, ComposeError>;
    /// Fetches images (nothing stops meanwhile).
    async fn pull(&self, project: &str, images: &[(String, String)]) -> Result<(), ComposeError>;
    /// Stops what changes, starts it at these images, waits for health. Returns the downtime.
    async fn up(
        &self,
        project: &str,
        images: &[(String, String)],
        timeout: Duration,
    ) -> Result<Duration, ComposeError>;
}
