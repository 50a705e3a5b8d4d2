//! What campaigns found, each with the shortest story that shows it.

use super::{broken, schedule, small, two_waves};
use crate::support::environment;
use deployctl::cli::campaign::{Ask, Crash, Schedule, Theatre, Then};
use deployctl::domain::environment::{Environment, Strategy};
use deployctl::domain::error::Exit;
use std::time::Duration;

/// Blue-green with a hold of minutes.
fn held(hold: Duration) -> Environment {
    let mut env = small("canary", "web");
    let Strategy::BlueGreen(how) = &mut env.components[0].strategy else { panic!("web is blue-green") };
    how.hold = hold;
    env
}

#[test]
fn a_new_revision_without_ready_pods_is_taken_back_though_its_gates_have_no_data() {
    let mut env = held(Duration::from_mins(5));
    env.gates = environment("canary").gates;
    for gate in &mut env.gates {
        gate.components = vec!["web".into()];
    }
    let theatre = Theatre::of(env, false).unwrap();
    let played = theatre.play(&schedule(3, &["unready:web@60s"]), None);
    assert_eq!(broken(&played), Vec::<String>::new(), "{:#?}", played.lives);
    let first = &played.lives[0];
    assert_eq!(first.exit, Some(Exit::RolledBack), "{first:?}");
    assert!(first.cause.contains("no pod of web-r2 was ready for 1m"), "{first:?}");
}

#[test]
fn a_story_is_not_stuck_while_somebody_elses_release_goes_on() {
    let theatre = Theatre::of(held(Duration::from_mins(12)), false).unwrap();
    let story = Schedule {
        asks: vec![Ask { wish: "deploy".to_owned(), at: Duration::from_secs(30) }],
        crashes: vec![Crash::At(Duration::ZERO)],
        then: vec![Then::Resume],
        ..schedule(4, &[])
    };
    let played = theatre.play(&story, None);
    assert_eq!(broken(&played), Vec::<String>::new(), "{:#?}", played.lives);
    assert!(played.lives.iter().any(|life| life.exit == Some(Exit::Locked)), "{:#?}", played.lives);
}

/// A second rollback goes no further back, nor forth to the release that was left.
#[test]
fn nobody_goes_back_twice_unasked() {
    let theatre = Theatre::of(two_waves("worker"), false).unwrap();
    let story = Schedule { then: vec![Then::Rollback, Then::Rollback], ..schedule(5, &[]) };
    let played = theatre.play(&story, None);
    assert_eq!(broken(&played), Vec::<String>::new(), "{:#?}", played.lives);
    let ends: Vec<_> = played.lives.iter().take(3).map(|life| life.exit).collect();
    assert_eq!(ends, [Exit::Done, Exit::Done, Exit::Usage].map(Some), "{:#?}", played.lives);
}

/// Nine writes in a row that meet another writer, credentials that are not known for twenty seconds: neither ends a release,
/// and no way back leaves users with a Service that is gone.
#[test]
fn what_passes_ends_no_release() {
    let theatre = Theatre::of(held(Duration::from_secs(30)), false).unwrap();
    for fault in ["conflict:9@stage:w1-switch", "conflict:9@weight:100", "token-expired:20@stage:w1-switch"] {
        let played = theatre.play(&schedule(6, &[fault]), None);
        assert_eq!(broken(&played), Vec::<String>::new(), "{fault}: {:#?}", played.lives);
        let ends: Vec<_> = played.lives.iter().map(|life| life.exit).collect();
        assert_eq!(ends[0], Some(Exit::Done), "{fault}: {:#?}", played.lives);
    }
}

/// Between the wait for green and the switch the process stood still: green is no longer ready when it goes on.
#[test]
fn users_are_led_to_no_pods_that_were_ready_once() {
    let mut env = held(Duration::from_mins(3));
    env.limits.ready = Duration::from_mins(1);
    let theatre = Theatre::of(env, false).unwrap();
    let story = Schedule {
        interrupt_at: Some(Duration::from_mins(1)),
        then: vec![Then::Resume],
        ..schedule(7, &["unready:web@50s"])
    };
    let played = theatre.play(&story, None);
    assert_eq!(broken(&played), Vec::<String>::new(), "{:#?}", played.lives);
    assert_eq!(played.lives[0].exit, Some(Exit::Interrupted), "{:#?}", played.lives);
    assert_eq!(played.lives[1].exit, Some(Exit::RolledBack), "{:#?}", played.lives);
    assert!(
        played.lives[1].cause.contains("Deployment/web-r2 was not ready within 1m"),
        "{:#?}",
        played.lives
    );
}

/// `rollback` finds a run that only has to be concluded, concludes it, and then brings the release before back: two ends in
/// one command.
#[test]
fn a_rollback_that_first_concludes_leads_back_to_what_was_concluded() {
    let theatre = Theatre::of(held(Duration::from_secs(30)), false).unwrap();
    let whole = theatre.play(&schedule(8, &[]), None);
    for at in whole.writes - 4..whole.writes {
        let story = Schedule {
            crashes: vec![Crash::Write(deployctl::sim::process::Death { at, after: true })],
            then: vec![Then::Rollback],
            ..schedule(8, &["quota-shrink:2@2m"])
        };
        let played = theatre.play(&story, None);
        assert_eq!(broken(&played), Vec::<String>::new(), "{at}: {:#?}", played.lives);
    }
}

/// Credentials that are not known in the middle of a way back: what it did is on record in the end.
#[test]
fn a_way_back_is_on_record_though_its_records_did_not_get_through_at_first() {
    let theatre = Theatre::of(held(Duration::from_mins(3)), false).unwrap();
    for at in (60..120).step_by(4) {
        let fault = format!("token-expired:15@{at}s");
        let played = theatre.play(&schedule(9, &["unready:web@20s", &fault]), None);
        assert_eq!(broken(&played), Vec::<String>::new(), "{fault}: {:#?}", played.lives);
    }
}
