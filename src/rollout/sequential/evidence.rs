//! The block e-value, and logarithms of sums.

use serde::{Deserialize, Serialize};

/// Counts beyond this are cut: products of two counts and a factor stay finite.
const HIGHEST: f64 = 1e100;
/// Counts below this are none: their quotients would underflow.
const LOWEST: f64 = 1e-100;

/// Requests of one arm, and how many of them were bad. Counts may be fractional: they are interpolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests.
    pub requests: f64,
    /// Bad ones among them.
    pub bad: f64,
}

impl Tally {
    /// A tally whose values are finite, not negative, and `bad ≤ requests`, whatever is given.
    #[must_use]
    pub fn new(requests: f64, bad: f64) -> Self {
        let requests = tame(requests);
        Self { requests, bad: tame(bad).min(requests) }
    }

    /// Share of bad requests, 0–1; `None` without requests.
    #[must_use]
    pub fn rate(self) -> Option<f64> {
        (self.requests > 0.0).then(|| self.bad / self.requests)
    }

    pub(super) fn add(&mut self, other: Self) {
        *self = Self::new(self.requests + other.requests, self.bad + other.bad);
    }
}

fn tame(count: f64) -> f64 {
    if count.is_nan() || count < LOWEST { 0.0 } else { count.min(HIGHEST) }
}

/// The same block of both arms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contrast {
    /// The new revision.
    pub canary: Tally,
    /// Stable.
    pub control: Tally,
}

/// Logarithm of the two-sample e-value of one block against the null `p_canary ≤ r·p_control + d`, betting on the ratio
/// `ρ = rho` (or, with `rho < r`, against `p_canary ≥ r·p_control + d`).
///
/// With `b = (n_b + r·n_c)/(n_b + ρ·n_c)` and `a = (ρ/r)·b`: `ln e = k_c·ln a + k_b·ln b − d·n_c·(a − 1)`. Since
/// `E[a^k_c] ≤ exp(n_c·p_c·(a − 1))`, `E[b^k_b] ≤ exp(−n_b·p_b·(1 − b))` and `n_b·(1 − b) = r·n_c·(a − 1)`, its mean is 1
/// at most, whatever the sizes and control's rate. Exactly 0 where an arm had no request.
///
/// Source: the two-sample e-variables of Turner, Ly and Grünwald (2021) in the Poissonised form of Lindon and Malek
/// (2022), with a tolerance.
#[must_use]
pub fn ln_e(block: Contrast, r: f64, d: f64, rho: f64) -> f64 {
    let (n_c, k_c) = (block.canary.requests, block.canary.bad);
    let (n_b, k_b) = (block.control.requests, block.control.bad);
    if n_c <= 0.0 || n_b <= 0.0 {
        return 0.0;
    }
    let b = (n_b + r * n_c) / (n_b + rho * n_c);
    let a = rho / r * b;
    k_c * a.ln() + k_b * b.ln() - d * n_c * (a - 1.0)
}

/// ln(eᵃ + eᵇ) without overflow.
#[must_use]
pub fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    high + (low - high).exp().ln_1p()
}

/// ln Σ eˣ without overflow; minus infinity of nothing.
#[must_use]
pub fn ln_sum(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let highest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if highest == f64::NEG_INFINITY {
        return highest;
    }
    highest + logs.map(|log| (log - highest).exp()).sum::<f64>().ln()
}
