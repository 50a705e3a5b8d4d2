//! The shape of a kind's objects: the built-in schema, a CRD's own, or none.

use std::sync::Arc;

use serde_json::Value;

use crate::domain::kube_schema::{self, Field, ListKind, Schema, StructId, StructType, Type};

use super::kinds::Kind;

/// The schema of one kind.
#[derive(Clone, Debug)]
pub struct Shape {
    own: Option<Arc<Schema>>,
    /// The type of the kind's objects.
    pub root: Type,
}

impl Shape {
    /// The shape of a built-in kind; an open one where no schema is known.
    #[must_use]
    pub fn builtin(kind: &Kind) -> Self {
        match kube_schema::builtin().root(&kind.group, &kind.version, &kind.kind) {
            Some(root) => Self { own: None, root: Type::Struct(root) },
            None => Self::of_crd(&Value::Null),
        }
    }

    /// The shape that a CRD's `openAPIV3Schema` declares; `null` declares nothing.
    #[must_use]
    pub fn of_crd(schema: &Value) -> Self {
        let mut own = Schema::extension();
        let root = object_type(&mut own, schema, true);
        Self { own: Some(Arc::new(own)), root }
    }

    /// Where the shape's types are.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.own.as_deref().unwrap_or_else(|| kube_schema::builtin())
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
