//! How far an unfinished run came, and what a way back would mean.

use crate::domain::effect::Effect;
use crate::domain::ids::TargetId;
use crate::domain::step::{Lane, Status, Step, Undo};
use crate::domain::units::human;
use crate::plan::hooks;
use crate::run::journal::Phase;
use crate::run::tampered::touched;
use crate::run::unfinished::Run;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

/// Targets of a run whose journals were not read, and why: `gives no answer`, `was not asked`.
pub(super) type Unread = BTreeMap<TargetId, &'static str>;

/// One line for each target: `east: 12 of 30 steps done, last: scale api-r2 to 20 %; in flight: hold 20 % for 1m`.
pub(super) fn by_target(run: &Run, unread: &Unread) -> Vec<String> {
    let lines = run.plan.targets.keys().map(|target| match unread.get(target) {
        // That none of its steps is known to be done says nothing.
        Some(why) => unknown(run, target, why),
        None => on_target(run, target),
    });
    lines.collect()
}

fn unknown(run: &Run, target: &TargetId, why: &str) -> String {
    let owed = if run.owed().contains(target) { "; owed the way back" } else { "" };
    format!("{target}: how far it came is not known: it {why}{owed}")
}

fn on_target(run: &Run, target: &TargetId) -> String {
    let steps: Vec<&Step> = steps(run, target).collect();
    let done: Vec<&Step> = steps.iter().copied().filter(|step| status(run, step) == Status::Done).collect();
    let last = done.last().map_or_else(String::new, |step| format!(", last: {}", step.title));
    let mut line = format!("{target}: {} of {} steps done{last}", done.len(), steps.len());
    for what in [
        "in flight",
        "cut short",
        "begun, not known to be done",
        "failed",
        "being taken back",
        "could not be taken back",
    ] {
        let found: Vec<String> = steps
            .iter()
            .filter(|step| standing(run, step) == Some(what))
            .map(|step| told(run, step))
            .collect();
        if !found.is_empty() {
            let _ = write!(line, "; {what}: {}", found.join(", "));
        }
    }
    let undone = steps.iter().filter(|step| status(run, step) == Status::Undone).count();
    if undone > 0 {
        let _ = write!(line, "; {undone} taken back");
    }
    if let Phase::Aborting { kept, .. } = &run.replayed.phase {
        let left = to_take_back(run, target).count();
        if kept.contains(target) {
            line.push_str("; it keeps the new release: its wave was done");
        } else if left > 0 {
            let _ = write!(line, "; {left} still to take back");
        }
    }
    if run.owed().contains(target) {
        line.push_str("; owed the way back: it gave no answer");
    }
    line
}

/// What is to be said of a step that is neither done nor taken back.
fn standing(run: &Run, step: &Step) -> Option<&'static str> {
    match status(run, step) {
        Status::Pending | Status::Done | Status::Undone => None,
        Status::Started if run.replayed.phase == Phase::Forward => Some("in flight"),
        // The run turned round in the middle of it.
        Status::Started if step.effect.writes() => Some("begun, not known to be done"),
        Status::Started => Some("cut short"),
        Status::Failed => Some("failed"),
        Status::Undoing => Some("being taken back"),
        Status::UndoFailed => Some("could not be taken back"),
    }
}

/// A step's title, with the cause if it failed; what the run says as a whole is not said twice.
fn told(run: &Run, step: &Step) -> String {
    let said = |cause: &str| run.replayed.phase.cause().is_some_and(|whole| whole.ends_with(cause));
    match (status(run, step), run.replayed.causes.get(&step.id)) {
        (Status::Failed | Status::UndoFailed, Some(cause)) if !said(cause) => {
            format!("{} ({cause})", step.title)
        }
        _ => step.title.clone(),
    }
}

/// Steps that led traffic away from stable, or may have, and are not known to be taken back, in a run that was interrupted.
/// One that brings an older release back may rest where it is: its traffic is astray only where it began to go back.
pub(in crate::cli) fn moved<'r>(run: &'r Run, target: &'r TargetId) -> Vec<&'r Step> {
    let moved: Vec<&Step> =
        steps(run, target).filter(|step| moves_traffic(step) && is_open(run, step)).collect();
    let goes_back = |step: &&Step| matches!(status(run, step), Status::Undoing | Status::UndoFailed);
    let rests = run.plan.rollback_of.is_some() && !moved.iter().any(goes_back);
    if rests { Vec::new() } else { moved }
}

/// Whether the target's part of the traffic is the new release's: every step that moves traffic is done there.
pub(super) fn carries_traffic(run: &Run, target: &TargetId) -> bool {
    let mut moving = steps(run, target).filter(|step| moves_traffic(step)).peekable();
    moving.peek().is_some() && moving.all(|step| status(run, step) == Status::Done)
}

/// Steps that could not be taken back.
pub(in crate::cli) fn not_taken_back(run: &Run) -> Vec<&Step> {
    let all = run.plan.stages.iter().flat_map(|stage| &stage.steps);
    all.filter(|step| status(run, step) == Status::UndoFailed).collect()
}

fn moves_traffic(step: &Step) -> bool {
    matches!(step.undo, Undo::Effects { lane: Lane::Traffic, .. })
}

fn is_open(run: &Run, step: &Step) -> bool {
    !matches!(status(run, step), Status::Pending | Status::Undone)
}

/// What a way back has to do on a target. One whose wave was done and which keeps the new release only goes back in step
/// with Git.
fn to_take_back<'r>(run: &'r Run, target: &'r TargetId) -> impl Iterator<Item = &'r Step> {
    let kept = matches!(&run.replayed.phase, Phase::Aborting { kept, .. } if kept.contains(target));
    steps(run, target).filter(move |step| {
        let goes_back = match step.undo {
            Undo::Effects { lane, .. } => !kept || lane == Lane::Sync,
            Undo::None { .. } => false,
        };
        goes_back && is_open(run, step)
    })
}

/// What `rollback` does with the run, as [`crate::run::Engine::abort`] decides it: takes 7 steps back on east and 3 on west,
/// traffic first; concludes a run that lacks only its records; goes on where there is no turning round.
pub(in crate::cli) fn way_back(run: &Run, earlier: &[Duration]) -> String {
    let plan = &run.plan;
    let release = format!("{} ({})", plan.version, plan.revision);
    let all = || plan.stages.iter().flat_map(|stage| &stage.steps);
    let past_return = plan.rollback_of.is_some()
        && all().any(|step| matches!(step.effect, Effect::RunJob(_)) && status(run, step) != Status::Pending);
    let is_left = |step: &Step| past_return && status(run, step) == Status::Failed;
    let goes_back = matches!(run.replayed.phase, Phase::Aborting { .. });
    let failed = all().any(|step| status(run, step) == Status::Failed);
    if run.serves() && failed {
        return "ends it as it is, what failed is left; then brings back the release before the one that serves".to_owned();
    }
    if !goes_back && all().all(|step| status(run, step) == Status::Done || is_left(step)) {
        return format!(
            "takes nothing back: all steps are done; puts on record that {release} is deployed, then brings back the release before it"
        );
    }
    if past_return {
        return format!(
            "goes on instead: a Job of the way back has begun, and what it undoes cannot be gone back to; {release} serves then"
        );
    }
    let each = plan.targets.keys().filter_map(|target| {
        let begun = to_take_back(run, target).count();
        (begun > 0).then(|| format!("{begun} on {target}"))
    });
    let each: Vec<String> = each.collect();
    let what = if each.is_empty() {
        "has nothing to take back".to_owned()
    } else {
        format!("takes steps back: {}; traffic first", each.join(", "))
    };
    let what = match plan.rollback_of {
        Some(of) => format!("gives up bringing {of} back: {what}{}", serves_again(run)),
        None => what,
    };
    match earlier.last() {
        Some(took) => {
            format!("{what}; the last rollback took {}", human(Duration::from_secs(took.as_secs())))
        }
        None => format!("{what}; no earlier rollback is on record to tell how long it takes"),
    }
}

/// `; 1.1.0 (r6) serves again`: what served before an older release was to be brought back.
fn serves_again(run: &Run) -> String {
    let before: BTreeSet<String> = run
        .plan
        .targets
        .values()
        .filter_map(|target| Some(format!("{} ({})", target.previous_version.as_ref()?, target.previous?)))
        .collect();
    let before: Vec<String> = before.into_iter().collect();
    match before.as_slice() {
        [] => String::new(),
        [one] => format!("; {one} serves again"),
        several => format!("; {} serve again", several.join(", ")),
    }
}

/// What a way back does not undo of what was begun, one line each.
pub(in crate::cli) fn cannot_be_undone(run: &Run) -> Vec<String> {
    let mut lines = Vec::new();
    for step in run.plan.stages.iter().flat_map(|stage| &stage.steps) {
        if matches!(status(run, step), Status::Pending | Status::Undone) {
            continue;
        }
        let target = &step.target;
        if let (Undo::None { why }, true) = (&step.undo, step.effect.writes()) {
            lines.push(format!("{} on {target} ({why})", step.title));
        }
        let undone = hooks::of_step(step).next().is_some();
        for object in touched(&run.plan, &step.effect) {
            match (object.kind.as_str(), &step.effect) {
                ("Job", _) if undone => {}
                ("Job", _) => lines.push(format!("what {object} did on {target}, if it ran")),
                (_, Effect::Replace { .. }) => {
                    lines.push(format!("what {object} held on {target} before it was made anew"));
                }
                ("PersistentVolumeClaim", Effect::Apply { .. }) => {
                    lines.push(format!("the size of {object} on {target}, if it grew"));
                }
                _ => {}
            }
        }
    }
    lines
}

fn steps<'r>(run: &'r Run, target: &'r TargetId) -> impl Iterator<Item = &'r Step> {
    run.plan.stages.iter().flat_map(|stage| &stage.steps).filter(move |step| step.target == *target)
}

fn status(run: &Run, step: &Step) -> Status {
    run.replayed.status.get(&step.id).copied().unwrap_or_default()
}
