//! The ends of a run: the release goes on record everywhere, the locks are given back, and what comes next is said.

use super::contact::Tries;
use super::engine::{Ending, Engine};
use super::journal::Phase;
use crate::domain::event::{Kind, StillWrong};
use crate::domain::ids::TargetId;
use crate::domain::release::Outcome;

impl Engine<'_> {
    /// Everything is done: the release goes on record everywhere before the run is called ended. What is left keeps it open:
    /// `resume` tries that again.
    pub(super) async fn conclude(&self, left: Vec<StillWrong>) -> Ending {
        for target in self.plan.targets.keys().filter(|target| !self.is_absent(target)) {
            if let Err(cause) = self.record_adopted(target).await {
                return Ending::Unknown {
                    cause: format!("what was adopted on {target} could not be recorded: {cause}"),
                };
            }
            if let Err(cause) = self.record(target, Outcome::Deployed, None).await {
                if self.brings_back() && self.others_answer(target) {
                    self.lose(target, &cause);
                    continue;
                }
                return Ending::Unknown {
                    cause: format!("the release on {target} could not be recorded: {cause}"),
                };
            }
        }
        let (owed, doubts) = (self.owed(), self.doubts());
        if let Some(first) = left.first() {
            let cause = first.to_string();
            let remaining = left.into_iter().chain(doubts).chain(self.owed_wrong()).collect();
            return Ending::Broken { cause, remaining, serves: true };
        }
        let ended = Phase::Ended { outcome: "deployed".to_owned(), owed: owed.clone() };
        let present = |target: &TargetId| !self.is_absent(target);
        let written = self.journal.phase_on(&ended, Tries::Patient, present).await;
        if let Some((target, error)) = written.into_iter().next() {
            let cause = format!("the journal of {target} cannot be written: {error}");
            return Ending::Unknown { cause };
        }
        match doubts.first().map(ToString::to_string) {
            _ if !owed.is_empty() => Ending::Unknown { cause: self.owed_lines().join("; ") },
            Some(cause) => Ending::Broken { cause, remaining: doubts, serves: true },
            None => Ending::Deployed,
        }
    }

    /// Gives the locks back (a lost one is not ours to give) and says how it ended.
    pub(super) async fn finish(&self, ending: Ending) -> Ending {
        let stopped = matches!(ending, Ending::Unknown { .. }) && self.brings_back();
        // Where it turned round, or is back, it is known of the others how they stand.
        let owed = if stopped && !self.is_back() && !self.went_back() { Vec::new() } else { self.owed() };
        if !matches!(ending, Ending::Unknown { .. }) || !owed.is_empty() {
            self.leases.release(self.world).await;
        }
        let env = &self.plan.environment;
        let (outcome, cause, next, wrong) = match &ending {
            Ending::Deployed => ("deployed", None, vec![format!("deployctl status {env}")], vec![]),
            Ending::RolledBack { cause } => {
                let mut next = self.hints.lock().expect("no panic while held").clone();
                next.extend(self.kept_next());
                next.push(format!("deployctl show {env} {}", self.plan.revision.0));
                ("rolled-back", Some(cause.clone()), next, vec![])
            }
            // Nothing is left to be done by a run: its tests are asked again by themselves.
            Ending::Broken { cause, remaining, serves: true } if *remaining == self.doubts() => {
                let next = vec![format!("deployctl smoke {env}"), format!("deployctl status {env}")];
                ("broken", Some(cause.clone()), next, remaining.clone())
            }
            Ending::Broken { cause, remaining, serves: true } => {
                let next = vec![format!("deployctl resume {env}"), format!("deployctl status {env}")];
                ("broken", Some(cause.clone()), next, remaining.clone())
            }
            Ending::Broken { cause, remaining, serves: false } => {
                let next = vec![format!("deployctl rollback {env}"), format!("deployctl status {env}")];
                ("broken", Some(cause.clone()), next, remaining.clone())
            }
            Ending::Interrupted if self.brings_back() => {
                let next = vec![format!("deployctl resume {env}"), format!("deployctl status {env}")];
                ("interrupted", Some(self.whereabouts()), next, vec![])
            }
            Ending::Interrupted => {
                let next = vec![format!("deployctl resume {env}"), format!("deployctl rollback {env}")];
                ("interrupted", None, next, vec![])
            }
            Ending::Unknown { cause } => {
                ("unknown", Some(cause.clone()), vec![format!("deployctl resume {env}")], self.doubts())
            }
        };
        let took = self.world.clock.now().duration_since(self.began).unsigned_abs();
        let revision = self.plan.revision;
        let kept = self.kept.lock().expect("no panic while held").clone();
        let serves = match ending {
            Ending::Broken { serves, .. } => serves,
            Ending::Unknown { .. } => !owed.is_empty() && self.is_back(),
            _ => false,
        };
        let remaining = wrong.iter().map(ToString::to_string).collect();
        self.teller().tell(Kind::RunFinished {
            outcome,
            revision,
            cause,
            took,
            next,
            remaining,
            still_wrong: wrong,
            serves,
            kept,
            owed,
        });
        ending
    }
}
