//! Blue-green: a second full-size revision, one switch, blue kept until the release is done.

use super::turns::FOLLOWS_WITHIN;
use super::weights::waiting;
use super::{Site, at};
use crate::domain::effect::{Arm, Effect, Size};
use crate::domain::environment::{BlueGreen, Component, Strategy};
use crate::domain::object::{LABEL_REVISION, Object, ObjectRef};
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::domain::units::human;
use crate::plan::build::is_live;
use crate::plan::{order, router as routes};
use crate::rollout::router;
use std::time::Duration;

/// What a switch is called where there is no blue and green.
pub(super) const SWITCH: &str = "Services to the new revision";

impl Site<'_> {
    /// What leads traffic to the component, is live, and moves with its revision.
    pub(super) fn routes(&self, component: &Component) -> Vec<usize> {
        (0..self.references.len()).filter(|index| self.is_route(component, *index)).collect()
    }

    pub(super) fn is_route(&self, component: &Component, index: usize) -> bool {
        let object = &self.input.named.objects[index];
        if object.component.as_ref() != Some(&component.id)
            || !self.input.live.contains_key(&self.references[index])
        {
            return false;
        }
        if self.leaves(component).is_some() {
            return self.turns_with(component, &object.value);
        }
        match (object.kind(), &component.strategy) {
            // Applied before its revision's pods are there, it would lead nowhere.
            ("Service", _) if object.value["spec"]["selector"].get(LABEL_REVISION).is_some() => true,
            ("Service" | "Ingress", Strategy::BlueGreen(_)) => true,
            ("Service", _) if self.is_misfit(component, index) => true,
            (_, strategy) => strategy
                .weighted_router()
                .is_some_and(|router| self.is_weighed(component, router, &object.value)),
        }
    }

    pub(super) fn blue_green(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        how: &BlueGreen,
    ) {
        if stable.revision.is_none() {
            self.warnings.push(format!(
                "{}: the pods of {} carry no revision label, so until the switch {} receives a share of the traffic of its Service as soon as it is ready",
                self.target.id, stable.workload, serving.workload
            ));
        }
        self.promote(component, serving, stable, true, None);
        self.check(at::CHECK, "check", 0, component, serving);
        let previewed = !how.preview.is_zero() && self.inputs.rollback_of.is_none();
        if previewed {
            self.preview(component, serving, stable, how.preview);
        }
        self.switch(component, serving, stable);
        if previewed {
            self.end_preview(component);
        }
        self.handover(component, Some(stable));
        if !how.hold.is_zero() && self.inputs.rollback_of.is_none() {
            self.green.0 = self.green.0.max(how.hold);
            self.green.1.push(Arm {
                component: component.id.clone(),
                new: serving.workload.clone(),
                stable: None,
            });
        }
        if !how.scale_down_after.is_zero() && self.inputs.rollback_of.is_none() {
            let kept = self.keep_step(component, serving, stable, how);
            self.finish.push(kept);
        }
        let settles = self.time_to_follow(component, serving, stable, how);
        self.finish.extend(settles);
        // Until the release is on record it may still be taken back: blue comes to size before traffic returns to it.
        let timeout = self.inputs.env.limits.ready;
        let floor = self.live_size(&stable.workload);
        let back = vec![
            Effect::Scale {
                workload: stable.workload.clone(),
                to: Size::SameAs { workload: serving.workload.clone(), floor, demand: None },
            },
            Effect::WaitReady { workloads: vec![stable.workload.clone()], timeout },
        ];
        self.finish.push(self.step(
            Some(&component.id),
            format!("scale {} to 0, kept for a rollback", stable.workload.name),
            Effect::Scale { workload: stable.workload.clone(), to: Size::Exactly(0) },
            Undo::Effects { lane: Lane::Traffic, effects: back },
        ));
        let released = self.release_misfits(component, serving);
        self.finish.extend(released);
        self.moved.push((component.id.clone(), serving.workload.clone()));
    }

    /// Green under Services of its own, for people and their tests; its pods are watched and probed meanwhile.
    fn preview(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        duration: Duration,
    ) {
        let mut objects = Vec::new();
        for service in routes::services(&self.input.named, &component.id) {
            let mut named = self.input.named.objects.iter().filter(|object| object.kind() == "Service");
            let found = named.find(|object| object.name() == service);
            let Some(object) = found.cloned() else { continue };
            let value = router::service_beside(&object.value, &router::preview_name(&service));
            objects.push(self.put(Object { value, ..object }));
        }
        let names = self.previews(component);
        let shown = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let title = format!("{shown} leads to {}", serving.workload.name);
        let undo =
            Undo::Effects { lane: Lane::Traffic, effects: vec![Effect::Delete { objects: names.clone() }] };
        let mut steps = vec![self.step(Some(&component.id), title, Effect::Apply { objects }, undo)];
        let timeout = self.inputs.env.limits.ready;
        for service in names {
            let title = format!("wait until {} serves from {} alone", service.name, serving.workload.name);
            let effect = Effect::WaitTraffic { service, workload: serving.workload.clone(), timeout };
            let undo = Undo::None { why: "waiting changes nothing".to_owned() };
            steps.push(self.step(Some(&component.id), title, effect, undo));
        }
        let arm = Arm { component: component.id.clone(), new: serving.workload.clone(), stable: None };
        // No users yet: gates would have nothing to measure.
        let hold = self.hold_step(duration, vec![arm], false);
        let title = format!("hold {} for {}", serving.workload.name, human(duration));
        steps.push(self.step(Some(&component.id), title, hold.effect, hold.undo));
        steps.extend(self.catch_up(component, serving, stable));
        let title = format!("preview for {}", human(duration));
        self.stage(at::PREVIEW, "preview", &title, 0).steps.extend(steps);
    }

    fn end_preview(&mut self, component: &Component) {
        let objects = self.previews(component);
        let title = format!("the preview of {} ends", component.id);
        let undo = Undo::Effects { lane: Lane::Traffic, effects: Vec::new() };
        let step = self.step(Some(&component.id), title, Effect::Delete { objects }, undo);
        self.stage(at::UNROUTE, "unroute", "what was there for the change goes", 100).steps.push(step);
    }

    fn previews(&self, component: &Component) -> Vec<ObjectRef> {
        let services = routes::services(&self.input.named, &component.id);
        let own = self.references.iter().filter(|name| name.kind == "Service");
        let released = own.filter(|name| services.contains(&name.name));
        released.map(|name| ObjectRef { name: router::preview_name(&name.name), ..name.clone() }).collect()
    }

    /// Blue keeps its size for a while; it goes in the same chain, after this.
    pub(super) fn keep_step(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        how: &BlueGreen,
    ) -> Step {
        let arm = Arm { component: component.id.clone(), new: serving.workload.clone(), stable: None };
        let hold = self.hold_step(how.scale_down_after, vec![arm], is_live(self));
        let title = format!("keep {} for {}", stable.workload.name, human(how.scale_down_after));
        self.step(Some(&component.id), title, hold.effect, hold.undo)
    }

    pub(super) fn switch(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
    ) {
        let indices = self.routes(component);
        let forward: Vec<usize> =
            indices.iter().map(|index| self.switched(component, *index, serving)).collect();
        if forward.is_empty() {
            return;
        }
        let back = self.routes_before(component, &indices);
        let back = self.switched_back(component, stable, back);
        let mut undo = self.switch_back(back, stable);
        let follows = self.ingresses_follow(component, serving, stable);
        undo.extend(follows.as_ref().map(|(_, back)| back.clone()));
        let step = self.step(
            Some(&component.id),
            format!("switch traffic to {}", serving.workload.name),
            Effect::Switch { objects: forward, to: serving.workload.name.clone() },
            Undo::Effects { lane: Lane::Traffic, effects: undo },
        );
        // What was there before us carries no label of its own: its Service serves from both until the other drains.
        let waits = if serving.revision.is_some() {
            let mut waits = self.wait_traffic(component, &serving.workload);
            waits.retain(|wait| self.waits_for_one(component, wait));
            waits
        } else {
            Vec::new()
        };
        // A Service of green's own has its endpoints before a route leads to it; one that turns has them after.
        let turns = |wait: &Step| match &wait.effect {
            Effect::WaitTraffic { service, .. } => indices.iter().any(|i| self.references[*i] == *service),
            _ => false,
        };
        let (after, before): (Vec<Step>, Vec<Step>) = waits.into_iter().partition(turns);
        let title =
            if matches!(component.strategy, Strategy::BlueGreen(_)) { "switch to green" } else { SWITCH };
        let steps = &mut self.stage(at::SWITCH, "switch", title, 100).steps;
        steps.extend(before);
        steps.push(step);
        steps.extend(after);
        steps.extend(follows.and_then(|(forward, _)| forward));
    }

    /// Whether what is waited for comes about at the switch: a Service that leads to both revisions serves from one alone only
    /// once the other's pods are gone.
    fn waits_for_one(&self, component: &Component, wait: &Step) -> bool {
        let Effect::WaitTraffic { service, .. } = &wait.effect else { return true };
        let place = self.references.iter().position(|reference| reference == service);
        place.is_none_or(|index| self.leads_alone(component, index))
    }

    /// An ingress controller follows when it has noticed: until then nobody may go whom it still asks. Counted at once where
    /// that can be; else blue has some time before it goes, and green on the way back.
    fn ingresses_follow(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
    ) -> Option<(Option<Step>, Effect)> {
        let counted = self.is_counted(component, serving, stable)?;
        let title = format!("count until 100 % of {} come from {}", component.id, serving.workload.name);
        let follows = |percent| self.all_follow(component, serving, counted, percent);
        let forward = || self.step(Some(&component.id), title, follows(100), waiting());
        Some((counted.then(forward), follows(0)))
    }

    /// Time for what nobody counts, unless blue is kept for longer in any case.
    fn time_to_follow(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        how: &BlueGreen,
    ) -> Option<Step> {
        let kept = self.inputs.rollback_of.is_none() && how.hold.max(how.scale_down_after) >= FOLLOWS_WITHIN;
        if kept || self.is_counted(component, serving, stable)? {
            return None;
        }
        let title = format!("give the routers {} to follow (not counted)", human(FOLLOWS_WITHIN));
        let effect = self.all_follow(component, serving, false, 100);
        Some(self.step(Some(&component.id), title, effect, waiting()))
    }

    /// Whether it is counted what a router of blue-green sends where; `None` where no router but Services alone switch, or no
    /// users' requests arrive.
    fn is_counted(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
    ) -> Option<bool> {
        let is_router = |index: &usize| self.references[*index].kind != "Service";
        let routed = matches!(component.strategy, Strategy::BlueGreen(_))
            && is_live(self)
            && self.routes(component).iter().any(is_router);
        routed.then(|| self.unseen(component, serving, stable).is_none())
    }

    /// Services first, and what leads to them once they are seen to lead to stable: one that was gone is made anew, and
    /// has no endpoints at first. A Service that led to every revision does so again: the other's pods go after this.
    fn switch_back(&self, back: Vec<usize>, stable: &ServingWorkload) -> Vec<Effect> {
        let (workload, timeout) = (&stable.workload, self.inputs.env.limits.ready);
        let object = |index: usize| &self.table.objects()[index];
        let (services, routes): (Vec<usize>, Vec<usize>) =
            back.into_iter().partition(|index| object(*index).kind() == "Service");
        let bound = services
            .iter()
            .map(|index| object(*index))
            .filter(|service| service.value["spec"]["selector"].get(LABEL_REVISION).is_some());
        let waits = bound.map(|service| Effect::WaitTraffic {
            service: service.reference(),
            workload: workload.clone(),
            timeout,
        });
        let waits: Vec<Effect> = waits.collect();
        let to = || workload.name.clone();
        let switch =
            |objects: Vec<usize>| (!objects.is_empty()).then(|| Effect::Switch { objects, to: to() });
        switch(services).into_iter().chain(waits).chain(switch(routes)).collect()
    }

    /// The routes as they were, Services before what leads to them: blue's own Service may be gone already.
    fn routes_before(&mut self, component: &Component, changed: &[usize]) -> Vec<usize> {
        let recorded: Vec<Object> = self.input.previous().map_or_else(Vec::new, |release| {
            let own =
                release.objects.iter().filter(|object| object.component.as_ref() == Some(&component.id));
            let names: Vec<ObjectRef> = changed.iter().map(|index| self.references[*index].clone()).collect();
            let routes = own.filter(|object| {
                matches!(object.kind(), "Service" | "Ingress") || names.contains(&object.reference())
            });
            routes.cloned().collect()
        });
        let mut back: Vec<usize> = recorded.into_iter().map(|object| self.put(object)).collect();
        if back.is_empty() {
            let references: Vec<ObjectRef> =
                changed.iter().map(|index| self.input.named.objects[*index].reference()).collect();
            back.extend(references.iter().filter_map(|reference| self.before(reference)));
        }
        order::apply_order(&mut back, self.table.objects());
        back
    }

    /// Services that existed before this release: those that a way back leads through.
    pub(super) fn own_services(&self, component: &Component) -> Vec<ObjectRef> {
        self.services(&component.id)
            .into_iter()
            .filter(|service| self.input.live.contains_key(service))
            .collect()
    }

    /// One hold watches all components that switched.
    pub(super) fn hold_on_green(&mut self) {
        let (duration, arms) = std::mem::take(&mut self.green);
        if arms.is_empty() {
            return;
        }
        let hold = self.hold_step(duration, arms, is_live(self));
        let title = format!("hold on green for {}", human(duration));
        self.stage(at::HOLD, "hold", &title, 100).steps.push(hold);
    }
}
