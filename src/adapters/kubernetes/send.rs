//! The one place that sends requests to an API server, and the one retry policy.
//!
//! Pauses are exponential with jitter drawn from the seed, so a rehearsal repeats exactly. A write, its repetitions
//! and the reads that belong to it end within [`REQUEST_TIMEOUT`]: the lease of its sender reckons with that.
//! Whoever loses the lease drops the future, and with it the repetitions to come.

use crate::adapters::errors::{causes, chain};
use crate::adapters::kubernetes::credentials;
use crate::adapters::kubernetes::errors::Status;
use crate::adapters::kubernetes::request::Call;
use crate::adapters::kubernetes::warnings;
use crate::ports::ClusterError;
use crate::ports::state::REQUEST_TIMEOUT;
use bytes::Bytes;
use http::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::{AuthError, Body};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Who we are in audit logs.
const AGENT: &str = concat!("deployctl/", env!("CARGO_PKG_VERSION"));
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause that a server's own wish is followed for.
const LONGEST_WISH: Duration = Duration::from_hours(1);
/// What is left of patience for a try after a pause that was cut short.
const LAST_TRY: Duration = Duration::from_secs(2);
/// Repetitions that a client may owe: each costs one, each success earns one back. A dead server is not stormed.
const BUDGET: u32 = 256;

/// How long one operation may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For one try.
    attempt: Duration,
    /// The end of all tries.
    until: Instant,
}

impl Patience {
    /// For what changes something; all requests of one operation share it.
    pub(crate) fn write() -> Self {
        Self { attempt: REQUEST_TIMEOUT, until: Instant::now() + REQUEST_TIMEOUT }
    }

    /// For what only asks.
    pub(crate) fn read() -> Self {
        Self { attempt: REQUEST_TIMEOUT, until: Instant::now() + 3 * REQUEST_TIMEOUT }
    }

    /// For what helps to explain a failure and must not keep its reader waiting.
    pub(crate) fn brief() -> Self {
        Self { attempt: REQUEST_TIMEOUT / 2, until: Instant::now() + REQUEST_TIMEOUT / 2 }
    }

    /// What comes of something before patience ends.
    pub(crate) async fn within<T>(self, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.until, work).await.ok()
    }

    /// For leases and for first contact: better a second short try than one long one.
    pub(crate) fn quick() -> Self {
        Self { attempt: REQUEST_TIMEOUT * 2 / 5, until: Instant::now() + REQUEST_TIMEOUT * 9 / 10 }
    }
}

/// A good answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
    /// The server's clock when it answered.
    pub date: Option<jiff::Timestamp>,
    /// What the server warns of.
    pub warnings: Vec<String>,
}

/// What came of an exchange, and whether the request may have been carried out by an earlier try whose answer was
/// lost.
pub(crate) struct Exchange {
    pub result: Result<Answer, ClusterError>,
    pub maybe_done_before: bool,
}

/// A client with a name and a temper.
pub(crate) struct Api {
    client: Client,
    pub(crate) server: String,
    seed: u64,
    budget: AtomicU32,
}

/// One failed try.
#[derive(Debug)]
enum Miss {
    /// It did not leave this machine.
    Unsent(String),
    /// It may have been carried out.
    Lost(String),
    /// The server turned it away.
    Refused { status: Status, retry_after: Option<Duration> },
    /// Nothing that waiting could mend: credentials, certificates.
    Hopeless(ClusterError),
}

impl Miss {
    /// Whether another try may help; that it does no harm, [`Call`] promises.
    fn may_repeat(&self) -> bool {
        match self {
            Self::Unsent(_) | Self::Lost(_) => true,
            Self::Refused { status, .. } => match status.code {
                429 | 502..=504 => true,
                500 => !status.is_our_mistake(),
                _ => false,
            },
            Self::Hopeless(_) => false,
        }
    }

    /// Whether the request may have been carried out all the same.
    fn maybe_done(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Refused { status, .. } => matches!(status.code, 500..=504),
            Self::Unsent(_) | Self::Hopeless(_) => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        if let Self::Refused { retry_after, .. } = self { *retry_after } else { None }
    }

    fn into_error(self, server: &str) -> ClusterError {
        match self {
            Self::Unsent(message) | Self::Lost(message) => {
                ClusterError::Unreachable { server: server.to_owned(), message }
            }
            Self::Refused { status, .. } => status.into_error(server),
            Self::Hopeless(error) => error,
        }
    }
}

impl Api {
    pub(crate) fn new(client: Client, server: String, seed: u64) -> Self {
        Self { client, server, seed, budget: AtomicU32::new(BUDGET) }
    }

    pub(crate) fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Sends a request until it is answered for good, or patience or budget end.
    pub(crate) async fn call(&self, call: &Call, patience: Patience) -> Result<Answer, ClusterError> {
        self.exchange(call, patience).await.result
    }

    /// As [`Self::call`], and reads the answer.
    pub(crate) async fn read<T: serde::de::DeserializeOwned>(
        &self,
        call: &Call,
        patience: Patience,
    ) -> Result<T, ClusterError> {
        let answer = self.call(call, patience).await?;
        self.parse(&answer)
    }

    /// Reads an answer's body.
    pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(&self, answer: &'a Answer) -> Result<T, ClusterError> {
        let strange = |why: String| ClusterError::Server {
            code: answer.status.as_u16(),
            message: format!("{} answered what is not understood: {why}", self.server),
        };
        // Checked as a whole: string by string costs a tenth of the reading.
        let text = std::str::from_utf8(&answer.body).map_err(|error| strange(error.to_string()))?;
        serde_json::from_str(text).map_err(|error| strange(error.to_string()))
    }

    /// As [`Self::call`], for those who must know whether an earlier try may have worked.
    pub(crate) async fn exchange(&self, call: &Call, patience: Patience) -> Exchange {
        let salt = hash(&(call.request.method().as_str(), call.request.uri().path()));
        let mut maybe_done_before = false;
        let mut tries = 0;
        let mut is_last = false;
        loop {
            let miss = match self.attempt(call, patience).await {
                Ok(answer) => {
                    // Saturating at the full budget; a lost update among threads is harmless.
                    let left = self.budget.load(Ordering::Relaxed);
                    self.budget.store((left + 1).min(BUDGET), Ordering::Relaxed);
                    return Exchange { result: Ok(answer), maybe_done_before };
                }
                Err(miss) => miss,
            };
            let mut pause = pause(hash(&(self.seed, salt)), tries, miss.retry_after());
            let left = patience.until.saturating_duration_since(Instant::now());
            if pause >= left && miss.retry_after().is_some() && !is_last {
                // Who is told to come back later than there is patience comes back once, as late as there is.
                (pause, is_last) = (left.saturating_sub(LAST_TRY.min(left / 2)), true);
            }
            if !miss.may_repeat() || pause >= left || !self.spend() {
                return Exchange { result: Err(miss.into_error(&self.server)), maybe_done_before };
            }
            maybe_done_before |= miss.maybe_done();
            tracing::debug!(server = %self.server, uri = %call.request.uri(), ?miss, ?pause, "sending again");
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    /// Opens an answer that is read as it comes (a watch): one try, a time limit on its beginning alone.
    pub(crate) async fn open(&self, call: &Call) -> Result<Body, ClusterError> {
        let until = Instant::now() + REQUEST_TIMEOUT;
        let response =
            self.transmit(call.request.clone(), until).await.map_err(|miss| miss.into_error(&self.server))?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        match self.refused(response, until).await {
            Ok(miss) | Err(miss) => Err(miss.into_error(&self.server)),
        }
    }

    /// Sends once and hands the answer over as it is, whatever its status: for what is behind the server.
    pub(crate) async fn pass(
        &self,
        request: Request<Bytes>,
        until: Instant,
    ) -> Result<Response<Body>, ClusterError> {
        self.transmit(request, until).await.map_err(|miss| miss.into_error(&self.server))
    }

    /// How long to wait before the try after `tries` failed ones, for loops of their own.
    pub(crate) fn pause(&self, salt: &str, tries: u32) -> Duration {
        pause(hash(&(self.seed, salt)), tries, None)
    }

    async fn attempt(&self, call: &Call, patience: Patience) -> Result<Answer, Miss> {
        let until = patience.until.min(Instant::now() + patience.attempt);
        let response = self.transmit(call.request.clone(), until).await?;
        if !response.status().is_success() {
            return Err(self.refused(response, until).await?);
        }
        let status = response.status();
        let date = header_date(response.headers());
        let warnings = warnings::of(response.headers());
        let body = collect(response.into_body(), until).await?;
        Ok(Answer { status, body, date, warnings })
    }

    async fn refused(&self, response: Response<Body>, until: Instant) -> Result<Miss, Miss> {
        let code = response.status().as_u16();
        let header = retry_after(response.headers());
        let status = Status::read(code, &collect(response.into_body(), until).await?);
        let wish = status.retry_after().map(|seconds| Duration::from_secs(seconds.into()));
        Ok(Miss::Refused { retry_after: header.or(wish), status })
    }

    /// The door. Everything that goes to the server goes through here.
    async fn transmit(&self, mut request: Request<Bytes>, until: Instant) -> Result<Response<Body>, Miss> {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        match timeout_at(until, self.client.send(request.map(Body::from))).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(classify(&error, &self.server)),
            Err(_) => Err(Miss::Lost("no answer in time".to_owned())),
        }
    }

    fn spend(&self) -> bool {
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

async fn collect(body: Body, until: Instant) -> Result<Bytes, Miss> {
    match timeout_at(until, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => Err(Miss::Lost(format!("the answer broke off: {}", chain(&error)))),
        Err(_) => Err(Miss::Lost("the answer did not end in time".to_owned())),
    }
}

/// Why no request can leave for a cluster.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoWay(pub String);

/// What a transport error means.
fn classify(error: &kube::Error, server: &str) -> Miss {
    if let Some(error) = causes(error).find_map(|cause| cause.downcast_ref::<AuthError>()) {
        let message = format!("no credentials: {}", credentials::explain(error));
        return Miss::Hopeless(ClusterError::Forbidden { message });
    }
    if let Some(NoWay(message)) = causes(error).find_map(|cause| cause.downcast_ref::<NoWay>()) {
        let message = message.clone();
        return Miss::Hopeless(ClusterError::Unreachable { server: server.to_owned(), message });
    }
    let message = chain(error);
    // rustls hides its error inside an `io::Error`, whose `source` skips it: its text is what there is.
    if message.contains("peer certificate") {
        return Miss::Hopeless(ClusterError::Unreachable { server: server.to_owned(), message });
    }
    let connect = causes(error)
        .filter_map(|cause| cause.downcast_ref::<hyper_util::client::legacy::Error>())
        .any(hyper_util::client::legacy::Error::is_connect);
    if connect { Miss::Unsent(message) } else { Miss::Lost(message) }
}

/// Exponential with "equal jitter": half of the pause is fixed, half is drawn. The server's own wish is a floor.
fn pause(salt: u64, tries: u32, retry_after: Option<Duration>) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE);
    let draw = hash(&(salt, tries)) as f64 / u64::MAX as f64;
    let jittered = whole.mul_f64(0.5 + draw / 2.0);
    match retry_after {
        // A herd told "1 s" comes back spread over a fifth more. A wish beyond all patience is as good as none, and what
        // a header can say is more than a clock can count.
        Some(wish) => jittered.max(wish.min(LONGEST_WISH).mul_f64(1.0 + draw / 5.0)),
        None => jittered,
    }
}

fn hash(value: &impl std::hash::Hash) -> u64 {
    // Its keys are fixed, unlike those of `RandomState`.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn header_date(headers: &HeaderMap) -> Option<jiff::Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, body: &str) -> Miss {
        Miss::Refused { status: Status::read(code, body.as_bytes()), retry_after: None }
    }

    #[test]
    fn only_what_may_help_is_repeated() {
        let typed = r#"{"kind":"Status","message":".spec.x: field not declared in schema"}"#;
        for (miss, repeated, maybe_done) in [
            (Miss::Unsent("refused".into()), true, false),
            (Miss::Lost("reset".into()), true, true),
            (refused(429, ""), true, false),
            (refused(500, ""), true, true),
            (refused(500, typed), false, true),
            (refused(503, ""), true, true),
            (refused(403, ""), false, false),
            (refused(409, ""), false, false),
            (refused(410, ""), false, false),
            (Miss::Hopeless(ClusterError::Forbidden { message: String::new() }), false, false),
        ] {
            assert_eq!(miss.may_repeat(), repeated, "{miss:?}");
            assert_eq!(miss.maybe_done(), maybe_done, "{miss:?}");
        }
    }

    #[test]
    fn pauses_grow_within_bounds_and_repeat_with_the_seed() {
        for tries in 0..20 {
            let whole = FIRST_PAUSE.saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE);
            let drawn = pause(7, tries, None);
            assert!(drawn >= whole / 2 && drawn <= whole, "{drawn:?}");
            assert_eq!(drawn, pause(7, tries, None));
        }
        assert_ne!(pause(7, 3, None), pause(8, 3, None));
        let wished = pause(7, 0, Some(Duration::from_secs(4)));
        assert!(wished >= Duration::from_secs(4) && wished <= Duration::from_secs(5), "{wished:?}");
        let endless = pause(7, 0, Some(Duration::from_secs(u64::MAX)));
        assert!(endless >= LONGEST_WISH && endless <= 2 * LONGEST_WISH, "{endless:?}");
    }

    #[test]
    fn the_servers_clock_is_read_from_its_answer() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, "Sat, 21 Nov 2026 03:15:46 GMT".parse().unwrap());
        assert_eq!(header_date(&headers).unwrap().to_string(), "2026-11-21T03:15:46Z");
    }
}
