//! What changes on the target, object by object, and what each object was before.

use super::Site;
use crate::domain::object::{Object, ObjectRef};
use crate::plan::build::to_delete;
use crate::plan::{Action, Adopted, Change, FieldChange, diff};
use serde_json::Value;

impl<'a> Site<'a> {
    pub(super) fn changes(&self) -> Vec<Change> {
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

    pub(super) fn change(&self, object: &Object) -> Change {
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

    pub(super) fn differences(&self, object: &Object) -> Vec<FieldChange> {
        let reference = object.reference();
        match self.input.live.get(&reference) {
            None => Vec::new(),
            // Its name says its content; what the server keeps of it is not for comparing.
            Some(_) if object.kind() == "Secret" => Vec::new(),
            Some(live) => diff::fields(&object.value, live, self.previous_manifest(&reference)),
        }
    }

    pub(super) fn previous_manifest(&self, reference: &ObjectRef) -> Option<&'a Value> {
        let release = self.input.previous()?;
        release.objects.iter().find(|object| object.reference() == *reference).map(|object| &object.value)
    }

    pub(super) fn changed(&self, index: usize) -> bool {
        let object = &self.input.named.objects[index];
        !self.input.live.contains_key(&object.reference()) || !self.differences(object).is_empty()
    }

    pub(super) fn put(&mut self, object: Object) -> usize {
        if let Some(index) = self.table.iter().position(|known| *known == object) {
            return index;
        }
        self.table.push(object);
        self.table.len() - 1
    }

    pub(super) fn object_index(&mut self, index: usize) -> usize {
        let object = self.input.named.objects[index].clone();
        self.put(object)
    }

    /// The object as it was: from the release before, else as it is live.
    pub(super) fn before(&mut self, reference: &ObjectRef) -> Option<usize> {
        let live = self.input.live.get(reference)?;
        let value =
            self.previous_manifest(reference).cloned().unwrap_or_else(|| diff::without_server_fields(live));
        Some(self.put(Object { component: None, origin: "the release before".to_owned(), value }))
    }

    /// What a first release takes over: its serving workloads, and the objects that it changes, as they are live.
    pub(super) fn adoption(&mut self) -> Option<Adopted> {
        if self.adopted.is_empty() || self.input.previous().is_some() {
            return None;
        }
        let workloads = self.adopted.clone();
        let named = self.input.named.objects.iter().map(Object::reference);
        let mut references: Vec<ObjectRef> = named.filter(|r| self.input.live.contains_key(r)).collect();
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
