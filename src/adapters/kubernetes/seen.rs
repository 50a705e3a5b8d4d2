//! The parts of watched objects that judging needs, read straight from the server's JSON, and what they are in the
//! domain's words. Pure.

use crate::domain::observed::{Condition, Endpoint, Event, ReplicaSet, Workload};
use crate::domain::secret::redact;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// `metadata`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Meta {
    pub name: String,
    pub resource_version: String,
    uid: String,
    generation: i64,
    pub(super) deletion_timestamp: Option<IgnoredAny>,
    pub(super) labels: BTreeMap<String, String>,
    annotations: Annotations,
    owner_references: Vec<Owner>,
    pub(super) creation_timestamp: Option<Timestamp>,
    managed_fields: Vec<Written>,
}

/// One entry of `managedFields`: who wrote is of no interest here, when is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    subresource: String,
    time: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "deployment.kubernetes.io/revision")]
    revision: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Owner {
    uid: String,
    controller: bool,
}

impl Meta {
    /// When anything but the status was last written.
    fn changed(&self) -> Option<Timestamp> {
        let writes = self.managed_fields.iter().filter(|entry| entry.subresource != "status");
        writes.filter_map(|entry| entry.time).max().or(self.creation_timestamp)
    }

    pub(super) fn controller(&self) -> String {
        self.owner_references.iter().find(|owner| owner.controller).map(|o| o.uid.clone()).unwrap_or_default()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenCondition {
    pub(super) r#type: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

fn conditions(seen: Vec<SeenCondition>) -> BTreeMap<String, Condition> {
    seen.into_iter()
        .map(|c| {
            (c.r#type, {
                let message = redact(&c.message).into_owned();
                Condition { status: c.status, reason: c.reason, message }
            })
        })
        .collect()
}

/// Deployment, `StatefulSet`, `DaemonSet` or Job: the numbers of all four under their own names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SeenWorkload {
    pub metadata: Meta,
    spec: WorkloadSpec,
    status: WorkloadStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WorkloadSpec {
    replicas: Option<u32>,
    completions: Option<u32>,
    parallelism: Option<u32>,
    paused: bool,
    suspend: bool,
    pod_management_policy: String,
    /// Of a Deployment.
    strategy: UpdateStrategy,
    /// Of a `StatefulSet` or `DaemonSet`.
    update_strategy: UpdateStrategy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct UpdateStrategy {
    r#type: String,
    rolling_update: Option<RollingUpdate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RollingUpdate {
    max_unavailable: Option<NumberOrPercent>,
    partition: u32,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NumberOrPercent {
    Number(u32),
    Percent(String),
}

impl UpdateStrategy {
    /// `maxUnavailable` of so many pods; percentages are rounded down, as the controllers do.
    fn max_unavailable(&self, of: u32) -> u32 {
        match self.rolling_update.as_ref().and_then(|rolling| rolling.max_unavailable.as_ref()) {
            Some(NumberOrPercent::Number(number)) => *number,
            Some(NumberOrPercent::Percent(text)) => {
                let percent: u64 = text.trim_end_matches('%').parse().unwrap_or(0);
                (u64::from(of) * percent / 100) as u32
            }
            None => 0,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WorkloadStatus {
    observed_generation: i64,
    replicas: u32,
    updated_replicas: u32,
    ready_replicas: u32,
    available_replicas: u32,
    update_revision: String,
    desired_number_scheduled: u32,
    current_number_scheduled: u32,
    updated_number_scheduled: u32,
    number_ready: u32,
    number_available: u32,
    active: u32,
    ready: u32,
    succeeded: u32,
    failed: u32,
    conditions: Vec<SeenCondition>,
}

impl SeenWorkload {
    /// As the domain sees a workload of this kind.
    pub(crate) fn into_domain(self, kind: &str) -> Workload {
        let Self { metadata, spec, status } = self;
        let counted = match kind {
            "DaemonSet" => Workload {
                desired: status.desired_number_scheduled,
                total: status.current_number_scheduled,
                updated: status.updated_number_scheduled,
                ready: status.number_ready,
                available: status.number_available,
                ..Workload::default()
            },
            "Job" => Workload {
                desired: spec.completions.or(spec.parallelism).unwrap_or(1),
                total: status.active + status.succeeded + status.failed,
                updated: status.active + status.succeeded + status.failed,
                ready: status.ready,
                available: status.ready,
                succeeded: status.succeeded,
                failed: status.failed,
                ..Workload::default()
            },
            _ => Workload {
                desired: spec.replicas.unwrap_or(1),
                total: status.replicas,
                updated: status.updated_replicas,
                ready: status.ready_replicas,
                available: status.available_replicas,
                ..Workload::default()
            },
        };
        let strategy = if kind == "Deployment" { &spec.strategy } else { &spec.update_strategy };
        Workload {
            changed: metadata.changed(),
            tolerance: strategy.max_unavailable(counted.desired),
            partition: strategy.rolling_update.as_ref().map_or(0, |rolling| rolling.partition),
            ordered: kind == "StatefulSet" && spec.pod_management_policy != "Parallel",
            on_delete: strategy.r#type == "OnDelete",
            paused: spec.paused || spec.suspend,
            uid: metadata.uid,
            generation: metadata.generation,
            // A Job's spec does not change what is running: there is nothing to observe anew.
            observed_generation: if kind == "Job" { metadata.generation } else { status.observed_generation },
            conditions: conditions(status.conditions),
            rollout_revision: match kind {
                "StatefulSet" => status.update_revision,
                _ => metadata.annotations.revision,
            },
            ..counted
        }
    }
}

/// A `ReplicaSet`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SeenReplicaSet {
    pub metadata: Meta,
    spec: WorkloadSpec,
    status: WorkloadStatus,
}

impl SeenReplicaSet {
    pub(crate) fn into_domain(self) -> ReplicaSet {
        ReplicaSet {
            owner_uid: self.metadata.controller(),
            generation: self.metadata.generation,
            observed_generation: self.status.observed_generation,
            total: self.status.replicas,
            ready: self.status.ready_replicas,
            conditions: conditions(self.status.conditions),
            uid: self.metadata.uid,
            rollout_revision: self.metadata.annotations.revision,
            desired: self.spec.replicas.unwrap_or(1),
        }
    }
}

/// A part of a Service's endpoints.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SeenSlice {
    pub metadata: Meta,
    // Written as `null` when there are none.
    endpoints: Option<Vec<SeenEndpoint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SeenEndpoint {
    addresses: Vec<String>,
    conditions: EndpointConditions,
    target_ref: Option<Target>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EndpointConditions {
    ready: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    kind: String,
    name: String,
}

impl SeenSlice {
    /// The Service and its backends in this slice.
    pub(crate) fn into_domain(mut self) -> (String, Vec<Endpoint>) {
        let service = self.metadata.labels.remove("kubernetes.io/service-name").unwrap_or_default();
        let endpoints = self.endpoints.unwrap_or_default().into_iter().map(|seen| {
            let pod = seen.target_ref.filter(|target| target.kind == "Pod").map(|target| target.name);
            Endpoint {
                // What is no pod (a hand-made slice) is known by its address.
                pod: pod.or_else(|| seen.addresses.into_iter().next()).unwrap_or_default(),
                // The API: "a nil value should be interpreted as true".
                ready: seen.conditions.ready.unwrap_or(true),
                terminating: seen.conditions.terminating.unwrap_or(false),
            }
        });
        (service, endpoints.collect())
    }
}

/// An Event.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SeenEvent {
    pub metadata: Meta,
    involved_object: Target,
    reason: String,
    message: String,
    count: Option<u32>,
    first_timestamp: Option<Timestamp>,
    last_timestamp: Option<Timestamp>,
    event_time: Option<Timestamp>,
    series: Option<Series>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Series {
    count: u32,
    last_observed_time: Option<Timestamp>,
}

impl SeenEvent {
    pub(crate) fn into_domain(self) -> Event {
        // Two generations of the Events API fill in different fields.
        let series = self.series.unwrap_or_default();
        Event {
            about: format!("{}/{}", self.involved_object.kind, self.involved_object.name),
            reason: self.reason,
            message: redact(&self.message).into_owned(),
            count: self.count.unwrap_or_default().max(series.count).max(1),
            last: series
                .last_observed_time
                .or(self.last_timestamp)
                .or(self.event_time)
                .or(self.first_timestamp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_deployment_is_read() {
        let seen: SeenWorkload = serde_json::from_value(json!({
            "metadata": { "name": "api", "uid": "u", "generation": 3, "resourceVersion": "9",
                          "annotations": { "deployment.kubernetes.io/revision": "2", "x": "y" } },
            "spec": { "replicas": 4, "template": {} },
            "status": { "observedGeneration": 2, "replicas": 5, "updatedReplicas": 1, "readyReplicas": 4,
                        "availableReplicas": 3, "conditions": [
                            { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                              "message": "late", "lastUpdateTime": "2026-01-01T00:00:00Z" }] },
        }))
        .unwrap();
        let workload = seen.into_domain("Deployment");
        let numbers =
            (workload.desired, workload.total, workload.updated, workload.ready, workload.available);
        assert_eq!(numbers, (4, 5, 1, 4, 3));
        assert_eq!((workload.generation, workload.observed_generation), (3, 2));
        assert_eq!(workload.rollout_revision, "2");
        assert_eq!(workload.conditions["Progressing"].reason, "ProgressDeadlineExceeded");
    }

    #[test]
    fn each_kind_counts_in_its_own_words() {
        let daemon = json!({ "status": { "desiredNumberScheduled": 6, "currentNumberScheduled": 5,
            "updatedNumberScheduled": 4, "numberReady": 3, "numberAvailable": 2, "observedGeneration": 1 } });
        let seen: SeenWorkload = serde_json::from_value(daemon).unwrap();
        let w = seen.into_domain("DaemonSet");
        assert_eq!((w.desired, w.total, w.updated, w.ready, w.available), (6, 5, 4, 3, 2));

        let job = json!({ "metadata": { "generation": 1 }, "spec": { "completions": 2 },
                          "status": { "active": 1, "ready": 1, "succeeded": 1, "failed": 3 } });
        let seen: SeenWorkload = serde_json::from_value(job).unwrap();
        let w = seen.into_domain("Job");
        assert_eq!((w.desired, w.total, w.ready, w.succeeded, w.observed_generation), (2, 5, 1, 1, 1));

        let set = json!({ "spec": {}, "status": { "updateRevision": "db-5f6" } });
        let seen: SeenWorkload = serde_json::from_value(set).unwrap();
        let w = seen.into_domain("StatefulSet");
        assert_eq!((w.desired, w.rollout_revision.as_str()), (1, "db-5f6"));
    }

    #[test]
    fn slices_without_endpoints_and_without_pods_are_read() {
        let none: SeenSlice = serde_json::from_value(json!({
            "metadata": { "labels": { "kubernetes.io/service-name": "api" } }, "endpoints": null, "ports": null,
        }))
        .unwrap();
        assert_eq!(none.into_domain(), ("api".to_owned(), Vec::new()));
        let some: SeenSlice = serde_json::from_value(json!({ "endpoints": [
            { "addresses": ["10.0.0.1"], "conditions": {}, "targetRef": { "kind": "Pod", "name": "p" } },
            { "addresses": ["10.0.0.2"], "conditions": { "ready": false, "terminating": true } },
        ] }))
        .unwrap();
        let (_, endpoints) = some.into_domain();
        assert_eq!(endpoints[0], Endpoint { pod: "p".into(), ready: true, terminating: false });
        assert_eq!(endpoints[1], Endpoint { pod: "10.0.0.2".into(), ready: false, terminating: true });
    }

    #[test]
    fn events_of_both_generations_are_read() {
        let old: SeenEvent = serde_json::from_value(json!({
            "involvedObject": { "kind": "Pod", "name": "p" }, "reason": "BackOff", "message": "m", "count": 7,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:01:00Z", "eventTime": null,
        }))
        .unwrap();
        let event = old.into_domain();
        assert_eq!((event.about.as_str(), event.count), ("Pod/p", 7));
        assert_eq!(event.last.unwrap().to_string(), "2026-01-01T00:01:00Z");
        let new: SeenEvent = serde_json::from_value(json!({
            "involvedObject": { "kind": "Pod", "name": "p" }, "reason": "FailedScheduling",
            "eventTime": "2026-01-01T00:00:00.123456Z", "lastTimestamp": null,
            "series": { "count": 3, "lastObservedTime": "2026-01-01T00:05:00.000000Z" },
        }))
        .unwrap();
        let event = new.into_domain();
        assert_eq!(event.count, 3);
        assert_eq!(event.last.unwrap().to_string(), "2026-01-01T00:05:00Z");
    }
}
