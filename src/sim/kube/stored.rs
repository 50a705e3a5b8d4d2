//! One object as the store keeps it: what clients see, with the owners of its fields in a form of their own.
//!
//! The owners are more than half of an object as clients see it, and nearly never change; kept apart, and shared by
//! the versions of an object, they cost a write nothing.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;

use super::api::encode;
use super::managed::{self, Entry, Owners};

/// The owners of an object's fields, in the API's order.
pub type Managed = Vec<Arc<Entry>>;

/// An object. Reads as its JSON without `managedFields`; written out, it has them.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    value: Value,
    managed: Managed,
    encoded: Encoded,
}

/// How an object is written out, made once for all who read it.
#[derive(Debug, Default)]
struct Encoded {
    whole: OnceLock<Bytes>,
    item: OnceLock<Bytes>,
}

/// A copy is made to be changed.
impl Clone for Encoded {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Stored {
    pub(crate) fn new(value: Value, managed: Managed) -> Self {
        Self { value, managed, encoded: Encoded::default() }
    }

    pub(crate) fn managed(&self) -> &Managed {
        &self.managed
    }

    /// As clients read it.
    pub(crate) fn bytes(&self) -> Bytes {
        self.encoded.whole.get_or_init(|| encode(self)).clone()
    }

    /// As it stands in a list of its kind: built-in kinds leave `kind` and `apiVersion` to the list.
    pub(crate) fn item_bytes(&self) -> &Bytes {
        self.encoded.item.get_or_init(|| encode(&Item(self)))
    }

    /// The metadata as clients see them.
    pub(crate) fn metadata_for_client(&self) -> Value {
        let mut metadata = self.value.get("metadata").cloned().unwrap_or_default();
        if !self.managed.is_empty() {
            metadata["managedFields"] = managed::encode(&self.managed);
        }
        metadata
    }

    /// Takes an object as clients see it apart.
    #[must_use]
    pub fn of_client(mut value: Value) -> Self {
        let managed = managed::read(&value);
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        Self::new(value, managed)
    }

    /// The object as clients see it.
    #[must_use]
    pub fn for_client(&self) -> Value {
        let mut whole = self.value.clone();
        if !self.managed.is_empty() {
            whole["metadata"]["managedFields"] = managed::encode(&self.managed);
        }
        whole
    }

    /// The object without the owners of its fields.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    pub(crate) fn value_mut(&mut self) -> &mut Value {
        self.encoded = Encoded::default();
        &mut self.value
    }

    /// Writes the fields of the object that `wanted` accepts.
    fn write<S: Serializer>(&self, serializer: S, wanted: fn(&str) -> bool) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.value.as_object().into_iter().flatten().filter(|(name, _)| wanted(name)) {
            if name == "metadata" {
                map.serialize_entry(name, &Metadata(value, &self.managed))?;
            } else {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

impl Deref for Stored {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.write(serializer, |_| true)
    }
}

/// An item of a list.
struct Item<'a>(&'a Stored);

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer, |name| !matches!(name, "kind" | "apiVersion"))
    }
}

/// The metadata of an object, with the owners of fields.
struct Metadata<'a>(&'a Value, &'a Managed);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(metadata, managed) = self;
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in metadata.as_object().into_iter().flatten() {
            map.serialize_entry(name, value)?;
        }
        if !managed.is_empty() {
            map.serialize_entry("managedFields", &Owners(managed))?;
        }
        map.end()
    }
}
