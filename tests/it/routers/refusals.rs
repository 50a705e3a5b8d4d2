//! Releases whose routes cannot carry weights are refused with what to do instead.

use crate::support::environment;
use deployctl::domain::environment::Environment;
use deployctl::domain::ids::Revision;
use deployctl::domain::object::Object;
use deployctl::plan::{naming, router};
use deployctl::render;
use serde_json::{Value, json};

fn shop() -> (Environment, Vec<Object>) {
    let env = environment("nginx");
    let rendered = render::render_targets(&env, "1.0.0").unwrap();
    let objects = rendered.into_values().next().unwrap();
    (env, objects)
}

fn refusal(change: impl Fn(&mut Vec<Object>)) -> Option<String> {
    let (env, mut objects) = shop();
    change(&mut objects);
    let named = naming::name(&env, objects, Revision(1), None).unwrap();
    router::check(&env, &named).err().map(|failure| format!("{} {}", failure.code.0, failure.what))
}

fn ingress(name: &str, service: &str, annotations: &Value) -> Object {
    let value = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {"rules": [{"host": "api.example", "http": {"paths": [{"path": "/", "pathType": "Prefix",
            "backend": {"service": {"name": service, "port": {"number": 80}}}}]}}]}});
    Object { component: None, origin: "more.yaml:1".into(), value }
}

#[test]
fn a_good_release_passes() {
    assert_eq!(refusal(|_| ()), None);
}

#[test]
fn a_router_without_a_route_is_refused() {
    let without = refusal(|objects| objects.retain(|object| object.kind() != "Ingress"));
    assert_eq!(
        without.unwrap(),
        "306 component api: router nginx finds no Ingress that leads to its Services"
    );
}

#[test]
fn what_would_stand_in_the_way_of_a_canary_is_refused() {
    let canary = json!({"nginx.ingress.kubernetes.io/canary": "true"});
    let second = refusal(|objects| objects.push(ingress("trial", "trial", &canary)));
    assert_eq!(second.unwrap(), "307 Ingress/trial (more.yaml:1) is a canary of Ingress/api already");
    let backed = refusal(|objects| objects.push(ingress("other", "api-canary", &json!({}))));
    assert_eq!(backed.unwrap(), "307 Ingress/other (more.yaml:1) leads to a canary's Service");
}
