//! Deletion as the API does it: preconditions, grace periods of pods, finalizers, propagation, namespaces.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::errors::ApiStatus;
use super::kinds::KindId;
use super::store::Stored;
use super::store::{Key, Store};
use super::write::time;

/// What happens to the objects that a deleted object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay and lose their owner.
    Orphan,
}

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// What happens to dependents; the kind decides if unset.
    pub propagation: Option<Propagation>,
    /// How long a pod may take to stop; 0 removes at once.
    pub grace_seconds: Option<i64>,
    /// Delete only the object with this uid.
    pub uid: Option<String>,
    /// Delete only the object at this version.
    pub resource_version: Option<String>,
    /// Check everything, change nothing.
    pub dry_run: bool,
}

/// How a deletion ended.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Stored>),
    /// The object stays until its finalizers or its kubelet are done with it.
    Pending(Arc<Stored>),
}

impl Deleted {
    /// The object as the deletion left it.
    #[must_use]
    pub fn object(&self) -> &Arc<Stored> {
        match self {
            Self::Gone(object) | Self::Pending(object) => object,
        }
    }
}

impl Store {
    /// Deletes an object, or begins to: finalizers and the grace period of pods keep it with a
    /// `deletionTimestamp`. Grace 0 is what a kubelet says once a pod has stopped.
    pub fn delete(
        &mut self,
        now: Timestamp,
        _who: &str,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiStatus> {
        let Some(old) = self.get(key) else {
            return Err(ApiStatus::not_found(self.kind_info(key.kind), &key.name));
        };
        self.check_delete_preconditions(key, &old, options)?;
        if key.kind == KindId::NAMESPACES {
            return Ok(self.delete_namespace(now, key, &old, options.dry_run));
        }
        let mut object = (*old).clone();
        apply_propagation(object.value_mut(), key.kind, options.propagation);
        let has_finalizers =
            object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
        let grace = grace_of(key.kind, &old, options.grace_seconds);
        if !has_finalizers && grace == 0 {
            if options.dry_run {
                return Ok(Deleted::Gone(old));
            }
            let last = self.remove(key).expect("the object was read just now");
            if key.kind == KindId::CUSTOM_RESOURCE_DEFINITIONS {
                self.abolish(&last);
            }
            return Ok(Deleted::Gone(last));
        }
        if !mark_deleted(object.value_mut(), now, grace) && object.value() == old.value() {
            return Ok(Deleted::Pending(old));
        }
        if options.dry_run {
            return Ok(Deleted::Pending(Arc::new(object)));
        }
        Ok(Deleted::Pending(self.put(key.clone(), object)))
    }

    fn check_delete_preconditions(
        &self,
        key: &Key,
        old: &Value,
        options: &DeleteOptions,
    ) -> Result<(), ApiStatus> {
        let metadata = &old["metadata"];
        let kind = self.kind_info(key.kind);
        for (wanted, field, label) in
            [(&options.uid, "uid", "UID"), (&options.resource_version, "resourceVersion", "ResourceVersion")]
        {
            let found = metadata[field].as_str().unwrap_or_default();
            if let Some(wanted) = wanted
                && wanted != found
            {
                let why = format!(
                    "Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {found}"
                );
                return Err(ApiStatus::conflict(kind, &key.name, &why));
            }
        }
        Ok(())
    }

    fn delete_namespace(&mut self, now: Timestamp, key: &Key, old: &Arc<Stored>, dry_run: bool) -> Deleted {
        if !old["metadata"]["deletionTimestamp"].is_null() {
            return Deleted::Pending(Arc::clone(old));
        }
        let mut object = (**old).clone();
        object.value_mut()["metadata"]["deletionTimestamp"] = time(now).into();
        object.value_mut()["status"]["phase"] = "Terminating".into();
        if dry_run {
            Deleted::Pending(Arc::new(object))
        } else {
            Deleted::Pending(self.put(key.clone(), object))
        }
    }

    /// Ends the deletion of a namespace: what its controller says once the namespace is empty.
    pub fn finalize_namespace(&mut self, name: &str) -> Option<Arc<Stored>> {
        self.remove(&Key::new(KindId::NAMESPACES, "", name))
    }
}

/// Writes the propagation into the finalizers, as the garbage collector reads it.
fn apply_propagation(object: &mut Value, kind: KindId, propagation: Option<Propagation>) {
    // jobs keep their old default: their pods are preserved
    let default = if kind == KindId::JOBS { Propagation::Orphan } else { Propagation::Background };
    let finalizer = match propagation.unwrap_or(default) {
        Propagation::Background => None,
        Propagation::Foreground => Some("foregroundDeletion"),
        Propagation::Orphan => Some("orphan"),
    };
    let metadata = &mut object["metadata"];
    let mut finalizers: Vec<Value> = metadata["finalizers"].as_array().cloned().unwrap_or_default();
    if propagation.is_some() {
        finalizers.retain(|one| one != "foregroundDeletion" && one != "orphan");
    }
    if let Some(finalizer) = finalizer
        && !finalizers.iter().any(|one| one == finalizer)
    {
        finalizers.push(finalizer.into());
    }
    if finalizers.is_empty() {
        metadata.as_object_mut().expect("metadata is an object").remove("finalizers");
    } else {
        metadata["finalizers"] = finalizers.into();
    }
}

/// Only pods have a grace period, and only while something of them may run.
fn grace_of(kind: KindId, object: &Value, asked: Option<i64>) -> i64 {
    if kind != KindId::PODS {
        return 0;
    }
    let scheduled = object["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    let finished = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !scheduled || finished {
        return 0;
    }
    let wanted =
        asked.or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30).max(0);
    match object["metadata"]["deletionGracePeriodSeconds"].as_i64() {
        // a second deletion may only shorten the first
        Some(running) => wanted.min(running),
        None => wanted,
    }
}

/// Sets the deletion's time; true if that changed anything.
fn mark_deleted(object: &mut Value, now: Timestamp, grace: i64) -> bool {
    let metadata = &mut object["metadata"];
    let running = metadata["deletionGracePeriodSeconds"].as_i64();
    if !metadata["deletionTimestamp"].is_null() && running.is_none_or(|running| running <= grace) {
        return false;
    }
    let at = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
    if metadata["deletionTimestamp"].is_null()
        && let Some(generation) = metadata["generation"].as_i64()
    {
        metadata["generation"] = (generation + 1).into();
    }
    metadata["deletionTimestamp"] = time(at).into();
    metadata["deletionGracePeriodSeconds"] = json!(grace);
    true
}
