//! What somebody changed of a run's own objects while nobody worked on it, and putting that back before it goes on.

use super::definitions::definitions;
use super::engine::Engine;
use super::unfinished::Run;
use super::world::{Site, World};
use crate::domain::effect::Effect;
use crate::domain::error::Failure;
use crate::domain::event::Kind;
use crate::domain::field_path;
use crate::domain::ids::{StepId, TargetId};
use crate::domain::object::{FIELD_MANAGER, Object, ObjectRef};
use crate::domain::step::{Lane, Status, Step, Undo};
use crate::plan::{Plan, Verdict, claims, diff};
use crate::ports::cluster::{ClusterError, Known, Terms};
use crate::run::prepare::unreachable;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Managers that change sizes on purpose.
const AUTOSCALERS: [&str; 3] = ["kube-controller-manager", "horizontal-pod-autoscaler", "keda-operator"];

/// One object that is not as the run left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tampered {
    /// Where.
    pub target: TargetId,
    /// Which.
    pub object: ObjectRef,
    /// What is different, one line each: `spec.selector.app: "web" → "old" (kubectl-edit, 2026-01-05T03:12:00Z)`.
    pub lines: Vec<String>,
    /// Its place in the plan's table, if the run applied it.
    index: Option<usize>,
    /// What sized it last, in the name of which step, if its size is to be set again.
    resize: Option<(Step, Effect)>,
}

/// What the run's steps made of a target, as its journal tells.
#[derive(Default)]
struct Left<'r> {
    objects: BTreeMap<ObjectRef, usize>,
    sizes: BTreeMap<ObjectRef, (&'r Step, &'r Effect)>,
    /// Touched by a step of which nobody knows how far it came.
    uncertain: BTreeSet<ObjectRef>,
}

/// Compares what the run left with what is live. Objects in the middle of a step are not compared: the step does them
/// again.
pub async fn look(world: &World, run: &Run) -> Result<Vec<Tampered>, Failure> {
    let sites = world.sites.iter().filter(|(target, _)| run.plan.targets.contains_key(*target));
    let looks = sites.map(|(target, site)| async move {
        look_at(run, target, site).await.map_err(|error| unreachable(target, &error))
    });
    let found: Vec<Vec<Tampered>> =
        futures::future::join_all(looks).await.into_iter().collect::<Result<_, Failure>>()?;
    Ok(found.concat())
}

async fn look_at(run: &Run, target: &TargetId, site: &Site) -> Result<Vec<Tampered>, ClusterError> {
    // Objects are of clusters.
    let Some(cluster) = &site.cluster else { return Ok(Vec::new()) };
    let left = left(run, target);
    let references: BTreeSet<ObjectRef> = left.objects.keys().chain(left.sizes.keys()).cloned().collect();
    let references: Vec<ObjectRef> =
        references.into_iter().filter(|object| !left.uncertain.contains(object)).collect();
    let live = cluster.get_all(&references).await?;
    let wanted: Vec<&Object> = left.objects.values().map(|index| &run.plan.objects[*index]).collect();
    let definitions = definitions(cluster.as_ref(), &wanted).await;
    let mut found = Vec::new();
    for (reference, live) in references.into_iter().zip(live) {
        let (index, sized) = (left.objects.get(&reference).copied(), left.sizes.get(&reference).copied());
        let mut lines = Vec::new();
        let resized = live.as_ref().and_then(resized_by);
        match (&live, index) {
            (None, _) => lines.push("is gone".to_owned()),
            (Some(live), Some(index)) if reference.kind != "Secret" => {
                let mut wanted = run.plan.objects[index].value.clone();
                // A way back left it its size.
                claims::keep(&mut wanted, live);
                let changes = diff::fields(&definitions, &wanted, live, None);
                let others = changes.iter().filter(|change| {
                    change.path != "spec.replicas" && !is_left(&run.plan, target, &reference, &change.path)
                });
                lines.extend(others.map(|change| {
                    let text = |value: &Option<Value>| {
                        value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string)
                    };
                    let (ours, theirs) = (text(&change.to), text(&change.from));
                    format!("{}: {ours} → {theirs}{}", change.path, writer(live, &change.path))
                }));
            }
            _ => {}
        }
        if let (Some(size), Some(live), Some(_)) = (&resized, &live, sized) {
            lines.push(format!("spec.replicas: now {size}{}", writer(live, "spec.replicas")));
        }
        if lines.is_empty() {
            continue;
        }
        let resize = sized.filter(|_| live.is_none() || resized.is_some());
        let resize = resize.map(|(step, effect)| (step.clone(), effect.clone()));
        found.push(Tampered { target: target.clone(), object: reference, lines, index, resize });
    }
    Ok(found)
}

fn left<'r>(run: &'r Run, target: &TargetId) -> Left<'r> {
    let status = |step: &Step| run.replayed.status.get(&step.id).copied().unwrap_or_default();
    let steps: Vec<&Step> = run.plan.stages.iter().flat_map(|stage| &stage.steps).collect();
    let steps: Vec<&Step> = steps.into_iter().filter(|step| step.target == *target).collect();
    let mut left = Left::default();
    for step in &steps {
        match status(step) {
            Status::Pending => {}
            Status::Done | Status::Undone => left.take(&run.plan, step, &step.effect),
            Status::Started | Status::Failed | Status::Undoing | Status::UndoFailed => {
                left.doubt(&run.plan, &step.effect);
                undo(step).for_each(|effect| left.doubt(&run.plan, effect));
            }
        }
    }
    for step in steps.iter().rev().filter(|step| status(step) == Status::Undone) {
        undo(step).for_each(|effect| left.take(&run.plan, step, effect));
        // An autoscaler was turned back with bounds that nobody has noted.
        undo(step).for_each(|effect| left.uncertain.extend(guarded(&run.plan, effect)));
        // Its size is what the way back gave it; whoever goes on sizes it again.
        for object in touched(&run.plan, &step.effect) {
            left.sizes.remove(&object);
        }
    }
    let undone = steps.iter().filter(|step| status(step) == Status::Undone);
    let undone: BTreeSet<ObjectRef> = undone.flat_map(|step| touched(&run.plan, &step.effect)).collect();
    // Where somebody went on after a way back, what was done again is newer than what was not.
    let moves = |step: &&&Step| matches!(&step.undo, Undo::Effects { lane: Lane::Traffic, .. });
    for step in steps.iter().filter(moves).filter(|step| status(step) == Status::Done) {
        if touched(&run.plan, &step.effect).iter().any(|object| undone.contains(object)) {
            left.take(&run.plan, step, &step.effect);
        }
    }
    left
}

/// Autoscalers that an effect gives bounds of its own.
fn guarded(plan: &Plan, effect: &Effect) -> Vec<ObjectRef> {
    let indices = match effect {
        Effect::Guard { autoscalers, .. } => autoscalers.as_slice(),
        Effect::Regrow(stable) => &stable.autoscalers,
        _ => &[],
    };
    indices.iter().map(|index| plan.objects[*index].reference()).collect()
}

fn undo(step: &Step) -> impl Iterator<Item = &Effect> {
    match &step.undo {
        Undo::Effects { effects, .. } => effects.iter(),
        Undo::None { .. } => [].iter(),
    }
}

/// The objects that an effect writes.
#[must_use]
pub fn touched(plan: &Plan, effect: &Effect) -> Vec<ObjectRef> {
    match effect {
        Effect::Delete { objects } => objects.clone(),
        Effect::Scale { workload, .. } => vec![workload.clone()],
        Effect::Regrow(stable) => {
            let routes = indices(effect).iter().map(|index| plan.objects[*index].reference());
            std::iter::once(stable.workload.clone()).chain(routes).collect()
        }
        _ => indices(effect).iter().map(|index| plan.objects[*index].reference()).collect(),
    }
}

fn indices(effect: &Effect) -> &[usize] {
    match effect {
        Effect::Apply { objects }
        | Effect::Create { objects }
        | Effect::Replace { objects }
        | Effect::Switch { objects, .. }
        | Effect::Weigh { objects, .. } => objects,
        // all traffic is stable's at its end
        Effect::Regrow(stable) => stable.routes.last().map_or(&[], |rung| &rung.objects),
        _ => &[],
    }
}

impl<'r> Left<'r> {
    fn take(&mut self, plan: &Plan, step: &'r Step, effect: &'r Effect) {
        for index in indices(effect) {
            let reference = plan.objects[*index].reference();
            // It is read again in the version that was written last.
            self.objects.remove(&reference);
            self.objects.insert(reference, *index);
        }
        match effect {
            Effect::Scale { workload, .. } => {
                self.sizes.insert(workload.clone(), (step, effect));
            }
            Effect::Delete { objects } => {
                for object in objects {
                    self.objects.remove(object);
                    self.sizes.remove(object);
                }
            }
            _ => {}
        }
    }

    fn doubt(&mut self, plan: &Plan, effect: &Effect) {
        self.uncertain.extend(touched(plan, effect));
    }
}

/// Whether the plan leaves this field to a controller.
fn is_left(plan: &Plan, target: &TargetId, object: &ObjectRef, path: &str) -> bool {
    let changes = plan.targets.get(target).into_iter().flat_map(|target| &target.changes);
    let mut contests = changes.filter(|change| change.object == *object).flat_map(|change| &change.contests);
    contests.any(|contest| contest.verdict == Verdict::Left && field_path::covers(&contest.field, path))
}

fn entries(live: &Value) -> impl Iterator<Item = &Value> {
    live.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
}

/// The size that somebody who is neither us nor an autoscaler gave a workload.
fn resized_by(live: &Value) -> Option<u64> {
    let foreign = |entry: &&Value| {
        let manager = entry["manager"].as_str().unwrap_or_default();
        manager != FIELD_MANAGER
            && !AUTOSCALERS.contains(&manager)
            && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
    };
    entries(live).find(foreign).and_then(|_| live.pointer("/spec/replicas")).and_then(Value::as_u64)
}

/// ` (kubectl-edit, 2026-01-05T03:12:00Z)`: who owns the field now; of a field that is gone, who wrote last.
#[must_use]
pub fn writer(live: &Value, path: &str) -> String {
    let others: Vec<&Value> = entries(live).filter(|entry| entry["manager"] != FIELD_MANAGER).collect();
    let when = |entry: &&Value| entry["time"].as_str().unwrap_or_default().to_owned();
    let owner =
        others.iter().filter(|entry| field_path::is_in(&entry["fieldsV1"], path)).copied().max_by_key(when);
    // A status is written all the time, and says nothing about who took a field away.
    let last = || others.iter().filter(|entry| entry.get("subresource").is_none()).copied().max_by_key(when);
    owner.or_else(last).map_or_else(String::new, |entry| {
        let text = |key: &str| entry[key].as_str().unwrap_or("unknown").to_owned();
        format!(" ({}, {})", text("manager"), text("time"))
    })
}

impl Engine<'_> {
    /// These objects are put back to what the run left before it goes on.
    #[must_use]
    pub fn putting_back(mut self, tampered: Vec<Tampered>) -> Self {
        self.tampered = tampered;
        self
    }

    /// Puts back what was changed by hand; what an operator agreed to, or said beforehand.
    pub(super) async fn put_back(&self) -> Result<(), String> {
        for tampered in &self.tampered {
            let (target, object) = (&tampered.target, &tampered.object);
            let failed = |why: String| format!("{target}: {object} could not be put back: {why}");
            if let Some(index) = tampered.index {
                self.apply_again(target, index).await.map_err(failed)?;
            }
            if let Some((step, effect)) = &tampered.resize {
                let sized = self.perform_for(target, &step.id, step.component.as_ref(), effect, true);
                sized.await.map_err(|error| failed(error.cause))?;
                let wait =
                    Effect::WaitReady { workloads: vec![object.clone()], timeout: self.plan.limits.ready };
                let ready = self.perform_for(target, &step.id, step.component.as_ref(), &wait, true);
                ready.await.map_err(|error| failed(error.cause))?;
            }
            let message = format!("{object} is put back: {}", tampered.lines.join("; "));
            self.teller().tell(Kind::Alert { severity: "warning", target: Some(target.clone()), message });
        }
        Ok(())
    }

    /// As in the plan's table, but for the size: that is another step's.
    async fn apply_again(&self, target: &TargetId, index: usize) -> Result<(), String> {
        let object = &self.plan.objects[index];
        let step = StepId::new(format!("put-back/{target}"));
        let teller = self.teller();
        let stand = self.stand(&teller, target, &step, None, true);
        let cluster = stand.cluster().map_err(|error| error.cause)?;
        let reference = object.reference();
        let what = format!("read {reference}");
        let live = stand.in_contact(&what, async || cluster.get(&reference).await).await;
        let mut value = stand.to_send(object, Known::Nothing).await.map_err(|error| error.cause)?;
        if let Some(size) =
            live.map_err(|error| error.cause)?.as_ref().and_then(|live| live.pointer("/spec/replicas"))
        {
            value["spec"]["replicas"] = size.clone();
        }
        stand.may_write().await.map_err(|error| error.cause)?;
        let what = format!("apply {reference}");
        let applied = stand.in_contact(&what, async || cluster.apply(&value, Terms::FORCED).await).await;
        applied.map(|_| ()).map_err(|error| error.cause)
    }
}
