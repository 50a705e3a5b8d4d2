//! Reading Kubernetes objects as plain JSON: total functions, an absent field is empty, zero or null.

use serde_json::{Map, Value, json};
use std::fmt::Write as _;

static NULL: Value = Value::Null;

/// The value at `path`, or null.
#[must_use]
pub fn at<'a>(object: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().try_fold(object, |value, key| value.get(key)).unwrap_or(&NULL)
}

/// The string at `path`, or the empty one.
#[must_use]
pub fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

/// The whole number at `path`, or `None`.
#[must_use]
pub fn number(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path).as_i64()
}

/// The whole number at `path`, or 0.
#[must_use]
pub fn count(object: &Value, path: &[&str]) -> i64 {
    number(object, path).unwrap_or(0)
}

/// The elements at `path`, or none.
#[must_use]
pub fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).as_array().map_or(&[], Vec::as_slice)
}

/// `metadata.name`.
#[must_use]
pub fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// `metadata.namespace`, empty for what has none.
#[must_use]
pub fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

/// `metadata.uid`.
#[must_use]
pub fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}

/// `metadata.generation`, or 0.
#[must_use]
pub fn generation(object: &Value) -> i64 {
    count(object, &["metadata", "generation"])
}

/// A label's value, or the empty string.
#[must_use]
pub fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    text(object, &["metadata", "labels", key])
}

/// An annotation's value, or the empty string.
#[must_use]
pub fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    text(object, &["metadata", "annotations", key])
}

/// True once deletion was asked for.
#[must_use]
pub fn deleting(object: &Value) -> bool {
    !at(object, &["metadata", "deletionTimestamp"]).is_null()
}

/// The owner reference whose `controller` is true.
#[must_use]
pub fn controller_of(object: &Value) -> Option<&Value> {
    items(object, &["metadata", "ownerReferences"]).iter().find(|owner| owner["controller"] == true)
}

/// True if the object with `uid` controls `object`.
#[must_use]
pub fn controlled_by(object: &Value, uid: &str) -> bool {
    controller_of(object).is_some_and(|owner| owner["uid"] == uid)
}

/// An owner reference to `owner`, as controllers write it.
#[must_use]
pub fn owner_reference(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// The condition of `kind` in `status.conditions`.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, &["status", "conditions"]).iter().find(|condition| condition["type"] == kind)
}

/// True if the pod's (or node's) condition `Ready` is true.
#[must_use]
pub fn ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|condition| condition["status"] == "True")
}

/// True while a pod counts for its controller: not ended and not being deleted.
#[must_use]
pub fn active_pod(pod: &Value) -> bool {
    !ended_pod(pod) && !deleting(pod)
}

/// True for a pod in phase `Succeeded` or `Failed`.
#[must_use]
pub fn ended_pod(pod: &Value) -> bool {
    matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

/// True if `labels` satisfy a label selector (`matchLabels` and `matchExpressions`).
#[must_use]
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = at(selector, &["matchLabels"])
        .as_object()
        .is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
    equal
        && items(selector, &["matchExpressions"]).iter().all(|term| {
            let found = labels.get(text(term, &["key"]));
            let listed = found.is_some_and(|value| items(term, &["values"]).contains(value));
            match text(term, &["operator"]) {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// True if the plain map `selector` (of a Service) is not empty and every pair of it is in `labels`.
#[must_use]
pub fn selects_plain(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|wanted| {
        !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
    })
}

/// A number or a percentage of `total`, as `maxSurge` and its kin are given.
#[must_use]
pub fn share_of(value: &Value, total: i64, round_up: bool) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let percent: i64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    let product = percent * total;
    Some(if round_up { (product + 99) / 100 } else { product / 100 })
}

/// Sets `object[path…] = value`, making the maps on the way.
pub fn set(object: &mut Value, path: &[&str], value: Value) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut place = object;
    for key in parents {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[*key];
    }
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    place[*last] = value;
}

/// Sets a number that the API leaves out when it is zero.
pub fn set_unless_zero(object: &mut Value, key: &str, value: i64) {
    if value == 0 {
        if let Some(map) = object.as_object_mut() {
            map.remove(key);
        }
    } else {
        object[key] = value.into();
    }
}

/// CPU in thousandths of a core: `250m`, `2`, `0.5`.
#[must_use]
pub fn cpu_millis(value: &Value) -> i64 {
    if let Some(number) = value.as_f64() {
        return (number * 1000.0).round() as i64;
    }
    let text = value.as_str().unwrap_or_default();
    match text.strip_suffix('m') {
        Some(millis) => millis.parse().unwrap_or(0),
        None => (text.parse::<f64>().unwrap_or(0.0) * 1000.0).round() as i64,
    }
}

/// A quantity (memory, storage, a count) in its base unit.
#[must_use]
pub fn quantity(value: &Value) -> i64 {
    if let Some(number) = value.as_f64() {
        return number.round() as i64;
    }
    let text = value.as_str().unwrap_or_default();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let scale: f64 = match &text[digits.len()..] {
        "m" => 0.001,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => 1.0,
    };
    (digits.parse::<f64>().unwrap_or(0.0) * scale).round() as i64
}

/// `a=b,c=d` of a map, for messages.
#[must_use]
pub fn pairs(map: &Value) -> String {
    let mut text = String::new();
    for (key, value) in map.as_object().into_iter().flatten() {
        let separator = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{separator}{key}={}", value.as_str().unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_every_unit() {
        assert_eq!(cpu_millis(&json!("250m")), 250);
        assert_eq!(cpu_millis(&json!("0.5")), 500);
        assert_eq!(cpu_millis(&json!(2)), 2000);
        assert_eq!(quantity(&json!("1Gi")), 1 << 30);
        assert_eq!(quantity(&json!("500M")), 500_000_000);
    }

    #[test]
    fn percentages_round_as_asked() {
        assert_eq!(share_of(&json!("25%"), 3, true), Some(1));
        assert_eq!(share_of(&json!("25%"), 3, false), Some(0));
        assert_eq!(share_of(&json!(2), 3, false), Some(2));
    }

    #[test]
    fn selectors_match_by_pairs_and_by_expressions() {
        let labels = json!({"app": "web", "tier": "front"});
        assert!(selects(&json!({"matchLabels": {"app": "web"}}), &labels));
        let not_in = json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]});
        assert!(!selects(&not_in, &labels));
        assert!(!selects_plain(&json!({}), &labels));
    }
}
