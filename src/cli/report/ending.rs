//! How a run ended: the root cause first, then what was done about it, the evidence, the next commands.

use super::facts::Facts;
use super::output::Paint;
use super::text::{self, clean, list, whole_seconds};
use crate::domain::event::Kind;
use crate::domain::ids::TargetId;
use crate::domain::units::human;
use std::collections::BTreeMap;
use std::time::Duration;

/// Lines of evidence that are shown; the whole of it is in the release's record.
const EVIDENCE_LINES: usize = 15;
/// Of these, lines of pod states and of events: logs get the rest.
const STATE_LINES: usize = 5;
const EVENT_LINES: usize = 4;

/// A run that is over.
struct Ended<'a> {
    outcome: &'a str,
    cause: Option<&'a str>,
    took: Duration,
    next: &'a [String],
    remaining: &'a [String],
}

/// The block that ends a run's report; nothing for any other event.
pub(super) fn render(
    kind: &Kind,
    facts: &Facts,
    evidence: &BTreeMap<TargetId, Vec<String>>,
    paint: Paint,
) -> Vec<String> {
    let Kind::RunFinished { outcome, cause, took, next, remaining, .. } = kind else { return Vec::new() };
    let cause = cause.as_deref();
    let ended = Ended { outcome, cause, took: whole_seconds(*took), next, remaining };
    if ended.outcome == "deployed" {
        return success(&ended, facts, paint);
    }
    let mut lines = vec![headline(&ended, paint)];
    lines.extend(text::wrap(&done_about_it(&ended, facts), 100).into_iter().map(|line| format!("  {line}")));
    if !ended.remaining.is_empty() {
        lines.push(paint.bold("  Still wrong:"));
        lines.extend(ended.remaining.iter().map(|line| format!("    {} {}", paint.red("✗"), clean(line))));
    }
    lines.extend(evidence_lines(evidence, facts, paint));
    if !ended.next.is_empty() {
        lines.push(paint.bold("  Next:"));
        lines.extend(ended.next.iter().map(|line| format!("    {}", paint.cyan(&clean(line)))));
    }
    if facts.rehearsal {
        lines.push(rehearsal(paint));
    }
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
    match ended.outcome {
        "rolled-back" => format!("{release} was rolled back after {took}: {serves}."),
        "broken" => {
            format!(
                "{release} failed after {took} and could not be rolled back completely: an operator must look."
            )
        }
        "interrupted" => {
            let stable = before.map_or_else(String::new, |before| format!(": {before}"));
            format!(
                "{release} was stopped after {took}; traffic is on stable{stable}; the rest is as it was left."
            )
        }
        _ => format!(
            "The outcome of {release} is unknown after {took}: nothing more was written to {targets}, and what was begun stands as it is."
        ),
    }
}

// --- evidence ---------------------------------------------------------------------------------------------------

/// Pod states before events before logs, equal ones of several pods and targets as one line.
fn evidence_lines(evidence: &BTreeMap<TargetId, Vec<String>>, facts: &Facts, paint: Paint) -> Vec<String> {
    let clusters = cluster(evidence);
    if clusters.is_empty() {
        return Vec::new();
    }
    let (mut states, mut events, mut logs) = (Vec::new(), Vec::new(), Vec::new());
    for (targets, line, count) in clusters {
        let times = if count > 1 { format!(" ({count} alike)") } else { String::new() };
        let shown = format!("    {}: {line}{times}", list(&targets));
        match line.split(' ').next() {
            Some("event") => events.push(shown),
            Some("log") => logs.push(shown),
            _ => states.push(shown),
        }
    }
    let total = states.len() + events.len() + logs.len();
    states.truncate(STATE_LINES);
    events.truncate(EVENT_LINES);
    let left = EVIDENCE_LINES - states.len() - events.len();
    // The last words of a container are the ones that matter.
    let logs = logs.split_off(logs.len().saturating_sub(left));
    let mut lines = vec![paint.bold("  Evidence:")];
    lines.extend([states, events, logs].concat());
    let hidden = total - (lines.len() - 1);
    if hidden > 0 {
        let where_else = format!("deployctl show {} {}", facts.environment, facts.revision.0);
        lines.push(
            paint.dim(&format!("    … {}: {where_else}", text::count(hidden, "more line", "more lines"))),
        );
    }
    lines
}

/// Lines that differ only in target, pod and how often they were seen, in the order of the first; the count is that of
/// the target with most of them.
fn cluster(evidence: &BTreeMap<TargetId, Vec<String>>) -> Vec<(Vec<TargetId>, String, usize)> {
    let mut clusters: Vec<(String, String, BTreeMap<TargetId, usize>)> = Vec::new();
    for (target, lines) in evidence {
        let prefix = format!("{target}: ");
        for line in lines {
            let line = clean(line.strip_prefix(&prefix).unwrap_or(line));
            let key = mask_times(&mask_pods(&line));
            match clusters.iter_mut().find(|(known, _, _)| *known == key) {
                Some((_, _, counts)) => *counts.entry(target.clone()).or_default() += 1,
                None => clusters.push((key, line, BTreeMap::from([(target.clone(), 1)]))),
            }
        }
    }
    let shown = clusters.into_iter().map(|(_, line, counts)| {
        let most = counts.values().copied().max().unwrap_or(1);
        let line = if most > 1 || counts.len() > 1 { mask_pods(&line) } else { line };
        (counts.into_keys().collect(), line, most)
    });
    shown.collect()
}

/// `×4` and `×5` are the same event.
fn mask_times(line: &str) -> String {
    let words = line.split(' ').map(|word| if word.starts_with('×') { "×" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Pod names without the part that tells pods of one `ReplicaSet` apart: `api-r8-6d4f9c7b8d-x2x7q` → `api-r8-*`.
fn mask_pods(line: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut masked = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(is_name) {
        let end = rest[start..].find(|c: char| !is_name(c)).map_or(rest.len(), |length| start + length);
        masked.push_str(&rest[..start]);
        masked.push_str(&mask_word(&rest[start..end]));
        rest = &rest[end..];
    }
    masked.push_str(rest);
    masked
}

fn mask_word(word: &str) -> String {
    // Kubernetes' own alphabet for generated names: no vowels, no 0, 1, 3.
    let generated = |part: &str| part.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c));
    let parts: Vec<&str> = word.split('-').collect();
    match parts.as_slice() {
        [name @ .., set, pod]
            if !name.is_empty() && pod.len() == 5 && generated(pod) && set.len() >= 6 && generated(set) =>
        {
            format!("{}-*", name.join("-"))
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_one_set_are_one_name() {
        let line = "event Pod/kva-api-r8-6d4f9c7b8d-x2x7q BackOff ×4: container in kva-api-r8-6d4f9c7b8d-x2x7q_prime";
        let masked = "event Pod/kva-api-r8-* BackOff ×4: container in kva-api-r8-*_prime";
        assert_eq!(mask_pods(line), masked);
        for unchanged in
            ["us-east-1: all is well", "a-b", "", "kva-api-r8: 3/3 pods CrashLoopBackOff (4 restarts)"]
        {
            assert_eq!(mask_pods(unchanged), unchanged);
        }
    }
}
