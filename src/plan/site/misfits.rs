//! Services of an older release that do not fit the pods that serve now: other ports, another selector. On the way forward such
//! a release is refused (`plan::steady`); a way back never is. So the Service waits for the pods that fit it, and meanwhile
//! each of its two forms leads to the pods of its own revision alone.

use super::{Site, at};
use crate::domain::effect::Effect;
use crate::domain::environment::Component;
use crate::domain::ids::Revision;
use crate::domain::object::{LABEL_REVISION, Object};
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::plan::{naming, steady};
use serde_json::{Value, json};

impl Site<'_> {
    /// Whether a wanted Service would lead its users away from the pods that serve, if it were applied before others do.
    pub(super) fn is_misfit(&self, component: &Component, index: usize) -> bool {
        self.serving_and_wanted(component, index).is_some_and(|(live, stable, wanted, new)| {
            naming::leads_to(live, stable)
                && naming::leads_to(wanted, new)
                && steady::misfit(wanted, live, stable).is_some()
        })
    }

    /// Whether the Service as it is now would not lead to the pods that are wanted.
    fn fits_none_of_both(&self, component: &Component, index: usize) -> bool {
        self.serving_and_wanted(component, index)
            .is_some_and(|(live, _, wanted, new)| steady::misfit(live, wanted, new).is_some())
    }

    /// On the way back to an older release: a Service as it is live, the workload behind it, and both as they are wanted.
    fn serving_and_wanted(
        &self,
        component: &Component,
        index: usize,
    ) -> Option<(&Value, &Value, &Value, &Value)> {
        self.inputs.rollback_of?;
        let objects = &self.input.named.objects;
        let service = Some(&objects[index]).filter(|object| object.kind() == "Service")?;
        // What is bound to a revision moves with it in any case.
        if service.value["spec"]["selector"].get(LABEL_REVISION).is_some() {
            return None;
        }
        let live = self.input.live.get(&self.references[index])?;
        let recorded = self.input.previous()?.workloads.get(&component.id)?;
        let stable = self.input.live.get(&recorded.workload)?;
        let serving = self.input.named.workloads.get(&component.id)?;
        Some((live, stable, &service.value, &objects[self.workload_index(serving)?].value))
    }

    fn misfits(&self, component: &Component) -> Vec<usize> {
        self.routes(component).into_iter().filter(|index| self.is_misfit(component, *index)).collect()
    }

    /// Before other pods are there: the Services that will change lead to the pods of now alone.
    pub(super) fn pin_misfits(&mut self, component: &Component, stable: &ServingWorkload) -> Option<Step> {
        let misfits = self.misfits(component);
        let mut open = Vec::new();
        let (mut pinned, mut before) = (Vec::new(), Vec::new());
        for index in misfits {
            match (self.pinned_to_stable(index, stable), self.before(&self.references[index].clone())) {
                (Some(pin), Some(was)) => {
                    pinned.push(pin);
                    before.push(was);
                }
                _ => open.push(index),
            }
        }
        open.retain(|index| self.fits_none_of_both(component, *index));
        for index in open {
            self.warn_of(component, index);
        }
        if pinned.is_empty() {
            return None;
        }
        let to = stable.workload.name.clone();
        let title = format!("bind the Services of {} to {to}", component.id);
        // Not before the other pods are gone: they would take traffic that they cannot answer.
        let effects = vec![Effect::Switch { objects: before, to: to.clone() }];
        let undo = Undo::Effects { lane: Lane::Config, effects };
        Some(self.step(Some(&component.id), title, Effect::Switch { objects: pinned, to }, undo))
    }

    /// The Service as it was before, bound to the revision that serves.
    fn pinned_to_stable(&mut self, index: usize, stable: &ServingWorkload) -> Option<usize> {
        let revision = stable.revision?;
        let before = self.before(&self.references[index].clone())?;
        let object = bound(self.table.objects()[before].clone(), revision);
        Some(self.put(object))
    }

    /// A route as it is switched: a misfit is bound to the revision that will serve until the other's pods are gone.
    pub(super) fn switched(
        &mut self,
        component: &Component,
        index: usize,
        serving: &ServingWorkload,
    ) -> usize {
        let object = self.input.named.objects[index].clone();
        match serving.revision.filter(|_| self.is_misfit(component, index)) {
            Some(revision) => self.put(bound(object, revision)),
            None => self.put(object),
        }
    }

    /// What a switch that is taken back leads to: a misfit to stable's revision alone, as it did before the switch.
    pub(super) fn switched_back(
        &mut self,
        component: &Component,
        stable: &ServingWorkload,
        back: Vec<usize>,
    ) -> Vec<usize> {
        let misfits = self.misfits(component);
        let pin = |site: &mut Self, object: usize| {
            let reference = site.table.objects()[object].reference();
            let misfit = misfits.iter().copied().find(|index| site.references[*index] == reference);
            misfit.and_then(|index| site.pinned_to_stable(index, stable)).unwrap_or(object)
        };
        back.into_iter().map(|object| pin(self, object)).collect()
    }

    /// Once the other revision's pods are gone: the Services as they were released.
    pub(super) fn release_misfits(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
    ) -> Option<Step> {
        serving.revision?;
        let misfits = self.misfits(component);
        let back: Vec<usize> =
            misfits.iter().map(|index| self.switched(component, *index, serving)).collect();
        let objects: Vec<usize> = misfits.iter().map(|index| self.object_index(*index)).collect();
        if objects.is_empty() {
            return None;
        }
        let to = serving.workload.name.clone();
        let title = format!("Services of {} as they were released", component.id);
        let effects = vec![Effect::Switch { objects: back, to: to.clone() }];
        let undo = Undo::Effects { lane: Lane::Traffic, effects };
        Some(self.step(Some(&component.id), title, Effect::Switch { objects, to }, undo))
    }

    /// Of a component that changes in place: its Services after its pods, since no Service can tell the ones from the others.
    pub(super) fn misfits_in_place(&mut self, component: &Component, serving: &ServingWorkload, place: u32) {
        let misfits: Vec<usize> =
            self.misfits(component).into_iter().filter(|index| self.changed(*index)).collect();
        if misfits.is_empty() {
            return;
        }
        for index in &misfits {
            if self.fits_none_of_both(component, *index) {
                self.warn_of(component, *index);
            }
        }
        let to = serving.workload.name.clone();
        let objects: Vec<usize> = misfits.iter().map(|index| self.object_index(*index)).collect();
        let names: Vec<_> = misfits.iter().map(|index| self.references[*index].clone()).collect();
        let before: Vec<usize> = names.iter().filter_map(|name| self.before(name)).collect();
        let title = format!("Services of {} to its new pods", component.id);
        let effects = vec![Effect::Switch { objects: before, to: to.clone() }];
        let undo = Undo::Effects { lane: Lane::Traffic, effects };
        let step = self.step(Some(&component.id), title, Effect::Switch { objects, to }, undo);
        let name = if place == at::FIRST { "first" } else { "rolling" };
        self.stage(place, name, "components in place", 0).steps.push(step);
    }

    fn warn_of(&mut self, component: &Component, index: usize) {
        let to = self.inputs.rollback_of.unwrap_or_default();
        self.warnings.push(format!(
            "{}: {} of {to} does not fit the pods of {} that serve now, nor do those of {to} fit the one that leads to them: \
             requests fail until all of them are replaced",
            self.target.id, self.references[index], component.id
        ));
    }

    /// Whether a Service leads to one revision alone once it is switched.
    pub(super) fn leads_alone(&self, component: &Component, index: usize) -> bool {
        let selector = &self.input.named.objects[index].value["spec"]["selector"];
        selector.get(LABEL_REVISION).is_some() || self.is_misfit(component, index)
    }
}

/// A Service that leads to one revision alone.
fn bound(mut service: Object, revision: Revision) -> Object {
    service.value["spec"]["selector"][LABEL_REVISION] = json!(revision.0.to_string());
    service
}
