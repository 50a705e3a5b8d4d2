//! Those who keep the clusters in step with Git.

use schemars::JsonSchema;
use serde::Deserialize;

/// What a run does about Argo CD and Flux where they write its objects by themselves.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GitopsFile {
    /// By name.
    Named(GitopsName),
    /// With settings.
    Detailed(GitopsDetail),
}

/// What is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GitopsName {
    /// Their automatic sync is paused until the run is over, however it ends. Git must hold the new release by then.
    Pause,
    /// The run is refused before its first write.
    Refuse,
    /// They are not looked for.
    Ignore,
}

/// Settings beside what is done.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GitopsDetail {
    /// What is done with them. Default: `pause`.
    pub mode: Option<GitopsName>,
    /// Namespace of Argo CD's Applications.
    #[schemars(extend("default" = "argocd"))]
    pub argocd_namespace: Option<String>,
}
