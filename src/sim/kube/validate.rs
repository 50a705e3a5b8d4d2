//! Validation: what the API refuses about an object, with the cause per field that clients are shown.

use serde_json::{Map, Value, json};

use super::errors::Cause;
use super::kinds::{Kind, KindId};
use super::quantity::nanos;
use super::selectors::LabelSelector;
use super::validate_pod::{check_pod_spec, check_pod_update};

const DNS_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
    must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
    or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
    used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NON_NEGATIVE: &str = "must be greater than or equal to 0";
const MAX_DATA: usize = 1_048_576;

/// Everything wrong with an object that is about to be stored; `old` is what it replaces.
#[must_use]
pub fn check(kind: KindId, info: &Kind, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    check_metadata(kind, info, object, &mut causes);
    check_kind(kind, object, &mut causes);
    if let Some(old) = old {
        check_update(kind, old, object, &mut causes);
    }
    causes
}

/// Whether a text is a DNS label: lower-case letters, digits and inner dashes.
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_label_of_any_length(text)
}

fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label_of_any_length)
}

fn is_dns_label_of_any_length(text: &str) -> bool {
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.iter().all(|&c| alphanumeric(c) || c == b'-')
        && alphanumeric(bytes[0])
        && alphanumeric(bytes[bytes.len() - 1])
}

fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.is_empty()
        || (bytes.len() <= 63
            && bytes.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
            && bytes[0].is_ascii_alphanumeric()
            && bytes[bytes.len() - 1].is_ascii_alphanumeric())
}

fn check_metadata(kind: KindId, info: &Kind, object: &Value, causes: &mut Vec<Cause>) {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
        return;
    }
    let rbac = matches!(
        kind,
        KindId::ROLES | KindId::ROLE_BINDINGS | KindId::CLUSTER_ROLES | KindId::CLUSTER_ROLE_BINDINGS
    );
    let label = matches!(kind, KindId::SERVICES | KindId::NAMESPACES);
    if label && !is_dns_label(name) {
        causes.push(Cause::invalid("metadata.name", &metadata["name"], DNS_LABEL));
    } else if !label && !rbac && !info.custom && !is_dns_subdomain(name) {
        causes.push(Cause::invalid("metadata.name", &metadata["name"], DNS_SUBDOMAIN));
    }
    check_labels(&metadata["labels"], "metadata.labels", causes);
}

/// Labels must be valid, wherever they are given.
pub(super) fn check_labels(labels: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (name, value) in labels.as_object().into_iter().flatten() {
        if !is_label_value(value.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid(field, value, LABEL_VALUE));
        }
        let local = name.rsplit('/').next().unwrap_or_default();
        if local.is_empty() || !is_label_value(local) {
            let why = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                       with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                       validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
            causes.push(Cause::invalid(field, &json!(name), why));
        }
    }
}

fn check_kind(kind: KindId, object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    match kind {
        KindId::DEPLOYMENTS | KindId::REPLICA_SETS | KindId::STATEFUL_SETS | KindId::DAEMON_SETS => {
            check_workload(kind, spec, causes);
        }
        KindId::PODS => check_pod_spec(spec, "spec", causes),
        KindId::JOBS => check_job(spec, "spec", causes),
        KindId::CRON_JOBS => {
            check_cron_job(spec, causes);
            check_job(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", causes);
        }
        KindId::SERVICES => check_service(spec, causes),
        KindId::INGRESSES => check_ingress(spec, causes),
        KindId::HORIZONTAL_POD_AUTOSCALERS => check_autoscaler(spec, causes),
        KindId::POD_DISRUPTION_BUDGETS
            if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() =>
        {
            causes.push(Cause::invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"));
        }
        KindId::SECRETS | KindId::CONFIG_MAPS => check_data(kind, object, causes),
        KindId::LEASES if spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) => {
            let cause = Cause::invalid(
                "spec.leaseDurationSeconds",
                &spec["leaseDurationSeconds"],
                "must be greater than 0",
            );
            causes.push(cause);
        }
        KindId::PERSISTENT_VOLUME_CLAIMS if spec["resources"]["requests"]["storage"].is_null() => {
            causes.push(Cause::required("spec.resources[storage]", ""));
        }
        _ => {}
    }
}

/// A number that must not be negative, where it is given.
pub(super) fn check_count(spec: &Value, prefix: &str, field: &str, causes: &mut Vec<Cause>) {
    if spec[field].as_i64().is_some_and(|count| count < 0) {
        causes.push(Cause::invalid(format!("{prefix}.{field}"), &spec[field], NON_NEGATIVE));
    }
}

fn check_workload(kind: KindId, spec: &Value, causes: &mut Vec<Cause>) {
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        check_count(spec, "spec", field, causes);
    }
    let labels = &spec["template"]["metadata"]["labels"];
    match LabelSelector::of_object(&spec["selector"]) {
        None => causes.push(Cause::required("spec.selector", "")),
        Some(selector) => {
            if spec["selector"].as_object().is_some_and(Map::is_empty) {
                let why = format!(
                    "empty selector is invalid for {}",
                    if kind == KindId::STATEFUL_SETS { "statefulset" } else { "deployment" }
                );
                causes.push(Cause::invalid("spec.selector", &spec["selector"], &why));
            }
            if !selector.matches(labels) {
                let shown = if labels.is_null() { json!({}) } else { labels.clone() };
                causes.push(Cause::invalid(
                    "spec.template.metadata.labels",
                    &shown,
                    "`selector` does not match template `labels`",
                ));
            }
        }
    }
    check_labels(labels, "spec.template.labels", causes);
    let known = causes.len();
    check_pod_spec(&spec["template"]["spec"], "spec.template.spec", causes);
    if kind == KindId::STATEFUL_SETS {
        // volumes of its claim templates are added when a pod is made: the server leaves mounts to the pods
        let of_pods = causes.split_off(known);
        causes.extend(of_pods.into_iter().filter(|cause| cause.reason != "FieldValueNotFound"));
    }
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if policy.is_string() && policy != "Always" {
        causes.push(Cause::unsupported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
    if kind == KindId::DEPLOYMENTS {
        check_deployment_strategy(spec, causes);
    }
}

fn check_deployment_strategy(spec: &Value, causes: &mut Vec<Cause>) {
    let strategy = &spec["strategy"];
    let rolling = &strategy["rollingUpdate"];
    if strategy["type"] == "Recreate" && !rolling.is_null() {
        causes.push(Cause::forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        ));
    }
    let zero = |value: &Value| value == 0 || value == "0%" || value == "0";
    if zero(&rolling["maxUnavailable"]) && zero(&rolling["maxSurge"]) {
        causes.push(Cause::invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            &rolling["maxUnavailable"],
            "may not be 0 when `maxSurge` is 0",
        ));
    }
    let deadline = spec["progressDeadlineSeconds"].as_i64();
    if deadline.is_some_and(|deadline| deadline <= spec["minReadySeconds"].as_i64().unwrap_or(0)) {
        causes.push(Cause::invalid(
            "spec.progressDeadlineSeconds",
            &spec["progressDeadlineSeconds"],
            "must be greater than minReadySeconds",
        ));
    }
}

fn check_job(spec: &Value, prefix: &str, causes: &mut Vec<Cause>) {
    for field in
        ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"]
    {
        check_count(spec, prefix, field, causes);
    }
    let template = format!("{prefix}.template.spec");
    check_pod_spec(&spec["template"]["spec"], &template, causes);
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if policy == "Always" {
        let field = format!("{template}.restartPolicy");
        let message = "Required value: valid values: \"OnFailure\", \"Never\"".to_owned();
        causes.push(Cause { reason: "FieldValueRequired", message, field });
    }
}

fn check_cron_job(spec: &Value, causes: &mut Vec<Cause>) {
    let schedule = spec["schedule"].as_str().unwrap_or_default();
    if schedule.is_empty() {
        causes.push(Cause::required("spec.schedule", ""));
    } else if !schedule.starts_with('@') && schedule.split_whitespace().count() != 5 {
        let found = schedule.split_whitespace().count();
        let why = format!("expected exactly 5 fields, found {found}: [{schedule}]");
        causes.push(Cause::invalid("spec.schedule", &spec["schedule"], &why));
    }
}

fn check_service(spec: &Value, causes: &mut Vec<Cause>) {
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let external = spec["type"] == "ExternalName";
    if ports.is_empty() && !external && spec["clusterIP"] != "None" {
        causes.push(Cause::required("spec.ports", ""));
    }
    if external && spec["externalName"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required("spec.externalName", ""));
    }
    let mut names = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        if !port["port"].as_i64().is_some_and(|number| (1..=65_535).contains(&number)) {
            let why = "must be between 1 and 65535, inclusive";
            causes.push(Cause::invalid(field("port"), &port["port"], why));
        }
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            causes.push(Cause::required(field("name"), ""));
        } else if !name.is_empty() && !is_dns_label(name) {
            causes.push(Cause::invalid(field("name"), &port["name"], DNS_LABEL));
        } else if !name.is_empty() && names.contains(&name) {
            causes.push(Cause::duplicate(field("name"), &port["name"]));
        }
        names.push(name);
    }
    check_labels(&spec["selector"], "spec.selector", causes);
}

fn check_ingress(spec: &Value, causes: &mut Vec<Cause>) {
    let rules = spec["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        causes.push(Cause::invalid(
            "spec",
            &json!([]),
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    for (index, rule) in rules.iter().enumerate() {
        for (at, path) in rule["http"]["paths"].as_array().into_iter().flatten().enumerate() {
            let field = |name: &str| format!("spec.rules[{index}].http.paths[{at}].{name}");
            let ty = path["pathType"].as_str().unwrap_or_default();
            if ty.is_empty() {
                causes.push(Cause::required(field("pathType"), "pathType must be specified"));
            } else if ty != "ImplementationSpecific"
                && !path["path"].as_str().is_some_and(|p| p.starts_with('/'))
            {
                let shown = path.get("path").cloned().unwrap_or_else(|| json!(""));
                causes.push(Cause::invalid(field("path"), &shown, "must be an absolute path"));
            }
            let service = &path["backend"]["service"];
            if !service.is_null() && service["port"]["name"].is_null() && service["port"]["number"].is_null()
            {
                causes.push(Cause::required(field("backend"), "port name or number is required"));
            }
        }
    }
}

fn check_autoscaler(spec: &Value, causes: &mut Vec<Cause>) {
    let (min, max) = (spec["minReplicas"].as_i64().unwrap_or(1), spec["maxReplicas"].as_i64().unwrap_or(0));
    if min < 1 {
        causes.push(Cause::invalid(
            "spec.minReplicas",
            &spec["minReplicas"],
            "must be greater than or equal to 1",
        ));
    }
    if max < 1 {
        causes.push(Cause::invalid("spec.maxReplicas", &json!(max), "must be greater than 0"));
    }
    if max < min {
        let why = "must be greater than or equal to `minReplicas`";
        causes.push(Cause::invalid("spec.maxReplicas", &json!(max), why));
    }
    for field in ["kind", "name"] {
        if spec["scaleTargetRef"][field].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("spec.scaleTargetRef.{field}"), ""));
        }
    }
}

fn check_data(kind: KindId, object: &Value, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for (field, encoded) in [("data", kind == KindId::SECRETS), ("binaryData", true)] {
        for (name, value) in object[field].as_object().into_iter().flatten() {
            let length = value.as_str().map_or(0, str::len);
            // four characters of base64 are three bytes
            size += if encoded { length / 4 * 3 } else { length };
            if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)) {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
                           'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
                           '[-._a-zA-Z0-9]+')";
                causes.push(Cause::invalid(format!("{field}[{name}]"), &json!(name), why));
            }
        }
    }
    if size > MAX_DATA {
        let field = if kind == KindId::SECRETS { "data" } else { "" };
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message: format!("Too long: may not be more than {MAX_DATA} bytes"),
            field: field.to_owned(),
        });
    }
}

const IMMUTABLE: &str = "field is immutable";

fn check_update(kind: KindId, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let immutable = |field: &str, causes: &mut Vec<Cause>| {
        let path = format!("/{}", field.replace('.', "/"));
        let (before, after) = (old.pointer(&path), new.pointer(&path));
        if before != after {
            let shown = after.cloned().unwrap_or_default();
            causes.push(Cause::invalid(field, &shown, IMMUTABLE));
        }
    };
    match kind {
        KindId::DEPLOYMENTS | KindId::REPLICA_SETS | KindId::DAEMON_SETS => {
            immutable("spec.selector", causes);
        }
        KindId::STATEFUL_SETS => check_stateful_set_update(old, new, causes),
        KindId::JOBS => {
            for field in ["spec.completions", "spec.selector", "spec.template", "spec.completionMode"] {
                immutable(field, causes);
            }
        }
        KindId::PODS => check_pod_update(old, new, causes),
        KindId::SERVICES => {
            let (before, after) = (&old["spec"], &new["spec"]);
            if before["clusterIP"] != after["clusterIP"]
                && before["type"] != "ExternalName"
                && after["type"] != "ExternalName"
            {
                let cause =
                    Cause::invalid("spec.clusterIPs[0]", &after["clusterIPs"], "may not change once set");
                causes.push(cause);
            }
        }
        KindId::SECRETS | KindId::CONFIG_MAPS if old["immutable"] == true => {
            if old["data"] != new["data"] || old["binaryData"] != new["binaryData"] {
                causes.push(Cause::forbidden("data", "field is immutable when `immutable` is set"));
            }
            if new["immutable"] != true {
                causes.push(Cause::forbidden("immutable", "field is immutable when `immutable` is set"));
            }
        }
        KindId::SECRETS => immutable("type", causes),
        KindId::ROLE_BINDINGS | KindId::CLUSTER_ROLE_BINDINGS if old["roleRef"] != new["roleRef"] => {
            causes.push(Cause::invalid("roleRef", &new["roleRef"], "cannot change roleRef"));
        }
        KindId::PERSISTENT_VOLUME_CLAIMS => check_claim_update(old, new, causes),
        _ => {}
    }
}

fn check_stateful_set_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    const MUTABLE: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let fixed = |object: &Value| -> Map<String, Value> {
        let fields = object["spec"].as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| !MUTABLE.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    if fixed(old) != fixed(new) {
        causes.push(Cause::forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
             'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
             'minReadySeconds' are forbidden",
        ));
    }
}

/// As `ValidatePersistentVolumeClaimUpdate` of Kubernetes (pkg/apis/core/validation) has it since failed expansions can be
/// recovered from: a bound claim may ask for more, and for less only above what its volume has; one that is not bound
/// changes nothing.
fn check_claim_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let size = |claim: &Value| nanos(claim["spec"]["resources"]["requests"]["storage"].as_str()?);
    let (before, after) = (size(old), size(new));
    let bound = old["status"]["phase"] == "Bound";
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        spec["volumeName"] = Value::Null;
        if bound || before == after {
            spec["resources"]["requests"]["storage"] = Value::Null;
        }
        if bound {
            spec["volumeAttributesClassName"] = Value::Null;
        }
        spec
    };
    if fixed(old) != fixed(new) {
        causes.push(Cause::forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
             claims",
        ));
    }
    let capacity = old["status"]["capacity"]["storage"].as_str().and_then(nanos);
    if after < before && after <= capacity {
        causes.push(Cause::forbidden(
            "spec.resources.requests.storage",
            "field can not be less than status.capacity",
        ));
    }
}
