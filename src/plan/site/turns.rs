//! From one namespace to the other: the new side stands whole there, then the routes lead to it, and the old side goes
//! last, after everything that a way back needs it for.
//!
//! A route names the new side's Services at weight 0 first, so that a gateway says whether it may and can reach them
//! before any request goes there. Every step about the old side is in the component's own chain: on the way back its
//! Services stand and its pods are ready before the routes lead to them again.

use super::weights::{names, waiting};
use super::{Site, at};
use crate::domain::effect::{Arm, Effect, Size};
use crate::domain::environment::{BlueGreen, Component, Strategy, Switch, version_of};
use crate::domain::object::{Object, ObjectRef};
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::domain::units::human;
use crate::plan::build::is_live;
use crate::rollout::autoscaler;
use crate::rollout::router::namespaces::{self, Route};
use serde_json::Value;
use std::time::Duration;

/// What a router is given to follow where nobody counts whether it did.
pub(super) const FOLLOWS_WITHIN: Duration = Duration::from_secs(15);

/// The way of one component from side to side.
struct Way<'w> {
    component: &'w Component,
    serving: &'w ServingWorkload,
    stable: &'w ServingWorkload,
    how: BlueGreen,
    /// The routes as they are released, by place in the plan's table.
    after: Vec<usize>,
    /// The same with both sides, the new one at weight 0.
    both: Vec<usize>,
    /// The same as they were.
    before: Vec<usize>,
    routes: Vec<ObjectRef>,
    /// Whether a gateway says of them what it took over.
    told: bool,
    /// Why nobody counts what the routers do.
    assumed: Option<String>,
}

impl Site<'_> {
    /// The namespace that the component leaves with this release.
    pub(super) fn leaves(&self, component: &Component) -> Option<&str> {
        let serving = self.input.named.workloads.get(&component.id)?;
        let before = &self.input.previous()?.workloads.get(&component.id)?.workload;
        if before.namespace == serving.workload.namespace || !self.input.live.contains_key(before) {
            return None;
        }
        let takes_turns = component.strategy.green_namespace().is_some();
        // A release from before (or of a time with another strategy) is brought back by its routes all the same.
        let is_there = |(object, reference): (&Object, &ObjectRef)| {
            self.turns_with(component, &object.value) && self.input.live.contains_key(reference)
        };
        let mut objects = self.input.named.objects.iter().zip(&self.references);
        (takes_turns || objects.any(is_there)).then_some(before.namespace.as_str())
    }

    /// Whether an object is a route that leads to the component where it will serve.
    pub(super) fn turns_with(&self, component: &Component, object: &Value) -> bool {
        let Some(serving) = self.input.named.workloads.get(&component.id) else { return false };
        Route::of(object).is_some()
            && namespaces::leads(object, &self.service_names(component), &serving.workload.namespace)
    }

    /// All of the component's Services that select pods: a turn takes every workload of it along.
    fn service_names(&self, component: &Component) -> Vec<String> {
        let objects = self.input.named.objects.iter();
        objects
            .filter(|o| o.component.as_ref() == Some(&component.id) && o.kind() == "Service")
            .filter(|o| o.value["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty()))
            .map(|service| service.name().to_owned())
            .collect()
    }

    pub(super) fn turn(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
    ) {
        let way = self.way(component, serving, stable);
        let forward = self.inputs.rollback_of.is_none();
        self.new_side(&way);
        self.check(at::CHECK, "check", 0, component, serving);
        if forward && !way.how.preview.is_zero() {
            self.look_at_new_side(&way);
        }
        self.lead_over(&way);
        self.handover(component, None);
        if forward && !way.how.hold.is_zero() {
            self.green.0 = self.green.0.max(way.how.hold);
            self.green.1.push(arm(&way));
        }
        self.old_side_goes(&way, forward);
        self.moved.push((component.id.clone(), serving.workload.clone()));
    }

    fn way<'w>(
        &mut self,
        component: &'w Component,
        serving: &'w ServingWorkload,
        stable: &'w ServingWorkload,
    ) -> Way<'w> {
        let how = match &component.strategy {
            Strategy::BlueGreen(how) => how.clone(),
            _ => BlueGreen {
                switch: Switch::Gateway,
                green_namespace: None,
                hold: Duration::ZERO,
                preview: Duration::ZERO,
                scale_down_after: Duration::ZERO,
            },
        };
        let services = self.service_names(component);
        let sides = (stable.workload.namespace.as_str(), serving.workload.namespace.as_str());
        let indices = self.routes(component);
        let (mut after, mut both, mut before, mut routes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut told = false;
        for index in indices {
            let reference = self.references[index].clone();
            let Some(old) = self.before(&reference) else { continue };
            let was = self.table.objects()[old].clone();
            let next = self.input.named.objects[index].value.clone();
            let value = namespaces::beside(&was.value, &next, &services, sides);
            told |= Route::of(&next) == Some(Route::Http);
            both.push(self.put(Object { value, ..was }));
            after.push(self.object_index(index));
            before.push(old);
            routes.push(reference);
        }
        // Nobody is led astray where no users' requests arrive, as with weights.
        let live = is_live(self);
        let assumed = if live {
            self.unseen(component, serving, stable)
        } else {
            Some("no users' requests arrive there".to_owned())
        };
        let target = &self.target.id;
        if routes.is_empty() {
            self.warnings.push(format!(
                "{target}: no route of {} is live yet: whoever comes to it by another way is not led to {}",
                component.id, sides.1
            ));
        } else if let Some(why) = assumed.as_ref().filter(|_| live) {
            self.warnings.push(format!(
                "{target}: whether {} really leads to {} is not counted (assumed): {why}",
                names(&routes),
                sides.1
            ));
        }
        Way { component, serving, stable, how, after, both, before, routes, told, assumed }
    }

    /// All pods of the new side, beside all of the old.
    fn new_side(&mut self, way: &Way<'_>) {
        let (id, workload) = (&way.component.id, &way.serving.workload);
        let mut steps = Vec::new();
        steps.extend(self.guard_old_side(way));
        steps.extend(self.create_step(way.component, way.serving, 0));
        let floor = self.full_size(way.component);
        let to = if self.autoscalers(id).is_empty() {
            Size::Exactly(floor)
        } else {
            Size::SameAs { workload: way.stable.workload.clone(), floor, demand: None }
        };
        steps.push(self.scale_new_side(way, to));
        steps.push(self.wait_ready(id, workload));
        steps.extend(self.wait_traffic(way.component, workload));
        self.stage(at::PROMOTE, "promote", "new revision at full size", 50).steps.extend(steps);
    }

    fn scale_new_side(&self, way: &Way<'_>, to: Size) -> Step {
        let workload = &way.serving.workload;
        let back = vec![Effect::Scale { workload: workload.clone(), to: Size::Exactly(0) }];
        self.step(
            Some(&way.component.id),
            format!("scale {} in {} to full size", workload.name, workload.namespace),
            Effect::Scale { workload: workload.clone(), to },
            Undo::Effects { lane: Lane::Capacity, effects: back },
        )
    }

    /// Autoscalers of the old side, which no release will hold any more.
    fn old_autoscalers(&self, way: &Way<'_>) -> Vec<ObjectRef> {
        let old = &way.stable.workload;
        let scales = |(name, live): &(&ObjectRef, &Value)| {
            name.namespace == old.namespace
                && autoscaler::is_one(live)
                && autoscaler::target(live) == (old.kind.as_str(), old.name.as_str())
        };
        self.input.live.iter().filter(scales).map(|(name, _)| name.clone()).collect()
    }

    /// The old side loses its traffic at the switch, and must not shrink while a way back may need it.
    fn guard_old_side(&mut self, way: &Way<'_>) -> Option<Step> {
        if self.inputs.rollback_of.is_some() {
            return None;
        }
        let found = self.old_autoscalers(way);
        let before: Vec<usize> = found.iter().filter_map(|name| self.before(name)).collect();
        if before.is_empty() {
            return None;
        }
        let old = &way.stable.workload;
        let size = self.live_size(old);
        let title = format!("{} keeps at least {size} pods of {} until they go", names(&found), old.name);
        let undo =
            Undo::Effects { lane: Lane::Config, effects: vec![Effect::Apply { objects: before.clone() }] };
        let effect = Effect::Guard { autoscalers: before, workload: old.clone(), to: None };
        Some(self.step(Some(&way.component.id), title, effect, undo))
    }

    /// The new side before the switch, by its own Services, for people and their tests.
    fn look_at_new_side(&mut self, way: &Way<'_>) {
        let duration = way.how.preview;
        let (workload, place) = (&way.serving.workload, &way.serving.workload.namespace);
        let hold = self.hold_step(duration, vec![arm(way)], false);
        let title = format!("hold {} in {place} for {}", workload.name, human(duration));
        let mut steps = vec![self.step(Some(&way.component.id), title, hold.effect, hold.undo)];
        if !self.autoscalers(&way.component.id).is_empty() {
            // The old side may have grown meanwhile.
            let floor = self.full_size(way.component);
            let old = way.stable.workload.clone();
            steps.push(self.scale_new_side(way, Size::SameAs { workload: old, floor, demand: None }));
            steps.push(self.wait_ready(&way.component.id, workload));
        }
        let title = format!("preview for {}", human(duration));
        self.stage(at::PREVIEW, "preview", &title, 0).steps.extend(steps);
    }

    /// The routes: both sides named, then the new one alone, each seen before it goes on.
    fn lead_over(&mut self, way: &Way<'_>) {
        if way.routes.is_empty() {
            return;
        }
        let id = Some(&way.component.id);
        let (new, old) = (&way.serving.workload, &way.stable.workload);
        let shown = names(&way.routes);
        let back = vec![Effect::Apply { objects: way.before.clone() }];
        let mut steps = vec![self.step(
            id,
            format!("{shown} names the Services in {} at weight 0", new.namespace),
            Effect::Apply { objects: way.both.clone() },
            Undo::Effects { lane: Lane::Traffic, effects: back },
        )];
        steps.extend(self.seen(way).map(|effect| self.step(id, seen_title(way), effect, waiting())));
        let mut back = vec![Effect::Switch { objects: way.before.clone(), to: old.name.clone() }];
        back.extend(self.seen(way));
        back.push(self.followed_by_routers(way, 0));
        steps.push(self.step(
            id,
            format!("{shown} leads to {} in {}", new.name, new.namespace),
            Effect::Switch { objects: way.after.clone(), to: new.name.clone() },
            Undo::Effects { lane: Lane::Traffic, effects: back },
        ));
        steps.extend(self.seen(way).map(|effect| self.step(id, seen_title(way), effect, waiting())));
        let title = match way.assumed {
            None => format!("count until 100 % of {} come from {}", way.component.id, new.name),
            Some(_) => format!("give the routers {} to follow (not counted)", human(FOLLOWS_WITHIN)),
        };
        let effect = self.followed_by_routers(way, 100);
        steps.push(self.step(id, title, effect, waiting()));
        let title = format!("switch to {}", new.namespace);
        self.stage(at::SWITCH, "switch", &title, 100).steps.extend(steps);
    }

    /// A gateway says when it has taken a route over, and whether it may lead there.
    fn seen(&self, way: &Way<'_>) -> Option<Effect> {
        let timeout = self.inputs.env.limits.ready;
        way.told.then(|| Effect::WaitReady { workloads: way.routes.clone(), timeout })
    }

    /// Counted from outside where it can be; else some time.
    fn followed_by_routers(&self, way: &Way<'_>, percent: u8) -> Effect {
        self.all_follow(way.component, way.serving, way.assumed.is_none(), percent)
    }

    /// All traffic, or none, is seen to go to the new revision; where nobody counts, the routers have some time.
    pub(super) fn all_follow(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        counted: bool,
        percent: u8,
    ) -> Effect {
        let probe = component.version_probe.clone().filter(|_| counted);
        let (Some(probe), Some(version)) = (probe, version_of(&serving.image)) else {
            return self.hold_step(FOLLOWS_WITHIN, Vec::new(), false).effect;
        };
        let canaries = self.services(&component.id);
        let (before, timeout) = (100 - percent, self.inputs.env.limits.ready);
        Effect::WaitWeight { percent, before, canaries, probe, version: version.to_owned(), timeout }
    }

    /// The old side, at the very end: its autoscalers, its pods, then what no release needs of it.
    fn old_side_goes(&mut self, way: &Way<'_>, forward: bool) {
        let id = Some(&way.component.id);
        let (new, old) = (&way.serving.workload, &way.stable.workload);
        if forward && !way.how.scale_down_after.is_zero() {
            let kept = self.keep_step(way.component, way.serving, way.stable, &way.how);
            self.finish.push(kept);
        }
        let scaled = self.old_autoscalers(way);
        let left = self.left_behind(way);
        let (scalers, rest): (Vec<ObjectRef>, Vec<ObjectRef>) =
            left.iter().cloned().partition(|name| scaled.contains(name));
        if !scalers.is_empty() {
            let before = scalers.iter().filter_map(|name| self.before(name)).collect();
            let back = vec![Effect::Guard { autoscalers: before, workload: old.clone(), to: None }];
            let title = format!("delete {} in {}", names(&scalers), old.namespace);
            let undo = Undo::Effects { lane: Lane::Traffic, effects: back };
            self.finish.push(self.step(id, title, Effect::Delete { objects: scalers }, undo));
        }
        let floor = self.live_size(old);
        let timeout = self.inputs.env.limits.ready;
        let back = vec![
            Effect::Scale {
                workload: old.clone(),
                to: Size::SameAs { workload: new.clone(), floor, demand: None },
            },
            Effect::WaitReady { workloads: vec![old.clone()], timeout },
        ];
        self.finish.push(self.step(
            id,
            format!("scale {} in {} to 0, kept for a rollback", old.name, old.namespace),
            Effect::Scale { workload: old.clone(), to: Size::Exactly(0) },
            Undo::Effects { lane: Lane::Traffic, effects: back },
        ));
        if !rest.is_empty() {
            let before = rest.iter().filter_map(|name| self.before(name)).collect();
            let undo =
                Undo::Effects { lane: Lane::Traffic, effects: vec![Effect::Apply { objects: before }] };
            let objects = if rest.len() == 1 { "object" } else { "objects" };
            let title =
                format!("delete {} {objects} of {} in {}", rest.len(), way.component.id, old.namespace);
            self.finish.push(self.step(id, title, Effect::Delete { objects: rest }, undo));
        }
        self.left.extend(left);
    }

    /// What no release needs any more and stands where the component leaves.
    fn left_behind(&self, way: &Way<'_>) -> Vec<ObjectRef> {
        let known: Vec<ObjectRef> = self
            .input
            .history
            .iter()
            .flat_map(|release| &release.objects)
            .filter(|object| object.component.as_ref() == Some(&way.component.id))
            .map(Object::reference)
            .filter(|name| name.namespace == way.stable.workload.namespace)
            .collect();
        self.doomed.iter().filter(|name| known.contains(name)).cloned().collect()
    }
}

fn seen_title(way: &Way<'_>) -> String {
    format!("wait until {} is accepted", names(&way.routes))
}

fn arm(way: &Way<'_>) -> Arm {
    Arm { component: way.component.id.clone(), new: way.serving.workload.clone(), stable: None }
}
