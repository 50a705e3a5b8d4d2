//! Autoscalers while two revisions serve: they keep stable as large as a way back needs, the new revision grows with the
//! load, and they change over once it carries all of it. One at a time: no pod is ever matched by two.

use super::{Site, at};
use crate::domain::effect::{Carries, Demand, Effect, Follow, Size};
use crate::domain::environment::Component;
use crate::domain::object::ObjectRef;
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::rollout::autoscaler;

impl Site<'_> {
    /// Autoscalers of the component that scale stable now, by place among the wanted objects. A rollback has no holds in
    /// which they could do harm.
    pub(super) fn guarded(&self, component: &Component, stable: &ServingWorkload) -> Vec<usize> {
        if self.inputs.rollback_of.is_some() {
            return Vec::new();
        }
        let scales_stable = |index: &usize| {
            let live = self.input.live.get(&self.references[*index]);
            let target = (stable.workload.kind.as_str(), stable.workload.name.as_str());
            live.is_some_and(|live| autoscaler::target(live) == target)
        };
        self.autoscalers(&component.id).into_iter().filter(scales_stable).collect()
    }

    /// From here on no autoscaler shrinks stable; their own bounds come back with the handover, or at the very end of a
    /// way back.
    pub(super) fn guard_step(&mut self, component: &Component, stable: &ServingWorkload) -> Option<Step> {
        let references: Vec<ObjectRef> =
            self.guarded(component, stable).into_iter().map(|index| self.references[index].clone()).collect();
        let before: Vec<usize> = references.iter().filter_map(|reference| self.before(reference)).collect();
        if before.is_empty() {
            return None;
        }
        let names = references.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (name, size) = (&stable.workload.name, self.live_size(&stable.workload));
        let title = format!("{names} keeps at least {size} pods of {name} until the handover");
        let effects = vec![Effect::Apply { objects: before.clone() }];
        let effect = Effect::Guard { autoscalers: before, workload: stable.workload.clone(), to: None };
        let undo = Undo::Effects { lane: Lane::Config, effects };
        Some(self.step(Some(&component.id), title, effect, undo))
    }

    /// Who knows what all of the load asks for, while stable carries this part of it.
    pub(super) fn demand(
        &self,
        component: &Component,
        stable: &ServingWorkload,
        carries: Carries,
    ) -> Option<Demand> {
        let index = *self.guarded(component, stable).first()?;
        let (object, reference) = (&self.input.named.objects[index].value, &self.references[index]);
        let name = autoscaler::measuring(object);
        // The version whose status tells of every metric.
        let kind = "HorizontalPodAutoscaler";
        let autoscaler = ObjectRef::new("autoscaling/v2", kind, &reference.namespace, &name);
        Some(Demand { autoscaler, carries })
    }

    /// From this weight on the new revision is at least so large, whatever the autoscaler makes of stable.
    pub(super) fn keep_up(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        weight: u8,
        to: Size,
    ) {
        if !self.guarded(component, stable).is_empty() {
            let follow = Follow { workload: serving.workload.clone(), to };
            self.follow.push((component.id.clone(), weight, follow));
        }
    }

    /// What keeps up with the load at a weight: of each component the last that it has come to.
    pub(super) fn followed(&self, weight: u8) -> Vec<Follow> {
        let reached = |id| {
            let own = self.follow.iter().filter(|(of, from, _)| of == id && *from <= weight);
            own.max_by_key(|(_, from, _)| *from).map(|(_, _, follow)| follow.clone())
        };
        self.inputs.env.components.iter().filter_map(|component| reached(&component.id)).collect()
    }

    /// Blue may have grown while green was looked at.
    pub(super) fn catch_up(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
    ) -> Vec<Step> {
        if self.guarded(component, stable).is_empty() {
            return Vec::new();
        }
        let floor = self.full_size(component);
        let to = Size::SameAs { workload: stable.workload.clone(), floor, demand: None };
        let undo = vec![Effect::Scale { workload: serving.workload.clone(), to: Size::Exactly(0) }];
        let title =
            format!("scale {} to the present size of {}", serving.workload.name, stable.workload.name);
        let effect = Effect::Scale { workload: serving.workload.clone(), to };
        let undo = Undo::Effects { lane: Lane::Capacity, effects: undo };
        let scale = self.step(Some(&component.id), title, effect, undo);
        vec![scale, self.wait_ready(&component.id, &serving.workload)]
    }

    /// The autoscalers turn to the new revision, with the bounds that were released.
    pub(super) fn handover(&mut self, component: &Component, stable: Option<&ServingWorkload>) {
        let indices: Vec<usize> =
            self.autoscalers(&component.id).into_iter().filter(|index| self.changed(*index)).collect();
        if indices.is_empty() {
            return;
        }
        let mut step = self.apply_step(
            Some(&component.id),
            format!("hand the autoscaler of {} to the new revision", component.id),
            &indices,
            Lane::Traffic,
        );
        if let Some(stable) = stable {
            self.hand_back_guarded(component, stable, &mut step);
        }
        self.stage(at::HANDOVER, "handover", "autoscalers to the new revision", 0).steps.push(step);
    }

    /// On a way back stable has nothing to do until the traffic returns: its autoscaler must not shrink it meanwhile.
    fn hand_back_guarded(&mut self, component: &Component, stable: &ServingWorkload, step: &mut Step) {
        let references: Vec<ObjectRef> =
            self.guarded(component, stable).into_iter().map(|index| self.references[index].clone()).collect();
        let guarded: Vec<usize> = references.iter().filter_map(|reference| self.before(reference)).collect();
        let Undo::Effects { effects, .. } = &mut step.undo else { return };
        if guarded.is_empty() {
            return;
        }
        for effect in effects.iter_mut() {
            if let Effect::Apply { objects } = effect {
                objects.retain(|index| !guarded.contains(index));
            }
        }
        effects.retain(|effect| !matches!(effect, Effect::Apply { objects } if objects.is_empty()));
        effects
            .insert(0, Effect::Guard { autoscalers: guarded, workload: stable.workload.clone(), to: None });
    }
}
