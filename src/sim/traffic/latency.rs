//! What a process counts of its requests, and how long they take: a log-normal latency that grows with the load.

use std::collections::BTreeMap;

use crate::domain::counters::PodSample;
use crate::sim::random::Random;

/// Upper bounds of the histogram's buckets in seconds; one more bucket holds what takes longer.
pub const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Number of buckets, the last without bound.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// Median latency of a healthy process in seconds: with `SIGMA`, the 95 % quantile that a store computes from the
/// histogram is about 120 ms.
pub const MEDIAN: f64 = 0.0388;

/// Spread of the logarithm of the latency.
const SIGMA: f64 = 0.6;

/// Steps per unit of the latency factor in the cache of tables.
const FACTOR_STEPS: f64 = 16.0;

/// Above this many requests at once the buckets are drawn as a whole instead of one by one.
const SINGLY_BELOW: u64 = 96;

/// Monotonic counters of one process, as Prometheus would scrape them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Requests answered below 500.
    pub ok: u64,
    /// Requests answered 5xx.
    pub errors: u64,
    /// Requests per bucket of latency (not cumulative).
    pub buckets: [u64; BUCKETS],
    /// Sum of the latencies in seconds.
    pub seconds: f64,
}

impl Counters {
    /// All requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.ok + self.errors
    }

    /// As a store holds them: of a pod, scraped at a moment in milliseconds.
    #[must_use]
    pub fn sample(&self, pod: &str, at: u64) -> PodSample {
        let mut below = 0;
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets = bounds.zip(self.buckets).map(|(bound, count)| {
            below += count;
            (bound, below as f64)
        });
        PodSample {
            pod: pod.to_owned(),
            at: at as f64 / 1000.0,
            requests: self.requests() as f64,
            errors: self.errors as f64,
            buckets: buckets.collect(),
        }
    }

    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        self.ok += other.ok;
        self.errors += other.errors;
        for (mine, more) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += more;
        }
        self.seconds += other.seconds;
    }
}

/// The latency below which `quantile` of the requests stay, interpolated in the bucket as Prometheus does it;
/// `None` without requests.
#[must_use]
pub fn quantile(buckets: &[f64; BUCKETS], quantile: f64) -> Option<f64> {
    let total: f64 = buckets.iter().sum();
    if total <= 0.0 || total.is_nan() {
        return None;
    }
    let rank = quantile * total;
    let mut below = 0.0;
    for (place, count) in buckets.iter().enumerate() {
        if below + count >= rank {
            let Some(upper) = BOUNDS.get(place) else {
                return BOUNDS.last().copied();
            };
            let lower = if place == 0 { 0.0 } else { BOUNDS[place - 1] };
            let share = if *count > 0.0 { (rank - below) / count } else { 1.0 };
            return Some(lower + (upper - lower) * share);
        }
        below += count;
    }
    BOUNDS.last().copied()
}

/// How much longer requests take at a load of `use_` times the capacity.
#[must_use]
pub fn factor_at(use_: f64) -> f64 {
    let over = (use_ - 0.7).max(0.0);
    1.0 + over * over * 6.0
}

/// The share of requests that time out at a load of `use_` times the capacity.
#[must_use]
pub fn timeouts_at(use_: f64) -> f64 {
    ((use_ - 1.3) * 0.25).clamp(0.0, 0.6)
}

#[derive(Clone, Debug)]
struct Table {
    /// Cumulative probabilities of the buckets, scaled to 32 bits.
    cumulative: [u32; BUCKETS],
    /// Probability of each bucket.
    each: [f64; BUCKETS],
    /// Mean latency within each bucket, roughly.
    middle: [f64; BUCKETS],
}

impl Table {
    fn new(factor: f64, added: f64) -> Self {
        let mu = (MEDIAN * factor).ln();
        let mut each = [0.0; BUCKETS];
        let (mut cumulative, mut middle) = ([0; BUCKETS], [0.0; BUCKETS]);
        let mut before = 0.0;
        for place in 0..BUCKETS {
            let upper = BOUNDS.get(place).copied().unwrap_or(f64::INFINITY);
            let below = match upper - added {
                room if room <= 0.0 => 0.0,
                room if room.is_infinite() => 1.0,
                room => normal_cdf((room.ln() - mu) / SIGMA),
            };
            each[place] = (below - before).max(0.0);
            cumulative[place] = (below * f64::from(u32::MAX)) as u32;
            let lower = if place == 0 { 0.0 } else { BOUNDS[place - 1] };
            middle[place] = if upper.is_infinite() { 12.0 } else { f64::midpoint(lower, upper) };
            before = below;
        }
        cumulative[BUCKETS - 1] = u32::MAX;
        Self { cumulative, each, middle }
    }
}

/// The standard normal distribution function (Abramowitz and Stegun 26.2.17, error below 1e-7).
fn normal_cdf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let poly = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-x * x / 2.0).exp() * 0.398_942_280_401 * poly;
    if x >= 0.0 { 1.0 - tail } else { tail }
}

/// Draws latencies; keeps a table per factor and added delay.
#[derive(Clone, Debug, Default)]
pub struct LatencyModel {
    tables: BTreeMap<(u32, u32), Table>,
}

impl LatencyModel {
    /// Draws the latencies of `requests` at `factor` times the usual latency plus `added` seconds, into `counters`.
    pub fn draw(
        &mut self,
        requests: u64,
        factor: f64,
        added: f64,
        random: &mut Random,
        counters: &mut Counters,
    ) {
        let factor = (factor.min(200.0) * FACTOR_STEPS).round() as u32;
        let added = (added.min(60.0) * 1000.0).round() as u32;
        let table = self
            .tables
            .entry((factor, added))
            .or_insert_with(|| Table::new(f64::from(factor) / FACTOR_STEPS, f64::from(added) / 1000.0));
        if requests < SINGLY_BELOW {
            for _ in 0..requests {
                let word = random.word();
                let place = table.cumulative.iter().position(|limit| word <= *limit).unwrap_or(BUCKETS - 1);
                counters.buckets[place] += 1;
                counters.seconds += table.middle[place];
            }
            return;
        }
        let (mut left, mut mass) = (requests, 1.0);
        for place in 0..BUCKETS {
            let share = if mass > 1e-12 { (table.each[place] / mass).min(1.0) } else { 1.0 };
            let count = if place + 1 == BUCKETS { left } else { random.binomial(left, share) };
            counters.buckets[place] += count;
            counters.seconds += table.middle[place] * count as f64;
            left -= count;
            mass -= table.each[place];
        }
    }

    /// One latency in seconds.
    pub fn one(&mut self, factor: f64, added: f64, random: &mut Random) -> f64 {
        MEDIAN * factor * (SIGMA * random.normal()).exp() + added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthy_process_answers_95_percent_within_about_120_milliseconds() {
        let (mut model, mut random) = (LatencyModel::default(), Random::new(3));
        for batch in [20, 500] {
            let mut counters = Counters::default();
            for _ in 0..20_000 / batch {
                model.draw(batch, 1.0, 0.0, &mut random, &mut counters);
            }
            let buckets = counters.buckets.map(|count| count as f64);
            let p95 = quantile(&buckets, 0.95).unwrap();
            assert!((0.105..0.14).contains(&p95), "{p95}");
        }
    }

    #[test]
    fn added_latency_moves_every_request() {
        let (mut model, mut random) = (LatencyModel::default(), Random::new(3));
        let mut counters = Counters::default();
        model.draw(1000, 1.0, 0.3, &mut random, &mut counters);
        assert_eq!(counters.buckets[..6].iter().sum::<u64>(), 0, "nothing is faster than the added 300 ms");
    }
}
