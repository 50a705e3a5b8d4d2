//! A comparison that an earlier process of the run began.

use super::{Comparer, Contest, Place};
use crate::run::ledger::Earlier;
use crate::run::perform::Stand;
use std::collections::BTreeMap;

impl Stand<'_> {
    /// The test that an earlier process of this run began, if it can be gone on with; where it cannot, that is told.
    pub(super) fn taken_up(&self, source: &Place, contest: &Contest<'_>, bounds: &[f64]) -> Option<Comparer> {
        let (gate, component) = (contest.gate, &contest.arm.component);
        let Earlier { kept, analysis } = self.comparisons.ledger.earlier(self.target, gate, component)?;
        let same_bounds = kept.bounds.len() == bounds.len()
            && kept.bounds.iter().zip(bounds).all(|(kept, now)| kept.total_cmp(now).is_eq());
        let why = match analysis {
            None => "its state cannot be read",
            Some(_) if kept.source != source.label() => "its counters are read elsewhere now",
            Some(_) if kept.new != contest.arm.new || kept.stable != contest.arm.stable => {
                "it compared other workloads"
            }
            Some(_) if !same_bounds => "its histograms have other bounds now",
            Some(mut analysis) => {
                // Nobody knows what was in force meanwhile, so that nothing is said of starving until now.
                analysis.set_weight(analysis.streams().last(), 0.0);
                let seen = analysis.judge().seen().0.requests;
                self.progress(format!(
                    "gate {} of {component} goes on with the evidence of before: {seen:.0} requests",
                    gate.name
                ));
                return Some(Comparer {
                    analysis,
                    source: source.clone(),
                    bounds: bounds.to_vec(),
                    newest: BTreeMap::new(),
                    weight: None,
                    process: kept.process,
                    silenced: kept.silenced,
                });
            }
        };
        self.progress(format!(
            "gate {} of {component} begins anew with a smaller share of the bound: {why}",
            gate.name
        ));
        None
    }
}
