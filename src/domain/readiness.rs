//! A project's own rules for when an object is ready, for kinds that this program knows nothing of (or to overrule what
//! it knows).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// When objects of one kind are ready, and when they have failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadinessRule {
    /// `postgresql.cnpg.io/v1`; a group alone (`postgresql.cnpg.io`) stands for all its versions.
    pub api_version: String,
    /// `Cluster`.
    pub kind: String,
    /// What must hold for it to be ready.
    pub ready: ReadyTest,
    /// What says that it will not come right by waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<ReadyTest>,
}

/// One thing that a live object can show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadyTest {
    /// It exists: nothing more is asked.
    Exists,
    /// A condition of `status.conditions` has this status.
    Condition {
        /// Its type.
        name: String,
        /// `True`, `False` or `Unknown`.
        status: String,
    },
    /// A field has this value.
    Field {
        /// `status.phase`.
        path: String,
        /// What it must be.
        value: Value,
    },
}

impl ReadinessRule {
    /// Whether the rule speaks of this kind.
    #[must_use]
    pub fn covers(&self, api_version: &str, kind: &str) -> bool {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let same = self.api_version == api_version || (!group.is_empty() && self.api_version == group);
        same && self.kind == kind
    }
}
