//! What gates saw: kept beside the release, judged again, and gone on with by a resume.

use crate::support::{Life, Story, Told, compared_alone as beside, environment, virtually};
use deployctl::domain::environment::Environment;
use deployctl::domain::event::{Event, Kind};
use deployctl::domain::evidence::{Compared, Evidence};
use deployctl::domain::gate::{Metric, Source};
use deployctl::domain::ids::{Revision, TargetId};
use deployctl::ports::state::RecordKind;
use deployctl::run::rejudge::again;
use deployctl::run::{Ending, Report, ledger};
use deployctl::sim::faults::{ScheduledFault, When};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

async fn first(story: &Story) {
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    tokio::time::sleep(Duration::from_mins(5)).await;
}

async fn kept(story: &Story, revision: u32) -> Option<Evidence> {
    let state = &story.doors.sites[&TargetId::from("east")].state;
    ledger::recorded(state.as_ref(), Revision(revision)).await.unwrap()
}

/// What the gates saw of version 2 in the east, and how it ended.
fn seen_of(env: Environment, version: &'static str) -> (Evidence, Ending) {
    virtually(env, 1, async |story| {
        first(story).await;
        let Life::Ended(ending) = story.deploy(version, &Told::default()).await else { panic!() };
        (kept(story, 2).await.unwrap(), ending)
    })
}

#[test]
fn what_a_comparison_saw_is_judged_again_as_it_was_and_otherwise() {
    let env = beside(Source::Pods);
    let (evidence, ending) = seen_of(env.clone(), "2.0.0-err30");
    assert!(matches!(ending, Ending::RolledBack { .. }), "{ending:?}");
    let content = serde_json::to_vec(&evidence).unwrap();
    assert!(content.len() < 900 * 1024, "{}", content.len());
    let [test] = &evidence.compared[..] else { panic!("{:?}", evidence.compared) };
    assert!(test.blocks.iter().all(|block| block.stable.n > 0.0) && !test.bounds.is_empty());

    let same = again(&evidence, None);
    println!("{}", deployctl::cli::report::replayed::summary(&same));
    let [same] = &same[..] else { panic!("{same:?}") };
    assert_eq!(same.now.as_ref(), Some(&same.then));
    assert_eq!(same.then.rollback_at, Some(test.blocks.len() - 1));
    for (look, block) in same.looks.iter().zip(&test.blocks) {
        let ln_e = look.logs.as_ref().unwrap().ln_e;
        assert!((ln_e - block.ln_e).abs() < 1e-6 * block.ln_e.abs().max(1.0), "{ln_e} {}", block.ln_e);
        assert_eq!(look.verdict, look.then);
    }

    let mut gates = env.gates.clone();
    let Metric::AgainstStable(comparison) = &mut gates[0].metric else { panic!() };
    (comparison.errors.margin, comparison.errors.ratio) = (0.6, 1000.0);
    let loose = again(&evidence, Some(&gates));
    println!("{}", deployctl::cli::report::replayed::summary(&loose));
    assert!(loose[0].now.as_ref().is_some_and(|now| now.rollback_at.is_none()), "{:?}", loose[0].now);
    assert!(loose[0].then.rollback_at.is_some());

    gates[0].name = "other".into();
    let other = again(&evidence, Some(&gates));
    assert!(other[0].now.is_none() && other[0].notes[0].contains("no gate of this name"), "{other:?}");
    assert!(other[1].notes[0].contains("nothing is recorded of it"), "{other:?}");
}

#[test]
fn limits_are_judged_again_over_what_was_measured() {
    let env = environment("canary");
    let (good, ending) = seen_of(env.clone(), "1.1.0");
    assert_eq!(ending, Ending::Deployed);
    assert!(good.measured[0].readings.len() > 4, "{:?}", good.measured);
    let mut gates = env.gates.clone();
    let same = again(&good, Some(&gates));
    assert_eq!(same[0].now.as_ref(), Some(&same[0].then));
    gates[0].min = Some(2.0);
    gates[0].breaches = 1;
    gates[0].shared = deployctl::domain::gate::Shared::Rollback;
    let strict = again(&good, Some(&gates));
    println!("{}", deployctl::cli::report::replayed::summary(&strict));
    assert!(strict[0].now.as_ref().is_some_and(|now| now.rollback_at.is_some()), "{:?}", strict[0].now);

    let (bad, ending) = seen_of(env.clone(), "2.0.0-err30");
    assert!(matches!(ending, Ending::RolledBack { .. }), "{ending:?}");
    let same = again(&bad, None);
    assert!(same[0].then.rollback_at.is_some() && same[0].now.as_ref() == Some(&same[0].then), "{same:?}");
    let mut gates = env.gates.clone();
    gates[0].max = Some(0.9);
    let loose = again(&bad, Some(&gates));
    assert!(loose[0].now.as_ref().is_some_and(|now| now.rollback_at.is_none()), "{loose:?}");
    println!("{}", deployctl::cli::report::replayed::render(&loose).lines().last().unwrap());
}

#[test]
fn evidence_goes_with_its_release() {
    let mut env = beside(Source::Pods);
    env.history_limit = 2;
    virtually(env, 3, async |story| {
        for version in ["1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
            assert_eq!(story.deploy(version, &Told::default()).await, Life::Ended(Ending::Deployed));
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        let mut there = Vec::new();
        for revision in 1..=4 {
            there.push(kept(story, revision).await.is_some());
        }
        assert_eq!(there, [false, false, true, true]);
        let state = &story.doors.sites[&TargetId::from("east")].state;
        let records = state.list(RecordKind::Evidence, "").await.unwrap();
        assert_eq!(
            records.len(),
            2,
            "one record per run: {:?}",
            records.iter().map(|r| &r.name).collect::<Vec<_>>()
        );
    });
}

/// Lets the process die at the next record after so many looks of the comparison.
struct Deadly {
    told: Told,
    looks: AtomicUsize,
    at: usize,
    written: Arc<AtomicUsize>,
    dies: Arc<Mutex<Option<(usize, bool)>>>,
}

impl Report for Deadly {
    fn event(&self, event: &Event) {
        self.told.event(event);
        if matches!(&event.kind, Kind::GateMeasured { target, .. } if target.as_str() == "east")
            && self.looks.fetch_add(1, Ordering::SeqCst) + 1 == self.at
        {
            *self.dies.lock().unwrap() = Some((self.written.load(Ordering::SeqCst), true));
        }
    }
}

/// A run that dies in the middle of a hold and is resumed; what is on record is spoiled before, if asked for.
fn died_and_resumed(version: &'static str, spoil: bool) -> (Ending, Vec<Compared>, Vec<String>) {
    virtually(beside(Source::Pods), 4, async |story| {
        first(story).await;
        let deadly = Deadly {
            told: Told::default(),
            looks: AtomicUsize::new(0),
            at: 8,
            written: Arc::clone(&story.written),
            dies: Arc::clone(&story.dies),
        };
        assert_eq!(story.deploy(version, &deadly).await, Life::Died);
        *story.dies.lock().unwrap() = None;
        let before = kept(story, 2).await.unwrap();
        assert!(before.compared[0].state.is_some() && !before.compared[0].blocks.is_empty());
        if spoil {
            let state = &story.doors.sites[&TargetId::from("east")].state;
            let records = state.list(RecordKind::Evidence, "r000002-").await.unwrap();
            let mut spoiled = before;
            spoiled.compared[0].state = Some(serde_json::json!({"streams": 7}));
            for record in &records {
                state.delete(RecordKind::Evidence, &record.name).await.unwrap();
            }
            let content = serde_json::to_vec(&spoiled).unwrap();
            state.create(RecordKind::Evidence, &records[0].name, &content).await.unwrap();
        }
        tokio::time::sleep(Duration::from_mins(3)).await;
        let told = Told::default();
        let Life::Ended(ending) = story.go_on(None, &told).await else { panic!() };
        let tests = kept(story, 2).await.unwrap().compared;
        let events = told.0.lock().unwrap();
        let said = events.iter().filter_map(|event| match &event.kind {
            Kind::StepProgress { detail, target, .. } if target.as_str() == "east" => Some(detail.clone()),
            _ => None,
        });
        (ending, tests, said.collect())
    })
}

#[test]
fn a_resume_goes_on_with_the_same_test_and_the_same_bound() {
    let (ending, tests, said) = died_and_resumed("1.1.0", false);
    assert_eq!(ending, Ending::Deployed);
    assert!(
        said.iter().any(|said| said.contains("beside of api goes on with the evidence of before")),
        "{said:?}"
    );
    let [test] = &tests[..] else { panic!("{tests:?}") };
    assert_eq!(test.process, 1);
    // no request is judged twice and none is left out
    for pair in test.blocks.windows(2) {
        assert!((pair[1].at - pair[1].dt - pair[0].at).abs() < 1e-6, "{pair:?}");
    }
    assert!(test.blocks.iter().any(|block| block.dt > 60.0), "the time in between is one block");
}

/// An interrupt takes the traffic away for an hour: the test goes on, and nobody calls that starving.
#[test]
fn an_interrupted_run_goes_on_with_its_tests() {
    let mut env = environment("nginx");
    env.gates = beside(Source::Pods).gates;
    let mut gone_on = 0;
    for after in [60, 80, 100] {
        gone_on += virtually(env.clone(), 6, async |story| {
            first(story).await;
            let after = Some(Duration::from_secs(after));
            let life = story.deploy_interrupted("1.1.0", &Told::default(), after).await;
            assert_eq!(life, Life::Ended(Ending::Interrupted));
            tokio::time::sleep(Duration::from_hours(1)).await;
            let told = Told::default();
            assert_eq!(story.go_on(None, &told).await, Life::Ended(Ending::Deployed));
            let events = told.0.lock().unwrap();
            let said = |event: &Event| matches!(&event.kind, Kind::StepProgress { detail, .. } if detail.contains("goes on with the evidence"));
            let starved =
                |event: &Event| matches!(&event.kind, Kind::GateMeasured { verdict: "starved", .. });
            assert!(!events.iter().any(starved));
            usize::from(events.iter().any(said))
        });
    }
    assert!(gone_on > 0, "no interrupt met a hold");
}

#[test]
fn a_state_that_cannot_be_read_begins_anew_with_less() {
    let (ending, tests, said) = died_and_resumed("1.1.0", true);
    assert_eq!(ending, Ending::Deployed);
    let told = "begins anew with a smaller share of the bound: its state cannot be read";
    assert!(said.iter().any(|said| said.contains(told)), "{said:?}");
    let [one, two] = &tests[..] else { panic!("{tests:?}") };
    assert_eq!((one.process, two.process), (1, 2));
    assert!(two.alpha < one.alpha / 10.0);
}

/// Takes the metric store away for two minutes as soon as a comparison is suspicious.
struct Blinding<'a> {
    told: Told,
    story: &'a Story,
    done: AtomicBool,
}

impl Report for Blinding<'_> {
    fn event(&self, event: &Event) {
        self.told.event(event);
        let suspicious = matches!(&event.kind, Kind::GateMeasured { verdict: "suspicious", target, .. } if target.as_str() == "east");
        if suspicious && !self.done.swap(true, Ordering::SeqCst) {
            let fault: ScheduledFault = "metrics-down:120:east@1s".parse().unwrap();
            let when = When::At(self.story.world.clock().millis());
            self.story.world.add_fault(&ScheduledFault { when, ..fault });
        }
    }
}

#[test]
fn suspicion_and_a_silent_source_take_the_traffic_off_until_it_answers() {
    let mut env = environment("nginx");
    env.gates = beside(Source::Prometheus).gates;
    env.gates[0].no_data = deployctl::domain::gate::NoData::Hold;
    let (mut braked, mut released) = (0, 0);
    for seed in 1..6 {
        let said = virtually(env.clone(), seed, async |story| {
            first(story).await;
            let blinding = Blinding { told: Told::default(), story, done: AtomicBool::new(false) };
            let Life::Ended(ending) = story.deploy("2.0.0-err1", &blinding).await else { panic!() };
            let events = blinding.told.0.lock().unwrap();
            let said: Vec<(i64, String)> = events
                .iter()
                .filter_map(|event| match &event.kind {
                    Kind::StepProgress { detail, target, .. }
                        if target.as_str() == "east" && detail.starts_with("brake") =>
                    {
                        Some((event.at.as_second(), detail.clone()))
                    }
                    _ => None,
                })
                .collect();
            println!("seed {seed}: {ending:?} {said:#?}");
            said
        });
        let held = said.iter().position(|(_, said)| said.contains("until its counters can be read again"));
        let Some(held) = held else { continue };
        braked += 1;
        // It answers again: the weight is back, or the evidence itself has the brake pulled, or has had it since.
        let (at, next) =
            said.get(held + 1).unwrap_or_else(|| panic!("seed {seed}: never released: {said:?}"));
        let again = [
            "the counters of api can be read again, ",
            "until the next samples agree or not",
            "% to the new api again",
        ];
        assert!(again.iter().any(|again| next.contains(again)), "seed {seed}: {next}");
        released += usize::from(next.contains(again[0]));
        let silent = at - said[held].0;
        assert!((60..240).contains(&silent), "seed {seed}: {silent} s");
    }
    assert!(braked > 0 && released > 0, "{braked} {released}");
}

/// Notes when a comparison rolls back.
struct Stopwatch {
    at: Mutex<Option<tokio::time::Instant>>,
    rung: tokio::sync::Notify,
}

impl Report for Stopwatch {
    fn event(&self, event: &Event) {
        if matches!(&event.kind, Kind::GateMeasured { verdict: "bad", .. }) {
            self.at.lock().unwrap().get_or_insert_with(tokio::time::Instant::now);
            self.rung.notify_one();
        }
    }
}

/// Between the verdict and the first write of the way back there is nothing to wait for.
#[test]
fn the_way_back_begins_at_once() {
    let mut env = environment("nginx");
    env.gates = beside(Source::Pods).gates;
    let took = virtually(env, 1, async |story| {
        first(story).await;
        let watch = Stopwatch { at: Mutex::default(), rung: tokio::sync::Notify::new() };
        let weight = || {
            let objects = story.world.snapshot("east");
            let annotated = objects.iter().filter(|object| object["kind"] == "Ingress").find_map(|object| {
                let annotations = &object["metadata"]["annotations"];
                annotations["nginx.ingress.kubernetes.io/canary-weight"].as_str().map(str::to_owned)
            });
            annotated.unwrap_or_else(|| "none".to_owned())
        };
        let look = async {
            watch.rung.notified().await;
            assert_eq!(weight(), "20");
            while weight() == "20" {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::Instant::now()
        };
        let (life, at) = tokio::join!(story.deploy("2.0.0-err30", &watch), look);
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        let verdict = watch.at.lock().unwrap().unwrap();
        at - verdict
    });
    println!("from the verdict to the first write: {took:?}");
    assert!(took <= Duration::from_millis(50), "{took:?}");
}
