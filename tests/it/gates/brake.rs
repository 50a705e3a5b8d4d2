//! Samples in, decisions out: the brake is on as soon as what exists speaks against the canary, and stays on only if the
//! aligned block agrees.

use deployctl::rollout::sequential::{Analysis, Arm, Brake, Burst, Counters, Decision, Params, Verdict};

fn read(requests: f64, errors: f64) -> Counters {
    Counters { requests, errors, timed: None, within: vec![] }
}

fn analysis() -> Analysis {
    let mut analysis = Analysis::new(Params::default(), Burst::none(0), 0.0, 15.0);
    analysis.set_weight(0.0, 0.1);
    analysis.pod("new", Arm::Canary, Some(0.0));
    analysis.pod("a", Arm::Control, None);
    analysis.pod("b", Arm::Control, None);
    analysis
}

fn feed(analysis: &mut Analysis, pod: &str, at: f64, requests: f64, errors: f64) -> Option<Decision> {
    analysis.feed(pod, at, Some(&read(requests, errors)))
}

/// Both control pods at 20 requests a second since before, the canary at 5.
fn begun() -> Analysis {
    let mut analysis = analysis();
    assert!(feed(&mut analysis, "a", -3.0, 0.0, 0.0).is_none());
    assert!(feed(&mut analysis, "b", -8.0, 0.0, 0.0).is_none());
    assert!(feed(&mut analysis, "b", 7.0, 300.0, 0.0).is_none());
    analysis
}

#[test]
fn a_bad_canary_is_braked_before_control_is_there_in_full_and_then_rolled_back() {
    let mut analysis = begun();
    let braked = feed(&mut analysis, "new", 8.0, 40.0, 40.0).expect("the brake");
    assert_eq!((braked.brake, braked.verdict), (Some(Brake::On), Verdict::Continue));
    assert!(braked.block.is_none() && analysis.braked());
    assert!(braked.explanation.text.contains("errors 40 of 40 (100.00 %)"), "{}", braked.explanation.text);
    analysis.set_weight(8.0, 0.0);
    assert!(feed(&mut analysis, "a", 12.0, 300.0, 0.0).is_none(), "b is missing yet");
    let decision = feed(&mut analysis, "b", 22.0, 600.0, 0.0).expect("the block");
    assert_eq!((decision.brake, decision.verdict), (None, Verdict::Rollback));
    assert!(analysis.braked(), "what is rolled back gets no traffic again");
}

#[test]
fn an_incident_that_both_share_takes_the_brake_off_again() {
    let mut analysis = begun();
    let braked = feed(&mut analysis, "new", 8.0, 40.0, 12.0).expect("the brake");
    assert_eq!(braked.brake, Some(Brake::On));
    analysis.set_weight(8.0, 0.0);
    assert!(feed(&mut analysis, "a", 12.0, 300.0, 100.0).is_none());
    let decision = feed(&mut analysis, "b", 22.0, 600.0, 120.0).expect("the block");
    assert_eq!(decision.brake, Some(Brake::Off));
    assert_ne!(decision.verdict, Verdict::Rollback);
    assert!(!analysis.braked());
}

#[test]
fn a_canary_that_hangs_is_held_with_the_brake_on() {
    let mut analysis = begun();
    let mut decisions = Vec::new();
    for n in 1..=3 {
        let at = 15.0 * f64::from(n);
        decisions.extend(feed(&mut analysis, "new", at, 0.0, 0.0));
        for pod in ["a", "b"] {
            decisions.extend(feed(&mut analysis, pod, at + 1.0, 300.0 * f64::from(n + 1), 0.0));
        }
    }
    let first = &decisions[0];
    assert_eq!((first.verdict, first.brake), (Verdict::HoldStarved, Some(Brake::On)));
    assert!(first.explanation.text.contains("too few requests"), "{}", first.explanation.text);
    assert!(decisions[1..].iter().all(|decision| decision.brake.is_none()));
}

#[test]
fn silence_is_told_by_the_clock() {
    let analysis = analysis();
    assert!(analysis.at(59.0).is_none());
    let silent = analysis.at(61.0).expect("nothing was heard for a minute");
    assert_eq!(silent.verdict, Verdict::Inconclusive);
    assert!(silent.explanation.text.starts_with("no canary request for 61 s"), "{}", silent.explanation.text);
}

#[test]
fn pods_that_are_scraped_together_make_one_block() {
    let mut analysis = analysis();
    for (pod, requests) in [("a", 0.0), ("b", 0.0)] {
        analysis.take(pod, 0.0, Some(&read(requests, 0.0)));
    }
    for (pod, requests, errors) in [("new", 25.0, 20.0), ("a", 100.0, 0.0), ("b", 100.0, 0.0)] {
        analysis.take(pod, 5.0, Some(&read(requests, errors)));
    }
    let decision = analysis.decide().expect("a block");
    assert_eq!((decision.verdict, decision.brake), (Verdict::Rollback, None));
    assert!(analysis.decide().is_none());
}
