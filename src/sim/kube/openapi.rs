//! The server's `OpenAPI` v3: an index of documents, and those of the kinds that CRDs define. The documents of built-in
//! groups are listed and not served: nobody here needs them.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha512};
use std::fmt::Write as _;

use super::kinds::KindId;
use super::store::Store;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The documents there are, by group version; the address of one changes with its content.
pub(crate) fn index(store: &Store, groups: &[Value]) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String, document: Option<Value>| {
        let mut url = format!("/openapi/v3/{path}");
        if let Some(document) = document {
            let _ = write!(url, "?hash={}", hash(&document));
        }
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    add("api/v1".to_owned(), None);
    for group in groups {
        let name = group["metadata"]["name"].as_str().unwrap_or_default();
        for version in group["versions"].as_array().into_iter().flatten() {
            let version = version["version"].as_str().unwrap_or_default();
            add(format!("apis/{name}/{version}"), document(store, name, version));
        }
    }
    json!({"paths": paths})
}

/// The document of a group version, if CRDs define it.
pub(crate) fn document(store: &Store, group: &str, version: &str) -> Option<Value> {
    let mut schemas = Map::new();
    for crd in store.iter(KindId::CUSTOM_RESOURCE_DEFINITIONS, None) {
        let spec = &crd["spec"];
        let versions = spec["versions"].as_array().into_iter().flatten();
        let mut served = versions.filter(|one| one["name"] == version && one["served"] == true);
        if spec["group"] != group || !crd["metadata"]["deletionTimestamp"].is_null() {
            continue;
        }
        if let Some(found) = served.next() {
            add_kind(&mut schemas, group, version, &spec["names"], &found["schema"]["openAPIV3Schema"]);
        }
    }
    if schemas.is_empty() {
        return None;
    }
    if let Value::Object(meta) = meta_types() {
        schemas.extend(meta);
    }
    Some(json!({"openapi": "3.0.0", "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": {}, "components": {"schemas": schemas}}))
}

fn hash(document: &Value) -> String {
    let bytes = serde_json::to_vec(document).expect("JSON values can be written");
    Sha512::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// A kind and its list, under the names that the API server gives them: `com.example.sea.v1.Ship`.
fn add_kind(schemas: &mut Map<String, Value>, group: &str, version: &str, names: &Value, schema: &Value) {
    let kind = names["kind"].as_str().unwrap_or_default();
    let list = names["listKind"].as_str().map_or_else(|| format!("{kind}List"), str::to_owned);
    let reversed: Vec<&str> = group.rsplit('.').collect();
    let name = |kind: &str| format!("{}.{version}.{kind}", reversed.join("."));
    let gvk = |kind: &str| json!([{"group": group, "kind": kind, "version": version}]);
    let mut object = published(schema);
    let open = object.is_null() || object["x-kubernetes-preserve-unknown-fields"] == true;
    if open && !object["properties"].is_object() {
        // Of a kind that declares nothing the server says only that.
        object = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    } else {
        add_object_fields(&mut object);
    }
    object["x-kubernetes-group-version-kind"] = gvk(kind);
    let items = json!({"type": "array", "items": reference(&name(kind))});
    let metadata = json!({"allOf": [reference(&format!("{META}.ListMeta"))]});
    let list_object = json!({"type": "object", "required": ["items"], "properties": {
            "apiVersion": {"type": "string"}, "items": items, "kind": {"type": "string"}, "metadata": metadata},
        "x-kubernetes-group-version-kind": gvk(&list)});
    schemas.insert(name(kind), object);
    schemas.insert(name(&list), list_object);
}

/// What every object has, whether its definition says so or not.
fn add_object_fields(object: &mut Value) {
    object["properties"]["apiVersion"] = json!({"type": "string"});
    object["properties"]["kind"] = json!({"type": "string"});
    object["properties"]["metadata"] = json!({"allOf": [reference(&format!("{META}.ObjectMeta"))]});
}

/// A node of a definition as the server publishes it.
fn published(node: &Value) -> Value {
    let Some(fields) = node.as_object() else { return node.clone() };
    let mut out = Map::new();
    for (name, value) in fields {
        let value = match (name.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.iter().map(|(name, node)| (name.clone(), published(node))).collect()
            }
            ("items" | "additionalProperties", node) => published(node),
            _ => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    let mut out = Value::Object(out);
    if out["x-kubernetes-int-or-string"] == true {
        out["anyOf"] = json!([{"type": "integer"}, {"type": "string"}]);
    }
    if out["x-kubernetes-embedded-resource"] == true {
        out["required"] = json!(["kind", "apiVersion"]);
        add_object_fields(&mut out);
    }
    out
}

/// The types behind metadata, as kube-apiserver v1.36 declares them.
fn meta_types() -> Value {
    let refer = |name: &str| reference(&format!("{META}.{name}"));
    let field = |name: &str| json!({"allOf": [refer(name)]});
    let text = json!({"type": "string"});
    let named = json!({"type": "string", "default": ""});
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let number = json!({"type": "integer", "format": "int64"});
    let time = field("Time");
    let owners = json!({"type": "array", "items": refer("OwnerReference"),
        "x-kubernetes-list-map-keys": ["uid"], "x-kubernetes-list-type": "map",
        "x-kubernetes-patch-merge-key": "uid", "x-kubernetes-patch-strategy": "merge"});
    let entries =
        json!({"type": "array", "items": refer("ManagedFieldsEntry"), "x-kubernetes-list-type": "atomic"});
    let finalizers = json!({"type": "array", "items": text, "x-kubernetes-list-type": "set",
        "x-kubernetes-patch-strategy": "merge"});
    let object = json!({"type": "object", "properties": {
        "annotations": texts, "creationTimestamp": time, "deletionGracePeriodSeconds": number,
        "deletionTimestamp": time, "finalizers": finalizers, "generateName": text, "generation": number,
        "labels": texts, "managedFields": entries, "name": text, "namespace": text, "ownerReferences": owners,
        "resourceVersion": text, "selfLink": text, "uid": text}});
    let entry = json!({"type": "object", "properties": {
        "apiVersion": text, "fieldsType": text, "fieldsV1": field("FieldsV1"),
        "manager": text, "operation": text, "subresource": text, "time": time}});
    let owner = json!({"type": "object", "required": ["apiVersion", "kind", "name", "uid"],
        "properties": {"apiVersion": named, "blockOwnerDeletion": {"type": "boolean"},
            "controller": {"type": "boolean"}, "kind": named, "name": named, "uid": named},
        "x-kubernetes-map-type": "atomic"});
    let list = json!({"type": "object", "properties": {
        "continue": text, "remainingItemCount": number, "resourceVersion": text, "selfLink": text}});
    json!({
        format!("{META}.FieldsV1"): {"type": "object"},
        format!("{META}.ListMeta"): list,
        format!("{META}.ManagedFieldsEntry"): entry,
        format!("{META}.ObjectMeta"): object,
        format!("{META}.OwnerReference"): owner,
        format!("{META}.Time"): {"type": "string", "format": "date-time"},
    })
}
