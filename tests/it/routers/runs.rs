//! Whole runs: what users received at each weight, what stands at the end, what a way back writes first.

use crate::runs::made_by_hand;
use crate::support::{Life, Story, Told, alerts, environment, virtually};
use deployctl::domain::event::Kind;
use deployctl::run::Ending;
use std::collections::BTreeMap;
use std::time::Duration;

/// Release r1 (1.0.0) everywhere, and users for a while.
pub async fn begin(story: &Story) {
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    tokio::time::sleep(Duration::from_mins(2)).await;
    story.world.mark_stable();
}

/// What the new revision of `api` received in the east so far, and all revisions.
pub fn received(story: &Story) -> (u64, u64) {
    let report = story.world.report();
    let api = &report.clusters["east"].components["api"];
    (api.by_revision.get("2").map_or(0, |tally| tally.requests), api.all.requests)
}

pub fn titles(told: &Told) -> Vec<String> {
    let events = told.0.lock().unwrap();
    let titles = events.iter().filter_map(|event| match &event.kind {
        Kind::StepStarted { title, target, .. } if target.as_str() == "east" => Some(title.clone()),
        _ => None,
    });
    titles.collect()
}

/// Percent of the east's requests that went to the new revision, in pieces of 10 s.
pub async fn shares(story: &Story) -> Vec<f64> {
    let mut shares = Vec::new();
    while shares.len() < 48 {
        let before = received(story);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let after = received(story);
        shares.push((after.0 - before.0) as f64 * 100.0 / (after.1 - before.1).max(1) as f64);
    }
    shares
}

/// Requests that found no way to a pod in the east.
fn unrouted(story: &Story) -> u64 {
    story.world.report().clusters["east"].components["api"].unrouted
}

#[test]
fn a_good_release_moves_by_weight_and_leaves_nothing_behind() {
    for router in ["nginx", "gateway", "istio", "alb"] {
        virtually(environment(router), 1, async |story| {
            begin(story).await;
            let told = Told::default();
            let (life, shares) = tokio::join!(story.deploy("1.1.0", &told), shares(story));
            assert_eq!(life, Life::Ended(Ending::Deployed), "{router}: {:#?}", titles(&told));
            story.rest().await;
            assert_eq!(unrouted(story), 0, "{router}");
            let near = |wanted: f64| shares.iter().filter(|share| (**share - wanted).abs() < 7.5).count();
            assert!(near(20.0) >= 4 && near(50.0) >= 4 && near(100.0) >= 4, "{router}: {shares:.0?}");
            let objects = story.objects();
            assert!(!objects.keys().any(|name| name.contains("-canary")), "{router}: {objects:#?}");
            let service = &objects["east Service/api"];
            assert!(service.contains("\"deployctl.dev/revision\":\"2\""), "{router}: {service}");
            assert_eq!(story.sizes("east")["api-r1"], 0, "{router}");
            let plan = story.plan("1.1.0").await;
            let changes: Vec<_> = plan.targets.values().map(|target| &target.changes).collect();
            assert!(!plan.has_changes(), "{router}: {changes:#?}");
        });
    }
}

#[test]
fn a_bad_release_goes_back_with_weight_0_as_its_first_write() {
    for router in ["nginx", "gateway", "istio", "alb"] {
        virtually(environment(router), 7, async |story| {
            begin(story).await;
            let before = story.objects();
            let told = Told::default();
            let life = story.deploy("2.0.0-err30", &told).await;
            let fits =
                matches!(&life, Life::Ended(Ending::RolledBack { cause }) if cause.contains("error-rate"));
            assert!(fits, "{router}: {life:?}");
            let undone = undone(&told);
            assert!(undone[0].starts_with("send 20 % to api-r2"), "{router}: {undone:#?}");
            let pods = undone.iter().position(|title| title.starts_with("scale api-r2")).unwrap();
            let route = undone.iter().position(|title| title.ends_with("at 0 %")).unwrap();
            assert!(route < pods, "{router}: {undone:#?}");
            story.rest().await;
            assert_eq!(story.objects(), before, "{router}: {undone:#?}");
            assert_eq!(unrouted(story), 0, "{router}");
        });
    }
}

fn undone(told: &Told) -> Vec<String> {
    let events = told.0.lock().unwrap();
    let undone = events.iter().filter_map(|event| match &event.kind {
        Kind::StepUndone { title, .. } => Some(title.clone()),
        _ => None,
    });
    undone.collect()
}

#[test]
fn a_router_that_accepts_and_does_not_follow_is_noticed_and_taken_back() {
    virtually(environment("nginx"), 9, async |story| {
        begin(story).await;
        let before = story.objects();
        story.world.add_fault(&"router-stuck:east@1s".parse().unwrap());
        let Life::Ended(Ending::RolledBack { cause }) = story.deploy("1.1.0", &Told::default()).await else {
            panic!("it was not taken back");
        };
        assert!(cause.contains("the router accepted 20 % and 0 % was seen"), "{cause}");
        story.rest().await;
        assert_eq!(story.objects(), before);
        assert_eq!(unrouted(story), 0);
    });
}

/// A router that stays at 20 % on the way back: its users are led to stable by the canary's Service.
#[test]
fn a_router_that_does_not_come_back_harms_nobody() {
    virtually(environment("nginx"), 9, async |story| {
        begin(story).await;
        let before = story.objects();
        let told = Told::default();
        let stuck = async {
            while received(story).0 < 100 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            story.world.add_fault(&"router-stuck:120:east@1s".parse().unwrap());
        };
        let (life, ()) = tokio::join!(story.deploy("2.0.0-err30", &told), stuck);
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?} {:#?}", titles(&told));
        let alerts = alerts(&told);
        assert!(alerts.iter().any(|alert| alert.contains("led to stable all the same")), "{alerts:#?}");
        story.rest().await;
        assert_eq!(story.objects(), before);
        assert_eq!(unrouted(story), 0);
    });
}

#[test]
fn a_router_that_follows_late_is_waited_for() {
    virtually(environment("nginx"), 9, async |story| {
        begin(story).await;
        story.world.add_fault(&"router-late:20:east@1s".parse().unwrap());
        assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(unrouted(story), 0);
        assert_eq!(story.sizes("east")["api-r2"], 4);
    });
}

/// Nobody can count without a probe: the plan and the run say so.
#[test]
fn a_share_that_nobody_counts_is_assumed_and_told() {
    let mut env = environment("nginx");
    for component in &mut env.components {
        component.version_probe = None;
    }
    virtually(env, 1, async |story| {
        begin(story).await;
        let plan = story.plan("1.1.0").await;
        assert_eq!(
            plan.warnings.iter().filter(|warning| warning.contains("assumed")).collect::<Vec<_>>(),
            [
                "east: what share nginx really sends to the new api is not verified at the data plane (assumed): it has no version_probe"
            ]
        );
        let told = Told::default();
        assert_eq!(story.deploy("1.1.0", &told).await, Life::Ended(Ending::Deployed));
        let said = "20 % of api is assumed, nobody counted: it has no version_probe".to_owned();
        assert!(alerts(&told).contains(&said), "{:#?}", alerts(&told));
    });
}

/// A Service that led to every revision is bound to stable's first, and is as it was after a way back.
#[test]
fn pods_hand_over_to_a_router_and_back() {
    for version in ["1.1.0", "2.0.0-err30"] {
        virtually(environment("canary"), 3, async |story| {
            begin(story).await;
            let before = story.objects();
            let with_router = story.under(environment("nginx"));
            let life = with_router.deploy(version, &Told::default()).await;
            story.rest().await;
            assert_eq!(unrouted(story), 0, "{version}");
            if version == "1.1.0" {
                assert_eq!(life, Life::Ended(Ending::Deployed));
                assert_eq!(story.deploy("1.2.0", &Told::default()).await, Life::Ended(Ending::Deployed));
                story.rest().await;
                assert_eq!(unrouted(story), 0);
                assert!(!story.objects()["east Service/api"].contains("revision"));
            } else {
                assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
                assert_eq!(story.objects(), before);
            }
        });
    }
}

#[test]
fn a_release_is_brought_back_without_weights() {
    virtually(environment("nginx"), 3, async |story| {
        begin(story).await;
        assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        story.world.mark_stable();
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(unrouted(story), 0);
        let sizes = story.sizes("east");
        assert_eq!((sizes["api-r1"], sizes["api-r2"]), (4, 0));
        let objects: BTreeMap<String, String> = story.objects();
        assert!(objects["east Service/api"].contains("\"deployctl.dev/revision\":\"1\""), "{objects:#?}");
    });
}

#[test]
fn an_interrupt_leaves_the_new_pods_without_traffic_and_resume_goes_on() {
    virtually(environment("nginx"), 5, async |story| {
        begin(story).await;
        let life = story.deploy_interrupted("1.1.0", &Told::default(), Some(Duration::from_secs(130))).await;
        assert_eq!(life, Life::Ended(Ending::Interrupted));
        story.rest().await;
        let before = received(story);
        tokio::time::sleep(Duration::from_mins(2)).await;
        let after = received(story);
        // Connections that were opened before may last.
        assert!(after.0 - before.0 < (after.1 - before.1) / 50, "{before:?} {after:?}");
        assert!(!story.objects().keys().any(|name| name.contains("-canary")));
        assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(story.sizes("east")["api-r2"], 4);
    });
}

/// Pods without a revision label cannot be told from new ones by a Service: pods are the router that once.
#[test]
fn what_existed_before_hands_over_by_pods_and_comes_back() {
    virtually(environment("nginx"), 19, async |story| {
        made_by_hand(story, "api", 4).await;
        let plan = story.plan("1.0.0").await;
        let once =
            plan.warnings.iter().find(|warning| warning.contains("this time pods are the router of api"));
        assert!(once.is_some(), "{:#?}", plan.warnings);
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!((story.sizes("east")["api"], story.sizes("east")["api-r1"]), (0, 4));
        assert!(story.objects()["east Service/api"].contains("\"deployctl.dev/revision\":\"1\""));
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!((story.sizes("east")["api"], story.sizes("east")["api-r1"]), (4, 0));
        assert_eq!(unrouted(story), 0);
    });
}
