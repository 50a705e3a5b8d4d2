//! Kubernetes objects as values: what a release wants, and how one is named.

use crate::domain::ids::ComponentId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Label that carries the application's name on every object that deployctl makes.
pub const LABEL_APPLICATION: &str = "deployctl.dev/application";
/// Label that carries the environment's name; on objects, not on pods.
pub const LABEL_ENVIRONMENT: &str = "deployctl.dev/environment";
/// Label that carries the component's name.
pub const LABEL_COMPONENT: &str = "deployctl.dev/component";
/// Label that carries the revision of the release that made a workload (and its pods).
pub const LABEL_REVISION: &str = "deployctl.dev/revision";
/// Annotation of a Job that is not part of the way forward: `rollback` runs it when its release is left backwards.
pub const ANNOTATION_ON: &str = "deployctl.dev/on";
/// Its only value.
pub const ON_ROLLBACK: &str = "rollback";
/// Longest name that such a Job may have in its manifest: the number of the release that is left is added, and the name is
/// a label's value of its pods (63 characters).
pub const LONGEST_ROLLBACK_JOB: usize = 53;
/// Field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "deployctl";

/// Names one object in one cluster. Two references are equal if they name the same object: the version of the API says how
/// it is read and written, not which one it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// `v1`, `apps/v1`, …
    pub api_version: String,
    /// `Deployment`, …
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl ObjectRef {
    /// Names an object.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// A Deployment's name.
    #[must_use]
    pub fn deployment(namespace: &str, name: &str) -> Self {
        Self::new("apps/v1", "Deployment", namespace, name)
    }

    /// Reads the name off an object; missing parts are empty.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        Self::new(text("/apiVersion"), text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
    }

    /// The API group, empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// What makes it this object and no other. The core group comes last.
    fn identity(&self) -> (bool, &str, &str, &str, &str) {
        (self.group().is_empty(), self.group(), &self.kind, &self.namespace, &self.name)
    }
}

impl PartialEq for ObjectRef {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ObjectRef {}

impl PartialOrd for ObjectRef {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectRef {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for ObjectRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.kind, self.name))
    }
}

/// One desired object, where it came from and whose it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// The component whose manifests hold it; `None` for what the whole application shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentId>,
    /// Template file and line of the document's first line, for messages: `manifests/kva-api/service.yaml:3`.
    pub origin: String,
    /// The object itself.
    pub value: Value,
}

impl Object {
    /// The object's name in the cluster.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::of(&self.value)
    }

    /// `kind`, or empty.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.value.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// `metadata.name`, or empty.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }
}
