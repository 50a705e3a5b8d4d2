//! Routes as they read at a weight, under names that no other component writes.

use super::Split;
use crate::domain::environment::{Component, Router};
use crate::domain::object::{Object, ObjectRef};
use crate::plan::router as routes;
use crate::plan::site::Site;
use crate::rollout::router::{self, nginx};
use serde_json::json;
use std::collections::BTreeMap;

impl Site<'_> {
    /// Ingresses that ingress-nginx divides for several components, which must not write one canary.
    pub(super) fn apart(&self, component: &Component, router: &Router) -> BTreeMap<ObjectRef, String> {
        if !matches!(router, Router::Nginx(_)) {
            return BTreeMap::new();
        }
        let shared = routes::shared(&self.inputs.env.components, &self.input.named, component);
        shared
            .into_iter()
            .map(|route| (route.reference(), nginx::canary_apart(route.name(), component.id.as_str())))
            .collect()
    }
}

/// The routes at a weight.
pub(super) fn weighed(split: &Split, percent: u8) -> Vec<Object> {
    split.before.iter().map(|route| at_weight(split, route, percent)).collect()
}

/// One of them; for ingress-nginx that is its canary.
pub(super) fn at_weight(split: &Split, route: &Object, percent: u8) -> Object {
    let mut value = router::weigh(&split.router, &route.value, &split.services, percent);
    if let Some(name) = split.apart.get(&route.reference()) {
        value["metadata"]["name"] = json!(name);
    }
    Object { value, ..route.clone() }
}
