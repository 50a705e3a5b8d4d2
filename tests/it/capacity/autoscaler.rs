//! Autoscalers, Kubernetes' own and KEDA's, beside a canary.

use super::live;
use crate::support::{Life, Story, Told, environment, virtually};
use crate::support::{api_sizes as api, begin_under_load as begin, watched};
use deployctl::domain::event::Kind;
use deployctl::domain::object::ObjectRef;
use deployctl::ports::cluster::Terms;
use deployctl::run::Ending;
use serde_json::json;
use std::time::Duration;

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
