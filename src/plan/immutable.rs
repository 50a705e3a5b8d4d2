//! Fields that cannot be changed once an object exists: it has to be deleted and made anew. What that costs is said.

use super::FieldChange;
use crate::domain::object::ObjectRef;
use serde_json::Value;

/// Why an object has to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// `spec.selector cannot be changed`.
    pub why: String,
    /// `its pods stop before new ones start`.
    pub cost: &'static str,
}

/// Whether the changes need the object to be replaced, as far as the rules of the built-in kinds tell.
#[must_use]
pub fn replacement(object: &ObjectRef, live: &Value, changes: &[FieldChange]) -> Option<Replacement> {
    let field = changes.iter().find(|change| is_immutable(&object.kind, live, &change.path))?;
    Some(Replacement { why: format!("{} cannot be changed", field.path), cost: cost(&object.kind) })
}

/// Whether a server that refused a change says that the field can never be changed.
#[must_use]
pub fn says_immutable(message: &str) -> bool {
    const WORDS: [&str; 8] = [
        "field is immutable",
        "is immutable",
        "may not change once set",
        "cannot change roleRef",
        "updates to parameters are forbidden",
        "updates to provisioner are forbidden",
        "updates to statefulset spec for fields other than",
        "spec is immutable after creation",
    ];
    WORDS.iter().any(|words| message.contains(words))
}

/// What a replacement of the kind costs.
#[must_use]
pub fn cost(kind: &str) -> &'static str {
    match kind {
        "Deployment" | "DaemonSet" | "ReplicaSet" => "its pods stop before new ones start: downtime",
        "StatefulSet" => "its pods stop before new ones start: downtime; its volumes are kept",
        "Job" => "it runs again",
        "Pod" => "it stops, then starts anew",
        "Service" => "it is gone for a moment, and comes back with other addresses",
        "PersistentVolumeClaim" => "the data on its volume is lost, unless the volume is retained",
        "RoleBinding" | "ClusterRoleBinding" => "the rights are missing for a moment",
        "ConfigMap" | "Secret" => "pods that start meanwhile wait for it",
        "StorageClass" => "volumes that exist keep their settings",
        _ => "it is gone for a moment, with everything that it owns",
    }
}

fn is_immutable(kind: &str, live: &Value, path: &str) -> bool {
    let within = |fields: &[&str]| fields.iter().any(|field| crate::domain::field_path::covers(field, path));
    match kind {
        "Deployment" | "DaemonSet" | "ReplicaSet" => within(&["spec.selector"]),
        "StatefulSet" => {
            path.starts_with("spec.")
                && !within(&[
                    "spec.replicas",
                    "spec.template",
                    "spec.updateStrategy",
                    "spec.persistentVolumeClaimRetentionPolicy",
                    "spec.minReadySeconds",
                    "spec.ordinals",
                    "spec.revisionHistoryLimit",
                ])
        }
        "Job" => {
            let suspended = live.pointer("/spec/suspend") == Some(&Value::Bool(true));
            within(&[
                "spec.selector",
                "spec.completionMode",
                "spec.podFailurePolicy",
                "spec.backoffLimitPerIndex",
            ]) || (within(&["spec.template"]) && !(suspended && is_scheduling(path)))
                || (within(&["spec.completions"])
                    && live.pointer("/spec/completionMode").and_then(Value::as_str) != Some("Indexed"))
        }
        "Service" => {
            // A type that needs no address frees it; only a change of an address that stays is refused.
            let headless = live.pointer("/spec/type").and_then(Value::as_str) == Some("ExternalName");
            within(&["spec.clusterIP", "spec.clusterIPs"]) && !headless
        }
        "PersistentVolumeClaim" => {
            path.starts_with("spec.")
                && !within(&["spec.resources.requests.storage", "spec.volumeAttributesClassName"])
        }
        "Secret" | "ConfigMap" => {
            let locked = live.get("immutable") == Some(&Value::Bool(true));
            (locked && within(&["data", "binaryData", "stringData", "immutable"]))
                || (kind == "Secret" && within(&["type"]))
        }
        "StorageClass" => within(&["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"]),
        "RoleBinding" | "ClusterRoleBinding" => within(&["roleRef"]),
        "IngressClass" => within(&["spec.controller"]),
        "PriorityClass" => within(&["value", "preemptionPolicy"]),
        _ => false,
    }
}

/// What may change of a suspended Job's pods.
fn is_scheduling(path: &str) -> bool {
    ["nodeSelector", "affinity", "tolerations", "schedulingGates", "labels", "annotations"]
        .iter()
        .any(|field| path.contains(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_changed_is_known_per_kind() {
        let locked = json!({"immutable": true});
        let indexed = json!({"spec": {"completionMode": "Indexed"}});
        let suspended = json!({"spec": {"suspend": true}});
        let none = json!({});
        for (kind, live, path, expected) in [
            ("Deployment", &none, "spec.selector.matchLabels.app", true),
            ("Deployment", &none, "spec.template.spec.containers[name=a].image", false),
            ("StatefulSet", &none, "spec.serviceName", true),
            ("StatefulSet", &none, "spec.volumeClaimTemplates[0].spec.resources.requests.storage", true),
            ("StatefulSet", &none, "spec.template.metadata.labels.a", false),
            ("StatefulSet", &none, "metadata.labels.a", false),
            ("DaemonSet", &none, "spec.selector.matchLabels.app", true),
            ("Job", &none, "spec.template.spec.containers[name=a].image", true),
            ("Job", &suspended, "spec.template.spec.nodeSelector.zone", false),
            ("Job", &none, "spec.completions", true),
            ("Job", &indexed, "spec.completions", false),
            ("Job", &none, "spec.parallelism", false),
            ("Service", &none, "spec.clusterIP", true),
            ("Service", &none, "spec.ports[port=80,protocol=TCP].targetPort", false),
            ("PersistentVolumeClaim", &none, "spec.resources.requests.storage", false),
            ("PersistentVolumeClaim", &none, "spec.storageClassName", true),
            ("ConfigMap", &locked, "data.A", true),
            ("ConfigMap", &none, "data.A", false),
            ("Secret", &none, "type", true),
            ("StorageClass", &none, "parameters.type", true),
            ("StorageClass", &none, "allowVolumeExpansion", false),
            ("RoleBinding", &none, "roleRef.name", true),
            ("ClusterRoleBinding", &none, "subjects", false),
            ("Ship", &none, "spec.sails", false),
        ] {
            let change = FieldChange { path: path.to_owned(), from: None, to: None };
            let object = ObjectRef::new("v1", kind, "shop", "x");
            assert_eq!(replacement(&object, live, &[change]).is_some(), expected, "{kind} {path}");
        }
    }

    #[test]
    fn the_servers_words_for_immutable_are_known() {
        for message in [
            "Deployment.apps \"web\" is invalid: spec.selector: Invalid value: {}: field is immutable",
            "Service \"web\" is invalid: spec.clusterIPs[0]: Invalid value: [\"10.0.0.9\"]: may not change once set",
            "StatefulSet.apps \"db\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than \
             'replicas', 'ordinals', 'template' are forbidden",
        ] {
            assert!(says_immutable(message), "{message}");
        }
        assert!(!says_immutable("spec.replicas: Invalid value: -1: must be greater than or equal to 0"));
    }
}
