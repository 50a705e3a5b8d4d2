//! Admission: what may be created where. Namespaces' life cycle, pod security, quotas.

use serde_json::{Value, json};

use super::errors::ApiStatus;
use super::kinds::KindId;
use super::quantity;
use super::store::Store;

impl Store {
    /// Whether new content may be created in a namespace at all.
    pub(crate) fn admit_namespace(&self, kind: KindId, namespace: &str, name: &str) -> Result<(), ApiStatus> {
        let info = self.kind_info(kind);
        if !info.namespaced {
            return Ok(());
        }
        let Some(found) = self.lookup(KindId::NAMESPACES, "", namespace) else {
            return Err(ApiStatus::not_found(self.kind_info(KindId::NAMESPACES), namespace));
        };
        if found["metadata"]["deletionTimestamp"].is_null() && found["status"]["phase"] != "Terminating" {
            return Ok(());
        }
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = ApiStatus::forbidden(info, name, &why);
        if let Some(details) = &mut status.details {
            details["causes"] = json!([{"reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"), "field": "metadata.namespace"}]);
        }
        Err(status)
    }

    /// Whether pod security and the quotas of the namespace allow an object to be created.
    pub(crate) fn admit_create(&self, kind: KindId, object: &Value) -> Result<(), ApiStatus> {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        if namespace.is_empty() {
            return Ok(());
        }
        if kind == KindId::PODS {
            self.admit_pod_security(namespace, object)?;
        }
        self.admit_quota(kind, namespace, object)
    }

    fn admit_pod_security(&self, namespace: &str, pod: &Value) -> Result<(), ApiStatus> {
        let Some(found) = self.lookup(KindId::NAMESPACES, "", namespace) else { return Ok(()) };
        let labels = &found["metadata"]["labels"];
        let level = labels["pod-security.kubernetes.io/enforce"].as_str().unwrap_or("privileged");
        let violations = pod_security_violations(&pod["spec"], level);
        if violations.is_empty() {
            return Ok(());
        }
        let version = labels["pod-security.kubernetes.io/enforce-version"].as_str().unwrap_or("latest");
        let why = format!("violates PodSecurity \"{level}:{version}\": {}", violations.join(", "));
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        Err(ApiStatus::forbidden(self.kind_info(KindId::PODS), name, &why))
    }

    /// What pod security says of an object in a namespace that wants to be warned. Objects that make pods are warned of
    /// alone: it is their pods that are refused, if anything is.
    pub(crate) fn pod_security_warnings(&self, kind: KindId, object: &Value) -> Vec<String> {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let Some(found) = self.lookup(KindId::NAMESPACES, "", namespace) else { return Vec::new() };
        let labels = &found["metadata"]["labels"];
        let level = labels["pod-security.kubernetes.io/warn"].as_str().unwrap_or("privileged");
        let Some(spec) = pod_spec(kind, object) else { return Vec::new() };
        let violations = pod_security_violations(spec, level);
        if violations.is_empty() {
            return Vec::new();
        }
        let version = labels["pod-security.kubernetes.io/warn-version"].as_str().unwrap_or("latest");
        vec![format!("would violate PodSecurity \"{level}:{version}\": {}", violations.join(", "))]
    }

    fn admit_quota(&self, kind: KindId, namespace: &str, object: &Value) -> Result<(), ApiStatus> {
        let info = self.kind_info(kind);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        for quota in self.iter(KindId::RESOURCE_QUOTAS, Some(namespace)) {
            let quota_name = quota["metadata"]["name"].as_str().unwrap_or_default();
            let hard = quota["spec"]["hard"].as_object();
            let mut exceeded = Vec::new();
            let mut missing = Vec::new();
            for (resource, limit) in hard.into_iter().flatten() {
                let Some(asked) = self.quota_share(kind, resource, object) else { continue };
                let Some(asked) = asked else {
                    missing.push(resource.as_str());
                    continue;
                };
                let used = self.quota_used(kind, namespace, resource);
                let limit = limit.as_str().and_then(quantity::nanos).unwrap_or(0);
                if asked > 0 && used + asked > limit {
                    exceeded.push((resource.as_str(), asked, used, limit));
                }
            }
            if !missing.is_empty() {
                let why = missing_request(quota_name, object, &missing);
                return Err(ApiStatus::forbidden(info, name, &why));
            }
            if !exceeded.is_empty() {
                return Err(ApiStatus::forbidden(info, name, &exceeded_text(quota_name, &mut exceeded)));
            }
        }
        Ok(())
    }

    /// What is used of a quota's resource in a namespace, in billionths.
    #[must_use]
    pub fn quota_used(&self, kind: KindId, namespace: &str, resource: &str) -> i128 {
        let live = self.iter(kind, Some(namespace)).filter(|object| {
            kind != KindId::PODS
                || !matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
        });
        live.filter_map(|object| self.quota_share(kind, resource, object).flatten()).sum()
    }

    /// What one object takes of a quota's resource: outer `None` if the resource is not about its kind, inner
    /// `None` if the object had to say and does not.
    #[allow(clippy::option_option, reason = "not about it, unsaid, and an amount are three answers")]
    fn quota_share(&self, kind: KindId, resource: &str, object: &Value) -> Option<Option<i128>> {
        const ONE: i128 = 1_000_000_000;
        let info = self.kind_info(kind);
        if let Some(counted) = resource.strip_prefix("count/") {
            return (counted == info.resource()).then_some(Some(ONE));
        }
        if matches!(
            resource,
            "pods"
                | "services"
                | "secrets"
                | "configmaps"
                | "resourcequotas"
                | "persistentvolumeclaims"
                | "replicationcontrollers"
        ) {
            return (info.group.is_empty() && info.plural == resource).then_some(Some(ONE));
        }
        if kind != KindId::PODS {
            return None;
        }
        let (list, name) = match resource {
            "cpu" | "memory" | "ephemeral-storage" => ("requests", resource),
            _ => resource.split_once('.').filter(|(list, _)| matches!(*list, "requests" | "limits"))?,
        };
        let containers = object["spec"]["containers"].as_array().into_iter().flatten();
        let amounts: Option<Vec<i128>> = containers
            .map(|container| container["resources"][list][name].as_str().and_then(quantity::nanos))
            .collect();
        Some(amounts.map(|amounts| amounts.iter().sum()))
    }
}

fn missing_request(quota: &str, pod: &Value, missing: &[&str]) -> String {
    let containers: Vec<&str> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|container| container["name"].as_str())
        .collect();
    let mut missing: Vec<&str> = missing.to_vec();
    missing.sort_unstable();
    let texts: Vec<String> =
        missing.iter().map(|resource| format!("{resource} for: {}", containers.join(","))).collect();
    format!("failed quota: {quota}: must specify {}", texts.join("; "))
}

fn exceeded_text(quota: &str, exceeded: &mut [(&str, i128, i128, i128)]) -> String {
    exceeded.sort_unstable();
    let column = |pick: fn(&(&str, i128, i128, i128)) -> i128| {
        exceeded
            .iter()
            .map(|one| format!("{}={}", one.0, quantity::decimal(pick(one))))
            .collect::<Vec<_>>()
            .join(",")
    };
    format!(
        "exceeded quota: {quota}, requested: {}, used: {}, limited: {}",
        column(|one| one.1),
        column(|one| one.2),
        column(|one| one.3)
    )
}

/// The pods that an object is or makes.
fn pod_spec(kind: KindId, object: &Value) -> Option<&Value> {
    let path = match kind {
        KindId::PODS => "/spec",
        KindId::POD_TEMPLATES => "/template/spec",
        KindId::CRON_JOBS => "/spec/jobTemplate/spec/template/spec",
        KindId::DEPLOYMENTS
        | KindId::REPLICA_SETS
        | KindId::STATEFUL_SETS
        | KindId::DAEMON_SETS
        | KindId::JOBS
        | KindId::REPLICATION_CONTROLLERS => "/spec/template/spec",
        _ => return None,
    };
    object.pointer(path)
}

/// What a pod does that a level of pod security forbids.
fn pod_security_violations(spec: &Value, level: &str) -> Vec<String> {
    let mut violations = Vec::new();
    if level == "privileged" {
        return violations;
    }
    let containers: Vec<&Value> = ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|list| spec[*list].as_array().into_iter().flatten())
        .collect();
    let named = |bad: &dyn Fn(&Value) -> bool| -> Option<String> {
        let names: Vec<String> = containers
            .iter()
            .filter(|container| bad(&container["securityContext"]))
            .map(|container| format!("\"{}\"", container["name"].as_str().unwrap_or_default()))
            .collect();
        match names.len() {
            0 => None,
            1 => Some(format!("container {}", names[0])),
            _ => Some(format!("containers {}", names.join(", "))),
        }
    };
    let host: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| spec[**field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    if !host.is_empty() {
        violations.push(format!("host namespaces ({})", host.join(", ")));
    }
    if let Some(who) = named(&|context| context["privileged"] == true) {
        violations.push(format!("privileged ({who} must not set securityContext.privileged=true)"));
    }
    let mounts_host: Vec<String> = spec["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|volume| !volume["hostPath"].is_null())
        .map(|volume| format!("\"{}\"", volume["name"].as_str().unwrap_or_default()))
        .collect();
    if !mounts_host.is_empty() {
        let plural = if mounts_host.len() == 1 { "volume" } else { "volumes" };
        violations.push(format!("hostPath volumes ({plural} {})", mounts_host.join(", ")));
    }
    if level == "restricted" {
        restricted_violations(spec, &named, &mut violations);
    }
    violations
}

/// Names the containers whose security context is bad, if there are any.
type Named<'a> = dyn Fn(&dyn Fn(&Value) -> bool) -> Option<String> + 'a;

fn restricted_violations(spec: &Value, named: &Named<'_>, violations: &mut Vec<String>) {
    if let Some(who) = named(&|context| context["allowPrivilegeEscalation"] != false) {
        violations.push(format!(
            "allowPrivilegeEscalation != false ({who} must set securityContext.allowPrivilegeEscalation=false)"
        ));
    }
    let drops_all = |context: &Value| {
        context["capabilities"]["drop"].as_array().is_some_and(|drop| drop.iter().any(|one| one == "ALL"))
    };
    if let Some(who) = named(&|context| !drops_all(context)) {
        violations.push(format!(
            "unrestricted capabilities ({who} must set securityContext.capabilities.drop=[\"ALL\"])"
        ));
    }
    let pod = &spec["securityContext"];
    let inherits = pod["runAsNonRoot"] == true;
    let may_be_root =
        |context: &Value| context["runAsNonRoot"] == false || (!inherits && context["runAsNonRoot"] != true);
    if let Some(who) = named(&may_be_root) {
        violations
            .push(format!("runAsNonRoot != true (pod or {who} must set securityContext.runAsNonRoot=true)"));
    }
    if let Some(who) = named(&|context| context["runAsUser"] == 0)
        .or_else(|| (pod["runAsUser"] == 0).then(|| "pod".to_owned()))
    {
        violations.push(format!("runAsUser=0 ({who} must not set runAsUser=0)"));
    }
    let confined = |profile: &Value| matches!(profile["type"].as_str(), Some("RuntimeDefault" | "Localhost"));
    let pod_confined = confined(&pod["seccompProfile"]);
    let unconfined = |context: &Value| {
        let own = &context["seccompProfile"];
        if own.is_null() { !pod_confined } else { !confined(own) }
    };
    if let Some(who) = named(&unconfined) {
        violations.push(format!(
            "seccompProfile (pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
             \"Localhost\")"
        ));
    }
}
