//! What is waited for beside the components' own workloads: before them what they need, after them what needs them.

use super::{Site, at};
use crate::domain::effect::Effect;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::step::{Step, Undo};
use crate::rollout::readiness::{Sort, sort_of};

impl Site<'_> {
    /// A wait for those of the applied objects that workloads need: claims, CRDs, certificates, Jobs, …
    pub(super) fn wait_before(&self, applied: &[usize]) -> Option<Step> {
        let needed = |object: &&Object| matches!(self.sort(object), Sort::Before | Sort::Workload);
        let objects = applied.iter().map(|index| &self.input.named.objects[*index]).filter(needed);
        self.wait_step(objects.map(Object::reference).collect())
    }

    /// A wait for what can be ready only when workloads are (budgets, autoscalers), and for what users need and pods do
    /// not (addresses, routes, custom resources). Waiting for these before would hold up a first release for ever.
    pub(super) fn wait_after(&mut self) {
        // The way back must not hang on an address.
        if self.inputs.rollback_of.is_some() {
            return;
        }
        let objects = &self.input.named.objects;
        let changed = (0..objects.len()).filter(|index| self.changed(*index)).map(|index| &objects[index]);
        let follows = changed.filter(|object| self.sort(object) == Sort::After && says_more(object));
        let Some(step) = self.wait_step(follows.map(Object::reference).collect()) else { return };
        let weight = if self.moved.is_empty() { 0 } else { 100 };
        self.stage(at::SETTLE, "settle", "what follows the workloads", weight).steps.push(step);
    }

    fn sort(&self, object: &Object) -> Sort {
        sort_of(&object.reference(), &self.inputs.env.readiness)
    }

    fn wait_step(&self, objects: Vec<ObjectRef>) -> Option<Step> {
        let title = match objects.as_slice() {
            [] => return None,
            [one] => format!("wait until {one} is ready"),
            [one, two] => format!("wait until {one} and {two} are ready"),
            [first, rest @ ..] => format!("wait until {first} and {} more objects are ready", rest.len()),
        };
        let effect = Effect::WaitReady { workloads: objects, timeout: self.inputs.env.limits.ready };
        let undo = Undo::None { why: "waiting changes nothing".to_owned() };
        Some(self.step(None, title, effect, undo))
    }
}

/// A Service inside the cluster is ready once it is stored.
fn says_more(object: &Object) -> bool {
    object.kind() != "Service" || object.value["spec"]["type"] == "LoadBalancer"
}
