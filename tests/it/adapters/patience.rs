//! What a server that is slow, busy or contradicts itself must not lead to: writes that come too late, and records of our own
//! that are taken for somebody else's.

use bytes::Bytes;
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::object::ObjectRef;
use deployctl::ports::cluster::{Cluster as _, Terms};
use deployctl::ports::state::{REQUEST_TIMEOUT, RecordKind, StateError};
use deployctl::ports::{ClusterError, StateStore as _};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A request as it arrived: when, method, path, body.
#[derive(Clone, Debug)]
struct Asked {
    after: Duration,
    method: String,
    path: String,
    body: Value,
}

/// What is answered: a status with headers and a body, or a connection that breaks.
type Answered = Option<(u16, Option<(&'static str, &'static str)>, Value)>;

type Log = Arc<Mutex<Vec<Asked>>>;

/// A server that answers by a rule, from what it is asked and how often that was asked before.
fn server(rule: impl Fn(&Asked, usize) -> Answered + Send + Sync + 'static) -> (KubeCluster, Log) {
    let (log, rule, began) = (Log::default(), Arc::new(rule), Instant::now());
    let seen = Arc::clone(&log);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (seen, rule) = (Arc::clone(&seen), Arc::clone(&rule));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let asked = Asked {
                after: began.elapsed(),
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let before = {
                let mut seen = seen.lock().unwrap();
                let same = |other: &&Asked| other.method == asked.method && other.path == asked.path;
                let before = seen.iter().filter(same).count();
                seen.push(asked.clone());
                before
            };
            let Some((status, header, body)) = rule(&asked, before) else {
                return Err(Error::from(ErrorKind::ConnectionReset));
            };
            let mut response = Response::builder().status(status);
            if let Some((name, value)) = header {
                response = response.header(name, value);
            }
            Ok(response.body(Body::from(Bytes::from(body.to_string()).to_vec())).unwrap())
        }
    });
    (KubeCluster::new(kube::Client::new(service, "default"), "scripted"), log)
}

const CONFIG_MAP: &str = "/api/v1/namespaces/shop/configmaps/settings";

#[expect(clippy::unnecessary_wraps, reason = "other answers are lost")]
fn kinds() -> Answered {
    let kind = json!({"name": "configmaps", "kind": "ConfigMap", "namespaced": true});
    Some((200, None, json!({"resources": [kind]})))
}

fn reference() -> ObjectRef {
    ObjectRef::new("v1", "ConfigMap", "shop", "settings")
}

fn object(uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
           "metadata": {"name": "settings", "namespace": "shop", "uid": uid, "resourceVersion": "1"}})
}

#[expect(clippy::unnecessary_wraps, reason = "other answers are lost")]
fn busy() -> Answered {
    Some((503, None, json!({"kind": "Status", "code": 503, "message": "busy"})))
}

#[expect(clippy::unnecessary_wraps, reason = "other answers are lost")]
fn conflict() -> Answered {
    Some((409, None, json!({"kind": "Status", "code": 409, "reason": "AlreadyExists", "message": "exists"})))
}

/// The lease is asked before an operation: whatever is read first, its write goes out before the time of one request is over.
#[tokio::test(start_paused = true)]
async fn no_write_goes_out_late_because_the_reads_before_it_took_long() {
    for slow in ["/api/v1", CONFIG_MAP] {
        let (cluster, log) = server(move |asked, _| {
            if asked.method == "GET"
                && asked.path == slow
                && asked.after < REQUEST_TIMEOUT + Duration::from_secs(4)
            {
                return busy();
            }
            if asked.path == "/api/v1" { kinds() } else { Some((200, None, object("u1"))) }
        });
        let deleted = cluster.delete(&reference()).await;
        assert!(matches!(deleted, Err(ClusterError::Unreachable { .. })), "{slow}: {deleted:?}");
        let writes = |log: &Log| log.lock().unwrap().iter().filter(|asked| asked.method != "GET").count();
        assert_eq!(writes(&log), 0, "{slow}: {:#?}", log.lock().unwrap());

        let (cluster, log) = server(move |asked, _| {
            if asked.path == slow
                && asked.method == "GET"
                && asked.after < REQUEST_TIMEOUT + Duration::from_secs(4)
            {
                return busy();
            }
            if asked.path == "/api/v1" { kinds() } else { Some((200, None, object("u1"))) }
        });
        let applied = cluster.apply(&object(""), Terms::PLAIN).await;
        assert!(applied.is_err(), "{slow}: {applied:?}");
        assert_eq!(writes(&log), 0, "{slow}: {:#?}", log.lock().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_object_that_was_looked_at_is_deleted() {
    let (cluster, log) = server(|asked, before| match (asked.method.as_str(), asked.path.as_str()) {
        (_, "/api/v1") => kinds(),
        ("DELETE", _) => conflict(),
        // Between the look and the deletion somebody makes another one.
        (_, CONFIG_MAP) => Some((200, None, object(if before == 0 { "u1" } else { "u2" }))),
        _ => Some((200, None, json!({"metadata": {"resourceVersion": "2"}, "items": [object("u2")]}))),
    });
    assert_eq!(cluster.delete(&reference()).await, Ok(()));
    let log = log.lock().unwrap();
    let deletions: Vec<&Asked> = log.iter().filter(|asked| asked.method == "DELETE").collect();
    assert_eq!(deletions.len(), 1);
    assert_eq!(deletions[0].body["preconditions"], json!({"uid": "u1"}));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_wants_more_time_than_there_is_gets_what_there_is() {
    for code in [429, 503] {
        let (cluster, log) = server(move |asked, before| match asked.path.as_str() {
            "/api/v1" => kinds(),
            _ if before == 0 => {
                Some((code, Some(("retry-after", "60")), json!({"kind": "Status", "code": code})))
            }
            _ => Some((200, None, object("u1"))),
        });
        let found = cluster.get(&reference()).await;
        assert!(matches!(&found, Ok(Some(found)) if found["metadata"]["uid"] == "u1"), "{found:?}");
        let times: Vec<Duration> = log.lock().unwrap().iter().map(|asked| asked.after).collect();
        assert!(times[2] >= 2 * REQUEST_TIMEOUT && times[2] < 3 * REQUEST_TIMEOUT, "{times:?}");
    }
    let (cluster, log) = server(|asked, _| match asked.path.as_str() {
        "/api/v1" => kinds(),
        _ => Some((429, Some(("retry-after", "60")), json!({"kind": "Status", "code": 429}))),
    });
    let found = cluster.get(&reference()).await;
    assert!(matches!(found, Err(ClusterError::Server { code: 429, .. })), "{found:?}");
    assert_eq!(log.lock().unwrap().len(), 3, "once more, not again and again: {:#?}", log.lock().unwrap());
}

/// The first POST is carried out and its answer lost; the second meets it, and the look at it fails.
#[tokio::test(start_paused = true)]
async fn a_record_that_may_be_ours_stays_so_when_the_look_at_it_fails() {
    let stored: Arc<Mutex<Value>> = Arc::default();
    let keeping = Arc::clone(&stored);
    let (cluster, _) = server(move |asked, before| match asked.method.as_str() {
        "POST" if before == 0 => {
            *keeping.lock().unwrap() = asked.body.clone();
            None
        }
        "POST" => conflict(),
        _ if asked.after < Duration::from_mins(1) => busy(),
        _ => Some((200, None, keeping.lock().unwrap().clone())),
    });
    let store = cluster.state_store("state", "shop", "production");
    let first = store.create(RecordKind::Journal, "run.1", b"x").await;
    assert!(matches!(first, Err(StateError::Unreachable { .. })), "{first:?}");
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(store.create(RecordKind::Journal, "run.1", b"x").await, Ok(()));
    let other = store.create(RecordKind::Journal, "run.1", b"y").await;
    assert_eq!(other, Err(StateError::Exists { name: "run.1".into() }), "{:?}", stored.lock().unwrap());
}
