//! Unfinished runs in words, made by hand: where traffic is, targets that were not read, what a rollback would do.

use super::*;
use crate::domain::effect::{Effect, RunJob};
use crate::domain::ids::Revision;
use crate::domain::object::ObjectRef;
use crate::domain::step::{Lane, Stage, Step, Undo};
use crate::plan::Plan;
use crate::run::journal::Replayed;
use serde_json::json;

/// Two regions in two waves; each applies configuration, sizes the new pods, moves traffic and holds.
fn plan() -> Plan {
    let target = json!({"clusterUid": "u", "traffic": "live", "region": "r", "previous": 1, "previousVersion": "1.0.0",
        "fingerprint": "f", "changes": [], "workloads": {}, "inventory": []});
    let stage = |wave: usize, target: &str| {
        let step = |name: &str, effect: Effect, undo: Undo| Step {
            id: format!("{target}/{name}").as_str().into(),
            target: target.into(),
            component: Some("api".into()),
            level: 0,
            title: name.to_owned(),
            effect,
            undo,
        };
        let delete = || Effect::Delete { objects: vec![ObjectRef::deployment("shop", "api-r2")] };
        let back = |lane| Undo::Effects { lane, effects: vec![delete()] };
        let hold = Effect::Advance { wave };
        let none = || Undo::None { why: "waiting changes nothing".to_owned() };
        Stage {
            id: format!("w{wave}"),
            title: format!("all of {target}"),
            wave,
            weight: 50,
            steps: vec![
                step("apply", delete(), back(Lane::Config)),
                step("size", delete(), back(Lane::Capacity)),
                step("weigh 50 %", delete(), back(Lane::Traffic)),
                step("hold", hold, none()),
                step("snapshot", delete(), none()),
            ],
        }
    };
    let plan = json!({"format": 1, "application": "shop", "environment": "prod", "namespace": "shop",
        "stateNamespace": "state", "run": "R", "revision": 2, "version": "1.1.0", "created": "2026-01-05T03:00:00Z",
        "by": {"user": "ana", "host": "desk"}, "targets": {"east": target, "west": target},
        "waves": [["west"], ["east"]], "objects": [], "stages": [], "warnings": [], "expected": "5m",
        "limits": {"run": "1h", "ready": "1m", "lease": "15s", "onInterrupt": "stop", "history": 10}});
    let mut plan: Plan = serde_json::from_value(plan).unwrap();
    plan.stages = vec![stage(1, "west"), stage(2, "east")];
    plan
}

const DONE: [Status; 5] = [Status::Done; 5];

fn run(phase: Phase, west: [Status; 5], east: [Status; 5]) -> Run {
    let plan = plan();
    let statuses = west.into_iter().chain(east);
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps).map(|step| step.id.clone());
    let status = steps.zip(statuses).collect();
    Run { plan, replayed: Replayed { status, phase, ..Replayed::default() } }
}

/// Phase, then the targets, then commands and what they do.
fn told(run: &Run, unread: &[(&str, &'static str)]) -> String {
    let unread: Unread = unread.iter().map(|(target, why)| ((*target).into(), *why)).collect();
    let told = Standing { run, unread: &unread, live: None, earlier: &[] }.told();
    let next = told.next.iter().map(|next| format!("{}: {}", next.command, next.effect));
    let by_hand = told.by_hand.iter().map(|command| format!("by hand: {command}"));
    let lines = std::iter::once(told.phase.clone()).chain(told.progress.clone()).chain(by_hand).chain(next);
    let none = "; no earlier rollback is on record to tell how long it takes";
    lines.map(|line| line.replace(none, "") + "\n").collect()
}

#[test]
fn traffic_is_on_stable_only_where_that_is_known() {
    use Status::{Done, Pending, Started, UndoFailed, Undoing, Undone};
    let back =
        run(Phase::Interrupted, [Done, Done, Undone, Done, Done], [Done, Started, Undone, Started, Started]);
    let said = "\
interrupted with traffic on stable
east: 1 of 5 steps done, last: apply; cut short: hold; begun, not known to be done: size, snapshot; 1 taken back
west: 4 of 5 steps done, last: snapshot; 1 taken back
deployctl resume prod: goes on at wave 1, all of west
deployctl rollback prod: takes steps back: 2 on east, 2 on west; traffic first
deployctl prod: refused (DC0608) until one of these has ended it
";
    assert_eq!(told(&back, &[]), said);

    let mut died = run(
        Phase::Interrupted,
        [Done, Done, UndoFailed, Done, Done],
        [Done, Done, Undoing, Started, Pending],
    );
    died.replayed.causes.insert("west/weigh 50 %".into(), "403 Forbidden".to_owned());
    let said = "\
interrupted; traffic is NOT known to be on stable on east: weigh 50 %; west: weigh 50 %
east: 2 of 5 steps done, last: size; cut short: hold; being taken back: weigh 50 %
west: 4 of 5 steps done, last: snapshot; could not be taken back: weigh 50 % (403 Forbidden)
by hand: kubectl -n shop describe deployment/api-r2
by hand: kubectl -n shop delete deployment/api-r2 --ignore-not-found
deployctl resume prod: goes on at wave 1, all of west
deployctl rollback prod: takes steps back: 3 on east, 3 on west; traffic first
deployctl prod: refused (DC0608) until one of these has ended it
";
    assert_eq!(told(&died, &[]), said);
}

#[test]
fn a_target_that_was_not_read_counts_for_nothing() {
    use Status::{Done, Pending, Started};
    let east = [Done, Done, Started, Pending, Pending];
    let forward = run(Phase::Forward, [Pending; 5], east);
    let said = "\
going forward at wave 2, all of east, as far as east tells
east: 2 of 5 steps done, last: size; in flight: weigh 50 %
west: how far it came is not known: it gives no answer
deployctl resume prod: is refused until west answers
deployctl rollback prod: takes steps back: 3 on east; traffic first; what it has to do on west is not known
deployctl prod: refused (DC0608) until one of these has ended it
";
    assert_eq!(told(&forward, &[("west", SILENT)]), said);
    let said = told(&forward, &[("west", NOT_ASKED)]);
    assert!(said.contains("west: how far it came is not known: it was not asked\n"), "{said}");
    assert!(said.contains("resume prod: goes on at wave 2, all of east, as far as east tells\n"), "{said}");
}

#[test]
fn rollback_is_told_as_the_engine_does_it() {
    use Status::{Done, Failed, Pending, Started, Undone};
    let nothing_back = "takes nothing back: all steps are done; puts on record that 1.1.0 (r2) is deployed, then brings back the release before it";
    let mut brings_back = run(Phase::Forward, DONE, [Done, Done, Started, Pending, Pending]);
    brings_back.plan.rollback_of = Some(Revision(5));
    let mut past_return = brings_back.clone();
    let job = RunJob { job: 0, needs: vec![], undoes: vec![], timeout: Duration::from_mins(1) };
    past_return.plan.stages[0].steps[4].effect = Effect::RunJob(Box::new(job));
    let mut serves = past_return.clone();
    serves.replayed.status = run(Phase::Forward, DONE, [Done, Done, Done, Done, Failed]).replayed.status;
    let kept = Phase::Aborting { cause: "a gate".into(), kept: vec!["west".into()], owed: vec![] };
    let cases = [
        (run(Phase::Forward, DONE, DONE), nothing_back),
        (
            brings_back,
            "gives up bringing r5 back: takes steps back: 3 on east, 3 on west; traffic first; 1.0.0 (r1) serves again; no earlier rollback is on record to tell how long it takes",
        ),
        (
            past_return,
            "goes on instead: a Job of the way back has begun, and what it undoes cannot be gone back to; 1.1.0 (r2) serves then",
        ),
        (
            serves,
            "ends it as it is, what failed is left; then brings back the release before the one that serves",
        ),
        (
            run(kept, DONE, [Done, Done, Undone, Started, Pending]),
            "takes steps back: 2 on east; traffic first; no earlier rollback is on record to tell how long it takes",
        ),
    ];
    for (run, expected) in cases {
        assert_eq!(progress::way_back(&run, &[]), expected);
    }
}
