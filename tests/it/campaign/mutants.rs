//! For each invariant a mistake between the run and the world that breaks it, and the proof that the breach is seen.

use super::twisted::{Mistake, twisted};
use super::{broken, schedule, small, two_waves};
use deployctl::cli::campaign::{Schedule, Theatre};
use deployctl::domain::environment::Environment;

/// Invariant, mistake, environment, faults.
fn table() -> Vec<(&'static str, Mistake, Environment, Vec<&'static str>)> {
    vec![
        ("capacity", Mistake::DrainsBeforeTheSwitch, small("nginx", "api"), vec![]),
        ("endpoints", Mistake::WeighsBeforeReady, small("nginx", "api"), vec![]),
        ("weights", Mistake::WeightsOverHundred, small("gateway", "api"), vec![]),
        ("waves", Mistake::BothWavesAtOnce, two_waves("worker"), vec![]),
        ("lock", Mistake::WritesWithoutTheLock, small("canary", "api"), vec!["lease-stolen@weight:20"]),
        ("as-it-was", Mistake::LeavesTheCanaryBehind, small("canary", "api"), vec!["smoke-fail@0s"]),
        ("journal", Mistake::LosesOutcomes, small("canary", "worker"), vec![]),
        ("ends", Mistake::Hangs, small("canary", "worker"), vec![]),
        ("requests", Mistake::DrainsBeforeTheSwitch, small("nginx", "api"), vec![]),
    ]
}

#[test]
fn each_mistake_is_caught_by_its_invariant() {
    for (invariant, mistake, env, faults) in table() {
        let theatre = Theatre::of(env, false).unwrap();
        let story = Schedule { settle: !matches!(mistake, Mistake::Hangs), ..schedule(31, &faults) };
        let honest = theatre.play(&story, None);
        assert_eq!(broken(&honest), Vec::<String>::new(), "{mistake:?}: without it nothing is broken");
        let wrong = theatre.play(&story, Some(&move |doors| twisted(doors, mistake)));
        let caught = wrong.violations.iter().any(|broken| broken.invariant == invariant);
        assert!(
            caught,
            "{mistake:?} is not caught by `{invariant}`: {:#?} {:#?}",
            broken(&wrong),
            wrong.lives
        );
    }
}
