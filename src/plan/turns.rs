//! Blue-green between two namespaces: in which of them a release of a component stands, and what that makes of its objects.
//!
//! The two take turns: a release whose pods change goes to the namespace that does not serve, whole; the routes stay in the
//! environment's own namespace and lead to it. What serves says so itself, by the namespace of its workload on record.

use super::naming::digest;
use super::order;
use crate::domain::environment::{Component, Environment, Strategy, Switch};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::object::{LABEL_APPLICATION, LABEL_COMPONENT, LABEL_ENVIRONMENT, Object, ObjectRef};
use crate::domain::release::Release;
use crate::rollout::router::namespaces::{self, Route};
use crate::rollout::router::nginx;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a second namespace needs before anything stands in it: itself, and the environment's secrets.
#[must_use]
pub fn shared(env: &Environment, objects: &[Object]) -> Vec<Object> {
    let greens: BTreeSet<&str> =
        env.components.iter().filter_map(|component| component.strategy.green_namespace()).collect();
    let mut shared = Vec::new();
    for green in greens {
        if !objects.iter().any(|object| object.kind() == "Namespace" && object.name() == green) {
            shared.push(namespace_object(env, green));
        }
        let secrets = objects.iter().filter(|object| object.component.is_none() && object.kind() == "Secret");
        shared.extend(secrets.cloned().map(|mut secret| {
            secret.value["metadata"]["namespace"] = json!(green);
            secret
        }));
    }
    shared
}

/// Nobody has to create a namespace by hand; once there, it is kept.
#[must_use]
pub fn namespace_object(env: &Environment, name: &str) -> Object {
    Object {
        component: None,
        origin: format!("environments/{}.yaml: namespace", env.name),
        value: json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"deployctl.dev/application": env.application}},
        }),
    }
}

/// Puts the objects of a component into the namespace that the release of it stands in, and leads its routes there.
/// `workload` is the place of its workload.
pub(super) fn place(
    env: &Environment,
    component: &Component,
    objects: &mut Vec<Object>,
    workload: usize,
    previous: Option<&Release>,
) -> Result<(), Failure> {
    let before = previous.and_then(|release| release.workloads.get(&component.id));
    let Some(green) = component.strategy.green_namespace() else {
        let elsewhere = before.filter(|before| before.workload.namespace != env.namespace);
        // Where all of the application moved, its routes did, too.
        let mut known = previous.into_iter().flat_map(|release| &release.objects);
        let turned = known.any(|object| {
            object.component.as_ref() == Some(&component.id)
                && object.reference().namespace == env.namespace
                && Route::of(&object.value).is_some()
        });
        return match elsewhere.filter(|_| turned) {
            Some(before) => Err(cannot_leave(env, component, &before.workload)),
            None => Ok(()),
        };
    };
    let turn = Turn { env, component, services: services(component, objects) };
    turn.check_kinds(objects)?;
    turn.check_routes(objects)?;
    turn.check_needs(objects)?;
    turn.bind_both(objects, green);
    let hash = digest(&objects[workload].value["spec"]["template"]);
    let to = match before {
        // Nothing rolls, so nothing moves.
        Some(before) if before.hash == hash && before.revision.is_some() => &before.workload.namespace,
        Some(before) if before.workload.namespace == env.namespace => green,
        Some(_) | None => &env.namespace,
    };
    if *to != *env.namespace {
        turn.move_to(objects, to);
    }
    Ok(())
}

fn services(component: &Component, objects: &[Object]) -> Vec<String> {
    let own = objects.iter().filter(|object| object.component.as_ref() == Some(&component.id));
    own.filter(|object| object.kind() == "Service").map(|object| object.name().to_owned()).collect()
}

/// A component that takes turns.
struct Turn<'a> {
    env: &'a Environment,
    component: &'a Component,
    services: Vec<String>,
}

impl Turn<'_> {
    fn owns(&self, object: &Object) -> bool {
        object.component.as_ref() == Some(&self.component.id)
    }

    /// Whether an object goes where the release stands.
    fn moves(&self, object: &Object) -> bool {
        self.owns(object)
            && object.reference().namespace == self.env.namespace
            && !namespaces::stays(&object.value)
    }

    /// What cannot stand twice, or would stand there without what is in it.
    fn check_kinds(&self, objects: &[Object]) -> Result<(), Failure> {
        let id = &self.component.id;
        for object in objects.iter().filter(|object| self.owns(object)) {
            let (why, next) = match object.kind() {
                "PersistentVolumeClaim" | "StatefulSet" => (
                    "its data would stay behind: a volume belongs to one namespace",
                    "put it into a component of its own, which both namespaces reach by its whole name",
                ),
                "CronJob" => (
                    "it would run in both namespaces while both stand",
                    "put it into a component of its own with strategy: rolling",
                ),
                "Ingress" => (
                    "an Ingress leads to Services of its own namespace; ingress-nginx admits no second one for the same host and path, and follows a canary in its own namespace only",
                    "lead to the component by an HTTPRoute or a VirtualService",
                ),
                "Gateway" => (
                    "it is not switched, and what it names would move away from it",
                    "put it into a component of its own",
                ),
                _ => continue,
            };
            let what =
                format!("{} ({}) cannot take turns in two namespaces", object.reference(), object.origin);
            return Err(Failure::new(Code(308), Exit::Usage, what)
                .why(why)
                .next(next)
                .next(format!("or take green_namespace out of components.{id}.strategy.blue_green")));
        }
        Ok(())
    }

    /// Its traffic must come by routes of its own that can be switched, and by nothing else that is known.
    fn check_routes(&self, objects: &[Object]) -> Result<(), Failure> {
        let (id, own) = (&self.component.id, &self.env.namespace);
        let (wanted, name) = match &self.component.strategy {
            Strategy::BlueGreen(how) if how.switch == Switch::Istio => (Route::Virtual, "VirtualService"),
            _ => (Route::Http, "HTTPRoute"),
        };
        let leads = |object: &&Object| namespaces::leads(&object.value, &self.services, own);
        for object in objects.iter().filter(leads) {
            let why = if !self.owns(object) {
                "it is not among the component's manifests, and would not be switched with it"
            } else if Route::of(&object.value) != Some(wanted) {
                "another switch is chosen for the component"
            } else {
                continue;
            };
            let what = format!("{} ({}) leads to Services of {id}", object.reference(), object.origin);
            return Err(Failure::new(Code(308), Exit::Usage, what)
                .why(why)
                .next(format!("put it among the manifests of {id}, with the switch that fits it")));
        }
        let ingress = |object: &&Object| {
            object.kind() == "Ingress"
                && object.reference().namespace == *own
                && nginx::backends(&object.value)
                    .iter()
                    .any(|name| self.services.iter().any(|own| own == name))
        };
        if let Some(object) = objects.iter().find(ingress) {
            let what = format!("{} ({}) leads to Services of {id}", object.reference(), object.origin);
            return Err(Failure::new(Code(308), Exit::Usage, what)
                .why("an Ingress leads to Services of its own namespace, and every second release stands in another")
                .next(format!("lead to {id} by {name}s alone")));
        }
        if !objects.iter().any(|object| leads(&object)) {
            let what = format!("component {id}: no {name} leads to its Services");
            return Err(Failure::new(Code(306), Exit::Usage, what)
                .why("the route is what switches from one namespace to the other")
                .next(format!("add a {name} whose backend is the Service to the manifests of {id}")));
        }
        Ok(())
    }

    /// What its objects mount, read or run as must come along.
    fn check_needs(&self, objects: &[Object]) -> Result<(), Failure> {
        for (place, needs) in order::needed(objects).iter().enumerate() {
            let object = &objects[place];
            if !self.moves(object) {
                continue;
            }
            let stays = |need: &&Object| {
                // The environment's secrets are in both.
                let own = ["ConfigMap", "Secret", "ServiceAccount", "PersistentVolumeClaim", "Role"];
                own.contains(&need.kind()) && need.component.is_some() && !self.moves(need)
            };
            let Some(need) = needs.iter().map(|need| &objects[*need]).find(stays) else { continue };
            let (object, name) = (object.reference(), need.reference());
            let what = format!("{object} needs {name} ({}), which does not come along", need.origin);
            return Err(Failure::new(Code(308), Exit::Usage, what)
                .why(format!("every second release of {} stands in another namespace", self.component.id))
                .next(format!("put a {name} of its own among the manifests of {}", self.component.id)));
        }
        Ok(())
    }

    /// Service accounts that are bound for the whole cluster are bound in both namespaces, always: nothing has to be
    /// changed with the turn.
    fn bind_both(&self, objects: &mut [Object], green: &str) {
        let accounts = self.accounts(objects);
        for object in objects.iter_mut().filter(|object| object.kind() == "ClusterRoleBinding") {
            let Some(subjects) = object.value.get_mut("subjects").and_then(Value::as_array_mut) else {
                continue;
            };
            let ours = subjects.iter().filter(|subject| is_account(subject, &accounts, &self.env.namespace));
            let there: Vec<Value> = ours.cloned().collect();
            subjects.extend(there.into_iter().map(|mut subject| {
                subject["namespace"] = json!(green);
                subject
            }));
        }
    }

    fn accounts(&self, objects: &[Object]) -> Vec<String> {
        let own = objects.iter().filter(|object| self.moves(object) && object.kind() == "ServiceAccount");
        own.map(|object| object.name().to_owned()).collect()
    }

    fn move_to(&self, objects: &mut Vec<Object>, to: &str) {
        let from = &self.env.namespace;
        let accounts = self.accounts(objects);
        let mut routed = false;
        for object in objects.iter_mut() {
            if self.moves(object) {
                object.value["metadata"]["namespace"] = json!(to);
                self.follow(&mut object.value, to);
            }
            if object.kind() == "RoleBinding" {
                let subjects = object.value.get_mut("subjects").and_then(Value::as_array_mut);
                for subject in subjects.into_iter().flatten() {
                    if is_account(subject, &accounts, from) {
                        subject["namespace"] = json!(to);
                    }
                }
            }
            if namespaces::leads(&object.value, &self.services, from) {
                routed |= Route::of(&object.value) == Some(Route::Http);
                object.value = namespaces::lead(&object.value, &self.services, from, to);
            }
        }
        if routed {
            objects.push(self.grant(to));
        }
    }

    /// Places that name the component's Services by their whole names.
    fn follow(&self, value: &mut Value, to: &str) {
        if value["kind"] != "DestinationRule" {
            return;
        }
        let host = value["spec"]["host"].as_str();
        let host = host.and_then(|host| namespaces::host_in(host, &self.services, &self.env.namespace, to));
        if let Some(host) = host {
            value["spec"]["host"] = json!(host);
        }
    }

    /// Lets the routes lead to the Services of another namespace: these, and no others. `v1beta1` is served by every
    /// version of the Gateway API since 0.6 (gateway-api, `apis/v1beta1/referencegrant_types.go`).
    fn grant(&self, to: &str) -> Object {
        let id = &self.component.id;
        let services = self.services.iter().map(|name| json!({"group": "", "kind": "Service", "name": name}));
        Object {
            component: Some(id.clone()),
            origin: format!("environments/{}.yaml: components.{id}.strategy", self.env.name),
            value: json!({
                "apiVersion": "gateway.networking.k8s.io/v1beta1",
                "kind": "ReferenceGrant",
                "metadata": {
                    "name": format!("{id}-routes"),
                    "namespace": to,
                    "labels": {
                        "app.kubernetes.io/managed-by": "deployctl",
                        LABEL_APPLICATION: self.env.application,
                        LABEL_COMPONENT: id.as_str(),
                        LABEL_ENVIRONMENT: self.env.name,
                    },
                },
                "spec": {
                    "from": [{
                        "group": "gateway.networking.k8s.io",
                        "kind": "HTTPRoute",
                        "namespace": self.env.namespace,
                    }],
                    "to": services.collect::<Vec<_>>(),
                },
            }),
        }
    }
}

fn is_account(subject: &Value, accounts: &[String], namespace: &str) -> bool {
    subject["kind"] == "ServiceAccount"
        && subject["namespace"] == namespace
        && accounts.iter().any(|account| subject["name"] == account.as_str())
}

/// Another strategy would leave what serves behind, with the routes that lead to it.
fn cannot_leave(env: &Environment, component: &Component, serves: &ObjectRef) -> Failure {
    let (id, own) = (&component.id, &env.namespace);
    let what = format!("component {id} serves from namespace {}, not from {own}", serves.namespace);
    Failure::new(Code(308), Exit::Usage, what)
        .why("only blue-green with green_namespace leads its traffic from one namespace to the other")
        .next(format!(
            "release once more with components.{id}.strategy.blue_green.green_namespace: {}, which brings it back to {own}",
            serves.namespace
        ))
        .next("then change the strategy")
}
