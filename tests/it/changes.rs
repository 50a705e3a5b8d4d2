//! Releases that change more than an image: versions of APIs, Services and their ports, sizes.
#![allow(clippy::large_futures)] // whole runs are watched here

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::environment::{BlueGreen, Environment, Replicas, Strategy, Switch};
use deployctl::domain::error::Failure;
use deployctl::domain::object::Object;
use deployctl::plan::Plan;
use deployctl::run::{Ending, prepare};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

mod back;

/// The plan of a version whose objects are changed once they are rendered.
async fn planned(story: &Story, version: &str, change: impl Fn(&mut Vec<Object>)) -> Result<Plan, Failure> {
    let mut request = story.request(version, None);
    request.rendered.values_mut().for_each(change);
    prepare::plan(&story.doors, &request).await
}

async fn deployed(story: &Story, version: &str, change: impl Fn(&mut Vec<Object>)) {
    let plan = planned(story, version, change).await.unwrap();
    let life = story.new_run(&plan, &Told::default(), None).await;
    assert_eq!(life, Life::Ended(Ending::Deployed), "{version}: {:#?}", story.sizes("east"));
    tokio::time::sleep(Duration::from_mins(1)).await;
    story.world.mark_stable();
}

fn each<'o>(objects: &'o mut [Object], kind: &str, name: &str) -> &'o mut Value {
    let found = objects.iter_mut().find(|object| object.kind() == kind && object.name() == name);
    &mut found.unwrap_or_else(|| panic!("{kind}/{name} is rendered")).value
}

/// An object of a component, beside those of the same kind.
fn add(objects: &mut Vec<Object>, component: &str, value: Value) {
    let component = Some(component.into());
    objects.push(Object { component, origin: "more.yaml:1".into(), value });
}

fn live(story: &Story, kind: &str, name: &str) -> Option<Value> {
    let objects = story.world.snapshot("east");
    let found = objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    found.map(|object| Value::clone(object))
}

/// Requests that found no way to a pod in the east.
fn unrouted(story: &Story) -> u64 {
    story.world.report().clusters["east"].components["api"].unrouted
}

fn of<'e>(env: &'e mut Environment, id: &str) -> &'e mut deployctl::domain::environment::Component {
    env.components.iter_mut().find(|component| component.id.as_str() == id).unwrap()
}

fn fixed(size: u32) -> Replicas {
    Replicas { given: true, min: size, max: size, cpu_percent: None, memory_percent: None }
}

/// The shop without an autoscaler.
fn unscaled() -> Environment {
    let mut env = environment("canary");
    env.values["autoscaler"] = json!("");
    env
}

/// Another workload of the component, and its Service.
fn with_cache(objects: &mut Vec<Object>) {
    let labels = json!({"app": "api-cache"});
    let meta = json!({"name": "api-cache", "namespace": "shop", "labels": {
        "deployctl.dev/application": "shop", "deployctl.dev/environment": "canary", "deployctl.dev/component": "api"}});
    let image = "example.com/api-cache:1.0.0";
    add(
        objects,
        "api",
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {
        "replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "cache", "image": image, "ports": [{"containerPort": 8080}]}]}}}}),
    );
    add(
        objects,
        "api",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta,
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}}),
    );
}

#[test]
fn a_service_of_another_workload_stays_with_it() {
    let blue_green = || {
        let mut env = environment("canary");
        of(&mut env, "api").strategy = Strategy::BlueGreen(BlueGreen {
            switch: Switch::Service,
            green_namespace: None,
            hold: Duration::from_secs(30),
            preview: Duration::ZERO,
            scale_down_after: Duration::ZERO,
        });
        env
    };
    for env in [environment("canary"), environment("nginx"), environment("gateway"), blue_green()] {
        virtually(env, 1, async |story| {
            deployed(story, "1.0.0", with_cache).await;
            deployed(story, "1.1.0", with_cache).await;
            let service = live(story, "Service", "api-cache").unwrap();
            assert_eq!(service["spec"]["selector"], json!({"app": "api-cache"}));
            assert!(live(story, "Service", "api-cache-canary").is_none());
            assert_eq!(unrouted(story), 0);
        });
    }
}

#[test]
fn without_an_autoscaler_the_manifest_says_the_size_if_the_environment_does_not() {
    let mut env = unscaled();
    of(&mut env, "api").replicas = Replicas { given: false, ..fixed(1) };
    virtually(env, 1, async |story| {
        let five =
            |objects: &mut Vec<Object>| each(objects, "Deployment", "api")["spec"]["replicas"] = json!(5);
        deployed(story, "1.0.0", five).await;
        assert_eq!(story.sizes("east")["api-r1"], 5);
        deployed(story, "1.1.0", five).await;
        assert_eq!((story.sizes("east")["api-r1"], story.sizes("east")["api-r2"]), (0, 5));
        assert_eq!(unrouted(story), 0);
    });
}

#[test]
fn a_size_alone_is_a_release() {
    let of_size = |size: u32| {
        let mut env = unscaled();
        for id in ["api", "web", "worker"] {
            of(&mut env, id).replicas = fixed(size);
        }
        env
    };
    virtually(of_size(3), 1, async |story| {
        // Of the worker, as of the api, only the environment says it.
        let bare = |objects: &mut Vec<Object>| {
            each(objects, "Deployment", "worker")["spec"].as_object_mut().unwrap().remove("replicas");
        };
        let pods = |story: &Story| {
            let found = story.sizes("east");
            ["api-r1", "web-r1", "worker"].map(|name| found[name])
        };
        deployed(story, "1.0.0", bare).await;
        assert_eq!(pods(story), [3, 3, 3]);
        for size in [6, 2] {
            let story = story.under(of_size(size));
            let plan = planned(&story, "1.0.0", bare).await.unwrap();
            assert!(plan.has_changes());
            deployed(&story, "1.0.0", bare).await;
            assert_eq!(pods(&story), [u64::from(size); 3]);
            let plan = planned(&story, "1.0.0", bare).await.unwrap();
            let changes: Vec<_> = plan.targets.values().map(|target| &target.changes).collect();
            assert!(!plan.has_changes(), "{changes:#?}");
        }
    });
}

#[test]
fn two_components_on_one_ingress_have_a_canary_each() {
    let mut env = environment("nginx");
    let strategy = of(&mut env, "api").strategy.clone();
    of(&mut env, "web").strategy = strategy;
    virtually(env, 1, async |story| {
        let shared = |objects: &mut Vec<Object>| {
            objects.retain(|object| !(object.kind() == "Ingress" && object.name() == "web"));
            let rules = each(objects, "Ingress", "api")["spec"]["rules"].as_array_mut().unwrap();
            rules.push(json!({"host": "web.example", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}));
        };
        deployed(story, "1.0.0", shared).await;
        let plan = planned(story, "1.1.0", shared).await.unwrap();
        let ingresses = plan.objects.iter().filter(|object| object.kind() == "Ingress");
        let canaries: BTreeMap<&str, BTreeSet<String>> = ingresses
            .filter(|object| object.name() != "api")
            .map(|object| {
                let rules = object.value["spec"]["rules"].as_array().unwrap().iter();
                let to = rules.map(|rule| rule["http"]["paths"][0]["backend"]["service"]["name"].to_string());
                (object.name(), to.collect())
            })
            .collect();
        let to = |name: &str| BTreeSet::from([json!(name).to_string()]);
        assert_eq!(
            canaries,
            BTreeMap::from([("api-api-canary", to("api-canary")), ("api-web-canary", to("web-canary"))])
        );
        deployed(story, "1.1.0", shared).await;
        assert_eq!(unrouted(story), 0);
        for name in ["api-api-canary", "api-web-canary", "api-canary"] {
            assert!(live(story, "Ingress", name).is_none(), "{name}");
        }
    });
}

/// Every backend that is written as `from` in a route, written as `to`.
fn replaced(value: &mut Value, from: &Value, to: &Value) {
    match value {
        _ if value == from => *value = to.clone(),
        Value::Object(map) => map.values_mut().for_each(|value| replaced(value, from, to)),
        Value::Array(items) => items.iter_mut().for_each(|value| replaced(value, from, to)),
        _ => {}
    }
}

fn route_of(router: &str) -> &'static str {
    match router {
        "gateway" => "HTTPRoute",
        "istio" => "VirtualService",
        _ => "Ingress",
    }
}

fn refused(plan: Result<Plan, Failure>) -> String {
    let failure = plan.expect_err("it is refused");
    assert_eq!(failure.code.0, 309, "{failure}");
    failure.what
}

#[test]
fn a_router_is_not_led_to_a_service_that_leads_nowhere_yet() {
    for router in ["nginx", "gateway", "istio", "alb"] {
        let kind = route_of(router);
        virtually(environment(router), 1, async |story| {
            deployed(story, "1.0.0", |_| ()).await;
            let moved = |objects: &mut Vec<Object>| {
                replaced(&mut each(objects, kind, "api")["spec"], &json!("api"), &json!("api-v2"));
            };
            let renamed = |objects: &mut Vec<Object>| {
                each(objects, "Service", "api")["metadata"]["name"] = json!("api-v2");
                moved(objects);
            };
            let said = refused(planned(story, "1.1.0", renamed).await);
            assert!(said.ends_with("would lead to Service/api-v2, which is new"), "{said}");
            // In two releases it goes.
            let beside = |objects: &mut Vec<Object>| {
                let mut second = each(objects, "Service", "api").clone();
                second["metadata"]["name"] = json!("api-v2");
                add(objects, "api", second);
            };
            deployed(story, "1.1.0", beside).await;
            deployed(story, "1.2.0", renamed).await;
            assert_eq!(unrouted(story), 0, "{router}");
            assert!(live(story, "Service", "api").is_none());
        });
    }
}

#[test]
fn a_port_that_a_router_names_stays_for_one_release() {
    for router in ["nginx", "gateway", "istio", "alb"] {
        let kind = route_of(router);
        virtually(environment(router), 1, async |story| {
            let with_ports = |objects: &mut Vec<Object>, numbers: &[u16], named: u16| {
                let ports: Vec<Value> = numbers
                    .iter()
                    .map(|port| json!({"name": format!("p{port}"), "port": port, "targetPort": 8080}))
                    .collect();
                each(objects, "Service", "api")["spec"]["ports"] = json!(ports);
                let spec = &mut each(objects, kind, "api")["spec"];
                replaced(spec, &json!(80), &json!(named));
                if router == "istio" {
                    spec["http"][0]["route"][0]["destination"]["port"] = json!({"number": named});
                }
            };
            deployed(story, "1.0.0", |objects| with_ports(objects, &[80], 80)).await;
            let said = refused(planned(story, "1.1.0", |objects| with_ports(objects, &[90], 90)).await);
            assert!(said.starts_with("Service/api") && said.ends_with("has no port 80 any more"), "{said}");
            deployed(story, "1.1.0", |objects| with_ports(objects, &[80, 90], 90)).await;
            deployed(story, "1.2.0", |objects| with_ports(objects, &[90], 90)).await;
            assert_eq!(unrouted(story), 0, "{router}");
        });
    }
}

#[test]
fn a_service_is_not_led_away_from_pods_that_serve() {
    virtually(environment("canary"), 1, async |story| {
        deployed(story, "1.0.0", |_| ()).await;
        let tiered = |objects: &mut Vec<Object>, selects: bool| {
            each(objects, "Deployment", "api")["spec"]["template"]["metadata"]["labels"]["tier"] =
                json!("front");
            if selects {
                each(objects, "Service", "api")["spec"]["selector"]["tier"] = json!("front");
            }
        };
        let port = |objects: &mut Vec<Object>, container: &Value, target: &Value| {
            let pods = &mut each(objects, "Deployment", "api")["spec"]["template"]["spec"];
            pods["containers"][0]["ports"] = container.clone();
            each(objects, "Service", "api")["spec"]["ports"][0]["targetPort"] = target.clone();
        };
        let led_away =
            "Service/api (manifests/api/all.yaml:26) would lead away from the pods that serve api now";
        let other = json!([{"containerPort": 9090}]);
        let named = json!([{"name": "http", "containerPort": 8080}]);
        assert_eq!(refused(planned(story, "1.1.0", |objects| tiered(objects, true)).await), led_away);
        assert_eq!(refused(planned(story, "1.1.0", |o| port(o, &other, &json!(9090))).await), led_away);
        assert_eq!(refused(planned(story, "1.1.0", |o| port(o, &named, &json!("http"))).await), led_away);
        // A port that is new, and pods that fit both.
        let more = |objects: &mut Vec<Object>| {
            let ports = each(objects, "Service", "api")["spec"]["ports"].as_array_mut().unwrap();
            ports[0]["name"] = json!("web");
            ports.push(json!({"name": "admin", "port": 81, "targetPort": 9090}));
        };
        planned(story, "1.1.0", more).await.unwrap();
        deployed(story, "1.1.0", |objects| tiered(objects, false)).await;
        deployed(story, "1.2.0", |objects| tiered(objects, true)).await;
        assert_eq!(unrouted(story), 0);
        // A way back is not refused.
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
    });
}
