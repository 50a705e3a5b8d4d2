//! A vector under the judge.

use super::vector::{Raw, Source, Vector};
use crate::rollout::sequential::{Analysis, Block, Explanation, Judge, Logs, Params, Verdict};

/// What the judge said of one block.
pub struct Judged {
    /// Number of the block, from 0.
    pub index: usize,
    /// The block.
    pub block: Block,
    /// The evidence, as natural logarithms.
    pub logs: Logs,
    /// What follows of it.
    pub verdict: Verdict,
    /// The same in words and numbers.
    pub explanation: Explanation,
}

/// Judges the blocks of a vector one after another and hands each on; ends early when `told` refuses one.
pub fn judge<E>(
    vector: &Vector,
    params: &Params,
    mut told: impl FnMut(Judged) -> Result<(), E>,
) -> Result<(), E> {
    match &vector.source {
        Source::Blocks(blocks) => {
            let mut judge = Judge::new(params.clone(), vector.burst.clone());
            for (index, block) in blocks.iter().enumerate() {
                let judged = judge.observe(block);
                let (logs, verdict, explanation) = (judged.logs, judged.verdict, judged.explanation);
                told(Judged { index, block: block.clone(), logs, verdict, explanation })?;
            }
            Ok(())
        }
        Source::Samples(raw) => judge_samples(vector, raw, params, told),
    }
}

/// Raw samples are a run: it ends with a rollback, and what was recorded after it belongs to no block.
fn judge_samples<E>(
    vector: &Vector,
    raw: &Raw,
    params: &Params,
    mut told: impl FnMut(Judged) -> Result<(), E>,
) -> Result<(), E> {
    let mut analysis = Analysis::new(params.clone(), vector.burst.clone(), raw.start, raw.interval_s);
    for (name, arm, born) in &raw.pods {
        analysis.pod(name, *arm, *born);
    }
    for (at, weight) in &raw.weights {
        analysis.set_weight(*at, *weight);
    }
    let mut index = 0;
    for (pod, at, counters) in &raw.samples {
        let Some(decision) = analysis.feed(pod, *at, counters.as_ref()) else { continue };
        let Some(block) = decision.block else { continue };
        let (logs, verdict, explanation) = (decision.logs, decision.verdict, decision.explanation);
        told(Judged { index, block, logs, verdict, explanation })?;
        if verdict == Verdict::Rollback {
            break;
        }
        index += 1;
    }
    Ok(())
}
