//! Canaries that are compared with stable while they run: what is noticed, from where, and what is no reason.

use crate::support::{Life, Told, compared_alone as beside, environment, virtually};
use deployctl::domain::counters::Selector;
use deployctl::domain::environment::Environment;
use deployctl::domain::event::Kind;
use deployctl::domain::gate::{Metric, Source};
use deployctl::run::{Ending, gates_now};
use std::time::Duration;

/// Releases 1.0.0, then another version, perhaps with a fault; how that ended, and all that was told.
fn release(
    env: Environment,
    seed: u64,
    version: &'static str,
    fault: Option<&'static str>,
) -> (Ending, Vec<Kind>) {
    virtually(env, seed, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        tokio::time::sleep(Duration::from_mins(5)).await;
        if let Some(fault) = fault {
            story.world.add_fault(&fault.parse().unwrap());
        }
        let told = Told::default();
        let Life::Ended(ending) = story.deploy(version, &told).await else { panic!("it did not end") };
        let events = told.0.lock().unwrap();
        (ending, events.iter().map(|event| event.kind.clone()).collect())
    })
}

fn cause(ending: &Ending) -> &str {
    let Ending::RolledBack { cause } = ending else { panic!("{ending:?}") };
    cause
}

#[test]
fn a_worse_version_is_taken_back_and_the_numbers_say_why() {
    for source in [Source::Pods, Source::Prometheus, Source::Auto] {
        let (ending, events) = release(beside(source), 1, "2.0.0-err30", None);
        let why = cause(&ending);
        let begins = "east: gate beside of api: the canary is worse than stable: errors ";
        assert!(why.starts_with(begins) && why.contains("; evidence "), "{source:?}: {why}");
        let drained = events.iter().any(|event| {
            let Kind::StepStarted { title, target, .. } = event else { return false };
            target.as_str() == "east" && title.contains("scale api-r2 to full")
        });
        assert!(!drained, "{source:?}: it went beyond the holds");
    }
}

#[test]
fn a_few_percent_are_enough() {
    let (ending, _) = release(beside(Source::Auto), 2, "2.0.0-err3", None);
    assert!(cause(&ending).contains("worse than stable"), "{ending:?}");
}

#[test]
fn what_stable_suffers_too_is_no_reason() {
    for seed in 1..4 {
        let (ending, _) =
            release(beside(Source::Auto), seed, "1.1.0", Some("shared-error-spike:20:300:east@30s"));
        assert_eq!(ending, Ending::Deployed, "seed {seed}");
    }
}

#[test]
fn a_good_version_is_not_taken_back() {
    for seed in 1..6 {
        for source in [Source::Pods, Source::Prometheus] {
            let (ending, events) = release(beside(source), seed, "1.1.0", None);
            assert_eq!(ending, Ending::Deployed, "seed {seed}, {source:?}");
            let said = events.iter().any(|event| {
                matches!(event, Kind::GateMeasured { explanation: Some(text), .. } if text.contains("of stable"))
            });
            assert!(said, "{source:?}: nothing was compared");
        }
    }
}

#[test]
fn without_the_metric_store_the_pods_themselves_are_read() {
    let (ending, _) = release(beside(Source::Auto), 3, "2.0.0-err30", Some("metrics-down:3600:east@1s"));
    assert!(cause(&ending).contains("worse than stable"), "{ending:?}");
}

/// `no_data: fail`: what was promised to be judged and was not does not go on.
#[test]
fn counters_that_are_not_there_are_no_pass() {
    for source in [Source::Pods, Source::Prometheus] {
        let mut env = beside(source);
        let Metric::AgainstStable(comparison) = &mut env.gates[0].metric else { panic!("no comparison") };
        comparison.counters.requests = Selector::parse("no_such_total").unwrap();
        let (ending, _) = release(env, 4, "1.1.0", None);
        let why = cause(&ending);
        assert!(why.contains("gate beside of api"), "{source:?}: {why}");
    }
}

/// What a store knows comes late and not for all pods at once: the first suspicion takes the traffic off, the aligned
/// block decides.
#[test]
fn where_a_router_carries_the_weight_the_first_suspicion_brakes() {
    let mut env = environment("nginx");
    env.gates = beside(Source::Prometheus).gates;
    let (ending, events) = release(env.clone(), 1, "2.0.0-err30", None);
    assert!(cause(&ending).contains("worse than stable"), "{ending:?}");
    let braked = events.iter().any(
        |event| matches!(event, Kind::StepProgress { detail, .. } if detail.starts_with("brake: no traffic to the new api")),
    );
    assert!(braked, "{events:#?}");
    for seed in 1..4 {
        let (ending, _) = release(env.clone(), seed, "1.1.0", None);
        assert_eq!(ending, Ending::Deployed, "seed {seed}");
    }
}

/// `deployctl metrics ENV`.
#[test]
fn gates_are_asked_once_of_what_serves_now() {
    let asked = |env: Environment, version: &'static str| {
        virtually(env, 5, async |story| {
            assert_eq!(gates_now::run(&story.doors, &story.env).await.unwrap(), [], "nothing serves yet");
            assert_eq!(story.deploy(version, &Told::default()).await, Life::Ended(Ending::Deployed));
            tokio::time::sleep(Duration::from_mins(5)).await;
            let judged = gates_now::run(&story.doors, &story.env).await.unwrap();
            judged.into_iter().map(|one| (one.gate, one.verdict, one.detail)).collect::<Vec<_>>()
        })
    };
    let good = asked(environment("beside"), "1.0.0");
    let [(rate, "healthy", value), (beside, "healthy", read)] = &good[..] else { panic!("{good:?}") };
    assert_eq!((beside.as_str(), rate.as_str()), ("beside", "error-rate"));
    assert_eq!(read, "counters are read from the pods themselves (:8080/metrics)");
    assert!(
        value.starts_with("error rate 0.")
            && value.contains("(limit ≤ 5.00 %, ")
            && value.ends_with("requests)")
    );
    let bad = asked(environment("canary"), "1.0.0-err30");
    assert!(matches!(&bad[..], [(_, "bad", detail)] if detail.contains("limit ≤ 5.00 %")), "{bad:?}");
}
