//! What a guard reads of a run, and whether users may meet a version that nobody has judged to the end.

use crate::domain::effect::{Effect, Size};
use crate::domain::ids::TargetId;
use crate::domain::step::{Lane, Status, Step, Undo};
use crate::plan::{Plan, file};
use crate::ports::state::{RecordKind, StateError};
use crate::run::journal::{Phase, Replayed, replay};
use crate::run::world::{Site, World};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};

/// A run that is the newest of some target, as the targets that answer know of it.
pub(super) struct Look {
    pub plan: Plan,
    pub replayed: Replayed,
    /// Targets that have no newer run on record.
    pub newest_of: BTreeSet<TargetId>,
    /// Whose journals were read.
    known: BTreeSet<TargetId>,
}

/// The runs that are the newest of these targets, the newest first. Targets that are released to on their own each have one.
pub(super) async fn look(
    world: &World,
    targets: impl Iterator<Item = &TargetId>,
) -> Result<Vec<Look>, String> {
    let sites: Vec<_> = targets.filter_map(|target| Some((target, world.sites.get(target)?))).collect();
    let lists = sites.iter().map(|(target, site)| async move {
        let plan = site.state.newest(RecordKind::Plan).await.map_err(|error| text(target, &error))?;
        Ok::<_, String>(((*target).clone(), plan))
    });
    let mut runs: BTreeMap<String, (Vec<u8>, BTreeSet<TargetId>)> = BTreeMap::new();
    for newest in join_all(lists).await {
        let (target, plan) = newest?;
        if let Some(plan) = plan {
            runs.entry(plan.name).or_insert_with(|| (plan.content, BTreeSet::new())).1.insert(target);
        }
    }
    let mut looks = Vec::new();
    for (name, (content, newest_of)) in runs.into_iter().rev() {
        looks.push(look_at(&sites, &name, &content, newest_of).await?);
    }
    Ok(looks)
}

fn text(target: &TargetId, error: &StateError) -> String {
    format!("{target}: {error}")
}

async fn look_at(
    sites: &[(&TargetId, &Site)],
    name: &str,
    content: &[u8],
    newest_of: BTreeSet<TargetId>,
) -> Result<Look, String> {
    let plan = file::read(&format!("the plan of run {name}"), content).map_err(|failure| failure.what)?;
    let prefix = format!("{}.", plan.run);
    let lists = sites.iter().filter(|(target, _)| plan.targets.contains_key(*target));
    let lists = lists.map(|(target, site)| {
        let prefix = &prefix;
        async move {
            let records = site.state.list(RecordKind::Journal, prefix).await;
            Ok::<_, String>(((*target).clone(), records.map_err(|error| text(target, &error))?))
        }
    });
    let journals: BTreeMap<_, _> = join_all(lists).await.into_iter().collect::<Result<_, _>>()?;
    let replayed = replay(&plan.run, &journals).map_err(|failure| failure.what)?;
    Ok(Look { known: journals.into_keys().collect(), plan, replayed, newest_of })
}

impl Look {
    fn status(&self, step: &Step) -> Status {
        self.replayed.status.get(&step.id).copied().unwrap_or_default()
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        let steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        steps.filter(|step| self.known.contains(&step.target))
    }

    /// Steps that moved traffic, or may have, and are not taken back.
    fn moved(&self) -> impl Iterator<Item = &Step> {
        let kept: &[TargetId] = match &self.replayed.phase {
            Phase::Aborting { kept, .. } => kept,
            _ => &[],
        };
        self.steps()
            .filter(|step| moves_traffic(step) && !kept.contains(&step.target))
            .filter(|step| !matches!(self.status(step), Status::Pending | Status::Undone))
    }

    /// Whether all that these targets know of has been judged and stands: nothing is gained by going back.
    fn is_judged(&self) -> bool {
        let settled = |step: &Step| !decides(step) || self.status(step) == Status::Done;
        !matches!(self.replayed.phase, Phase::Aborting { .. }) && self.steps().all(settled)
    }

    /// Targets on which users may meet a version that nobody has judged to the end.
    pub fn in_between(&self) -> Vec<TargetId> {
        if matches!(self.replayed.phase, Phase::Ended { .. }) || self.left_alone().is_some() {
            return Vec::new();
        }
        let targets: BTreeSet<TargetId> = self.moved().map(|step| step.target.clone()).collect();
        targets.into_iter().collect()
    }

    /// Why a run that is not over is none of the guard's business.
    pub fn left_alone(&self) -> Option<&'static str> {
        if matches!(self.replayed.phase, Phase::Ended { .. }) {
            None
        } else if self.plan.rollback_of.is_some() {
            Some(
                "it was bringing an older release back, and what served before is what somebody wanted to leave",
            )
        } else if self.moved().next().is_some() && self.is_judged() {
            Some("the new release has passed all its checks and carries all traffic")
        } else {
            None
        }
    }

    /// Whether somebody tried to put traffic on stable here, failed, and said so.
    pub fn gave_up(&self, target: &TargetId) -> bool {
        self.moved().any(|step| step.target == *target && self.status(step) == Status::UndoFailed)
    }
}

fn moves_traffic(step: &Step) -> bool {
    matches!(step.undo, Undo::Effects { lane: Lane::Traffic, .. })
}

/// Whether the release hangs on a step: what moves traffic to it, and what judges it. That stable loses its pods decides
/// nothing, but that the data plane is seen to do without them does.
fn decides(step: &Step) -> bool {
    match &step.effect {
        Effect::Hold { .. }
        | Effect::Smoke { .. }
        | Effect::WaitReady { .. }
        | Effect::WaitTraffic { .. }
        | Effect::WaitWeight { .. } => true,
        Effect::Scale { to: Size::Exactly(0), .. } => false,
        _ => moves_traffic(step),
    }
}
