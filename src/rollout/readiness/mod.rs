//! Whether an object is there and working, or will never be.
//!
//! Workloads and their pods are judged over the shared `Snapshot` (`workloads`, `pods` for root causes), all other
//! kinds over the live object itself (`objects`, `custom`). No object is ready because a rule is missing: where
//! nothing can be known the verdict is `Assumed`, and a report says so.

mod custom;
mod denials;
mod images;
mod objects;
pub mod pods;
mod scheduling;
mod workloads;

pub use custom::{LiveCondition, condition};
pub use objects::{Surroundings, judge as judge_object};
pub use scheduling::{node_to_come, shortage};
pub use workloads::{Doom, doom, doomed, judge, refusal, suspect};

use super::Verdict;
use crate::domain::object::ObjectRef;
use crate::domain::readiness::ReadinessRule;

/// What a wait needs to know of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Has pods (or is one): judged over the shared snapshot.
    Workload,
    /// What workloads need before they can start: waited for before them.
    Before,
    /// What can be ready only once workloads are, or what users need and pods do not.
    After,
    /// Nothing acts on it: it is ready once it is stored.
    Inert,
}

/// Which sort an object is of. A project's own rule makes any kind worth waiting for.
#[must_use]
pub fn sort_of(object: &ObjectRef, rules: &[ReadinessRule]) -> Sort {
    let has_rule = rules.iter().any(|rule| rule.covers(&object.api_version, &object.kind));
    match (object.group(), object.kind.as_str()) {
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job")
        | ("", "Pod") => Sort::Workload,
        _ if has_rule => Sort::After,
        ("", "PersistentVolumeClaim" | "PersistentVolume" | "ResourceQuota")
        | (
            "apiextensions.k8s.io"
            | "cert-manager.io"
            | "external-secrets.io"
            | "bitnami.com"
            | "secrets-store.csi.x-k8s.io",
            _,
        ) => Sort::Before,
        ("", "Service" | "ReplicationController")
        | ("networking.k8s.io", "Ingress")
        | ("policy", "PodDisruptionBudget")
        | ("autoscaling", "HorizontalPodAutoscaler")
        | ("apiregistration.k8s.io", "APIService") => Sort::After,
        (group, _) if is_builtin(group) => Sort::Inert,
        _ => Sort::After,
    }
}

/// Whether the API server itself defines the group; all others come from CRDs or aggregated servers.
#[must_use]
pub fn is_builtin(group: &str) -> bool {
    // The Gateway API and snapshots live under `k8s.io` but come as CRDs.
    let added = ["gateway.networking.k8s.io", "snapshot.storage.k8s.io", "metrics.k8s.io"];
    !group.contains('.')
        || (group.ends_with(".k8s.io") && !group.ends_with(".x-k8s.io") && !added.contains(&group))
}

fn pending(waiting_for: impl Into<String>) -> Verdict {
    Verdict::Pending { waiting_for: waiting_for.into() }
}

fn failed(why: impl Into<String>) -> Verdict {
    Verdict::Failed { why: why.into() }
}

fn assumed(why: impl Into<String>) -> Verdict {
    Verdict::Assumed { why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::readiness::ReadyTest;

    #[test]
    fn what_pods_need_comes_before_them_and_what_needs_pods_after() {
        let sort = |api_version: &str, kind: &str| sort_of(&ObjectRef::new(api_version, kind, "n", "x"), &[]);
        let cases = [
            ("apps/v1", "Deployment", Sort::Workload),
            ("batch/v1", "Job", Sort::Workload),
            ("v1", "Pod", Sort::Workload),
            ("v1", "PersistentVolumeClaim", Sort::Before),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition", Sort::Before),
            ("cert-manager.io/v1", "Certificate", Sort::Before),
            ("v1", "Service", Sort::After),
            ("autoscaling/v2", "HorizontalPodAutoscaler", Sort::After),
            ("gateway.networking.k8s.io/v1", "HTTPRoute", Sort::After),
            ("shop.example.com/v1", "Cart", Sort::After),
            ("v1", "ConfigMap", Sort::Inert),
            ("batch/v1", "CronJob", Sort::Inert),
            ("networking.k8s.io/v1", "NetworkPolicy", Sort::Inert),
            ("rbac.authorization.k8s.io/v1", "Role", Sort::Inert),
        ];
        for (api_version, kind, expected) in cases {
            assert_eq!(sort(api_version, kind), expected, "{kind}");
        }
        let rule = ReadinessRule {
            api_version: "batch/v1".into(),
            kind: "CronJob".into(),
            ready: ReadyTest::Exists,
            failed: None,
        };
        assert_eq!(sort_of(&ObjectRef::new("batch/v1", "CronJob", "n", "x"), &[rule]), Sort::After);
    }
}
