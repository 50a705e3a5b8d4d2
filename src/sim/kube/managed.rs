//! `managedFields`: who owns which fields, after updates and after server-side apply.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value, json};

use super::errors::ApiStatus;
use super::fields::FieldSet;
use super::shape::Shape;
use super::stored::{Managed, Stored};
use super::typed;
use super::write::{Writer, time};

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the manager.
    pub manager: String,
    /// How it writes.
    pub operation: Operation,
    /// The version of the API that the field names are of.
    pub api_version: String,
    /// When it last changed something.
    pub time: String,
    /// The subresource it writes through, empty for the object itself.
    pub subresource: String,
    /// What it owns.
    pub fields: FieldSet,
}

impl Entry {
    fn new(writer: &Writer<'_>, operation: Operation, api_version: &str) -> Self {
        Self {
            manager: writer.manager.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            time: time(writer.now),
            subresource: writer.subresource.to_owned(),
            fields: FieldSet::default(),
        }
    }

    fn is_of(&self, writer: &Writer<'_>, operation: Operation, api_version: &str) -> bool {
        self.manager == writer.manager
            && self.operation == operation
            && self.subresource == writer.subresource
            // an applier is the same whatever version it speaks
            && (operation == Operation::Apply || self.api_version == api_version)
    }

    /// The manager as messages about conflicts name it.
    fn described(&self) -> String {
        let mut text = format!("\"{}\"", self.manager);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource \"{}\"", self.subresource);
        }
        if self.operation == Operation::Update {
            text = format!("{text} using {}", self.api_version);
        }
        text
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("manager", &self.manager)?;
        let operation = if self.operation == Operation::Apply { "Apply" } else { "Update" };
        map.serialize_entry("operation", operation)?;
        map.serialize_entry("apiVersion", &self.api_version)?;
        map.serialize_entry("time", &self.time)?;
        map.serialize_entry("fieldsType", "FieldsV1")?;
        map.serialize_entry("fieldsV1", &self.fields)?;
        if !self.subresource.is_empty() {
            map.serialize_entry("subresource", &self.subresource)?;
        }
        map.end()
    }
}

/// The entries of an object as clients see it.
#[must_use]
pub fn read(object: &Value) -> Managed {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries
        .map(|entry| Entry {
            manager: text(entry, "manager"),
            operation: if entry["operation"] == "Apply" { Operation::Apply } else { Operation::Update },
            api_version: text(entry, "apiVersion"),
            time: text(entry, "time"),
            subresource: text(entry, "subresource"),
            fields: FieldSet::from_fields_v1(&entry["fieldsV1"]),
        })
        .map(Arc::new)
        .collect()
}

/// Entries as clients see them.
#[must_use]
pub fn encode(entries: &Managed) -> Value {
    serde_json::to_value(Owners(entries)).expect("entries have text for keys")
}

/// Entries as they are written out.
pub(crate) struct Owners<'a>(pub &'a Managed);

impl Serialize for Owners<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|entry| &**entry))
    }
}

/// Puts entries into the API's order; those that own nothing go.
#[must_use]
pub fn sorted(mut entries: Managed) -> Managed {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| order(a).cmp(&order(b)));
    entries
}

fn order(entry: &Entry) -> (Operation, [&str; 4]) {
    (entry.operation, [&entry.time, &entry.manager, &entry.api_version, &entry.subresource])
}

/// Nobody owns what the system writes.
fn strip(fields: &mut FieldSet) {
    for name in ["f:apiVersion", "f:kind"] {
        fields.cut(&[name]);
    }
    for name in [
        "f:name",
        "f:namespace",
        "f:creationTimestamp",
        "f:selfLink",
        "f:uid",
        "f:generation",
        "f:managedFields",
        "f:resourceVersion",
        "f:deletionTimestamp",
        "f:deletionGracePeriodSeconds",
    ] {
        fields.cut(&["f:metadata", name]);
    }
    if fields.get("f:metadata").is_some_and(|node| node.member && node.children.is_empty()) {
        fields.cut(&["f:metadata"]);
    }
}

/// Gives the writer what it added or changed, and takes it from the others. `old` is the object before the
/// write, or the empty object of the kind for a creation.
#[must_use]
pub fn track_update(
    shape: &Shape,
    old: &Stored,
    new: &Value,
    writer: &Writer<'_>,
    api_version: &str,
) -> Managed {
    let mut difference = typed::compare(shape.schema(), &shape.root, old, new);
    strip(&mut difference.added);
    strip(&mut difference.removed);
    strip(&mut difference.modified);
    let mut entries = old.managed().clone();
    let mut taken = difference.added;
    taken.union(&difference.modified);
    let mut own = entries.iter().position(|entry| entry.is_of(writer, Operation::Update, api_version));
    if own.is_none() && !taken.is_empty() {
        own = Some(entries.len());
        entries.push(Arc::new(Entry::new(writer, Operation::Update, api_version)));
    }
    for (place, entry) in entries.iter_mut().enumerate() {
        let is_own = own == Some(place);
        if !is_own && entry.fields.intersects(&taken) {
            Arc::make_mut(entry).fields.subtract(&taken);
        }
        if entry.fields.intersects(&difference.removed) {
            Arc::make_mut(entry).fields.subtract(&difference.removed);
        }
        if is_own && !taken.is_empty() {
            let entry = Arc::make_mut(entry);
            if !entry.fields.covers(&taken) {
                entry.fields.union(&taken);
            }
            entry.time = time(writer.now);
        }
    }
    sorted(entries)
}

/// What an apply leads to: the merged object and who owns what in it.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The object after merging and pruning, not yet defaulted.
    pub object: Value,
    /// The entries after the apply.
    pub entries: Managed,
}

/// Lays a configuration over an object as server-side apply does. `live` is the empty object of the kind if
/// there is none yet.
pub fn apply(
    shape: &Shape,
    live: &Stored,
    config: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Applied, ApiStatus> {
    let (schema, root) = (shape.schema(), &shape.root);
    let api_version = config["apiVersion"].as_str().unwrap_or_default();
    let mut entries = live.managed().clone();
    let mut own = Entry::new(writer, Operation::Apply, api_version);
    own.fields = typed::fields_of(schema, root, config);
    let previous = entries.iter().position(|entry| entry.is_of(writer, Operation::Apply, api_version));
    let last = previous.map(|at| entries.remove(at));

    let mut object = typed::merge(schema, root, live, config);
    if let Some(last) = last {
        let mut kept = own.fields.clone();
        for entry in &entries {
            kept.union(&entry.fields);
        }
        let mut dropped = typed::with_named_parents(schema, root, &last.fields);
        dropped.subtract(&typed::with_named_parents(schema, root, &kept));
        object = typed::without(schema, root, &object, &dropped).unwrap_or_else(|| json!({}));
    }
    // only now: the names in the configuration's metadata kept the rest of the metadata from being dropped
    strip(&mut own.fields);

    let mut difference = typed::compare(schema, root, live, &object);
    strip(&mut difference.added);
    strip(&mut difference.removed);
    strip(&mut difference.modified);
    let mut taken = difference.added;
    taken.union(&difference.modified);
    let conflicts: Vec<(String, Vec<String>)> = entries
        .iter()
        .map(|entry| (entry.described(), entry.fields.intersection(&taken).paths()))
        .filter(|(_, paths)| !paths.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }
    for entry in &mut entries {
        if entry.fields.intersects(&taken) || entry.fields.intersects(&difference.removed) {
            let fields = &mut Arc::make_mut(entry).fields;
            fields.subtract(&taken);
            fields.subtract(&difference.removed);
        }
    }
    entries.push(Arc::new(own));
    Ok(Applied { object, entries: sorted(entries) })
}

fn conflict(conflicts: &[(String, Vec<String>)]) -> ApiStatus {
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let text = if let [(manager, paths)] = conflicts
        && let [path] = paths.as_slice()
    {
        format!("conflict with {manager}: {path}")
    } else {
        let of_manager = |(manager, paths): &(String, Vec<String>)| {
            let lines: Vec<String> = paths.iter().map(|path| format!("\n- {path}")).collect();
            format!("conflicts with {manager}:{}", lines.concat())
        };
        conflicts.iter().map(of_manager).collect::<Vec<_>>().join("\n")
    };
    let causes: Vec<Value> = conflicts
        .iter()
        .flat_map(|(manager, paths)| paths.iter().map(move |path| (manager, path)))
        .map(|(manager, path)| {
            let message = format!("conflict with {manager}");
            json!({"reason": "FieldManagerConflict", "message": message, "field": path})
        })
        .collect();
    let plural = if count == 1 { "" } else { "s" };
    ApiStatus {
        details: Some(json!({"causes": causes})),
        ..ApiStatus::new(409, "Conflict", format!("Apply failed with {count} conflict{plural}: {text}"))
    }
}

/// Whether a write changes nothing but versions and the times of `managedFields`.
#[must_use]
pub fn same_but_times(old: &Stored, new: &Value, managed: &Managed) -> bool {
    // what differs most often first
    if old.get("status") != new.get("status") {
        return false;
    }
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else { return old.value() == new };
    before.len() == after.len()
        && before.iter().all(|(name, value)| name == "metadata" || after.get(name) == Some(value))
        && same_metadata(old.get("metadata"), new.get("metadata"))
        && same_owners(old.managed(), managed)
}

fn same_metadata(old: Option<&Value>, new: Option<&Value>) -> bool {
    let (Some(old), Some(new)) = (old.and_then(Value::as_object), new.and_then(Value::as_object)) else {
        return old == new;
    };
    let fields =
        |metadata: &Map<String, Value>| metadata.keys().filter(|name| *name != "resourceVersion").count();
    fields(old) == fields(new)
        && old.iter().all(|(name, value)| name == "resourceVersion" || new.get(name) == Some(value))
}

/// Whether the same managers own the same fields, whenever they wrote last.
fn same_owners(old: &Managed, new: &Managed) -> bool {
    let same = |a: &Entry, b: &Entry| {
        a.operation == b.operation
            && a.manager == b.manager
            && a.api_version == b.api_version
            && a.subresource == b.subresource
            && a.fields == b.fields
    };
    old.len() == new.len()
        && old.iter().all(|entry| new.iter().any(|other| Arc::ptr_eq(entry, other) || same(entry, other)))
}
