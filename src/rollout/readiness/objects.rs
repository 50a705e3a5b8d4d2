//! Kinds without pods of their own, judged over the live object as the server tells it.

use super::{assumed, custom, failed, pending};
use crate::domain::object::ObjectRef;
use crate::domain::readiness::ReadinessRule;
use crate::rollout::Verdict;
use serde_json::Value;

/// What an object's readiness depends on and the object itself does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// A claim's storage class makes the volume only when a pod needs it.
    pub binds_at_first_use: bool,
    /// Why a claim's storage class may not be read: it may be one that waits for a pod.
    pub class_unseen: Option<String>,
    /// The newest warning about the object.
    pub warning: Option<String>,
}

/// Judges a live object: by the project's own rule, else by its kind's, else by the conventions of custom resources.
#[must_use]
pub fn judge(live: &Value, rules: &[ReadinessRule], around: &Surroundings) -> Verdict {
    let name = ObjectRef::of(live);
    if let Some(rule) = rules.iter().find(|rule| rule.covers(&name.api_version, &name.kind)) {
        return custom::by_rule(live, &name, rule);
    }
    if live.pointer("/metadata/deletionTimestamp").is_some() {
        return pending(format!("{name} to go away: it is being deleted"));
    }
    let verdict = match (name.group(), name.kind.as_str()) {
        ("", "Service") => service(live, &name),
        ("", "PersistentVolumeClaim") => claim(live, &name, around),
        ("", "PersistentVolume") => volume(live, &name),
        ("", "Namespace") => namespace(live, &name),
        ("", "ResourceQuota") => quota(live, &name),
        ("networking.k8s.io", "Ingress") => ingress(live, &name),
        ("batch", "CronJob") => cron_job(live, &name),
        ("policy", "PodDisruptionBudget") => budget(live, &name),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(live, &name),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(live, &name),
        ("apiregistration.k8s.io", "APIService") => custom::condition_holds(live, &name, "Available"),
        ("gateway.networking.k8s.io", "Gateway" | "GatewayClass") => gateway(live, &name),
        ("gateway.networking.k8s.io", kind) if kind.ends_with("Route") => route(live, &name),
        ("cert-manager.io", "Certificate") => certificate(live, &name),
        ("argoproj.io", "Rollout") => argo_rollout(live, &name),
        ("argoproj.io", "Application") => argo_application(live, &name),
        _ if super::sort_of(&name, rules) == super::Sort::Inert => Verdict::Healthy,
        _ => custom::judge(live, &name),
    };
    match (verdict, &around.warning) {
        (Verdict::Pending { waiting_for }, Some(warning)) => pending(format!("{waiting_for} ({warning})")),
        (verdict, _) => verdict,
    }
}

pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn has_address(live: &Value) -> bool {
    let entries = items(live, "/status/loadBalancer/ingress");
    entries.iter().any(|entry| !text(entry, "/ip").is_empty() || !text(entry, "/hostname").is_empty())
}

fn service(live: &Value, name: &ObjectRef) -> Verdict {
    match text(live, "/spec/type") {
        "LoadBalancer" if has_address(live) || !items(live, "/spec/externalIPs").is_empty() => {
            Verdict::Healthy
        }
        "LoadBalancer" => pending(format!("{name} to get an address from the cluster's load balancer")),
        "ExternalName" => Verdict::Healthy,
        _ if text(live, "/spec/clusterIP").is_empty() => pending(format!("{name} to get a cluster address")),
        _ => Verdict::Healthy,
    }
}

/// Many controllers never write an address (node ports, host network): one that is missing proves nothing.
fn ingress(live: &Value, name: &ObjectRef) -> Verdict {
    if has_address(live) {
        return Verdict::Healthy;
    }
    let class = text(live, "/spec/ingressClassName");
    let class = if class.is_empty() { String::new() } else { format!(" of class {class}") };
    assumed(format!("no ingress controller{class} has given {name} an address"))
}

fn claim(live: &Value, name: &ObjectRef, around: &Surroundings) -> Verdict {
    match text(live, "/status/phase") {
        "Bound" => Verdict::Healthy,
        "Lost" => failed(format!("{name} has lost its volume {}", text(live, "/spec/volumeName"))),
        // It is bound when the first pod that mounts it is scheduled: waiting for it before would be for ever.
        _ if around.binds_at_first_use => Verdict::Healthy,
        _ => match (text(live, "/spec/storageClassName"), &around.class_unseen) {
            ("", _) => pending(format!(
                "{name} to be bound: it names no storage class, and the cluster has no default one"
            )),
            (class, None) => pending(format!("{name} to be bound by storage class {class}")),
            (class, Some(words)) => assumed(format!(
                "{name} is not bound, and whether storage class {class} waits for its first pod cannot be read: {words}"
            )),
        },
    }
}

fn volume(live: &Value, name: &ObjectRef) -> Verdict {
    match text(live, "/status/phase") {
        "Available" | "Bound" => Verdict::Healthy,
        "Failed" => failed(format!("{name} failed: {}", text(live, "/status/message"))),
        _ => pending(format!("{name} to be available")),
    }
}

fn namespace(live: &Value, name: &ObjectRef) -> Verdict {
    match text(live, "/status/phase") {
        "Active" => Verdict::Healthy,
        "Terminating" => failed(format!("{name} is being deleted: nothing can be made in it")),
        _ => pending(format!("{name} to be active")),
    }
}

/// A quota counts only once its controller has taken stock.
fn quota(live: &Value, name: &ObjectRef) -> Verdict {
    let taken = live.pointer("/status/hard").is_some_and(|hard| live.pointer("/spec/hard") == Some(hard));
    if taken { Verdict::Healthy } else { pending(format!("{name} to be in force")) }
}

/// It runs by the clock: all that can be known is that it is scheduled.
fn cron_job(live: &Value, name: &ObjectRef) -> Verdict {
    if live.pointer("/spec/suspend") == Some(&Value::Bool(true)) {
        return assumed(format!("{name} is suspended"));
    }
    Verdict::Healthy
}

fn budget(live: &Value, name: &ObjectRef) -> Verdict {
    if number(live, "/status/observedGeneration") < number(live, "/metadata/generation") {
        return pending(format!("the controller to see {name}"));
    }
    let (healthy, wanted) = (number(live, "/status/currentHealthy"), number(live, "/status/desiredHealthy"));
    let sync = custom::condition(live, "DisruptionAllowed").filter(|c| c.reason == "SyncFailed");
    match sync {
        Some(condition) => assumed(format!("{name} protects nothing: {}", condition.message)),
        None if healthy < wanted => pending(format!("{healthy}/{wanted} healthy pods behind {name}")),
        None => Verdict::Healthy,
    }
}

fn autoscaler(live: &Value, name: &ObjectRef) -> Verdict {
    let (able, active) = (custom::condition(live, "AbleToScale"), custom::condition(live, "ScalingActive"));
    if let Some(able) = able.filter(|able| able.status == "False") {
        return pending(format!("{name} to find what it scales ({})", able.message));
    }
    match active {
        Some(active) if active.status == "True" || active.reason == "ScalingDisabled" => Verdict::Healthy,
        // Metrics of new pods come late, and a cluster without a metrics server runs the application all the same.
        Some(active) => assumed(format!("{name} does not scale: {}", active.message)),
        None => assumed(format!("no controller has looked at {name}")),
    }
}

fn definition(live: &Value, name: &ObjectRef) -> Verdict {
    if let Some(names) = custom::condition(live, "NamesAccepted").filter(|c| c.status == "False") {
        return failed(format!("{name}: its names are taken: {}", names.message));
    }
    custom::condition_holds(live, name, "Established")
}

fn gateway(live: &Value, name: &ObjectRef) -> Verdict {
    let accepted = custom::condition(live, "Accepted");
    match accepted {
        Some(accepted) if custom::is_old(live, &accepted) => pending(format!("the controller to see {name}")),
        Some(accepted) if accepted.status == "False" => {
            failed(format!("{name} is not accepted: {}", accepted.said()))
        }
        Some(accepted) if accepted.status == "True" && name.kind == "GatewayClass" => Verdict::Healthy,
        Some(accepted) if accepted.status == "True" => custom::condition_holds(live, name, "Programmed"),
        // The API's own default: `Unknown`, `Waiting for controller`.
        _ => assumed(format!("no gateway controller has looked at {name}")),
    }
}

/// A route has conditions of its own for each gateway that it names. Entries of gateways that it names no longer may stay
/// for ever, as may those of a controller that is gone beside those of its heir: they do not count.
fn route(live: &Value, name: &ObjectRef) -> Verdict {
    let told = items(live, "/status/parents");
    let named = items(live, "/spec/parentRefs");
    let said = |gateway: &Value| -> Vec<Verdict> {
        let own = told.iter().filter(|entry| is_parent(gateway, &entry["parentRef"], name));
        own.map(|entry| by_parent(live, name, entry)).collect()
    };
    let by_gateway: Vec<Vec<Verdict>> = named.iter().map(said).filter(|said| !said.is_empty()).collect();
    if by_gateway.is_empty() {
        return assumed(format!("no gateway controller has looked at {name}"));
    }
    let seen = by_gateway.len();
    let unhappy = by_gateway.into_iter().find(|said| !said.contains(&Verdict::Healthy));
    if let Some(verdict) = unhappy.and_then(|said| said.into_iter().next()) {
        return verdict;
    }
    if seen < named.len() {
        return pending(format!("{seen}/{} gateways to see {name}", named.len()));
    }
    Verdict::Healthy
}

/// Whether an entry of the status is about a parent that a route names, with the API's defaults. A controller may tell of
/// each section (and port) of a gateway that is named as a whole.
fn is_parent(named: &Value, told: &Value, route: &ObjectRef) -> bool {
    let same = |key: &str, default: &str| {
        let of = |reference: &Value| reference.get(key).and_then(Value::as_str).unwrap_or(default).to_owned();
        of(named) == of(told)
    };
    let part =
        |key: &str| named.get(key).is_none_or(|wanted| wanted.is_null() || told.get(key) == Some(wanted));
    same("group", "gateway.networking.k8s.io")
        && same("kind", "Gateway")
        && same("namespace", &route.namespace)
        && same("name", "")
        && part("sectionName")
        && part("port")
}

/// What one gateway's controller says of a route.
fn by_parent(live: &Value, name: &ObjectRef, parent: &Value) -> Verdict {
    let gateway = text(parent, "/parentRef/name");
    for kind in ["Accepted", "ResolvedRefs"] {
        let Some(condition) = custom::condition_in(items(parent, "/conditions"), kind) else { continue };
        if custom::is_old(live, &condition) {
            return pending(format!("gateway {gateway} to see {name}"));
        }
        match (condition.status.as_str(), kind) {
            ("True", _) => {}
            // What it routes to may be made a moment later.
            (_, "ResolvedRefs") => {
                return pending(format!("gateway {gateway} to resolve {name} ({})", condition.said()));
            }
            ("False", _) => {
                return failed(format!("gateway {gateway} does not accept {name}: {}", condition.said()));
            }
            _ => return pending(format!("gateway {gateway} to accept {name}")),
        }
    }
    Verdict::Healthy
}

fn certificate(live: &Value, name: &ObjectRef) -> Verdict {
    let ready = custom::condition(live, "Ready");
    let issuing = custom::condition(live, "Issuing");
    match ready {
        Some(ready) if ready.status == "True" && !custom::is_old(live, &ready) => return Verdict::Healthy,
        Some(ready) if custom::is_old(live, &ready) => return pending(format!("cert-manager to see {name}")),
        None if issuing.is_none() => return pending(format!("cert-manager to see {name}")),
        _ => {}
    }
    // After a failure cert-manager waits an hour before it tries again.
    if let Some(issuing) = &issuing
        && issuing.status == "False"
        && issuing.reason == "Failed"
    {
        return failed(format!("{name} was not issued: {}", issuing.message));
    }
    let said = issuing.or(ready).map(|condition| condition.message).unwrap_or_default();
    pending(format!("{name} to be issued ({said})"))
}

fn argo_rollout(live: &Value, name: &ObjectRef) -> Verdict {
    if custom::lags(live) {
        return pending(format!("the controller to see {name}"));
    }
    let said = text(live, "/status/message");
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    match text(live, "/status/phase") {
        "Healthy" => Verdict::Healthy,
        "Degraded" => failed(format!("{name} is degraded{said}")),
        "Paused" => pending(format!("{name} to be promoted, it is paused{said}")),
        "" => pending(format!("the controller to see {name}")),
        _ => pending(format!("{name} to be rolled out{said}")),
    }
}

fn argo_application(live: &Value, name: &ObjectRef) -> Verdict {
    let (sync, health) = (text(live, "/status/sync/status"), text(live, "/status/health/status"));
    let operation = text(live, "/status/operationState/phase");
    let said = text(live, "/status/operationState/message");
    if matches!(operation, "Failed" | "Error") {
        return failed(format!("{name} could not be synced: {said}"));
    }
    if let Some(wrong) = ["ComparisonError", "InvalidSpecError", "SyncError"]
        .iter()
        .find_map(|kind| custom::condition(live, kind))
    {
        return failed(format!("{name}: {}", wrong.message));
    }
    match (sync, health) {
        ("Synced", "Healthy") => Verdict::Healthy,
        (_, "Degraded") => {
            let said = text(live, "/status/health/message");
            failed(format!(
                "{name} is degraded{}",
                if said.is_empty() { String::new() } else { format!(": {said}") }
            ))
        }
        ("Synced", "Suspended") => assumed(format!("{name} is suspended")),
        ("", "") => pending(format!("Argo CD to see {name}")),
        (sync, health) => pending(format!("{name} to be synced and healthy (it is {sync}, {health})")),
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
