//! Which kinds a server knows, by what plural, and whether they live in namespaces.

use crate::adapters::kubernetes::request;
use crate::adapters::kubernetes::send::{Api, Patience};
use crate::domain::object::ObjectRef;
use crate::ports::ClusterError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// One kind as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub plural: String,
    pub namespaced: bool,
}

type Kinds = BTreeMap<String, Resource>;

/// What a server was asked already: one request per group version. Only what exists is remembered.
#[derive(Default)]
pub(crate) struct Discovery {
    /// The inner lock makes those who ask for the same group version at once share one request.
    known: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Option<Kinds>>>>>,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    kind: String,
    namespaced: bool,
}

impl Discovery {
    /// The kind, or `None` if the server does not know it. A miss asks again: the run may have created its CRD.
    pub(crate) async fn find(
        &self,
        api: &Api,
        api_version: &str,
        kind: &str,
        patience: Patience,
    ) -> Result<Option<Resource>, ClusterError> {
        let cell = {
            let mut known = self.known.lock().expect("no panic while held");
            Arc::clone(known.entry(api_version.to_owned()).or_default())
        };
        // Whoever asks the server meanwhile may have more patience.
        let Some(mut kinds) = patience.within(cell.lock()).await else {
            let message = format!("it does not say in time what kinds {api_version} has");
            return Err(ClusterError::Unreachable { server: api.server.clone(), message });
        };
        if let Some(resource) = kinds.as_ref().and_then(|kinds| kinds.get(kind)) {
            return Ok(Some(resource.clone()));
        }
        *kinds = read(api, api_version, patience).await?;
        Ok(kinds.as_ref().and_then(|kinds| kinds.get(kind)).cloned())
    }

    /// Path of an object, or of a subresource of it.
    pub(crate) async fn path(
        &self,
        api: &Api,
        object: &ObjectRef,
        subresource: &str,
        patience: Patience,
    ) -> Result<String, ClusterError> {
        let resource = self.resource(api, object, patience).await?;
        let namespace = if resource.namespaced { object.namespace.as_str() } else { "" };
        Ok(request::path(&object.api_version, &resource.plural, namespace, &object.name, subresource))
    }

    /// The object's kind; fails when there is none, or when the object lacks the namespace that the kind needs.
    pub(crate) async fn resource(
        &self,
        api: &Api,
        object: &ObjectRef,
        patience: Patience,
    ) -> Result<Resource, ClusterError> {
        let ObjectRef { api_version, kind, namespace, name } = object;
        if name.is_empty() {
            return Err(ClusterError::Invalid { message: format!("a {kind} has no name") });
        }
        let Some(resource) = self.find(api, api_version, kind, patience).await? else {
            let message = format!("the server knows no kind {kind} in {api_version} (is its CRD installed?)");
            return Err(ClusterError::NotFound { message });
        };
        if resource.namespaced && namespace.is_empty() {
            return Err(ClusterError::Invalid { message: format!("{kind}/{name} has no namespace") });
        }
        Ok(resource)
    }
}

async fn read(api: &Api, api_version: &str, patience: Patience) -> Result<Option<Kinds>, ClusterError> {
    let call = request::get(&request::discovery_path(api_version));
    let list: ResourceList = match api.read(&call, patience).await {
        Ok(list) => list,
        Err(ClusterError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    // `pods/log` and the like are subresources.
    let own = list.resources.into_iter().filter(|entry| !entry.name.contains('/'));
    Ok(Some(own.map(|e| (e.kind, Resource { plural: e.name, namespaced: e.namespaced })).collect()))
}
