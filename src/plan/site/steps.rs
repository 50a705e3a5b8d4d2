//! The steps that all strategies are made of.

use super::{Site, at};
use crate::domain::effect::Effect;
use crate::domain::ids::{ComponentId, StepId};
use crate::domain::object::ObjectRef;
use crate::domain::step::{Lane, Step, Undo};
use crate::plan::build::Draft;
use crate::plan::{inventory, order};
use crate::rollout::autoscaler;
use std::collections::BTreeSet;

impl Site<'_> {
    pub(super) fn step(
        &self,
        component: Option<&ComponentId>,
        title: String,
        effect: Effect,
        undo: Undo,
    ) -> Step {
        let level = component.and_then(|id| self.levels.get(id)).copied().unwrap_or(0);
        Step {
            id: StepId::new(""),
            target: self.target.id.clone(),
            component: component.cloned(),
            level,
            title,
            effect,
            undo,
        }
    }

    pub(super) fn stage(&mut self, place: u32, name: &str, title: &str, weight: u8) -> &mut Draft {
        let draft = self.drafts.entry(place).or_insert_with(|| Draft {
            name: name.to_owned(),
            title: title.to_owned(),
            weight,
            steps: Vec::new(),
        });
        draft.weight = draft.weight.max(weight);
        draft
    }

    /// Apply, with the objects before (or their absence) as the way back.
    pub(super) fn apply_step(
        &mut self,
        component: Option<&ComponentId>,
        title: String,
        indices: &[usize],
        lane: Lane,
    ) -> Step {
        let objects: Vec<usize> = indices.iter().map(|index| self.object_index(*index)).collect();
        let mut restore = Vec::new();
        let mut remove = Vec::new();
        for index in indices {
            let reference = self.references[*index].clone();
            match self.before(&reference) {
                // A Job that is made anew runs: what the one before did is done.
                Some(_) if reference.kind == "Job" && self.replaced(*index).is_some() => {
                    remove.push(reference);
                }
                Some(before) => restore.push(before),
                None if inventory::is_kept(&reference.kind) => {}
                None => remove.push(reference),
            }
        }
        remove.reverse();
        // What was replaced has to be replaced again to be what it was.
        let replaced = indices.iter().any(|index| self.replaced(*index).is_some());
        let apply = |objects| if replaced { Effect::Replace { objects } } else { Effect::Apply { objects } };
        let mut effects = Vec::new();
        if !restore.is_empty() {
            effects.push(apply(restore));
        }
        if !remove.is_empty() {
            effects.push(Effect::Delete { objects: remove });
        }
        self.step(component, title, apply(objects), Undo::Effects { lane, effects })
    }

    pub(super) fn wait_ready(&self, component: &ComponentId, workload: &ObjectRef) -> Step {
        let timeout = self.inputs.env.limits.ready;
        // A StatefulSet that exists may have broken pods, which its controller waits for in vain.
        let (effect, why) = if workload.kind == "StatefulSet" && self.input.live.contains_key(workload) {
            let why = "its controller makes every pod that goes";
            (Effect::Unstick { workload: workload.clone(), timeout }, why)
        } else {
            (Effect::WaitReady { workloads: vec![workload.clone()], timeout }, "waiting changes nothing")
        };
        let undo = Undo::None { why: why.to_owned() };
        self.step(Some(component), format!("wait until {} is ready", workload.name), effect, undo)
    }

    pub(super) fn prepare(&mut self) {
        let named = &self.input.named;
        let moved: BTreeSet<usize> =
            (0..named.objects.len()).filter(|index| self.belongs_to_rollout(*index)).collect();
        let mut indices: Vec<usize> =
            (0..named.objects.len()).filter(|index| !moved.contains(index) && self.changed(*index)).collect();
        order::apply_order(&mut indices, &named.objects);
        // Jobs with a way back stand between what they need and what needs them.
        let undoable = self.undoable(&indices);
        let jobs: Vec<usize> = undoable.values().flatten().copied().collect();
        let behind = order::dependents(&indices, &jobs, &named.objects);
        indices.retain(|index| !jobs.contains(index) && !behind.contains(index));
        self.configure(at::PREPARE, "prepare", "configuration", &indices);
        self.run_jobs(undoable);
        self.configure(at::BEHIND_JOBS, "behind-jobs", "configuration behind the Jobs", &behind);
    }

    fn configure(&mut self, place: u32, name: &str, title: &str, indices: &[usize]) {
        if indices.is_empty() {
            return;
        }
        let wait = self.wait_before(indices);
        let steps = self.apply_in_order(indices);
        let stage = self.stage(place, name, title, 0);
        stage.steps.extend(steps);
        stage.steps.extend(wait);
    }

    /// Workloads, their autoscalers, and routes that exist already: the strategies move these.
    pub(super) fn belongs_to_rollout(&self, index: usize) -> bool {
        let object = &self.input.named.objects[index];
        let Some(component) = object.component.as_ref().and_then(|id| self.inputs.env.component(id)) else {
            return false;
        };
        let serving = self.input.named.workloads.get(&component.id);
        serving.is_some_and(|serving| serving.workload == self.references[index])
            || (serving.is_some() && autoscaler::is_one(&object.value))
            || (serving.is_some() && self.is_route(component, index))
    }
}
