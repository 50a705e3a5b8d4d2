//! What the search for credentials works with: variables, files, and HTTP with short time-outs.

use crate::adapters::web;
use bytes::Bytes;
use reqsign_core::{Context, Env, Error, FileRead, HttpSend, Result};
use reqwest::redirect::Policy;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// How long a token service may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Off AWS nobody listens at the metadata address, and packets to it vanish.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest answer that is read.
const LIMIT: usize = 256 * 1024;

/// Environment variables, as the process has them or as a test sets them.
#[derive(Clone, Debug)]
pub struct Variables {
    all: HashMap<String, String>,
    home: Option<PathBuf>,
}

impl Variables {
    /// Those of this process.
    #[must_use]
    pub fn process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { all: std::env::vars_os().filter_map(text).collect(), home: std::env::home_dir() }
    }

    /// These and no others, and no home.
    #[must_use]
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let all = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { all: all.collect(), home: None }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Where a service is said to be.
    pub(super) fn endpoint(&self, service: &str) -> Option<String> {
        let url = self.get(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| self.get("AWS_ENDPOINT_URL"));
        url.map(|url| url.trim_end_matches('/').to_owned())
    }
}

impl Env for Variables {
    fn var(&self, key: &str) -> Option<String> {
        self.get(key).map(str::to_owned)
    }

    fn vars(&self) -> HashMap<String, String> {
        self.all.clone()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        self.home.clone()
    }
}

pub(super) fn new(variables: &Variables) -> Context {
    Context::new()
        .with_env(variables.clone())
        .with_file_read(Files)
        .with_http_send(Http { sts: variables.endpoint("STS"), sso: variables.endpoint("SSO") })
}

#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> Result<Vec<u8>> {
        let read = tokio::fs::read(path).await;
        read.map_err(|error| Error::config_invalid(format!("{path}: {error}")))
    }
}

/// Sends what the search asks; a service that is said to be elsewhere is asked there, under its own name.
#[derive(Debug)]
struct Http {
    sts: Option<String>,
    sso: Option<String>,
}

impl HttpSend for Http {
    async fn http_send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        let failed = |message: String| Error::unexpected(message).set_retryable(true);
        let (parts, body) = request.into_parts();
        let host = parts.uri.host().unwrap_or_default().to_owned();
        let elsewhere = match host.split('.').next() {
            Some("sts") => self.sts.as_ref(),
            Some("portal") => self.sso.as_ref(),
            _ => None,
        };
        let mut headers = parts.headers;
        let url = match elsewhere {
            Some(base) => {
                // The signature is over the service's own name.
                if let Ok(own) = http::HeaderValue::try_from(&host) {
                    headers.entry(http::header::HOST).or_insert(own);
                }
                format!("{base}{}", parts.uri.path_and_query().map_or("/", |path| path.as_str()))
            }
            None => parts.uri.to_string(),
        };
        let client = client(&host).map_err(|error| failed(error.to_string()))?;
        let sent = client.request(parts.method, url).headers(headers).body(body).send().await;
        let response = sent.map_err(|error| failed(format!("{host}: {}", web::cause(&error, TIMEOUT))))?;
        let status = response.status();
        let body = web::body(response, LIMIT, TIMEOUT).await.map_err(failed)?;
        let mut answer = http::Response::new(Bytes::from(body));
        *answer.status_mut() = status;
        Ok(answer)
    }
}

/// A client for one question, of which there is one an hour. What is on this machine's own link is never asked through a
/// proxy.
fn client(host: &str) -> reqwest::Result<reqwest::Client> {
    crate::adapters::tls::ensure_provider();
    let builder =
        reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).redirect(Policy::none());
    let own_link = host.starts_with("169.254.") || host.starts_with("127.") || host.starts_with('[');
    if own_link { builder.no_proxy() } else { builder }.build()
}
