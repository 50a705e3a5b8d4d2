//! What a rollback has to choose from, and what is checked before it.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::Code;
use deployctl::domain::ids::{Revision, TargetId};
use deployctl::ports::state::RecordKind;
use deployctl::run::preflight::{self, Level};
use deployctl::run::prepare::{self, Rollback};
use deployctl::run::{Ending, World};
use deployctl::sim::kube::host::Identity;
use std::sync::Arc;
use std::time::Duration;

async fn release(story: &Story, version: &str) {
    let life = story.deploy(version, &Told::default()).await;
    assert_eq!(life, Life::Ended(Ending::Deployed), "{version}");
    tokio::time::sleep(Duration::from_mins(2)).await;
    story.world.mark_stable();
}

/// Three releases that failed, with two that are kept: the one to go back to is still there.
#[test]
fn failed_releases_do_not_push_out_the_one_before() {
    let mut env = environment("canary");
    env.history_limit = 2;
    virtually(env, 41, async |story| {
        release(story, "1.0.0").await;
        release(story, "1.1.0").await;
        for _ in 0..3 {
            let life = story.deploy("1.2.0-crash", &Told::default()).await;
            assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        }
        let state = &story.doors.sites[&TargetId::from("west")].state;
        let records = state.list(RecordKind::Release, "").await.unwrap();
        let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
        assert_eq!(names, ["000001", "000002", "000004", "000005"]);
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(story.sizes("east")["api-r1"], 4);
        let Life::Refused(failure) = story.bring_back(&Told::default()).await else {
            panic!("it goes forth again")
        };
        assert_eq!(failure.code, Code(606));
    });
}

/// The same doors, but for what may be done in the east.
fn denied(story: &Story, denials: &[(&str, &str, &str, &str)]) -> World {
    let client =
        kube::Client::new(story.world.api("east").with_identity(Identity::denied("ci", denials)), "default");
    let mut world = story.doors.clone();
    world.sites.get_mut(&TargetId::from("east")).unwrap().cluster =
        Some(Arc::new(KubeCluster::new(client, "east")));
    world
}

/// What bars a release is told before a rollback, and bars nothing; a region that goes away meanwhile holds it up no longer
/// than its own time.
#[test]
fn checks_of_a_way_back_are_advice() {
    virtually(environment("canary"), 42, async |story| {
        release(story, "1.0.0").await;
        release(story, "1.1.0").await;
        let request = story.request("", Some(Rollback::To(Revision(1))));
        let plan = prepare::plan(&story.doors, &request).await.unwrap();
        let world = denied(story, &[("watch", "", "pods", "")]);
        let checks = preflight::advise(&story.env, &world, &plan).await;
        assert!(checks.iter().all(|check| check.level < Level::Fail));
        let told =
            checks.iter().any(|check| check.level == Level::Warn && check.detail.contains("watch pods"));
        assert!(told, "{checks:#?}");
        assert!(
            preflight::check(&story.env, &world, &plan).await.iter().any(|check| check.level == Level::Fail),
            "it would bar a release"
        );
        story.world.add_fault(&"api-down:3600:east@0s".parse().unwrap());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let checks = preflight::advise(&story.env, &story.doors, &plan).await;
        let of = |target: &str, level: Level| {
            checks.iter().any(|check| check.level == level && check.target == Some(target.into()))
        };
        assert!(of("east", Level::Warn) && of("west", Level::Pass), "{checks:#?}");
        assert!(checks.iter().all(|check| check.level < Level::Fail), "{checks:#?}");
    });
}
