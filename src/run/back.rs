//! Turning back: everything that was begun is taken back, or traffic alone, and how that ended.

use super::contact::Tries;
use super::engine::{Ending, Engine};
use super::journal::{Phase, Restated, What};
use super::undo::Remaining;
use crate::domain::event::Kind;
use crate::domain::ids::TargetId;
use crate::domain::release::Outcome;
use crate::domain::step::{Lane, Status};

/// What follows once traffic is back, in this order.
const BEHIND_TRAFFIC: [Lane; 4] = [Lane::Capacity, Lane::Jobs, Lane::Config, Lane::Sync];

impl Engine<'_> {
    pub(super) async fn guarded_abort(&self, cause: String, kept: Vec<TargetId>) -> Ending {
        let lost_cause = cause.clone();
        match self.while_held(Box::pin(self.turn_back(cause, kept))).await {
            Ok(ending) => ending,
            Err((target, why)) => Ending::Unknown {
                cause: format!("{lost_cause}; on the way back the lock of {target} was lost: {why}"),
            },
        }
    }

    async fn turn_back(&self, cause: String, kept: Vec<TargetId>) -> Ending {
        self.teller().tell(Kind::RollbackStarted { cause: cause.clone() });
        self.kept.lock().expect("no panic while held").clone_from(&kept);
        self.look_again().await;
        let aborting = |owed| Phase::Aborting { cause: cause.clone(), kept: kept.clone(), owed };
        let present = |target: &TargetId| !self.is_absent(target);
        let mut remaining = Remaining::default();
        // The record is sent first and holds nothing up: a server that hangs must not keep the others' users waiting. Pods
        // that are going away can still be read: their logs hold up no traffic either.
        let aborts = aborting(Vec::new());
        tokio::join!(
            biased;
            self.journal.phase_on(&aborts, Tries::One, present),
            self.take_evidence(),
            self.undo(&[Lane::Traffic], &mut remaining)
        );
        self.undo(&BEHIND_TRAFFIC, &mut remaining).await;
        if self.look_again().await {
            // Contact came back meanwhile: what waited there goes back now.
            remaining = Remaining::default();
            self.undo(&[Lane::Traffic], &mut remaining).await;
            self.undo(&BEHIND_TRAFFIC, &mut remaining).await;
        }
        self.verify_as_it_was(&mut remaining).await;
        self.record_late().await;
        remaining.wrong.retain(|wrong| !self.is_absent(&wrong.target));
        let outcome = if remaining.wrong.is_empty() { Outcome::RolledBack } else { Outcome::Broken };
        for target in self.touched() {
            // The record tells history; the truth about the run is its journal.
            let _ = self.record(&target, outcome, Some(cause.clone())).await;
        }
        self.record_kept().await;
        let owed = self.owed();
        if outcome == Outcome::Broken {
            let remaining = remaining.wrong.into_iter().chain(self.owed_wrong()).collect();
            return Ending::Broken { cause, remaining, serves: false };
        }
        if !owed.is_empty() {
            let _ = self.journal.phase_on(&aborting(owed), Tries::One, present).await;
            return Ending::Unknown { cause: format!("{cause}; {}", self.owed_lines().join("; ")) };
        }
        let ended = Phase::ended("rolled-back");
        let _ = self.journal.phase_on(&ended, Tries::One, present).await;
        Ending::RolledBack { cause }
    }

    /// What is assumed in place of damaged records goes on record before anything rests on it. It holds nothing up: whoever
    /// comes later without it assumes the same again.
    pub(super) async fn restate(&self) {
        let all = self.statuses();
        let of = |target: &TargetId| {
            let steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
            let own = steps.filter(|step| step.target == *target);
            own.filter_map(|step| Some((step.id.clone(), *all.get(&step.id)?))).collect()
        };
        let writes = self.assumed.iter().filter(|(target, _)| !self.is_absent(target)).map(
            |(target, damaged)| async move {
                let restated = Restated { damaged: damaged.clone(), status: of(target) };
                let _ = self.journal.write(target, What::Restated(restated), Tries::One).await;
            },
        );
        futures::future::join_all(writes).await;
    }

    pub(super) async fn guarded_retreat(&self) -> Ending {
        self.teller().tell(Kind::Interrupted);
        let work = async {
            let present = |target: &TargetId| !self.is_absent(target);
            let mut remaining = Remaining::default();
            tokio::join!(
                biased;
                self.journal.phase_on(&Phase::Interrupted, Tries::One, present),
                self.undo(&[Lane::Traffic], &mut remaining)
            );
            self.save_evidence().await;
            let cause = "interrupted by an operator".to_owned();
            remaining.wrong.retain(|wrong| !self.is_absent(&wrong.target));
            match (remaining.wrong.is_empty(), self.owed_lines()) {
                (true, owed) if owed.is_empty() => Ending::Interrupted,
                (true, owed) => Ending::Unknown { cause: format!("{cause}; {}", owed.join("; ")) },
                (false, _) => {
                    let remaining = remaining.wrong.into_iter().chain(self.owed_wrong()).collect();
                    Ending::Broken { cause, remaining, serves: false }
                }
            }
        };
        match self.while_held(work).await {
            Ok(ending) => ending,
            Err((target, why)) => {
                Ending::Unknown { cause: format!("interrupted, and the lock of {target} was lost: {why}") }
            }
        }
    }

    /// Targets in which at least one step was begun, but for those that keep the new release and those that give no
    /// answer.
    pub(super) fn touched(&self) -> Vec<TargetId> {
        let steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        let mut targets: Vec<TargetId> = steps
            .filter(|step| self.status(step) != Status::Pending)
            .map(|step| step.target.clone())
            .collect();
        targets.sort();
        targets.dedup();
        targets.retain(|target| !self.is_kept(target) && !self.is_absent(target));
        targets
    }
}
