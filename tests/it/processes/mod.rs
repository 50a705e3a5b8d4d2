//! The built program as processes: kubeconfig, TLS, real time, signals, `kill -9`, other machines.
//!
//! What they speak to is the simulated API behind real sockets (`region`), one world for each story (`stage`). Stories
//! wait for what can be seen, with generous limits, and assert no time. They spend theirs waiting for leases and holds,
//! so those of one test run side by side. `SHOW_PROCESSES=1` prints what each process said.

mod choosing;
mod endings;
mod killed;
mod machine;
mod operators;
mod outages;
mod region;
mod said;
mod server;
mod signals;
mod stage;
mod surroundings;
mod wire;

/// The release that stories interrupt.
const RELEASE: [&str; 5] = ["deploy", "prod", "--auto-approve", "--version", "1.1.0"];

/// A story and its name.
type Story = (&'static str, fn());

#[test]
fn a_run_whose_process_is_gone_is_taken_up_elsewhere() {
    side_by_side(killed::STORIES);
}

#[test]
fn runs_end_as_they_should_and_follow_their_operators() {
    side_by_side(&[endings::STORIES, operators::STORIES, wire::STORIES].concat());
}

#[test]
fn signals_outages_and_strange_surroundings_are_borne() {
    side_by_side(&[signals::STORIES, outages::STORIES, surroundings::STORIES].concat());
}

#[test]
fn rollback_says_what_it_chooses_and_refuses_what_nobody_means() {
    side_by_side(choosing::STORIES);
}

/// Plays stories at the same time; names those that failed, each for the reasons that it printed.
fn side_by_side(stories: &[Story]) {
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let played: Vec<_> = stories
            .iter()
            .map(|(name, story)| {
                let thread = std::thread::Builder::new().name((*name).to_owned());
                (*name, thread.spawn_scoped(scope, story).unwrap())
            })
            .collect();
        played.into_iter().filter_map(|(name, thread)| thread.join().is_err().then_some(name)).collect()
    });
    assert!(failed.is_empty(), "failed, for the reasons above: {}", failed.join(", "));
}
