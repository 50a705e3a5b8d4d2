//! Objects that are waited for: kept current through ends, errors and refusals of their watch.

use bytes::Bytes;
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::object::ObjectRef;
use deployctl::ports::cluster::Cluster as _;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use kube::client::Body;
use serde_json::{Value, json};
use std::io::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A body; whether it stays open at its end; its status.
type Step = (u16, String, bool);

/// Answers to lists and watches of claims, in order; and what was asked.
fn cluster(steps: Vec<Step>) -> (KubeCluster, Arc<Mutex<Vec<String>>>) {
    let (steps, asked) = (Arc::new(Mutex::new(steps)), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or("").to_owned());
        let (status, body, open) = if path == "/api/v1" {
            let claims = json!({"name": "persistentvolumeclaims", "kind": "PersistentVolumeClaim", "namespaced": true});
            (200, json!({"resources": [claims]}).to_string(), false)
        } else {
            seen.lock().unwrap().push(query);
            steps.lock().unwrap().remove(0)
        };
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let first = futures::stream::once(async move { Ok::<_, Error>(Frame::data(Bytes::from(body))) });
            let rest = futures::stream::once(async move {
                if open {
                    std::future::pending::<()>().await;
                }
                None
            });
            let body = StreamBody::new(first.chain(rest.filter_map(|end| async { end })));
            Ok::<_, Error>(Response::builder().status(status).body(body).unwrap())
        }
    });
    (KubeCluster::new(kube::Client::new(service, "default"), "scripted"), asked)
}

fn claim(name: &str, phase: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"phase": phase}})
}

fn list(version: &str, items: &[Value]) -> Step {
    (200, json!({"metadata": {"resourceVersion": version}, "items": items}).to_string(), false)
}

fn event(sort: &str, object: &Value) -> String {
    let mut object = object.clone();
    if sort != "ERROR" {
        object["kind"] = "PersistentVolumeClaim".into();
    }
    format!("{}\n", json!({"type": sort, "object": object}))
}

fn named(name: &str) -> ObjectRef {
    ObjectRef::new("v1", "PersistentVolumeClaim", "shop", name)
}

#[tokio::test(start_paused = true)]
async fn what_changes_is_told_and_a_watch_that_ends_is_begun_anew() {
    let expired = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
    let (cluster, asked) = cluster(vec![
        list("5", &[claim("a", "Pending"), claim("other", "Bound")]),
        (200, event("MODIFIED", &claim("a", "Bound")) + &event("MODIFIED", &claim("other", "Lost")), false),
        list("9", &[claim("a", "Bound")]),
        (200, event("ERROR", &expired), false),
        list("12", &[claim("a", "Lost")]),
        (200, event("BOOKMARK", &claim("", "")), true),
    ]);
    let mut live = cluster.watch_objects(&[named("a")]).await.unwrap();
    for phase in ["Pending", "Bound", "Lost"] {
        let shows = |live: &deployctl::domain::observed::LiveObjects| {
            live.objects.get(&named("a")).is_some_and(|claim| claim["status"]["phase"] == phase)
        };
        let seen = tokio::time::timeout(Duration::from_mins(1), live.wait_for(shows)).await;
        let objects = seen.unwrap_or_else(|_| panic!("{phase} was not seen")).unwrap().objects.clone();
        assert_eq!(objects.len(), 1, "nobody asked for the other");
        // Items of a list do not say what they are; events do.
        assert_eq!(objects[&named("a")]["kind"], "PersistentVolumeClaim");
    }
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("fieldSelector=metadata.name%3Da"), "{asked:?}");
    assert!(asked[1].contains("watch=true") && asked[1].contains("resourceVersion=5"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_seen_is_said_and_tried_again() {
    let forbidden = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "you may not"});
    let (cluster, _) = cluster(vec![
        (403, forbidden.to_string(), false),
        list("5", &[claim("a", "Bound"), claim("b", "Bound")]),
        (200, event("DELETED", &claim("b", "Bound")), true),
    ]);
    let objects = [named("a"), named("b")];
    let mut live = cluster.watch_objects(&objects).await.unwrap();
    let unseen = live.wait_for(|live| live.unseen.len() == 2).await.unwrap().unseen.clone();
    assert!(unseen[&named("a")].contains("you may not"), "{unseen:?}");
    let later = live.wait_for(|live| live.objects.len() == 1).await.unwrap().clone();
    assert!(later.unseen.is_empty() && later.objects.contains_key(&named("a")));
}
