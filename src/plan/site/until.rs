//! What holds wait for beside their time: a person, and enough requests.

use super::Site;
use crate::domain::effect::{Effect, Until};
use crate::domain::environment::CanaryStep;
use crate::domain::step::Step;
use crate::plan::build::is_live;

impl Site<'_> {
    /// Of several components at one weight, the one that waits longest for its approval counts.
    pub(super) fn approve(&mut self, step: &CanaryStep) {
        let Some(approval) = step.approve else { return };
        let known = self.approvals.entry(step.weight).or_insert(approval);
        known.within = known.within.max(approval.within);
    }

    /// What the bake of a wave waits for; nobody is asked after the last one.
    pub(super) fn until_baked(&self, last_wave: bool, judged: bool) -> Until {
        let env = self.inputs.env;
        let requests = if judged && is_live(self) && !last_wave { env.bake.requests } else { 0 };
        Until { approval: env.approve_waves.filter(|_| !last_wave), requests }
    }
}

/// A hold that waits for this, too.
pub(super) fn held(mut step: Step, wanted: Until) -> Step {
    if let Effect::Hold { until, .. } = &mut step.effect {
        *until = wanted;
    }
    step
}

/// `, then approval`.
pub(super) fn words(until: &Until) -> &'static str {
    if until.approval.is_some() { ", then approval" } else { "" }
}
