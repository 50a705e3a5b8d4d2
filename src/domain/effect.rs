//! What a step does to the world: one closed enum, performed by one exhaustive `match`.

use crate::domain::environment::{SmokeTest, VersionProbe};
use crate::domain::gate::Gate;
use crate::domain::ids::ComponentId;
use crate::domain::object::ObjectRef;
use crate::domain::units;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One thing done to one target. Every effect is idempotent: a resume may repeat it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Effect {
    /// Server-side apply of objects of the plan (by index into the plan's object table), in order.
    Apply {
        /// Indices into the plan's table.
        objects: Vec<usize>,
    },
    /// Create objects that are immutable once made (a revision's Deployment); what exists already is left as it is.
    Create {
        /// Indices into the plan's table.
        objects: Vec<usize>,
    },
    /// Delete objects whose immutable fields differ, foreground, wait until they are gone, and make them anew. What has
    /// the wanted fields already is applied only.
    Replace {
        /// Indices into the plan's table.
        objects: Vec<usize>,
    },
    /// Delete objects, foreground, absent ones passed over.
    Delete {
        /// What to delete.
        objects: Vec<ObjectRef>,
    },
    /// Set a workload's size.
    Scale {
        /// The workload.
        workload: ObjectRef,
        /// How many pods.
        to: Size,
    },
    /// Keep autoscalers from shrinking the workload that they scale: each is applied with a lower bound of the workload's
    /// present size, or of the size that is given, never below its own. Fields that somebody else claims are left to them, and it is told.
    Guard {
        /// Indices into the plan's table: the autoscalers as they are with their own bounds.
        autoscalers: Vec<usize>,
        /// The workload.
        workload: ObjectRef,
        /// The lower bound; the workload's present size if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Size>,
    },
    /// Bring a revision that was shrunk to what it carried back to full size, and the traffic with it, never faster than its
    /// pods become ready: as much at once as those that are ready carry, all at the end. It holds nothing up for ever: when
    /// the time is over, all traffic goes to the pods that there are, if there are any.
    Regrow(Box<Regrow>),
    /// Update part of a `StatefulSet`'s pods, from the highest ordinal down: the object is applied with such a partition
    /// that this share of its present pods (rounded, at least one) gets the new template.
    Partition {
        /// Index into the plan's table.
        object: usize,
        /// 1–100.
        percent: u8,
    },
    /// Wait until a `StatefulSet` is ready; its pods of another template that are not ready are deleted, since its
    /// controller waits for them for ever.
    Unstick {
        /// The workload.
        workload: ObjectRef,
        /// How long at the most.
        #[serde(with = "units::duration")]
        timeout: Duration,
    },
    /// Wait until these workloads are judged healthy at their present size; other objects by their kind's rule.
    WaitReady {
        /// The workloads, or other objects.
        workloads: Vec<ObjectRef>,
        /// How long at the most.
        #[serde(with = "units::duration")]
        timeout: Duration,
    },
    /// Move traffic: apply objects that route it (a Service with another selector, an Ingress with another backend),
    /// each only if nobody else wrote it since it was read.
    Switch {
        /// Indices into the plan's table.
        objects: Vec<usize>,
        /// The workload that receives the traffic, for people.
        to: String,
    },
    /// Divide traffic: apply the route as it is at a weight. On a way back, and at weight 0, it does nothing once the
    /// canary's Services are gone: there is no canary to take traffic from.
    Weigh {
        /// Indices into the plan's table.
        objects: Vec<usize>,
        /// Share of the new revision, 0–100.
        percent: u8,
        /// The Services that lead to the new revision.
        canaries: Vec<ObjectRef>,
        /// Why nobody counts what share really arrives; `None` if a [`Effect::WaitWeight`] follows or none need.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assumed: Option<String>,
    },
    /// Count the answers that come through the public ingress until the share of the new revision is confirmed. On a way
    /// back a share that is not seen is told and holds nothing up.
    WaitWeight {
        /// Share of the new revision, 0–100.
        percent: u8,
        /// The share before, 0–100: what a router that does not follow would go on with.
        before: u8,
        /// The Services that lead to the new revision.
        canaries: Vec<ObjectRef>,
        /// How answers tell the version.
        probe: VersionProbe,
        /// The new revision's version.
        version: String,
        /// How long at the most.
        #[serde(with = "units::duration")]
        timeout: Duration,
    },
    /// Wait until the data plane (`EndpointSlices` of the Service) holds ready pods of this workload and none of others.
    WaitTraffic {
        /// The Service.
        service: ObjectRef,
        /// The workload whose pods alone may serve.
        workload: ObjectRef,
        /// How long at the most.
        #[serde(with = "units::duration")]
        timeout: Duration,
    },
    /// Run a Job of a release that is left to its end, on the way back. One that has ended well is not run again.
    RunJob(Box<RunJob>),
    /// Watch for a time: gates are measured, the workloads' pods are watched for crash loops.
    Hold {
        /// How long.
        #[serde(with = "units::duration")]
        duration: Duration,
        /// Gates measured meanwhile.
        gates: Vec<Gate>,
        /// New and stable workload of each watched component.
        arms: Vec<Arm>,
        /// Smoke tests repeated as synthetic probes, where no users' requests arrive.
        probes: Vec<SmokeTest>,
        /// How long a gate without a verdict, or one that stable breaches too, may prolong the hold.
        #[serde(with = "units::duration")]
        patience: Duration,
        /// What it waits for beside its time.
        #[serde(default, skip_serializing_if = "Until::is_time_alone")]
        until: Until,
        /// New workloads that grow with what their stable ones carry. None shrinks while it is watched.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        follow: Vec<Follow>,
    },
    /// HTTP checks.
    Smoke {
        /// What to ask.
        tests: Vec<SmokeTest>,
        /// Whom to ask.
        via: SmokeVia,
    },
    /// Snapshot an RDS instance and wait until it is available.
    Snapshot {
        /// DB instance identifier.
        instance: String,
        /// Snapshot identifier (fixed by the plan, so that a repeat finds it).
        snapshot: String,
        /// How long at the most.
        #[serde(with = "units::duration")]
        timeout: Duration,
    },
    /// Terraform plan and apply of a folder.
    Terraform {
        /// The folder.
        dir: String,
    },
    /// Pull, stop, start and await a Compose project at a version.
    Compose {
        /// Compose project name.
        project: String,
        /// The images by service.
        images: Vec<(String, String)>,
        /// How long at the most.
        #[serde(with = "units::duration")]
        timeout: Duration,
    },
    /// Keep those from writing who write the release's objects from Git by themselves, until [`Effect::ResumeSync`]. What
    /// is taken from them is written down in them.
    PauseSync {
        /// Argo CD Applications, Flux Kustomizations.
        syncers: Vec<ObjectRef>,
    },
    /// Give back to them what [`Effect::PauseSync`] took, unless another run needs the pause still.
    ResumeSync {
        /// The same.
        syncers: Vec<ObjectRef>,
    },
    /// Note in the target's journal that the run goes on to this wave. Nothing else happens.
    Advance {
        /// 1-based number of the wave.
        wave: usize,
    },
}

/// A Job that undoes what Jobs of a release did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunJob {
    /// Index into the plan's table: the Job, under a name that says which release is left.
    pub job: usize,
    /// Indices into the plan's table: configuration and accounts that it needs. Where the way back has deleted them
    /// already (it runs a second time), they are made for it and go after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<usize>,
    /// Indices into the plan's table: the Jobs that it undoes, if this run makes them. There is nothing to undo where
    /// none of them was ever made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undoes: Vec<usize>,
    /// How long at the most.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
}

/// A revision that was shrunk, and how its traffic returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regrow {
    /// The revision, stable.
    pub workload: ObjectRef,
    /// The revision that carries the rest meanwhile.
    pub beside: ObjectRef,
    /// Its full size.
    pub to: Size,
    /// The `HorizontalPodAutoscaler` that knows whether the load asks for more by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<ObjectRef>,
    /// Indices into the plan's table: its autoscalers with their own bounds, guarded at full size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub autoscalers: Vec<usize>,
    /// The route at falling weights of the other revision, the last of them 0. None where a switch of all traffic
    /// follows: then nothing but the size is waited for.
    pub routes: Vec<Rung>,
    /// The Services that lead to the other revision; no traffic has to be taken from it once they are gone.
    pub canaries: Vec<ObjectRef>,
    /// How long at the most.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
}

/// A route at one weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Share of the new revision, 0–100.
    pub percent: u8,
    /// Indices into the plan's table.
    pub objects: Vec<usize>,
}

/// A workload that keeps up with another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// It.
    pub workload: ObjectRef,
    /// How large it shall be at the least.
    pub to: Size,
}

/// What ends a hold beside its time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Until {
    /// Somebody has to approve: asked for when the time is over and nothing else stands against going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Requests that each component with a gate must have had since the hold began; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub requests: u64,
}

/// A decision that a person makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// How long it is waited for; then the run is rolled back.
    #[serde(with = "units::duration")]
    pub within: Duration,
}

impl Until {
    /// Nothing but time.
    #[must_use]
    pub fn is_time_alone(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_none(pods: &u32) -> bool {
    *pods == 0
}

/// How large a workload shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// This many pods.
    Exactly(u32),
    /// As many as another workload has (its `spec.replicas` when the step runs), at least `floor`.
    SameAs {
        /// The other workload.
        workload: ObjectRef,
        /// Fewest pods.
        floor: u32,
        /// Who knows how many pods the load asks for: as many at the least.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        demand: Option<Demand>,
    },
    /// This part of a workload's size, rounded up, at least 1: `⌈max(its size, floor) · p / 100⌉`.
    PartOf {
        /// The workload, another one or the same.
        workload: ObjectRef,
        /// 1–100.
        percent: u8,
        /// The workload's size counts as this at the least: an autoscaler, or the run, shrinks what traffic leaves.
        floor: u32,
        /// Who knows how many pods the load asks for: the workload's size counts as that at the least.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        demand: Option<Demand>,
        /// Fewest pods, as far as the whole has so many.
        #[serde(default, skip_serializing_if = "is_none")]
        least: u32,
    },
    /// So many that it holds this share beside another workload: `round(other · p / (100 − p))`, at least 1.
    ShareBeside {
        /// The other workload.
        workload: ObjectRef,
        /// 1–99.
        percent: u8,
    },
}

/// An autoscaler that measures stable while stable carries part of the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The `HorizontalPodAutoscaler`.
    pub autoscaler: ObjectRef,
    /// What part of the load stable carries.
    pub carries: Carries,
}

/// What part of a component's load one of its workloads carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carries {
    /// This share, 1–100: a router divides.
    Percent(u8),
    /// That of its pods among its own and those of this workload.
    Beside(ObjectRef),
}

/// The two sides of a comparison for one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// The component.
    pub component: ComponentId,
    /// The workload under test.
    pub new: ObjectRef,
    /// The workload it is compared with; `None` once stable takes no traffic. One that is the new one, too, is updated
    /// in part: its pods are told apart by their templates.
    pub stable: Option<ObjectRef>,
}

impl Arm {
    /// Whether both sides are pods of one workload.
    #[must_use]
    pub fn is_one_workload(&self) -> bool {
        self.stable.as_ref() == Some(&self.new)
    }
}

/// How a smoke test reaches what it tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SmokeVia {
    /// Straight to a ready pod of each component's new workload, through the API server.
    Pods {
        /// New workload by component.
        workloads: Vec<(ComponentId, ObjectRef)>,
    },
    /// The way users come: the test's own `through`.
    Public {
        /// Service by component.
        services: Vec<(ComponentId, ObjectRef)>,
    },
}

impl Effect {
    /// Whether users come to a workload by it.
    #[must_use]
    pub fn leads_users(&self) -> bool {
        matches!(self, Self::Switch { .. }) || matches!(self, Self::Weigh { percent, .. } if *percent > 0)
    }

    /// Whether the effect changes anything (as against waiting, watching, asking).
    #[must_use]
    pub fn writes(&self) -> bool {
        match self {
            Self::Apply { .. }
            | Self::Create { .. }
            | Self::Replace { .. }
            | Self::Delete { .. }
            | Self::Scale { .. }
            | Self::Guard { .. }
            | Self::Regrow(_)
            | Self::Partition { .. }
            | Self::Unstick { .. }
            | Self::RunJob(_)
            | Self::Switch { .. }
            | Self::Weigh { .. }
            | Self::Snapshot { .. }
            | Self::Terraform { .. }
            | Self::PauseSync { .. }
            | Self::ResumeSync { .. }
            | Self::Compose { .. } => true,
            Self::WaitReady { .. }
            | Self::WaitTraffic { .. }
            | Self::WaitWeight { .. }
            | Self::Hold { .. }
            | Self::Smoke { .. }
            | Self::Advance { .. } => false,
        }
    }
}
