//! The way to a store: credentials, headers and certificates, each read when a request needs it.

use super::SetupError;
use crate::adapters::aws::Aws;
use crate::adapters::errors::chain;
use crate::adapters::reveal::{Revealed, sent};
use crate::adapters::{tls, web};
use crate::domain::ids::TargetId;
use crate::domain::metric_store::{PrometheusStore, SecretText, StoreAuth, StoreTls};
use crate::ports::Secrets;
use crate::ports::metrics::MetricsError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Url};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a connection may take to come up where nobody else can be asked.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same where there is another endpoint.
const CONNECT_TIMEOUT_OF_MANY: Duration = Duration::from_secs(2);
/// Longest answer that is read: two hours of a busy component's history are some megabytes.
const LIMIT: usize = 64 * 1024 * 1024;

/// How a cause begins where nothing came back.
pub(super) const SILENT: &str = "does not answer";

/// How requests get to one target's store.
pub(super) struct Way {
    target: TargetId,
    auth: Option<StoreAuth>,
    headers: BTreeMap<String, SecretText>,
    secrets: Arc<dyn Secrets>,
    aws: Arc<Aws>,
    connections: Connections,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Clients, remade when a file of theirs changes.
enum Connections {
    /// The machine's own trust.
    Plain(Client),
    /// Certificates of files; one client per endpoint where the server has another name than the endpoint's host.
    Files { tls: StoreTls, many: bool, made: Mutex<BTreeMap<String, (Files, Client)>> },
}

/// What the files held.
#[derive(Clone, Default, PartialEq)]
struct Files {
    ca: Option<Vec<u8>>,
    /// Certificate and key.
    client: Option<Vec<u8>>,
}

impl Way {
    pub fn new(
        target: &TargetId,
        store: &PrometheusStore,
        endpoints: &[Url],
        patience: Duration,
        secrets: Arc<dyn Secrets>,
        aws: Arc<Aws>,
    ) -> Result<Self, SetupError> {
        tls::ensure_provider();
        let many = endpoints.len() > 1;
        let shows_something = store.auth.is_some() || !store.headers.is_empty();
        let connections = if let Some(tls) = &store.tls {
            Connections::Files { tls: tls.clone(), many, made: Mutex::default() }
        } else {
            let client = builder(many, shows_something).timeout(patience).build();
            Connections::Plain(client.map_err(|error| SetupError::Client(chain(&error)))?)
        };
        let (auth, headers) = (store.auth.clone(), store.headers.clone());
        Ok(Self { target: target.clone(), auth, headers, secrets, aws, connections })
    }

    /// Sends a form and reads the answer. No secret is in an error.
    pub async fn post<T>(
        &self,
        base: &Url,
        path: &str,
        form: &str,
        patience: Duration,
        read: fn(u16, &[u8]) -> Result<T, MetricsError>,
    ) -> Result<T, MetricsError> {
        let mut revealed = Revealed::new(self.secrets.as_ref());
        let answer = async {
            let (status, body) = self.send(base, path, form, patience, &mut revealed).await?;
            read(status, &body)
        };
        let answer = answer.await;
        answer.map_err(|error| revealed.without(error))
    }

    async fn send(
        &self,
        base: &Url,
        path: &str,
        form: &str,
        patience: Duration,
        revealed: &mut Revealed<'_>,
    ) -> Result<(u16, Vec<u8>), MetricsError> {
        let down = |message: String| MetricsError::Down { message };
        let silent = |cause: String| down(format!("{SILENT}: {cause}"));
        let mut url = base.join(path).expect("a path after a base that ends with a slash");
        let mut headers = self.headers(&url, form, revealed).await?;
        let client = match &self.connections {
            Connections::Plain(client) => client.clone(),
            Connections::Files { tls, many, made } => {
                if let Some(name) = &tls.server_name {
                    // The certificate is asked for by the URL's host; the request says whom it is meant for.
                    headers.entry(HOST).or_insert(host_header(&url)?);
                    let wrong = |_| down(format!("`{name}` is no server name"));
                    url.set_host(Some(name)).map_err(wrong)?;
                }
                with_files(tls, *many, made, base, patience).await.map_err(down)?
            }
        };
        let request = client.post(url).headers(headers).body(form.to_owned());
        let response = request.send().await.map_err(|error| silent(web::cause(&error, patience)))?;
        let status = response.status().as_u16();
        let body = web::body(response, LIMIT, patience).await.map_err(silent)?;
        Ok((status, body))
    }

    async fn headers(
        &self,
        url: &Url,
        form: &str,
        revealed: &mut Revealed<'_>,
    ) -> Result<HeaderMap, MetricsError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        for (name, text) in &self.headers {
            let value = revealed.header(name, text).await?;
            let wrong = |_| MetricsError::Refused { message: format!("`{name}` is no name of a header") };
            headers.insert(HeaderName::try_from(name.as_str()).map_err(wrong)?, value);
        }
        match &self.auth {
            None => {}
            Some(StoreAuth::Basic { username, password }) => {
                let password = revealed.read("the password", password).await?;
                let both = STANDARD.encode(format!("{username}:{}", password.expose()));
                revealed.remember(&both);
                headers.insert(AUTHORIZATION, sent("authorization", &format!("Basic {both}"), true)?);
            }
            Some(StoreAuth::Bearer(token)) => {
                let token = revealed.read("the bearer token", token).await?;
                let text = format!("Bearer {}", token.expose());
                headers.insert(AUTHORIZATION, sent("authorization", &text, true)?);
            }
            Some(StoreAuth::SigV4(how)) => {
                self.aws.sign(how, (&Method::POST, url.as_str()), &mut headers, form.as_bytes()).await?;
            }
        }
        Ok(headers)
    }
}

/// Credentials never follow a redirect to somebody else.
fn builder(many: bool, shows_something: bool) -> ClientBuilder {
    let connect = if many { CONNECT_TIMEOUT_OF_MANY } else { CONNECT_TIMEOUT };
    let builder = Client::builder().connect_timeout(connect);
    if shows_something { builder.redirect(Policy::none()) } else { builder }
}

fn host_header(url: &Url) -> Result<HeaderValue, MetricsError> {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    sent("host", &format!("{}{port}", url.host_str().unwrap_or_default()), false)
}

/// A client with what the files hold now. Certificates are short-lived where something renews them.
async fn with_files(
    tls: &StoreTls,
    many: bool,
    made: &Mutex<BTreeMap<String, (Files, Client)>>,
    base: &Url,
    patience: Duration,
) -> Result<Client, String> {
    let files = Files::read(tls).await?;
    let host = base.host_str().unwrap_or_default().to_owned();
    // Without a name of its own every endpoint goes through the same client.
    let key = tls.server_name.as_ref().map_or_else(String::new, |_| host.clone());
    let mut made = made.lock().await;
    if let Some((held, client)) = made.get(&key)
        && *held == files
    {
        return Ok(client.clone());
    }
    let mut builder = builder(many, true).timeout(patience);
    if let Some(ca) = &files.ca {
        let wrong = |error: reqwest::Error| format!("tls.ca holds no certificates: {}", chain(&error));
        let authorities = Certificate::from_pem_bundle(ca).map_err(wrong)?;
        if authorities.is_empty() {
            return Err("tls.ca holds no certificates".to_owned());
        }
        builder = builder.tls_certs_only(authorities);
    }
    if let Some(client) = &files.client {
        let wrong = |error: reqwest::Error| format!("tls.cert and tls.key are no pair: {}", chain(&error));
        builder = builder.identity(Identity::from_pem(client).map_err(wrong)?);
    }
    if tls.server_name.is_some() {
        builder = builder.dns_resolver(Arc::new(Elsewhere(host)));
    }
    let client = builder.build().map_err(|error| format!("tls: {}", chain(&error)))?;
    made.insert(key, (files, client.clone()));
    Ok(client)
}

impl Files {
    async fn read(tls: &StoreTls) -> Result<Self, String> {
        let read = async |path: &Path| {
            tokio::fs::read(path).await.map_err(|error| format!("{}: {error}", path.display()))
        };
        let mut files = Self::default();
        if let Some(ca) = &tls.ca {
            files.ca = Some(read(ca).await?);
        }
        if let Some((certificate, key)) = &tls.client {
            let mut both = read(certificate).await?;
            both.push(b'\n');
            both.extend(read(key).await?);
            files.client = Some(both);
        }
        Ok(files)
    }
}

/// Finds every name at one host's addresses.
struct Elsewhere(String);

impl Resolve for Elsewhere {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.trim_matches(['[', ']']).to_owned();
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
