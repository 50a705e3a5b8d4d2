//! Whether the process that holds a run's locks still lives. Nobody can ask it, so its leases are watched: one that lives
//! renews them, those of one that was killed lapse.

use super::guard;
use super::intents::Live;
use super::journal::{self, Phase};
use super::lease::MOVED;
use super::world::World;
use crate::domain::ids::TargetId;
use crate::domain::intent::Intent;
use crate::plan::Plan;
use crate::ports::state::{Holder, REQUEST_TIMEOUT, RecordKind};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long a run may take to say on record that it heard.
const HEARING: Duration = Duration::from_secs(10);
/// From one look at the leases to the next.
const LOOK: Duration = Duration::from_secs(1);
/// How long a target may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long after the time of a lease it counts as lapsed though clocks that disagree say otherwise.
const LATE: Duration = Duration::from_secs(5);

/// How long a guard is waited for: it brings stable to size if it has to.
const GUARDS: Duration = Duration::from_mins(15);

/// What the leases of a run told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// One of them was renewed, or somebody else took the run over: it is worked on.
    Renewed,
    /// Nobody holds them any more.
    Lapsed,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It is on record that the run heard it.
    Heard,
    /// The run is over, and ended so: nobody obeys any more.
    Over(String),
    /// The run's process shows signs of life, but has not heard it.
    Unheard,
    /// The run's process is gone.
    Lapsed,
}

/// Watches until a lease of this run is renewed or all of them have lapsed, at most as long as a lease lasts. `telling`
/// is given the holder whose lease lapses last, once, if there is anything to wait for.
pub async fn watch(world: &World, plan: &Plan, telling: impl FnOnce(&Holder)) -> Sign {
    let mut telling = Some(telling);
    let mut first: BTreeMap<TargetId, Holder> = BTreeMap::new();
    let began = Instant::now();
    let mut limit = plan.limits.lease + REQUEST_TIMEOUT + LATE;
    loop {
        let seen = holders(world, plan).await;
        let now = world.clock.now();
        let alive = seen.values().flatten().filter(|holder| !holder.expired(now));
        let last = alive.max_by_key(|holder| holder.lapses());
        if last.is_none() && !seen.is_empty() {
            return Sign::Lapsed;
        }
        for (target, holder) in &seen {
            let Some(holder) = holder else { continue };
            let before = first.entry(target.clone()).or_insert_with(|| holder.clone());
            let moved = holder.renewed.duration_since(before.renewed).as_secs_f64();
            if holder.id != before.id || moved > MOVED.as_secs_f64() {
                return Sign::Renewed;
            }
        }
        if let (Some(last), Some(telling)) = (last, telling.take_if(|_| last.is_some())) {
            limit = limit.max(last.ttl + REQUEST_TIMEOUT + LATE);
            telling(last);
        }
        if began.elapsed() > limit {
            return Sign::Lapsed;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until no guard works on this run: it puts the traffic on stable, gives the run back and never goes on with it.
pub async fn until_guard_is_done(world: &World, plan: &Plan) {
    let began = Instant::now();
    while began.elapsed() < GUARDS {
        let (seen, now) = (holders(world, plan).await, world.clock.now());
        if !seen.values().flatten().any(|holder| is_guard(holder) && !holder.expired(now)) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether it is a guard that holds the lock.
#[must_use]
pub fn is_guard(holder: &Holder) -> bool {
    holder.reason.starts_with(guard::REASON)
}

/// Who holds the locks of this run, in the targets that answer.
async fn holders(world: &World, plan: &Plan) -> BTreeMap<TargetId, Option<Holder>> {
    let prefix = format!("{}/", plan.run);
    let sites = world.sites.iter().filter(|(target, _)| plan.targets.contains_key(*target));
    let looks = sites.map(|(target, site)| async move {
        let holder = tokio::time::timeout(ANSWER, site.lock.inspect()).await.ok()?.ok()?;
        Some((target.clone(), holder))
    });
    let seen = futures::future::join_all(looks).await.into_iter().flatten();
    seen.map(|(target, holder)| (target, holder.filter(|holder| holder.id.starts_with(&prefix)))).collect()
}

/// Whether a wish is heard within a moment; if not, whether anybody is left who could hear it.
pub async fn hearing(world: &World, live: &Live, intent: &Intent, telling: impl FnOnce(&Holder)) -> Hearing {
    let heard = heard(world, live, intent).await;
    if heard != Hearing::Unheard {
        return heard;
    }
    match watch(world, &live.plan, telling).await {
        Sign::Lapsed => Hearing::Lapsed,
        Sign::Renewed => self::heard(world, live, intent).await,
    }
}

/// Whether the run puts a wish on record within a moment, or is over by then.
pub async fn heard(world: &World, live: &Live, intent: &Intent) -> Hearing {
    let heard = tokio::time::timeout(HEARING, on_record(world, live, intent)).await;
    heard.unwrap_or(Hearing::Unheard)
}

/// Ends when the journal of any target holds the wish, or the run is over.
async fn on_record(world: &World, live: &Live, intent: &Intent) -> Hearing {
    let prefix = format!("{}.", live.plan.run);
    let sites = world.sites.iter().filter(|(target, _)| live.plan.targets.contains_key(*target));
    let waits = sites.map(|(target, site)| {
        let mut door = site.state.follow(RecordKind::Journal, &prefix);
        Box::pin(async move {
            loop {
                let journals: BTreeMap<TargetId, _> = door
                    .borrow_and_update()
                    .iter()
                    .map(|records| (target.clone(), records.clone()))
                    .collect();
                let replayed = journal::replay(&live.plan.run, &journals).unwrap_or_default();
                if replayed.asked.iter().any(|known| known.id == intent.id) {
                    return Hearing::Heard;
                }
                if let Phase::Ended { outcome, .. } = replayed.phase {
                    return Hearing::Over(outcome);
                }
                if door.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
    });
    let waits: Vec<_> = waits.collect();
    futures::future::select_all(waits).await.0
}
