//! Anything that answers JSON over HTTP as a metric store.

mod answer;

use crate::adapters::errors::chain;
use crate::adapters::reveal::Revealed;
use crate::adapters::templates::{render, values};
use crate::adapters::{tls, web};
use crate::domain::metric_store::HttpQuery;
use crate::ports::metrics::{Measurement, MetricsError, Reading};
use crate::ports::{Clock, Secrets};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use minijinja::Value;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may take; a gate asks again at its next interval.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const LIMIT: usize = 1024 * 1024;

/// Asks what a gate says.
pub struct HttpMetrics {
    client: Client,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpMetrics")
    }
}

impl HttpMetrics {
    /// A way to all of them.
    ///
    /// # Errors
    /// When the machine has no certificates to trust.
    pub fn new(secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        tls::ensure_provider();
        // Headers with credentials never follow a redirect to somebody else.
        let builder =
            Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).redirect(Policy::none());
        Ok(Self { client: builder.build().map_err(|error| chain(&error))?, secrets, clock })
    }

    /// Asks once and reads the numbers.
    ///
    /// # Errors
    /// As a store's; no secret is in them.
    pub async fn measure(&self, what: &Measurement, query: &HttpQuery) -> Result<Reading, MetricsError> {
        let mut revealed = Revealed::new(self.secrets.as_ref());
        let measured = self.asked(what, query, &mut revealed).await;
        measured.map_err(|error| revealed.without(error))
    }

    async fn asked(
        &self,
        what: &Measurement,
        query: &HttpQuery,
        revealed: &mut Revealed<'_>,
    ) -> Result<Reading, MetricsError> {
        let url = self.filled("http.url", &query.url, what, in_url)?;
        let refused = |message: String| MetricsError::Refused { message };
        let url = Url::parse(&url).map_err(|error| refused(format!("http.url: `{url}`: {error}")))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let down = |cause: String| MetricsError::Down { message: format!("{host} does not answer: {cause}") };
        let method = Method::try_from(query.method.as_str())
            .map_err(|_| refused(format!("http.method: `{}` is none", query.method)))?;
        let mut headers = HeaderMap::new();
        if query.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, text) in &query.headers {
            let value = revealed.header(name, text).await?;
            let wrong = |_| refused(format!("`{name}` is no name of a header"));
            headers.insert(HeaderName::try_from(name.as_str()).map_err(wrong)?, value);
        }
        let mut request = self.client.request(method, url).headers(headers);
        if let Some(body) = &query.body {
            request = request.body(self.filled("http.body", body, what, in_json)?);
        }
        let response = request.send().await.map_err(|error| down(web::cause(&error, TIMEOUT)))?;
        let status = response.status().as_u16();
        let body = web::body(response, LIMIT, TIMEOUT).await.map_err(down)?;
        answer::read(&host, status, &body, query)
    }

    fn filled(
        &self,
        name: &str,
        template: &str,
        what: &Measurement,
        encode: fn(&str) -> String,
    ) -> Result<String, MetricsError> {
        let mut values = values(what, encode);
        let now = self.clock.now().as_second();
        let seconds = i64::try_from(what.window.as_secs()).unwrap_or(i64::MAX);
        values.insert("now", Value::from(now));
        values.insert("from", Value::from(now.saturating_sub(seconds)));
        values.insert("window_seconds", Value::from(seconds));
        render(name, template, &values)
    }
}

/// A text as a part of a URL: only what is reserved nowhere stays.
fn in_url(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// A text as it stands between the quotes of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_stays_in_its_place() {
        assert_eq!(in_url("(?:api|b)-[a-z]+ü"), "%28%3F%3Aapi%7Cb%29-%5Ba-z%5D%2B%C3%BC");
        assert_eq!(in_json("a\"b\\.c\n"), "a\\\"b\\\\.c\\n");
    }
}
