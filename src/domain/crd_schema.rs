//! The shape of custom resources, as their definitions (CRDs) declare it.

use crate::domain::kube_schema::{Schema, Type};
use crate::domain::openapi::{self, Reader};
use serde_json::Value;

/// The types that an `openAPIV3Schema` declares, and that of the objects; `null` declares nothing.
#[must_use]
pub fn read(schema: &Value) -> (Schema, Type) {
    let mut reader = Reader::default();
    let mut root = reader.struct_type(schema, 0);
    root.open |= schema.is_null();
    // What every object has is the server's to define, whatever a definition says of it.
    let common = openapi::of_every_object();
    root.fields.retain(|field| common.iter().all(|own| own.name != field.name));
    root.fields.extend(common);
    let root = Type::Struct(reader.add(root));
    (reader.finish(), root)
}
