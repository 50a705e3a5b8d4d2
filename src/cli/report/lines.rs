//! A run as lines: one for every change of state, none for what repeats. The plain report is made of these; the live one
//! lets them scroll above its region.

use super::ending;
use super::facts::{Facts, Sort};
use super::output::Paint;
use super::text::{between, clean, clock, count, list, pad, whole_seconds, width};
use crate::domain::event::{Event, Kind};
use crate::domain::ids::{ComponentId, StepId, TargetId};
use crate::domain::step::Lane;
use crate::domain::units::human;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest silence while something is going on.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(30);
/// Things that one heartbeat names.
const HEARTBEAT_NAMES: usize = 3;

type Place = (TargetId, Option<ComponentId>);
type GateKey = (TargetId, ComponentId, String);

/// Turns events into lines.
pub(super) struct Lines {
    facts: Arc<Facts>,
    paint: Paint,
    heartbeat: Option<Duration>,
    columns: (usize, usize),
    stage: String,
    wave: Option<usize>,
    active: BTreeMap<StepId, Active>,
    /// Sizes that are told together with the pods' readiness.
    sized: BTreeMap<Place, Vec<String>>,
    gates: BTreeMap<GateKey, GateMemory>,
    smoke_failed: BTreeMap<(TargetId, String), bool>,
    lane: Option<Lane>,
    /// Everything is taken back, not traffic alone.
    turned_back: bool,
    undone: BTreeMap<TargetId, (Timestamp, usize)>,
    evidence: BTreeMap<TargetId, Vec<String>>,
    last: Option<Timestamp>,
}

/// A step that is under way.
struct Active {
    since: Timestamp,
    place: Place,
    title: String,
    detail: Option<String>,
    hold: Option<Duration>,
    notable: bool,
}

/// The last measurement of a gate in a hold.
struct GateMemory {
    verdict: &'static str,
    text: String,
    told: bool,
}

impl Lines {
    pub fn new(facts: Arc<Facts>, paint: Paint, heartbeat: Option<Duration>) -> Self {
        let widest = |names: Vec<usize>| names.into_iter().max().unwrap_or(0);
        let targets = widest(facts.targets.keys().map(|id| width(id.as_str())).collect());
        let components = facts.targets.values().flat_map(|target| &target.components);
        let components = widest(components.map(|id| width(id.as_str())).collect());
        Self {
            facts,
            paint,
            heartbeat,
            columns: (targets, components),
            stage: String::new(),
            wave: None,
            active: BTreeMap::new(),
            sized: BTreeMap::new(),
            gates: BTreeMap::new(),
            smoke_failed: BTreeMap::new(),
            lane: None,
            turned_back: false,
            undone: BTreeMap::new(),
            evidence: BTreeMap::new(),
            last: None,
        }
    }

    /// The lines that an event is worth.
    pub fn take(&mut self, event: &Event) -> Vec<String> {
        let lines = self.lines_of(event);
        if lines.is_empty() {
            return self.tick(event.at);
        }
        self.last = Some(event.at);
        lines
    }

    /// A sign of life, when there was none for a while.
    pub fn tick(&mut self, now: Timestamp) -> Vec<String> {
        let (Some(heartbeat), Some(last)) = (self.heartbeat, self.last) else { return Vec::new() };
        if self.active.is_empty() || between(last, now) < heartbeat {
            return Vec::new();
        }
        self.last = Some(now);
        let mut names: Vec<String> = self.active.values().map(|active| active.still(now)).collect();
        let more = names.len().saturating_sub(HEARTBEAT_NAMES);
        names.truncate(HEARTBEAT_NAMES);
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        vec![self.run_line(now, &self.paint.dim(&format!("… {}", self.in_stage(&list(names)))))]
    }

    fn lines_of(&mut self, event: &Event) -> Vec<String> {
        let at = event.at;
        match &event.kind {
            Kind::RunStarted { .. } => vec![self.run_started(event)],
            Kind::StageStarted { stage, title, wave, targets } => {
                self.stage.clone_from(title);
                let new_wave = self.wave.replace(*wave) != Some(*wave);
                // Every step says its stage; a stage of its own line are those that begin with a long silence.
                if !new_wave && !self.facts.holds.contains(stage) {
                    return Vec::new();
                }
                let wave = if *wave == 0 { "before all waves".to_owned() } else { format!("wave {wave}") };
                let text = format!("{wave} ({}): {}", list(targets), self.paint.bold(title));
                vec![self.run_line(at, &text)]
            }
            Kind::StageFinished { .. } => self.flush_sizes(at, None),
            Kind::StepStarted { step, target, component, title } => {
                self.step_started(at, step, (target.clone(), component.clone()), title);
                Vec::new()
            }
            Kind::StepProgress { step, target, component, detail } => {
                self.step_progress(at, step, &(target.clone(), component.clone()), detail)
            }
            Kind::StepFinished { step, target, component, detail, .. } => {
                self.step_finished(at, step, &(target.clone(), component.clone()), detail)
            }
            Kind::StepFailed { step, target, component, cause } => {
                let place = (target.clone(), component.clone());
                let mut lines = self.flush_sizes(at, Some(&place));
                lines.extend(self.flush_gates(at, target));
                let title = self.active.remove(step).map_or_else(|| step.to_string(), |active| active.title);
                lines.push(self.line(at, &place, &self.paint.red(&format!("✗ {title}: {}", clean(cause)))));
                lines
            }
            Kind::GateMeasured { .. } => self.gate(event),
            Kind::SmokeTested { test, target, passed, detail } => {
                self.smoke(at, test, target, *passed, detail)
            }
            Kind::Alert { severity, target, message } => {
                let text = self.paint.yellow(&format!("! {severity}: {}", clean(message)));
                vec![match target {
                    Some(target) => self.line(at, &(target.clone(), None), &text),
                    None => self.run_line(at, &text),
                }]
            }
            Kind::Asked { wish, by, reason, .. } => {
                let why = reason.as_ref().map_or_else(String::new, |reason| format!(": {}", clean(reason)));
                vec![self.run_line(at, &self.paint.yellow(&format!("! {wish}, asked by {}{why}", clean(by))))]
            }
            Kind::Paused { before, by } => {
                let text = format!("paused before `{}` by {}", clean(before), clean(by));
                vec![self.run_line(at, &self.paint.yellow(&text))]
            }
            _ => self.way_back(event),
        }
    }

    /// Events of rollbacks, interrupts and the end.
    fn way_back(&mut self, event: &Event) -> Vec<String> {
        let at = event.at;
        match &event.kind {
            Kind::RollbackStarted { cause } => {
                self.turned_back = true;
                let mut lines = self.flush_sizes(at, None);
                self.active.clear();
                lines.push(self.run_line(at, &self.paint.alarm(&format!("rolling back: {}", clean(cause)))));
                lines
            }
            Kind::RollbackLane { lane } => {
                let mut lines = self.flush_undone();
                self.lane = Some(*lane);
                lane_name(*lane).clone_into(&mut self.stage);
                lines.push(self.run_line(at, &format!("rollback: {}", self.paint.bold(lane_name(*lane)))));
                lines
            }
            Kind::StepUndone { step, target, .. } => {
                self.active.remove(step);
                let (when, undone) = self.undone.entry(target.clone()).or_insert((at, 0));
                *when = at;
                *undone += 1;
                Vec::new()
            }
            Kind::UndoFailed { step, target, title, cause } => {
                self.active.remove(step);
                let mut lines = self.flush_undone();
                let known = self.facts.steps.get(step);
                let place = (target.clone(), known.and_then(|known| known.component.clone()));
                let text = format!("✗ not taken back: {}: {}", clean(title), clean(cause));
                lines.push(self.line(at, &place, &self.paint.alarm(&text)));
                lines
            }
            Kind::Evidence { target, lines } => {
                self.evidence.entry(target.clone()).or_default().extend(lines.iter().cloned());
                let text = format!("evidence taken: {}", count(lines.len(), "line", "lines"));
                // Taken beside the traffic's way back, which is usually over by now.
                let mut lines = self.flush_undone();
                lines.push(self.line(at, &(target.clone(), None), &text));
                lines
            }
            Kind::Interrupted => {
                let mut lines = self.flush_sizes(at, None);
                self.active.clear();
                let rests = self.facts.rollback_of.is_some();
                let where_to = if rests { "it rests where it is" } else { "traffic goes to stable" };
                lines.push(self.run_line(at, &self.paint.alarm(&format!("interrupted: {where_to}"))));
                lines
            }
            Kind::RunFinished { .. } => {
                self.active.clear();
                let mut lines = self.flush_undone();
                lines.push(String::new());
                let seen = ending::Seen { evidence: &self.evidence, turned_back: self.turned_back };
                lines.extend(ending::render(&event.kind, &self.facts, &seen, self.paint));
                lines
            }
            _ => Vec::new(),
        }
    }

    // --- lines ---------------------------------------------------------------------------------------------------

    fn run_line(&self, at: Timestamp, text: &str) -> String {
        format!("{} {text}", self.paint.dim(&clock(at)))
    }

    fn line(&self, at: Timestamp, (target, component): &Place, text: &str) -> String {
        let target = pad(target.as_str(), self.columns.0);
        let component = component.as_ref().map_or("", ComponentId::as_str);
        let component = pad(component, self.columns.1);
        self.run_line(at, &format!("{target} {component}  {text}"))
    }

    fn run_started(&self, event: &Event) -> String {
        let Kind::RunStarted { run, environment, revision, version, resumed, expected } = &event.kind else {
            return String::new();
        };
        let verb = if *resumed { "goes on" } else { "begins" };
        let about = human(whole_seconds(*expected));
        let rehearsal = if self.facts.rehearsal { " (rehearsal: nothing real is touched)" } else { "" };
        let release = self.paint.bold(&format!("{version} ({revision})"));
        let text = format!("run {run} {verb}: {release} to {environment}, about {about}{rehearsal}");
        self.run_line(event.at, &text)
    }

    // --- steps ---------------------------------------------------------------------------------------------------

    fn step_started(&mut self, at: Timestamp, step: &StepId, place: Place, title: &str) {
        let hold = match self.facts.steps.get(step).map(|known| &known.sort) {
            Some(Sort::Hold(duration)) => Some(*duration),
            _ => None,
        };
        if hold.is_some() {
            self.gates.retain(|(target, _, _), _| *target != place.0);
        }
        let title = title.to_owned();
        let active = Active { since: at, place, title, detail: None, hold, notable: false };
        self.active.insert(step.clone(), active);
    }

    fn step_progress(&mut self, at: Timestamp, step: &StepId, place: &Place, detail: &str) -> Vec<String> {
        if !self.active.contains_key(step) {
            // On the way back nothing says that a step begins: its first progress does.
            let title = self.facts.steps.get(step).map_or("", |known| known.title.as_str()).to_owned();
            self.step_started(at, step, place.clone(), &title);
        }
        let Some(active) = self.active.get_mut(step) else { return Vec::new() };
        let detail = clean(detail);
        active.detail = Some(detail.clone());
        if active.notable || !is_notable(&detail) {
            return Vec::new();
        }
        active.notable = true;
        vec![self.line(at, place, &self.paint.yellow(&self.in_stage(&detail)))]
    }

    fn step_finished(&mut self, at: Timestamp, step: &StepId, place: &Place, detail: &str) -> Vec<String> {
        let active = self.active.remove(step);
        let facts = Arc::clone(&self.facts);
        let detail = clean(detail);
        match facts.steps.get(step).map(|known| &known.sort) {
            Some(Sort::Size(workload)) => {
                let sizes = self.sized.entry(place.clone()).or_default();
                let first = sizes.is_empty();
                sizes.push(if first { format!("{workload} {detail}") } else { detail });
                Vec::new()
            }
            Some(Sort::Wait) => {
                self.sized.entry(place.clone()).or_default().push(detail);
                self.flush_sizes(at, Some(place))
            }
            Some(Sort::Hold(_)) => {
                let mut lines = self.flush_gates(at, &place.0);
                lines.push(self.line(at, place, &self.in_stage(&detail)));
                lines
            }
            Some(Sort::Ask | Sort::Other) => {
                let mut lines = self.flush_sizes(at, Some(place));
                lines.push(self.line(at, place, &self.in_stage(&detail)));
                lines
            }
            None => {
                let title = active.map_or_else(|| step.to_string(), |active| active.title);
                vec![self.line(at, place, &self.in_stage(&format!("{title}: {detail}")))]
            }
        }
    }

    fn in_stage(&self, text: &str) -> String {
        if self.stage.is_empty() { text.to_owned() } else { format!("{}: {text}", self.stage) }
    }

    fn flush_sizes(&mut self, at: Timestamp, only: Option<&Place>) -> Vec<String> {
        let (told, kept) = std::mem::take(&mut self.sized)
            .into_iter()
            .partition(|(place, _)| only.is_none_or(|only| only == place));
        self.sized = kept;
        let told: BTreeMap<Place, Vec<String>> = told;
        told.iter().map(|(place, sizes)| self.line(at, place, &self.in_stage(&list(sizes)))).collect()
    }

    // --- gates and smoke tests -----------------------------------------------------------------------------------

    fn gate(&mut self, event: &Event) -> Vec<String> {
        let Kind::GateMeasured { gate, target, component, verdict, .. } = &event.kind else {
            return Vec::new();
        };
        let text = gate_text(&event.kind, self.paint);
        let key = (target.clone(), component.clone(), gate.clone());
        let told = self.gates.get(&key).is_none_or(|memory| memory.verdict != *verdict);
        self.gates.insert(key, GateMemory { verdict, text: text.clone(), told });
        if !told {
            return Vec::new();
        }
        vec![self.line(event.at, &(target.clone(), Some(component.clone())), &self.in_stage(&text))]
    }

    /// The last measurement of each gate of a hold, unless it was told already.
    fn flush_gates(&mut self, at: Timestamp, target: &TargetId) -> Vec<String> {
        let mut lines = Vec::new();
        for ((place, component, _), memory) in &self.gates {
            if place == target && !memory.told {
                let place = (target.clone(), Some(component.clone()));
                lines.push(self.line(at, &place, &self.in_stage(&memory.text)));
            }
        }
        self.gates.retain(|(place, _, _), _| place != target);
        lines
    }

    /// Failures, and the first success after one; that all passed is said by the step's end.
    fn smoke(
        &mut self,
        at: Timestamp,
        test: &str,
        target: &TargetId,
        passed: bool,
        detail: &str,
    ) -> Vec<String> {
        let key = (target.clone(), test.to_owned());
        let failed_before = self.smoke_failed.insert(key, !passed).unwrap_or(false);
        if passed && !failed_before {
            return Vec::new();
        }
        let mark = if passed { self.paint.green("✓") } else { self.paint.red("✗") };
        let answer = format!("{mark} smoke test {test}: {}", clean(detail));
        vec![self.line(at, &(target.clone(), None), &self.in_stage(&answer))]
    }

    fn flush_undone(&mut self) -> Vec<String> {
        let what = self.lane.map_or("rollback", lane_name);
        let undone = std::mem::take(&mut self.undone).into_iter();
        let lines = undone.map(|(target, (at, steps))| {
            let text = format!("{what}: {} taken back", count(steps, "step", "steps"));
            self.line(at, &(target, None), &text)
        });
        lines.collect()
    }
}

impl Active {
    fn still(&self, now: Timestamp) -> String {
        let (target, component) = &self.place;
        let component = component.as_ref().map_or_else(String::new, |id| format!(" {id}"));
        let elapsed = human(between(self.since, now));
        let how_far = match (&self.detail, self.hold) {
            (Some(detail), Some(hold)) => format!("{elapsed} of {}, {detail}", human(hold)),
            (None, Some(hold)) => format!("{elapsed} of {}", human(hold)),
            (Some(detail), None) => format!("{detail} for {elapsed}"),
            (None, None) => format!("{} for {elapsed}", self.title),
        };
        format!("{target}{component} {how_far}")
    }
}

/// Progress that changes what an operator expects, as against one that says how far it is.
fn is_notable(detail: &str) -> bool {
    detail.starts_with("held up")
        || detail.starts_with("waits for approval")
        || detail.ends_with("trying again")
}

/// A lane of the rollback in words.
pub(super) fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Traffic => "traffic to stable",
        Lane::Capacity => "pods of the new revision go",
        Lane::Jobs => "Jobs undo what Jobs did",
        Lane::Config => "configuration as it was",
        Lane::Sync => "sync from Git goes on",
    }
}

/// `✓ error-rate 0.21 % (limit ≤ 5.00 %, stable 0.20 %)`; nothing for any other event.
pub(super) fn gate_text(kind: &Kind, paint: Paint) -> String {
    let Kind::GateMeasured { gate, verdict, new, stable, limit, explanation, .. } = kind else {
        return String::new();
    };
    let mark = gate_mark(verdict, paint);
    if let Some(explanation) = explanation {
        return format!("{mark} {}", clean(&format!("{gate}: {explanation}")));
    }
    let value = new.clone().unwrap_or_else(|| (*verdict).to_owned());
    let stable = stable.as_ref().map_or_else(String::new, |stable| format!(", stable {stable}"));
    let words = match *verdict {
        "shared" => ", stable breaches it too",
        "not enough data" if new.is_some() => ", too few requests",
        _ => "",
    };
    format!("{mark} {}", clean(&format!("{gate} {value} (limit {limit}{stable}{words})")))
}

/// `✓ ✗ ?`
pub(super) fn gate_mark(verdict: &str, paint: Paint) -> String {
    match verdict {
        "healthy" => paint.green("✓"),
        "bad" => paint.red("✗"),
        "shared" | "suspicious" => paint.yellow("✗"),
        _ => paint.yellow("?"),
    }
}
