//! Blue-green between two namespaces: whole runs, and what is refused before them.

use super::runs::{begin, titles};
use crate::support::alerts;
use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::environment::{Environment, Strategy};
use deployctl::domain::event::{Event, Kind};
use deployctl::domain::ids::{Revision, RunId};
use deployctl::domain::intent::Wish;
use deployctl::domain::object::{Object, ObjectRef};
use deployctl::domain::release::{Actor, Outcome, Release};
use deployctl::plan::naming;
use deployctl::render;
use deployctl::run::{Ending, intents, unfinished};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const ENVIRONMENTS: [&str; 2] = ["turns", "turns-istio"];

/// What stands in a namespace of the east: `Kind/name` → size, or what matters of it.
fn standing(story: &Story, namespace: &str) -> BTreeMap<String, String> {
    let objects = story.world.snapshot("east");
    let own = objects.iter().filter(|o| o["metadata"]["namespace"] == namespace);
    let kinds = [
        "Deployment",
        "Service",
        "ConfigMap",
        "HorizontalPodAutoscaler",
        "ReferenceGrant",
        "HTTPRoute",
        "VirtualService",
    ];
    let api = own.filter(|o| {
        kinds.contains(&o["kind"].as_str().unwrap())
            && o["metadata"]["labels"]["deployctl.dev/component"] == "api"
    });
    api.map(|o| {
        let fact = match o["kind"].as_str().unwrap() {
            "Deployment" => o["spec"]["replicas"].to_string(),
            "HorizontalPodAutoscaler" => {
                format!("{} {}", o["spec"]["scaleTargetRef"]["name"], o["spec"]["minReplicas"])
            }
            "ConfigMap" => o["data"].to_string(),
            _ => o["spec"].to_string(),
        };
        let named = ObjectRef::of(o);
        (format!("{}/{}", named.kind, named.name), fact)
    })
    .collect()
}

/// Both namespaces.
fn both(story: &Story) -> [BTreeMap<String, String>; 2] {
    ["shop", "shop-green"].map(|namespace| standing(story, namespace))
}

/// The namespace that every route of the api leads to, and in which release what serves is recorded.
fn leads_to(story: &Story) -> &'static str {
    let objects = story.world.snapshot("east");
    let route = objects.iter().find(|o| {
        ["HTTPRoute", "VirtualService"].contains(&o["kind"].as_str().unwrap_or_default())
            && o["metadata"]["name"] == "api"
    });
    let route = route.expect("the api has a route");
    assert_eq!(route["metadata"]["namespace"], "shop", "the route stays");
    if route["spec"].to_string().contains("shop-green") { "shop-green" } else { "shop" }
}

fn sizes(side: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let deployments = side.iter().filter_map(|(name, size)| Some((name.strip_prefix("Deployment/")?, size)));
    deployments.map(|(name, size)| (name.to_owned(), size.clone())).collect()
}

fn listed(sizes: &[(&str, &str)]) -> BTreeMap<String, String> {
    sizes.iter().map(|(name, size)| ((*name).to_owned(), (*size).to_owned())).collect()
}

/// No request found no pod, and none was failed by more than a healthy process fails.
fn nothing_was_lost(story: &Story) {
    let report = story.world.report();
    let api = &report.clusters["east"].components["api"];
    assert_eq!((api.unrouted, api.seconds_down), (0, 0));
    assert!(api.all.requests > 1000, "{}", api.all.requests);
}

fn undone(told: &Told) -> Vec<String> {
    let events = told.0.lock().unwrap();
    let undone = events.iter().filter_map(|event| match &event.kind {
        Kind::StepUndone { title, target, .. } if target.as_str() == "east" => Some(title.clone()),
        _ => None,
    });
    undone.collect()
}

fn place(titles: &[String], start: &str) -> usize {
    titles.iter().position(|title| title.starts_with(start)).unwrap_or_else(|| panic!("{start}: {titles:#?}"))
}

#[test]
fn releases_take_turns_and_no_request_is_lost() {
    for name in ENVIRONMENTS {
        virtually(environment(name), 1, async |story| {
            begin(story).await;
            let blue = both(story);
            assert_eq!(
                (sizes(&blue[0])["api-r1"].as_str(), blue[1].len(), leads_to(story)),
                ("4", 0, "shop"),
                "{name}"
            );
            let told = Told::default();
            let life = story.deploy("1.1.0", &told).await;
            assert_eq!(life, Life::Ended(Ending::Deployed), "{name}: {:#?}", alerts(&told));
            story.rest().await;
            nothing_was_lost(story);
            let green = both(story);
            assert_eq!(leads_to(story), "shop-green", "{name}");
            assert_eq!(sizes(&green[1]), listed(&[("api-r2", "4")]), "{name}");
            // Of blue its pods' description and settings are left for a rollback, and the route.
            let kinds: Vec<&str> = green[0].keys().map(|name| name.split_once('/').unwrap().0).collect();
            let route = if name == "turns" { "HTTPRoute" } else { "VirtualService" };
            assert_eq!(kinds, ["ConfigMap", "Deployment", route], "{name}");
            assert_eq!(sizes(&green[0]), listed(&[("api-r1", "0")]), "{name}");
            assert_eq!(green[1].contains_key("ReferenceGrant/api-routes"), name == "turns");
            let plan = story.plan("1.1.0").await;
            assert!(
                !plan.has_changes(),
                "{name}: {:#?}",
                plan.targets.values().map(|t| &t.changes).collect::<Vec<_>>()
            );
            let done = titles(&told);
            let order = [
                "create api-r2",
                "wait until api-r2 is ready",
                "wait until api serves from api-r2 alone",
                &format!("{route}/api names the Services in shop-green at weight 0"),
                &format!("{route}/api leads to api-r2 in shop-green"),
                "hand the autoscaler",
                "delete HorizontalPodAutoscaler/api in shop",
                "scale api-r1 in shop to 0",
            ];
            let places: Vec<usize> = order.iter().map(|start| place(&done, start)).collect();
            assert!(places.is_sorted(), "{name}: {places:?} {done:#?}");

            // And back: blue's turn again, with everything of green's but what a rollback needs gone.
            let life = story.deploy("1.2.0", &Told::default()).await;
            assert_eq!(life, Life::Ended(Ending::Deployed), "{name}");
            story.rest().await;
            nothing_was_lost(story);
            let blue = both(story);
            assert_eq!(leads_to(story), "shop", "{name}");
            assert_eq!(sizes(&blue[0]), listed(&[("api-r1", "0"), ("api-r3", "4")]), "{name}");
            assert_eq!(sizes(&blue[1]), listed(&[("api-r2", "0")]), "{name}");
            assert!(!blue[1].contains_key("ReferenceGrant/api-routes"), "{name}: {blue:#?}");
            assert!(!story.plan("1.2.0").await.has_changes(), "{name}");
        });
    }
}

#[test]
fn a_failed_release_leaves_both_namespaces_as_they_were() {
    // The second one fails on the way from green to blue.
    for (name, turns) in [("turns", 0), ("turns", 1), ("turns-istio", 0), ("turns-istio", 1)] {
        virtually(environment(name), 7, async |story| {
            begin(story).await;
            for _ in 0..turns {
                assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
            }
            story.rest().await;
            let before = (both(story), leads_to(story));
            let told = Told::default();
            let life = story.deploy("2.0.0-err30", &told).await;
            let fits =
                matches!(&life, Life::Ended(Ending::RolledBack { cause }) if cause.contains("error-rate"));
            assert!(fits, "{name}: {life:?}");
            let undone = undone(&told);
            let route = undone.iter().position(|title| title.contains("/api leads to")).unwrap();
            let pods = undone.iter().position(|title| title.starts_with("create api-r")).unwrap();
            assert!(route < pods, "{name}: {undone:#?}");
            story.rest().await;
            assert_eq!((both(story), leads_to(story)), before, "{name} {turns}: {undone:#?}");
            let report = story.world.report();
            assert_eq!(report.clusters["east"].components["api"].unrouted, 0, "{name} {turns}");
        });
    }
}

#[test]
fn a_process_that_dies_anywhere_is_gone_on_with() {
    for dies in (20..100).step_by(10) {
        virtually(environment("turns"), 3, async |story| {
            begin(story).await;
            let written = story.written.load(std::sync::atomic::Ordering::SeqCst);
            *story.dies.lock().unwrap() = Some((written + dies, dies % 20 == 0));
            let life = story.deploy("1.1.0", &Told::default()).await;
            *story.dies.lock().unwrap() = None;
            let run = unfinished::latest(&story.doors).await.unwrap().unwrap();
            if life == Life::Died && run.is_unfinished() {
                let life = story.go_on(None, &Told::default()).await;
                assert_eq!(life, Life::Ended(Ending::Deployed), "after record {dies}");
            } else {
                assert!(
                    matches!(life, Life::Died | Life::Ended(Ending::Deployed)),
                    "after record {dies}: {life:?}"
                );
            }
            story.rest().await;
            nothing_was_lost(story);
            let [blue, green] = both(story);
            assert_eq!(
                (leads_to(story), &*sizes(&green)["api-r2"], &*sizes(&blue)["api-r1"]),
                ("shop-green", "4", "0")
            );
        });
    }
}

/// In the hold after the switch, and while blue is kept at the very end.
#[test]
fn an_abort_while_blue_is_kept_returns_at_once() {
    for begun in ["hold for 1m", "keep api-r1"] {
        virtually(environment("turns"), 5, async |story| {
            begin(story).await;
            let before = (both(story), leads_to(story));
            let told = Told::default();
            let doors = story.elsewhere();
            let operator = async {
                let begun = |event: &Event| {
                    matches!(&event.kind,
                    Kind::StepStarted { title, target, .. } if target.as_str() == "east" && title.starts_with(begun))
                };
                for _ in 0..3600 {
                    if told.0.lock().unwrap().iter().any(begun) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                tokio::time::sleep(Duration::from_secs(20)).await;
                assert_eq!(
                    (leads_to(story), sizes(&both(story)[0])["api-r1"].clone()),
                    ("shop-green", "4".to_owned())
                );
                let live = intents::live(&doors, "turns").await.unwrap();
                let by = Actor { user: "bo".into(), host: "phone".into(), ci: None };
                let abort = Wish::Abort { superseded_by: None };
                intents::ask(&doors, &live, abort, by, Some("tickets".into())).await.unwrap();
            };
            let (life, ()) = tokio::join!(story.deploy("1.1.0", &told), operator);
            assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{begun}: {life:?}");
            story.rest().await;
            nothing_was_lost(story);
            assert_eq!((both(story), leads_to(story)), before, "{begun}");
        });
    }
}

#[test]
fn a_rollback_brings_capacity_first() {
    for name in ENVIRONMENTS {
        virtually(environment(name), 11, async |story| {
            begin(story).await;
            assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
            story.rest().await;
            let told = Told::default();
            assert_eq!(story.bring_back(&told).await, Life::Ended(Ending::Deployed), "{name}");
            story.rest().await;
            nothing_was_lost(story);
            let done = titles(&told);
            let route = if name == "turns" { "HTTPRoute" } else { "VirtualService" };
            let (pods, traffic) = (
                place(&done, "wait until api-r1 is ready"),
                place(&done, &format!("{route}/api leads to api-r1")),
            );
            assert!(pods < traffic, "{done:#?}");
            let [blue, green] = both(story);
            assert_eq!(
                (leads_to(story), &*sizes(&blue)["api-r1"], &*sizes(&green)["api-r2"]),
                ("shop", "4", "0")
            );
        });
    }
}

/// Without the grant the gateway says so while the new side is named at weight 0: nobody is led there.
#[test]
fn a_gateway_that_may_not_lead_there_is_noticed_before_any_request_is() {
    virtually(environment("turns"), 13, async |story| {
        begin(story).await;
        let mut plan = story.plan("1.1.0").await;
        for object in &mut plan.objects {
            if object.kind() == "ReferenceGrant" {
                object.value["spec"]["from"][0]["namespace"] = json!("elsewhere");
            }
        }
        let life = story.new_run(&plan, &Told::default(), None).await;
        let Life::Ended(Ending::RolledBack { cause }) = life else { panic!("{life:?}") };
        assert!(
            cause.contains("resolve HTTPRoute/api") && cause.contains("may not be referred to"),
            "{cause}"
        );
        story.rest().await;
        nothing_was_lost(story);
        assert_eq!(leads_to(story), "shop");
    });
}

/// What serves in place is left for the first turn, and a later rollback comes back to it.
#[test]
fn a_component_begins_to_take_turns_and_is_led_back_before_it_ends() {
    virtually(environment("turns"), 17, async |story| {
        let mut env = story.env.clone();
        of_api(&mut env, Strategy::Rolling);
        let rolling = story.under(env.clone());
        begin(&rolling).await;
        assert_eq!(sizes(&both(story)[0])["api"], "4");
        assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        nothing_was_lost(story);
        assert_eq!((leads_to(story), &*sizes(&both(story)[1])["api-r2"]), ("shop-green", "4"));
        assert!(!sizes(&both(story)[0]).contains_key("api"));
        let request = rolling.request("1.2.0", None);
        let failure = deployctl::run::prepare::plan(&rolling.doors, &request).await.unwrap_err();
        assert_eq!(failure.what, "component api serves from namespace shop-green, not from shop");
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        nothing_was_lost(story);
        assert_eq!((leads_to(story), &*sizes(&both(story)[0])["api"]), ("shop", "4"));
    });
}

fn of_api(env: &mut Environment, strategy: Strategy) {
    let api = env.components.iter_mut().find(|component| component.id.as_str() == "api").unwrap();
    api.strategy = strategy;
}

fn refusal(change: impl Fn(&mut Vec<Object>)) -> Option<String> {
    let env = environment("turns");
    let rendered = render::render_targets(&env, "1.0.0").unwrap();
    let mut objects = rendered.into_values().next().unwrap();
    change(&mut objects);
    let failure = naming::name(&env, objects, Revision(1), None).err()?;
    Some(format!("{} {}: {}", failure.code.0, failure.what, failure.why.join("; ")))
}

fn more(component: Option<&str>, value: Value) -> Object {
    Object { component: component.map(Into::into), origin: "more.yaml:1".into(), value }
}

fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": "shop"})
}

#[test]
fn what_cannot_stand_twice_or_would_stay_behind_is_refused() {
    assert_eq!(refusal(|_| ()), None);
    for (object, starts) in [
        (
            more(
                Some("api"),
                json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("data")}),
            ),
            "308 PersistentVolumeClaim/data (more.yaml:1) cannot take turns in two namespaces: its data would stay behind",
        ),
        (
            more(
                Some("api"),
                json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta("nightly")}),
            ),
            "308 CronJob/nightly (more.yaml:1) cannot take turns in two namespaces: it would run in both",
        ),
        (
            more(
                Some("web"),
                json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta("all"),
                "spec": {"rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix",
                    "backend": {"service": {"name": "api", "port": {"number": 80}}}}]}}]}}),
            ),
            "308 Ingress/all (more.yaml:1) leads to Services of api: an Ingress leads to Services of its own namespace",
        ),
        (
            more(
                Some("web"),
                json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": meta("all"), "spec": {"rules": [{"backendRefs": [{"name": "api", "port": 80}]}]}}),
            ),
            "308 HTTPRoute/all (more.yaml:1) leads to Services of api: it is not among the component's manifests",
        ),
    ] {
        let refused = refusal(|objects| objects.push(object.clone())).unwrap();
        assert!(refused.starts_with(starts), "{refused}");
    }
    let bare = refusal(|objects| objects.retain(|object| object.kind() != "HTTPRoute")).unwrap();
    assert!(bare.starts_with("306 component api: no HTTPRoute leads to its Services"), "{bare}");
    let foreign = refusal(|objects| {
        for object in
            objects.iter_mut().filter(|object| object.kind() == "ConfigMap" && object.name() == "api")
        {
            object.component = Some("web".into());
        }
    });
    let foreign = foreign.unwrap();
    assert!(foreign.starts_with("308 Deployment/api needs ConfigMap/api-"), "{foreign}");
}

fn released(named: &naming::Named) -> Release {
    let at = "2026-01-05T03:00:00Z".parse().unwrap();
    Release {
        format: 2,
        revision: Revision(1),
        target: "east".into(),
        version: "1.0.0".into(),
        outcome: Outcome::Deployed,
        cause: None,
        run: RunId::new("r000001"),
        by: Actor { user: "ada".into(), host: "laptop".into(), ci: None },
        reason: None,
        overridden: None,
        started: at,
        ended: at,
        rollback_of: None,
        workloads: named.workloads.clone(),
        objects: named.objects.clone(),
        rollback_jobs: vec![],
        evidence: vec![],
        asked: vec![],
        backups: vec![],
        owed: BTreeMap::new(),
        pays: None,
    }
}

#[test]
fn everything_goes_along_and_names_the_new_place() {
    let env = environment("turns");
    let objects = |version: &str| {
        let mut objects = render::render_targets(&env, version).unwrap().into_values().next().unwrap();
        let account = json!({"kind": "ServiceAccount", "name": "api", "namespace": "shop"});
        let role = json!({"kind": "Role", "name": "api", "apiGroup": "rbac.authorization.k8s.io"});
        let rbac = "rbac.authorization.k8s.io/v1";
        objects.extend([
            more(Some("api"), json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("api")})),
            more(
                Some("api"),
                json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": meta("api"),
                "roleRef": role, "subjects": [account, {"kind": "Group", "name": "people"}]}),
            ),
            more(
                Some("api"),
                json!({"apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": "api"},
                "roleRef": role, "subjects": [account]}),
            ),
            more(
                Some("api"),
                json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
                "metadata": meta("api"), "spec": {"host": "api.shop.svc.cluster.local"}}),
            ),
        ]);
        objects
    };
    let first = naming::name(&env, objects("1.0.0"), Revision(1), None).unwrap();
    let release = released(&first);
    let second = naming::name(&env, objects("1.1.0"), Revision(2), Some(&release)).unwrap();
    let find = |kind: &str| {
        let own =
            second.objects.iter().filter(|o| o.component.as_ref().is_some_and(|id| id.as_str() == "api"));
        own.map(|o| &o.value).find(|o| o["kind"] == kind).unwrap()
    };
    for kind in [
        "Deployment",
        "Service",
        "ConfigMap",
        "HorizontalPodAutoscaler",
        "ServiceAccount",
        "RoleBinding",
        "DestinationRule",
        "ReferenceGrant",
    ] {
        assert_eq!(find(kind)["metadata"]["namespace"], "shop-green", "{kind}");
    }
    assert_eq!(find("HTTPRoute")["metadata"]["namespace"], "shop");
    assert_eq!(find("RoleBinding")["subjects"][0]["namespace"], "shop-green");
    let bound: Vec<&Value> =
        find("ClusterRoleBinding")["subjects"].as_array().unwrap().iter().map(|s| &s["namespace"]).collect();
    assert_eq!(bound, ["shop", "shop-green"]);
    assert_eq!(find("DestinationRule")["spec"]["host"], "api.shop-green.svc.cluster.local");
    // The same pods have nothing to move for.
    let kept = naming::name(&env, objects("1.0.0"), Revision(2), Some(&release)).unwrap();
    assert_eq!(kept.workloads, first.workloads);
}
