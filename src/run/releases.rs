//! Releases on record: reading them with every refusal named, and writing a new one.

use super::ledger;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{Revision, TargetId};
use crate::domain::release::{FORMAT, Outcome, Release};
use crate::ports::state::{Record, RecordKind, StateError, StateStore};
use serde::Deserialize;

#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// Name of a release's record; sorts by revision.
fn record_name(revision: Revision) -> String {
    format!("{:06}", revision.0)
}

/// All releases on record in one target, oldest first.
pub async fn history(target: &TargetId, store: &dyn StateStore) -> Result<Vec<Release>, Failure> {
    let records = store.list(RecordKind::Release, "").await.map_err(|error| unreadable(target, &error))?;
    records.iter().map(|record| read(target, record)).collect()
}

fn read(target: &TargetId, record: &Record) -> Result<Release, Failure> {
    let damaged = |error: serde_json::Error| {
        Failure::new(Code(620), Exit::Broken, format!("release {} of {target} is damaged", record.name))
            .why(error.to_string())
            .next("delete that record in the state namespace, then deployctl status ENV")
    };
    let head: Head = serde_json::from_slice(&record.content).map_err(damaged)?;
    if head.format > FORMAT {
        return Err(Failure::new(
            Code(621),
            Exit::Usage,
            format!("release {} of {target} was written by a newer deployctl", record.name),
        )
        .why(format!("its format is {}, this one knows up to {FORMAT}", head.format))
        .next("use the deployctl that wrote it, or a newer one"));
    }
    serde_json::from_slice(&record.content).map_err(damaged)
}

/// A store that does not answer, as an operator reads it.
#[must_use]
pub fn unreadable(target: &TargetId, error: &StateError) -> Failure {
    let exit = if matches!(error, StateError::Damaged { .. }) { Exit::Broken } else { Exit::Preflight };
    Failure::new(Code(622), exit, format!("the records of {target} cannot be read"))
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
