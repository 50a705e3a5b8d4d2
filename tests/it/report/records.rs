//! Preflight, history, one release, status and pictures, as whole outputs.

use super::fixture::{EAST, WEST, actor, at, deployment, plan};
use super::{golden, json, script, terminal};
use deployctl::cli::report::{self, ColorChoice, Facts, Output, status, svg};
use deployctl::domain::environment::TrafficClass;
use deployctl::domain::ids::{Revision, RunId, TargetId};
use deployctl::domain::object::{Object, ObjectRef};
use deployctl::domain::release::{Actor, Outcome, Release, ServingWorkload};
use deployctl::run::preflight::{Check, Level};
use deployctl::run::world::Report;
use std::collections::BTreeMap;

fn check(level: Level, target: Option<&str>, name: &str, detail: &str, fix: Option<&str>) -> Check {
    let target = target.map(TargetId::from);
    Check { level, target, name: name.into(), detail: detail.into(), fix: fix.map(str::to_owned) }
}

#[test]
fn preflight_is_told_by_target_with_fixes_and_totals() {
    let checks = [
        check(Level::Pass, Some(EAST), "reach", "v1.36.2 at https://east as ada", None),
        check(
            Level::Fail,
            Some(EAST),
            "permissions",
            "missing: patch services",
            Some("grant them in a Role"),
        ),
        check(Level::Warn, Some(WEST), "lock", "held by ada@laptop for 5m", Some("add --wait to queue")),
        check(Level::Pass, None, "earlier run", "none is unfinished", None),
    ];
    golden("checks.txt", &report::checks::render(&checks, &Output::plain()));
    golden("checks.ndjson", &report::checks::render(&checks, &json()));
    let passed = report::checks::render(&checks[..1], &Output::plain());
    assert!(passed.ends_with("\nPreflight: 1 passed.\n"), "{passed}");
    assert_eq!(report::checks::render(&[], &Output::plain()), "Preflight: 0 passed.\n");
}

fn release(target: &str, revision: u32, version: &str, outcome: Outcome) -> Release {
    let began = i64::from(revision) * 86_400;
    let api = ServingWorkload {
        size: None,
        workload: deployment(&format!("kva-api-r{revision}")),
        revision: Some(Revision(revision)),
        image: format!("registry/kva-api:{version}"),
        hash: "h".into(),
    };
    let object = |kind: &str, name: &str| Object {
        component: None,
        origin: "m.yaml:1".into(),
        value: serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}),
    };
    Release {
        format: 1,
        revision: Revision(revision),
        target: target.into(),
        version: version.into(),
        outcome,
        cause: None,
        run: RunId::new(format!("prime-spark.production.{revision}")),
        by: actor(),
        reason: None,
        started: at(began),
        ended: at(began + 600),
        rollback_of: None,
        workloads: BTreeMap::from([("kva-api".into(), api)]),
        objects: vec![object("ConfigMap", "a"), object("ConfigMap", "b"), object("Service", "kva-api")],
        rollback_jobs: vec![],
        evidence: vec![],
        overridden: None,
        asked: vec![],
        backups: vec![],
        owed: BTreeMap::new(),
        pays: None,
    }
}

fn failed(target: &str) -> Release {
    Release {
        cause: Some(
            "us-east-1: 3/3 pods of Deployment/kva-api-r8: container api crashes again and again".into(),
        ),
        evidence: script::evidence(target).into_iter().take(4).collect(),
        overridden: None,
        asked: vec![],
        backups: vec!["prime-spark-production-db-r8".into()],
        by: Actor { ci: Some("https://ci/42".into()), ..actor() },
        ..release(target, 8, "2.0.7", Outcome::RolledBack)
    }
}

fn history() -> BTreeMap<TargetId, Vec<Release>> {
    let back =
        |target| Release { rollback_of: Some(Revision(5)), ..release(target, 7, "2.0.4", Outcome::Deployed) };
    let east = vec![
        release(EAST, 5, "2.0.4", Outcome::Deployed),
        release(EAST, 6, "2.0.5", Outcome::Deployed),
        back(EAST),
        failed(EAST),
    ];
    let west = vec![
        release(WEST, 5, "2.0.4", Outcome::Deployed),
        release(WEST, 6, "2.0.5", Outcome::Broken),
        back(WEST),
        failed(WEST),
    ];
    BTreeMap::from([(EAST.into(), east), (WEST.into(), west)])
}

#[test]
fn history_marks_what_serves_and_names_targets_that_differ() {
    golden("history.txt", &report::history::render(&history(), &Output::plain()));
    golden("history.ndjson", &report::history::render(&history(), &json()));
    let none = BTreeMap::from([(TargetId::from(EAST), vec![])]);
    assert_eq!(report::history::render(&none, &Output::plain()), "No release is on record on us-east-1.\n");
}

#[test]
fn a_release_is_shown_whole() {
    let releases = [failed(EAST), failed(WEST)];
    golden("show.txt", &report::show::render(&releases, &Output::plain()));
    golden("show.ndjson", &report::show::render(&releases, &json()));
}

fn row(component: &str, workload: &str, ready: u32, share: Option<u8>) -> status::WorkloadRow {
    status::WorkloadRow {
        component: component.into(),
        workload: deployment(workload),
        image: format!("registry/{component}:2.0.6"),
        ready,
        desired: 6,
        share,
        weight: None,
        router: None,
    }
}

fn target_status(ready: u32) -> status::TargetStatus {
    let revision = Revision(7);
    status::TargetStatus {
        traffic: TrafficClass::Live,
        unreachable: None,
        carried: None,
        idle: vec![],
        unseen: vec![],
        serving: Some(status::ServingRelease { revision, version: "2.0.6".into(), since: at(0) }),
        workloads: vec![row("kva-api", "kva-api-r7", ready, Some(100)), row("worker", "worker-r7", 6, None)],
        lock: None,
        drift: vec![],
        changed_by_run: 0,
    }
}

fn status_view(targets: Vec<(&str, status::TargetStatus)>) -> status::StatusView {
    status::StatusView {
        guard: vec![],
        application: "prime-spark".into(),
        environment: "production".into(),
        namespace: "prime-spark".into(),
        at: at(3 * 86_400),
        targets: targets.into_iter().map(|(id, target)| (id.into(), target)).collect(),
        owed: BTreeMap::new(),
        unfinished: None,
        unreadable: None,
        left_behind: BTreeMap::new(),
        unseen: vec![],
    }
}

#[test]
fn status_says_which_namespace_serves_where_it_is_another() {
    let mut target = target_status(6);
    target.workloads[0].workload.namespace = "prime-spark-green".into();
    let text = report::status::render(&status_view(vec![(EAST, target)]), &Output::plain());
    assert!(text.contains("Deployment/kva-api-r7 in prime-spark-green "), "{text}");
    assert_eq!(text.matches("-green").count(), 1, "{text}");
}

#[test]
fn status_begins_with_its_verdict() {
    let well = status_view(vec![(EAST, target_status(6))]);
    golden("status-well.txt", &report::status::render(&well, &Output::plain()));
    let mut ill = target_status(4);
    ill.drift.push("ConfigMap/app: data.LOG_LEVEL: info → debug".into());
    ill.lock = Some(status::LockRow {
        by: actor(),
        reason: "deploy 2.0.7".into(),
        since: at(3 * 86_400 - 4000),
        lapsed: false,
        lapses: at(3 * 86_400 + 55),
    });
    let gone = status::TargetStatus {
        traffic: TrafficClass::None,
        unreachable: Some("connection refused".into()),
        serving: None,
        workloads: vec![],
        ..target_status(0)
    };
    let mut view = status_view(vec![(EAST, ill), (WEST, gone)]);
    let next =
        |command: &str, effect: &str| status::NextCommand { command: command.into(), effect: effect.into() };
    view.unfinished = Some(status::UnfinishedRun {
        run: plan().run,
        revision: Revision(8),
        version: "2.0.7".into(),
        brings_back: None,
        by: actor(),
        reason: None,
        begun: at(3 * 86_400 - 4000),
        last: Some(at(3 * 86_400 - 3600)),
        live: false,
        phase: "interrupted with traffic on stable".into(),
        cause: None,
        progress: vec![
            "us-east-1: 12 of 30 steps done, last: scale kva-api-r8 to 10 %; in flight: hold 10 %".into(),
        ],
        asked: vec![],
        by_hand: vec![],
        next: vec![
            next("deployctl resume production", "goes on at canary 25 %"),
            next("deployctl rollback production", "takes back what was begun"),
        ],
    });
    view.owed = BTreeMap::from([(WEST.into(), "r7 (2.0.6)".into())]);
    let mut live = view.unfinished.clone();
    golden("status-ill.txt", &report::status::render(&view, &Output::plain()));
    golden("status-ill.ndjson", &report::status::render(&view, &json()));
    // A run that goes on is no trouble.
    if let Some(run) = &mut live {
        (run.live, run.phase) = (true, "going forward at wave 1, hold 10 %".into());
        run.next = vec![next("deployctl abort production", "takes everything of it back, now")];
    }
    let mut under_way = status_view(vec![(EAST, target_status(6))]);
    under_way.unfinished = live;
    golden("status-under-way.txt", &report::status::render(&under_way, &Output::plain()));
}

/// What routes divide is not told by endpoints, and what was not seen is no good news.
#[test]
fn status_tells_who_gets_users_and_what_it_could_not_see() {
    let mut target = target_status(6);
    let divided = |workload, weight| status::WorkloadRow {
        weight: Some(weight),
        router: Some("nginx".into()),
        ..row("kva-api", workload, 6, None)
    };
    target.workloads = vec![divided("kva-api-r7", 80), divided("kva-api-r8", 20)];
    target.carried = Some("2.0.7 (r8)".into());
    target.idle = vec!["worker".into()];
    target.unseen = vec!["pods in prime-spark cannot be seen: 403 Forbidden".into()];
    let mut view = status_view(vec![(EAST, target)]);
    view.left_behind = BTreeMap::from([(WEST.into(), "run R of 2.0.5 (r6)".into())]);
    golden("status-unseen.txt", &report::status::render(&view, &Output::plain()));
}

/// Elements nest and close, attributes are quoted, and every `&` begins one of XML's own entities.
fn assert_well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        for entity in rest[..start].split('&').skip(1) {
            assert!(
                ["amp;", "lt;", "gt;", "quot;", "apos;"].iter().any(|name| entity.starts_with(name)),
                "{entity}"
            );
        }
        let end = start + rest[start..].find('>').expect("every tag ends");
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("split gives one part");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_picture_holds_the_text_in_its_colours_and_nothing_that_runs() {
    let text = report::plan::render(&plan(), &terminal(100, ColorChoice::Always));
    let picture = svg::from_ansi("deployctl plan <production> & more", &text);
    assert_well_formed(&picture);
    golden("plan.svg", &picture);
    assert!(
        picture.contains("&lt;production&gt; &amp;".replace(' ', "\u{a0}").as_str()),
        "the title is escaped"
    );
    assert!(!picture.contains("<script") && !picture.contains('\u{1b}'));
    assert_well_formed(&svg::from_ansi("nothing", ""));
}

#[test]
fn a_recording_is_small_and_the_same_each_time() {
    let record = || {
        let recorder = svg::Recorder::new("deployctl rehearse production", Facts::of(&plan(), true));
        recorder.show(at(0), "$ deployctl rehearse production");
        for event in script::rolled_back() {
            recorder.event(&event);
        }
        recorder.finish()
    };
    let picture = record();
    assert_well_formed(&picture);
    assert!(picture.len() < 200_000, "{} bytes", picture.len());
    assert!(picture.contains("@keyframes") && picture.contains("prefers-reduced-motion"));
    assert!(picture.contains("rolled\u{a0}back"), "the last frame holds the end");
    assert_eq!(picture, record());
    if let Some(path) = std::env::var_os("RECORDING") {
        std::fs::write(path, picture).expect("the recording can be written");
    }
}

#[test]
fn what_logs_say_is_shown_and_never_obeyed() {
    let mut release = failed(EAST);
    release.evidence = vec!["log pod: \u{1b}[2J\u{1b}]0;owned\u{7}hello\u{202e}".into()];
    let text = report::show::render(&[release], &Output::plain());
    assert!(text.contains("    log pod: hello\n") && !text.contains('\u{1b}'), "{text}");
    let reference = ObjectRef::deployment("shop", "a\nb");
    assert_eq!(reference.to_string(), "Deployment/a\nb");
    let mut view = status_view(vec![(EAST, target_status(6))]);
    let target = view.targets.get_mut(&TargetId::from(EAST)).expect("just made");
    target.workloads[0].workload = reference;
    let text = report::status::render(&view, &Output::plain());
    assert!(text.contains("Deployment/a ⏎ b"), "{text}");
}
