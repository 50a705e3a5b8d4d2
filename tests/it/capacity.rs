//! Capacity while two revisions serve: autoscalers, `StatefulSet`s by partition, workers without traffic.
#![allow(clippy::large_futures)] // whole runs are watched here

use crate::support::{Life, Story, Told, environment, virtually};
use async_trait::async_trait;
use deployctl::domain::environment::{Environment, Strategy};
use deployctl::domain::event::Kind;
use deployctl::domain::gate::{Metric, Source};
use deployctl::domain::ids::TargetId;
use deployctl::domain::object::ObjectRef;
use deployctl::ports::cluster::Terms;
use deployctl::ports::metrics::{CountersOf, Measurement, Metrics, MetricsError, Reading};
use deployctl::run::Ending;
use deployctl::run::preflight::{self, Level};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What users send to the api of the east from the first release on: six pods' worth.
const LOAD: f64 = 80.0;

/// Release r1, and users until the autoscaler has done its work.
async fn begin(story: &Story) {
    story.world.set_rate("east", "api", LOAD);
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    tokio::time::sleep(Duration::from_mins(10)).await;
    story.world.mark_stable();
}

impl Story {
    fn cluster(&self, target: &str) -> &dyn deployctl::ports::Cluster {
        self.doors.sites[&TargetId::new(target)].cluster().unwrap().as_ref()
    }
}

fn live(story: &Story, kind: &str, name: &str) -> Value {
    let objects = story.world.snapshot("east");
    let found = objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    found.map_or(Value::Null, |object| Value::clone(object))
}

/// Looks every second at what is there, as long as the other works.
async fn watched<T, L: PartialEq>(work: impl Future<Output = T>, look: impl Fn() -> L) -> (T, Vec<L>) {
    let mut looks: Vec<L> = Vec::new();
    let eye = async {
        loop {
            let now = look();
            if looks.last() != Some(&now) {
                looks.push(now);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let value = tokio::select! { biased; value = work => value, () = eye => unreachable!("it never ends") };
    (value, looks)
}

fn api(story: &Story) -> (u64, u64) {
    let sizes = story.sizes("east");
    let size = |name: &str| sizes.get(name).copied().unwrap_or(0);
    (size("api-r1"), size("api-r2"))
}

/// The canary takes half of the load: the autoscaler would halve stable, and the promotion would halve the new revision.
#[test]
fn an_autoscaler_shrinks_nothing_that_is_needed_for_a_way_back_or_for_the_load() {
    for env in ["scaled", "scaled-nginx"] {
        virtually(environment(env), 21, async |story| {
            begin(story).await;
            let before = api(story).0;
            assert!(before > 4, "{env}: the load asks for more than the fewest: {before}");
            let failed = story.world.report().failed();
            let told = Told::default();
            let (life, looks) = watched(story.deploy("1.1.0", &told), || api(story)).await;
            assert_eq!(life, Life::Ended(Ending::Deployed), "{env}");
            let drained = looks.iter().position(|(stable, new)| *stable == 0 && *new > 0).unwrap();
            for (stable, new) in &looks[..drained] {
                assert!(*stable >= before, "{env}: stable was shrunk to {stable} beside {new}: {looks:?}");
            }
            assert!(looks[drained].1 >= before, "{env}: {looks:?}");
            let report = story.world.report();
            let share = (report.failed() - failed) as f64 / report.requests() as f64;
            assert!(share < 0.005, "{env}: users noticed: {share}");
            story.rest().await;
            let autoscaler = live(story, "HorizontalPodAutoscaler", "api");
            assert_eq!(autoscaler["spec"]["minReplicas"], 4, "{env}: its own bounds are back");
            assert_eq!(autoscaler["spec"]["scaleTargetRef"]["name"], "api-r2", "{env}");
            assert_eq!(api(story).0, 0, "{env}: nobody brings stable back");
        });
    }
}

#[test]
fn the_new_revision_grows_with_the_load_while_it_is_held() {
    for env in ["scaled", "scaled-nginx"] {
        virtually(environment(env), 22, async |story| {
            begin(story).await;
            let told = Told::default();
            let rise = async {
                // In the hold at 50 %.
                loop {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    let held = |event: &deployctl::domain::event::Event| match &event.kind {
                        Kind::StageStarted { stage, .. } => {
                            stage.ends_with("hold-50") && stage.starts_with("w2")
                        }
                        _ => false,
                    };
                    if told.0.lock().unwrap().iter().any(held) {
                        break;
                    }
                }
                let then = api(story);
                story.world.set_rate("east", "api", 130.0);
                then
            };
            let both = async { tokio::join!(story.deploy("1.1.0", &told), rise) };
            let ((life, then), looks) = watched(both, || api(story)).await;
            assert_eq!(life, Life::Ended(Ending::Deployed), "{env}");
            let drained = looks.iter().position(|(stable, new)| *stable == 0 && *new > 0).unwrap();
            let held = looks[..drained].iter().filter(|(_, new)| *new > then.1);
            assert!(held.count() > 0, "{env}: it grew from {then:?} on: {looks:?}");
            // The load grew by more than half: so did what takes it over.
            assert!(looks[drained].1 * 2 > then.0 * 3, "{env}: {looks:?}");
        });
    }
}

#[test]
fn a_way_back_leaves_the_autoscaler_as_it_was() {
    for (env, version) in
        [("scaled", "2.0.0-late100err60"), ("scaled-nginx", "2.0.0-late100err60"), ("scaled", "2.0.0-crash")]
    {
        virtually(environment(env), 23, async |story| {
            begin(story).await;
            let before = live(story, "HorizontalPodAutoscaler", "api")["spec"].clone();
            let size = api(story).0;
            let told = Told::default();
            let (life, looks) = watched(story.deploy(version, &told), || api(story)).await;
            assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{env} {version}: {life:?}");
            assert!(looks.iter().all(|(stable, _)| *stable >= size), "{env} {version}: {looks:?}");
            story.rest().await;
            assert_eq!(live(story, "HorizontalPodAutoscaler", "api")["spec"], before, "{env} {version}");
            assert_eq!(api(story).1, 0, "{env} {version}");
        });
    }
}

/// After the handover: the autoscaler comes back to a stable that has nothing to do yet.
#[test]
fn a_way_back_after_the_handover_brings_stable_back_at_full_size() {
    let mut env = environment("scaled");
    env.gates[0].window = Duration::from_mins(2);
    virtually(env, 24, async |story| {
        begin(story).await;
        let before = live(story, "HorizontalPodAutoscaler", "api")["spec"].clone();
        let size = api(story).0;
        let told = Told::default();
        let life = story.deploy("2.0.0-late360err60", &told).await;
        let Life::Ended(Ending::RolledBack { .. }) = life else { panic!("{life:?}") };
        let drained = told.0.lock().unwrap().iter().any(
            |event| matches!(&event.kind, Kind::StepFinished { step, .. } if step.as_str().contains("drain/east/api")),
        );
        assert!(drained, "it failed after stable was gone");
        assert!(api(story).0 >= size, "{:?}", api(story));
        story.rest().await;
        assert_eq!(live(story, "HorizontalPodAutoscaler", "api")["spec"], before);
    });
}

/// Versions of the set's pods by ordinal, a dot where one is away.
fn versions(story: &Story) -> String {
    let objects = story.world.snapshot("east");
    let of = |ordinal: usize| {
        let name = format!("api-{ordinal}");
        let pod = objects.iter().find(|o| o["kind"] == "Pod" && o["metadata"]["name"] == name.as_str())?;
        let image = pod["spec"]["containers"][0]["image"].as_str()?;
        image.rsplit(':').next()?.chars().next()
    };
    (0..5).map(|ordinal| of(ordinal).unwrap_or('.')).collect()
}

async fn begin_set(story: &Story) {
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(versions(story), "11111");
}

#[test]
fn a_stateful_set_is_updated_a_share_at_a_time_from_the_highest_ordinal() {
    virtually(environment("sets"), 31, async |story| {
        begin_set(story).await;
        let plan = story.plan("2.0.0").await;
        let titles: Vec<&str> =
            plan.stages.iter().flat_map(|stage| &stage.steps).map(|step| step.title.as_str()).collect();
        assert!(titles.contains(&"update 1 of 5 pods of api (api-4)"), "{titles:?}");
        assert!(titles.contains(&"update 3 of 5 pods of api (api-2 to api-4)"), "{titles:?}");
        let told = Told::default();
        let (life, looks) = watched(story.deploy("2.0.0", &told), || versions(story)).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        let whole: Vec<&String> = looks.iter().filter(|look| !look.contains('.')).collect();
        let mut seen = whole.clone();
        seen.dedup();
        assert_eq!(seen, ["11111", "11112", "11122", "11222", "12222", "22222"], "{looks:?}");
        let set = live(story, "StatefulSet", "api");
        let partition = &set["spec"]["updateStrategy"]["rollingUpdate"]["partition"];
        assert!(partition.is_null() || partition == 0, "{partition}");
        assert!(!story.plan("2.0.0").await.has_changes(), "what is live is what was released");
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        assert_eq!(versions(story), "11111");
    });
}

/// One pod of five fails a fifth of its requests: over all pods that would be 4 %, within the limit.
#[test]
fn each_failure_of_a_stateful_set_is_taken_back_with_its_broken_pods() {
    for (version, cause, strategy) in [
        ("2.0.0-err20", "gate error-rate", None),
        ("2.0.0-crash", "crashes again and again", None),
        ("2.0.0-unready", "was not ready within", None),
        ("2.0.0-missing", "cannot be pulled", Some(Strategy::Rolling)),
        ("2.0.0-unready", "was not ready within", Some(Strategy::Rolling)),
    ] {
        let mut env = environment("sets");
        if let Some(strategy) = strategy {
            env.components[0].strategy = strategy;
        }
        virtually(env, 32, async |story| {
            begin_set(story).await;
            let before = live(story, "StatefulSet", "api")["spec"].clone();
            let life = story.deploy(version, &Told::default()).await;
            let Life::Ended(Ending::RolledBack { cause: told }) = life else { panic!("{version}: {life:?}") };
            assert!(told.contains(cause), "{version}: {told}");
            assert_eq!(versions(story), "11111", "{version}");
            let after = live(story, "StatefulSet", "api");
            assert_eq!(after["spec"], before, "{version}");
            assert_eq!(after["status"]["readyReplicas"], 5, "{version}");
        });
    }
}

#[test]
fn a_stateful_set_in_the_middle_is_taken_back_by_an_interrupt_and_goes_on_by_resume() {
    virtually(environment("sets"), 33, async |story| {
        begin_set(story).await;
        let life = story.deploy_interrupted("2.0.0", &Told::default(), Some(Duration::from_secs(100))).await;
        assert_eq!(life, Life::Ended(Ending::Interrupted));
        assert_eq!(versions(story), "11111", "all pods are stable's");
        assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
        assert_eq!(versions(story), "22222");
        let life = story.deploy_interrupted("3.0.0", &Told::default(), Some(Duration::from_secs(100))).await;
        assert_eq!(life, Life::Ended(Ending::Interrupted));
        let life = story.go_on(Some("taken back by hand"), &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        assert_eq!(versions(story), "22222");
    });
}

/// Answers a query by the revision of the pods that it asks for.
struct Queues {
    failing: f64,
    asked: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl Metrics for Queues {
    async fn measure(&self, what: &Measurement) -> Result<Reading, MetricsError> {
        self.asked.lock().unwrap().extend(what.owners.iter().cloned());
        let new = what.owners.iter().any(|owner| owner.starts_with("worker-r2-"));
        Ok(Reading { value: Some(if new { self.failing } else { 0.1 }), requests: None })
    }

    async fn samples(
        &self,
        _what: &CountersOf,
    ) -> Result<Vec<deployctl::domain::counters::PodSample>, MetricsError> {
        Ok(Vec::new())
    }

    async fn history(
        &self,
        _what: &CountersOf,
        _until: jiff::Timestamp,
        _step: Duration,
    ) -> Result<Vec<deployctl::domain::counters::PodSample>, MetricsError> {
        Ok(Vec::new())
    }

    fn knows(&self, _target: &TargetId) -> bool {
        true
    }

    async fn reachable(&self, _target: &TargetId) -> Result<(), MetricsError> {
        Ok(())
    }
}

#[test]
fn a_worker_without_traffic_is_a_canary_by_its_pods_and_its_own_gates() {
    for (failing, good) in [(0.2, true), (5.0, false)] {
        let mut env = environment("queue");
        // Requests are asked of components that take some.
        env.bake.requests = 100;
        virtually(env, 41, async |story| {
            let mut story = story.under(story.env.clone());
            let queues = Arc::new(Queues { failing, asked: Mutex::default() });
            story.doors.metrics = queues.clone();
            assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
            let (life, looks) =
                watched(story.deploy("2.0.0", &Told::default()), || story.sizes("east")).await;
            let sized = |r1: u64, r2: u64| {
                let sizes = [("worker-r1".to_owned(), r1), ("worker-r2".to_owned(), r2)];
                looks.contains(&BTreeMap::from(sizes))
            };
            assert!(sized(4, 1), "a quarter: {looks:?}");
            if good {
                assert_eq!(life, Life::Ended(Ending::Deployed));
                assert!(sized(4, 4) && sized(0, 4), "{looks:?}");
            } else {
                let Life::Ended(Ending::RolledBack { cause }) = life else { panic!("{life:?}") };
                assert!(cause.contains("gate failures"), "{cause}");
                assert_eq!(story.sizes("east")["worker-r1"], 4);
            }
            let asked = queues.asked.lock().unwrap();
            assert!(asked.iter().any(|owner| owner.starts_with("worker-r1-")), "stable, too: {asked:?}");
        });
    }
}

/// What a `ScaledObject` says of its target and of its lower bound.
fn scaled_object(story: &Story) -> (String, u64) {
    let spec = live(story, "ScaledObject", "worker")["spec"].clone();
    let target = spec["scaleTargetRef"]["name"].as_str().unwrap_or_default().to_owned();
    (target, spec["minReplicaCount"].as_u64().unwrap_or(0))
}

#[test]
fn a_scaled_object_is_guarded_and_handed_over_as_an_autoscaler() {
    for version in ["2.0.0", "2.0.0-unready"] {
        virtually(environment("keda"), 42, async |story| {
            let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "scaledobjects.keda.sh"},
                "spec": {"group": "keda.sh", "scope": "Namespaced",
                    "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject",
                        "listKind": "ScaledObjectList"},
                    "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                        {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
            story.cluster("east").apply(&definition, Terms::FORCED).await.unwrap();
            assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
            assert_eq!(scaled_object(story), ("worker-r1".to_owned(), 2));
            // Its own HorizontalPodAutoscaler made five of four.
            let worker = ObjectRef::deployment("shop", "worker-r1");
            story.cluster("east").scale(&worker, 5).await.unwrap();
            let (life, looks) =
                watched(story.deploy(version, &Told::default()), || scaled_object(story)).await;
            assert!(looks.contains(&("worker-r1".to_owned(), 5)), "guarded: {looks:?}");
            let end = match life {
                Life::Ended(Ending::Deployed) => "worker-r2",
                Life::Ended(Ending::RolledBack { .. }) => "worker-r1",
                other => panic!("{other:?}"),
            };
            assert_eq!(end == "worker-r2", version == "2.0.0");
            assert_eq!(scaled_object(story), (end.to_owned(), 2), "{version}");
            assert_eq!(story.sizes("east")[end], 5, "{version}");
        });
    }
}

async fn checks(story: &Story, version: &str, name: &str) -> Vec<(Level, String)> {
    let plan = story.plan(version).await;
    let checks = preflight::check(&story.env, &story.doors, &plan).await.into_iter();
    let east = checks
        .filter(|check| check.name == name && check.target.as_ref().is_some_and(|t| t.as_str() == "east"));
    east.map(|check| (check.level, check.detail)).collect()
}

/// Four pods serve; at the most four of the next revision come beside them.
#[test]
fn quotas_are_held_against_the_most_pods_of_the_plan() {
    virtually(environment("scaled"), 51, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let quota = async |hard: Value| {
            let value = json!({"apiVersion": "v1", "kind": "ResourceQuota",
                "metadata": {"name": "team", "namespace": "shop"}, "spec": {"hard": hard}});
            story.cluster("east").apply(&value, Terms::FORCED).await.unwrap();
            story.rest().await;
            checks(story, "2.0.0", "quota").await
        };
        // api 4 + web 2 + worker 2, and beside them 4 and 2; worker is replaced one by one.
        assert_eq!(
            quota(json!({"pods": "15"})).await,
            [(Level::Pass, "1 with room for 6 more pods".to_owned())]
        );
        let short = "new revision at full size: 6 pods more, 4 of 12 are left in ResourceQuota/team";
        assert_eq!(quota(json!({"pods": "12"})).await, [(Level::Fail, short.to_owned())]);
        let refused = quota(json!({"limits.memory": "4Gi"})).await;
        assert!(refused.iter().all(|(level, _)| *level == Level::Fail), "{refused:?}");
        let wanted = "pods of Deployment/api-r2 are refused: ResourceQuota/team counts limits.memory, and container api says none";
        assert!(refused.iter().any(|(_, detail)| detail == wanted), "{refused:?}");
    });
}

/// The next revision of api comes with a Deployment and a Service for its canary, that of web with a Deployment and a Service.
#[test]
fn quotas_that_count_objects_are_held_against_what_the_plan_makes() {
    virtually(environment("scaled-nginx"), 53, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let quota = async |hard: Value| {
            let value = json!({"apiVersion": "v1", "kind": "ResourceQuota",
                "metadata": {"name": "team", "namespace": "shop"}, "spec": {"hard": hard}});
            story.cluster("east").apply(&value, Terms::FORCED).await.unwrap();
            story.rest().await;
            let failed = checks(story, "2.0.0", "quota").await.into_iter();
            failed.filter(|(level, _)| *level == Level::Fail).map(|(_, detail)| detail).collect::<Vec<_>>()
        };
        let used = |resource: &str| {
            let objects = story.world.snapshot("east");
            let quota = objects.iter().find(|object| object["kind"] == "ResourceQuota").unwrap();
            quota["status"]["used"][resource].as_str().unwrap().parse::<u32>().unwrap()
        };
        let all = json!({"count/deployments.apps": "99", "services": "99", "count/configmaps": "99"});
        assert_eq!(quota(all).await, Vec::<String>::new());
        let (deployments, services) = (used("count/deployments.apps"), used("services"));
        let hard = json!({"count/deployments.apps": (deployments + 1).to_string(), "services": services.to_string()});
        assert_eq!(
            quota(hard).await,
            [
                format!(
                    "new revision at full size: 2 deployments.apps more, 1 of {} are left in ResourceQuota/team",
                    deployments + 1
                ),
                format!("route 20 %: 2 services more, 0 of {services} are left in ResourceQuota/team"),
            ]
        );
    });
}

#[test]
fn nodes_without_room_and_autoscalers_of_nobody_are_told_before() {
    let mut env = environment("scaled");
    virtually(env.clone(), 52, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let fits = checks(story, "2.0.0", "room").await;
        assert_eq!(
            fits,
            [(Level::Pass, "6 nodes take the 6 more pods of new revision at full size".to_owned())]
        );
        assert_eq!(checks(story, "2.0.0", "autoscalers").await, []);
        let foreign = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "by-hand", "namespace": "shop"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web-r1"}, "maxReplicas": 3}});
        story.cluster("east").apply(&foreign, Terms::FORCED).await.unwrap();
        let found = checks(story, "2.0.0", "autoscalers").await;
        let text = "HorizontalPodAutoscaler/by-hand scales Deployment/web-r1 and is in no manifest: nobody turns it to the new revision";
        assert_eq!(found, [(Level::Warn, text.to_owned())]);
        env.values["cpu"] = json!("20");
        let huge = story.under(env.clone());
        let text = "new revision at full size: 4 of 4 new pods of Deployment/api-r2 find no place on 6 nodes: 6 too little cpu";
        assert_eq!(checks(&huge, "2.0.0", "room").await, [(Level::Warn, text.to_owned())]);
    });
}

/// The shop's set with the comparison as its only gate.
fn compared_set(source: Source) -> Environment {
    let mut env = environment("sets");
    env.gates = environment("beside").gates;
    env.gates.retain(|gate| gate.name == "beside");
    let Metric::AgainstStable(comparison) = &mut env.gates[0].metric else { panic!("{:?}", env.gates) };
    comparison.source = source;
    env
}

#[test]
fn a_pod_of_a_stateful_set_is_compared_with_those_of_the_old_template() {
    for source in [Source::Pods, Source::Prometheus] {
        for (version, good) in [("2.0.0-err30", false), ("2.0.0", true)] {
            virtually(compared_set(source), 34, async |story| {
                begin_set(story).await;
                let plan = story.plan(version).await;
                assert!(!plan.warnings.iter().any(|warning| warning.contains("gate")), "{:?}", plan.warnings);
                let told = Told::default();
                let (life, looks) = watched(story.deploy(version, &told), || versions(story)).await;
                if good {
                    assert_eq!(life, Life::Ended(Ending::Deployed), "{source:?}");
                    let said = told.0.lock().unwrap().iter().any(|event| {
                        matches!(&event.kind, Kind::GateMeasured { explanation: Some(text), .. }
                            if text.contains("of stable"))
                    });
                    assert!(said, "{source:?}: nothing was compared");
                    assert_eq!(versions(story), "22222");
                } else {
                    let Life::Ended(Ending::RolledBack { cause }) = life else {
                        panic!("{source:?}: {life:?}")
                    };
                    assert!(cause.contains("the canary is worse than stable: errors"), "{source:?}: {cause}");
                    assert!(!looks.iter().any(|look| look == "22222"), "{source:?}: {looks:?}");
                    assert_eq!(versions(story), "11111", "{source:?}");
                }
            });
        }
    }
}

/// Somebody's broken image stands at the highest ordinal: the controller would wait for that pod for ever.
#[test]
fn a_release_mends_a_stateful_set_whose_pods_are_broken() {
    virtually(environment("sets"), 35, async |story| {
        begin_set(story).await;
        let mut set = live(story, "StatefulSet", "api");
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.com/api:1.0.0-missing");
        for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"] {
            set["metadata"].as_object_mut().unwrap().remove(field);
        }
        set.as_object_mut().unwrap().remove("status");
        story.cluster("east").apply(&set, Terms::FORCED).await.unwrap();
        tokio::time::sleep(Duration::from_mins(3)).await;
        assert_eq!(live(story, "StatefulSet", "api")["status"]["readyReplicas"], 4);
        let plan = story.plan("2.0.0").await;
        let warned =
            "east: 4 of 5 pods of StatefulSet/api are ready: its controller updates none beside broken ones";
        assert!(plan.warnings.iter().any(|w| w.starts_with(warned)), "{:#?}", plan.warnings);
        let life = story.deploy("2.0.0", &Told::default()).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        assert_eq!(versions(story), "22222");
    });
}
