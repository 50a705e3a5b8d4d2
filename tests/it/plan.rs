//! The planner on the shipped environments: whole sequences of stages, and what each step's way back is.

use deployctl::config::{self, Overrides};
use deployctl::domain::definitions::Definitions;
use deployctl::domain::effect::Effect;
use deployctl::domain::environment::Environment;
use deployctl::domain::gitops::Syncers;
use deployctl::domain::ids::{Revision, RunId, TargetId};
use deployctl::domain::object::ObjectRef;
use deployctl::domain::release::{Actor, FORMAT, Outcome, Release};
use deployctl::domain::step::{Lane, Undo};
use deployctl::plan::naming::{self, Named};
use deployctl::plan::{Action, Inputs, Plan, TargetInput, build};
use deployctl::render;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn env(name: &str) -> Environment {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    config::load(root, name, &Overrides::default()).expect("the shipped environments are right").environment
}

fn named(
    env: &Environment,
    target: &TargetId,
    version: &str,
    revision: u32,
    previous: Option<&Release>,
) -> Named {
    let mut rendered = render::render_targets(env, version).expect("the shipped manifests render");
    let objects = rendered.remove(target).unwrap();
    naming::name(env, objects, Revision(revision), previous).unwrap()
}

fn actor() -> Actor {
    Actor { user: "ana".into(), host: "desk".into(), ci: None }
}

fn released(env: &Environment, target: &TargetId, version: &str, revision: u32) -> Release {
    let named = named(env, target, version, revision, None);
    Release {
        format: FORMAT,
        revision: Revision(revision),
        target: target.clone(),
        version: version.into(),
        outcome: Outcome::Deployed,
        cause: None,
        run: RunId::new("r1"),
        by: actor(),
        reason: None,
        started: jiff::Timestamp::UNIX_EPOCH,
        ended: jiff::Timestamp::UNIX_EPOCH,
        rollback_of: None,
        workloads: named.workloads,
        objects: named.objects,
        rollback_jobs: vec![],
        evidence: vec![],
        overridden: None,
        asked: vec![],
        backups: vec![],
        owed: BTreeMap::new(),
        pays: None,
    }
}

/// The release's objects as a server would hold them, six pods per Deployment.
fn live(release: &Release) -> BTreeMap<ObjectRef, Value> {
    let objects = release.objects.iter().map(|object| {
        let mut value = object.value.clone();
        value["metadata"]["uid"] = json!("u");
        if object.kind() == "Deployment" {
            value["spec"]["replicas"] = json!(6);
        }
        (object.reference(), value)
    });
    objects.collect()
}

fn plan(env: &Environment, version: &str, before: Option<&str>) -> Plan {
    plan_after(env, version, |target| before.map(|before| released(env, target, before, 1)))
}

fn plan_after(env: &Environment, version: &str, before: impl Fn(&TargetId) -> Option<Release>) -> Plan {
    let targets = env.targets.iter().map(|target| {
        let history: Vec<Release> = before(&target.id).into_iter().collect();
        let revision = history.len() as u32 + 1;
        let named = named(env, &target.id, version, revision, history.last());
        let live = history.last().map(live).unwrap_or_default();
        (
            target.id.clone(),
            TargetInput {
                cluster_uid: "c".into(),
                named,
                live,
                definitions: Definitions::default(),
                history,
                syncers: Syncers::default(),
                judged: BTreeMap::new(),
            },
        )
    });
    let targets: BTreeMap<TargetId, TargetInput> = targets.collect();
    let inputs = Inputs {
        env,
        version: version.into(),
        revision: Revision(if targets.values().any(|input| !input.history.is_empty()) { 2 } else { 1 }),
        components: vec![],
        prune: vec![],
        rollback_of: None,
        run: RunId::new("run"),
        by: actor(),
        reason: None,
        created: jiff::Timestamp::UNIX_EPOCH,
        targets,
    };
    build(&inputs)
}

#[test]
fn an_object_that_only_changes_the_version_of_its_api_is_not_deleted() {
    let env = env("production");
    let kinds = [("HorizontalPodAutoscaler", "autoscaling/v1"), ("PodDisruptionBudget", "policy/v1beta1")];
    let before = |target: &TargetId| {
        let mut release = released(&env, target, "1.0.0", 1);
        for object in &mut release.objects {
            if let Some((_, old)) = kinds.iter().find(|(kind, _)| *kind == object.kind()) {
                object.value["apiVersion"] = json!(old);
            }
        }
        Some(release)
    };
    let plan = plan_after(&env, "1.1.0", before);
    let changes: Vec<_> = plan.targets.values().flat_map(|target| &target.changes).collect();
    let versioned = changes.iter().filter(|change| kinds.iter().any(|(kind, _)| *kind == change.object.kind));
    let versioned: Vec<_> = versioned.collect();
    assert!(versioned.len() >= 2, "{changes:#?}");
    for change in versioned {
        assert!(change.action != Action::Delete && change.action != Action::Create, "{change:#?}");
        assert_eq!(change.note, None, "it is known from the release before");
    }
    let effects = plan.stages.iter().flat_map(|stage| &stage.steps).map(|step| &step.effect);
    let deleted = effects.filter_map(|effect| match effect {
        Effect::Delete { objects } => Some(objects),
        _ => None,
    });
    let deleted: Vec<&ObjectRef> = deleted.flatten().collect();
    assert!(deleted.iter().all(|object| kinds.iter().all(|(kind, _)| *kind != object.kind)), "{deleted:?}");
}

fn stages(plan: &Plan) -> Vec<String> {
    plan.stages.iter().map(|stage| format!("{} {}", stage.id, stage.title)).collect()
}

#[test]
fn production_goes_by_waves_and_weights() {
    let env = env("production");
    assert_eq!(
        stages(&plan(&env, "1.4.1", Some("1.4.0"))),
        [
            "backup back up",
            "w1-promote new revision at full size",
            "w1-check smoke tests on the new revision",
            "w1-handover autoscalers to the new revision",
            "w1-drain old revision drains",
            "w1-settle what follows the workloads",
            "w1-smoke smoke tests",
            "w1-bake bake wave 1 for 10m",
            "w2-advance go on to wave 2",
            "w2-canary-10 canary 10 %",
            "w2-check-10 smoke tests on the new revision",
            "w2-hold-10 hold 10 % for 5m",
            "w2-canary-25 canary 25 %",
            "w2-hold-25 hold 25 % for 15m",
            "w2-canary-50 canary 50 %",
            "w2-hold-50 hold 50 % for 30m",
            "w2-promote new revision at full size",
            "w2-handover autoscalers to the new revision",
            "w2-drain old revision drains",
            "w2-settle what follows the workloads",
            "w2-smoke smoke tests",
            "w2-bake bake wave 2 for 5m15s",
        ]
    );
}

#[test]
fn staging_switches_after_green_was_tested_and_keeps_blue_to_the_end() {
    let env = env("staging");
    let plan = plan(&env, "1.4.1", Some("1.4.0"));
    let ids: Vec<&str> = plan.stages.iter().map(|stage| stage.id.as_str()).collect();
    let place =
        |id: &str| ids.iter().position(|known| *known == id).unwrap_or_else(|| panic!("{id} in {ids:?}"));
    assert!(place("w1-check") < place("w1-switch"));
    assert!(place("w1-switch") < place("w1-smoke"));
    assert_eq!(place("finish"), ids.len() - 1);
    let titles: Vec<&str> =
        plan.stages[place("finish")].steps.iter().map(|step| step.title.as_str()).collect();
    assert!(titles.iter().any(|title| title.starts_with("scale kva-api-r1 to 0")), "{titles:?}");
}

#[test]
fn a_first_release_has_no_holds_and_leaves_nothing_when_it_is_taken_back() {
    let env = env("production");
    let plan = plan(&env, "1.4.0", None);
    assert!(!plan.stages.iter().any(|stage| stage.id.contains("hold")), "{:?}", stages(&plan));
    let deleted: Vec<String> = plan
        .stages
        .iter()
        .flat_map(|stage| &stage.steps)
        .filter_map(|step| match &step.undo {
            Undo::Effects { effects, .. } => Some(serde_json::to_string(effects).unwrap()),
            Undo::None { .. } => None,
        })
        .collect();
    let all = deleted.join(" ");
    for target in plan.targets.values() {
        for index in &target.inventory {
            let object = &plan.objects[*index];
            let back =
                all.contains(&format!("\"kind\":\"{}\"", object.kind())) && all.contains(object.name());
            assert!(back || object.kind() == "Namespace", "{} has no way back", object.reference());
        }
    }
}

#[test]
fn pods_of_a_canary_leave_the_traffic_first() {
    let env = env("production");
    let plan = plan(&env, "1.4.1", Some("1.4.0"));
    for step in
        plan.stages.iter().filter(|stage| stage.id.starts_with("w2-canary")).flat_map(|stage| &stage.steps)
    {
        if step.title.starts_with("scale") {
            let Undo::Effects { lane, effects } = &step.undo else {
                panic!("{} has no way back", step.title)
            };
            assert_eq!(*lane, Lane::Traffic);
            assert!(serde_json::to_string(effects).unwrap().contains("\"exactly\":0"));
        }
    }
}

#[test]
fn the_same_version_again_changes_nothing() {
    let env = env("production");
    let plan = plan(&env, "1.4.0", Some("1.4.0"));
    assert!(!plan.has_changes(), "{:?}", plan.targets.values().next().unwrap().changes);
    assert!(
        plan.stages.iter().all(|stage| stage.wave == 0 || stage.id.contains("advance")),
        "{:?}",
        stages(&plan)
    );
}
