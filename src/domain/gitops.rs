//! Those who keep a cluster in step with Git: Argo CD, Flux.

use crate::domain::object::ObjectRef;
use serde::{Deserialize, Serialize};

/// What a run does about those who would write its objects from Git meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gitops {
    /// What is done with them.
    pub mode: GitopsMode,
    /// Where Argo CD's Applications are.
    pub argocd_namespace: String,
}

impl Default for Gitops {
    fn default() -> Self {
        Self { mode: GitopsMode::Pause, argocd_namespace: "argocd".to_owned() }
    }
}

/// What is done with those who would write the run's objects from Git.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitopsMode {
    /// Their automatic sync is paused until the run is over.
    Pause,
    /// The run is refused.
    Refuse,
    /// They are not looked for.
    Ignore,
}

/// One that writes objects of the release from Git by itself: an Argo CD Application, a Flux Kustomization or
/// `HelmRelease`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syncer {
    /// Its own object.
    pub object: ObjectRef,
    /// The release's objects that it writes.
    pub manages: Vec<ObjectRef>,
    /// Who writes it in turn, and may take a pause back: an `ApplicationSet`, an Application of Applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper: Option<ObjectRef>,
}

impl Syncer {
    /// The product that it belongs to.
    #[must_use]
    pub fn product(&self) -> &'static str {
        if self.object.kind == "Application" { "Argo CD" } else { "Flux" }
    }
}

/// Who writes the objects of a release in one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syncers {
    /// Those that are there and write by themselves.
    pub active: Vec<Syncer>,
    /// What else is known of such, one line each: those out of reach, and what could not be read.
    pub unknown: Vec<String>,
}
