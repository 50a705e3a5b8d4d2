//! What a pod template names: the objects that must be there before its pods can start.

use serde_json::Value;

/// The pod template of an object that makes pods (a Pod is its own).
pub(super) fn template<'v>(kind: &str, object: &'v Value) -> Option<&'v Value> {
    let pointer = match kind {
        "CronJob" => "/spec/jobTemplate/spec/template",
        "Pod" => "",
        // Kinds of others that run pods keep the form: Rollout, CloneSet, …
        _ => "/spec/template",
    };
    let template = object.pointer(pointer)?;
    template.pointer("/spec/containers").is_some().then_some(template)
}

/// Kind and name of everything that a pod's spec names.
pub(super) fn names<'v>(spec: &'v Value, found: &mut Vec<(&'static str, &'v str)>) {
    match spec {
        Value::Object(fields) => {
            for (key, child) in fields {
                match key.as_str() {
                    "configMapRef" | "configMapKeyRef" | "configMap" => {
                        add("ConfigMap", child, "name", found);
                    }
                    "secretRef" | "secretKeyRef" => add("Secret", child, "name", found),
                    "secret" => {
                        add("Secret", child, "secretName", found);
                        add("Secret", child, "name", found);
                    }
                    "persistentVolumeClaim" => add("PersistentVolumeClaim", child, "claimName", found),
                    "imagePullSecrets" => {
                        for one in child.as_array().into_iter().flatten() {
                            add("Secret", one, "name", found);
                        }
                    }
                    "serviceAccountName" => plain("ServiceAccount", child, found),
                    "priorityClassName" => plain("PriorityClass", child, found),
                    "runtimeClassName" => plain("RuntimeClass", child, found),
                    _ => names(child, found),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                names(item, found);
            }
        }
        _ => {}
    }
}

fn add<'v>(kind: &'static str, value: &'v Value, field: &str, found: &mut Vec<(&'static str, &'v str)>) {
    if let Some(name) = value.get(field) {
        plain(kind, name, found);
    }
}

fn plain<'v>(kind: &'static str, name: &'v Value, found: &mut Vec<(&'static str, &'v str)>) {
    if let Some(name) = name.as_str() {
        found.push((kind, name));
    }
}
