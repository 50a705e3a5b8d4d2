//! Defaulting: what the API fills in, by struct type, and the canonical form in which it keeps objects.

use serde_json::{Map, Value, json};

use crate::domain::kube_schema::{Field, Schema, StructType, Type};

use super::kinds::KindId;
use super::quantity;
use super::shape::Shape;

/// Brings an object into the form in which the API keeps it: defaults filled in, structs that are always present
/// made, undeclared and null fields gone, quantities canonical.
pub fn apply(shape: &Shape, kind: KindId, object: &mut Value) {
    normalise(shape.schema(), &shape.root, object);
    default_kind(kind, object);
}

/// As `apply`, for the status alone: what a controller's status update can have changed.
pub fn apply_status(shape: &Shape, object: &mut Value) {
    let Type::Struct(root) = &shape.root else { return };
    if let Some(field) = shape.schema().get(*root).field("status")
        && let Some(status) = object.get_mut("status")
    {
        normalise(shape.schema(), &field.ty, status);
    }
}

/// The object of a kind before anything is set: structs that are always present, required fields as null or zero.
#[must_use]
pub fn empty(shape: &Shape) -> Value {
    match &shape.root {
        Type::Struct(id) => zero(shape.schema(), shape.schema().get(*id)),
        _ => json!({}),
    }
}

fn zero(schema: &Schema, ty: &StructType) -> Value {
    let mut fields = Map::new();
    for field in &ty.fields {
        match (&field.ty, &field.default) {
            (Type::Struct(id), Some(_)) => {
                fields.insert(field.name.clone(), zero(schema, schema.get(*id)));
            }
            (_, default) if field.required && !schema_is_custom(ty) => {
                fields.insert(field.name.clone(), default.clone().unwrap_or_default());
            }
            _ => {}
        }
    }
    Value::Object(fields)
}

/// Types of CRDs have no name: nothing is present in them that was not given.
fn schema_is_custom(ty: &StructType) -> bool {
    ty.name.is_empty()
}

fn normalise(schema: &Schema, ty: &Type, value: &mut Value) {
    match (ty, &mut *value) {
        (Type::Struct(id), Value::Object(fields)) => {
            let ty = schema.get(*id);
            default_struct(&ty.name, fields);
            if !ty.open {
                fields.retain(|name, _| ty.field(name).is_some());
            }
            for field in &ty.fields {
                normalise_field(schema, ty, field, fields);
            }
        }
        (Type::Map { element, .. }, Value::Object(entries)) => {
            for value in entries.values_mut() {
                normalise(schema, element, value);
            }
        }
        (Type::List { element, .. }, Value::Array(items)) => {
            for item in items {
                normalise(schema, element, item);
            }
        }
        (Type::Quantity, Value::Number(number)) => {
            let text = number.to_string();
            *value = quantity::canonical(&text).unwrap_or(text).into();
        }
        (Type::Quantity, Value::String(text)) => {
            if let Some(canonical) = quantity::canonical(text) {
                *text = canonical;
            }
        }
        _ => {}
    }
}

fn normalise_field(schema: &Schema, ty: &StructType, field: &Field, fields: &mut Map<String, Value>) {
    let custom = schema_is_custom(ty);
    match fields.get_mut(&field.name) {
        Some(Value::Null) | None => {
            let always = match (&field.ty, &field.default) {
                (Type::Struct(id), Some(_)) if !custom => Some(zero_present(schema, schema.get(*id))),
                // a zero that is declared is a field that is always present
                (_, Some(default)) => Some(default.clone()),
                _ => None,
            };
            if let Some(mut value) = always {
                normalise(schema, &field.ty, &mut value);
                fields.insert(field.name.clone(), value);
            } else if !(field.required && fields.contains_key(&field.name)) {
                fields.remove(&field.name);
            }
        }
        Some(value) => {
            normalise(schema, &field.ty, value);
            let hollow = match &field.ty {
                Type::Map { .. } => value.as_object().is_some_and(Map::is_empty),
                Type::List { .. } => value.as_array().is_some_and(Vec::is_empty),
                Type::Enum(_) => value.as_str() == Some(""),
                _ => false,
            };
            if hollow && !field.required && !custom {
                fields.remove(&field.name);
            }
        }
    }
}

/// A struct that is always present, with the fields that are always present in it.
fn zero_present(schema: &Schema, ty: &StructType) -> Value {
    let mut fields = Map::new();
    for field in &ty.fields {
        if let Some(default) = &field.default
            && !matches!(field.ty, Type::Struct(_))
        {
            fields.insert(field.name.clone(), default.clone());
        }
        if let (Type::Struct(id), Some(_)) = (&field.ty, &field.default) {
            fields.insert(field.name.clone(), zero_present(schema, schema.get(*id)));
        }
    }
    Value::Object(fields)
}

fn set(fields: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if fields.get(name).is_none_or(Value::is_null) {
        fields.insert(name.to_owned(), value.into());
    }
}

/// The defaults of a struct type, wherever it occurs.
fn default_struct(name: &str, fields: &mut Map<String, Value>) {
    let Some(name) = name.strip_prefix("api.") else { return };
    match name.split_once('.') {
        Some(("core", name)) => default_core(name, fields),
        Some(("apps", name)) => default_apps(name, fields),
        Some(("batch", "v1.CronJobSpec")) => {
            set(fields, "concurrencyPolicy", "Allow");
            set(fields, "suspend", false);
            set(fields, "successfulJobsHistoryLimit", 3);
            set(fields, "failedJobsHistoryLimit", 1);
        }
        Some(("autoscaling", "v2.HorizontalPodAutoscalerSpec")) => {
            set(fields, "minReplicas", 1);
            let cpu = json!([{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80}}}]);
            set(fields, "metrics", cpu);
        }
        Some(("autoscaling", "v2.HorizontalPodAutoscalerBehavior")) => default_behavior(fields),
        Some(("networking", "v1.NetworkPolicySpec")) => {
            let egress = fields.get("egress").is_some_and(|rules| !rules.is_null());
            set(
                fields,
                "policyTypes",
                if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) },
            );
        }
        Some(("networking", "v1.NetworkPolicyPort")) => set(fields, "protocol", "TCP"),
        Some(("rbac", "v1.RoleRef")) => set(fields, "apiGroup", "rbac.authorization.k8s.io"),
        Some(("rbac", "v1.Subject")) => {
            if matches!(fields.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
                set(fields, "apiGroup", "rbac.authorization.k8s.io");
            }
        }
        Some(("discovery", "v1.EndpointPort")) => {
            set(fields, "name", "");
            set(fields, "protocol", "TCP");
        }
        _ => {}
    }
}

fn default_behavior(fields: &mut Map<String, Value>) {
    let rules = json!({"selectPolicy": "Max", "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]});
    let down =
        json!({"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]});
    for (direction, default, window) in [("scaleUp", rules, Some(0)), ("scaleDown", down, None)] {
        set(fields, direction, json!({}));
        if let Some(Value::Object(given)) = fields.get_mut(direction) {
            if let Some(window) = window {
                set(given, "stabilizationWindowSeconds", window);
            }
            for (name, value) in default.as_object().into_iter().flatten() {
                set(given, name, value.clone());
            }
        }
    }
}

fn default_apps(name: &str, fields: &mut Map<String, Value>) {
    match name {
        "v1.DeploymentSpec" => {
            set(fields, "replicas", 1);
            set(fields, "revisionHistoryLimit", 10);
            set(fields, "progressDeadlineSeconds", 600);
        }
        "v1.DeploymentStrategy" | "v1.StatefulSetUpdateStrategy" | "v1.DaemonSetUpdateStrategy" => {
            set(fields, "type", "RollingUpdate");
            if fields["type"] == "RollingUpdate" {
                set(fields, "rollingUpdate", json!({}));
            }
        }
        "v1.RollingUpdateDeployment" => {
            set(fields, "maxUnavailable", "25%");
            set(fields, "maxSurge", "25%");
        }
        "v1.ReplicaSetSpec" => set(fields, "replicas", 1),
        "v1.StatefulSetSpec" => {
            set(fields, "replicas", 1);
            set(fields, "podManagementPolicy", "OrderedReady");
            set(fields, "revisionHistoryLimit", 10);
            set(fields, "persistentVolumeClaimRetentionPolicy", json!({}));
        }
        "v1.StatefulSetPersistentVolumeClaimRetentionPolicy" => {
            set(fields, "whenDeleted", "Retain");
            set(fields, "whenScaled", "Retain");
        }
        "v1.RollingUpdateStatefulSetStrategy" => set(fields, "partition", 0),
        "v1.StatefulSetStatus" => set(fields, "availableReplicas", 0),
        "v1.DaemonSetSpec" => set(fields, "revisionHistoryLimit", 10),
        "v1.RollingUpdateDaemonSet" => {
            set(fields, "maxUnavailable", 1);
            set(fields, "maxSurge", 0);
        }
        _ => {}
    }
}

fn default_core(name: &str, fields: &mut Map<String, Value>) {
    match name {
        "v1.PodSpec" => default_pod_spec(fields),
        "v1.Container" | "v1.EphemeralContainer" => default_container(fields),
        "v1.Probe" => {
            set(fields, "timeoutSeconds", 1);
            set(fields, "periodSeconds", 10);
            set(fields, "successThreshold", 1);
            set(fields, "failureThreshold", 3);
        }
        "v1.HTTPGetAction" => {
            set(fields, "path", "/");
            set(fields, "scheme", "HTTP");
        }
        "v1.GRPCAction" => set(fields, "service", ""),
        "v1.ObjectFieldSelector" => set(fields, "apiVersion", "v1"),
        "v1.ResourceFieldSelector" => set(fields, "divisor", "0"),
        "v1.SecretVolumeSource"
        | "v1.ConfigMapVolumeSource"
        | "v1.ProjectedVolumeSource"
        | "v1.DownwardAPIVolumeSource" => set(fields, "defaultMode", 420),
        "v1.ServiceAccountTokenProjection" => set(fields, "expirationSeconds", 3600),
        "v1.HostPathVolumeSource" => set(fields, "type", ""),
        "v1.Volume" if fields.len() == 1 => set(fields, "emptyDir", json!({})),
        // an empty value of a variable is the same as none, and is kept as none
        "v1.EnvVar" if fields.get("value").is_some_and(|value| value == "") => {
            fields.remove("value");
        }
        "v1.PersistentVolumeClaimSpec" => set(fields, "volumeMode", "Filesystem"),
        "v1.ServiceSpec" => default_service(fields),
        "v1.ServicePort" => {
            set(fields, "protocol", "TCP");
            let port = fields.get("port").cloned().unwrap_or_default();
            set(fields, "targetPort", port);
        }
        "v1.PodCondition" => {
            for name in ["lastProbeTime", "lastTransitionTime"] {
                fields.entry(name).or_insert(Value::Null);
            }
        }
        _ => {}
    }
}

fn default_pod_spec(fields: &mut Map<String, Value>) {
    set(fields, "restartPolicy", "Always");
    set(fields, "terminationGracePeriodSeconds", 30);
    set(fields, "dnsPolicy", "ClusterFirst");
    set(fields, "securityContext", json!({}));
    set(fields, "schedulerName", "default-scheduler");
    if fields.get("serviceAccountName").is_some_and(Value::is_string) {
        let name = fields["serviceAccountName"].clone();
        set(fields, "serviceAccount", name);
    }
}

fn default_container(fields: &mut Map<String, Value>) {
    set(fields, "terminationMessagePath", "/dev/termination-log");
    set(fields, "terminationMessagePolicy", "File");
    let image = fields.get("image").and_then(Value::as_str).unwrap_or_default();
    let name = image.split('@').next().unwrap_or_default();
    let tag = name.rsplit('/').next().unwrap_or_default().split_once(':').map(|(_, tag)| tag);
    let latest = !image.contains('@') && tag.is_none_or(|tag| tag == "latest");
    set(fields, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
}

fn default_service(fields: &mut Map<String, Value>) {
    set(fields, "sessionAffinity", "None");
    set(fields, "type", "ClusterIP");
    if fields["sessionAffinity"] == "ClientIP" {
        set(fields, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    let ty = fields["type"].as_str().unwrap_or_default().to_owned();
    if matches!(ty.as_str(), "NodePort" | "LoadBalancer") {
        set(fields, "externalTrafficPolicy", "Cluster");
    }
    if ty == "LoadBalancer" {
        set(fields, "allocateLoadBalancerNodePorts", true);
    }
    if ty != "ExternalName" {
        set(fields, "internalTrafficPolicy", "Cluster");
    }
}

/// The defaults that only the kind's own objects get, not the same types within others.
fn default_kind(kind: KindId, object: &mut Value) {
    match kind {
        KindId::NAMESPACES => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        KindId::PODS => default_pod(object),
        KindId::JOBS => default_job(object),
        KindId::SECRETS => {
            if let Some(fields) = object.as_object_mut() {
                set(fields, "type", "Opaque");
            }
        }
        KindId::PERSISTENT_VOLUME_CLAIMS if object["status"]["phase"].is_null() => {
            object["status"]["phase"] = "Pending".into();
        }
        KindId::CUSTOM_RESOURCE_DEFINITIONS => default_crd(object),
        KindId::HORIZONTAL_POD_AUTOSCALERS => {
            if let Some(status) = object["status"].as_object_mut() {
                set(status, "desiredReplicas", 0);
                status.entry("currentMetrics").or_insert(Value::Null);
            }
        }
        KindId::EVENTS => {
            for name in ["firstTimestamp", "lastTimestamp", "eventTime"] {
                if let Some(fields) = object.as_object_mut() {
                    fields.entry(name).or_insert(Value::Null);
                }
            }
        }
        _ => {}
    }
}

fn default_pod(object: &mut Value) {
    let Some(spec) = object["spec"].as_object_mut() else { return };
    set(spec, "enableServiceLinks", true);
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(limits) = container["resources"]["limits"].as_object().cloned() else { continue };
            for (name, limit) in limits {
                let requests = &mut container["resources"]["requests"];
                if requests[&name].is_null() {
                    requests[&name] = limit;
                }
            }
        }
    }
}

fn default_job(object: &mut Value) {
    let Some(spec) = object["spec"].as_object_mut() else { return };
    let given = |name: &str| spec.get(name).is_some_and(|value| !value.is_null());
    if !given("completions") && !given("parallelism") {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    set(spec, "backoffLimit", 6);
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    let policy = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    set(spec, "podReplacementPolicy", policy);
}

fn default_crd(object: &mut Value) {
    if let Some(names) = object["spec"]["names"].as_object_mut() {
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        set(names, "singular", kind.to_lowercase());
        set(names, "listKind", format!("{kind}List"));
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        set(spec, "conversion", json!({"strategy": "None"}));
    }
    let versions = object["spec"]["versions"].as_array().cloned().unwrap_or_default();
    let stored =
        versions.iter().find(|version| version["storage"] == true).map(|version| version["name"].clone());
    if let (Some(stored), Some(status)) = (stored, object["status"].as_object_mut())
        && status.get("storedVersions").is_none_or(|all| all.as_array().is_none_or(Vec::is_empty))
    {
        status.insert("storedVersions".into(), json!([stored]));
        status.entry("conditions").or_insert(Value::Null);
    }
}
