//! How each strategy becomes steps on one target.
//!
//! The order is the safe one of the field: capacity first, then traffic, and stable shrinks only after the data plane
//! was seen to have moved. Every step knows how it is taken back.

use super::build::{Draft, Inputs, TargetInput, is_live, target_plan, to_delete};
use super::{Action, Change, TargetPlan, diff, inventory, order};
use crate::domain::effect::{Arm, Effect, Size, SmokeVia};
use crate::domain::environment::{BlueGreen, Canary, Component, SmokeTest, Strategy, Target};
use crate::domain::error::Failure;
use crate::domain::gate::Gate;
use crate::domain::ids::{ComponentId, StepId};
use crate::domain::object::{Object, ObjectRef};
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::domain::units::human;
use crate::rollout::share;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Places of stages inside a wave. Weights lie between: `WEIGHT + 10 · percent`.
mod at {
    pub const PREPARE: u32 = 10;
    pub const FIRST: u32 = 20;
    pub const WEIGHT: u32 = 100;
    pub const PROMOTE: u32 = 2000;
    pub const CHECK: u32 = 2010;
    pub const SWITCH: u32 = 2020;
    pub const HANDOVER: u32 = 2030;
    pub const DRAIN: u32 = 2040;
    pub const IN_PLACE: u32 = 2050;
    pub const SMOKE: u32 = 2060;
    pub const HOLD: u32 = 2070;
    pub const BAKE: u32 = 2080;
}

/// One target while it is planned.
pub(super) struct Site<'a> {
    pub inputs: &'a Inputs<'a>,
    pub target: &'a Target,
    pub input: &'a TargetInput,
    wave: usize,
    table: &'a mut Vec<Object>,
    levels: BTreeMap<ComponentId, u32>,
    drafts: BTreeMap<u32, Draft>,
    warnings: Vec<String>,
    /// Holds by weight: how long, and whom they watch.
    holds: BTreeMap<u8, Duration>,
    arms: Vec<Arm>,
    /// Components that change, with the workload that will serve.
    moved: Vec<(ComponentId, ObjectRef)>,
    finish: Vec<Step>,
}

/// What comes of it.
pub(super) struct Planned {
    pub drafts: BTreeMap<u32, Draft>,
    pub finish: Vec<Step>,
    pub warnings: Vec<String>,
    pub target: TargetPlan,
}

impl<'a> Site<'a> {
    pub fn new(
        inputs: &'a Inputs<'a>,
        target: &'a Target,
        input: &'a TargetInput,
        wave: usize,
        table: &'a mut Vec<Object>,
    ) -> Self {
        Self {
            inputs,
            target,
            input,
            wave,
            table,
            levels: order::levels(&inputs.env.components),
            drafts: BTreeMap::new(),
            warnings: Vec::new(),
            holds: BTreeMap::new(),
            arms: Vec::new(),
            moved: Vec::new(),
            finish: Vec::new(),
        }
    }

    /// All stages of this target in its wave.
    pub fn plan(mut self, last_wave: bool) -> Result<Planned, Failure> {
        let changes = self.changes();
        self.prepare();
        for component in &self.inputs.env.components {
            if let Some(serving) = self.input.named.workloads.get(&component.id) {
                self.component(component, &serving.clone());
            }
        }
        self.weighted_holds();
        self.smoke_and_bake(last_wave);
        self.clean_up();
        let inventory: Vec<usize> =
            (0..self.input.named.objects.len()).map(|i| self.object_index(i)).collect();
        let target = target_plan(&self, inventory, changes);
        Ok(Planned { drafts: self.drafts, finish: self.finish, warnings: self.warnings, target })
    }

    // --- what changes -----------------------------------------------------------------------------------------

    fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<Change> =
            self.input.named.objects.iter().map(|object| self.change(object)).collect();
        changes.extend(to_delete(self).into_iter().map(|object| Change {
            object,
            component: None,
            action: Action::Delete,
            fields: Vec::new(),
            note: None,
        }));
        changes
    }

    fn change(&self, object: &Object) -> Change {
        let reference = object.reference();
        let fields = self.differences(object);
        let live = self.input.live.get(&reference);
        let action = match (live, fields.is_empty()) {
            (None, _) => Action::Create,
            (Some(_), true) => Action::Keep,
            (Some(_), false) => Action::Update,
        };
        let adopted = live.is_some() && self.previous_manifest(&reference).is_none();
        let note = adopted.then(|| format!("adopted, {}", manager_of(live.unwrap_or(&Value::Null))));
        Change { object: reference, component: object.component.clone(), action, fields, note }
    }

    fn differences(&self, object: &Object) -> Vec<super::FieldChange> {
        let reference = object.reference();
        match self.input.live.get(&reference) {
            None => Vec::new(),
            // Its name says its content; what the server keeps of it is not for comparing.
            Some(_) if object.kind() == "Secret" => Vec::new(),
            Some(live) => diff::fields(&object.value, live, self.previous_manifest(&reference)),
        }
    }

    fn previous_manifest(&self, reference: &ObjectRef) -> Option<&'a Value> {
        let release = self.input.previous()?;
        release.objects.iter().find(|object| object.reference() == *reference).map(|object| &object.value)
    }

    fn changed(&self, index: usize) -> bool {
        let object = &self.input.named.objects[index];
        !self.input.live.contains_key(&object.reference()) || !self.differences(object).is_empty()
    }

    // --- objects in the plan's table ------------------------------------------------------------------------------

    fn put(&mut self, object: Object) -> usize {
        if let Some(index) = self.table.iter().position(|known| *known == object) {
            return index;
        }
        self.table.push(object);
        self.table.len() - 1
    }

    fn object_index(&mut self, index: usize) -> usize {
        let object = self.input.named.objects[index].clone();
        self.put(object)
    }

    /// The object as it was: from the release before, else as it is live.
    fn before(&mut self, reference: &ObjectRef) -> Option<usize> {
        let live = self.input.live.get(reference)?;
        let value =
            self.previous_manifest(reference).cloned().unwrap_or_else(|| diff::without_server_fields(live));
        Some(self.put(Object { component: None, origin: "the release before".to_owned(), value }))
    }

    // --- steps ---------------------------------------------------------------------------------------------------

    fn step(&self, component: Option<&ComponentId>, title: String, effect: Effect, undo: Undo) -> Step {
        let level = component.and_then(|id| self.levels.get(id)).copied().unwrap_or(0);
        Step {
            id: StepId::new(""),
            target: self.target.id.clone(),
            component: component.cloned(),
            level,
            title,
            effect,
            undo,
        }
    }

    fn stage(&mut self, place: u32, name: &str, title: &str, weight: u8) -> &mut Draft {
        self.drafts.entry(place).or_insert_with(|| Draft {
            name: name.to_owned(),
            title: title.to_owned(),
            weight,
            steps: Vec::new(),
        })
    }

    /// Apply, with the objects before (or their absence) as the way back.
    fn apply_step(
        &mut self,
        component: Option<&ComponentId>,
        title: String,
        indices: &[usize],
        lane: Lane,
    ) -> Step {
        let objects: Vec<usize> = indices.iter().map(|index| self.object_index(*index)).collect();
        let mut restore = Vec::new();
        let mut remove = Vec::new();
        for index in indices {
            let reference = self.input.named.objects[*index].reference();
            match self.before(&reference) {
                Some(before) => restore.push(before),
                None if inventory::is_kept(&reference.kind) => {}
                None => remove.push(reference),
            }
        }
        remove.reverse();
        let mut effects = Vec::new();
        if !restore.is_empty() {
            effects.push(Effect::Apply { objects: restore });
        }
        if !remove.is_empty() {
            effects.push(Effect::Delete { objects: remove });
        }
        self.step(component, title, Effect::Apply { objects }, Undo::Effects { lane, effects })
    }

    fn wait_ready(&self, component: &ComponentId, workload: &ObjectRef) -> Step {
        let effect =
            Effect::WaitReady { workloads: vec![workload.clone()], timeout: self.inputs.env.limits.ready };
        let undo = Undo::None { why: "waiting changes nothing".to_owned() };
        self.step(Some(component), format!("wait until {} is ready", workload.name), effect, undo)
    }

    // --- objects that no strategy moves ---------------------------------------------------------------------------

    fn prepare(&mut self) {
        let named = &self.input.named;
        let moved: BTreeSet<usize> =
            (0..named.objects.len()).filter(|index| self.belongs_to_rollout(*index)).collect();
        let mut indices: Vec<usize> =
            (0..named.objects.len()).filter(|index| !moved.contains(index) && self.changed(*index)).collect();
        order::apply_order(&mut indices, &named.objects);
        if indices.is_empty() {
            return;
        }
        let title = format!("apply {} objects of configuration", indices.len());
        let step = self.apply_step(None, title, &indices, Lane::Config);
        self.stage(at::PREPARE, "prepare", "configuration", 0).steps.push(step);
    }

    /// Workloads, their autoscalers, and blue-green routes that exist already: the strategies move these.
    fn belongs_to_rollout(&self, index: usize) -> bool {
        let object = &self.input.named.objects[index];
        let Some(component) = object.component.as_ref().and_then(|id| self.inputs.env.component(id)) else {
            return false;
        };
        let serving = self.input.named.workloads.get(&component.id);
        let is_route = matches!(object.kind(), "Service" | "Ingress")
            && matches!(component.strategy, Strategy::BlueGreen(_))
            && self.input.live.contains_key(&object.reference());
        serving.is_some_and(|serving| serving.workload == object.reference())
            || (serving.is_some() && object.kind() == "HorizontalPodAutoscaler")
            || (is_route && serving.is_some())
    }

    // --- components -----------------------------------------------------------------------------------------------

    fn component(&mut self, component: &Component, serving: &ServingWorkload) {
        let stable = self.stable(component, serving);
        match (&component.strategy, serving.revision, stable) {
            (_, None, _) => self.in_place(component, serving),
            (_, Some(_), None) => self.first(component, serving),
            (_, Some(_), Some(stable)) if stable.workload == serving.workload => self.settled(component),
            (Strategy::BlueGreen(blue_green), Some(_), Some(stable)) => {
                self.blue_green(component, serving, &stable, blue_green);
            }
            (Strategy::Canary(canary), Some(_), Some(stable)) => {
                self.canary(component, serving, &stable, canary)
            }
            (Strategy::Rolling | Strategy::Recreate, Some(_), Some(stable)) => {
                self.canary(component, serving, &stable, &Canary { steps: Vec::new() });
            }
        }
    }

    /// The workload that serves the component now: on record, or found under the manifest's own name (revision 0).
    fn stable(&mut self, component: &Component, serving: &ServingWorkload) -> Option<ServingWorkload> {
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
        Some(ServingWorkload {
            workload: found,
            revision: None,
            image: image.to_owned(),
            hash: String::new(),
        })
    }

    /// The index of a component's own workload object.
    fn workload_index(&self, serving: &ServingWorkload) -> Option<usize> {
        self.input.named.objects.iter().position(|object| object.reference() == serving.workload)
    }

    fn autoscalers(&self, component: &ComponentId) -> Vec<usize> {
        let objects = &self.input.named.objects;
        (0..objects.len())
            .filter(|i| {
                objects[*i].component.as_ref() == Some(component)
                    && objects[*i].kind() == "HorizontalPodAutoscaler"
            })
            .collect()
    }

    /// Creates the revision's Deployment at a given size; it is never edited again but for its size.
    fn create_step(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        replicas: u32,
    ) -> Option<Step> {
        let index = self.workload_index(serving)?;
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
        Some(self.step(Some(&component.id), title, Effect::Create { objects: vec![index] }, undo))
    }

    fn handover(&mut self, component: &Component) {
        let indices: Vec<usize> =
            self.autoscalers(&component.id).into_iter().filter(|index| self.changed(*index)).collect();
        if indices.is_empty() {
            return;
        }
        let step = self.apply_step(
            Some(&component.id),
            format!("hand the autoscaler of {} to the new revision", component.id),
            &indices,
            Lane::Traffic,
        );
        self.stage(at::HANDOVER, "handover", "autoscalers to the new revision", 0).steps.push(step);
    }

    /// The pods stay; only the autoscaler or routes may change.
    fn settled(&mut self, component: &Component) {
        self.handover(component);
        let routes = self.routes(&component.id);
        let changed: Vec<usize> = routes.into_iter().filter(|index| self.changed(*index)).collect();
        if !changed.is_empty() && matches!(component.strategy, Strategy::BlueGreen(_)) {
            let step =
                self.apply_step(Some(&component.id), "apply routes".to_owned(), &changed, Lane::Config);
            self.stage(at::PREPARE, "prepare", "configuration", 0).steps.push(step);
        }
    }

    /// Nothing serves the component yet: no holds, no weights.
    fn first(&mut self, component: &Component, serving: &ServingWorkload) {
        let replicas = component.replicas.min;
        let Some(create) = self.create_step(component, serving, replicas) else { return };
        let wait = self.wait_ready(&component.id, &serving.workload);
        let scale = self.step(
            Some(&component.id),
            format!("scale {} to {replicas}", serving.workload.name),
            Effect::Scale { workload: serving.workload.clone(), to: Size::Exactly(replicas) },
            Undo::None { why: "it is deleted as a whole".to_owned() },
        );
        let steps = &mut self.stage(at::FIRST, "first", "first revision", 0).steps;
        steps.extend([create, scale, wait]);
        self.handover(component);
        self.moved.push((component.id.clone(), serving.workload.clone()));
    }

    /// One Deployment (or `StatefulSet`, `DaemonSet`), changed in place by its controller.
    fn in_place(&mut self, component: &Component, serving: &ServingWorkload) {
        let Some(index) = self.workload_index(serving) else { return };
        let exists = self.input.live.contains_key(&serving.workload);
        let place = if self.needed_by_revisioned(&component.id) { at::FIRST } else { at::IN_PLACE };
        if self.changed(index) {
            let mut step = self.apply_step(
                Some(&component.id),
                format!("apply {}", serving.workload.name),
                &[index],
                Lane::Traffic,
            );
            if !exists && self.input.named.objects[index].value["spec"].get("replicas").is_none() {
                self.start_at_minimum(&mut step, component, index);
            }
            if let Undo::Effects { effects, .. } = &mut step.undo
                && exists
            {
                let timeout = self.inputs.env.limits.ready;
                effects.push(Effect::WaitReady { workloads: vec![serving.workload.clone()], timeout });
            }
            if component.strategy == Strategy::Recreate && exists {
                self.warnings.push(format!(
                    "{}: {} is stopped before it starts anew: downtime",
                    self.target.id, component.id
                ));
            }
            let wait = self.wait_ready(&component.id, &serving.workload);
            self.stage(place, if place == at::FIRST { "first" } else { "rolling" }, "components in place", 0)
                .steps
                .extend([step, wait]);
            self.moved.push((component.id.clone(), serving.workload.clone()));
        }
        self.handover(component);
    }

    /// A new workload without `replicas` would start with one pod; its autoscaler's floor is better.
    fn start_at_minimum(&mut self, step: &mut Step, component: &Component, index: usize) {
        let mut object = self.input.named.objects[index].clone();
        if matches!(object.kind(), "Deployment" | "StatefulSet") {
            object.value["spec"]["replicas"] = json!(component.replicas.min);
            let index = self.put(object);
            step.effect = Effect::Apply { objects: vec![index] };
        }
    }

    fn needed_by_revisioned(&self, id: &ComponentId) -> bool {
        self.inputs.env.components.iter().any(|other| {
            other.depends_on.contains(id)
                && matches!(other.strategy, Strategy::Canary(_) | Strategy::BlueGreen(_))
        })
    }

    // --- canary ---------------------------------------------------------------------------------------------------

    fn canary(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        canary: &Canary,
    ) {
        let weighted = is_live(self) && self.inputs.rollback_of.is_none();
        let steps = if weighted { canary.steps.as_slice() } else { &[] };
        self.arms.push(Arm {
            component: component.id.clone(),
            new: serving.workload.clone(),
            stable: Some(stable.workload.clone()),
        });
        for (index, step) in steps.iter().enumerate() {
            let place = at::WEIGHT + 10 * u32::from(step.weight);
            let (name, title) = (format!("canary-{}", step.weight), format!("canary {} %", step.weight));
            let mut actions = Vec::new();
            if index == 0 {
                actions.extend(self.create_step(component, serving, 0));
            }
            actions.push(self.share_step(component, serving, stable, step.weight));
            actions.push(self.wait_ready(&component.id, &serving.workload));
            self.stage(place, &name, &title, step.weight).steps.extend(actions);
            if index == 0 {
                self.check(place + 1, &format!("check-{}", step.weight), step.weight, component, serving);
            }
            let hold = self.holds.entry(step.weight).or_default();
            *hold = (*hold).max(step.hold);
        }
        self.promote(component, serving, stable, steps.is_empty());
        if steps.is_empty() {
            self.check(at::CHECK, "check", 0, component, serving);
        }
        self.handover(component);
        self.drain(component, serving, stable);
        self.moved.push((component.id.clone(), serving.workload.clone()));
    }

    fn share_step(
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

    fn live_size(&self, workload: &ObjectRef) -> u32 {
        let replicas = self.input.live.get(workload).and_then(|live| live.pointer("/spec/replicas"));
        replicas.and_then(Value::as_u64).unwrap_or(1) as u32
    }

    /// The new revision at full size beside the old one.
    fn promote(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        stable: &ServingWorkload,
        create: bool,
    ) {
        let mut actions = Vec::new();
        if create {
            actions.extend(self.create_step(component, serving, 0));
        }
        let floor = component.replicas.min;
        let to = if self.autoscalers(&component.id).is_empty() {
            Size::Exactly(floor)
        } else {
            Size::SameAs { workload: stable.workload.clone(), floor }
        };
        // With pods as the router, pods are traffic: their going is the first thing in a rollback.
        let lane =
            if matches!(component.strategy, Strategy::BlueGreen(_)) { Lane::Capacity } else { Lane::Traffic };
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
    fn drain(&mut self, component: &Component, serving: &ServingWorkload, stable: &ServingWorkload) {
        let timeout = self.inputs.env.limits.ready;
        let size =
            Size::SameAs { workload: serving.workload.clone(), floor: self.live_size(&stable.workload) };
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
        let waits = self.wait_traffic(component, &serving.workload);
        let steps = &mut self.stage(at::DRAIN, "drain", "old revision drains", 100).steps;
        steps.push(scale);
        steps.extend(waits);
    }

    fn wait_traffic(&self, component: &Component, workload: &ObjectRef) -> Vec<Step> {
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

    /// The component's Services that select pods, under the manifests' own names.
    fn services(&self, component: &ComponentId) -> Vec<ObjectRef> {
        let objects = self.input.named.objects.iter();
        objects
            .filter(|o| o.component.as_ref() == Some(component) && o.kind() == "Service")
            .filter(|o| o.value["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty()))
            .map(Object::reference)
            .collect()
    }

    fn check(
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

    fn tests(&self, components: &[ComponentId]) -> Vec<SmokeTest> {
        self.inputs.env.smoke.iter().filter(|test| components.contains(&test.component)).cloned().collect()
    }

    fn weighted_holds(&mut self) {
        for (weight, duration) in std::mem::take(&mut self.holds) {
            let arms = self.arms.clone();
            let hold = self.hold_step(duration, arms);
            let place = at::WEIGHT + 10 * u32::from(weight) + 2;
            let title = format!("hold {weight} % for {}", human(duration));
            self.stage(place, &format!("hold-{weight}"), &title, weight).steps.push(hold);
        }
    }

    fn hold_step(&self, duration: Duration, arms: Vec<Arm>) -> Step {
        let live = is_live(self);
        let gates: Vec<Gate> = if live { self.inputs.env.gates.clone() } else { Vec::new() };
        let components: Vec<ComponentId> = arms.iter().map(|arm| arm.component.clone()).collect();
        let gates = gates
            .into_iter()
            .filter_map(|mut gate| {
                gate.components.retain(|id| components.contains(id));
                (!gate.components.is_empty()).then_some(gate)
            })
            .collect();
        let probes = if live { Vec::new() } else { self.tests(&components) };
        let patience = self.inputs.env.limits.shared_breach;
        let effect = Effect::Hold { duration, gates, arms, probes, patience };
        self.step(
            None,
            format!("hold for {}", human(duration)),
            effect,
            Undo::None { why: "watching changes nothing".into() },
        )
    }

    // --- blue-green -----------------------------------------------------------------------------------------------

    fn routes(&self, component: &ComponentId) -> Vec<usize> {
        let objects = &self.input.named.objects;
        (0..objects.len())
            .filter(|i| objects[*i].component.as_ref() == Some(component))
            .filter(|i| matches!(objects[*i].kind(), "Service" | "Ingress"))
            .filter(|i| self.input.live.contains_key(&objects[*i].reference()))
            .collect()
    }

    fn blue_green(
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
        self.promote(component, serving, stable, true);
        self.check(at::CHECK, "check", 0, component, serving);
        self.switch(component, serving, stable);
        self.handover(component);
        let arm = Arm { component: component.id.clone(), new: serving.workload.clone(), stable: None };
        if !how.hold.is_zero() && self.inputs.rollback_of.is_none() {
            let hold = self.hold_step(how.hold, vec![arm]);
            self.stage(at::HOLD, "hold", "hold on green", 100).steps.push(hold);
        }
        self.finish.push(self.step(
            Some(&component.id),
            format!("scale {} to 0, kept for a rollback", stable.workload.name),
            Effect::Scale { workload: stable.workload.clone(), to: Size::Exactly(0) },
            Undo::None { why: "the release is done".to_owned() },
        ));
        self.moved.push((component.id.clone(), serving.workload.clone()));
    }

    fn switch(&mut self, component: &Component, serving: &ServingWorkload, stable: &ServingWorkload) {
        let indices = self.routes(&component.id);
        let mut forward = Vec::new();
        let mut back = Vec::new();
        for index in indices {
            let reference = self.input.named.objects[index].reference();
            forward.push(self.object_index(index));
            back.extend(self.before(&reference));
        }
        if forward.is_empty() {
            return;
        }
        // Back in the other order: an Ingress leaves green's Service before that Service changes.
        back.reverse();
        let mut undo = vec![Effect::Switch { objects: back, to: stable.workload.name.clone() }];
        if stable.revision.is_some() {
            let timeout = self.inputs.env.limits.ready;
            let workload = stable.workload.clone();
            undo.extend(self.own_services(component).into_iter().map(|service| Effect::WaitTraffic {
                service,
                workload: workload.clone(),
                timeout,
            }));
        }
        let step = self.step(
            Some(&component.id),
            format!("switch traffic to {}", serving.workload.name),
            Effect::Switch { objects: forward, to: serving.workload.name.clone() },
            Undo::Effects { lane: Lane::Traffic, effects: undo },
        );
        let waits = self.wait_traffic(component, &serving.workload);
        let steps = &mut self.stage(at::SWITCH, "switch", "switch to green", 100).steps;
        steps.push(step);
        steps.extend(waits);
    }

    /// Services that existed before this release: those that a way back leads through.
    fn own_services(&self, component: &Component) -> Vec<ObjectRef> {
        self.services(&component.id)
            .into_iter()
            .filter(|service| self.input.live.contains_key(service))
            .collect()
    }

    // --- after the cut-over ---------------------------------------------------------------------------------------

    fn smoke_and_bake(&mut self, last_wave: bool) {
        if self.moved.is_empty() {
            return;
        }
        let components: Vec<ComponentId> = self.moved.iter().map(|(id, _)| id.clone()).collect();
        let tests = self.tests(&components);
        if !tests.is_empty() {
            let services = components
                .iter()
                .filter_map(|id| self.services(id).into_iter().next().map(|service| (id.clone(), service)))
                .collect();
            let effect = Effect::Smoke { tests, via: SmokeVia::Public { services } };
            let undo = Undo::None { why: "asking changes nothing".to_owned() };
            let step = self.step(None, "smoke-test the public way".to_owned(), effect, undo);
            self.stage(at::SMOKE, "smoke", "smoke tests", 100).steps.push(step);
        }
        if self.inputs.rollback_of.is_some() || self.input.previous().is_none() && self.arms.is_empty() {
            return;
        }
        let duration = if last_wave { self.settling() } else { self.inputs.env.bake };
        if duration.is_zero() {
            return;
        }
        let arms =
            self.moved.iter().map(|(id, new)| Arm { component: id.clone(), new: new.clone(), stable: None });
        let step = self.hold_step(duration, arms.collect());
        let title = format!("bake wave {} for {}", self.wave, human(duration));
        self.stage(at::BAKE, "bake", &title, 100).steps.push(step);
    }

    /// After the last wave the gates look once more, at full weight, over their longest window.
    fn settling(&self) -> Duration {
        let live = is_live(self);
        self.inputs
            .env
            .gates
            .iter()
            .filter(|_| live)
            .map(|gate| gate.window + gate.interval)
            .max()
            .unwrap_or_default()
    }

    fn clean_up(&mut self) {
        let objects = to_delete(self);
        if objects.is_empty() {
            return;
        }
        let title = format!("delete {} objects that no release needs", objects.len());
        let undo = Undo::None { why: "the release is done".to_owned() };
        self.finish.push(self.step(None, title, Effect::Delete { objects }, undo));
    }
}

/// Who made an object that no release of ours made, from its managed fields.
fn manager_of(live: &Value) -> String {
    let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let name = managers.and_then(|fields| fields.iter().find_map(|field| field["manager"].as_str()));
    name.map_or_else(|| "its maker is unknown".to_owned(), |name| format!("made by {name}"))
}
