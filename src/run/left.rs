//! What fails and is no reason to turn back: on the way back to an older release, on a target where that carries everything,
//! and anywhere from its first Job on. The one that is left is what somebody wanted to leave; after a Job it could not even be
//! gone back to, since what it needs is undone.

use super::by_hand;
use super::contact::Tries;
use super::engine::{Ending, Engine, Stop};
use crate::domain::effect::{Effect, Size};
use crate::domain::event::{Kind, StillWrong};
use crate::domain::ids::{StepId, TargetId};
use crate::domain::step::{Lane, Status, Step, Transition, Undo};
use crate::plan::Plan;
use crate::ports::state::StateError;

/// Whether a step failed and the run went on, as the journals tell.
pub(super) fn is_left(plan: &Plan, step: &Step, status: &impl Fn(&Step) -> Status) -> bool {
    let may_fail = || {
        matches!(step.effect, Effect::Smoke { .. })
            || is_past_return(plan, status)
            || carries_all(plan, &step.target, status)
    };
    plan.rollback_of.is_some() && status(step) == Status::Failed && may_fail()
}

fn is_past_return(plan: &Plan, status: &impl Fn(&Step) -> Status) -> bool {
    let mut steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    let is_begun = |step: &Step| matches!(step.effect, Effect::RunJob(_)) && status(step) != Status::Pending;
    plan.rollback_of.is_some() && steps.any(is_begun)
}

/// Whether an older release carries everything on a target: all is done there up to the last step that leads users to it or
/// waits until it has them.
pub(super) fn carries_all(plan: &Plan, target: &TargetId, status: &impl Fn(&Step) -> Status) -> bool {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    let own: Vec<&Step> = steps.filter(|step| step.target == *target).collect();
    let asks = |step: &Step| matches!(step.effect, Effect::Smoke { .. });
    let there = |step: &&&Step| status(step) == Status::Done || asks(step) && status(step) == Status::Failed;
    let last = own.iter().rposition(|step| leads(step, &own));
    plan.rollback_of.is_some()
        && last.is_some_and(|last| own[..=last].iter().filter(|s| !there(s)).count() == 0)
}

/// Whether users may be elsewhere before a step than after it. That pods of the release that is left go moves users where
/// nothing is switched; where something is, they have left by then.
fn leads(step: &Step, own: &[&Step]) -> bool {
    let in_chain = |other: &&Step| other.component == step.component;
    let switched =
        || own.iter().copied().filter(in_chain).any(|other| matches!(other.effect, Effect::Switch { .. }));
    match &step.effect {
        Effect::WaitReady { .. } | Effect::WaitTraffic { .. } | Effect::WaitWeight { .. } => true,
        Effect::Scale { to: Size::Exactly(0), .. } => !switched(),
        Effect::Delete { .. } | Effect::ResumeSync { .. } => false,
        _ => moves_traffic(step),
    }
}

fn moves_traffic(step: &Step) -> bool {
    matches!(step.undo, Undo::Effects { lane: Lane::Traffic, .. })
}

impl Engine<'_> {
    /// Whether a Job of the way back to an older release was begun: from then on nothing turns round.
    pub(super) fn is_past_return(&self) -> bool {
        is_past_return(self.plan, &|step| self.status(step))
    }

    /// Whether the step failed and the run went on.
    pub(super) fn is_left(&self, step: &Step) -> bool {
        is_left(self.plan, step, &|step| self.status(step))
    }

    /// Whether a step that fails is left, and the rest goes on.
    pub(super) fn may_leave(&self, step: &Step) -> bool {
        self.is_past_return() || self.carries_all(&step.target)
    }

    pub(super) fn carries_all(&self, target: &TargetId) -> bool {
        carries_all(self.plan, target, &|step| self.status(step))
    }

    /// Whether steps that move users on a target were begun.
    pub(super) fn has_moved(&self, target: &TargetId) -> bool {
        let steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        let mut moves = steps.filter(|step| step.target == *target && moves_traffic(step));
        moves.any(|step| !matches!(self.status(step), Status::Pending | Status::Undone))
    }

    /// Stops where it stands, with the older release serving: `resume` goes on from there.
    pub(super) fn stays(&self, stop: Stop) -> Ending {
        let cause = match stop {
            Stop::Away(_, cause) | Stop::Lost(cause) => return Ending::Unknown { cause },
            Stop::Failed(cause) | Stop::Aborted(cause) => cause,
            Stop::Interrupted => "interrupted by an operator".to_owned(),
        };
        let env = &self.plan.environment;
        let why = if self.is_past_return() {
            "what Jobs have undone cannot be gone back to".to_owned()
        } else {
            format!("{} carries users", self.plan.version)
        };
        let steps = || self.plan.stages.iter().flat_map(|stage| &stage.steps);
        let is_open = |step: &Step| self.status(step) != Status::Done && !self.is_left(step);
        let is_unfinished = |target: &&TargetId| steps().any(|step| step.target == **target && is_open(step));
        let open = self.plan.targets.keys().filter(is_unfinished).map(|target| StillWrong {
            target: target.clone(),
            what: "the way back is not finished".to_owned(),
            object: None,
            cause: format!("{cause}; {why}, so it stays where it is"),
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

    /// A smoke test fails when an older release is brought back: tests are of today, and may ask for what only the newer one
    /// has. It is told, and nothing turns round for it.
    pub(super) fn doubt(&self, step: &Step, cause: &str) {
        self.set(step, Transition::Fail);
        let message =
            format!("{} failed, and {} is brought back all the same: {cause}", step.title, self.plan.version);
        let target = Some(step.target.clone());
        self.teller().tell(Kind::Alert { severity: "warning", target, message });
        self.doubts.lock().expect("no panic while held").push(StillWrong {
            target: step.target.clone(),
            what: step.title.clone(),
            object: None,
            cause: cause.to_owned(),
            next: vec![format!("deployctl smoke {}  # asks again", self.plan.environment)],
        });
    }

    /// Smoke tests that failed on the way back to an older release.
    pub(super) fn doubts(&self) -> Vec<StillWrong> {
        self.doubts.lock().expect("no panic while held").clone()
    }

    /// A stage's part on one target is over.
    pub(super) async fn record_done(&self, target: &TargetId, steps: &[&Step]) -> Result<(), StateError> {
        let (failed, done): (Vec<&Step>, Vec<&Step>) =
            steps.iter().copied().partition(|step| self.status(step) == Status::Failed);
        let ids = |steps: &[&Step]| -> Vec<StepId> { steps.iter().map(|step| step.id.clone()).collect() };
        let left: Vec<StillWrong> = self.left().into_iter().chain(self.doubts()).collect();
        for step in failed {
            let known = left.iter().find(|wrong| wrong.target == *target && wrong.what == step.title);
            let cause = known.map(|wrong| wrong.cause.clone());
            self.journal.steps(target, ids(&[step]), Transition::Fail, cause, Tries::Patient).await?;
        }
        self.journal.steps(target, ids(&done), Transition::Finish, None, Tries::Patient).await
    }
}
