//! A deployment of two components to a standby and a live region, made by hand, and what its runs tell.

use deployctl::domain::effect::{Arm, Effect, Size, SmokeVia, Until};
use deployctl::domain::environment::{OnInterrupt, SmokeTest, Through, TrafficClass};
use deployctl::domain::gate::{Gate, Metric, NoData, Shared};
use deployctl::domain::ids::{ComponentId, Revision, RunId, StepId, TargetId};
use deployctl::domain::object::{Object, ObjectRef};
use deployctl::domain::release::Actor;
use deployctl::domain::step::{Lane, Stage, Step, Undo};
use deployctl::plan::{Action, Change, FieldChange, Plan, RunLimits, TargetPlan};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

pub const EAST: &str = "us-east-1";
pub const WEST: &str = "us-west-2";

pub fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-01-05T03:00:00Z".parse().expect("a valid moment");
    start + jiff::SignedDuration::from_secs(seconds)
}

pub fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

pub fn actor() -> Actor {
    Actor { user: "ada".into(), host: "laptop".into(), ci: None }
}

pub fn deployment(name: &str) -> ObjectRef {
    ObjectRef::deployment("prime-spark", name)
}

fn gate(name: &str, metric: Metric, max: f64) -> Gate {
    Gate {
        name: name.into(),
        components: vec!["kva-api".into()],
        metric,
        max: Some(max),
        min: None,
        window: minutes(2),
        interval: Duration::from_secs(30),
        breaches: 3,
        min_requests: 20,
        no_data: NoData::Hold,
        shared: Shared::Hold,
    }
}

pub fn gates() -> Vec<Gate> {
    vec![gate("errors", Metric::ErrorRate, 0.05), gate("latency", Metric::Latency { quantile: 0.95 }, 0.2)]
}

fn smoke() -> SmokeTest {
    SmokeTest {
        name: "health".into(),
        component: "kva-api".into(),
        method: "GET".into(),
        path: "/health".into(),
        host: None,
        headers: BTreeMap::new(),
        through: Through::Ingress,
        status: 200,
        body_contains: None,
        json: BTreeMap::new(),
        max_latency: Duration::from_secs(1),
        timeout: Duration::from_secs(5),
        attempts: 3,
        retry_delay: Duration::from_secs(2),
    }
}

// --- the plan -------------------------------------------------------------------------------------------------------

fn step(
    stage: &str,
    number: usize,
    target: &str,
    component: Option<&str>,
    what: (&str, Effect),
    undo: Undo,
) -> Step {
    let owner = component.unwrap_or("all");
    Step {
        id: StepId::new(format!("{stage}/{target}/{owner}/{number}")),
        target: target.into(),
        component: component.map(ComponentId::from),
        level: 0,
        title: what.0.to_owned(),
        effect: what.1,
        undo,
    }
}

fn no_undo(why: &str) -> Undo {
    Undo::None { why: why.into() }
}

fn back(lane: Lane) -> Undo {
    Undo::Effects {
        lane,
        effects: vec![Effect::Scale { workload: deployment("kva-api-r8"), to: Size::Exactly(0) }],
    }
}

fn stage(id: &str, title: &str, wave: usize, weight: u8, steps: Vec<Step>) -> Stage {
    Stage { id: id.into(), title: title.into(), wave, weight, steps }
}

fn beside(percent: u8) -> Size {
    Size::ShareBeside { workload: deployment("kva-api-r7"), percent }
}

/// The steps of one target in its wave.
struct Wave {
    number: usize,
    target: &'static str,
    live: bool,
}

impl Wave {
    fn id(&self, name: &str) -> String {
        format!("w{}-{name}", self.number)
    }

    fn stage(&self, name: &str, title: &str, weight: u8, steps: Vec<Step>) -> Stage {
        stage(&self.id(name), title, self.number, weight, steps)
    }

    fn hold(&self, name: &str, duration: Duration, stable: bool) -> Vec<Step> {
        let stable = stable.then(|| deployment("kva-api-r7"));
        let arms = vec![Arm { component: "kva-api".into(), new: deployment("kva-api-r8"), stable }];
        let (gates, probes) = if self.live { (gates(), vec![]) } else { (vec![], vec![smoke()]) };
        let effect = Effect::Hold {
            duration,
            gates,
            arms,
            probes,
            patience: minutes(10),
            until: Until::default(),
            follow: Vec::new(),
        };
        let title = format!("hold for {}", deployctl::domain::units::human(duration));
        vec![step(
            &self.id(name),
            1,
            self.target,
            None,
            (&title, effect),
            no_undo("watching changes nothing"),
        )]
    }

    fn tests(&self, name: &str, component: Option<&str>, title: &str, via: SmokeVia) -> Vec<Step> {
        let effect = Effect::Smoke { tests: vec![smoke()], via };
        vec![step(
            &self.id(name),
            1,
            self.target,
            component,
            (title, effect),
            no_undo("asking changes nothing"),
        )]
    }

    fn scale(&self, name: &str, number: usize, title: &str, workload: &str, to: Size) -> Step {
        let effect = Effect::Scale { workload: deployment(workload), to };
        step(&self.id(name), number, self.target, Some("kva-api"), (title, effect), back(Lane::Traffic))
    }

    fn wait(&self, name: &str, number: usize, component: &str, workload: &str) -> Step {
        let effect = Effect::WaitReady { workloads: vec![deployment(workload)], timeout: minutes(10) };
        let title = format!("wait until {workload} is ready");
        let undo = no_undo("waiting changes nothing");
        step(&self.id(name), number, self.target, Some(component), (&title, effect), undo)
    }

    fn canary(&self) -> Vec<Stage> {
        let create = ("create kva-api-r8 (registry/kva-api:2.0.7)", Effect::Create { objects: vec![1] });
        let create =
            step(&self.id("canary-10"), 1, self.target, Some("kva-api"), create, back(Lane::Capacity));
        let title = |pods, percent| format!("scale kva-api-r8 to {pods} beside 6 ({percent} % of the pods)");
        let to_10 = self.scale("canary-10", 2, &title(1, 14), "kva-api-r8", beside(10));
        let to_25 = self.scale("canary-25", 1, &title(2, 25), "kva-api-r8", beside(25));
        let pods = SmokeVia::Pods { workloads: vec![] };
        let check = self.tests("check-10", Some("kva-api"), "smoke-test kva-api-r8 directly", pods);
        let wait = |name, number| self.wait(name, number, "kva-api", "kva-api-r8");
        vec![
            self.stage("canary-10", "canary 10 %", 10, vec![create, to_10, wait("canary-10", 3)]),
            self.stage("check-10", "smoke tests on the new revision", 10, check),
            self.stage("hold-10", "hold 10 % for 5m", 10, self.hold("hold-10", minutes(5), true)),
            self.stage("canary-25", "canary 25 %", 25, vec![to_25, wait("canary-25", 2)]),
            self.stage("hold-25", "hold 25 % for 15m", 25, self.hold("hold-25", minutes(15), true)),
        ]
    }

    fn promotion(&self) -> Vec<Stage> {
        let full = Size::SameAs { workload: deployment("kva-api-r7"), floor: 6, demand: None };
        let full = self.scale("promote", 1, "scale kva-api-r8 to full size", "kva-api-r8", full);
        let full = vec![full, self.wait("promote", 2, "kva-api", "kva-api-r8")];
        let drain = self.scale("drain", 1, "drain kva-api-r7", "kva-api-r7", Size::Exactly(0));
        let service = ObjectRef::new("v1", "Service", "prime-spark", "kva-api");
        let workload = deployment("kva-api-r8");
        let effect = Effect::WaitTraffic { service, workload, timeout: minutes(10) };
        let what = ("wait until kva-api serves from kva-api-r8 alone", effect);
        let undo = no_undo("waiting changes nothing");
        let moved = step(&self.id("drain"), 2, self.target, Some("kva-api"), what, undo);
        vec![
            self.stage("promote", "new revision at full size", 50, full),
            self.stage("drain", "old revision drains", 100, vec![drain, moved]),
        ]
    }

    fn stages(&self) -> Vec<Stage> {
        let apply = |objects| Effect::Apply { objects };
        let prepare = ("apply 2 objects of configuration", apply(vec![0, 2]));
        let prepare = step(&self.id("prepare"), 1, self.target, None, prepare, back(Lane::Config));
        let what = ("apply web", apply(vec![3]));
        let web = step(&self.id("rolling"), 1, self.target, Some("web"), what, back(Lane::Traffic));
        let web = vec![web, self.wait("rolling", 2, "web", "web")];
        let public = SmokeVia::Public { services: vec![] };
        let public = self.tests("smoke", None, "smoke-test the public way", public);
        let bake = format!("bake wave {} for 3m", self.number);
        let mut stages = vec![self.stage("prepare", "configuration", 0, vec![prepare])];
        stages.extend(self.canary());
        stages.extend(self.promotion());
        stages.push(self.stage("rolling", "components in place", 0, web));
        stages.push(self.stage("smoke", "smoke tests", 100, public));
        stages.push(self.stage("bake", &bake, 100, self.hold("bake", minutes(3), false)));
        stages
    }
}

fn change(kind: &str, name: &str, component: Option<&str>, action: Action) -> Change {
    let api_version = match kind {
        "Deployment" => "apps/v1",
        "Ingress" => "networking.k8s.io/v1",
        _ => "v1",
    };
    let object = ObjectRef::new(api_version, kind, "prime-spark", name);
    Change {
        object,
        component: component.map(ComponentId::from),
        action,
        fields: vec![],
        contests: vec![],
        replaced: None,
        note: None,
    }
}

fn field(path: &str, from: Option<Value>, to: Option<Value>) -> FieldChange {
    FieldChange { path: path.into(), from, to }
}

fn changes() -> Vec<Change> {
    let settings = "log: info\nworkers: 4\ncache: on\n";
    let debug = "log: debug\nworkers: 4\ncache: on\n";
    let mut changes = vec![
        Change {
            fields: vec![
                field("data.LOG_LEVEL", Some(json!("info")), Some(json!("debug"))),
                field("data.NEW", None, Some(json!("a b"))),
                field("data.OLD", Some(json!("1")), None),
                field("data[settings.yaml]", Some(json!(settings)), Some(json!(debug))),
            ],
            note: Some("adopted, made by kubectl".into()),
            ..change("ConfigMap", "app", None, Action::Update)
        },
        Change {
            fields: vec![
                field("data.PASSWORD", Some(json!("b2xk")), Some(json!("aHVudGVyMg=="))),
                field("data.TOKEN", None, Some(json!("aHVudGVyMg=="))),
            ],
            ..change("Secret", "app", None, Action::Update)
        },
        change("Deployment", "kva-api-r8", Some("kva-api"), Action::Create),
        Change {
            fields: vec![field("spec.ports[name=http].port", Some(json!(80)), Some(json!(8080)))],
            ..change("Service", "kva-api", Some("kva-api"), Action::Update)
        },
        change("Job", "seed", Some("web"), Action::Delete),
        change("Job", "seed", Some("web"), Action::Create),
        change("Deployment", "kva-api-r5", None, Action::Delete),
    ];
    changes.extend((0..5).map(|n| change("ConfigMap", &format!("kept-{n}"), None, Action::Keep)));
    changes
}

fn object(value: Value, component: Option<&str>) -> Object {
    Object { component: component.map(ComponentId::from), origin: "manifests/app.yaml:1".into(), value }
}

pub fn target_plan(traffic: TrafficClass) -> TargetPlan {
    TargetPlan {
        cluster_uid: "uid".into(),
        traffic,
        region: "region".into(),
        ingress: None,
        previous: Some(Revision(7)),
        previous_version: Some("2.0.6".into()),
        fingerprint: "f".into(),
        changes: changes(),
        workloads: BTreeMap::new(),
        inventory: vec![],
        rollback_jobs: vec![],
        context: None,
        adopted: None,
        syncers: vec![],
        tried: BTreeMap::new(),
    }
}

fn snapshot() -> Stage {
    let effect = Effect::Snapshot {
        instance: "db".into(),
        snapshot: "prime-spark-production-db-r8".into(),
        timeout: minutes(60),
    };
    let what = ("RDS snapshot prime-spark-production-db-r8", effect);
    stage("backup", "back up", 0, 0, vec![step("backup", 1, EAST, None, what, no_undo("a backup is kept"))])
}

fn finish() -> Stage {
    let steps = [WEST, EAST].map(|target| {
        let effect = Effect::Delete { objects: vec![deployment("kva-api-r5")] };
        step(
            "finish",
            1,
            target,
            None,
            ("delete 1 objects that no release needs", effect),
            no_undo("the release is done"),
        )
    });
    stage("finish", "clean up what no release needs", 2, 100, steps.to_vec())
}

/// 2.0.6 → 2.0.7: a canary of `kva-api` with `web` in place beside it, first on the standby.
pub fn plan() -> Plan {
    let workload =
        |kind: &str, name: &str| json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}});
    let mut stages = vec![snapshot()];
    stages.extend(Wave { number: 1, target: WEST, live: false }.stages());
    stages.extend(Wave { number: 2, target: EAST, live: true }.stages());
    stages.push(finish());
    Plan {
        format: 1,
        application: "prime-spark".into(),
        environment: "production".into(),
        namespace: "prime-spark".into(),
        state_namespace: "deployctl".into(),
        run: RunId::new("prime-spark.production.20260105-030000"),
        revision: Revision(8),
        version: "2.0.7".into(),
        rollback_of: None,
        created: at(0),
        by: actor(),
        components: vec![],
        take: vec![],
        reason: Some("new ranking".into()),
        overridden: None,
        profile: None,
        targets: BTreeMap::from([
            (TargetId::from(EAST), target_plan(TrafficClass::Live)),
            (TargetId::from(WEST), target_plan(TrafficClass::None)),
        ]),
        waves: vec![vec![WEST.into()], vec![EAST.into()]],
        objects: vec![
            object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}}), None),
            object(workload("Deployment", "kva-api-r8"), Some("kva-api")),
            object(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"}}), None),
            object(workload("Deployment", "web"), Some("web")),
        ],
        stages,
        warnings: vec!["us-west-2: Deployment/kva-api exists already and is adopted as revision r0".into()],
        not_undone: vec![],
        expected: minutes(52),
        readiness: Vec::new(),
        owed: BTreeMap::new(),
        pays: None,
        limits: RunLimits {
            run: minutes(180),
            ready: minutes(10),
            lease: minutes(1),
            on_interrupt: OnInterrupt::Stop,
            on_failure: deployctl::domain::environment::OnFailure::Rollback,
            history: 10,
        },
    }
}
