//! A stable that shrinks with its traffic: what users get meanwhile, and how their traffic comes back to it.
#![allow(clippy::large_futures)] // whole runs are watched here

use crate::support::{Life, Story, Told, alerts, environment, virtually};
use crate::support::{api_sizes as api, begin_under_load as begin, watched};
use deployctl::domain::environment::{Environment, Strategy};
use deployctl::domain::ids::TargetId;
use deployctl::ports::cluster::Terms;
use deployctl::run::Ending;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bad after a while, in the hold at 50 %.
const LATE: &str = "2.0.0-late100err60";

/// What the run's own doing cost: requests without a way, seconds without enough pods, failures of stable.
fn harm(story: &Story) -> (u64, u64, u64) {
    let report = story.world.report();
    let api = &report.clusters["east"].components["api"];
    let stable = api.by_revision.get("1").map_or(0, |tally| tally.failed);
    (api.unrouted, api.seconds_below_capacity, stable)
}

/// Nothing of it but the usual one in ten thousand.
fn unharmed(story: &Story, before: (u64, u64, u64), what: &str) {
    let after = harm(story);
    assert_eq!((after.0, after.1), (before.0, before.1), "{what}");
    assert!(after.2 - before.2 < 20, "{what}: stable failed {} requests", after.2 - before.2);
}

/// What the new revision of the api received in the east so far.
fn received(story: &Story) -> u64 {
    let report = story.world.report();
    let api = &report.clusters["east"].components["api"];
    api.by_revision.get("2").map_or(0, |tally| tally.requests)
}

#[test]
fn stable_shrinks_with_its_traffic_and_nobody_notices() {
    virtually(environment("dynamic"), 61, async |story| {
        begin(story).await;
        let plan = story.plan("1.1.0").await;
        let price = "east: dynamic_stable_scale: an abort waits until api-r1 has grown back, at 20 % from 5 to 6 pods, at 50 % \
                     from 3 to 6 pods; its traffic returns as its pods become ready";
        assert!(plan.warnings.iter().any(|warning| warning == price), "{:#?}", plan.warnings);
        let before = harm(story);
        let (life, looks) = watched(story.deploy("1.1.0", &Told::default()), || api(story)).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        for sizes in [(6, 2), (5, 2), (5, 3), (3, 3), (3, 6), (0, 6)] {
            assert!(looks.contains(&sizes), "{sizes:?} of {looks:?}");
        }
        let most = looks.iter().map(|(stable, new)| stable + new).max().unwrap();
        assert_eq!(most, 9, "{looks:?}");
        unharmed(story, before, "a good release");
    });
}

#[test]
fn traffic_returns_to_stable_as_it_grows_back() {
    virtually(environment("dynamic"), 62, async |story| {
        begin(story).await;
        let (before, objects) = (harm(story), story.objects());
        let told = Told::default();
        let (life, looks) = watched(story.deploy(LATE, &told), || api(story)).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        let shrunk = looks.iter().position(|sizes| *sizes == (3, 3));
        let shrunk = shrunk.unwrap_or_else(|| panic!("it failed at 50 %: {looks:?}"));
        assert!(looks[shrunk..].contains(&(6, 3)), "grown before the new pods went: {looks:?}");
        unharmed(story, before, "a way back from 50 %");
        story.rest().await;
        assert_eq!(story.objects(), objects);
    });
}

#[test]
fn an_interrupt_puts_all_traffic_on_a_grown_stable_and_a_resume_goes_on() {
    virtually(environment("dynamic"), 63, async |story| {
        begin(story).await;
        let before = harm(story);
        let told = Told::default();
        // In the hold at 50 %.
        let work = async {
            let held = async {
                while api(story) != (3, 3) {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            let plan = story.plan("1.1.0").await;
            let began = tokio::time::Instant::now();
            let (life, at) =
                tokio::join!(story.new_run(&plan, &told, Some(Duration::from_secs(170))), async {
                    held.await;
                    began.elapsed()
                });
            assert!(at < Duration::from_secs(170), "it came to 50 % after {at:?}");
            life
        };
        let (life, looks) = watched(work, || api(story)).await;
        assert_eq!(life, Life::Ended(Ending::Interrupted));
        assert_eq!(looks.last(), Some(&(6, 3)), "{looks:?}");
        let seen = received(story);
        tokio::time::sleep(Duration::from_secs(30)).await;
        // Of 2400 requests some come over connections that were opened before.
        let more = received(story) - seen;
        assert!(more < 120, "traffic is on stable: {more}");
        let (life, looks) = watched(story.go_on(None, &Told::default()), || api(story)).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        assert!(looks.contains(&(3, 3)), "it shrinks again: {looks:?}");
        assert_eq!(api(story), (0, 6));
        unharmed(story, before, "an interrupt and a resume");
    });
}

/// With no room for the pods that stable needs it gets all traffic all the same, and grows once the others are gone.
#[test]
fn a_stable_that_cannot_grow_gets_the_traffic_at_the_end() {
    virtually(environment("dynamic"), 64, async |story| {
        begin(story).await;
        let full = async {
            while api(story) != (3, 3) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
            let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
                "metadata": {"name": "team", "namespace": "shop"}, "spec": {"hard": {"pods": "1"}}});
            let east = story.doors.sites[&TargetId::new("east")].cluster().unwrap();
            east.apply(&quota, Terms::FORCED).await.unwrap();
            let size = api(story);
            tokio::time::sleep(Duration::from_mins(15)).await;
            // Somebody makes room.
            east.delete(&deployctl::domain::object::ObjectRef::of(&quota)).await.unwrap();
            size
        };
        let told = Told::default();
        let (life, size) = tokio::join!(story.deploy(LATE, &told), full);
        assert_eq!(size, (3, 3));
        let alerts = alerts(&told);
        let said = "api-r1 gets all traffic with 3 of 6 pods: no more became ready within 3m";
        assert!(alerts.iter().any(|alert| alert == said), "{life:?} {alerts:#?}");
        let seen = received(story);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(received(story), seen, "traffic is on stable");
        assert_eq!(api(story), (6, 0), "{life:?}");
    });
}

/// From every record at which the process may die there is a way back that harms nobody.
#[test]
fn from_every_record_there_is_a_way_back() {
    let mut env = environment("dynamic");
    env.targets.retain(|target| target.id.as_str() == "east");
    env.waves = vec![vec![TargetId::new("east")]];
    env.components.retain(|component| component.id.as_str() == "api");
    let records = virtually(env.clone(), 65, async |story| {
        begin(story).await;
        let before = story.written.load(Ordering::SeqCst);
        assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        story.written.load(Ordering::SeqCst) - before
    });
    assert!(records > 20, "{records}");
    for record in 1..records {
        virtually(env.clone(), 65, async |story| {
            begin(story).await;
            let (before, objects) = (harm(story), story.objects());
            let first = story.written.load(Ordering::SeqCst);
            *story.dies.lock().unwrap() = Some((first + record, true));
            let life = story.deploy("1.1.0", &Told::default()).await;
            *story.dies.lock().unwrap() = None;
            if life != Life::Died {
                return;
            }
            match story.go_on(Some("taken back"), &Told::default()).await {
                Life::Ended(Ending::RolledBack { .. }) => {
                    story.rest().await;
                    assert_eq!(story.objects(), objects, "record {record}");
                }
                // At the last records all has been released.
                Life::Refused(_) | Life::Ended(Ending::Deployed) => {
                    assert_eq!(api(story), (0, 6), "record {record}");
                }
                other => panic!("record {record}: {other:?}"),
            }
            unharmed(story, before, &format!("record {record}"));
        });
    }
}

fn scaled() -> Environment {
    let mut env = environment("scaled-nginx");
    let Strategy::Canary(canary) = &mut env.components[0].strategy else { panic!("no canary") };
    canary.dynamic_stable_scale = true;
    env
}

#[test]
fn an_autoscaler_shrinks_its_stable_itself_down_to_the_bound_that_falls() {
    for version in ["1.1.0", LATE] {
        virtually(scaled(), 66, async |story| {
            begin(story).await;
            let (full, before) = (api(story).0, harm(story));
            assert!(full > 4, "{full}");
            let bounds = |story: &Story| {
                let objects = story.world.snapshot("east");
                let hpa = objects.iter().find(|object| object["kind"] == "HorizontalPodAutoscaler").unwrap();
                hpa["spec"].clone()
            };
            let own = bounds(story);
            let (life, looks) = watched(story.deploy(version, &Told::default()), || api(story)).await;
            assert!(looks.iter().any(|(stable, new)| *stable == 4 && *new > 0), "{version}: {looks:?}");
            story.rest().await;
            match life {
                Life::Ended(Ending::Deployed) => {
                    assert_eq!(version, "1.1.0");
                    assert!(api(story).1 >= full, "{looks:?}");
                }
                Life::Ended(Ending::RolledBack { .. }) => {
                    assert_eq!(version, LATE);
                    assert!(api(story).0 >= full, "{looks:?}");
                    assert_eq!(bounds(story), own);
                }
                other => panic!("{version}: {other:?}"),
            }
            assert_eq!(bounds(story)["minReplicas"], 4, "{version}");
            let after = harm(story);
            assert_eq!(after.0, before.0, "{version}: unrouted");
        });
    }
}
