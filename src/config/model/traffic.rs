//! What carries a canary's weights, and how the share that arrives is counted.

use crate::config::scalar::{Percent, Time};
use schemars::JsonSchema;
use serde::Deserialize;

/// What carries the weights of a canary.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RouterFile {
    /// By name.
    Named(RouterName),
    /// With settings.
    Detailed(Box<RouterDetail>),
}

/// A router by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouterName {
    /// The number of pods behind one Service: 1 of 6 is 17 %.
    Pods,
    /// A second Ingress with the canary annotations of ingress-nginx, beside the component's own.
    Nginx,
    /// `backendRefs[].weight` of the `HTTPRoute`s that lead to the component's Services (Gateway API).
    Gateway,
    /// Weighted destinations of the `VirtualService`s that lead to the component's Services (Istio).
    Istio,
    /// The forward action of the Ingresses that lead to the component's Services (AWS Load Balancer Controller).
    Alb,
}

/// A router with settings: exactly one of the keys.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouterDetail {
    /// A second Ingress with the canary annotations of ingress-nginx.
    pub nginx: Option<TestersFile>,
    /// `backendRefs[].weight` of `HTTPRoute`s.
    pub gateway: Option<HeaderFile>,
    /// Weighted destinations of `VirtualService`s.
    pub istio: Option<TestersFile>,
    /// The forward action of Ingresses of the AWS Load Balancer Controller.
    pub alb: Option<HeaderFile>,
}

/// Testers who are led to the new version whatever the weight, by a header or a cookie.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestersFile {
    /// Requests with this header and the value `always` go to the new version, from when its pods are ready until the
    /// rollout is over. With ingress-nginx `never` leads to the old one.
    #[schemars(extend("examples" = ["X-Canary"]))]
    pub header: Option<String>,
    /// Cookie that chooses likewise.
    #[schemars(extend("examples" = ["canary"]))]
    pub cookie: Option<String>,
}

/// Testers who are led to the new version whatever the weight, by a header.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderFile {
    /// Requests with this header and the value `always` go to the new version, from when its pods are ready until the
    /// rollout is over.
    #[schemars(extend("examples" = ["X-Canary"]))]
    pub header: Option<String>,
}

/// Copies of requests for the new version, before it answers any.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MirrorFile {
    /// Share of the requests that are copied, 1–100 %. Default: all. A gateway needs the Gateway API 1.3 for less.
    #[schemars(extend("examples" = ["10%"]))]
    pub share: Option<Percent>,
    /// How long gates watch meanwhile.
    #[schemars(extend("examples" = ["10m"]))]
    pub hold: Time,
}

/// How answers tell a component's version: the tag of its image, as a whole word. Exactly one of `header`, `json` and
/// `body`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VersionProbeFile {
    /// Path and query. Required.
    #[schemars(extend("examples" = ["/version"]))]
    pub path: Option<String>,
    /// Host header through the ingress. Default: the host of the target's `ingress`.
    pub host: Option<String>,
    /// The version stands in this header.
    #[schemars(extend("examples" = ["X-Version"]))]
    pub header: Option<String>,
    /// The version stands at this JSON pointer of the body.
    #[schemars(extend("examples" = ["/version"]))]
    pub json: Option<String>,
    /// The version stands somewhere in the body.
    pub body: Option<bool>,
}

/// What a release does about a target that gives no answer.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnreachableFile {
    /// Nothing goes out unless `--without TARGET` leaves it out.
    Block,
    /// It is left out and owed the release: `deployctl resume ENV` brings it there.
    Skip,
}
