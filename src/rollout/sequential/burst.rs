//! How much events cluster: retries make errors come in clusters, pauses make slow requests do.

use super::evidence::Tally;
use super::streams::Counts;
use serde::{Deserialize, Serialize};

/// Highest factor.
const HIGHEST: f64 = 50.0;
/// Dispersion up to which events count as independent.
const INDEPENDENT: f64 = 1.3;
/// Added to the dispersion, since it is estimated.
pub(super) const CAUTION: f64 = 1.5;

/// Burst factors φ per gate, 1 for independent events. Dividing a block's ln e by φ keeps its mean below 1 for clusters
/// of φ events at most; as φ is estimated, the bound on false rollbacks is empirical there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// Of errors.
    pub errors: f64,
    /// Of slow requests, per finite latency bound.
    pub latency: Vec<f64>,
}

impl Burst {
    /// Independent events, `bounds` latency bounds.
    #[must_use]
    pub fn none(bounds: usize) -> Self {
        Self { errors: 1.0, latency: vec![1.0; bounds] }
    }

    /// From blocks of control's own history: two hours in blocks of one scrape interval.
    #[must_use]
    pub fn of_history(blocks: &[Counts], bounds: usize) -> Self {
        let errors: Vec<_> = blocks.iter().map(|block| (block.requests, block.errors)).collect();
        let latency = (0..bounds).map(|bound| {
            let slow: Vec<_> = blocks
                .iter()
                .map(|block| (block.timed, block.slow.get(bound).copied().unwrap_or_default()))
                .collect();
            factor(dispersion(&slow))
        });
        Self { errors: factor(dispersion(&errors)), latency: latency.collect() }
    }
}

/// Dispersion D of blocks `(n, k)`: the mean of `(Δ(k/n))² / [p(1 − p)(1/nᵢ + 1/nᵢ₊₁)]` over neighbours that both had
/// requests; 1 for independent events, 0 where there is nothing to measure. Differences of neighbours, so that a rate
/// that drifts through the day does not count (von Neumann's mean square successive difference).
#[must_use]
pub fn dispersion(blocks: &[(f64, f64)]) -> f64 {
    let sound = |value: f64| value.is_finite() && (0.0..=1e100).contains(&value);
    let sound = blocks.iter().copied().filter(|(n, k)| sound(*n) && sound(*k));
    let tallies: Vec<_> = sound.map(|(n, k)| Tally::new(n, k)).collect();
    let mut all = Tally::default();
    for tally in &tallies {
        all.add(*tally);
    }
    let p = all.rate().unwrap_or_default();
    let mut squares = (0.0, 0.0);
    for pair in tallies.windows(2) {
        let [before, after] = [pair[0], pair[1]];
        let (Some(rate_before), Some(rate_after)) = (before.rate(), after.rate()) else { continue };
        let variance = p * (1.0 - p) * (1.0 / before.requests + 1.0 / after.requests);
        if variance.is_finite() && variance > 0.0 {
            squares = (squares.0 + (rate_before - rate_after).powi(2) / variance, squares.1 + 1.0);
        }
    }
    if squares.1 > 0.0 { squares.0 / squares.1 } else { 0.0 }
}

/// φ of a dispersion: `min(1.5·D, 50)` above 1.3, else 1.
#[must_use]
pub fn factor(dispersion: f64) -> f64 {
    if dispersion > INDEPENDENT { (CAUTION * dispersion).min(HIGHEST) } else { 1.0 }
}
