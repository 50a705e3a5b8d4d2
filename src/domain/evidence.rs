//! What the gates of a run looked at: enough to judge it again, and for a resumed run to go on with the same test.

use crate::domain::gate::Gate;
use crate::domain::ids::{ComponentId, Revision, RunId, StepId, TargetId};
use crate::domain::object::ObjectRef;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the gates of one run looked at on one target. Numbers and names alone: nothing of what requests or pods said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// [`crate::domain::release::FORMAT`] of the writer.
    pub format: u32,
    /// The release's number.
    pub revision: Revision,
    /// Its version.
    pub version: String,
    /// The run.
    pub run: RunId,
    /// Where.
    pub target: TargetId,
    /// When this was written.
    pub written: Timestamp,
    /// How often older blocks were merged, and older measurements dropped, to keep it small.
    #[serde(default)]
    pub thinned: u32,
    /// Comparisons with stable.
    pub compared: Vec<Compared>,
    /// Gates with limits.
    pub measured: Vec<Measured>,
}

/// One sequential test: a gate over one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// The gate as it was then.
    pub gate: Gate,
    /// Whom it watched.
    pub component: ComponentId,
    /// Which process of the run began the test; a later one that could not go on with it has one of its own.
    pub process: u64,
    /// The workload under test.
    pub new: ObjectRef,
    /// What it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<ObjectRef>,
    /// `pods` or `store`.
    pub source: String,
    /// This test's share of the bound on false rollbacks (0–1).
    pub alpha: f64,
    /// Burst factor of errors.
    pub burst_errors: f64,
    /// Burst factor of slow requests, per bound.
    pub burst_latency: Vec<f64>,
    /// The histogram's finite bounds, seconds.
    pub bounds: Vec<f64>,
    /// What was looked at, in the order of time.
    pub blocks: Vec<Looked>,
    /// Whether traffic was held off because the source was silent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silenced: bool,
    /// The test itself as it stood, for a resume; its form is that of the binary that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Value>,
}

/// One block of both arms, and what it was taken for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// Its end, seconds on the samples' clock.
    pub at: f64,
    /// Its length, seconds.
    pub dt: f64,
    /// The new revision's share of the traffic (0–1), where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The new revision.
    pub new: Counted,
    /// Stable.
    pub stable: Counted,
    /// `continue`, `hold_suspicious`, `rollback`, …
    pub verdict: String,
    /// Natural logarithm of the evidence against the new revision.
    pub ln_e: f64,
}

/// What was counted in a block. Counts are interpolated between samples, so they may be fractions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Requests.
    pub n: f64,
    /// Failed ones.
    pub err: f64,
    /// Requests in the histogram.
    pub timed: f64,
    /// Of those, slower than each bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slow: Vec<f64>,
}

impl Counted {
    /// Adds what was counted in another block of the same bounds.
    pub fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.err += other.err;
        self.timed += other.timed;
        for (slow, other) in self.slow.iter_mut().zip(&other.slow) {
            *slow += other;
        }
    }
}

/// A gate with limits over one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The gate as it was then.
    pub gate: Gate,
    /// Whom it watched.
    pub component: ComponentId,
    /// Every measurement, in the order of time.
    pub readings: Vec<Taken>,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// Seconds since the epoch.
    pub at: f64,
    /// The hold: breaches are counted in each by itself.
    pub hold: StepId,
    /// The new revision.
    pub new: Side,
    /// Stable, where it served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Side>,
    /// `healthy`, `bad`, `shared`, …
    pub verdict: String,
    /// Whether the run was taken back on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// What the store said of one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// The value in the metric's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Requests in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<f64>,
    /// It gave no answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub down: bool,
}

impl Evidence {
    /// Makes it smaller: neighbouring blocks of one weight in each test's older half become one, and of the older half of
    /// the measurements every second healthy one goes. Where that saves nothing, the oldest quarter goes.
    pub fn thin(&mut self) {
        self.thinned += 1;
        let mut saved = false;
        for compared in &mut self.compared {
            saved |= merge_older_half(&mut compared.blocks);
        }
        for measured in &mut self.measured {
            saved |= drop_from_older_half(&mut measured.readings);
        }
        if !saved {
            for compared in &mut self.compared {
                compared.blocks.drain(..compared.blocks.len().div_ceil(4));
            }
            for measured in &mut self.measured {
                measured.readings.drain(..measured.readings.len().div_ceil(4));
            }
        }
    }
}

fn merge_older_half(blocks: &mut Vec<Looked>) -> bool {
    let before = blocks.len();
    let newer = blocks.split_off(before / 2);
    let mut merged: Vec<Looked> = Vec::with_capacity(before);
    let mut open = false;
    for block in blocks.drain(..) {
        match merged.last_mut() {
            // one pair, not a run of them: the older half gets coarser step by step
            Some(last) if open && last.weight == block.weight => {
                last.new.add(&block.new);
                last.stable.add(&block.stable);
                last.dt += block.dt;
                (last.at, last.verdict, last.ln_e) = (block.at, block.verdict, block.ln_e);
                open = false;
            }
            _ => {
                merged.push(block);
                open = true;
            }
        }
    }
    merged.extend(newer);
    *blocks = merged;
    blocks.len() < before
}

fn drop_from_older_half(readings: &mut Vec<Taken>) -> bool {
    let before = readings.len();
    let mut index = 0;
    readings.retain(|reading| {
        index += 1;
        index > before / 2 || index % 2 == 1 || reading.verdict != "healthy"
    });
    readings.len() < before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(at: f64, weight: f64) -> Looked {
        let count = |n: f64| Counted { n, err: 1.0, timed: n, slow: vec![2.0] };
        let verdict = format!("v{at}");
        Looked { at, dt: 5.0, weight: Some(weight), new: count(10.0), stable: count(90.0), verdict, ln_e: at }
    }

    #[test]
    fn older_blocks_of_one_weight_become_one_and_no_count_is_lost() {
        let mut blocks: Vec<Looked> =
            (0..8).map(|at| block(f64::from(at), if at < 3 { 0.1 } else { 0.25 })).collect();
        let sum =
            |blocks: &[Looked]| blocks.iter().map(|block| block.new.n + block.stable.slow[0]).sum::<f64>();
        let before = sum(&blocks);
        assert!(merge_older_half(&mut blocks));
        let shown: Vec<(f64, f64)> = blocks.iter().map(|block| (block.at, block.dt)).collect();
        assert_eq!(shown[..4], [(1.0, 10.0), (2.0, 5.0), (3.0, 5.0), (4.0, 5.0)]);
        assert!((sum(&blocks) - before).abs() < 1e-9 && blocks.len() == 7);
        assert_eq!(blocks[0].verdict, "v1");
    }
}
