//! A process that is gone in the middle, and what another machine with no files of its own makes of it.

use super::machine::{Done, nap, until};
use super::said::approved;
use super::stage::{QUICK, STAYS, Stage};
use super::{RELEASE, Story};
use rustix::process::Signal;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

pub const STORIES: &[Story] = &[
    ("killed in the first wave, resumed", first_wave),
    ("killed at a weight, resumed", weight),
    ("killed as the canary begins, rolled back", canary),
    ("killed with all traffic moved, aborted", late),
    ("changed by hand meanwhile", changed_by_hand),
    ("guarded", guarded),
    ("left by a second signal, rolled back", left),
    ("killed on the way to stable, rolled back", to_stable),
    ("killed in the first release", nothing_before),
    ("refused in the middle", refused),
];

/// What was there before, by region and name.
type Objects = BTreeMap<String, String>;

/// A deployment that is killed the moment its record of this number is stored in a region.
fn killed(name: &str, region: &str, record: usize) -> (Stage, Objects) {
    let stage = Stage::new(name, QUICK);
    let before = stage.objects();
    let region = if region == "east" { &stage.east } else { &stage.west };
    let run = stage.desk.start(&RELEASE);
    region.kill_at(record, run.id());
    let died = run.end();
    assert_eq!(died.signal, Some(9), "{}", died.said());
    assert_eq!(stage.records(region), record);
    (stage, before)
}

/// `status` from a machine that was never there, once the dead process's locks have lapsed.
fn status(stage: &Stage, name: &str) {
    stage.wait_for_leases_to_lapse();
    approved(name, &stage.elsewhere("phone").run(&["status", "prod"]).with(0).said());
}

fn resume(stage: &Stage) -> Done {
    let resumed = stage.elsewhere("phone").run(&["resume", "prod", "--auto-approve"]).with(0);
    assert!(resumed.stdout.contains("✓ 1.1.0 (r2) is deployed to prod"), "{}", resumed.said());
    for region in [&stage.east, &stage.west] {
        assert_eq!(stage.answers(region), ["1.1.0".to_owned()].into());
    }
    approved("good.status.txt", &stage.elsewhere("phone").run(&["status", "prod"]).with(0).said());
    resumed
}

fn as_before(stage: &Stage, before: &Objects) {
    assert_eq!(stage.objects(), *before);
    for region in [&stage.east, &stage.west] {
        assert_eq!(stage.answers(region), ["1.0.0".to_owned()].into());
    }
    approved("before.status.txt", &stage.elsewhere("phone").run(&["status", "prod"]).with(0).said());
}

fn first_wave() {
    let (stage, _) = killed("first-wave", "west", 6);
    status(&stage, "first-wave.status.txt");
    resume(&stage);
}

/// Nobody waits before typing `resume`: it does, and says until when.
fn weight() {
    let (stage, _) = killed("weight", "east", 10);
    let resumed = resume(&stage);
    let waits = "the lock was last renewed LONG ago by ana@HOST (deploy 1.1.0): if nobody renews it, this goes on at TIME\n";
    assert_eq!(super::said::timeless(&resumed.stderr), waits);
}

fn canary() {
    let (stage, before) = killed("canary", "east", 5);
    status(&stage, "canary.status.txt");
    let west = stage.elsewhere("phone").run(&["status", "prod", "--target", "west"]).with(0);
    approved("one-target.status.txt", &west.said());
    let back = stage.elsewhere("phone").run(&["rollback", "prod", "--auto-approve"]).with(0);
    assert!(back.stdout.contains("1.0.0 (r1) serves again, all healthy"), "{}", back.said());
    as_before(&stage, &before);
}

/// `abort` finds nobody who could hear it, and takes everything back itself.
fn late() {
    let (stage, before) = killed("late", "east", 17);
    let back = stage.elsewhere("phone").run(&["abort", "prod", "--reason", "tickets"]).with(0);
    assert!(back.stdout.contains("1.0.0 (r1) serves again, all healthy"), "{}", back.said());
    as_before(&stage, &before);
}

/// Without a terminal and without `--auto-approve` there is no yes: nothing is put back.
fn changed_by_hand() {
    let (stage, _) = killed("by-hand", "east", 12);
    let path = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses/api-canary";
    let annotation = "nginx.ingress.kubernetes.io/canary-weight";
    stage.patch_by_hand(&stage.east, path, &json!({"metadata": {"annotations": {annotation: "80"}}}));
    stage.wait_for_leases_to_lapse();
    let changed = stage.objects();
    let refused = stage.elsewhere("phone").run(&["resume", "prod"]).with(8);
    approved("by-hand.resume.txt", &refused.said());
    assert_eq!(stage.objects(), changed);
    let resumed = resume(&stage);
    assert!(resumed.stderr.contains("kubectl-patch"), "{}", resumed.said());
}

/// A guard on a third machine puts traffic on stable by itself; the rest is for people.
fn guarded() {
    let stage = Stage::new("guarded", STAYS);
    let before = stage.objects();
    let machine = stage.elsewhere("guard");
    let mut guard = machine.start(&["guard", "prod"]);
    guard.says("watches prod on east, west");
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    assert_eq!(stage.answers(&stage.east), ["1.0.0".to_owned(), "1.1.0".to_owned()].into());
    run.signal(Signal::KILL);
    assert_eq!(run.end().signal, Some(9));
    guard.says("traffic of east, west is on stable");
    assert_eq!(stage.answers(&stage.east), ["1.0.0".to_owned()].into());
    guard.signal(Signal::TERM);
    guard.end().with(0);
    approved("guarded.status.txt", &stage.elsewhere("phone").run(&["status", "prod"]).with(0).said());
    stage.elsewhere("phone").run(&["rollback", "prod", "--auto-approve"]).with(0);
    as_before(&stage, &before);
}

/// The second signal leaves at once, with whatever is begun.
fn left() {
    let stage = Stage::new("left", STAYS);
    let before = stage.objects();
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    run.signal(Signal::TERM);
    run.says("once more to leave at once (then: deployctl resume prod)");
    // Closer together they are one: job runners signal a process and its group.
    nap(Duration::from_millis(400));
    run.signal(Signal::TERM);
    let ended = run.end();
    // Where this test is slower than the way to stable, that is over already.
    assert!(matches!(ended.code, Some(9 | 130)), "{:?}: {}", ended.code, ended.said());
    stage.elsewhere("phone").run(&["rollback", "prod", "--auto-approve"]).with(0);
    as_before(&stage, &before);
}

/// The record that it was interrupted is there, and nothing that says that traffic has come to stable.
fn to_stable() {
    let stage = Stage::new("to-stable", STAYS);
    let before = stage.objects();
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    stage.east.kill_at(stage.records(&stage.east) + 1, run.id());
    run.signal(Signal::TERM);
    assert_eq!(run.end().signal, Some(9));
    stage.wait_for_leases_to_lapse();
    let status = stage.elsewhere("phone").run(&["status", "prod"]).with(0).said();
    assert!(status.contains("traffic is NOT known to be on stable on east: "), "{status}");
    let follows = stage.elsewhere("tablet").run(&["status", "prod", "--watch"]).with(9).said();
    assert!(follows.contains("traffic is not known to be on stable on east"), "{follows}");
    stage.elsewhere("phone").run(&["rollback", "prod", "--auto-approve"]).with(0);
    as_before(&stage, &before);
}

/// Nothing is on record yet: the pods that there are are told all the same.
fn nothing_before() {
    let stage = Stage::from_nothing("nothing-before", QUICK);
    let run = stage.desk.start(&["deploy", "prod", "--auto-approve"]);
    let pods = || stage.world(|world| world.snapshot("west").iter().any(|object| object["kind"] == "Pod"));
    until(pods, || "no pod is made".to_owned());
    run.signal(Signal::KILL);
    assert_eq!(run.end().signal, Some(9));
    let status = stage.elsewhere("phone").run(&["status", "prod"]).with(0).said();
    let status = super::said::timeless(&status);
    assert!(status.contains("west (standby)  no release on record\n  api  Deployment/api-r1  "), "{status}");
}

/// The token of one region is revoked: the other goes back, the first is owed that until somebody with a new token pays.
fn refused() {
    let stage = Stage::new("refused", STAYS);
    let before = stage.objects();
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    stage.east.revoke();
    let ended = run.end().with(9);
    assert!(ended.said().contains("it refuses our credentials: 401 Unauthorized"), "{}", ended.said());
    assert!(ended.stdout.ends_with("  Next:\n    deployctl resume prod\n"), "{}", ended.said());
    assert!(!ended.said().contains("token-of-east"));
    assert_eq!(stage.answers(&stage.west), ["1.0.0".to_owned()].into());
    approved("refused.status.txt", &stage.desk.run(&["status", "prod"]).with(0).said());
    let elsewhere = stage.elsewhere("phone");
    let back = elsewhere.run(&["resume", "prod", "--auto-approve"]).with(5);
    assert!(back.stdout.contains("1.0.0 (r1) serves again, all healthy"), "{}", back.said());
    as_before(&stage, &before);
}
