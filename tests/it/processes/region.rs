//! One region of a simulated world behind real sockets: its API server over TLS, and the public address of its routers.

use super::server::{self, records};
use deployctl::sim::World;
use deployctl::sim::kube::api::ApiBody;
use deployctl::sim::kube::host::Identity;
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tower::{BoxError, ServiceExt as _};

/// A region, to be reached by processes. Its handles may be used on any thread.
#[derive(Clone)]
pub struct Region {
    pub name: String,
    /// Where its API server listens.
    pub api: SocketAddr,
    /// Where its users' requests arrive.
    pub ingress: SocketAddr,
    door: Arc<watch::Sender<bool>>,
    token: Arc<Mutex<String>>,
    trap: Arc<Mutex<Option<Trap>>>,
    counted: Arc<Counted>,
}

/// What came to the API server.
#[derive(Default)]
pub struct Counted {
    /// Connections that were accepted.
    pub connections: AtomicUsize,
    /// Requests that were answered.
    pub requests: AtomicUsize,
    /// Requests that were refused for their token.
    pub refused: AtomicUsize,
}

/// The revision whose runs the stories interrupt, as its runs are named.
const SECOND: &str = "r000002";

/// Kills a process once so many records are in its journal here. The request that stored the last one gets no answer.
struct Trap {
    records: usize,
    process: rustix::process::Pid,
}

impl Region {
    /// Serves a region of the world on ports of its own for as long as the runtime lives.
    pub fn serve(world: &World, name: &str) -> Self {
        let (api, ingress) = (server::Port::any(), server::Port::any());
        let region = Self {
            name: name.to_owned(),
            api: api.address,
            ingress: ingress.address,
            door: Arc::new(watch::Sender::new(true)),
            token: Arc::new(Mutex::new(format!("token-of-{name}"))),
            trap: Arc::default(),
            counted: Arc::default(),
        };
        let (open, always) = (region.door.subscribe(), watch::Sender::new(true));
        let handle = {
            let (region, world) = (region.clone(), world.clone());
            move |request| region.clone().answer(world.clone(), request)
        };
        tokio::spawn(server::serve_tls(api, open, Arc::clone(&region.counted), handle));
        let (world, name) = (world.clone(), name.to_owned());
        let handle = move |request| public(world.clone(), name.clone(), request);
        tokio::spawn(async move { server::serve_plain(ingress, always.subscribe(), handle).await });
        region
    }

    /// Lets nobody in and ends all connections, or listens again on the same port.
    pub fn open(&self, open: bool) {
        self.door.send_replace(open);
    }

    /// From now on the API server wants another token, which nobody has been given.
    pub fn revoke(&self) {
        "revoked".clone_into(&mut self.token.lock().unwrap());
    }

    /// The present token.
    pub fn token(&self) -> String {
        self.token.lock().unwrap().clone()
    }

    /// What came so far.
    pub fn counted(&self) -> &Counted {
        &self.counted
    }

    /// `kill -9` for this process as soon as its run has so many records in its journal here.
    pub fn kill_at(&self, records: usize, process: u32) {
        let process = rustix::process::Pid::from_raw(process.cast_signed()).unwrap();
        *self.trap.lock().unwrap() = Some(Trap { records, process });
    }

    /// How many records the run of the second release has in its journal here.
    pub fn records(&self, world: &World) -> usize {
        records(world, &self.name, SECOND)
    }

    /// Answers as the API server does: who has no valid token learns nothing else.
    async fn answer(self, world: World, request: Request<Incoming>) -> Result<Response<ApiBody>, BoxError> {
        let bearer = format!("Bearer {}", self.token());
        let known = request.headers().get(AUTHORIZATION).is_some_and(|sent| sent == bearer.as_str());
        let may_be_record = request.method() == Method::POST && request.uri().path().ends_with("/secrets");
        let service = if known {
            world.api(&self.name)
        } else {
            self.counted.refused.fetch_add(1, Ordering::SeqCst);
            world.api(&self.name).with_identity(Identity::unauthenticated())
        };
        let mut response = service.oneshot(request).await?;
        if may_be_record && response.status() == StatusCode::CREATED {
            self.spring(&world).await;
        }
        let number = self.counted.requests.fetch_add(1, Ordering::SeqCst);
        let headers = response.headers_mut();
        headers.insert("audit-id", HeaderValue::from(number));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        Ok(response)
    }

    /// Kills who is to die at this record; then there is nobody to answer.
    async fn spring(&self, world: &World) {
        let due = {
            let trap = self.trap.lock().unwrap();
            let stored = || self.records(world);
            trap.as_ref().filter(|trap| stored() >= trap.records).map(|trap| trap.process)
        };
        if let Some(process) = due {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
            *self.trap.lock().unwrap() = None;
            std::future::pending::<()>().await;
        }
    }
}

/// Answers a user's request as the region's routers lead it, by the weights that they have now.
async fn public(
    world: World,
    region: String,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, BoxError> {
    use deployctl::ports::Probe as _;
    use deployctl::ports::probe::HttpQuestion;
    let headers = request.headers().iter();
    let headers =
        headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    let question = HttpQuestion {
        method: request.method().to_string(),
        url: format!("http://{region}{}", request.uri()),
        headers: headers.collect(),
    };
    let answer = world.probe(Some(&region)).ask(&question, Duration::from_secs(30)).await?;
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::from(answer.body))?)
}
