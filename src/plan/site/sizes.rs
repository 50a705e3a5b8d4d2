//! The size of a component that no autoscaler scales: what the environment says, else what its manifest says.

use super::Site;
use crate::domain::effect::{Effect, Size};
use crate::domain::environment::Component;
use crate::domain::ids::ComponentId;
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::plan::{FieldChange, contest};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Site<'_> {
    /// Pods that the component starts with, and has where no autoscaler decides.
    pub(super) fn full_size(&self, component: &Component) -> u32 {
        self.said_size(component).unwrap_or(component.replicas.min)
    }

    /// The workloads that will serve, with the sizes that they start with.
    pub(in crate::plan) fn sized(&self) -> BTreeMap<ComponentId, ServingWorkload> {
        let mut workloads = self.input.named.workloads.clone();
        for (id, serving) in &mut workloads {
            let component = self.inputs.env.component(id).filter(|_| serving.workload.kind != "DaemonSet");
            serving.size = component.map(|component| self.full_size(component)).or(serving.size);
        }
        workloads
    }

    fn said_size(&self, component: &Component) -> Option<u32> {
        if component.replicas.given {
            return Some(component.replicas.min);
        }
        let serving = self.input.named.workloads.get(&component.id)?;
        let object = &self.input.named.objects[self.workload_index(serving)?];
        object.value.pointer("/spec/replicas").and_then(Value::as_u64).map(|replicas| replicas as u32)
    }

    /// What a size that only the environment says changes in a workload that stays.
    pub(super) fn resized(&self, index: usize) -> Option<FieldChange> {
        const SIZE: &str = "spec.replicas";
        let workload = &self.references[index];
        let serves = |serving: &&ServingWorkload| serving.workload == *workload;
        let (id, serving) = self.input.named.workloads.iter().find(|(_, serving)| serves(serving))?;
        if self.differences[index].iter().any(|change| change.path == SIZE) {
            return None;
        }
        let (now, wanted) = self.new_size(self.inputs.env.component(id)?, serving)?;
        Some(FieldChange { path: SIZE.to_owned(), from: Some(json!(now)), to: Some(json!(wanted)) })
    }

    /// Brings a workload that stays to the size that is said now; nothing if it has it, or if a controller decides.
    pub(super) fn resize_step(&self, component: &Component, serving: &ServingWorkload) -> Option<Step> {
        let workload = &serving.workload;
        let (now, wanted) = self.new_size(component, serving)?;
        let scale = |size| Effect::Scale { workload: workload.clone(), to: Size::Exactly(size) };
        let undo = Undo::Effects { lane: Lane::Capacity, effects: vec![scale(now)] };
        let title = format!("scale {} from {now} to {wanted}", workload.name);
        Some(self.step(Some(&component.id), title, scale(wanted), undo))
    }

    /// The same for one that is changed in place. What its manifest says goes with the object.
    pub(super) fn resize_in_place(
        &self,
        component: &Component,
        serving: &ServingWorkload,
        index: usize,
    ) -> Option<Step> {
        let said = self.input.named.objects[index].value["spec"].get("replicas").is_some();
        self.resize_step(component, serving).filter(|_| !said)
    }

    /// The size of a workload that stays, and the one that it is to have, if they differ and no controller decides.
    fn new_size(&self, component: &Component, serving: &ServingWorkload) -> Option<(u32, u32)> {
        let workload = &serving.workload;
        let live = self.input.live.get(workload)?;
        let scalable = matches!(workload.kind.as_str(), "Deployment" | "StatefulSet");
        if !scalable || !self.autoscalers(&component.id).is_empty() || contest::size_is_left(live) {
            return None;
        }
        let (now, wanted) = (self.live_size(workload), self.said_size(component)?);
        (now != wanted).then_some((now, wanted))
    }
}
