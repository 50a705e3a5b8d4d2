//! What is waited for beside workloads, and how early and clearly a release fails that cannot become ready.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::environment::Environment;
use deployctl::domain::event::Kind;
use deployctl::domain::ids::TargetId;
use deployctl::domain::object::ObjectRef;
use deployctl::domain::observed::Snapshot;
use deployctl::ports::cluster::Terms;
use deployctl::run::Ending;
use kube::client::Body;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn with_fault(fault: &str) -> Environment {
    let mut env = environment("parts");
    env.values["fault"] = json!(fault);
    env
}

fn cluster(story: &Story) -> std::sync::Arc<dyn deployctl::ports::Cluster> {
    story.doors.sites[&TargetId::new("east")].cluster.clone().unwrap()
}

/// The cluster serves carts.
async fn define_carts(story: &Story) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "carts.shop.example.com"},
        "spec": {
            "group": "shop.example.com", "scope": "Namespaced",
            "names": {"plural": "carts", "singular": "cart", "kind": "Cart", "listKind": "CartList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    cluster(story).apply(&crd, Terms::FORCED).await.unwrap();
}

/// The carts' controller says how far it is, as soon as there is a cart.
async fn say(story: &Story, phase: &str) {
    let cart = ObjectRef::new("shop.example.com/v1", "Cart", "shop", "big");
    let cluster = cluster(story);
    while cluster.get(&cart).await.ok().flatten().is_none() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let phase = json!({"status": {"phase": phase}});
    // A release that failed meanwhile has taken the cart away.
    let _ = cluster.modify(&cart, &move |_: &Value| Some(phase.clone())).await;
}

fn titles(told: &Told) -> Vec<String> {
    let events = told.0.lock().unwrap();
    let titles = events.iter().filter_map(|event| match &event.kind {
        Kind::StepStarted { title, .. } => Some(title.clone()),
        _ => None,
    });
    titles.collect()
}

fn assumed(told: &Told) -> Vec<String> {
    let events = told.0.lock().unwrap();
    let assumed = events.iter().filter_map(|event| match &event.kind {
        Kind::Alert { severity: "info", message, .. } => Some(message.clone()),
        _ => None,
    });
    assumed.collect()
}

fn evidence(told: &Told) -> Vec<String> {
    let events = told.0.lock().unwrap();
    let lines = events.iter().filter_map(|event| match &event.kind {
        Kind::Evidence { lines, .. } => Some(lines.clone()),
        _ => None,
    });
    lines.flatten().collect()
}

async fn release(story: &Story, version: &str, phase: &str) -> (Life, Told) {
    let told = Told::default();
    define_carts(story).await;
    let (life, ()) = tokio::join!(story.deploy(version, &told), say(story, phase));
    (life, told)
}

#[test]
fn what_pods_need_is_waited_for_before_them_and_the_rest_after() {
    virtually(with_fault("none"), 5, async |story| {
        let (life, told) = release(story, "1.0.0", "Full").await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        let titles = titles(&told);
        let place = |part: &str| {
            titles
                .iter()
                .position(|title| title.contains(part))
                .unwrap_or_else(|| panic!("{part}: {titles:#?}"))
        };
        let before = place("wait until PersistentVolumeClaim/store and Job/migrate-1-0-0 are ready");
        assert!(before < place("apply parts"), "{titles:#?}");
        assert!(place("wait until parts is ready") < place("3 more objects are ready"), "{titles:#?}");
        assert_eq!(assumed(&told), Vec::<String>::new());
    });
}

#[test]
fn what_nothing_tells_of_is_assumed_aloud() {
    let mut env = with_fault("none");
    env.readiness.clear();
    virtually(env, 5, async |story| {
        let (life, told) = release(story, "1.0.0", "Full").await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        let expected = "assumed ready: nothing in the status of Cart/big says whether it is ready";
        assert_eq!(assumed(&told), [expected]);
    });
}

#[test]
fn a_projects_own_rule_fails_the_release_as_soon_as_it_says_so() {
    virtually(with_fault("none"), 5, async |story| {
        let (life, _) = release(story, "1.0.0", "Lost").await;
        let Life::Ended(Ending::RolledBack { cause }) = life else { panic!("{life:?}") };
        assert_eq!(cause, "east: Cart/big failed: its status.phase is \"Lost\"");
    });
}

#[test]
fn a_failed_job_ends_the_release_before_any_pod_of_it_starts() {
    virtually(with_fault("none"), 5, async |story| {
        let (life, told) = release(story, "1.0.0-fail", "Full").await;
        let Life::Ended(Ending::RolledBack { cause }) = life else { panic!("{life:?}") };
        let why = "the pod failed: container migrate ended with exit 1 (Error)";
        assert!(cause.contains("Job/migrate-1-0-0-fail failed") && cause.contains(why), "{cause}");
        assert!(!titles(&told).iter().any(|title| title == "apply parts"));
    });
}

#[test]
fn a_pod_that_fits_nowhere_says_what_is_missing_and_where() {
    virtually(with_fault("huge"), 5, async |story| {
        let before = story.doors.clock.now();
        let (life, told) = release(story, "1.0.0", "Full").await;
        let Life::Ended(Ending::RolledBack { cause }) = life else { panic!("{life:?}") };
        assert!(cause.contains("2/2 pods of Deployment/parts: no node takes it: "), "{cause}");
        assert!(cause.contains("nodes have too little cpu"), "{cause}");
        assert!(cause.contains("cpu: a pod asks for 900, the roomiest of"), "{cause}");
        let took = story.doors.clock.now().duration_since(before).unsigned_abs();
        assert!(took < Duration::from_secs(170), "a grace for new nodes, not the whole limit: {took:?}");
        let seen = evidence(&told);
        assert!(seen.iter().any(|line| line.contains("2/2 pods unschedulable")), "{seen:#?}");
    });
}

/// The cluster as somebody sees it who may not read storage classes.
fn without_classes(story: &Story) -> KubeCluster {
    let real = kube::Client::new(story.world.api("east"), "default");
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let real = real.clone();
        async move {
            if !request.uri().path().contains("/storageclasses") {
                return real.send(request).await;
            }
            let status =
                json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "not for ana"});
            Ok(http::Response::builder()
                .status(403)
                .body(Body::from(status.to_string().into_bytes()))
                .unwrap())
        }
    });
    KubeCluster::new(kube::Client::new(service, "default"), "east")
}

#[test]
fn a_claim_that_waits_for_a_pod_holds_nothing_up_even_if_its_class_may_not_be_read() {
    for readable in [true, false] {
        virtually(with_fault("lazy"), 5, async |story| {
            let class = json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
                "provisioner": "disk.example.com", "volumeBindingMode": "WaitForFirstConsumer",
            });
            cluster(story).apply(&class, Terms::FORCED).await.unwrap();
            let mut story = story.under(story.env.clone());
            if !readable {
                let blind = without_classes(&story);
                story.doors.sites.get_mut(&TargetId::new("east")).unwrap().cluster = Some(Arc::new(blind));
            }
            let (life, told) = release(&story, "1.0.0", "Full").await;
            assert_eq!(life, Life::Ended(Ending::Deployed), "{readable}");
            let expected = "assumed ready: PersistentVolumeClaim/store is not bound, and whether storage class fast \
                            waits for its first pod cannot be read: not for ana";
            let expected: &[&str] = if readable { &[] } else { &[expected] };
            assert_eq!(assumed(&told), expected);
        });
    }
}

/// The autoscaler says that it makes a node for each pod that fits nowhere.
async fn scale_up(story: &Story) {
    let homeless = |snapshot: &Snapshot| -> Vec<String> {
        let pods = snapshot.pods.iter().filter(|(_, pod)| pod.unschedulable.is_some());
        pods.map(|(name, _)| name.clone()).collect()
    };
    let mut snapshots = cluster(story).follow("shop");
    let pods = homeless(&snapshots.wait_for(|snapshot| homeless(snapshot).len() == 2).await.unwrap());
    for pod in pods {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{pod}.up"), "namespace": "shop"},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": "shop"},
            "type": "Normal", "reason": "TriggeredScaleUp", "message": "pod triggered scale-up: [{large 0->2 (max: 5)}]",
            "lastTimestamp": story.doors.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        cluster(story).apply(&event, Terms::FORCED).await.unwrap();
    }
}

#[test]
fn a_pod_is_waited_for_to_the_end_while_an_autoscaler_makes_a_node_for_it() {
    virtually(with_fault("huge"), 5, async |story| {
        let before = story.doors.clock.now();
        let ((life, _), ()) = tokio::join!(release(story, "1.0.0", "Full"), scale_up(story));
        let Life::Ended(Ending::RolledBack { cause }) = life else { panic!("{life:?}") };
        assert!(cause.contains("Deployment/parts was not ready within 3m: 2/2 pods of"), "{cause}");
        assert!(
            cause.contains("; a node is to come (TriggeredScaleUp: pod triggered scale-up: [{large 0->2"),
            "{cause}"
        );
        let took = story.doors.clock.now().duration_since(before).unsigned_abs();
        assert!(took >= story.env.limits.ready, "{took:?}");
    });
}

#[test]
fn the_evidence_names_what_is_held_up_and_what_changed() {
    virtually(environment("canary"), 7, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let told = Told::default();
        let began = story.doors.clock.now();
        let life = story.deploy("2.0.0-crash", &told).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        let seen = evidence(&told);
        let has = |part: &str| assert!(seen.iter().any(|line| line.contains(part)), "{part}: {seen:#?}");
        has("west: blocked Deployment/web-r2, Deployment/worker (after api)");
        has("west: blocked all of east (not begun)");
        has(
            "diff Deployment/api-r2 spec.template.spec.containers[name=api].image: example.com/api:1.0.0 → example.com/api:2.0.0-crash",
        );
        has("log 20");
        let failed = told.0.lock().unwrap().iter().find_map(|event| match &event.kind {
            Kind::StepFailed { cause, .. } => Some((event.at, cause.clone())),
            _ => None,
        });
        let (at, cause) = failed.expect("a step failed");
        assert!(at.duration_since(began).unsigned_abs() < Duration::from_mins(1), "in seconds");
        assert!(cause.ends_with("; it said \"fatal: exiting with code 1\""), "{cause}");
    });
}
