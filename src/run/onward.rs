//! Bringing an older release back: it never turns round to the release that somebody is leaving. A target that fails or gives
//! no answer concerns itself alone, and an interrupt moves no traffic.

use super::contact::Tries;
use super::engine::{Ending, Engine, Stop};
use super::journal::Phase;
use crate::domain::effect::Effect;
use crate::domain::event::Kind;
use crate::domain::ids::TargetId;
use crate::domain::step::{Lane, Status, Step, Transition, Undo};
use tokio::sync::watch;
use tokio::time::Instant;

/// An effect that is under way and is brought to its end, for as long as this lives.
pub(super) struct Whole<'a>(&'a watch::Sender<usize>);

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|writing| *writing -= 1);
    }
}

impl Engine<'_> {
    /// Whether the run brings an older release back.
    pub(super) fn brings_back(&self) -> bool {
        self.plan.rollback_of.is_some()
    }

    /// Goes on to the end wherever it can; then once more where contact came back meanwhile.
    pub(super) async fn bring_back(&self, resumed: bool, deadline: Instant) -> Result<(), Stop> {
        self.begin_again_what_went_back();
        let work = async {
            self.open(resumed).await?;
            self.forward(deadline).await?;
            if self.look_again().await {
                self.forward(deadline).await?;
            }
            match self.dropped.lock().expect("no panic while held").first() {
                Some((_, cause)) => Err(Stop::Failed(cause.clone())),
                None => Ok(()),
            }
        };
        match self.while_held(Box::pin(work)).await {
            Ok(result) => result.map_err(|stop| self.first_of_all(stop)),
            Err((target, why)) => Err(Stop::Lost(format!("the lock of {target} is lost: {why}"))),
        }
    }

    /// The run was on its way back, and records of that may be missing: all that moved traffic may have gone back.
    fn begin_again_what_went_back(&self) {
        if !self.went_back() {
            return;
        }
        let steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        for step in steps.filter(|step| self.status(step) == Status::Done) {
            if matches!(step.undo, Undo::Effects { lane: Lane::Traffic, .. }) {
                self.set(step, Transition::Start);
            }
        }
    }

    /// Whether anything was taken back.
    pub(super) fn went_back(&self) -> bool {
        let mut steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        steps.any(|step| matches!(self.status(step), Status::Undoing | Status::Undone | Status::UndoFailed))
    }

    /// Whether a step is still to be done. On the way back to an older release what is done is not begun again: it might fail.
    pub(super) fn is_due(&self, step: &Step) -> bool {
        let dropped = || {
            let dropped = self.dropped.lock().expect("no panic while held");
            dropped.iter().any(|(target, _)| *target == step.target)
        };
        !self.brings_back()
            || (self.status(step) != Status::Done && !self.is_absent(&step.target) && !dropped())
    }

    /// One target does not go on: the others do, as long as there are any.
    pub(super) fn drop_out(&self, target: &TargetId, stop: Stop) -> Result<(), Stop> {
        match stop {
            Stop::Failed(_) if self.is_absent(target) => Ok(()),
            Stop::Away(target, cause) if self.others_answer(&target) => {
                self.lose(&target, &cause);
                Ok(())
            }
            Stop::Failed(cause) if !self.runs_jobs() && self.others_go_on(target) => {
                let message = format!("{cause}; the others go on");
                let at = Some(target.clone());
                self.teller().tell(Kind::Alert { severity: "critical", target: at, message });
                self.dropped.lock().expect("no panic while held").push((target.clone(), cause));
                Ok(())
            }
            stop => Err(stop),
        }
    }

    /// Jobs undo what Jobs did when nobody stands on that any more: until they are through, targets fail together.
    fn runs_jobs(&self) -> bool {
        let mut steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        steps.any(|step| matches!(step.effect, Effect::RunJob(_)))
    }

    fn others_go_on(&self, but: &TargetId) -> bool {
        let dropped = self.dropped.lock().expect("no panic while held");
        let is_out =
            |target: &TargetId| self.is_absent(target) || dropped.iter().any(|(other, _)| other == target);
        self.plan.targets.keys().any(|target| target != but && !is_out(target))
    }

    /// The failure that is told is the first one.
    fn first_of_all(&self, stop: Stop) -> Stop {
        let dropped = self.dropped.lock().expect("no panic while held");
        match (stop, dropped.first()) {
            (Stop::Failed(_), Some((_, first))) => Stop::Failed(first.clone()),
            (stop, _) => stop,
        }
    }

    /// Whether the older release has come to a target for good.
    pub(super) fn is_reached(&self, target: &TargetId) -> bool {
        let mut steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        self.carries_all(target)
            || steps.all(|step| step.target != *target || self.status(step) == Status::Done)
    }

    /// Whether the older release is back on all targets that answer, and nothing is left to do there but what failed.
    pub(super) fn is_back(&self) -> bool {
        let mut steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        let somebody = self.plan.targets.keys().any(|target| !self.is_absent(target));
        let is_over = |step: &Step| {
            self.is_absent(&step.target) || self.status(step) == Status::Done || self.is_left(step)
        };
        self.brings_back() && somebody && steps.all(is_over)
    }

    /// Whether a stop leaves everything where it is: a Job has run, or nobody is left who could be taken back.
    pub(super) fn stays_on(&self, stop: &Stop) -> bool {
        let mut present = self.plan.targets.keys().filter(|target| !self.is_absent(target));
        let reached = |target: &TargetId| self.is_reached(target);
        self.is_past_return()
            || self.brings_back()
                && matches!(stop, Stop::Failed(_))
                && if self.runs_jobs() { present.any(reached) } else { present.all(reached) }
    }

    /// Ends when an operator has interrupted the run; on the way back to an older release when no write is under way.
    pub(super) async fn interrupted(&self) {
        let _ = self.interrupts.clone().wait_for(|count| *count > 0).await;
        let _ = self.writing.subscribe().wait_for(|writing| *writing == 0 || !self.brings_back()).await;
    }

    /// What an interrupt lets come to its end; after one nothing else is begun.
    pub(super) async fn whole(&self, effect: &Effect) -> Option<Whole<'_>> {
        // A Job is asked for its state by whoever comes next.
        if !self.brings_back() || !effect.writes() || matches!(effect, Effect::RunJob(_)) {
            return None;
        }
        if *self.interrupts.borrow() > 0 {
            std::future::pending::<()>().await;
        }
        self.writing.send_modify(|writing| *writing += 1);
        Some(Whole(&self.writing))
    }

    /// Interrupted on the way back to an older release: it rests where it is. Stable is what somebody wanted to leave.
    pub(super) async fn rest(&self) -> Ending {
        self.teller().tell(Kind::Interrupted);
        let present = |target: &TargetId| !self.is_absent(target);
        let work = async {
            self.journal.phase_on(&Phase::Interrupted, Tries::One, present).await;
            self.save_evidence().await;
        };
        match self.while_held(Box::pin(work)).await {
            Ok(()) => Ending::Interrupted,
            Err((target, why)) => {
                Ending::Unknown { cause: format!("interrupted, and the lock of {target} was lost: {why}") }
            }
        }
    }

    /// Where users are: `interrupted by an operator; users are on 1.1.0 in east, on 1.1.0 and 1.2.0 in west`.
    pub(super) fn whereabouts(&self) -> String {
        let place = |target: &TargetId| {
            let (back, before) = (&self.plan.version, &self.plan.targets[target].previous_version);
            let before = before.as_deref().unwrap_or("what was there before");
            if self.is_absent(target) {
                format!("on what is not known in {target}, which gives no answer")
            } else if self.carries_all(target) {
                format!("on {back} in {target}")
            } else if self.has_moved(target) {
                format!("on {back} and {before} in {target}")
            } else {
                format!("on {before} in {target}")
            }
        };
        let places: Vec<String> = self.plan.targets.keys().map(place).collect();
        format!("interrupted by an operator; users are {}", places.join(", "))
    }
}
