//! Stable shrinks with its traffic: after each weight that is seen it keeps what carries the rest, and grows back before
//! traffic returns to it.

use super::Split;
use crate::domain::effect::{Carries, Effect, Regrow, Rung, Size};
use crate::domain::environment::{Canary, Component};
use crate::domain::object::ObjectRef;
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::plan::site::Site;
use crate::rollout::{autoscaler, placement, share};
use std::collections::BTreeSet;

/// On its way back traffic goes in steps of so many percent, beside the weights of the canary itself.
const RUNG: usize = 10;

/// How stable shrinks.
pub(in crate::plan::site) struct Shrink {
    stable: ServingWorkload,
    new: ObjectRef,
    /// Its size now, with which it carries everything.
    full: u32,
    /// What budgets and autoscalers ask for.
    least: u32,
    /// Weights on the way back, falling, the last of them 0.
    rungs: Vec<u8>,
    /// Places of its autoscalers in the table, as they are with their own bounds.
    autoscalers: Vec<usize>,
    measure: Option<ObjectRef>,
}

impl Site<'_> {
    /// How stable shrinks, where the canary asks for it. The price is told beforehand.
    pub(super) fn shrink(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        canary: &Canary,
    ) -> Option<Shrink> {
        if !canary.dynamic_stable_scale {
            return None;
        }
        let own = canary.steps.iter().map(|step| step.weight);
        let rungs: BTreeSet<u8> = own.chain((0..=100).step_by(RUNG)).collect();
        let guarded = self.guarded(component, stable);
        let bounds = guarded.iter().filter_map(|index| self.input.live.get(&self.references[*index]));
        let fewest = bounds.filter_map(autoscaler::fewest).max().unwrap_or(1);
        let references: Vec<ObjectRef> =
            guarded.iter().map(|index| self.references[*index].clone()).collect();
        let shrink = Shrink {
            stable: stable.clone(),
            new: serving.workload.clone(),
            full: self.live_size(&stable.workload),
            least: fewest.max(self.budgeted(stable)),
            rungs: rungs.into_iter().rev().collect(),
            autoscalers: references.iter().filter_map(|reference| self.before(reference)).collect(),
            measure: self.demand(component, stable, Carries::Percent(100)).map(|demand| demand.autoscaler),
        };
        let steps = canary.steps.iter().map(|step| (step.weight, shrink.left(step.weight)));
        let waits: Vec<String> = steps
            .filter(|(_, left)| *left < shrink.full)
            .map(|(weight, left)| format!("at {weight} % from {left} to {} pods", shrink.full))
            .collect();
        if !waits.is_empty() {
            self.warnings.push(format!(
                "{}: dynamic_stable_scale: an abort waits until {} has grown back, {}; its traffic returns as its pods \
                 become ready",
                self.target.id,
                stable.workload.name,
                waits.join(", ")
            ));
        }
        Some(shrink)
    }

    /// Pods that budgets keep: a share of all adapts itself, a number does not.
    fn budgeted(&self, stable: &ServingWorkload) -> u32 {
        let Some(live) = self.input.live.get(&stable.workload) else { return 0 };
        let labels = placement::labels(&live["spec"]["template"]);
        let budgets = self.input.named.objects.iter().filter(|object| {
            object.kind() == "PodDisruptionBudget"
                && object.reference().namespace == stable.workload.namespace
                && placement::selects(&object.value["spec"]["selector"], &labels)
        });
        let least = budgets.filter_map(|budget| budget.value["spec"]["minAvailable"].as_u64());
        least.max().unwrap_or(0) as u32
    }

    /// Once a weight is seen, stable keeps what carries the rest of the traffic. One that an autoscaler scales is its own
    /// to shrink: only the bound that guards it falls.
    pub(super) fn shrink_step(&mut self, component: &Component, split: &Split, weight: u8) -> Option<Step> {
        let shrink = split.shrink.as_ref()?;
        let left = shrink.left(weight);
        if left >= shrink.full {
            return None;
        }
        let (name, full, rest) = (&shrink.stable.workload.name, shrink.full, 100 - weight);
        let workload = shrink.stable.workload.clone();
        let scaled = !shrink.autoscalers.is_empty();
        // What the load asks for beyond that, an autoscaler sees to.
        let (floor, least, demand) = (shrink.full, shrink.least, None);
        let to = Size::PartOf { workload: workload.clone(), percent: rest, floor, demand, least };
        let (title, effect) = if scaled {
            let title = format!("let {name} shrink to {left} of {full} pods: it carries {rest} %");
            (title, Effect::Guard { autoscalers: shrink.autoscalers.clone(), workload, to: Some(to) })
        } else {
            let title = format!("shrink {name} to {left} of {full} pods: it carries {rest} %");
            (title, Effect::Scale { workload, to })
        };
        let undo = Undo::Effects { lane: Lane::Traffic, effects: vec![self.back_from(split, weight)] };
        Some(self.step(Some(&component.id), title, effect, undo))
    }

    /// All traffic to stable from this weight: at once where stable kept its size, else as it grows.
    pub(super) fn back_from(&mut self, split: &Split, weight: u8) -> Effect {
        let Some(shrink) = &split.shrink else { return self.weigh(split, 0) };
        let rungs: Vec<u8> = shrink.rungs.iter().copied().filter(|rung| *rung <= weight).collect();
        let routes = rungs.into_iter().map(|percent| {
            let objects = super::weighed(split, percent).into_iter().map(|object| self.put(object));
            Rung { percent, objects: objects.collect() }
        });
        let routes = routes.collect();
        let timeout = self.inputs.env.limits.ready;
        let workload = shrink.stable.workload.clone();
        Effect::Regrow(Box::new(Regrow {
            to: Size::SameAs { workload: workload.clone(), floor: shrink.full, demand: None },
            workload,
            beside: shrink.new.clone(),
            measure: shrink.measure.clone(),
            autoscalers: shrink.autoscalers.clone(),
            routes,
            canaries: split.canaries.clone(),
            timeout,
        }))
    }

    /// Before the Services are switched back to it, stable is as large as what carries everything by then.
    pub(super) fn full_before_switch(&self, split: &Split) -> Option<Effect> {
        let shrink = split.shrink.as_ref()?;
        let timeout = self.inputs.env.limits.ready;
        Some(Effect::Regrow(Box::new(Regrow {
            workload: shrink.stable.workload.clone(),
            beside: shrink.new.clone(),
            to: Size::SameAs { workload: shrink.new.clone(), floor: shrink.full, demand: None },
            measure: None,
            autoscalers: shrink.autoscalers.clone(),
            routes: Vec::new(),
            canaries: split.canaries.clone(),
            timeout,
        })))
    }
}

impl Shrink {
    /// Pods that stable keeps at a weight of the new revision.
    pub(super) fn left(&self, weight: u8) -> u32 {
        let rest = 100_u8.saturating_sub(weight);
        share::part_or_least(self.full, rest, self.least)
    }
}
