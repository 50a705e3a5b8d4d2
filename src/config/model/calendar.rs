//! When releases may go out, and how slowly.

use crate::config::scalar::Time;
use schemars::JsonSchema;
use serde::Deserialize;

/// How long gates watch a finished wave.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BakeFile {
    /// So long.
    Time(Time),
    /// So long, and until there was so much traffic.
    Detailed(BakeDetail),
}

/// A bake that asks for traffic.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BakeDetail {
    /// How long gates watch. Default: that of the profile, else 10m.
    pub time: Option<Time>,
    /// Requests that each component with a gate must have had since the bake began, on live targets. The bake is held
    /// until then, up to `limits.shared_breach`; then the run is rolled back. Default: 100 with a profile, else 0.
    pub min_requests: Option<u64>,
}

/// A set of defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileName {
    /// About an hour for two waves.
    Fast,
    /// A working day.
    Standard,
    /// A day and a half.
    Careful,
}

/// What becomes of waves that are done when a later one fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureFile {
    /// They are taken back, too.
    Rollback,
    /// They keep the new release.
    Hold,
}

/// A time in which nothing goes out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FreezeFile {
    /// First moment, as the clock on the wall shows it: `2026-12-20T00:00`, or a day. Required.
    pub from: Option<String>,
    /// First moment after it. Required.
    pub to: Option<String>,
    /// Why: whoever is refused reads it. Required.
    pub reason: Option<String>,
    /// Zone of the times. Default: that of `allowed`, else UTC.
    #[schemars(extend("examples" = ["Europe/Berlin"]))]
    pub time_zone: Option<String>,
}

/// The only hours in which a release may begin.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AllowedFile {
    /// Zone of the hours, by its IANA name. Hours are wall time: they move with summer time. Default: UTC.
    #[schemars(extend("examples" = ["Europe/Berlin"]))]
    pub time_zone: Option<String>,
    /// Days, or ranges of days: `mon`, `mon-thu`. Default: all.
    #[schemars(extend("examples" = [["mon-thu"]]))]
    pub days: Vec<String>,
    /// `FROM-TO`; over midnight where TO is not after FROM, and belonging to the day it begins on. Default: all day.
    #[schemars(extend("examples" = ["09:00-16:00"]))]
    pub hours: Option<String>,
}
