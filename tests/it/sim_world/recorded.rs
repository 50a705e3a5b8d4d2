//! Rollouts of the simulated controllers against those recorded from kube-apiserver v1.36.2 with its controller
//! manager and scheduler (`tests/golden/kube_watches.jsonl.gz`): the same story must show the same order.

mod story;

use std::collections::BTreeMap;
use std::io::Read as _;

use deployctl::sim::kube::kinds::KindId;
use deployctl::sim::kube::store::{ChangeType, Propagation};
use serde_json::{Value, json};

use self::story::{Folded, Teller, fold};
use super::rig::{CLUSTER, NAMESPACE, Rig};

/// The recorded stories by case.
fn recorded() -> BTreeMap<String, Folded> {
    let mut text = String::new();
    let file = include_bytes!("../../golden/kube_watches.jsonl.gz");
    flate2::read::GzDecoder::new(&file[..]).read_to_string(&mut text).unwrap();
    text.lines()
        .map(|line| {
            let case: Value = serde_json::from_str(line).unwrap();
            let mut teller = Teller::default();
            for event in case["events"].as_array().unwrap() {
                if event["type"] != "BOOKMARK" {
                    teller.tell(event["type"].as_str().unwrap(), &event["object"]);
                }
            }
            let name = case["case"].as_str().unwrap().to_owned();
            let story = fold(&name, teller.story);
            (name, story)
        })
        .collect()
}

/// What happens in the simulation from `act` on, for `seconds`.
async fn simulated(case: &str, rig: &Rig, kinds: &[KindId], seconds: f64, act: impl FnOnce(&Rig)) -> Folded {
    let from = rig.world.store(CLUSTER).lock().unwrap().version();
    act(rig);
    rig.wait(seconds).await;
    let store = rig.world.store(CLUSTER);
    let store = store.lock().unwrap();
    let mut changes = Vec::new();
    for kind in kinds {
        changes.extend(store.changes_since(*kind, from).unwrap().map(|recorded| recorded.change.clone()));
    }
    changes.sort_by_key(|change| change.seq);
    let mut teller = Teller::default();
    for change in changes {
        let typ = match change.typ {
            ChangeType::Added => "ADDED",
            ChangeType::Modified => "MODIFIED",
            ChangeType::Deleted => "DELETED",
        };
        teller.tell(typ, &change.object);
    }
    fold(case, teller.story)
}

fn compare(case: &str, real: &Folded, ours: &Folded) {
    let lines = |story: &Folded| {
        let mut lines = Vec::new();
        for (role, sequences) in story {
            for sequence in sequences {
                lines.push(role.clone());
                lines.extend(sequence.iter().map(|shown| format!("    {} {:?}", shown.text, shown.counts)));
            }
        }
        lines.join("\n")
    };
    assert!(real == ours, "{case}\n--- recorded\n{}\n--- simulated\n{}", lines(real), lines(ours));
}

const ROLLOUT: [KindId; 5] =
    [KindId::DEPLOYMENTS, KindId::REPLICA_SETS, KindId::PODS, KindId::EVENTS, KindId::ENDPOINT_SLICES];

/// A cluster whose nodes take the time that the recorded kubelet took.
async fn rig(seed: u64) -> Rig {
    Rig::with(seed, |cluster| {
        cluster.times.admit = (20, 30);
        cluster.times.images_present = true;
        cluster.times.start = (500, 800);
        cluster.times.stop = (300, 310);
        cluster.times.crash_back_off = 1_000;
        cluster.times.job = (500, 510);
        cluster.settings.endpoint_lag = (6, 12);
        cluster.settings.default_storage_class = false;
    })
    .await
}

fn template(app: &str, image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {
            "containers": [{"name": app, "image": image, "ports": [{"containerPort": 8000}]}],
            "terminationGracePeriodSeconds": 1,
        },
    })
}

fn api(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {
            "replicas": 3, "progressDeadlineSeconds": 8, "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template(name, "shop/api:v1"),
        },
    })
}

fn image(rig: &Rig, kind: KindId, name: &str, image: &str) {
    rig.modify(kind, name, |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
    });
}

#[tokio::test(start_paused = true)]
async fn deployments_roll_out_in_the_recorded_order() {
    let recorded = recorded();
    for seed in 1..=5 {
        let rig = rig(seed).await;
        rig.create(KindId::SERVICES, super::rig::service("api"));
        rig.wait(1.0).await;
        let story = simulated("rollout-create", &rig, &ROLLOUT, 4.0, |rig| {
            drop(rig.create(KindId::DEPLOYMENTS, api("api")));
        })
        .await;
        compare("rollout-create", &recorded["rollout-create"], &story);
        for (case, tag, seconds) in [
            ("rollout-good-image", "v2", 6.0),
            ("rollout-missing-image", "missing", 12.0),
            ("rollout-back-to-good-image", "v2", 3.0),
            ("rollout-crash", "crash", 12.0),
            ("rollout-after-crash", "v2", 3.0),
        ] {
            let act = |rig: &Rig| {
                image(rig, KindId::DEPLOYMENTS, "api", &format!("shop/api:{tag}"));
            };
            let story = simulated(case, &rig, &ROLLOUT, seconds, act).await;
            compare(case, &recorded[case], &story);
        }
        let scale =
            |rig: &Rig| rig.modify(KindId::DEPLOYMENTS, "api", |api| api["spec"]["replicas"] = 5.into());
        let story = simulated("scale-up-down", &rig, &ROLLOUT, 3.0, scale).await;
        compare("scale-up-down", &recorded["scale-up-down"], &story);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_whose_pods_are_denied_says_so_as_recorded() {
    let rig = Rig::new(1).await;
    rig.modify_namespace(|namespace| {
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "restricted".into();
    });
    let story = simulated("rollout-denied-by-pss", &rig, &ROLLOUT, 57.0, |rig| {
        drop(rig.create(KindId::DEPLOYMENTS, api("rootd")));
    })
    .await;
    let mut recorded = recorded().remove("rollout-denied-by-pss").unwrap();
    recorded.retain(|role, _| role != "Event about PersistentVolumeClaim");
    compare("rollout-denied-by-pss", &recorded, &story);
}

#[tokio::test(start_paused = true)]
async fn deletions_take_dependents_along_in_the_recorded_order() {
    let recorded = recorded();
    let rig = rig(3).await;
    rig.create(KindId::SERVICES, super::rig::service("api"));
    rig.create(KindId::DEPLOYMENTS, api("api"));
    rig.wait(5.0).await;
    let delete = |rig: &Rig| rig.delete(KindId::DEPLOYMENTS, "api", Propagation::Foreground);
    let mut story = simulated("delete", &rig, &ROLLOUT, 5.0, delete).await;
    let mut real = recorded["delete-deployment-foreground"].clone();
    // how the pods' ends are batched is timing
    for both in [&mut story, &mut real] {
        both.remove("slice");
    }
    compare("delete-deployment-foreground", &real, &story);
}

#[tokio::test(start_paused = true)]
async fn stateful_sets_go_in_the_recorded_order() {
    let recorded = recorded();
    for seed in 1..=5 {
        let rig = rig(seed).await;
        let kinds = [KindId::STATEFUL_SETS, KindId::PODS];
        let set = json!({
            "metadata": {"name": "db", "namespace": NAMESPACE},
            "spec": {
                "replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                "template": template("db", "shop/db:v1"),
            },
        });
        let story =
            simulated("", &rig, &kinds, 6.0, |rig| drop(rig.create(KindId::STATEFUL_SETS, set))).await;
        compare("statefulset-create", &recorded["statefulset-create"], &story);
        for (case, tag, partition) in [
            ("statefulset-update-partition-2", "v2", 2),
            ("statefulset-update-all", "v2", 0),
            ("statefulset-crash", "crash", 0),
        ] {
            let act = |rig: &Rig| {
                rig.modify(KindId::STATEFUL_SETS, "db", |set| {
                    set["spec"]["updateStrategy"] =
                        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}});
                    set["spec"]["template"]["spec"]["containers"][0]["image"] =
                        format!("shop/db:{tag}").into();
                });
            };
            let story = simulated("", &rig, &kinds, 6.0, act).await;
            compare(case, &recorded[case], &story);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn daemon_sets_go_in_the_recorded_order() {
    let recorded = recorded();
    for seed in 1..=5 {
        let rig = rig(seed).await;
        let kinds = [KindId::DAEMON_SETS, KindId::PODS];
        let set = json!({
            "metadata": {"name": "agent", "namespace": NAMESPACE},
            "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", "shop/agent:v1")},
        });
        let story = simulated("", &rig, &kinds, 4.0, |rig| drop(rig.create(KindId::DAEMON_SETS, set))).await;
        compare("daemonset-create", &recorded["daemonset-create"], &story);
        let act = |rig: &Rig| {
            image(rig, KindId::DAEMON_SETS, "agent", "shop/agent:v2");
        };
        let story = simulated("", &rig, &kinds, 12.0, act).await;
        compare("daemonset-update", &recorded["daemonset-update"], &story);
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_end_in_the_recorded_order() {
    let recorded = recorded();
    for (case, name, tag, limit) in
        [("job-succeeds", "migrate", "v1", 1), ("job-fails", "migrate2", "fail", 0)]
    {
        let rig = rig(1).await;
        let mut template = template("m", &format!("shop/migrate:{tag}"));
        template["spec"]["restartPolicy"] = "Never".into();
        let job = json!({
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"backoffLimit": limit, "template": template},
        });
        let kinds = [KindId::JOBS, KindId::PODS];
        let story = simulated("", &rig, &kinds, 10.0, |rig| drop(rig.create(KindId::JOBS, job))).await;
        compare(case, &recorded[case], &story);
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_away_in_the_recorded_order() {
    let recorded = recorded();
    let rig = rig(1).await;
    let claim = json!({
        "metadata": {"name": "data", "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    rig.create(KindId::DEPLOYMENTS, api("api"));
    rig.create(KindId::PERSISTENT_VOLUME_CLAIMS, claim);
    rig.wait(10.0).await;
    let story = simulated("", &rig, &[KindId::NAMESPACES], 40.0, Rig::delete_namespace).await;
    let shown = |story: &Folded| -> Vec<String> {
        // how often the content is looked at while it goes is timing
        let mut all: Vec<String> = story["Namespace"][0].iter().map(|shown| shown.text.clone()).collect();
        all.retain(|text| !text.contains("NamespaceContentRemaining=True"));
        all.dedup();
        all
    };
    let (first, last) = (&shown(&story)[0], shown(&story).last().cloned());
    assert_eq!(first, &shown(&recorded["namespace-terminating"])[0]);
    assert_eq!(last, shown(&recorded["namespace-terminating"]).last().cloned());
}
