//! What a report knows of a run before its first event: taken from the plan, so that events can stay short.

use crate::domain::effect::{Effect, Size};
use crate::domain::environment::TrafficClass;
use crate::domain::ids::{ComponentId, Revision, StepId, TargetId};
use crate::domain::step::{Lane, Stage, Step, Undo};
use crate::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The facts of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Application.
    pub application: String,
    /// Environment.
    pub environment: String,
    /// Version that is deployed.
    pub version: String,
    /// Number of its release.
    pub revision: Revision,
    /// Set when an older release is brought back.
    pub rollback_of: Option<Revision>,
    /// Its targets.
    pub targets: BTreeMap<TargetId, TargetFacts>,
    /// Its steps.
    pub steps: BTreeMap<StepId, StepFacts>,
    /// Weight of a component on a target once a stage is done, where the stage moves it.
    pub weights: BTreeMap<String, Vec<(TargetId, ComponentId, u8)>>,
    /// Stages that watch for a time.
    pub holds: BTreeSet<String>,
    /// Nothing real is touched.
    pub rehearsal: bool,
}

/// One target's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFacts {
    /// 1-based wave.
    pub wave: usize,
    /// Whether users' requests arrive.
    pub traffic: TrafficClass,
    /// What serves before the run.
    pub previous: Option<(Revision, String)>,
    /// The components that change here.
    pub components: Vec<ComponentId>,
}

/// One step's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFacts {
    /// What it does, for people.
    pub title: String,
    /// What kind of thing that is.
    pub sort: Sort,
    /// Whose.
    pub component: Option<ComponentId>,
    /// When it is taken back.
    pub lane: Option<Lane>,
}

/// What a step does, as far as its report differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A workload is made or sized; its outcome is told when it is ready.
    Size(String),
    /// Waits for what was sized.
    Wait,
    /// Watches for a time.
    Hold(Duration),
    /// Smoke tests.
    Ask,
    /// Anything else.
    Other,
}

impl Facts {
    /// The facts of a plan.
    #[must_use]
    pub fn of(plan: &Plan, rehearsal: bool) -> Self {
        let mut facts = Self {
            application: plan.application.clone(),
            environment: plan.environment.clone(),
            version: plan.version.clone(),
            revision: plan.revision,
            rollback_of: plan.rollback_of,
            targets: targets(plan),
            rehearsal,
            ..Self::default()
        };
        for stage in &plan.stages {
            for step in &stage.steps {
                facts.step(plan, stage, step);
            }
        }
        facts
    }

    fn step(&mut self, plan: &Plan, stage: &Stage, step: &Step) {
        let lane = match &step.undo {
            Undo::Effects { lane, .. } => Some(*lane),
            Undo::None { .. } => None,
        };
        if matches!(step.effect, Effect::Hold { .. }) {
            self.holds.insert(stage.id.clone());
        }
        let (title, component) = (step.title.clone(), step.component.clone());
        let known = StepFacts { title, sort: sort(&step.effect, plan), component, lane };
        self.steps.insert(step.id.clone(), known);
        let Some(component) = &step.component else { return };
        if let Some(target) = self.targets.get_mut(&step.target)
            && !target.components.contains(component)
        {
            target.components.push(component.clone());
        }
        if let Some(weight) = weight_after(plan, stage, step) {
            let weights = self.weights.entry(stage.id.clone()).or_default();
            weights.push((step.target.clone(), component.clone(), weight));
        }
    }

    /// What serves before the run, folded: `2.0.6 (r7)`; by target where they differ.
    pub(super) fn before(&self) -> Option<String> {
        let previous = self.targets.iter().map(|(id, target)| (id.clone(), target.previous.clone()));
        let folded = super::text::fold(previous);
        let name = |(revision, version): &(Revision, String)| format!("{version} ({revision})");
        match folded.as_slice() {
            [] | [(_, None)] => None,
            [(_, Some(previous))] => Some(name(previous)),
            several => Some(super::text::list(several.iter().map(|(targets, previous)| {
                let what = previous.as_ref().map_or_else(|| "nothing".to_owned(), name);
                format!("{what} on {}", super::text::list(targets))
            }))),
        }
    }

    /// The targets in the order of their waves.
    pub(super) fn in_order(&self) -> Vec<&TargetId> {
        let mut targets: Vec<_> = self.targets.iter().collect();
        targets.sort_by_key(|(_, target)| target.wave);
        targets.into_iter().map(|(id, _)| id).collect()
    }
}

fn targets(plan: &Plan) -> BTreeMap<TargetId, TargetFacts> {
    let wave_of = |id: &TargetId| plan.waves.iter().position(|wave| wave.contains(id)).map_or(1, |i| i + 1);
    let facts = plan.targets.iter().map(|(id, target)| {
        let version = target.previous_version.clone().unwrap_or_default();
        let known = TargetFacts {
            wave: wave_of(id),
            traffic: target.traffic,
            previous: target.previous.map(|revision| (revision, version)),
            components: Vec::new(),
        };
        (id.clone(), known)
    });
    facts.collect()
}

fn sort(effect: &Effect, plan: &Plan) -> Sort {
    match effect {
        Effect::Create { objects } => {
            let first = objects.first().and_then(|index| plan.objects.get(*index));
            Sort::Size(first.map_or_else(String::new, |object| object.name().to_owned()))
        }
        Effect::Scale { workload, .. } => Sort::Size(workload.name.clone()),
        Effect::WaitReady { .. } | Effect::Unstick { .. } | Effect::RunJob(_) => Sort::Wait,
        Effect::Smoke { .. } => Sort::Ask,
        Effect::Hold { duration, .. } => Sort::Hold(*duration),
        Effect::Apply { .. }
        | Effect::Guard { .. }
        | Effect::Regrow(_)
        | Effect::Partition { .. }
        | Effect::Replace { .. }
        | Effect::Delete { .. }
        | Effect::Switch { .. }
        | Effect::Weigh { .. }
        | Effect::WaitTraffic { .. }
        | Effect::WaitWeight { .. }
        | Effect::Snapshot { .. }
        | Effect::Terraform { .. }
        | Effect::Compose { .. }
        | Effect::PauseSync { .. }
        | Effect::ResumeSync { .. }
        | Effect::Advance { .. } => Sort::Other,
    }
}

/// Percent of the component's traffic on the new revision after a stage with this step.
fn weight_after(plan: &Plan, stage: &Stage, step: &Step) -> Option<u8> {
    match &step.effect {
        Effect::Scale { to: Size::ShareBeside { percent, .. }, .. } | Effect::Partition { percent, .. } => {
            Some(*percent)
        }
        // What a router takes back at the very end leads to the new revision all the same.
        Effect::Weigh { percent, .. } => (*percent > 0).then_some(*percent),
        // The way back of a drain brings the old pods back: what it did was to take them out of traffic.
        Effect::Scale { to: Size::Exactly(0), .. } => {
            matches!(step.undo, Undo::Effects { lane: Lane::Traffic, .. }).then_some(100)
        }
        // Beside an old revision of the same size when pods are the router; with a switch to come, without traffic.
        Effect::Scale { .. } => match &step.undo {
            Undo::Effects { lane: Lane::Traffic, .. } => Some(stage.weight),
            Undo::Effects { .. } => None,
            Undo::None { .. } => Some(100),
        },
        Effect::Switch { .. } | Effect::Compose { .. } => Some(100),
        Effect::Apply { objects } | Effect::Replace { objects } => {
            let workload = |index: &usize| {
                let kind = plan.objects.get(*index).map_or("", |object| object.kind());
                matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet")
            };
            objects.iter().any(workload).then_some(100)
        }
        Effect::Create { .. }
        | Effect::Guard { .. }
        | Effect::Regrow(_)
        | Effect::Unstick { .. }
        | Effect::RunJob(_)
        | Effect::Delete { .. }
        | Effect::WaitReady { .. }
        | Effect::WaitTraffic { .. }
        | Effect::WaitWeight { .. }
        | Effect::Hold { .. }
        | Effect::Smoke { .. }
        | Effect::Snapshot { .. }
        | Effect::Terraform { .. }
        | Effect::PauseSync { .. }
        | Effect::ResumeSync { .. }
        | Effect::Advance { .. } => None,
    }
}
