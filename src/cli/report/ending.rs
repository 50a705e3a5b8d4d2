//! How a run ended: the root cause first, then what was done about it, the evidence, the next commands.

use super::facts::Facts;
use super::output::Paint;
use super::text::{self, clean, list, whole_seconds};
use super::witness;
use crate::domain::event::{Kind, StillWrong};
use crate::domain::ids::TargetId;
use crate::domain::units::human;
use std::collections::BTreeMap;
use std::time::Duration;

/// A run that is over.
struct Ended<'a> {
    outcome: &'a str,
    cause: Option<&'a str>,
    took: Duration,
    next: &'a [String],
    still_wrong: &'a [StillWrong],
    serves: bool,
    /// Targets of earlier waves that keep the new release.
    kept: &'a [TargetId],
    /// Targets that gave no answer and are still to be taken back.
    owed: &'a [TargetId],
    /// Everything was to be taken back; after an interrupt only traffic is.
    turned_back: bool,
}

/// What was told of the run before its end.
pub(super) struct Seen<'a> {
    pub evidence: &'a BTreeMap<TargetId, Vec<String>>,
    /// Everything was to be taken back; after an interrupt only traffic is.
    pub turned_back: bool,
}

/// The block that ends a run's report; nothing for any other event.
pub(super) fn render(kind: &Kind, facts: &Facts, seen: &Seen<'_>, paint: Paint) -> Vec<String> {
    let Kind::RunFinished { outcome, cause, took, next, still_wrong, serves, kept, owed, .. } = kind else {
        return Vec::new();
    };
    let cause = cause.as_deref();
    let (took, serves, turned_back) = (whole_seconds(*took), *serves, seen.turned_back);
    let ended = Ended { outcome, cause, took, next, still_wrong, serves, kept, owed, turned_back };
    if ended.outcome == "deployed" {
        return success(&ended, facts, paint);
    }
    let mut lines = vec![headline(&ended, paint)];
    lines.extend(text::wrap(&done_about_it(&ended, facts), 100).into_iter().map(|line| format!("  {line}")));
    if !ended.still_wrong.is_empty() {
        lines.push(paint.bold("  Still wrong:"));
        lines.extend(ended.still_wrong.iter().flat_map(|wrong| item(wrong, paint)));
    }
    lines.extend(witness::render(seen.evidence, facts, paint));
    if !ended.next.is_empty() {
        lines.push(paint.bold("  Next:"));
        lines.extend(ended.next.iter().map(|line| format!("    {}", paint.cyan(&clean(line)))));
    }
    if facts.rehearsal {
        lines.push(rehearsal(paint));
    }
    lines
}

/// What it is and why, then the commands for it.
fn item(wrong: &StillWrong, paint: Paint) -> Vec<String> {
    let mut lines = vec![format!("    {} {}", paint.red("✗"), clean(&wrong.to_string()))];
    lines.extend(wrong.next.iter().map(|next| format!("        {}", paint.cyan(&clean(next)))));
    lines
}

fn rehearsal(paint: Paint) -> String {
    paint.dim("  (rehearsal: nothing real was touched)")
}

fn success(ended: &Ended<'_>, facts: &Facts, paint: Paint) -> Vec<String> {
    let back = facts.rollback_of.map_or_else(String::new, |of| format!(", {of} brought back"));
    let what = format!("{} ({}{back})", facts.version, facts.revision);
    let how = format!("is deployed to {} in {}", facts.environment, human(ended.took));
    let head = format!("{} {} {how}", paint.green("✓"), paint.bold(&what));
    let before =
        facts.before().map_or_else(|| "first release".to_owned(), |before| format!("before: {before}"));
    let next = ended.next.first().map_or_else(String::new, |next| format!("; next: {}", paint.cyan(next)));
    let mut lines = vec![head, format!("  on {}; {before}{next}", list(facts.in_order()))];
    if facts.rehearsal {
        lines.push(rehearsal(paint));
    }
    lines
}

fn headline(ended: &Ended<'_>, paint: Paint) -> String {
    let cause = match (ended.cause, ended.outcome) {
        (Some(cause), _) => clean(cause),
        (None, "interrupted") => "interrupted by an operator".to_owned(),
        (None, outcome) => outcome.to_owned(),
    };
    format!("{} {}", paint.alarm("✗"), paint.bold(&cause))
}

fn done_about_it(ended: &Ended<'_>, facts: &Facts) -> String {
    let took = human(ended.took);
    let targets = list(facts.in_order());
    let before = facts.before();
    let serves = before.clone().map_or_else(
        || "nothing served before, nothing is left but what is kept by kind".to_owned(),
        |before| format!("{before} serves again, all healthy"),
    );
    let release = format!("{} ({})", facts.version, facts.revision);
    if let Some(of) = facts.rollback_of
        && let Some(words) =
            brought_back(ended, facts, &format!("{} ({}, {of} brought back)", facts.version, facts.revision))
    {
        return words;
    }
    match ended.outcome {
        "rolled-back" if !ended.kept.is_empty() => {
            let back = list(targets_but(facts, ended.kept));
            let kept = list(ended.kept);
            format!(
                "{release} was rolled back on {back} after {took}, what served before serves there again, all healthy; it stays on {kept}, whose wave was done."
            )
        }
        "rolled-back" => format!("{release} was rolled back after {took}: {serves}."),
        "broken" if ended.serves => {
            let of = facts.rollback_of.map_or_else(String::new, |of| format!(", {of} brought back"));
            format!(
                "{} ({}{of}) serves after {took}, but not everything is as it was: an operator must look.",
                facts.version, facts.revision
            )
        }
        "broken" => {
            format!(
                "{release} failed after {took} and could not be rolled back completely: an operator must look."
            )
        }
        "interrupted" => {
            let traffic = before.map_or_else(
                || "nothing served before, the new pods stay".to_owned(),
                |before| format!("traffic is on stable: {before}"),
            );
            format!("{release} was stopped after {took}; {traffic}; the rest is as it was left.")
        }
        "unknown" if !ended.owed.is_empty() && !ended.turned_back => {
            let stable = list(targets_but(facts, ended.owed));
            let stable =
                if stable.is_empty() { String::new() } else { format!("; traffic is on stable on {stable}") };
            format!(
                "{release} was stopped after {took}{stable}; {} gives no answer, what serves there is unknown, and resume goes on once it answers.",
                list(ended.owed)
            )
        }
        "unknown" if !ended.owed.is_empty() => {
            let back = list(targets_but(facts, ended.owed));
            let back = if back.is_empty() { String::new() } else { format!(" and taken back on {back}") };
            format!(
                "{release} failed{back} after {took}; {} gives no answer, what serves there is unknown, and resume takes it back once it answers.",
                list(ended.owed)
            )
        }
        _ => format!(
            "The outcome of {release} is unknown after {took}: nothing more was written to {targets}, and what was begun stands as it is."
        ),
    }
}

/// What there is to say of a run that brings an older release back alone.
fn brought_back(ended: &Ended<'_>, facts: &Facts, release: &str) -> Option<String> {
    let took = human(ended.took);
    match ended.outcome {
        "rolled-back" if !ended.kept.is_empty() => {
            let (back, kept) = (list(targets_but(facts, ended.kept)), list(ended.kept));
            Some(format!(
                "{release} was taken back on {back} after {took}, what served before still serves there, all healthy; it stays on {kept}, where it carries everything."
            ))
        }
        "interrupted" => Some(format!(
            "{release} was stopped after {took} on its way back; no traffic was moved for that, and resume goes on."
        )),
        "unknown" if ended.serves => {
            let (back, owed) = (list(targets_but(facts, ended.owed)), list(ended.owed));
            Some(format!(
                "{release} serves on {back} after {took}; {owed} gives no answer, what serves there is unknown, and resume brings it back there once it answers."
            ))
        }
        _ => None,
    }
}

/// The targets in the order of their waves, but for these.
fn targets_but<'f>(facts: &'f Facts, kept: &[TargetId]) -> Vec<&'f TargetId> {
    facts.in_order().into_iter().filter(|target| !kept.contains(target)).collect()
}
