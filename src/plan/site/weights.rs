//! Canary whose weights a router carries: capacity first, then weight, seen before anything goes on.
//!
//! The component's own Service leads to stable alone until the end. The revision under test has a Service of its own, and
//! the route divides between the two. A way back begins with weight 0; the canary's route goes after it, its Service after
//! that, and its pods last of all.

mod at_weight;
mod dynamic;
mod mirror;

use super::{Site, at};
use crate::domain::effect::{Carries, Effect, Size};
use crate::domain::environment::{Canary, CanaryStep, Component, Mirror, Router, version_of};
use crate::domain::object::{LABEL_REVISION, Object, ObjectRef};
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::plan::router as routes;
use crate::rollout::router;
use at_weight::{at_weight, weighed};
use serde_json::json;
use std::collections::BTreeMap;

/// What divides the traffic of a component between two of its revisions. Objects are places in the plan's table.
pub(super) struct Split {
    router: Router,
    /// Services that lead to one revision, by name.
    services: Vec<String>,
    /// The routes as they are before the release, all traffic to stable.
    before: Vec<Object>,
    /// Canaries of Ingresses that other components divide, too: their names by those of the Ingresses.
    apart: BTreeMap<ObjectRef, String>,
    /// Wanted routes that change with the component, by place among the wanted objects.
    wanted: Vec<usize>,
    /// The canary's Services, and what the router needs beside them, leading to the new revision.
    companions: Vec<usize>,
    /// The canary's Services, leading to stable: where a router that does not follow does no harm.
    refuge: Vec<usize>,
    /// Names of the canary's Services.
    canaries: Vec<ObjectRef>,
    /// Names of all that exists for the canary only, what leads to others first.
    passing: Vec<ObjectRef>,
    /// What must lead to stable alone before the new revision's pods are ready, and as it is now.
    pin: Option<(Vec<usize>, Vec<usize>)>,
    /// Services of stable.
    stable: Vec<usize>,
    /// Why nobody counts what the router sends.
    assumed: Option<String>,
    /// How stable shrinks with its traffic, if it does.
    shrink: Option<dynamic::Shrink>,
}

impl Site<'_> {
    /// Whether the router divides an object between revisions of the component. For Istio the rules of its hosts belong to
    /// the route.
    pub(super) fn is_weighed(
        &self,
        component: &Component,
        router: &Router,
        object: &serde_json::Value,
    ) -> bool {
        let kind = object["kind"].as_str().unwrap_or_default();
        if !["Ingress", "HTTPRoute", "VirtualService", "DestinationRule"].contains(&kind) {
            return false;
        }
        let services = routes::services(&self.input.named, &component.id);
        router::leads(router, object, &services) || router::companion(router, object, &services).is_some()
    }

    /// What divides the traffic; `None`, with a warning, where stable's pods cannot be told from new ones.
    pub(super) fn split(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        canary: &Canary,
    ) -> Option<Split> {
        let router = &canary.router;
        let Some(revision) = stable.revision else {
            self.warnings.push(format!(
                "{}: the pods of {} carry no revision label, so this time pods are the router of {}; from the next release on it is {}",
                self.target.id, stable.workload, component.id, router.name()
            ));
            return None;
        };
        let services = routes::services(&self.input.named, &component.id);
        let mut split = Split {
            router: router.clone(),
            services,
            before: Vec::new(),
            apart: self.apart(component, router),
            wanted: Vec::new(),
            companions: Vec::new(),
            refuge: Vec::new(),
            canaries: Vec::new(),
            passing: Vec::new(),
            pin: None,
            stable: Vec::new(),
            assumed: self.unseen(component, serving, stable),
            shrink: self.shrink(component, serving, stable, canary),
        };
        let (mut pinned, mut unpinned) = (Vec::new(), Vec::new());
        for index in 0..self.references.len() {
            let object = self.input.named.objects[index].clone();
            let is_service =
                object.kind() == "Service" && split.services.contains(&self.references[index].name);
            if is_service && object.component.as_ref() == Some(&component.id) {
                self.split_service(&mut split, index, revision.0, (&mut pinned, &mut unpinned));
            } else if router::leads(router, &object.value, &split.services) {
                self.split_route(&mut split, component, index, (&mut pinned, &mut unpinned));
            } else if let Some(companion) = router::companion(router, &object.value, &split.services) {
                let companion = Object { value: companion, ..object };
                split.passing.insert(0, companion.reference());
                split.companions.push(self.put(companion));
                split.wanted.extend(self.is_route(component, index).then_some(index));
            }
        }
        split.pin = (!pinned.is_empty()).then_some((pinned, unpinned));
        if let Some(why) = &split.assumed {
            self.warnings.push(format!(
                "{}: what share {} really sends to the new {} is not verified at the data plane (assumed): {why}",
                self.target.id,
                router.name(),
                component.id
            ));
        }
        Some(split)
    }

    /// A Service of the component: its canary, and stable's form of it.
    fn split_service(
        &mut self,
        split: &mut Split,
        index: usize,
        revision: u32,
        (pinned, unpinned): (&mut Vec<usize>, &mut Vec<usize>),
    ) {
        let object = self.input.named.objects[index].clone();
        let label = json!(revision.to_string());
        let value = router::canary_service(&split.router, &object.value);
        let canary = Object { value, ..object.clone() };
        split.canaries.push(canary.reference());
        split.passing.push(canary.reference());
        let mut refuge = canary.clone();
        refuge.value["spec"]["selector"][LABEL_REVISION] = label.clone();
        split.companions.push(self.put(canary));
        split.refuge.push(self.put(refuge));
        let Some(before) = self.before(&self.references[index].clone()) else { return };
        let mut stable = self.table.objects()[before].clone();
        let known = stable.value["spec"]["selector"].get(LABEL_REVISION) == Some(&label);
        stable.value["spec"]["selector"][LABEL_REVISION] = label;
        let stable = self.put(stable);
        split.stable.push(stable);
        if !known {
            pinned.push(stable);
            unpinned.push(before);
        }
    }

    /// A route: as it is before, unless that leads elsewhere; then it is brought to the Services first.
    fn split_route(
        &mut self,
        split: &mut Split,
        component: &Component,
        index: usize,
        (pinned, unpinned): (&mut Vec<usize>, &mut Vec<usize>),
    ) {
        let wanted = self.input.named.objects[index].clone();
        let moves = self.is_route(component, index);
        let before = self.before(&self.references[index].clone()).filter(|_| moves);
        let base = before.map(|before| self.table.objects()[before].clone());
        let leads =
            base.as_ref().is_some_and(|base| router::leads(&split.router, &base.value, &split.services));
        if let (Some(before), false) = (before, leads) {
            pinned.push(self.object_index(index));
            unpinned.push(before);
        }
        let base = if leads { base.unwrap_or(wanted) } else { wanted };
        if let Router::Nginx(_) = split.router {
            split.passing.insert(0, at_weight(split, &base, 0).reference());
        }
        split.before.push(base);
        // One that all components share is applied before the canary, but not as it is at a weight.
        let written = !matches!(split.router, Router::Nginx(_));
        split.wanted.extend((moves || written).then_some(index));
    }

    /// Why nobody can count what arrives.
    pub(super) fn unseen(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
    ) -> Option<String> {
        let (new, old) = (version_of(&serving.image), version_of(&stable.image));
        if component.version_probe.is_none() {
            Some("it has no version_probe".to_owned())
        } else if self.target.ingress.is_none() {
            Some("the target has no ingress to ask through".to_owned())
        } else if new.is_none() || new == old {
            Some("the images of the two revisions do not differ in their tag".to_owned())
        } else {
            None
        }
    }

    /// All steps of the component.
    pub(super) fn weighted(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        (weights, mirror): (&[CanaryStep], Option<Mirror>),
        split: &Split,
    ) {
        let mut last = 0;
        let first = weights[0].weight;
        let steps = mirror::with_mirror(weights, mirror);
        for (index, step) in steps.iter().enumerate() {
            let stop = self.stop(component, index, step);
            let mut actions = Vec::new();
            if index == 0 {
                actions.extend(self.pin_step(component, stable, split));
                actions.extend(self.guard_step(component, stable));
                actions.extend(self.create_step(component, serving, 0));
            }
            let beside = split.shrink.as_ref().map(|shrink| shrink.left(last));
            actions.push(self.part_step(component, serving, stable, (step, last), beside));
            actions.push(self.wait_ready(&component.id, &serving.workload));
            self.stage(stop.place, &stop.name, &stop.title, last).steps.extend(actions);
            if index == 0 {
                self.check(stop.place + at::CHECK_BEHIND, &stop.check, last, component, serving);
            }
            let mut actions = Vec::new();
            if index == 0 {
                actions.extend(self.open_steps(component, serving, stable, first, split));
            }
            match mirror.filter(|_| step.weight == 0) {
                Some(mirror) => actions.extend(self.mirror_steps(component, serving, split, mirror)),
                None => actions.extend(self.weigh_steps(component, serving, split, step.weight, last)),
            }
            actions.extend(self.shrink_step(component, split, step.weight));
            let (place, (name, title)) = (stop.place + at::ROUTE_BEHIND, &stop.route);
            self.stage(place, name, title, step.weight).steps.extend(actions);
            last = step.weight;
            let to = self.part(component, stable, step, last);
            self.hold_at((component, index), step, serving, stable, Some(to));
        }
        let carries = Some(Carries::Percent(100 - last));
        self.promote(component, serving, stable, false, carries);
        let actions = self.weigh_steps(component, serving, split, 100, last);
        self.stage(at::ALL, "route-100", "route all", 100).steps.extend(actions);
        self.switch_to(component, serving, stable, split);
        self.close_steps(component, serving, split);
        self.handover(component, Some(stable));
        self.drain(component, serving, stable);
        self.moved.push((component.id.clone(), serving.workload.clone()));
    }

    /// A Service that leads to every revision is bound to stable's before another has pods.
    fn pin_step(&mut self, component: &Component, stable: &ServingWorkload, split: &Split) -> Option<Step> {
        let (objects, back) = split.pin.clone()?;
        let to = stable.workload.name.clone();
        let title = format!("bind the routes of {} to {to}", component.id);
        // Not before the new pods are gone: they would take traffic.
        let effects = vec![Effect::Switch { objects: back, to: to.clone() }];
        let undo = Undo::Effects { lane: Lane::Config, effects };
        Some(self.step(Some(&component.id), title, Effect::Switch { objects, to }, undo))
    }

    fn part_step(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        (step, last): (&CanaryStep, u8),
        beside: Option<u32>,
    ) -> Step {
        let floor = self.live_size(&stable.workload);
        let beside = beside.unwrap_or(floor);
        let percent = step.scale.unwrap_or(step.weight);
        let pods = crate::rollout::share::part_of(floor, percent);
        let (name, weight) = (&serving.workload.name, step.weight);
        let what = if weight == 0 { "copies of requests".to_owned() } else { format!("{weight} %") };
        let title = format!("scale {name} to {pods} beside {beside}, for {what} by {}", router_of(component));
        let to = self.part(component, stable, step, last);
        let undo = vec![Effect::Scale { workload: serving.workload.clone(), to: Size::Exactly(0) }];
        let undo = Undo::Effects { lane: Lane::Capacity, effects: undo };
        self.step(Some(&component.id), title, Effect::Scale { workload: serving.workload.clone(), to }, undo)
    }

    /// The new revision's size for a step, while this much of the traffic goes to it.
    fn part(&self, component: &Component, stable: &ServingWorkload, step: &CanaryStep, weight: u8) -> Size {
        let (floor, percent) = (self.live_size(&stable.workload), step.scale.unwrap_or(step.weight));
        let demand = self.demand(component, stable, Carries::Percent(100 - weight));
        Size::PartOf { workload: stable.workload.clone(), percent, floor, demand, least: 0 }
    }

    /// The canary's Services, seen to lead to its pods, then the route at weight 0.
    fn open_steps(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        first: u8,
        split: &Split,
    ) -> Vec<Step> {
        let (id, timeout) = (&component.id, self.inputs.env.limits.ready);
        let companions: Vec<ObjectRef> =
            split.companions.iter().map(|index| self.table.objects()[*index].reference()).collect();
        let title = format!("apply {}, for {}", names(&split.canaries), serving.workload.name);
        let undo = Undo::Effects {
            lane: Lane::Traffic,
            effects: vec![Effect::Delete { objects: companions.clone() }],
        };
        let mut steps =
            vec![self.step(Some(id), title, Effect::Apply { objects: split.companions.clone() }, undo)];
        for service in &split.canaries {
            let title = format!("wait until {} serves from {} alone", service.name, serving.workload.name);
            let (service, workload) = (service.clone(), serving.workload.clone());
            let effect = Effect::WaitTraffic { service, workload, timeout };
            steps.push(self.step(Some(id), title, effect, waiting()));
        }
        let zero = weighed(split, 0);
        let mut back = vec![self.weigh(split, 0)];
        back.extend(self.count(component, serving, split, 0, first));
        // One that is guarded was not shrunk by its autoscaler, which owns its size.
        if self.guarded(component, stable).is_empty() {
            let floor = self.live_size(&stable.workload);
            let to = Size::SameAs { workload: stable.workload.clone(), floor, demand: None };
            back.push(Effect::Scale { workload: stable.workload.clone(), to });
        }
        back.push(Effect::Weigh {
            objects: split.refuge.clone(),
            percent: 0,
            canaries: split.canaries.clone(),
            assumed: None,
        });
        if let Router::Nginx(_) = split.router {
            let passing = split.passing.iter().filter(|name| !companions.contains(name)).cloned().collect();
            back.push(Effect::Delete { objects: passing });
        } else {
            let before = split.before.iter().map(|route| self.put(route.clone())).collect();
            back.push(Effect::Apply { objects: before });
        }
        let shown = names(&zero.iter().map(Object::reference).collect::<Vec<_>>());
        let undo = Undo::Effects { lane: Lane::Traffic, effects: back };
        let effect = self.weigh(split, 0);
        steps.push(self.step(Some(id), format!("{shown} at 0 %"), effect, undo));
        steps.extend(self.accepted(component, split));
        steps
    }

    /// The route at a weight, and what is waited for until it is in effect.
    fn weigh_steps(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        split: &Split,
        percent: u8,
        last: u8,
    ) -> Vec<Step> {
        let shown = names(&weighed(split, percent).iter().map(Object::reference).collect::<Vec<_>>());
        let (name, router) = (&serving.workload.name, split.router.name());
        let seen = if split.assumed.is_none() { "counted by its answers" } else { "not verified: assumed" };
        let title = format!("send {percent} % to {name} by {shown} ({router}; {seen})");
        let mut effect = self.weigh(split, percent);
        if let Effect::Weigh { assumed, .. } = &mut effect {
            assumed.clone_from(&split.assumed);
        }
        let undo = Undo::Effects { lane: Lane::Traffic, effects: vec![self.back_from(split, percent)] };
        let mut steps = vec![self.step(Some(&component.id), title, effect, undo)];
        steps.extend(self.accepted(component, split));
        if let Some(count) = self.count(component, serving, split, percent, last) {
            let title = format!("count until {percent} % of {} come from {name}", component.id);
            steps.push(self.step(Some(&component.id), title, count, waiting()));
        }
        steps
    }

    /// All traffic goes to the new revision by the router: the Services follow.
    fn switch_to(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        split: &Split,
    ) {
        let services = self.routes(component).into_iter();
        let services: Vec<usize> = services
            .filter(|index| split.services.contains(&self.references[*index].name))
            .filter(|index| self.references[*index].kind == "Service")
            .collect();
        let objects: Vec<usize> = services.iter().map(|index| self.object_index(*index)).collect();
        if objects.is_empty() {
            return;
        }
        let timeout = self.inputs.env.limits.ready;
        let mut back: Vec<Effect> = self.full_before_switch(split).into_iter().collect();
        back.push(Effect::Switch { objects: split.stable.clone(), to: stable.workload.name.clone() });
        back.extend(self.own_services(component).into_iter().map(|service| Effect::WaitTraffic {
            service,
            workload: stable.workload.clone(),
            timeout,
        }));
        let to = serving.workload.name.clone();
        let step = self.step(
            Some(&component.id),
            format!("switch the Services of {} to {to}", component.id),
            Effect::Switch { objects, to },
            Undo::Effects { lane: Lane::Traffic, effects: back },
        );
        let waits = self.wait_traffic(component, &serving.workload);
        let steps = &mut self.stage(at::SWITCH, "switch", super::blue_green::SWITCH, 100).steps;
        steps.push(step);
        steps.extend(waits);
    }

    /// The weight goes back to the Services, which lead to the new revision by now; then the canary's route and Services go.
    fn close_steps(&mut self, component: &Component, serving: &ServingWorkload, split: &Split) {
        let id = &component.id;
        let effect = self.weigh(split, 0);
        let why = "both ways lead to the new revision".to_owned();
        let title = format!("the Services of {id} carry all of {}", serving.workload.name);
        let mut steps = vec![self.step(Some(id), title, effect, Undo::None { why })];
        steps.extend(self.accepted(component, split));
        let mut wanted = split.wanted.clone();
        if let Router::Nginx(_) = split.router {
            // The Ingress itself was never touched.
            wanted.retain(|index| self.changed(*index));
        }
        if !wanted.is_empty() {
            let title = format!("apply the routes of {id} as released");
            steps.push(self.apply_step(Some(id), title, &wanted, Lane::Traffic));
            steps.extend(self.accepted(component, split));
        }
        let objects = split.passing.clone();
        let title = format!("delete {}", names(&objects));
        // Of what was there for the canary only, a way back needs nothing: it begins with the Services.
        let undo = Undo::Effects { lane: Lane::Traffic, effects: Vec::new() };
        steps.push(self.step(Some(id), title, Effect::Delete { objects }, undo));
        self.stage(at::UNROUTE, "unroute", "what was there for the change goes", 100).steps.extend(steps);
    }

    fn weigh(&mut self, split: &Split, percent: u8) -> Effect {
        let objects = weighed(split, percent).into_iter().map(|object| self.put(object)).collect();
        Effect::Weigh { objects, percent, canaries: split.canaries.clone(), assumed: None }
    }

    fn count(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        split: &Split,
        percent: u8,
        before: u8,
    ) -> Option<Effect> {
        let probe = component.version_probe.clone().filter(|_| split.assumed.is_none())?;
        let version = version_of(&serving.image)?.to_owned();
        let (canaries, timeout) = (split.canaries.clone(), self.inputs.env.limits.ready);
        Some(Effect::WaitWeight { percent, before, canaries, probe, version, timeout })
    }

    /// A gateway says of a route when it has taken it over.
    fn accepted(&self, component: &Component, split: &Split) -> Option<Step> {
        if !matches!(split.router, Router::Gateway(_)) {
            return None;
        }
        let routes: Vec<ObjectRef> = split.before.iter().map(Object::reference).collect();
        let title = format!("wait until {} is accepted", names(&routes));
        let effect = Effect::WaitReady { workloads: routes, timeout: self.inputs.env.limits.ready };
        Some(self.step(Some(&component.id), title, effect, waiting()))
    }
}

pub(super) fn waiting() -> Undo {
    Undo::None { why: "waiting changes nothing".to_owned() }
}

fn router_of(component: &Component) -> &'static str {
    component.strategy.weighted_router().unwrap_or(&Router::Pods).name()
}

pub(super) fn names(objects: &[ObjectRef]) -> String {
    objects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
