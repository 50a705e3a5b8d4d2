//! Gives `ConfigMap`s and `Secret`s names by their content, in every reference too, so that old pods keep old settings and
//! a rollback brings them back.

mod unfollowed;

use super::digest;
use crate::domain::object::{Object, ObjectRef};
use crate::plan::diff::object_mut;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Hexadecimal digits that a name says of its content.
const DIGITS: usize = 8;
/// Annotation by which a project keeps the name of a `ConfigMap` or `Secret` (`keep`): it then changes in place, for the
/// pods of the release before too.
const NAME: &str = "deployctl.dev/name";

/// Whether the project wants its own name kept.
pub(in crate::plan) fn keeps_name(object: &Object) -> bool {
    object.value["metadata"]["annotations"][NAME] == "keep"
}

/// The name that stands in the manifest of what is named by its content.
pub(in crate::plan) fn manifest_name(name: &str) -> Option<&str> {
    let (name, digits) = name.rsplit_once('-')?;
    (digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(name)
}

/// New names by the kind and the name in the manifest, of one namespace.
type Renames = BTreeMap<(&'static str, String), String>;

/// Names them. Told is what keeps its name because a kind of somebody else's names it where nobody knows to follow.
pub(super) fn name(objects: &mut [Object]) -> Vec<String> {
    let mut renames = renames(objects);
    let mut told = Vec::new();
    for (kept, by) in unfollowed::references(objects, &renames) {
        told.push(format!(
            "{kept} keeps its name, since {by} names it, and changes in place for the pods of the release before, too; the annotation {NAME}: keep says that it is meant"
        ));
        if let Some(renames) = renames.get_mut(&kept.namespace) {
            renames.retain(|(kind, name), _| (*kind, name) != (kept.kind.as_str(), &kept.name));
        }
        for object in objects.iter_mut().filter(|object| object.reference() == kept) {
            object_mut(&mut object.value["metadata"]["annotations"]).insert(NAME.to_owned(), json!("keep"));
        }
    }
    apply(objects, &renames);
    told
}

/// What each would be called.
fn renames(objects: &[Object]) -> BTreeMap<String, Renames> {
    let mut renames: BTreeMap<String, Renames> = BTreeMap::new();
    for object in objects {
        let Some(kind) = configuration_kind(object).filter(|_| !keeps_name(object)) else { continue };
        let mut content = object.value.clone();
        object_mut(&mut content).remove("metadata");
        let ObjectRef { name, namespace, .. } = object.reference();
        let hashed = format!("{name}-{}", &digest(&content)[..DIGITS]);
        renames.entry(namespace).or_default().insert((kind, name), hashed);
    }
    renames
}

fn configuration_kind(object: &Object) -> Option<&'static str> {
    ["ConfigMap", "Secret"].into_iter().find(|kind| object.kind() == *kind)
}

fn apply(objects: &mut [Object], renames: &BTreeMap<String, Renames>) {
    for object in objects.iter_mut() {
        let Some(kind) = configuration_kind(object) else { continue };
        let Some(renames) = renames.get(&object.reference().namespace) else { continue };
        rename(object.value.pointer_mut("/metadata/name"), kind, renames);
    }
    for object in objects.iter_mut().filter(|object| !matches!(object.kind(), "ConfigMap" | "Secret")) {
        let Some(renames) = renames.get(&object.reference().namespace) else { continue };
        follow(&mut object.value, renames);
        match object.kind() {
            "Ingress" => ingress_annotations(&mut object.value, renames),
            "Role" => permissions(&mut object.value, renames),
            _ => {}
        }
    }
}

/// Follows the places where an object of any kind names a `ConfigMap` or a `Secret`: the words of pod specs, of service
/// accounts, of TLS in Ingresses and Gateways, which kinds of others keep.
fn follow(value: &mut Value, renames: &Renames) {
    let Value::Object(map) = value else {
        if let Value::Array(items) = value {
            for item in items {
                follow(item, renames);
            }
        }
        return;
    };
    for (key, child) in map.iter_mut() {
        match key.as_str() {
            "configMapRef" | "configMapKeyRef" | "configMap" => {
                rename(child.get_mut("name"), "ConfigMap", renames);
            }
            "secretName" => rename(Some(child), "Secret", renames),
            "imagePullSecrets" | "secrets" | "certificateRefs" => {
                for item in child.as_array_mut().into_iter().flatten() {
                    let foreign = item.get("kind").is_some_and(|kind| kind != "Secret");
                    rename(item.get_mut("name").filter(|_| !foreign), "Secret", renames);
                    follow(item, renames);
                }
            }
            "secret" if child.is_object() => {
                rename(child.get_mut("name"), "Secret", renames);
                follow(child, renames);
            }
            // `secretRef`, `secretKeyRef`, `nodePublishSecretRef`, `apiTokenSecretRef` …
            key if key == "secretRef" || key == "secretKeyRef" || key.ends_with("SecretRef") => {
                rename(child.get_mut("name"), "Secret", renames);
            }
            _ => follow(child, renames),
        }
    }
}

fn rename(place: Option<&mut Value>, kind: &'static str, renames: &Renames) {
    let Some(place) = place else { return };
    let new = place.as_str().and_then(|name| renames.get(&(kind, name.to_owned())));
    if let Some(new) = new {
        *place = json!(new);
    }
}

/// ingress-nginx names Secrets in annotations, with or without their namespace.
fn ingress_annotations(value: &mut Value, renames: &Renames) {
    let namespace = ObjectRef::of(value).namespace;
    let Some(annotations) = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else {
        return;
    };
    for (key, value) in annotations.iter_mut() {
        if !(key.starts_with("nginx.ingress.kubernetes.io/") && key.ends_with("-secret")) {
            continue;
        }
        let text = value.as_str().unwrap_or_default();
        let (place, name) = text.split_once('/').unwrap_or(("", text));
        if (place.is_empty() || place == namespace)
            && let Some(new) = renames.get(&("Secret", name.to_owned()))
        {
            *value = json!(if place.is_empty() { new.clone() } else { format!("{place}/{new}") });
        }
    }
}

/// A Role that names what may be read means the new names.
fn permissions(value: &mut Value, renames: &Renames) {
    for rule in value.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
        let resources: Vec<&str> =
            rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let kinds: Vec<&'static str> = [("configmaps", "ConfigMap"), ("secrets", "Secret")]
            .into_iter()
            .filter(|(resource, _)| resources.contains(resource))
            .map(|(_, kind)| kind)
            .collect();
        for name in rule.get_mut("resourceNames").and_then(Value::as_array_mut).into_iter().flatten() {
            for kind in &kinds {
                rename(Some(&mut *name), kind, renames);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object { component: None, origin: String::new(), value }
    }

    #[test]
    fn every_reference_follows_the_new_name() {
        let meta = |name: &str| json!({"name": name, "namespace": "shop"});
        let mut objects = vec![
            object(json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("tls"), "data": {}})),
            object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("env"), "data": {}})),
            object(json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "own", "namespace": "shop", "annotations": {NAME: "keep"}}})),
            object(
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("api"), "spec": {"template": {"spec": {
                "imagePullSecrets": [{"name": "tls"}, {"name": "elsewhere"}],
                "volumes": [{"secret": {"secretName": "tls"}}, {"configMap": {"name": "env"}}, {"configMap": {"name": "own"}},
                    {"projected": {"sources": [{"secret": {"name": "tls"}}, {"configMap": {"name": "env"}}]}},
                    {"csi": {"nodePublishSecretRef": {"name": "tls"}}}],
                "containers": [{"name": "tls", "envFrom": [{"secretRef": {"name": "tls"}}, {"configMapRef": {"name": "env"}}],
                    "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "tls", "key": "env"}}}]}]}}}}),
            ),
            object(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("tls"),
                "secrets": [{"name": "tls"}], "imagePullSecrets": [{"name": "tls"}]})),
            object(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"name": "web", "namespace": "shop", "annotations": {
                    "nginx.ingress.kubernetes.io/auth-secret": "shop/tls", "nginx.ingress.kubernetes.io/auth-tls-secret": "tls",
                    "other": "tls"}},
                "spec": {"tls": [{"secretName": "tls"}]}})),
            object(
                json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": meta("g"), "spec": {
                "listeners": [{"tls": {"certificateRefs": [{"name": "tls"}, {"kind": "Other", "name": "tls"}]}}]}}),
            ),
            object(
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta("r"), "rules": [
                {"resources": ["secrets"], "resourceNames": ["tls", "env"]}, {"resources": ["pods"], "resourceNames": ["tls"]}]}),
            ),
            object(
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "far", "namespace": "far"},
                "spec": {"template": {"spec": {"volumes": [{"secret": {"secretName": "tls"}}]}}}}),
            ),
        ];
        name(&mut objects);
        let (tls, env) = (objects[0].name().to_owned(), objects[1].name().to_owned());
        assert_eq!((manifest_name(&tls), manifest_name(&env)), (Some("tls"), Some("env")));
        assert_eq!(objects[2].name(), "own");
        let pods = &objects[3].value["spec"]["template"]["spec"];
        assert_eq!(pods["imagePullSecrets"], json!([{"name": tls}, {"name": "elsewhere"}]));
        assert_eq!(
            pods["volumes"],
            json!([{"secret": {"secretName": tls}}, {"configMap": {"name": env}}, {"configMap": {"name": "own"}},
                {"projected": {"sources": [{"secret": {"name": tls}}, {"configMap": {"name": env}}]}},
                {"csi": {"nodePublishSecretRef": {"name": tls}}}])
        );
        let container = &pods["containers"][0];
        assert_eq!(container["name"], "tls");
        assert_eq!(
            container["envFrom"],
            json!([{"secretRef": {"name": tls}}, {"configMapRef": {"name": env}}])
        );
        assert_eq!(container["env"][0]["valueFrom"]["secretKeyRef"], json!({"name": tls, "key": "env"}));
        assert_eq!(
            (&objects[4].value["secrets"], &objects[4].value["imagePullSecrets"], objects[4].name()),
            (&json!([{"name": tls}]), &json!([{"name": tls}]), "tls")
        );
        let ingress = &objects[5].value;
        assert_eq!(ingress["spec"]["tls"], json!([{"secretName": tls}]));
        assert_eq!(
            ingress["metadata"]["annotations"],
            json!({"nginx.ingress.kubernetes.io/auth-secret": format!("shop/{tls}"),
                "nginx.ingress.kubernetes.io/auth-tls-secret": tls, "other": "tls"})
        );
        let certificates = &objects[6].value["spec"]["listeners"][0]["tls"]["certificateRefs"];
        assert_eq!(certificates, &json!([{"name": tls}, {"kind": "Other", "name": "tls"}]));
        assert_eq!(objects[7].value["rules"][0]["resourceNames"], json!([tls, "env"]));
        assert_eq!(objects[7].value["rules"][1]["resourceNames"], json!(["tls"]));
        assert_eq!(objects[8].value["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"], "tls");
    }
}
