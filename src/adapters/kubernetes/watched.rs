//! The kinds that are watched, and where each has its place in a [`Snapshot`]. Pure.

use crate::adapters::kubernetes::seen::{Meta, SeenEvent, SeenReplicaSet, SeenSlice, SeenWorkload};
use crate::adapters::kubernetes::seen_pod::SeenPod;
use crate::domain::object::ObjectRef;
use crate::domain::observed::{Endpoint, Event, Snapshot};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Warning events that a snapshot keeps.
const WARNINGS: usize = 200;

/// A kind with its place in a snapshot.
pub(crate) trait Watched: DeserializeOwned + Send + 'static {
    const API_VERSION: &'static str;
    const PLURAL: &'static str;
    /// What the server is to leave out.
    const FIELDS: &'static str = "";
    /// What a task must remember beside the snapshot.
    type Memory: Default + Send;

    fn meta(&self) -> &Meta;
    /// Takes all of the kind out.
    fn clear(memory: &mut Self::Memory, snapshot: &mut Snapshot);
    /// Puts one in, or another state of one.
    fn put(self, namespace: &str, memory: &mut Self::Memory, snapshot: &mut Snapshot);
    /// Takes one out.
    fn remove(self, namespace: &str, memory: &mut Self::Memory, snapshot: &mut Snapshot);
    /// Called after a batch of changes, for what is worked out from several objects.
    fn settle(_: &mut Self::Memory, _: &mut Snapshot) {}
}

macro_rules! workload {
    ($name:ident, $api_version:literal, $kind:literal, $plural:literal) => {
        #[derive(Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(SeenWorkload);

        impl Watched for $name {
            const API_VERSION: &'static str = $api_version;
            const PLURAL: &'static str = $plural;
            type Memory = ();

            fn meta(&self) -> &Meta {
                &self.0.metadata
            }

            fn clear((): &mut (), snapshot: &mut Snapshot) {
                snapshot.workloads.retain(|reference, _| reference.kind != $kind);
            }

            fn put(self, namespace: &str, (): &mut (), snapshot: &mut Snapshot) {
                let reference = ObjectRef::new($api_version, $kind, namespace, &self.meta().name);
                snapshot.workloads.insert(reference, self.0.into_domain($kind));
            }

            fn remove(self, namespace: &str, (): &mut (), snapshot: &mut Snapshot) {
                snapshot.workloads.remove(&ObjectRef::new($api_version, $kind, namespace, &self.meta().name));
            }
        }
    };
}

workload!(Deployments, "apps/v1", "Deployment", "deployments");
workload!(StatefulSets, "apps/v1", "StatefulSet", "statefulsets");
workload!(DaemonSets, "apps/v1", "DaemonSet", "daemonsets");
workload!(Jobs, "batch/v1", "Job", "jobs");

#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct ReplicaSets(SeenReplicaSet);

impl Watched for ReplicaSets {
    const API_VERSION: &'static str = "apps/v1";
    const PLURAL: &'static str = "replicasets";
    type Memory = ();

    fn meta(&self) -> &Meta {
        &self.0.metadata
    }

    fn clear((): &mut (), snapshot: &mut Snapshot) {
        snapshot.replica_sets.clear();
    }

    fn put(self, _: &str, (): &mut (), snapshot: &mut Snapshot) {
        snapshot.replica_sets.insert(self.meta().name.clone(), self.0.into_domain());
    }

    fn remove(self, _: &str, (): &mut (), snapshot: &mut Snapshot) {
        snapshot.replica_sets.remove(&self.meta().name);
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Pods(SeenPod);

impl Watched for Pods {
    const API_VERSION: &'static str = "v1";
    const PLURAL: &'static str = "pods";
    type Memory = ();

    fn meta(&self) -> &Meta {
        &self.0.metadata
    }

    fn clear((): &mut (), snapshot: &mut Snapshot) {
        snapshot.pods.clear();
    }

    fn put(self, _: &str, (): &mut (), snapshot: &mut Snapshot) {
        snapshot.pods.insert(self.meta().name.clone(), self.0.into_domain());
    }

    fn remove(self, _: &str, (): &mut (), snapshot: &mut Snapshot) {
        snapshot.pods.remove(&self.meta().name);
    }
}

/// A Service's backends come in several slices (many pods; two IP families): joined when all changes are in.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Slices(SeenSlice);

/// Slices by name, and the Services whose slices changed.
#[derive(Default)]
pub(crate) struct SliceMemory {
    slices: BTreeMap<String, (String, Vec<Endpoint>)>,
    touched: BTreeSet<String>,
}

impl SliceMemory {
    fn forget(&mut self, name: &str) {
        if let Some((service, _)) = self.slices.remove(name) {
            self.touched.insert(service);
        }
    }
}

impl Watched for Slices {
    const API_VERSION: &'static str = "discovery.k8s.io/v1";
    const PLURAL: &'static str = "endpointslices";
    type Memory = SliceMemory;

    fn meta(&self) -> &Meta {
        &self.0.metadata
    }

    fn clear(memory: &mut SliceMemory, snapshot: &mut Snapshot) {
        *memory = SliceMemory::default();
        snapshot.endpoints.clear();
    }

    fn put(self, _: &str, memory: &mut SliceMemory, _: &mut Snapshot) {
        let name = self.meta().name.clone();
        memory.forget(&name);
        let (service, endpoints) = self.0.into_domain();
        memory.touched.insert(service.clone());
        memory.slices.insert(name, (service, endpoints));
    }

    fn remove(self, _: &str, memory: &mut SliceMemory, _: &mut Snapshot) {
        memory.forget(&self.meta().name);
    }

    fn settle(memory: &mut SliceMemory, snapshot: &mut Snapshot) {
        for service in std::mem::take(&mut memory.touched) {
            let mut slices = memory.slices.values().filter(|(of, _)| *of == service).peekable();
            if slices.peek().is_none() {
                snapshot.endpoints.remove(&service);
                continue;
            }
            let mut by_pod: BTreeMap<&str, Endpoint> = BTreeMap::new();
            for endpoint in slices.flat_map(|(_, endpoints)| endpoints) {
                by_pod
                    .entry(&endpoint.pod)
                    .and_modify(|seen| {
                        seen.ready |= endpoint.ready;
                        seen.terminating &= endpoint.terminating;
                    })
                    .or_insert_with(|| endpoint.clone());
            }
            snapshot.endpoints.insert(service, by_pod.into_values().collect());
        }
    }
}

/// Events of type Warning.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Events(SeenEvent);

impl Watched for Events {
    const API_VERSION: &'static str = "v1";
    const PLURAL: &'static str = "events";
    const FIELDS: &'static str = "type=Warning";
    /// By name; a snapshot holds the newest of them.
    type Memory = BTreeMap<String, Event>;

    fn meta(&self) -> &Meta {
        &self.0.metadata
    }

    fn clear(memory: &mut Self::Memory, snapshot: &mut Snapshot) {
        memory.clear();
        snapshot.warnings.clear();
    }

    fn put(self, _: &str, memory: &mut Self::Memory, _: &mut Snapshot) {
        let name = self.meta().name.clone();
        memory.insert(name, self.0.into_domain());
    }

    fn remove(self, _: &str, memory: &mut Self::Memory, _: &mut Snapshot) {
        memory.remove(&self.meta().name);
    }

    fn settle(memory: &mut Self::Memory, snapshot: &mut Snapshot) {
        let mut newest: Vec<(&String, &Event)> = memory.iter().collect();
        newest.sort_by_key(|(name, event)| (event.last, *name));
        let old = newest.len().saturating_sub(WARNINGS);
        snapshot.warnings = newest[old..].iter().map(|(_, event)| (*event).clone()).collect();
        let old: Vec<String> = newest[..old].iter().map(|(name, _)| (*name).clone()).collect();
        for name in old {
            memory.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put<K: Watched>(value: serde_json::Value, memory: &mut K::Memory, snapshot: &mut Snapshot) {
        serde_json::from_value::<K>(value).unwrap().put("n", memory, snapshot);
        K::settle(memory, snapshot);
    }

    fn slice(name: &str, service: &str, pods: &[(&str, bool)]) -> serde_json::Value {
        let endpoints: Vec<_> = pods
            .iter()
            .map(|(pod, ready)| {
                json!({ "addresses": ["10.0.0.1"], "conditions": { "ready": ready },
                        "targetRef": { "kind": "Pod", "name": pod } })
            })
            .collect();
        json!({ "metadata": { "name": name, "labels": { "kubernetes.io/service-name": service } },
                "endpoints": endpoints })
    }

    #[test]
    fn the_slices_of_a_service_are_one_list_of_pods() {
        let (mut memory, mut snapshot) = (SliceMemory::default(), Snapshot::default());
        put::<Slices>(slice("a-4", "a", &[("p1", true), ("p2", false)]), &mut memory, &mut snapshot);
        put::<Slices>(slice("a-6", "a", &[("p1", true), ("p3", true)]), &mut memory, &mut snapshot);
        put::<Slices>(slice("b-4", "b", &[]), &mut memory, &mut snapshot);
        let pods = |s: &Snapshot| s.endpoints["a"].iter().map(|e| e.pod.clone()).collect::<Vec<_>>();
        assert_eq!(pods(&snapshot), ["p1", "p2", "p3"]);
        assert!(snapshot.endpoints["b"].is_empty());

        let gone: Slices = serde_json::from_value(slice("a-6", "a", &[])).unwrap();
        gone.remove("n", &mut memory, &mut snapshot);
        Slices::settle(&mut memory, &mut snapshot);
        assert_eq!(pods(&snapshot), ["p1", "p2"]);
    }

    #[test]
    fn warnings_are_few_and_the_newest_is_last() {
        let (mut memory, mut snapshot) = (BTreeMap::new(), Snapshot::default());
        for n in 0..300 {
            let time = format!("2026-01-01T00:{:02}:{:02}Z", n / 60, n % 60);
            let event = json!({ "metadata": { "name": format!("e{n}") }, "reason": n.to_string(),
                                "lastTimestamp": time });
            put::<Events>(event, &mut memory, &mut snapshot);
        }
        assert_eq!(snapshot.warnings.len(), WARNINGS);
        assert_eq!(snapshot.warnings.last().unwrap().reason, "299");
        assert_eq!(memory.len(), WARNINGS);
    }

    #[test]
    fn a_relist_takes_out_what_is_gone_and_leaves_other_kinds() {
        let mut snapshot = Snapshot::default();
        put::<Deployments>(json!({ "metadata": { "name": "api" } }), &mut (), &mut snapshot);
        put::<Jobs>(json!({ "metadata": { "name": "migrate" } }), &mut (), &mut snapshot);
        Deployments::clear(&mut (), &mut snapshot);
        let left: Vec<String> = snapshot.workloads.keys().map(ToString::to_string).collect();
        assert_eq!(left, ["Job/migrate"]);
    }
}
