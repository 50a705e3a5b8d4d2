//! What a way back brings back: sizes of claims, components that came or went, Services that fit other pods, workloads beside
//! a component's own, and what somebody edited.

use super::{add, deployed, each, fixed, live, of, planned, unrouted, unscaled};
use crate::back::{Refusal, place, shop, story_of};
use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::effect::Effect;
use deployctl::domain::environment::{Canary, Environment, Router, Strategy};
use deployctl::domain::object::Object;
use deployctl::domain::step::{Lane, Step, Undo};
use deployctl::plan::{Action, Plan};
use deployctl::run::Ending;
use deployctl::run::prepare::{self, Rollback};
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tower::ServiceExt as _;

fn metadata(name: &str, component: &str) -> Value {
    json!({"name": name, "namespace": "shop", "labels": {"deployctl.dev/application": "shop",
        "deployctl.dev/environment": "canary", "deployctl.dev/component": component}})
}

fn claim(objects: &mut Vec<Object>, size: &str) {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
    let kind = "PersistentVolumeClaim";
    add(
        objects,
        "api",
        json!({"apiVersion": "v1", "kind": kind, "metadata": metadata("data", "api"), "spec": spec}),
    );
}

fn size_of_claim(story: &Story, target: &str) -> Value {
    let objects = story.world.snapshot(target);
    let claim = objects.iter().find(|object| object["kind"] == "PersistentVolumeClaim").unwrap();
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], claim["status"]["capacity"]["storage"]);
    claim["status"]["capacity"]["storage"].clone()
}

/// The plan of `rollback`.
async fn back(story: &Story, to: Rollback) -> Plan {
    prepare::plan(&story.doors, &story.request("", Some(to))).await.unwrap()
}

async fn brought_back(story: &Story, to: u32) {
    let life = story.bring_back_to(to, &Told::default()).await;
    assert_eq!(life, Life::Ended(Ending::Deployed));
    story.rest().await;
}

fn step<'p>(plan: &'p Plan, title: &str) -> &'p Step {
    let mut steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    steps
        .find(|step| step.title == title && step.target.as_str() == "east")
        .unwrap_or_else(|| panic!("{title}"))
}

#[test]
fn a_claim_that_grew_keeps_its_size_when_its_release_turns_back() {
    virtually(environment("canary"), 1, async |story| {
        deployed(story, "1.0.0", |objects| claim(objects, "10Gi")).await;
        let before = story.objects();
        let plan = planned(story, "2.0.0-crash", |objects| claim(objects, "20Gi")).await.unwrap();
        let life = story.new_run(&plan, &Told::default(), None).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert_eq!(
            (size_of_claim(story, "west"), size_of_claim(story, "east")),
            (json!("20Gi"), json!("10Gi"))
        );
        assert_eq!(story.objects(), before, "what is not a claim is as it was");
        // Nor does it bar a release whose manifest asks for less still.
        let plan = planned(story, "1.1.0", |objects| claim(objects, "10Gi")).await.unwrap();
        let kept =
            "PersistentVolumeClaim/data keeps its 20Gi: more.yaml:1 asks for 10Gi, and a claim never shrinks";
        assert!(plan.warnings.iter().any(|line| line == kept), "{:?}", plan.warnings);
        deployed(story, "1.1.0", |objects| claim(objects, "10Gi")).await;
        assert_eq!(size_of_claim(story, "west"), "20Gi");
    });
}

#[test]
fn a_claim_that_grew_keeps_its_size_when_an_older_release_comes_back() {
    virtually(environment("canary"), 1, async |story| {
        deployed(story, "1.0.0", |objects| claim(objects, "10Gi")).await;
        deployed(story, "1.1.0", |objects| claim(objects, "20Gi")).await;
        let plan = back(story, Rollback::Previous).await;
        let changes = plan.targets.values().flat_map(|target| &target.changes);
        for change in changes.filter(|change| change.object.kind == "PersistentVolumeClaim") {
            assert_eq!((change.action, &change.fields), (Action::Keep, &Vec::new()));
        }
        assert!(plan.not_undone.iter().any(|line| line.contains("keeps its 20Gi")), "{:?}", plan.not_undone);
        brought_back(story, 1).await;
        assert_eq!(size_of_claim(story, "east"), "20Gi");
        assert_eq!(story.sizes("east")["api-r1"], 4);
    });
}

/// The shop without an autoscaler, with a worker that has a revision, and a size that its manifest does not say.
fn with_worker() -> Environment {
    let mut env = unscaled();
    let worker = of(&mut env, "worker");
    worker.replicas = fixed(6);
    worker.strategy = Strategy::Canary(Canary {
        steps: Vec::new(),
        router: Router::Pods,
        mirror: None,
        dynamic_stable_scale: false,
    });
    env
}

fn without_worker() -> Environment {
    let mut env = unscaled();
    env.components.retain(|component| component.id.as_str() != "worker");
    env
}

fn bare(objects: &mut Vec<Object>) {
    each(objects, "Deployment", "worker")["spec"].as_object_mut().unwrap().remove("replicas");
    let spec = json!({"selector": {"app": "worker"}, "ports": [{"port": 80, "targetPort": 8080}]});
    add(
        objects,
        "worker",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata("worker", "worker"), "spec": spec}),
    );
}

#[test]
fn pods_of_a_component_that_came_or_went_between_releases_do_not_run_on() {
    virtually(without_worker(), 1, async |story| {
        let more = story.under(with_worker());
        deployed(story, "1.0.0", |_| ()).await;
        deployed(&more, "1.1.0", bare).await;
        assert_eq!(story.sizes("east")["worker-r2"], 6);
        // The way back to a release without it.
        let plan = back(&more, Rollback::Previous).await;
        let changes = &plan.targets[&"east".into()].changes;
        let gone = changes.iter().find(|change| change.object.name == "worker-r2").unwrap();
        assert_eq!(gone.note.as_deref(), Some("no component worker any more; kept for a rollback"));
        brought_back(&more, 1).await;
        assert_eq!(story.sizes("east")["worker-r2"], 0);
        assert!(live(story, "Service", "worker").is_none());
        // And on from it, under a file that no longer knows it.
        let told = Told::default();
        assert_eq!(story.bring_back_to(2, &told).await, Life::Ended(Ending::Deployed));
        let lines = story_of(&told, "east");
        assert!(lines.iter().any(|line| line == "wait until worker-r2 is ready"), "{lines:#?}");
        story.rest().await;
        assert_eq!(story.sizes("east")["worker-r2"], 6, "as on record");
        assert!(live(story, "Service", "worker").is_some());
        // A release without it, forward.
        deployed(story, "1.2.0", |_| ()).await;
        assert_eq!(story.sizes("east")["worker-r2"], 0);
        assert!(!planned(story, "1.2.0", |_| ()).await.unwrap().has_changes());
        assert_eq!(unrouted(story), 0);
    });
}

#[test]
fn a_component_that_cannot_leave_is_back_at_its_size_before_anything_else_goes() {
    virtually(with_worker(), 1, async |story| {
        deployed(story, "1.0.0", bare).await;
        let before = story.objects();
        let refused = Refusal::of("east", "DELETE", "/services/worker", "denied by policy: it stays today");
        let less = story.under(without_worker()).behind(vec![refused.times(1)]);
        let plan = planned(&less, "1.1.0", |_| ()).await.unwrap();
        let life = less.new_run(&plan, &Told::default(), None).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert_eq!(story.objects(), before);
    });
}

/// Pods of the api with a label, and its Service with or without asking for it.
fn tiered(objects: &mut [Object], pods: bool, service: bool) {
    if pods {
        each(objects, "Deployment", "api")["spec"]["template"]["metadata"]["labels"]["tier"] = json!("front");
    }
    if service {
        each(objects, "Service", "api")["spec"]["selector"]["tier"] = json!("front");
    }
}

#[test]
fn an_older_service_waits_for_the_pods_that_fit_it() {
    let rolling = || {
        let mut env = environment("canary");
        of(&mut env, "api").strategy = Strategy::Rolling;
        env
    };
    for (env, after) in [(environment("canary"), "drain api-r3"), (rolling(), "wait until api is ready")] {
        virtually(env, 1, async |story| {
            deployed(story, "1.0.0", |objects| tiered(objects, true, true)).await;
            deployed(story, "1.1.0", |objects| tiered(objects, true, false)).await;
            deployed(story, "1.2.0", |objects| tiered(objects, false, false)).await;
            assert_eq!(unrouted(story), 0);
            let told = Told::default();
            assert_eq!(story.bring_back_to(1, &told).await, Life::Ended(Ending::Deployed));
            story.rest().await;
            let service = live(story, "Service", "api").unwrap();
            assert_eq!(service["spec"]["selector"], json!({"app": "api", "tier": "front"}));
            assert_eq!(unrouted(story), 0);
            let lines = story_of(&told, "east");
            let last = lines.iter().rposition(|line| line.starts_with("Services of api")).unwrap();
            assert!(place(&lines, after) < last, "{lines:#?}");
        });
    }
}

#[test]
fn a_way_back_that_fails_leads_an_older_service_back_to_the_pods_that_fit_it() {
    virtually(environment("canary"), 1, async |story| {
        deployed(story, "1.0.0", |objects| tiered(objects, true, true)).await;
        deployed(story, "1.1.0", |objects| tiered(objects, true, false)).await;
        deployed(story, "1.2.0", |objects| tiered(objects, false, false)).await;
        let before = story.objects();
        let refused = Refusal::of("east", "PATCH", "/deployments/api-r3/scale", "denied by policy: it stays");
        let life = story.behind(vec![refused.times(1)]).bring_back_to(1, &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        // The west went back to the older release whole, and stays there.
        let of_east = |objects: BTreeMap<String, String>| -> BTreeMap<String, String> {
            objects.into_iter().filter(|(name, _)| name.starts_with("east ")).collect()
        };
        assert_eq!(of_east(story.objects()), of_east(before));
        assert_eq!(unrouted(story), 0);
    });
}

#[test]
fn ports_that_fit_neither_way_are_told_where_pods_change_in_place() {
    let mut env = environment("canary");
    of(&mut env, "api").strategy = Strategy::Rolling;
    virtually(env, 1, async |story| {
        let ports = |objects: &mut Vec<Object>, open: &[u16], target: u16| {
            let open: Vec<Value> = open.iter().map(|port| json!({"containerPort": port})).collect();
            let pods = &mut each(objects, "Deployment", "api")["spec"]["template"]["spec"];
            pods["containers"][0]["ports"] = json!(open);
            each(objects, "Service", "api")["spec"]["ports"][0]["targetPort"] = json!(target);
        };
        deployed(story, "1.0.0", |objects| ports(objects, &[8080], 8080)).await;
        deployed(story, "1.1.0", |objects| ports(objects, &[8080, 9090], 8080)).await;
        deployed(story, "1.2.0", |objects| ports(objects, &[8080, 9090], 9090)).await;
        deployed(story, "1.3.0", |objects| ports(objects, &[9090], 9090)).await;
        let fails = |plan: &Plan| plan.warnings.iter().any(|line| line.contains("requests fail until"));
        let both = back(story, Rollback::To(deployctl::domain::ids::Revision(2))).await;
        assert!(!fails(&both), "{:?}", both.warnings);
        let neither = back(story, Rollback::To(deployctl::domain::ids::Revision(1))).await;
        assert!(fails(&neither), "{:?}", neither.warnings);
    });
}

/// Another Deployment of the component.
fn beside(objects: &mut Vec<Object>, name: &str, version: &str) {
    let labels = json!({"app": name});
    let container = json!({"name": "main", "image": format!("example.com/cache:{version}"),
        "ports": [{"containerPort": 8080}]});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}});
    add(
        objects,
        "db",
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name, "db"), "spec": spec}),
    );
}

#[test]
fn a_workload_beside_its_component_goes_back_with_the_traffic_and_before_the_jobs() {
    virtually(shop("ok", "ok"), 1, async |story| {
        deployed(story, "1.0.0", |objects| beside(objects, "db-cache", "1.0.0")).await;
        let before = story.objects();
        let plan = planned(story, "2.0.0-crash", |objects| {
            beside(objects, "db-cache", "1.1.0");
            beside(objects, "db-index", "1.1.0");
        });
        let plan = plan.await.unwrap();
        let Undo::Effects { lane, effects } = &step(&plan, "apply Deployment/db-cache").undo else {
            panic!()
        };
        assert_eq!(*lane, Lane::Traffic);
        assert!(matches!(effects.last(), Some(Effect::WaitReady { .. })), "{effects:?}");
        let Undo::Effects { lane, .. } = &step(&plan, "apply Deployment/db-index").undo else { panic!() };
        assert_eq!(*lane, Lane::Capacity);
        let told = Told::default();
        let life = story.new_run(&plan, &told, None).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        let lines = story_of(&told, "west");
        let [cache, index] =
            ["cache", "index"].map(|name| place(&lines, &format!("undone: apply Deployment/db-{name}")));
        let jobs = place(&lines, "lane Jobs");
        assert!(cache < place(&lines, "lane Capacity") && cache < index && index < jobs, "{lines:#?}");
        story.rest().await;
        assert_eq!(story.objects(), before);
        assert!(live(story, "Deployment", "db-index").is_none());
    });
}

/// The same with a claim that its pods mount, but for those of the next release.
fn mounting(objects: &mut Vec<Object>, version: &str) {
    claim(objects, "1Gi");
    beside(objects, "db-cache", version);
    if version == "1.0.0" {
        let pods = &mut each(objects, "Deployment", "db-cache")["spec"]["template"]["spec"];
        pods["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    }
}

#[test]
fn a_workload_beside_its_component_that_does_not_come_back_is_told() {
    virtually(shop("ok", "ok"), 1, async |story| {
        deployed(story, "1.0.0", |objects| mounting(objects, "1.0.0")).await;
        let plan = planned(story, "2.0.0-crash", |objects| mounting(objects, "1.1.0")).await.unwrap();
        // Somebody deletes what its pods of before need.
        let gone = async {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            let claim = Request::delete("/api/v1/namespaces/shop/persistentvolumeclaims/data");
            let claim = claim.body(Body::empty()).unwrap();
            assert!(story.world.api("west").oneshot(claim).await.unwrap().status().is_success());
        };
        let told = Told::default();
        let (life, ()) = tokio::join!(story.new_run(&plan, &told, None), gone);
        let Life::Ended(Ending::Broken { remaining, .. }) = life else { panic!("{life:?}") };
        let wrong: Vec<String> = remaining.iter().map(ToString::to_string).collect();
        assert!(wrong.iter().any(|line| line.contains("Deployment/db-cache")), "{wrong:#?}");
    });
}

fn image(story: &Story, deployment: &str) -> Value {
    let deployment = live(story, "Deployment", deployment).unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone()
}

#[test]
fn a_revision_that_somebody_edited_comes_back_as_it_was_released() {
    virtually(environment("canary"), 1, async |story| {
        deployed(story, "1.0.0", |_| ()).await;
        deployed(story, "1.1.0", |_| ()).await;
        story.set_image("east", "api-r1", "example.com/api:0.0.1-edited").await;
        brought_back(story, 1).await;
        assert_eq!(image(story, "api-r1"), "example.com/api:1.0.0");
        assert_eq!(story.sizes("east")["api-r1"], 4);
        // The one that serves: back to itself.
        story.set_image("east", "api-r1", "example.com/api:0.0.2-edited").await;
        story.rest().await;
        let told = Told::default();
        assert_eq!(story.bring_back_to(3, &told).await, Life::Ended(Ending::Deployed));
        let lines = story_of(&told, "east");
        let (applied, ready) =
            (place(&lines, "apply api-r1 as it was released"), place(&lines, "wait until api-r1 is ready"));
        assert!(applied < ready, "{lines:#?}");
        assert_eq!(image(story, "api-r1"), "example.com/api:1.0.0");
        let objects = story.world.snapshot("east");
        let pods = objects.iter().filter(|o| o["kind"] == "Pod" && o["metadata"]["labels"]["app"] == "api");
        for pod in pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
            assert_eq!(pod["spec"]["containers"][0]["image"], "example.com/api:1.0.0");
        }
        assert_eq!(unrouted(story), 0);
    });
}
