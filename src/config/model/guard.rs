//! The dead-man's switch.

use crate::config::scalar::Time;
use schemars::JsonSchema;
use serde::Deserialize;

/// Who watches the runs of an environment from another machine (`deployctl guard ENV`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GuardFile {
    /// Whether there is one: preflight warns of a release that nobody guards.
    Switch(bool),
    /// `required`: preflight refuses a release that nobody guards.
    Named(GuardName),
    /// With settings.
    Detailed(GuardDetail),
}

/// A guard without settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GuardName {
    /// A release that nobody guards is refused.
    Required,
}

/// A guard with settings.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardDetail {
    /// How long it leaves a run alone whose lock has expired, so that somebody may resume it. Default: `0s`.
    #[schemars(extend("examples" = ["30s"]))]
    pub after: Option<Time>,
    /// Whether preflight refuses a release that nobody guards. Default: it warns.
    #[schemars(extend("default" = false))]
    pub required: Option<bool>,
    /// Image with `deployctl` in its `PATH`, for a guard inside the cluster (`deployctl guard ENV --manifest`).
    #[schemars(extend("examples" = ["registry.example.com/tools/deployctl:1.0.0"]))]
    pub image: Option<String>,
}
