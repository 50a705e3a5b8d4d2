//! The brake: the canary's weight at 0 for a moment, where a router carries weights.
//!
//! It is pulled on the first suspicion and released when the aligned block does not agree. With pods as the router there
//! is nothing to pull: pods that went would have to start again.

use super::{Comparer, Contest};
use crate::domain::effect::{Arm, Effect};
use crate::domain::step::{Step, Undo};
use crate::rollout::sequential::Brake;
use crate::run::perform::Stand;

impl Stand<'_> {
    /// The share that a router sends to the new revision during this hold, 0–1; nothing if pods are the router.
    pub(super) fn routed(&self, arm: &Arm) -> Option<f64> {
        let Effect::Weigh { percent, .. } = &self.weighing(arm)?.effect else { return None };
        Some(f64::from(*percent) / 100.0)
    }

    /// The step that wrote the weight of this hold.
    fn weighing(&self, arm: &Arm) -> Option<&Step> {
        let stages = &self.plan.stages;
        let here = stages.iter().position(|stage| stage.steps.iter().any(|step| step.id == *self.step))?;
        let before = stages[..=here].iter().flat_map(|stage| &stage.steps);
        before
            .filter(|step| step.target == *self.target && step.component.as_ref() == Some(&arm.component))
            .rfind(|step| matches!(step.effect, Effect::Weigh { .. }))
    }

    /// Takes the traffic off the new revision, or gives it its weight back. A router that does not obey changes nothing:
    /// the evidence goes on and decides.
    pub(super) async fn brake(&self, contest: &Contest<'_>, comparer: &mut Comparer, brake: Brake) {
        let Some(step) = self.weighing(contest.arm) else { return };
        let zero = match &step.undo {
            Undo::Effects { effects, .. } => effects.first(),
            Undo::None { .. } => None,
        };
        let effect = match brake {
            Brake::On => zero,
            Brake::Off => Some(&step.effect),
        };
        let Some(Effect::Weigh { objects, percent, canaries, .. }) = effect else { return };
        let component = &contest.arm.component;
        if let Err(error) = self.weigh(objects, *percent, canaries, None).await {
            self.progress(format!("the brake of {component} does not take: {}", error.cause));
            return;
        }
        self.progress(match brake {
            Brake::On => {
                format!("brake: no traffic to the new {component} until the next samples agree or not")
            }
            Brake::Off => format!("brake released: {percent} % to the new {component} again"),
        });
        let at = self.clock_of(&comparer.source, &comparer.analysis);
        comparer.analysis.set_weight(at, f64::from(*percent) / 100.0);
        comparer.weight = Some(f64::from(*percent) / 100.0);
    }
}
