//! The shape of a kind's objects: the built-in schema, a CRD's own, or none.

use std::sync::Arc;

use serde_json::Value;

use crate::domain::crd_schema;
use crate::domain::kube_schema::{self, Schema, Type};

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
        let (own, root) = crd_schema::read(schema);
        Self { own: Some(Arc::new(own)), root }
    }

    /// Where the shape's types are.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.own.as_deref().unwrap_or_else(|| kube_schema::builtin())
    }
}
