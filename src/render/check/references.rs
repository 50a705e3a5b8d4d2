//! References from object to object: scaling targets, Ingress backends, volumes, configuration, accounts.

use super::super::Document;
use super::pods::{Container, PodTemplate, steps};
use super::{World, items, text};
use crate::config::codes;
use crate::domain::diagnostic::{Diagnostic, nearest};
use crate::domain::environment::{Strategy, Switch};
use serde_json::Value;

pub(super) fn check(world: &mut World<'_>) {
    for index in 0..world.documents.len() {
        let document = &world.documents[index];
        match document.kind() {
            "HorizontalPodAutoscaler" => autoscaler(world, document),
            "Ingress" => ingress(world, document),
            _ => {}
        }
    }
    for index in 0..world.pods.len() {
        pod(world, index);
    }
    switches(world);
}

fn autoscaler(world: &mut World<'_>, document: &Document) {
    let kind = text(&document.value, "/spec/scaleTargetRef/kind");
    let name = text(&document.value, "/spec/scaleTargetRef/name");
    let workload = matches!(kind, "Deployment" | "StatefulSet" | "ReplicaSet");
    if workload && world.find(document, kind, name).is_none() {
        let message = format!("{} scales {kind}/{name}, which is not there", document.reference());
        let help = near_help(name, &world.names(document, kind));
        let path = ["spec", "scaleTargetRef", "name"];
        world.out.push(document.error(codes::OBJECT_REFERENCE, &path, message).help(help));
    }
    let bound = |key: &str| document.value.pointer(&format!("/spec/{key}")).and_then(Value::as_i64);
    let (min, max) = (bound("minReplicas").unwrap_or(1), bound("maxReplicas"));
    if let Some(max) = max.filter(|max| *max < min) {
        let message =
            format!("{}: `maxReplicas` {max} is less than `minReplicas` {min}", document.reference());
        world.out.push(document.error(codes::OBJECT_REFERENCE, &["spec", "maxReplicas"], message));
    }
}

fn ingress(world: &mut World<'_>, document: &Document) {
    let mut backends: Vec<(Vec<String>, &Value)> = Vec::new();
    let path = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    if let Some(service) = document.value.pointer("/spec/defaultBackend/service") {
        backends.push((path(&["spec", "defaultBackend", "service"]), service));
    }
    for (r, rule) in items(&document.value, "/spec/rules").iter().enumerate() {
        for (p, route) in items(rule, "/http/paths").iter().enumerate() {
            if let Some(service) = route.pointer("/backend/service") {
                let (r, p) = (r.to_string(), p.to_string());
                let at = path(&["spec", "rules", &r, "http", "paths", &p, "backend", "service"]);
                backends.push((at, service));
            }
        }
    }
    for (path, service) in backends {
        backend(world, document, &path, service);
    }
}

fn backend(world: &mut World<'_>, document: &Document, path: &[String], backend: &Value) {
    let name = text(backend, "/name");
    let at = |key: &[&str]| -> Vec<String> {
        path.iter().cloned().chain(key.iter().map(|key| (*key).to_owned())).collect()
    };
    let Some(service) = world.find(document, "Service", name) else {
        let at = at(&["name"]);
        external(world, document, &steps(&at), "Service", name);
        return;
    };
    let ports = items(&service.value, "/spec/ports");
    let (key, wanted) = match (backend.pointer("/port/name"), backend.pointer("/port/number")) {
        (Some(name), _) => ("name", name),
        (None, Some(number)) => ("number", number),
        (None, None) => return,
    };
    let field = if key == "name" { "name" } else { "port" };
    if ports.iter().any(|port| port.get(field) == Some(wanted)) {
        return;
    }
    let known: Vec<String> = ports
        .iter()
        .map(|port| match port.get("name").and_then(Value::as_str) {
            Some(name) => format!("{name} ({})", port.get("port").unwrap_or(&Value::Null)),
            None => port.get("port").unwrap_or(&Value::Null).to_string(),
        })
        .collect();
    let shown = wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned);
    let message = format!("Service/{name} has no port `{shown}`");
    let at = at(&["port", key]);
    let diagnostic = document
        .error(codes::OBJECT_REFERENCE, &steps(&at), message)
        .help(format!("its ports are: {}", known.join(", ")))
        .related(service.place(&["spec", "ports"]), "the ports of the Service");
    world.out.push(diagnostic);
}

fn pod(world: &mut World<'_>, index: usize) {
    let template = &world.pods[index];
    let document = template.document;
    let spec = |pointer: &str| format!("/spec{pointer}");
    let account = text(template.value, &spec("/serviceAccountName")).to_owned();
    let account_path = template.at(&["spec", "serviceAccountName"]);
    let mut wanted: Vec<(Vec<String>, &str, String)> = Vec::new();
    if !account.is_empty() && account != "default" {
        wanted.push((account_path, "ServiceAccount", account));
    }
    for (index, pull) in items(template.value, &spec("/imagePullSecrets")).iter().enumerate() {
        let path = template.at(&["spec", "imagePullSecrets", &index.to_string(), "name"]);
        wanted.push((path, "Secret", text(pull, "/name").to_owned()));
    }
    for (index, volume) in items(template.value, &spec("/volumes")).iter().enumerate() {
        let base = template.at(&["spec", "volumes", &index.to_string()]);
        wanted.extend(volume_references(&base, volume));
    }
    let mut mistakes = Vec::new();
    for container in template.containers() {
        wanted.extend(environment_references(&container));
        mistakes.extend(volume_mounts(template, &container));
        mistakes.extend(probe_ports(template, &container));
        mistakes.extend(missing_keys(world, document, &container));
    }
    world.out.extend(mistakes);
    for (path, kind, name) in wanted {
        let known = world.find(document, kind, &name).is_some()
            || (kind == "Secret" && world.environment.secrets.contains_key(&name));
        if !known && !name.is_empty() {
            external(world, document, &steps(&path), kind, &name);
        }
    }
}

/// Paths, kinds and names of what a volume reads.
fn volume_references<'k>(base: &[String], volume: &Value) -> Vec<(Vec<String>, &'k str, String)> {
    let mut found = Vec::new();
    let mut sources: Vec<(Vec<String>, &Value)> = vec![(base.to_vec(), volume)];
    for (index, source) in items(volume, "/projected/sources").iter().enumerate() {
        let tail = ["projected", "sources", &index.to_string()].map(str::to_owned);
        sources.push((base.iter().cloned().chain(tail).collect(), source));
    }
    for (path, source) in sources {
        for (key, field, kind) in [
            ("configMap", "name", "ConfigMap"),
            ("secret", "secretName", "Secret"),
            ("secret", "name", "Secret"),
            ("persistentVolumeClaim", "claimName", "PersistentVolumeClaim"),
        ] {
            let Some(reference) = source.get(key) else { continue };
            let name = text(reference, &format!("/{field}"));
            if !name.is_empty() && reference.get("optional") != Some(&Value::Bool(true)) {
                let at = path.iter().cloned().chain([key.to_owned(), field.to_owned()]).collect();
                found.push((at, kind, name.to_owned()));
            }
        }
    }
    found
}

fn environment_references<'k>(container: &Container<'_>) -> Vec<(Vec<String>, &'k str, String)> {
    let mut found = Vec::new();
    let mut add = |path: &[&str], reference: Option<&Value>, kind: &'k str| {
        if let Some(reference) = reference.filter(|r| r.get("optional") != Some(&Value::Bool(true))) {
            found.push((container.at(path), kind, text(reference, "/name").to_owned()));
        }
    };
    for (index, source) in items(container.value, "/envFrom").iter().enumerate() {
        let index = index.to_string();
        add(&["envFrom", &index, "configMapRef", "name"], source.get("configMapRef"), "ConfigMap");
        add(&["envFrom", &index, "secretRef", "name"], source.get("secretRef"), "Secret");
    }
    for (index, variable) in items(container.value, "/env").iter().enumerate() {
        let index = index.to_string();
        for (key, kind) in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")] {
            let reference = variable.pointer(&format!("/valueFrom/{key}"));
            add(&["env", &index, "valueFrom", key, "name"], reference, kind);
        }
    }
    found
}

/// A key that is read must be in the `ConfigMap` or Secret, where that is ours.
fn missing_keys(world: &World<'_>, document: &Document, container: &Container<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, variable) in items(container.value, "/env").iter().enumerate() {
        for (key, kind) in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")] {
            let Some(reference) = variable.pointer(&format!("/valueFrom/{key}")) else { continue };
            let (name, wanted) = (text(reference, "/name"), text(reference, "/key"));
            let keys: Vec<&str> = match world.find(document, kind, name) {
                Some(object) => ["data", "stringData", "binaryData"]
                    .iter()
                    .filter_map(|part| object.value.get(part)?.as_object())
                    .flat_map(|map| map.keys().map(String::as_str))
                    .collect(),
                None => match world.environment.secrets.get(name).filter(|_| kind == "Secret") {
                    Some(keys) => keys.keys().map(String::as_str).collect(),
                    None => continue,
                },
            };
            if keys.contains(&wanted) || reference.get("optional") == Some(&Value::Bool(true)) {
                continue;
            }
            let path = container.at(&["env", &index.to_string(), "valueFrom", key, "key"]);
            let message = format!("{kind}/{name} has no key `{wanted}`");
            found.push(
                document
                    .error(codes::OBJECT_REFERENCE, &steps(&path), message)
                    .why("the container could not start (CreateContainerConfigError)")
                    .help(near_help(wanted, &keys)),
            );
        }
    }
    found
}

fn volume_mounts(template: &PodTemplate<'_>, container: &Container<'_>) -> Vec<Diagnostic> {
    let name = |value| text(value, "/name");
    let mut volumes: Vec<&str> = items(template.value, "/spec/volumes").iter().map(name).collect();
    let claims = items(&template.document.value, "/spec/volumeClaimTemplates");
    volumes.extend(claims.iter().map(|claim| text(claim, "/metadata/name")));
    let mounts = items(container.value, "/volumeMounts").iter().enumerate();
    mounts
        .filter(|(_, mount)| !volumes.contains(&name(mount)))
        .map(|(index, mount)| {
            let path = container.at(&["volumeMounts", &index.to_string(), "name"]);
            let message =
                format!("container `{}` mounts a volume `{}` that is not there", container.name, name(mount));
            template
                .document
                .error(codes::OBJECT_REFERENCE, &steps(&path), message)
                .help(near_help(name(mount), &volumes))
        })
        .collect()
}

fn probe_ports(template: &PodTemplate<'_>, container: &Container<'_>) -> Vec<Diagnostic> {
    let ports: Vec<&str> = items(container.value, "/ports").iter().map(|port| text(port, "/name")).collect();
    let mut found = Vec::new();
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        for way in ["httpGet", "tcpSocket"] {
            let name = text(container.value, &format!("/{probe}/{way}/port"));
            if !name.is_empty() && !name.chars().all(|c| c.is_ascii_digit()) && !ports.contains(&name) {
                let path = container.at(&[probe, way, "port"]);
                let message = format!("container `{}` has no port `{name}`", container.name);
                found.push(
                    template
                        .document
                        .error(codes::OBJECT_REFERENCE, &steps(&path), message)
                        .why(format!("`{probe}` could never pass"))
                        .help(near_help(name, &ports)),
                );
            }
        }
    }
    found
}

/// What none of the manifests defines may still be in the cluster.
fn external(world: &mut World<'_>, document: &Document, path: &[&str], kind: &str, name: &str) {
    let known = world.names(document, kind);
    let message =
        format!("{} needs {kind}/{name}, which none of the manifests defines", document.reference());
    let mut diagnostic = document
        .error(codes::OBJECT_REFERENCE, path, message)
        .why("it must be in the namespace already, or the pods cannot start");
    diagnostic.help = Some(match nearest(name, known.iter().copied()) {
        Some(near) => format!("write `{near}`, or make {kind}/{name} before the first deployment"),
        None if kind == "Secret" => {
            format!("add `{name}` under `secrets:`, or make it before the first deployment")
        }
        None => format!("add a manifest of it, or make {kind}/{name} before the first deployment"),
    });
    world.policy("external-reference", diagnostic);
}

/// A switch through the Ingress needs an Ingress.
fn switches(world: &mut World<'_>) {
    for component in &world.environment.components {
        let Strategy::BlueGreen(blue_green) = &component.strategy else { continue };
        let own = |kind: &str| {
            let mut of = world.documents.iter().filter(|d| d.component == component.id);
            of.find(|d| d.kind() == kind)
        };
        if blue_green.switch != Switch::Ingress || own("Ingress").is_some() {
            continue;
        }
        if let Some(document) = own("Deployment").or_else(|| own("StatefulSet")) {
            let id = &component.id;
            let message = format!("component `{id}` switches through the Ingress, but has none");
            let diagnostic = document
                .error(codes::OBJECT_REFERENCE, &["kind"], message)
                .why("there is nothing that could move its traffic")
                .help(format!(
                    "add an Ingress, or write `components.{id}.strategy: {{blue_green: {{switch: service}}}}`"
                ));
            world.out.push(diagnostic);
        }
    }
}

fn near_help(wrong: &str, known: &[&str]) -> String {
    let named: Vec<&str> = known.iter().copied().filter(|name| !name.is_empty()).collect();
    match nearest(wrong, named.iter().copied()) {
        Some(near) => format!("write `{near}`"),
        None if named.is_empty() => "there is none at all; add it".to_owned(),
        None => format!("there are: {}", named.join(", ")),
    }
}
