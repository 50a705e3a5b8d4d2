//! A release: what an environment ran, on whose word, and how it got there.

use crate::domain::ids::{ComponentId, Revision, RunId, TargetId};
use crate::domain::object::{Object, ObjectRef};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the stored format of releases, plans and journals. A newer one is refused.
///
/// 2: journals that tell what operators asked, which freeze was overridden, and which targets are owed a way back.
pub const FORMAT: u32 = 2;

/// The format that a stored record names, whatever else it holds.
///
/// # Errors
/// It is no record, or names none.
pub fn format_of(content: &[u8]) -> serde_json::Result<u32> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    serde_json::from_slice(content).map(|head: Head| head.format)
}

/// The record of one release on one target. Created once, when a run ends; never rewritten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The environment's own number.
    pub revision: Revision,
    /// Which target this record speaks of.
    pub target: TargetId,
    /// Version of the application.
    pub version: String,
    /// How the run ended here.
    pub outcome: Outcome,
    /// Why, in one line, when it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The run that made it.
    pub run: RunId,
    /// User, host, CI link.
    pub by: Actor,
    /// Why it was done, from `--reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it went out though the environment was frozen, from `--override-freeze`, and what stood against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<String>,
    /// When the run began.
    pub started: Timestamp,
    /// When the run ended.
    pub ended: Timestamp,
    /// Set when this release brought an older one back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<Revision>,
    /// The workload that serves each component.
    pub workloads: BTreeMap<ComponentId, ServingWorkload>,
    /// Every object of the release as it was applied (the inventory for pruning and rollback).
    pub objects: Vec<Object>,
    /// Jobs that are no part of `objects`: they run when the release is left backwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rollback_jobs: Vec<RollbackJob>,
    /// What was seen when it failed: pod states, events, logs, gate values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// What operators asked of the run while it went on, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<String>,
    /// Backups made before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<String>,
    /// Targets that were left out, and what each is owed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub owed: BTreeMap<TargetId, Debt>,
    /// The run whose debt to this target it pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pays: Option<RunId>,
}

/// A Job that undoes what the Jobs of its component did in a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackJob {
    /// The Job as it was rendered, under the name in its manifest.
    pub job: Object,
    /// Whether there is something to undo: Jobs of the component ran for this release, or for the one that it brought
    /// back.
    pub due: bool,
}

/// What a target that was left out of a run is to get later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Debt {
    /// The run that left it out.
    pub run: RunId,
    /// The release that it made elsewhere.
    pub revision: Revision,
    /// Its version.
    pub version: String,
    /// What the target is to get.
    pub due: Due,
}

/// What is owed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Due {
    /// The release that the others have.
    Release {
        /// The components it was asked for; all if empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        components: Vec<ComponentId>,
        /// Its objects as they were rendered for this target, before they are named.
        objects: Vec<Object>,
    },
    /// The way back to this release, which the others have gone.
    Back {
        /// The release to bring back.
        to: Revision,
    },
}

impl std::fmt::Display for Debt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.due {
            Due::Release { .. } => write!(f, "{} ({})", self.revision, self.version),
            Due::Back { to } => write!(f, "the way back to {to} ({})", self.version),
        }
    }
}

/// Which workload serves a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServingWorkload {
    /// The workload.
    pub workload: ObjectRef,
    /// The revision in its name and selector; `None` for a workload that is changed in place.
    pub revision: Option<Revision>,
    /// Its image.
    pub image: String,
    /// Hash of the pod template and size rules: equal means that nothing has to roll.
    pub hash: String,
    /// Pods that it starts with, and has where no autoscaler decides: whoever brings it back when the environment knows
    /// the component no more needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
}

/// How a run ended on a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Healthy on the new release.
    Deployed,
    /// Failed; everything is back as it was.
    RolledBack,
    /// Failed, and something could not be put back.
    Broken,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Login name.
    pub user: String,
    /// Machine.
    pub host: String,
    /// Link to the CI job, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci: Option<String>,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.user, self.host)
    }
}
