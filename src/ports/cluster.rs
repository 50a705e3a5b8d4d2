//! One Kubernetes cluster, in the words of a rollout.

use crate::domain::definitions::ApiKind;
use crate::domain::kube_schema::Schema;
use crate::domain::object::ObjectRef;
use crate::domain::observed::{Event, LiveObjects, NodeRoom, Snapshot};
use crate::ports::probe::{HttpAnswer, HttpQuestion, ProbeError};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Who the cluster is and who we are to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `uid` of the namespace `kube-system`: names a cluster for good.
    pub cluster_uid: String,
    /// Git version of the API server, e.g. `v1.36.2`.
    pub version: String,
    /// (major, minor).
    pub minor: (u32, u32),
    /// URL of the API server.
    pub server: String,
    /// User that the server knows us as.
    pub user: String,
}

/// What an apply did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The object is new.
    Created,
    /// The object changed.
    Updated,
    /// Nothing was to change.
    Unchanged,
}

/// What an apply would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What would come of it.
    pub applied: Applied,
    /// What the server warns of, in its own words, on one line each.
    pub warnings: Vec<String>,
}

/// What is known of an object before it is applied. What is known need not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it is looked at first, so that the answer tells create, change and no-op apart.
    #[default]
    Nothing,
    /// It was not there a moment ago.
    Absent,
    /// It was there, and differed.
    Differs,
}

/// How an object is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Takes fields over that others own.
    pub force: bool,
    /// Lets the server judge without storing.
    pub dry_run: bool,
    /// What is known of the object.
    pub known: Known,
}

impl Terms {
    /// Stored; fields of others are refused.
    pub const PLAIN: Self = Self { force: false, dry_run: false, known: Known::Nothing };
    /// Stored, whoever owns the fields.
    pub const FORCED: Self = Self { force: true, ..Self::PLAIN };
    /// Judged only; fields of others are refused.
    pub const DRY: Self = Self { dry_run: true, ..Self::PLAIN };

    /// The same, with something known.
    #[must_use]
    pub const fn knowing(self, known: Known) -> Self {
        Self { known, ..self }
    }
}

/// A field that somebody else owns and that an apply would change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldOwner {
    /// The field manager.
    pub manager: String,
    /// The subresource that it wrote through, empty for the object itself.
    pub subresource: String,
    /// The field as the server writes it: `.spec.containers[name="main"].image`.
    pub field: String,
}

impl std::fmt::Display for FieldOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.subresource.as_str() {
            "" => write!(f, "{} owns {}", self.manager, self.field),
            subresource => write!(f, "{} ({subresource}) owns {}", self.manager, self.field),
        }
    }
}

fn owners(owners: &[FieldOwner]) -> String {
    owners.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// One write permission that a plan needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permission {
    /// `create`, `patch`, `delete`, …
    pub verb: String,
    /// API group, empty for core.
    pub group: String,
    /// Plural, e.g. `deployments`.
    pub resource: String,
    /// Namespace; empty for cluster-scoped.
    pub namespace: String,
}

/// How a request to a cluster can fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The server could not be reached or the answer was lost: the outcome is unknown.
    #[error("no contact with {server}: {message}")]
    Unreachable {
        /// API server.
        server: String,
        /// Cause.
        message: String,
    },
    /// The object, namespace or kind is not there.
    #[error("{message}")]
    NotFound {
        /// The server's words.
        message: String,
    },
    /// 409 of a server-side apply: fields belong to others.
    #[error("{}", owners(fields))]
    Contested {
        /// Field by field.
        fields: Vec<FieldOwner>,
    },
    /// 409: somebody else wrote in between, or it exists already.
    #[error("{message}")]
    Conflict {
        /// The server's words.
        message: String,
    },
    /// 403 (quota and admission speak here too), or no credentials that could be shown.
    #[error("{message}")]
    Forbidden {
        /// The server's words.
        message: String,
    },
    /// 400, 422, or strict field validation.
    #[error("{message}")]
    Invalid {
        /// The server's words.
        message: String,
    },
    /// Anything else the server answered.
    #[error("{code} {message}")]
    Server {
        /// HTTP status.
        code: u16,
        /// The server's words.
        message: String,
    },
}

impl ClusterError {
    /// Whether the same request may be answered in a moment: no contact, a server that sheds load, has no leader or has just
    /// lost the credentials (a token that is about to be renewed, an authenticator that restarts), or an object that others
    /// write at the same time. A webhook that fails is somebody else's 500, and stays.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Server { code: 401 | 429 | 502..=504, .. } => true,
            Self::Server { code: 500, message } => !message.contains("webhook"),
            Self::Conflict { message } => message.contains("has been modified"),
            _ => false,
        }
    }

    /// Whether it leaves open how things stand there: no answer, or none to us.
    #[must_use]
    pub fn leaves_open(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Server { code: 401, .. })
    }
}

/// One cluster. Every write is idempotent.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Who the cluster is; fails when it cannot be reached.
    async fn identity(&self) -> Result<Identity, ClusterError>;

    /// The live object, or `None`.
    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, ClusterError>;

    /// `spec.replicas` of a live workload; `None` if it is not there or says none.
    async fn replicas(&self, workload: &ObjectRef) -> Result<Option<u32>, ClusterError> {
        let live = self.get(workload).await?;
        let replicas = live.as_ref().and_then(|live| live.pointer("/spec/replicas")).and_then(Value::as_u64);
        Ok(replicas.map(|replicas| replicas as u32))
    }

    /// The live objects of these names, in the order asked: one LIST for many of one kind and namespace, single reads for
    /// few, many in flight.
    async fn get_all(&self, objects: &[ObjectRef]) -> Result<Vec<Option<Value>>, ClusterError>;

    /// All live objects of a kind in a namespace.
    async fn list(&self, api_version: &str, kind: &str, namespace: &str) -> Result<Vec<Value>, ClusterError>;

    /// Server-side apply with strict field validation as `deployctl`.
    async fn apply(&self, object: &Value, terms: Terms) -> Result<Applied, ClusterError>;

    /// Lets the server judge an apply without storing it, whatever the terms say of that.
    async fn try_apply(&self, object: &Value, terms: Terms) -> Result<Tried, ClusterError>;

    /// Deletes in the foreground and waits until the object is gone; absent is fine.
    async fn delete(&self, object: &ObjectRef) -> Result<(), ClusterError>;

    /// Sets `spec.replicas` through the scale subresource. Returns the number before.
    async fn scale(&self, workload: &ObjectRef, replicas: u32) -> Result<u32, ClusterError>;

    /// Changes an object by a read-modify-write with a resourceVersion precondition (JSON merge patch), retried on
    /// conflict with a fresh read. `change` returns the merge patch, or `None` when nothing is to do.
    async fn modify(
        &self,
        object: &ObjectRef,
        change: &(dyn for<'v> Fn(&'v Value) -> Option<Value> + Send + Sync),
    ) -> Result<Applied, ClusterError>;

    /// The shared state of a namespace, kept current by one LIST+WATCH per kind. The first call starts the watches.
    fn follow(&self, namespace: &str) -> watch::Receiver<Snapshot>;

    /// The live state of just these objects (of any kinds), kept current for as long as somebody listens.
    async fn watch_objects(
        &self,
        objects: &[ObjectRef],
    ) -> Result<watch::Receiver<LiveObjects>, ClusterError>;

    /// The events about an object that the server still keeps, of all types.
    async fn events(&self, about: &ObjectRef) -> Result<Vec<Event>, ClusterError>;

    /// How much room each node has left.
    async fn rooms(&self) -> Result<Vec<NodeRoom>, ClusterError>;

    /// The last lines of a container's log, each with its time before it; `previous` for the run before the last restart.
    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        lines: u32,
    ) -> Result<String, ClusterError>;

    /// Which of these permissions we lack (`SelfSubjectAccessReview`, in parallel).
    async fn lacking(&self, permissions: &[Permission]) -> Result<Vec<Permission>, ClusterError>;

    /// Whether the server knows a kind, and its plural.
    async fn plural(&self, api_version: &str, kind: &str) -> Result<Option<String>, ClusterError>;

    /// What the server's own `OpenAPI` documents say of these kinds, one schema a group version. This never fails: what
    /// cannot be had (the server is old, an aggregated one is away, we may not ask) is left out.
    async fn schemas(&self, kinds: &[ApiKind]) -> Vec<Arc<Schema>>;

    /// An HTTP request to a pod or Service through the API server. `url` in the question is a path;
    /// `target` is e.g. `pods/kva-api-r2-abc-x1:8080` or `services/kva-api:80`.
    async fn proxy(
        &self,
        namespace: &str,
        target: &str,
        question: &HttpQuestion,
        timeout: Duration,
    ) -> Result<HttpAnswer, ProbeError>;

    /// What a pod answers to a GET through the API server, piece by piece as it arrives: for answers that nobody holds
    /// whole. `target` is as for `proxy`. An error is also an answer other than 200, and one of more than `limit` bytes.
    async fn stream(
        &self,
        namespace: &str,
        target: &str,
        path: &str,
        limit: usize,
        timeout: Duration,
        sink: &mut (dyn for<'p> FnMut(&'p [u8]) + Send),
    ) -> Result<(), ProbeError>;
}
