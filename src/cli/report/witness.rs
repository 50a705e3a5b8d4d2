//! What was seen of a failure, as a report shows it: what it holds up, the states of pods, events and logs on one time
//! line (equal ones of several pods and targets as one), and the change that most likely brought it.

use super::facts::Facts;
use super::output::Paint;
use super::text::{self, clean, cut, list};
use crate::domain::ids::TargetId;
use std::collections::{BTreeMap, BTreeSet};

/// Lines that are shown of pod states, of the time line and of changes; all are in the release's record.
const STATES: usize = 5;
const MOMENTS: usize = 12;
/// Of the time line, events at the most.
const EVENTS: usize = 6;
const CHANGES: usize = 8;
/// Longest line; events quote whole manifests.
const COLUMNS: usize = 200;

/// One line of evidence, read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    sort: Sort,
    /// RFC 3339, or empty.
    at: String,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Blocked,
    State,
    Event,
    Log,
    Change,
}

/// Several that differ only in target, pod, time and how often they were seen.
struct Cluster {
    seen: Seen,
    last: String,
    /// How often, by target.
    targets: BTreeMap<TargetId, usize>,
    pods: BTreeSet<String>,
}

/// The block of a report.
pub(super) fn render(evidence: &BTreeMap<TargetId, Vec<String>>, facts: &Facts, paint: Paint) -> Vec<String> {
    let clusters = cluster(evidence);
    let of = |sort: Sort| clusters.iter().filter(move |cluster| cluster.seen.sort == sort);
    let mut lines = Vec::new();
    let blocked: Vec<String> = of(Sort::Blocked).map(Cluster::held_up).collect();
    if !blocked.is_empty() {
        lines.push(paint.bold("  Held up by it:"));
        lines.extend(blocked);
    }
    let states: Vec<String> = of(Sort::State).map(|c| c.line(false)).collect();
    let total = states.len() + of(Sort::Event).count() + of(Sort::Log).count();
    // The end of the story is what matters, and a talkative log must not crowd the events out.
    let mut moments = latest(of(Sort::Event).collect(), EVENTS);
    let left = MOMENTS - moments.len();
    moments.extend(latest(of(Sort::Log).collect(), left));
    in_time(&mut moments);
    let dated = moments.iter().any(|cluster| !cluster.seen.at.is_empty());
    let states = states.into_iter().take(STATES);
    let shown: Vec<String> = states.chain(moments.into_iter().map(|c| c.line(dated))).collect();
    let hidden = total - shown.len();
    if !shown.is_empty() {
        lines.push(paint.bold("  Evidence:"));
        lines.extend(shown);
    }
    if hidden > 0 {
        let where_else = format!("deployctl show {} {}", facts.environment, facts.revision.0);
        let more = text::count(hidden, "more line", "more lines");
        lines.push(paint.dim(&format!("    … {more}: {where_else}")));
    }
    let changes: Vec<String> = of(Sort::Change).take(CHANGES).map(|c| c.line(false)).collect();
    if !changes.is_empty() {
        lines.push(paint.bold("  What changed:"));
        lines.extend(changes);
    }
    lines
}

/// What has no time goes first.
fn in_time(moments: &mut [&Cluster]) {
    moments.sort_by(|a, b| a.seen.at.cmp(&b.seen.at));
}

fn latest(mut moments: Vec<&Cluster>, most: usize) -> Vec<&Cluster> {
    in_time(&mut moments);
    moments.split_off(moments.len().saturating_sub(most))
}

impl Seen {
    fn read(line: &str) -> Self {
        let line = clean(line);
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let sort = match word {
            "blocked" => Sort::Blocked,
            "event" => Sort::Event,
            "log" => Sort::Log,
            "diff" => Sort::Change,
            _ => return Self { sort: Sort::State, at: String::new(), text: line },
        };
        let dated = matches!(sort, Sort::Event | Sort::Log)
            .then(|| rest.split_once(' '))
            .flatten()
            .filter(|(stamp, _)| stamp.len() == 20 && stamp.ends_with('Z') && stamp.contains('T'));
        match dated {
            Some((at, text)) => Self { sort, at: at.to_owned(), text: text.to_owned() },
            None => Self { sort, at: String::new(), text: rest.to_owned() },
        }
    }
}

impl Cluster {
    fn line(&self, dated: bool) -> String {
        let most = self.targets.values().copied().max().unwrap_or(1);
        let pods = self.pods.len();
        let times = match (pods, most) {
            (pods, _) if pods > 1 => format!(" ({pods} pods)"),
            (_, most) if most > 1 => format!(" ({most} times)"),
            _ => String::new(),
        };
        let alike = most > 1 || self.targets.len() > 1 || pods > 1;
        let text = if alike { mask_pods(&self.seen.text) } else { self.seen.text.clone() };
        let time = |at: &str| at.get(11..19).unwrap_or("        ").to_owned();
        let when = match (dated, self.seen.at == self.last) {
            (false, _) => String::new(),
            (true, true) => format!("{}  ", time(&self.seen.at)),
            (true, false) => format!("{}… ", time(&self.seen.at)),
        };
        // Old records and new ones tell an event from a log by its first word.
        let word = match self.seen.sort {
            Sort::Event => "event ",
            Sort::Log => "log ",
            Sort::State | Sort::Blocked | Sort::Change => "",
        };
        let targets: Vec<&TargetId> = self.targets.keys().collect();
        cut(&format!("    {when}{}: {word}{text}{times}", list(&targets)), COLUMNS)
    }

    /// What could not begin: on the target that failed, or a whole target that comes after it.
    fn held_up(&self) -> String {
        let after = self.seen.text.strip_prefix("all of ").and_then(|text| text.strip_suffix(" (not begun)"));
        let Some(after) = after else { return self.line(false) };
        let failed: Vec<&TargetId> = self.targets.keys().collect();
        cut(&format!("    {after}: not begun, it waits for {}", list(&failed)), COLUMNS)
    }
}

/// In the order of the first of each.
fn cluster(evidence: &BTreeMap<TargetId, Vec<String>>) -> Vec<Cluster> {
    let mut clusters: Vec<(String, Cluster)> = Vec::new();
    for (target, lines) in evidence {
        let prefix = format!("{target}: ");
        for line in lines {
            let seen = Seen::read(line.strip_prefix(&prefix).unwrap_or(line));
            let key = format!("{:?} {}", seen.sort, mask_times(&mask_pods(&seen.text)));
            let pods = pods_in(&seen.text);
            if let Some((_, cluster)) = clusters.iter_mut().find(|(known, _)| *known == key) {
                *cluster.targets.entry(target.clone()).or_default() += 1;
                cluster.pods.extend(pods);
                cluster.last = cluster.last.clone().max(seen.at.clone());
                cluster.seen.at = cluster.seen.at.clone().min(seen.at);
            } else {
                let (last, targets) = (seen.at.clone(), BTreeMap::from([(target.clone(), 1)]));
                clusters.push((key, Cluster { seen, last, targets, pods }));
            }
        }
    }
    clusters.into_iter().map(|(_, cluster)| cluster).collect()
}

/// An event that was seen once and one that was seen `×4` are the same.
fn mask_times(line: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    for word in line.split(' ') {
        if let Some(number) = word.strip_prefix('×') {
            masked.push_str(number.trim_start_matches(|c: char| c.is_ascii_digit()));
        } else {
            if !masked.is_empty() {
                masked.push(' ');
            }
            masked.push_str(word);
        }
    }
    masked
}

/// The words that name pods of a `ReplicaSet`.
fn pods_in(line: &str) -> BTreeSet<String> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| mask_word(word) != *word).map(str::to_owned).collect()
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
    mask_uids(&masked)
}

/// `api-r8-*_shop(29eb3bb5-e460-40ad-b334-8c482dfac2c0)` without the uid.
fn mask_uids(line: &str) -> String {
    let is_uid = |part: &str| part.len() == 36 && part.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find('(') {
        let Some(end) = rest[start..].find(')').map(|length| start + length) else { break };
        out.push_str(&rest[..start]);
        if !is_uid(&rest[start + 1..end]) {
            out.push_str(&rest[start..=end]);
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
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

    #[test]
    fn events_and_logs_are_one_story_and_equal_ones_one_line() {
        let line = |line: &str| format!("eu: {line}");
        let lines = [
            "blocked Deployment/web-r2 (after api)",
            "blocked all of us (not begun)",
            "diff Deployment/api-r2 spec.image: a → b",
            "api-r2: 2/2 pods CrashLoopBackOff (2 restarts)",
            "event 2026-01-05T03:10:07Z Pod/api-r2-6d4f9c7b8d-x2x7q BackOff: again",
            "event 2026-01-05T03:10:09Z Pod/api-r2-6d4f9c7b8d-z9kkw BackOff ×3: again",
            "log 2026-01-05T03:10:08Z api-r2-6d4f9c7b8d-x2x7q: fatal",
        ];
        let evidence = BTreeMap::from([(TargetId::new("eu"), lines.into_iter().map(line).collect())]);
        let shown = render(&evidence, &Facts::default(), Paint::default());
        let expected = [
            "  Held up by it:",
            "    eu: Deployment/web-r2 (after api)",
            "    us: not begun, it waits for eu",
            "  Evidence:",
            "    eu: api-r2: 2/2 pods CrashLoopBackOff (2 restarts)",
            "    03:10:07… eu: event Pod/api-r2-* BackOff: again (2 pods)",
            "    03:10:08  eu: log api-r2-6d4f9c7b8d-x2x7q: fatal",
            "  What changed:",
            "    eu: Deployment/api-r2 spec.image: a → b",
        ];
        assert_eq!(shown, expected);
    }
}
