//! What carries a canary's weights, and how the share that arrives is counted.

use schemars::JsonSchema;
use serde::Deserialize;

/// What carries the weights of a canary.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RouterFile {
    /// By name.
    Named(RouterName),
    /// With settings.
    Detailed(RouterDetail),
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
    pub nginx: Option<NginxFile>,
}

/// Settings of the nginx router.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NginxFile {
    /// Header that chooses whatever the weight: `always` leads to the new version, `never` to the old one.
    #[schemars(extend("examples" = ["X-Canary"]))]
    pub header: Option<String>,
    /// Cookie that chooses likewise.
    #[schemars(extend("examples" = ["canary"]))]
    pub cookie: Option<String>,
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
