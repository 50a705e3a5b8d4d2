//! From raw counters to blocks.

use deployctl::rollout::sequential::{Arm, Counters, Counts, Intake, Streams};

fn read(requests: f64, errors: f64) -> Counters {
    Counters { requests, errors, timed: None, within: vec![] }
}

/// One canary pod born at 0 and one old control pod, scraped every 15 s.
fn pair() -> Streams {
    let mut streams = Streams::new(0.0, 15.0, 0);
    streams.add("new", Arm::Canary, Some(0.0));
    streams.add("old", Arm::Control, None);
    streams
}

fn push(streams: &mut Streams, pod: &str, at: f64, requests: f64, errors: f64) {
    assert_eq!(streams.push(pod, at, Some(&read(requests, errors))), Intake::Taken);
}

fn near(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-9, "{value}, not {expected}");
}

#[test]
fn control_is_taken_linearly_and_waited_for() {
    let mut streams = pair();
    push(&mut streams, "old", -5.0, 1000.0, 10.0);
    push(&mut streams, "new", 7.0, 70.0, 7.0);
    assert_eq!(streams.open_until(), Some(7.0));
    assert!(!streams.control_reaches(7.0));
    push(&mut streams, "old", 10.0, 1300.0, 13.0);
    assert!(streams.control_reaches(7.0));
    let (dt, canary, control) = streams.close(7.0);
    near(dt, 7.0);
    near(canary.requests, 70.0);
    near(control.requests, 140.0);
    near(control.errors, 1.4);
    assert_eq!(streams.open_until(), None);
}

#[test]
fn what_is_no_sample_is_ignored() {
    let mut streams = pair();
    assert_eq!(streams.push("other", 1.0, Some(&read(1.0, 0.0))), Intake::UnknownPod);
    assert_eq!(streams.push("new", 1.0, None), Intake::NoValue);
    assert_eq!(streams.push("new", 1.0, Some(&read(f64::NAN, 0.0))), Intake::NoValue);
    assert_eq!(streams.push("new", 1.0, Some(&read(-1.0, 0.0))), Intake::NoValue);
    assert_eq!(streams.push("new", f64::NAN, Some(&read(1.0, 0.0))), Intake::NoValue);
    let more = Counters { within: vec![1.0], ..read(1.0, 0.0) };
    assert_eq!(streams.push("new", 1.0, Some(&more)), Intake::NoValue);
    push(&mut streams, "new", 2.0, 5.0, 0.0);
    assert_eq!(streams.push("new", 2.0, Some(&read(9.0, 0.0))), Intake::NotNewer);
    assert_eq!(streams.push("new", 1.5, Some(&read(9.0, 0.0))), Intake::NotNewer);
}

#[test]
fn a_restart_changes_no_count() {
    let run = |restarts: bool| -> Vec<(Counts, Counts)> {
        let mut streams = pair();
        let (mut old, mut new) = (5000.0, 0.0);
        let mut blocks = Vec::new();
        for n in 0..20 {
            let at = f64::from(n) * 15.0;
            (old, new) = (old + 300.0, new + 30.0);
            if restarts && n == 7 {
                old = 300.0;
            }
            if restarts && n == 12 {
                new = 30.0;
            }
            push(&mut streams, "old", at + 4.0, old, old / 100.0);
            push(&mut streams, "new", at + 2.0, new, new / 10.0);
            if let Some(until) = streams.open_until().filter(|until| streams.control_reaches(*until)) {
                let (_, canary, control) = streams.close(until);
                blocks.push((canary, control));
            }
        }
        blocks
    };
    let (without, with) = (run(false), run(true));
    assert_eq!(without.len(), 20);
    for ((canary, control), (canary_too, control_too)) in without.iter().zip(&with) {
        near(canary_too.requests, canary.requests);
        near(control_too.requests, control.requests);
        near(canary_too.errors, canary.errors);
    }
}

#[test]
fn a_missed_scrape_makes_a_longer_block_and_a_dead_pod_holds_nobody_up() {
    let mut streams = pair();
    streams.add("second", Arm::Canary, Some(0.0));
    push(&mut streams, "old", 0.0, 0.0, 0.0);
    push(&mut streams, "new", 5.0, 50.0, 0.0);
    push(&mut streams, "second", 6.0, 60.0, 6.0);
    push(&mut streams, "old", 15.0, 150.0, 0.0);
    streams.close(5.0);
    for n in 1..=2 {
        push(&mut streams, "new", 5.0 + f64::from(n) * 15.0, 50.0 + f64::from(n) * 150.0, 0.0);
    }
    assert_eq!(streams.open_until(), Some(6.0), "it waits for the second");
    push(&mut streams, "new", 50.0, 500.0, 0.0);
    push(&mut streams, "old", 50.0, 500.0, 0.0);
    assert_eq!(streams.open_until(), Some(50.0), "the second is dead");
    let (dt, canary, control) = streams.close(50.0);
    near(dt, 45.0);
    near(canary.requests, 460.0);
    near(canary.errors, 1.0);
    near(control.requests, 450.0);
}

#[test]
fn latency_is_counted_by_the_histograms_own_total() {
    let mut streams = Streams::new(0.0, 15.0, 2);
    streams.add("new", Arm::Canary, Some(0.0));
    let read = Counters { requests: 100.0, errors: 120.0, timed: Some(90.0), within: vec![40.0, 95.0] };
    assert_eq!(streams.push("new", 10.0, Some(&read)), Intake::Taken);
    let (_, canary, control) = streams.close(10.0);
    assert_eq!(canary, Counts { requests: 100.0, errors: 100.0, timed: 90.0, slow: vec![50.0, 0.0] });
    assert_eq!(control.requests.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn consumed_samples_are_dropped_and_waiting_ones_are_bounded() {
    let mut streams = pair();
    for n in 0..5000 {
        push(&mut streams, "old", f64::from(n) * 15.0, f64::from(n) * 150.0, 0.0);
    }
    assert!(streams.kept() <= 256, "{}", streams.kept());
    push(&mut streams, "new", 74_900.0, 10.0, 0.0);
    let (_, _, control) = streams.close(74_900.0);
    assert!((control.requests - 749_000.0).abs() < 200.0, "sums stay right: {}", control.requests);
    assert!(streams.kept() <= 10);
}
