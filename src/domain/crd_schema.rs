//! The shape of custom resources, as their definitions (CRDs) declare it.

use crate::domain::kube_schema::{self, Field, ListKind, Problem, Schema, StructId, StructType, Type};
use crate::domain::object::ObjectRef;
use serde_json::Value;
use std::collections::HashMap;

/// The types that an `openAPIV3Schema` declares, and that of the objects; `null` declares nothing.
#[must_use]
pub fn read(schema: &Value) -> (Schema, Type) {
    let mut own = Schema::extension();
    let root = object_type(&mut own, schema, true);
    (own, root)
}

/// The kinds that some objects define.
#[derive(Debug, Default)]
pub struct Definitions {
    /// By API version and kind.
    kinds: HashMap<(String, String), (Schema, Type)>,
}

impl Definitions {
    /// Reads the definitions among some objects.
    pub fn of<'v>(objects: impl Iterator<Item = &'v Value>) -> Self {
        let mut kinds = HashMap::new();
        for crd in objects.filter(|object| object["kind"] == "CustomResourceDefinition") {
            let spec = &crd["spec"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            for version in spec["versions"].as_array().into_iter().flatten() {
                let api_version = format!("{}/{}", text(&spec["group"]), text(&version["name"]));
                let schema = read(&version["schema"]["openAPIV3Schema"]);
                kinds.insert((api_version, text(&spec["names"]["kind"])), schema);
            }
        }
        Self { kinds }
    }

    /// Everything about an object that contradicts its definition; nothing if it is of a kind that is not defined here.
    #[must_use]
    pub fn problems(&self, object: &Value) -> Vec<Problem> {
        let ObjectRef { api_version, kind, .. } = ObjectRef::of(object);
        let mut problems = Vec::new();
        if let Some((schema, root)) = self.kinds.get(&(api_version, kind)) {
            schema.check_type(root, object, &mut String::new(), &mut problems);
        }
        problems
    }
}

fn crd_type(own: &mut Schema, node: &Value) -> Type {
    if node["x-kubernetes-int-or-string"] == true {
        return Type::IntOrString;
    }
    match node["type"].as_str() {
        Some("object") => object_type(own, node, false),
        Some("array") => {
            let element = Box::new(crd_type(own, &node["items"]));
            let kind = match node["x-kubernetes-list-type"].as_str() {
                Some("set") => ListKind::Set,
                Some("map") => ListKind::Map(
                    node["x-kubernetes-list-map-keys"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(|key| key.as_str().map(str::to_owned))
                        .collect(),
                ),
                _ => ListKind::Atomic,
            };
            Type::List { element, kind }
        }
        Some("string") => match node["enum"].as_array() {
            Some(values) => {
                Type::Enum(values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect())
            }
            None => Type::String,
        },
        Some("integer") => Type::Int64,
        Some("number") => Type::Number,
        Some("boolean") => Type::Bool,
        _ => Type::Any,
    }
}

fn object_type(own: &mut Schema, node: &Value, root: bool) -> Type {
    let atomic = node["x-kubernetes-map-type"] == "atomic";
    let open = node["x-kubernetes-preserve-unknown-fields"] == true || (root && node.is_null());
    let Some(properties) = node["properties"].as_object() else {
        if root {
            return Type::Struct(add_struct(own, Vec::new(), false, open, true));
        }
        return match node.get("additionalProperties") {
            Some(element) if element.is_object() => {
                Type::Map { element: Box::new(crd_type(own, element)), atomic }
            }
            _ => Type::Any,
        };
    };
    let required: Vec<&str> =
        node["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = properties
        .iter()
        .filter(|(name, _)| !root || !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"))
        .map(|(name, node)| {
            let mut one = field(name, crd_type(own, node));
            one.required = required.contains(&name.as_str());
            one.default = node.get("default").cloned();
            one
        })
        .collect();
    Type::Struct(add_struct(own, fields, atomic, open, root))
}

fn add_struct(own: &mut Schema, mut fields: Vec<Field>, atomic: bool, open: bool, root: bool) -> StructId {
    if root {
        fields.push(field("apiVersion", Type::String));
        fields.push(field("kind", Type::String));
        let metadata = kube_schema::builtin()
            .lookup("", "v1", "ConfigMap")
            .and_then(|config_map| config_map.field("metadata"))
            .expect("config maps are built in");
        fields.push(metadata.clone());
    }
    own.add(StructType { name: String::new(), atomic, fields, open })
}

fn field(name: &str, ty: Type) -> Field {
    Field {
        name: name.to_owned(),
        ty,
        required: false,
        default: None,
        patch_merge: false,
        patch_key: None,
        retain_keys: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_held_against_their_definition() {
        let crd = json!({"kind": "CustomResourceDefinition", "spec": {
            "group": "sea.example.com", "names": {"kind": "Ship"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                "type": "object", "required": ["sails"],
                "properties": {"sails": {"type": "integer"}, "rig": {"type": "string", "enum": ["sloop", "ketch"]},
                               "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}}}]}});
        let definitions = Definitions::of([&crd].into_iter());
        let ship = |spec: Value| json!({"apiVersion": "sea.example.com/v1", "kind": "Ship", "metadata": {"name": "a"}, "spec": spec});
        for (spec, wrong) in [
            (json!({"sails": 3, "rig": "ketch", "any": {"a": 1}}), None),
            (json!({"sails": "three"}), Some("spec.sails")),
            (json!({"sails": 3, "sail": 1}), Some("spec.sail")),
            (json!({"rig": "sloop"}), Some("spec.sails")),
            (json!({"sails": 3, "rig": "raft"}), Some("spec.rig")),
        ] {
            let paths: Vec<String> = definitions.problems(&ship(spec)).into_iter().map(|p| p.path).collect();
            assert_eq!(paths.first().map(String::as_str), wrong);
        }
        assert_eq!(definitions.problems(&json!({"apiVersion": "v1", "kind": "ConfigMap"})), []);
    }
}
