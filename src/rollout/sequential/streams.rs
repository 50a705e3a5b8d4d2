//! From raw cumulative counters of pods, scraped at different times, to blocks in which both arms cover the same stretch.
//!
//! Unaligned arms make the onset of a shared incident look like the canary's: what one arm shows already the other will
//! show at its next scrape. So a block ends where every live canary pod has a sample, waits until every live control pod
//! has one beyond it, and takes control's counts linearly between its samples.

use super::evidence::Tally;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A pod not scraped for so many intervals is dead.
const DEAD_AFTER: f64 = 2.5;
/// A dead pod not scraped for so many intervals is forgotten.
const FORGOTTEN_AFTER: f64 = 40.0;
/// Samples kept of a pod whose block cannot be closed; beyond it the older ones are thinned out.
const MOST_SAMPLES: usize = 256;

/// Whose pod it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arm {
    /// Of the new revision.
    Canary,
    /// Of stable.
    Control,
}

/// One scrape of a pod's cumulative counters, summed over its label sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Counters {
    /// Requests since the process began.
    pub requests: f64,
    /// Failed ones.
    pub errors: f64,
    /// The latency histogram's own `+Inf` bucket; `None` takes `requests`.
    pub timed: Option<f64>,
    /// The cumulative bucket of each finite bound: requests *not* slower than it.
    pub within: Vec<f64>,
}

/// What happened in one arm during a block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Requests.
    pub requests: f64,
    /// Failed ones.
    pub errors: f64,
    /// Requests in the latency histogram.
    pub timed: f64,
    /// Of those, slower than each finite bound.
    pub slow: Vec<f64>,
}

impl Counts {
    pub(super) fn error_tally(&self) -> Tally {
        Tally::new(self.requests, self.errors)
    }

    pub(super) fn slow_tally(&self, bound: usize) -> Tally {
        Tally::new(self.timed, self.slow.get(bound).copied().unwrap_or_default())
    }
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// It counts.
    Taken,
    /// The scrape failed, or a value is no number that a counter can have.
    NoValue,
    /// The pod has a sample of this time or a later one.
    NotNewer,
    /// The pod was not added (or is long dead and forgotten).
    UnknownPod,
}

/// A pod's counters as one growing sum, restarts mended.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pod {
    arm: Arm,
    born: Option<f64>,
    raw: Vec<f64>,
    /// Times and sums, ascending; the first is at or before the last block's end wherever there is such a sample.
    samples: VecDeque<(f64, Vec<f64>)>,
}

impl Pod {
    fn newest(&self) -> Option<f64> {
        self.samples.back().map(|(at, _)| *at)
    }

    /// A value that falls tells of a restart: then all counters began at zero, and the new values are all growth.
    fn take(&mut self, at: f64, raw: Vec<f64>, since: f64) {
        let Some((_, sum)) = self.samples.back() else {
            return self.begin(at, raw, since);
        };
        let restarted = raw.iter().zip(&self.raw).any(|(new, old)| new < old);
        let grown = |(new, old): (&f64, &f64)| if restarted { *new } else { new - old };
        let growth = raw.iter().zip(&self.raw).map(grown);
        let sum = sum.iter().zip(growth).map(|(sum, growth)| sum + growth).collect();
        self.samples.push_back((at, sum));
        self.raw = raw;
        if self.samples.len() > MOST_SAMPLES {
            // sums stay right, only the line between two samples gets coarser
            self.samples.remove(1);
        }
    }

    /// The first sample: of a pod born during the rollout all of it is growth, of another it is only a reference.
    fn begin(&mut self, at: f64, raw: Vec<f64>, since: f64) {
        let zero = vec![0.0; raw.len()];
        match self.born {
            Some(born) => {
                let born = if born < at { born } else { since.min(at - 1e-3) };
                self.samples.push_back((born, zero));
                self.samples.push_back((at, raw.clone()));
            }
            None => self.samples.push_back((at, zero)),
        }
        self.raw = raw;
    }

    /// The sums at a time, linear between samples; flat before the first and after the last.
    fn sums(&self, at: f64) -> Option<Vec<f64>> {
        let after = self.samples.partition_point(|(sampled, _)| *sampled <= at);
        let Some((right_at, right)) = self.samples.get(after) else {
            return self.samples.back().map(|(_, sums)| sums.clone());
        };
        let Some((left_at, left)) = after.checked_sub(1).and_then(|left| self.samples.get(left)) else {
            return Some(right.clone());
        };
        let share = (at - left_at) / (right_at - left_at);
        Some(left.iter().zip(right).map(|(left, right)| left + (right - left) * share).collect())
    }

    fn drop_before(&mut self, at: f64) {
        while self.samples.get(1).is_some_and(|(next, _)| *next <= at) {
            self.samples.pop_front();
        }
    }
}

/// The pods of both arms and the samples that no block has consumed yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Streams {
    pods: BTreeMap<String, Pod>,
    interval: f64,
    bounds: usize,
    last: f64,
    now: f64,
}

impl Streams {
    /// Streams whose first block begins at `start`; pods are scraped every `interval` seconds, their histograms have
    /// `bounds` finite bounds. All times are seconds on one clock.
    #[must_use]
    pub fn new(start: f64, interval: f64, bounds: usize) -> Self {
        let finite = |value: f64, other: f64| if value.is_finite() { value } else { other };
        let (start, interval) = (finite(start, 0.0), finite(interval, 15.0).max(1e-3));
        Self { pods: BTreeMap::new(), interval, bounds, last: start, now: start }
    }

    /// Makes a pod known; again for the same name it changes nothing. `born` is when it was created if that was during
    /// the rollout: its counters began at zero then (Prometheus' `rate` would drop its first value, prometheus#3886).
    pub fn add(&mut self, name: &str, arm: Arm, born: Option<f64>) {
        if !self.pods.contains_key(name) {
            let born = born.filter(|born| born.is_finite());
            let pod = Pod { arm, born, raw: Vec::new(), samples: VecDeque::new() };
            self.pods.insert(name.to_owned(), pod);
        }
    }

    /// Takes one scrape in; `None` is a scrape that failed or was stale.
    pub fn push(&mut self, name: &str, at: f64, counters: Option<&Counters>) -> Intake {
        if !at.is_finite() {
            return Intake::NoValue;
        }
        self.now = self.now.max(at);
        let Some(pod) = self.pods.get_mut(name) else { return Intake::UnknownPod };
        let Some(raw) = counters.and_then(|counters| flat(counters, self.bounds)) else {
            return Intake::NoValue;
        };
        if pod.newest().is_some_and(|newest| at <= newest) {
            return Intake::NotNewer;
        }
        pod.take(at, raw, self.last);
        Intake::Taken
    }

    /// The newest time of which every live canary pod has a sample, if it is beyond the last block.
    #[must_use]
    pub fn open_until(&self) -> Option<f64> {
        let newest = self.live(Arm::Canary).fold(f64::INFINITY, f64::min);
        (newest.is_finite() && newest > self.last).then_some(newest)
    }

    /// Whether every live control pod has a sample at or beyond this time.
    #[must_use]
    pub fn control_reaches(&self, at: f64) -> bool {
        self.live(Arm::Control).all(|newest| newest >= at)
    }

    /// Newest sample of any pod, the streams' present.
    #[must_use]
    pub fn now(&self) -> f64 {
        self.now
    }

    /// End of the last block.
    #[must_use]
    pub fn last(&self) -> f64 {
        self.last
    }

    /// Both arms since the last block: the canary until `at`, control as far as its samples go. Nothing is consumed.
    #[must_use]
    pub fn preview(&self, at: f64) -> (Counts, Counts) {
        (self.counts(Arm::Canary, at), self.counts(Arm::Control, f64::INFINITY))
    }

    /// Ends the block at `at`: its length and both arms. Samples that no later block needs are dropped.
    pub fn close(&mut self, at: f64) -> (f64, Counts, Counts) {
        let counts = (at - self.last, self.counts(Arm::Canary, at), self.counts(Arm::Control, at));
        self.last = at;
        let forgotten = at - FORGOTTEN_AFTER * self.interval;
        self.pods.retain(|_, pod| pod.newest().is_none_or(|newest| newest >= forgotten));
        self.pods.values_mut().for_each(|pod| pod.drop_before(at));
        counts
    }

    /// Whether every row has the length that it must have.
    pub(super) fn is_sound(&self) -> bool {
        let whole = 3 + self.bounds;
        let fits = |pod: &Pod| {
            (pod.raw.is_empty() || pod.raw.len() == whole)
                && pod.samples.iter().all(|(at, sums)| at.is_finite() && sums.len() == whole)
        };
        self.last.is_finite() && self.now.is_finite() && self.interval > 0.0 && self.pods.values().all(fits)
    }

    /// Latency bounds of the histograms.
    pub(super) fn bounds(&self) -> usize {
        self.bounds
    }

    /// Samples kept at the moment.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.pods.values().map(|pod| pod.samples.len()).sum()
    }

    fn live(&self, arm: Arm) -> impl Iterator<Item = f64> {
        let oldest = self.now - DEAD_AFTER * self.interval;
        let pods = self.pods.values().filter(move |pod| pod.arm == arm);
        pods.filter_map(Pod::newest).filter(move |newest| *newest >= oldest)
    }

    fn counts(&self, arm: Arm, until: f64) -> Counts {
        let mut total = vec![0.0; 3 + self.bounds];
        for pod in self.pods.values().filter(|pod| pod.arm == arm) {
            let (Some(from), Some(to)) = (pod.sums(self.last), pod.sums(until)) else { continue };
            for (total, (from, to)) in total.iter_mut().zip(from.iter().zip(to)) {
                *total += (to - from).max(0.0);
            }
        }
        let timed = total[2];
        let slow = total[3..].iter().map(|within| (timed - within).max(0.0)).collect();
        Counts { requests: total[0], errors: total[1].min(total[0]), timed, slow }
    }
}

/// Counters as one row, if each is a value that a counter can have and the row has the right length.
fn flat(counters: &Counters, bounds: usize) -> Option<Vec<f64>> {
    let timed = counters.timed.unwrap_or(counters.requests);
    let mut row = vec![counters.requests, counters.errors, timed];
    row.extend(&counters.within);
    let sound = |value: &f64| value.is_finite() && (0.0..=1e100).contains(value);
    (row.len() == 3 + bounds && row.iter().all(sound)).then_some(row)
}
