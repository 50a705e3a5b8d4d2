//! What a guard must be allowed to do in a cluster: what the traffic lane of a way back writes and waits for, by the
//! strategies of the components and the kinds of their objects, and no more.

use crate::domain::environment::{Component, Environment, Router, Strategy};
use crate::domain::object::Object;
use std::collections::{BTreeMap, BTreeSet};

type Verbs = &'static [&'static str];

/// Watched while something is waited for.
const WATCH: Verbs = &["list", "watch"];
/// Put back as it was: read, applied, and made anew where the release had removed it.
const RESTORE: Verbs = &["get", "create", "patch"];
/// Taken away: deleted, and seen to be gone.
const REMOVE: Verbs = &["get", "list", "watch", "delete"];

/// Verbs by namespace, API group and resource.
#[derive(Debug, Default)]
pub struct Rights(BTreeMap<(String, String, String), BTreeSet<&'static str>>);

impl Rights {
    /// Of a guard of one target, whose rendered objects these are.
    #[must_use]
    pub fn of(env: &Environment, objects: &[Object]) -> Self {
        let mut rights = Self::default();
        // The lock and the guard's own sign of life; plans are read, the journal is read and written.
        let state = env.state_namespace.as_str();
        rights.add(state, "coordination.k8s.io", "leases", &["get", "create", "update"]);
        rights.add(state, "", "secrets", &["get", "list", "create"]);
        for component in &env.components {
            let own: Vec<&Object> =
                objects.iter().filter(|object| object.component.as_ref() == Some(&component.id)).collect();
            for object in own.iter().filter(|object| object.kind() != "Service" || leads(component)) {
                rights.object(component, object, &own);
            }
        }
        rights
    }

    fn add(&mut self, namespace: &str, group: &str, resource: &str, verbs: Verbs) {
        let key = (namespace.to_owned(), group.to_owned(), resource.to_owned());
        self.0.entry(key).or_default().extend(verbs);
    }

    fn object(&mut self, component: &Component, object: &Object, own: &[&Object]) {
        let namespace = object.reference().namespace;
        let both = [RESTORE, REMOVE];
        let (group, resource, verbs): (&str, &str, &[Verbs]) = match (object.kind(), &component.strategy) {
            ("Deployment" | "StatefulSet" | "DaemonSet", _) => return self.workload(component, object, own),
            ("HorizontalPodAutoscaler", _) => ("autoscaling", "horizontalpodautoscalers", &both),
            ("Service", _) => {
                self.add(&namespace, "discovery.k8s.io", "endpointslices", WATCH);
                ("", "services", &both)
            }
            ("Ingress", Strategy::BlueGreen(_)) => ("networking.k8s.io", "ingresses", &[RESTORE]),
            (kind, Strategy::Canary(canary)) => match (&canary.router, kind) {
                (Router::Nginx(_), "Ingress") => ("networking.k8s.io", "ingresses", &both),
                (Router::Alb(_), "Ingress") => ("networking.k8s.io", "ingresses", &[RESTORE]),
                (Router::Gateway(_), "HTTPRoute") => ("gateway.networking.k8s.io", "httproutes", &[RESTORE]),
                (Router::Istio(_), "VirtualService") => {
                    ("networking.istio.io", "virtualservices", &[RESTORE])
                }
                (Router::Istio(_), "DestinationRule") => ("networking.istio.io", "destinationrules", &both),
                _ => return,
            },
            _ => return,
        };
        for verbs in verbs {
            self.add(&namespace, group, resource, verbs);
        }
    }

    /// The workload that the strategy moves; others of the component change in place.
    fn workload(&mut self, component: &Component, object: &Object, own: &[&Object]) {
        let is_workload =
            |object: &Object| matches!(object.kind(), "Deployment" | "StatefulSet" | "DaemonSet");
        let named = own.iter().any(|other| is_workload(other) && other.name() == component.id.as_str());
        let beside = named && object.name() != component.id.as_str();
        let namespace = object.reference().namespace;
        let plural = format!("{}s", object.kind().to_lowercase());
        self.add(&namespace, "apps", &plural, WATCH);
        self.add(&namespace, "apps", "replicasets", WATCH);
        self.add(&namespace, "", "pods", WATCH);
        self.add(&namespace, "", "events", WATCH);
        match &component.strategy {
            // One that is new goes with the pods, which is not a guard's work.
            _ if beside => self.add(&namespace, "apps", &plural, RESTORE),
            Strategy::Canary(_) | Strategy::BlueGreen(_) => {
                self.add(&namespace, "apps", &plural, &["get"]);
                self.add(&namespace, "apps", &format!("{plural}/scale"), &["get", "patch"]);
            }
            Strategy::Rolling | Strategy::Recreate => {
                self.add(&namespace, "apps", &plural, RESTORE);
                self.add(&namespace, "apps", &plural, REMOVE);
            }
        }
    }

    /// Rules of a Role, by namespace.
    #[must_use]
    pub fn rules(&self) -> BTreeMap<String, Vec<serde_json::Value>> {
        let mut rules: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
        for ((namespace, group, resource), verbs) in &self.0 {
            let rule = serde_json::json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
            rules.entry(namespace.clone()).or_default().push(rule);
        }
        rules
    }
}

/// Whether the component's Services move with its revision.
fn leads(component: &Component) -> bool {
    matches!(component.strategy, Strategy::BlueGreen(_)) || component.strategy.weighted_router().is_some()
}
