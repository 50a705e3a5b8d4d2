//! The stages in words: wave → stage → what happens; and what cannot be taken back.

use super::super::output::Paint;
use super::super::text::{clean, fold, list, pad, width, wrap};
use crate::domain::effect::{Effect, Size, Until};
use crate::domain::gate::{Gate, Metric};
use crate::domain::ids::TargetId;
use crate::domain::step::{Stage, Step, Undo};
use crate::domain::units::human;
use crate::plan::Plan;

/// All stages, wave by wave.
pub(super) fn render(plan: &Plan, paint: Paint, width: usize) -> Vec<String> {
    let mut lines = vec![format!("{}:", paint.bold("What happens"))];
    let names = column(&plan.stages);
    let mut told: Vec<(usize, Vec<String>)> = Vec::new();
    for stages in plan.stages.chunk_by(|a, b| section(a) == section(b)) {
        let shown: Vec<String> =
            stages.iter().flat_map(|stage| stage_lines(plan, stage, names, paint, width)).collect();
        if shown.is_empty() {
            continue;
        }
        lines.push(heading(plan, &stages[0], paint));
        // A wave that does what one before did is not told twice.
        if let Some((before, _)) = told.iter().find(|(_, before)| *before == shown) {
            lines.push(format!("    the same as in wave {before}"));
        } else {
            lines.extend(shown.iter().cloned());
            told.push((stages[0].wave, shown));
        }
    }
    lines
}

/// Stages under one heading: a wave's own, and those after all waves.
fn section(stage: &Stage) -> (usize, bool) {
    (stage.wave, stage.id == "finish")
}

fn column(stages: &[Stage]) -> usize {
    stages.iter().map(|stage| width(&stage_title(stage))).max().unwrap_or(0).min(34)
}

/// A bake names its wave in its title, which the heading says already.
fn stage_title(stage: &Stage) -> String {
    clean(&stage.title).replace(&format!("bake wave {} for", stage.wave), "bake for")
}

fn heading(plan: &Plan, stage: &Stage, paint: Paint) -> String {
    if stage.wave == 0 {
        return format!("  {}", paint.cyan("before all waves"));
    }
    if stage.id == "finish" {
        return format!("  {}", paint.cyan("after all waves"));
    }
    let targets = plan.waves.get(stage.wave - 1).map_or_else(String::new, list);
    format!("  {}", paint.cyan(&format!("wave {}: {targets}", stage.wave)))
}

fn stage_lines(plan: &Plan, stage: &Stage, names: usize, paint: Paint, width: usize) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let whole = plan.waves.get(stage.wave.wrapping_sub(1)).map_or(0, Vec::len);
    for (targets, what) in fold(by_target(stage)) {
        if what.is_empty() {
            continue;
        }
        // Said of all targets of the wave, the heading names them.
        let place = if targets.len() >= whole && stage.wave > 0 {
            String::new()
        } else {
            format!("{}: ", list(&targets))
        };
        parts.push(format!("{place}{}", what.join("; ")));
    }
    if parts.is_empty() {
        return Vec::new();
    }
    let indent = names + 6;
    let room = width.saturating_sub(indent).max(30);
    let body: Vec<String> = parts.iter().flat_map(|part| wrap(part, room)).collect();
    let mut lines = Vec::new();
    for (index, line) in body.iter().enumerate() {
        let title = if index == 0 { paint.bold(&stage_title(stage)) } else { String::new() };
        lines.push(format!("    {}  {line}", pad(&title, names)));
    }
    lines
}

fn by_target(stage: &Stage) -> Vec<(TargetId, Vec<String>)> {
    let mut targets: Vec<(TargetId, Vec<String>)> = Vec::new();
    for step in &stage.steps {
        let index = targets.iter().position(|(id, _)| *id == step.target).unwrap_or_else(|| {
            targets.push((step.target.clone(), Vec::new()));
            targets.len() - 1
        });
        targets[index].1.extend(words(step));
    }
    targets
}

/// What a step does, in words; nothing for waits, which follow from what they wait for.
fn words(step: &Step) -> Option<String> {
    match &step.effect {
        Effect::WaitReady { .. }
        | Effect::Unstick { .. }
        | Effect::WaitTraffic { .. }
        | Effect::WaitWeight { .. }
        | Effect::Advance { .. } => None,
        Effect::Hold { gates, probes, arms, until, .. } => {
            let gates: Vec<String> = gates.iter().map(gate).collect();
            let probes: Vec<&str> = probes.iter().map(|probe| probe.name.as_str()).collect();
            let watched = match (gates.is_empty(), probes.is_empty()) {
                (false, _) => format!("watch {}", list(gates)),
                (true, false) => format!("no live traffic: probe {}", list(probes)),
                // Time that somebody else needs.
                (true, true) if arms.is_empty() => clean(&step.title),
                (true, true) => format!("watch the pods of {}", list(arms.iter().map(|arm| &arm.component))),
            };
            Some(format!("{watched}{}", until_words(until)))
        }
        Effect::Smoke { tests, .. } => Some(list(tests.iter().map(|test| &test.name))),
        Effect::Scale { workload, to: Size::Exactly(size) } if *size > 0 => {
            Some(clean(&format!("scale {} to {size}", workload.name)))
        }
        Effect::Delete { objects } => Some(format!("delete {}", super::objects(objects.len()))),
        Effect::Apply { .. }
        | Effect::Replace { .. }
        | Effect::Create { .. }
        | Effect::Scale { .. }
        | Effect::Guard { .. }
        | Effect::Regrow(_)
        | Effect::RunJob(_)
        | Effect::Partition { .. }
        | Effect::Switch { .. }
        | Effect::Weigh { .. }
        | Effect::Snapshot { .. }
        | Effect::Terraform { .. }
        | Effect::PauseSync { .. }
        | Effect::ResumeSync { .. }
        | Effect::Compose { .. } => Some(clean(&step.title)),
    }
}

/// What a hold waits for beside its time.
fn until_words(until: &Until) -> String {
    let requests = match until.requests {
        0 => String::new(),
        requests => format!("; until each watched component has had {requests} requests"),
    };
    let approval = until.approval.map_or_else(String::new, |approval| {
        format!("; a person approves within {}, else all is rolled back", human(approval.within))
    });
    format!("{requests}{approval}")
}

/// `p95 ≤ 200 ms`.
fn gate(gate: &Gate) -> String {
    let name = match &gate.metric {
        Metric::Query(_) | Metric::CloudWatch(_) | Metric::Http(_) => clean(&gate.name),
        metric => metric.label(),
    };
    let max = gate.max.map(|max| format!(" ≤ {}", gate.metric.format(max)));
    let min = gate.min.map(|min| format!(" ≥ {}", gate.metric.format(min)));
    format!("{name}{}{}", min.unwrap_or_default(), max.unwrap_or_default())
}

/// Backups, infrastructure and deletions that no rollback takes back.
pub(super) fn irreversible(plan: &Plan, paint: Paint) -> Vec<String> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    let facts = steps.filter_map(|step| match (&step.undo, &step.effect) {
        (Undo::None { why }, Effect::Snapshot { .. } | Effect::Terraform { .. } | Effect::Compose { .. }) => {
            Some((step.target.clone(), (clean(&step.title), clean(why))))
        }
        (Undo::None { why }, Effect::Delete { objects }) => {
            Some((step.target.clone(), (format!("delete {}", clean(&list(objects))), clean(why))))
        }
        _ => None,
    });
    let folded = fold(facts);
    if folded.is_empty() && plan.not_undone.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), format!("{}:", paint.bold("Cannot be undone"))];
    for (mut targets, (what, why)) in folded {
        targets.sort();
        lines.push(format!("  {}: {what} ({})", list(&targets), human_why(&why)));
    }
    lines.extend(plan.not_undone.iter().map(|line| format!("  {}", clean(line))));
    lines
}

/// The plan's words are those of its author; a deletion's `the release is done` needs its consequence.
fn human_why(why: &str) -> String {
    if why == "the release is done" { "once the release is done".to_owned() } else { why.to_owned() }
}

/// How long a stage holds, for the JSON form.
pub(super) fn hold(stage: &Stage) -> Option<String> {
    let durations = stage.steps.iter().filter_map(|step| match &step.effect {
        Effect::Hold { duration, .. } => Some(*duration),
        _ => None,
    });
    durations.max().map(human)
}
