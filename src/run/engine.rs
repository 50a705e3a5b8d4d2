//! Drives a plan: forward stage by stage, back on failure, to stable traffic on an interrupt.

use super::absent::Absence;
use super::compare::Comparisons;
use super::contact::Tries;
use super::control::Control;
use super::journal::{Journal, Phase, Replayed};
use super::lease::{Leases, Loss};
use super::perform::StepError;
use super::tampered::Tampered;
use super::world::{Report, Teller, World};
use crate::domain::effect::Effect;
use crate::domain::environment::OnInterrupt;
use crate::domain::event::{Kind, StillWrong};
use crate::domain::ids::{ComponentId, StepId, TargetId};
use crate::domain::step::{Stage, Status, Step, Transition, first_open, next};
use crate::plan::Plan;
use crate::ports::state::StateError;
use futures::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// On the new release, healthy.
    Deployed,
    /// Back on the release before, healthy.
    RolledBack {
        /// Why it turned back.
        cause: String,
    },
    /// Something could not be put back.
    Broken {
        /// Why it turned back.
        cause: String,
        /// What is still wrong.
        remaining: Vec<StillWrong>,
        /// Whether the release, an older one, serves all the same.
        serves: bool,
    },
    /// Stopped by an operator with traffic on stable.
    Interrupted,
    /// Contact or lock lost: nothing more is written, `resume` finds out.
    Unknown {
        /// Why.
        cause: String,
    },
}

/// Why going forward stopped.
pub(super) enum Stop {
    Failed(String),
    Aborted(String),
    Interrupted,
    /// This target gives no answer any more.
    Away(TargetId, String),
    Lost(String),
}

/// One process that works on one run.
pub struct Engine<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// With what.
    pub world: &'a World,
    /// The locks.
    pub leases: &'a Leases,
    /// What was done.
    pub journal: Journal,
    /// Who listens.
    pub report: &'a dyn Report,
    /// Grows with every interrupt.
    pub interrupts: watch::Receiver<u32>,
    /// Where the run stood when this process took it up.
    phase: Phase,
    /// Damaged records by target that this process makes up for.
    pub(super) assumed: BTreeMap<TargetId, Vec<String>>,
    pub(super) comparisons: Comparisons,
    /// What operators ask of it meanwhile.
    pub(super) control: Control,
    status: Mutex<BTreeMap<StepId, Status>>,
    pub(super) evidence: Mutex<BTreeMap<TargetId, Vec<String>>>,
    /// Commands that show more of a failure.
    pub(super) hints: Mutex<Vec<String>>,
    /// What failed and was no reason to turn back.
    pub(super) left: Mutex<Vec<StillWrong>>,
    pub(super) backups: Mutex<Vec<String>>,
    /// Targets of earlier waves that keep the new release though the run turned back.
    pub(super) kept: Mutex<Vec<TargetId>>,
    /// Steps that were taken back, of which the record did not get through.
    pub(super) unrecorded: Mutex<BTreeMap<TargetId, Vec<StepId>>>,
    /// Targets that give no answer.
    pub(super) absent: Mutex<BTreeMap<TargetId, Absence>>,
    /// Grows with every target that is lost.
    pub(super) losses: watch::Sender<u32>,
    /// Targets to which an older release did not come, and why, the first one first: the others go on.
    pub(super) dropped: Mutex<Vec<(TargetId, String)>>,
    /// Smoke tests that failed when an older release was brought back.
    pub(super) doubts: Mutex<Vec<StillWrong>>,
    /// Effects under way that an interrupt lets come to their end.
    pub(super) writing: watch::Sender<usize>,
    /// What was changed by hand since the run stopped, to be put back before it goes on.
    pub(super) tampered: Vec<Tampered>,
    pub(super) began: Timestamp,
}

impl<'a> Engine<'a> {
    /// An engine that goes on from what the journals tell (nothing, for a new run).
    pub fn new(
        plan: &'a Plan,
        world: &'a World,
        leases: &'a Leases,
        journal: Journal,
        replayed: Replayed,
        report: &'a dyn Report,
        interrupts: watch::Receiver<u32>,
    ) -> Self {
        Self {
            plan,
            world,
            leases,
            comparisons: Comparisons::new(plan, journal.epoch()),
            control: Control::new(journal.epoch(), replayed.asked),
            journal,
            report,
            interrupts,
            phase: replayed.phase,
            assumed: replayed.assumed,
            status: Mutex::new(replayed.status),
            evidence: Mutex::new(BTreeMap::new()),
            hints: Mutex::new(Vec::new()),
            left: Mutex::new(Vec::new()),
            backups: Mutex::new(Vec::new()),
            kept: Mutex::new(Vec::new()),
            unrecorded: Mutex::new(BTreeMap::new()),
            absent: Mutex::new(BTreeMap::new()),
            losses: watch::channel(0).0,
            dropped: Mutex::new(Vec::new()),
            doubts: Mutex::new(Vec::new()),
            writing: watch::channel(0).0,
            tampered: Vec::new(),
            began: world.clock.now(),
        }
    }

    pub(super) fn teller(&self) -> Teller<'_> {
        Teller { report: self.report, clock: self.world.clock.as_ref() }
    }

    pub(super) fn statuses(&self) -> BTreeMap<StepId, Status> {
        self.status.lock().expect("no panic while held").clone()
    }

    pub(super) fn status(&self, step: &Step) -> Status {
        self.status.lock().expect("no panic while held").get(&step.id).copied().unwrap_or_default()
    }

    /// Moves a step on; a transition that is not legal is a bug of ours.
    pub(super) fn set(&self, step: &Step, event: Transition) {
        let mut statuses = self.status.lock().expect("no panic while held");
        let status = statuses.get(&step.id).copied().unwrap_or_default();
        let status = next(status, event)
            .unwrap_or_else(|illegal| panic!("invariant of steps: {}: {illegal}", step.id));
        statuses.insert(step.id.clone(), status);
    }

    /// Goes forward from the first stage that is not done, to whatever end; does what operators ask meanwhile.
    pub async fn run(&self, resumed: bool) -> Ending {
        tokio::select! {
            biased;
            () = self.listen() => unreachable!("whoever listens does so until the run is over"),
            ending = Box::pin(self.go(resumed)) => ending,
        }
    }

    async fn go(&self, resumed: bool) -> Ending {
        self.teller().tell(Kind::RunStarted {
            run: self.plan.run.clone(),
            environment: self.plan.environment.clone(),
            revision: self.plan.revision,
            version: self.plan.version.clone(),
            resumed,
            expected: self.plan.expected,
        });
        let deadline = Instant::now() + self.plan.limits.run + super::until::for_persons(self.plan);
        let stopped = if self.brings_back() {
            self.bring_back(resumed, deadline).await
        } else {
            tokio::select! {
                biased;
                (target, loss) = self.leases.keep(self.world) => match loss {
                    Loss::Silent(why) => {
                        let cause = format!("{target} gives no answer: its lock is lost: {why}");
                        Err(Stop::Away(target, cause))
                    }
                    Loss::Taken(why) => Err(Stop::Lost(format!("the lock of {target} is lost: {why}"))),
                },
                result = async {
                    self.open(resumed).await?;
                    self.forward(deadline).await
                } => result,
            }
        };
        let ending = match stopped {
            Ok(()) => self.conclude(self.left()).await,
            Err(Stop::Interrupted) if self.brings_back() => self.rest().await,
            Err(stop) if self.stays_on(&stop) => self.stays(stop),
            Err(Stop::Failed(cause)) => self.guarded_abort(cause, self.keeps()).await,
            Err(Stop::Aborted(cause)) => self.guarded_abort(cause, Vec::new()).await,
            Err(Stop::Interrupted) if self.plan.limits.on_interrupt == OnInterrupt::Rollback => {
                self.teller().tell(Kind::Interrupted);
                self.guarded_abort("interrupted by an operator".to_owned(), Vec::new()).await
            }
            Err(Stop::Interrupted) => self.guarded_retreat().await,
            Err(Stop::Away(target, cause)) if self.others_answer(&target) => {
                self.lose(&target, &cause);
                self.guarded_abort(cause, self.keeps()).await
            }
            Err(Stop::Away(_, cause) | Stop::Lost(cause)) => Ending::Unknown { cause },
        };
        self.finish(ending).await
    }

    /// Takes back a run that stopped in the middle. One that stopped when all was done and only its records were missing
    /// is not in the middle any more: it is concluded, and the release before comes back by a run of its own.
    pub async fn abort(&self, cause: String) -> Ending {
        let mut steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        let all_done = steps.all(|step| self.status(step) == Status::Done || self.is_left(step));
        if all_done && !matches!(self.phase, Phase::Aborting { .. }) {
            // What was left is left for good.
            let ending = self.conclude(Vec::new()).await;
            return self.finish(ending).await;
        }
        // Where an older release has come to everybody, what is left to do is done: nobody is taken back half.
        let is_owed_trifles = |owed: &[TargetId]| owed.iter().all(|target| self.is_reached(target));
        if self.is_past_return() || matches!(&self.phase, Phase::Ended { owed, .. } if is_owed_trifles(owed))
        {
            return Box::pin(self.run(true)).await;
        }
        let kept = match &self.phase {
            Phase::Aborting { kept, .. } => kept.clone(),
            // It is over where it is done; where it is owed it is given up.
            Phase::Ended { owed, .. } => {
                self.plan.targets.keys().filter(|target| !owed.contains(target)).cloned().collect()
            }
            _ => Vec::new(),
        };
        self.restate().await;
        let ending = Box::pin(self.guarded_abort(cause, kept)).await;
        self.finish(ending).await
    }

    // --- forward ----------------------------------------------------------------------------------------------

    /// The first records of this process.
    pub(super) async fn open(&self, resumed: bool) -> Result<(), Stop> {
        let present = |target: &TargetId| !self.is_absent(target);
        let written = self.journal.phase_on(&Phase::Forward, Tries::Patient, present).await;
        for (target, error) in written {
            let cause = format!("the journal of {target} cannot be written: {error}");
            match error {
                StateError::Unreachable { .. } if self.brings_back() && self.others_answer(&target) => {
                    self.lose(&target, &cause);
                }
                _ => return Err(Stop::Lost(cause)),
            }
        }
        if resumed {
            self.recall_tests().await;
        } else {
            self.admit().await;
        }
        Ok(())
    }

    pub(super) async fn forward(&self, deadline: Instant) -> Result<(), Stop> {
        self.put_back().await.map_err(Stop::Failed)?;
        let interrupted = self.phase == Phase::Interrupted && !self.brings_back();
        let first = first_open(&self.plan.stages, interrupted, |step| self.status(step));
        for stage in &self.plan.stages[first..] {
            if !stage.steps.iter().any(|step| self.is_due(step)) {
                continue;
            }
            tokio::select! {
                biased;
                intent = self.control.aborted(), if !self.is_past_return() => return Err(Stop::Aborted(intent.cause())),
                () = self.interrupted() => return Err(Stop::Interrupted),
                () = self.control.past(deadline) => {
                    let limit = crate::domain::units::human(self.plan.limits.run);
                    return Err(Stop::Failed(format!("the run took longer than its limit of {limit}")));
                }
                result = async {
                    self.enter(stage).await;
                    self.stage(stage).await
                } => result?,
            }
        }
        Ok(())
    }

    async fn stage(&self, stage: &Stage) -> Result<(), Stop> {
        let mut by_target: BTreeMap<&TargetId, Vec<&Step>> = BTreeMap::new();
        for step in stage.steps.iter().filter(|step| self.is_due(step)) {
            by_target.entry(&step.target).or_default().push(step);
        }
        self.teller().tell(Kind::StageStarted {
            stage: stage.id.clone(),
            title: stage.title.clone(),
            wave: stage.wave,
            targets: by_target.keys().map(|target| (*target).clone()).collect(),
        });
        let part = |(target, steps)| async move {
            tokio::select! {
                biased;
                () = self.lost(target), if self.brings_back() => (target, Ok(())),
                result = self.stage_on(target, steps) => (target, result),
            }
        };
        let mut running: FuturesUnordered<_> = by_target.into_iter().map(part).collect();
        while let Some((target, result)) = running.next().await {
            match result {
                Err(stop) if self.brings_back() => self.drop_out(target, stop)?,
                result => result?,
            }
        }
        drop(running);
        let (id, wave, weight) = (stage.id.clone(), stage.wave, stage.weight);
        self.teller().tell(Kind::StageFinished { stage: id, wave, weight });
        Ok(())
    }

    /// One target's part of a stage: the journal before, the work, the journal after.
    async fn stage_on(&self, target: &TargetId, steps: Vec<&Step>) -> Result<(), Stop> {
        let ids: Vec<StepId> = steps.iter().map(|step| step.id.clone()).collect();
        let lost = |error| {
            let cause = format!("the journal of {target} cannot be written: {error}");
            match error {
                // Somebody else works on the run.
                StateError::Exists { .. } => Stop::Lost(cause),
                StateError::Unreachable { .. } => Stop::Away(target.clone(), cause),
                // A quota, revoked credentials: it cannot go forward. The way back waits for no record.
                StateError::Forbidden { .. } if self.others_answer(target) => {
                    Stop::Away(target.clone(), cause)
                }
                StateError::Forbidden { .. } => Stop::Failed(cause),
            }
        };
        self.journal
            .steps(target, ids.clone(), Transition::Start, None, Tries::Patient)
            .await
            .map_err(lost)?;
        for step in &steps {
            self.set(step, Transition::Start);
        }
        let result = self.levels(&steps).await;
        match result {
            Ok(()) => self.record_done(target, &steps).await.map_err(lost),
            Err((step, error)) => {
                self.set(step, Transition::Fail);
                if error.unknown && self.brings_back() {
                    return Err(Stop::Away(target.clone(), format!("{target}: {}", error.cause)));
                }
                if error.unknown && self.others_answer(target) {
                    self.lose(target, &error.cause);
                    return Err(Stop::Failed(format!("{target}: {}", error.cause)));
                }
                let cause = Some(error.cause.clone());
                let _ = self
                    .journal
                    .steps(target, vec![step.id.clone()], Transition::Fail, cause, Tries::One)
                    .await;
                Err(Stop::Failed(format!("{target}: {}", error.cause)))
            }
        }
    }

    /// Components of one level side by side, levels one after the other.
    async fn levels<'s>(&self, steps: &[&'s Step]) -> Result<(), (&'s Step, StepError)> {
        let mut levels: BTreeMap<u32, BTreeMap<Option<&str>, Vec<&'s Step>>> = BTreeMap::new();
        for step in steps {
            let component = step.component.as_ref().map(ComponentId::as_str);
            levels.entry(step.level).or_default().entry(component).or_default().push(step);
        }
        for chains in levels.into_values() {
            let mut running: FuturesUnordered<_> =
                chains.into_values().map(|chain| self.chain(chain)).collect();
            while let Some(result) = running.next().await {
                result?;
            }
        }
        Ok(())
    }

    async fn chain<'s>(&self, steps: Vec<&'s Step>) -> Result<(), (&'s Step, StepError)> {
        for step in steps.iter().copied() {
            let began = Instant::now();
            let (id, target, component) = (step.id.clone(), step.target.clone(), step.component.clone());
            let teller = self.teller();
            let title = step.title.clone();
            teller.tell(Kind::StepStarted {
                step: id.clone(),
                target: target.clone(),
                component: component.clone(),
                title,
            });
            match self.perform(step).await {
                Ok(detail) => {
                    self.set(step, Transition::Finish);
                    if let Effect::Snapshot { snapshot, .. } = &step.effect {
                        self.backups.lock().expect("no panic while held").push(snapshot.clone());
                    }
                    let took = Duration::from_millis(began.elapsed().as_millis() as u64);
                    teller.tell(Kind::StepFinished { step: id, target, component, detail, took });
                }
                Err(error) => {
                    let cause = error.cause.clone();
                    teller.tell(Kind::StepFailed { step: id, target, component, cause });
                    if self.brings_back() && matches!(step.effect, Effect::Smoke { .. }) {
                        self.doubt(step, &error.cause);
                        continue;
                    }
                    if !error.unknown && self.may_leave(step) {
                        self.leave(step, &steps, &error.cause);
                        return Ok(());
                    }
                    return Err((step, error));
                }
            }
        }
        Ok(())
    }

    async fn perform(&self, step: &Step) -> Result<String, StepError> {
        let perform =
            |effect| self.perform_for(&step.target, &step.id, step.component.as_ref(), effect, false);
        // A pause, an approval or another process may lie between the wait for pods and the traffic to them.
        let again = match &step.effect {
            effect if effect.leads_users() => usize::MAX,
            // Pods that are not ready are told as such, not as a Service that leads nowhere.
            Effect::WaitTraffic { .. } => 1,
            _ => 0,
        };
        if again > 0 {
            for wait in self.waited_for(step).into_iter().take(again) {
                perform(wait).await?;
            }
        }
        let _whole = self.whole(&step.effect).await;
        perform(&step.effect).await
    }

    /// The last wait for pods before a step, of its component, and those until Services lead to these pods.
    fn waited_for(&self, step: &Step) -> Vec<&Effect> {
        let all = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        let before = all.take_while(|other| other.id != step.id);
        let own = before.filter(|other| other.target == step.target && other.component == step.component);
        let own: Vec<&Effect> = own.map(|other| &other.effect).collect();
        let ready = own.iter().rev().find_map(|effect| match effect {
            Effect::WaitReady { workloads, .. } => Some((*effect, workloads)),
            _ => None,
        });
        let Some((wait, workloads)) = ready else { return Vec::new() };
        let leads = |effect: &&Effect| matches!(effect, Effect::WaitTraffic { workload, .. } if workloads.contains(workload));
        std::iter::once(wait).chain(own.iter().copied().filter(leads)).collect()
    }
}
