//! Wealth that grows as a null becomes untenable: accounts that bet on different alternatives, and a fixed share that
//! keeps all of them alive for a fault that begins late.

use super::evidence::{Contrast, ln_add, ln_e, ln_sum};
use super::params::{Params, Tolerance};
use serde::{Deserialize, Serialize};

/// Logarithms of six accounts: cash, and one per alternative. Their sum starts at 1.
///
/// Source: Waudby-Smith and Ramdas (2023) on betting with mixtures; Herbster and Warmuth (1998) on the fixed share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accounts {
    logs: [f64; 6],
}

impl Accounts {
    /// The accounts as the prior fills them.
    #[must_use]
    pub fn new(prior: &[f64; 6]) -> Self {
        Self { logs: prior.map(f64::ln) }
    }

    /// ln of the sum of the accounts.
    #[must_use]
    pub fn total(&self) -> f64 {
        ln_sum(self.logs.iter().copied())
    }

    /// The accounts after bets that pay `ln_paid` (cash pays nothing). Nothing is changed.
    #[must_use]
    pub fn after(&self, ln_paid: [f64; 5]) -> Self {
        let mut logs = self.logs;
        for (log, paid) in logs[1..].iter_mut().zip(ln_paid) {
            *log += paid;
        }
        Self { logs }
    }

    /// Spreads the share `1 − exp(−dt/τ)` of the total over all accounts by the prior. The total stays the same, so
    /// it remains a supermartingale.
    fn spread(&mut self, dt: f64, params: &Params) {
        let share = -(-dt / params.tau_s).exp_m1();
        if share <= 0.0 {
            return;
        }
        let (kept, total) = ((-share).ln_1p(), self.total());
        for (log, prior) in self.logs.iter_mut().zip(params.prior) {
            *log = ln_add(kept + *log, share.ln() + prior.ln() + total);
        }
    }

    /// Bets, then spreads; returns ln of the total.
    pub fn settle(&mut self, ln_paid: [f64; 5], dt: f64, params: &Params) -> f64 {
        *self = self.after(ln_paid);
        let total = self.total();
        self.spread(dt, params);
        total
    }
}

/// Wealth against one null, `p_canary ≤ ratio·p_control + margin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wealth {
    ratio: f64,
    margin: f64,
    accounts: Accounts,
}

impl Wealth {
    fn paid(&self, block: Contrast, burst: f64, params: &Params) -> [f64; 5] {
        params.multiples.map(|multiple| ln_e(block, self.ratio, self.margin, multiple * self.ratio) / burst)
    }
}

/// ln of the wealth against both nulls of a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// Against `p_canary ≤ ratio·p_control`.
    pub ratio: f64,
    /// Against `p_canary ≤ p_control + margin`.
    pub margin: f64,
}

impl Against {
    /// A gate tolerates what either null tolerates, so the smaller wealth counts.
    #[must_use]
    pub fn least(self) -> f64 {
        self.ratio.min(self.margin)
    }
}

/// One gate (errors, or one latency bound): wealth against both of its nulls, and evidence that the canary is good.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gate {
    ratio: Wealth,
    margin: Wealth,
    safe: [[f64; 4]; 2],
    safe_tolerance: Tolerance,
    burst: f64,
    now: Against,
    /// All that it saw.
    pub(super) seen: Contrast,
}

impl Gate {
    /// A gate that tolerates `tolerance`, promotes on `safe`, and takes clusters of `burst` events for one (≥ 1).
    #[must_use]
    pub fn new(tolerance: Tolerance, safe: Tolerance, burst: f64, params: &Params) -> Self {
        let accounts = Accounts::new(&params.prior);
        Self {
            ratio: Wealth { ratio: tolerance.ratio, margin: 0.0, accounts: accounts.clone() },
            margin: Wealth { ratio: 1.0, margin: tolerance.margin, accounts },
            safe: [[0.0; 4]; 2],
            safe_tolerance: safe,
            burst: if burst.is_finite() { burst.max(1.0) } else { 1.0 },
            now: Against::default(),
            seen: Contrast::default(),
        }
    }

    /// ln of the wealth that this block would make. Nothing is changed.
    #[must_use]
    pub fn peek(&self, block: Contrast, params: &Params) -> Against {
        let after = |wealth: &Wealth| wealth.accounts.after(wealth.paid(block, self.burst, params)).total();
        Against { ratio: after(&self.ratio), margin: after(&self.margin) }
    }

    /// Takes a block of `dt` seconds in.
    pub fn settle(&mut self, block: Contrast, dt: f64, params: &Params) -> Against {
        let burst = self.burst;
        let settle = |wealth: &mut Wealth| {
            let paid = wealth.paid(block, burst, params);
            wealth.accounts.settle(paid, dt, params)
        };
        self.now = Against { ratio: settle(&mut self.ratio), margin: settle(&mut self.margin) };
        let nulls = [(self.safe_tolerance.ratio, 0.0), (1.0, self.safe_tolerance.margin)];
        for (logs, (r, d)) in self.safe.iter_mut().zip(nulls) {
            for (log, multiple) in logs.iter_mut().zip(params.safe_multiples) {
                *log += ln_e(block, r, d, multiple * r) / burst;
            }
        }
        self.seen.canary.add(block.canary);
        self.seen.control.add(block.control);
        self.now
    }

    /// ln of the wealth as of the last block.
    #[must_use]
    pub fn against(&self) -> Against {
        self.now
    }

    /// ln of the evidence that the canary exceeds neither safe tolerance: the mean of the e-values against the reverse
    /// nulls `p_canary ≥ r·p_control + d`, without a fixed share (a mean of e-values is one, whatever their dependence).
    #[must_use]
    pub fn ln_safe(&self) -> f64 {
        let all = self.safe.iter().flatten().copied();
        ln_sum(all) - (8.0_f64).ln()
    }

    /// Forgets the evidence for promotion: a new step begins.
    pub fn restart_safe(&mut self) {
        self.safe = [[0.0; 4]; 2];
    }
}
