//! The controllers of a cluster: each looks at one object and moves the cluster one hop towards what it says.
//!
//! A change of any object becomes work for the controllers that watch it (`watchers_of`), after a short lag; an
//! object that waits already is not put in again. Controllers know the store and nothing of traffic or faults.

pub mod argo;
pub mod context;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod events;
pub mod garbage;
pub mod gateway;
pub mod horizontal;
pub mod job;
pub mod namespaces;
pub mod object;
pub mod pod_control;
pub mod quota;
pub mod replicaset;
pub mod scheduler;
pub mod services;
pub mod statefulset;
pub mod volumes;

use serde_json::Value;

pub use context::{Context, Index, Settings, Work};

use super::kinds::KindId;
use super::store::{Change, ChangeType};

/// Which controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Deployments to `ReplicaSets`.
    Deployment,
    /// `ReplicaSets` to pods.
    ReplicaSet,
    /// `StatefulSets` to pods, in order.
    StatefulSet,
    /// One pod on every node.
    DaemonSet,
    /// Pods that end.
    Job,
    /// Jobs by the clock.
    CronJob,
    /// Pods to nodes.
    Scheduler,
    /// Services to `EndpointSlices`.
    EndpointSlice,
    /// Replicas by CPU use.
    HorizontalPodAutoscaler,
    /// How many pods may be evicted.
    Disruption,
    /// Dependents of what is deleted.
    GarbageCollector,
    /// Namespaces: what every new one gets, and the end of those that go.
    Namespace,
    /// What a namespace has used up.
    ResourceQuota,
    /// Volumes.
    PersistentVolume,
    /// Addresses of load balancers and Ingresses.
    ServiceAddress,
    /// Routes to gateways.
    Gateway,
    /// What is live to what Git holds.
    Argo,
    /// What runs the pods of a node; its work is done by the world, its events are told in this name.
    Kubelet,
}

impl Controller {
    /// The field manager and user of its writes.
    #[must_use]
    pub fn user(self) -> &'static str {
        match self {
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::ServiceAddress => "cloud-controller-manager",
            Self::Gateway => "gateway-controller",
            Self::Argo => "argocd-controller",
            _ => "kube-controller-manager",
        }
    }

    /// The component of its events.
    #[must_use]
    pub fn component(self) -> &'static str {
        match self {
            Self::Deployment => "deployment-controller",
            Self::ReplicaSet => "replicaset-controller",
            Self::StatefulSet => "statefulset-controller",
            Self::DaemonSet => "daemonset-controller",
            Self::Job => "job-controller",
            Self::CronJob => "cronjob-controller",
            Self::Scheduler => "default-scheduler",
            Self::EndpointSlice => "endpoint-slice-controller",
            Self::HorizontalPodAutoscaler => "horizontal-pod-autoscaler",
            Self::Disruption => "controllermanager",
            Self::GarbageCollector => "garbage-collector-controller",
            Self::Namespace => "namespace-controller",
            Self::ResourceQuota => "resourcequota-controller",
            Self::PersistentVolume => "persistentvolume-controller",
            Self::ServiceAddress => "service-controller",
            Self::Gateway => "gateway-controller",
            Self::Argo => "argocd-application-controller",
            Self::Kubelet => "kubelet",
        }
    }
}

/// Does one look.
pub fn reconcile(cx: &mut Context<'_>, work: &Work) {
    let (namespace, name) = (work.namespace.as_str(), work.name.as_str());
    match work.controller {
        Controller::Deployment => deployment::sync(cx, namespace, name),
        Controller::ReplicaSet => replicaset::sync(cx, namespace, name),
        Controller::StatefulSet => statefulset::sync(cx, namespace, name),
        Controller::DaemonSet => daemonset::sync(cx, namespace, name),
        Controller::Job => job::sync(cx, namespace, name),
        Controller::CronJob => cronjob::sync(cx, namespace, name),
        Controller::Scheduler => scheduler::sync(cx, namespace, name),
        Controller::EndpointSlice => endpoints::sync(cx, namespace, name),
        Controller::HorizontalPodAutoscaler => horizontal::sync(cx, namespace, name),
        Controller::Disruption => disruption::sync(cx, namespace, name),
        Controller::GarbageCollector => garbage::sync(cx, name),
        Controller::Namespace => namespaces::sync(cx, name),
        Controller::ResourceQuota => quota::sync(cx, namespace, name),
        Controller::PersistentVolume => volumes::sync(cx, namespace, name),
        Controller::ServiceAddress => services::sync(cx, namespace, name),
        Controller::Gateway => gateway::sync(cx, namespace, name),
        Controller::Argo => argo::sync(cx, namespace, name),
        Controller::Kubelet => {}
    }
}

/// The controller that looks after objects of `kind` itself.
fn keeper(kind: KindId) -> Option<Controller> {
    Some(match kind {
        KindId::DEPLOYMENTS => Controller::Deployment,
        KindId::REPLICA_SETS => Controller::ReplicaSet,
        KindId::STATEFUL_SETS => Controller::StatefulSet,
        KindId::DAEMON_SETS => Controller::DaemonSet,
        KindId::JOBS => Controller::Job,
        KindId::CRON_JOBS => Controller::CronJob,
        KindId::HORIZONTAL_POD_AUTOSCALERS => Controller::HorizontalPodAutoscaler,
        KindId::POD_DISRUPTION_BUDGETS => Controller::Disruption,
        KindId::NAMESPACES => Controller::Namespace,
        KindId::RESOURCE_QUOTAS => Controller::ResourceQuota,
        KindId::PERSISTENT_VOLUME_CLAIMS => Controller::PersistentVolume,
        KindId::SERVICES => Controller::EndpointSlice,
        KindId::INGRESSES => Controller::ServiceAddress,
        KindId::PODS => Controller::Scheduler,
        _ => return None,
    })
}

/// The controller behind an owner reference.
fn controller_of_kind(kind: &str) -> Option<Controller> {
    Some(match kind {
        "Deployment" => Controller::Deployment,
        "ReplicaSet" => Controller::ReplicaSet,
        "StatefulSet" => Controller::StatefulSet,
        "DaemonSet" => Controller::DaemonSet,
        "Job" => Controller::Job,
        "CronJob" => Controller::CronJob,
        _ => return None,
    })
}

/// The work that `change` makes, told to `add`.
pub fn watchers_of(cx: &Context<'_>, change: &Change, add: &mut dyn FnMut(Work)) {
    let object: &Value = &change.object;
    let (namespace, name) = (change.key.namespace.as_str(), change.key.name.as_str());
    let mut tell = |controller: Controller, namespace: &str, name: &str| {
        add(Work { controller, namespace: namespace.to_owned(), name: name.to_owned() });
    };
    let gone = change.typ == ChangeType::Deleted;
    let keeper = keeper(change.key.kind)
        .filter(|keeper| !gone || *keeper == Controller::EndpointSlice)
        // a pod that has a node is no work for the scheduler
        .filter(|keeper| {
            *keeper != Controller::Scheduler || object::text(object, &["spec", "nodeName"]).is_empty()
        });
    if let Some(keeper) = keeper {
        tell(keeper, namespace, name);
    }
    if change.key.kind == KindId::SERVICES && !gone {
        tell(Controller::ServiceAddress, namespace, name);
    }
    if !gone && cx.store.kind("argoproj.io", "applications") == Some(change.key.kind) {
        tell(Controller::Argo, namespace, name);
    }
    if let Some(routes) = cx.store.kind("gateway.networking.k8s.io", "httproutes") {
        if change.key.kind == routes && !gone {
            tell(Controller::Gateway, namespace, name);
        } else if (change.key.kind == KindId::SERVICES && change.typ != ChangeType::Modified)
            || gateway::grants(cx.store) == Some(change.key.kind)
        {
            for route in cx.store.iter(routes, None) {
                tell(Controller::Gateway, object::namespace(route), object::name(route));
            }
        }
    }
    if let Some(owner) = object::controller_of(object)
        && let Some(controller) = controller_of_kind(object::text(owner, &["kind"]))
    {
        tell(controller, namespace, object::text(owner, &["name"]));
    }
    if change.key.kind == KindId::PODS {
        pod_watchers(cx, change, &mut tell);
    }
    if change.key.kind == KindId::NODES && change.typ != ChangeType::Modified {
        for set in cx.store.iter(KindId::DAEMON_SETS, None) {
            tell(Controller::DaemonSet, object::namespace(set), object::name(set));
        }
    }
    if quota::counted(change.key.kind) && change.typ != ChangeType::Modified {
        for quota in cx.store.iter(KindId::RESOURCE_QUOTAS, Some(namespace)) {
            tell(Controller::ResourceQuota, namespace, object::name(quota));
        }
    }
    garbage_work(cx, change, &mut tell);
}

/// Services, budgets and waiting pods that a pod's change concerns.
fn pod_watchers(cx: &Context<'_>, change: &Change, tell: &mut dyn FnMut(Controller, &str, &str)) {
    let namespace = change.key.namespace.as_str();
    let labels = object::at(&change.object, &["metadata", "labels"]);
    let old_labels = change.old.as_ref().map_or(labels, |old| object::at(old, &["metadata", "labels"]));
    if endpoints::concerns(change) {
        for service in cx.store.iter(KindId::SERVICES, Some(namespace)) {
            let selector = object::at(service, &["spec", "selector"]);
            if object::selects_plain(selector, labels) || object::selects_plain(selector, old_labels) {
                tell(Controller::EndpointSlice, namespace, object::name(service));
            }
        }
    }
    for budget in cx.store.iter(KindId::POD_DISRUPTION_BUDGETS, Some(namespace)) {
        if object::selects(object::at(budget, &["spec", "selector"]), labels) {
            tell(Controller::Disruption, namespace, object::name(budget));
        }
    }
    if change.typ == ChangeType::Deleted {
        for pod in cx.store.iter(KindId::PODS, None) {
            if scheduler::waiting(pod) {
                tell(Controller::Scheduler, object::namespace(pod), object::name(pod));
            }
        }
    }
}

/// Work for the garbage collector: dependents of what is gone or is being deleted in the foreground. The work's
/// namespace is empty and its name is the UID of the owner.
fn garbage_work(cx: &Context<'_>, change: &Change, tell: &mut dyn FnMut(Controller, &str, &str)) {
    let uid = object::uid(&change.object);
    let gone = change.typ == ChangeType::Deleted;
    if gone || garbage::blocked(&change.object) {
        if gone
            && cx.index.dependents(uid).next().is_none()
            && object::controller_of(&change.object).is_none()
        {
            return;
        }
        tell(Controller::GarbageCollector, "", uid);
    }
    if gone {
        for owner in object::items(&change.object, &["metadata", "ownerReferences"]) {
            tell(Controller::GarbageCollector, "", object::text(owner, &["uid"]));
        }
    } else if change.typ == ChangeType::Added
        && !object::items(&change.object, &["metadata", "ownerReferences"]).is_empty()
    {
        // an object may be born to an owner that is gone already
        tell(Controller::GarbageCollector, "", uid);
    }
}
