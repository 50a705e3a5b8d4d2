//! The three patches that are not server-side apply: JSON patch, merge patch, strategic merge patch.

use serde_json::{Map, Value};

use crate::domain::kube_schema::{Field, ListKind, Schema, Type};

use super::errors::ApiStatus;

/// Applies a JSON patch (RFC 6902).
pub fn json_patch(object: &Value, patch: &Value) -> Result<Value, ApiStatus> {
    let Some(operations) = patch.as_array() else {
        return Err(ApiStatus::bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch",
        ));
    };
    let mut object = object.clone();
    for operation in operations {
        // the API server reports a patch that cannot be applied without saying why
        apply_operation(&mut object, operation).ok_or_else(|| ApiStatus {
            details: Some(Value::Object(Map::new())),
            ..ApiStatus::new(422, "Invalid", "the server rejected our request due to an error in our request")
        })?;
    }
    Ok(object)
}

fn apply_operation(object: &mut Value, operation: &Value) -> Option<()> {
    let path = operation["path"].as_str()?;
    let value = operation.get("value").cloned();
    match operation["op"].as_str()? {
        "test" => (object.pointer(path).unwrap_or(&Value::Null) == &value?).then_some(()),
        "add" => insert(object, path, value?),
        "replace" => {
            *object.pointer_mut(path)? = value?;
            Some(())
        }
        "remove" => remove(object, path).map(|_| ()),
        "copy" => {
            let value = object.pointer(operation["from"].as_str()?)?.clone();
            insert(object, path, value)
        }
        "move" => {
            let value = remove(object, operation["from"].as_str()?)?;
            insert(object, path, value)
        }
        _ => None,
    }
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn insert(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *object = value;
        return Some(());
    }
    let (parent, last) = split(path)?;
    match object.pointer_mut(parent)? {
        Value::Object(fields) => {
            fields.insert(last, value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let at: usize = last.parse().ok()?;
            if at > items.len() {
                return None;
            }
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(object: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = split(path)?;
    match object.pointer_mut(parent)? {
        Value::Object(fields) => fields.remove(&last),
        Value::Array(items) => {
            let at: usize = last.parse().ok()?;
            (at < items.len()).then(|| items.remove(at))
        }
        _ => None,
    }
}

/// Applies a merge patch (RFC 7386).
#[must_use]
pub fn merge_patch(object: &Value, patch: &Value) -> Value {
    let Some(changes) = patch.as_object() else { return patch.clone() };
    let mut fields = object.as_object().cloned().unwrap_or_default();
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            let before = fields.get(name).unwrap_or(&Value::Null);
            let after = merge_patch(before, change);
            fields.insert(name.clone(), after);
        }
    }
    Value::Object(fields)
}

/// Applies a strategic merge patch: lists with a merge key are merged by it; `$patch`, `$retainKeys`,
/// `$deleteFromPrimitiveList` and `$setElementOrder` direct how.
#[must_use]
pub fn strategic_merge(schema: &Schema, ty: &Type, object: &Value, patch: &Value) -> Value {
    let Some(changes) = patch.as_object() else { return patch.clone() };
    match changes.get("$patch").and_then(Value::as_str) {
        Some("replace") => return Value::Object(without_directives(changes)),
        Some("delete") => return Value::Object(Map::new()),
        _ => {}
    }
    let mut fields = object.as_object().cloned().unwrap_or_default();
    if let Some(kept) = changes.get("$retainKeys").and_then(Value::as_array) {
        fields.retain(|name, _| kept.iter().any(|one| one == name));
    }
    for (name, change) in changes {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(items), Some(gone)) =
                (fields.get_mut(list).and_then(Value::as_array_mut), change.as_array())
            {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if name.starts_with('$') {
            continue;
        }
        if change.is_null() {
            fields.remove(name);
            continue;
        }
        let field = match ty {
            Type::Struct(id) => schema.get(*id).field(name),
            _ => None,
        };
        let before = fields.get(name).cloned().unwrap_or_default();
        let mut after = merge_member(schema, ty, field, &before, change);
        if let Some(order) = changes.get(&format!("$setElementOrder/{name}")) {
            reorder(field, &mut after, order);
        }
        fields.insert(name.clone(), after);
    }
    Value::Object(fields)
}

fn without_directives(changes: &Map<String, Value>) -> Map<String, Value> {
    let kept = changes.iter().filter(|(name, value)| !name.starts_with('$') && !value.is_null());
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn merge_member(
    schema: &Schema,
    parent: &Type,
    field: Option<&Field>,
    before: &Value,
    change: &Value,
) -> Value {
    let inner = match (field, parent) {
        (Some(field), _) => &field.ty,
        (None, Type::Map { element, .. }) => element,
        _ => &Type::Any,
    };
    match (inner, change) {
        (Type::List { element, kind }, Value::Array(changes)) => {
            let merges = field.is_some_and(|field| field.patch_merge);
            if !merges {
                return change.clone();
            }
            let key = field.and_then(|field| field.patch_key.as_deref()).or(match kind {
                ListKind::Map(keys) => keys.first().map(String::as_str),
                _ => None,
            });
            merge_list(schema, element, key, before, changes)
        }
        (_, Value::Object(_)) => strategic_merge(schema, inner, before, change),
        _ => change.clone(),
    }
}

fn merge_list(
    schema: &Schema,
    element: &Type,
    key: Option<&str>,
    before: &Value,
    changes: &[Value],
) -> Value {
    let mut items = before.as_array().cloned().unwrap_or_default();
    let Some(key) = key else {
        for change in changes.iter().filter(|change| !change.is_null()) {
            if !items.contains(change) {
                items.push(change.clone());
            }
        }
        return items.into();
    };
    if changes.iter().any(|change| change["$patch"] == "replace") {
        let given = changes.iter().filter(|change| change.get("$patch").is_none());
        return given.cloned().collect::<Vec<_>>().into();
    }
    for change in changes {
        let at = items.iter().position(|item| item[key] == change[key]);
        match (change["$patch"].as_str(), at) {
            (Some("delete"), Some(at)) => {
                items.remove(at);
            }
            (Some("delete"), None) => {}
            (_, Some(at)) => items[at] = strategic_merge(schema, element, &items[at], change),
            (_, None) => items.push(strategic_merge(schema, element, &Value::Null, change)),
        }
    }
    items.into()
}

fn reorder(field: Option<&Field>, list: &mut Value, order: &Value) {
    let (Some(items), Some(order)) = (list.as_array_mut(), order.as_array()) else { return };
    let key = field.and_then(|field| field.patch_key.as_deref());
    let place = |item: &Value| {
        let found = order.iter().position(|one| match key {
            Some(key) => one[key] == item[key],
            None => one == item,
        });
        found.unwrap_or(usize::MAX)
    };
    items.sort_by_key(place);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::domain::kube_schema::builtin;

    use super::*;

    #[test]
    fn a_strategic_patch_merges_containers_by_name() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}});
        let patch =
            json!({"spec": {"containers": [{"name": "b", "image": "z"}, {"name": "a", "$patch": "delete"}]}});
        let root = Type::Struct(builtin().root("", "v1", "Pod").expect("pods are built in"));
        let patched = strategic_merge(builtin(), &root, &pod, &patch);
        assert_eq!(patched, json!({"spec": {"containers": [{"name": "b", "image": "z"}]}}));
    }

    #[test]
    fn a_merge_patch_removes_by_null() {
        assert_eq!(
            merge_patch(&json!({"a": 1, "b": {"c": 1}}), &json!({"a": null, "b": {"d": 2}})),
            json!({"b": {"c": 1, "d": 2}})
        );
    }

    #[test]
    fn a_json_patch_stops_at_a_failed_test() {
        let object = json!({"a": [1]});
        assert_eq!(
            json_patch(&object, &json!([{"op": "add", "path": "/a/-", "value": 2}])),
            Ok(json!({"a": [1, 2]}))
        );
        assert!(json_patch(&object, &json!([{"op": "test", "path": "/a/0", "value": 2}])).is_err());
    }
}
