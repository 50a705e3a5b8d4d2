//! Gives immutable things names of their own: a Deployment per revision, `ConfigMap`s and `Secret`s by content.
//!
//! For canary and blue-green a release's Deployment is `NAME-rREVISION`, with the revision in its selector, made once
//! and never edited but for its size. A rollback then brings back the very object (and configuration) that served before.

mod configuration;

pub(super) use configuration::{keeps_name, manifest_name};

use super::diff::object_mut;
use super::{hooks, turns};
use crate::domain::environment::{Component, Environment, Strategy, Switch};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{ComponentId, Revision};
use crate::domain::object::{LABEL_REVISION, Object, ObjectRef};
use crate::domain::release::{Release, ServingWorkload};
use crate::rollout::autoscaler;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Kinds of workloads that can serve a component.
const WORKLOADS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// Whether objects of a kind run pods for as long as they are there.
#[must_use]
pub fn is_workload(kind: &str) -> bool {
    WORKLOADS.contains(&kind)
}

/// A release's objects under their final names.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// All of them.
    pub objects: Vec<Object>,
    /// The workload that serves each component.
    pub workloads: BTreeMap<ComponentId, ServingWorkload>,
    /// Jobs that run when the release is left backwards, under the names in their manifests; no part of `objects`.
    pub rollback_jobs: Vec<Object>,
    /// What an operator should know of the names.
    pub told: Vec<String>,
}

/// Names everything for release `revision`. A component whose pods would be the same as in `previous` keeps its workload.
pub fn name(
    env: &Environment,
    rendered: Vec<Object>,
    revision: Revision,
    previous: Option<&Release>,
) -> Result<Named, Failure> {
    let mut objects = rendered;
    let told = configuration::name(&mut objects);
    let mut workloads = BTreeMap::new();
    for component in &env.components {
        let moved = matches!(component.strategy, Strategy::Canary(_) | Strategy::BlueGreen(_));
        let Some(index) = workload_of(&objects, &component.id, moved)? else { continue };
        // A canary of a StatefulSet is part of its pods.
        let by_pods = matches!(&component.strategy, Strategy::Canary(canary) if !canary.router.is_weighted());
        let in_part = by_pods && objects[index].kind() == "StatefulSet";
        if moved && !in_part && objects[index].kind() != "Deployment" {
            return Err(unsupported(component, objects[index].kind()));
        }
        let revisioned = moved && !in_part;
        if component.strategy == Strategy::Recreate && objects[index].kind() == "Deployment" {
            object_mut(&mut objects[index].value["spec"])
                .insert("strategy".to_owned(), json!({"type": "Recreate"}));
        }
        turns::place(env, component, &mut objects, index, previous)?;
        let serving = name_workload(&mut objects, index, revisioned, revision, previous);
        if let Strategy::BlueGreen(blue_green) = &component.strategy {
            name_routes(&mut objects, &component.id, &serving, blue_green.switch);
        } else if component.strategy.weighted_router().is_some() {
            name_routes(&mut objects, &component.id, &serving, Switch::Service);
        }
        workloads.insert(component.id.clone(), serving);
    }
    let rollback_jobs = hooks::take_out(&mut objects);
    Ok(Named { objects, workloads, rollback_jobs, told })
}

/// The object that runs the component's pods: its only workload, or the one of several that has its name. The
/// others are applied in place and waited for, as all of them are when none has the name.
fn workload_of(
    objects: &[Object],
    component: &ComponentId,
    revisioned: bool,
) -> Result<Option<usize>, Failure> {
    let of_component = |object: &Object| object.component.as_ref() == Some(component);
    let found: Vec<usize> = (0..objects.len())
        .filter(|index| of_component(&objects[*index]) && is_workload(objects[*index].kind()))
        .collect();
    let named = found.iter().copied().find(|index| objects[*index].name() == component.as_str());
    match (found.as_slice(), named) {
        ([], _) => Ok(None),
        ([only], _) => Ok(Some(*only)),
        (_, Some(named)) => Ok(Some(named)),
        _ if !revisioned => Ok(None),
        ([one, other, ..], None) => {
            let (one, other) = (objects[*one].reference(), objects[*other].reference());
            let what = format!("it is not clear which workload of component {component} takes the traffic");
            Err(Failure::new(Code(301), Exit::Usage, what)
                .why(format!("{one} and {other} both stand in its manifests; canary and blue-green move one"))
                .next(format!("name that one `{component}`: the others are then changed in place"))
                .next(format!("or set components.{component}.strategy: rolling, or split the component")))
        }
    }
}

fn unsupported(component: &Component, kind: &str) -> Failure {
    let id = &component.id;
    let what = format!("component {id}: a {kind} cannot be rolled out side by side");
    let failure = Failure::new(Code(302), Exit::Usage, what)
        .why("blue-green, and canary with a router, need a Deployment per revision");
    match (kind, component.strategy.weighted_router()) {
        ("StatefulSet", Some(router)) => failure
            .next(format!("take router: {} away: the share is then that of the updated pods", router.name())),
        ("StatefulSet", None) => failure.next(format!("set components.{id}.strategy: canary, or rolling")),
        _ => failure.next(format!("set components.{id}.strategy: rolling")),
    }
}

fn name_workload(
    objects: &mut [Object],
    index: usize,
    revisioned: bool,
    revision: Revision,
    previous: Option<&Release>,
) -> ServingWorkload {
    let hash = digest(&objects[index].value["spec"]["template"]);
    let component = objects[index].component.clone();
    let image = objects[index]
        .value
        .pointer("/spec/template/spec/containers/0/image")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let before = previous.and_then(|release| release.workloads.get(component.as_ref()?));
    if !revisioned {
        let workload = objects[index].reference();
        return ServingWorkload { workload, revision: None, image, hash, size: None };
    }
    let kept = before.filter(|before| before.hash == hash).and_then(|before| before.revision);
    let number = kept.unwrap_or(revision);
    let original = objects[index].reference();
    let renamed = revise(&mut objects[index], number);
    retarget_autoscalers(objects, &original, &renamed);
    ServingWorkload { workload: renamed, revision: Some(number), image, hash, size: None }
}

/// Gives a Deployment its revision's name, and the revision to its selector and pods.
fn revise(object: &mut Object, revision: Revision) -> ObjectRef {
    let label = revision.0.to_string();
    let name = format!("{}-{revision}", object.name());
    object_mut(&mut object.value["metadata"]).insert("name".to_owned(), json!(name));
    for pointer in [
        &["metadata", "labels"][..],
        &["spec", "selector", "matchLabels"][..],
        &["spec", "template", "metadata", "labels"][..],
    ] {
        let mut place = &mut object.value;
        for key in pointer {
            place = object_mut(place).entry(*key).or_insert_with(|| json!({}));
        }
        object_mut(place).insert(LABEL_REVISION.to_owned(), json!(label));
    }
    object.reference()
}

fn retarget_autoscalers(objects: &mut [Object], from: &ObjectRef, to: &ObjectRef) {
    for object in objects.iter_mut().filter(|object| autoscaler::is_one(&object.value)) {
        if autoscaler::target(&object.value) == (from.kind.as_str(), from.name.as_str()) {
            object.value["spec"]["scaleTargetRef"]["name"] = json!(to.name);
        }
    }
}

/// Whether a Service leads to a workload's pods. One without a selector leads where others say.
pub(super) fn leads_to(service: &Value, workload: &Value) -> bool {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    let selector = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty());
    selector.is_some_and(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// Services that lead to the workload select its revision where their traffic is switched or routed; for an Ingress switch
/// each revision has a Service of its own.
fn name_routes(
    objects: &mut Vec<Object>,
    component: &ComponentId,
    serving: &ServingWorkload,
    switch: Switch,
) {
    let Some(revision) = serving.revision else { return };
    let workload = objects.iter().find(|object| object.reference() == serving.workload);
    let Some(workload) = workload.map(|object| object.value.clone()) else { return };
    let mut revisioned = Vec::new();
    let mut names = Vec::new();
    // Another workload of the component keeps its Services as they are.
    for object in objects.iter_mut().filter(|object| {
        object.component.as_ref() == Some(component)
            && object.kind() == "Service"
            && leads_to(&object.value, &workload)
    }) {
        let name = object.name().to_owned();
        object.value["spec"]["selector"][LABEL_REVISION] = json!(revision.0.to_string());
        if switch == Switch::Ingress {
            let mut copy = object.clone();
            copy.value["metadata"]["name"] = json!(format!("{name}-{revision}"));
            revisioned.push(copy);
        }
        names.push(name);
    }
    if switch == Switch::Ingress {
        for object in
            objects.iter_mut().filter(|o| o.component.as_ref() == Some(component) && o.kind() == "Ingress")
        {
            rename_backends(&mut object.value, &names, revision);
        }
    }
    objects.extend(revisioned);
}

/// Every `service: {name: N}` below an Ingress's spec, where N is one of `names`, becomes `N-rREVISION`.
fn rename_backends(value: &mut Value, names: &[String], revision: Revision) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get_mut("service").and_then(|service| service.get_mut("name"))
                && names.iter().any(|known| name == known)
            {
                *name = json!(format!("{}-{revision}", name.as_str().unwrap_or_default()));
            }
            map.values_mut().for_each(|value| rename_backends(value, names, revision));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| rename_backends(value, names, revision)),
        _ => {}
    }
}

/// SHA-256 of a value's canonical JSON (keys sorted), as hex.
#[must_use]
pub fn digest(value: &Value) -> String {
    let mut text = Vec::new();
    canonical(value, &mut text);
    Sha256::digest(&text).iter().fold(String::with_capacity(64), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            out.push(b'{');
            for key in keys {
                scalar(key, out);
                canonical(&map[key], out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                canonical(item, out);
            }
            out.push(b']');
        }
        value => {
            scalar(value, out);
            out.push(b',');
        }
    }
}

fn scalar(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("memory takes what JSON holds");
}
