//! The releases of an environment, newest first; targets with the same story in one row.

use super::output::{Format, Output, Paint, json_line};
use super::text::{between, clean, date_time, list, pad, table, width};
use crate::domain::ids::{Revision, TargetId};
use crate::domain::release::{Outcome, Release};
use crate::domain::units::human;
use crate::run::debts;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The table. The release that serves is marked; targets are named where not all of them have the row.
#[must_use]
pub fn render(history: &BTreeMap<TargetId, Vec<Release>>, output: &Output) -> String {
    let serving: BTreeMap<&TargetId, Option<Revision>> =
        history.iter().map(|(target, releases)| (target, serving(releases))).collect();
    if output.format == Format::Json {
        let releases =
            history.iter().flat_map(|(target, releases)| releases.iter().map(move |r| (target, r)));
        return releases
            .map(|(target, release)| json_of(release, serving[target] == Some(release.revision)))
            .collect();
    }
    let rows = rows(history);
    if rows.is_empty() {
        return format!("No release is on record on {}.\n", list(history.keys()));
    }
    let paint = output.paint();
    let mut cells = vec![heading()];
    for row in &rows {
        let serves: Vec<&TargetId> = row
            .iter()
            .map(|(target, _)| *target)
            .filter(|target| serving[target] == Some(row[0].1.revision))
            .collect();
        cells.push(cells_of(row, !serves.is_empty(), history.len()));
    }
    let mut lines = Vec::new();
    for (index, line) in table(&cells, 0).into_iter().enumerate() {
        let row = index.checked_sub(1).map(|index| &rows[index]);
        lines.push(colored(&line, row.map(|row| row[0].1.outcome), paint));
        if let Some(cause) = row.and_then(|row| row[0].1.cause.as_ref()) {
            lines.push(format!("    {}", clean(cause)));
        }
    }
    let owed = debts::open(history);
    lines.extend(
        owed.iter().map(|(target, debt)| paint.yellow(&clean(&format!("! {target} is owed {debt}")))),
    );
    format!("{}\n", lines.join("\n"))
}

fn colored(line: &str, outcome: Option<Outcome>, paint: Paint) -> String {
    match outcome {
        None => paint.dim(line),
        Some(Outcome::Broken) => paint.red(line),
        Some(Outcome::Deployed) if line.starts_with('→') => paint.green(line),
        Some(Outcome::Deployed | Outcome::RolledBack) => line.to_owned(),
    }
}

/// The newest release that went well.
fn serving(releases: &[Release]) -> Option<Revision> {
    let deployed = releases.iter().filter(|release| release.outcome == Outcome::Deployed);
    deployed.map(|release| release.revision).max()
}

type Row<'a> = Vec<(&'a TargetId, &'a Release)>;

/// Newest first; releases of one number that tell the same are one row.
fn rows(history: &BTreeMap<TargetId, Vec<Release>>) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for (target, release) in history.iter().flat_map(|(id, releases)| releases.iter().map(move |r| (id, r))) {
        let same = |row: &Row<'_>| {
            let other = row[0].1;
            (other.revision, other.outcome, &other.version, &other.cause, &other.run)
                == (release.revision, release.outcome, &release.version, &release.cause, &release.run)
        };
        match rows.iter().position(same) {
            Some(index) => rows[index].push((target, release)),
            None => rows.push(vec![(target, release)]),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row[0].1.revision));
    rows
}

fn heading() -> Vec<String> {
    ["", "revision", "version", "outcome", "began", "took", "who", "targets"].map(str::to_owned).to_vec()
}

fn cells_of(row: &Row<'_>, serves: bool, targets: usize) -> Vec<String> {
    let release = row[0].1;
    let began = row.iter().map(|(_, release)| release.started).min().unwrap_or(release.started);
    let ended = row.iter().map(|(_, release)| release.ended).max().unwrap_or(release.ended);
    let back = release.rollback_of.map_or_else(String::new, |of| format!(" (back to {of})"));
    // The mark is a column of its own width: the heading has none.
    let mark = pad(if serves { "→" } else { " " }, width("→"));
    vec![
        mark,
        release.revision.to_string(),
        clean(&release.version),
        format!("{}{back}", outcome(release.outcome)),
        date_time(began),
        human(between(began, ended)),
        clean(&release.by.to_string()),
        if row.len() == targets { "all".to_owned() } else { list(row.iter().map(|(target, _)| target)) },
    ]
}

/// The outcome in words.
pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Deployed => "deployed",
        Outcome::RolledBack => "rolled back",
        Outcome::Broken => "BROKEN",
    }
}

fn json_of(release: &Release, serving: bool) -> String {
    let mut line = json_head(release);
    line["serving"] = json!(serving);
    json_line("release", line)
}

/// What every line about a release says of it.
pub(super) fn json_head(release: &Release) -> Value {
    let mut line = json!({
        "target": release.target,
        "revision": release.revision,
        "version": release.version,
        "outcome": release.outcome,
        "cause": release.cause,
        "reason": release.reason,
        "run": release.run,
        "by": release.by,
        "started": release.started,
        "ended": release.ended,
        "rollback_of": release.rollback_of,
    });
    if !release.owed.is_empty() {
        line["owed"] = json!(release.owed.keys().collect::<Vec<_>>());
    }
    line
}
