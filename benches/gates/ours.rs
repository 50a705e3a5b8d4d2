//! Our judge over a simulated rollout.

use crate::chance::Chance;
use crate::traffic::{BOUNDS, CONTROLS, Pod, Shape, World};
use deployctl::rollout::sequential::{Analysis, Arm, Brake, Burst, Counts, Params, Verdict};

/// How metrics are got, and how the weight goes up.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Seconds between scrapes of a pod.
    pub interval: f64,
    /// Whether all pods are scraped at once (by ourselves) or each at its own phase (by Prometheus).
    pub together: bool,
    /// Seconds and weight of each step.
    pub steps: &'static [(f64, f64)],
}

pub const PROMETHEUS: Setup =
    Setup { interval: 15.0, together: false, steps: &[(300.0, 0.1), (900.0, 0.25), (1800.0, 0.5)] };
pub const DIRECT: Setup = Setup { interval: 5.0, together: true, ..PROMETHEUS };
pub const DIRECT_FROM_1: Setup =
    Setup { steps: &[(60.0, 0.01), (300.0, 0.1), (900.0, 0.25), (1800.0, 0.5)], ..DIRECT };

/// How a rollout went.
#[derive(Default)]
pub struct Outcome {
    /// Failed requests of the canary.
    pub harmed: f64,
    /// When its traffic was first held off for good: by a rollback, or by the brake that it confirmed.
    pub rolled_back: Option<f64>,
    /// Brakes that were taken back.
    pub wrong_brakes: u32,
}

struct Run<'a> {
    world: &'a World,
    shape: &'a Shape,
    chance: &'a mut Chance,
    pods: Vec<Pod>,
    analysis: Analysis,
    /// The step's weight.
    weight: f64,
    braked_at: Option<f64>,
    outcome: Outcome,
}

/// One rollout.
pub fn run(world: &World, setup: &Setup, shape: &Shape, chance: &mut Chance) -> Outcome {
    let burst = history(world, shape, chance);
    let mut analysis = Analysis::new(Params::default(), burst, 0.0, setup.interval);
    analysis = analysis.with_bounds(BOUNDS.to_vec());
    let common = chance.unit() * setup.interval;
    let mut pods = Vec::new();
    let mut next = Vec::new();
    for (index, name) in NAMES.iter().enumerate() {
        let canary = index == 0;
        let phase = if setup.together { common } else { chance.unit() * setup.interval };
        // stable was scraped before; the canary is born
        let first = if canary { phase } else { phase - setup.interval };
        let arm = if canary { Arm::Canary } else { Arm::Control };
        analysis.pod(name, arm, canary.then_some(0.0));
        pods.push(Pod::new(canary, first.min(0.0)));
        next.push(first);
    }
    let outcome = Outcome::default();
    let mut run = Run { world, shape, chance, pods, analysis, weight: 0.0, braked_at: None, outcome };
    run.begin();
    run.go(setup, &mut next);
    run.outcome
}

const NAMES: [&str; 1 + CONTROLS] = ["canary", "a", "b", "c"];

/// Burst factors from two hours of stable's history in blocks of 15 s.
fn history(world: &World, shape: &Shape, chance: &mut Chance) -> Burst {
    let world = World { incident: false, fault: None, ..*world };
    let mut pods = vec![Pod::new(false, 0.0); CONTROLS];
    let mut before = vec![0.0; 13];
    let mut blocks = Vec::with_capacity(480);
    for block in 1..=480_u32 {
        let mut now = vec![0.0; 13];
        for pod in &mut pods {
            pod.serve(&world, world.rate / CONTROLS as f64, f64::from(block) * 15.0, chance, shape);
            let read = pod.counters();
            let values = [read.requests, read.errors].into_iter().chain(read.within);
            now.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        let grown: Vec<f64> = now.iter().zip(&before).map(|(now, before)| now - before).collect();
        let slow = grown[2..].iter().map(|within| grown[0] - within).collect();
        blocks.push(Counts { requests: grown[0], errors: grown[1], timed: grown[0], slow });
        before = now;
    }
    Burst::of_history(&blocks, BOUNDS.len())
}

impl Run<'_> {
    /// Stable serves alone until the rollout begins, and is scraped once before.
    fn begin(&mut self) {
        for index in 1..=CONTROLS {
            let at = self.pods[index].at;
            self.scrape(index, at);
            self.serve(index, 0.0);
        }
    }

    fn go(&mut self, setup: &Setup, next: &mut [f64]) {
        next.iter_mut().skip(1).for_each(|at| *at += setup.interval);
        let mut until = 0.0;
        for (seconds, weight) in setup.steps {
            self.step(until, *weight);
            until += seconds;
            while let Some(at) = soonest(next).filter(|at| *at <= until) {
                for (index, due) in next.iter_mut().enumerate().filter(|(_, due)| **due <= at) {
                    self.serve(index, at);
                    self.scrape(index, at);
                    *due += setup.interval;
                }
                self.decide(at);
                if self.outcome.rolled_back.is_some() {
                    return self.end(at);
                }
            }
        }
        self.end(until);
    }

    fn end(&mut self, at: f64) {
        self.serve(0, at);
        self.outcome.harmed = self.pods[0].errors;
    }

    fn step(&mut self, at: f64, weight: f64) {
        (0..=CONTROLS).for_each(|index| self.serve(index, at));
        self.weight = weight;
        self.analysis.set_weight(at, if self.braked_at.is_some() { 0.0 } else { weight });
    }

    fn scrape(&mut self, index: usize, at: f64) {
        let counters = self.pods[index].counters();
        self.analysis.take(NAMES[index], at, Some(&counters));
    }

    fn serve(&mut self, index: usize, until: f64) {
        let weight = if self.braked_at.is_some() { 0.0 } else { self.weight };
        let share = if index == 0 { weight } else { (1.0 - weight) / CONTROLS as f64 };
        self.pods[index].serve(self.world, self.world.rate * share, until, self.chance, self.shape);
    }

    fn decide(&mut self, at: f64) {
        let Some(decision) = self.analysis.decide() else { return };
        if let Some(brake) = decision.brake {
            (0..=CONTROLS).for_each(|index| self.serve(index, at));
            match brake {
                Brake::On => self.braked_at = Some(at),
                Brake::Off => {
                    self.braked_at = None;
                    self.outcome.wrong_brakes += 1;
                }
            }
            let weight = if brake == Brake::On { 0.0 } else { self.weight };
            self.analysis.set_weight(at, weight);
        }
        if decision.verdict == Verdict::Rollback {
            self.outcome.rolled_back = self.braked_at.or(Some(at));
        }
    }
}

fn soonest(next: &[f64]) -> Option<f64> {
    next.iter().copied().reduce(f64::min)
}
