//! Subresources: status, scale, eviction, binding, log, proxy, finalize, token.

use http::StatusCode;
use serde_json::{Value, json};

use super::api::{Answer, ApiService, Incoming};
use super::decode;
use super::delete::DeleteOptions;
use super::errors::{ApiStatus, Cause};
use super::handlers::{key_of, path_not_found};
use super::host::{LogRequest, ProxyRequest};
use super::kinds::{Kind, KindId};
use super::patch;
use super::selectors::LabelSelector;
use super::store::{Key, Store};
use super::write::Ownership;

impl ApiService {
    pub(crate) fn subresource(&self, incoming: &Incoming, kind: KindId) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let (has_status, has_scale) = {
            let store = self.store();
            let kind = store.kind_info(kind);
            (kind.status, kind.scale)
        };
        match (info.subresource.as_str(), info.verb.as_str()) {
            ("status", "get") if has_status => self.get(info, kind),
            ("status", "update") if has_status => self.update(incoming, kind, "status"),
            ("status", "patch") if has_status => self.patch(incoming, kind, "status"),
            ("scale", "get" | "update" | "patch") if has_scale => self.scale(incoming, kind),
            ("eviction", "create") if kind == KindId::PODS => self.evict(incoming),
            ("binding", "create") if kind == KindId::PODS => self.bind(incoming),
            ("log", "get") if kind == KindId::PODS => self.log(incoming),
            ("proxy", _) if matches!(kind, KindId::PODS | KindId::SERVICES) => self.proxy(incoming),
            ("finalize", "update") if kind == KindId::NAMESPACES => self.finalize(incoming),
            ("token", "create") if kind == KindId::SERVICE_ACCOUNTS => self.token(incoming),
            _ => Err(path_not_found()),
        }
    }

    fn scale(&self, incoming: &Incoming, kind: KindId) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let mut store = self.store();
        let key = key_of(info, kind);
        let Some(object) = store.get(&key) else {
            return Err(ApiStatus::not_found(store.kind_info(kind), &info.name));
        };
        let current = scale_of(&object);
        if info.verb == "get" {
            return Ok(Answer::object(StatusCode::OK, &current));
        }
        let wanted = match info.verb.as_str() {
            "update" => decode::optional(&incoming.body)?,
            _ => patch::merge_patch(&current, &decode::optional(&incoming.body)?),
        };
        let replicas = wanted["spec"]["replicas"].clone();
        let count = replicas.as_i64().unwrap_or(0);
        if count < 0 {
            let scale =
                Kind { kind: "Scale".into(), group: "autoscaling".into(), ..store.kind_info(kind).clone() };
            let why = "must be greater than or equal to 0";
            let cause = Cause::invalid("spec.replicas", &replicas, why);
            return Err(ApiStatus::invalid(&scale, &info.name, &[cause]));
        }
        let mut changed = object.value().clone();
        changed["spec"]["replicas"] = count.into();
        if let Some(version) = wanted["metadata"]["resourceVersion"].as_str() {
            changed["metadata"]["resourceVersion"] = version.into();
        }
        let updated = store.update_as(&self.writer(info, "scale"), &key, changed, Ownership::Update)?;
        Ok(Answer::object(StatusCode::OK, &scale_of(&updated)))
    }

    fn evict(&self, incoming: &Incoming) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let mut store = self.store();
        let key = key_of(info, KindId::PODS);
        let Some(pod) = store.get(&key) else {
            return Err(ApiStatus::not_found(store.kind_info(KindId::PODS), &info.name));
        };
        let body = decode::optional(&incoming.body)?;
        let now = self.host.now();
        let running = !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"))
            && pod["metadata"]["deletionTimestamp"].is_null();
        if running && let Some(budget) = budget_of(&store, &pod)? {
            spend(&mut store, now, &budget, &info.name, info.dry_run())?;
        }
        let options = DeleteOptions {
            grace_seconds: body["deleteOptions"]["gracePeriodSeconds"].as_i64(),
            dry_run: info.dry_run(),
            ..DeleteOptions::default()
        };
        store.delete(now, info.manager(), &key, &options)?;
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(Answer::object(StatusCode::CREATED, &status))
    }

    fn bind(&self, incoming: &Incoming) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let node = decode::optional(&incoming.body)?["target"]["name"].clone();
        let mut store = self.store();
        let key = key_of(info, KindId::PODS);
        store.modify(self.host.now(), info.manager(), &key, |pod| pod["spec"]["nodeName"] = node)?;
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(Answer::object(StatusCode::CREATED, &status))
    }

    fn log(&self, incoming: &Incoming) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let store = self.store();
        let Some(pod) = store.get(&key_of(info, KindId::PODS)) else {
            return Err(ApiStatus::not_found(store.kind_info(KindId::PODS), &info.name));
        };
        drop(store);
        let names: Vec<&str> = ["initContainers", "containers"]
            .iter()
            .flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten())
            .filter_map(|container| container["name"].as_str())
            .collect();
        let asked = info.param("container");
        let only = pod["spec"]["containers"].as_array().filter(|all| all.len() == 1);
        let container = match (asked, only) {
            ("", Some(all)) => all[0]["name"].as_str().unwrap_or_default(),
            ("", None) => {
                return Err(ApiStatus::bad_request(format!(
                    "a container name must be specified for pod {}, choose one of: [{}]",
                    info.name,
                    names.join(" ")
                )));
            }
            (asked, _) if names.contains(&asked) => asked,
            (asked, _) => {
                let why = format!("container {asked} is not valid for pod {}", info.name);
                return Err(ApiStatus::bad_request(why));
            }
        };
        let request = LogRequest {
            namespace: &info.namespace,
            pod: &info.name,
            container,
            previous: info.flag("previous"),
            timestamps: info.flag("timestamps"),
            tail: info.param("tailLines").parse().ok(),
        };
        let text = self.host.pod_log(&request)?;
        Ok(Answer::Text(StatusCode::OK, tail(&text, request.tail)))
    }

    fn proxy(&self, incoming: &Incoming) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        // [scheme:]name[:port]
        let parts: Vec<&str> = info.name.split(':').collect();
        let (name, port) = match parts.as_slice() {
            ["http" | "https" | "", name, port] | [name, port] => (*name, *port),
            [name, ..] => (*name, ""),
            [] => ("", ""),
        };
        let request = ProxyRequest {
            resource: &info.resource,
            namespace: &info.namespace,
            name,
            port,
            path: &format!("/{}", info.rest),
            method: &incoming.method,
            query: &incoming.query,
            headers: &incoming.headers,
        };
        {
            let store = self.store();
            let kind = if info.resource == "pods" { KindId::PODS } else { KindId::SERVICES };
            if store.lookup(kind, &info.namespace, name).is_none() {
                return Err(ApiStatus::not_found(store.kind_info(kind), name));
            }
        }
        match self.host.proxy(&request) {
            Some(response) => Ok(Answer::Raw(response)),
            None => Err(ApiStatus::new(
                503,
                "ServiceUnavailable",
                format!("no endpoints available for service \"{}\"", info.name),
            )),
        }
    }

    fn finalize(&self, incoming: &Incoming) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let body = decode::optional(&incoming.body)?;
        let mut store = self.store();
        let key = Key::new(KindId::NAMESPACES, "", &info.name);
        let Some(namespace) = store.get(&key) else {
            return Err(ApiStatus::not_found(store.kind_info(KindId::NAMESPACES), &info.name));
        };
        let empty = body["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if empty && !namespace["metadata"]["deletionTimestamp"].is_null() {
            store.finalize_namespace(&info.name);
        }
        Ok(Answer::object(StatusCode::OK, &namespace.for_client()))
    }

    fn token(&self, incoming: &Incoming) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let store = self.store();
        if store.lookup(KindId::SERVICE_ACCOUNTS, &info.namespace, &info.name).is_none() {
            return Err(ApiStatus::not_found(store.kind_info(KindId::SERVICE_ACCOUNTS), &info.name));
        }
        let mut request = decode::optional(&incoming.body)?;
        let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
        let expires =
            self.host.now().checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or_default();
        request["status"] = json!({"token": format!("sim.{}.{}", info.namespace, info.name),
            "expirationTimestamp": super::write::time(expires)});
        Ok(Answer::object(StatusCode::CREATED, &request))
    }
}

fn tail(text: &str, lines: Option<usize>) -> String {
    let Some(lines) = lines else { return text.to_owned() };
    let all: Vec<&str> = text.split_inclusive('\n').collect();
    all[all.len().saturating_sub(lines)..].concat()
}

fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut shown = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(field) {
            shown.insert(field.into(), value.clone());
        }
    }
    let replicas = object["status"]["replicas"].as_i64().unwrap_or(0);
    let mut status = json!({"replicas": replicas});
    if let Some(selector) = LabelSelector::of_object(&object["spec"]["selector"]) {
        status["selector"] = selector.text().into();
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(0);
    let spec = if wanted == 0 { json!({}) } else { json!({"replicas": wanted}) };
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": shown, "spec": spec, "status": status})
}

/// The disruption budget that covers a pod.
fn budget_of(store: &Store, pod: &Value) -> Result<Option<Value>, ApiStatus> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut covering = store.iter(KindId::POD_DISRUPTION_BUDGETS, Some(namespace)).filter(|budget| {
        LabelSelector::of_object(&budget["spec"]["selector"])
            .is_some_and(|selector| selector.matches(&pod["metadata"]["labels"]))
    });
    let first = covering.next().map(|budget| budget.value().clone());
    if covering.next().is_some() {
        return Err(ApiStatus::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    Ok(first)
}

/// Takes one disruption from a budget, or refuses the eviction.
fn spend(
    store: &mut Store,
    now: jiff::Timestamp,
    budget: &Value,
    pod: &str,
    dry_run: bool,
) -> Result<(), ApiStatus> {
    let name = budget["metadata"]["name"].as_str().unwrap_or_default();
    let status = &budget["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let refuse = |cause: String| ApiStatus {
        details: Some(json!({"causes": [{"reason": "DisruptionBudget", "message": cause}]})),
        ..ApiStatus::new(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
        )
    };
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refuse(cause));
    }
    if number("disruptionsAllowed") < 1 {
        let cause = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        );
        return Err(refuse(cause));
    }
    if dry_run {
        return Ok(());
    }
    let namespace = budget["metadata"]["namespace"].as_str().unwrap_or_default();
    let key = Key::new(KindId::POD_DISRUPTION_BUDGETS, namespace, name);
    let at = super::write::time(now);
    store.modify_status(now, "kube-apiserver", &key, |budget| {
        let left = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(1) - 1;
        budget["status"]["disruptionsAllowed"] = left.into();
        budget["status"]["disruptedPods"][pod] = at.into();
    })?;
    Ok(())
}
