//! Draws schedules: from one seed as many as are wanted, each by a number of its own.

use super::schedule::{Ask, Crash, Schedule, Then};
use crate::cli::wiring::{Death, Fault, Random, ScheduledFault, When};
use crate::domain::ids::ComponentId;
use std::time::Duration;

/// What a schedule can be made of, as the story without any fault showed.
#[derive(Clone, Debug, Default)]
pub(super) struct Ground {
    /// The component that is released alone; all are if none.
    pub only: Option<ComponentId>,
    /// How long the release takes.
    pub lasts: Duration,
    /// How often it writes.
    pub writes: u64,
    /// Labels that its stages fire.
    pub labels: Vec<String>,
    /// Targets and components that a fault may be limited to.
    pub places: Vec<String>,
}

/// The schedule of a number: every other one releases all there is, the others one component each, by turns.
pub(super) fn schedule(seed: u64, number: u64, whole: &Ground, alone: &[Ground]) -> Schedule {
    let mut random = Random::new(seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let random = &mut random;
    let turn = (number / 2) as usize % alone.len().max(1);
    let ground = alone.get(turn).filter(|_| number % 2 == 1).unwrap_or(whole);
    let only = ground.only.clone();
    let mut schedule = Schedule { only, seed: random.bits() >> 32, settle: true, ..Schedule::default() };
    for _ in 0..few(random, &[2, 4, 3, 1, 1]) {
        schedule.faults.push(fault(random, ground));
    }
    for _ in 0..few(random, &[3, 3, 1]) {
        schedule.crashes.push(crash(random, ground));
    }
    for _ in 0..few(random, &[6, 3, 1]) {
        ask(random, ground, &mut schedule.asks);
    }
    if random.chance(0.08) {
        schedule.interrupt_at = Some(time(random, ground));
    }
    for _ in 0..few(random, &[3, 3, 2]) {
        schedule.then.push(if random.chance(0.5) { Then::Resume } else { Then::Rollback });
    }
    schedule
}

/// A small number, by weight.
fn few(random: &mut Random, weights: &[usize]) -> usize {
    let mut draw = random.below(weights.iter().sum());
    for (number, weight) in weights.iter().enumerate() {
        if draw < *weight {
            return number;
        }
        draw -= weight;
    }
    0
}

/// A moment of the release, in whole seconds; what comes later than its end hits what follows.
fn time(random: &mut Random, ground: &Ground) -> Duration {
    let most = ground.lasts.as_secs_f64() * 1.1;
    // half of all early on, where most is written
    let most = if random.chance(0.5) { most } else { most / 8.0 };
    Duration::from_secs(random.between(0.0, most.max(1.0)) as u64)
}

fn fault(random: &mut Random, ground: &Ground) -> ScheduledFault {
    let kinds = Fault::kinds();
    let mut fault = Fault::usual(kinds[random.below(kinds.len())]);
    if fault.seconds > 0 {
        fault.seconds = (fault.seconds as f64 * random.between(0.2, 3.0)) as u64 + 1;
    }
    fault.amount = (fault.amount * random.between(0.3, 2.0)).round();
    if fault.kind == crate::cli::wiring::FaultKind::ClockJump && random.chance(0.5) {
        fault.amount = -fault.amount;
    }
    if random.chance(0.5) && !ground.places.is_empty() {
        fault.scope = Some(ground.places[random.below(ground.places.len())].clone());
    }
    let when = if random.chance(0.4) && !ground.labels.is_empty() {
        When::Label(ground.labels[random.below(ground.labels.len())].clone())
    } else {
        When::At(time(random, ground).as_millis() as u64)
    };
    ScheduledFault { fault, when }
}

fn crash(random: &mut Random, ground: &Ground) -> Crash {
    if ground.writes > 0 && random.chance(0.8) {
        // what is taken back is written after the release
        let at = random.below((ground.writes + ground.writes / 3) as usize) as u64;
        return Crash::Write(Death { at, after: random.chance(0.5) });
    }
    Crash::At(time(random, ground))
}

/// A pause is always ended: for ever is what was asked for.
fn ask(random: &mut Random, ground: &Ground, asks: &mut Vec<Ask>) {
    let wishes = ["promote", "promote-full", "pause", "abort", "deploy", "approve"];
    let (wish, at) = (wishes[random.below(wishes.len())], time(random, ground));
    asks.push(Ask { wish: wish.to_owned(), at });
    if wish == "pause" {
        let ends = at + Duration::from_secs(random.between(10.0, 3600.0) as u64);
        asks.push(Ask { wish: "resume".to_owned(), at: ends });
    }
}
