//! What the analysis tolerates, what it bets on, and how sure it must be.

use serde::{Deserialize, Serialize};

/// A tolerance: the canary's rate may reach `max(ratio · control's rate, control's rate + margin)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// Factor on control's rate.
    pub ratio: f64,
    /// Added to control's rate, 0–1.
    pub margin: f64,
}

/// All parameters of the analysis; the defaults are those that the benchmark was run with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// Bound on the probability to roll a tolerable canary back, over all blocks and steps together (0–1). A caller
    /// that watches several components and targets gives each its share: [`Params::split`].
    pub alpha: f64,
    /// Bound on the probability to promote an intolerable canary early, per step (0–1).
    pub beta: f64,
    /// Share of the errors in the evidence; with `latency_share` it makes 1.
    pub error_share: f64,
    /// Share of latency in the evidence.
    pub latency_share: f64,
    /// Time constant of the fixed share, seconds: for how long ago a fault may have begun and still be met afresh.
    pub tau_s: f64,
    /// What errors are tolerated.
    pub errors: Tolerance,
    /// What latency is tolerated, as the share of requests slower than a bucket's bound.
    pub latency: Tolerance,
    /// What counts as certainly good enough for errors: exceeding it is what early promotion refutes.
    pub errors_safe: Tolerance,
    /// The same for latency.
    pub latency_safe: Tolerance,
    /// Alternatives that wealth is bet on, as factors on the tolerated ratio.
    pub multiples: [f64; 5],
    /// Prior shares: cash, then one per multiple.
    pub prior: [f64; 6],
    /// Alternatives of early promotion, as factors on the refuted ratio (below 1).
    pub safe_multiples: [f64; 4],
    /// Share of its due traffic that a canary must at least get.
    pub starvation_ratio: f64,
    /// Alternatives of the starvation guard, as factors on that ratio (below 1).
    pub starvation_multiples: [f64; 5],
    /// Error rate tolerated where no control serves (0–1).
    pub absolute_max: f64,
    /// Shortest time at a step before an early promotion, seconds.
    pub min_hold_s: f64,
    /// Evidence (as a factor) from which on the weight is not raised.
    pub suspicious: f64,
    /// Time without a canary request after which nothing can be said, seconds.
    pub no_data_s: f64,
    /// Natural logarithm of the evidence that rolls back; `None`: ln(1/α).
    pub rollback_at: Option<f64>,
    /// Natural logarithm of the evidence that promotes; `None`: ln(1/β).
    pub promote_at: Option<f64>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            beta: 0.01,
            error_share: 0.7,
            latency_share: 0.3,
            tau_s: 3000.0,
            errors: Tolerance { ratio: 1.1, margin: 0.0005 },
            latency: Tolerance { ratio: 1.5, margin: 0.01 },
            errors_safe: Tolerance { ratio: 2.0, margin: 0.005 },
            latency_safe: Tolerance { ratio: 2.0, margin: 0.02 },
            multiples: [1.6, 3.0, 8.0, 30.0, 1000.0],
            prior: [0.15, 0.12, 0.18, 0.2, 0.15, 0.2],
            safe_multiples: [0.05, 0.2, 0.5, 0.8],
            starvation_ratio: 0.5,
            starvation_multiples: [0.02, 0.1, 0.3, 0.5, 0.7],
            absolute_max: 0.05,
            min_hold_s: 120.0,
            suspicious: 3.0,
            no_data_s: 60.0,
            rollback_at: None,
            promote_at: None,
        }
    }
}

impl Params {
    /// These parameters with α split evenly over `judges` that run beside each other (components × targets), so that
    /// the bound is one of the whole run (union bound).
    #[must_use]
    pub fn split(mut self, judges: usize) -> Self {
        self.alpha /= judges.max(1) as f64;
        self
    }

    /// Logarithm of the evidence that rolls back. Ville's inequality: a nonnegative supermartingale that starts at 1
    /// ever reaches 1/α with probability α at most.
    #[must_use]
    pub fn ln_rollback(&self) -> f64 {
        self.rollback_at.unwrap_or_else(|| -self.alpha.ln())
    }

    /// Logarithm of the evidence that promotes early.
    #[must_use]
    pub fn ln_promote(&self) -> f64 {
        self.promote_at.unwrap_or_else(|| -self.beta.ln())
    }

    /// Whether the bound on false rollbacks holds for these values, and all arithmetic stays finite.
    ///
    /// # Errors
    /// Names the first parameter that is out of its range, and the range.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f64, low: f64, high: f64| {
            let fits = value.is_finite() && value >= low && value <= high;
            if fits { Ok(()) } else { Err(format!("{name} is {value}, not within {low} and {high}")) }
        };
        for (name, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            within(name, value, 1e-12, 1.0)?;
        }
        for (name, share) in [("w_err", self.error_share), ("w_lat", self.latency_share)] {
            within(name, share, 1e-9, 1.0)?;
        }
        within("w_err + w_lat", self.error_share + self.latency_share, 0.0, 1.0 + 1e-9)?;
        within("tau_s", self.tau_s, 1e-3, 1e12)?;
        let tolerances = [
            ("err", self.errors),
            ("lat", self.latency),
            ("err_safe", self.errors_safe),
            ("lat_safe", self.latency_safe),
        ];
        for (name, tolerance) in tolerances {
            within(&format!("{name}[0]"), tolerance.ratio, 1e-6, 1e6)?;
            within(&format!("{name}[1]"), tolerance.margin, 0.0, 1.0)?;
        }
        self.multiples.iter().try_for_each(|multiple| within("mult", *multiple, 1.0, 1e6))?;
        self.prior.iter().try_for_each(|share| within("prior", *share, 1e-12, 1.0))?;
        within("sum of prior", self.prior.iter().sum(), 0.0, 1.0 + 1e-9)?;
        self.safe_multiples.iter().try_for_each(|multiple| within("safe_mult", *multiple, 1e-6, 1.0))?;
        within("starve_r", self.starvation_ratio, 1e-6, 1.0)?;
        self.starvation_multiples
            .iter()
            .try_for_each(|multiple| within("starve_mult", *multiple, 1e-6, 1.0))?;
        within("abs_max", self.absolute_max, 1e-9, 1.0)?;
        within("min_hold_s", self.min_hold_s, 0.0, 1e12)?;
        within("suspicious", self.suspicious, 1e-12, 1e300)?;
        within("no_data_s", self.no_data_s, 0.0, 1e12)?;
        within("thresholds.rollback", self.ln_rollback(), -700.0, 1e12)?;
        within("thresholds.promote", self.ln_promote(), -700.0, 1e12)
    }
}
