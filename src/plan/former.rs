//! Components of an older release that the environment no longer knows: on the way back to it they come back, as that release
//! has them on record.

use super::build::TargetInput;
use crate::domain::environment::{BlueGreen, Component, Environment, Replicas, Strategy, Switch};
use crate::domain::ids::{ComponentId, TargetId};
use crate::domain::object::{Object, ObjectRef};
use crate::domain::release::ServingWorkload;
use crate::rollout::autoscaler;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The environment with the components that only the older release knows; each target is told of its own.
pub fn environment<'e>(
    env: &'e Environment,
    targets: &mut BTreeMap<TargetId, TargetInput>,
) -> Cow<'e, Environment> {
    let mut former: BTreeMap<ComponentId, Component> = BTreeMap::new();
    for input in targets.values_mut() {
        let gone: Vec<(ComponentId, ServingWorkload)> = input
            .named
            .workloads
            .iter()
            .filter(|(id, _)| env.component(id).is_none())
            .map(|(id, serving)| (id.clone(), serving.clone()))
            .collect();
        for (id, serving) in gone {
            let (size, certain) = size_on_record(input, &id, &serving);
            let known = if certain { "as on record" } else { "its size is not on record" };
            input.named.told.push(format!(
                "component {id} is not in {} any more: {} comes back with {size} pods ({known})",
                env.name, serving.workload
            ));
            let component = former.entry(id.clone()).or_insert_with(|| component(id, &serving));
            component.replicas.given |= serving.size.is_some();
            component.replicas.min = component.replicas.min.max(size);
            component.replicas.max = component.replicas.min;
        }
    }
    if former.is_empty() {
        return Cow::Borrowed(env);
    }
    let mut env = env.clone();
    env.components.extend(former.into_values());
    Cow::Owned(env)
}

/// A component as far as a way back needs it: what has a revision comes beside what serves and switches, the rest changes in
/// place. Weights, holds and gates are for the way forward.
fn component(id: ComponentId, serving: &ServingWorkload) -> Component {
    let strategy = match serving.revision {
        Some(_) => Strategy::BlueGreen(BlueGreen {
            switch: Switch::Service,
            green_namespace: None,
            hold: Duration::ZERO,
            preview: Duration::ZERO,
            scale_down_after: Duration::ZERO,
        }),
        None => Strategy::Rolling,
    };
    Component {
        id,
        image: serving.image.clone(),
        manifests: Vec::<PathBuf>::new(),
        depends_on: Vec::new(),
        strategy,
        replicas: Replicas { given: false, min: 0, max: 0, cpu_percent: None, memory_percent: None },
        version_probe: None,
        values: Value::Object(Map::new()),
    }
}

/// How many pods it had, and whether that is on record: of releases that were made before sizes were, its manifest or its
/// autoscaler may say it, else what is live.
fn size_on_record(input: &TargetInput, id: &ComponentId, serving: &ServingWorkload) -> (u32, bool) {
    let own = |object: &&Object| object.component.as_ref() == Some(id);
    let mut objects = input.named.objects.iter().filter(own);
    let replicas = |value: &Value| value.pointer("/spec/replicas").and_then(Value::as_u64).map(|n| n as u32);
    let in_manifest = || {
        let found = objects.clone().find(|object| object.reference() == serving.workload)?;
        replicas(&found.value)
    };
    if let Some(size) = serving.size.or_else(in_manifest) {
        return (size, true);
    }
    let scaled = objects.find(|object| autoscaler::is_one(&object.value));
    if let Some(size) = scaled.and_then(|object| autoscaler::fewest(&object.value)) {
        return (size, true);
    }
    let live = |name: &ObjectRef| input.live.get(name).and_then(replicas).filter(|size| *size > 0);
    (live(&serving.workload).unwrap_or(1), false)
}
