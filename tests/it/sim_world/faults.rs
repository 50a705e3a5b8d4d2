//! Faults, autoscaling and the services around the clusters.

use std::time::Duration;

use deployctl::domain::gate::Metric;
use deployctl::domain::ids::{ComponentId, TargetId};
use deployctl::ports::cloud::{Cloud as _, SnapshotState};
use deployctl::ports::compose::Compose as _;
use deployctl::ports::metrics::{Measurement, Metrics as _, MetricsError};
use deployctl::ports::probe::{HttpQuestion, Probe as _};
use deployctl::sim::kube::kinds::KindId;
use deployctl::sim::{ClusterSpec, LoadSpec, ScheduledFault, World, WorldSpec};
use serde_json::{Value, json};

use super::rig::{CLUSTER, NAMESPACE, Rig, ingress, service};

async fn live(seed: u64, faults: &[&str]) -> Rig {
    let cluster = ClusterSpec::new(CLUSTER).with_load(vec![LoadSpec::new("kva-api", 60.0)]);
    let faults = faults.iter().map(|fault| fault.parse::<ScheduledFault>().unwrap()).collect();
    let rig = Rig::of(&WorldSpec::new(seed, vec![cluster]).with_faults(faults)).await;
    rig.create(KindId::SERVICES, service("kva-api"));
    rig.create(KindId::INGRESSES, ingress("kva-api", "kva-api", &json!({})));
    rig.deploy("kva-api", "shop/api:v1", 6, 1);
    rig.wait(30.0).await;
    rig.world.mark_stable();
    rig
}

fn error_rate() -> Measurement {
    Measurement {
        metric: Metric::ErrorRate,
        target: TargetId::new(CLUSTER),
        region: CLUSTER.to_owned(),
        namespace: NAMESPACE.to_owned(),
        component: ComponentId::new("kva-api"),
        owners: Vec::new(),
        version: None,
        revision: None,
        window: Duration::from_mins(2),
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_spike_that_a_label_fires_hits_the_new_revision_alone() {
    let rig = live(1, &["error-spike:40@weight:25"]).await;
    rig.set_image("kva-api", "shop/api:v2", 2);
    rig.wait(8.0).await;
    assert_eq!(rig.world.fire("weight:25"), 1);
    assert_eq!(rig.world.fire("weight:25"), 0, "a fault begins once");
    rig.wait(120.0).await;
    let report = rig.world.report();
    let revisions = &report.clusters[CLUSTER].components["kva-api"].by_revision;
    let rate = |revision: &str| revisions[revision].failed as f64 / revisions[revision].requests as f64;
    assert!(rate("1") < 0.01, "{}", rate("1"));
    assert!(rate("2") > 0.3, "{}", rate("2"));
    assert_eq!(report.faults.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_smoke_failure_shows_in_health_and_not_in_traffic() {
    let rig = live(2, &["smoke-fail@0s"]).await;
    let ask = |path: &str| HttpQuestion {
        method: "GET".into(),
        url: format!("http://kva.example{path}"),
        headers: std::collections::BTreeMap::new(),
    };
    let probe = rig.world.probe(Some(CLUSTER));
    let timeout = Duration::from_secs(5);
    assert_eq!(probe.ask(&ask("/health"), timeout).await.unwrap().status, 200, "stable is spared");
    rig.set_image("kva-api", "shop/api:v2", 2);
    rig.wait(120.0).await;
    assert_eq!(probe.ask(&ask("/health"), timeout).await.unwrap().status, 503);
    let metrics = probe.ask(&ask("/metrics"), timeout).await.unwrap();
    assert!(metrics.body.contains("http_request_duration_seconds_bucket{le=\"0.25\"}"), "{}", metrics.body);
    let measured = rig.world.metrics().measure(&error_rate()).await.unwrap();
    assert!(measured.value.unwrap() < 0.01, "{measured:?}");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_begins_to_crash_is_restarted_with_a_growing_wait() {
    let rig = live(3, &["crash-loop@step:promote"]).await;
    rig.set_image("kva-api", "shop/api:v2", 2);
    rig.wait(120.0).await;
    rig.world.fire("step:promote");
    rig.wait(60.0).await;
    let pods = rig.list(KindId::PODS);
    let waiting = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().map(str::to_owned)
    };
    assert!(pods.iter().all(|pod| waiting(pod).as_deref() == Some("CrashLoopBackOff")), "{pods:?}");
    let report = rig.world.report();
    assert!(report.clusters[CLUSTER].components["kva-api"].seconds_down > 10);
}

#[tokio::test(start_paused = true)]
async fn a_lost_node_is_noticed_after_forty_seconds_and_its_pods_move() {
    let rig = live(4, &["node-loss@1m"]).await;
    rig.wait(60.0).await;
    let ready = |rig: &Rig| {
        let slices = rig.list(KindId::ENDPOINT_SLICES);
        let endpoints = slices[0]["endpoints"].as_array().unwrap().clone();
        endpoints.iter().filter(|endpoint| endpoint["conditions"]["ready"] == true).count()
    };
    assert_eq!(ready(&rig), 6, "nobody has noticed yet");
    rig.wait(30.0).await;
    assert_eq!(ready(&rig), 5);
    rig.wait(360.0).await;
    assert_eq!(ready(&rig), 6, "the pod runs elsewhere");
    assert_eq!(rig.world.report().clusters[CLUSTER].components["kva-api"].seconds_down, 0);
}

#[tokio::test(start_paused = true)]
async fn the_metric_store_fails_in_four_ways() {
    let rig = live(5, &["metrics-down:60@2m", "no-data:60@4m", "nan:60@6m", "metrics-delay:600:60@8m"]).await;
    let metrics = rig.world.metrics();
    let what = error_rate();
    rig.wait(60.0).await;
    assert!(metrics.measure(&what).await.unwrap().value.is_some());
    rig.wait(40.0).await;
    assert!(matches!(metrics.measure(&what).await, Err(MetricsError::Down { .. })));
    assert!(metrics.reachable(&what.target).await.is_err());
    for _ in 0..3 {
        rig.wait(115.0).await;
        assert_eq!(metrics.measure(&what).await.unwrap().value, None);
    }
    rig.wait(120.0).await;
    assert!(metrics.measure(&what).await.unwrap().value.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_full_quota_keeps_the_new_pods_out() {
    let rig = live(6, &["quota@1m"]).await;
    rig.wait(40.0).await;
    rig.set_image("kva-api", "shop/api:v2", 2);
    rig.wait(10.0).await;
    let deployment = rig.get(KindId::DEPLOYMENTS, "kva-api").unwrap();
    let conditions = deployment["status"]["conditions"].as_array().unwrap();
    let failure = conditions.iter().find(|condition| condition["type"] == "ReplicaFailure").unwrap();
    assert!(failure["message"].as_str().unwrap().contains("exceeded quota: platform"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_follows_the_load_within_its_bounds() {
    let rig = live(7, &[]).await;
    let scaler = json!({
        "metadata": {"name": "kva-api", "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "kva-api"},
            "minReplicas": 6, "maxReplicas": 10,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 65}}}],
        },
    });
    rig.create(KindId::HORIZONTAL_POD_AUTOSCALERS, scaler);
    rig.wait(120.0).await;
    let replicas =
        |rig: &Rig| rig.get(KindId::DEPLOYMENTS, "kva-api").unwrap()["spec"]["replicas"].as_i64().unwrap();
    assert_eq!(replicas(&rig), 6);
    rig.world.set_rate(CLUSTER, "kva-api", 300.0);
    rig.wait(180.0).await;
    assert_eq!(replicas(&rig), 10, "the most it may");
    rig.world.set_rate(CLUSTER, "kva-api", 10.0);
    rig.wait(600.0).await;
    assert_eq!(replicas(&rig), 6, "the least it must");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_goes_through_its_states() {
    let world = World::new(&WorldSpec::new(1, vec![ClusterSpec::new(CLUSTER)]));
    let driving = world.clone();
    let driver = tokio::spawn(async move { driving.run().await });
    let cloud = world.cloud(CLUSTER);
    assert_eq!(cloud.db_instance("prod").await.unwrap(), "available");
    let bad = cloud.create_snapshot("prod", "1--bad-").await.unwrap_err();
    assert!(bad.message.starts_with("InvalidParameterValue"), "{bad}");
    cloud.create_snapshot("prod", "release-1").await.unwrap();
    assert_eq!(cloud.db_instance("prod").await.unwrap(), "backing-up");
    let mut percents = Vec::new();
    while let SnapshotState::Creating(percent) = cloud.snapshot("release-1").await.unwrap() {
        percents.push(percent);
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    assert!(percents.len() >= 7 && percents.is_sorted(), "{percents:?}");
    assert_eq!(cloud.snapshot("release-1").await.unwrap(), SnapshotState::Available);
    let missing = cloud.snapshot("release-2").await.unwrap_err();
    assert_eq!(missing.message, "DBSnapshotNotFound: DBSnapshot release-2 not found.");
    driver.abort();
}

#[tokio::test(start_paused = true)]
async fn a_pi_swaps_containers_and_tells_the_downtime() {
    let world = World::new(&WorldSpec::new(1, Vec::new()));
    let driving = world.clone();
    let driver = tokio::spawn(async move { driving.run().await });
    let pi = world.compose("pi5");
    let images = |tag: &str| vec![("kva-api".to_owned(), format!("kva/api:{tag}"))];
    pi.seed("kva", &images("v1"));
    pi.pull("kva", &images("v2")).await.unwrap();
    let downtime = pi.up("kva", &images("v2"), Duration::from_mins(1)).await.unwrap();
    assert!(downtime > Duration::from_secs(2), "{downtime:?}");
    assert!(pi.services("kva").await.unwrap().iter().all(|service| service.healthy));
    let missing = pi.pull("kva", &images("missing")).await.unwrap_err();
    assert!(missing.message.contains("manifest unknown"), "{missing}");
    let failed = pi.up("kva", &images("crash"), Duration::from_secs(30)).await.unwrap_err();
    assert_eq!(failed.message, "container kva-kva-api-1 is unhealthy");
    assert!(pi.up("kva", &images("v1"), Duration::from_mins(1)).await.is_ok());
    driver.abort();
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_down_answers_nobody_and_comes_back() {
    let rig = live(8, &["api-down:30@1m", "throttle:10@2m", "conflict:1@3m"]).await;
    let client = kube::Client::new(rig.world.api(CLUSTER), NAMESPACE);
    let deployments: kube::Api<k8s_openapi::api::apps::v1::Deployment> =
        kube::Api::namespaced(client, NAMESPACE);
    assert!(deployments.get("kva-api").await.is_ok());
    rig.wait(35.0).await;
    assert!(deployments.get("kva-api").await.is_err());
    rig.wait(30.0).await;
    assert!(deployments.get("kva-api").await.is_ok());
    rig.wait(26.0).await;
    let code = |error: kube::Error| match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    };
    assert_eq!(code(deployments.get("kva-api").await.unwrap_err()), 429);
    rig.wait(62.0).await;
    let patch = kube::api::Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}}));
    let parameters = kube::api::PatchParams::default();
    assert_eq!(code(deployments.patch("kva-api", &parameters, &patch).await.unwrap_err()), 409);
    assert!(deployments.patch("kva-api", &parameters, &patch).await.is_ok());
    let log: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(kube::Client::new(rig.world.api(CLUSTER), NAMESPACE), NAMESPACE);
    let pod = rig.list(KindId::PODS)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let lines = log.logs(&pod, &kube::api::LogParams::default()).await.unwrap();
    assert!(lines.contains("listening, ready"), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_says_why() {
    let rig = Rig::new(1).await;
    rig.create(
        KindId::PODS,
        json!({
            "metadata": {"name": "huge", "namespace": NAMESPACE},
            "spec": {"containers": [{"name": "c", "image": "shop/api:v1", "resources": {"requests": {"cpu": "900"}}}]},
        }),
    );
    rig.wait(1.0).await;
    let events = rig.list(KindId::EVENTS);
    let told = events.iter().find(|event| event["reason"] == "FailedScheduling").unwrap();
    assert_eq!(
        told["message"],
        "0/6 nodes are available: 6 Insufficient cpu. no new claims to deallocate, preemption: 0/6 nodes are available: 6 Preemption is not helpful for scheduling."
    );
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_without_metrics_and_a_claim_without_a_class_say_so() {
    let rig = Rig::with(1, |cluster| {
        cluster.settings.resource_metrics = false;
        cluster.settings.default_storage_class = false;
    })
    .await;
    rig.deploy("kva-api", "shop/api:v1", 2, 1);
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 65}}});
    rig.create(
        KindId::HORIZONTAL_POD_AUTOSCALERS,
        json!({
            "metadata": {"name": "kva-api", "namespace": NAMESPACE},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "kva-api"},
                "minReplicas": 2, "maxReplicas": 4, "metrics": [metric],
            },
        }),
    );
    rig.create(
        KindId::PERSISTENT_VOLUME_CLAIMS,
        json!({
            "metadata": {"name": "data", "namespace": NAMESPACE},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }),
    );
    rig.wait(20.0).await;
    let scaler = rig.get(KindId::HORIZONTAL_POD_AUTOSCALERS, "kva-api").unwrap();
    let conditions = scaler["status"]["conditions"].as_array().unwrap();
    let shown: Vec<String> = conditions
        .iter()
        .map(|c| format!("{}={} {}", c["type"], c["status"], c["reason"]).replace('"', ""))
        .collect();
    assert_eq!(shown, ["AbleToScale=True SucceededGetScale", "ScalingActive=False FailedGetResourceMetric"]);
    let events = rig.list(KindId::EVENTS);
    let told = |reason: &str| {
        let event = events.iter().find(|event| event["reason"] == reason);
        event.unwrap_or_else(|| panic!("nothing told {reason}"))["message"].as_str().unwrap().to_owned()
    };
    assert!(
        told("FailedGetResourceMetric").starts_with("failed to get cpu utilization: unable to get metrics")
    );
    assert!(
        told("FailedComputeMetricsReplicas")
            .starts_with("invalid metrics (1 invalid out of 1), first error is: ")
    );
    assert_eq!(
        told("FailedBinding"),
        "no persistent volumes available for this claim and no storage class is set"
    );
}
