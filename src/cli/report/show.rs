//! One release whole: who, when, why, what it runs and what was seen when it failed.

use super::history::{json_head, outcome};
use super::output::{Format, Output, Paint, json_line};
use super::text::{between, clean, date_time, fold, list, table};
use crate::domain::release::{Outcome, Release};
use crate::domain::units::human;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The records of one release, one for each target; those that tell the same are told once.
#[must_use]
pub fn render(releases: &[Release], output: &Output) -> String {
    if output.format == Format::Json {
        return releases.iter().map(json_of).collect();
    }
    let paint = output.paint();
    let stories = releases.iter().map(|release| (release.target.clone(), story(release, paint)));
    let blocks: Vec<String> = fold(stories)
        .into_iter()
        .map(|(targets, lines)| format!("{}\n{}\n", paint.bold(&list(targets)), lines.join("\n")))
        .collect();
    blocks.join("\n")
}

fn story(release: &Release, paint: Paint) -> Vec<String> {
    let mut lines = vec![format!("  {}", headline(release, paint))];
    lines.extend(table(&facts(release), 2));
    if !release.workloads.is_empty() {
        lines.push("  workloads:".to_owned());
        let rows: Vec<Vec<String>> = release
            .workloads
            .iter()
            .map(|(id, serving)| vec![id.to_string(), serving.workload.to_string(), clean(&serving.image)])
            .collect();
        lines.extend(table(&rows, 4));
    }
    lines.push(format!("  objects: {}", objects(release)));
    if !release.evidence.is_empty() {
        lines.push("  evidence:".to_owned());
        let prefix = format!("{}: ", release.target);
        let evidence = release.evidence.iter().map(|line| clean(line.strip_prefix(&prefix).unwrap_or(line)));
        lines.extend(evidence.map(|line| format!("    {line}")));
    }
    lines
}

fn headline(release: &Release, paint: Paint) -> String {
    let what = outcome(release.outcome);
    let what = match release.outcome {
        Outcome::Deployed => paint.green(what),
        Outcome::RolledBack => paint.yellow(what),
        Outcome::Broken => paint.alarm(what),
    };
    let back = release.rollback_of.map_or_else(String::new, |of| format!(", brings {of} back"));
    format!("{} ({}{back}): {what}", clean(&release.version), release.revision)
}

fn facts(release: &Release) -> Vec<Vec<String>> {
    let by = match &release.by.ci {
        Some(ci) => format!("{} ({ci})", release.by),
        None => release.by.to_string(),
    };
    let took = human(between(release.started, release.ended));
    let rows = [
        ("cause", release.cause.clone()),
        ("reason", release.reason.clone()),
        ("by", Some(by)),
        ("began", Some(format!("{}, took {took}", date_time(release.started)))),
        ("run", Some(release.run.to_string())),
        ("freeze overridden", release.overridden.clone()),
        (
            "owed",
            (!release.owed.is_empty())
                .then(|| list(release.owed.iter().map(|(id, d)| format!("{d} to {id}")))),
        ),
        ("asked", (!release.asked.is_empty()).then(|| list(&release.asked))),
        ("backups", (!release.backups.is_empty()).then(|| list(&release.backups))),
    ];
    let known = rows.into_iter().filter_map(|(name, value)| Some((name, value?)));
    known.map(|(name, value)| vec![format!("{name}:"), clean(&value)]).collect()
}

/// `12 (3 ConfigMap, 1 Deployment, …)`
fn objects(release: &Release) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for object in &release.objects {
        *kinds.entry(object.kind()).or_default() += 1;
    }
    let total = release.objects.len();
    let each = list(kinds.iter().map(|(kind, number)| format!("{number} {kind}")));
    if total == 0 { "none".to_owned() } else { clean(&format!("{total} ({each})")) }
}

fn json_of(release: &Release) -> String {
    let objects: Vec<Value> = release.objects.iter().map(|object| json!(object.reference())).collect();
    let mut line = json_head(release);
    line["workloads"] = json!(release.workloads);
    line["objects"] = json!(objects);
    line["evidence"] = json!(release.evidence);
    line["asked"] = json!(release.asked);
    line["overridden"] = json!(release.overridden);
    line["backups"] = json!(release.backups);
    json_line("release", line)
}
