//! Whether those who answer can carry what is sent to them: now, and once what was written has come about.

use std::collections::BTreeMap;
use std::fmt;

use super::Invariant;
use crate::sim::active::revision_number;
use crate::sim::cluster::{Cluster, lock};
use crate::sim::kube::controllers::object;
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::{Key, Store, Stored};
use crate::sim::traffic::plane::ServiceName;

/// What a breach is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    pub invariant: Invariant,
    /// Component, or name of a budget.
    pub name: String,
    pub service: Option<ServiceName>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = self.service.as_ref().map_or("", |(_, name)| name.as_str());
        match self.invariant {
            Invariant::Weights => write!(f, "the weights of {} do not sum to 100", self.name),
            Invariant::Endpoints => write!(f, "{service} has traffic of {} and no ready endpoint", self.name),
            Invariant::Capacity => write!(f, "{service} cannot carry what it gets of {}", self.name),
            _ => write!(f, "{} is breached", self.name),
        }
    }
}

/// Workload behind a pod: kind, namespace, name.
type Owner = (KindId, String, String);

/// Breaches by the endpoints as they are.
pub(super) fn present(cluster: &Cluster) -> BTreeMap<Subject, String> {
    let plane = cluster.traffic.newest();
    breaches(cluster, &|service| plane.endpoints_of(service).len())
}

/// Breaches once everything that was written has come about: by selectors, and by the sizes that workloads shall have.
pub(super) fn promised(cluster: &Cluster) -> BTreeMap<Subject, String> {
    let store = lock(&cluster.store);
    let ready = ready_pods(&store);
    let mut found = breaches(cluster, &|service| {
        let key = Key::new(KindId::SERVICES, &service.0, &service.1);
        let Some(object) = store.get(&key) else { return 0 };
        let selector = object::at(&object, &["spec", "selector"]);
        if selector.is_null() {
            return cluster.traffic.newest().endpoints_of(service).len();
        }
        remaining(&store, &ready, &service.0, |labels| object::selects_plain(selector, labels))
    });
    for budget in store.iter(KindId::POD_DISRUPTION_BUDGETS, None) {
        let namespace = object::namespace(budget);
        let selector = object::at(budget, &["spec", "selector"]);
        let Some(least) = object::number(budget, &["spec", "minAvailable"]) else { continue };
        let left = remaining(&store, &ready, namespace, |labels| object::selects(selector, labels));
        if (left as i64) < least {
            let name = format!("PodDisruptionBudget/{}", object::name(budget));
            let what = format!("{left} pods are left, {name} wants {least}");
            found.insert(Subject { invariant: Invariant::Available, name, service: None }, what);
        }
    }
    found
}

fn breaches(cluster: &Cluster, ready: &dyn Fn(&ServiceName) -> usize) -> BTreeMap<Subject, String> {
    let mut found = BTreeMap::new();
    for burden in cluster.traffic.burdens() {
        let subject = |invariant, service: Option<&ServiceName>| Subject {
            invariant,
            name: burden.component.clone(),
            service: service.cloned(),
        };
        if (burden.sum - 100.0).abs() > 0.01 {
            let what = format!("the weights of {} sum to {}", burden.component, burden.sum);
            found.insert(subject(Invariant::Weights, None), what);
        }
        for (service, percent) in burden.weights.iter().filter(|(_, percent)| *percent > 0.0) {
            let pods = ready(service);
            let (carried, capacity) = (burden.rps * percent / 100.0, pods as f64 * burden.pod_capacity);
            let name = &service.1;
            if pods == 0 {
                let what = format!("{name} has {percent} % of {} and no ready endpoint", burden.component);
                found.insert(subject(Invariant::Endpoints, Some(service)), what);
            } else if carried > capacity {
                let what = format!(
                    "{name} gets {carried:.0} requests/s of {} and has {pods} pods for {capacity:.0}",
                    burden.component
                );
                found.insert(subject(Invariant::Capacity, Some(service)), what);
            }
        }
    }
    found
}

/// Ready pods, by namespace, with their labels and their owner.
fn ready_pods(store: &Store) -> Vec<(&std::sync::Arc<Stored>, Owner)> {
    let ready = |pod: &&std::sync::Arc<Stored>| object::ready(pod) && !object::deleting(pod);
    let owned = store.iter(KindId::PODS, None).filter(ready).filter_map(|pod| Some((pod, owner(pod)?)));
    owned.collect()
}

/// The workload that decides how many there are of a pod.
fn owner(pod: &Stored) -> Option<Owner> {
    let controller = object::controller_of(pod)?;
    let (name, namespace) = (object::text(controller, &["name"]), object::namespace(pod).to_owned());
    match object::text(controller, &["kind"]) {
        "ReplicaSet" => {
            let deployment = name.rsplit_once('-').map_or(name, |(deployment, _)| deployment);
            Some((KindId::DEPLOYMENTS, namespace, deployment.to_owned()))
        }
        "StatefulSet" => Some((KindId::STATEFUL_SETS, namespace, name.to_owned())),
        _ => None,
    }
}

/// How many of the ready pods with such labels remain when every workload has the size that it shall have.
fn remaining(
    store: &Store,
    ready: &[(&std::sync::Arc<Stored>, Owner)],
    namespace: &str,
    wanted: impl Fn(&serde_json::Value) -> bool,
) -> usize {
    let mut by_owner: BTreeMap<&Owner, usize> = BTreeMap::new();
    for (pod, owner) in ready {
        if object::namespace(pod) == namespace && wanted(object::at(pod, &["metadata", "labels"])) {
            *by_owner.entry(owner).or_default() += 1;
        }
    }
    let size = |(kind, namespace, name): &Owner| {
        let workload = store.lookup(*kind, namespace, name);
        workload.map_or(0, |workload| {
            object::number(workload, &["spec", "replicas"]).unwrap_or(1).max(0) as usize
        })
    };
    by_owner.into_iter().map(|(owner, count)| count.min(size(owner))).sum()
}

/// Ready endpoints of each Service that has traffic.
pub(super) fn endpoints(cluster: &Cluster) -> Vec<(ServiceName, usize)> {
    let plane = cluster.traffic.newest();
    let burdens = cluster.traffic.burdens();
    let services = burdens.into_iter().flat_map(|burden| burden.weights).map(|(service, _)| service);
    services.map(|service| (service.clone(), plane.endpoints_of(&service).len())).collect()
}

/// Ready pods of each component with users.
pub(super) fn sizes(cluster: &Cluster) -> BTreeMap<String, usize> {
    let mut sizes: BTreeMap<String, usize> =
        cluster.traffic.received().map(|(component, _)| (component.to_owned(), 0)).collect();
    for index in cluster.kubelet.present() {
        let run = &cluster.kubelet.runs[index];
        if run.ready
            && run.answers()
            && let Some(size) = sizes.get_mut(&run.component)
        {
            *size += 1;
        }
    }
    sizes
}

/// Whether stable lacks only what a node took with it: a way back leads there all the same.
pub(super) fn node_took_of_stable(cluster: &Cluster, subject: &Subject) -> bool {
    let stable = cluster.baseline.get(&subject.name).copied();
    node_took(cluster, subject, |revision| Some(revision) == stable)
}

/// Whether what gets the traffic lacks only pods that a node took with it; of these revisions.
pub(super) fn node_took(cluster: &Cluster, subject: &Subject, of: impl Fn(u64) -> bool) -> bool {
    let Some(service) = &subject.service else { return false };
    let burdens = cluster.traffic.burdens();
    let Some(burden) = burdens.iter().find(|burden| burden.component == subject.name) else { return false };
    let share =
        burden.weights.iter().find(|(known, _)| known == service).map_or(0.0, |(_, percent)| *percent);
    let ready = cluster.traffic.newest().endpoints_of(service).len();
    let runs = cluster.kubelet.present().map(|index| &cluster.kubelet.runs[index]);
    let own = runs.filter(|run| run.component == subject.name && of(revision_number(&run.revision)));
    let lost = own.filter(|run| cluster.kubelet.is_lost(&run.node)).count();
    let carries = |pods: usize| pods as f64 * burden.pod_capacity >= burden.rps * share / 100.0;
    !carries(ready) && carries(ready + lost)
}

/// Whether the component has pods enough, if only the traffic went to them.
pub(super) fn is_mendable(cluster: &Cluster, subject: &Subject) -> bool {
    let burdens = cluster.traffic.burdens();
    let Some(burden) = burdens.iter().find(|burden| burden.component == subject.name) else { return false };
    let ready = sizes(cluster).get(&subject.name).copied().unwrap_or(0);
    ready > 0 && ready as f64 * burden.pod_capacity >= burden.rps
}
