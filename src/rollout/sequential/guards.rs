//! Two guards beside the comparison: a canary that gets no requests, and one that has nothing to be compared with.

use super::evidence::{Contrast, Tally, ln_e};
use super::params::Params;
use super::wealth::Accounts;
use serde::{Deserialize, Serialize};

/// Highest factor of the guard without control, where no control's rate bounds the alternative.
const HIGHEST_MULTIPLE: f64 = 20.0;

/// Evidence that the canary gets less than half of its due share: one whose requests hang makes no errors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Starvation(Accounts);

impl Starvation {
    /// No evidence yet.
    #[must_use]
    pub fn new(params: &Params) -> Self {
        Self(Accounts::new(&params.prior))
    }

    /// Takes the requests of a block in, at a weight of 0–1. The e-value is that of the comparison with the shares of
    /// the traffic as exposure and requests as events: `ln_e(w, n_c, 1 − w, n_b)`. Exactly no evidence at 0 and 1.
    pub fn settle(&mut self, weight: f64, canary: f64, control: f64, dt: f64, params: &Params) -> f64 {
        let exposed = |exposure: f64, events: f64| Tally { requests: exposure, bad: events };
        let block = Contrast { canary: exposed(weight, canary), control: exposed(1.0 - weight, control) };
        let r = params.starvation_ratio;
        let paid = params.starvation_multiples.map(|multiple| ln_e(block, r, 0.0, multiple * r));
        self.0.settle(paid, dt, params)
    }
}

/// Evidence that the canary's error rate exceeds an absolute limit; it spends an α of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Absolute {
    accounts: Accounts,
    rising: Tally,
}

impl Absolute {
    /// No evidence yet.
    #[must_use]
    pub fn new(params: &Params) -> Self {
        Self { accounts: Accounts::new(&params.prior), rising: Tally::default() }
    }

    /// `ln e = [k·ln a − n·limit·(a − 1)]/φ` with `a = min(multiple, 20)`: the limiting case of [`ln_e`] for a control of
    /// known rate. Source: the Poisson supermartingale (Howard et al. 2020, "sub-Poisson" case).
    fn paid(canary: Tally, burst: f64, params: &Params) -> [f64; 5] {
        params.multiples.map(|multiple| {
            let a = multiple.min(HIGHEST_MULTIPLE);
            (canary.bad * a.ln() - canary.requests * params.absolute_max * (a - 1.0)) / burst
        })
    }

    /// ln of the evidence that this block would make. Nothing is changed.
    #[must_use]
    pub fn peek(&self, canary: Tally, burst: f64, params: &Params) -> f64 {
        self.accounts.after(Self::paid(canary, burst, params)).total()
    }

    /// Takes the canary's errors of a block in.
    pub fn settle(&mut self, canary: Tally, burst: f64, dt: f64, params: &Params) -> f64 {
        let ln_evidence = self.accounts.settle(Self::paid(canary, burst, params), dt, params);
        self.rising.add(canary);
        if ln_evidence <= 0.0 {
            self.rising = Tally::default();
        }
        ln_evidence
    }

    /// What the canary answered since the evidence last spoke for it: a fault that began late drowns in the counts of the
    /// whole rollout.
    #[must_use]
    pub fn rising(&self) -> Tally {
        self.rising
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_fault_is_told_by_what_came_since_it_began() {
        let params = Params::default();
        let mut guard = Absolute::new(&params);
        for _ in 0..60 {
            assert!(guard.settle(Tally::new(250.0, 0.0), 1.0, 5.0, &params) < 0.0);
            assert_eq!(guard.rising(), Tally::default());
        }
        let blocks = [(250.0, 50.0), (250.0, 60.0), (250.0, 55.0)];
        for (requests, bad) in blocks {
            guard.settle(Tally::new(requests, bad), 1.0, 5.0, &params);
        }
        assert_eq!(guard.rising(), Tally::new(750.0, 165.0));
    }
}
