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

/// The second rollback leads back to the new release, which has passed its bake.
#[test]
fn going_back_twice_needs_no_bake() {
    let theatre = Theatre::of(two_waves("worker"), false).unwrap();
    let story = Schedule { then: vec![Then::Rollback, Then::Rollback], ..schedule(5, &[]) };
    let played = theatre.play(&story, None);
    assert_eq!(broken(&played), Vec::<String>::new(), "{:#?}", played.lives);
    let ends: Vec<_> = played.lives.iter().take(3).map(|life| life.exit).collect();
    assert_eq!(ends, [Some(Exit::Done); 3], "{:#?}", played.lives);
}
