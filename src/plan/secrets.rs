//! What differs between two contents of a Secret, less the values: a plan is shown and saved.

use super::{FieldChange, diff};
use crate::domain::definitions::Definitions;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// The keys (and other fields) of a Secret that would change in the one that is there. `previous` is the manifest of the
/// release before, whose dropped keys are removals.
pub(super) fn changed_keys(wanted: &Value, there: &Value, previous: Option<&Value>) -> Vec<FieldChange> {
    let (wanted, there, previous) = (as_kept(wanted), as_kept(there), previous.map(as_kept));
    let hidden = |value: Option<Value>| value.map(|_| Value::from("not shown"));
    diff::fields(&Definitions::default(), &wanted, &there, previous.as_ref())
        .into_iter()
        .filter(|field| !field.path.starts_with("metadata"))
        .map(|field| FieldChange { path: field.path, from: hidden(field.from), to: hidden(field.to) })
        .collect()
}

/// As a server keeps it: what `stringData` says stands in `data`.
fn as_kept(secret: &Value) -> Value {
    let mut kept = secret.clone();
    let text = kept.as_object_mut().and_then(|fields| fields.remove("stringData"));
    if let Some(Value::Object(text)) = text {
        let data = diff::object_mut(&mut kept).entry("data").or_insert_with(|| Value::Object(Map::new()));
        for (key, value) in text {
            diff::object_mut(data).insert(key, json!(STANDARD.encode(value.as_str().unwrap_or_default())));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_and_values_are_not() {
        let secret = |fields: Value| {
            let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
            secret.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            secret
        };
        let there =
            secret(json!({"data": {"A": "aHVudGVyMg==", "B": "Yg==", "C": "Yw=="}, "type": "Opaque"}));
        let wanted = secret(json!({"stringData": {"A": "hunter2", "B": "new"}, "data": {"D": "ZA=="}}));
        let previous = secret(json!({"stringData": {"C": "c"}}));
        let changes = changed_keys(&wanted, &there, Some(&previous));
        let paths: Vec<(&str, bool, bool)> =
            changes.iter().map(|c| (c.path.as_str(), c.from.is_some(), c.to.is_some())).collect();
        assert_eq!(paths, [("data.B", true, true), ("data.D", false, true), ("data.C", true, false)]);
        assert!(
            changes.iter().all(|c| [&c.from, &c.to].into_iter().flatten().all(|value| value == "not shown"))
        );
        assert_eq!(changed_keys(&there, &there, None), []);
    }
}
