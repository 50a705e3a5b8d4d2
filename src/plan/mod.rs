//! Desired objects + what was observed → a plan: a value that is printed, approved, saved, rehearsed and performed.
//!
//! Pure: no IO here, and no clock.

pub mod build;
mod calendar;
pub mod claims;
pub mod compose;
pub mod contest;
pub mod diff;
pub mod file;
pub mod former;
mod hindsight;
pub mod hooks;
pub mod immutable;
pub mod inventory;
pub mod lineage;
pub mod naming;
pub mod order;
pub mod peak;
pub mod router;
mod secrets;
mod site;
pub mod steady;
mod table;
pub mod turns;

use crate::domain::environment::{Environment, OnFailure, OnInterrupt, TrafficClass};
use crate::domain::gitops::Syncer;
use crate::domain::ids::{ComponentId, Revision, RunId, TargetId};
use crate::domain::object::{Object, ObjectRef};
use crate::domain::readiness::ReadinessRule;
use crate::domain::release::{Actor, Debt, RollbackJob, ServingWorkload};
use crate::domain::step::Stage;
use crate::domain::units;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

pub use contest::{Contest, Verdict};

pub use build::{Inputs, Judged, TargetInput, build};

/// A whole deployment (or rollback) as a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// [`crate::domain::release::FORMAT`] of the writer.
    pub format: u32,
    /// Application.
    pub application: String,
    /// Environment.
    pub environment: String,
    /// Namespace of the application's objects.
    pub namespace: String,
    /// Namespace of leases, journals and releases.
    pub state_namespace: String,
    /// Name of the run that performs it.
    pub run: RunId,
    /// Number of the release that it makes.
    pub revision: Revision,
    /// Version of the application.
    pub version: String,
    /// Set when an older release is brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<Revision>,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub by: Actor,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it goes out though the environment is frozen, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Overridden>,
    /// The set of defaults that shaped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The components it was asked for; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentId>,
    /// Fields that are taken over from others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub take: Vec<String>,
    /// Its targets.
    pub targets: BTreeMap<TargetId, TargetPlan>,
    /// Waves of targets.
    pub waves: Vec<Vec<TargetId>>,
    /// Objects that effects refer to by index.
    pub objects: Vec<Object>,
    /// What happens, in order.
    pub stages: Vec<Stage>,
    /// What an operator should know before saying yes.
    pub warnings: Vec<String>,
    /// What bringing an older release back does not undo, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_undone: Vec<String>,
    /// How long it should take.
    #[serde(with = "units::duration")]
    pub expected: Duration,
    /// Bounds of the run.
    pub limits: RunLimits,
    /// The project's own rules for when objects are ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readiness: Vec<ReadinessRule>,
    /// Targets that it leaves out, and what each is owed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub owed: BTreeMap<TargetId, Debt>,
    /// The run whose debt it pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pays: Option<RunId>,
}

/// A freeze that a release passes over, on somebody's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overridden {
    /// What stood against it.
    pub freeze: String,
    /// Why it goes out all the same, from `--override-freeze`.
    pub reason: String,
}

impl std::fmt::Display for Overridden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.reason, self.freeze)
    }
}

/// Bounds that hold while a plan is performed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunLimits {
    /// For the whole run.
    #[serde(with = "units::duration")]
    pub run: Duration,
    /// For pods to become ready, in a rollback too.
    #[serde(with = "units::duration")]
    pub ready: Duration,
    /// Lifetime of the lock without renewal.
    #[serde(with = "units::duration")]
    pub lease: Duration,
    /// What an interrupt does.
    pub on_interrupt: OnInterrupt,
    /// What becomes of earlier waves when a later one fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Releases kept.
    pub history: u32,
}

impl RunLimits {
    /// As the environment says.
    pub(crate) fn of(env: &Environment) -> Self {
        Self {
            run: env.limits.run,
            ready: env.limits.ready,
            lease: env.limits.lease,
            on_interrupt: env.on_interrupt,
            on_failure: env.on_failure,
            history: env.history_limit,
        }
    }
}

/// What the plan knows of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetPlan {
    /// `uid` of the cluster's `kube-system`: a plan is for this cluster and no other.
    pub cluster_uid: String,
    /// Whether users' requests arrive here.
    pub traffic: TrafficClass,
    /// Region name for metric queries.
    pub region: String,
    /// Base URL of the public ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<String>,
    /// Release that serves now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Revision>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_version: Option<String>,
    /// Hash of everything observed that the plan rests on: another one now means that the world moved.
    pub fingerprint: String,
    /// What changes, object by object.
    pub changes: Vec<Change>,
    /// Workloads that serve when all is done.
    pub workloads: BTreeMap<ComponentId, ServingWorkload>,
    /// Inventory of the release: indices into the plan's objects.
    pub inventory: Vec<usize>,
    /// Jobs of the release that run when it is left backwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rollback_jobs: Vec<RollbackJob>,
    /// Context of the kubeconfig that leads to it, for commands that a person types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// What a first release found and took over: put on record as revision 0, so that `rollback` leads back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
    /// Who writes objects of the release here from Git by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub syncers: Vec<Syncer>,
    /// Objects that the server accepted in a dry run while the plan was made, and what it warned of. Not part of a saved
    /// plan: the server may have changed its mind since.
    #[serde(skip)]
    pub tried: BTreeMap<ObjectRef, Vec<String>>,
}

/// Workloads and objects that existed before deployctl.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adopted {
    /// The workload that serves each component.
    pub workloads: BTreeMap<ComponentId, ServingWorkload>,
    /// The objects as they were live: indices into the plan's objects.
    pub objects: Vec<usize>,
}

/// What happens to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Which.
    pub object: ObjectRef,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentId>,
    /// What.
    pub action: Action,
    /// Field by field, for updates; for a Secret under a new name, what differs from the one that it stands for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// Fields that others own, and who gets them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contests: Vec<Contest>,
    /// Why it is deleted and made anew, and what that costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    /// More to say: `adopted from kubectl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// `+ ~ -` and nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// `+`
    Create,
    /// `~`
    Update,
    /// `-/+`: what cannot be changed is deleted and made anew.
    Replace,
    /// `-`
    Delete,
    /// Nothing to do.
    Keep,
}

/// One field's old and new value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// `spec.ports[name=http].port`.
    pub path: String,
    /// Live value; `None`: absent.
    pub from: Option<serde_json::Value>,
    /// Desired value; `None`: removed.
    pub to: Option<serde_json::Value>,
}

impl Plan {
    /// A plan without stages: enough to ask questions of an environment's targets.
    #[must_use]
    pub fn for_asking(env: &Environment, run: RunId, now: Timestamp) -> Self {
        let targets = env.targets.iter().map(|target| {
            let plan = TargetPlan {
                cluster_uid: String::new(),
                traffic: target.traffic,
                region: target.region.clone().unwrap_or_else(|| target.id.to_string()),
                ingress: target.ingress.clone(),
                previous: None,
                previous_version: None,
                fingerprint: String::new(),
                changes: Vec::new(),
                workloads: BTreeMap::new(),
                inventory: Vec::new(),
                rollback_jobs: Vec::new(),
                context: target.cluster.context.clone(),
                adopted: None,
                syncers: Vec::new(),
                tried: BTreeMap::new(),
            };
            (target.id.clone(), plan)
        });
        Self {
            format: crate::domain::release::FORMAT,
            application: env.application.clone(),
            environment: env.name.clone(),
            namespace: env.namespace.clone(),
            state_namespace: env.state_namespace.clone(),
            run,
            revision: Revision::default(),
            version: String::new(),
            rollback_of: None,
            created: now,
            by: Actor { user: String::new(), host: String::new(), ci: None },
            reason: None,
            overridden: None,
            profile: None,
            components: Vec::new(),
            take: Vec::new(),
            targets: targets.collect(),
            waves: env.waves.clone(),
            objects: Vec::new(),
            stages: Vec::new(),
            warnings: Vec::new(),
            not_undone: Vec::new(),
            expected: Duration::ZERO,
            limits: RunLimits::of(env),
            readiness: env.readiness.clone(),
            owed: BTreeMap::new(),
            pays: None,
        }
    }

    /// The part of it that concerns some targets.
    #[must_use]
    pub fn part(&self, concerns: impl Fn(&TargetId) -> bool) -> Self {
        let mut part = self.clone();
        part.targets.retain(|target, _| concerns(target));
        for wave in &mut part.waves {
            wave.retain(&concerns);
        }
        part.waves.retain(|wave| !wave.is_empty());
        for stage in &mut part.stages {
            stage.steps.retain(|step| concerns(&step.target));
        }
        part.stages.retain(|stage| !stage.steps.is_empty());
        part
    }

    /// Whether performing it would change anything.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.targets.values().any(|target| target.changes.iter().any(|change| change.action != Action::Keep))
    }

    /// What is deleted and made anew, with the target.
    pub fn replacements(&self) -> impl Iterator<Item = (&TargetId, &Change)> {
        self.each_change().filter(|(_, change)| change.action == Action::Replace)
    }

    /// Contests that nobody decided, with the target and the object.
    pub fn open_contests(&self) -> impl Iterator<Item = (&TargetId, &ObjectRef, &Contest)> {
        self.each_change().flat_map(|(target, change)| {
            let open = change.contests.iter().filter(|contest| contest.verdict == Verdict::Open);
            open.map(move |contest| (target, &change.object, contest))
        })
    }

    fn each_change(&self) -> impl Iterator<Item = (&TargetId, &Change)> {
        self.targets.iter().flat_map(|(id, target)| target.changes.iter().map(move |change| (id, change)))
    }

    /// Created, updated (or replaced), deleted.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |action| {
            self.targets
                .values()
                .flat_map(|target| &target.changes)
                .filter(|change| change.action == action)
                .count()
        };
        (count(Action::Create), count(Action::Update) + count(Action::Replace), count(Action::Delete))
    }
}
