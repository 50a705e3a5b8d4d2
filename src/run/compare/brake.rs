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

    /// Whether the weight may go to 0 at once: stable must be able to carry all of it.
    pub(super) fn brakes(&self, arm: &Arm) -> bool {
        let undo = self.weighing(arm).map(|step| &step.undo);
        matches!(undo, Some(Undo::Effects { effects, .. }) if matches!(effects.first(), Some(Effect::Weigh { .. })))
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

    /// Suspicious evidence and a source that falls silent: the new revision may be failing and nobody sees it, so its
    /// traffic is held off until the source answers again.
    pub(super) async fn mind_silence(&self, contest: &Contest<'_>, comparer: &mut Comparer, silent: bool) {
        let judge = comparer.analysis.judge();
        let ln_e = judge.logs().ln_e;
        let (suspicious, braked) = (ln_e >= judge.params().suspicious.ln(), comparer.analysis.braked());
        let component = &contest.arm.component;
        if silent && suspicious && !braked && !comparer.silenced && contest.brakes {
            if self.turn(contest, comparer, Brake::On).await.is_some() {
                comparer.silenced = true;
                let odds = ln_e.exp().min(1e6);
                self.progress(format!(
                    "brake: no traffic to the new {component} until its counters can be read again; it was suspicious \
                     ({odds:.0} : 1)"
                ));
            }
        } else if !silent && comparer.silenced {
            // The brake of the evidence itself stays on.
            if braked {
                comparer.silenced = false;
            } else if let Some(percent) = self.turn(contest, comparer, Brake::Off).await {
                comparer.silenced = false;
                self.progress(format!(
                    "brake released: the counters of {component} can be read again, {percent} % to it again"
                ));
            }
        } else {
            return;
        }
        self.write_down(contest, comparer, &[]);
    }

    /// Pulls the brake of the evidence, or releases it.
    pub(super) async fn brake(&self, contest: &Contest<'_>, comparer: &mut Comparer, brake: Brake) {
        let Some(percent) = self.turn(contest, comparer, brake).await else { return };
        let component = &contest.arm.component;
        self.progress(match brake {
            Brake::On => {
                format!("brake: no traffic to the new {component} until the next samples agree or not")
            }
            Brake::Off => format!("brake released: {percent} % to the new {component} again"),
        });
    }

    /// Takes the traffic off the new revision, or gives it its weight back; says which weight it has then. A router that
    /// does not obey changes nothing: the evidence goes on and decides.
    async fn turn(&self, contest: &Contest<'_>, comparer: &mut Comparer, brake: Brake) -> Option<u8> {
        let step = self.weighing(contest.arm)?;
        let zero = match &step.undo {
            Undo::Effects { effects, .. } => effects.first(),
            Undo::None { .. } => None,
        };
        let effect = match brake {
            Brake::On => zero,
            Brake::Off => Some(&step.effect),
        };
        let Some(Effect::Weigh { objects, percent, canaries, .. }) = effect else { return None };
        let component = &contest.arm.component;
        if let Err(error) = self.weigh(objects, *percent, canaries, None).await {
            self.progress(format!("the brake of {component} does not take: {}", error.cause));
            return None;
        }
        let at = self.clock_of(&comparer.source, &comparer.analysis);
        comparer.analysis.set_weight(at, f64::from(*percent) / 100.0);
        comparer.weight = Some(f64::from(*percent) / 100.0);
        Some(*percent)
    }
}
