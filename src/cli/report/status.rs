//! What serves now: by target, its workloads, who holds the lock, what drifted, and a run that stopped in the middle.

use super::output::{Format, Output, Paint, json_line};
use super::text::{between, clean, count, date_time, fold, list, table};
use crate::domain::environment::TrafficClass;
use crate::domain::ids::{ComponentId, Revision, RunId, TargetId};
use crate::domain::object::ObjectRef;
use crate::domain::release::Actor;
use crate::domain::units::human;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// An environment as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatusView {
    /// Application.
    pub application: String,
    /// Environment.
    pub environment: String,
    /// Namespace of its objects, but for those that stand in a green one.
    pub namespace: String,
    /// When it was looked at.
    pub at: Timestamp,
    /// Its targets.
    pub targets: BTreeMap<TargetId, TargetStatus>,
    /// Targets that were left out, and what each is owed, in words: `r12 (1.4.0)`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub owed: BTreeMap<TargetId, String>,
    /// Targets that still hold a run which the others have left behind, and which, in words: `run X of 1.4.0 (r12)`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_behind: BTreeMap<TargetId, String>,
    /// A run that is not over.
    pub unfinished: Option<UnfinishedRun>,
    /// Why nobody can tell whether there is one: what is wrong with its records, and what to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
    /// Who puts traffic on stable if a run's machine dies, one line a target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guard: Vec<String>,
    /// What could not be seen, and why, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// One target as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetStatus {
    /// Whether users' requests arrive.
    pub traffic: TrafficClass,
    /// Why it gives no answer, if so; the rest is empty then.
    pub unreachable: Option<String>,
    /// The release on record that serves.
    pub serving: Option<ServingRelease>,
    /// The release of a run that is not over, where that has all of the target's traffic by now: `1.1.0 (r2)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carried: Option<String>,
    /// Workloads, by component.
    pub workloads: Vec<WorkloadRow>,
    /// Components of which no pod is wanted, though the release wants some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub idle: Vec<ComponentId>,
    /// What could not be seen, and why, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
    /// Who holds the lock.
    pub lock: Option<LockRow>,
    /// What is not as the release left it, one line each.
    pub drift: Vec<String>,
    /// Objects that a run which is not over has changed: they have not drifted.
    pub changed_by_run: usize,
}

/// The release that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServingRelease {
    /// Its number.
    pub revision: Revision,
    /// Its version.
    pub version: String,
    /// Since when.
    pub since: Timestamp,
}

/// One workload of a component, or its pods of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkloadRow {
    /// Whose.
    pub component: ComponentId,
    /// Which.
    pub workload: ObjectRef,
    /// Its image.
    pub image: String,
    /// Ready pods.
    pub ready: u32,
    /// Pods wanted.
    pub desired: u32,
    /// Percent of the Service's ready endpoints that are its pods; `None` without a Service, and where a route divides users.
    pub share: Option<u8>,
    /// Percent of users that a route and the Service behind it lead to its pods, while a run divides them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
    /// What divides them: `nginx`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockRow {
    /// Who.
    pub by: Actor,
    /// What for.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Its time is up: the next run takes it over.
    pub lapsed: bool,
    /// When it lapses if its holder gives no more sign of life.
    pub lapses: Timestamp,
}

/// A run that stopped in the middle, or is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnfinishedRun {
    /// Its name.
    pub run: RunId,
    /// The release it makes.
    pub revision: Revision,
    /// Its version.
    pub version: String,
    /// The release that it brings back, if it is a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brings_back: Option<Revision>,
    /// Who began it.
    pub by: Actor,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When its plan was made.
    pub begun: Timestamp,
    /// When the last record of its journals was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Whether somebody holds its lock: it is worked on.
    pub live: bool,
    /// Where it stands, in words: `going forward`, `interrupted with traffic on stable`, `rolling back`.
    pub phase: String,
    /// Why it turns back, if it does.
    pub cause: Option<String>,
    /// How far it came, target by target: what is done, in flight and taken back.
    pub progress: Vec<String>,
    /// What operators asked of it, one line each.
    pub asked: Vec<String>,
    /// What a person types where a step could not be taken back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_hand: Vec<String>,
    /// What may be typed next, and what each would do.
    pub next: Vec<NextCommand>,
}

/// Records that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Stable code.
    pub code: String,
    /// What failed.
    pub what: String,
    /// Why, as far as known.
    pub why: Vec<String>,
    /// What to type next.
    pub next: Vec<String>,
}

/// A command and its effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextCommand {
    /// `deployctl resume production`
    pub command: String,
    /// `goes on at canary 25 %`
    pub effect: String,
}

impl StatusView {
    /// What is not as it should be, one line each; empty when all is well.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        for (target, status) in &self.targets {
            if let Some(why) = &status.unreachable {
                troubles.push(format!("{target} gives no answer: {}", clean(why)));
                continue;
            }
            if status.serving.is_none() {
                troubles.push(format!("{target} has no release"));
            }
            troubles.extend(status.unseen.iter().map(|unseen| format!("{target}: {}", clean(unseen))));
            // A run that is worked on knows what it does.
            if self.unfinished.as_ref().is_none_or(|run| !run.live) {
                let idle = status.idle.iter();
                troubles.extend(
                    idle.map(|component| format!("{target}: {component} has no pods, and none is wanted")),
                );
            }
            let lacking = status.workloads.iter().filter(|row| row.ready < row.desired);
            troubles.extend(lacking.map(|row| {
                format!("{target}: {} has {}/{} pods ready", row.workload.name, row.ready, row.desired)
            }));
            if !status.drift.is_empty() {
                troubles.push(format!("{target}: {}", count(status.drift.len(), "drift", "drifts")));
            }
        }
        let owed = self.owed.iter().map(|(target, what)| {
            format!("{target} is owed {what}: deployctl resume {} brings it there", self.environment)
        });
        troubles.extend(owed);
        let behind = self.left_behind.iter().map(|(target, run)| {
            format!(
                "{target} still holds {run}, which the others have left behind: deployctl resume {} takes it back there",
                self.environment
            )
        });
        troubles.extend(behind);
        troubles.extend(self.unseen.iter().map(|unseen| clean(unseen)));
        if let Some(run) = self.unfinished.as_ref().filter(|run| !run.live) {
            troubles.push(format!("run {} is not over", run.run));
        }
        troubles.extend(self.unreadable.iter().map(|records| clean(&records.what)));
        troubles
    }
}

/// The verdict first, then target by target, then what may be typed.
#[must_use]
pub fn render(status: &StatusView, output: &Output) -> String {
    if output.format == Format::Json {
        return json_line("status", status);
    }
    let paint = output.paint();
    let mut lines = verdict(status, paint);
    for (target, state) in &status.targets {
        lines.push(String::new());
        lines.extend(target_lines(target, state, status, paint));
    }
    if !status.guard.is_empty() {
        lines.push(String::new());
        lines.extend(status.guard.iter().map(|line| clean(&format!("guard: {line}"))));
    }
    if let Some(run) = &status.unfinished {
        lines.push(String::new());
        lines.extend(run_lines(run, paint));
    }
    if let Some(records) = &status.unreadable {
        lines.push(String::new());
        lines.push(clean(&format!("{}: {}", records.code, records.what)));
        lines.extend(records.why.iter().map(|why| clean(&format!("  {why}"))));
        lines.extend(records.next.iter().map(|next| format!("  {}", paint.cyan(&clean(next)))));
    }
    format!("{}\n", lines.join("\n"))
}

fn verdict(status: &StatusView, paint: Paint) -> Vec<String> {
    let name = paint.bold(&clean(&format!("{} {}", status.application, status.environment)));
    let troubles = status.troubles();
    if let Some(run) = status.unfinished.as_ref().filter(|run| run.live && troubles.is_empty()) {
        let (release, phase) = (format!("{} ({})", clean(&run.version), run.revision), clean(&run.phase));
        return vec![format!("{name}: {} {release} is under way, {phase}", paint.yellow("…"))];
    }
    if troubles.is_empty() {
        let releases = status.targets.iter().filter_map(|(id, state)| {
            state.serving.as_ref().map(|s| (id, format!("{} ({})", clean(&s.version), s.revision)))
        });
        let serving = fold(releases);
        let words = match serving.as_slice() {
            [(_, release)] => format!("{release} serves, all pods are ready"),
            several => list(several.iter().map(|(on, release)| format!("{release} serves on {}", list(on)))),
        };
        return vec![format!("{name}: {} {words}", paint.green("✓"))];
    }
    let mut lines = vec![format!("{name}: {} needs a look", paint.red("✗"))];
    lines.extend(troubles.iter().map(|trouble| format!("  {} {trouble}", paint.red("✗"))));
    lines
}

fn target_lines(target: &TargetId, state: &TargetStatus, status: &StatusView, paint: Paint) -> Vec<String> {
    let at = status.at;
    let standby = if state.traffic == TrafficClass::None { " (standby)" } else { "" };
    let name = format!("{}{standby}", paint.bold(target.as_str()));
    if let Some(why) = &state.unreachable {
        return vec![format!("{name}  {}", paint.red(&format!("gives no answer: {}", clean(why))))];
    }
    let release = state.serving.as_ref().map_or_else(
        || "no release on record".to_owned(),
        |serving| {
            let age = age(between(serving.since, at));
            let since = date_time(serving.since);
            let on_record = if state.carried.is_some() { "on record: " } else { "" };
            format!("{on_record}{} ({}) since {since}, {age}", clean(&serving.version), serving.revision)
        },
    );
    let carried = state.carried.as_ref();
    let carried = carried.map_or_else(String::new, |new| format!("; {} carries its traffic", clean(new)));
    let mut lines = vec![format!("{name}  {release}{carried}")];
    let rows: Vec<Vec<String>> =
        state.workloads.iter().map(|row| workload_cells(row, &status.namespace, paint)).collect();
    lines.extend(table(&rows, 2));
    if let Some(lock) = &state.lock {
        let age = age(between(lock.since, at));
        let held = if lock.lapsed { "left behind by" } else { "held by" };
        let ci = lock.by.ci.as_ref().map_or_else(String::new, |ci| format!(", {ci}"));
        let lapse = human(between(lock.lapses.min(at), lock.lapses.max(at)));
        let lapse = if lock.lapsed {
            format!("lapsed {lapse} ago")
        } else {
            format!("lapses in {lapse} unless renewed")
        };
        lines.push(clean(&format!("  lock {held} {} for {age} ({}{ci}), {lapse}", lock.by, lock.reason)));
    }
    if state.changed_by_run > 0 {
        let objects = count(state.changed_by_run, "object", "objects");
        lines.push(format!("  {objects} changed by the run"));
    }
    lines.extend(state.drift.iter().map(|line| format!("  {} drift: {}", paint.yellow("!"), clean(line))));
    lines
}

fn workload_cells(row: &WorkloadRow, own: &str, paint: Paint) -> Vec<String> {
    let ready = format!("{}/{} ready", row.ready, row.desired);
    let ready = match (row.ready, row.desired) {
        (_, 0) => paint.dim(&ready),
        (ready_pods, desired) if ready_pods < desired => paint.red(&ready),
        _ => paint.green(&ready),
    };
    let share = match (row.weight, &row.router, row.share) {
        (Some(weight), Some(router), _) => format!("{weight} % of users ({router})"),
        (Some(weight), None, _) => format!("{weight} % of users"),
        (None, _, Some(share)) => format!("{share} % of endpoints"),
        (None, _, None) => String::new(),
    };
    let place = &row.workload.namespace;
    let place = if place == own { String::new() } else { format!(" in {place}") };
    let workload = clean(&format!("{}{place}", row.workload));
    vec![row.component.to_string(), workload, ready, share, clean(&row.image)]
}

fn run_lines(run: &UnfinishedRun, paint: Paint) -> Vec<String> {
    let back = run.brings_back.map_or_else(String::new, |of| format!(", {of} brought back"));
    let release = format!("{} ({}{back})", clean(&run.version), run.revision);
    let head = format!("Run {} of {release}: {}", run.run, paint.yellow(&clean(&run.phase)));
    let mut lines = vec![head];
    let why = run.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let last =
        run.last.map_or_else(String::new, |last| format!("; its last record is of {}", date_time(last)));
    lines.push(clean(&format!("  begun {} by {}{why}{last}", date_time(run.begun), run.by)));
    lines.extend(run.cause.iter().map(|cause| format!("  because: {}", clean(cause))));
    lines.extend(run.progress.iter().map(|line| format!("  {}", clean(line))));
    lines.extend(run.asked.iter().map(|asked| format!("  asked: {}", clean(asked))));
    lines.extend(run.by_hand.iter().map(|command| format!("  by hand: {}", paint.cyan(&clean(command)))));
    let rows: Vec<Vec<String>> =
        run.next.iter().map(|next| vec![paint.cyan(&clean(&next.command)), clean(&next.effect)]).collect();
    lines.extend(table(&rows, 2));
    lines
}

/// `4d`, `3h20m`: what an operator wants to know of an age.
fn age(duration: Duration) -> String {
    let days = duration.as_secs() / 86_400;
    match (days, duration.as_secs()) {
        (0, 0..60) => human(duration),
        (0, seconds) => human(Duration::from_secs(seconds / 60 * 60)),
        (1, seconds) => human(Duration::from_secs(seconds / 3600 * 3600)),
        (days, _) => format!("{days}d"),
    }
}
