//! The objects that a plan's effects refer to, each held once.

use crate::domain::object::{Object, ObjectRef};
use std::collections::HashMap;

/// Objects by place; what is equal has one place.
#[derive(Debug, Default)]
pub(super) struct Table {
    objects: Vec<Object>,
    /// Places by name: only objects of one name can be equal.
    places: HashMap<ObjectRef, Vec<usize>>,
}

impl Table {
    /// The object's place; it is added if it has none.
    pub fn put(&mut self, object: Object) -> usize {
        let places = self.places.entry(object.reference()).or_default();
        if let Some(place) = places.iter().find(|place| self.objects[**place] == object) {
            return *place;
        }
        places.push(self.objects.len());
        self.objects.push(object);
        self.objects.len() - 1
    }

    /// All of them, by place.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// All of them, by place.
    pub fn into_objects(self) -> Vec<Object> {
        self.objects
    }
}
