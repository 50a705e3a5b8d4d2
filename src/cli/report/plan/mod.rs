//! A plan as a person reads it before saying yes, and as a machine takes it.

mod changes;
mod fields;
mod github;
mod json;
mod stages;

use super::output::{Format, Output, Paint};
use super::text::{self, clean, count, fold, list, table, whole_seconds};
use crate::domain::environment::TrafficClass;
use crate::domain::ids::TargetId;
use crate::domain::units::human;
use crate::plan::{Action, Plan, TargetPlan};

/// Header, changes, stages in words, what cannot be undone, warnings, and one line that counts.
#[must_use]
pub fn render(plan: &Plan, output: &Output) -> String {
    if output.format == Format::Json {
        return json::render(plan);
    }
    if output.format == Format::Github {
        return github::render(plan);
    }
    let paint = output.paint();
    let mut lines =
        if plan.has_changes() { changed(plan, paint, output.width) } else { unchanged(plan, paint) };
    lines.push(String::new());
    lines.push(summary(plan, paint));
    format!("{}\n", lines.join("\n"))
}

fn changed(plan: &Plan, paint: Paint, width: usize) -> Vec<String> {
    let mut lines = header(plan, paint);
    for (targets, shown) in changes::render(plan, paint) {
        lines.push(String::new());
        lines.push(format!("Changes on {}:", paint.bold(&list(&targets))));
        lines.extend(shown);
    }
    lines.push(String::new());
    lines.extend(stages::render(plan, paint, width));
    lines.extend(stages::irreversible(plan, paint));
    lines.extend(warnings(plan, paint));
    lines
}

fn unchanged(plan: &Plan, paint: Paint) -> Vec<String> {
    let serving = plan.targets.iter().map(|(id, target)| (id, serving(target)));
    let mut lines = vec![format!(
        "{} {} in {} is as it should be.",
        paint.green("No changes."),
        paint.bold(&clean(&plan.application)),
        clean(&plan.environment)
    )];
    lines.extend(fold(serving).into_iter().map(|(targets, what)| format!("  {}: {what}", list(targets))));
    lines.extend(warnings(plan, paint));
    lines
}

fn serving(target: &TargetPlan) -> String {
    match (&target.previous, &target.previous_version) {
        (Some(revision), Some(version)) => format!("{} ({revision})", clean(version)),
        (Some(revision), None) => revision.to_string(),
        (None, _) => "nothing yet".to_owned(),
    }
}

fn header(plan: &Plan, paint: Paint) -> Vec<String> {
    let back = plan.rollback_of.map_or_else(String::new, |of| format!(" (brings {of} back)"));
    let release = format!("{} as {}{back}", clean(&plan.version), plan.revision);
    let about = human(whole_seconds(plan.expected));
    let (application, environment) = (clean(&plan.application), clean(&plan.environment));
    let mut lines = vec![format!(
        "{} to {environment}: {}, takes about {about}",
        paint.bold(&application),
        paint.bold(&release),
    )];
    if let Some(reason) = &plan.reason {
        lines.push(format!("  because: {}", clean(reason)));
    }
    if let Some(profile) = &plan.profile {
        lines.push(format!("  profile: {}", clean(profile)));
    }
    lines.push(String::new());
    let rows: Vec<Vec<String>> =
        plan.targets.iter().map(|(id, target)| target_row(plan, id, target)).collect();
    lines.extend(table(&rows, 2));
    lines
}

fn target_row(plan: &Plan, id: &TargetId, target: &TargetPlan) -> Vec<String> {
    let wave = plan.waves.iter().position(|wave| wave.contains(id)).map_or(1, |index| index + 1);
    let change = format!("{} → {} ({})", serving(target), clean(&plan.version), plan.revision);
    let traffic = match target.traffic {
        TrafficClass::Live => "live traffic",
        TrafficClass::None => "standby, no live traffic",
    };
    vec![id.to_string(), change, format!("wave {wave}"), traffic.to_owned()]
}

fn warnings(plan: &Plan, paint: Paint) -> Vec<String> {
    if plan.warnings.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), format!("{}:", paint.yellow("Warnings"))];
    lines.extend(plan.warnings.iter().map(|warning| format!("  {} {}", paint.yellow("!"), clean(warning))));
    lines
}

fn summary(plan: &Plan, paint: Paint) -> String {
    let (create, change, delete) = plan.counts();
    let changes = plan.targets.values().flat_map(|target| &target.changes);
    let keep = changes.filter(|change| change.action == Action::Keep).count();
    let replace = plan.replacements().count();
    let replaced = if replace == 0 { String::new() } else { format!(" ({replace} by replacing)") };
    let counts =
        format!("{create} to create, {change} to change{replaced}, {delete} to delete, {keep} unchanged.");
    let on = match plan.targets.len() {
        0 | 1 => String::new(),
        several => format!(" ({})", text::count(several, "target", "targets")),
    };
    format!("{} {counts}{on}", paint.bold("Plan:"))
}

/// `2 objects`, for several places.
fn objects(number: usize) -> String {
    count(number, "object", "objects")
}
