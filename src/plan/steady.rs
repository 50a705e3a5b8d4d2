//! Refuses releases whose Services would leave stable's users without an answer while two revisions serve.

use super::build::TargetInput;
use super::naming;
use super::router as routes;
use crate::domain::environment::{Canary, Component, Environment, Router, Strategy, TrafficClass};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::object::{LABEL_REVISION, Object, ObjectRef};
use crate::rollout::router;
use serde_json::Value;

/// Checks every canary of a target with users. A way back is never refused.
pub fn check(env: &Environment, target: &TargetId, input: &TargetInput) -> Result<(), Failure> {
    if env.target(target).is_none_or(|target| target.traffic != TrafficClass::Live) {
        return Ok(());
    }
    for component in &env.components {
        let Strategy::Canary(canary) = &component.strategy else { continue };
        let Some(change) = Change::of(input, component) else { continue };
        if change.is_weighted(canary) {
            change.keeps_its_services(&canary.router)?;
            change.keeps_its_ports(&canary.router)?;
        } else {
            change.serves_from_stable()?;
        }
    }
    Ok(())
}

/// A component that something serves already.
struct Change<'a> {
    input: &'a TargetInput,
    component: &'a Component,
    /// The workload that will serve it, as released.
    new: &'a Value,
    /// The one that does, as it is live.
    stable: &'a Value,
}

impl<'a> Change<'a> {
    fn of(input: &'a TargetInput, component: &'a Component) -> Option<Self> {
        let serving = input.named.workloads.get(&component.id)?;
        let recorded = input.previous().and_then(|release| release.workloads.get(&component.id));
        let stable = match (recorded, serving.revision) {
            (Some(recorded), _) => recorded.workload.clone(),
            // Found under the manifest's own name.
            (None, Some(revision)) => {
                let name = serving.workload.name.strip_suffix(&format!("-{revision}"))?;
                ObjectRef { name: name.to_owned(), ..serving.workload.clone() }
            }
            (None, None) => serving.workload.clone(),
        };
        let stable = input.live.get(&stable)?;
        let new = input.named.objects.iter().find(|object| object.reference() == serving.workload)?;
        Some(Self { input, component, new: &new.value, stable })
    }

    /// Whether a router divides the traffic. Pods that carry no revision cannot be told apart by it.
    fn is_weighted(&self, canary: &Canary) -> bool {
        let labels = &self.stable["spec"]["template"]["metadata"]["labels"];
        canary.router.is_weighted() && labels.get(LABEL_REVISION).is_some()
    }

    fn moves(&self) -> bool {
        ObjectRef::of(self.new) != ObjectRef::of(self.stable)
    }

    /// A router divides between a Service of stable and the canary's beside it: one that is new leads to nobody.
    fn keeps_its_services(&self, by: &Router) -> Result<(), Failure> {
        if !self.moves() {
            return Ok(());
        }
        let services = routes::services(&self.input.named, &self.component.id);
        let (known, new): (Vec<String>, Vec<String>) =
            services.into_iter().partition(|name| self.live_service(name).is_some());
        for route in routes::routes(&self.input.named, &self.component.id, by) {
            // A route that is new beside others has no users yet.
            let led_before = match self.before(route) {
                Some(before) => router::leads(by, before, &known),
                None => !known.is_empty(),
            };
            let renamed =
                new.iter().find(|name| router::leads(by, &route.value, std::slice::from_ref(*name)));
            if let Some(name) = renamed.filter(|_| !led_before) {
                return Err(self.new_service(route, name));
            }
        }
        Ok(())
    }

    fn new_service(&self, route: &Object, name: &str) -> Failure {
        let id = &self.component.id;
        let what =
            format!("{} ({}) would lead to Service/{name}, which is new", route.reference(), route.origin);
        Failure::new(Code(309), Exit::Usage, what)
            .why(format!("it leads to none of the pods that serve {id} now: requests would fail from the first weight on"))
            .next("keep the Service's name")
            .next(format!(
                "or make two releases: one that adds Service/{name} beside the one that serves, then one that moves the route and takes the old one away"
            ))
    }

    /// While the weight moves, the route names the ports that it named before.
    fn keeps_its_ports(&self, by: &Router) -> Result<(), Failure> {
        if !self.moves() {
            return Ok(());
        }
        let services = routes::services(&self.input.named, &self.component.id);
        for route in routes::routes(&self.input.named, &self.component.id, by) {
            let Some(before) = self.before(route) else { continue };
            for (name, port) in router::ports(by, before, &services) {
                let own = |object: &&Object| object.kind() == "Service" && object.name() == name;
                let Some(service) = self.input.named.objects.iter().find(own) else { continue };
                if !has_port(&service.value, &port) {
                    return Err(self.lost_port(service, &port, route));
                }
            }
        }
        Ok(())
    }

    fn lost_port(&self, service: &Object, port: &Value, route: &Object) -> Failure {
        let port = port.as_str().map_or_else(|| port.to_string(), str::to_owned);
        let what = format!("{} ({}) has no port {port} any more", service.reference(), service.origin);
        Failure::new(Code(309), Exit::Usage, what)
            .why(format!(
                "{} names it as long as weights move, and its requests would fail",
                route.reference()
            ))
            .next("list the old port beside the new one in this release, and take it away with the next")
            .next(format!("or set components.{}.strategy: blue-green for this release", self.component.id))
    }

    /// Where pods are the router, a Service is changed before any new pod is there.
    fn serves_from_stable(&self) -> Result<(), Failure> {
        for object in &self.input.named.objects {
            let own = object.component.as_ref() == Some(&self.component.id) && object.kind() == "Service";
            // What is bound to a revision is switched with its pods.
            let bound = object.value["spec"]["selector"].get(LABEL_REVISION).is_some();
            if !own || bound || !naming::leads_to(&object.value, self.new) {
                continue;
            }
            let live = self.input.live.get(&object.reference());
            let Some(live) = live.filter(|live| naming::leads_to(live, self.stable)) else { continue };
            if let Some(why) = misfit(&object.value, live, self.stable) {
                return Err(self.too_early(object, &why));
            }
        }
        Ok(())
    }

    fn too_early(&self, service: &Object, why: &str) -> Failure {
        let id = &self.component.id;
        let what = format!(
            "{} ({}) would lead away from the pods that serve {id} now",
            service.reference(),
            service.origin
        );
        Failure::new(Code(309), Exit::Usage, what)
            .why(format!("{why}, and in a canary by pods the Service changes before there are new ones"))
            .next("make two releases: one whose pods fit the Service of now and the one that is wanted, then one that changes the Service")
            .next(format!("or set components.{id}.strategy: blue-green for this release, which switches the Service with its pods"))
    }

    fn live_service(&self, name: &str) -> Option<&Value> {
        let own = |object: &&Object| object.kind() == "Service" && object.name() == name;
        let service = self.input.named.objects.iter().find(own)?;
        self.input.live.get(&service.reference())
    }

    /// A route as it leads now: as the release before has it, else as it is live.
    fn before(&self, route: &Object) -> Option<&Value> {
        let reference = route.reference();
        let live = self.input.live.get(&reference)?;
        let recorded = self.input.previous().and_then(|release| {
            release.objects.iter().find(|object| object.reference() == reference).map(|object| &object.value)
        });
        Some(recorded.unwrap_or(live))
    }
}

/// Whether a Service has a port, by its number or its name.
fn has_port(service: &Value, port: &Value) -> bool {
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports.any(|known| match port.as_str() {
        // An annotation may write a number as text.
        Some(text) => {
            let number = text.parse::<u16>().ok();
            known["name"] == text || number.is_some_and(|number| known["port"] == number)
        }
        None => known["port"] == *port,
    })
}

/// Why a Service, once it is as wanted, would not lead to a workload's pods as it does now.
pub(super) fn misfit(wanted: &Value, live: &Value, workload: &Value) -> Option<String> {
    if !naming::leads_to(wanted, workload) {
        return Some(format!("its selector {} does not match their labels", wanted["spec"]["selector"]));
    }
    lost_target(wanted, live, workload).map(|target| format!("they have no port {target}"))
}

/// A port of stable's pods that a Service leads to now and would not find under its new name or number.
fn lost_target(wanted: &Value, live: &Value, stable: &Value) -> Option<String> {
    let ports = |service: &Value| service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let target = |port: &Value| port.get("targetPort").unwrap_or(&port["port"]).clone();
    let open = container_ports(stable);
    let before = ports(live);
    let changed = ports(wanted).into_iter().filter_map(|port| {
        let known = before.iter().find(|known| known["port"] == port["port"])?;
        (target(known) != target(&port)).then(|| target(&port))
    });
    let lost = changed.filter(|target| match target.as_str() {
        Some(name) => !open.iter().any(|port| port["name"] == name),
        // A number need not be declared: only what says which ones are open tells.
        None => !open.is_empty() && !open.iter().any(|port| port["containerPort"] == *target),
    });
    lost.map(|target| target.as_str().map_or_else(|| target.to_string(), str::to_owned)).next()
}

fn container_ports(workload: &Value) -> Vec<Value> {
    let pods = &workload["spec"]["template"]["spec"];
    let containers = ["containers", "initContainers"].map(|key| pods[key].as_array().into_iter().flatten());
    let ports = containers.into_iter().flatten().filter_map(|container| container["ports"].as_array());
    ports.flatten().cloned().collect()
}
