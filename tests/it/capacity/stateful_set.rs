//! `StatefulSet`s, updated by partition.

use super::live;
use crate::support::{Life, Story, Told, compared_alone, environment, virtually, watched};
use deployctl::domain::environment::{Environment, Strategy};
use deployctl::domain::event::Kind;
use deployctl::domain::gate::Source;
use deployctl::ports::cluster::Terms;
use deployctl::run::Ending;
use serde_json::json;
use std::time::Duration;

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

/// The shop's set with the comparison as its only gate.
fn compared_set(source: Source) -> Environment {
    Environment { gates: compared_alone(source).gates, ..environment("sets") }
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
