//! Campaigns: what must hold whatever goes wrong, and the proof that a breach of it would be seen.

mod found;
mod mutants;
mod prefixes;
mod seeds;
mod twisted;

use crate::support::environment;
use deployctl::cli::campaign::{Played, Schedule};
use deployctl::domain::environment::{Bake, Environment, Strategy};
use std::time::Duration;

/// One component of the shop in the east alone, with short holds: a story of it is soon played.
pub fn small(shop: &str, component: &str) -> Environment {
    let mut env = environment(shop);
    env.components.retain(|known| known.id.as_str() == component);
    env.targets.retain(|target| target.id.as_str() == "east");
    env.waves = vec![vec!["east".into()]];
    short(&mut env, component);
    env
}

/// One component in both regions, one wave after the other.
pub fn two_waves(component: &str) -> Environment {
    let mut env = environment("canary");
    env.components.retain(|known| known.id.as_str() == component);
    short(&mut env, component);
    env.bake = Bake { first: Duration::from_secs(20), ..Bake::default() };
    env
}

fn short(env: &mut Environment, component: &str) {
    let hold = Duration::from_secs(12);
    for known in &mut env.components {
        known.depends_on.clear();
        match &mut known.strategy {
            Strategy::Canary(canary) => {
                canary.steps.truncate(1);
                canary.steps[0].hold = hold;
            }
            Strategy::BlueGreen(how) => how.hold = hold,
            Strategy::Rolling | Strategy::Recreate => {}
        }
    }
    env.smoke.retain(|test| test.component.as_str() == component);
    env.gates.clear();
    env.bake = Bake::default();
}

/// A schedule from the flags of `rehearse`.
pub fn schedule(seed: u64, faults: &[&str]) -> Schedule {
    let faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    Schedule { seed, faults, settle: true, ..Schedule::default() }
}

/// What was broken, one line each.
pub fn broken(played: &Played) -> Vec<String> {
    played.violations.iter().map(|broken| format!("{}: {}", broken.invariant, broken.what)).collect()
}
