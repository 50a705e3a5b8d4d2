//! Objects that no strategy moves, in their order. Workloads among them (a component's second one, all of one where none has
//! its name) have steps of their own: they go back with the traffic, and are waited for, since users may be on their pods
//! and Jobs of the way back must not find the new ones.

use super::Site;
use crate::domain::effect::Effect;
use crate::domain::object::ObjectRef;
use crate::domain::step::{Lane, Step, Undo};
use crate::plan::naming::is_workload;
use crate::plan::order;

/// How a workload that no strategy moves changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Made,
    Changed,
    Replaced,
}

impl Site<'_> {
    /// Applies objects in their order: what workloads need, the workloads, what needs them.
    pub(super) fn apply_in_order(&mut self, indices: &[usize]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut left = indices.to_vec();
        while !left.is_empty() {
            let (ready, workloads) = self.next_in_order(&left);
            left.retain(|index| !ready.contains(index) && !workloads.contains(index));
            steps.extend(self.apply_configuration(&ready));
            let alike = |one: &usize, other: &usize| self.way_of(*one) == self.way_of(*other);
            let runs: Vec<&[usize]> = workloads.chunk_by(alike).collect();
            for run in runs {
                steps.push(self.apply_workloads(run));
            }
        }
        steps
    }

    /// Of what is left: configuration that waits for no workload, then the workloads that wait for nothing else.
    fn next_in_order(&self, left: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let objects = &self.input.named.objects;
        let (workloads, others): (Vec<usize>, Vec<usize>) =
            left.iter().copied().partition(|index| is_workload(objects[*index].kind()));
        let behind = order::dependents(left, &workloads, objects);
        let (behind, ready): (Vec<usize>, Vec<usize>) =
            others.into_iter().partition(|index| behind.contains(index));
        let waiting = order::dependents(left, &behind, objects);
        let workloads = workloads.into_iter().filter(|index| !waiting.contains(index)).collect();
        (ready, workloads)
    }

    /// What has to be replaced stands between what it needs and what needs it.
    fn apply_configuration(&mut self, indices: &[usize]) -> Vec<Step> {
        let objects = &self.input.named.objects;
        let replaced: Vec<usize> =
            indices.iter().copied().filter(|index| self.replaced(*index).is_some()).collect();
        let after = order::dependents(indices, &replaced, objects);
        let is_first = |index: &usize| !replaced.contains(index) && !after.contains(index);
        let first: Vec<usize> = indices.iter().copied().filter(is_first).collect();
        let mut steps = Vec::new();
        for (what, indices) in [("apply", first), ("replace", replaced), ("apply", after)] {
            if !indices.is_empty() {
                let count = indices.len();
                let objects = if count == 1 { "object" } else { "objects" };
                let title = format!("{what} {count} {objects} of configuration");
                steps.push(self.apply_step(None, title, &indices, Lane::Config));
            }
        }
        steps
    }

    fn way_of(&self, index: usize) -> Way {
        match self.replaced(index) {
            _ if !self.input.live.contains_key(&self.references[index]) => Way::Made,
            Some(_) => Way::Replaced,
            None => Way::Changed,
        }
    }

    /// Workloads that change in the same way. What is new serves nobody but the new revision, and goes with its pods.
    fn apply_workloads(&mut self, indices: &[usize]) -> Step {
        let way = self.way_of(indices[0]);
        let what = if way == Way::Replaced { "replace" } else { "apply" };
        let title = match indices {
            [one] => format!("{what} {}", self.references[*one]),
            all => format!("{what} {} workloads", all.len()),
        };
        if way == Way::Made {
            return self.apply_step(None, title, indices, Lane::Capacity);
        }
        let names: Vec<ObjectRef> = indices.iter().map(|index| self.references[*index].clone()).collect();
        let mut step = self.apply_step(None, title, indices, Lane::Traffic);
        if let Undo::Effects { effects, .. } = &mut step.undo {
            effects.extend(self.all_back_in_place(names));
        }
        step
    }

    /// Waits for workloads that were changed back in place.
    fn all_back_in_place(&self, workloads: Vec<ObjectRef>) -> Vec<Effect> {
        let (sets, others): (Vec<ObjectRef>, Vec<ObjectRef>) =
            workloads.into_iter().partition(|workload| workload.kind == "StatefulSet");
        let timeout = self.inputs.env.limits.ready;
        let mut effects: Vec<Effect> = sets.iter().map(|set| self.back_in_place(set)).collect();
        if !others.is_empty() {
            effects.push(Effect::WaitReady { workloads: others, timeout });
        }
        effects
    }
}
