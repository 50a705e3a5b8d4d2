//! The way back: lane by lane on all targets, each component's chain in reverse order.
//!
//! Nothing that a router, a metric store, a hook or the journal does can stop it. A component whose stable revision
//! cannot be brought to size keeps what it has: traffic is never sent beyond ready capacity, but for a stable that was
//! shrunk and does not grow back in time (`regrow`).

use super::by_hand;
use super::contact::Tries;
use super::engine::Engine;
use super::perform::StepError;
use super::releases;
use crate::domain::effect::Effect;
use crate::domain::event::{Kind, StillWrong};
use crate::domain::ids::{ComponentId, StepId, TargetId};
use crate::domain::object::{Object, ObjectRef};
use crate::domain::release::{Outcome, Release};
use crate::domain::step::{Lane, Status, Step, Transition, Undo};
use crate::plan::{Action, Plan, naming};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Attempts at one undo, 3 s apart.
const ATTEMPTS: u32 = 5;

/// An effect of a way back that was not achieved.
pub(super) struct Failed {
    error: StepError,
    effect: Effect,
}

type ChainId = (TargetId, Option<ComponentId>);

/// What is still wrong after a rollback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remaining {
    /// What it is, target by target.
    pub wrong: Vec<StillWrong>,
    /// Chains that are left as they are.
    stuck: BTreeSet<ChainId>,
}

impl Engine<'_> {
    /// Takes back, in these lanes, every step that was begun; adds what could not be.
    pub(super) async fn undo(&self, lanes: &[Lane], remaining: &mut Remaining) {
        for lane in lanes {
            // What is stuck keeps Git off, which is told, not passed over.
            let nothing = BTreeSet::new();
            let stuck = if *lane == Lane::Sync { &nothing } else { &remaining.stuck };
            let mut chains = self.chains(*lane, stuck);
            if *lane == Lane::Sync {
                leave_paused(&self.plan.environment, &mut chains, remaining);
            }
            if chains.is_empty() {
                continue;
            }
            self.teller().tell(Kind::RollbackLane { lane: *lane });
            let ways =
                chains.into_iter().map(|(id, steps)| async move { (id, self.undo_chain(&steps).await) });
            for (id, (failures, is_stuck)) in futures::future::join_all(ways).await {
                for (step, failed) in failures {
                    if failed.error.unknown {
                        self.lose(&step.target, &failed.error.cause);
                    }
                    remaining.wrong.push(self.not_taken_back(step, failed));
                }
                // A Job that undoes something stands in nobody's way.
                if is_stuck && *lane != Lane::Jobs {
                    // What all share stays, too: what is not back may stand on it.
                    remaining.stuck.insert((id.0.clone(), None));
                    remaining.stuck.insert(id);
                }
            }
        }
    }

    fn not_taken_back(&self, step: &Step, failed: Failed) -> StillWrong {
        let what = match &failed.effect {
            Effect::RunJob(run) => format!("run {}", self.plan.objects[run.job].reference()),
            _ => format!("{} is not taken back", step.title),
        };
        let again = format!("deployctl rollback {}", self.plan.environment);
        by_hand::still_wrong(self.plan, step, &failed.effect, &what, failed.error.cause, &again)
    }

    /// The steps to take back in a lane, by target and component, last first.
    fn chains(&self, lane: Lane, stuck: &BTreeSet<ChainId>) -> BTreeMap<ChainId, Vec<&Step>> {
        let mut chains: BTreeMap<ChainId, Vec<&Step>> = BTreeMap::new();
        for step in self.plan.stages.iter().rev().flat_map(|stage| stage.steps.iter().rev()) {
            let begun = !matches!(self.status(step), Status::Pending | Status::Undone);
            let in_lane = matches!(&step.undo, Undo::Effects { lane: own, .. } if *own == lane);
            let id = (step.target.clone(), step.component.clone());
            // Where the new release is kept, Git goes on with it.
            let kept = self.is_kept(&step.target) && lane != Lane::Sync;
            let left_alone = kept || self.is_absent(&step.target);
            if begun && in_lane && !left_alone && !stuck.contains(&id) {
                chains.entry(id).or_default().push(step);
            }
        }
        chains
    }

    /// What could not be taken back of a chain, and whether that left the rest of it as it is.
    async fn undo_chain<'s>(&self, steps: &[&'s Step]) -> (Vec<(&'s Step, Failed)>, bool) {
        let mut failures = Vec::new();
        let Some(target) = steps.first().map(|step| &step.target) else { return (failures, false) };
        // No journal holds up a way back: what could not be written is written at its end, or by the next resume.
        let record = async |steps: &[&Step], transition, cause| {
            let ids: Vec<StepId> = steps.iter().map(|step| step.id.clone()).collect();
            let written = self.journal.steps(target, ids.clone(), transition, cause, Tries::One).await;
            if written.is_err() && transition == Transition::FinishUndo {
                let mut late = self.unrecorded.lock().expect("no panic while held");
                late.entry(target.clone()).or_default().extend(ids);
            }
        };
        record(steps, Transition::StartUndo, None).await;
        let mut recorded = 0;
        for (index, step) in steps.iter().enumerate() {
            let was = self.status(step);
            self.set(step, Transition::StartUndo);
            if let Err(failed) = self.undo_step(step, was).await {
                self.set(step, Transition::FailUndo);
                record(&steps[recorded..index], Transition::FinishUndo, None).await;
                let cause = failed.error.cause.clone();
                record(&steps[index..=index], Transition::FailUndo, Some(cause.clone())).await;
                recorded = index + 1;
                let (id, target, title) = (step.id.clone(), target.clone(), step.title.clone());
                self.teller().tell(Kind::UndoFailed { step: id, target, title, cause });
                failures.push((*step, failed));
                if holds_up(step) {
                    return (failures, true);
                }
                continue;
            }
            self.set(step, Transition::FinishUndo);
            let (id, target, title) = (step.id.clone(), step.target.clone(), step.title.clone());
            self.teller().tell(Kind::StepUndone { step: id, target, title });
        }
        record(&steps[recorded..], Transition::FinishUndo, None).await;
        (failures, false)
    }

    /// What did not get on record meanwhile; nobody waits for anything else by now.
    pub(super) async fn record_late(&self) {
        let late = std::mem::take(&mut *self.unrecorded.lock().expect("no panic while held"));
        let writes = late.iter().filter(|(target, _)| !self.is_absent(target)).map(|(target, ids)| {
            self.journal.steps(target, ids.clone(), Transition::FinishUndo, None, Tries::Patient)
        });
        futures::future::join_all(writes).await;
    }

    /// After a rollback the release before must stand there healthy: exit code 5 says so. Where something is stuck that is
    /// known not to be so.
    pub(super) async fn verify_as_it_was(&self, remaining: &mut Remaining) {
        let mut targets = self.touched();
        targets.retain(|target| !remaining.stuck.iter().any(|(stuck, _)| stuck == target));
        for target in targets {
            let Ok(site) = self.world.site(&target) else { continue };
            if site.cluster.is_none() {
                // Compose itself waited until what it started was healthy.
                continue;
            }
            let history = match releases::history(&target, site.state.as_ref()).await {
                Ok(history) => history,
                Err(failure) => {
                    let env = &self.plan.environment;
                    remaining.wrong.push(StillWrong {
                        what: "whether the release before is healthy is not known".to_owned(),
                        next: vec![
                            format!("deployctl status {env}"),
                            format!("deployctl rollback {env}  # looks again"),
                        ],
                        cause: failure.to_string(),
                        target,
                        object: None,
                    });
                    continue;
                }
            };
            let Some(before) = history.iter().rev().find(|release| release.outcome == Outcome::Deployed)
            else {
                continue;
            };
            let workloads = self.workloads_of(&target, before);
            let step = StepId::new(format!("verify/{target}"));
            let effect = Effect::WaitReady { workloads, timeout: self.plan.limits.ready };
            if let Err(error) = self.perform_for(&target, &step, None, &effect, true).await {
                if error.unknown {
                    self.lose(&target, &error.cause);
                }
                let object = blamed(before, &error.cause);
                let look = object.iter().map(|object| by_hand::describe(self.plan, &target, object));
                let again = format!("deployctl rollback {}  # looks again", self.plan.environment);
                remaining.wrong.push(StillWrong {
                    what: format!("release {} ({}) is not healthy", before.revision, before.version),
                    next: look.chain([again]).collect(),
                    cause: error.cause,
                    target,
                    object,
                });
            }
        }
    }

    /// What has to be healthy once the release before is back: what serves its components, and of their other workloads
    /// those that this run had its hands on.
    fn workloads_of(&self, target: &TargetId, before: &Release) -> Vec<ObjectRef> {
        let mut workloads: BTreeSet<ObjectRef> =
            before.workloads.values().map(|serving| serving.workload.clone()).collect();
        let changes = self.plan.targets.get(target).into_iter().flat_map(|target| &target.changes);
        let touched: BTreeSet<&ObjectRef> = changes
            .filter(|change| !matches!(change.action, Action::Keep | Action::Create))
            .map(|change| &change.object)
            .collect();
        let beside = before.objects.iter().filter(|object| naming::is_workload(object.kind()));
        workloads.extend(beside.map(Object::reference).filter(|object| touched.contains(object)));
        workloads.into_iter().collect()
    }

    async fn undo_step(&self, step: &Step, was: Status) -> Result<(), Failed> {
        let Undo::Effects { effects, .. } = &step.undo else { return Ok(()) };
        let released = if holds_up(step) { Vec::new() } else { self.released(step) };
        for effect in effects.iter().chain(released) {
            if let Effect::RunJob(run) = effect {
                let nothing = self.never_made(&step.target, run, was).await;
                if nothing.map_err(|error| Failed { error, effect: effect.clone() })? {
                    continue;
                }
            }
            let mut attempt = 1;
            while let Err(error) =
                self.perform_for(&step.target, &step.id, step.component.as_ref(), effect, true).await
            {
                // A Job has tried as often as its own limit says.
                let last = attempt >= ATTEMPTS || matches!(effect, Effect::RunJob(_));
                if last || error.unknown {
                    return Err(Failed { error, effect: effect.clone() });
                }
                attempt += 1;
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        }
        Ok(())
    }
}

impl<'s> Engine<'s> {
    /// What gave an autoscaler its own bounds back, if that was done already: a way back that turns it only now, in another
    /// attempt, raises them again.
    fn released(&self, step: &Step) -> Vec<&'s Effect> {
        let plan: &'s Plan = self.plan;
        let all = plan.stages.iter().flat_map(|stage| &stage.steps);
        let own = all.filter(|other| other.target == step.target && other.component == step.component);
        let guards = own.filter(|other| matches!(other.effect, Effect::Guard { .. }));
        let undone = guards.filter(|other| self.status(other) == Status::Undone);
        let effects = undone.filter_map(|other| match &other.undo {
            Undo::Effects { effects, .. } => Some(effects),
            Undo::None { .. } => None,
        });
        effects.flatten().collect()
    }
}

/// Whether nothing before it in its chain can be taken back while it is not. An autoscaler that cannot be turned back holds no
/// traffic up: stable has its size, and what the autoscaler does not look at it does not shrink.
fn holds_up(step: &Step) -> bool {
    let Undo::Effects { effects, lane: Lane::Traffic } = &step.undo else { return true };
    !effects.iter().any(|effect| matches!(effect, Effect::Guard { .. }))
}

/// The workload that a cause names, or the first.
fn blamed(release: &Release, cause: &str) -> Option<ObjectRef> {
    let workloads = || release.workloads.values().map(|serving| &serving.workload);
    let beside = release.objects.iter().filter(|object| naming::is_workload(object.kind()));
    let named = beside.map(Object::reference).find(|workload| cause.contains(&workload.to_string()));
    let served = workloads().find(|workload| cause.contains(&workload.to_string())).cloned();
    served.or(named).or_else(|| workloads().next().cloned())
}

/// Whoever writes from Git would meet a target that is half one release and half another: an operator decides.
fn leave_paused(env: &str, chains: &mut BTreeMap<ChainId, Vec<&Step>>, remaining: &mut Remaining) {
    chains.retain(|(target, _), steps| {
        let whole = !remaining.stuck.iter().any(|(other, _)| other == target);
        if !whole {
            let left = steps.iter().map(|step| StillWrong {
                target: target.clone(),
                what: format!("{} is not taken back", step.title),
                object: None,
                cause: "left as it is: whoever writes from Git would meet half of each release".to_owned(),
                next: vec![format!("deployctl rollback {env}  # once the rest is put right")],
            });
            remaining.wrong.extend(left);
        }
        whole
    });
}
