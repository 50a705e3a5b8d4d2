//! Releases on record: reading them with every refusal named, and writing a new one.

use super::journal::{self, Entry, Phase, What};
use super::ledger;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{Revision, TargetId};
use crate::domain::release::{FORMAT, Outcome, Release, format_of};
use crate::plan::file;
use crate::ports::state::{Record, RecordKind, StateError, StateStore};
use std::collections::BTreeMap;

/// Name of a release's record; sorts by revision.
fn record_name(revision: Revision) -> String {
    format!("{:06}", revision.0)
}

/// All releases on record in one target, oldest first. One whose record is damaged is read from the plan of its run, as long
/// as that is kept.
pub async fn history(target: &TargetId, store: &dyn StateStore) -> Result<Vec<Release>, Failure> {
    let records = store.list(RecordKind::Release, "").await.map_err(|error| unreadable(target, &error))?;
    let mut releases = Vec::new();
    for record in &records {
        let release = match read(target, store, record) {
            Err(failure) if failure.code == Code(620) => {
                let from_plan = from_plan(target, store, record).await;
                from_plan.ok_or(failure)?
            }
            read => read?,
        };
        releases.push(release);
    }
    Ok(releases)
}

fn read(target: &TargetId, store: &dyn StateStore, record: &Record) -> Result<Release, Failure> {
    let damaged = |why: String| {
        let place = store.place(RecordKind::Release, &record.name);
        Failure::new(Code(620), Exit::Broken, format!("release {} of {target} is damaged", number(&record.name)))
            .why(format!("{why} ({place})"))
            .why("the plan of its run, which tells the same, is no longer kept or is damaged, too")
            .next(format!("kubectl delete {place}  # in {target}'s cluster: the others are not concerned, and this one cannot be brought back"))
            .next("then the same command again")
    };
    if let Some(damage) = &record.damage {
        return Err(damaged(damage.clone()));
    }
    let read: serde_json::Result<Release> = serde_json::from_slice(&record.content);
    // One that reads as a whole names its format itself.
    let format = read.as_ref().map_or_else(|_| format_of(&record.content), |release| Ok(release.format));
    let format = format.map_err(|error| damaged(error.to_string()))?;
    if format > FORMAT {
        return Err(Failure::new(
            Code(621),
            Exit::Usage,
            format!("release {} of {target} was written by a newer deployctl", record.name),
        )
        .why(format!("its format is {format}, this one knows up to {FORMAT}"))
        .next("use the deployctl that wrote it, or a newer one"));
    }
    read.map_err(|error| damaged(error.to_string()))
}

/// `r12` for `000012`.
fn number(name: &str) -> String {
    name.parse().map_or_else(|_| name.to_owned(), |number| Revision(number).to_string())
}

/// The same release as its plan and its journal tell it.
async fn from_plan(target: &TargetId, store: &dyn StateStore, record: &Record) -> Option<Release> {
    let number = Revision(record.name.parse().ok()?);
    let plans = store.list(RecordKind::Plan, "").await.ok()?;
    let mut plans = plans.iter().rev().filter_map(|plan| file::read(&plan.name, &plan.content).ok());
    let plan = plans.find(|plan| plan.revision == number && plan.targets.contains_key(target))?;
    let journal = store.list(RecordKind::Journal, &format!("{}.", plan.run)).await.ok()?;
    let entries: Vec<Entry> = journal.iter().filter_map(journal::entry).collect();
    let last = entries.last()?;
    let keeps = |entry: &Entry| matches!(&entry.what, What::Phase(Phase::Aborting { kept, .. }) if kept.contains(target));
    let outcome = match &last.what {
        What::Phase(Phase::Ended { outcome, .. }) if outcome == "deployed" => Outcome::Deployed,
        What::Phase(Phase::Ended { .. }) if entries.iter().any(keeps) => Outcome::Deployed,
        What::Phase(Phase::Ended { outcome, .. }) if outcome == "rolled-back" => Outcome::RolledBack,
        _ => return None,
    };
    let own = &plan.targets[target];
    Some(Release {
        format: FORMAT,
        revision: number,
        target: target.clone(),
        version: plan.version.clone(),
        outcome,
        cause: None,
        run: plan.run.clone(),
        by: plan.by.clone(),
        reason: plan.reason.clone(),
        overridden: plan.overridden.as_ref().map(ToString::to_string),
        started: plan.created,
        ended: last.at,
        rollback_of: plan.rollback_of,
        workloads: own.workloads.clone(),
        objects: own.inventory.iter().map(|index| plan.objects[*index].clone()).collect(),
        rollback_jobs: own.rollback_jobs.clone(),
        evidence: vec![format!(
            "{target}: the record of this release is damaged; this is what the plan of its run tells"
        )],
        asked: Vec::new(),
        backups: Vec::new(),
        owed: if outcome == Outcome::Deployed { plan.owed.clone() } else { BTreeMap::new() },
        pays: plan.pays.clone(),
    })
}

/// A store that does not answer, as an operator reads it.
#[must_use]
pub fn unreadable(target: &TargetId, error: &StateError) -> Failure {
    Failure::new(Code(622), Exit::Preflight, format!("the records of {target} cannot be read"))
        .why(error.to_string())
        .next("deployctl preflight ENV")
}

/// Records a release, and drops those that the history limit no longer keeps. Written again by a resume: that is fine.
pub async fn record(store: &dyn StateStore, release: &Release, limit: u32) -> Result<(), StateError> {
    let content = serde_json::to_vec(release).expect("a release holds nothing that JSON cannot");
    match store.create(RecordKind::Release, &record_name(release.revision), &content).await {
        Ok(()) | Err(StateError::Exists { .. }) => {}
        Err(error) => return Err(error),
    }
    let records = store.list(RecordKind::Release, "").await?;
    let surplus = records.len().saturating_sub(limit as usize);
    // The release that serves is never dropped, however old.
    let serving = records
        .iter()
        .rev()
        .find(|r| serde_json::from_slice::<Release>(&r.content).is_ok_and(|r| r.outcome == Outcome::Deployed))
        .map(|record| record.name.clone());
    let goes = |record: &&Record| Some(&record.name) != serving.as_ref();
    for old in records.iter().take(surplus).filter(goes) {
        store.delete(RecordKind::Release, &old.name).await?;
    }
    if surplus > 0 {
        let stay = records.iter().take(surplus).filter(|record| !goes(record));
        let stay = stay.chain(records.iter().skip(surplus));
        let kept: Vec<Revision> = stay.filter_map(|record| record.name.parse().ok().map(Revision)).collect();
        // Evidence goes with its release; what could not be dropped now goes with the next one.
        let _ = ledger::forget(store, &kept).await;
    }
    Ok(())
}
