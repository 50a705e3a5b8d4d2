//! `managedFields`: who owns which fields, after updates and after server-side apply.

use serde_json::{Map, Value, json};

use super::errors::ApiStatus;
use super::fields::FieldSet;
use super::shape::Shape;
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

/// The entries of an object.
#[must_use]
pub fn read(object: &Value) -> Vec<Entry> {
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
        .collect()
}

/// Puts entries into an object, in the API's order.
pub fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| {
        (a.operation, &a.time, &a.manager, &a.api_version, &a.subresource).cmp(&(
            b.operation,
            &b.time,
            &b.manager,
            &b.api_version,
            &b.subresource,
        ))
    });
    let list: Vec<Value> = entries.iter().map(encode).collect();
    let metadata = super::write::metadata_mut(object);
    if list.is_empty() {
        metadata.shift_remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), list.into());
    }
}

fn encode(entry: &Entry) -> Value {
    let mut one = Map::with_capacity(7);
    one.insert("manager".into(), entry.manager.clone().into());
    one.insert(
        "operation".into(),
        if entry.operation == Operation::Apply { "Apply" } else { "Update" }.into(),
    );
    one.insert("apiVersion".into(), entry.api_version.clone().into());
    one.insert("time".into(), entry.time.clone().into());
    one.insert("fieldsType".into(), "FieldsV1".into());
    one.insert("fieldsV1".into(), entry.fields.to_fields_v1());
    if !entry.subresource.is_empty() {
        one.insert("subresource".into(), entry.subresource.clone().into());
    }
    Value::Object(one)
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
/// write, or the empty object of the kind for a creation; `new` carries the entries of `old`.
pub fn track_update(shape: &Shape, old: &Value, new: &mut Value, writer: &Writer<'_>, api_version: &str) {
    let mut difference = typed::compare(shape.schema(), &shape.root, old, new);
    strip(&mut difference.added);
    strip(&mut difference.removed);
    strip(&mut difference.modified);
    if difference.added.is_empty()
        && difference.removed.is_empty()
        && (difference.modified.is_empty() || touch(new, &difference.modified, writer, api_version))
    {
        return;
    }
    let mut taken = difference.added;
    taken.union(&difference.modified);
    let mut entries = read(old);
    for entry in &mut entries {
        if !entry.is_of(writer, Operation::Update, api_version) {
            entry.fields.subtract(&taken);
        }
        entry.fields.subtract(&difference.removed);
    }
    if !taken.is_empty() {
        let own = entries.iter_mut().find(|entry| entry.is_of(writer, Operation::Update, api_version));
        if let Some(own) = own {
            own.fields.union(&taken);
            own.time = time(writer.now);
        } else {
            let mut own = Entry::new(writer, Operation::Update, api_version);
            own.fields = taken;
            entries.push(own);
        }
    }
    write(new, entries);
}

/// The common case of a controller that changes what it alone owns already: only the time of its entry moves.
/// False if it is not that case, and nothing has been done.
fn touch(object: &mut Value, modified: &FieldSet, writer: &Writer<'_>, api_version: &str) -> bool {
    let Some(entries) = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut) else {
        return false;
    };
    let is_own = |entry: &Value| {
        entry["manager"] == writer.manager
            && entry["operation"] == "Update"
            && entry["apiVersion"] == api_version
            && entry["subresource"].as_str().unwrap_or_default() == writer.subresource
    };
    let Some(own) = entries.iter().position(is_own) else { return false };
    let alone =
        entries.iter().enumerate().all(|(at, entry)| at == own || !modified.meets(&entry["fieldsV1"]));
    if !alone || !modified.is_within(&entries[own]["fieldsV1"]) {
        return false;
    }
    entries[own]["time"] = time(writer.now).into();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries.sort_by_cached_key(|entry| {
        ["operation", "time", "manager", "apiVersion", "subresource"].map(|field| text(entry, field))
    });
    true
}

/// What an apply leads to: the merged object and who owns what in it.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The object after merging and pruning, not yet defaulted.
    pub object: Value,
    /// The entries after the apply.
    pub entries: Vec<Entry>,
}

/// Lays a configuration over an object as server-side apply does. `live` is the empty object of the kind if
/// there is none yet.
pub fn apply(
    shape: &Shape,
    live: &Value,
    config: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Applied, ApiStatus> {
    let (schema, root) = (shape.schema(), &shape.root);
    let api_version = config["apiVersion"].as_str().unwrap_or_default();
    let mut entries = read(live);
    let mut own = Entry::new(writer, Operation::Apply, api_version);
    own.fields = typed::fields_of(schema, root, config);
    let previous = entries.iter().position(|entry| entry.is_of(writer, Operation::Apply, api_version));
    let last = previous.map(|at| entries.remove(at).fields);

    let mut object = typed::merge(schema, root, live, config);
    if let Some(last) = last {
        let mut kept = own.fields.clone();
        for entry in &entries {
            kept.union(&entry.fields);
        }
        let mut dropped = typed::with_named_parents(schema, root, &last);
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
        entry.fields.subtract(&taken);
        entry.fields.subtract(&difference.removed);
    }
    entries.push(own);
    Ok(Applied { object, entries })
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

/// Whether two objects differ in nothing but versions and the times of `managedFields`.
#[must_use]
pub fn same_but_times(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return old == new };
    // the metadata last: comparing it costs most, and a status that differs decides before
    let same = |(name, before): (&String, &Value)| name == "metadata" || new.get(name) == Some(before);
    let metadata = match (old.get("metadata"), new.get("metadata")) {
        (Some(before), Some(after)) => (before, after),
        (before, after) => return before == after && old.len() == new.len() && old.iter().all(same),
    };
    old.len() == new.len() && old.iter().all(same) && same_metadata(metadata.0, metadata.1)
}

fn same_metadata(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return old == new };
    let fields = |metadata: &Map<String, Value>| {
        metadata.keys().filter(|name| *name != "resourceVersion" && *name != "managedFields").count()
    };
    let without_time = |metadata: &Map<String, Value>| {
        let mut entries = metadata.get("managedFields").cloned().unwrap_or_default();
        for entry in entries.as_array_mut().into_iter().flatten() {
            entry["time"] = Value::Null;
        }
        let mut entries = entries.as_array().cloned().unwrap_or_default();
        entries.sort_by_key(ToString::to_string);
        entries
    };
    fields(old) == fields(new)
        && old
            .iter()
            .filter(|(name, _)| *name != "resourceVersion" && *name != "managedFields")
            .all(|(name, before)| new.get(name) == Some(before))
        && (same_entries(old, new) || without_time(old) == without_time(new))
}

/// Whether the entries of `managedFields` are the same in the same order, but for their times: the usual case,
/// told without a copy.
fn same_entries(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    let [old, new] = [old, new].map(|metadata| {
        metadata.get("managedFields").and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
    });
    let same = |(old, new): (&Value, &Value)| match (old.as_object(), new.as_object()) {
        (Some(old), Some(new)) => {
            old.len() == new.len()
                && old.iter().all(|(name, value)| name == "time" || new.get(name) == Some(value))
        }
        _ => old == new,
    };
    old.len() == new.len() && old.iter().zip(new).all(same)
}
