//! One pod of the new revision in one place, before the first weight: what is plainly broken breaks there.
//!
//! It is a first step of every canary in the first live target that the run comes to, and in no other.

use super::{Site, at, until};
use crate::domain::effect::{Effect, Follow, Size, Until};
use crate::domain::environment::{CanaryStep, Component, OneBox};
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::domain::units::human;
use crate::rollout::share;
use std::time::Duration;

/// The bake of one pod, as far as the components of a target have come to it.
#[derive(Default)]
pub(super) struct Boxed {
    weight: u8,
    bake: Duration,
    follow: Vec<Follow>,
}

/// Where a step of a canary stands in its wave, and what its stages are called.
pub(super) struct Stop {
    pub place: u32,
    pub name: String,
    pub title: String,
    pub check: String,
    pub route: (String, String),
}

impl Site<'_> {
    /// The environment's one box, if it stands here.
    fn box_here(&self) -> Option<OneBox> {
        let inputs = self.inputs;
        let of_run = inputs.env.waves.iter().flatten().filter(|id| inputs.targets.contains_key(*id));
        let is_live = |id| inputs.env.target(id).is_some_and(super::canary::is_served);
        let first = of_run.into_iter().find(|id| is_live(id))?;
        inputs.env.one_box.filter(|_| *first == self.target.id && inputs.rollback_of.is_none())
    }

    /// The steps of a canary here: with one pod before them, if this is the place. A router sends one pod no more than it
    /// can carry, than `max_share`, and than the first weight.
    pub(super) fn with_one_box(
        &mut self,
        component: &Component,
        stable: &ServingWorkload,
        steps: &[CanaryStep],
    ) -> Vec<CanaryStep> {
        let (Some(one_box), Some(first)) = (self.box_here(), steps.first()) else { return steps.to_vec() };
        let size = self.live_size(&stable.workload);
        let routed = component.strategy.weighted_router().is_some() && stable.revision.is_some();
        let weight = if routed {
            let carried = u8::try_from(100 / size.max(1)).unwrap_or(100);
            first.weight.min(one_box.max_share).min(carried).max(1)
        } else {
            let reached = share::reached_percent(1, size);
            if reached > f64::from(one_box.max_share) {
                self.warnings.push(format!(
                    "{}: one pod of {} beside {size} is {reached:.0} % of its pods, more than `one_box.max_share` ({} %)",
                    self.target.id, component.id, one_box.max_share
                ));
            }
            first.weight.min(reached as u8).max(1)
        };
        self.boxes.push(component.id.clone());
        let step = CanaryStep { weight, hold: one_box.bake, scale: None, approve: None };
        std::iter::once(step).chain(steps.iter().cloned()).collect()
    }

    /// A partition holds back ordinals, it does not put one pod beside the others.
    pub(super) fn no_box_for(&mut self, component: &Component) {
        if self.box_here().is_some() {
            self.warnings.push(format!(
                "{}: `one_box` leaves {} out: pods of a StatefulSet are updated in their order, from its first step on",
                self.target.id, component.id
            ));
        }
    }

    /// Whether a step of the component is the one with one pod.
    pub(super) fn is_box(&self, component: &Component, index: usize) -> bool {
        index == 0 && self.boxes.contains(&component.id)
    }

    /// Where a step stands.
    pub(super) fn stop(&self, component: &Component, index: usize, step: &CanaryStep) -> Stop {
        let weight = step.weight;
        if self.is_box(component, index) {
            return Stop {
                place: at::ONE_BOX,
                name: "one-box".to_owned(),
                title: "one pod of the new revision".to_owned(),
                check: "one-box-check".to_owned(),
                route: ("one-box-route".to_owned(), format!("route {weight} % to one pod")),
            };
        }
        Stop {
            place: at::WEIGHT + 10 * u32::from(weight),
            name: format!("canary-{weight}"),
            title: format!("canary {weight} %"),
            check: format!("check-{weight}"),
            route: (format!("route-{weight}"), format!("route {weight} %")),
        }
    }

    /// The hold of a step, who approves its end, and what keeps up with the load meanwhile.
    pub(super) fn hold_at(
        &mut self,
        (component, index): (&Component, usize),
        step: &CanaryStep,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        size: Option<Size>,
    ) {
        self.approve(step);
        if !self.is_box(component, index) {
            let hold = self.holds.entry(step.weight).or_default();
            *hold = (*hold).max(step.hold);
            if let Some(to) = size {
                self.keep_up(component, serving, stable, step.weight, to);
            }
            return;
        }
        let guarded = !self.guarded(component, stable).is_empty();
        let boxed = self.boxed.get_or_insert_default();
        boxed.weight = boxed.weight.max(step.weight);
        boxed.bake = boxed.bake.max(step.hold);
        let follow = size.filter(|_| guarded).map(|to| Follow { workload: serving.workload.clone(), to });
        boxed.follow.extend(follow);
    }

    /// One pod beside all of stable's, where pods are the router.
    pub(super) fn one_pod_step(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
    ) -> Step {
        let size = self.live_size(&stable.workload);
        let reached = share::reached_percent(1, size);
        let title =
            format!("scale {} to 1 beside {size} ({reached:.0} % of the pods)", serving.workload.name);
        let scale = |to| Effect::Scale { workload: serving.workload.clone(), to };
        let undo = Undo::Effects { lane: Lane::Traffic, effects: vec![scale(Size::Exactly(0))] };
        self.step(Some(&component.id), title, scale(Size::Exactly(1)), undo)
    }

    /// Gates watch the one pod.
    pub(super) fn bake_box(&mut self) {
        let Some(boxed) = self.boxed.take() else { return };
        let arms = self.arms.iter().filter(|arm| self.boxes.contains(&arm.component)).cloned().collect();
        let title = format!("bake one pod for {}", human(boxed.bake));
        let mut hold = until::held(self.hold_step(boxed.bake, arms, true), Until::default());
        if let Effect::Hold { follow, .. } = &mut hold.effect {
            *follow = boxed.follow;
        }
        self.stage(at::ONE_BOX + at::HOLD_BEHIND, "one-box-bake", &title, boxed.weight).steps.push(hold);
    }
}
