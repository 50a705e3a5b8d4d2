//! Refuses releases whose routes cannot carry weights.

use super::naming::Named;
use crate::domain::environment::{Component, Environment, Router, Strategy};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::ComponentId;
use crate::domain::object::{LABEL_REVISION, Object};
use crate::rollout::router::{self, nginx};

/// The Services of a component that lead to one revision, under the manifests' own names.
#[must_use]
pub fn services(named: &Named, component: &ComponentId) -> Vec<String> {
    // For a switch of the Ingress each revision has a copy of its own.
    let revision = named.workloads.get(component).and_then(|serving| serving.revision);
    let copy = revision.map(|revision| format!("-{revision}"));
    let is_copy = |name: &str| copy.as_ref().is_some_and(|copy| name.ends_with(copy.as_str()));
    let own = named.objects.iter().filter(|object| object.component.as_ref() == Some(component));
    own.filter(|object| object.kind() == "Service")
        .filter(|object| object.value["spec"]["selector"].get(LABEL_REVISION).is_some())
        .map(|object| object.name().to_owned())
        .filter(|name| !is_copy(name))
        .collect()
}

/// The routes that lead to the component's Services.
#[must_use]
pub fn routes<'n>(named: &'n Named, component: &ComponentId, router: &Router) -> Vec<&'n Object> {
    let services = services(named, component);
    named.objects.iter().filter(|object| router::leads(router, &object.value, &services)).collect()
}

/// The Ingresses that ingress-nginx divides for the component and for others, too.
#[must_use]
pub fn shared<'n>(components: &[Component], named: &'n Named, component: &Component) -> Vec<&'n Object> {
    let divides = |component: &Component| match component.strategy.weighted_router() {
        Some(router @ Router::Nginx(_)) => routes(named, &component.id, router),
        _ => Vec::new(),
    };
    let others = components.iter().filter(|other| other.id != component.id);
    let others: Vec<&Object> = others.flat_map(divides).collect();
    divides(component).into_iter().filter(|route| others.contains(route)).collect()
}

/// Checks every component whose weights a router carries.
pub fn check(env: &Environment, named: &Named) -> Result<(), Failure> {
    let weighted = env.components.iter().filter(|component| named.workloads.contains_key(&component.id));
    let mut divided: Vec<(&Object, &Component)> = Vec::new();
    for component in weighted {
        if let Strategy::BlueGreen(how) = &component.strategy
            && !how.preview.is_zero()
        {
            let previews: Vec<String> =
                services(named, &component.id).iter().map(|name| router::preview_name(name)).collect();
            no_service(component, &previews, "before the switch", named)?;
        }
        let Some(router) = component.strategy.weighted_router() else { continue };
        let led = routes(named, &component.id, router);
        if led.is_empty() {
            return Err(no_route(component, router));
        }
        free(component, router, &led, named)?;
        short_enough(component, router, &led, named)?;
        if let Strategy::Canary(canary) = &component.strategy
            && let Some(mirror) = &canary.mirror
        {
            let services = services(named, &component.id);
            let mirrors =
                |route: &&&Object| router::mirror(router, &route.value, &services, mirror.percent).is_none();
            if let Some(route) = led.iter().find(mirrors) {
                let what = format!("{} ({}) copies requests already", route.reference(), route.origin);
                return Err(Failure::new(Code(307), Exit::Usage, what)
                    .why(format!("the copies for the new {} would take their place", component.id))
                    .next(format!("take `mirror` out of components.{}.strategy.canary", component.id)));
            }
        }
        for route in led {
            let taken =
                divided.iter().find(|(other, _)| *other == route && !matches!(router, Router::Nginx(_)));
            if let Some((_, other)) = taken {
                let what = format!("{} cannot carry the weights of two components", route.reference());
                return Err(Failure::new(Code(307), Exit::Usage, what)
                    .why(format!("{} and {} would each write all of its backends", other.id, component.id))
                    .next("give each component a route of its own"));
            }
            divided.push((route, component));
        }
    }
    Ok(())
}

fn no_route(component: &Component, router: &Router) -> Failure {
    let (id, name) = (&component.id, router.name());
    let kind = match router {
        Router::Gateway(_) => "HTTPRoute",
        Router::Istio(_) => "VirtualService",
        Router::Pods | Router::Nginx(_) | Router::Alb(_) => "Ingress",
    };
    let what = format!("component {id}: router {name} finds no {kind} that leads to its Services");
    Failure::new(Code(306), Exit::Usage, what)
        .why(
            "weights are written into the route, and divide between the component's Service and its canary's",
        )
        .next(format!("add a {kind} whose backend is the Service to the manifests of {id}"))
        .next(format!("or set components.{id}.strategy.canary.router: pods"))
}

/// Testers need a rule of their own beside each that leads to the component, and an `HTTPRoute` holds 16 of them
/// (gateway-api, `apis/v1/httproute_types.go`, `HTTPRouteSpec.Rules`).
fn short_enough(
    component: &Component,
    router: &Router,
    led: &[&Object],
    named: &Named,
) -> Result<(), Failure> {
    if !matches!(router, Router::Gateway(_)) {
        return Ok(());
    }
    let services = services(named, &component.id);
    for route in led {
        let weighed = router::weigh(router, &route.value, &services, 0);
        let rules = weighed["spec"]["rules"].as_array().map_or(0, Vec::len);
        let before = route.value["spec"]["rules"].as_array().map_or(0, Vec::len);
        if rules > 16 && before <= 16 {
            let what = format!("{} ({}) would have {rules} rules", route.reference(), route.origin);
            return Err(Failure::new(Code(307), Exit::Usage, what)
                .why("testers need a rule beside each one that leads to the component, and 16 are allowed")
                .next("divide it into two routes")
                .next(format!(
                    "or leave `header` out of components.{}.strategy.canary.router",
                    component.id
                )));
        }
    }
    Ok(())
}

/// Names that are made for the change must be free.
fn no_service(component: &Component, taken: &[String], when: &str, named: &Named) -> Result<(), Failure> {
    let mut services = named.objects.iter().filter(|object| object.kind() == "Service");
    let found = services.find(|object| taken.iter().any(|name| name == object.name()));
    let Some(object) = found else { return Ok(()) };
    let what = format!("{} ({}) stands in the manifests", object.reference(), object.origin);
    Err(Failure::new(Code(307), Exit::Usage, what)
        .why(format!("that is the name of the Service that leads to the new {} {when}", component.id))
        .next("take it out of the manifests, or rename it"))
}

/// What the canary is called and where it stands must be free: one canary is effective for each address.
fn free(component: &Component, router: &Router, led: &[&Object], named: &Named) -> Result<(), Failure> {
    let refuse = |what: String, why: &str| {
        Err(Failure::new(Code(307), Exit::Usage, what)
            .why(why)
            .next("take it out of the manifests, or rename it")
            .next(format!("or set components.{}.strategy.canary.router: pods", component.id)))
    };
    let canaries: Vec<String> =
        services(named, &component.id).iter().map(|name| router::canary_name(name)).collect();
    no_service(component, &canaries, "during a canary", named)?;
    for object in &named.objects {
        let reference = object.reference();
        if object.kind() != "Ingress" || !matches!(router, Router::Nginx(_)) {
            continue;
        }
        if nginx::backends(&object.value).iter().any(|name| canaries.iter().any(|canary| canary == name)) {
            let why = "ingress-nginx ignores a canary whose Service also backs an ordinary Ingress";
            return refuse(format!("{reference} ({}) leads to a canary's Service", object.origin), why);
        }
        let taken = nginx::addresses(&object.value);
        let same = |route: &&&Object| nginx::addresses(&route.value).iter().any(|one| taken.contains(one));
        if nginx::is_canary(&object.value)
            && let Some(route) = led.iter().find(same)
        {
            let why = "one canary is effective for a host and path";
            let route = route.reference();
            return refuse(format!("{reference} ({}) is a canary of {route} already", object.origin), why);
        }
    }
    Ok(())
}
