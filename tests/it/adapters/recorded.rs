//! Whole rollouts as a real API server with its controllers told them, read by the adapter and judged: what a wait
//! would have said after each event.

use bytes::Bytes;
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::object::ObjectRef;
use deployctl::ports::cluster::Cluster as _;
use deployctl::rollout::{Verdict, readiness};
use flate2::read::GzDecoder;
use http::{Request, Response};
use http_body_util::Full;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read as _;
use std::sync::Arc;

/// Kind and name → the object's last state.
type State = BTreeMap<(String, String), Value>;

fn cases() -> Vec<Value> {
    let mut text = String::new();
    let file = &include_bytes!("../../golden/kube_watches.jsonl.gz")[..];
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn digest(state: &mut State, event: &Value) {
    let object = &event["object"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let key = (text(&object["kind"]), text(&object["metadata"]["name"]));
    match event["type"].as_str() {
        Some("ADDED" | "MODIFIED") => drop(state.insert(key, object.clone())),
        Some("DELETED") => drop(state.remove(&key)),
        _ => {}
    }
}

/// A server that holds just this; its watches tell nothing more.
fn cluster(state: State) -> KubeCluster {
    let state = Arc::new(state);
    let service = tower::service_fn(move |request: Request<Body>| {
        let state = Arc::clone(&state);
        async move {
            if request.uri().query().unwrap_or_default().contains("watch=true") {
                std::future::pending::<()>().await;
            }
            let kind = match request.uri().path().rsplit('/').next().unwrap_or_default() {
                "deployments" => "Deployment",
                "statefulsets" => "StatefulSet",
                "daemonsets" => "DaemonSet",
                "jobs" => "Job",
                "replicasets" => "ReplicaSet",
                "pods" => "Pod",
                _ => "Event",
            };
            let is_warning = |object: &Value| kind != "Event" || object["type"] == "Warning";
            let items: Vec<&Value> =
                state.iter().filter(|((of, _), o)| of == kind && is_warning(o)).map(|(_, o)| o).collect();
            let list = json!({"metadata": {"resourceVersion": "1"}, "items": items});
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(list.to_string()))))
        }
    });
    KubeCluster::new(kube::Client::new(service, "default"), "recorded")
}

async fn judged(state: State, workload: &ObjectRef) -> String {
    let cluster = cluster(state);
    let mut receiver = cluster.follow("golden");
    let snapshot = receiver.wait_for(|snapshot| snapshot.synced).await.unwrap().clone();
    match readiness::judge(&snapshot, workload, "2026-11-21T04:00:00Z".parse().unwrap()) {
        Verdict::Healthy => "ready".to_owned(),
        Verdict::Assumed { why } => format!("assumed: {why}"),
        Verdict::Failed { why } => format!("failed: {why}"),
        // Which pod is waited for differs from run to run.
        Verdict::Pending { waiting_for } => {
            format!("pending: {}", waiting_for.split(" (").next().unwrap_or_default())
        }
    }
}

/// What is said in the course of a case, each new word once.
async fn story(case: &str, workload: &ObjectRef) -> Vec<String> {
    let mut state = State::new();
    let mut said: Vec<String> = Vec::new();
    for recorded in cases() {
        let events = recorded["events"].as_array().unwrap();
        for event in events {
            digest(&mut state, event);
            let told = matches!(event["object"]["kind"].as_str(), Some("EndpointSlice"));
            if recorded["case"] == case && !told {
                let mut state = state.clone();
                // The kept recording leaves this part of the spec out.
                if let Some(set) =
                    state.values_mut().find(|o| case.contains("partition") && o["kind"] == "StatefulSet")
                {
                    set["spec"]["updateStrategy"] = json!({"rollingUpdate": {"partition": 2}});
                }
                let verdict = judged(state, workload).await;
                if said.last() != Some(&verdict) {
                    said.push(verdict);
                }
            }
        }
        if recorded["case"] == case {
            return said;
        }
    }
    panic!("{case} is not recorded");
}

fn named(kind: &str, name: &str) -> ObjectRef {
    let group = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    ObjectRef::new(group, kind, "golden", name)
}

#[tokio::test(start_paused = true)]
async fn recorded_rollouts_end_in_the_verdict_that_they_came_to() {
    let deployment = named("Deployment", "api");
    let set = named("StatefulSet", "db");
    let daemon = named("DaemonSet", "agent");
    let rows = [
        ("rollout-create", &deployment, "ready"),
        ("rollout-good-image", &deployment, "ready"),
        (
            "rollout-missing-image",
            &deployment,
            "failed: 1/1 pods of Deployment/api: image shop/api:missing cannot be pulled: ",
        ),
        ("rollout-back-to-good-image", &deployment, "ready"),
        (
            "rollout-crash",
            &deployment,
            "failed: 1/1 pods of Deployment/api: container api crashes again and again (3 restarts)",
        ),
        ("rollout-after-crash", &deployment, "ready"),
        (
            "rollout-denied-by-pss",
            &named("Deployment", "rootd"),
            "failed: Deployment/rootd cannot create pods: pod security level restricted:latest forbids its pods: allowPrivilegeEscalation != false",
        ),
        ("job-succeeds", &named("Job", "migrate"), "ready"),
        (
            "job-fails",
            &named("Job", "migrate2"),
            "failed: Job/migrate2 failed: Job has reached the specified backoff limit (the pod failed: container m ended with exit 1 (Error))",
        ),
        ("statefulset-create", &set, "ready"),
        ("statefulset-update-partition-2", &set, "ready"),
        ("statefulset-update-all", &set, "ready"),
        (
            "statefulset-crash",
            &set,
            "failed: 1/1 pods of StatefulSet/db: container db crashes again and again (3 restarts)",
        ),
        ("daemonset-create", &daemon, "ready"),
        ("daemonset-update", &daemon, "ready"),
    ];
    for (case, workload, end) in rows {
        let said = story(case, workload).await;
        assert!(said.last().is_some_and(|last| last.starts_with(end)), "{case}: {said:#?}");
        // Once something is said to have failed or to be ready, it is not taken back while nothing is written.
        let over = said.iter().position(|word| word.starts_with("failed")).unwrap_or(said.len());
        assert!(said[over..].iter().all(|word| word.starts_with("failed")), "{case}: {said:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_said_before_the_deadline_of_the_deployment() {
    let said = story("rollout-crash", &named("Deployment", "api")).await;
    let late = said.iter().any(|word| word.contains("no progress within its deadline"));
    assert!(!late && said.iter().any(|word| word.starts_with("failed")), "{said:#?}");
    let said = story("rollout-missing-image", &named("Deployment", "api")).await;
    assert!(!said.iter().any(|word| word.contains("deadline")), "{said:#?}");
}
