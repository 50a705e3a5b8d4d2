//! From a component's strategy and what serves it now to its way: first, in place, settled, side by side.

use super::{Site, at};
use crate::domain::effect::{Effect, Size};
use crate::domain::environment::{Canary, Component, Router, Strategy};
use crate::domain::ids::ComponentId;
use crate::domain::object::ObjectRef;
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::rollout::autoscaler;
use serde_json::{Value, json};

impl Site<'_> {
    pub(super) fn component(&mut self, component: &Component, serving: &ServingWorkload) {
        let stable = self.stable(component, serving);
        if let Some(stable) = stable.as_ref().filter(|_| self.leaves(component).is_some()) {
            return self.turn(component, serving, stable);
        }
        match (&component.strategy, serving.revision, stable) {
            // Back to (or on from) a workload under another name: side by side, whatever the strategy says.
            (_, None, Some(stable)) if stable.workload != serving.workload => {
                self.canary(component, serving, &stable, &all_at_once());
            }
            (Strategy::Canary(canary), None, _) if serving.workload.kind == "StatefulSet" => {
                self.partitioned(component, serving, canary);
            }
            (_, None, _) => self.in_place(component, serving),
            (_, Some(_), None) => self.first(component, serving),
            (_, Some(_), Some(stable)) if stable.workload == serving.workload => {
                self.settled(component, serving);
            }
            (Strategy::BlueGreen(blue_green), Some(_), Some(stable)) => {
                self.blue_green(component, serving, &stable, blue_green);
            }
            (Strategy::Canary(canary), Some(_), Some(stable)) => {
                self.canary(component, serving, &stable, canary);
            }
            (Strategy::Rolling | Strategy::Recreate, Some(_), Some(stable)) => {
                self.canary(component, serving, &stable, &all_at_once());
            }
        }
    }

    /// The workload that serves the component now: on record, or found under the manifest's own name (revision 0).
    pub(super) fn stable(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
    ) -> Option<ServingWorkload> {
        let recorded = self.input.previous().and_then(|release| release.workloads.get(&component.id));
        if let Some(recorded) = recorded {
            return self.input.live.contains_key(&recorded.workload).then(|| recorded.clone());
        }
        let suffix = format!("-{}", serving.revision?);
        let name = serving.workload.name.strip_suffix(&suffix)?;
        let found = ObjectRef { name: name.to_owned(), ..serving.workload.clone() };
        let live = self.input.live.get(&found)?;
        self.warnings.push(format!(
            "{}: {found} exists already and is adopted as revision r0; it keeps its objects and serves until the new revision does",
            self.target.id
        ));
        let image = live
            .pointer("/spec/template/spec/containers/0/image")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let (image, hash) = (image.to_owned(), String::new());
        let adopted = ServingWorkload { workload: found, revision: None, image, hash, size: None };
        self.adopted.insert(component.id.clone(), adopted.clone());
        Some(adopted)
    }

    /// The index of a component's own workload object.
    pub(super) fn workload_index(&self, serving: &ServingWorkload) -> Option<usize> {
        self.references.iter().position(|reference| *reference == serving.workload)
    }

    pub(super) fn autoscalers(&self, component: &ComponentId) -> Vec<usize> {
        let objects = &self.input.named.objects;
        (0..objects.len())
            .filter(|i| {
                objects[*i].component.as_ref() == Some(component) && autoscaler::is_one(&objects[*i].value)
            })
            .collect()
    }

    /// Creates the revision's Deployment at a given size; it is never edited again but for its size. One that is there from
    /// an earlier release, and that somebody edited, becomes what it was.
    pub(super) fn create_step(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        replicas: u32,
    ) -> Vec<Step> {
        let Some(index) = self.workload_index(serving) else { return Vec::new() };
        let mut object = self.input.named.objects[index].clone();
        object.value["spec"]["replicas"] = json!(replicas);
        let index = self.put(object);
        let undo = if self.input.live.contains_key(&serving.workload) {
            // It is there from an earlier release: back to no pods, and kept for the next rollback.
            vec![Effect::Scale { workload: serving.workload.clone(), to: Size::Exactly(0) }]
        } else {
            vec![Effect::Delete { objects: vec![serving.workload.clone()] }]
        };
        let title = format!("create {} ({})", serving.workload.name, serving.image);
        let undo = Undo::Effects { lane: Lane::Capacity, effects: undo };
        let create = self.step(Some(&component.id), title, Effect::Create { objects: vec![index] }, undo);
        [Some(create), self.mend_step(component, serving)].into_iter().flatten().collect()
    }

    /// Creating leaves what exists: a revision's Deployment that differs from what was released is applied. Its size is
    /// nobody's manifest's.
    fn mend_step(&mut self, component: &Component, serving: &ServingWorkload) -> Option<Step> {
        let index = self.workload_index(serving)?;
        let mut others = self.differences[index].iter().filter(|change| change.path != "spec.replicas");
        if others.next().is_none() || self.replaced(index).is_some() {
            return None;
        }
        let mut object = self.input.named.objects[index].clone();
        object.value["spec"].as_object_mut()?.remove("replicas");
        let objects = vec![self.put(object)];
        let title = format!("apply {} as it was released", serving.workload.name);
        let undo = Undo::None { why: "it is what the release has on record".to_owned() };
        Some(self.step(Some(&component.id), title, Effect::Apply { objects }, undo))
    }

    /// The pods stay, unless somebody edited them; else only their number, the autoscaler or routes may change.
    pub(super) fn settled(&mut self, component: &Component, serving: &ServingWorkload) {
        let mended = self.mend_step(component, serving);
        let rolls = self.workload_index(serving).is_some_and(|index| self.rolls(index));
        if mended.is_some() && rolls {
            self.moved.push((component.id.clone(), serving.workload.clone()));
        }
        let mut steps: Vec<Step> = mended.into_iter().chain(self.resize_step(component, serving)).collect();
        if !steps.is_empty() {
            steps.push(self.wait_ready(&component.id, &serving.workload));
            self.stage(at::RESIZE, "resize", "components to size", 0).steps.extend(steps);
        }
        self.handover(component, None);
        let changed: Vec<usize> =
            self.routes(component).into_iter().filter(|index| self.changed(*index)).collect();
        if !changed.is_empty() {
            let step =
                self.apply_step(Some(&component.id), "apply routes".to_owned(), &changed, Lane::Config);
            self.stage(at::PREPARE, "prepare", "configuration", 0).steps.push(step);
        }
    }

    /// Nothing serves the component yet: no holds, no weights.
    pub(super) fn first(&mut self, component: &Component, serving: &ServingWorkload) {
        let replicas = self.full_size(component);
        let mut steps = self.create_step(component, serving, replicas);
        if steps.is_empty() {
            return;
        }
        let wait = self.wait_ready(&component.id, &serving.workload);
        let scale = self.step(
            Some(&component.id),
            format!("scale {} to {replicas}", serving.workload.name),
            Effect::Scale { workload: serving.workload.clone(), to: Size::Exactly(replicas) },
            Undo::None { why: "it is deleted as a whole".to_owned() },
        );
        steps.extend([scale, wait]);
        // A Service of before that is left without pods.
        let changed: Vec<usize> =
            self.routes(component).into_iter().filter(|index| self.changed(*index)).collect();
        if !changed.is_empty() {
            let title = "apply routes".to_owned();
            steps.push(self.apply_step(Some(&component.id), title, &changed, Lane::Config));
        }
        self.stage(at::FIRST, "first", "first revision", 0).steps.extend(steps);
        self.handover(component, None);
        self.moved.push((component.id.clone(), serving.workload.clone()));
    }

    /// One Deployment (or `StatefulSet`, `DaemonSet`), changed in place by its controller.
    pub(super) fn in_place(&mut self, component: &Component, serving: &ServingWorkload) {
        let Some(index) = self.workload_index(serving) else { return };
        let exists = self.input.live.contains_key(&serving.workload);
        let place = if self.needed_by_revisioned(&component.id) { at::FIRST } else { at::IN_PLACE };
        let mut steps = Vec::new();
        if self.changed(index) {
            let mut step = self.apply_step(
                Some(&component.id),
                format!(
                    "{} {}",
                    if self.replaced(index).is_some() { "replace" } else { "apply" },
                    serving.workload.name
                ),
                &[index],
                Lane::Traffic,
            );
            if !exists && self.input.named.objects[index].value["spec"].get("replicas").is_none() {
                self.start_at_minimum(&mut step, component, index);
            }
            if let Undo::Effects { effects, .. } = &mut step.undo
                && exists
            {
                effects.push(self.back_in_place(&serving.workload));
            }
            if component.strategy == Strategy::Recreate && exists {
                self.warnings.push(format!(
                    "{}: {} is stopped before it starts anew: downtime",
                    self.target.id, component.id
                ));
            }
            steps.push(step);
            self.moved.push((component.id.clone(), serving.workload.clone()));
        }
        steps.extend(self.resize_in_place(component, serving, index));
        if !steps.is_empty() {
            steps.push(self.wait_ready(&component.id, &serving.workload));
            self.stage(place, if place == at::FIRST { "first" } else { "rolling" }, "components in place", 0)
                .steps
                .extend(steps);
        }
        self.misfits_in_place(component, serving, place);
        self.handover(component, None);
    }

    /// A new workload without `replicas` would start with one pod; its autoscaler's floor is better.
    pub(super) fn start_at_minimum(&mut self, step: &mut Step, component: &Component, index: usize) {
        let mut object = self.input.named.objects[index].clone();
        if matches!(object.kind(), "Deployment" | "StatefulSet") {
            object.value["spec"]["replicas"] = json!(self.full_size(component));
            let index = self.put(object);
            step.effect = Effect::Apply { objects: vec![index] };
        }
    }

    pub(super) fn needed_by_revisioned(&self, id: &ComponentId) -> bool {
        self.inputs.env.components.iter().any(|other| {
            other.depends_on.contains(id)
                && matches!(other.strategy, Strategy::Canary(_) | Strategy::BlueGreen(_))
        })
    }
}

/// A way without weights.
fn all_at_once() -> Canary {
    Canary { steps: Vec::new(), router: Router::Pods, mirror: None, dynamic_stable_scale: false }
}
