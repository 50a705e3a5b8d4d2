//! Requests to metric stores over HTTP: answers of a bounded size, and causes in words.

use crate::adapters::errors::chain;
use reqwest::Response;
use std::time::Duration;

/// Most of a text of a store that a message repeats.
const SHOWN: usize = 160;

/// Why a request got no answer. reqwest's own words tell the URL, which may hold a password.
pub(crate) fn cause(error: &reqwest::Error, timeout: Duration) -> String {
    if error.is_timeout() && !error.is_connect() {
        return format!("no answer within {timeout:?}");
    }
    std::error::Error::source(error).map_or_else(|| "no answer".to_owned(), chain)
}

/// The whole body, or why not.
pub(crate) async fn body(mut response: Response, limit: usize, timeout: Duration) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error, timeout))? {
        if body.len() + chunk.len() > limit {
            return Err(format!("the answer is longer than {} KiB", limit / 1024));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The first line of a body, cut.
pub(crate) fn line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
        .chars()
        .take(SHOWN)
        .collect()
}
