//! How a new revision takes over: strategies and their settings.

use super::{MirrorFile, RouterFile};
use crate::config::defaults;
use crate::config::scalar::{Percent, Time};
use schemars::JsonSchema;
use serde::Deserialize;

/// How a new revision takes over.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StrategyFile {
    /// By name, with all defaults.
    Named(StrategyName),
    /// With settings.
    Detailed(StrategyDetail),
}

/// A strategy with its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyName {
    /// One Deployment, replaced pod by pod.
    Rolling,
    /// Stop, then start: downtime.
    Recreate,
    /// A second full-size Deployment; all traffic switches at once, the old one is kept during `hold`.
    BlueGreen,
    /// A growing share of the traffic, by pods: 10 % for 5 minutes, 25 % for 15, 50 % for 30, then all.
    Canary,
}

/// A strategy with settings: exactly one of the keys.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StrategyDetail {
    /// A growing share of the traffic.
    pub canary: Option<CanaryFile>,
    /// A second full-size Deployment; all traffic switches at once.
    pub blue_green: Option<BlueGreenFile>,
}

/// Settings of a canary.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CanaryFile {
    /// Rising weights below 100 %; the step to 100 % follows the last hold. Default: 10 % 5m, 25 % 15m, 50 % 30m.
    pub steps: Option<Vec<StepFile>>,
    /// What carries the weights. Default: `pods`.
    pub router: Option<RouterFile>,
    /// Before the first weight the new version gets copies of requests, whose answers nobody sees. Writes are executed
    /// twice then: only for requests that may be repeated. Routers: `gateway`, `istio`.
    #[schemars(extend("examples" = [{"share": "10%", "hold": "10m"}]))]
    pub mirror: Option<MirrorFile>,
    /// Shrinks stable, once a weight is seen, to what it still carries: the whole needs hardly more pods than one version.
    /// The price: an abort waits until stable has grown back, and its traffic returns as it grows. Default: false, stable
    /// keeps full size. Not with `router: pods`.
    pub dynamic_stable_scale: bool,
}

/// One step of a canary.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepFile {
    /// Share of the traffic, 1–99 %.
    #[schemars(extend("examples" = ["10%"]))]
    pub weight: Percent,
    /// How long gates watch at this weight.
    #[schemars(extend("examples" = ["5m"]))]
    pub hold: Time,
    /// A person has to approve (`deployctl approve ENV`) after the hold: how long that is waited for, gates watching on.
    /// Then the run is rolled back. Default: nobody is asked.
    #[schemars(extend("examples" = ["30m"]))]
    pub approve: Option<Time>,
    /// Size of the new revision at this step, as a share of stable's, where a router other than `pods` carries the
    /// weight: not less than the weight. Default: the weight.
    #[schemars(extend("examples" = ["50%"]))]
    pub scale: Option<Percent>,
}

/// Settings of a blue-green rollout.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlueGreenFile {
    /// What carries the switch. Default: `service`. With `green_namespace`: `gateway` or `istio`.
    pub switch: Option<SwitchFile>,
    /// A second namespace. Releases take turns: each stands whole in the one of the two that does not serve, and the
    /// routes, which stay in `namespace`, lead there after the switch.
    #[schemars(extend("examples" = ["shop-green"]))]
    pub green_namespace: Option<String>,
    /// How long gates watch the new version after the switch, the old one still at full size.
    #[schemars(extend("default" = defaults::BLUE_GREEN_HOLD))]
    pub hold: Option<Time>,
    /// How long the new version is reachable under Services of its own, `NAME-preview`, before the switch: for people and
    /// their tests. The smoke tests are repeated meanwhile.
    #[schemars(extend("default" = defaults::PREVIEW))]
    pub preview: Option<Time>,
    /// How long the old version keeps its full size once all waves are done: the run waits for it, and gates watch, so
    /// that a way back needs no new pods.
    #[schemars(extend("default" = defaults::SCALE_DOWN_AFTER))]
    pub scale_down_after: Option<Time>,
}

/// What carries a blue-green switch.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchFile {
    /// The Service's selector.
    Service,
    /// The Ingress's backend (and the Service's selector for callers inside the cluster).
    Ingress,
    /// The namespace of the backends of the component's `HTTPRoute`s (Gateway API). Needs `green_namespace`.
    Gateway,
    /// The namespace in the destinations of the component's `VirtualService`s (Istio). Needs `green_namespace`.
    Istio,
}
