//! Template values, layer over layer.

use serde_json::{Map, Value};

/// Lays template values over others: mappings are merged key by key, all else is replaced.
pub fn merge_values(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge_values(base.entry(key.clone()).or_insert_with(|| Value::Object(Map::new())), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}
