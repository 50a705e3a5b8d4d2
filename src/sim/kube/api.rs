//! The API server as a service: what a Kubernetes client sends requests to.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower::BoxError;

use super::errors::ApiStatus;
use super::host::{Access, Fault, Host, Identity};
use super::request::RequestInfo;
use super::store::Store;
use super::watch::WatchRequest;

/// The body of an answer.
pub type ApiBody = UnsyncBoxBody<Bytes, BoxError>;

/// Requests with larger bodies are refused.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// How long requests take, in virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Requests that read.
    pub read: Duration,
    /// Requests that write.
    pub write: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self { read: Duration::from_millis(2), write: Duration::from_millis(4) }
    }
}

/// A connection to the API server: who asks, and how far away it is. Hand it to `kube::Client::new`.
#[derive(Clone)]
pub struct ApiService {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) identity: Arc<Identity>,
    latency: Latency,
}

impl std::fmt::Debug for ApiService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiService").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// What a request leads to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A JSON body.
    Json(StatusCode, Bytes, Vec<String>),
    /// A body of plain text.
    Text(StatusCode, String),
    /// A stream of events.
    Watch(Box<WatchRequest>),
    /// An answer from behind the proxy.
    Raw(Response<Bytes>),
}

impl Answer {
    pub(crate) fn object(code: StatusCode, object: &Value) -> Self {
        Self::Json(code, encode(object), Vec::new())
    }
}

/// A JSON value as bytes.
pub(crate) fn encode(value: &(impl serde::Serialize + ?Sized)) -> Bytes {
    serde_json::to_vec(value).expect("JSON values can be written").into()
}

/// A request with its body read.
pub(crate) struct Incoming {
    pub(crate) info: RequestInfo,
    pub(crate) method: Method,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl ApiService {
    /// A connection of an administrator.
    #[must_use]
    pub fn new(host: Arc<dyn Host>) -> Self {
        Self { host, identity: Arc::new(Identity::admin()), latency: Latency::default() }
    }

    /// The same connection for somebody else.
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        self.identity = Arc::new(identity);
        self
    }

    /// The same connection at another distance.
    #[must_use]
    pub fn with_latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// The objects; a panic elsewhere does not spoil them, since every write is whole.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.host.store().lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve<B>(self, request: Request<B>) -> Result<Response<ApiBody>, BoxError>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(Into::into)?.to_bytes();
        let info = RequestInfo::of(&parts);
        let write = info.is_write();
        tokio::time::sleep(if write { self.latency.write } else { self.latency.read }).await;
        let (mut lose_answer, mut keep_answer) = (false, false);
        match self.host.fault(&self.identity, &info) {
            None => {}
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::Refuse(status, retry_after)) => return Ok(refusal(&status, retry_after)),
            Some(Fault::Drop) => return Err(lost()),
            Some(Fault::DropAfter) => lose_answer = true,
            Some(Fault::Hang) => futures::future::pending().await,
            Some(Fault::HangAfter) => keep_answer = true,
        }
        let incoming = Incoming {
            info,
            method: parts.method,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
        };
        if write {
            self.host.before_write(&self.identity, &incoming.info);
        }
        let answer = self.answer(&incoming);
        if write {
            self.host.after_write(&self.identity, &incoming.info, answer.is_ok());
        }
        if keep_answer {
            futures::future::pending::<()>().await;
        }
        if lose_answer {
            return Err(lost());
        }
        let mut response = match answer {
            Ok(answer) => self.respond(answer),
            Err(status) => {
                let retry_after = (status.code == 429).then_some(10);
                refusal(&status, retry_after)
            }
        };
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&self.host.now());
        if let Some(date) = date.ok().and_then(|date| HeaderValue::from_str(&date).ok()) {
            response.headers_mut().insert(header::DATE, date);
        }
        Ok(response)
    }

    fn answer(&self, incoming: &Incoming) -> Result<Answer, ApiStatus> {
        if !self.identity.authenticated {
            return Err(ApiStatus::new(401, "Unauthorized", "Unauthorized"));
        }
        if incoming.body.len() > MAX_BODY {
            let why = format!("Request entity too large: limit is {MAX_BODY}");
            return Err(ApiStatus::new(413, "RequestEntityTooLarge", why));
        }
        self.authorize(&incoming.info)?;
        self.dispatch(incoming)
    }

    fn authorize(&self, info: &RequestInfo) -> Result<(), ApiStatus> {
        if info.resource.is_empty() {
            return Ok(());
        }
        let resource = if info.subresource.is_empty() {
            info.resource.clone()
        } else {
            format!("{}/{}", info.resource, info.subresource)
        };
        let access =
            Access { verb: &info.verb, group: &info.group, resource: &resource, namespace: &info.namespace };
        if self.host.allows(&self.identity, &access) {
            return Ok(());
        }
        let place = if info.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", info.namespace)
        };
        let why = format!(
            "User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {place}",
            self.identity.user, info.verb, info.group
        );
        Err(ApiStatus::forbidden_resource(&info.group, &info.resource, &info.name, &why))
    }

    fn respond(&self, answer: Answer) -> Response<ApiBody> {
        match answer {
            Answer::Json(code, bytes, warnings) => {
                let mut response = json_response(code, bytes);
                for warning in warnings {
                    let text = format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\""));
                    if let Ok(value) = HeaderValue::from_str(&text) {
                        response.headers_mut().append(header::WARNING, value);
                    }
                }
                response
            }
            Answer::Text(code, text) => {
                let mut response = Response::new(full(text.into()));
                *response.status_mut() = code;
                let value = HeaderValue::from_static("text/plain; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, value);
                response
            }
            Answer::Watch(request) => {
                let mut response = Response::new(request.stream(Arc::clone(&self.host)));
                let value = HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, value);
                response
            }
            Answer::Raw(response) => response.map(full),
        }
    }
}

fn full(bytes: Bytes) -> ApiBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn json_response(code: StatusCode, bytes: Bytes) -> Response<ApiBody> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refusal(status: &ApiStatus, retry_after: Option<u64>) -> Response<ApiBody> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.reason == "PathNotFound" {
        return Response::builder()
            .status(code)
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(full(status.message.clone().into()))
            .expect("a plain answer can be built");
    }
    let mut response = json_response(code, encode(&status.body()));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn lost() -> BoxError {
    Box::new(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset by peer"))
}

impl<B> tower::Service<Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ApiBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.clone().serve(request))
    }
}
