//! The process dies before or after every write of every kind of release; `resume` and `rollback` come to a right end.

use super::{broken, schedule, small, two_waves};
use deployctl::cli::campaign::{Crash, Schedule, Theatre, Then};
use deployctl::domain::environment::{Environment, Strategy, Switch};
use deployctl::domain::error::Exit;
use deployctl::sim::process::Death;

/// Plays the story once for each of its writes and each command that may follow.
fn dies_at_every_write(env: Environment, from_nothing: bool, story: &Schedule) {
    let theatre = Theatre::of(env, from_nothing).unwrap();
    let whole = theatre.play(story, None);
    assert_eq!(broken(&whole), Vec::<String>::new(), "nobody died");
    assert!(whole.writes > 8, "a story of {} writes is none", whole.writes);
    for at in 0..whole.writes {
        for next in [Then::Resume, Then::Rollback] {
            let mut then = story.then.clone();
            then.push(next);
            let after = (at % 2 == 0) == (next == Then::Resume);
            let story = Schedule { crashes: vec![Crash::Write(Death { at, after })], then, ..story.clone() };
            let played = theatre.play(&story, None);
            let how = format!("{}\n{:#?}", story.flags().join(" "), played.lives);
            assert_eq!(broken(&played), Vec::<String>::new(), "{how}");
            let last = played.lives.last().unwrap();
            // before its plan was stored nothing was begun, and a first release has none before it; or it died when its
            // end was on record
            let nothing = last.cause.starts_with("DC0606") || last.exit.is_none();
            assert!(nothing || matches!(last.exit, Some(Exit::Done | Exit::RolledBack)), "{how}");
        }
    }
}

#[test]
fn a_canary_by_pods() {
    dies_at_every_write(small("canary", "api"), false, &schedule(1, &[]));
}

#[test]
fn a_canary_by_ingress_nginx() {
    dies_at_every_write(small("nginx", "api"), false, &schedule(2, &[]));
}

#[test]
fn a_canary_by_the_gateway_api() {
    dies_at_every_write(small("gateway", "api"), false, &schedule(3, &[]));
}

#[test]
fn a_blue_green_release_by_ingress_and_by_service() {
    dies_at_every_write(small("canary", "web"), false, &schedule(4, &[]));
    let mut env = small("canary", "web");
    let Strategy::BlueGreen(how) = &mut env.components[0].strategy else { panic!("web is blue-green") };
    how.switch = Switch::Service;
    dies_at_every_write(env, false, &schedule(5, &[]));
}

#[test]
fn a_migration_that_has_a_way_back() {
    dies_at_every_write(small("jobs", "db"), false, &schedule(12, &[]));
    dies_at_every_write(small("jobs", "db"), false, &schedule(13, &["unready@30s"]));
}

#[test]
fn a_rolling_release_and_one_that_stops_first() {
    dies_at_every_write(small("canary", "worker"), false, &schedule(6, &[]));
    let mut env = small("canary", "worker");
    env.components[0].strategy = Strategy::Recreate;
    dies_at_every_write(env, false, &schedule(7, &[]));
}

#[test]
fn a_first_release() {
    dies_at_every_write(small("canary", "worker"), true, &schedule(8, &[]));
    dies_at_every_write(small("canary", "web"), true, &schedule(9, &[]));
}

#[test]
fn two_waves_one_after_the_other() {
    dies_at_every_write(two_waves("worker"), false, &schedule(10, &[]));
}

/// The release fails, and its way back dies.
#[test]
fn a_way_back() {
    dies_at_every_write(small("canary", "api"), false, &schedule(11, &["smoke-fail"]));
    dies_at_every_write(small("nginx", "api"), false, &schedule(12, &["smoke-fail"]));
    dies_at_every_write(small("canary", "worker"), false, &schedule(13, &["crash-loop"]));
}

/// The release is interrupted, and its retreat dies in the middle: whoever resumes begins again what was half taken back.
#[test]
fn a_retreat_after_an_interrupt() {
    let at = |seconds| Some(std::time::Duration::from_secs(seconds));
    let story = Schedule { interrupt_at: at(15), ..schedule(15, &[]) };
    dies_at_every_write(small("canary", "api"), false, &story);
}

/// The release before is brought back by a run of its own, and that dies.
#[test]
fn a_rollback_to_the_release_before() {
    let story = Schedule { then: vec![Then::Rollback], ..schedule(14, &[]) };
    dies_at_every_write(small("canary", "web"), false, &story);
    dies_at_every_write(small("canary", "worker"), false, &story);
}
