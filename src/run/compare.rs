//! The comparison with stable while a hold lasts: reads both arms' counters, feeds the analysis, says what it says.
//!
//! An analysis lives as long as the run: its bound on false rollbacks is one of the whole rollout, not of each hold.

mod arms;
mod brake;
mod growth;
mod read;
mod scrape;
mod taken_up;
mod traffic;

use super::ledger::{self, Ledger};
use super::perform::{Stand, StepError};
use crate::domain::effect::{Arm, Effect};
use crate::domain::event::Kind;
use crate::domain::evidence::Compared;
use crate::domain::gate::{Comparison, Gate, Metric, NoData};
use crate::domain::ids::{ComponentId, TargetId};
use crate::plan::Plan;
use crate::rollout::sequential::{Analysis, Decision, Params, Tally, Verdict};
use scrape::Endpoint;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

pub(super) use read::{Subject, probe};
pub use traffic::Figures;
pub(super) use traffic::figures;

/// Time between two looks: the pods themselves are read each time, a store for what it has got since.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Of α, what the first process of a run may spend; those that resume it share the rest, each half of what is left.
const FIRST_SHARE: f64 = 0.9;

/// The analyses of a run, which go on from hold to hold.
#[derive(Debug)]
pub(super) struct Comparisons {
    params: Params,
    kept: Mutex<BTreeMap<Key, Comparer>>,
    /// What they saw.
    pub(super) ledger: Ledger,
}

pub(super) type Key = (TargetId, ComponentId, String);

impl Comparisons {
    /// Splits the bound on false rollbacks over all comparisons that the plan holds, and over the processes that work on
    /// the run: `epoch` is the number of this one, 1 for the first.
    pub fn new(plan: &Plan, epoch: u64) -> Self {
        let params = first_params(tests_of(plan).len(), epoch);
        Self { params, kept: Mutex::new(BTreeMap::new()), ledger: Ledger::new(plan, epoch) }
    }
}

/// The tests that a plan holds.
pub(super) fn tests_of(plan: &Plan) -> BTreeSet<Key> {
    let mut keys: BTreeSet<Key> = BTreeSet::new();
    for step in plan.stages.iter().flat_map(|stage| &stage.steps) {
        let Effect::Hold { gates, arms, .. } = &step.effect else { continue };
        for (gate, arm, _) in compared(gates, arms) {
            keys.insert((step.target.clone(), arm.component.clone(), gate.name.clone()));
        }
    }
    keys
}

/// What each of so many tests is judged by that process number `epoch` of a run begins.
pub(super) fn first_params(tests: usize, epoch: u64) -> Params {
    let mut params = Params::default().split(tests);
    params.alpha *= share_of_alpha(epoch);
    params
}

/// What process number `epoch` of a run may spend: all of them together at most 1.
fn share_of_alpha(epoch: u64) -> f64 {
    match epoch {
        0 | 1 => FIRST_SHARE,
        later => (1.0 - FIRST_SHARE) * 0.5_f64.powi(later.min(40) as i32 - 1),
    }
}

/// The evidence for a version is only worth telling where it could end the hold.
fn told<'t>(text: &'t str, verdict: Verdict, comparison: &Comparison) -> &'t str {
    if comparison.early_promotion || verdict != Verdict::Continue {
        return text;
    }
    text.split_once("; evidence for it").map_or(text, |(against, _)| against)
}

/// The gates that compare with stable, each with an arm that it watches.
fn compared<'a>(
    gates: &'a [Gate],
    arms: &'a [Arm],
) -> impl Iterator<Item = (&'a Gate, &'a Arm, &'a Comparison)> {
    gates.iter().flat_map(move |gate| {
        let comparison = match &gate.metric {
            Metric::AgainstStable(comparison) => Some(comparison),
            _ => None,
        };
        let watched = arms.iter().filter(|arm| gate.components.contains(&arm.component));
        watched.filter_map(move |arm| Some((gate, arm, comparison?)))
    })
}

/// One comparison during one hold.
pub(super) struct Contest<'a> {
    gate: &'a Gate,
    arm: &'a Arm,
    comparison: &'a Comparison,
    /// When it is looked at next.
    pub due: Instant,
    /// Nothing before anything could be read.
    comparer: Option<Comparer>,
    /// Why nothing could be read at the last look.
    silent: Option<String>,
    alerted: bool,
    verdict: Verdict,
    /// The share that a router sends to the new revision in this hold, so that the brake takes; `None` with pods as router.
    routed: Option<f64>,
    /// Whether its weight may go to 0 at once: not beside a stable that was shrunk.
    brakes: bool,
    /// Requests of the new revision that earlier holds had seen.
    before: f64,
}

/// What goes on from hold to hold.
#[derive(Debug)]
struct Comparer {
    analysis: Analysis,
    source: Place,
    /// Finite bounds of the histogram, seconds.
    bounds: Vec<f64>,
    /// Newest sample of each pod.
    newest: BTreeMap<String, f64>,
    /// The canary's share that was told last.
    weight: Option<f64>,
    /// Which process of the run began the test.
    process: u64,
    /// Whether traffic is held off because the source is silent.
    silenced: bool,
}

/// Where the counters come from.
#[derive(Clone, Debug)]
enum Place {
    /// The pods themselves, through the API server: of the new revision, and of stable.
    Pods(Endpoint, Option<Endpoint>),
    /// The metric store.
    Store,
}

impl Place {
    /// `pods`, `store`.
    fn label(&self) -> &'static str {
        match self {
            Self::Pods(..) => "pods",
            Self::Store => "store",
        }
    }
}

impl Stand<'_> {
    /// What this hold compares; analyses of earlier holds go on.
    pub(super) fn contests<'g>(&self, gates: &'g [Gate], arms: &'g [Arm]) -> Vec<Contest<'g>> {
        let mut kept = self.comparisons.kept.lock().expect("no panic while held");
        let began = Instant::now();
        compared(gates, arms)
            .map(|(gate, arm, comparison)| {
                let comparer = kept.remove(&self.key(gate, arm));
                Contest {
                    gate,
                    arm,
                    comparison,
                    due: began,
                    routed: self.routed(arm),
                    brakes: self.brakes(arm),
                    before: comparer.as_ref().map_or(0.0, Comparer::requests),
                    comparer,
                    silent: None,
                    alerted: false,
                    verdict: Verdict::Continue,
                }
            })
            .collect()
    }

    /// Keeps the analyses for the next hold.
    pub(super) fn keep(&self, contests: Vec<Contest<'_>>) {
        let mut kept = self.comparisons.kept.lock().expect("no panic while held");
        for contest in contests {
            let key = self.key(contest.gate, contest.arm);
            kept.extend(contest.comparer.map(|comparer| (key, comparer)));
        }
    }

    fn key(&self, gate: &Gate, arm: &Arm) -> Key {
        (self.target.clone(), arm.component.clone(), gate.name.clone())
    }

    /// Reads what is new of both arms and judges it.
    pub(super) async fn compare(&self, contest: &mut Contest<'_>) -> Result<(), StepError> {
        contest.due = Instant::now() + LOOK_INTERVAL;
        let looked = match contest.comparer.take() {
            Some(mut comparer) => {
                let read = self.read(&comparer.source, contest).await;
                let silent = read.as_ref().map_or(true, read::Samples::is_silent);
                let decisions = read.map(|samples| self.feed(contest, &mut comparer, samples));
                let brake = decisions.iter().flatten().rev().find_map(|decision| decision.brake);
                if let Some(brake) = brake {
                    self.brake(contest, &mut comparer, brake).await;
                }
                self.write_down(contest, &comparer, decisions.as_deref().unwrap_or_default());
                let ends = |decision: &Decision| decision.verdict == Verdict::Rollback;
                if !decisions.iter().flatten().any(ends) {
                    self.mind_silence(contest, &mut comparer, silent).await;
                }
                contest.comparer = Some(comparer);
                decisions
            }
            None => self.first_look(contest).await.map(|first| {
                let Some((comparer, decisions)) = first else { return Vec::new() };
                self.write_down(contest, &comparer, &decisions);
                contest.comparer = Some(comparer);
                decisions
            }),
        };
        match looked {
            Ok(decisions) => {
                contest.silent = contest.comparer.is_none().then(|| "no data".to_owned());
                decisions.into_iter().try_for_each(|decision| self.decided(contest, &decision))
            }
            Err(error) => {
                contest.silent = Some("backend down".to_owned());
                self.tell_verdict(contest, "backend down", None, error.to_string());
                self.alert_once(contest, &format!("nothing can be compared: {error}"));
                Ok(())
            }
        }
    }

    /// What was looked at goes into the run's ledger.
    fn write_down(&self, contest: &Contest<'_>, comparer: &Comparer, decisions: &[Decision]) {
        let blocks = decisions.iter().filter_map(|decision| {
            let block = decision.block.as_ref()?;
            Some(ledger::looked(block, decision.verdict.label(), decision.logs.ln_e))
        });
        let judge = comparer.analysis.judge();
        let head = Compared {
            gate: contest.gate.clone(),
            component: contest.arm.component.clone(),
            process: comparer.process,
            new: contest.arm.new.clone(),
            stable: contest.arm.stable.clone(),
            source: comparer.source.label().to_owned(),
            alpha: judge.params().alpha,
            burst_errors: judge.burst().errors,
            burst_latency: judge.burst().latency.clone(),
            bounds: comparer.bounds.clone(),
            blocks: Vec::new(),
            silenced: comparer.silenced,
            state: None,
        };
        let blocks = blocks.collect();
        self.comparisons.ledger.looked(self.target, head, blocks, &comparer.analysis);
    }

    fn decided(&self, contest: &mut Contest<'_>, decision: &Decision) -> Result<(), StepError> {
        let text = told(&decision.explanation.text, decision.verdict, contest.comparison);
        contest.verdict = decision.verdict;
        let label = match decision.verdict {
            Verdict::Rollback => "bad",
            Verdict::HoldStarved => "starved",
            Verdict::Inconclusive => "no data",
            Verdict::HoldSuspicious => "suspicious",
            Verdict::PromoteReady | Verdict::Continue => "healthy",
        };
        if decision.block.is_some() || label != "healthy" {
            let seen = contest.comparer.as_ref().map(|comparer| comparer.analysis.judge().seen());
            self.tell_verdict(contest, label, seen, text.to_owned());
        }
        match decision.verdict {
            Verdict::Rollback => {
                let (gate, component) = (&contest.gate.name, &contest.arm.component);
                Err(StepError::failed(format!("gate {gate} of {component}: {text}")))
            }
            Verdict::HoldStarved | Verdict::HoldSuspicious => {
                self.alert_once(contest, text);
                Ok(())
            }
            Verdict::Inconclusive | Verdict::PromoteReady | Verdict::Continue => Ok(()),
        }
    }

    fn tell_verdict(
        &self,
        contest: &Contest<'_>,
        verdict: &'static str,
        seen: Option<(Tally, Tally)>,
        text: String,
    ) {
        let shown = |tally: Tally| {
            (tally.requests > 0.0).then(|| format!("{:.2} %", tally.bad * 100.0 / tally.requests))
        };
        self.teller.tell(Kind::GateMeasured {
            gate: contest.gate.name.clone(),
            target: self.target.clone(),
            component: contest.arm.component.clone(),
            verdict,
            new: seen.and_then(|(new, _)| shown(new)),
            stable: seen.and_then(|(_, stable)| shown(stable)),
            limit: "as good as stable".to_owned(),
            explanation: Some(text),
        });
    }

    fn alert_once(&self, contest: &mut Contest<'_>, message: &str) {
        if !std::mem::replace(&mut contest.alerted, true) {
            let message = format!("gate {} of {}: {message}", contest.gate.name, contest.arm.component);
            self.teller.tell(Kind::Alert { severity: "warning", target: Some(self.target.clone()), message });
        }
    }
}

impl Comparer {
    /// Requests of the new revision since the comparison began.
    fn requests(&self) -> f64 {
        self.analysis.judge().seen().0.requests
    }
}

impl Contest<'_> {
    /// Whom it watches.
    pub(super) fn component(&self) -> &ComponentId {
        &self.arm.component
    }

    /// Requests of the new revision since the hold began.
    pub(super) fn requests(&self) -> f64 {
        self.comparer.as_ref().map_or(0.0, |comparer| comparer.requests() - self.before)
    }

    /// What stands against going on, if anything.
    pub(super) fn standing(&self) -> Option<String> {
        let braked = self.comparer.as_ref().is_some_and(|comparer| comparer.analysis.braked());
        let why = match (&self.silent, self.verdict) {
            (None, Verdict::PromoteReady | Verdict::Continue) if braked && self.brakes => {
                "its traffic is held off"
            }
            (Some(why), _) => why,
            (None, Verdict::Inconclusive) => "no request of the new revision for a minute",
            (None, Verdict::HoldStarved) => "the new revision gets too few requests",
            (None, Verdict::HoldSuspicious) => "the new revision may be worse than stable",
            _ if self.lacks_data() => "no request of the new revision in this hold",
            (None, Verdict::Rollback | Verdict::PromoteReady | Verdict::Continue) => return None,
        };
        let passes = self.lacks_data() && self.gate.no_data == NoData::Pass;
        (!passes).then(|| format!("gate {} of {}: {why}", self.gate.name, self.arm.component))
    }

    fn lacks_data(&self) -> bool {
        self.silent.is_some() || self.verdict == Verdict::Inconclusive || self.requests() <= 0.0
    }

    /// Whether lack of data ends the run as soon as the hold's time is up.
    pub(super) fn fails_without_data(&self) -> bool {
        self.lacks_data() && self.gate.no_data == NoData::Fail
    }

    /// Whether the hold need not last any longer for it.
    pub(super) fn is_convinced(&self) -> bool {
        self.comparison.early_promotion && self.silent.is_none() && self.verdict == Verdict::PromoteReady
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_processes_of_a_run_together_spend_alpha_once() {
        let spent: f64 = (1..100).map(share_of_alpha).sum();
        assert!(spent <= 1.0 + 1e-9 && spent > 0.99, "{spent}");
        assert!((share_of_alpha(0) - FIRST_SHARE).abs() < f64::EPSILON);
    }
}
