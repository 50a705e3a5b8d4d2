//! Watches and lists against a server that follows a script: what a real one does on its worst days.

use bytes::Bytes;
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::observed::Snapshot;
use deployctl::ports::cluster::Cluster as _;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How an answer's body ends.
#[derive(Clone, Copy)]
enum End {
    Closed,
    Reset,
    Never,
    /// It does not even begin.
    NoAnswer,
}

/// One answer: status, pieces of the body, and how it ends.
type Step = (u16, Vec<String>, End);

/// Answers to the lists and watches of pods, in order; every other kind is empty and quiet.
#[derive(Default)]
struct Script {
    steps: Mutex<Vec<Step>>,
    /// Query parameters of every request for pods.
    asked: Mutex<Vec<BTreeMap<String, String>>>,
}

impl Script {
    fn answer(&self, request: &Request<Body>) -> Step {
        let query: BTreeMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if request.uri().path().ends_with("/pods") {
            self.asked.lock().unwrap().push(query);
            let mut steps = self.steps.lock().unwrap();
            assert!(!steps.is_empty(), "the script is at its end");
            return steps.remove(0);
        }
        if query.contains_key("watch") { (200, Vec::new(), End::Never) } else { list("1", "", &[]) }
    }

    /// One parameter of every request for pods.
    fn asked(&self, name: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|query| query.get(name).cloned().unwrap_or_default()).collect()
    }
}

fn pod(name: &str, version: &str) -> Value {
    json!({ "metadata": { "name": name, "resourceVersion": version }, "status": { "phase": "Running" } })
}

fn list(version: &str, next: &str, pods: &[&str]) -> Step {
    let items: Vec<Value> = pods.iter().map(|name| pod(name, "1")).collect();
    let list = json!({ "metadata": { "resourceVersion": version, "continue": next }, "items": items });
    (200, vec![list.to_string()], End::Closed)
}

fn event(kind: &str, name: &str, version: &str) -> String {
    format!("{}\n", json!({ "type": kind, "object": pod(name, version) }))
}

fn expired(code: u16) -> Step {
    let status = json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" });
    let body = if code == 200 {
        format!("{}\n", json!({ "type": "ERROR", "object": status }))
    } else {
        status.to_string()
    };
    (code, vec![body], End::Closed)
}

const QUIET: Step = (200, Vec::new(), End::Never);

fn cluster(steps: Vec<Step>) -> (KubeCluster, Arc<Script>) {
    let script = Arc::new(Script { steps: Mutex::new(steps), asked: Mutex::default() });
    let answering = Arc::clone(&script);
    let service = tower::service_fn(move |request: Request<Body>| {
        let step = answering.answer(&request);
        async move {
            let (code, pieces, end) = step;
            if matches!(end, End::NoAnswer) {
                return std::future::pending().await;
            }
            let pieces = futures::stream::iter(pieces).map(|piece| Ok(Frame::data(Bytes::from(piece))));
            let tail = futures::stream::once(async move {
                match end {
                    End::Never | End::NoAnswer => std::future::pending().await,
                    End::Reset => Some(Err(Error::from(ErrorKind::ConnectionReset))),
                    End::Closed => None,
                }
            });
            let body = StreamBody::new(pieces.chain(tail.filter_map(|end| async { end })));
            Ok::<_, Error>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (KubeCluster::new(kube::Client::new(service, "default"), "scripted"), script)
}

async fn until(cluster: &KubeCluster, pods: &[&str]) -> Snapshot {
    let mut receiver = cluster.follow("shop");
    let shows = |s: &Snapshot| s.synced && s.pods.keys().map(String::as_str).eq(pods.iter().copied());
    let seen = tokio::time::timeout(Duration::from_secs(90), receiver.wait_for(shows)).await;
    seen.unwrap_or_else(|_| panic!("{pods:?} were not seen: {:?}", cluster.follow("shop").borrow().pods))
        .unwrap()
        .clone()
}

#[tokio::test(start_paused = true)]
async fn a_torn_line_is_not_read_and_the_watch_goes_on_before_it() {
    let (whole, torn) = (event("ADDED", "b", "12"), event("ADDED", "c", "13"));
    let (first, second) = whole.split_at(20);
    let (cluster, script) = cluster(vec![
        list("10", "", &["a"]),
        (200, vec![first.into(), second.into(), torn[..30].into()], End::Reset),
        (200, vec![torn, event("BOOKMARK", "", "20"), "\n".into(), event("DELETED", "a", "21")], End::Reset),
        QUIET,
    ]);
    until(&cluster, &["b", "c"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(script.asked("resourceVersion"), ["", "10", "12", "21"]);
    assert_eq!(script.asked("allowWatchBookmarks")[1..], ["true", "true", "true"]);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_version_is_listed_anew_however_the_server_says_so() {
    let (cluster, script) = cluster(vec![
        list("10", "", &["a"]),
        expired(200),
        list("20", "", &["b"]),
        expired(410),
        list("30", "", &["c"]),
        (200, vec!["{ this is no event }\n".into()], End::Never),
        list("40", "", &["d"]),
        QUIET,
    ]);
    until(&cluster, &["d"]).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(script.asked("resourceVersion"), ["", "10", "", "20", "", "30", "", "40"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_list_comes_in_pieces_and_begins_anew_when_it_grows_too_old() {
    let (cluster, script) = cluster(vec![
        list("10", "t1", &["old"]),
        expired(410),
        list("20", "t2", &["a"]),
        list("20", "t3", &["b"]),
        list("20", "", &["c"]),
        QUIET,
    ]);
    until(&cluster, &["a", "b", "c"]).await;
    assert_eq!(script.asked("continue")[..5], ["", "t1", "", "t2", "t3"]);
    assert_eq!(script.asked("limit")[..5], ["500"; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_died_silently_is_noticed_within_half_a_minute() {
    // The watch says nothing more, and when it is asked anew, no answer comes.
    let (cluster, script) = cluster(vec![
        list("10", "", &["a"]),
        QUIET,
        (200, Vec::new(), End::NoAnswer),
        list("10", "", &["a"]),
        QUIET,
    ]);
    until(&cluster, &["a"]).await;
    let began = Instant::now();
    let mut receiver = cluster.follow("shop");
    receiver.wait_for(|snapshot| snapshot.stale_since.is_some()).await.unwrap();
    assert!(began.elapsed() <= Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(receiver.borrow().pods.len(), 1, "what was seen is kept");
    assert_eq!(script.asked("watch").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_at_once_is_not_asked_in_a_tight_loop() {
    let mut steps = vec![list("10", "", &["a"])];
    steps.extend(std::iter::repeat_with(|| (200, Vec::new(), End::Closed)).take(100));
    let (cluster, script) = cluster(steps);
    until(&cluster, &["a"]).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let asked = script.asked("watch").len();
    assert!((10..30).contains(&asked), "{asked} requests in a minute");
}
