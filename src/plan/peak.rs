//! How many pods a plan has on a target at each of its stages: what quotas and nodes must have room for.
//!
//! Sizes are those that the plan would set now. What autoscalers add is not foreseen.

use super::Plan;
use crate::domain::effect::{Effect, Size};
use crate::domain::ids::TargetId;
use crate::domain::object::{Object, ObjectRef};
use crate::rollout::share;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The pods of a target while a stage is performed.
#[derive(Clone, Debug)]
pub struct Moment<'p> {
    /// `w1-canary-25`.
    pub stage: &'p str,
    /// `canary 25 %`.
    pub title: &'p str,
    /// Each workload that the plan touches.
    pub crowds: BTreeMap<ObjectRef, Crowd<'p>>,
}

/// The pods of one workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crowd<'p> {
    /// How many there have to be.
    pub pods: u32,
    /// How many more its own rollout may make for a while.
    pub surge: u32,
    /// How many there are before the run.
    pub before: u32,
    /// The template of those that are made.
    pub template: &'p Value,
    /// The template of those that are there.
    pub old: Option<&'p Value>,
}

/// Workloads whose pods the plan makes, or whose size it looks at.
#[must_use]
pub fn workloads(plan: &Plan, target: &TargetId) -> BTreeSet<ObjectRef> {
    let mut found = BTreeSet::new();
    for effect in effects(plan, target).map(|(_, effect)| effect) {
        match effect {
            Effect::Apply { objects } | Effect::Create { objects } | Effect::Replace { objects } => {
                let made =
                    objects.iter().map(|index| &plan.objects[*index]).filter(|object| has_pods(object));
                found.extend(made.map(Object::reference));
            }
            Effect::Scale { workload, to } => {
                found.insert(workload.clone());
                match to {
                    Size::SameAs { workload, .. }
                    | Size::PartOf { workload, .. }
                    | Size::ShareBeside { workload, .. } => {
                        found.insert(workload.clone());
                    }
                    Size::Exactly(_) => {}
                }
            }
            Effect::Partition { object, .. } => {
                found.insert(plan.objects[*object].reference());
            }
            _ => {}
        }
    }
    found
}

fn effects<'p>(plan: &'p Plan, target: &'p TargetId) -> impl Iterator<Item = (usize, &'p Effect)> {
    let stages = plan.stages.iter().enumerate();
    stages.flat_map(move |(place, stage)| {
        let own = stage.steps.iter().filter(move |step| step.target == *target);
        own.map(move |step| (place, &step.effect))
    })
}

fn has_pods(object: &Object) -> bool {
    matches!(object.kind(), "Deployment" | "StatefulSet" | "Job")
}

/// Every stage that changes how many pods there are, in order.
#[must_use]
pub fn moments<'p>(
    plan: &'p Plan,
    target: &'p TargetId,
    live: &'p BTreeMap<ObjectRef, Value>,
) -> Vec<Moment<'p>> {
    let mut crowds: BTreeMap<ObjectRef, Crowd<'p>> = BTreeMap::new();
    for (reference, object) in live {
        let template = &object["spec"]["template"];
        let pods = if reference.kind == "Job" { 0 } else { replicas(object).unwrap_or(1) };
        let crowd = Crowd { pods, surge: 0, before: pods, template, old: Some(template) };
        crowds.insert(reference.clone(), crowd);
    }
    let mut moments = Vec::new();
    for (place, stage) in plan.stages.iter().enumerate() {
        let mut after = crowds.clone();
        // What shrinks in a stage does so after what grows.
        let mut during = crowds.clone();
        let mut touched = false;
        for (_, effect) in effects(plan, target).filter(|(at, _)| *at == place) {
            for (reference, crowd) in changed(plan, effect, &after) {
                touched = true;
                let most = during.get(&reference).map_or(0, |known| known.pods).max(crowd.pods);
                during.insert(reference.clone(), Crowd { pods: most, ..crowd });
                // Surge and the pods of Jobs go when the stage is done.
                let stays = if reference.kind == "Job" { 0 } else { crowd.pods };
                after.insert(reference, Crowd { pods: stays, surge: 0, ..crowd });
            }
        }
        if touched {
            moments.push(Moment { stage: &stage.id, title: &stage.title, crowds: during });
        }
        crowds = after;
    }
    moments
}

/// What an effect makes of workloads.
fn changed<'p>(
    plan: &'p Plan,
    effect: &Effect,
    now: &BTreeMap<ObjectRef, Crowd<'p>>,
) -> Vec<(ObjectRef, Crowd<'p>)> {
    match effect {
        Effect::Apply { objects } | Effect::Replace { objects } => {
            let made = objects.iter().map(|index| &plan.objects[*index]).filter(|object| has_pods(object));
            made.map(|object| applied(object, now.get(&object.reference()), true)).collect()
        }
        Effect::Partition { object, .. } => {
            let object = &plan.objects[*object];
            vec![applied(object, now.get(&object.reference()), true)]
        }
        // One that is there already is left as it is.
        Effect::Create { objects } => {
            let made = objects.iter().map(|index| &plan.objects[*index]).filter(|object| has_pods(object));
            let missing = made.filter(|object| now.get(&object.reference()).is_none_or(|c| c.old.is_none()));
            missing.map(|object| applied(object, now.get(&object.reference()), false)).collect()
        }
        Effect::Scale { workload, to } => {
            let Some(crowd) = now.get(workload) else { return Vec::new() };
            vec![(workload.clone(), Crowd { pods: size(to, now), ..*crowd })]
        }
        _ => Vec::new(),
    }
}

fn applied<'p>(object: &'p Object, known: Option<&Crowd<'p>>, rolls: bool) -> (ObjectRef, Crowd<'p>) {
    let template = &object.value["spec"]["template"];
    let pods = match object.kind() {
        "Job" => {
            let count = |field: &str| object.value["spec"][field].as_u64().unwrap_or(1);
            count("parallelism").min(count("completions").max(1)) as u32
        }
        _ => replicas(&object.value).or(known.map(|known| known.pods)).unwrap_or(1),
    };
    let before = known.map_or(0, |known| known.before);
    let surge = if rolls && before > 0 { surge(&object.value, pods) } else { 0 };
    (object.reference(), Crowd { pods, surge, before, template, old: known.and_then(|known| known.old) })
}

fn replicas(object: &Value) -> Option<u32> {
    object["spec"]["replicas"].as_u64().map(|replicas| replicas as u32)
}

/// Pods that a Deployment's rollout makes beyond its size: `maxSurge`, a quarter rounded up unless it says otherwise.
fn surge(object: &Value, pods: u32) -> u32 {
    let strategy = &object["spec"]["strategy"];
    if object["kind"] != "Deployment" || strategy["type"] == "Recreate" {
        return 0;
    }
    match &strategy["rollingUpdate"]["maxSurge"] {
        Value::Number(pods) => pods.as_u64().unwrap_or(0) as u32,
        Value::String(share) => {
            let percent: u32 = share.trim_end_matches('%').parse().unwrap_or(25);
            (pods * percent).div_ceil(100)
        }
        _ => pods.div_ceil(4),
    }
}

fn size(to: &Size, now: &BTreeMap<ObjectRef, Crowd<'_>>) -> u32 {
    let of = |workload: &ObjectRef| now.get(workload).map_or(0, |crowd| crowd.pods);
    match to {
        Size::Exactly(size) => *size,
        Size::SameAs { workload, floor, .. } => of(workload).max(*floor),
        Size::PartOf { workload, percent, floor, least, .. } => {
            share::part_or_least(of(workload).max(*floor), *percent, *least)
        }
        Size::ShareBeside { workload, percent } => share::pods_beside(of(workload), *percent),
    }
}
