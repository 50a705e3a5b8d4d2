//! The way back: lane by lane on all targets, each component's chain in reverse order.
//!
//! Nothing that a router, a metric store, a hook or the journal does can stop it. A component whose stable revision
//! cannot be brought to size keeps what it has: traffic is never sent beyond ready capacity, but for a stable that was
//! shrunk and does not grow back in time (`regrow`).

use super::contact::Tries;
use super::engine::Engine;
use super::perform::StepError;
use super::releases;
use super::tampered::touched;
use crate::domain::effect::Effect;
use crate::domain::event::Kind;
use crate::domain::ids::{ComponentId, StepId, TargetId};
use crate::domain::object::ObjectRef;
use crate::domain::release::Outcome;
use crate::domain::step::{Lane, Status, Step, Transition, Undo};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Attempts at one undo, 3 s apart.
const ATTEMPTS: u32 = 5;

type ChainId = (TargetId, Option<ComponentId>);

/// What is still wrong after a rollback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remaining {
    /// One line each, with the target.
    pub lines: Vec<(TargetId, String)>,
    /// Chains that are left as they are.
    stuck: BTreeSet<ChainId>,
}

fn describe(object: &ObjectRef, target: &TargetId) -> String {
    let (namespace, kind) = (&object.namespace, object.kind.to_lowercase());
    let of = if namespace.is_empty() { String::new() } else { format!("-n {namespace} ") };
    format!("; kubectl {of}describe {kind}/{}  # on {target}", object.name)
}

impl Engine<'_> {
    /// Takes back, in these lanes, every step that was begun; adds what could not be.
    pub(super) async fn undo(&self, lanes: &[Lane], remaining: &mut Remaining) {
        for lane in lanes {
            let mut chains = self.chains(*lane, &remaining.stuck);
            if *lane == Lane::Sync {
                leave_paused(&mut chains, remaining);
            }
            if chains.is_empty() {
                continue;
            }
            self.teller().tell(Kind::RollbackLane { lane: *lane });
            let ways =
                chains.into_iter().map(|(id, steps)| async move { (id, self.undo_chain(&steps).await) });
            for (id, result) in futures::future::join_all(ways).await {
                if let Err((step, error)) = result {
                    let look = self.look_at(step);
                    let line = format!("{} on {}: {}{look}", step.title, step.target, error.cause);
                    if error.unknown {
                        self.lose(&step.target, &error.cause);
                    }
                    remaining.lines.push((step.target.clone(), line));
                    remaining.stuck.insert(id);
                }
            }
        }
    }

    /// The command that shows what a step left: `; kubectl -n shop describe deployment/api-r2  # on west`.
    fn look_at(&self, step: &Step) -> String {
        let Undo::Effects { effects, .. } = &step.undo else { return String::new() };
        let objects = effects.iter().flat_map(|effect| touched(self.plan, effect));
        objects.into_iter().next().map_or_else(String::new, |object| describe(&object, &step.target))
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

    async fn undo_chain<'s>(&self, steps: &[&'s Step]) -> Result<(), (&'s Step, StepError)> {
        let Some(first) = steps.first() else { return Ok(()) };
        let ids = steps.iter().map(|step| step.id.clone()).collect();
        // The journal of an abort is best effort: what could not be written is reconciled by the next resume.
        let _ = self.journal.steps(&first.target, ids, Transition::StartUndo, None, Tries::One).await;
        for (index, step) in steps.iter().enumerate() {
            self.set(step, Transition::StartUndo);
            if let Err(error) = self.undo_step(step).await {
                self.set(step, Transition::FailUndo);
                let done = steps[..index].iter().map(|step| step.id.clone()).collect();
                let _ =
                    self.journal.steps(&step.target, done, Transition::FinishUndo, None, Tries::One).await;
                let failed = vec![step.id.clone()];
                let cause = Some(error.cause.clone());
                let _ =
                    self.journal.steps(&step.target, failed, Transition::FailUndo, cause, Tries::One).await;
                let (id, target) = (step.id.clone(), step.target.clone());
                self.teller().tell(Kind::UndoFailed { step: id, target, cause: error.cause.clone() });
                return Err((step, error));
            }
            self.set(step, Transition::FinishUndo);
            let (id, target, title) = (step.id.clone(), step.target.clone(), step.title.clone());
            self.teller().tell(Kind::StepUndone { step: id, target, title });
        }
        let ids = steps.iter().map(|step| step.id.clone()).collect();
        let _ = self.journal.steps(&first.target, ids, Transition::FinishUndo, None, Tries::One).await;
        Ok(())
    }

    /// After a rollback the release before must stand there healthy: exit code 5 says so.
    pub(super) async fn verify_as_it_was(&self) -> Remaining {
        let mut remaining = Remaining::default();
        for target in self.touched() {
            let Ok(site) = self.world.site(&target) else { continue };
            if site.cluster.is_none() {
                // Compose itself waited until what it started was healthy.
                continue;
            }
            let history = releases::history(&target, site.state.as_ref()).await.unwrap_or_default();
            let Some(before) = history.iter().rev().find(|release| release.outcome == Outcome::Deployed)
            else {
                continue;
            };
            let workloads = before.workloads.values().map(|serving| serving.workload.clone()).collect();
            let step = StepId::new(format!("verify/{target}"));
            let effect = Effect::WaitReady { workloads, timeout: self.plan.limits.ready };
            if let Err(error) = self.perform_for(&target, &step, None, &effect, true).await {
                if error.unknown {
                    self.lose(&target, &error.cause);
                }
                let first = before.workloads.values().next();
                let look = first.map_or_else(String::new, |serving| describe(&serving.workload, &target));
                let (revision, cause) = (before.revision, error.cause);
                let line = format!("{target}: release {revision} is not healthy: {cause}{look}");
                remaining.lines.push((target, line));
            }
        }
        remaining
    }

    async fn undo_step(&self, step: &Step) -> Result<(), StepError> {
        let Undo::Effects { effects, .. } = &step.undo else { return Ok(()) };
        for effect in effects {
            let mut attempt = 1;
            while let Err(error) =
                self.perform_for(&step.target, &step.id, step.component.as_ref(), effect, true).await
            {
                if attempt >= ATTEMPTS || error.unknown {
                    return Err(error);
                }
                attempt += 1;
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        }
        Ok(())
    }
}

/// Whoever writes from Git would meet a target that is half one release and half another: an operator decides.
fn leave_paused(chains: &mut BTreeMap<ChainId, Vec<&Step>>, remaining: &mut Remaining) {
    chains.retain(|(target, _), steps| {
        let whole = !remaining.stuck.iter().any(|(other, _)| other == target);
        if !whole {
            let left = steps
                .iter()
                .map(|step| (target.clone(), format!("{} on {target}: left as it is", step.title)));
            remaining.lines.extend(left);
        }
        whole
    });
}
