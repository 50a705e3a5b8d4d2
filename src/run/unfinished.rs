//! Runs that stopped in the middle: found, and put back together from any machine.

use super::journal::{Phase, Replayed, replay};
use super::releases::unreadable;
use super::world::World;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::plan::{Plan, file};
use crate::ports::state::{RecordKind, StateError};
use std::collections::BTreeMap;

/// A run and what its journals tell.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its plan.
    pub plan: Plan,
    /// Its state.
    pub replayed: Replayed,
}

impl Run {
    /// Whether it still has to be resumed or rolled back.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        !matches!(self.replayed.phase, Phase::Ended { .. })
    }
}

/// Stores a plan in every target that it writes, before the first record of its journal.
pub async fn store(world: &World, plan: &Plan) -> Result<(), Failure> {
    let content = file::write(plan);
    for target in plan.targets.keys() {
        let site = world.site(target)?;
        match site.state.create(RecordKind::Plan, plan.run.as_str(), &content).await {
            Ok(()) | Err(StateError::Exists { .. }) => {}
            Err(error) => {
                return Err(Failure::new(
                    Code(630),
                    Exit::Preflight,
                    format!("the plan cannot be stored on {target}"),
                )
                .why(error.to_string())
                .next("deployctl preflight ENV"));
            }
        }
    }
    Ok(())
}

/// The newest run on record, if any, joined over all reachable targets.
pub async fn latest(world: &World) -> Result<Option<Run>, Failure> {
    let mut plans: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (target, site) in &world.sites {
        let records =
            site.state.list(RecordKind::Plan, "").await.map_err(|error| unreadable(target, &error))?;
        plans.extend(records.into_iter().map(|record| (record.name, record.content)));
    }
    let Some((name, content)) = plans.into_iter().next_back() else { return Ok(None) };
    let plan = file::read(&format!("the plan of run {name}"), &content)?;
    let mut journals = BTreeMap::new();
    for (target, site) in world.sites.iter().filter(|(target, _)| plan.targets.contains_key(target)) {
        let prefix = format!("{}.", plan.run);
        let records = site
            .state
            .list(RecordKind::Journal, &prefix)
            .await
            .map_err(|error| unreadable(target, &error))?;
        journals.insert(target.clone(), records);
    }
    let replayed = replay(&plan.run, &journals)?;
    Ok(Some(Run { plan, replayed }))
}

/// The run as it stands now that its locks are ours: a guard, or another operator, may have worked on it since it was
/// looked at.
///
/// # Errors
/// The records cannot be read, or the run is over by now.
pub async fn again(world: &World, run: &Run) -> Result<Run, Failure> {
    let now = latest(world).await?.filter(|now| now.is_unfinished() && now.plan.run == run.plan.run);
    now.ok_or_else(|| {
        let what = format!("run {} is over: somebody else ended it meanwhile", run.plan.run);
        Failure::new(Code(614), Exit::Usage, what).next(format!("deployctl status {}", run.plan.environment))
    })
}

/// Drops plans and journals of runs that are over, all but the newest `keep`.
pub async fn forget_old(world: &World, keep: usize) -> Result<(), (TargetId, StateError)> {
    for (target, site) in &world.sites {
        let at = |error| (target.clone(), error);
        let plans = site.state.list(RecordKind::Plan, "").await.map_err(at)?;
        let surplus = plans.len().saturating_sub(keep);
        for plan in &plans[..surplus] {
            let prefix = format!("{}.", plan.name);
            for kind in [RecordKind::Journal, RecordKind::Intent] {
                for entry in site.state.list(kind, &prefix).await.map_err(at)? {
                    site.state.delete(kind, &entry.name).await.map_err(at)?;
                }
            }
            site.state.delete(RecordKind::Plan, &plan.name).await.map_err(at)?;
        }
    }
    Ok(())
}
