//! What an object must wait for, read from the objects themselves.

use super::{Frontier, pods};
use crate::domain::object::Object;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Annotation that says what else an object waits for: `Kind/name`, several with commas.
pub(super) const DEPENDS_ON: &str = "deployctl.dev/depends-on";

/// Places of objects that wait for each other, the first one again at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<usize>);

/// For each object the places of those that must be there before it.
pub fn needs(objects: &[&Object]) -> Result<Vec<Vec<usize>>, Cycle> {
    let world = World::of(objects);
    let needs: Vec<Vec<usize>> = (0..objects.len()).map(|place| world.needs_of(place)).collect();
    let order = sorted(&needs);
    if order.len() == needs.len() { Ok(needs) } else { Err(cycle(&needs, &order)) }
}

/// Places in an order in which each comes after its needs, lower ones first; what stands in a circle is missing.
pub(super) fn sorted(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut frontier = Frontier::of(needs);
    let mut order = Vec::with_capacity(needs.len());
    while let Some(place) = frontier.begin() {
        order.push(place);
        frontier.done(place);
    }
    order
}

/// One circle among the places that are not in the order.
fn cycle(needs: &[Vec<usize>], order: &[usize]) -> Cycle {
    let done: BTreeSet<usize> = order.iter().copied().collect();
    let next = |place: usize| needs[place].iter().copied().find(|need| !done.contains(need));
    let mut way: Vec<usize> = Vec::new();
    let mut at = (0..needs.len()).find(|place| !done.contains(place)).unwrap_or(0);
    loop {
        if let Some(start) = way.iter().position(|seen| *seen == at) {
            way.push(at);
            return Cycle(way.split_off(start));
        }
        way.push(at);
        at = next(at).expect("what cannot be ordered waits for something that cannot be ordered");
    }
}

/// Kind, namespace, name.
type Key<'a> = (&'a str, &'a str, &'a str);

/// The objects by what others find them by.
struct World<'a> {
    objects: &'a [&'a Object],
    by_name: HashMap<Key<'a>, usize>,
    /// Definitions of kinds, by group and kind.
    kinds: HashMap<(&'a str, &'a str), usize>,
    /// What limits or shapes pods of a namespace.
    policies: BTreeMap<&'a str, Vec<usize>>,
    /// Bindings by the namespace and name of a service account.
    bindings: BTreeMap<(&'a str, &'a str), Vec<usize>>,
    /// Services with a selector, by namespace.
    services: BTreeMap<&'a str, Vec<usize>>,
    templates: Vec<Option<&'a Value>>,
}

impl<'a> World<'a> {
    fn of(objects: &'a [&'a Object]) -> Self {
        let mut world = Self {
            objects,
            by_name: HashMap::new(),
            kinds: HashMap::new(),
            policies: BTreeMap::new(),
            bindings: BTreeMap::new(),
            services: BTreeMap::new(),
            templates: objects.iter().map(|object| pods::template(object.kind(), &object.value)).collect(),
        };
        for (place, object) in objects.iter().enumerate() {
            let namespace = namespace(object);
            world.by_name.insert((object.kind(), namespace, object.name()), place);
            match object.kind() {
                "CustomResourceDefinition" => {
                    let group = text(&object.value, "/spec/group");
                    world.kinds.insert((group, text(&object.value, "/spec/names/kind")), place);
                }
                "ResourceQuota" | "LimitRange" | "NetworkPolicy" => {
                    world.policies.entry(namespace).or_default().push(place);
                }
                "RoleBinding" | "ClusterRoleBinding" => {
                    for subject in accounts(object, namespace) {
                        world.bindings.entry(subject).or_default().push(place);
                    }
                }
                "Service" => world.services.entry(namespace).or_default().push(place),
                _ => {}
            }
        }
        world
    }

    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<usize> {
        self.by_name.get(&(kind, namespace, name)).copied()
    }

    fn needs_of(&self, place: usize) -> Vec<usize> {
        let object = self.objects[place];
        let namespace = namespace(object);
        let mut needs: BTreeSet<usize> = BTreeSet::new();
        needs.extend(self.find("Namespace", "", namespace));
        let api_version = text(&object.value, "/apiVersion");
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        needs.extend(self.kinds.get(&(group, object.kind())));
        if let Some(template) = self.templates[place] {
            self.pods(namespace, template, &mut needs);
        }
        self.by_kind(place, &mut needs);
        self.asked_for(object, namespace, &mut needs);
        needs.remove(&place);
        needs.into_iter().collect()
    }

    /// What pods mount, read, run as, are limited by and are reached through.
    fn pods(&self, namespace: &str, template: &Value, needs: &mut BTreeSet<usize>) {
        let mut names = Vec::new();
        pods::names(&template["spec"], &mut names);
        for (kind, name) in names {
            let cluster = matches!(kind, "PriorityClass" | "RuntimeClass");
            needs.extend(self.find(kind, if cluster { "" } else { namespace }, name));
            if kind == "ServiceAccount" {
                needs.extend(self.bindings.get(&(namespace, name)).into_iter().flatten());
            }
        }
        needs.extend(self.policies.get(namespace).into_iter().flatten());
        let labels = template.pointer("/metadata/labels").and_then(Value::as_object);
        let services = self.services.get(namespace).into_iter().flatten();
        needs.extend(services.filter(|service| {
            let selector = self.objects[**service].value.pointer("/spec/selector").and_then(Value::as_object);
            selects(selector, labels)
        }));
    }

    /// What objects of particular kinds name.
    fn by_kind(&self, place: usize, needs: &mut BTreeSet<usize>) {
        let object = self.objects[place];
        let (value, namespace) = (&object.value, namespace(object));
        let mut add =
            |kind: &str, namespace: &str, name: &str| needs.extend(self.find(kind, namespace, name));
        match object.kind() {
            "RoleBinding" | "ClusterRoleBinding" => {
                let role = text(value, "/roleRef/kind");
                add(role, if role == "Role" { namespace } else { "" }, text(value, "/roleRef/name"));
                for (namespace, name) in accounts(object, namespace) {
                    add("ServiceAccount", namespace, name);
                }
            }
            "ServiceAccount" => {
                for list in ["/secrets", "/imagePullSecrets"] {
                    let items = value.pointer(list).and_then(Value::as_array);
                    items.into_iter().flatten().for_each(|one| add("Secret", namespace, text(one, "/name")));
                }
            }
            "StatefulSet" => add("Service", namespace, text(value, "/spec/serviceName")),
            "PersistentVolumeClaim" => {
                add("StorageClass", "", text(value, "/spec/storageClassName"));
                add("PersistentVolume", "", text(value, "/spec/volumeName"));
            }
            "PersistentVolume" => add("StorageClass", "", text(value, "/spec/storageClassName")),
            "HorizontalPodAutoscaler" | "ScaledObject" => {
                let target = &value["spec"]["scaleTargetRef"];
                add(text(target, "/kind"), namespace, text(target, "/name"));
            }
            "VerticalPodAutoscaler" => {
                let target = &value["spec"]["targetRef"];
                add(text(target, "/kind"), namespace, text(target, "/name"));
            }
            "ValidatingAdmissionPolicyBinding" => {
                add("ValidatingAdmissionPolicy", "", text(value, "/spec/policyName"));
            }
            "MutatingAdmissionPolicyBinding" => {
                add("MutatingAdmissionPolicy", "", text(value, "/spec/policyName"));
            }
            "PodDisruptionBudget" => self.budget(value, namespace, needs),
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" | "APIService" => {
                let others = self.objects.iter().enumerate().filter(|(_, other)| !is_last(other.kind()));
                needs.extend(others.map(|(place, _)| place));
            }
            _ => self.routes(&value["spec"], namespace, needs),
        }
    }

    /// A budget comes after the workloads whose pods it counts.
    fn budget(&self, value: &Value, namespace: &str, needs: &mut BTreeSet<usize>) {
        let selector = value.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        for (place, template) in self.templates.iter().enumerate() {
            let Some(template) = template.filter(|_| self::namespace(self.objects[place]) == namespace)
            else {
                continue;
            };
            if selects(selector, template.pointer("/metadata/labels").and_then(Value::as_object)) {
                needs.insert(place);
            }
        }
    }

    /// What routes lead to, hang on and are secured by; kinds of others keep the words.
    fn routes(&self, value: &Value, namespace: &str, needs: &mut BTreeSet<usize>) {
        match value {
            Value::Object(fields) => {
                for (key, child) in fields {
                    match (key.as_str(), child) {
                        ("ingressClassName", Value::String(name)) => {
                            needs.extend(self.find("IngressClass", "", name));
                        }
                        ("gatewayClassName", Value::String(name)) => {
                            needs.extend(self.find("GatewayClass", "", name));
                        }
                        ("secretName", Value::String(name)) => {
                            needs.extend(self.find("Secret", namespace, name));
                        }
                        ("service" | "backendRefs" | "backendRef", _) => {
                            self.named("Service", child, namespace, needs);
                        }
                        ("parentRefs", _) => self.named("Gateway", child, namespace, needs),
                        ("certificateRefs", _) => self.named("Secret", child, namespace, needs),
                        ("issuerRef", _) => self.named("Issuer", child, namespace, needs),
                        _ => self.routes(child, namespace, needs),
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.routes(item, namespace, needs);
                }
            }
            _ => {}
        }
    }

    /// One reference, or a list of them, of a kind unless it says another.
    fn named(&self, kind: &str, reference: &Value, namespace: &str, needs: &mut BTreeSet<usize>) {
        for one in reference.as_array().map_or(std::slice::from_ref(reference), Vec::as_slice) {
            let kind = one["kind"].as_str().unwrap_or(kind);
            let namespace = one["namespace"].as_str().unwrap_or(namespace);
            let name = text(one, "/name");
            needs.extend(self.find(kind, namespace, name).or_else(|| self.find(kind, "", name)));
        }
    }

    /// What the annotation says.
    fn asked_for(&self, object: &Object, namespace: &str, needs: &mut BTreeSet<usize>) {
        let annotations = object.value.pointer("/metadata/annotations");
        let asked =
            annotations.and_then(|all| all.get(DEPENDS_ON)).and_then(Value::as_str).unwrap_or_default();
        for name in asked.split(',').map(str::trim) {
            if let Some((kind, name)) = name.split_once('/') {
                needs.extend(self.find(kind, namespace, name).or_else(|| self.find(kind, "", name)));
            }
        }
    }
}

/// Kinds that judge the requests of all others.
fn is_last(kind: &str) -> bool {
    matches!(kind, "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" | "APIService")
}

/// Namespace and name of the service accounts that a binding speaks of.
fn accounts<'v>(binding: &'v Object, own: &'v str) -> impl Iterator<Item = (&'v str, &'v str)> {
    let subjects = binding.value.pointer("/subjects").and_then(Value::as_array);
    let accounts = subjects.into_iter().flatten().filter(|subject| subject["kind"] == "ServiceAccount");
    accounts.map(move |subject| {
        (subject["namespace"].as_str().unwrap_or(own), subject["name"].as_str().unwrap_or_default())
    })
}

fn selects(selector: Option<&Map<String, Value>>, labels: Option<&Map<String, Value>>) -> bool {
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else { return false };
    selector.iter().all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
}

fn namespace(object: &Object) -> &str {
    text(&object.value, "/metadata/namespace")
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "tests write their objects where they stand")]
    fn object(kind: &str, name: &str, rest: Value) -> Object {
        let api_version = if kind == "Ship" { "sea.example.com/v1" } else { "v1" };
        let namespace = if kind == "Namespace" || kind == "CustomResourceDefinition" { "" } else { "shop" };
        let mut value = json!({"apiVersion": api_version, "kind": kind,
            "metadata": {"name": name, "namespace": namespace}});
        for (key, field) in rest.as_object().into_iter().flatten() {
            match key.as_str() {
                "annotations" => value["metadata"]["annotations"] = field.clone(),
                _ => value[key] = field.clone(),
            }
        }
        Object { component: None, origin: String::new(), value }
    }

    #[expect(clippy::needless_pass_by_value, reason = "tests write their objects where they stand")]
    fn deployment(name: &str, spec: Value) -> Object {
        let mut pod = json!({"containers": [{"name": "main"}]});
        for (key, field) in spec.as_object().into_iter().flatten() {
            pod[key] = field.clone();
        }
        object(
            "Deployment",
            name,
            json!({"spec": {"template": {"metadata": {"labels": {"app": name}}, "spec": pod}}}),
        )
    }

    /// `a < b`: a is applied before b.
    fn before(objects: &[Object], first: &str, second: &str) -> bool {
        let all: Vec<&Object> = objects.iter().collect();
        let needs = needs(&all).unwrap();
        let place = |name: &str| objects.iter().position(|o| o.reference().to_string() == name).unwrap();
        let (first, second) = (place(first), place(second));
        let mut seen = BTreeSet::from([second]);
        let mut open = vec![second];
        while let Some(at) = open.pop() {
            for need in &needs[at] {
                if seen.insert(*need) {
                    open.push(*need);
                }
            }
        }
        seen.contains(&first)
    }

    /// A shop, in about the opposite of its order.
    fn shop() -> Vec<Object> {
        vec![
            object("ValidatingWebhookConfiguration", "judge", json!({})),
            object(
                "PodDisruptionBudget",
                "api",
                json!({"spec": {"selector": {"matchLabels": {"app": "api"}}}}),
            ),
            object(
                "HorizontalPodAutoscaler",
                "api",
                json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "api"}}}),
            ),
            object(
                "Ingress",
                "web",
                json!({"spec": {"rules": [{"http": {"paths": [{"backend": {"service": {"name": "api"}}}]}}]}}),
            ),
            deployment(
                "api",
                json!({
                    "serviceAccountName": "runner",
                    "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "disk"}},
                                {"name": "p", "projected": {"sources": [{"secret": {"name": "keys"}}]}}],
                    "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "settings"}}]}],
                }),
            ),
            deployment("other", json!({})),
            object("Service", "api", json!({"spec": {"selector": {"app": "api"}}})),
            object("PersistentVolumeClaim", "disk", json!({})),
            object("Secret", "keys", json!({})),
            object("ConfigMap", "settings", json!({})),
            object(
                "RoleBinding",
                "b",
                json!({"roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "ServiceAccount", "name": "runner"}]}),
            ),
            object("Role", "r", json!({})),
            object("ServiceAccount", "runner", json!({})),
            object("ResourceQuota", "q", json!({})),
            object("Ship", "s", json!({})),
            object(
                "CustomResourceDefinition",
                "ships",
                json!({"spec": {"group": "sea.example.com", "names": {"kind": "Ship"}}}),
            ),
            object("Namespace", "shop", json!({})),
        ]
    }

    #[test]
    fn objects_wait_for_what_they_name_and_for_nothing_else() {
        let objects = shop();
        for (first, second) in [
            ("Namespace/shop", "ConfigMap/settings"),
            ("CustomResourceDefinition/ships", "Ship/s"),
            ("ResourceQuota/q", "Deployment/other"),
            ("Role/r", "RoleBinding/b"),
            ("ServiceAccount/runner", "RoleBinding/b"),
            ("RoleBinding/b", "Deployment/api"),
            ("ConfigMap/settings", "Deployment/api"),
            ("Secret/keys", "Deployment/api"),
            ("PersistentVolumeClaim/disk", "Deployment/api"),
            ("Service/api", "Deployment/api"),
            ("Deployment/api", "HorizontalPodAutoscaler/api"),
            ("Deployment/api", "PodDisruptionBudget/api"),
            ("Service/api", "Ingress/web"),
            ("Deployment/other", "ValidatingWebhookConfiguration/judge"),
        ] {
            assert!(before(&objects, first, second), "{first} before {second}");
            assert!(!before(&objects, second, first), "{second} not before {first}");
        }
        for (first, second) in [
            ("ConfigMap/settings", "Deployment/other"),
            ("Service/api", "Deployment/other"),
            ("Deployment/other", "HorizontalPodAutoscaler/api"),
            ("CustomResourceDefinition/ships", "Deployment/api"),
        ] {
            assert!(!before(&objects, first, second), "{second} does not wait for {first}");
        }
    }

    #[test]
    fn what_is_asked_for_is_waited_for_and_a_circle_is_found() {
        let asks = |kind: &str, name: &str, what: &str| {
            object(kind, name, json!({"annotations": {DEPENDS_ON: what}}))
        };
        let fine = [
            asks("Job", "migrate", "Service/db, ConfigMap/a"),
            object("Service", "db", json!({})),
            object("ConfigMap", "a", json!({})),
        ];
        assert!(before(&fine, "Service/db", "Job/migrate") && before(&fine, "ConfigMap/a", "Job/migrate"));
        let circle = [
            object("Service", "free", json!({})),
            asks("Job", "a", "Job/b"),
            asks("Job", "b", "Job/c"),
            asks("Job", "c", "Job/a"),
        ];
        let all: Vec<&Object> = circle.iter().collect();
        assert_eq!(needs(&all), Err(Cycle(vec![1, 2, 3, 1])));
        let refused = super::super::check(&circle).unwrap_err();
        assert_eq!(refused.why, ["Job/a waits for Job/b waits for Job/c waits for Job/a"]);
    }
}
