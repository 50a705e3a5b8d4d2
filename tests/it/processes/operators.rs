//! Operators on other machines while a run goes on, and two who deploy at once.

use super::machine::{Running, until};
use super::said::{approved, ending};
use super::stage::{ASKS, STAYS, STAYS_NOW, Stage};
use super::{RELEASE, Story};
use rustix::process::Signal;

pub const STORIES: &[Story] = &[
    ("paused and promoted", paused),
    ("approved", approval),
    ("aborted", aborted),
    ("queued", queued),
    ("supersedes what a cancelled job left", superseded),
    ("two at once", two_at_once),
];

fn paused() {
    let stage = Stage::new("paused", STAYS);
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    let watcher = stage.elsewhere("watcher");
    let follows = watcher.start(&["status", "prod", "--watch"]);
    let elsewhere = stage.elsewhere("phone");
    elsewhere.run(&["pause", "prod", "--reason", "lunch"]).with(0);
    approved("paused.status.txt", &elsewhere.run(&["status", "prod"]).with(0).said());
    elsewhere.run(&["resume", "prod"]).with(0);
    approved("promoted.txt", &elsewhere.run(&["promote", "prod"]).with(0).said());
    let done = run.end().with(0);
    assert!(done.stdout.contains("paused by ana"), "{}", done.said());
    let followed = follows.end().with(0);
    assert!(followed.stdout.contains("is deployed to prod"), "{}", followed.said());
}

/// A promote does not stand for an approval.
fn approval() {
    let stage = Stage::new("approval", ASKS);
    let mut run = stage.desk.start(&RELEASE);
    run.says("): hold 50 % for 1s, then approval");
    let elsewhere = stage.elsewhere("phone");
    approved("unapproved.promote.txt", &elsewhere.run(&["promote", "prod"]).with(2).said());
    approved("approved.txt", &elsewhere.run(&["approve", "prod"]).with(0).said());
    run.end().with(0);
    assert_eq!(stage.answers(&stage.east), ["1.1.0".to_owned()].into());
}

fn aborted() {
    let stage = Stage::new("aborted", STAYS);
    let before = stage.objects();
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    let abort = stage.elsewhere("phone").run(&["abort", "prod", "--reason", "tickets"]).with(0);
    approved("abort.txt", &abort.said());
    let end = ending(&run.end().with(5).stdout);
    assert!(end.starts_with("✗ aborted by ana@") && end.contains(": tickets\n"), "{end}");
    assert!(end.contains("1.0.0 (r1) serves again, all healthy"), "{end}");
    assert_eq!(stage.objects(), before);
}

/// Who comes second is refused, or waits with `--wait` and plans on what the first one left.
fn queued() {
    let stage = Stage::new("queued", STAYS);
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    let other = ["deploy", "prod", "--auto-approve", "--version", "1.2.0"];
    approved("locked.txt", &stage.desk.run(&other).with(7).said());
    let refused = stage.elsewhere("phone").run(&["rollback", "prod", "--auto-approve"]).with(7);
    let abort = "next:  deployctl abort prod  # it takes everything back, now\n";
    assert!(refused.stderr.contains(abort) && !refused.stderr.contains("stopped"), "{}", refused.said());
    let mut waits = stage.desk.start(&[&other[..], &["--wait"]].concat());
    waits.says("waiting: ");
    stage.elsewhere("phone").run(&["promote", "prod", "--full"]).with(0);
    run.end().with(0);
    waits.says(STAYS_NOW);
    stage.elsewhere("phone").run(&["promote", "prod", "--full"]).with(0);
    let done = waits.end().with(0);
    assert!(done.stdout.contains("1.1.0 (r2) → 1.2.0 (r3)"), "{}", done.said());
    assert_eq!(stage.answers(&stage.east), ["1.2.0".to_owned()].into());
}

/// A job was killed a moment ago; the next one takes its run back, then goes out.
fn superseded() {
    let stage = Stage::new("superseded", STAYS);
    let mut run = stage.desk.start(&RELEASE);
    stage.holds(&mut run);
    run.signal(Signal::KILL);
    assert_eq!(run.end().signal, Some(9));
    let next = ["deploy", "prod", "--auto-approve", "--version", "1.2.0", "--supersede"];
    let mut next = stage.desk.start(&next);
    next.says("nobody works on that run any more: it is taken back here, then 1.2.0 is planned");
    next.says(STAYS_NOW);
    stage.elsewhere("phone").run(&["promote", "prod", "--full"]).with(0);
    let done = next.end().with(0);
    assert!(done.stdout.contains("1.0.0 (r1) serves again, all healthy"), "{}", done.said());
    assert!(done.stdout.contains("1.0.0 (r1) → 1.2.0 (r3)"), "{}", done.said());
    assert_eq!(stage.answers(&stage.east), ["1.2.0".to_owned()].into());
}

/// Two processes that plan at the same moment: one of them runs, the other one says who was first.
fn two_at_once() {
    let stage = Stage::new("two", STAYS);
    let other = ["deploy", "prod", "--auto-approve", "--version", "1.2.0"];
    let (first, second) = (stage.desk.start(&RELEASE), stage.desk.start(&other));
    let mut both = [first, second];
    until(|| both.iter_mut().any(Running::is_over), || "both of them run".to_owned());
    let [mut first, second] = both;
    let (mut runs, refused) = if first.is_over() { (second, first) } else { (first, second) };
    let refused = refused.end().with(7);
    assert!(refused.stderr.contains("is locked by ana@"), "{}", refused.said());
    runs.says(STAYS_NOW);
    stage.elsewhere("phone").run(&["promote", "prod", "--full"]).with(0);
    runs.end().with(0);
}
