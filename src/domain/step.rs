//! A step: an effect on one target, how it is undone, and the one function that says what may happen to it.

use crate::domain::effect::Effect;
use crate::domain::ids::{ComponentId, StepId, TargetId};
use serde::{Deserialize, Serialize};

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name in the journal.
    pub id: StepId,
    /// Where it happens.
    pub target: TargetId,
    /// Whose it is; `None` for what all components share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentId>,
    /// Depth in the dependency order: inside a stage, steps of a smaller level are done before this one begins.
    #[serde(default)]
    pub level: u32,
    /// What happens, for people: `scale kva-api-r2 to 10 %`.
    pub title: String,
    /// What happens.
    pub effect: Effect,
    /// How it is taken back.
    pub undo: Undo,
}

/// How a step is taken back. Safe after a half-done step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// Perform these, in order, in this lane.
    Effects {
        /// When in a rollback.
        lane: Lane,
        /// What.
        effects: Vec<Effect>,
    },
    /// Nothing to take back, and why.
    None {
        /// `waiting changes nothing`, `a snapshot is kept`.
        why: String,
    },
}

/// The order of a rollback: all of one lane, on every target, before any of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// Traffic to stable (its capacity first).
    Traffic,
    /// The new revision's pods go.
    Capacity,
    /// Jobs undo what Jobs did: stable carries everything, and the new revision's configuration is still there.
    Jobs,
    /// Configuration and everything else as it was.
    Config,
    /// Those who keep the cluster in step with Git go on, on targets that keep the new release, too.
    Sync,
}

/// Steps that run side by side; the next stage begins when all of this one are done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// `w1-canary-25`.
    pub id: String,
    /// `canary 25 %`.
    pub title: String,
    /// 1-based wave; 0 for what precedes all waves.
    pub wave: usize,
    /// Percent of live traffic that the new revision holds once the stage is done.
    pub weight: u8,
    /// The steps. Those of one target and component run in order; others side by side.
    pub steps: Vec<Step>,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not begun.
    #[default]
    Pending,
    /// Begun; what it did is unknown until an outcome is recorded.
    Started,
    /// Done and verified.
    Done,
    /// Tried and failed; it may be half done.
    Failed,
    /// Being taken back.
    Undoing,
    /// Taken back.
    Undone,
    /// Taking back failed.
    UndoFailed,
}

/// What can happen to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transition {
    /// Recorded before the effect (again by a resume).
    Start,
    /// The effect is done.
    Finish,
    /// The effect failed.
    Fail,
    /// Recorded before the undo (again by a resume).
    StartUndo,
    /// The undo is done.
    FinishUndo,
    /// The undo failed.
    FailUndo,
}

impl Transition {
    /// Where it leaves a step of which nothing else is known.
    #[must_use]
    pub fn leads_to(self) -> Status {
        match self {
            Self::Start => Status::Started,
            Self::Finish => Status::Done,
            Self::Fail => Status::Failed,
            Self::StartUndo => Status::Undoing,
            Self::FinishUndo => Status::Undone,
            Self::FailUndo => Status::UndoFailed,
        }
    }
}

/// An event that the step's status does not allow: the journal is not ours, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a step that is {status:?} cannot {event:?}")]
pub struct IllegalTransition {
    /// Where the step stood.
    pub status: Status,
    /// What was said to have happened.
    pub event: Transition,
}

/// The one place that says what may follow what, live and in replay.
///
/// The records of a way forward are durable before it goes on. Those of a failure and of a way back are tried once, since
/// no journal may hold up a way back: any of them may be missing in a replay, so an undo may end that never began there.
pub fn next(status: Status, event: Transition) -> Result<Status, IllegalTransition> {
    use Status as S;
    use Transition as T;
    match (status, event) {
        // A resume repeats a step that was begun; after an interrupt it begins anew what went back, or was about to.
        (_, T::Start) => Ok(S::Started),
        (S::Started, T::Finish) => Ok(S::Done),
        (S::Started, T::Fail) => Ok(S::Failed),
        (S::Started | S::Done | S::Failed | S::Undoing | S::UndoFailed, T::StartUndo) => Ok(S::Undoing),
        // Who does not know whether the record got through writes it once more.
        (S::Started | S::Done | S::Failed | S::Undoing | S::UndoFailed | S::Undone, T::FinishUndo) => {
            Ok(S::Undone)
        }
        (S::Started | S::Done | S::Failed | S::Undoing | S::UndoFailed, T::FailUndo) => Ok(S::UndoFailed),
        (status, event) => Err(IllegalTransition { status, event }),
    }
}

/// Where a resume goes on: the first stage that is not known to be done. After an interrupt that is the first one that
/// moved traffic: all traffic went back then, whatever of that is on record.
pub fn first_open(stages: &[Stage], interrupted: bool, status: impl Fn(&Step) -> Status) -> usize {
    let moved = |step: &Step| matches!(step.undo, Undo::Effects { lane: Lane::Traffic, .. });
    let is_done = |step: &Step| status(step) == Status::Done && !(interrupted && moved(step));
    stages.iter().position(|stage| !stage.steps.iter().all(is_done)).unwrap_or(stages.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_a_step_is_legal_or_refused() {
        use Status as S;
        use Transition as T;
        let legal = [
            (S::Pending, T::Start, S::Started),
            (S::Started, T::Start, S::Started),
            (S::Started, T::Finish, S::Done),
            (S::Started, T::Fail, S::Failed),
            (S::Started, T::StartUndo, S::Undoing),
            (S::Done, T::StartUndo, S::Undoing),
            (S::Failed, T::StartUndo, S::Undoing),
            (S::Undoing, T::StartUndo, S::Undoing),
            (S::Undone, T::FinishUndo, S::Undone),
            (S::UndoFailed, T::StartUndo, S::Undoing),
            (S::Undoing, T::FinishUndo, S::Undone),
            (S::Undoing, T::FailUndo, S::UndoFailed),
            (S::Undone, T::Start, S::Started),
            (S::Undoing, T::Start, S::Started),
            (S::UndoFailed, T::Start, S::Started),
            (S::Started, T::FinishUndo, S::Undone),
            (S::UndoFailed, T::FailUndo, S::UndoFailed),
        ];
        for (from, event, to) in legal {
            assert_eq!(next(from, event), Ok(to));
        }
        let illegal = [
            (S::Pending, T::Finish),
            (S::Pending, T::StartUndo),
            (S::Done, T::Finish),
            (S::Undone, T::Finish),
            (S::Undone, T::StartUndo),
            (S::Pending, T::FinishUndo),
            (S::Undone, T::FailUndo),
        ];
        for (status, event) in illegal {
            assert_eq!(next(status, event), Err(IllegalTransition { status, event }));
        }
    }
}
