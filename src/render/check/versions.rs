//! API versions that Kubernetes removed or is about to remove.

use super::World;
use crate::config::codes;
use crate::domain::object::ObjectRef;

/// One removal: API version, kinds (empty: all), minor version in which it was removed (0: only deprecated so
/// far), what to use instead.
type Removal = (&'static str, &'static [&'static str], u32, &'static str);

const REMOVALS: &[Removal] = &[
    ("extensions/v1beta1", &["Deployment", "DaemonSet", "ReplicaSet"], 16, "apps/v1"),
    ("extensions/v1beta1", &["NetworkPolicy"], 16, "networking.k8s.io/v1"),
    ("extensions/v1beta1", &["PodSecurityPolicy"], 16, "Pod Security admission (namespace labels)"),
    ("extensions/v1beta1", &["Ingress"], 22, "networking.k8s.io/v1"),
    ("apps/v1beta1", &[], 16, "apps/v1"),
    ("apps/v1beta2", &[], 16, "apps/v1"),
    (
        "admissionregistration.k8s.io/v1beta1",
        &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"],
        22,
        "admissionregistration.k8s.io/v1",
    ),
    ("apiextensions.k8s.io/v1beta1", &[], 22, "apiextensions.k8s.io/v1"),
    ("apiregistration.k8s.io/v1beta1", &[], 22, "apiregistration.k8s.io/v1"),
    ("authentication.k8s.io/v1beta1", &["TokenReview"], 22, "authentication.k8s.io/v1"),
    ("authorization.k8s.io/v1beta1", &[], 22, "authorization.k8s.io/v1"),
    ("certificates.k8s.io/v1beta1", &["CertificateSigningRequest"], 22, "certificates.k8s.io/v1"),
    ("coordination.k8s.io/v1beta1", &["Lease"], 22, "coordination.k8s.io/v1"),
    ("networking.k8s.io/v1beta1", &["Ingress", "IngressClass"], 22, "networking.k8s.io/v1"),
    ("rbac.authorization.k8s.io/v1alpha1", &[], 22, "rbac.authorization.k8s.io/v1"),
    ("rbac.authorization.k8s.io/v1beta1", &[], 22, "rbac.authorization.k8s.io/v1"),
    ("scheduling.k8s.io/v1alpha1", &["PriorityClass"], 22, "scheduling.k8s.io/v1"),
    ("scheduling.k8s.io/v1beta1", &["PriorityClass"], 22, "scheduling.k8s.io/v1"),
    (
        "storage.k8s.io/v1beta1",
        &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"],
        22,
        "storage.k8s.io/v1",
    ),
    ("storage.k8s.io/v1beta1", &["CSIStorageCapacity"], 27, "storage.k8s.io/v1"),
    ("batch/v2alpha1", &["CronJob"], 21, "batch/v1"),
    ("batch/v1beta1", &["CronJob"], 25, "batch/v1"),
    ("discovery.k8s.io/v1beta1", &["EndpointSlice"], 25, "discovery.k8s.io/v1"),
    ("events.k8s.io/v1beta1", &["Event"], 25, "events.k8s.io/v1"),
    ("autoscaling/v2beta1", &[], 25, "autoscaling/v2"),
    ("autoscaling/v2beta2", &[], 26, "autoscaling/v2"),
    ("policy/v1beta1", &["PodDisruptionBudget"], 25, "policy/v1"),
    ("policy/v1beta1", &["PodSecurityPolicy"], 25, "Pod Security admission (namespace labels)"),
    ("node.k8s.io/v1beta1", &["RuntimeClass"], 25, "node.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta1", &[], 26, "flowcontrol.apiserver.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta2", &[], 29, "flowcontrol.apiserver.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta3", &[], 32, "flowcontrol.apiserver.k8s.io/v1"),
    ("v1", &["Endpoints"], 0, "discovery.k8s.io/v1 EndpointSlice"),
    ("v1", &["ComponentStatus"], 0, "the health endpoints of the API server"),
];

fn removal(reference: &ObjectRef) -> Option<&'static Removal> {
    REMOVALS.iter().find(|(version, kinds, _, _)| {
        *version == reference.api_version && (kinds.is_empty() || kinds.contains(&reference.kind.as_str()))
    })
}

/// Whether an API version is one that existed once.
pub(super) fn is_known(reference: &ObjectRef) -> bool {
    removal(reference).is_some()
}

pub(super) fn check(world: &mut World<'_>) {
    let (major, minor) = world.environment.cluster_version;
    for document in world.documents {
        let reference = document.reference();
        let Some((version, _, removed, instead)) = removal(&reference) else { continue };
        let kind = &reference.kind;
        let gone = *removed > 0 && (major, minor) >= (1, *removed);
        let help = if instead.contains("/v") && !instead.contains(' ') {
            format!("write `apiVersion: {instead}`")
        } else {
            format!("use {instead}")
        };
        if gone {
            let message = format!("Kubernetes {major}.{minor} does not serve {kind} in `{version}`");
            let diagnostic = document
                .error(codes::OBJECT_API_REMOVED, &["apiVersion"], message)
                .why(format!("it was removed in Kubernetes 1.{removed}"))
                .help(help);
            world.out.push(diagnostic);
        } else {
            let why = match removed {
                0 => "no version removes it yet".to_owned(),
                _ => format!("Kubernetes 1.{removed} removes it"),
            };
            let message = format!("{kind} in `{version}` is deprecated");
            let diagnostic =
                document.error(codes::OBJECT_API_DEPRECATED, &["apiVersion"], message).why(why).help(help);
            world.policy("deprecated-api", diagnostic);
        }
    }
}
