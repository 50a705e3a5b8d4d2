//! Gates over what was recorded of a run: would they have caught it, would they have let it pass?
//!
//! The same judges as in the run. Of a comparison, what is tolerated may be changed; its share of the bound on false
//! rollbacks and its burst factors stay as they were. Of a gate with limits, everything but what was measured.

use super::ledger;
use crate::domain::evidence::{Compared, Evidence, Measured, Side, Taken};
use crate::domain::gate::{Comparison, Gate, Metric};
use crate::domain::units::human;
use crate::ports::metrics::{MetricsError, Reading};
use crate::rollout::gate::{self, Decision, Measured as Answer, Watch};
use crate::rollout::sequential::{Burst, Judge, Logs, Params, Tolerance, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// One gate over one component on one target, judged again.
#[derive(Clone, Debug)]
pub struct Again {
    /// `us-east-1 kva-api beside`.
    pub name: String,
    /// Every block or measurement.
    pub looks: Vec<Look>,
    /// What it came to in the run.
    pub then: Outcome,
    /// What it comes to now; `None` where it cannot be judged, as the notes say.
    pub now: Option<Outcome>,
    /// The last words of the judge, or those that end the run.
    pub text: String,
    /// What is not as it was, and cannot be judged again.
    pub notes: Vec<String>,
}

/// One block or measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Look {
    /// Its number, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
    /// The same for a gate with limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measurement: Option<usize>,
    /// Its time, seconds on the samples' clock.
    pub at: f64,
    /// All evidence of a comparison, natural logarithms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<Logs>,
    /// What was measured of the new revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Side>,
    /// What was measured of stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<Side>,
    /// What it means now.
    pub verdict: String,
    /// What it meant in the run.
    pub then: String,
}

/// What all looks came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// `rollback`, or the last verdict.
    pub verdict: String,
    /// Which look ended it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_at: Option<usize>,
    /// How long after it began to look, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_s: Option<f64>,
}

impl Outcome {
    fn of(looks: &[Look], began: f64, ends: Option<usize>, last: Option<&str>) -> Self {
        let since = |look: &Look| (look.at - began).max(0.0);
        match ends {
            Some(index) => Self {
                verdict: "rollback".to_owned(),
                rollback_at: Some(index),
                after_s: looks.get(index).map(since),
            },
            None => Self {
                verdict: last.unwrap_or("nothing was looked at").to_owned(),
                rollback_at: None,
                after_s: None,
            },
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let after = |seconds: f64| human(Duration::from_secs(seconds.max(0.0) as u64));
        match (self.rollback_at, self.after_s) {
            (Some(look), Some(seconds)) => write!(f, "rollback at look {look}, {} in", after(seconds)),
            _ => write!(f, "no rollback ({})", self.verdict),
        }
    }
}

/// Judges everything again: by the gates as they are now, or as they were (`None`).
#[must_use]
pub fn again(evidence: &Evidence, gates: Option<&[Gate]>) -> Vec<Again> {
    let present = |then: &Gate| match gates {
        None => Some(then.clone()),
        Some(gates) => gates.iter().find(|gate| gate.name == then.name).cloned(),
    };
    let thinned = (evidence.thinned > 0).then(|| {
        format!(
            "older looks were merged {} times to keep the record small; their sums are whole",
            evidence.thinned
        )
    });
    let compared = evidence.compared.iter().map(|one| compared(evidence, one, present(&one.gate).as_ref()));
    let measured = evidence.measured.iter().map(|one| measured(evidence, one, present(&one.gate)));
    let mut all: Vec<Again> = compared.chain(measured).collect();
    for again in &mut all {
        again.notes.extend(thinned.clone());
    }
    all.extend(gates.into_iter().flatten().filter_map(|gate| unseen(evidence, gate)));
    all
}

/// A gate of now that the run did not have.
fn unseen(evidence: &Evidence, gate: &Gate) -> Option<Again> {
    let names = evidence.compared.iter().map(|one| &one.gate.name);
    let mut names = names.chain(evidence.measured.iter().map(|one| &one.gate.name));
    if names.any(|name| *name == gate.name) {
        return None;
    }
    let note = "it was not there, or no hold was reached: nothing is recorded of it".to_owned();
    Some(Again::blank(format!("{} {}", evidence.target, gate.name), vec![note]))
}

impl Again {
    fn blank(name: String, notes: Vec<String>) -> Self {
        let then = Outcome::of(&[], 0.0, None, None);
        Self { name, looks: Vec::new(), then, now: None, text: String::new(), notes }
    }
}

fn name(evidence: &Evidence, component: &str, gate: &str, process: u64) -> String {
    let process = if process > 1 { format!(" (process {process})") } else { String::new() };
    format!("{} {component} {gate}{process}", evidence.target)
}

fn compared(evidence: &Evidence, kept: &Compared, now: Option<&Gate>) -> Again {
    let name = name(evidence, kept.component.as_str(), &kept.gate.name, kept.process);
    let mut looks: Vec<Look> = kept
        .blocks
        .iter()
        .enumerate()
        .map(|(index, block)| Look {
            block: Some(index),
            measurement: None,
            at: block.at,
            logs: None,
            new: None,
            stable: None,
            verdict: block.verdict.clone(),
            then: block.verdict.clone(),
        })
        .collect();
    let began = kept.blocks.first().map_or(0.0, |block| block.at - block.dt);
    let ended = kept.blocks.iter().position(|block| block.verdict == "rollback");
    let then = Outcome::of(&looks, began, ended, kept.blocks.last().map(|block| block.verdict.as_str()));
    let mut again = Again { then, ..Again::blank(name, Vec::new()) };
    let comparison = match now.map(|gate| &gate.metric) {
        None => Err("the environment has no gate of this name now"),
        Some(Metric::AgainstStable(comparison)) => Ok(comparison),
        Some(_) => Err("the gate of this name has limits now, and was a comparison then"),
    };
    let comparison = match comparison {
        Ok(comparison) => comparison,
        Err(why) => {
            again.notes.push(why.to_owned());
            again.looks = looks;
            return again;
        }
    };
    if now.is_some_and(|gate| !gate.components.contains(&kept.component)) {
        again.notes.push(format!("the gate does not watch {} any more", kept.component));
    }
    again.notes.extend(other_counters(kept, comparison));
    let mut judge = judge(kept, comparison);
    let mut ends = None;
    for (index, (look, block)) in looks.iter_mut().zip(&kept.blocks).enumerate() {
        let judged = judge.observe(&ledger::block(block));
        judged.verdict.label().clone_into(&mut look.verdict);
        look.logs = Some(judged.logs);
        if ends.is_none() {
            again.text = judged.explanation.text;
        }
        if judged.verdict == Verdict::Rollback {
            ends = ends.or(Some(index));
        }
    }
    again.now = Some(Outcome::of(&looks, began, ends, looks.last().map(|look| look.verdict.as_str())));
    again.looks = looks;
    again
}

/// What of a comparison was counted otherwise than it would be now.
fn other_counters(kept: &Compared, now: &Comparison) -> Vec<String> {
    let Metric::AgainstStable(then) = &kept.gate.metric else { return Vec::new() };
    let mut notes = Vec::new();
    if then.counters != now.counters {
        notes.push("it was counted by other counters; what they counted is judged".to_owned());
    }
    if now.latency.is_some() && kept.bounds.is_empty() {
        notes.push("latency was not recorded, and is not judged".to_owned());
    }
    notes
}

fn judge(kept: &Compared, comparison: &Comparison) -> Judge {
    let tolerance =
        |given: crate::domain::gate::Tolerated| Tolerance { ratio: given.ratio, margin: given.margin };
    let mut params = Params { alpha: kept.alpha, errors: tolerance(comparison.errors), ..Params::default() };
    params.latency = comparison.latency.map_or(params.latency, tolerance);
    let latency = if comparison.latency.is_some() { kept.burst_latency.clone() } else { Vec::new() };
    let burst = Burst { errors: kept.burst_errors, latency };
    Judge::new(params, burst).with_bounds(kept.bounds.clone())
}

fn measured(evidence: &Evidence, kept: &Measured, now: Option<Gate>) -> Again {
    let name = name(evidence, kept.component.as_str(), &kept.gate.name, 1);
    let mut looks: Vec<Look> = kept
        .readings
        .iter()
        .enumerate()
        .map(|(index, taken)| Look {
            block: None,
            measurement: Some(index),
            at: taken.at,
            logs: None,
            new: Some(taken.new.clone()),
            stable: taken.stable.clone(),
            verdict: taken.verdict.clone(),
            then: taken.verdict.clone(),
        })
        .collect();
    let began = kept.readings.first().map_or(0.0, |taken| taken.at);
    let ended = kept.readings.iter().position(|taken| taken.ended);
    let then = Outcome::of(&looks, began, ended, kept.readings.last().map(|taken| taken.verdict.as_str()));
    let mut again = Again { then, ..Again::blank(name, Vec::new()) };
    let gate = match now {
        None => Err("the environment has no gate of this name now"),
        Some(gate) if gate.metric != kept.gate.metric => {
            Err("the gate measures something else now than what was recorded")
        }
        Some(gate) => Ok(gate),
    };
    let gate = match gate {
        Ok(gate) => gate,
        Err(why) => {
            again.notes.push(why.to_owned());
            again.looks = looks;
            return again;
        }
    };
    if gate.window != kept.gate.window || gate.interval != kept.gate.interval {
        again.notes.push(format!(
            "it was measured every {} over {}; window and interval of now cannot be judged",
            human(kept.gate.interval),
            human(kept.gate.window)
        ));
    }
    let mut watches: BTreeMap<&str, Watch> = BTreeMap::new();
    let mut ends = None;
    for (index, (look, taken)) in looks.iter_mut().zip(&kept.readings).enumerate() {
        let (verdict, decision) = measure(&gate, taken, watches.entry(taken.hold.as_str()).or_default());
        verdict.clone_into(&mut look.verdict);
        if ends.is_none() {
            again.text = match decision {
                Decision::RollBack(why) => {
                    ends = Some(index);
                    why
                }
                Decision::Wait(why) => why,
                Decision::Pass => format!("gate {}: within {}", gate.name, gate::limit_text(&gate)),
            };
        }
    }
    again.now = Some(Outcome::of(&looks, began, ends, looks.last().map(|look| look.verdict.as_str())));
    again.looks = looks;
    again
}

fn measure(gate: &Gate, taken: &Taken, watch: &mut Watch) -> (&'static str, Decision) {
    let (new, stable) = (answer(&taken.new), taken.stable.as_ref().map(answer));
    let verdict = gate::judge(gate, &new, stable.as_ref());
    let text = |side: &Side| side.value.map_or_else(|| "-".to_owned(), |value| gate.metric.format(value));
    let mut shown = text(&taken.new);
    if let Some(stable) = &taken.stable {
        shown = format!("{shown} (stable {})", text(stable));
    }
    (verdict.label(), watch.observe(gate, verdict, &shown))
}

fn answer(side: &Side) -> Answer {
    if side.down {
        return Err(MetricsError::Down { message: "the metric store gave no answer".to_owned() });
    }
    Ok(Reading { value: side.value, requests: side.requests })
}
