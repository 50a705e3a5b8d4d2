//! The data plane: which backend a host and path lead to, by what weight, and which pods stand behind it.
//!
//! A [`Plane`] is built from the API's objects and takes effect some time after them, as a router reloads.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::sim::kube::controllers::{gateway, object};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Store;
use crate::sim::kube::store::Stored;
use crate::sim::pods::{Kubelet, PodIndex};

const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
const ALB_CONDITIONS: &str = "alb.ingress.kubernetes.io/conditions.";
const ALB_ACTION: &str = "alb.ingress.kubernetes.io/actions.";

/// A Service by namespace and name.
pub type ServiceName = (String, String);

/// What sends part of a rule's traffic elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    backend: ServiceName,
    /// Percent.
    weight: f64,
    header: String,
    header_value: String,
    cookie: String,
}

/// What a rule asks of a request's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Want {
    /// This header with this value.
    Exact(String, String),
    /// This header, matching this expression.
    Pattern(String, String),
}

impl Want {
    fn fits(&self, headers: &BTreeMap<String, String>) -> bool {
        let of = |name: &str| headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        match self {
            Self::Exact(name, value) => of(name).is_some_and(|(_, found)| found == value),
            Self::Pattern(name, pattern) => {
                let pattern = regex::Regex::new(&format!("^(?:{pattern})$"));
                of(name).is_some_and(|(_, found)| pattern.is_ok_and(|pattern| pattern.is_match(found)))
            }
        }
    }
}

/// One host and path.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Headers that a request must have, all of one of these lists; anything if there is none.
    asks: Vec<Vec<Want>>,
    host: String,
    path: String,
    exact: bool,
    backends: Vec<(ServiceName, f64)>,
    canary: Option<Canary>,
    /// Where copies of requests go, and what share of them.
    copies: Vec<(ServiceName, f64)>,
}

/// The routers and endpoints as they are in effect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plane {
    rules: Vec<Rule>,
    endpoints: BTreeMap<ServiceName, Vec<PodIndex>>,
}

/// Why a request reaches no pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// No rule for this host and path: 404.
    NoRoute,
    /// No ready endpoint: 503.
    NoEndpoint,
}

impl Plane {
    /// Reads the routers and `EndpointSlices` of a cluster.
    #[must_use]
    pub fn read(store: &Store, kubelet: &Kubelet) -> Self {
        let mut plane = Self::default();
        let mut canaries = Vec::new();
        for ingress in store.iter(KindId::INGRESSES, None) {
            read_ingress(ingress, &mut plane.rules, &mut canaries);
        }
        if let Some(kind) = store.kind("gateway.networking.k8s.io", "httproutes") {
            for route in store.iter(kind, None) {
                let from = object::namespace(route);
                let granted = |(namespace, name): &ServiceName| {
                    namespace == from || gateway::is_granted(store, from, (namespace, name))
                };
                read_http_route(route, &granted, &mut plane.rules);
            }
        }
        if let Some(kind) = store.kind("networking.istio.io", "virtualservices") {
            for service in store.iter(kind, None) {
                read_virtual_service(service, &mut plane.rules);
            }
        }
        for (host, path, canary) in canaries {
            let rule = plane
                .rules
                .iter_mut()
                .find(|rule| rule.host == host && rule.path == path && rule.canary.is_none());
            if let Some(rule) = rule {
                rule.canary = Some(canary);
            }
        }
        // the longest path wins, a host before none
        plane.rules.sort_by_key(|rule| std::cmp::Reverse((!rule.host.is_empty(), rule.path.len())));
        for slice in store.iter(KindId::ENDPOINT_SLICES, None) {
            let service = object::label(slice, "kubernetes.io/service-name");
            let name = (object::namespace(slice).to_owned(), service.to_owned());
            let ready = plane.endpoints.entry(name).or_default();
            for endpoint in object::items(slice, &["endpoints"]) {
                if endpoint["conditions"]["ready"] == true {
                    ready.extend(kubelet.of_uid(object::text(endpoint, &["targetRef", "uid"])));
                }
            }
        }
        plane
    }

    /// True if requests are divided as in another.
    #[must_use]
    pub fn has_rules_of(&self, other: &Self) -> bool {
        self.rules == other.rules
    }

    /// Divides requests as another does, over its own endpoints.
    pub fn keep_rules_of(&mut self, other: &Self) {
        self.rules.clone_from(&other.rules);
    }

    /// True if some rule or Service answers for this.
    #[must_use]
    pub fn knows(&self, host: &str, path: &str) -> bool {
        self.rule(host, path).is_some()
    }

    fn rule(&self, host: &str, path: &str) -> Option<&Rule> {
        self.rule_for(host, path, &BTreeMap::new())
    }

    fn rule_for(&self, host: &str, path: &str, headers: &BTreeMap<String, String>) -> Option<&Rule> {
        let asked = |rule: &Rule| {
            rule.asks.is_empty() || rule.asks.iter().any(|all| all.iter().all(|want| want.fits(headers)))
        };
        self.rules.iter().filter(|rule| asked(rule)).find(|rule| {
            (rule.host.is_empty() || host_matches(&rule.host, host))
                && if rule.exact { rule.path == path } else { path.starts_with(&rule.path) }
        })
    }

    /// The host and path of the first rule that leads to a Service of `component`.
    #[must_use]
    pub fn address_of(&self, component: &str) -> Option<(String, String)> {
        let leads = |rule: &&Rule| rule.backends.iter().any(|((_, service), _)| belongs(service, component));
        self.rules.iter().find(leads).map(|rule| (rule.host.clone(), rule.path.clone()))
    }

    /// A Service of `component`, for traffic that comes through no router.
    #[must_use]
    pub fn service_of(&self, component: &str) -> Option<ServiceName> {
        let exact = self.endpoints.keys().find(|(_, service)| service == component);
        exact.or_else(|| self.endpoints.keys().find(|(_, service)| belongs(service, component))).cloned()
    }

    /// The ready pods of a Service.
    #[must_use]
    pub fn endpoints_of(&self, service: &ServiceName) -> &[PodIndex] {
        self.endpoints.get(service).map_or(&[], Vec::as_slice)
    }

    /// How the traffic of a host and path without any special header divides over pods; the shares sum to 1.
    pub fn shares(&self, host: &str, path: &str) -> Result<Vec<(PodIndex, f64)>, Miss> {
        let rule = self.rule(host, path).ok_or(Miss::NoRoute)?;
        let mut shares = BTreeMap::new();
        let total: f64 = rule.backends.iter().map(|(_, weight)| weight).sum();
        let aside = match &rule.canary {
            // nginx sends to a canary only while it has endpoints
            Some(canary) if !self.endpoints_of(&canary.backend).is_empty() => {
                self.spread(&canary.backend, canary.weight / 100.0, &mut shares);
                canary.weight / 100.0
            }
            _ => 0.0,
        };
        let mut lost = 0.0;
        for (backend, weight) in &rule.backends {
            let share = if total > 0.0 { weight / total } else { 0.0 } * (1.0 - aside);
            if share > 0.0 && !self.spread(backend, share, &mut shares) {
                lost += share;
            }
        }
        if shares.is_empty() || (lost > 0.0 && rule.backends.len() == 1) {
            return Err(Miss::NoEndpoint);
        }
        // a weighted backend without endpoints loses its share: what is missing to 1 is failed by the caller
        Ok(shares.into_iter().collect())
    }

    /// The pods that get copies of the requests of a host and path, each with its share of them.
    #[must_use]
    pub fn copies(&self, host: &str, path: &str) -> Vec<(PodIndex, f64)> {
        let mut shares = BTreeMap::new();
        for (service, share) in self.rule(host, path).map_or(&[][..], |rule| &rule.copies) {
            self.spread(service, *share, &mut shares);
        }
        shares.into_iter().collect()
    }

    /// Spreads `share` over the pods of a Service; false if it has none.
    fn spread(&self, service: &ServiceName, share: f64, shares: &mut BTreeMap<PodIndex, f64>) -> bool {
        let pods = self.endpoints_of(service);
        for pod in pods {
            *shares.entry(*pod).or_default() += share / pods.len() as f64;
        }
        !pods.is_empty()
    }

    /// The Service for one request; `draw` in `[0, 1)` decides by weight.
    pub fn choose(
        &self,
        host: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        draw: f64,
    ) -> Result<ServiceName, Miss> {
        let rule = self.rule_for(host, path, headers).ok_or(Miss::NoRoute)?;
        if let Some(canary) = &rule.canary
            && !self.endpoints_of(&canary.backend).is_empty()
            && canary.takes(headers, draw)
        {
            return Ok(canary.backend.clone());
        }
        let total: f64 = rule.backends.iter().map(|(_, weight)| weight).sum();
        let mut left = draw * total;
        for (backend, weight) in &rule.backends {
            if left < *weight {
                return Ok(backend.clone());
            }
            left -= weight;
        }
        rule.backends.first().map(|(backend, _)| backend.clone()).ok_or(Miss::NoEndpoint)
    }

    /// The sum of the weights that divide a route in two. Among more backends a weight is a share of whatever they sum to,
    /// and a single one carries all: 100.
    #[must_use]
    pub fn weight_sum(&self, host: &str, path: &str) -> f64 {
        match self.rule(host, path) {
            Some(rule) if rule.backends.len() == 2 => rule.backends.iter().map(|(_, weight)| weight).sum(),
            _ => 100.0,
        }
    }

    /// The configured weights of a host and path by Service, in percent.
    #[must_use]
    pub fn weights(&self, host: &str, path: &str) -> Vec<(ServiceName, f64)> {
        let Some(rule) = self.rule(host, path) else {
            return Vec::new();
        };
        let aside = rule.canary.as_ref().map_or(0.0, |canary| canary.weight);
        let total: f64 = rule.backends.iter().map(|(_, weight)| weight).sum();
        let mut weights: Vec<_> = rule
            .backends
            .iter()
            .map(|(backend, weight)| (backend.clone(), weight / total.max(1e-9) * (100.0 - aside)))
            .collect();
        weights.extend(rule.canary.as_ref().map(|canary| (canary.backend.clone(), canary.weight)));
        weights
    }
}

impl Canary {
    /// Header before cookie before weight.
    fn takes(&self, headers: &BTreeMap<String, String>, draw: f64) -> bool {
        let found = headers
            .iter()
            .find(|(name, _)| !self.header.is_empty() && name.eq_ignore_ascii_case(&self.header));
        if let Some((_, value)) = found {
            if self.header_value.is_empty() {
                match value.as_str() {
                    "always" => return true,
                    "never" => return false,
                    _ => {}
                }
            } else if *value == self.header_value {
                return true;
            }
        }
        let cookies = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("cookie"));
        if let Some((_, cookies)) = cookies
            && !self.cookie.is_empty()
        {
            for cookie in cookies.split(';').map(str::trim) {
                match cookie.strip_prefix(self.cookie.as_str()).and_then(|rest| rest.strip_prefix('=')) {
                    Some("always") => return true,
                    Some("never") => return false,
                    _ => {}
                }
            }
        }
        draw * 100.0 < self.weight
    }
}

/// True if a Service's name says that it belongs to the component: its name, with or without a suffix.
fn belongs(service: &str, component: &str) -> bool {
    service == component || service.strip_prefix(component).is_some_and(|rest| rest.starts_with('-'))
}

fn host_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(suffix) => host.split_once('.').is_some_and(|(_, rest)| rest == suffix),
        None => pattern == host,
    }
}

fn read_ingress(ingress: &Arc<Stored>, rules: &mut Vec<Rule>, canaries: &mut Vec<(String, String, Canary)>) {
    let namespace = object::namespace(ingress);
    let annotation = |key: &str| object::annotation(ingress, key).to_owned();
    let canary = annotation(CANARY) == "true";
    for rule in object::items(ingress, &["spec", "rules"]) {
        let host = object::text(rule, &["host"]);
        for path in object::items(rule, &["http", "paths"]) {
            let service = object::text(path, &["backend", "service", "name"]);
            let backend = (namespace.to_owned(), service.to_owned());
            let prefix = match object::text(path, &["path"]) {
                "" => "/",
                path => path,
            };
            if canary {
                let total: f64 =
                    annotation("nginx.ingress.kubernetes.io/canary-weight-total").parse().unwrap_or(100.0);
                let weight: f64 =
                    annotation("nginx.ingress.kubernetes.io/canary-weight").parse().unwrap_or(0.0);
                let canary = Canary {
                    backend,
                    weight: (weight * 100.0 / total.max(1.0)).clamp(0.0, 100.0),
                    header: annotation("nginx.ingress.kubernetes.io/canary-by-header"),
                    header_value: annotation("nginx.ingress.kubernetes.io/canary-by-header-value"),
                    cookie: annotation("nginx.ingress.kubernetes.io/canary-by-cookie"),
                };
                canaries.push((host.to_owned(), prefix.to_owned(), canary));
                continue;
            }
            let action = annotation(&format!("{ALB_ACTION}{service}"));
            rules.push(Rule {
                asks: alb_asks(&annotation(&format!("{ALB_CONDITIONS}{service}"))),
                host: host.to_owned(),
                path: prefix.to_owned(),
                exact: object::text(path, &["pathType"]) == "Exact",
                backends: alb_backends(namespace, &action).unwrap_or_else(|| vec![(backend, 100.0)]),
                canary: None,
                copies: Vec::new(),
            });
        }
    }
}

/// The headers that the conditions of a rule of an ALB ask for.
fn alb_asks(conditions: &str) -> Vec<Vec<Want>> {
    let conditions: Vec<Value> = serde_json::from_str(conditions).unwrap_or_default();
    let mut asks = Vec::new();
    for condition in conditions.iter().filter(|condition| condition["field"] == "http-header") {
        let config = &condition["httpHeaderConfig"];
        let name = object::text(config, &["httpHeaderName"]);
        for value in object::items(config, &["values"]).iter().filter_map(Value::as_str) {
            asks.push(vec![Want::Exact(name.to_owned(), value.to_owned())]);
        }
    }
    asks
}

/// The headers that the matches of a rule ask for; nothing if one of them asks for none.
fn asks_of(matches: &[Value], headers: impl Fn(&Value) -> Vec<Want>) -> Vec<Vec<Want>> {
    let asks: Vec<Vec<Want>> = matches.iter().map(headers).collect();
    if asks.iter().any(Vec::is_empty) { Vec::new() } else { asks }
}

fn alb_backends(namespace: &str, action: &str) -> Option<Vec<(ServiceName, f64)>> {
    let action: Value = serde_json::from_str(action).ok()?;
    let groups = action.get("ForwardConfig").or_else(|| action.get("forwardConfig"))?;
    let groups = groups.get("TargetGroups").or_else(|| groups.get("targetGroups"))?.as_array()?;
    let field =
        |group: &Value, upper: &str, lower: &str| group.get(upper).or_else(|| group.get(lower)).cloned();
    let backends = groups.iter().filter_map(|group| {
        let name = field(group, "ServiceName", "serviceName")?.as_str()?.to_owned();
        let weight = field(group, "Weight", "weight").and_then(|weight| weight.as_f64()).unwrap_or(1.0);
        Some(((namespace.to_owned(), name), weight))
    });
    Some(backends.collect())
}

fn read_http_route(route: &Value, granted: &dyn Fn(&ServiceName) -> bool, rules: &mut Vec<Rule>) {
    let namespace = object::namespace(route);
    let hosts: Vec<&str> =
        object::items(route, &["spec", "hostnames"]).iter().filter_map(Value::as_str).collect();
    for rule in object::items(route, &["spec", "rules"]) {
        let backends: Vec<_> = object::items(rule, &["backendRefs"])
            .iter()
            .map(|backend| {
                let other = object::text(backend, &["namespace"]);
                let namespace = if other.is_empty() { namespace } else { other };
                let weight = object::number(backend, &["weight"]).unwrap_or(1) as f64;
                let service = (namespace.to_owned(), object::text(backend, &["name"]).to_owned());
                // what nobody lets the route lead to has no endpoints for it
                (if granted(&service) { service } else { (String::new(), service.1) }, weight)
            })
            .collect();
        let matches = object::items(rule, &["matches"]);
        let path = matches.first().map_or("", |first| object::text(first, &["path", "value"]));
        let filters = object::items(rule, &["filters"]).iter();
        let mirrors = filters.filter(|filter| filter["type"] == "RequestMirror");
        let copies: Vec<_> = mirrors
            .map(|filter| {
                let name = object::text(filter, &["requestMirror", "backendRef", "name"]).to_owned();
                let percent = object::number(filter, &["requestMirror", "percent"]).unwrap_or(100);
                ((namespace.to_owned(), name), percent as f64 / 100.0)
            })
            .collect();
        let asks = asks_of(matches, |one| {
            let headers = object::items(one, &["headers"]).iter();
            let text = |header: &Value, key: &str| object::text(header, &[key]).to_owned();
            headers.map(|header| Want::Exact(text(header, "name"), text(header, "value"))).collect()
        });
        for host in if hosts.is_empty() { &[""][..] } else { &hosts } {
            rules.push(Rule {
                asks: asks.clone(),
                host: (*host).to_owned(),
                path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
                exact: false,
                backends: backends.clone(),
                canary: None,
                copies: copies.clone(),
            });
        }
    }
}

fn read_virtual_service(service: &Value, rules: &mut Vec<Rule>) {
    let namespace = object::namespace(service);
    for host in object::items(service, &["spec", "hosts"]).iter().filter_map(Value::as_str) {
        for route in object::items(service, &["spec", "http"]) {
            let targets = object::items(route, &["route"]);
            let backends = targets
                .iter()
                .map(|target| {
                    let full = object::text(target, &["destination", "host"]);
                    let mut parts = full.split('.');
                    let name = parts.next().unwrap_or_default().to_owned();
                    let namespace = parts.next().unwrap_or(namespace).to_owned();
                    let default = if targets.len() == 1 { 100 } else { 0 };
                    ((namespace, name), object::number(target, &["weight"]).unwrap_or(default) as f64)
                })
                .collect();
            let asks = asks_of(object::items(route, &["match"]), |one| {
                let headers = object::at(one, &["headers"]).as_object().into_iter().flatten();
                let want = |(name, value): (&String, &Value)| match value["regex"].as_str() {
                    Some(pattern) => Want::Pattern(name.clone(), pattern.to_owned()),
                    None => Want::Exact(name.clone(), object::text(value, &["exact"]).to_owned()),
                };
                headers.map(want).collect()
            });
            let prefix =
                object::items(route, &["match"]).first().map_or("", |m| object::text(m, &["uri", "prefix"]));
            let mirror = object::text(route, &["mirror", "host"]).split('.').next().unwrap_or_default();
            let share = object::at(route, &["mirrorPercentage", "value"]).as_f64().unwrap_or(100.0) / 100.0;
            let copy = ((namespace.to_owned(), mirror.to_owned()), share);
            rules.push(Rule {
                copies: if mirror.is_empty() { Vec::new() } else { vec![copy] },
                asks,
                host: host.to_owned(),
                path: if prefix.is_empty() { "/".to_owned() } else { prefix.to_owned() },
                exact: false,
                backends,
                canary: None,
            });
        }
    }
}
