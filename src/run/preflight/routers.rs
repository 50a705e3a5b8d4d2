//! Whether the target's routers can carry the weights of the plan's canaries.

use super::{Check, Level};
use crate::domain::effect::Effect;
use crate::domain::environment::{Component, Environment, Router};
use crate::domain::ids::TargetId;
use crate::domain::object::{Object, ObjectRef};
use crate::plan::Plan;
use crate::ports::Cluster;
use crate::ports::cluster::Permission;
use crate::rollout::router::nginx;
use serde_json::Value;
use std::collections::BTreeSet;

/// Controllers of an `IngressClass` that carry weights for each router.
const NGINX: &str = "k8s.io/ingress-nginx";
const ALB: &str = "ingress.k8s.aws/alb";

/// Checks every component whose weights a route of this target carries.
pub(super) async fn check(
    env: &Environment,
    plan: &Plan,
    target: &TargetId,
    cluster: &dyn Cluster,
) -> Vec<Check> {
    let mut checks = Vec::new();
    for component in &env.components {
        let weighed = weighed(plan, target, component);
        let Some(router) = component.strategy.weighted_router().filter(|_| !weighed.is_empty()) else {
            continue;
        };
        let found = match router {
            Router::Nginx(_) => {
                let mut found = class(target, cluster, &weighed, NGINX, "nginx").await;
                found.extend(others(target, cluster, &weighed).await);
                found
            }
            Router::Alb(_) => class(target, cluster, &weighed, ALB, "alb").await,
            Router::Gateway(_) | Router::Istio(_) => known(target, cluster, &weighed).await,
            Router::Pods => Vec::new(),
        };
        if found.is_empty() {
            let detail = format!("{} carries the weights of {}", router.name(), component.id);
            checks.push(Check::new(Level::Pass, Some(target), "router", detail));
        }
        checks.extend(found);
    }
    checks
}

/// The routes that the plan writes at weights.
fn weighed<'p>(plan: &'p Plan, target: &TargetId, component: &Component) -> Vec<&'p Object> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    let own = steps.filter(|step| step.target == *target && step.component.as_ref() == Some(&component.id));
    let written = own.filter_map(|step| match &step.effect {
        Effect::Weigh { objects, .. } => Some(objects),
        _ => None,
    });
    let mut places: Vec<usize> = written.flatten().copied().collect();
    places.sort_unstable();
    places.dedup();
    let mut names = BTreeSet::new();
    let objects = places.into_iter().map(|place| &plan.objects[place]);
    objects.filter(|object| names.insert(object.reference())).collect()
}

/// What the canaries need beyond the release's own objects.
pub(super) async fn permissions(plan: &Plan, target: &TargetId, cluster: &dyn Cluster) -> Vec<Permission> {
    let mut wanted: BTreeSet<(ObjectRef, &str)> = BTreeSet::new();
    for step in plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| step.target == *target) {
        let Effect::Weigh { objects, canaries, .. } = &step.effect else { continue };
        for place in objects {
            wanted.insert((plan.objects[*place].reference(), "patch"));
            if nginx::is_canary(&plan.objects[*place].value) {
                wanted.insert((plan.objects[*place].reference(), "delete"));
            }
        }
        for name in canaries {
            wanted.extend([(name.clone(), "patch"), (name.clone(), "delete")]);
        }
    }
    let mut permissions = Vec::new();
    for (object, verb) in wanted {
        if let Ok(Some(resource)) = cluster.plural(&object.api_version, &object.kind).await {
            let (group, namespace) = (object.group().to_owned(), object.namespace.clone());
            permissions.push(Permission { verb: verb.to_owned(), group, resource, namespace });
        }
    }
    permissions
}

/// Who serves the Ingresses: the class says its controller, and without one its name has to speak.
async fn class(
    target: &TargetId,
    cluster: &dyn Cluster,
    routes: &[&Object],
    controller: &str,
    family: &str,
) -> Vec<Check> {
    let mut checks = Vec::new();
    for route in routes {
        let annotation = &route.value["metadata"]["annotations"]["kubernetes.io/ingress.class"];
        let class = route.value["spec"]["ingressClassName"].as_str().or(annotation.as_str());
        let name = route.reference();
        let warn = |detail: String| {
            Check::new(Level::Warn, Some(target), "router", detail)
                .fix(format!("does {controller} serve it? Other controllers ignore its weights"))
        };
        let Some(class) = class else {
            checks.push(warn(format!("{name} names no class: whoever serves the default class gets it")));
            continue;
        };
        let reference = ObjectRef::new("networking.k8s.io/v1", "IngressClass", "", class);
        let live = cluster.get(&reference).await.ok().flatten();
        let served = live.as_ref().and_then(|live| live.pointer("/spec/controller")).and_then(Value::as_str);
        match served {
            Some(served) if served == controller => {}
            Some(served) => checks.push(warn(format!("{name}: class {class} is served by {served}"))),
            None if class.contains(family) => {}
            None => checks.push(warn(format!("{name}: nothing tells who serves class {class}"))),
        }
    }
    checks
}

/// Ingresses that are not of the release and stand in the way of a canary.
async fn others(target: &TargetId, cluster: &dyn Cluster, routes: &[&Object]) -> Vec<Check> {
    let mut checks = Vec::new();
    let fail = |detail: String, why: &str| {
        Check::new(Level::Fail, Some(target), "router", format!("{detail}: {why}"))
            .fix("delete it, or rename it")
    };
    for route in routes {
        let name = route.reference();
        let live = match cluster.list("networking.k8s.io/v1", "Ingress", &name.namespace).await {
            Ok(live) => live,
            Err(error) => {
                let detail = format!("the Ingresses beside {name} cannot be listed: {error}");
                checks.push(Check::new(Level::Warn, Some(target), "router", detail));
                continue;
            }
        };
        let own = nginx::addresses(&route.value);
        let backends = nginx::backends(&route.value);
        for other in live.iter().filter(|other| other["metadata"]["name"] != name.name.as_str()) {
            let other_name = ObjectRef::of(other);
            let same = nginx::addresses(other).iter().any(|address| own.contains(address));
            if nginx::is_canary(other) && same {
                let what = format!("{other_name} is a canary of the same host and path as {name}");
                checks.push(fail(what, "one is effective"));
            } else if nginx::backends(other).iter().any(|backend| backends.contains(backend)) {
                let what = format!("{other_name} leads to the Service of {name}");
                checks.push(fail(what, "ingress-nginx ignores a canary whose Service backs another Ingress"));
            }
        }
    }
    checks
}

/// Kinds that an installation brings.
async fn known(target: &TargetId, cluster: &dyn Cluster, weighed: &[&Object]) -> Vec<Check> {
    let mut checks = Vec::new();
    for name in weighed.iter().map(|route| route.reference()) {
        if let Ok(None) = cluster.plural(&name.api_version, &name.kind).await {
            let detail = format!("the server does not know {} ({})", name.kind, name.api_version);
            checks.push(
                Check::new(Level::Fail, Some(target), "router", detail)
                    .fix("install what defines it, or choose another `router`"),
            );
        }
    }
    checks
}
