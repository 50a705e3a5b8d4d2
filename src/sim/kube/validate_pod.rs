//! Validation of pods, alone and within the templates of workloads.

use serde_json::{Value, json};

use super::errors::Cause;
use super::quantity;
use super::validate::{check_count, is_dns_label};

const NAME: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

/// Everything wrong with the spec of a pod.
pub(super) fn check_pod_spec(spec: &Value, prefix: &str, causes: &mut Vec<Cause>) {
    let containers = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        causes.push(Cause::required(format!("{prefix}.containers"), ""));
    }
    check_count(spec, prefix, "terminationGracePeriodSeconds", causes);
    let volumes = volume_names(spec, prefix, causes);
    let mut names: Vec<&str> = Vec::new();
    for list in ["containers", "initContainers"] {
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let at = format!("{prefix}.{list}[{index}]");
            let name = container["name"].as_str().unwrap_or_default();
            if name.is_empty() {
                causes.push(Cause::required(format!("{at}.name"), ""));
            } else if !is_dns_label(name) {
                causes.push(Cause::invalid(format!("{at}.name"), &container["name"], NAME));
            } else if names.contains(&name) {
                causes.push(Cause::duplicate(format!("{at}.name"), &container["name"]));
            }
            names.push(name);
            check_container(container, &at, &volumes, causes);
        }
    }
}

fn volume_names<'a>(spec: &'a Value, prefix: &str, causes: &mut Vec<Cause>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (index, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        let at = format!("{prefix}.volumes[{index}].name");
        let name = volume["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            causes.push(Cause::required(at, ""));
        } else if !is_dns_label(name) {
            causes.push(Cause::invalid(at, &volume["name"], NAME));
        } else if names.contains(&name) {
            causes.push(Cause::duplicate(at, &volume["name"]));
        }
        names.push(name);
    }
    names
}

fn check_container(container: &Value, at: &str, volumes: &[&str], causes: &mut Vec<Cause>) {
    if container["image"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required(format!("{at}.image"), ""));
    }
    for (index, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
        if !port["containerPort"].as_i64().is_some_and(|number| (1..=65_535).contains(&number)) {
            let why = "must be between 1 and 65535, inclusive";
            causes.push(Cause::invalid(
                format!("{at}.ports[{index}].containerPort"),
                &port["containerPort"],
                why,
            ));
        }
    }
    for (index, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        if variable["name"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("{at}.env[{index}].name"), ""));
        }
        if !variable["valueFrom"].is_null()
            && variable["value"].as_str().is_some_and(|value| !value.is_empty())
        {
            causes.push(Cause::invalid(
                format!("{at}.env[{index}].valueFrom"),
                &json!(""),
                "may not be specified when `value` is not empty",
            ));
        }
    }
    for (index, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let name = mount["name"].as_str().unwrap_or_default();
        if !volumes.contains(&name) {
            causes.push(Cause {
                reason: "FieldValueNotFound",
                message: format!("Not found: {}", json!(name)),
                field: format!("{at}.volumeMounts[{index}].name"),
            });
        }
    }
    check_resources(&container["resources"], &format!("{at}.resources"), causes);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        check_probe(probe, &container[probe], &format!("{at}.{probe}"), causes);
    }
}

fn check_resources(resources: &Value, at: &str, causes: &mut Vec<Cause>) {
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        let amounts = (request.as_str().and_then(quantity::nanos), limit.as_str().and_then(quantity::nanos));
        if let (Some(asked), Some(allowed)) = amounts
            && asked > allowed
        {
            let why = format!(
                "must be less than or equal to {name} limit of {}",
                limit.as_str().unwrap_or_default()
            );
            causes.push(Cause::invalid(format!("{at}.requests"), request, &why));
        }
    }
}

fn check_probe(which: &str, probe: &Value, at: &str, causes: &mut Vec<Cause>) {
    if probe.is_null() {
        return;
    }
    let handlers =
        ["exec", "httpGet", "tcpSocket", "grpc"].iter().filter(|handler| !probe[**handler].is_null()).count();
    if handlers == 0 {
        causes.push(Cause::required(at, "must specify a handler type"));
    } else if handlers > 1 {
        causes.push(Cause::forbidden(at, "may not specify more than 1 handler type"));
    }
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        check_count(probe, at, field, causes);
    }
    let once = matches!(which, "livenessProbe" | "startupProbe");
    if once && probe["successThreshold"].as_i64().is_some_and(|threshold| threshold != 1) {
        causes.push(Cause::invalid(
            format!("{at}.successThreshold"),
            &probe["successThreshold"],
            "must be 1",
        ));
    }
}

/// A pod's spec hardly changes once it exists.
pub(super) fn check_pod_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        let scheduled = !old["spec"]["nodeName"].is_null();
        for field in
            ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "ephemeralContainers"]
        {
            spec[field] = Value::Null;
        }
        if !scheduled {
            // the scheduler's binding
            spec["nodeName"] = Value::Null;
        }
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        spec
    };
    if fixed(old) != fixed(new) {
        causes.push(Cause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
             existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously \
             negative)",
        ));
    }
}
