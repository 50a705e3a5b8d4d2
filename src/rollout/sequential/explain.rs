//! A verdict in words and numbers for an operator.

use super::evidence::{Contrast, Tally};
use super::judge::{Logs, Verdict};
use super::params::{Params, Tolerance};
use super::wealth::Gate;

/// What a gate watches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Signal {
    /// Failed requests.
    Errors,
    /// Requests slower than a bucket's bound.
    SlowerThan {
        /// Which of the finite bounds, from 0.
        bound: usize,
        /// The bound in seconds, where the judge was told.
        seconds: Option<f64>,
    },
}

/// The tolerance that still speaks for the canary: of a gate's two, the one that is refuted less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Null {
    /// At most so many times control's rate.
    Ratio(f64),
    /// At most so much above control's rate (0–1).
    Margin(f64),
}

/// Why a verdict is what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What weighs most in the evidence.
    pub signal: Signal,
    /// Which tolerance of that signal stands last.
    pub null: Null,
    /// Requests and bad ones of that signal, both arms, since the judge began.
    pub counts: Contrast,
    /// ln of the evidence that the verdict rests on.
    pub ln_evidence: f64,
    /// ln of the evidence that it takes.
    pub ln_threshold: f64,
    /// All of it as one line.
    pub text: String,
}

impl Explanation {
    /// The evidence as a factor; a number beyond all bounds is told as the greatest there is.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.ln_evidence.exp().min(f64::MAX)
    }

    /// What it takes, as a factor.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.ln_threshold.exp().min(f64::MAX)
    }

    pub(super) fn of(scene: &Scene<'_>) -> Self {
        let (signal, null, counts) = scene.heaviest();
        let (ln_evidence, ln_threshold) = scene.measure();
        let text = scene.text(signal, null, counts);
        Self { signal, null, counts, ln_evidence, ln_threshold, text }
    }
}

/// What an explanation is made from.
pub(super) struct Scene<'a> {
    pub verdict: Verdict,
    pub params: &'a Params,
    pub logs: &'a Logs,
    pub errors: &'a Gate,
    pub latency: &'a [Gate],
    /// The canary's errors since the evidence of the guard without control began to rise.
    pub alone: Tally,
    pub bounds_s: &'a [f64],
    pub held_s: f64,
    pub silent_s: f64,
}

impl Scene<'_> {
    fn by_absolute(&self) -> bool {
        self.verdict == Verdict::Rollback && self.logs.ln_e < self.params.ln_rollback()
    }

    /// The evidence that the verdict rests on, and what it takes.
    fn measure(&self) -> (f64, f64) {
        let (logs, params) = (self.logs, self.params);
        match self.verdict {
            Verdict::Rollback if self.by_absolute() => (logs.ln_abs, params.ln_rollback()),
            Verdict::HoldStarved => (logs.ln_starve, params.ln_rollback()),
            Verdict::PromoteReady => (logs.ln_safe, params.ln_promote()),
            Verdict::HoldSuspicious => (logs.ln_e, params.suspicious.ln()),
            Verdict::Rollback | Verdict::Inconclusive | Verdict::Continue => {
                (logs.ln_e, params.ln_rollback())
            }
        }
    }

    fn heaviest(&self) -> (Signal, Null, Contrast) {
        let latency_share = self.params.latency_share.ln() - (self.latency.len().max(1) as f64).ln();
        let mut heaviest = (Signal::Errors, self.errors, self.params.errors);
        let mut weight = self.params.error_share.ln() + self.errors.against().least();
        for (bound, gate) in self.latency.iter().enumerate() {
            let its = latency_share + gate.against().least();
            if its > weight {
                let seconds = self.bounds_s.get(bound).copied();
                (weight, heaviest) =
                    (its, (Signal::SlowerThan { bound, seconds }, gate, self.params.latency));
            }
        }
        let (signal, gate, tolerance) = heaviest;
        (signal, standing(gate, tolerance), gate.seen)
    }

    fn text(&self, signal: Signal, null: Null, counts: Contrast) -> String {
        let (logs, params) = (self.logs, self.params);
        let compared = compared(signal, counts);
        let needed = odds(params.ln_rollback());
        let evidence = format!("{compared}; evidence {}", odds(logs.ln_e));
        let most = format!("{} weigh most, against \"{}\"", name(signal), told(null));
        let errors = self.errors.seen;
        match self.verdict {
            Verdict::Rollback if self.by_absolute() => format!(
                "the canary fails with no stable traffic to compare it with: {} since it began to; evidence that this exceeds {}: {}, needed {needed}",
                share("errors", self.alone.bad, self.alone.requests),
                percent(params.absolute_max),
                odds(logs.ln_abs)
            ),
            Verdict::Rollback => {
                format!("the canary is worse than stable: {evidence}, needed {needed}; {most}")
            }
            Verdict::HoldStarved => format!(
                "the canary gets too few requests: {} against {} of stable; evidence that it gets less than {} of its share: {}, needed {needed}",
                count(errors.canary.requests),
                count(errors.control.requests),
                percent(params.starvation_ratio),
                odds(logs.ln_starve)
            ),
            Verdict::Inconclusive => {
                format!("no canary request for {} s: nothing can be said; {evidence}", count(self.silent_s))
            }
            Verdict::HoldSuspicious => format!(
                "the canary may be worse than stable: {evidence}, suspicious from {}, rolled back at {needed}; {most}",
                odds(params.suspicious.ln())
            ),
            Verdict::PromoteReady => format!(
                "the canary is as good as stable: {}; evidence for it {}, needed {}, after {} s at this weight",
                compared_all(self.errors),
                odds(logs.ln_safe),
                odds(params.ln_promote()),
                count(self.held_s)
            ),
            Verdict::Continue => format!(
                "nothing against the canary: {evidence}, rolled back at {needed}; evidence for it {}, needed {} to go on early",
                odds(logs.ln_safe),
                odds(params.ln_promote())
            ),
        }
    }
}

fn standing(gate: &Gate, tolerance: Tolerance) -> Null {
    let against = gate.against();
    if against.ratio <= against.margin {
        Null::Ratio(tolerance.ratio)
    } else {
        Null::Margin(tolerance.margin)
    }
}

fn compared_all(errors: &Gate) -> String {
    compared(Signal::Errors, errors.seen)
}

fn compared(signal: Signal, counts: Contrast) -> String {
    let canary = share(&name(signal), counts.canary.bad, counts.canary.requests);
    let control = counts.control;
    if control.requests <= 0.0 {
        return format!("{canary}, stable without requests");
    }
    let rate = percent(control.bad / control.requests);
    format!("{canary} against {} of {} ({rate}) of stable", count(control.bad), count(control.requests))
}

fn share(name: &str, bad: f64, requests: f64) -> String {
    if requests <= 0.0 {
        return "canary without requests".to_owned();
    }
    format!("{name} {} of {} ({})", count(bad), count(requests), percent(bad / requests))
}

fn name(signal: Signal) -> String {
    match signal {
        Signal::Errors => "errors".to_owned(),
        Signal::SlowerThan { seconds: Some(seconds), .. } => {
            format!("requests slower than {} ms", count(seconds * 1000.0))
        }
        Signal::SlowerThan { bound, seconds: None } => {
            format!("requests slower than latency bound {}", bound + 1)
        }
    }
}

fn told(null: Null) -> String {
    match null {
        Null::Ratio(ratio) => format!("at most {ratio} times stable's rate"),
        Null::Margin(margin) => format!("at most {} points above stable's rate", percent(margin)),
    }
}

fn percent(rate: f64) -> String {
    format!("{:.2} %", rate * 100.0)
}

fn count(value: f64) -> String {
    format!("{value:.0}")
}

/// Evidence as odds: `0.4 : 1`, `230 : 1`, `10^13 : 1`.
fn odds(ln: f64) -> String {
    let factor = ln.exp();
    if factor < 10.0 {
        format!("{factor:.1} : 1")
    } else if factor < 1e5 {
        format!("{factor:.0} : 1")
    } else {
        format!("10^{:.0} : 1", (ln / std::f64::consts::LN_10).floor())
    }
}
