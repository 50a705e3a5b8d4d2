//! A run's events as its journals tell them: what somebody sees who follows it from another machine. Pure.
//!
//! Journals hold one record per stage and target, so steps begin and end together, and gates' values are not told.

use super::by_hand;
use super::journal::{Entry, Phase, What};
use crate::domain::effect::Effect;
use crate::domain::event::{Event, Kind, StillWrong};
use crate::domain::ids::{StepId, TargetId};
use crate::domain::step::{Lane, Stage, Status, Step, Transition, Undo};
use crate::plan::Plan;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What was told already.
pub struct Story<'p> {
    plan: &'p Plan,
    began: Option<Timestamp>,
    stages: BTreeSet<String>,
    since: BTreeMap<StepId, Timestamp>,
    status: BTreeMap<StepId, Status>,
    asked: BTreeSet<String>,
    lane: Option<Lane>,
    cause: Option<String>,
    kept: Vec<TargetId>,
    owed: Vec<TargetId>,
    /// What could not be taken back.
    wrong: BTreeMap<StepId, StillWrong>,
    serves: bool,
    /// How it ended, once it has.
    outcome: Option<&'static str>,
}

impl<'p> Story<'p> {
    /// Nothing was told yet.
    #[must_use]
    pub fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            began: None,
            stages: BTreeSet::new(),
            since: BTreeMap::new(),
            status: BTreeMap::new(),
            asked: BTreeSet::new(),
            lane: None,
            cause: None,
            kept: Vec::new(),
            owed: Vec::new(),
            wrong: BTreeMap::new(),
            serves: false,
            outcome: None,
        }
    }

    /// How the run ended, once it has: `deployed`, `rolled-back`, `interrupted`, …
    #[must_use]
    pub fn outcome(&self) -> Option<&'static str> {
        self.outcome
    }

    /// What a record tells that was not told before.
    pub fn take(&mut self, entry: &Entry) -> Vec<Event> {
        let kinds = match &entry.what {
            What::Phase(phase) => self.phase(phase, entry.at),
            What::Steps { steps, event, detail } => {
                let plan = self.plan;
                let named =
                    plan.stages.iter().flat_map(|stage| stage.steps.iter().map(move |step| (stage, step)));
                let named: Vec<_> = named.filter(|(_, step)| steps.contains(&step.id)).collect();
                let told = named
                    .iter()
                    .flat_map(|(stage, step)| self.step(stage, step, *event, detail.as_deref(), entry.at));
                let mut told: Vec<Kind> = told.collect();
                told.extend(named.first().and_then(|(stage, _)| self.stage_end(stage, *event)));
                told
            }
            What::Asked(intent) if self.asked.insert(intent.id.clone()) => vec![Kind::Asked {
                wish: intent.wish.verb(),
                by: intent.by.to_string(),
                reason: intent.reason.clone(),
                asked: intent.at,
            }],
            What::Guarded(what) => {
                let message = what.line(entry.at);
                vec![Kind::Alert { severity: "warning", target: None, message }]
            }
            What::Asked(_) | What::Overridden(_) | What::Restated(_) => Vec::new(),
        };
        kinds.into_iter().map(|kind| Event { at: entry.at, kind }).collect()
    }

    /// The run was left without an end on record; says what that was, and whether its release, an older one, serves all the
    /// same.
    pub fn left(&mut self, at: Timestamp, outcome: &'static str, older_serves: bool) -> Vec<Event> {
        let mut end = self.finished(at, outcome);
        if let Kind::RunFinished { serves, .. } = &mut end {
            *serves = older_serves;
        }
        vec![Event { at, kind: end }]
    }

    fn phase(&mut self, phase: &Phase, at: Timestamp) -> Vec<Kind> {
        match phase {
            Phase::Forward if self.began.is_none() => {
                self.began = Some(at);
                vec![Kind::RunStarted {
                    run: self.plan.run.clone(),
                    environment: self.plan.environment.clone(),
                    revision: self.plan.revision,
                    version: self.plan.version.clone(),
                    resumed: false,
                    expected: self.plan.expected,
                }]
            }
            Phase::Forward => Vec::new(),
            Phase::Interrupted => {
                let first = self.cause.replace("interrupted by an operator".to_owned()).is_none();
                if first { vec![Kind::Interrupted] } else { Vec::new() }
            }
            Phase::Aborting { cause, owed, .. } if self.cause.as_ref() == Some(cause) => {
                self.owed.clone_from(owed);
                Vec::new()
            }
            Phase::Aborting { cause, kept, owed } => {
                self.owed.clone_from(owed);
                self.cause = Some(cause.clone());
                self.kept.clone_from(kept);
                vec![Kind::RollbackStarted { cause: cause.clone() }]
            }
            Phase::Ended { .. } if self.outcome.is_some() => Vec::new(),
            Phase::Ended { owed, .. } if !owed.is_empty() => {
                self.owed.clone_from(owed);
                self.serves = true;
                vec![self.finished(at, "unknown")]
            }
            Phase::Ended { outcome, .. } => {
                let outcome = match outcome.as_str() {
                    "deployed" => "deployed",
                    "rolled-back" => "rolled-back",
                    _ => "broken",
                };
                vec![self.finished(at, outcome)]
            }
        }
    }

    fn finished(&mut self, at: Timestamp, outcome: &'static str) -> Kind {
        self.outcome = Some(outcome);
        let still_wrong: Vec<StillWrong> = match outcome {
            "broken" => self.wrong.values().cloned().collect(),
            _ => Vec::new(),
        };
        let env = &self.plan.environment;
        let next = match outcome {
            "deployed" => vec![format!("deployctl status {env}")],
            "rolled-back" => vec![format!("deployctl show {env} {}", self.plan.revision.0)],
            _ => vec![format!("deployctl resume {env}"), format!("deployctl rollback {env}")],
        };
        Kind::RunFinished {
            outcome,
            revision: self.plan.revision,
            cause: self.cause.clone().filter(|_| outcome != "deployed"),
            took: at.duration_since(self.began.unwrap_or(at)).unsigned_abs(),
            next,
            remaining: still_wrong.iter().map(ToString::to_string).collect(),
            still_wrong,
            serves: self.serves,
            kept: self.kept.clone(),
            owed: self.owed.clone(),
        }
    }

    fn step(
        &mut self,
        stage: &Stage,
        step: &Step,
        event: Transition,
        detail: Option<&str>,
        at: Timestamp,
    ) -> Vec<Kind> {
        let (id, target, component) = (step.id.clone(), step.target.clone(), step.component.clone());
        let (before, status) = (self.status.get(&id).copied().unwrap_or_default(), event.leads_to());
        self.status.insert(id.clone(), status);
        let mut told = Vec::new();
        match event {
            Transition::Start => {
                if self.stages.insert(stage.id.clone()) {
                    let mut targets: Vec<TargetId> = stage.steps.iter().map(|s| s.target.clone()).collect();
                    targets.dedup();
                    let (stage, title, wave) = (stage.id.clone(), stage.title.clone(), stage.wave);
                    told.push(Kind::StageStarted { stage, title, wave, targets });
                }
                self.since.insert(id.clone(), at);
                told.push(Kind::StepStarted { step: id, target, component, title: step.title.clone() });
            }
            Transition::Finish => {
                let took = at.duration_since(self.since.get(&id).copied().unwrap_or(at)).unsigned_abs();
                told.push(Kind::StepFinished { step: id, target, component, detail: done(step), took });
            }
            Transition::Fail => {
                let cause = detail.unwrap_or("it failed").to_owned();
                told.push(Kind::StepFailed { step: id, target, component, cause });
            }
            Transition::StartUndo => {
                if let Undo::Effects { lane, .. } = step.undo
                    && self.lane != Some(lane)
                {
                    self.lane = Some(lane);
                    told.push(Kind::RollbackLane { lane });
                }
            }
            Transition::FinishUndo if before != Status::Undone => {
                self.wrong.remove(&id);
                told.push(Kind::StepUndone { step: id, target, title: step.title.clone() });
            }
            Transition::FinishUndo => {}
            Transition::FailUndo => {
                let cause = detail.unwrap_or("it failed").to_owned();
                let title = step.title.clone();
                self.wrong.insert(id.clone(), self.still_wrong(step, &cause));
                told.push(Kind::UndoFailed { step: id, target, title, cause });
            }
        }
        told
    }

    /// What a step left that could not be taken back, with what a person types instead.
    fn still_wrong(&self, step: &Step, cause: &str) -> StillWrong {
        let effect = match &step.undo {
            Undo::Effects { effects, .. } => effects.first().unwrap_or(&step.effect),
            Undo::None { .. } => &step.effect,
        };
        let what = format!("{} is not taken back", step.title);
        let again = format!("deployctl rollback {}", self.plan.environment);
        by_hand::still_wrong(self.plan, step, effect, &what, cause.to_owned(), &again)
    }

    fn stage_end(&self, stage: &Stage, event: Transition) -> Option<Kind> {
        let is_done = |step: &Step| self.status.get(&step.id) == Some(&Status::Done);
        let over = event == Transition::Finish && stage.steps.iter().all(is_done);
        over.then(|| Kind::StageFinished { stage: stage.id.clone(), wave: stage.wave, weight: stage.weight })
    }
}

/// What came of a step, as far as a journal knows: that it is done.
fn done(step: &Step) -> String {
    match &step.effect {
        Effect::Scale { .. } | Effect::Create { .. } => "sized".to_owned(),
        Effect::WaitReady { .. } | Effect::Unstick { .. } => "ready".to_owned(),
        Effect::Hold { .. } => format!("{}: over", step.title),
        Effect::Smoke { .. } => format!("{}: passed", step.title),
        _ => step.title.clone(),
    }
}
