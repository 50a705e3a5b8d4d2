//! Runs that stopped in the middle: found, and put back together from any machine.

use super::damage;
use super::journal::{Phase, Replayed};
use super::left;
use super::releases::unreadable;
use super::world::World;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{Revision, TargetId};
use crate::domain::object::LABEL_REVISION;
use crate::domain::step::{Status, Step};
use crate::plan::{Plan, file};
use crate::ports::state::{Record, RecordKind, StateError};
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
        !matches!(&self.replayed.phase, Phase::Ended { owed, .. } if owed.is_empty())
    }

    /// Whether nothing else may begin in this world: it is not over, and not merely owed to targets that are left out.
    #[must_use]
    pub fn bars(&self, world: &World) -> bool {
        let owed = self.owed();
        let only_elsewhere = !owed.is_empty() && !owed.iter().any(|target| world.sites.contains_key(target));
        self.is_unfinished() && !only_elsewhere
    }

    /// Whether an older release is back and serves, and only steps are open that failed after it did. Taken back, it is ended as
    /// it is.
    #[must_use]
    pub fn serves(&self) -> bool {
        let status = |step: &Step| self.replayed.status.get(&step.id).copied().unwrap_or_default();
        let mut steps = self.plan.stages.iter().flat_map(|stage| &stage.steps);
        self.plan.rollback_of.is_some()
            && self.replayed.phase == Phase::Forward
            && steps.all(|step| status(step) == Status::Done || left::is_left(&self.plan, step, &status))
    }

    /// The older release that it was bringing back when it stopped, if that is what a `rollback` goes on with: what served
    /// before it is what somebody wanted to leave.
    #[must_use]
    pub fn brings_back(&self) -> Option<Revision> {
        let forward = !matches!(self.replayed.phase, Phase::Aborting { .. });
        self.plan.rollback_of.filter(|_| forward && !self.serves())
    }

    /// Targets in which it is still to be taken back, when all others are back; or to be finished, when it brought an older
    /// release back on all others.
    #[must_use]
    pub fn owed(&self) -> &[TargetId] {
        match &self.replayed.phase {
            Phase::Aborting { owed, .. } | Phase::Ended { owed, .. } => owed,
            _ => &[],
        }
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

/// The run that is to be looked after, joined over all targets of the world: the newest that is not over, or else the newest.
pub async fn latest(world: &World) -> Result<Option<Run>, Failure> {
    let plans = newest_plans(world).await?;
    let mut newest = None;
    for name in current(&plans) {
        let run = joined(world, &plans, &name).await?;
        if run.is_unfinished() {
            return Ok(Some(run));
        }
        newest.get_or_insert(run);
    }
    Ok(newest)
}

/// The runs that are some target's newest, the newest first, but for those that others went on without. Targets that were
/// released to on their own (`--target`) each have a run of their own.
#[must_use]
pub(super) fn current(plans: &BTreeMap<TargetId, Record>) -> Vec<String> {
    let mut names: Vec<String> = plans.values().map(|record| record.name.clone()).collect();
    names.sort_by(|a, b| b.cmp(a));
    names.dedup();
    if names.len() < 2 {
        return names;
    }
    let whole = plans.values().filter(|record| record.damage.is_none());
    let whole: BTreeMap<&str, Plan> = whole
        .filter_map(|record| Some((record.name.as_str(), file::read(&record.name, &record.content).ok()?)))
        .collect();
    let is_left = |name: &String| {
        plans.iter().filter(|(_, record)| record.name == *name).any(|(target, _)| {
            let mut newer = whole.iter().filter(|(other, _)| **other > name.as_str());
            newer.any(|(_, plan)| plan.owed.contains_key(target) || plan.targets.contains_key(target))
        })
    };
    names.iter().filter(|name| !is_left(name)).cloned().collect()
}

/// The newest run for a way back: where its journal is damaged, all that it may have begun counts as begun.
///
/// # Errors
/// The records cannot be read at all, or its plan is damaged on every target.
pub async fn despite_damage(world: &World) -> Result<Option<Run>, Failure> {
    let plans = newest_plans(world).await?;
    let Some(newest) = plans.values().map(|record| record.name.clone()).max() else { return Ok(None) };
    let plan = whole_plan(world, &plans, &newest)?;
    let replayed = damage::assume(&plan, &journals(world, &plan).await?)?;
    Ok(Some(Run { plan, replayed }))
}

/// Runs that a target still holds as unfinished though a newer one went on without it. The others decided for it: such a
/// run is taken back, never gone on with, however far its own journal had come.
pub async fn left_behind(world: &World) -> Result<BTreeMap<TargetId, Run>, Failure> {
    let plans = newest_plans(world).await?;
    let current = current(&plans);
    let mut left = BTreeMap::new();
    for (target, record) in plans.iter().filter(|(_, record)| !current.contains(&record.name)) {
        let (target, run) = (target.clone(), joined(world, &plans, &record.name).await?);
        let mut begun = run.plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| {
            let status = run.replayed.status.get(&step.id).copied().unwrap_or_default();
            step.target == target && !matches!(status, Status::Pending | Status::Undone)
        });
        if run.is_unfinished() && begun.next().is_some() {
            let plan = run.plan.part(|id| *id == target);
            let mut replayed = run.replayed;
            if !matches!(replayed.phase, Phase::Aborting { .. }) {
                let cause = "the other targets went on without it".to_owned();
                replayed.phase = Phase::Aborting { cause, kept: Vec::new(), owed: Vec::new() };
            }
            left.insert(target, Run { plan, replayed });
        }
    }
    Ok(left)
}

/// The newest plan that each target holds.
async fn newest_plans(world: &World) -> Result<BTreeMap<TargetId, Record>, Failure> {
    let mut newest = BTreeMap::new();
    for (target, site) in &world.sites {
        let record = site.state.newest(RecordKind::Plan).await.map_err(|error| unreadable(target, &error))?;
        newest.extend(record.map(|record| (target.clone(), record)));
    }
    Ok(newest)
}

/// A run as its plan and its journals tell it.
async fn joined(world: &World, plans: &BTreeMap<TargetId, Record>, name: &str) -> Result<Run, Failure> {
    let plan = whole_plan(world, plans, name)?;
    let replayed = damage::replay(world, &plan, &journals(world, &plan).await?)?;
    Ok(Run { plan, replayed })
}

/// The plan of a run: every target holds the same, and one that can be read is enough.
fn whole_plan(world: &World, plans: &BTreeMap<TargetId, Record>, name: &str) -> Result<Plan, Failure> {
    let mut refused: Option<Failure> = None;
    let mut holders = Vec::new();
    for (target, record) in plans.iter().filter(|(_, record)| record.name == name) {
        let why = match (&record.damage, file::read(&format!("the plan of run {name}"), &record.content)) {
            (None, Ok(plan)) => return Ok(plan),
            // Nothing is damaged: a newer deployctl is asked for.
            (None, Err(failure)) if failure.next.len() > 1 => return Err(failure),
            (Some(damage), _) => damage.clone(),
            (None, Err(failure)) => failure.why.join("; "),
        };
        let place =
            world.sites.get(target).map_or_else(String::new, |site| site.state.place(RecordKind::Plan, name));
        holders.push(place.clone());
        let so_far = refused.unwrap_or_else(|| {
            Failure::new(
                Code(654),
                Exit::Broken,
                format!("the plan of run {name} is damaged on every target that holds it"),
            )
        });
        refused = Some(so_far.why(format!("{target}: {why} ({place})")));
    }
    Err(without_plan(name, refused.expect("somebody holds it"), &holders))
}

/// What can be done by hand about a run of which nothing is known but its name.
fn without_plan(name: &str, failure: Failure, holders: &[String]) -> Failure {
    // `r000012-…`
    let number = name.trim_start_matches('r').split('-').next().and_then(|text| text.parse::<u32>().ok());
    let label = number.map_or_else(String::new, |number| format!("{LABEL_REVISION}={number}"));
    let failure = failure
        .why("without it nobody knows what the run has begun; what it made carries its number as a label")
        .next("deployctl status ENV, which shows what is live")
        .next(format!(
            "kubectl get deployments,services,ingresses -A -l {label}  # in each target: what it made"
        ))
        .next(format!(
            "kubectl scale deployment -n NAMESPACE -l {label} --replicas=0  # once traffic is on the others"
        ));
    let failure = holders.iter().fold(failure, |failure, place| {
        failure.next(format!("kubectl delete {place}  # then the run is forgotten"))
    });
    failure.next("deployctl rollback ENV --to REVISION, which brings a recorded release back whole")
}

async fn journals(world: &World, plan: &Plan) -> Result<damage::Journals, Failure> {
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
    Ok(journals)
}

/// The run as it stands now that its locks are ours: a guard, or another operator, may have worked on it since it was
/// looked at.
///
/// # Errors
/// The records cannot be read, or the run is over by now.
pub async fn again(world: &World, run: &Run) -> Result<Run, Failure> {
    let now = if run.replayed.assumed.is_empty() {
        let plans = newest_plans(world).await?;
        let name = current(&plans).into_iter().find(|name| *name == run.plan.run.as_str());
        match name {
            Some(name) => Some(joined(world, &plans, &name).await?),
            None => None,
        }
    } else {
        despite_damage(world).await?.filter(|now| now.plan.run == run.plan.run)
    };
    let now = match now {
        Some(now) => Some(now),
        // The others have left it behind: it is looked for where it was left.
        None => left_behind(world).await?.into_values().find(|left| {
            left.plan.run == run.plan.run && left.plan.targets.keys().eq(run.plan.targets.keys())
        }),
    };
    now.filter(Run::is_unfinished).ok_or_else(|| {
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
