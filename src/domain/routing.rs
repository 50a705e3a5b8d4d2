//! What carries the weights of a canary, and what else a route does for the new revision.

use crate::domain::units;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What carries the weights of a canary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Router {
    /// The number of pods behind one Service.
    #[default]
    Pods,
    /// A second Ingress with the canary annotations of ingress-nginx.
    Nginx(Testers),
    /// `backendRefs[].weight` of an `HTTPRoute`.
    Gateway(Testers),
    /// Weighted destinations of a `VirtualService`.
    Istio(Testers),
    /// The forward action of an Ingress of the AWS Load Balancer Controller.
    Alb(Testers),
}

impl Router {
    /// Whether weights are written into a route, so that a Service must lead to one revision only.
    #[must_use]
    pub fn is_weighted(&self) -> bool {
        *self != Self::Pods
    }

    /// Who goes to the new revision whatever the weight; `None` where no route tells requests apart.
    #[must_use]
    pub fn testers(&self) -> Option<&Testers> {
        match self {
            Self::Pods => None,
            Self::Nginx(testers) | Self::Gateway(testers) | Self::Istio(testers) | Self::Alb(testers) => {
                Some(testers)
            }
        }
    }

    /// Its name in an environment file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Nginx(_) => "nginx",
            Self::Gateway(_) => "gateway",
            Self::Istio(_) => "istio",
            Self::Alb(_) => "alb",
        }
    }
}

/// Who is sent to the new revision whatever the weight, from the moment that its pods are ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testers {
    /// Requests with this header: `always` leads to the new revision (with ingress-nginx `never` to stable).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Requests with this cookie, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// The new revision gets copies of requests, whose answers nobody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Percent of the requests that are copied, 1–100.
    pub percent: u8,
    /// How long gates watch meanwhile.
    #[serde(with = "units::duration")]
    pub hold: Duration,
}
