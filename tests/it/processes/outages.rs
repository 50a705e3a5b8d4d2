//! An API server that is away for a moment, and credentials that it never knew.

use super::machine::{nap, until};
use super::said::approved;
use super::stage::{QUICK, STAYS, Stage};
use super::{RELEASE, Story};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub const STORIES: &[Story] = &[
    ("away for seconds", away),
    ("a token that nobody knows", unknown),
    ("scaled to nothing by hand", idle),
];

/// One region's API server refuses connections for a few seconds, less than a lease: the run waits and goes on.
fn away() {
    let stage = Stage::new("away", STAYS);
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    let connections = || stage.east.counted().connections.load(Ordering::SeqCst);
    let before = connections();
    stage.east.open(false);
    nap(Duration::from_secs(4));
    assert_eq!(connections(), before, "nobody gets in");
    stage.east.open(true);
    until(|| connections() > before, || "nobody comes back".to_owned());
    stage.elsewhere("phone").run(&["promote", "prod", "--full"]).with(0);
    let done = run.end().with(0);
    assert!(!done.said().contains("rolling back"), "{}", done.said());
    assert_eq!(stage.answers(&stage.east), ["1.1.0".to_owned()].into());
}

fn unknown() {
    let stage = Stage::new("unknown", STAYS);
    let before = stage.objects();
    stage.east.revoke();
    approved("unknown.txt", &stage.desk.run(&RELEASE).with(3).said());
    approved("unknown.status.txt", &stage.desk.run(&["status", "prod"]).with(0).said());
    approved("unknown.lock.txt", &stage.desk.run(&["lock", "status", "prod"]).with(3).said());
    assert_eq!(stage.objects(), before);
}

/// All pods that are wanted are ready, since none is: that is no good news.
fn idle() {
    let stage = Stage::new("idle", QUICK);
    let path = "/apis/apps/v1/namespaces/shop/deployments/api-r1";
    stage.patch_by_hand(&stage.east, path, &json!({"spec": {"replicas": 0}}));
    let gone = || stage.world(|world| world.snapshot("east").iter().all(|object| object["kind"] != "Pod"));
    until(gone, || "the pods do not go".to_owned());
    approved("idle.status.txt", &stage.desk.run(&["status", "prod"]).with(0).said());
}
