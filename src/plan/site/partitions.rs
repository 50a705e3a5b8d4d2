//! Canary of a `StatefulSet`: its pods get the new template from the highest ordinal down, a share at a time, held by the
//! partition of its update strategy.

use super::{Site, at};
use crate::domain::effect::{Arm, Effect};
use crate::domain::environment::{Canary, Component};
use crate::domain::object::ObjectRef;
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::plan::build::is_live;
use crate::rollout::share;
use serde_json::Value;

impl Site<'_> {
    /// Step by step where users are and the pods change; else as its controller does it.
    pub(super) fn partitioned(&mut self, component: &Component, serving: &ServingWorkload, canary: &Canary) {
        let Some(index) = self.workload_index(serving) else { return };
        let in_steps = is_live(self) && self.inputs.rollback_of.is_none() && self.takes_new_pods(index);
        if !in_steps || canary.steps.is_empty() || self.replaced(index).is_some() {
            return self.in_place(component, serving);
        }
        if let Some((ready, size)) = self.held_up_by_its_own(index) {
            self.warnings.push(format!(
                "{}: {ready} of {size} pods of {} are ready: its controller updates none beside broken ones, so that it is \
                 updated without steps, and broken pods of the old template are deleted",
                self.target.id, self.references[index]
            ));
            return self.in_place(component, serving);
        }
        self.one_workload_warnings(index);
        self.no_box_for(component);
        let size = self.wanted_size(index);
        let name = &serving.workload.name;
        for (place_of, step) in canary.steps.iter().enumerate() {
            let place = at::WEIGHT + 10 * u32::from(step.weight);
            let pods = share::pods_of(size, step.weight);
            let which = ordinals(name, size, pods);
            let title = format!("update {pods} of {size} pods of {name} ({which})");
            let object = self.object_index(index);
            let effect = Effect::Partition { object, percent: step.weight };
            let actions = [
                self.partition_step(component, serving, index, title, effect),
                self.wait_ready(&component.id, &serving.workload),
            ];
            let (key, title) = (format!("canary-{}", step.weight), format!("canary {} %", step.weight));
            self.stage(place, &key, &title, step.weight).steps.extend(actions);
            if place_of == 0 {
                let check = format!("check-{}", step.weight);
                self.check(place + at::CHECK_BEHIND, &check, step.weight, component, serving);
            }
            let hold = self.holds.entry(step.weight).or_default();
            *hold = (*hold).max(step.hold);
            self.approve(step);
        }
        self.arms.push(Arm {
            component: component.id.clone(),
            new: serving.workload.clone(),
            stable: Some(serving.workload.clone()),
        });
        let objects = vec![self.object_index(index)];
        let title = format!("update all pods of {name}");
        let mut actions =
            vec![self.partition_step(component, serving, index, title, Effect::Apply { objects })];
        actions.extend(self.resize_in_place(component, serving, index));
        actions.push(self.wait_ready(&component.id, &serving.workload));
        self.stage(at::PROMOTE, "promote", "new revision at full size", 100).steps.extend(actions);
        self.handover(component, None);
        self.moved.push((component.id.clone(), serving.workload.clone()));
    }

    /// Whether the change is one of the pods; that of a size alone needs no steps.
    fn takes_new_pods(&self, index: usize) -> bool {
        self.input.live.contains_key(&self.references[index]) && self.rolls(index)
    }

    /// Whether what changes in a live workload makes other pods of it.
    pub(super) fn rolls(&self, index: usize) -> bool {
        self.differences[index].iter().any(|change| change.path.starts_with("spec.template"))
    }

    /// Ready pods and all, where pods that are not ready bar the way for the others: one after the other, from the lowest.
    fn held_up_by_its_own(&self, index: usize) -> Option<(u64, u64)> {
        let live = self.input.live.get(&self.references[index])?;
        let at_once = live.pointer("/spec/podManagementPolicy").and_then(Value::as_str) == Some("Parallel");
        let size = live.pointer("/status/replicas").and_then(Value::as_u64)?;
        let ready = live.pointer("/status/readyReplicas").and_then(Value::as_u64).unwrap_or(0);
        (!at_once && ready < size).then_some((ready, size))
    }

    fn wanted_size(&self, index: usize) -> u32 {
        let wanted = self.input.named.objects[index].value["spec"]["replicas"].as_u64();
        wanted.map_or_else(|| self.live_size(&self.references[index]), |replicas| replicas as u32)
    }

    /// Each of these steps is taken back as a whole: the old template for every pod.
    fn partition_step(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        index: usize,
        title: String,
        effect: Effect,
    ) -> Step {
        let before = self.before(&self.references[index].clone());
        let mut effects: Vec<Effect> =
            before.into_iter().map(|before| Effect::Apply { objects: vec![before] }).collect();
        effects.push(self.back_in_place(&serving.workload));
        self.step(Some(&component.id), title, effect, Undo::Effects { lane: Lane::Traffic, effects })
    }

    /// Waits for a workload that was changed back in place.
    pub(super) fn back_in_place(&self, workload: &ObjectRef) -> Effect {
        let (workload, timeout) = (workload.clone(), self.inputs.env.limits.ready);
        if workload.kind == "StatefulSet" {
            Effect::Unstick { workload, timeout }
        } else {
            Effect::WaitReady { workloads: vec![workload], timeout }
        }
    }

    fn one_workload_warnings(&mut self, index: usize) {
        let object = &self.input.named.objects[index].value;
        let (target, name) = (&self.target.id, &self.references[index]);
        let mut warnings = Vec::new();
        if object.pointer("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete") {
            warnings.push(format!(
                "{target}: {name} says updateStrategy OnDelete; its canary updates pods by RollingUpdate, and the rest \
                 keep the old template until somebody deletes them"
            ));
        }
        let kept = object.pointer("/spec/updateStrategy/rollingUpdate/partition").and_then(Value::as_u64);
        if let Some(kept) = kept.filter(|kept| *kept > 0) {
            warnings.push(format!(
                "{target}: {kept} pods of {name} keep the old template: its partition is {kept}"
            ));
        }
        self.warnings.extend(warnings);
    }
}

/// The pods that come first: `db-4`, `db-2 to db-4`.
fn ordinals(name: &str, size: u32, pods: u32) -> String {
    let last = size.saturating_sub(1);
    match pods {
        0 | 1 => format!("{name}-{last}"),
        _ => format!("{name}-{} to {name}-{last}", size - pods),
    }
}
