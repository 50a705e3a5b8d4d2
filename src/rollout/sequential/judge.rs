//! The judge of one component on one target: takes aligned blocks in, says after each what it means.

use super::burst::Burst;
use super::evidence::{Contrast, Tally, ln_add, ln_sum};
use super::explain::{Explanation, Scene};
use super::guards::{Absolute, Starvation};
use super::params::Params;
use super::streams::Counts;
use super::wealth::{Against, Gate};
use serde::{Deserialize, Serialize};

/// Both arms over the same stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its end, seconds on the samples' clock.
    pub at: f64,
    /// Its length, seconds.
    pub dt: f64,
    /// The canary's share of the traffic, 0–1: the lowest that was in force during the block. `None` when unknown: then
    /// the starvation guard stays silent. 0 is a brake and begins no step.
    pub weight: Option<f64>,
    /// The new revision.
    pub canary: Counts,
    /// Stable.
    pub control: Counts,
}

impl Block {
    fn errors(&self) -> Contrast {
        Contrast { canary: self.canary.error_tally(), control: self.control.error_tally() }
    }

    fn slow(&self, bound: usize) -> Contrast {
        Contrast { canary: self.canary.slow_tally(bound), control: self.control.slow_tally(bound) }
    }

    /// Whether there is nothing to compare the canary with: it has all the traffic, or stable had none.
    fn without_control(&self) -> bool {
        self.weight.is_some_and(|weight| weight >= 1.0) || self.control.error_tally().requests <= 0.0
    }
}

/// What a block means; the first that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The canary is worse than tolerated: take it back.
    Rollback,
    /// It gets too few requests: hold, and take the traffic off it meanwhile.
    HoldStarved,
    /// It had no request for too long: nothing can be said.
    Inconclusive,
    /// It may be worse: do not raise the weight.
    HoldSuspicious,
    /// It is as good as stable: the step may end early.
    PromoteReady,
    /// Go on as planned.
    Continue,
}

impl Verdict {
    /// Its name in records: `hold_starved`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::HoldStarved => "hold_starved",
            Self::Inconclusive => "inconclusive",
            Self::HoldSuspicious => "hold_suspicious",
            Self::PromoteReady => "promote_ready",
            Self::Continue => "continue",
        }
    }
}

/// Natural logarithms of all evidence after a block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Logs {
    /// Errors, against `p_canary ≤ r·p_control`.
    pub ln_err_ratio: f64,
    /// Errors, against `p_canary ≤ p_control + δ`.
    pub ln_err_margin: f64,
    /// Per latency bound, the smaller of the same two.
    pub ln_lat: Vec<f64>,
    /// All together: rolls back at ln(1/α).
    #[serde(rename = "ln_E")]
    pub ln_e: f64,
    /// For early promotion, since the step began.
    pub ln_safe: f64,
    /// That the canary gets less than its share.
    pub ln_starve: f64,
    /// That its error rate exceeds the absolute limit.
    pub ln_abs: f64,
}

/// What a block said.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// All evidence.
    pub logs: Logs,
    /// In words and numbers for an operator.
    pub explanation: Explanation,
}

/// The judge of one component on one target over a whole rollout. It keeps sums only, no samples.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judge {
    params: Params,
    burst: Burst,
    bounds_s: Vec<f64>,
    errors: Gate,
    latency: Vec<Gate>,
    starvation: Starvation,
    absolute: Absolute,
    logs: Logs,
    weight: Option<f64>,
    step_began: Option<f64>,
    last_request: Option<f64>,
    now: f64,
}

impl Judge {
    /// A judge with burst factors from control's history; it has one gate per finite latency bound of `burst`.
    #[must_use]
    pub fn new(params: Params, burst: Burst) -> Self {
        let latency = burst.latency.iter();
        let latency: Vec<_> =
            latency.map(|phi| Gate::new(params.latency, params.latency_safe, *phi, &params)).collect();
        Self {
            errors: Gate::new(params.errors, params.errors_safe, burst.errors, &params),
            starvation: Starvation::new(&params),
            absolute: Absolute::new(&params),
            logs: Logs { ln_lat: vec![0.0; latency.len()], ..Logs::default() },
            latency,
            bounds_s: Vec::new(),
            burst,
            params,
            weight: None,
            step_began: None,
            last_request: None,
            now: 0.0,
        }
    }

    /// The same judge that names its latency bounds in explanations, in seconds.
    #[must_use]
    pub fn with_bounds(mut self, bounds_s: Vec<f64>) -> Self {
        self.bounds_s = bounds_s;
        self
    }

    /// Its parameters.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// All evidence as of the last block.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Takes a block in and says what it means.
    pub fn observe(&mut self, block: &Block) -> Judgement {
        let dt = if block.dt.is_finite() { block.dt.clamp(0.0, 1e12) } else { 0.0 };
        self.keep_time(block, dt);
        let errors = self.errors.settle(block.errors(), dt, &self.params);
        self.logs.ln_err_ratio = errors.ratio;
        self.logs.ln_err_margin = errors.margin;
        for (bound, (gate, ln_lat)) in self.latency.iter_mut().zip(&mut self.logs.ln_lat).enumerate() {
            *ln_lat = gate.settle(block.slow(bound), dt, &self.params).least();
        }
        self.logs.ln_e = self.mix(errors, self.logs.ln_lat.iter().copied());
        self.logs.ln_safe = self.gates().map(Gate::ln_safe).fold(f64::INFINITY, f64::min);
        self.guard(block, dt);
        self.judgement(self.decide())
    }

    /// Evidence (ln) that rolling back would rest on if this block were taken in. Nothing is changed.
    #[must_use]
    pub fn peek(&self, block: &Block) -> f64 {
        let errors = self.errors.peek(block.errors(), &self.params);
        let latency = self.latency.iter().enumerate();
        let latency = latency.map(|(bound, gate)| gate.peek(block.slow(bound), &self.params).least());
        let ln_e = self.mix(errors, latency);
        if !block.weight.is_some_and(|weight| weight >= 1.0) {
            return ln_e;
        }
        ln_e.max(self.absolute.peek(block.canary.error_tally(), self.burst.errors, &self.params))
    }

    /// What stands at a time when no block could be closed: nothing new, or that the canary has been silent too long.
    #[must_use]
    pub fn at(&self, now: f64) -> Judgement {
        let mut later = self.clone();
        later.now = if now.is_finite() { now.max(self.now) } else { self.now };
        later.last_request = self.last_request.or(Some(self.now));
        later.judgement(later.decide())
    }

    /// Sets when the rollout began, for [`Judge::at`] before the first block.
    pub fn begin(&mut self, at: f64) {
        self.now = if at.is_finite() { at } else { 0.0 };
        self.last_request = Some(self.now);
    }

    fn keep_time(&mut self, block: &Block, dt: f64) {
        if block.at.is_finite() && (self.step_began.is_none() || block.at > self.now) {
            self.now = block.at;
        }
        let began = self.now - dt;
        let step = block.weight.filter(|weight| *weight > 0.0);
        let next_step = step.is_some() && step != self.weight;
        if self.step_began.is_none() || next_step {
            self.gates_mut().for_each(Gate::restart_safe);
            self.step_began = Some(began);
            self.weight = step.or(self.weight);
        }
        if block.canary.error_tally().requests > 0.0 {
            self.last_request = Some(self.now);
        }
        self.last_request.get_or_insert(began);
    }

    fn guard(&mut self, block: &Block, dt: f64) {
        let (canary, control) = (block.canary.error_tally(), block.control.error_tally());
        if let Some(weight) = block.weight {
            let weight = if weight.is_finite() { weight.clamp(0.0, 1.0) } else { 0.0 };
            self.logs.ln_starve =
                self.starvation.settle(weight, canary.requests, control.requests, dt, &self.params);
        }
        if block.without_control() {
            self.logs.ln_abs = self.absolute.settle(canary, self.burst.errors, dt, &self.params);
        }
    }

    /// ln of `0.7·errors + 0.3·mean over bounds`: weights that make 1, so any dependence of the parts is allowed.
    fn mix(&self, errors: Against, latency: impl Iterator<Item = f64> + Clone) -> f64 {
        if self.latency.is_empty() {
            return errors.least();
        }
        let mean = ln_sum(latency) - (self.latency.len() as f64).ln();
        ln_add(self.params.error_share.ln() + errors.least(), self.params.latency_share.ln() + mean)
    }

    fn gates(&self) -> impl Iterator<Item = &Gate> {
        std::iter::once(&self.errors).chain(&self.latency)
    }

    fn gates_mut(&mut self) -> impl Iterator<Item = &mut Gate> {
        std::iter::once(&mut self.errors).chain(&mut self.latency)
    }

    fn held(&self) -> f64 {
        self.step_began.map_or(0.0, |began| self.now - began)
    }

    fn silent(&self) -> f64 {
        self.last_request.map_or(0.0, |last| self.now - last)
    }

    fn decide(&self) -> Verdict {
        /// Times are sums of scrape intervals: a hair's breadth is not late.
        const HAIR: f64 = 1e-9;
        let (logs, params) = (&self.logs, &self.params);
        if logs.ln_e >= params.ln_rollback() || logs.ln_abs >= params.ln_rollback() {
            Verdict::Rollback
        } else if logs.ln_starve >= params.ln_rollback() {
            Verdict::HoldStarved
        } else if self.silent() >= params.no_data_s - HAIR {
            Verdict::Inconclusive
        } else if logs.ln_e >= params.suspicious.ln() {
            Verdict::HoldSuspicious
        } else if logs.ln_safe >= params.ln_promote()
            && logs.ln_e < 0.0
            && self.held() >= params.min_hold_s - HAIR
        {
            Verdict::PromoteReady
        } else {
            Verdict::Continue
        }
    }

    fn judgement(&self, verdict: Verdict) -> Judgement {
        Judgement { verdict, logs: self.logs.clone(), explanation: self.explain(verdict) }
    }

    /// What this verdict rests on.
    pub(super) fn explain(&self, verdict: Verdict) -> Explanation {
        Explanation::of(&Scene {
            verdict,
            params: &self.params,
            logs: &self.logs,
            errors: &self.errors,
            latency: &self.latency,
            alone: self.absolute.rising(),
            bounds_s: &self.bounds_s,
            held_s: self.held(),
            silent_s: self.silent(),
        })
    }

    /// Whether its parts fit together, which those of a damaged record need not.
    pub(super) fn is_sound(&self) -> bool {
        let bounds = self.latency.len();
        bounds == self.burst.latency.len() && bounds == self.logs.ln_lat.len() && self.params.check().is_ok()
    }

    /// Latency bounds that it judges.
    pub(super) fn bounds(&self) -> usize {
        self.latency.len()
    }

    /// Burst factors.
    #[must_use]
    pub fn burst(&self) -> &Burst {
        &self.burst
    }

    /// Errors of both arms so far.
    #[must_use]
    pub fn seen(&self) -> (Tally, Tally) {
        (self.errors.seen.canary, self.errors.seen.control)
    }
}
