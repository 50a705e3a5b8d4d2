//! Routes that lead from one namespace to the Services of the same names in another: `backendRefs[].namespace` of an
//! `HTTPRoute`, the host of a `VirtualService`'s destinations.
//!
//! A backend of another namespace needs a `ReferenceGrant` there; without one gateways answer 500 (gateway-api,
//! `apis/v1/httproute_types.go`, `HTTPRouteRule.BackendRefs`). Istio takes a host with a dot as it stands (istio/api,
//! `networking/v1/virtual_service.proto`, `Destination.host`).

use serde_json::{Value, json};

const GATEWAY: &str = "gateway.networking.k8s.io";
const PROTOCOLS: [&str; 3] = ["http", "tls", "tcp"];

/// What a route is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// An `HTTPRoute` of the Gateway API.
    Http,
    /// A `VirtualService` of Istio.
    Virtual,
}

impl Route {
    /// What the object is, if it can lead to another namespace.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let group = object["apiVersion"].as_str()?.split_once('/')?.0;
        match (group, object["kind"].as_str()?) {
            (GATEWAY, "HTTPRoute") => Some(Self::Http),
            ("networking.istio.io", "VirtualService") => Some(Self::Virtual),
            _ => None,
        }
    }
}

/// Whether an object stays where it is while what it leads to stands in the one or the other namespace.
#[must_use]
pub fn stays(object: &Value) -> bool {
    let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/'));
    group.is_some_and(|(group, _)| group == GATEWAY) || Route::of(object) == Some(Route::Virtual)
}

/// Whether a route leads to one of the Services in this namespace.
#[must_use]
pub fn leads(route: &Value, services: &[String], namespace: &str) -> bool {
    let mut found = false;
    let mut route = route.clone();
    each(&mut route, &mut |backend| found |= backend.is_one_of(services, namespace));
    found
}

/// The route with what leads to the Services in `from` leading to those in `to`.
#[must_use]
pub fn lead(route: &Value, services: &[String], from: &str, to: &str) -> Value {
    let mut route = route.clone();
    each(&mut route, &mut |backend| {
        if backend.is_one_of(services, from) {
            backend.lead(to);
        }
    });
    route
}

/// The route as it is, and beside each backend in `from` the one that `next` has in `to`, at weight 0: a router says
/// whether it can reach them before any request goes there.
#[must_use]
pub fn beside(route: &Value, next: &Value, services: &[String], (from, to): (&str, &str)) -> Value {
    let mut known: Vec<(String, Value)> = Vec::new();
    each_list(&mut next.clone(), &mut |own, list| {
        for target in list.iter_mut() {
            let found = Backend::of(target, own).filter(|backend| backend.is_one_of(services, to));
            if let Some(name) = found.and_then(|backend| backend.service()).map(|(name, _)| name) {
                known.push((name, target.clone()));
            }
        }
    });
    let mut route = route.clone();
    each_list(&mut route, &mut |own, list| {
        let alone = list.len() == 1;
        let mut both = Vec::new();
        for target in list.drain(..) {
            let mut target = target;
            let ours = Backend::of(&mut target, own).filter(|backend| backend.is_one_of(services, from));
            let name = ours.and_then(|backend| backend.service()).map(|(name, _)| name);
            let found = known.iter().find(|(known, _)| Some(known) == name.as_ref());
            let Some((_, next)) = found else {
                both.push(target);
                continue;
            };
            if target.get("weight").is_none() {
                let whole = if own.kind == Route::Virtual && alone { 100 } else { 1 };
                target["weight"] = json!(whole);
            }
            let mut next = next.clone();
            next["weight"] = json!(0);
            both.extend([target, next]);
        }
        *list = both;
    });
    route
}

/// The host of a `DestinationRule` that names one of the Services in `from` by its whole name, in `to`.
#[must_use]
pub fn host_in(host: &str, services: &[String], from: &str, to: &str) -> Option<String> {
    let mut parts = host.splitn(3, '.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    let ours = namespace == from && services.iter().any(|service| service == name);
    ours.then(|| format!("{name}.{to}.{}", parts.next().unwrap_or("svc.cluster.local")))
}

/// What a route is and where it stands.
#[derive(Clone, Debug)]
struct Own {
    kind: Route,
    namespace: String,
}

/// A place where a route names a Service.
struct Backend<'v> {
    /// A `backendRef`, or a `destination`.
    value: &'v mut Value,
    own: &'v Own,
}

impl<'v> Backend<'v> {
    /// An entry of `backendRefs` or `route`.
    fn of(target: &'v mut Value, own: &'v Own) -> Option<Self> {
        match own.kind {
            Route::Http => Some(Self { value: target, own }),
            Route::Virtual => Some(Self { value: target.get_mut("destination")?, own }),
        }
    }

    /// Name and namespace of the Service.
    fn service(&self) -> Option<(String, String)> {
        let owner = || self.own.namespace.clone();
        match self.own.kind {
            Route::Http => {
                let is_service = self.value.get("kind").is_none_or(|kind| kind == "Service")
                    && self.value.get("group").is_none_or(|group| group == "");
                let name = self.value["name"].as_str().filter(|_| is_service)?.to_owned();
                Some((name, self.value["namespace"].as_str().map_or_else(owner, str::to_owned)))
            }
            Route::Virtual => {
                let mut parts = self.value["host"].as_str()?.split('.');
                let name = parts.next()?.to_owned();
                Some((name, parts.next().map_or_else(owner, str::to_owned)))
            }
        }
    }

    fn is_one_of(&self, services: &[String], namespace: &str) -> bool {
        self.service().is_some_and(|(name, place)| place == namespace && services.contains(&name))
    }

    fn lead(&mut self, to: &str) {
        let Some((name, _)) = self.service() else { return };
        match self.own.kind {
            // Some gateways refuse a backend that names the route's own namespace.
            Route::Http if to == self.own.namespace => {
                self.value.as_object_mut().map(|backend| backend.remove("namespace"));
            }
            Route::Http => self.value["namespace"] = json!(to),
            Route::Virtual => {
                let host = self.value["host"].as_str().unwrap_or_default();
                let domain = host.splitn(3, '.').nth(2).unwrap_or("svc.cluster.local");
                self.value["host"] = json!(format!("{name}.{to}.{domain}"));
            }
        }
    }
}

/// Every list of backends by weight.
fn each_list(route: &mut Value, act: &mut dyn FnMut(&Own, &mut Vec<Value>)) {
    let Some(kind) = Route::of(route) else { return };
    let own = Own { kind, namespace: route["metadata"]["namespace"].as_str().unwrap_or_default().to_owned() };
    let (keys, list): (&[&str], _) = match kind {
        Route::Http => (&["rules"], "backendRefs"),
        Route::Virtual => (&PROTOCOLS, "route"),
    };
    for key in keys {
        for rule in items(route["spec"].get_mut(*key)) {
            if let Some(list) = rule.get_mut(list).and_then(Value::as_array_mut) {
                act(&own, list);
            }
        }
    }
}

/// Every backend, and where copies of requests go.
fn each(route: &mut Value, act: &mut dyn FnMut(&mut Backend<'_>)) {
    each_list(route, &mut |own, list| {
        for target in list.iter_mut() {
            if let Some(mut backend) = Backend::of(target, own) {
                act(&mut backend);
            }
        }
    });
    let Some(kind) = Route::of(route) else { return };
    let own = Own { kind, namespace: route["metadata"]["namespace"].as_str().unwrap_or_default().to_owned() };
    let mut visit = |value: &mut Value| act(&mut Backend { value, own: &own });
    let rules = if kind == Route::Http { "rules" } else { "http" };
    for rule in items(route["spec"].get_mut(rules)) {
        for filter in items(rule.get_mut("filters")) {
            if let Some(copy) = filter.pointer_mut("/requestMirror/backendRef") {
                visit(copy);
            }
        }
        if kind == Route::Virtual {
            rule.get_mut("mirror").into_iter().for_each(&mut visit);
            let copies = items(rule.get_mut("mirrors"));
            copies.into_iter().filter_map(|copy| copy.get_mut("destination")).for_each(&mut visit);
        }
    }
}

fn items(list: Option<&mut Value>) -> impl IntoIterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> Vec<String> {
        vec!["api".to_owned()]
    }

    fn http(backends: &Value) -> Value {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "api", "namespace": "shop"},
            "spec": {"rules": [{"backendRefs": backends}]}})
    }

    fn virtual_service(route: &Value) -> Value {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "api", "namespace": "shop"}, "spec": {"http": [{"route": route}]}})
    }

    #[test]
    fn a_backend_goes_to_the_other_namespace_and_comes_back_as_it_was() {
        for (blue, green) in [
            (
                http(&json!([{"name": "api", "port": 80}])),
                http(&json!([{"name": "api", "port": 80, "namespace": "green"}])),
            ),
            (
                virtual_service(&json!([{"destination": {"host": "api.shop.svc.cluster.local"}}])),
                virtual_service(&json!([{"destination": {"host": "api.green.svc.cluster.local"}}])),
            ),
        ] {
            assert_eq!(lead(&blue, &services(), "shop", "green"), green);
            assert_eq!(lead(&green, &services(), "green", "shop"), blue);
            assert!(leads(&blue, &services(), "shop") && !leads(&blue, &services(), "green"));
        }
        let short = virtual_service(&json!([{"destination": {"host": "api"}}]));
        let led = lead(&short, &services(), "shop", "green");
        assert_eq!(led["spec"]["http"][0]["route"][0]["destination"]["host"], "api.green.svc.cluster.local");
    }

    #[test]
    fn what_is_not_ours_stays() {
        for others in [
            json!([{"name": "other", "port": 80}]),
            json!([{"name": "api", "port": 80, "namespace": "elsewhere"}]),
            json!([{"name": "api", "kind": "Backend", "group": "gateway.example"}]),
        ] {
            assert_eq!(lead(&http(&others), &services(), "shop", "green"), http(&others));
        }
    }

    #[test]
    fn copies_of_requests_follow() {
        let mut route = http(&json!([{"name": "api", "port": 80}]));
        route["spec"]["rules"][0]["filters"] =
            json!([{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "api", "port": 80}}}]);
        let led = lead(&route, &services(), "shop", "green");
        let copy = &led["spec"]["rules"][0]["filters"][0]["requestMirror"]["backendRef"];
        assert_eq!(copy, &json!({"name": "api", "port": 80, "namespace": "green"}));
    }

    #[test]
    fn beside_the_old_backend_the_new_one_stands_at_weight_0() {
        let next = http(&json!([{"name": "api", "port": 8080, "namespace": "green"}]));
        let both =
            beside(&http(&json!([{"name": "api", "port": 80}])), &next, &services(), ("shop", "green"));
        assert_eq!(
            both,
            http(&json!([{"name": "api", "port": 80, "weight": 1},
                {"name": "api", "port": 8080, "namespace": "green", "weight": 0}]))
        );
        let next = virtual_service(&json!([{"destination": {"host": "api.green.svc.cluster.local"}}]));
        let now = virtual_service(&json!([{"destination": {"host": "api"}}]));
        let both = beside(&now, &next, &services(), ("shop", "green"));
        assert_eq!(
            both,
            virtual_service(&json!([{"destination": {"host": "api"}, "weight": 100},
                {"destination": {"host": "api.green.svc.cluster.local"}, "weight": 0}]))
        );
    }

    #[test]
    fn whole_hosts_of_destination_rules_follow_and_short_ones_need_not() {
        let host = |host: &str| host_in(host, &services(), "shop", "green");
        assert_eq!(host("api.shop.svc.cluster.local").unwrap(), "api.green.svc.cluster.local");
        assert_eq!((host("api"), host("other.shop.svc.cluster.local")), (None, None));
    }
}
