//! What `OpenAPI` v3 says of the shape of objects: a server's document of one group version, or the schema of a CRD.
//!
//! Written by servers and by strangers, so nothing is taken on trust: a reference that leads nowhere or back to itself
//! reads as "anything", and every component is read once.

use crate::domain::kube_schema::{self, Field, ListKind, Schema, StructId, StructType, Type};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// Types deeper inside each other than this read as anything. JSON itself is read no deeper.
const DEEPEST: usize = 128;
/// Of named types that are no structs: higher stacks of lists and maps, and longer enums, read as anything. They are
/// copied to every place that names them.
const HIGHEST: usize = 32;
const LONGEST_ENUM: usize = 256;

/// The part of a document that is read; paths and operations, most of its bytes, are passed over.
#[derive(Deserialize)]
struct Document<'d> {
    #[serde(borrow, default)]
    components: Option<Components<'d>>,
}

#[derive(Deserialize)]
struct Components<'d> {
    #[serde(borrow, default)]
    schemas: Option<BTreeMap<String, &'d RawValue>>,
}

/// What tells whether a component is a kind.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    #[serde(rename = "x-kubernetes-group-version-kind")]
    kinds: Vec<GroupVersionKind>,
}

#[derive(Deserialize)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

/// Reads a server's document of a group version: the kinds in it, and the types that they need.
///
/// # Errors
/// If it is not JSON, or its components are not what their name says.
pub fn read(document: &[u8]) -> Result<Schema, serde_json::Error> {
    let document: Document<'_> = serde_json::from_slice(document)?;
    let components = document.components.and_then(|components| components.schemas).unwrap_or_default();
    let mut roots = Vec::new();
    for (name, text) in &components {
        let head: Head = serde_json::from_str(text.get()).unwrap_or_default();
        // What belongs to many kinds at once (`DeleteOptions`) is none.
        if let Ok([kind]) = <[GroupVersionKind; 1]>::try_from(head.kinds) {
            roots.push((kind, name.clone()));
        }
    }
    let mut reader = Reader { components, ..Reader::default() };
    for (kind, name) in roots {
        let id = reader.root(&name);
        reader.own.add_root(kind.group, kind.version, kind.kind, id);
    }
    Ok(reader.finish())
}

/// Reads nodes into types of a schema of its own.
pub(crate) struct Reader<'d> {
    own: Schema,
    components: BTreeMap<String, &'d RawValue>,
    /// What names are known to mean; one that is being read means anything.
    named: HashMap<String, Type>,
    /// Structs that have an id already and whose fields are still to be read.
    waiting: Vec<(StructId, Value)>,
}

impl Default for Reader<'_> {
    fn default() -> Self {
        Self {
            own: Schema::extension(),
            components: BTreeMap::new(),
            named: HashMap::new(),
            waiting: Vec::new(),
        }
    }
}

impl Reader<'_> {
    /// Adds a struct type.
    pub(crate) fn add(&mut self, ty: StructType) -> StructId {
        self.own.add(ty)
    }

    /// The schema with all that was read.
    pub(crate) fn finish(mut self) -> Schema {
        while let Some((id, node)) = self.waiting.pop() {
            let ty = self.struct_type(&node, 0);
            self.own.set(id, ty);
        }
        self.own
    }

    /// The struct of a kind. One that declares no fields may have any.
    fn root(&mut self, name: &str) -> StructId {
        match self.reference(name, 0) {
            Type::Struct(id) => id,
            _ => self.own.add(StructType { open: true, ..StructType::default() }),
        }
    }

    /// The type behind `#/components/schemas/NAME`.
    fn reference(&mut self, reference: &str, depth: usize) -> Type {
        let name = reference.rsplit('/').next().unwrap_or_default();
        if let Some(ty) = special(name) {
            return ty;
        }
        if let Some(known) = self.named.get(name) {
            return known.clone();
        }
        let text = self.components.get(name).copied();
        let Some(node) = text.and_then(|text| serde_json::from_str::<Value>(text.get()).ok()) else {
            return Type::Any;
        };
        if node["properties"].is_object() {
            // Its fields are read later: they may lead back to it.
            let id = self.own.add(StructType::default());
            self.named.insert(name.to_owned(), Type::Struct(id));
            self.waiting.push((id, node));
            return Type::Struct(id);
        }
        self.named.insert(name.to_owned(), Type::Any);
        let ty = bounded(self.read(&node, depth + 1));
        self.named.insert(name.to_owned(), ty.clone());
        ty
    }

    /// The type that a node declares.
    pub(crate) fn read(&mut self, node: &Value, depth: usize) -> Type {
        if depth > DEEPEST {
            return Type::Any;
        }
        if node["x-kubernetes-int-or-string"] == true {
            return Type::IntOrString;
        }
        if let Some(reference) = referred(node) {
            return self.reference(reference, depth);
        }
        match node["type"].as_str() {
            Some("object") => self.object(node, depth),
            Some("array") => {
                let element = Box::new(self.read(&node["items"], depth + 1));
                Type::List { element, kind: list_kind(node) }
            }
            Some("string") => match node["enum"].as_array() {
                Some(values) => Type::Enum(texts(values)),
                None => Type::String,
            },
            Some("integer") => Type::Int64,
            Some("number") => Type::Number,
            Some("boolean") => Type::Bool,
            _ => Type::Any,
        }
    }

    fn object(&mut self, node: &Value, depth: usize) -> Type {
        if node["properties"].is_object() || is_embedded(node) {
            let ty = self.struct_type(node, depth);
            return Type::Struct(self.own.add(ty));
        }
        match node.get("additionalProperties") {
            Some(element) if element.is_object() => {
                Type::Map { element: Box::new(self.read(element, depth + 1)), atomic: is_atomic(node) }
            }
            _ => Type::Any,
        }
    }

    /// The struct that a node with `properties` declares.
    pub(crate) fn struct_type(&mut self, node: &Value, depth: usize) -> StructType {
        let required: Vec<String> = node["required"].as_array().map(|names| texts(names)).unwrap_or_default();
        let mut fields = Vec::new();
        for (name, node) in node["properties"].as_object().into_iter().flatten() {
            let mut one = field(name, self.read(node, depth + 1));
            one.required = required.contains(name);
            one.default = node.get("default").cloned();
            fields.push(one);
        }
        if is_embedded(node) {
            let missing = |own: &Field| !fields.iter().any(|field| field.name == own.name);
            let added: Vec<Field> = of_every_object().into_iter().filter(missing).collect();
            fields.extend(added);
        }
        let more = node.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
        let silent = is_embedded(node) && !node["properties"].is_object();
        let open = more || silent || node["x-kubernetes-preserve-unknown-fields"] == true;
        StructType { name: String::new(), atomic: is_atomic(node), fields, open }
    }
}

/// The fields that every object has, whatever its kind declares.
pub(crate) fn of_every_object() -> [Field; 3] {
    let metadata = kube_schema::builtin()
        .lookup("", "v1", "ConfigMap")
        .and_then(|config_map| config_map.field("metadata"))
        .expect("config maps are built in");
    [field("apiVersion", Type::String), field("kind", Type::String), metadata.clone()]
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

/// What a node refers to: by itself, or inside an `allOf` of one, as Kubernetes writes it where there is a default too.
fn referred(node: &Value) -> Option<&str> {
    let inner = match node["allOf"].as_array().map(Vec::as_slice) {
        Some([one]) => one,
        _ => node,
    };
    inner["$ref"].as_str().or_else(|| node["$ref"].as_str())
}

/// Types of Kubernetes' own that its documents declare in ways that say less than their names.
fn special(name: &str) -> Option<Type> {
    let name = name.strip_prefix("io.k8s.apimachinery.pkg.")?;
    Some(match name {
        "apis.meta.v1.Time" => Type::Time,
        "apis.meta.v1.MicroTime" => Type::MicroTime,
        "api.resource.Quantity" => Type::Quantity,
        "util.intstr.IntOrString" => Type::IntOrString,
        "runtime.RawExtension" | "apis.meta.v1.FieldsV1" | "apis.meta.v1.Patch" => Type::Any,
        _ => return None,
    })
}

fn list_kind(node: &Value) -> ListKind {
    match node["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => match node["x-kubernetes-list-map-keys"].as_array() {
            Some(keys) if !keys.is_empty() => ListKind::Map(texts(keys)),
            _ => ListKind::Atomic,
        },
        _ => ListKind::Atomic,
    }
}

/// Whether the node is of whole objects: they have what every object has.
fn is_embedded(node: &Value) -> bool {
    node["x-kubernetes-embedded-resource"] == true
}

fn is_atomic(node: &Value) -> bool {
    node["x-kubernetes-map-type"] == "atomic"
}

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// The type of a name, if it is small enough to be copied to all who use it.
fn bounded(ty: Type) -> Type {
    let mut inner = &ty;
    for _ in 0..HIGHEST {
        inner = match inner {
            Type::List { element, .. } | Type::Map { element, .. } => element,
            Type::Enum(values) if values.len() > LONGEST_ENUM => return Type::Any,
            _ => return ty,
        };
    }
    Type::Any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kube_schema::ProblemKind;
    use serde_json::json;

    fn document(schemas: &Value) -> Schema {
        let text = json!({"openapi": "3.0.0", "paths": {"/apis/x": {"get": {}}}, "components": {"schemas": schemas}});
        read(text.to_string().as_bytes()).expect("it is JSON")
    }

    fn kind(properties: &Value) -> Value {
        json!({"type": "object", "properties": properties, "required": ["spec"],
            "x-kubernetes-group-version-kind": [{"group": "g.example.com", "version": "v1", "kind": "Thing"}]})
    }

    fn problems(schema: &Schema, object: &Value) -> Vec<(String, ProblemKind)> {
        let problems = schema.problems("g.example.com", "v1", "Thing", object);
        problems.into_iter().map(|problem| (problem.path, problem.kind)).collect()
    }

    fn spec_type(schema: &Schema) -> Type {
        let root = schema.lookup("g.example.com", "v1", "Thing").expect("the kind is in the document");
        root.field("spec").expect("it has a spec").ty.clone()
    }

    #[test]
    fn nodes_become_types() {
        let list = |element: Type, kind: ListKind| Type::List { element: Box::new(element), kind };
        let map = |element: Type| Type::Map { element: Box::new(element), atomic: false };
        let r = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
        let quantity = "io.k8s.apimachinery.pkg.api.resource.Quantity";
        for (node, expected) in [
            (json!({"type": "string"}), Type::String),
            (json!({"type": "string", "enum": ["a", "b", 1]}), Type::Enum(vec!["a".into(), "b".into()])),
            (json!({"type": "integer", "format": "int32"}), Type::Int64),
            (json!({"type": "number"}), Type::Number),
            (json!({"type": "boolean"}), Type::Bool),
            (json!({}), Type::Any),
            (json!(7), Type::Any),
            (json!({"type": ["string", "null"]}), Type::Any),
            (json!({"type": "object"}), Type::Any),
            (json!({"x-kubernetes-preserve-unknown-fields": true}), Type::Any),
            (json!({"type": "string", "x-kubernetes-int-or-string": true}), Type::IntOrString),
            (json!({"type": "array", "items": {"type": "string"}}), list(Type::String, ListKind::Atomic)),
            (
                json!({"type": "array", "items": r("Alias"), "x-kubernetes-list-type": "set"}),
                list(map(Type::Bool), ListKind::Set),
            ),
            (
                json!({"type": "array", "items": {}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"]}),
                list(Type::Any, ListKind::Map(vec!["a".into(), "b".into()])),
            ),
            (
                json!({"type": "array", "items": {}, "x-kubernetes-list-type": "map"}),
                list(Type::Any, ListKind::Atomic),
            ),
            (json!({"type": "object", "additionalProperties": r(quantity)}), map(Type::Quantity)),
            (json!({"default": {}, "allOf": [r(meta)]}), Type::Time),
            (r("Alias"), map(Type::Bool)),
            (r("Nowhere"), Type::Any),
            (r("Circle"), Type::Any),
            (json!({"$ref": 7}), Type::Any),
        ] {
            let schema = document(&json!({"Thing": kind(&json!({"spec": node})),
                "Alias": {"type": "object", "additionalProperties": {"type": "boolean"}},
                "Circle": {"allOf": [{"$ref": "#/components/schemas/Ring"}]},
                "Ring": {"$ref": "#/components/schemas/Circle"}}));
            assert_eq!(spec_type(&schema), expected, "{node}");
        }
    }

    #[test]
    fn a_type_that_holds_itself_is_checked_as_deep_as_the_object_goes() {
        let me = json!({"$ref": "#/components/schemas/Tree"});
        let schema = document(&json!({
            "Thing": kind(&json!({"spec": {"default": {}, "allOf": [me]}})),
            "Tree": {"type": "object", "properties": {"leaf": {"type": "string"}, "inside": me,
                "branches": {"type": "array", "items": me}}}}));
        let wrong = json!({"spec": {"inside": {"branches": [{"leaf": "a"}, {"leef": "b"}]}}});
        let paths: Vec<String> = problems(&schema, &wrong).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["spec.inside.branches[1].leef"]);
    }

    #[test]
    fn kinds_are_told_from_what_serves_them() {
        let many = json!([{"group": "a", "version": "v1", "kind": "X"}, {"group": "b", "version": "v1", "kind": "X"}]);
        let bare = json!([{"group": "g.example.com", "version": "v1", "kind": "Thing"}]);
        let schema = document(&json!({
            "Options": {"type": "object", "properties": {}, "x-kubernetes-group-version-kind": many},
            "Odd": {"type": "object", "x-kubernetes-group-version-kind": "none"},
            "Text": "no object",
            "Thing": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-group-version-kind": bare}}));
        assert!(schema.lookup("a", "v1", "X").is_none());
        assert_eq!(problems(&schema, &json!({"anything": {"goes": 1}})), []);
    }

    #[test]
    fn odd_documents_are_survived() {
        for text in
            ["{}", r#"{"components": null}"#, r#"{"components": {}}"#, r#"{"components": {"schemas": {}}}"#]
        {
            assert!(read(text.as_bytes()).unwrap().own_kinds().is_empty(), "{text}");
        }
        for text in ["", "7", "<html>", r#"{"components": 7}"#, r#"{"components": {"schemas": []}}"#] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_document_made_to_exhaust_its_reader_does_not() {
        // Lists of lists of lists, each by name, in the order that makes the copies longest.
        let mut schemas = serde_json::Map::new();
        let next = |n: usize| json!({"$ref": format!("#/components/schemas/N{n:05}")});
        for n in 0..5_000 {
            let node = json!({"type": "array", "items": next(n + 1),
                "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": format!("K{n}")}]});
            schemas.insert(format!("N{:05}", 5_000 - n), node.clone());
            schemas.insert(format!("M{n:05}"), node);
        }
        let values: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        schemas.insert("Long".into(), json!({"type": "string", "enum": values}));
        schemas.insert("Thing".into(), kind(&json!({"spec": {"$ref": "#/components/schemas/Long"}})));
        let schema = document(&Value::Object(schemas));
        assert_eq!(spec_type(&schema), Type::Any);
        assert_eq!(schema.own_kinds().len(), 5_001);
    }
}
