//! How a router divides users while a canary is under way: read from the live routes, by comparison with the routes that the
//! plan holds for each weight. Endpoints say nothing about that.

use super::definitions::definitions;
use crate::domain::effect::Effect;
use crate::domain::ids::{ComponentId, TargetId};
use crate::domain::object::{Object, ObjectRef};
use crate::domain::step::Undo;
use crate::plan::{Plan, diff};
use crate::ports::Cluster;
use crate::ports::cluster::ClusterError;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the live routes of a component say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weight {
    /// This percent goes to the canary's Services.
    Percent(u8),
    /// They are as at none of the plan's weights.
    Unknown(Vec<ObjectRef>),
}

/// The routes of a component at each weight, and the Services that lead to its new revision.
#[derive(Default)]
struct Routes {
    weights: Vec<(u8, Vec<usize>)>,
    canaries: BTreeSet<ObjectRef>,
}

/// The weight of each component that a route divides now. One whose canary Services are gone is divided no more.
///
/// # Errors
/// The routes cannot be read.
pub async fn look(
    cluster: &dyn Cluster,
    plan: &Plan,
    target: &TargetId,
) -> Result<BTreeMap<ComponentId, Weight>, ClusterError> {
    let routes = routes(plan, target);
    let objects: BTreeSet<usize> = routes
        .values()
        .flat_map(|routes| routes.weights.iter().flat_map(|(_, objects)| objects.iter().copied()))
        .collect();
    let wanted: BTreeSet<ObjectRef> = objects
        .iter()
        .map(|index| plan.objects[*index].reference())
        .chain(routes.values().flat_map(|routes| routes.canaries.iter().cloned()))
        .collect();
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let wanted: Vec<ObjectRef> = wanted.into_iter().collect();
    let live = cluster.get_all(&wanted).await?;
    let live: BTreeMap<ObjectRef, Value> =
        wanted.into_iter().zip(live).filter_map(|(name, live)| Some((name, live?))).collect();
    let objects: Vec<&Object> = objects.into_iter().map(|index| &plan.objects[index]).collect();
    let definitions = definitions(cluster, &objects).await;
    let is_live = |index: &usize| {
        let object = &plan.objects[*index];
        let live = live.get(&object.reference());
        live.is_some_and(|live| diff::fields(&definitions, &object.value, live, None).is_empty())
    };
    let open =
        routes.into_iter().filter(|(_, routes)| routes.canaries.iter().any(|name| live.contains_key(name)));
    Ok(open.map(|(component, routes)| (component, weight(plan, &routes, is_live))).collect())
}

/// The weight whose objects are all live. A route without the canary is part of one with it: the larger one counts.
fn weight(plan: &Plan, routes: &Routes, is_live: impl Fn(&usize) -> bool) -> Weight {
    let size =
        |objects: &[usize]| objects.iter().map(|index| plan.objects[*index].value.to_string().len()).sum();
    let live =
        routes.weights.iter().filter(|(_, objects)| !objects.is_empty() && objects.iter().all(&is_live));
    let found = live.max_by_key(|(_, objects)| -> usize { size(objects) });
    found.map_or_else(
        || {
            let names = routes.weights.iter().flat_map(|(_, objects)| objects);
            let names = names.map(|index| plan.objects[*index].reference());
            // What the routes lead to says nothing of a weight.
            let names: BTreeSet<ObjectRef> = names.filter(|name| name.kind != "Service").collect();
            Weight::Unknown(names.into_iter().collect())
        },
        |(percent, _)| Weight::Percent(*percent),
    )
}

/// Every route at every weight that the plan's steps and their ways back hold for a target.
fn routes(plan: &Plan, target: &TargetId) -> BTreeMap<ComponentId, Routes> {
    let mut all: BTreeMap<ComponentId, Routes> = BTreeMap::new();
    for step in plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| step.target == *target) {
        let Some(component) = &step.component else { continue };
        let back = match &step.undo {
            Undo::Effects { effects, .. } => effects.as_slice(),
            Undo::None { .. } => &[],
        };
        for effect in std::iter::once(&step.effect).chain(back) {
            match effect {
                Effect::Weigh { objects, percent, canaries, .. } => {
                    let routes = all.entry(component.clone()).or_default();
                    routes.weights.push((*percent, objects.clone()));
                    routes.canaries.extend(canaries.iter().cloned());
                }
                Effect::Regrow(stable) if !stable.routes.is_empty() => {
                    let routes = all.entry(component.clone()).or_default();
                    let rungs = stable.routes.iter().map(|rung| (rung.percent, rung.objects.clone()));
                    routes.weights.extend(rungs);
                    routes.canaries.extend(stable.canaries.iter().cloned());
                }
                _ => {}
            }
        }
    }
    all
}

/// Percent of users that come to some pods: what the canary's Services take, and their part of what the Service has left.
#[must_use]
pub fn users(weight: u8, is_new: bool, share: Option<u8>) -> u8 {
    let of_rest = share.unwrap_or(if is_new { 0 } else { 100 });
    let rest = u32::from(100 - weight.min(100)) * u32::from(of_rest);
    let canary = if is_new { u32::from(weight) * 100 } else { 0 };
    ((canary + rest + 50) / 100) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_those_of_the_route_and_of_what_the_service_has_left() {
        // weight, share of the new and of the stable pods among the Service's endpoints → percent of users
        for (weight, shares, expected) in [
            (0, (Some(0), Some(100)), (0, 100)),
            (50, (Some(0), Some(100)), (50, 50)),
            (50, (None, None), (50, 50)),
            (100, (Some(0), Some(100)), (100, 0)),
            // the Service leads to the new pods already
            (100, (Some(100), Some(0)), (100, 0)),
            (0, (Some(100), Some(0)), (100, 0)),
        ] {
            let told = (users(weight, true, shares.0), users(weight, false, shares.1));
            assert_eq!(told, expected, "{weight} {shares:?}");
        }
    }
}
