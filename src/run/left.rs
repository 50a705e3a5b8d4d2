//! What fails and is no reason to turn back: on the way back to an older release, from its first Job on. The older release
//! carries everything then, and the one that is left could not be gone back to: what it needs is undone.

use super::by_hand;
use super::contact::Tries;
use super::engine::{Ending, Engine, Stop};
use crate::domain::effect::Effect;
use crate::domain::event::{Kind, StillWrong};
use crate::domain::ids::{StepId, TargetId};
use crate::domain::step::{Status, Step, Transition};
use crate::ports::state::StateError;

impl Engine<'_> {
    /// Whether a Job of the way back to an older release was begun: from then on nothing turns round.
    pub(super) fn is_past_return(&self) -> bool {
        let mut steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        let is_begun =
            |step: &Step| matches!(step.effect, Effect::RunJob(_)) && self.status(step) != Status::Pending;
        self.plan.rollback_of.is_some() && steps.any(is_begun)
    }

    /// Whether the step failed and the run went on.
    pub(super) fn is_left(&self, step: &Step) -> bool {
        self.status(step) == Status::Failed && self.is_past_return()
    }

    /// Stops where it stands, with the older release serving: `resume` goes on from there.
    pub(super) fn stays(&self, stop: Stop) -> Ending {
        let cause = match stop {
            Stop::Away(_, cause) | Stop::Lost(cause) => return Ending::Unknown { cause },
            Stop::Failed(cause) | Stop::Aborted(cause) => cause,
            Stop::Interrupted => "interrupted by an operator".to_owned(),
        };
        let env = &self.plan.environment;
        let open = self.plan.targets.keys().map(|target| StillWrong {
            target: target.clone(),
            what: "the way back is not finished".to_owned(),
            object: None,
            cause: format!("{cause}; what Jobs have undone cannot be gone back to, so it stays where it is"),
            next: vec![format!("deployctl resume {env}  # goes on")],
        });
        let remaining = self.left().into_iter().chain(open).collect();
        Ending::Broken { cause, remaining, serves: true }
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
