//! The plan of a Docker Compose machine: one project, stopped and started anew, its images as the way back.

use super::build::expected;
use super::{Action, Change, FieldChange, Plan};
use crate::domain::effect::{Effect, SmokeVia};
use crate::domain::environment::{Environment, Platform};
use crate::domain::ids::{RunId, StepId, TargetId};
use crate::domain::object::ObjectRef;
use crate::domain::release::{Actor, Outcome, Release, ServingWorkload};
use crate::domain::step::{Lane, Stage, Step, Undo};
use crate::ports::compose::Service;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

/// What a Compose plan is made from.
#[derive(Debug)]
pub struct ComposeInput<'a> {
    /// The environment.
    pub env: &'a Environment,
    /// Version to deploy.
    pub version: String,
    /// Name of the run.
    pub run: RunId,
    /// Who asks.
    pub by: Actor,
    /// Why.
    pub reason: Option<String>,
    /// Now.
    pub created: Timestamp,
    /// What runs, by target.
    pub running: BTreeMap<TargetId, Vec<Service>>,
    /// Releases on record, by target, oldest first.
    pub history: BTreeMap<TargetId, Vec<Release>>,
}

/// Makes the plan.
#[must_use]
pub fn build(input: &ComposeInput<'_>) -> Plan {
    let env = input.env;
    let mut plan = Plan::for_asking(env, input.run.clone(), input.created);
    let newest = input.history.values().flatten().map(|release| release.revision).max();
    plan.revision = newest.unwrap_or_default().next();
    plan.version.clone_from(&input.version);
    plan.by = input.by.clone();
    plan.reason.clone_from(&input.reason);
    for (target, running) in &input.running {
        let images: Vec<(String, String)> =
            env.components.iter().map(|c| (c.id.to_string(), c.image_for(&input.version))).collect();
        let history = input.history.get(target).map_or(&[][..], Vec::as_slice);
        let previous = history.iter().rev().find(|release| release.outcome == Outcome::Deployed);
        if let Some(target_plan) = plan.targets.get_mut(target) {
            target_plan.previous = previous.map(|release| release.revision);
            target_plan.previous_version = previous.map(|release| release.version.clone());
            target_plan.changes = images.iter().map(|(name, image)| change(name, image, running)).collect();
            target_plan.workloads = workloads(env, &input.version);
        }
        plan.stages.push(up(env, target, images, running));
        plan.stages.extend(smoke(env, target));
    }
    if let Platform::Compose { hailo: true, .. } = env.platform {
        plan.warnings.push(
            "the Hailo device is exclusive: the old process stops before the new one starts".to_owned(),
        );
    }
    for stage in &mut plan.stages {
        for (index, step) in stage.steps.iter_mut().enumerate() {
            step.id = StepId::new(format!("{}/{}/all/{}", stage.id, step.target, index + 1));
        }
    }
    plan.expected = expected(&plan.stages);
    plan
}

fn workloads(env: &Environment, version: &str) -> BTreeMap<crate::domain::ComponentId, ServingWorkload> {
    let serving = |image: String, name: &str| ServingWorkload {
        workload: ObjectRef::new("compose", "Service", "", name),
        revision: None,
        hash: image.clone(),
        image,
        size: None,
    };
    env.components.iter().map(|c| (c.id.clone(), serving(c.image_for(version), c.id.as_str()))).collect()
}

fn change(name: &str, image: &str, running: &[Service]) -> Change {
    let live = running.iter().find(|service| service.name == name);
    let (action, fields) = match live {
        None => (Action::Create, Vec::new()),
        Some(live) if live.image == image => (Action::Keep, Vec::new()),
        Some(live) => {
            let (from, to) = (Some(json!(live.image)), Some(json!(image)));
            (Action::Update, vec![FieldChange { path: "image".to_owned(), from, to }])
        }
    };
    Change {
        object: ObjectRef::new("compose", "Service", "", name),
        component: Some(name.into()),
        action,
        fields,
        contests: Vec::new(),
        replaced: None,
        note: None,
    }
}

fn up(env: &Environment, target: &TargetId, images: Vec<(String, String)>, running: &[Service]) -> Stage {
    let Platform::Compose { project, .. } = &env.platform else {
        unreachable!("only Compose environments come here")
    };
    let timeout = env.limits.ready;
    let before: Vec<(String, String)> = running.iter().map(|s| (s.name.clone(), s.image.clone())).collect();
    let undo = if before.is_empty() {
        Undo::None { why: "nothing ran before".to_owned() }
    } else {
        let effect = Effect::Compose { project: project.clone(), images: before, timeout };
        Undo::Effects { lane: Lane::Traffic, effects: vec![effect] }
    };
    let step = Step {
        id: StepId::new(""),
        target: target.clone(),
        component: None,
        level: 0,
        title: format!("pull, stop and start {project}"),
        effect: Effect::Compose { project: project.clone(), images, timeout },
        undo,
    };
    Stage {
        id: format!("up-{target}"),
        title: "stop, then start (downtime)".into(),
        wave: 1,
        weight: 100,
        steps: vec![step],
    }
}

fn smoke(env: &Environment, target: &TargetId) -> Option<Stage> {
    // Without an address there is nobody to ask; the engine's own health checks have spoken.
    let has_address = env.target(target).is_some_and(|target| target.ingress.is_some());
    if env.smoke.is_empty() || !has_address {
        return None;
    }
    let step = Step {
        id: StepId::new(""),
        target: target.clone(),
        component: None,
        level: 0,
        title: "smoke tests".to_owned(),
        effect: Effect::Smoke { tests: env.smoke.clone(), via: SmokeVia::Public { services: Vec::new() } },
        undo: Undo::None { why: "asking changes nothing".to_owned() },
    };
    Some(Stage {
        id: format!("smoke-{target}"),
        title: "smoke tests".into(),
        wave: 1,
        weight: 100,
        steps: vec![step],
    })
}
