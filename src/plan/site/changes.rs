//! What changes on the target, object by object, and what each object was before.

use super::Site;
use crate::domain::object::{Object, ObjectRef};
use crate::plan::{Action, Adopted, Change, FieldChange, TargetInput, diff, immutable, naming, secrets};
use serde_json::Value;
use std::collections::HashMap;

/// What an object would change in the live one; the server's word stands above our reading of it.
pub(super) fn differences(
    input: &TargetInput,
    manifests: &HashMap<ObjectRef, &Value>,
    object: &Object,
    reference: &ObjectRef,
) -> Vec<FieldChange> {
    match input.live.get(reference) {
        None => Vec::new(),
        Some(_) if input.judged.get(reference).is_some_and(|judged| judged.same) => Vec::new(),
        Some(live) => {
            let previous = manifests.get(reference).copied();
            input.differences(object, live, previous)
        }
    }
}

impl Site<'_> {
    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<Change> = (0..self.references.len()).map(|index| self.change(index)).collect();
        changes.extend(self.doomed.iter().map(|object| Change {
            object: object.clone(),
            component: None,
            action: Action::Delete,
            fields: Vec::new(),
            contests: Vec::new(),
            replaced: None,
            note: None,
        }));
        changes.extend(self.leaving_changes());
        changes
    }

    fn change(&self, index: usize) -> Change {
        let (object, reference) = (&self.input.named.objects[index], &self.references[index]);
        let mut fields = self.differences[index].clone();
        fields.extend(self.resized(index));
        let live = self.input.live.get(reference);
        let replaced = self.replaced(index);
        let action = match (live, fields.is_empty()) {
            _ if self.has_run(index) => Action::Keep,
            (None, _) => Action::Create,
            (Some(_), true) => Action::Keep,
            (Some(_), false) if replaced.is_some() => Action::Replace,
            (Some(_), false) => Action::Update,
        };
        let adopted = live.is_some() && !self.manifests.contains_key(reference);
        let mut note = adopted.then(|| format!("adopted, {}", manager_of(live.unwrap_or(&Value::Null))));
        if let Some(before) = self.successor_of(reference).filter(|_| action == Action::Create) {
            note = Some(format!("in place of {}", before.name));
            fields =
                secrets::changed_keys(&object.value, self.manifests[before], Some(self.manifests[before]));
        }
        let judged = self.input.judged.get(reference);
        Change {
            object: reference.clone(),
            component: object.component.clone(),
            action,
            fields,
            contests: judged.map(|judged| judged.contests.clone()).unwrap_or_default(),
            replaced,
            note,
        }
    }

    /// The Secret of the release before that this one stands for: another content has another name.
    fn successor_of(&self, reference: &ObjectRef) -> Option<&ObjectRef> {
        let name = naming::manifest_name(&reference.name).filter(|_| reference.kind == "Secret")?;
        let same = |other: &&ObjectRef| {
            *other != reference
                && (&other.kind, &other.namespace) == (&reference.kind, &reference.namespace)
                && naming::manifest_name(&other.name) == Some(name)
        };
        self.manifests.keys().filter(same).min()
    }

    /// Why the object has to be deleted and made anew, and what that costs.
    pub(super) fn replaced(&self, index: usize) -> Option<String> {
        let (reference, fields) = (&self.references[index], &self.differences[index]);
        let live = self.input.live.get(reference).filter(|_| !fields.is_empty())?;
        let by_rule = immutable::replacement(reference, live, fields).map(|found| found.why);
        let by_server = self.input.judged.get(reference).and_then(|judged| judged.immutable.clone());
        Some(format!("{}; {}", by_rule.or(by_server)?, immutable::cost(&reference.kind)))
    }

    pub(super) fn changed(&self, index: usize) -> bool {
        if self.has_run(index) {
            return false;
        }
        !self.input.live.contains_key(&self.references[index]) || !self.differences[index].is_empty()
    }

    pub(super) fn put(&mut self, object: Object) -> usize {
        self.table.put(object)
    }

    pub(super) fn object_index(&mut self, index: usize) -> usize {
        let object = self.input.named.objects[index].clone();
        self.put(object)
    }

    /// The object as it was: from the release before, else as it is live.
    pub(super) fn before(&mut self, reference: &ObjectRef) -> Option<usize> {
        let live = self.input.live.get(reference)?;
        let value = self
            .manifests
            .get(reference)
            .map_or_else(|| diff::without_server_fields(live), |known| (*known).clone());
        Some(self.put(Object { component: None, origin: "the release before".to_owned(), value }))
    }

    /// What a first release takes over: its serving workloads, and the objects that it changes, as they are live.
    pub(super) fn adoption(&mut self) -> Option<Adopted> {
        if self.adopted.is_empty() || self.input.previous().is_some() {
            return None;
        }
        let workloads = self.adopted.clone();
        let named = self.references.iter().filter(|r| self.input.live.contains_key(r));
        let mut references: Vec<ObjectRef> = named.cloned().collect();
        references.extend(workloads.values().map(|serving| serving.workload.clone()));
        let component = |reference: &ObjectRef| {
            let named = self.input.named.objects.iter().find(|object| object.reference() == *reference);
            let serving = workloads.iter().find(|(_, serving)| serving.workload == *reference);
            named.and_then(|object| object.component.clone()).or_else(|| serving.map(|(id, _)| id.clone()))
        };
        let owned: Vec<_> =
            references.iter().map(|reference| (component(reference), reference.clone())).collect();
        let mut objects = Vec::new();
        for (component, reference) in owned {
            let live = self.input.live.get(&reference)?;
            let value = diff::without_server_fields(live);
            objects.push(self.put(Object { component, origin: "before deployctl".to_owned(), value }));
        }
        Some(Adopted { workloads, objects })
    }
}

/// Who made an object that no release of ours made, from its managed fields.
fn manager_of(live: &Value) -> String {
    let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let name = managers.and_then(|fields| fields.iter().find_map(|field| field["manager"].as_str()));
    name.map_or_else(|| "its maker is unknown".to_owned(), |name| format!("made by {name}"))
}
