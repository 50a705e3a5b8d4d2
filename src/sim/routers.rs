//! The routers of a cluster: when they take over what the API says, and what keeps them from it.

use jiff::Timestamp;
use serde_json::json;

use super::cluster::{Cluster, Happening, Moment, lock};
use super::faults::{Fault, FaultKind};
use super::kube::kinds::KindId;
use super::kube::store::Store;
use super::queue::Millis;
use super::traffic::plane::Plane;

/// What keeps routers from what the API says. Endpoints are followed all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hindrance {
    /// Nothing.
    #[default]
    None,
    /// They stay with the rules that they have, until then.
    Stuck {
        /// The end; `None`: for good.
        until: Option<Millis>,
    },
    /// They take new rules over so many milliseconds late.
    Late {
        /// How late.
        by: Millis,
        /// Since when rules wait that are not taken over yet.
        since: Option<Millis>,
    },
}

impl Cluster {
    /// Gives the routers what the API says now, as far as they take it.
    pub(super) fn route(&mut self, moment: Moment, follow: &mut Vec<(Millis, Happening)>) {
        self.planes += 1;
        let mut plane = Plane::read(&lock(&self.store), &self.kubelet);
        if !plane.has_rules_of(self.traffic.newest()) && self.holds_back(moment, follow) {
            plane.keep_rules_of(self.traffic.newest());
        }
        let lag = self.spread(self.spec().plane_lag);
        if let Some(at) = self.traffic.announce(plane, moment.at, lag) {
            follow.push((at, Happening::Plane));
        }
    }

    fn holds_back(&mut self, moment: Moment, follow: &mut Vec<(Millis, Happening)>) -> bool {
        match &mut self.hindrance {
            Hindrance::None => false,
            Hindrance::Stuck { until } => until.is_none_or(|until| moment.at < until),
            Hindrance::Late { by, since } => {
                let began = *since.get_or_insert(moment.at);
                let waits = moment.at < began + *by;
                if waits {
                    follow.push((began + *by, Happening::Route));
                } else {
                    *since = None;
                }
                waits
            }
        }
    }

    /// Whether something keeps the routers from what the API says.
    pub(super) fn is_hindered(&self) -> bool {
        self.hindrance != Hindrance::None
    }

    /// A fault of routers begins.
    pub(super) fn hinder(&mut self, fault: &Fault, moment: Moment, follow: &mut Vec<(Millis, Happening)>) {
        self.hindrance = if fault.kind == FaultKind::RouterLate {
            Hindrance::Late { by: (fault.amount * 1000.0) as Millis, since: None }
        } else {
            let until = (fault.seconds > 0).then(|| moment.at + fault.seconds * 1000);
            follow.extend(until.map(|until| (until, Happening::Route)));
            Hindrance::Stuck { until }
        };
    }
}

/// Makes a cluster serve the kinds of the Gateway API and of Istio that carry weights, as their installation does.
pub fn serve_routes(store: &mut Store, now: Timestamp) {
    let kinds = [
        ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
        ("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant", "referencegrants"),
        ("networking.istio.io", "v1", "VirtualService", "virtualservices"),
        ("networking.istio.io", "v1", "DestinationRule", "destinationrules"),
    ];
    serve(store, now, &kinds);
}

/// Makes a cluster serve Argo CD's kinds. Its controller is at work from then on.
pub fn serve_argo(store: &mut Store, now: Timestamp) {
    let kinds = [
        ("argoproj.io", "v1alpha1", "Application", "applications"),
        ("argoproj.io", "v1alpha1", "ApplicationSet", "applicationsets"),
    ];
    serve(store, now, &kinds);
}

fn serve(store: &mut Store, now: Timestamp, kinds: &[(&str, &str, &str, &str)]) {
    for (group, version, kind, plural) in kinds {
        let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                "versions": [{
                    "name": version, "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": free, "status": free}}},
                }],
            },
        });
        // one that is there already stays
        let _ = store.create(now, "installer", KindId::CUSTOM_RESOURCE_DEFINITIONS, definition);
    }
}
