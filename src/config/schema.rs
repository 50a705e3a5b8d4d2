//! The JSON Schema of an environment file: for editors, for `deployctl schema`, and for the checker itself.

use crate::config::model::EnvironmentFile;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// The JSON Schema (draft 2020-12) of an environment file.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = shared().clone();
    allow_null_in_maps(&mut schema);
    schema
}

/// The schema as generated from the types, once per process.
pub(super) fn shared() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = generator.into_root_schema_for::<EnvironmentFile>().to_value();
        drop_noise(&mut schema);
        in_reading_order(schema)
    })
}

/// `null` deletes an entry of a mapping, so editors must accept it there.
fn allow_null_in_maps(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for value in map.values_mut() {
                allow_null_in_maps(value);
            }
            if let Some(entry) = map.get_mut("additionalProperties").filter(|entry| entry.is_object()) {
                *entry = json!({"anyOf": [entry.take(), {"type": "null"}]});
            }
        }
        Value::Array(items) => items.iter_mut().for_each(allow_null_in_maps),
        _ => {}
    }
}

/// Formats of Rust's integers and empty defaults tell an author nothing, and the line breaks of doc comments
/// are no line breaks of a description.
fn drop_noise(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let rust_format = map.get("format").and_then(Value::as_str).is_some_and(|f| f.contains("int"));
            if rust_format {
                map.remove("format");
            }
            let empty = |value: &Value| match value {
                Value::Null => true,
                Value::Array(items) => items.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            if map.get("default").is_some_and(empty) {
                map.remove("default");
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                let paragraphs: Vec<String> =
                    text.split("\n\n").map(|part| part.replace('\n', " ")).collect();
                *text = paragraphs.join("\n\n");
            }
            map.values_mut().for_each(drop_noise);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_noise),
        _ => {}
    }
}

/// Whoever prints the schema reads from the top: what it is comes first.
fn in_reading_order(schema: Value) -> Value {
    let Value::Object(mut map) = schema else { return schema };
    let mut ordered = Map::new();
    for key in ["$schema", "title", "description", "type", "additionalProperties", "properties", "$defs"] {
        if let Some(value) = map.remove(key) {
            ordered.insert(key.to_owned(), value);
        }
    }
    ordered.extend(map);
    Value::Object(ordered)
}
