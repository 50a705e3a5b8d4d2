//! Discovery: which groups, versions and resources the server has, as listed for clients.

use std::io::Read as _;
use std::sync::OnceLock;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::api::{Answer, ApiService};
use super::errors::ApiStatus;
use super::handlers::path_not_found;
use super::kinds::Kind;
use super::openapi;
use super::request::RequestInfo;
use super::store::Store;

/// What kube-apiserver v1.36.2 lists of its own groups: `{"groups": aggregated, "lists": {"v1": .., "apps/v1": ..}}`.
static BUILTIN: OnceLock<Value> = OnceLock::new();

pub(crate) fn builtin() -> &'static Value {
    BUILTIN.get_or_init(|| {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&include_bytes!("discovery.json.gz")[..])
            .read_to_string(&mut text)
            .expect("the lists in the binary are gzipped text");
        serde_json::from_str(&text).expect("the lists in the binary are JSON")
    })
}

const ALL_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

impl ApiService {
    /// Answers the paths that are about the server itself.
    pub(crate) fn discovery(&self, info: &RequestInfo) -> Result<Answer, ApiStatus> {
        let aggregated = info.accept.contains("as=APIGroupDiscoveryList");
        let store = self.store();
        let segments: Vec<&str> = info.path.trim_matches('/').split('/').collect();
        let body = match segments.as_slice() {
            ["readyz" | "healthz" | "livez", ..] => return Ok(Answer::Text(StatusCode::OK, "ok".to_owned())),
            ["version"] => version(),
            ["api"] if aggregated => json!({"kind": "APIGroupDiscoveryList",
                "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": [core_group()]}),
            ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs":
                [{"clientCIDR": "0.0.0.0/0", "serverAddress": "10.0.0.1:6443"}]}),
            ["api", "v1"] => builtin()["lists"]["v1"].clone(),
            ["apis"] if aggregated => json!({"kind": "APIGroupDiscoveryList",
                "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": groups(&store)}),
            ["apis"] => json!({"kind": "APIGroupList", "apiVersion": "v1",
                "groups": groups(&store).iter().map(group).collect::<Vec<_>>()}),
            ["apis", name] => groups(&store)
                .iter()
                .find(|group| group["metadata"]["name"] == *name)
                .map(|found| {
                    let mut body = json!({"kind": "APIGroup", "apiVersion": "v1"});
                    for (field, value) in group(found).as_object().into_iter().flatten() {
                        body[field] = value.clone();
                    }
                    body
                })
                .ok_or_else(path_not_found)?,
            ["apis", name, version] => resource_list(&store, name, version).ok_or_else(path_not_found)?,
            ["openapi", "v3"] => openapi::index(&store, &groups(&store)),
            ["openapi", "v3", "apis", group, version] => {
                openapi::document(&store, group, version).ok_or_else(path_not_found)?
            }
            _ => return Err(path_not_found()),
        };
        Ok(Answer::object(StatusCode::OK, &body))
    }
}

fn version() -> Value {
    json!({"major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35", "gitVersion": "v1.36.2",
        "gitCommit": "$Format:%H$", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "go1.27.3", "compiler": "gc", "platform": "linux/amd64"})
}

/// The groups in aggregated form: the built-in ones, then those of CRDs.
fn groups(store: &Store) -> Vec<Value> {
    let mut groups = builtin()["groups"].as_array().cloned().unwrap_or_default();
    for (id, kind) in store.kinds().iter().filter(|(_, kind)| kind.custom) {
        if !store.kinds().is_served(id) {
            continue;
        }
        let resource = custom_resource(kind);
        let at = groups.iter().position(|group| group["metadata"]["name"] == kind.group.as_str());
        let at = at.unwrap_or_else(|| {
            groups.push(json!({"metadata": {"name": kind.group}, "versions": []}));
            groups.len() - 1
        });
        let group = &mut groups[at];
        let Some(versions) = group["versions"].as_array_mut() else { continue };
        match versions.iter_mut().find(|version| version["version"] == kind.version.as_str()) {
            Some(version) => {
                if let Some(resources) = version["resources"].as_array_mut() {
                    resources.push(resource);
                }
            }
            None => versions
                .push(json!({"version": kind.version, "resources": [resource], "freshness": "Current"})),
        }
    }
    groups
}

fn custom_resource(kind: &Kind) -> Value {
    let of = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let mut subresources = Vec::new();
    if kind.status {
        subresources
            .push(json!({"subresource": "status", "responseKind": of, "verbs": ["get", "patch", "update"]}));
    }
    if kind.scale {
        subresources.push(json!({"subresource": "scale", "responseKind":
            {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get", "patch", "update"]}));
    }
    let mut resource = json!({"resource": kind.plural, "responseKind": of,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.kind.to_lowercase(), "verbs": ALL_VERBS});
    if !subresources.is_empty() {
        resource["subresources"] = subresources.into();
    }
    resource
}

/// The core group in aggregated form, made of its list of resources.
fn core_group() -> Value {
    let list = builtin()["lists"]["v1"]["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut resources: Vec<Value> = Vec::new();
    for one in list {
        let name = one["name"].as_str().unwrap_or_default();
        let of = json!({"group": one.get("group").unwrap_or(&json!("")),
            "version": one.get("version").unwrap_or(&json!("")), "kind": one["kind"]});
        if let Some((parent, subresource)) = name.split_once('/') {
            let entry = json!({"subresource": subresource, "responseKind": of, "verbs": one["verbs"]});
            if let Some(parent) = resources.iter_mut().find(|resource| resource["resource"] == parent) {
                match parent["subresources"].as_array_mut() {
                    Some(all) => all.push(entry),
                    None => parent["subresources"] = json!([entry]),
                }
            }
            continue;
        }
        let mut resource = json!({"resource": name, "responseKind": of,
            "scope": if one["namespaced"] == true { "Namespaced" } else { "Cluster" },
            "singularResource": one["singularName"], "verbs": one["verbs"]});
        for field in ["shortNames", "categories"] {
            if let Some(value) = one.get(field) {
                resource[field] = value.clone();
            }
        }
        resources.push(resource);
    }
    json!({"metadata": {}, "versions": [{"version": "v1", "resources": resources, "freshness": "Current"}]})
}

/// A group in the form of the plain list.
fn group(aggregated: &Value) -> Value {
    let name = aggregated["metadata"]["name"].as_str().unwrap_or_default();
    let versions: Vec<Value> = aggregated["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|version| {
            let version = version["version"].as_str().unwrap_or_default();
            json!({"groupVersion": format!("{name}/{version}"), "version": version})
        })
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

fn resource_list(store: &Store, group: &str, version: &str) -> Option<Value> {
    let group_version = format!("{group}/{version}");
    if let Some(list) = builtin()["lists"].get(&group_version) {
        return Some(list.clone());
    }
    let kinds = store.kinds();
    let own = kinds.iter().filter(|(id, kind)| {
        kind.custom && kind.group == group && kind.version == version && kinds.is_served(*id)
    });
    let own = own.flat_map(|(_, kind)| plain_resources(&custom_resource(kind)));
    let groups = items(&builtin()["groups"]).iter().filter(|one| one["metadata"]["name"] == group);
    let versions = groups.flat_map(|one| items(&one["versions"])).filter(|one| one["version"] == version);
    let built_in = versions.flat_map(|one| items(&one["resources"])).flat_map(plain_resources);
    let resources: Vec<Value> = built_in.chain(own).collect();
    if resources.is_empty() {
        return None;
    }
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": resources}))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A resource and its subresources in the form of the plain list.
fn plain_resources(resource: &Value) -> Vec<Value> {
    let name = resource["resource"].as_str().unwrap_or_default();
    let namespaced = resource["scope"] == "Namespaced";
    let mut first = Map::new();
    first.insert("name".into(), name.into());
    first.insert("singularName".into(), resource["singularResource"].clone());
    first.insert("namespaced".into(), namespaced.into());
    first.insert("kind".into(), resource["responseKind"]["kind"].clone());
    first.insert("verbs".into(), resource["verbs"].clone());
    for field in ["shortNames", "categories"] {
        if let Some(value) = resource.get(field) {
            first.insert(field.into(), value.clone());
        }
    }
    let mut all = vec![Value::Object(first)];
    for one in resource["subresources"].as_array().into_iter().flatten() {
        let sub = one["subresource"].as_str().unwrap_or_default();
        let kind = &one["responseKind"];
        let mut entry =
            json!({"name": format!("{name}/{sub}"), "singularName": "", "namespaced": namespaced});
        if kind["kind"] != resource["responseKind"]["kind"] {
            for field in ["group", "version"] {
                if kind[field].as_str().is_some_and(|value| !value.is_empty()) {
                    entry[field] = kind[field].clone();
                }
            }
        }
        entry["kind"] = kind["kind"].clone();
        entry["verbs"] = one["verbs"].clone();
        all.push(entry);
    }
    all
}
