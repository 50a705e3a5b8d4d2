//! Watches: a stream of the changes of a kind, from a version on, as the client selected and wants to see them.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tower::BoxError;

use super::api::{Answer, ApiBody, ApiService, encode};
use super::errors::ApiStatus;
use super::host::Host;
use super::kinds::KindId;
use super::request::RequestInfo;
use super::store::{Change, ChangeType, Recorded, Store};
use super::table;
use super::view::{ListOptions, View, partial};

/// How long a watch lasts if the client does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(45);
/// How often a watch whose cache lags looks for what has become visible.
const LATE_LOOK: Duration = Duration::from_millis(500);
/// How often a quiet watch tells its client the version, if the client wants to know.
const BOOKMARK_EVERY: Duration = Duration::from_mins(1);

/// A watch that has been accepted.
#[derive(Debug)]
pub struct WatchRequest {
    options: ListOptions,
    view: View,
    bookmarks: bool,
    initial: bool,
    timeout: Duration,
    /// The version up to which the client knows everything.
    version: u64,
    /// Events that are sent first.
    first: VecDeque<Bytes>,
    /// Whether the stream ends after those.
    ends: bool,
    signal: Receiver<u64>,
}

impl ApiService {
    pub(crate) fn watch(&self, info: &RequestInfo, kind: KindId) -> Result<Answer, ApiStatus> {
        let store = self.store();
        let mut options = ListOptions::of(info, &store, kind)?;
        if !info.name.is_empty() {
            options.fields = super::selectors::FieldSelector::parse(&format!("metadata.name={}", info.name))?;
        }
        let mut request = WatchRequest {
            view: View::of(&info.accept),
            bookmarks: info.flag("allowWatchBookmarks"),
            initial: info.flag("sendInitialEvents"),
            timeout: info
                .param("timeoutSeconds")
                .parse()
                .ok()
                .filter(|seconds| *seconds > 0)
                .map_or(DEFAULT_TIMEOUT, Duration::from_secs),
            version: store.version(),
            first: VecDeque::new(),
            ends: false,
            signal: store.subscribe(kind),
            options,
        };
        request.begin(&store, self.host.as_ref());
        Ok(Answer::Watch(Box::new(request)))
    }
}

impl WatchRequest {
    /// Decides what is sent first: the present state, an error for a version that is too old, or nothing.
    fn begin(&mut self, store: &Store, host: &dyn Host) {
        let kind = self.options.kind;
        match self.options.version {
            Some(version) if version > 0 && !self.initial => {
                let oldest = store.oldest_version(kind);
                if version < oldest {
                    let why = format!("too old resource version: {version} ({oldest})");
                    let status = ApiStatus::new(410, "Expired", why);
                    self.first.push_back(line("ERROR", &encode(&status.body())));
                    self.ends = true;
                }
                self.version = version;
            }
            _ => {
                let objects = store.list(kind, self.options.namespace.as_deref());
                for object in objects.iter().filter(|object| self.options.selects(object)) {
                    let bytes = self.view.object(store, kind, object, host.now());
                    self.first.push_back(line("ADDED", &bytes));
                }
                if self.initial && self.bookmarks {
                    let annotations = json!({"k8s.io/initial-events-end": "true"});
                    self.first.push_back(bookmark(store, kind, self.version, Some(&annotations)));
                }
            }
        }
    }

    /// The events as a body that ends when the watch does.
    pub(crate) fn stream(self: Box<Self>, host: Arc<dyn Host>) -> ApiBody {
        let deadline = Instant::now() + self.timeout;
        let watcher =
            Watcher { next_bookmark: Instant::now() + BOOKMARK_EVERY, request: self, host, deadline };
        let events = futures::stream::unfold(watcher, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((Ok::<_, BoxError>(Frame::data(event)), watcher))
        });
        StreamBody::new(events).boxed_unsync()
    }

    /// The event that a change is for this watch, if it is one.
    fn event(&self, store: &Store, recorded: &Recorded, host: &dyn Host) -> Option<Bytes> {
        let change = &recorded.change;
        if self.options.namespace.as_ref().is_some_and(|namespace| *namespace != change.key.namespace) {
            return None;
        }
        let is = self.options.selects(&change.object);
        let was = change.old.as_ref().is_some_and(|old| self.options.selects(old));
        let typ = match (change.typ, was, is) {
            (ChangeType::Deleted, true, _) | (ChangeType::Modified, true, false) => ChangeType::Deleted,
            (ChangeType::Added | ChangeType::Modified, false, true) => ChangeType::Added,
            (ChangeType::Modified, true, true) => ChangeType::Modified,
            _ => return None,
        };
        if self.view == View::Plain && typ == change.typ {
            let encoded = recorded.encoded.get_or_init(|| line(name_of(typ), &change.object.bytes()));
            return Some(encoded.clone());
        }
        let object = if typ == change.typ || is { change.object.for_client() } else { left(change) };
        let body = match self.view {
            View::Plain => encode(&object),
            View::Partial => encode(&partial(object["metadata"].clone())),
            View::Table => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                encode(&table::table(store.kind_info(change.key.kind), &metadata, &[&object], host.now()))
            }
        };
        Some(line(name_of(typ), &body))
    }
}

/// An object that no longer is selected is shown as it last was, with the version at which it left.
fn left(change: &Change) -> Value {
    let mut object = change.old.as_ref().map(|old| old.for_client()).unwrap_or_default();
    object["metadata"]["resourceVersion"] = change.seq.to_string().into();
    object
}

fn name_of(typ: ChangeType) -> &'static str {
    match typ {
        ChangeType::Added => "ADDED",
        ChangeType::Modified => "MODIFIED",
        ChangeType::Deleted => "DELETED",
    }
}

/// One event as a line.
fn line(typ: &str, object: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(object.len() + 32);
    bytes.put_slice(b"{\"type\":\"");
    bytes.put_slice(typ.as_bytes());
    bytes.put_slice(b"\",\"object\":");
    bytes.put_slice(object);
    bytes.put_slice(b"}\n");
    bytes.freeze()
}

fn bookmark(store: &Store, kind: KindId, version: u64, annotations: Option<&Value>) -> Bytes {
    let kind = store.kind_info(kind);
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some(annotations) = annotations {
        metadata["annotations"] = annotations.clone();
    }
    line(
        "BOOKMARK",
        &encode(&json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata})),
    )
}

/// A running watch.
struct Watcher {
    request: Box<WatchRequest>,
    host: Arc<dyn Host>,
    deadline: Instant,
    next_bookmark: Instant,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.request.first.pop_front() {
                return Some(event);
            }
            if self.request.ends {
                return None;
            }
            self.request.signal.borrow_and_update();
            self.collect();
            if !self.request.first.is_empty() || self.request.ends {
                continue;
            }
            let mut wake =
                if self.request.bookmarks { self.next_bookmark.min(self.deadline) } else { self.deadline };
            if !self.host.cache_lag().is_zero() {
                wake = wake.min(Instant::now() + LATE_LOOK);
            }
            match tokio::time::timeout_at(wake, self.request.signal.changed()).await {
                Ok(Ok(())) => {}
                // the cluster is gone
                Ok(Err(_)) => return None,
                Err(_) if Instant::now() < self.deadline.min(self.next_bookmark) => {}
                Err(_) => self.on_time(),
            }
        }
    }

    /// Takes over what has happened since the last look.
    fn collect(&mut self) {
        let lag = self.host.cache_lag();
        let until = (!lag.is_zero()).then(|| self.host.now() - lag);
        let store = self.host.store().lock().unwrap_or_else(PoisonError::into_inner);
        let request = &mut self.request;
        match store.changes_since(request.options.kind, request.version) {
            Ok(changes) => {
                let mut events = VecDeque::new();
                let mut seen = store.version();
                for recorded in changes {
                    if until.is_some_and(|until| recorded.at() > until) {
                        seen = recorded.change.seq - 1;
                        break;
                    }
                    events.extend(request.event(&store, recorded, self.host.as_ref()));
                }
                request.first.extend(events);
                request.version = seen.max(request.version);
            }
            Err(oldest) => {
                let why = format!("too old resource version: {} ({oldest})", request.version);
                let status = ApiStatus::new(410, "Expired", why);
                request.first.push_back(line("ERROR", &encode(&status.body())));
                request.ends = true;
            }
        }
    }

    fn on_time(&mut self) {
        self.collect();
        if self.request.bookmarks {
            let store = self.host.store().lock().unwrap_or_else(PoisonError::into_inner);
            let event = bookmark(&store, self.request.options.kind, self.request.version, None);
            self.request.first.push_back(event);
            self.next_bookmark += BOOKMARK_EVERY;
        }
        self.request.ends = Instant::now() >= self.deadline;
    }
}
