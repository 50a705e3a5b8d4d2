//! What fails and is no reason to turn back: on the way back to an older release, from its first Job on. The older release
//! carries everything then, and the one that is left could not be gone back to: what it needs is undone.

use super::by_hand;
use super::contact::Tries;
use super::engine::Engine;
use crate::domain::effect::Effect;
use crate::domain::event::{Kind, StillWrong};
use crate::domain::ids::{StepId, TargetId};
use crate::domain::step::{Status, Step, Transition};
use crate::ports::state::StateError;

impl Engine<'_> {
    /// Whether the run goes on when this step fails.
    pub(super) fn goes_on_without(&self, step: &Step) -> bool {
        let mut steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        let is_begun = |other: &Step| {
            other.target == step.target
                && matches!(other.effect, Effect::RunJob(_))
                && self.status(other) != Status::Pending
        };
        self.plan.rollback_of.is_some() && steps.any(is_begun)
    }

    /// Whether the step failed and the run went on.
    pub(super) fn is_left(&self, step: &Step) -> bool {
        self.status(step) == Status::Failed && self.goes_on_without(step)
    }

    /// Leaves a step that failed, and those of its chain that come after it.
    pub(super) fn leave(&self, failed: &Step, chain: &[&Step], cause: &str) {
        let (plan, env) = (self.plan, &self.plan.environment);
        let again = format!("deployctl resume {env}");
        let after = chain.iter().skip_while(|step| step.id != failed.id);
        for (place, step) in after.enumerate() {
            self.set(step, Transition::Fail);
            let cause =
                if place == 0 { cause.to_owned() } else { format!("not tried: {} failed", failed.title) };
            let message = format!("{} failed, and the rest goes on: {cause}", step.title);
            let target = Some(step.target.clone());
            self.teller().tell(Kind::Alert { severity: "critical", target, message });
            let wrong = by_hand::still_wrong(plan, step, &step.effect, &step.title, cause, &again);
            self.left.lock().expect("no panic while held").push(wrong);
        }
    }

    pub(super) fn left(&self) -> Vec<StillWrong> {
        self.left.lock().expect("no panic while held").clone()
    }

    /// A stage's part on one target is over.
    pub(super) async fn record_done(&self, target: &TargetId, steps: &[&Step]) -> Result<(), StateError> {
        let (failed, done): (Vec<&Step>, Vec<&Step>) =
            steps.iter().copied().partition(|step| self.status(step) == Status::Failed);
        let ids = |steps: &[&Step]| -> Vec<StepId> { steps.iter().map(|step| step.id.clone()).collect() };
        let left = self.left();
        for step in failed {
            let known = left.iter().find(|wrong| wrong.target == *target && wrong.what == step.title);
            let cause = known.map(|wrong| wrong.cause.clone());
            self.journal.steps(target, ids(&[step]), Transition::Fail, cause, Tries::Patient).await?;
        }
        self.journal.steps(target, ids(&done), Transition::Finish, None, Tries::Patient).await
    }
}
