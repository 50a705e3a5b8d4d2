//! Writes with the semantics of the API: system metadata, preconditions, generations, subresources, no-ops.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::defaults;
use super::errors::ApiStatus;
use super::kinds::KindId;
use super::managed;
use super::store::{Key, Store};
use super::stored::{Managed, Stored};
use super::validate;

/// A time as the API writes it: RFC 3339 in whole seconds.
#[must_use]
pub fn time(at: Timestamp) -> String {
    jiff::fmt::temporal::DateTimePrinter::new().precision(Some(0)).timestamp_to_string(&at)
}

/// Who writes, when, and through what.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The time of the write.
    pub now: Timestamp,
    /// The field manager.
    pub manager: &'a str,
    /// The subresource written through, empty for the object itself.
    pub subresource: &'a str,
    /// Check everything, change nothing.
    pub dry_run: bool,
}

impl<'a> Writer<'a> {
    fn controller(now: Timestamp, manager: &'a str, subresource: &'a str) -> Self {
        Self { now, manager, subresource, dry_run: false }
    }
}

impl Store {
    /// Creates an object as a controller does.
    pub fn create(
        &mut self,
        now: Timestamp,
        who: &str,
        kind: KindId,
        object: Value,
    ) -> Result<Arc<Stored>, ApiStatus> {
        self.create_as(&Writer::controller(now, who, ""), kind, object, Ownership::Update)
    }

    /// Replaces an object's metadata and spec; optimistic if the object carries a resourceVersion.
    pub fn update(
        &mut self,
        now: Timestamp,
        who: &str,
        kind: KindId,
        object: Value,
    ) -> Result<Arc<Stored>, ApiStatus> {
        let key = key_of(kind, &object);
        self.update_as(&Writer::controller(now, who, ""), &key, object, Ownership::Update)
    }

    /// Replaces an object's status; optimistic if the object carries a resourceVersion.
    pub fn update_status(
        &mut self,
        now: Timestamp,
        who: &str,
        kind: KindId,
        object: Value,
    ) -> Result<Arc<Stored>, ApiStatus> {
        let key = key_of(kind, &object);
        self.update_as(&Writer::controller(now, who, "status"), &key, object, Ownership::Update)
    }

    /// Reads, changes and writes an object's metadata and spec; nothing happens if nothing changed.
    pub fn modify(
        &mut self,
        now: Timestamp,
        who: &str,
        key: &Key,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Stored>, ApiStatus> {
        self.modify_as(&Writer::controller(now, who, ""), key, change)
    }

    /// Reads, changes and writes an object's status; nothing happens if nothing changed.
    pub fn modify_status(
        &mut self,
        now: Timestamp,
        who: &str,
        key: &Key,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Stored>, ApiStatus> {
        self.modify_as(&Writer::controller(now, who, "status"), key, change)
    }

    fn modify_as(
        &mut self,
        writer: &Writer<'_>,
        key: &Key,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Stored>, ApiStatus> {
        let Some(known) = self.peek(key) else { return Err(self.missing(key)) };
        let mut object = known.value().clone();
        change(&mut object);
        self.update_as(writer, key, object, Ownership::Update)
    }

    fn missing(&self, key: &Key) -> ApiStatus {
        ApiStatus::not_found(self.kind_info(key.kind), &key.name)
    }

    /// Creates an object through the whole of the API: admission, defaulting, ownership, validation.
    pub(crate) fn create_as(
        &mut self,
        writer: &Writer<'_>,
        kind: KindId,
        mut object: Value,
        ownership: Ownership,
    ) -> Result<Arc<Stored>, ApiStatus> {
        self.note_time(writer.now);
        self.name_object(kind, &mut object);
        let key = key_of(kind, &object);
        self.admit_namespace(kind, &key.namespace, &key.name)?;
        if object["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
            return Err(ApiStatus::internal("resourceVersion should not be set on objects to be created"));
        }
        let shape = self.shape(kind);
        if self.kind_info(kind).status && !matches!(kind, KindId::NODES | KindId::CUSTOM_RESOURCE_DEFINITIONS)
        {
            remove_field(&mut object, "status");
        }
        for field in SYSTEM_METADATA {
            remove_field(&mut object["metadata"], field);
        }
        defaults::apply(&shape, kind, &mut object);
        let managed = match ownership {
            Ownership::Update => {
                let api_version = self.kind_info(kind).api_version();
                let status = object.as_object_mut().and_then(|fields| fields.remove("status"));
                let empty = self.empty_object(kind);
                let managed = managed::track_update(&shape, &empty, &object, writer, &api_version);
                if let Some(status) = status {
                    object["status"] = status;
                }
                managed
            }
            Ownership::Applied(entries) => entries,
        };
        let uid = self.next_uid();
        let generation = self.kind_info(kind).generation;
        let metadata = metadata_mut(&mut object);
        metadata.insert("uid".into(), uid.into());
        metadata.insert("creationTimestamp".into(), time(writer.now).into());
        if generation {
            metadata.insert("generation".into(), 1.into());
        }
        self.prepare_create(kind, &mut object)?;
        self.admit_create(kind, &object)?;
        self.validate(&key, &object, None)?;
        if self.peek(&key).is_some() {
            return Err(ApiStatus::already_exists(self.kind_info(kind), &key.name));
        }
        let object = Stored::new(object, managed);
        if writer.dry_run {
            return Ok(Arc::new(object));
        }
        let stored = self.put(key.clone(), object);
        if kind == KindId::CUSTOM_RESOURCE_DEFINITIONS {
            self.establish(writer.now, &key);
        }
        Ok(stored)
    }

    fn validate(&self, key: &Key, object: &Value, old: Option<&Value>) -> Result<(), ApiStatus> {
        let info = self.kind_info(key.kind);
        let causes = validate::check(key.kind, info, object, old);
        if causes.is_empty() { Ok(()) } else { Err(ApiStatus::invalid(info, &key.name, &causes)) }
    }

    fn name_object(&mut self, kind: KindId, object: &mut Value) {
        let info = self.kind_info(kind);
        let (api_version, name, namespaced) = (info.api_version(), info.kind.clone(), info.namespaced);
        object["apiVersion"] = api_version.into();
        object["kind"] = name.into();
        let suffix = self.next_random();
        let metadata = metadata_mut(object);
        if !namespaced {
            metadata.remove("namespace");
        }
        let unnamed = metadata.get("name").and_then(Value::as_str).is_none_or(str::is_empty);
        if unnamed && let Some(prefix) = metadata.get("generateName").and_then(Value::as_str) {
            let name = format!("{prefix}{}", name_suffix(suffix));
            metadata.insert("name".into(), name.into());
        }
    }

    /// Changes an object through the whole of the API.
    pub(crate) fn update_as(
        &mut self,
        writer: &Writer<'_>,
        key: &Key,
        mut object: Value,
        ownership: Ownership,
    ) -> Result<Arc<Stored>, ApiStatus> {
        self.note_time(writer.now);
        let Some(old) = self.get(key) else { return Err(self.missing(key)) };
        self.check_preconditions(key, &old, &object)?;
        let shape = self.shape(key.kind);
        let through_status = writer.subresource == "status";
        self.keep_what_is_not_written(key.kind, through_status, &old, &mut object);
        if through_status && !self.kind_info(key.kind).custom {
            defaults::apply_status(&shape, &mut object);
        } else {
            defaults::apply(&shape, key.kind, &mut object);
        }
        let managed = match ownership {
            Ownership::Update => {
                let api_version = self.kind_info(key.kind).api_version();
                managed::track_update(&shape, &old, &object, writer, &api_version)
            }
            Ownership::Applied(entries) => entries,
        };
        if !through_status {
            Self::prepare_update(key.kind, &old, &mut object);
            self.bump_generation(key.kind, &old, &mut object);
        }
        if managed::same_but_times(&old, &object, &managed) {
            return Ok(old);
        }
        if !through_status {
            self.validate(key, &object, Some(&old))?;
        }
        let object = Stored::new(object, managed);
        if writer.dry_run {
            return Ok(Arc::new(object));
        }
        if is_finished(&object) {
            self.remove(key);
            return Ok(Arc::new(object));
        }
        let stored = self.put(key.clone(), object);
        if key.kind == KindId::CUSTOM_RESOURCE_DEFINITIONS && !through_status {
            self.establish(writer.now, key);
        }
        Ok(stored)
    }

    fn check_preconditions(&self, key: &Key, old: &Value, object: &Value) -> Result<(), ApiStatus> {
        let info = self.kind_info(key.kind);
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        let found = old["metadata"]["uid"].as_str().unwrap_or_default();
        if !uid.is_empty() && uid != found {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}");
            return Err(ApiStatus::conflict(info, &key.name, &why));
        }
        let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !version.is_empty() && old["metadata"]["resourceVersion"].as_str() != Some(version) {
            return Err(ApiStatus::stale(info, &key.name));
        }
        Ok(())
    }

    /// A write through the object leaves its status alone, one through the status the rest; nobody writes what
    /// the system keeps.
    fn keep_what_is_not_written(&self, kind: KindId, through_status: bool, old: &Value, object: &mut Value) {
        let info = self.kind_info(kind);
        object["apiVersion"] = old["apiVersion"].clone();
        object["kind"] = old["kind"].clone();
        if through_status {
            if info.custom {
                let status = object.get("status").cloned();
                *object = old.clone();
                set_or_remove(object, "status", status);
            } else {
                keep(object, old, "spec");
                if kind == KindId::DEPLOYMENTS {
                    keep(&mut object["metadata"], &old["metadata"], "labels");
                }
            }
        } else if info.status {
            keep(object, old, "status");
        }
        metadata_mut(object);
        for field in SYSTEM_METADATA.iter().chain(&["name", "namespace", "resourceVersion"]) {
            keep(&mut object["metadata"], &old["metadata"], field);
        }
    }

    fn bump_generation(&self, kind: KindId, old: &Value, object: &mut Value) {
        let info = self.kind_info(kind);
        let changed = if info.custom {
            let rest = |object: &Value| -> Vec<(String, Value)> {
                let fields = object.as_object().into_iter().flatten();
                let kept =
                    fields.filter(|(name, _)| *name != "metadata" && (*name != "status" || !info.status));
                let mut rest: Vec<_> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
                rest.sort_by(|a, b| a.0.cmp(&b.0));
                rest
            };
            rest(old) != rest(object)
        } else if kind == KindId::PODS
            && old["spec"]["nodeName"].is_null()
            && !object["spec"]["nodeName"].is_null()
        {
            // the scheduler's binding is no change of what is wanted
            false
        } else {
            info.generation && object["spec"] != old["spec"]
        };
        if changed {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            object["metadata"]["generation"] = generation.into();
        }
    }

    /// Creates or changes an object by server-side apply; true if it was created.
    pub(crate) fn apply_as(
        &mut self,
        writer: &Writer<'_>,
        key: &Key,
        config: &Value,
        force: bool,
    ) -> Result<(Arc<Stored>, bool), ApiStatus> {
        let shape = self.shape(key.kind);
        let live = self.get(key);
        if live.is_none() && !writer.subresource.is_empty() {
            return Err(self.missing(key));
        }
        if let Some(live) = &live {
            self.check_preconditions(key, live, config)?;
        } else {
            self.admit_namespace(key.kind, &key.namespace, &key.name)?;
        }
        let base = live.clone().unwrap_or_else(|| self.empty_object(key.kind));
        let applied = managed::apply(&shape, &base, config, writer, force)?;
        let ownership = Ownership::Applied(applied.entries);
        if live.is_some() {
            Ok((self.update_as(writer, key, applied.object, ownership)?, false))
        } else {
            Ok((self.create_as(writer, key.kind, applied.object, ownership)?, true))
        }
    }
}

/// Who owns the fields of a write.
#[derive(Clone, Debug)]
pub(crate) enum Ownership {
    /// The writer owns what it changes.
    Update,
    /// Server-side apply has decided.
    Applied(Managed),
}

/// What only the system writes in metadata; `managedFields` are computed.
const SYSTEM_METADATA: &[&str] = &[
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
];

/// Whether a deleted object has nothing left to wait for.
fn is_finished(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let finalizers = metadata["finalizers"].as_array().is_some_and(|all| !all.is_empty());
    let waits = metadata["deletionGracePeriodSeconds"].as_i64().is_none_or(|grace| grace > 0);
    !metadata["deletionTimestamp"].is_null() && !finalizers && !waits
}

fn set_or_remove(object: &mut Value, field: &str, value: Option<Value>) {
    match value {
        Some(value) => object[field] = value,
        None => remove_field(object, field),
    }
}

fn remove_field(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// The key of an object of a kind.
#[must_use]
pub fn key_of(kind: KindId, object: &Value) -> Key {
    let metadata = &object["metadata"];
    Key::new(
        kind,
        metadata["namespace"].as_str().unwrap_or_default(),
        metadata["name"].as_str().unwrap_or_default(),
    )
}

/// The metadata of an object, made if it is missing.
pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut().expect("made an object above")
}

/// Puts a field back to what it was.
fn keep(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) if new.get(field) == Some(value) => {}
        Some(value) => new[field] = value.clone(),
        None => remove_field(new, field),
    }
}

/// Five characters as generated names end with: no vowels, so no words.
pub(crate) fn name_suffix(mut random: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5)
        .map(|_| {
            let letter = LETTERS[(random % LETTERS.len() as u64) as usize];
            random /= LETTERS.len() as u64;
            char::from(letter)
        })
        .collect()
}
