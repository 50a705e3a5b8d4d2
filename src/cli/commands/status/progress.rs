//! How far an unfinished run came, and what a way back would mean.

use crate::domain::effect::Effect;
use crate::domain::ids::TargetId;
use crate::domain::step::{Status, Step, Undo};
use crate::domain::units::human;
use crate::plan::hooks;
use crate::run::tampered::touched;
use crate::run::unfinished::Run;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// One line for each target: `east: 12 of 30 steps done, last: scale api-r2 to 20 %; in flight: hold 20 % for 1m`.
pub(super) fn by_target(run: &Run, silent: &BTreeSet<TargetId>) -> Vec<String> {
    let lines = run.plan.targets.keys().map(|target| {
        // Its journal was not read: that none of its steps is known to be done says nothing.
        if silent.contains(target) { unknown(run, target) } else { on_target(run, target) }
    });
    lines.collect()
}

fn unknown(run: &Run, target: &TargetId) -> String {
    let owed = if run.owed().contains(target) { "; owed the way back" } else { "" };
    format!("{target}: how far it came is not known: it gives no answer{owed}")
}

fn on_target(run: &Run, target: &TargetId) -> String {
    let steps: Vec<&Step> = steps(run, target).collect();
    let with = |wanted: &[Status]| -> Vec<&Step> {
        steps.iter().copied().filter(|step| wanted.contains(&status(run, step))).collect()
    };
    let titles = |steps: &[&Step]| steps.iter().map(|step| step.title.clone()).collect::<Vec<_>>().join(", ");
    let done = with(&[Status::Done]);
    let last = done.last().map_or_else(String::new, |step| format!(", last: {}", step.title));
    let mut line = format!("{target}: {} of {} steps done{last}", done.len(), steps.len());
    for (what, wanted) in [
        ("in flight", &[Status::Started][..]),
        ("failed", &[Status::Failed]),
        ("being taken back", &[Status::Undoing]),
        ("could not be taken back", &[Status::UndoFailed]),
    ] {
        let found = with(wanted);
        if !found.is_empty() {
            let _ = write!(line, "; {what}: {}", titles(&found));
        }
    }
    let undone = with(&[Status::Undone]).len();
    if undone > 0 {
        let _ = write!(line, "; {undone} taken back");
    }
    if run.owed().contains(target) {
        line.push_str("; owed the way back: it gave no answer");
    }
    line
}

/// `takes 7 steps back on east and 3 on west, traffic first; 48s the last time`.
pub(in crate::cli) fn way_back(run: &Run, earlier: &[Duration]) -> String {
    let each = run.plan.targets.keys().filter_map(|target| {
        let begun = steps(run, target).filter(|step| {
            let undone = matches!(status(run, step), Status::Pending | Status::Undone);
            !undone && matches!(step.undo, Undo::Effects { .. })
        });
        let begun = begun.count();
        (begun > 0).then(|| format!("{begun} on {target}"))
    });
    let each: Vec<String> = each.collect();
    if run.serves() {
        return "ends it as it is, what failed is left; then brings back the release before the one that serves".to_owned();
    }
    let what = if each.is_empty() {
        "has nothing to take back".to_owned()
    } else {
        format!("takes steps back: {}; traffic first", each.join(", "))
    };
    match earlier.last() {
        Some(took) => {
            format!("{what}; the last rollback took {}", human(Duration::from_secs(took.as_secs())))
        }
        None => format!("{what}; no earlier rollback is on record to tell how long it takes"),
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
