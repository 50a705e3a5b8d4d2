//! Targets that give no answer: the others do not wait for them, and what is still to be done there is on record.

use super::engine::Engine;
use super::lease::Loss;
use crate::domain::event::{Kind, StillWrong};
use crate::domain::ids::TargetId;
use crate::domain::step::Status;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a target that gave no answer may take to give one when it is asked again.
const ANSWER: Duration = Duration::from_secs(5);

/// Why a target is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Absence {
    /// In one line.
    pub why: String,
    /// It was silent from the beginning: what its journal says is not known.
    unread: bool,
}

impl Engine<'_> {
    /// These targets gave no answer before the run was taken up: nothing is done there, and all of it is owed.
    #[must_use]
    pub fn leaving_out(self, silent: &BTreeMap<TargetId, String>) -> Self {
        let mut absent = self.absent.lock().expect("no panic while held");
        for (target, why) in silent.iter().filter(|(target, _)| self.plan.targets.contains_key(*target)) {
            absent.insert(target.clone(), Absence { why: why.clone(), unread: true });
        }
        drop(absent);
        self
    }

    pub(super) fn is_absent(&self, target: &TargetId) -> bool {
        self.absent.lock().expect("no panic while held").contains_key(target)
    }

    /// Whether any other target of the run is not known to be silent.
    pub(super) fn others_answer(&self, but: &TargetId) -> bool {
        self.plan.targets.keys().any(|target| target != but && !self.is_absent(target))
    }

    /// Contact with a target is lost: the rest of the run does not wait for it.
    pub(super) fn lose(&self, target: &TargetId, why: &str) {
        let absence = Absence { why: why.to_owned(), unread: false };
        let before = self.absent.lock().expect("no panic while held").insert(target.clone(), absence);
        self.losses.send_modify(|losses| *losses += 1);
        if before.is_none() {
            let message = format!("{target} gives no answer any more; the others do not wait for it");
            self.teller().tell(Kind::Alert { severity: "critical", target: Some(target.clone()), message });
        }
    }

    /// Ends when a target is lost.
    pub(super) async fn lost(&self, target: &TargetId) {
        let mut losses = self.losses.subscribe();
        // The sender lives as long as this.
        let _ = losses.wait_for(|_| self.is_absent(target)).await;
    }

    /// Targets that are still to be taken back once they answer; or to which an older release is still to be brought, when
    /// it is back on all others.
    pub(super) fn owed(&self) -> Vec<TargetId> {
        if self.is_back() {
            return self.absent.lock().expect("no panic while held").keys().cloned().collect();
        }
        let begun = |target: &TargetId| {
            let mut steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
            steps.any(|step| step.target == *target && self.status(step) != Status::Pending)
        };
        let absent = self.absent.lock().expect("no panic while held");
        let owed = absent
            .iter()
            .filter(|(target, absence)| !self.is_kept(target) && (absence.unread || begun(target)));
        owed.map(|(target, _)| target.clone()).collect()
    }

    /// One line for each target that is still to be taken back.
    pub(super) fn owed_lines(&self) -> Vec<String> {
        let absent = self.absent.lock().expect("no panic while held").clone();
        let line = |target: TargetId| {
            let why = absent.get(&target).map_or("", |absence| absence.why.as_str());
            if self.is_back() {
                let version = &self.plan.version;
                return format!("{version} is not brought back on {target}, which gives no answer ({why})");
            }
            format!("not taken back on {target}, which gives no answer ({why})")
        };
        self.owed().into_iter().map(line).collect()
    }

    /// The same, as things that are still wrong.
    pub(super) fn owed_wrong(&self) -> Vec<StillWrong> {
        let absent = self.absent.lock().expect("no panic while held").clone();
        let wrong = |target: TargetId| StillWrong {
            what: if self.is_back() {
                format!("{} is not brought back there", self.plan.version)
            } else {
                "what was begun there is not taken back".to_owned()
            },
            object: None,
            cause: format!("it gives no answer ({})", absent.get(&target).map_or("", |a| a.why.as_str())),
            next: vec![format!("deployctl resume {}  # once it answers", self.plan.environment)],
            target,
        };
        self.owed().into_iter().map(wrong).collect()
    }

    /// Asks the silent ones whose locks are still ours once more; those that answer are silent no longer. Says whether
    /// there were any.
    pub(super) async fn look_again(&self) -> bool {
        let absent: Vec<TargetId> =
            self.absent.lock().expect("no panic while held").keys().cloned().collect();
        let looks = absent.into_iter().filter(|target| self.leases.knows(target)).map(|target| async move {
            let site = self.world.site(&target).ok()?;
            // What is read is behind the same credentials as what is written.
            let answer = tokio::time::timeout(ANSWER, site.lock.inspect()).await;
            matches!(answer, Ok(Ok(_))).then_some(target)
        });
        let back: Vec<TargetId> = futures::future::join_all(looks).await.into_iter().flatten().collect();
        let mut absent = self.absent.lock().expect("no panic while held");
        for target in &back {
            absent.remove(target);
        }
        !back.is_empty()
    }

    /// Does a piece of work while the locks hold. A lock that is lost because its target is silent concerns that target
    /// alone, for as long as there are others; one that somebody took ends the work. Where it is not certain that they
    /// hold, that is found out before the work begins: records, too, are written by one hand.
    pub(super) async fn while_held<T>(&self, work: impl Future<Output = T>) -> Result<T, (TargetId, String)> {
        tokio::pin!(work);
        while let Err((target, loss)) = self.leases.confirm(self.world).await {
            self.bear(&target, loss)?;
        }
        loop {
            tokio::select! {
                biased;
                (target, loss) = self.leases.keep(self.world) => self.bear(&target, loss)?,
                result = &mut work => return Ok(result),
            }
        }
    }

    /// Goes on without a target whose lock is lost to silence.
    fn bear(&self, target: &TargetId, loss: Loss) -> Result<(), (TargetId, String)> {
        match loss {
            Loss::Silent(why) if self.others_answer(target) => {
                self.lose(target, &why);
                self.leases.forget(target);
                Ok(())
            }
            Loss::Silent(why) | Loss::Taken(why) => Err((target.clone(), why)),
        }
    }
}
