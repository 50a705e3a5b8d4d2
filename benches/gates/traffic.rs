//! A simulated service: requests arrive independently, some fail, some are slow, and pods count them.

use crate::chance::{Chance, normal_below};
use deployctl::rollout::sequential::Counters;

/// Finite bounds of the default Prometheus histogram, seconds.
pub const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const P95: f64 = 0.215;
const SIGMA: f64 = 0.6;
/// Pods of stable.
pub const CONTROLS: usize = 3;
/// Mean number of errors that one cause brings, where errors cluster.
const CLUSTER: f64 = 4.0;
/// Mean time between pauses of a pod, and their length, seconds.
const PAUSE: (f64, f64) = (30.0, 1.0);
/// A shared incident: from, until (seconds), and the share of requests that fails on both sides.
const INCIDENT: (f64, f64, f64) = (480.0, 660.0, 0.1);

/// What the world does.
#[derive(Clone, Copy)]
pub struct World {
    /// Requests a second over both arms.
    pub rate: f64,
    /// Share that fails where nothing is wrong.
    pub baseline: f64,
    /// Share that the canary fails from the start.
    pub fault: Option<f64>,
    pub incident: bool,
    pub clustered: bool,
    pub pauses: bool,
}

impl World {
    pub fn healthy(rate: f64, baseline: f64) -> Self {
        Self { rate, baseline, fault: None, incident: false, clustered: false, pauses: false }
    }

    pub fn broken(rate: f64, baseline: f64, fault: f64) -> Self {
        Self { fault: Some(fault), ..Self::healthy(rate, baseline) }
    }

    fn failing(&self, canary: bool, at: f64) -> f64 {
        let shared = self.incident && (INCIDENT.0..INCIDENT.1).contains(&at);
        let here = if shared { INCIDENT.2 } else { self.baseline };
        if canary { self.fault.unwrap_or(here) } else { here }
    }
}

/// A pod's counters, moved on in time as somebody looks.
#[derive(Clone)]
pub struct Pod {
    pub canary: bool,
    pub requests: f64,
    pub errors: f64,
    /// Requests per bucket, the last beyond all bounds.
    buckets: [f64; 12],
    pub at: f64,
}

impl Pod {
    pub fn new(canary: bool, at: f64) -> Self {
        Self { canary, requests: 0.0, errors: 0.0, buckets: [0.0; 12], at }
    }

    /// What a scrape reads.
    pub fn counters(&self) -> Counters {
        let mut sum = 0.0;
        let within = self.buckets[..11].iter().map(|count| {
            sum += count;
            sum
        });
        let within = within.collect();
        Counters { requests: self.requests, errors: self.errors, timed: Some(self.requests), within }
    }

    /// Serves `rate` requests a second until `until`.
    pub fn serve(&mut self, world: &World, rate: f64, until: f64, chance: &mut Chance, shape: &Shape) {
        for edge in [INCIDENT.0, INCIDENT.1] {
            if world.incident && self.at < edge && edge < until {
                self.stretch(world, rate, edge, chance, shape);
            }
        }
        self.stretch(world, rate, until, chance, shape);
    }

    fn stretch(&mut self, world: &World, rate: f64, until: f64, chance: &mut Chance, shape: &Shape) {
        let (length, p) = (until - self.at, world.failing(self.canary, self.at));
        let paused = if world.pauses { chance.poisson(length / PAUSE.0) } else { 0.0 };
        let served = (length - paused * PAUSE.1).max(0.0) * rate;
        for (bucket, share) in shape.0.iter().enumerate() {
            self.count(bucket, chance.poisson(served * (1.0 - p) * share));
        }
        let causes = if world.clustered { CLUSTER } else { 1.0 };
        for _ in 0..chance.poisson(served * p / causes) as u64 {
            let errors = if world.clustered { chance.geometric(CLUSTER) } else { 1.0 };
            self.errors += errors;
            self.count(shape.draw(chance), errors);
        }
        for _ in 0..chance.poisson(paused * PAUSE.1 * rate) as u64 {
            let waited = chance.unit() * PAUSE.1;
            let bucket = BOUNDS.iter().position(|bound| waited <= *bound).unwrap_or(11);
            self.count(bucket.max(shape.draw(chance)), 1.0);
        }
        self.at = until;
    }

    fn count(&mut self, bucket: usize, requests: f64) {
        self.buckets[bucket] += requests;
        self.requests += requests;
    }
}

/// Shares of requests per bucket: lognormal.
pub struct Shape([f64; 12]);

impl Shape {
    pub fn new() -> Self {
        let middle = P95.ln() - 1.644_854 * SIGMA;
        let below = BOUNDS.map(|bound: f64| normal_below((bound.ln() - middle) / SIGMA));
        let share = |bucket: usize| {
            let low = if bucket == 0 { 0.0 } else { below[bucket - 1] };
            below.get(bucket).copied().unwrap_or(1.0) - low
        };
        Self(std::array::from_fn(share))
    }

    fn draw(&self, chance: &mut Chance) -> usize {
        let mut left = chance.unit();
        self.0
            .iter()
            .position(|share| {
                left -= share;
                left < 0.0
            })
            .unwrap_or(11)
    }
}
