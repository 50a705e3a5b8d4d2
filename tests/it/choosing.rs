//! What a rollback has to choose from, and what is checked before it.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::Code;
use deployctl::domain::error::Failure;
use deployctl::domain::ids::{Revision, RunId, TargetId};
use deployctl::domain::release::{Debt, Due, Release};
use deployctl::ports::state::RecordKind;
use deployctl::run::chosen::{Chosen, Histories, choose, never_had, serves_everywhere};
use deployctl::run::preflight::{self, Level};
use deployctl::run::prepare::{self, Rollback};
use deployctl::run::{Ending, World};
use deployctl::sim::kube::host::Identity;
use serde_json::json;
use std::collections::BTreeMap;
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
        let world = denied(story, &[("watch", "", "pods", "*")]);
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

/// `(number, the release that it brought back)`, 0 for none; the version is that of the content.
fn history(target: &str, releases: &[(u32, u32)]) -> Vec<Release> {
    let mut versions: BTreeMap<u32, String> = BTreeMap::new();
    let release = |(number, of): &(u32, u32)| {
        let version = versions.get(of).cloned().unwrap_or_else(|| format!("1.{number}.0"));
        versions.insert(*number, version.clone());
        let mut value = json!({"format": 1, "revision": number, "target": target, "version": version,
            "outcome": "deployed", "run": "r", "by": {"user": "ana", "host": "desk"},
            "started": "2026-01-05T03:00:00Z", "ended": "2026-01-05T03:00:00Z", "workloads": {}, "objects": []});
        if *of > 0 {
            value["rollbackOf"] = json!(of);
        }
        serde_json::from_value(value).unwrap()
    };
    releases.iter().map(release).collect()
}

type Records = [(u32, u32)];

fn histories(east: &Records, west: &Records) -> Histories {
    [("east", east), ("west", west)].map(|(id, own)| (id.into(), history(id, own))).into()
}

/// The number and who stays, or what is refused.
fn told(chosen: Result<Chosen, Failure>) -> String {
    match chosen {
        Ok(Chosen { to, stay }) => {
            let stay = stay.iter().map(|(target, why)| format!("; {target} stays: {why}"));
            format!("{to}{}", stay.collect::<Vec<_>>().concat())
        }
        Err(failure) => {
            format!("{}\n{}\n{}", failure.what, failure.why.join("\n"), failure.next.join("\n"))
        }
    }
}

#[test]
fn all_targets_go_back_to_one_release_or_none_does() {
    let previous = |east: &Records, west: &Records| {
        told(choose(&environment("canary"), &histories(east, west), &BTreeMap::new(), Rollback::Previous))
    };
    assert_eq!(previous(&[(1, 0), (2, 0)], &[(1, 0), (2, 0)]), "r1");
    // One region came with r3.
    assert_eq!(
        previous(&[(1, 0), (3, 0)], &[(3, 0)]),
        "r1; west stays: 1.3.0 (r3) is the first release on record there"
    );
    // The same content under other numbers: the one that both have.
    assert_eq!(previous(&[(1, 0), (2, 0), (3, 1), (5, 0)], &[(1, 0), (2, 0), (4, 1), (5, 0)]), "r1");
    // r2 went to the east only.
    assert_eq!(
        previous(&[(1, 0), (2, 0), (3, 0)], &[(1, 0), (3, 0)]),
        "the targets of canary would go back to different releases\n\
         east: from 1.3.0 (r3) to 1.2.0 (r2)\n\
         west: from 1.3.0 (r3) to 1.1.0 (r1)\n\
         deployctl rollback canary --to 1  # 1.1.0 (r1), which all of them have had\n\
         deployctl rollback canary --target east --to 2  # 1.2.0 (r2)\n\
         deployctl rollback canary --target west --to 1  # 1.1.0 (r1)"
    );
}

#[test]
fn what_was_left_is_not_brought_back_unless_it_is_named() {
    let both = &[(1, 0), (2, 0), (3, 1)];
    let histories = histories(both, both);
    let chosen = |rollback| told(choose(&environment("canary"), &histories, &BTreeMap::new(), rollback));
    assert_eq!(
        chosen(Rollback::Previous),
        "there is no release before the one that serves on east, west\n\
         east: 1.1.0 (r3) serves, which brought r1 back; 1.2.0 (r2) was left for it\n\
         west: 1.1.0 (r3) serves, which brought r1 back; 1.2.0 (r2) was left for it\n\
         deployctl rollback canary --to 2  # brings 1.2.0 (r2) back all the same\n\
         deployctl history canary"
    );
    assert_eq!(chosen(Rollback::To(Revision(2))), "r2");
    assert!(serves_everywhere(&histories, Revision(1)) && !serves_everywhere(&histories, Revision(2)));
}

#[test]
fn who_is_owed_a_way_back_goes_where_the_others_are() {
    let histories = histories(&[(1, 0), (2, 0), (3, 0), (4, 1)], &[(1, 0), (2, 0), (3, 0)]);
    let due = Due::Back { to: Revision(1) };
    let debt = Debt { run: RunId::new("r4"), revision: Revision(4), version: "1.1.0".into(), due };
    let owed = BTreeMap::from([(TargetId::from("west"), debt)]);
    let west = BTreeMap::from([("west".into(), histories[&"west".into()].clone())]);
    assert_eq!(told(choose(&environment("canary"), &west, &owed, Rollback::Previous)), "r1");
    assert_eq!(told(choose(&environment("canary"), &west, &BTreeMap::new(), Rollback::Previous)), "r2");
}

#[test]
fn a_release_that_is_named_must_be_what_all_targets_know_by_that_number() {
    let to = |east: &Records, west: &Records, to| {
        told(choose(
            &environment("canary"),
            &histories(east, west),
            &BTreeMap::new(),
            Rollback::To(Revision(to)),
        ))
    };
    assert_eq!(
        to(&[(1, 0), (3, 0)], &[(3, 0)], 1),
        "r1; west stays: it never had r1: 1.3.0 (r3) is the first release there"
    );
    // It has older ones, and this one is not among them.
    assert_eq!(
        to(&[(1, 0), (2, 0), (3, 0)], &[(1, 0), (3, 0)], 2),
        "there is no release r2 to go back to on west\nwest has on record: r1, r3\ndeployctl history canary"
    );
    // Two runs, each to one target, that took the same number.
    let other = |mut histories: Histories| {
        histories.get_mut(&"west".into()).unwrap()[1].version = "2.0.0".to_owned();
        histories
    };
    let same: &Records = &[(1, 0), (2, 0), (3, 0)];
    let both = other(histories(same, same));
    for rollback in [Rollback::To(Revision(2)), Rollback::Previous] {
        let refused = choose(&environment("canary"), &both, &BTreeMap::new(), rollback).unwrap_err();
        assert_eq!(refused.code, Code(635));
        assert_eq!(refused.why[1], "west: from 1.3.0 (r3) to 2.0.0 (r2)");
    }
}

#[test]
fn records_that_may_have_been_dropped_are_no_proof_that_a_release_was_never_there() {
    let mut env = environment("canary");
    env.history_limit = 2;
    let trimmed = history("west", &[(3, 0), (4, 0)]);
    assert_eq!(never_had(&env, &trimmed, Revision(1)), None);
    env.history_limit = 10;
    assert!(never_had(&env, &trimmed, Revision(1)).is_some());
}
