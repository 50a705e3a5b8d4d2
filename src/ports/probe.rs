//! HTTP questions from outside, as smoke tests ask them.

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpQuestion {
    /// `GET`, …
    pub method: String,
    /// Absolute URL (for a cluster's proxy: path and query alone).
    pub url: String,
    /// Headers; `Host` among them replaces the URL's.
    pub headers: BTreeMap<String, String>,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status.
    pub status: u16,
    /// Headers, lower-case names.
    pub headers: BTreeMap<String, String>,
    /// Body, cut at 64 KiB.
    pub body: String,
    /// From the request's first byte to the answer's last.
    pub latency: Duration,
}

/// No answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProbeError {
    /// Why.
    pub message: String,
}

/// Asks over HTTP.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Sends one request; no retries, redirects not followed.
    async fn ask(&self, question: &HttpQuestion, timeout: Duration) -> Result<HttpAnswer, ProbeError>;
}
