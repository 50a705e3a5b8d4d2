//! Runs that come to an end by themselves, and what is said of them.

use super::said::{approved, ending, timeless};
use super::stage::{QUICK, Stage};
use super::{RELEASE, Story};
use std::sync::atomic::Ordering;

pub const STORIES: &[Story] =
    &[("first release", first), ("good release", good), ("bad release", bad), ("sick release", sick)];

/// The first release, into regions with nothing in them.
fn first() {
    let stage = Stage::from_nothing("first", QUICK);
    let deployed = stage.desk.run(&["deploy", "prod", "--auto-approve"]).with(0);
    assert_eq!(deployed.stderr, "");
    let (planned, went) = deployed.stdout.split_once(" begins: ").unwrap();
    approved("first.txt", planned);
    assert!(went.contains("✓ 1.0.0 (r1) is deployed to prod"), "{went}");
    assert_eq!(stage.answers(&stage.east), ["1.0.0".to_owned()].into());
}

/// A release that is told from another machine, and then brought back from there with no local files.
fn good() {
    let stage = Stage::new("good", QUICK);
    let before = stage.objects();
    let deployed = stage.desk.run(&RELEASE).with(0);
    assert_eq!(
        timeless(&ending(&deployed.stdout)),
        "✓ 1.1.0 (r2) is deployed to prod in LONG\n  on west, east; before: 1.0.0 (r1); next: deployctl status prod\n"
    );
    for region in [&stage.east, &stage.west] {
        assert_eq!(stage.answers(region), ["1.1.0".to_owned()].into());
        assert_eq!(region.counted().refused.load(Ordering::SeqCst), 0);
    }
    let elsewhere = stage.elsewhere("phone");
    approved("good.status.txt", &elsewhere.run(&["status", "prod"]).with(0).said());
    approved("good.history.txt", &elsewhere.run(&["history", "prod"]).with(0).said());
    let again = stage.desk.run(&RELEASE).with(0);
    assert!(again.stdout.contains("0 to create, 0 to change, 0 to delete"), "{}", again.said());
    let back = elsewhere.run(&["-o", "json", "rollback", "prod", "--auto-approve"]).with(0);
    let events: Vec<serde_json::Value> = back
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    assert_eq!(events[0]["type"], "version");
    assert_eq!(events.last().unwrap()["outcome"], "deployed");
    let now = stage.objects();
    assert!(before.iter().all(|object| now.get(object.0) == Some(object.1)), "{now:?}");
    assert_eq!(stage.answers(&stage.east), ["1.0.0".to_owned()].into());
}

/// Most requests fail in the new version, which its smoke tests do not show: the gate does, from the pods' counters.
fn bad() {
    let stage = Stage::new("bad", QUICK);
    let before = stage.objects();
    let release = ["deploy", "prod", "--auto-approve", "--version", "1.1.0-err60"];
    let said = stage.desk.run(&release).with(5).stdout;
    let end = ending(&said);
    let cause = "✗ east: gate beside of api: the canary is worse than stable: errors";
    assert!(end.starts_with(cause), "{said}");
    assert!(end.contains("1.0.0 (r1) serves again, all healthy"), "{said}");
    assert_eq!(stage.objects(), before);
    assert_eq!(stage.answers(&stage.east), ["1.0.0".to_owned()].into());
    let elsewhere = stage.elsewhere("phone");
    approved("before.status.txt", &elsewhere.run(&["status", "prod"]).with(0).said());
    let history = elsewhere.run(&["history", "prod"]).with(0).stdout;
    assert!(history.contains("1.1.0-err60  rolled back"), "{history}");
    assert!(history.contains("east: gate beside of api: the canary is worse than stable"), "{history}");
}

/// Its smoke tests fail in the first wave: the second is never touched.
fn sick() {
    let stage = Stage::new("sick", QUICK);
    let before = stage.objects();
    let release = ["deploy", "prod", "--auto-approve", "--version", "1.1.0-smokefail"];
    let said = stage.desk.run(&release).with(5).stdout;
    let end = ending(&said);
    assert!(end.starts_with("✗ west: smoke test health: answered 503 instead of 200"), "{said}");
    assert!(end.contains("  Held up by it:\n    east: not begun, it waits for west\n"), "{said}");
    assert!(!said.contains("wave 2 (east)"), "{said}");
    assert_eq!(stage.objects(), before);
}
