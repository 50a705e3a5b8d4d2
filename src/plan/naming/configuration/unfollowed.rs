//! References to configuration in kinds that are not Kubernetes' own, in fields that nobody knows to follow.

use super::{Renames, configuration_kind, follow};
use crate::domain::object::{Object, ObjectRef};
use crate::rollout::readiness;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Words in the names of fields that lead to a Secret.
const OF_SECRETS: [&str; 8] = ["secret", "credential", "password", "token", "auth", "cert", "tls", "key"];
/// Words in the names of fields that lead to a `ConfigMap`.
const OF_MAPS: [&str; 1] = ["config"];
/// Fields whose text names something else, whatever stands around them.
const OF_OTHERS: [&str; 4] = ["host", "hosts", "serviceName", "key"];

/// What would be renamed and is named by a custom resource of its namespace all the same, each once, with the first that
/// names it.
pub(super) fn references(
    objects: &[Object],
    renames: &BTreeMap<String, Renames>,
) -> Vec<(ObjectRef, ObjectRef)> {
    let mut found: BTreeMap<ObjectRef, ObjectRef> = BTreeMap::new();
    for object in objects.iter().filter(|object| !readiness::is_builtin(object.reference().group())) {
        let by = object.reference();
        let Some(renames) = renames.get(&by.namespace) else { continue };
        let mut spec = object.value["spec"].clone();
        follow(&mut spec, renames);
        let others = names_of_others(objects, &by.namespace);
        let search = Search { renames, others: &others };
        let mut named = BTreeSet::new();
        search.walk(&spec, &mut Vec::new(), &mut named);
        for (kind, name) in named {
            let kept = ObjectRef::new("v1", kind, &by.namespace, name);
            found.entry(kept).or_insert_with(|| by.clone());
        }
    }
    found.into_iter().collect()
}

/// Names of all that is no configuration: such a name alone does not tell what is meant.
fn names_of_others<'o>(objects: &'o [Object], namespace: &str) -> BTreeSet<&'o str> {
    let beside = objects.iter().filter(|object| object.reference().namespace == namespace);
    beside.filter(|object| configuration_kind(object).is_none()).map(Object::name).collect()
}

struct Search<'a> {
    renames: &'a Renames,
    others: &'a BTreeSet<&'a str>,
}

impl<'a> Search<'a> {
    fn walk<'v>(
        &self,
        value: &'v Value,
        path: &mut Vec<&'v str>,
        found: &mut BTreeSet<(&'static str, &'a str)>,
    ) {
        match value {
            Value::Object(map) => {
                // A reference that says its kind says whether it is meant.
                let kind = map.get("kind").and_then(Value::as_str);
                let foreign = kind.is_some_and(|kind| !matches!(kind, "Secret" | "ConfigMap"));
                for (key, child) in map.iter().filter(|(key, _)| !(foreign && *key == "name")) {
                    path.push(key);
                    self.walk(child, path, found);
                    path.pop();
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, path, found)),
            Value::String(text) => {
                let meant = self
                    .renames
                    .keys()
                    .filter(|(kind, name)| name == text && self.is_meant(kind, text, path));
                found.extend(meant.map(|(kind, name)| (*kind, name.as_str())));
            }
            _ => {}
        }
    }

    /// Whether a text of that name leads to configuration, as far as the fields on the way to it tell.
    fn is_meant(&self, kind: &str, name: &str, path: &[&str]) -> bool {
        if path.last().is_some_and(|last| OF_OTHERS.contains(last)) {
            return false;
        }
        let says = |words: &[&str]| {
            path.iter().any(|key| {
                let key = key.to_ascii_lowercase();
                words.iter().any(|word| key.contains(word))
            })
        };
        let (own, other) = if kind == "Secret" {
            (says(&OF_SECRETS), says(&OF_MAPS))
        } else {
            (says(&OF_MAPS), says(&OF_SECRETS))
        };
        let alone =
            !self.others.contains(name) && !self.renames.contains_key(&(counterpart(kind), name.to_owned()));
        own || (alone && !other)
    }
}

fn counterpart(kind: &str) -> &'static str {
    if kind == "Secret" { "ConfigMap" } else { "Secret" }
}

#[cfg(test)]
mod tests {
    use super::super::{NAME, name};
    use super::*;
    use serde_json::json;

    fn object(api: &str, kind: &str, named: &str, spec: &Value) -> Object {
        let metadata = json!({"name": named, "namespace": "shop"});
        let value = json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec});
        Object { component: None, origin: String::new(), value }
    }

    /// Which of a Secret and a `ConfigMap` keep their names beside a custom resource.
    fn kept(api: &str, kind: &str, spec: &Value) -> Vec<String> {
        let mut objects = vec![
            object("v1", "Secret", "login", &json!({})),
            object("v1", "ConfigMap", "api", &json!({})),
            object("v1", "Service", "api", &json!({})),
            object(
                "apps/v1",
                "Deployment",
                "api",
                &json!({"template": {"spec": {"volumes": [
                {"secret": {"secretName": "login"}}, {"configMap": {"name": "api"}}]}}}),
            ),
            object(api, kind, "own", spec),
        ];
        let told = name(&mut objects);
        let kept: Vec<String> = objects[..2]
            .iter()
            .filter(|object| object.value["metadata"]["annotations"][NAME] == "keep")
            .map(|object| object.name().to_owned())
            .collect();
        assert_eq!(told.len(), kept.len(), "{told:?}");
        let volumes = &objects[3].value["spec"]["template"]["spec"]["volumes"];
        let (secret, map) = (&objects[0], &objects[1]);
        assert_eq!(
            *volumes,
            json!([{"secret": {"secretName": secret.name()}}, {"configMap": {"name": map.name()}}])
        );
        kept
    }

    #[test]
    fn what_a_field_of_somebody_elses_names_keeps_its_name() {
        for (api, kind, spec, expected) in [
            (
                "keda.sh/v1alpha1",
                "TriggerAuthentication",
                json!({"secretTargetRef": [{"parameter": "host", "name": "login", "key": "host"}]}),
                &["login"][..],
            ),
            (
                "networking.istio.io/v1",
                "Gateway",
                json!({"servers": [{"hosts": ["api"], "tls": {"mode": "SIMPLE", "credentialName": "login"}}]}),
                &["login"],
            ),
            ("traefik.io/v1alpha1", "Middleware", json!({"basicAuth": {"secret": "login"}}), &["login"]),
            (
                "monitoring.coreos.com/v1",
                "ServiceMonitor",
                json!({"endpoints": [{"basicAuth": {"password": {"name": "login", "key": "password"}}}]}),
                &["login"],
            ),
            ("sea.example.com/v1", "Ship", json!({"settings": {"configName": "api"}}), &["api"]),
            // What is followed is renamed, and what names others is none of it.
            ("sea.example.com/v1", "Ship", json!({"auth": {"secretRef": {"name": "login"}}}), &[]),
            (
                "networking.istio.io/v1",
                "VirtualService",
                json!({"hosts": ["api"], "http": [{"route": [{"destination": {"host": "api"}}]}],
                    "tls": [{"route": [{"destination": {"host": "api"}}]}]}),
                &[],
            ),
            ("keda.sh/v1alpha1", "ScaledObject", json!({"scaleTargetRef": {"name": "api"}}), &[]),
            (
                "external-secrets.io/v1",
                "ExternalSecret",
                json!({"secretStoreRef": {"kind": "SecretStore", "name": "login"}, "data": [{"secretKey": "api"}]}),
                &[],
            ),
            ("networking.k8s.io/v1", "Ingress", json!({"ingressClassName": "login"}), &[]),
        ] {
            assert_eq!(kept(api, kind, &spec), expected, "{kind} {spec}");
        }
    }
}
