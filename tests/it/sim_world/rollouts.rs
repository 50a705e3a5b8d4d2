//! Rollouts, crashes, traffic and metrics of one cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use deployctl::domain::gate::Metric;
use deployctl::domain::ids::{ComponentId, TargetId};
use deployctl::ports::metrics::{Measurement, Metrics as _};
use deployctl::ports::probe::{HttpQuestion, Probe as _};
use deployctl::sim::LoadSpec;
use deployctl::sim::kube::kinds::KindId;
use deployctl::sim::kube::store::Propagation;
use serde_json::json;

use super::rig::{CLUSTER, NAMESPACE, Rig, ingress, service};

async fn live(seed: u64) -> Rig {
    let rig = Rig::with(seed, |cluster| cluster.load = vec![LoadSpec::new("kva-api", 60.0)]).await;
    rig.create(KindId::SERVICES, service("kva-api"));
    rig.create(KindId::INGRESSES, ingress("kva-api", "kva-api", &json!({})));
    rig.deploy("kva-api", "shop/api:v1", 6, 1);
    rig.wait(30.0).await;
    rig
}

#[tokio::test(start_paused = true)]
async fn a_deployment_becomes_ready_and_serves_without_a_failed_request() {
    let rig = live(1).await;
    assert_eq!(rig.progress("kva-api"), "NewReplicaSetAvailable");
    rig.set_image("kva-api", "shop/api:v2", 2);
    rig.wait(120.0).await;
    assert_eq!(rig.progress("kva-api"), "NewReplicaSetAvailable");
    let report = rig.world.report();
    let received = &report.clusters[CLUSTER].components["kva-api"];
    assert!(received.all.requests > 6_000, "{received:?}");
    assert_eq!(received.unrouted, 0, "{received:?}");
    assert_eq!(received.seconds_down, 0);
    assert!(received.by_revision["2"].requests > 2_000, "{received:?}");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_crashes_stops_the_rollout_and_stable_serves_on() {
    let rig = live(2).await;
    rig.set_image("kva-api", "shop/api:crash", 2);
    rig.wait(700.0).await;
    assert_eq!(rig.progress("kva-api"), "ProgressDeadlineExceeded");
    let crashed = rig
        .list(KindId::PODS)
        .into_iter()
        .find(|pod| pod["metadata"]["labels"]["deployctl.dev/revision"] == "2");
    let crashed = crashed.expect("the new pod is there");
    let status = &crashed["status"]["containerStatuses"][0];
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1, "{status}");
    assert!(status["restartCount"].as_i64() > Some(3), "{status}");
    let report = rig.world.report();
    assert!(!report.clusters[CLUSTER].components["kva-api"].by_revision.contains_key("2"));
}

#[tokio::test(start_paused = true)]
async fn a_canary_receives_its_weight_and_its_errors_show_in_the_metrics() {
    let rig = live(3).await;
    rig.create(KindId::DEPLOYMENTS, {
        let mut canary = super::rig::deployment("kva-api-r2", "shop/api:err20", 2, 2);
        canary["spec"]["template"]["metadata"]["labels"]["deployctl.dev/component"] = "kva-api".into();
        canary
    });
    rig.create(KindId::SERVICES, service("kva-api-r2"));
    rig.wait(30.0).await;
    let annotations = json!({
        "nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": "25",
        "nginx.ingress.kubernetes.io/canary-by-header": "x-canary",
    });
    rig.create(KindId::INGRESSES, ingress("kva-api-canary", "kva-api-r2", &annotations));
    rig.wait(600.0).await;
    let report = rig.world.report();
    let revisions = &report.clusters[CLUSTER].components["kva-api"].by_revision;
    let canary = &revisions["2"];
    let share = canary.requests as f64 / (600.0 * 60.0);
    assert!((0.18..0.26).contains(&share), "{share} of the requests");
    let failing = canary.failed as f64 / canary.requests as f64;
    assert!((0.18..0.22).contains(&failing), "{failing}");

    let sets = rig.list(KindId::REPLICA_SETS);
    let owner = sets.iter().map(|set| set["metadata"]["name"].as_str().unwrap_or_default());
    let owner = owner.filter(|name| name.starts_with("kva-api-r2-")).map(str::to_owned).collect();
    let measured = rig
        .world
        .metrics()
        .measure(&Measurement {
            metric: Metric::ErrorRate,
            target: TargetId::new(CLUSTER),
            region: CLUSTER.to_owned(),
            namespace: NAMESPACE.to_owned(),
            component: ComponentId::new("kva-api"),
            owners: owner,
            version: None,
            revision: None,
            window: Duration::from_mins(5),
        })
        .await
        .unwrap();
    assert!((0.17..0.23).contains(&measured.value.unwrap()), "{measured:?}");
    assert!((3_500.0..5_500.0).contains(&measured.requests.unwrap()), "{measured:?}");

    let mut headers = BTreeMap::from([("X-Canary".to_owned(), "always".to_owned())]);
    let mut question = HttpQuestion {
        method: "GET".into(),
        url: "http://kva.example/health".into(),
        headers: headers.clone(),
    };
    let answer = rig.world.probe(None).ask(&question, Duration::from_secs(5)).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("shop/api:err20"), "{}", answer.body);
    headers.insert("X-Canary".to_owned(), "never".to_owned());
    question.headers = headers;
    let answer = rig.world.probe(None).ask(&question, Duration::from_secs(5)).await.unwrap();
    assert!(answer.body.contains("shop/api:v1"), "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn deletion_takes_the_dependents_along() {
    for propagation in [Propagation::Background, Propagation::Foreground] {
        let rig = live(4).await;
        rig.delete(KindId::DEPLOYMENTS, "kva-api", propagation);
        rig.wait(60.0).await;
        assert!(rig.list(KindId::DEPLOYMENTS).is_empty());
        assert!(rig.list(KindId::REPLICA_SETS).is_empty());
        assert!(rig.list(KindId::PODS).is_empty(), "{propagation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_bytes() {
    let mut all = Vec::new();
    for seed in [7, 7, 8] {
        let rig = live(seed).await;
        rig.set_image("kva-api", "shop/api:v2", 2);
        rig.wait(90.0).await;
        let objects: Vec<String> =
            rig.world.snapshot(CLUSTER).iter().map(|object| object.for_client().to_string()).collect();
        all.push((objects.join("\n"), format!("{:?}", rig.world.report())));
    }
    assert_eq!(all[0], all[1]);
    assert_ne!(all[0], all[2]);
}
