//! Fields as an API server names them: `.spec.containers[name="main"].image`.
//!
//! Keys of maps may hold dots, so a path is read along an object, not by itself.

use serde_json::Value;

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The path as people write it: no leading dot, no quotes.
#[must_use]
pub fn plain(path: &str) -> String {
    path.strip_prefix('.').unwrap_or(path).replace('"', "")
}

/// The value at a path.
#[must_use]
pub fn get<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    steps(object, path)?.iter().try_fold(object, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

/// Takes the value at a path out of an object; maps that are left empty stay.
pub fn remove(object: &mut Value, path: &str) -> Option<Value> {
    let steps = steps(object, path)?;
    let (last, way) = steps.split_last()?;
    let parent = way.iter().try_fold(object, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })?;
    match (last, parent) {
        (Step::Key(key), Value::Object(fields)) => fields.remove(key),
        (Step::Index(index), Value::Array(items)) => Some(items.remove(*index)),
        _ => None,
    }
}

/// Whether `wanted` names the field at `path` or something that it is part of. Both are plain.
#[must_use]
pub fn covers(wanted: &str, path: &str) -> bool {
    path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Whether a manager's set of fields (`fieldsV1`) holds the field at a path, or something that it is part of.
#[must_use]
pub fn is_in(set: &Value, path: &str) -> bool {
    let (mut node, mut rest) = (set, path.strip_prefix('.').unwrap_or(path));
    loop {
        let Some(children) = node.as_object() else { return false };
        if rest.is_empty() || children.is_empty() {
            // A leaf stands for all that is in it.
            return true;
        }
        let Some((child, after)) = child(children, rest) else { return false };
        node = child;
        rest = after.strip_prefix('.').unwrap_or(after);
    }
}

/// The child of a node of a field set that a path leads into, and what is left of the path.
fn child<'v, 'p>(
    children: &'v serde_json::Map<String, Value>,
    path: &'p str,
) -> Option<(&'v Value, &'p str)> {
    if let Some(inner) = path.strip_prefix('[') {
        let end = closing(inner)?;
        let (selector, after) = (&inner[..end], &inner[end + 1..]);
        let fits = |key: &String| {
            let item = key.strip_prefix("k:").and_then(|item| serde_json::from_str::<Value>(item).ok());
            let value = || key.strip_prefix("v:").and_then(|value| serde_json::from_str::<Value>(value).ok());
            match item {
                Some(item) => selects(selector, &item, false),
                None => value().is_some_and(|value| selects(selector, &value, false)),
            }
        };
        return children.iter().find(|(key, _)| fits(key)).map(|(_, child)| (child, after));
    }
    let names = children.iter().filter_map(|(key, child)| Some((key.strip_prefix("f:")?, child)));
    let (name, child) = names.filter(|(name, _)| covers(name, path)).max_by_key(|(name, _)| name.len())?;
    Some((child, &path[name.len()..]))
}

fn steps(object: &Value, path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let (mut value, mut rest) = (object, path.strip_prefix('.').unwrap_or(path));
    while !rest.is_empty() {
        let (step, after) = next(value, rest)?;
        value = match &step {
            Step::Key(key) => value.get(key)?,
            Step::Index(index) => value.get(index)?,
        };
        steps.push(step);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    Some(steps)
}

fn next<'p>(value: &Value, path: &'p str) -> Option<(Step, &'p str)> {
    match value {
        Value::Object(fields) => {
            let fits = fields.keys().filter(|key| covers(key, path));
            let key = fits.max_by_key(|key| key.len())?;
            Some((Step::Key(key.clone()), &path[key.len()..]))
        }
        Value::Array(items) => {
            let inner = path.strip_prefix('[')?;
            let end = closing(inner)?;
            let (selector, after) = (&inner[..end], &inner[end + 1..]);
            let found = |with_defaults| items.iter().position(|item| selects(selector, item, with_defaults));
            let index = selector.parse().ok().or_else(|| found(false)).or_else(|| found(true))?;
            (index < items.len()).then_some((Step::Index(index), after))
        }
        _ => None,
    }
}

/// Where the bracket closes, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == ']' && !quoted).then_some(at)
    })
}

/// `name="main"`, `port=80,protocol="TCP"`, or `="value"` of a set. A key that the item leaves to its default may fit.
fn selects(selector: &str, item: &Value, with_defaults: bool) -> bool {
    selector.split(',').all(|term| {
        let Some((key, wanted)) = term.split_once('=') else { return false };
        let found = if key.is_empty() { Some(item) } else { item.get(key) };
        let wanted = wanted.trim_matches('"');
        found.map_or(with_defaults, |found| match found {
            Value::String(text) => text == wanted,
            other => serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| wanted == *other),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_the_server_are_found() {
        let object = json!({
            "metadata": {"annotations": {"example.com/a.b": "x", "example": "y"}, "finalizers": ["one", "two"]},
            "spec": {"containers": [{"name": "side", "image": "s"}, {"name": "main", "image": "m"}],
                     "ports": [{"port": 80, "name": "http"}, {"port": 80, "protocol": "UDP", "name": "udp"}]},
        });
        for (path, expected) in [
            (".metadata.annotations.example.com/a.b", Some(json!("x"))),
            (".spec.containers[name=\"main\"].image", Some(json!("m"))),
            ("spec.containers[name=main].image", Some(json!("m"))),
            (".spec.ports[port=80,protocol=\"TCP\"].name", Some(json!("http"))),
            (".spec.ports[port=80,protocol=\"UDP\"].name", Some(json!("udp"))),
            (".metadata.finalizers[=\"two\"]", Some(json!("two"))),
            (".spec.containers[0].name", Some(json!("side"))),
            (".spec.nothing", None),
            (".spec.containers[name=\"no\"].image", None),
        ] {
            assert_eq!(get(&object, path), expected.as_ref(), "{path}");
        }
        let mut object = object;
        assert_eq!(remove(&mut object, ".spec.containers[name=\"main\"].image"), Some(json!("m")));
        assert_eq!(object["spec"]["containers"][1], json!({"name": "main"}));
        assert_eq!(remove(&mut object, ".spec.replicas"), None);
    }

    #[test]
    fn a_set_of_fields_knows_what_it_holds() {
        let set = json!({"f:metadata": {"f:annotations": {".": {}, "f:example.com/a": {}}},
            "f:spec": {"f:selector": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}},
                       "f:finalizers": {"v:\"one\"": {}}}});
        for (path, expected) in [
            ("metadata.annotations.example.com/a", true),
            ("metadata.annotations.example.com/b", false),
            ("spec.selector.app", true),
            ("spec.ports[port=80,protocol=TCP].port", true),
            ("spec.ports[port=80,protocol=TCP].name", false),
            ("spec.ports[port=80,protocol=UDP].port", false),
            ("spec.finalizers[=one]", true),
            ("spec.replicas", false),
        ] {
            assert_eq!(is_in(&set, path), expected, "{path}");
        }
    }

    #[test]
    fn a_field_covers_what_is_in_it() {
        assert_eq!(plain(".spec.containers[name=\"main\"].image"), "spec.containers[name=main].image");
        for (wanted, path, expected) in [
            ("spec.replicas", "spec.replicas", true),
            ("spec", "spec.replicas", true),
            ("spec.containers", "spec.containers[name=main].image", true),
            ("spec.rep", "spec.replicas", false),
        ] {
            assert_eq!(covers(wanted, path), expected, "{wanted} {path}");
        }
    }
}
