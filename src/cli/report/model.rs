//! Where a run stands, and how that looks: wave → target → component, weights, gates, times.

use super::facts::{Facts, Sort};
use super::lines::{gate_mark, lane_name};
use super::output::Paint;
use super::text::{between, clean, pad, whole_seconds, width};
use crate::domain::environment::TrafficClass;
use crate::domain::event::{Event, Kind};
use crate::domain::ids::{ComponentId, StepId, TargetId};
use crate::domain::step::Lane;
use crate::domain::units::human;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Where a run stands.
pub(super) struct Model {
    facts: Arc<Facts>,
    began: Option<Timestamp>,
    now: Timestamp,
    expected: Duration,
    wave: usize,
    turned: Option<String>,
    targets: BTreeMap<TargetId, Site>,
}

/// Where a target stands.
#[derive(Default)]
struct Site {
    state: State,
    stage: String,
    detail: String,
    hold: Option<(Timestamp, Duration)>,
    rows: BTreeMap<ComponentId, Row>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Waiting,
    Active,
    Passed,
    Failed,
    GoingBack,
}

/// Where a component of a target stands.
#[derive(Default)]
struct Row {
    weight: u8,
    detail: String,
    pods: Option<String>,
    /// By gate: verdict, and value against limit.
    gates: BTreeMap<String, (&'static str, String)>,
}

impl Model {
    pub fn new(facts: Arc<Facts>) -> Self {
        let site = |components: &[ComponentId]| Site {
            rows: components.iter().map(|id| (id.clone(), Row::default())).collect(),
            ..Site::default()
        };
        let targets =
            facts.targets.iter().map(|(id, target)| (id.clone(), site(&target.components))).collect();
        let now = Timestamp::UNIX_EPOCH;
        Self { facts, began: None, now, expected: Duration::ZERO, wave: 0, turned: None, targets }
    }

    /// Time has passed.
    pub fn at(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    pub fn take(&mut self, event: &Event) {
        self.at(event.at);
        match &event.kind {
            Kind::RunStarted { expected, .. } => {
                self.began = Some(event.at);
                self.expected = whole_seconds(*expected);
            }
            Kind::StageStarted { title, wave, targets, .. } => self.stage_started(title, *wave, targets),
            Kind::StageFinished { stage, .. } => self.stage_finished(stage),
            Kind::StepStarted { step, target, component, title } => {
                self.step_started(step, target, component.as_ref(), title);
            }
            Kind::StepProgress { step, target, component, detail } => {
                let known = self.facts.steps.get(step).and_then(|known| known.component.clone());
                self.detail(target, component.as_ref().or(known.as_ref()), &clean(detail));
            }
            Kind::StepFinished { step, target, component, detail, .. } => {
                self.step_finished(step, target, component.as_ref(), &clean(detail));
            }
            Kind::StepFailed { target, component, cause, .. } => {
                self.site(target).state = State::Failed;
                self.detail(target, component.as_ref(), &format!("✗ {}", clean(cause)));
            }
            Kind::GateMeasured { gate, target, component, verdict, new, stable, limit, .. } => {
                let value = new.clone().unwrap_or_else(|| (*verdict).to_owned());
                let stable = stable.as_ref().map_or_else(String::new, |value| format!(", stable {value}"));
                let text = clean(&format!("{value} ({limit}{stable})"));
                let row = self.site(target).rows.entry(component.clone()).or_default();
                row.gates.insert(gate.clone(), (verdict, text));
            }
            Kind::SmokeTested { test, target, passed: false, detail } => {
                self.site(target).detail = format!("✗ {test}: {}", clean(detail));
            }
            _ => self.way_back(&event.kind),
        }
    }

    fn way_back(&mut self, kind: &Kind) {
        match kind {
            Kind::RollbackStarted { .. } => self.turn("rolling back"),
            Kind::Interrupted if self.facts.rollback_of.is_some() => {
                self.turn("interrupted: it rests where it is");
            }
            Kind::Interrupted => self.turn("interrupted: traffic goes to stable"),
            Kind::RollbackLane { lane } => {
                self.turned = Some(format!("rolling back: {}", lane_name(*lane)));
                if *lane != Lane::Traffic {
                    self.targets.values_mut().flat_map(|site| site.rows.values_mut()).for_each(|row| {
                        row.weight = 0;
                    });
                }
            }
            Kind::StepUndone { step, target, .. } => {
                let Some(known) = self.facts.steps.get(step) else { return };
                let (component, traffic) = (known.component.clone(), known.lane == Some(Lane::Traffic));
                if let Some(row) = component.and_then(|id| self.site(target).rows.get_mut(&id))
                    && traffic
                {
                    row.weight = 0;
                    "traffic on stable".clone_into(&mut row.detail);
                }
            }
            Kind::UndoFailed { step, target, cause, .. } => {
                let component = self.facts.steps.get(step).and_then(|known| known.component.clone());
                self.site(target).state = State::Failed;
                self.detail(target, component.as_ref(), &format!("✗ {}", clean(cause)));
            }
            _ => {}
        }
    }

    fn turn(&mut self, what: &str) {
        self.turned = Some(what.to_owned());
        for site in self.targets.values_mut().filter(|site| site.state != State::Waiting) {
            if site.state != State::Failed {
                site.detail.clear();
            }
            site.state = State::GoingBack;
            site.hold = None;
            site.stage.clear();
            site.rows.values_mut().for_each(|row| row.gates.clear());
        }
    }

    fn site(&mut self, target: &TargetId) -> &mut Site {
        self.targets.entry(target.clone()).or_default()
    }

    fn stage_started(&mut self, title: &str, wave: usize, targets: &[TargetId]) {
        self.wave = wave;
        for (id, site) in &mut self.targets {
            let own = self.facts.targets.get(id).map_or(1, |target| target.wave);
            if targets.contains(id) {
                site.state = State::Active;
                title.clone_into(&mut site.stage);
                site.detail.clear();
                site.hold = None;
            } else if site.state == State::Active && own < wave {
                site.state = State::Passed;
            } else if site.state == State::Active && own > wave {
                // Backups come before the target's own wave.
                site.state = State::Waiting;
            }
        }
    }

    fn stage_finished(&mut self, stage: &str) {
        let facts = Arc::clone(&self.facts);
        for (target, component, weight) in facts.weights.get(stage).into_iter().flatten() {
            self.site(target).rows.entry(component.clone()).or_default().weight = *weight;
        }
    }

    fn step_started(
        &mut self,
        step: &StepId,
        target: &TargetId,
        component: Option<&ComponentId>,
        title: &str,
    ) {
        let (now, sort) = (self.now, self.facts.steps.get(step).map(|known| known.sort.clone()));
        match sort {
            Some(Sort::Hold(duration)) => {
                let site = self.site(target);
                site.hold = Some((now, duration));
                site.rows.values_mut().for_each(|row| row.gates.clear());
            }
            Some(Sort::Wait | Sort::Ask) => {}
            _ => self.detail(target, component, title),
        }
    }

    fn step_finished(
        &mut self,
        step: &StepId,
        target: &TargetId,
        component: Option<&ComponentId>,
        detail: &str,
    ) {
        let sort = self.facts.steps.get(step).map(|known| known.sort.clone());
        let row = component.and_then(|id| self.site(target).rows.get_mut(id));
        let mut shown = detail.to_owned();
        match (sort, row) {
            (Some(Sort::Size(_)), Some(row)) => {
                if let Some((_, size)) = detail.rsplit_once("→ ") {
                    row.pods = Some(size.to_owned());
                }
            }
            (Some(Sort::Wait), Some(row)) => {
                if let Some(pods) = row.pods.take() {
                    let pods = if pods == "1 pods" { "1 pod" } else { &pods };
                    shown = format!("{pods} ready");
                }
            }
            (Some(Sort::Hold(_)), _) => self.site(target).hold = None,
            (Some(Sort::Ask), Some(_)) => return,
            _ => {}
        }
        self.detail(target, component, &shown);
    }

    fn detail(&mut self, target: &TargetId, component: Option<&ComponentId>, text: &str) {
        let site = self.site(target);
        match component {
            Some(id) => text.clone_into(&mut site.rows.entry(id.clone()).or_default().detail),
            None => text.clone_into(&mut site.detail),
        }
    }

    // --- view ----------------------------------------------------------------------------------------------------

    /// The region's lines; those that are too wide are for the caller to cut.
    pub fn view(&self, paint: Paint, columns: usize) -> Vec<String> {
        let mut lines = vec![self.header(paint, columns)];
        let names = self.targets.keys().map(|id| width(id.as_str())).max().unwrap_or(0);
        let rows = self.targets.values().flat_map(|site| site.rows.keys());
        let components = rows.map(|id| width(id.as_str())).max().unwrap_or(0);
        for id in self.facts.in_order() {
            let Some(site) = self.targets.get(id) else { continue };
            lines.push(self.target_line(id, site, names, columns, paint));
            if matches!(site.state, State::Waiting | State::Passed) {
                continue;
            }
            for (component, row) in &site.rows {
                lines.push(row.line(component, components, columns, paint));
                lines.extend(row.gate_lines(components + 7, columns, paint));
            }
        }
        lines
    }

    fn header(&self, paint: Paint, columns: usize) -> String {
        let facts = &self.facts;
        let rehearsal = if facts.rehearsal { "rehearsal of " } else { "" };
        let application = if columns < 80 { String::new() } else { format!("{} ", facts.application) };
        let release = format!("{application}{} {} ({})", facts.environment, facts.version, facts.revision);
        let elapsed = human(self.began.map_or(Duration::ZERO, |began| between(began, self.now)));
        let about = if columns < 80 { "" } else { "about " };
        let time = format!("{elapsed} of {about}{}", human(self.expected));
        let turned =
            self.turned.as_ref().map_or_else(String::new, |turned| format!("{} ── ", paint.alarm(turned)));
        let head = format!("── {rehearsal}{} ── {turned}{time} ", paint.bold(&clean(&release)));
        format!("{head}{}", "─".repeat(columns.saturating_sub(width(&head))))
    }

    fn target_line(&self, id: &TargetId, site: &Site, names: usize, columns: usize, paint: Paint) -> String {
        let known = self.facts.targets.get(id);
        let wave = known.map_or(1, |target| target.wave);
        let standby = columns >= 80 && known.is_some_and(|target| target.traffic == TrafficClass::None);
        let state = match site.state {
            State::Waiting => paint.dim("waits for its wave"),
            State::Passed => format!("{} done", paint.green("✓")),
            State::Failed => paint.red("✗ failed"),
            State::GoingBack => paint.yellow("going back"),
            State::Active => site.active(self.now, paint),
        };
        let standby = if standby { paint.dim(" (standby)") } else { String::new() };
        let name = format!("{}{standby}", paint.bold(&pad(id.as_str(), names)));
        let detail = if site.hold.is_none()
            && !site.detail.is_empty()
            && !matches!(site.state, State::Waiting | State::Passed)
        {
            format!("  {}", site.detail)
        } else {
            String::new()
        };
        format!(" wave {wave}  {name}  {state}{detail}")
    }
}

impl Site {
    fn active(&self, now: Timestamp, paint: Paint) -> String {
        let Some((since, duration)) = self.hold else { return paint.cyan(&self.stage) };
        let held_up = if self.detail.is_empty() { String::new() } else { format!(", {}", self.detail) };
        let elapsed = human(between(since, now));
        format!("{}  {elapsed} of {}{}", paint.cyan(&self.stage), human(duration), paint.yellow(&held_up))
    }
}

impl Row {
    fn line(&self, component: &ComponentId, names: usize, columns: usize, paint: Paint) -> String {
        let cells = if columns < 80 { 10 } else { 20 };
        let full = (usize::from(self.weight.min(100)) * cells + 50) / 100;
        let bar = format!("{}{}", paint.green(&"█".repeat(full)), paint.dim(&"░".repeat(cells - full)));
        let name = pad(component.as_str(), names);
        format!("   {name}  [{bar}] {:>3} %  {}", self.weight, self.detail)
    }

    /// The gates side by side, in as few lines as the width allows.
    fn gate_lines(&self, indent: usize, columns: usize, paint: Paint) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for (gate, (verdict, text)) in &self.gates {
            let shown = format!("{} {gate} {text}", gate_mark(verdict, paint));
            match lines.last_mut() {
                Some(line) if width(line) + 3 + width(&shown) <= columns => {
                    line.push_str("   ");
                    line.push_str(&shown);
                }
                _ => lines.push(format!("{}{shown}", " ".repeat(indent.min(12)))),
            }
        }
        lines
    }
}
