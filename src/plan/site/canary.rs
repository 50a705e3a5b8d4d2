//! Canary by pod ratio: a growing revision beside a full-size stable one; and what all ways from one workload to another
//! share.

use super::{Site, at, until};
use crate::domain::effect::{Arm, Carries, Effect, Size, SmokeVia, Until};
use crate::domain::environment::{Canary, Component, SmokeTest, Strategy, Target, TrafficClass};
use crate::domain::gate::Gate;
use crate::domain::ids::ComponentId;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::domain::units::human;
use crate::plan::build::is_live;
use crate::plan::naming;
use crate::rollout::share;
use serde_json::Value;
use std::time::Duration;

impl Site<'_> {
    pub(super) fn canary(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        canary: &Canary,
    ) {
        let steps = if self.takes_weights() { canary.steps.as_slice() } else { &[] };
        self.arms.push(Arm {
            component: component.id.clone(),
            new: serving.workload.clone(),
            stable: Some(stable.workload.clone()),
        });
        if !steps.is_empty()
            && canary.router.is_weighted()
            && let Some(split) = self.split(component, serving, stable, canary)
        {
            let steps = self.with_one_box(component, stable, steps);
            return self.weighted(component, serving, stable, (&steps, canary.mirror), &split);
        }
        let steps = self.with_one_box(component, stable, steps);
        for (index, step) in steps.iter().enumerate() {
            let stop = self.stop(component, index, step);
            let boxed = self.is_box(component, index);
            let mut actions = Vec::new();
            if index == 0 {
                actions.extend(self.guard_step(component, stable));
                actions.extend(self.create_step(component, serving, 0));
            }
            actions.push(if boxed {
                self.one_pod_step(component, serving, stable)
            } else {
                self.share_step(component, serving, stable, step.weight)
            });
            actions.push(self.wait_ready(&component.id, &serving.workload));
            self.stage(stop.place, &stop.name, &stop.title, step.weight).steps.extend(actions);
            if index == 0 {
                let place = stop.place + at::CHECK_BEHIND;
                self.check(place, &stop.check, step.weight, component, serving);
            }
            let to = Size::ShareBeside { workload: stable.workload.clone(), percent: step.weight };
            self.hold_at((component, index), step, serving, stable, (!boxed).then_some(to));
        }
        let carries = (!steps.is_empty()).then(|| Carries::Beside(serving.workload.clone()));
        self.promote(component, serving, stable, steps.is_empty(), carries);
        if steps.is_empty() {
            self.check(at::CHECK, "check", 0, component, serving);
        }
        // A Service that leads to one revision alone is switched; one that leads to all of them need not be.
        self.switch(component, serving, stable);
        self.handover(component, Some(stable));
        self.drain(component, serving, stable);
        self.moved.push((component.id.clone(), serving.workload.clone()));
    }

    /// Weights are for targets with users, on the way forward.
    fn takes_weights(&self) -> bool {
        is_live(self) && self.inputs.rollback_of.is_none()
    }

    pub(super) fn share_step(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        weight: u8,
    ) -> Step {
        let size = self.live_size(&stable.workload);
        let pods = share::pods_beside(size, weight);
        let reached = share::reached_percent(pods, size);
        let title =
            format!("scale {} to {pods} beside {size} ({reached:.0} % of the pods)", serving.workload.name);
        let to = Size::ShareBeside { workload: stable.workload.clone(), percent: weight };
        let undo = vec![Effect::Scale { workload: serving.workload.clone(), to: Size::Exactly(0) }];
        self.step(
            Some(&component.id),
            title,
            Effect::Scale { workload: serving.workload.clone(), to },
            Undo::Effects { lane: Lane::Traffic, effects: undo },
        )
    }

    pub(super) fn live_size(&self, workload: &ObjectRef) -> u32 {
        let replicas = self.input.live.get(workload).and_then(|live| live.pointer("/spec/replicas"));
        replicas.and_then(Value::as_u64).unwrap_or(1) as u32
    }

    /// The new revision at full size beside the old one, which carries so much of the load until then (all of it if
    /// nothing is said).
    pub(super) fn promote(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        create: bool,
        carries: Option<Carries>,
    ) {
        let mut actions = Vec::new();
        if create {
            actions.extend(self.pin_misfits(component, stable));
            actions.extend(self.guard_step(component, stable));
            actions.extend(self.create_step(component, serving, 0));
        }
        // With pods as the router, pods are traffic: their going is the first thing in a rollback.
        let pods = pods_are_traffic(component, stable);
        let lane = if pods { Lane::Traffic } else { Lane::Capacity };
        let mut floor = self.full_size(component);
        let to = if self.autoscalers(&component.id).is_empty() {
            Size::Exactly(floor)
        } else {
            // While stable carries a part only, its size is no measure of what all users need.
            if carries.is_some() {
                floor = floor.max(self.live_size(&stable.workload));
            }
            let demand = carries.and_then(|carries| self.demand(component, stable, carries));
            Size::SameAs { workload: stable.workload.clone(), floor, demand }
        };
        let undo = vec![Effect::Scale { workload: serving.workload.clone(), to: Size::Exactly(0) }];
        actions.push(self.step(
            Some(&component.id),
            format!("scale {} to full size", serving.workload.name),
            Effect::Scale { workload: serving.workload.clone(), to },
            Undo::Effects { lane, effects: undo },
        ));
        actions.push(self.wait_ready(&component.id, &serving.workload));
        self.stage(at::PROMOTE, "promote", "new revision at full size", 50).steps.extend(actions);
    }

    /// The old revision goes, after the autoscaler has left it.
    pub(super) fn drain(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
    ) {
        let timeout = self.inputs.env.limits.ready;
        let size = Size::SameAs {
            workload: serving.workload.clone(),
            floor: self.live_size(&stable.workload),
            demand: None,
        };
        let back = vec![
            Effect::Scale { workload: stable.workload.clone(), to: size },
            Effect::WaitReady { workloads: vec![stable.workload.clone()], timeout },
        ];
        let scale = self.step(
            Some(&component.id),
            format!("drain {}", stable.workload.name),
            Effect::Scale { workload: stable.workload.clone(), to: Size::Exactly(0) },
            Undo::Effects { lane: Lane::Traffic, effects: back },
        );
        let mut waits = self.wait_traffic(component, &serving.workload);
        waits.extend(self.release_misfits(component, serving));
        let steps = &mut self.stage(at::DRAIN, "drain", "old revision drains", 100).steps;
        steps.push(scale);
        steps.extend(waits);
    }

    pub(super) fn wait_traffic(&self, component: &Component, workload: &ObjectRef) -> Vec<Step> {
        let timeout = self.inputs.env.limits.ready;
        self.services(&component.id)
            .into_iter()
            .map(|service| {
                let title = format!("wait until {} serves from {} alone", service.name, workload.name);
                let effect = Effect::WaitTraffic { service, workload: workload.clone(), timeout };
                self.step(
                    Some(&component.id),
                    title,
                    effect,
                    Undo::None { why: "waiting changes nothing".to_owned() },
                )
            })
            .collect()
    }

    /// The component's Services that lead to the workload that will serve it.
    pub(super) fn services(&self, component: &ComponentId) -> Vec<ObjectRef> {
        let objects = &self.input.named.objects;
        let serving = self.input.named.workloads.get(component);
        let Some(index) = serving.and_then(|serving| self.workload_index(serving)) else { return Vec::new() };
        let own = objects.iter().filter(|o| o.component.as_ref() == Some(component) && o.kind() == "Service");
        own.filter(|service| naming::leads_to(&service.value, &objects[index].value))
            .map(Object::reference)
            .collect()
    }

    pub(super) fn check(
        &mut self,
        place: u32,
        name: &str,
        weight: u8,
        component: &Component,
        serving: &ServingWorkload,
    ) {
        let tests = self.tests(std::slice::from_ref(&component.id));
        if tests.is_empty() {
            return;
        }
        let via = SmokeVia::Pods { workloads: vec![(component.id.clone(), serving.workload.clone())] };
        let step = self.step(
            Some(&component.id),
            format!("smoke-test {} directly", serving.workload.name),
            Effect::Smoke { tests, via },
            Undo::None { why: "asking changes nothing".to_owned() },
        );
        self.stage(place, name, "smoke tests on the new revision", weight).steps.push(step);
    }

    pub(super) fn tests(&self, components: &[ComponentId]) -> Vec<SmokeTest> {
        self.inputs.env.smoke.iter().filter(|test| components.contains(&test.component)).cloned().collect()
    }

    pub(super) fn weighted_holds(&mut self) {
        for (weight, duration) in std::mem::take(&mut self.holds) {
            let arms = self.arms.clone();
            let until = Until { approval: self.approvals.get(&weight).copied(), requests: 0 };
            let what = if weight == 0 { "on copies of requests".to_owned() } else { format!("{weight} %") };
            let title = format!("hold {what} for {}{}", human(duration), until::words(&until));
            let mut hold = until::held(self.hold_step(duration, arms, is_live(self)), until);
            if let Effect::Hold { follow, .. } = &mut hold.effect {
                *follow = self.followed(weight);
            }
            let place = at::WEIGHT + 10 * u32::from(weight) + at::HOLD_BEHIND;
            self.stage(place, &format!("hold-{weight}"), &title, weight).steps.push(hold);
        }
    }

    pub(super) fn hold_step(&self, duration: Duration, arms: Vec<Arm>, judged: bool) -> Step {
        let gates: Vec<Gate> = if judged { self.inputs.env.gates.clone() } else { Vec::new() };
        let components: Vec<ComponentId> = arms.iter().map(|arm| arm.component.clone()).collect();
        let gates = gates
            .into_iter()
            .filter_map(|mut gate| {
                gate.components.retain(|id| components.contains(id));
                (!gate.components.is_empty()).then_some(gate)
            })
            .collect();
        let probes = if judged { Vec::new() } else { self.tests(&components) };
        let patience = self.inputs.env.limits.shared_breach;
        let effect = Effect::Hold {
            duration,
            gates,
            arms,
            probes,
            patience,
            until: Until::default(),
            follow: Vec::new(),
        };
        self.step(
            None,
            format!("hold for {}", human(duration)),
            effect,
            Undo::None { why: "watching changes nothing".into() },
        )
    }
}

/// Whether users' requests arrive at a target.
pub(super) fn is_served(target: &Target) -> bool {
    target.traffic == TrafficClass::Live
}

/// Whether new pods take traffic as soon as they are ready.
fn pods_are_traffic(component: &Component, stable: &ServingWorkload) -> bool {
    match &component.strategy {
        Strategy::BlueGreen(_) => false,
        strategy => strategy.weighted_router().is_none() || stable.revision.is_none(),
    }
}
