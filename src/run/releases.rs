//! Releases on record: reading them with every refusal named, and writing a new one.

use super::journal::{self, Entry, Phase, What};
use super::ledger;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{Revision, TargetId};
use crate::domain::release::{FORMAT, Outcome, Release, format_of};
use crate::plan::{file, lineage};
use crate::ports::state::{Record, RecordKind, StateError, StateStore};
use std::collections::{BTreeMap, BTreeSet};

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
    if records.len() <= limit as usize {
        return Ok(());
    }
    let read = |record: &Record| serde_json::from_slice::<Release>(&record.content).ok();
    let known: Vec<(&Record, Option<Release>)> =
        records.iter().map(|record| (record, read(record))).collect();
    let goes = surplus(known.iter().map(|(record, release)| (record.name.as_str(), release.as_ref())), limit);
    for name in &goes {
        store.delete(RecordKind::Release, name).await?;
    }
    if !goes.is_empty() {
        let stay = records.iter().filter(|record| !goes.contains(&record.name));
        let kept: Vec<Revision> = stay.filter_map(|record| record.name.parse().ok().map(Revision)).collect();
        // Evidence goes with its release; what could not be dropped now goes with the next one.
        let _ = ledger::forget(store, &kept).await;
    }
    Ok(())
}

/// Names of the records that are too many, of records sorted by name with what could be read of them. Those that served and
/// those that failed are counted apart, so that failures do not push out what one could go back to. What serves, what it
/// stands on, and the one that served before it always stay.
fn surplus<'r>(
    records: impl Iterator<Item = (&'r str, Option<&'r Release>)>,
    limit: u32,
) -> BTreeSet<String> {
    let served = |release: Option<&Release>| release.is_some_and(|r| r.outcome == Outcome::Deployed);
    let (served, failed): (Vec<_>, Vec<_>) = records.partition(|(_, release)| served(*release));
    let history: Vec<Release> = served.iter().filter_map(|(_, release)| release.cloned()).collect();
    let below = lineage::below(&history).map(|release| release.revision);
    let is_below = |release: Option<&Release>| release.map(|r| r.revision) == below && below.is_some();
    let too_many = |all: usize, limit: usize| all.saturating_sub(limit);
    let old = served.iter().take(too_many(served.len(), limit.max(2) as usize));
    let old = old.filter(|(_, release)| !is_below(*release));
    let old_failed = failed.iter().take(too_many(failed.len(), limit as usize));
    old.chain(old_failed).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `r2` served, `x2` failed, `r4=2` brought 2 back, `?5` cannot be read.
    fn dropped(records: &str, limit: u32) -> Vec<u32> {
        let records: Vec<(String, Option<Release>)> = records
            .split(' ')
            .map(|text| {
                let (number, of) = text[1..].split_once('=').unwrap_or((&text[1..], ""));
                let number: u32 = number.parse().unwrap();
                let outcome = if text.starts_with('r') { "deployed" } else { "rolled-back" };
                let mut value = json!({"format": 1, "revision": number, "target": "east", "version": "1",
                    "outcome": outcome, "run": "r", "by": {"user": "ana", "host": "desk"},
                    "started": "2026-01-05T03:00:00Z", "ended": "2026-01-05T03:00:00Z", "workloads": {}, "objects": []});
                if let Ok(of) = of.parse::<u32>() {
                    value["rollbackOf"] = json!(of);
                }
                let release = (!text.starts_with('?')).then(|| serde_json::from_value(value).unwrap());
                (record_name(Revision(number)), release)
            })
            .collect();
        let goes = surplus(records.iter().map(|(name, release)| (name.as_str(), release.as_ref())), limit);
        goes.into_iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn failures_do_not_push_out_what_one_could_go_back_to() {
        for (records, limit, goes) in [
            ("r1 r2 r3", 2, &[1][..]),
            ("r1 r2 x3 x4 x5 x6", 3, &[3]),
            ("r1 x2 r3 x4 r5 x6 x7", 2, &[1, 2, 4]),
            // What serves and the one before it stay, whatever the limit.
            ("r1 r2", 1, &[]),
            ("r1 r2 r3 x4 x5", 1, &[1, 4]),
            // 5 stands where 2 stood, on 1.
            ("r1 r2 r3 r4 r5=2", 2, &[2, 3]),
            // One that cannot be read counts as a failure: it is no release to go back to.
            ("r1 ?2 r3 ?4 ?5", 2, &[2]),
        ] {
            assert_eq!(dropped(records, limit), goes, "{records}, limit {limit}");
        }
    }
}
