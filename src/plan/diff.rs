//! Field by field: what a desired object would change in the live one.
//!
//! Only fields that the desired object names (or the previous release named and this one dropped) count;
//! what the server defaulted or others own is none of our business.

use super::FieldChange;
use crate::domain::definitions::{ApiKind, Definitions};
use crate::domain::kube_schema::{self, ListKind, Schema, Type};
use crate::domain::quantity;
use serde_json::{Map, Value};

/// Differences between what is wanted and what is there. `previous` is the manifest of the release before, whose
/// dropped fields are removals. `definitions` say what tells the items of lists apart; of kinds that they do not know it
/// is guessed.
#[must_use]
pub fn fields(
    definitions: &Definitions,
    desired: &Value,
    live: &Value,
    previous: Option<&Value>,
) -> Vec<FieldChange> {
    let definition = definitions.find(&ApiKind::of(desired));
    let (schema, root) = match definition {
        Some(definition) => (definition.schema, Some(definition.root)),
        None => (kube_schema::builtin(), None),
    };
    let mut walk = Walk { schema, changes: Vec::new() };
    walk.compare("", root.as_ref(), desired, Some(live));
    if let Some(previous) = previous {
        walk.dropped("", root.as_ref(), previous, desired, live);
    }
    walk.changes
}

/// A walk along an object, with the type of each field where the kind is known.
struct Walk<'s> {
    schema: &'s Schema,
    changes: Vec<FieldChange>,
}

impl Walk<'_> {
    fn compare(&mut self, path: &str, ty: Option<&Type>, desired: &Value, live: Option<&Value>) {
        match (desired, live) {
            (Value::Object(want), Some(Value::Object(have))) => {
                for (key, value) in want.iter().filter(|(key, _)| !skipped(path, key)) {
                    self.compare(&join(path, key), self.field(ty, key).as_ref(), value, have.get(key));
                }
            }
            (Value::Array(want), Some(Value::Array(have))) => self.list(path, ty, want, have),
            (want, Some(have)) if same(ty, want, have) => {}
            (Value::Object(want), None) if want.is_empty() => {}
            (Value::Array(want), None) if want.is_empty() => {}
            (Value::Null, None) => {}
            (want, have) => self.change(path, have, Some(want)),
        }
    }

    fn list(&mut self, path: &str, ty: Option<&Type>, want: &[Value], have: &[Value]) {
        let element = element(ty);
        if let Some(keys) = self.keys(ty, want) {
            for item in want {
                let other = have.iter().find(|other| keys.fit(item, other));
                self.compare(&format!("{path}{}", keys.shown(item)), element, item, other);
            }
        } else if is_set(ty) {
            for item in want.iter().filter(|item| !have.contains(item)) {
                self.change(&format!("{path}[={}]", plain(item)), None, Some(item));
            }
        } else if want.len() == have.len() {
            for (index, (item, other)) in want.iter().zip(have).enumerate() {
                self.compare(&format!("{path}[{index}]"), element, item, Some(other));
            }
        } else {
            let (want, have) = (Value::Array(want.to_vec()), Value::Array(have.to_vec()));
            self.change(path, Some(&have), Some(&want));
        }
    }

    /// Fields of the previous manifest that the new one leaves out and that are still live.
    fn dropped(&mut self, path: &str, ty: Option<&Type>, previous: &Value, desired: &Value, live: &Value) {
        match (previous, desired, live) {
            (Value::Object(old), Value::Object(want), Value::Object(have)) => {
                for (key, value) in old.iter().filter(|(key, _)| !skipped(path, key)) {
                    let at = join(path, key);
                    match (want.get(key), have.get(key)) {
                        (Some(next), Some(now)) => {
                            self.dropped(&at, self.field(ty, key).as_ref(), value, next, now);
                        }
                        (None, Some(now)) => self.change(&at, Some(now), None),
                        _ => {}
                    }
                }
            }
            (Value::Array(old), Value::Array(want), Value::Array(have)) if is_set(ty) => {
                for item in old.iter().filter(|item| !want.contains(item) && have.contains(item)) {
                    self.change(&format!("{path}[={}]", plain(item)), Some(item), None);
                }
            }
            (Value::Array(old), Value::Array(want), Value::Array(have)) => {
                let Some(keys) = self.keys(ty, old) else { return };
                for item in old {
                    let find = |list: &'_ [Value]| list.iter().position(|other| keys.fit(item, other));
                    let at = format!("{path}{}", keys.shown(item));
                    match (find(want), find(have)) {
                        (Some(next), Some(now)) => {
                            self.dropped(&at, element(ty), item, &want[next], &have[now]);
                        }
                        (None, Some(now)) => self.change(&at, Some(&have[now]), None),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn change(&mut self, path: &str, from: Option<&Value>, to: Option<&Value>) {
        self.changes.push(FieldChange { path: path.to_owned(), from: from.cloned(), to: to.cloned() });
    }

    fn field(&self, ty: Option<&Type>, name: &str) -> Option<Type> {
        match ty? {
            Type::Struct(id) => {
                let ty = self.schema.get(*id);
                let undeclared = || ty.open.then_some(Type::Any);
                ty.field(name).map(|field| field.ty.clone()).or_else(undeclared)
            }
            Type::Map { element, .. } => Some((**element).clone()),
            Type::Any => Some(Type::Any),
            _ => None,
        }
    }

    /// What tells the items of a list apart: its kind says so, or, where the kind is not known, what all items have.
    fn keys(&self, ty: Option<&Type>, items: &[Value]) -> Option<Keys> {
        match ty {
            Some(Type::List { element, kind: ListKind::Map(keys) }) => {
                let default = |key: &String| match &**element {
                    Type::Struct(id) => {
                        self.schema.get(*id).field(key).and_then(|field| field.default.clone())
                    }
                    _ => None,
                };
                Some(Keys(keys.iter().map(|key| (key.clone(), default(key))).collect()))
            }
            // Of what a known kind leaves undeclared the server owns lists as a whole.
            Some(Type::List { .. } | Type::Any) => None,
            _ => guessed_key(items).map(|key| Keys(vec![(key.to_owned(), None)])),
        }
    }
}

/// The fields that tell the items of a list apart, each with its default.
struct Keys(Vec<(String, Option<Value>)>);

impl Keys {
    fn value<'v>(key: &'v (String, Option<Value>), item: &'v Value) -> Option<&'v Value> {
        item.get(&key.0).or(key.1.as_ref())
    }

    fn fit(&self, one: &Value, other: &Value) -> bool {
        self.0.iter().all(|key| Self::value(key, one) == Self::value(key, other))
    }

    fn shown(&self, item: &Value) -> String {
        let keys =
            self.0.iter().filter_map(|key| Some(format!("{}={}", key.0, plain(Self::value(key, item)?))));
        format!("[{}]", keys.collect::<Vec<_>>().join(","))
    }
}

fn element(ty: Option<&Type>) -> Option<&Type> {
    match ty {
        Some(Type::List { element, .. }) => Some(element),
        Some(Type::Any) => Some(&Type::Any),
        _ => None,
    }
}

fn is_set(ty: Option<&Type>) -> bool {
    matches!(ty, Some(Type::List { kind: ListKind::Set, .. }))
}

/// Status and server bookkeeping are not ours.
fn skipped(path: &str, key: &str) -> bool {
    match path {
        "" => key == "status",
        "metadata" => {
            matches!(key, "resourceVersion" | "uid" | "generation" | "managedFields" | "creationTimestamp")
        }
        _ => false,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A key that all items have and that is unique.
fn guessed_key(items: &[Value]) -> Option<&'static str> {
    ["name", "mountPath", "containerPort", "port", "topologyKey", "type", "host", "ip"].into_iter().find(
        |key| {
            let ids: Vec<_> = items.iter().map(|item| item.get(key)).collect();
            !items.is_empty()
                && ids.iter().all(Option::is_some)
                && ids.iter().enumerate().all(|(i, id)| !ids[..i].contains(id))
        },
    )
}

/// Equal, or two spellings of one quantity (`1000m` and `1`), or of one number.
fn same(ty: Option<&Type>, want: &Value, have: &Value) -> bool {
    if want == have {
        return true;
    }
    let (want, have) = match ty {
        Some(Type::Quantity) => (quantity(want), quantity(have)),
        Some(_) => (want.as_f64(), have.as_f64()),
        None if !want.is_string() || !have.is_string() => (quantity(want), quantity(have)),
        None => return same_amount(want, have),
    };
    matches!((want, have), (Some(a), Some(b)) if (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs()))
}

/// Of a kind that is not known, two texts that differ are one amount only if both carry the unit of one.
fn same_amount(want: &Value, have: &Value) -> bool {
    let unit = |value: &Value| value.as_str().is_some_and(|text| text.ends_with(char::is_alphabetic));
    (unit(want) || unit(have)) && same(Some(&Type::Quantity), want, have)
}

/// A number, or a text that is an amount, as a number.
fn quantity(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => quantity::number(text),
        _ => None,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A live object without what the server added: fit to be applied again.
#[must_use]
pub fn without_server_fields(live: &Value) -> Value {
    let mut object = live.clone();
    if let Some(root) = object.as_object_mut() {
        root.remove("status");
    }
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        for key in ["managedFields", "uid", "resourceVersion", "creationTimestamp", "generation", "selfLink"]
        {
            metadata.remove(key);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            annotations.remove("deployment.kubernetes.io/revision");
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    object
}

/// The object map of a value, created if it is something else.
pub(super) fn object_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object just above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The changes of kinds that are built in, or unknown.
    fn fields(desired: &Value, live: &Value, previous: Option<&Value>) -> Vec<FieldChange> {
        super::fields(&Definitions::default(), desired, live, previous)
    }

    #[test]
    fn only_what_is_wanted_is_compared() {
        let live = json!({
            "metadata": {"name": "api", "uid": "1", "labels": {"app": "api", "other": "x"}},
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
                     "resources": {"cpu": "1", "memory": "1Gi"}},
            "status": {"x": 1},
        });
        let cases = [
            (
                json!({"metadata": {"labels": {"app": "api"}}, "spec": {"ports": [{"name": "http", "port": 80}]}}),
                vec![],
            ),
            (json!({"spec": {"resources": {"cpu": "1000m", "memory": "1024Mi"}}}), vec![]),
            (
                json!({"spec": {"ports": [{"name": "http", "port": 8080}]}}),
                vec![FieldChange {
                    path: "spec.ports[name=http].port".into(),
                    from: Some(json!(80)),
                    to: Some(json!(8080)),
                }],
            ),
            (
                json!({"metadata": {"labels": {"tier": "web"}}}),
                vec![FieldChange { path: "metadata.labels.tier".into(), from: None, to: Some(json!("web")) }],
            ),
        ];
        for (desired, expected) in cases {
            assert_eq!(fields(&desired, &live, None), expected, "{desired}");
        }
    }

    #[test]
    fn items_are_told_apart_by_the_keys_of_their_kind() {
        let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": ports}});
        let live = service(json!([
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]));
        let wanted = service(json!([{"name": "dns-tcp", "port": 53, "targetPort": 5353},
            {"name": "dns", "port": 53, "protocol": "UDP"}]));
        let paths = |changes: Vec<FieldChange>| changes.into_iter().map(|c| c.path).collect::<Vec<_>>();
        assert_eq!(paths(fields(&wanted, &live, None)), ["spec.ports[port=53,protocol=TCP].targetPort"]);
        let fewer = service(json!([{"name": "dns", "port": 53, "protocol": "UDP"}]));
        assert_eq!(paths(fields(&fewer, &live, Some(&live))), ["spec.ports[port=53,protocol=TCP]"]);
    }

    #[test]
    fn items_of_a_custom_resource_are_told_apart_as_its_definition_says() {
        let list = |kind: &str| json!({"type": "array", "x-kubernetes-list-type": kind, "items": {"type": "string"}});
        let crd = json!({"kind": "CustomResourceDefinition", "spec": {"group": "sea.example.com", "names": {"kind": "Ship"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                "type": "object", "properties": {"flags": list("set"), "route": list("atomic"),
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "crew": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["berth"],
                        "items": {"type": "object", "properties": {"berth": {"type": "integer"}, "name": {}}}}}}}}}}]}});
        let definitions = Definitions::of([&crd].into_iter());
        let ship = |spec: Value| json!({"apiVersion": "sea.example.com/v1", "kind": "Ship", "spec": spec});
        let crew = |all: &[(u8, &str)]| -> Value {
            all.iter().map(|(berth, name)| json!({"berth": berth, "name": name})).collect()
        };
        let before =
            ship(json!({"flags": ["a", "b"], "route": ["x", "y"], "crew": crew(&[(1, "jo"), (2, "ann")]),
            "free": {"list": [{"name": "p", "v": 1}, {"name": "q", "v": 1}]}}));
        let paths = |spec: Value| -> Vec<String> {
            let changes = super::fields(&definitions, &ship(spec), &before, Some(&before));
            changes.into_iter().map(|change| change.path).collect()
        };
        let crew = |all: &[(u8, &str)]| {
            json!({"crew": crew(all), "flags": ["b", "a"], "route": ["x", "y"],
            "free": {"list": [{"name": "p", "v": 1}, {"name": "q", "v": 1}]}})
        };
        assert_eq!(paths(crew(&[(2, "ann"), (1, "jo")])), Vec::<String>::new(), "another order is no change");
        assert_eq!(
            paths(crew(&[(3, "kim"), (2, "eve"), (1, "jo")])),
            ["spec.crew[berth=3]", "spec.crew[berth=2].name"]
        );
        assert_eq!(paths(crew(&[(2, "ann")])), ["spec.crew[berth=1]"]);
        let mut other = crew(&[(1, "jo"), (2, "ann")]);
        other["flags"] = json!(["b", "c"]);
        other["route"] = json!(["y", "x"]);
        other["free"]["list"] = json!([{"name": "q", "v": 1}, {"name": "p", "v": 1}]);
        assert_eq!(
            paths(other),
            [
                "spec.flags[=c]",
                "spec.free.list[0].name",
                "spec.free.list[1].name",
                "spec.route[0]",
                "spec.route[1]",
                "spec.flags[=a]"
            ]
        );
    }

    #[test]
    fn only_amounts_have_several_spellings() {
        let pod = |env: &str, cpu: &str| {
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a",
                "env": [{"name": "LIMIT", "value": env}], "resources": {"limits": {"cpu": cpu}}}]}})
        };
        assert_eq!(fields(&pod("1", "1000m"), &pod("1", "1"), None), []);
        let changes = fields(&pod("1000m", "1"), &pod("1", "1"), None);
        assert_eq!(changes[0].path, "spec.containers[name=a].env[name=LIMIT].value");
        assert_eq!(changes.len(), 1);
    }

    #[test]
    fn a_field_that_the_release_before_had_is_removed() {
        let previous = json!({"data": {"A": "1", "B": "2"}});
        let desired = json!({"data": {"A": "1"}});
        let live = json!({"data": {"A": "1", "B": "2", "C": "theirs"}});
        let expected = vec![FieldChange { path: "data.B".into(), from: Some(json!("2")), to: None }];
        assert_eq!(fields(&desired, &live, Some(&previous)), expected);
    }
}
