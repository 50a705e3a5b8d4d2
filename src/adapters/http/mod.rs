//! HTTP questions from where we are, as smoke tests ask them.

use crate::adapters::errors::chain;
use crate::adapters::tls;
use crate::domain::secret::redact;
use crate::ports::Probe;
use crate::ports::probe::{HttpAnswer, HttpQuestion, ProbeError};
use async_trait::async_trait;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Most of a body that an answer keeps.
const BODY_LIMIT: usize = 64 * 1024;
/// Who asks, in access logs.
const AGENT: &str = concat!("deployctl/", env!("CARGO_PKG_VERSION"));

/// Asks over HTTP/1.1, each question on a connection of its own: what answered before must not answer for what serves
/// now.
#[derive(Clone, Debug)]
pub struct HttpProbe {
    client: Client,
}

impl HttpProbe {
    /// A probe.
    ///
    /// # Errors
    /// When the machine has no certificates to trust.
    pub fn new() -> Result<Self, ProbeError> {
        tls::ensure_provider();
        Ok(Self { client: client(None)? })
    }
}

#[async_trait]
impl Probe for HttpProbe {
    async fn ask(&self, question: &HttpQuestion, timeout: Duration) -> Result<HttpAnswer, ProbeError> {
        let answer = tokio::time::timeout(timeout, ask(&self.client, question)).await.unwrap_or_else(|_| {
            Err(ProbeError { message: format!("{} did not answer within {timeout:?}", question.url) })
        });
        answer.map_err(|error| ProbeError { message: redact(&error.message).into_owned() })
    }
}

/// What a question says, checked.
struct Parsed {
    method: Method,
    url: Url,
    headers: HeaderMap,
}

async fn ask(client: &Client, question: &HttpQuestion) -> Result<HttpAnswer, ProbeError> {
    let failed = |error: reqwest::Error| ProbeError {
        message: format!("{}: {}", question.url, chain(&error.without_url())),
    };
    let Parsed { method, url, headers } = parse(question)?;
    let pinned = pin(&url, &headers).await?;
    let (client, url) = pinned.as_ref().map_or((client, &url), |(client, url)| (client, url));
    let began = Instant::now();
    let response = client.request(method, url.clone()).headers(headers).send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let body = read_body(response).await.map_err(failed)?;
    Ok(HttpAnswer { status, headers, body, latency: began.elapsed() })
}

fn parse(question: &HttpQuestion) -> Result<Parsed, ProbeError> {
    let wrong = |what: String| ProbeError { message: what };
    let method = Method::from_bytes(question.method.as_bytes())
        .map_err(|_| wrong(format!("`{}` is no HTTP method", question.method)))?;
    let url = Url::parse(&question.url).map_err(|e| wrong(format!("`{}`: {e}", question.url)))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &question.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Err(wrong(format!("the header `{name}` cannot be sent")));
        };
        headers.append(name, value);
    }
    Ok(Parsed { method, url, headers })
}

/// With TLS a `Host` header alone is not enough: the certificate is asked for by the URL's host. As `curl
/// --connect-to` does, the URL gets the wanted host and the connection goes to the address of the old one.
async fn pin(url: &Url, headers: &HeaderMap) -> Result<Option<(Client, Url)>, ProbeError> {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    let (Some(host), "https") = (host, url.scheme()) else { return Ok(None) };
    let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
    let reached = url.host_str().unwrap_or_default();
    if bare == reached {
        return Ok(None);
    }
    let failed = |message: String| ProbeError { message: format!("{url}: {message}") };
    let port = url.port_or_known_default().unwrap_or(443);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((reached.trim_matches(['[', ']']), port))
        .await
        .map_err(|e| failed(e.to_string()))?
        .collect();
    let mut wanted = url.clone();
    wanted.set_host(Some(bare)).map_err(|e| failed(e.to_string()))?;
    Ok(Some((client(Some((bare, &addresses)))?, wanted)))
}

fn client(pinned: Option<(&str, &[SocketAddr])>) -> Result<Client, ProbeError> {
    let mut builder = Client::builder().redirect(Policy::none()).pool_max_idle_per_host(0).user_agent(AGENT);
    if let Some((host, addresses)) = pinned {
        builder = builder.resolve_to_addrs(host, addresses);
    }
    builder.build().map_err(|error| ProbeError { message: chain(&error) })
}

async fn read_body(mut response: Response) -> Result<String, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = BODY_LIMIT - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == BODY_LIMIT {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
