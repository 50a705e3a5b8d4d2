//! Writes with the semantics of the API: system metadata, preconditions, generations, subresources, no-ops.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::errors::ApiStatus;
use super::kinds::KindId;
use super::store::{Key, Store};

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
    ) -> Result<Arc<Value>, ApiStatus> {
        self.create_as(&Writer::controller(now, who, ""), kind, object)
    }

    /// Replaces an object's metadata and spec; optimistic if the object carries a resourceVersion.
    pub fn update(
        &mut self,
        now: Timestamp,
        who: &str,
        kind: KindId,
        object: Value,
    ) -> Result<Arc<Value>, ApiStatus> {
        let key = key_of(kind, &object);
        self.update_as(&Writer::controller(now, who, ""), &key, object)
    }

    /// Replaces an object's status; optimistic if the object carries a resourceVersion.
    pub fn update_status(
        &mut self,
        now: Timestamp,
        who: &str,
        kind: KindId,
        object: Value,
    ) -> Result<Arc<Value>, ApiStatus> {
        let key = key_of(kind, &object);
        self.update_as(&Writer::controller(now, who, "status"), &key, object)
    }

    /// Reads, changes and writes an object's metadata and spec; nothing happens if nothing changed.
    pub fn modify(
        &mut self,
        now: Timestamp,
        who: &str,
        key: &Key,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, ApiStatus> {
        let mut object = self.copy_of(key)?;
        change(&mut object);
        self.update_as(&Writer::controller(now, who, ""), key, object)
    }

    /// Reads, changes and writes an object's status; nothing happens if nothing changed.
    pub fn modify_status(
        &mut self,
        now: Timestamp,
        who: &str,
        key: &Key,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, ApiStatus> {
        let mut object = self.copy_of(key)?;
        change(&mut object);
        self.update_as(&Writer::controller(now, who, "status"), key, object)
    }

    fn copy_of(&self, key: &Key) -> Result<Value, ApiStatus> {
        match self.peek(key) {
            Some(object) => Ok((**object).clone()),
            None => Err(ApiStatus::not_found(self.kind_info(key.kind), &key.name)),
        }
    }

    pub(crate) fn create_as(
        &mut self,
        writer: &Writer<'_>,
        kind: KindId,
        mut object: Value,
    ) -> Result<Arc<Value>, ApiStatus> {
        self.name_object(kind, &mut object);
        let key = key_of(kind, &object);
        let info = self.kind_info(kind);
        if self.peek(&key).is_some() {
            return Err(ApiStatus::already_exists(info, &key.name));
        }
        if info.namespaced && self.lookup(KindId::NAMESPACES, "", &key.namespace).is_none() {
            return Err(ApiStatus::not_found(self.kind_info(KindId::NAMESPACES), &key.namespace));
        }
        let generation = info.generation;
        let uid = self.next_uid();
        let metadata = metadata_mut(&mut object);
        metadata.insert("uid".into(), uid.into());
        metadata.insert("creationTimestamp".into(), time(writer.now).into());
        if generation {
            metadata.insert("generation".into(), 1.into());
        }
        if writer.dry_run {
            return Ok(Arc::new(object));
        }
        Ok(self.put(key, object))
    }

    fn name_object(&mut self, kind: KindId, object: &mut Value) {
        let info = self.kind_info(kind);
        let (api_version, name) = (info.api_version(), info.kind.clone());
        let namespaced = info.namespaced;
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

    pub(crate) fn update_as(
        &mut self,
        writer: &Writer<'_>,
        key: &Key,
        mut object: Value,
    ) -> Result<Arc<Value>, ApiStatus> {
        let Some(old) = self.get(key) else {
            return Err(ApiStatus::not_found(self.kind_info(key.kind), &key.name));
        };
        let info = self.kind_info(key.kind);
        let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !version.is_empty() && old["metadata"]["resourceVersion"].as_str() != Some(version) {
            return Err(ApiStatus::stale(info, &key.name));
        }
        if info.status {
            let kept = if writer.subresource == "status" { "spec" } else { "status" };
            keep(&mut object, &old, kept);
        }
        for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "resourceVersion"] {
            keep(&mut object["metadata"], &old["metadata"], field);
        }
        if info.generation && object["spec"] != old["spec"] {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            object["metadata"]["generation"] = generation.into();
        }
        if object == *old {
            return Ok(old);
        }
        if writer.dry_run {
            return Ok(Arc::new(object));
        }
        let stored = self.put(key.clone(), object);
        let metadata = &stored["metadata"];
        let finalizers = metadata["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let waits = metadata["deletionGracePeriodSeconds"].as_i64().is_some_and(|grace| grace > 0);
        if !metadata["deletionTimestamp"].is_null() && !finalizers && !waits {
            self.remove(key);
        }
        Ok(stored)
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
        Some(value) => new[field] = value.clone(),
        None => {
            if let Some(fields) = new.as_object_mut() {
                fields.shift_remove(field);
            }
        }
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
