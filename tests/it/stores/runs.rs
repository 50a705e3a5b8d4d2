//! What preflight, a run and a rehearsal make of the stores' answers.

use super::Folder;
use crate::support::{Life, Story, Told, environment, virtually};
use async_trait::async_trait;
use deployctl::domain::counters::PodSample;
use deployctl::domain::environment::Environment;
use deployctl::domain::event::Kind;
use deployctl::domain::gate::{Gate, Metric, NoData, Shared};
use deployctl::domain::ids::TargetId;
use deployctl::domain::metric_store::{CloudWatchQuery, CloudWatchSeries, CloudWatchValue, HttpQuery};
use deployctl::ports::Metrics;
use deployctl::ports::metrics::{CountersOf, Measurement, MetricsError, Reading};
use deployctl::run::preflight::{self, Level};
use deployctl::run::{Ending, gates_now};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The simulated store, with what `CloudWatch` and others answer beside it.
struct Beside {
    inner: Arc<dyn Metrics>,
    /// What Prometheus says instead, if anything.
    prometheus: Option<MetricsError>,
    /// What all others say, by version.
    others: BTreeMap<String, Answer>,
    notices: Mutex<Vec<String>>,
}

#[async_trait]
impl Metrics for Beside {
    async fn measure(&self, what: &Measurement) -> Result<Reading, MetricsError> {
        if !what.metric.asks_prometheus() {
            let version = what.version.clone().unwrap();
            return self.others.get(&version).cloned().unwrap_or_else(|| panic!("{version}"));
        }
        match &self.prometheus {
            Some(error) => Err(error.clone()),
            None => self.inner.measure(what).await,
        }
    }

    async fn samples(&self, what: &CountersOf) -> Result<Vec<PodSample>, MetricsError> {
        self.inner.samples(what).await
    }

    async fn history(
        &self,
        what: &CountersOf,
        until: Timestamp,
        step: Duration,
    ) -> Result<Vec<PodSample>, MetricsError> {
        self.inner.history(what, until, step).await
    }

    fn knows(&self, target: &TargetId) -> bool {
        self.inner.knows(target)
    }

    fn notices(&self, target: &TargetId) -> Vec<String> {
        if target.as_str() == "east" { std::mem::take(&mut self.notices.lock().unwrap()) } else { Vec::new() }
    }

    async fn reachable(&self, target: &TargetId) -> Result<(), MetricsError> {
        match &self.prometheus {
            Some(error) => Err(error.clone()),
            None => self.inner.reachable(target).await,
        }
    }
}

fn cloudwatch(dimension: &str) -> Metric {
    Metric::CloudWatch(Box::new(CloudWatchQuery {
        value: CloudWatchValue::Series(CloudWatchSeries {
            namespace: "Shop".into(),
            name: "Errors".into(),
            dimensions: BTreeMap::from([("Version".to_owned(), dimension.to_owned())]),
            stat: "Sum".into(),
            unit: None,
        }),
        queries: BTreeMap::new(),
        requests: None,
        period: Duration::from_mins(1),
        region: None,
        profile: None,
        role: None,
    }))
}

fn http(url: &str) -> Metric {
    Metric::Http(Box::new(HttpQuery {
        url: url.into(),
        method: "GET".into(),
        headers: BTreeMap::new(),
        body: None,
        value: "/value".into(),
        requests: None,
    }))
}

/// The canary shop with one gate of this metric beside its error rate.
fn with(metric: Metric) -> Environment {
    let mut env = environment("canary");
    env.gates.truncate(1);
    let like = env.gates[0].clone();
    assert_eq!(like.metric, Metric::ErrorRate);
    env.gates.push(Gate { name: "other".into(), metric, max: Some(5.0), min: None, ..like });
    env
}

type Answer = Result<Reading, MetricsError>;

const fn reading(value: f64) -> Reading {
    Reading { value: Some(value), requests: None }
}

fn beside(
    story: &Story,
    prometheus: Option<MetricsError>,
    others: &[(&str, Answer)],
) -> (Story, Arc<Beside>) {
    let mut story = story.under(story.env.clone());
    let others = others.iter().map(|(version, answer)| ((*version).to_owned(), answer.clone())).collect();
    let inner = Arc::clone(&story.doors.metrics);
    let metrics = Arc::new(Beside { inner, prometheus, others, notices: Mutex::default() });
    story.doors.metrics = metrics.clone();
    (story, metrics)
}

/// What preflight says of metrics on the east side.
async fn said(story: &Story) -> Vec<(Level, String, String)> {
    let plan = story.plan("2.0.0").await;
    let checks = preflight::check(&story.env, &story.doors, &plan).await;
    checks
        .into_iter()
        .filter(|check| {
            check.name == "metrics" && check.target.as_ref().is_some_and(|t| t.as_str() == "east")
        })
        .map(|check| (check.level, check.detail, check.fix.unwrap_or_default()))
        .collect()
}

#[test]
fn preflight_asks_every_store_and_tells_refused_credentials_apart() {
    virtually(with(cloudwatch("{{ version }}")), 3, async |story| {
        let (story, _) = beside(story, None, &[("1.0.0", Ok(reading(1.0))), ("2.0.0", Ok(reading(1.0)))]);
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        tokio::time::sleep(Duration::from_mins(5)).await;
        let fine = (Level::Pass, "the gates' queries are answered".to_owned(), String::new());
        assert_eq!(said(&story).await, [fine]);

        let denied = |message: &str| MetricsError::Denied { message: message.to_owned() };
        let no = denied("Prometheus of east refuses these credentials: 401");
        let (refused, metrics) = beside(&story, Some(no), &[("1.0.0", Err(denied("CloudWatch refuses")))]);
        metrics.notices.lock().unwrap().push("Prometheus of east is asked at b from now on".into());
        let expected = [
            (
                Level::Fail,
                "Prometheus of east refuses these credentials: 401",
                "check the credentials of targets.east.prometheus, and what they allow",
            ),
            (
                Level::Fail,
                "gate other of api: CloudWatch refuses",
                "check the credentials, and what they allow",
            ),
            (
                Level::Warn,
                "Prometheus of east is asked at b from now on",
                "the fallback carries on; mend the first endpoint of targets.east.prometheus",
            ),
        ];
        let expected = expected.map(|(level, detail, fix)| (level, detail.to_owned(), fix.to_owned()));
        assert_eq!(said(&refused).await, expected);

        let silent = Ok(Reading { value: None, requests: None });
        let (empty, _) = beside(&story, None, &[("1.0.0", silent)]);
        let expected = (
            Level::Warn,
            "gate other of api: no data about what serves now".to_owned(),
            "are namespace, name and all dimensions as CloudWatch has them?".to_owned(),
        );
        assert_eq!(said(&empty).await, [expected]);

        let judged = gates_now::run(&empty.doors, &empty.env).await.unwrap();
        let east: Vec<(&str, &str)> = judged
            .iter()
            .filter(|one| one.target.as_str() == "east" && one.gate == "other")
            .map(|one| (one.verdict, one.detail.as_str()))
            .collect();
        assert_eq!(east, [("no data", "CloudWatch no value (limit ≤ 5)")]);
        let judged = gates_now::run(&refused.doors, &refused.env).await.unwrap();
        let down = judged.iter().find(|one| one.gate == "other").unwrap();
        assert_eq!((down.verdict, down.detail.as_str()), ("backend down", "CloudWatch refuses"));
    });
}

#[test]
fn a_gate_that_names_no_version_is_warned_of() {
    for (metric, blurred) in [
        (cloudwatch("{{ component }}"), true),
        (cloudwatch("{{ revision }}"), false),
        (http("http://stats/{{ namespace }}"), true),
        (http("http://stats/{{ pods }}"), false),
        (Metric::Query("vector({{ window }})".into()), true),
        (Metric::Query("x{pod=~\"{{ pods }}\"}".into()), false),
    ] {
        let text = format!("{metric:?}");
        virtually(with(metric), 3, async |story| {
            let (mut story, _) = beside(story, None, &[("2.0.0", Ok(reading(1.0)))]);
            let told = |said: Vec<(Level, String, String)>| {
                said.iter().any(|(level, detail, _)| {
                    *level == Level::Warn && detail.starts_with("gate other cannot tell versions apart: ")
                })
            };
            assert_eq!(told(said(&story).await), blurred, "{text}");
            story.env.gates[1].shared = Shared::Rollback;
            assert!(!told(said(&story).await), "{text}");
        });
    }
}

/// Releases 1.0.0, then 2.0.0 with these answers of the store beside Prometheus.
fn release(answer: Answer) -> (Ending, Vec<String>) {
    virtually(with(cloudwatch("{{ version }}")), 4, async |story| {
        let (story, metrics) = beside(story, None, &[("1.0.0", Ok(reading(1.0))), ("2.0.0", answer)]);
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        tokio::time::sleep(Duration::from_mins(5)).await;
        metrics.notices.lock().unwrap().push("Prometheus of east is asked at b from now on".into());
        let told = Told::default();
        let Life::Ended(ending) = story.deploy("2.0.0", &told).await else { panic!("it did not end") };
        let events = told.0.lock().unwrap();
        let alerts = events.iter().filter_map(|event| match &event.kind {
            Kind::Alert { message, .. } if !message.starts_with("assumed ready") => Some(message.clone()),
            _ => None,
        });
        (ending, alerts.collect())
    })
}

#[test]
fn versions_are_told_apart_and_each_answer_has_its_end() {
    let switched = "Prometheus of east is asked at b from now on";
    let (ending, alerts) = release(Ok(reading(2.0)));
    assert_eq!((ending, alerts), (Ending::Deployed, vec![switched.to_owned()]));

    let (ending, _) = release(Ok(reading(9.0)));
    let Ending::RolledBack { cause } = ending else { panic!("{ending:?}") };
    assert!(cause.contains("gate other: CloudWatch of api 9 (stable 1), limit ≤ 5"), "{cause}");

    let no = "CloudWatch in us-east-1 (for east) refuses these credentials: 403";
    let (ending, alerts) = release(Err(MetricsError::Denied { message: no.into() }));
    let Ending::RolledBack { cause } = ending else { panic!("{ending:?}") };
    assert!(cause.contains("gate other: backend down"), "{cause}");
    assert!(alerts.contains(&format!("gate other of api: {no}")), "{alerts:?}");
}

#[test]
fn a_plan_with_such_gates_is_read_again_as_it_was() {
    for metric in [cloudwatch("{{ version }}"), http("http://stats/{{ pods }}")] {
        virtually(with(metric), 3, async |story| {
            let (story, _) = beside(story, None, &[]);
            assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
            let plan = story.plan("2.0.0").await;
            let text = serde_json::to_string(&plan).unwrap();
            let read: deployctl::plan::Plan = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
            assert!(text.contains("\"other\""));
        });
    }
}

/// A rehearsal of the shop with such a gate: exit code, stdout, stderr.
fn rehearsed(gate: &str, more: &[&str]) -> (i32, String, String) {
    let folder = Folder::new(&format!("stores-rehearsal-{}", more.len()));
    let shop = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shop"));
    let copied = Command::new("cp").arg("-r").arg(shop.join(".")).arg(&folder.0).status().unwrap();
    assert!(copied.success());
    let text = std::fs::read_to_string(folder.0.join("environments/canary.yaml")).unwrap();
    folder
        .write("environments/canary.yaml", &text.replace("gates:\n", &format!("gates:\n  other: {gate}\n")));
    let run = Command::new(env!("CARGO_BIN_EXE_deployctl"))
        .args(more)
        .args(["rehearse", "canary", "--auto-approve"])
        .current_dir(&folder.0)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (run.status.code().unwrap(), text(run.stdout), text(run.stderr))
}

#[test]
fn a_rehearsal_says_which_gates_it_cannot_answer_and_goes_on() {
    let gate = "{metric: {cloudwatch: {namespace: N, name: E, stat: Sum, dimensions: {V: \"{{ version }}\"}}}, max: 3}";
    let (code, stdout, stderr) = rehearsed(gate, &[]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let told =
        "gate other asks CloudWatch, which is not simulated: it has no data here and holds nothing up\n";
    assert_eq!(stderr, told);
    let (code, stdout, stderr) = rehearsed(gate, &["-o", "json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let told = r#"{"asks":"CloudWatch","gate":"other","type":"not_simulated"}"#;
    assert!(stdout.lines().any(|line| line == told), "{stdout}");
    assert!(stdout.lines().next().is_some_and(|first| first.contains(r#""type":"version""#)), "{stdout}");
}

/// A rehearsal lets such gates pass, and says so; without that it would wait for data that nobody has.
#[test]
fn the_simulated_store_has_no_data_for_them() {
    for metric in [cloudwatch("{{ version }}"), http("http://stats/{{ pods }}"), Metric::Query("x".into())] {
        let mut env = with(metric);
        env.gates[1].no_data = NoData::Pass;
        virtually(env, 5, async |story| {
            assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
            tokio::time::sleep(Duration::from_mins(5)).await;
            assert_eq!(story.deploy("2.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        });
    }
}
