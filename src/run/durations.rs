//! How long earlier ways back took, as the journals and releases that are kept tell.

use super::journal::{self, Phase, What};
use super::world::World;
use crate::domain::ids::TargetId;
use crate::domain::release::{Outcome, Release};
use crate::ports::state::RecordKind;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Each rollback of a run that came to its end, from the turn to the end, oldest first. Records that cannot be read tell
/// nothing.
pub async fn of_rollbacks(world: &World) -> Vec<Duration> {
    let mut turned: BTreeMap<String, (Option<Timestamp>, Option<Timestamp>)> = BTreeMap::new();
    for site in world.sites.values() {
        for record in site.state.list(RecordKind::Journal, "").await.unwrap_or_default() {
            let Some(entry) = journal::entry(&record) else { continue };
            let run = record.name.split('.').next().unwrap_or_default().to_owned();
            let (began, ended) = turned.entry(run).or_default();
            match entry.what {
                What::Phase(Phase::Aborting { .. }) => {
                    *began = Some(began.map_or(entry.at, |at| at.min(entry.at)));
                }
                What::Phase(Phase::Ended { outcome, .. }) if outcome == "rolled-back" => {
                    *ended = (*ended).max(Some(entry.at));
                }
                _ => {}
            }
        }
    }
    let took =
        turned.into_values().filter_map(|(began, ended)| Some(ended?.duration_since(began?).unsigned_abs()));
    took.collect()
}

/// How long it took the last time that an older release was brought back whole, on the target that took longest.
#[must_use]
pub fn of_last_brought_back(histories: &BTreeMap<TargetId, Vec<Release>>) -> Option<Duration> {
    let brought_back = |release: &&Release| {
        release.rollback_of.is_some() && release.outcome == Outcome::Deployed && release.pays.is_none()
    };
    let releases: Vec<&Release> = histories.values().flatten().filter(brought_back).collect();
    let last = releases.iter().map(|release| release.revision).max()?;
    let took = releases.iter().filter(|release| release.revision == last);
    took.map(|release| release.ended.duration_since(release.started).unsigned_abs()).max()
}
