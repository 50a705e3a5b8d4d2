//! What a metric store holds: the counters of every process, scraped at its own phase, and questions about them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::domain::counters::PodSample;

use super::pods::{Kubelet, PodIndex, PodRun};
use super::queue::Millis;
use super::traffic::latency::{BOUNDS, BUCKETS, Counters, quantile};

/// One scrape.
#[derive(Clone, Debug)]
struct Sample {
    at: Millis,
    counters: Counters,
}

/// Counters over a window, summed over processes, as `increase()` gives them: extrapolated to the window's ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Increase {
    /// Requests answered below 500.
    pub ok: f64,
    /// Requests answered 5xx.
    pub errors: f64,
    /// Requests per bucket of latency (not cumulative).
    pub buckets: [f64; BUCKETS],
    /// Processes that had at least two samples in the window.
    pub series: usize,
}

impl Increase {
    /// All requests.
    #[must_use]
    pub fn requests(&self) -> f64 {
        self.ok + self.errors
    }

    /// The share of requests answered 5xx; `None` without requests.
    #[must_use]
    pub fn error_rate(&self) -> Option<f64> {
        (self.requests() > 0.0).then(|| self.errors / self.requests())
    }

    /// A latency quantile in seconds; `None` without requests.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        quantile(&self.buckets, share)
    }
}

/// The series of a cluster.
#[derive(Clone, Debug)]
pub struct History {
    interval: u64,
    second: u64,
    samples: BTreeMap<PodIndex, Vec<Sample>>,
}

impl History {
    /// Scrapes every process every `interval` seconds.
    #[must_use]
    pub fn new(interval: u64) -> Self {
        Self { interval: interval.max(1), second: 0, samples: BTreeMap::new() }
    }

    /// One second passes: the processes whose turn it is are scraped.
    pub fn scrape(&mut self, kubelet: &Kubelet, now: Millis) {
        self.second += 1;
        for index in kubelet.present() {
            let run = &kubelet.runs[index];
            if run.answers() && !run.job && (self.second + run.seed).is_multiple_of(self.interval) {
                let samples = self.samples.entry(index).or_default();
                samples.push(Sample { at: now, counters: run.counters.clone() });
            }
        }
    }

    /// The samples of the processes that `wanted` accepts in the `window` milliseconds before `now`.
    pub fn samples(
        &self,
        kubelet: &Kubelet,
        now: Millis,
        window: Millis,
        wanted: &dyn Fn(&PodRun) -> bool,
    ) -> Vec<PodSample> {
        let mut out = Vec::new();
        for (index, samples) in &self.samples {
            let run = &kubelet.runs[*index];
            if wanted(run) {
                let inside = samples.iter().filter(|sample| sample.at <= now && sample.at + window > now);
                out.extend(inside.map(|sample| sample.counters.sample(&run.name, sample.at)));
            }
        }
        out
    }

    /// What the processes that `wanted` accepts counted in the `window` milliseconds before `now`.
    pub fn increase(
        &self,
        kubelet: &Kubelet,
        now: Millis,
        window: Millis,
        wanted: &dyn Fn(&PodRun) -> bool,
    ) -> Increase {
        let mut sum = Increase::default();
        for (index, samples) in &self.samples {
            if wanted(&kubelet.runs[*index]) {
                add_increase(&mut sum, samples, now, window);
            }
        }
        sum
    }
}

/// Adds the increase of one process, a restart of which set its counters back to zero.
fn add_increase(sum: &mut Increase, samples: &[Sample], now: Millis, window: Millis) {
    let from = samples.partition_point(|sample| sample.at + window <= now);
    let until = samples.partition_point(|sample| sample.at <= now);
    let samples = samples.get(from..until).unwrap_or_default();
    let [first, .., last] = samples else {
        return;
    };
    let mut raw = Increase::default();
    for pair in samples.windows(2) {
        let (before, after) = (&pair[0].counters, &pair[1].counters);
        let reset = after.requests() < before.requests();
        let step = |before: u64, after: u64| if reset { after } else { after.saturating_sub(before) } as f64;
        raw.ok += step(before.ok, after.ok);
        raw.errors += step(before.errors, after.errors);
        for (place, bucket) in raw.buckets.iter_mut().enumerate() {
            *bucket += step(before.buckets[place], after.buckets[place]);
        }
    }
    let factor = extrapolation(first, last, samples.len(), now, window, raw.requests());
    sum.ok += raw.ok * factor;
    sum.errors += raw.errors * factor;
    for (total, bucket) in sum.buckets.iter_mut().zip(raw.buckets) {
        *total += bucket * factor;
    }
    sum.series += 1;
}

/// How far the samples stand for the whole window: to its ends if they come near them, else half an interval
/// further, and never below zero.
fn extrapolation(
    first: &Sample,
    last: &Sample,
    count: usize,
    now: Millis,
    window: Millis,
    increase: f64,
) -> f64 {
    let sampled = (last.at - first.at) as f64;
    let average = sampled / (count - 1) as f64;
    let threshold = average * 1.1;
    let mut to_start = first.at as f64 - (now as f64 - window as f64);
    let mut to_end = (now - last.at) as f64;
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if increase > 0.0 {
        let to_zero = sampled * first.counters.requests() as f64 / increase;
        to_start = to_start.min(to_zero);
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    (sampled + to_start + to_end) / sampled
}

/// What `/metrics` of a process answers.
#[must_use]
pub fn exposition(run: &PodRun) -> String {
    let counters = &run.counters;
    let mut text = String::from("# TYPE http_requests_total counter\n");
    for (status, count) in [("200", counters.ok), ("500", counters.errors)] {
        let _ = writeln!(text, "http_requests_total{{method=\"GET\",status=\"{status}\"}} {count}");
    }
    text.push_str("# TYPE http_request_duration_seconds histogram\n");
    let mut below = 0;
    for (place, count) in counters.buckets.iter().enumerate() {
        below += count;
        let bound = BOUNDS.get(place).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
        let _ = writeln!(text, "http_request_duration_seconds_bucket{{le=\"{bound}\"}} {below}");
    }
    let _ = writeln!(text, "http_request_duration_seconds_count {below}");
    let _ = writeln!(text, "http_request_duration_seconds_sum {:.3}", counters.seconds);
    text
}
