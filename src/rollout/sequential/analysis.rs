//! A canary under analysis: samples go in, decisions come out.

use super::burst::Burst;
use super::explain::Explanation;
use super::judge::{Block, Judge, Judgement, Logs, Verdict};
use super::params::Params;
use super::streams::{Arm, Counters, Intake, Streams};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What a driver is to do about the canary's traffic, beside its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brake {
    /// Set the weight to 0 at once; stable must be able to carry all.
    On,
    /// Set it back to the step's weight.
    Off,
}

/// What a sample led to.
#[derive(Clone, Debug)]
pub struct Decision {
    /// When, seconds on the samples' clock.
    pub at: f64,
    /// The block that was closed; `None` for a decision between blocks (the brake, or a look at the clock).
    pub block: Option<Block>,
    /// What the evidence means.
    pub verdict: Verdict,
    /// A change of the brake, if any.
    pub brake: Option<Brake>,
    /// Why.
    pub explanation: Explanation,
    /// All evidence.
    pub logs: Logs,
}

/// The analysis of one component's canary on one target over a whole rollout: alignment, judge and brake.
///
/// A driver tells it of pods ([`Analysis::pod`]) and of weights that are in force ([`Analysis::set_weight`]), feeds every
/// scrape, and does what the decisions say. It has no clock and does no input or output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Analysis {
    streams: Streams,
    judge: Judge,
    /// When which weight came into force, ascending; the first is the one in force at the last block's end.
    weights: VecDeque<(f64, f64)>,
    braked: bool,
    verdict: Verdict,
}

impl Analysis {
    /// An analysis that begins at `start`, of pods scraped every `interval` seconds. `burst` is of control's history and
    /// has one factor per finite latency bound of the pods' histograms (none: latency is not judged).
    #[must_use]
    pub fn new(params: Params, burst: Burst, start: f64, interval: f64) -> Self {
        let streams = Streams::new(start, interval, burst.latency.len());
        let mut judge = Judge::new(params, burst);
        judge.begin(streams.last());
        Self { streams, judge, weights: VecDeque::new(), braked: false, verdict: Verdict::Continue }
    }

    /// The same analysis that names its latency bounds in explanations, in seconds, ascending.
    #[must_use]
    pub fn with_bounds(mut self, bounds_s: Vec<f64>) -> Self {
        self.judge = self.judge.with_bounds(bounds_s);
        self
    }

    /// Makes a pod known before its first sample; see [`Streams::add`].
    pub fn pod(&mut self, name: &str, arm: Arm, born: Option<f64>) {
        self.streams.add(name, arm, born);
    }

    /// Tells which share of the traffic (0–1) the canary gets from `at` on, the brake's 0 included. A new weight above 0
    /// is a new step. With pods as weights it is the share that their number makes, not the one that was asked for.
    /// Without any weight told, the starvation guard stays silent.
    pub fn set_weight(&mut self, at: f64, weight: f64) {
        if at.is_finite() && weight.is_finite() {
            let at = self.weights.back().map_or(at, |(before, _)| at.max(*before));
            self.weights.push_back((at, weight.clamp(0.0, 1.0)));
        }
    }

    /// Takes one scrape in (`None`: it failed) and decides.
    pub fn feed(&mut self, pod: &str, at: f64, counters: Option<&Counters>) -> Option<Decision> {
        self.take(pod, at, counters);
        self.decide()
    }

    /// Takes one scrape in. Of pods that were scraped together, all are taken before [`Analysis::decide`].
    pub fn take(&mut self, pod: &str, at: f64, counters: Option<&Counters>) -> Intake {
        self.streams.push(pod, at, counters)
    }

    /// A decision when what was taken closes a block or moves the brake.
    pub fn decide(&mut self) -> Option<Decision> {
        self.close_if_ready().or_else(|| self.peek())
    }

    /// A look at the clock: says so when the canary has been silent for too long, which closes no block.
    #[must_use]
    pub fn at(&self, now: f64) -> Option<Decision> {
        let judged = self.judge.at(now);
        (judged.verdict == Verdict::Inconclusive).then(|| decision(now, None, None, judged))
    }

    /// Whether the canary's traffic is held off at the moment.
    #[must_use]
    pub fn braked(&self) -> bool {
        self.braked
    }

    /// Whether its parts fit together: asked of one that was read from a record.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.judge.is_sound() && self.streams.is_sound() && self.judge.bounds() == self.streams.bounds()
    }

    /// The judge behind it.
    #[must_use]
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// The samples that wait for a block.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    fn close_if_ready(&mut self) -> Option<Decision> {
        let until = self.streams.open_until().filter(|until| self.streams.control_reaches(*until))?;
        let weight = self.weight_until(until);
        let (dt, canary, control) = self.streams.close(until);
        while self.weights.get(1).is_some_and(|(at, _)| *at <= until) {
            self.weights.pop_front();
        }
        let block = Block { at: until, dt, weight, canary, control };
        let judged = self.judge.observe(&block);
        self.verdict = judged.verdict;
        let brake = self.brake_after(judged.verdict);
        Some(decision(self.streams.now(), Some(block), brake, judged))
    }

    /// The aligned block decides over the brake: off unless it agrees, on for a canary that starves.
    fn brake_after(&mut self, verdict: Verdict) -> Option<Brake> {
        let wanted = match verdict {
            Verdict::HoldStarved => true,
            Verdict::Rollback => self.braked,
            _ => false,
        };
        let changed = wanted != self.braked;
        self.braked = wanted;
        changed.then_some(if wanted { Brake::On } else { Brake::Off })
    }

    /// Before control is there in full: what exists decides over the brake, which can be taken back, and over nothing
    /// else.
    fn peek(&mut self) -> Option<Decision> {
        let until = self.streams.open_until().filter(|_| !self.braked)?;
        let (canary, control) = self.streams.preview(until);
        let dt = until - self.streams.last();
        let block = Block { at: until, dt, weight: self.weight_until(until), canary, control };
        if self.judge.peek(&block) < self.judge.params().ln_rollback() {
            return None;
        }
        self.braked = true;
        let mut explained = self.judge.clone();
        let seen = explained.observe(&block).explanation;
        let logs = self.judge.logs().clone();
        let judged = Judgement { verdict: self.verdict, logs, explanation: seen };
        Some(decision(self.streams.now(), None, Some(Brake::On), judged))
    }

    /// The lowest weight in force between the last block's end and `until`.
    fn weight_until(&self, until: f64) -> Option<f64> {
        let last = self.streams.last();
        let began = self.weights.iter().rposition(|(at, _)| *at <= last).unwrap_or(0);
        let in_force = self.weights.iter().skip(began).filter(|(at, _)| *at < until);
        in_force.map(|(_, weight)| *weight).reduce(f64::min)
    }
}

fn decision(at: f64, block: Option<Block>, brake: Option<Brake>, judged: Judgement) -> Decision {
    let Judgement { verdict, logs, explanation } = judged;
    Decision { at, block, verdict, brake, explanation, logs }
}
