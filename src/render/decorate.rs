//! What every object of a release carries: its namespace and the labels by which it is found again.

use crate::domain::environment::Environment;
use crate::domain::ids::ComponentId;
use crate::domain::object::{LABEL_APPLICATION, LABEL_COMPONENT, LABEL_ENVIRONMENT};
use serde_json::{Map, Value};

/// Label of the tool that manages an object.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Built-in kinds, and widespread custom ones, that live outside of namespaces.
const CLUSTER_SCOPED: &[&str] = &[
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterIssuer",
    "ClusterPolicy",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterSecretStore",
    "ClusterTrustBundle",
    "ComponentStatus",
    "CustomResourceDefinition",
    "DeviceClass",
    "EC2NodeClass",
    "FlowSchema",
    "GatewayClass",
    "IPAddress",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "NodePool",
    "PersistentVolume",
    "PodSecurityPolicy",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ResourceSlice",
    "RuntimeClass",
    "ServiceCIDR",
    "StorageClass",
    "StorageVersionMigration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
];

/// Whether objects of the kind live in a namespace.
#[must_use]
pub fn is_namespaced(kind: &str) -> bool {
    !CLUSTER_SCOPED.contains(&kind)
}

/// Adds namespace and labels to an object. Selectors stay as they are: they are immutable.
pub fn decorate(value: &mut Value, environment: &Environment, component: &ComponentId) {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(object) = value.as_object_mut() else { return };
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = metadata.as_object_mut()
        && is_namespaced(&kind)
        && metadata.get("namespace").is_none_or(Value::is_null)
    {
        metadata.insert("namespace".to_owned(), Value::String(environment.namespace.clone()));
    }
    label(metadata, environment, component);
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.insert(LABEL_ENVIRONMENT.to_owned(), Value::String(environment.name.clone()));
    }
    let pods: &[&str] = match kind.as_str() {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => &["/spec/template"],
        "CronJob" => &["/spec/jobTemplate", "/spec/jobTemplate/spec/template"],
        _ => &[],
    };
    for pointer in pods {
        if let Some(template) = value.pointer_mut(pointer).and_then(Value::as_object_mut) {
            label(
                template.entry("metadata").or_insert_with(|| Value::Object(Map::new())),
                environment,
                component,
            );
        }
    }
}

fn label(metadata: &mut Value, environment: &Environment, component: &ComponentId) {
    let Some(metadata) = metadata.as_object_mut() else { return };
    let labels = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    if labels.is_null() {
        *labels = Value::Object(Map::new());
    }
    let Some(labels) = labels.as_object_mut() else { return };
    labels.entry(MANAGED_BY).or_insert_with(|| Value::String("deployctl".to_owned()));
    labels.insert(LABEL_APPLICATION.to_owned(), Value::String(environment.application.clone()));
    labels.insert(LABEL_COMPONENT.to_owned(), Value::String(component.to_string()));
}
