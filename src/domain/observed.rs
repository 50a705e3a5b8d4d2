//! What was seen in a cluster, cut down to what judging needs.

use crate::domain::object::ObjectRef;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Label that ties a pod of a `StatefulSet` to the template it was made from.
pub const LABEL_TEMPLATE_HASH: &str = "controller-revision-hash";

/// The state of one namespace as the watches last told it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with every change that a watch delivered.
    pub version: u64,
    /// Whether every kind has been listed once (or is in `unseen`).
    pub synced: bool,
    /// Since when a watch has had no contact: what is told here may be older than that. `None` when all watch.
    pub stale_since: Option<Instant>,
    /// Kinds that the server does not let us watch, and its words: nothing of them is here.
    pub unseen: BTreeMap<String, String>,
    /// Deployments, `StatefulSets`, `DaemonSets` and Jobs by reference.
    pub workloads: BTreeMap<ObjectRef, Workload>,
    /// `ReplicaSets` by name.
    pub replica_sets: BTreeMap<String, ReplicaSet>,
    /// Pods by name.
    pub pods: BTreeMap<String, Pod>,
    /// Ready pods by Service name, from its `EndpointSlices`.
    pub endpoints: BTreeMap<String, Vec<Endpoint>>,
    /// Warning events, newest last, of a bounded number.
    pub warnings: Vec<Event>,
}

/// A workload's own account of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// `spec.replicas` (Deployment, `StatefulSet`) or the wanted number (`DaemonSet`, Job).
    pub desired: u32,
    /// `status.replicas`: all pods, old ones too.
    pub total: u32,
    /// Pods of the newest template.
    pub updated: u32,
    /// Ready pods.
    pub ready: u32,
    /// Pods ready for `minReadySeconds`.
    pub available: u32,
    /// Jobs: pods that ended well.
    pub succeeded: u32,
    /// Jobs: pods that ended badly.
    pub failed: u32,
    /// How many of its pods its own strategy lets be away at once (`maxUnavailable` of a Deployment or `DaemonSet`).
    pub tolerance: u32,
    /// `StatefulSets`: pods below this number keep the template before.
    pub partition: u32,
    /// `StatefulSets`: one pod after the other, so that a broken one holds up all that follow.
    pub ordered: bool,
    /// Pods get the newest template only when somebody deletes them (`OnDelete`).
    pub on_delete: bool,
    /// `spec.paused` of a Deployment, `spec.suspend` of a Job.
    pub paused: bool,
    /// When anything but its status was last written, in the server's time: older events speak of something else.
    pub changed: Option<Timestamp>,
    /// Conditions: type → (status, reason, message).
    pub conditions: BTreeMap<String, Condition>,
    /// What its newest pods share: `deployment.kubernetes.io/revision` of a Deployment (and its newest `ReplicaSet`),
    /// `status.updateRevision` of a `StatefulSet`.
    pub rollout_revision: String,
}

/// One entry of `status.conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// Machine-readable cause.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// A `ReplicaSet`, as the link between Deployment and Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaSet {
    /// `metadata.uid`.
    pub uid: String,
    /// `uid` of the Deployment that owns it.
    pub owner_uid: String,
    /// `deployment.kubernetes.io/revision`.
    pub rollout_revision: String,
    /// `spec.replicas`.
    pub desired: u32,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// `status.replicas`.
    pub total: u32,
    /// `status.readyReplicas`.
    pub ready: u32,
    /// Conditions by type.
    pub conditions: BTreeMap<String, Condition>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// `uid` of the controller that owns it.
    pub owner_uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `status.phase`.
    pub phase: String,
    /// Condition `Ready` is `True`.
    pub ready: bool,
    /// A deletion timestamp is set.
    pub terminating: bool,
    /// Where it runs.
    pub node: String,
    /// Why it cannot be scheduled, from condition `PodScheduled`.
    pub unschedulable: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Why it is away through no fault of its own: evicted, preempted, its node gone or drained.
    pub disrupted: Option<String>,
    /// `status.message`, or the reason if there is none.
    pub message: String,
    /// What all its containers request together: resource → thousandths of its unit.
    pub requests: BTreeMap<String, u64>,
    /// Its containers, init containers first.
    pub containers: Vec<Container>,
}

/// A container's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Passed its readiness probe.
    pub ready: bool,
    /// `restartCount`.
    pub restarts: u32,
    /// Reason and message it waits for: `CrashLoopBackOff`, `ImagePullBackOff`, …
    pub waiting: Option<(String, String)>,
    /// Exit code and reason of the last run that ended.
    pub last_exit: Option<(i32, String)>,
    /// Its termination message, empty if it left none.
    pub exit_message: String,
    /// It runs before the others and ends.
    pub init: bool,
    /// It has ended and was not started again.
    pub ended: bool,
    /// What its probes ask: `readiness` → `GET /ready on port 8080`.
    pub probes: BTreeMap<String, String>,
}

/// The objects that a wait asked for, as a watch last told them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveObjects {
    /// Those that exist.
    pub objects: BTreeMap<ObjectRef, Value>,
    /// Those that have been looked for at least once.
    pub looked_for: BTreeSet<ObjectRef>,
    /// Those that the server does not let us see, and its words.
    pub unseen: BTreeMap<ObjectRef, String>,
}

/// What a node has to give and what its pods have asked for already, in thousandths of each resource's unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRoom {
    /// The node's name.
    pub name: String,
    /// It takes new pods (not cordoned, and ready).
    pub open: bool,
    /// `status.allocatable`.
    pub allocatable: BTreeMap<String, u64>,
    /// The sum of the requests of its pods.
    pub requested: BTreeMap<String, u64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What keeps pods off it.
    pub taints: Vec<Taint>,
}

/// What keeps pods off a node that do not tolerate it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value, often empty.
    pub value: String,
    /// `NoSchedule`, `NoExecute`, `PreferNoSchedule`.
    pub effect: String,
}

/// One backend of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Pod behind it.
    pub pod: String,
    /// Takes new connections.
    pub ready: bool,
    /// Is going away.
    pub terminating: bool,
}

/// A Kubernetes Event of type Warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `Kind/name` it is about.
    pub about: String,
    /// `FailedCreate`, `BackOff`, …
    pub reason: String,
    /// For people.
    pub message: String,
    /// How often.
    pub count: u32,
    /// When last.
    pub last: Option<Timestamp>,
}

impl Snapshot {
    /// The pods of a workload that belong to its newest template, by name.
    #[must_use]
    pub fn current_pods<'a>(&'a self, workload: &ObjectRef) -> Vec<(&'a str, &'a Pod)> {
        let Some(owner) = self.workloads.get(workload) else { return Vec::new() };
        let owners: Vec<&str> = if workload.kind == "Deployment" {
            self.replica_sets
                .values()
                .filter(|rs| rs.owner_uid == owner.uid && rs.rollout_revision == owner.rollout_revision)
                .map(|rs| rs.uid.as_str())
                .collect()
        } else {
            vec![owner.uid.as_str()]
        };
        self.pods
            .iter()
            .filter(|(_, pod)| owners.contains(&pod.owner_uid.as_str()))
            .filter(|(_, pod)| {
                let made_from = pod.labels.get(LABEL_TEMPLATE_HASH);
                workload.kind != "StatefulSet"
                    || owner.rollout_revision.is_empty()
                    || made_from.is_none_or(|hash| *hash == owner.rollout_revision)
            })
            .map(|(name, pod)| (name.as_str(), pod))
            .collect()
    }

    /// Names of a workload's pods by whether they are of its newest template, ready or not.
    #[must_use]
    pub fn pods_by_template(&self, workload: &ObjectRef, newest: bool) -> Vec<&str> {
        let Some(owner) = self.workloads.get(workload) else { return Vec::new() };
        let current: Vec<&str> = self.current_pods(workload).into_iter().map(|(name, _)| name).collect();
        if newest {
            return current;
        }
        let own = self.pods.iter().filter(|(_, pod)| pod.owner_uid == owner.uid);
        own.map(|(name, _)| name.as_str()).filter(|name| !current.contains(name)).collect()
    }

    /// Names of the `ReplicaSets` that hold a Deployment's newest template.
    #[must_use]
    pub fn current_replica_sets(&self, workload: &ObjectRef) -> Vec<&str> {
        let Some(owner) = self.workloads.get(workload) else { return Vec::new() };
        self.replica_sets
            .iter()
            .filter(|(_, rs)| rs.owner_uid == owner.uid && rs.rollout_revision == owner.rollout_revision)
            .map(|(name, _)| name.as_str())
            .collect()
    }
}
