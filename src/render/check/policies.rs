//! Policies: what is allowed by Kubernetes and regretted later. Each has a level in the environment.

use super::pods::{Container, PodTemplate, steps};
use super::{World, name_of, text};
use crate::config::codes;
use crate::domain::diagnostic::Diagnostic;
use serde_json::Value;

pub(super) fn check(world: &mut World<'_>) {
    let mut found: Vec<(&str, Diagnostic)> = Vec::new();
    for template in &world.pods {
        for container in template.containers() {
            found.extend(image(template, &container));
            found.extend(limits(template, &container));
            found.extend(security(template, &container));
            if !container.init && !matches!(template.document.kind(), "Job" | "CronJob" | "Pod") {
                found.extend(probes(template, &container));
            }
        }
    }
    found.extend(owned_replicas(world));
    found.extend(budgets(world));
    for (policy, diagnostic) in found {
        world.policy(policy, diagnostic);
    }
}

type Breach = (&'static str, Diagnostic);

fn breach(
    policy: &'static str,
    code: u16,
    template: &PodTemplate<'_>,
    path: &[String],
    message: String,
) -> Breach {
    (policy, template.document.error(code, &steps(path), message))
}

fn image(template: &PodTemplate<'_>, container: &Container<'_>) -> Option<Breach> {
    let image = text(container.value, "/image");
    let last = image.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map(|(_, tag)| tag);
    if image.is_empty() || image.contains('@') || tag.is_some_and(|tag| tag != "latest") {
        return None;
    }
    let how = if tag.is_some() { "is tagged `latest`" } else { "has no tag" };
    let message = format!("the image of container `{}` {how}", container.name);
    let (policy, diagnostic) =
        breach("image-tag", codes::POLICY_IMAGE, template, &container.at(&["image"]), message);
    let diagnostic = diagnostic
        .why("it can change under the release: a rollback would not bring back what ran before")
        .help("write `image: {{ image }}`, or name a version: `NAME:1.2.3`");
    Some((policy, diagnostic))
}

fn probes(template: &PodTemplate<'_>, container: &Container<'_>) -> Vec<Breach> {
    let why = [
        (
            "readinessProbe",
            "traffic would reach pods that cannot answer, and a broken revision would look healthy",
        ),
        ("livenessProbe", "a process that hangs would stay"),
    ];
    why.into_iter()
        .filter(|(probe, _)| container.value.get(probe).is_none())
        .map(|(probe, why)| {
            let message = format!("container `{}` has no {probe}", container.name);
            let (policy, diagnostic) =
                breach("probes", codes::POLICY_PROBES, template, &container.at(&["name"]), message);
            let help = format!("add `{probe}: {{httpGet: {{path: /health, port: http}}}}`");
            (policy, diagnostic.why(why).help(help))
        })
        .collect()
}

fn limits(template: &PodTemplate<'_>, container: &Container<'_>) -> Option<Breach> {
    let wanted = [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")];
    let missing: Vec<String> = wanted
        .iter()
        .filter(|(part, key)| container.value.pointer(&format!("/resources/{part}/{key}")).is_none())
        .map(|(part, key)| format!("{part}.{key}"))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let message = format!("container `{}` does not set {}", container.name, missing.join(", "));
    let at = if container.value.get("resources").is_some() { "resources" } else { "name" };
    let (policy, diagnostic) =
        breach("limits", codes::POLICY_LIMITS, template, &container.at(&[at]), message);
    let diagnostic = diagnostic
        .why("the scheduler and the autoscaler work with requests; without a memory limit one pod can take its node down")
        .help("add `resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}`");
    Some((policy, diagnostic))
}

fn security(template: &PodTemplate<'_>, container: &Container<'_>) -> Option<Breach> {
    let own = |pointer: &str| container.value.pointer(&format!("/securityContext{pointer}"));
    let pods = |pointer: &str| template.value.pointer(&format!("/spec/securityContext{pointer}"));
    let is = |value: Option<&Value>, wanted: bool| value == Some(&Value::Bool(wanted));
    let mut missing = Vec::new();
    if !is(own("/runAsNonRoot").or_else(|| pods("/runAsNonRoot")), true) {
        missing.push("`runAsNonRoot: true`");
    }
    if !is(own("/readOnlyRootFilesystem"), true) {
        missing.push("`readOnlyRootFilesystem: true`");
    }
    if !is(own("/allowPrivilegeEscalation"), false) {
        missing.push("`allowPrivilegeEscalation: false`");
    }
    let dropped = own("/capabilities/drop").and_then(Value::as_array);
    if !dropped.is_some_and(|list| list.iter().any(|name| name == "ALL")) {
        missing.push("`capabilities: {drop: [ALL]}`");
    }
    if missing.is_empty() {
        return None;
    }
    let message = format!("container `{}` may do more than it needs", container.name);
    let at = if container.value.get("securityContext").is_some() { "securityContext" } else { "name" };
    let (policy, diagnostic) =
        breach("security-context", codes::POLICY_SECURITY, template, &container.at(&[at]), message);
    let diagnostic = diagnostic
        .why("whoever breaks into the process gets what the container may do")
        .help(format!("add to its `securityContext`: {}", missing.join(", ")));
    Some((policy, diagnostic))
}

/// `replicas` in a manifest takes the decision away from the autoscaler at every apply.
fn owned_replicas(world: &World<'_>) -> Vec<Breach> {
    let scalers = world.documents.iter().filter(|d| d.kind() == "HorizontalPodAutoscaler");
    scalers
        .filter_map(|scaler| {
            let kind = text(&scaler.value, "/spec/scaleTargetRef/kind");
            let name = text(&scaler.value, "/spec/scaleTargetRef/name");
            let workload = world.find(scaler, kind, name)?;
            workload.value.pointer("/spec/replicas")?;
            let message =
                format!("{} sets `replicas`, which {} owns", workload.reference(), scaler.reference());
            let diagnostic = workload
                .error(codes::POLICY_HPA, &["spec", "replicas"], message)
                .why("every apply would throw the autoscaler's decision away")
                .help("remove `replicas`");
            Some(("hpa-replicas", diagnostic))
        })
        .collect()
}

/// A budget that allows no disruption blocks every node drain.
fn budgets(world: &World<'_>) -> Vec<Breach> {
    let mut found = Vec::new();
    for document in world.documents.iter().filter(|d| d.kind() == "PodDisruptionBudget") {
        let bound = |key: &str| document.value.pointer(&format!("/spec/{key}"));
        let component = world.environment.component(&document.component);
        let fewest = component.map_or(1, |component| i64::from(component.replicas.min));
        let key = match (bound("minAvailable"), bound("maxUnavailable")) {
            (Some(Value::String(share)), _) if share == "100%" => "minAvailable",
            (Some(Value::Number(n)), _) if n.as_i64().is_some_and(|n| n >= fewest) => "minAvailable",
            (_, Some(Value::String(share))) if share == "0%" => "maxUnavailable",
            (_, Some(Value::Number(n))) if n.as_i64() == Some(0) => "maxUnavailable",
            _ => continue,
        };
        let message = format!("PodDisruptionBudget/{} allows no disruption", name_of(document));
        let diagnostic = document
            .error(codes::POLICY_PDB, &["spec", key], message)
            .why(format!("with {fewest} pods no node that runs one of them could ever be drained"))
            .help("write `maxUnavailable: 1`");
        found.push(("disruption-budget", diagnostic));
    }
    found
}
