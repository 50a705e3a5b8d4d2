//! Objects that others want too, that cannot be changed, that define kinds, or that nobody needs any more: what a plan
//! says of them, and what a run does, against the simulated API.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::cli::report::{self, Output};
use deployctl::domain::ids::TargetId;
use deployctl::domain::object::{Object, ObjectRef};
use deployctl::domain::release::Actor;
use deployctl::plan::{Action, Change, Plan, Verdict};
use deployctl::ports::cluster::Terms;
use deployctl::render;
use deployctl::run::Ending;
use deployctl::run::prepare::{self, Request, Rollback};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn east() -> TargetId {
    TargetId::from("east")
}

/// A release of these objects, which belong to no component, on both targets.
pub fn request<'a>(story: &'a Story, objects: &[Value]) -> Request<'a> {
    let objects: Vec<Object> = objects
        .iter()
        .map(|value| Object { component: None, origin: "test.yaml:1".to_owned(), value: value.clone() })
        .collect();
    Request {
        env: &story.env,
        version: "1.0.0".to_owned(),
        components: BTreeSet::new(),
        rendered: story.env.targets.iter().map(|target| (target.id.clone(), objects.clone())).collect(),
        prune: vec![],
        rollback: None,
        floor: deployctl::domain::ids::Revision(0),
        by: Actor { user: "ana".into(), host: "desk".into(), ci: None },
        reason: None,
    }
}

async fn plan(story: &Story, objects: &[Value]) -> Plan {
    prepare::plan(&story.doors, &request(story, objects)).await.unwrap()
}

async fn deploy(story: &Story, objects: &[Value]) {
    let plan = plan(story, objects).await;
    assert_eq!(story.new_run(&plan, &Told::default(), None).await, Life::Ended(Ending::Deployed));
}

fn change<'p>(plan: &'p Plan, name: &str) -> &'p Change {
    let found = plan.targets[&east()].changes.iter().find(|change| change.object.to_string() == name);
    found.unwrap_or_else(|| panic!("{name} is in the plan: {:?}", plan.targets[&east()].changes))
}

fn contests(plan: &Plan, name: &str) -> Vec<(Verdict, String)> {
    change(plan, name).contests.iter().map(|contest| (contest.verdict, contest.to_string())).collect()
}

/// Somebody else writes to the cluster in the east.
async fn others(story: &Story, manager: &str, object: &ObjectRef, subresource: &str, patch: Value) {
    let (group, version) = object.api_version.split_once('/').unwrap_or(("", &object.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &object.kind));
    let client = kube::Client::new(story.world.api("east"), "default");
    let api: Api<DynamicObject> = Api::namespaced_with(client, &object.namespace, &resource);
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(&patch);
    let written = if subresource.is_empty() {
        api.patch(&object.name, &params, &patch).await
    } else {
        api.patch_subresource(subresource, &object.name, &params, &patch).await
    };
    written.unwrap();
}

async fn live(story: &Story, object: &ObjectRef) -> Option<Value> {
    story.doors.sites[&east()].cluster().unwrap().get(object).await.unwrap()
}

fn service(port: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"selector": {"app": "db"}, "ports": [{"name": "sql", "port": port}], "sessionAffinity": "None"}})
}

fn deployment(app: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": app}}, "template": {
            "metadata": {"labels": {"app": app}},
            "spec": {"containers": [{"name": "db", "image": "example.com/db:1"}]}}}})
}

#[test]
fn a_secret_that_keeps_its_name_changes_in_place_and_its_values_are_shown_nowhere() {
    virtually(environment("canary"), 3, async |story| {
        let secret = |password: &str| {
            json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": {"PASSWORD": password, "A": "same"},
                "metadata": {"name": "db", "namespace": "shop", "annotations": {"deployctl.dev/name": "keep"}}})
        };
        deploy(story, &[secret("hunter2")]).await;
        let same = report::plan::render(&plan(story, &[secret("hunter2")]).await, &Output::plain());
        assert!(same.contains("No changes"), "{same}");
        let changed = report::plan::render(&plan(story, &[secret("correct horse")]).await, &Output::plain());
        assert!(
            changed.contains("~ Secret/db\n        data.PASSWORD: changed (value not shown)\n"),
            "{changed}"
        );
        assert!(!changed.contains("data.A") && !changed.contains("horse"), "{changed}");
        deploy(story, &[secret("correct horse")]).await;
        let after = report::plan::render(&plan(story, &[secret("correct horse")]).await, &Output::plain());
        assert!(after.contains("No changes"), "{after}");
    });
}

#[test]
fn of_a_changed_secret_the_plan_says_which_keys_changed_and_no_value() {
    virtually(environment("canary"), 3, async |story| {
        let secret = |data: Value| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": "shop"},
                "type": "Opaque", "stringData": data})
        };
        let old = json!({"USER": "shop", "PASSWORD": "hunter2", "OLD": "gone"});
        deploy(story, &[secret(old)]).await;
        let new = json!({"USER": "shop", "PASSWORD": "correct horse", "TOKEN": "new"});
        let plan = plan(story, &[secret(new)]).await;
        let shown = report::plan::render(&plan, &Output::plain());
        let lines: Vec<&str> =
            shown.lines().skip_while(|line| !line.contains("Secret/db-")).take(4).map(str::trim).collect();
        let head = lines[0].strip_prefix("+ Secret/db-").expect("it is created under a name of its own");
        assert!(head.contains(" (in place of db-"), "{shown}");
        assert_eq!(
            lines[1..],
            [
                "data.PASSWORD: changed (value not shown)",
                "data.TOKEN: added (value not shown)",
                "data.OLD: removed (value not shown)",
            ],
            "{shown}"
        );
        let changes = serde_json::to_string(&plan.targets[&east()].changes).unwrap();
        for said in [&shown, &changes] {
            assert!(!["hunter2", "horse", "gone", "USER"].iter().any(|word| said.contains(word)), "{said}");
        }
    });
}

#[test]
fn a_field_that_somebody_edited_bars_the_release_until_it_is_taken() {
    virtually(environment("canary"), 3, async |story| {
        deploy(story, &[service(80)]).await;
        let db = ObjectRef::new("v1", "Service", "shop", "db");
        let edit = json!({"spec": {"sessionAffinity": "ClientIP"}});
        others(story, "kubectl-edit", &db, "", edit).await;
        let refused = plan(story, &[service(80)]).await;
        let open: Vec<String> = refused
            .open_contests()
            .map(|(target, object, contest)| format!("{target} {object} {} {}", contest.who, contest.field))
            .collect();
        assert_eq!(open, ["east Service/db kubectl-edit spec.sessionAffinity"]);
        let shown = contests(&refused, "Service/db");
        assert!(shown[0].1.ends_with("· spec.sessionAffinity · ClientIP → None"), "{shown:?}");

        // The same at apply time, for an edit that came after the plan.
        let Life::Ended(Ending::RolledBack { cause }) = story.new_run(&refused, &Told::default(), None).await
        else {
            panic!("the server refuses it as well");
        };
        assert!(cause.contains("Service/db · kubectl-edit ·") && cause.contains("--take"), "{cause}");
        others(story, "kubectl-edit", &db, "", json!({"spec": {"sessionAffinity": "ClientIP"}})).await;

        let mut env = story.env.clone();
        env.take = vec!["Service/db:spec.sessionAffinity".to_owned()];
        let taking = Request { env: &env, ..request(story, &[service(80)]) };
        let taking = prepare::plan(&story.doors, &taking).await.unwrap();
        assert_eq!(taking.open_contests().count(), 0);
        let life = story.new_run(&taking, &Told::default(), None).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        assert_eq!(live(story, &db).await.unwrap()["spec"]["sessionAffinity"], "None");
        assert!(!plan(story, &[service(80)]).await.has_changes(), "what was taken is ours");
    });
}

#[test]
fn the_size_that_an_autoscaler_chose_is_left_to_it() {
    virtually(environment("canary"), 3, async |story| {
        deploy(story, &[deployment("db", 2)]).await;
        let db = ObjectRef::deployment("shop", "db");
        let scale = json!({"spec": {"replicas": 5}});
        others(story, "kube-controller-manager", &db, "scale", scale).await;
        let unchanged = plan(story, &[deployment("db", 2)]).await;
        assert!(!unchanged.has_changes(), "{:?}", change(&unchanged, "Deployment/db"));
        assert_eq!(contests(&unchanged, "Deployment/db")[0].0, Verdict::Left);
        let mut newer = deployment("db", 2);
        newer["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.com/db:2");
        deploy(story, &[newer]).await;
        assert_eq!(live(story, &db).await.unwrap()["spec"]["replicas"], 5);
    });
}

#[test]
fn a_way_back_leaves_an_autoscaler_its_size() {
    virtually(environment("canary"), 3, async |story| {
        deploy(story, &[deployment("db", 2)]).await;
        let mut newer = deployment("db", 2);
        newer["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.com/db:2");
        deploy(story, &[newer]).await;
        let db = ObjectRef::deployment("shop", "db");
        others(story, "kube-controller-manager", &db, "scale", json!({"spec": {"replicas": 5}})).await;
        let back = Request { rollback: Some(Rollback::Previous), ..request(story, &[]) };
        let back = prepare::plan(&story.doors, &back).await.unwrap();
        assert_eq!(story.new_run(&back, &Told::default(), None).await, Life::Ended(Ending::Deployed));
        let now = live(story, &db).await.unwrap();
        let image = &now["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!((&now["spec"]["replicas"], image), (&json!(5), &json!("example.com/db:1")));
    });
}

#[test]
fn what_kubectl_made_is_adopted_with_its_fields_and_said() {
    virtually(environment("canary"), 3, async |story| {
        deploy(story, &[]).await;
        let client = kube::Client::new(story.world.api("east"), "default");
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Service"));
        let api: Api<DynamicObject> = Api::namespaced_with(client, "shop", &resource);
        let object: DynamicObject = serde_json::from_value(service(8080)).unwrap();
        let params = kube::api::PostParams {
            field_manager: Some("kubectl-client-side-apply".to_owned()),
            ..kube::api::PostParams::default()
        };
        api.create(&params, &object).await.unwrap();
        let wanted = {
            let mut wanted = service(8080);
            wanted["spec"]["selector"]["app"] = json!("database");
            wanted
        };
        let adopting = plan(story, std::slice::from_ref(&wanted)).await;
        let shown = change(&adopting, "Service/db");
        assert_eq!(shown.note.as_deref(), Some("adopted, made by kubectl-client-side-apply"));
        assert!(
            !shown.contests.is_empty() && shown.contests.iter().all(|c| c.verdict == Verdict::Adopted),
            "{shown:?}"
        );
        deploy(story, &[wanted]).await;
    });
}

#[test]
fn what_cannot_be_changed_is_replaced_and_comes_back_with_a_rollback() {
    virtually(environment("canary"), 3, async |story| {
        deploy(story, &[deployment("db", 1)]).await;
        let db = ObjectRef::deployment("shop", "db");
        let before = live(story, &db).await.unwrap();
        let replacing = plan(story, &[deployment("database", 1)]).await;
        let shown = change(&replacing, "Deployment/db");
        assert_eq!(shown.action, Action::Replace);
        assert_eq!(
            shown.replaced.as_deref(),
            Some(
                "spec.selector.matchLabels.app cannot be changed; its pods stop before new ones start: downtime"
            )
        );
        let life = story.new_run(&replacing, &Told::default(), None).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        let after = live(story, &db).await.unwrap();
        assert_eq!(after["spec"]["selector"]["matchLabels"]["app"], "database");
        assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);

        // Beside a component that crashes the replacement is taken back as well.
        let mut failing = request(story, &[]);
        "2.0.0-crash".clone_into(&mut failing.version);
        failing.rendered = render::render_targets(&story.env, &failing.version).unwrap();
        for objects in failing.rendered.values_mut() {
            objects.push(Object { component: None, origin: String::new(), value: deployment("third", 1) });
        }
        let failing = prepare::plan(&story.doors, &failing).await.unwrap();
        let life = story.new_run(&failing, &Told::default(), None).await;
        assert!(matches!(&life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        let back = live(story, &db).await.unwrap();
        assert_eq!(back["spec"]["selector"]["matchLabels"]["app"], "database");
    });
}

#[test]
fn a_kind_and_its_objects_come_in_one_release() {
    virtually(environment("canary"), 3, async |story| {
        let ship = json!({"apiVersion": "sea.example.com/v1", "kind": "Ship",
            "metadata": {"name": "argo", "namespace": "shop"}, "spec": {"sails": 3}});
        let kind = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "ships.sea.example.com"},
            "spec": {
                "group": "sea.example.com", "scope": "Namespaced",
                "names": {"kind": "Ship", "listKind": "ShipList", "plural": "ships", "singular": "ship"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": {"type": "object",
                        "properties": {"sails": {"type": "integer"}, "flag": {"type": "string", "default": "none"}}}}}}}],
            },
        });
        let objects = [ship.clone(), kind.clone()];
        let first = plan(story, &objects).await;
        assert_eq!(change(&first, "Ship/argo").action, Action::Create);
        deploy(story, &objects).await;
        let argo = ObjectRef::of(&ship);
        assert_eq!(live(story, &argo).await.unwrap()["spec"]["sails"], 3);
        assert!(!plan(story, &objects).await.has_changes(), "defaults of the server are no change");

        // Gone from the release: the object is deleted, the kind is kept and said.
        let without = plan(story, &[]).await;
        assert_eq!(change(&without, "Ship/argo").action, Action::Delete);
        let kept = "CustomResourceDefinition/ships.sea.example.com is in no release any more and is kept";
        assert!(without.warnings.iter().any(|warning| warning.contains(kept)), "{:?}", without.warnings);
        let asked = Request {
            prune: vec!["CustomResourceDefinition/ships.sea.example.com".to_owned()],
            ..request(story, &[])
        };
        let asked = prepare::plan(&story.doors, &asked).await.unwrap();
        assert_eq!(change(&asked, "CustomResourceDefinition/ships.sea.example.com").action, Action::Delete);
        let life = story.new_run(&asked, &Told::default(), None).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        assert_eq!(live(story, &argo).await, None);
    });
}

#[test]
fn what_somebody_else_holds_is_not_deleted() {
    virtually(environment("canary"), 3, async |story| {
        deploy(story, &[service(80), deployment("db", 1)]).await;
        let db = ObjectRef::new("v1", "Service", "shop", "db");
        let label = json!({"metadata": {"labels": {"deployctl.dev/application": "bank"}}});
        others(story, "bank", &db, "", label).await;
        let without = plan(story, &[]).await;
        let deleted: Vec<String> = without.targets[&east()]
            .changes
            .iter()
            .filter(|change| change.action == Action::Delete)
            .map(|change| change.object.to_string())
            .collect();
        assert_eq!(deleted, ["Deployment/db"]);
        let why = "Service/db is in no release any more and is kept: it belongs to application bank";
        assert!(without.warnings.iter().any(|warning| warning.contains(why)), "{:?}", without.warnings);
    });
}

#[test]
fn a_way_back_is_not_barred_by_an_edit() {
    virtually(environment("canary"), 3, async |story| {
        deploy(story, &[service(80)]).await;
        deploy(story, &[service(81)]).await;
        let db = ObjectRef::new("v1", "Service", "shop", "db");
        others(story, "kubectl-edit", &db, "", json!({"spec": {"sessionAffinity": "ClientIP"}})).await;
        let back = Request { rollback: Some(Rollback::Previous), ..request(story, &[]) };
        let back = prepare::plan(&story.doors, &back).await.unwrap();
        assert_eq!(back.open_contests().count(), 0);
        let life = story.new_run(&back, &Told::default(), None).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        let seen = live(story, &db).await.unwrap();
        assert_eq!(
            (&seen["spec"]["ports"][0]["port"], &seen["spec"]["sessionAffinity"]),
            (&json!(80), &json!("None"))
        );
    });
}

#[test]
fn many_objects_are_read_by_one_list_a_kind() {
    virtually(environment("canary"), 3, async |story| {
        let map = |n: usize| {
            json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": format!("a{n}"), "namespace": "shop"}})
        };
        let objects: Vec<Value> = (0..600).map(map).collect();
        deploy(story, &objects).await;
        let cluster = story.doors.sites[&east()].cluster().unwrap();
        let mut names: Vec<ObjectRef> = objects.iter().map(ObjectRef::of).collect();
        names.insert(7, ObjectRef::new("v1", "ServiceAccount", "shop", "nobody"));
        let found = cluster.get_all(&names).await.unwrap();
        for (name, found) in names.iter().zip(&found) {
            assert_eq!(found.as_ref().map(ObjectRef::of), (name.name != "nobody").then(|| name.clone()));
        }
        let single = cluster.get(&names[0]).await.unwrap();
        assert_eq!(single, found[0], "a list gives what a read gives");
        // An apply whose outcome is known says the same as one that looks first.
        let known = Terms::FORCED.knowing(deployctl::ports::cluster::Known::Absent);
        let made = cluster.apply(&map(9999), known).await;
        assert_eq!(made, Ok(deployctl::ports::cluster::Applied::Created));
    });
}
