//! One pod in one place, before the first weight.

use crate::config::scalar::{Percent, Time};
use schemars::JsonSchema;
use serde::Deserialize;

/// One pod of the new revision before the first weight.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OneBoxFile {
    /// How long gates watch it. Required.
    #[schemars(extend("examples" = ["1h"]))]
    pub bake: Option<Time>,
    /// Largest share of the traffic that a router sends to it, 1–100 %, never more than the first weight or than one pod
    /// carries. Where pods are the router, one pod takes its share of all pods; the plan warns if that is more. Default:
    /// 10 %.
    #[schemars(extend("examples" = ["10%"]))]
    pub max_share: Option<Percent>,
}
