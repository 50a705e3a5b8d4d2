//! Blue-green: what carries the switch, and the second namespace where there is one.

use super::{Cx, time};
use crate::config::codes;
use crate::config::defaults;
use crate::config::model::{BlueGreenFile, SwitchFile};
use crate::domain::environment::{BlueGreen, Component, Strategy, Switch};

impl Cx<'_> {
    pub(super) fn blue_green(&mut self, file: &BlueGreenFile, path: &[&str]) -> Strategy {
        let switch = match file.switch {
            Some(SwitchFile::Ingress) => Switch::Ingress,
            Some(SwitchFile::Gateway) => Switch::Gateway,
            Some(SwitchFile::Istio) => Switch::Istio,
            Some(SwitchFile::Service) | None => Switch::Service,
        };
        let green_namespace = file.green_namespace.clone();
        match &green_namespace {
            Some(green) => self.two_namespaces(green, switch, path),
            None => self.one_namespace(switch, path),
        }
        Strategy::BlueGreen(BlueGreen {
            switch,
            green_namespace,
            hold: time(file.hold, defaults::BLUE_GREEN_HOLD),
            preview: time(file.preview, defaults::PREVIEW),
            scale_down_after: time(file.scale_down_after, defaults::SCALE_DOWN_AFTER),
        })
    }

    fn one_namespace(&mut self, switch: Switch, path: &[&str]) {
        let name = match switch {
            Switch::Service | Switch::Ingress => return,
            Switch::Gateway => "gateway",
            Switch::Istio => "istio",
        };
        let path = [path, &["blue_green", "switch"]].concat();
        let diagnostic = self
            .error(codes::CONFLICT, &path, format!("`switch: {name}` without `green_namespace`"))
            .why("it leads a route to the other of two namespaces; inside of one the Service's selector switches")
            .help("add `green_namespace: NAME`, or write `switch: service`");
        self.out.push(diagnostic);
    }

    /// Only a route that may name another namespace's Service can lead from one to the other.
    fn two_namespaces(&mut self, green: &str, switch: Switch, path: &[&str]) {
        let why = match switch {
            Switch::Gateway | Switch::Istio => None,
            Switch::Service => Some("a Service selects pods of its own namespace, never of another"),
            Switch::Ingress => Some(
                "an Ingress leads to Services of its own namespace; ingress-nginx admits no second one for the same host and path, and follows a canary in its own namespace only",
            ),
        };
        let at = [path, &["blue_green", "green_namespace"]].concat();
        if let Some(why) = why {
            let diagnostic = self
                .error(codes::CONFLICT, &at, "nothing can switch traffic to this namespace")
                .why(why)
                .help("add `switch: gateway` (an HTTPRoute) or `switch: istio` (a VirtualService), or remove `green_namespace`: blue and green then stand in one namespace");
            self.out.push(diagnostic);
        }
        self.check_name(green, &at);
    }

    /// One namespace cannot take turns with itself.
    pub(super) fn check_turns(&mut self, components: &[Component], own: Option<&String>) {
        for component in components {
            let Some(green) = component.strategy.green_namespace() else { continue };
            let what = match own {
                _ if green.is_empty() => "`green_namespace` is empty",
                Some(own) if own == green => "`green_namespace` is the environment's own namespace",
                _ => continue,
            };
            let of_component = ["components", component.id.as_str(), "strategy"];
            let strategy =
                if self.tree.find(&of_component).is_some() { &of_component[..] } else { &of_component[2..] };
            let at = [strategy, &["blue_green", "green_namespace"]].concat();
            let diagnostic = self
                .error(codes::CONFLICT, &at, what)
                .why("blue stands in `namespace`, green in the other: they take turns")
                .help("write the name of another namespace; it is made if it is not there");
            self.out.push(diagnostic);
        }
    }
}
