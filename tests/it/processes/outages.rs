//! An API server that is away for a moment, and credentials that it never knew.

use super::machine::{nap, until};
use super::said::approved;
use super::stage::{STAYS, Stage};
use super::{RELEASE, Story};
use std::sync::atomic::Ordering;
use std::time::Duration;

pub const STORIES: &[Story] = &[("away for seconds", away), ("a token that nobody knows", unknown)];

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
    assert_eq!(stage.objects(), before);
}
