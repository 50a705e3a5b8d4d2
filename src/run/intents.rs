//! Intents on record: how they are named, read, and left for a run that goes on elsewhere.
//!
//! Each target is asked on its own and side by side, so that one that gives no answer holds up none of the others.

use super::damage;
use super::journal::{self, Phase, Replayed};
use super::unfinished;
use super::world::{Site, World};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::intent::{Intent, Orders, Wish};
use crate::domain::release::{Actor, FORMAT};
use crate::domain::step::{Stage, Status, Step};
use crate::domain::units::human;
use crate::plan::{Plan, file};
use crate::ports::state::{Holder, Record, RecordKind, StateError};
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long a target may take to answer before it counts as out of reach for a command that asks.
const ANSWER: Duration = Duration::from_secs(8);
/// How long the others are waited for once one target has answered.
const GRACE: Duration = Duration::from_secs(2);
/// Numbers that are tried when others ask at the same time.
const TRIES: u64 = 20;

/// How long a journal may be silent before it is asked whether anybody still works on the run.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// What a record says; nothing if it is none of ours or of a newer format.
pub(super) fn read(record: &Record) -> Option<Intent> {
    serde_json::from_slice(&record.content).ok().filter(|intent: &Intent| intent.format <= FORMAT)
}

/// A run that goes on somewhere, as far as the targets that answer know of it.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its plan.
    pub plan: Plan,
    /// What its journals tell.
    pub replayed: Replayed,
    /// What was asked of it so far.
    pub intents: Vec<Intent>,
    /// Who holds its lock.
    pub holder: Holder,
    /// Targets that gave no answer, and why.
    pub silent: BTreeMap<TargetId, String>,
}

/// What one target knows of the newest run.
struct Local {
    plan: Record,
    journal: Vec<Record>,
    intents: Vec<Record>,
    holder: Option<Holder>,
}

/// What each target knows. Once one knows of a run, the others are waited for a moment only: an abort is in a hurry, and
/// what is asked is left with the slow ones all the same.
async fn looks(world: &World) -> (BTreeMap<TargetId, Local>, BTreeMap<TargetId, String>) {
    let mut looks: FuturesUnordered<_> =
        world.sites.iter().map(|(target, site)| async move { (target.clone(), look(site).await) }).collect();
    let (mut known, mut silent) = (BTreeMap::new(), BTreeMap::new());
    let mut until = Instant::now() + ANSWER;
    let mut missing: Vec<TargetId> = world.sites.keys().cloned().collect();
    while let Ok(Some((target, look))) = tokio::time::timeout_at(until, looks.next()).await {
        missing.retain(|other| *other != target);
        match look {
            Ok(Some(local)) => {
                known.insert(target, local);
                until = until.min(Instant::now() + GRACE);
            }
            Ok(None) => {}
            Err(why) => {
                silent.insert(target, why);
            }
        }
    }
    silent.extend(missing.into_iter().map(|target| (target, "it gave no answer in time".to_owned())));
    (known, silent)
}

/// The run of this environment that goes on now.
///
/// # Errors
/// There is none, its process is dead, or no target answers; each with the commands that help.
pub async fn live(world: &World, env: &str) -> Result<Live, Failure> {
    let (known, silent) = looks(world).await;
    let plans = known.iter().map(|(target, local)| (target.clone(), local.plan.clone())).collect();
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for name in unfinished::current(&plans) {
        let known = known.iter().filter(|(_, local)| local.plan.name == name).collect();
        match of_run(world, env, &name, &known, &silent) {
            Ok(live) => found.push(live),
            Err(failure) => refused.push(failure),
        }
    }
    if found.len() > 1 {
        return Err(several(env, &found));
    }
    // That one has died tells more than that another is over.
    refused.sort_by_key(|failure| failure.code == Code(623));
    found.pop().ok_or_else(|| refused.into_iter().next().unwrap_or_else(|| none(env, &silent)))
}

/// What the targets that have this run as their newest know of it, if somebody works on it.
fn of_run(
    world: &World,
    env: &str,
    name: &str,
    known: &BTreeMap<&TargetId, &Local>,
    silent: &BTreeMap<TargetId, String>,
) -> Result<Live, Failure> {
    let whole = known.values().find(|local| local.plan.damage.is_none());
    let content = &whole.or(known.values().next()).expect("it is the newest of one of them").plan.content;
    let plan = file::read(&format!("the plan of run {name}"), content)?;
    let journals = known.iter().map(|(target, local)| ((*target).clone(), local.journal.clone())).collect();
    let replayed = damage::replay(world, &plan, &journals)?;
    if matches!(replayed.phase, Phase::Ended { .. }) {
        return Err(none(env, silent));
    }
    let holders = known.values().filter_map(|local| local.holder.clone());
    let prefix = format!("{}/", plan.run);
    let holder = holders.filter(|holder| holder.id.starts_with(&prefix)).max_by_key(|holder| holder.renewed);
    let Some(holder) = holder.filter(|holder| !holder.expired(world.clock.now())) else {
        return Err(dead(env, &plan, &replayed));
    };
    let intents = known.values().flat_map(|local| &local.intents).filter_map(read).collect();
    Ok(Live { plan, replayed, intents, holder, silent: silent.clone() })
}

async fn look(site: &Site) -> Result<Option<Local>, String> {
    let text = |error: StateError| error.to_string();
    let Some(plan) = site.state.newest(RecordKind::Plan).await.map_err(text)? else { return Ok(None) };
    let prefix = format!("{}.", plan.name);
    let (journal, intents, holder) = tokio::join!(
        site.state.list(RecordKind::Journal, &prefix),
        site.state.list(RecordKind::Intent, &prefix),
        site.lock.inspect(),
    );
    let holder = holder.map_err(|error| error.to_string())?;
    Ok(Some(Local { plan, journal: journal.map_err(text)?, intents: intents.map_err(text)?, holder }))
}

fn none(env: &str, silent: &BTreeMap<TargetId, String>) -> Failure {
    let failure = Failure::new(Code(623), Exit::Usage, format!("no run of {env} is going on"));
    let failure =
        silent.iter().fold(failure, |failure, (target, why)| failure.why(format!("{target}: {why}")));
    failure.next(format!("deployctl status {env}"))
}

/// Runs of different targets go on beside each other: whoever asks says which is meant.
fn several(env: &str, found: &[Live]) -> Failure {
    let failure = Failure::new(Code(638), Exit::Usage, format!("{} runs of {env} are going on", found.len()));
    let failure = found.iter().fold(failure, |failure, live| {
        let targets: Vec<&str> = live.plan.targets.keys().map(TargetId::as_str).collect();
        let (run, version) = (&live.plan.run, &live.plan.version);
        failure.why(format!("run {run} of {version} on {}, by {}", targets.join(", "), live.holder.by))
    });
    found
        .iter()
        .filter_map(|live| live.plan.targets.keys().next())
        .fold(failure, |failure, target| failure.next(format!("the same command with --target {target}")))
}

fn dead(env: &str, plan: &Plan, replayed: &Replayed) -> Failure {
    let last = replayed.last.map_or_else(String::new, |last| format!("; its last record is of {last}"));
    Failure::new(
        Code(624),
        Exit::Usage,
        format!("run {} of {} is not going on: its process is gone", plan.run, plan.version),
    )
    .why(format!("its lock has lapsed or was given back{last}, so nobody would read what is asked"))
    .next(format!("deployctl resume {env}"))
    .next(format!("deployctl rollback {env}"))
}

impl Live {
    /// The process that holds the lock: right after a takeover it has nothing on record yet.
    fn epoch(&self) -> u64 {
        let held = self.holder.id.split('/').nth(1).and_then(|epoch| epoch.parse().ok());
        held.unwrap_or(0).max(self.replayed.epoch).max(1)
    }

    /// What all that was asked amounts to.
    #[must_use]
    pub fn orders(&self) -> Orders {
        Orders::of(&self.intents, self.epoch())
    }

    /// The first stage that is not done.
    #[must_use]
    pub fn stage(&self) -> Option<&Stage> {
        present(&self.plan, &self.replayed, |target| !self.silent.contains_key(target))
    }
}

/// The first stage of a run that is not done, as far as the journals of these targets tell.
#[must_use]
pub fn present<'p>(
    plan: &'p Plan,
    replayed: &Replayed,
    known: impl Fn(&TargetId) -> bool,
) -> Option<&'p Stage> {
    let is_done = |step: &Step| !known(&step.target) || replayed.status.get(&step.id) == Some(&Status::Done);
    plan.stages.iter().find(|stage| !stage.steps.iter().all(is_done))
}

/// Leaves a wish in every target that can be reached; returns it, and the targets that could not be told.
///
/// # Errors
/// No target took it.
pub async fn ask(
    world: &World,
    live: &Live,
    wish: Wish,
    by: Actor,
    reason: Option<String>,
) -> Result<(Intent, BTreeMap<TargetId, String>), Failure> {
    let at = world.clock.now();
    let number = live.intents.iter().map(|intent| intent.number).max().unwrap_or(0) + 1;
    let intent = Intent {
        format: FORMAT,
        id: unique(&by, at, number),
        number,
        run: live.plan.run.clone(),
        epoch: live.epoch(),
        at,
        by,
        wish,
        reason,
    };
    let asked = live.plan.targets.keys().filter(|target| world.sites.contains_key(*target));
    let writes = asked.map(|target| {
        let intent = &intent;
        async move {
            let written = tokio::time::timeout(ANSWER, write(world, target, intent)).await;
            let late = || Err(format!("no answer within {}", human(ANSWER)));
            (target.clone(), written.unwrap_or_else(|_| late()))
        }
    });
    let written = futures::future::join_all(writes).await;
    let told = written.iter().any(|(_, written)| written.is_ok());
    let silent: BTreeMap<TargetId, String> =
        written.into_iter().filter_map(|(target, written)| Some((target, written.err()?))).collect();
    if told {
        return Ok((intent, silent));
    }
    let env = &live.plan.environment;
    let failure =
        Failure::new(Code(625), Exit::Preflight, format!("nobody could be asked to {}", intent.wish.verb()));
    let failure =
        silent.iter().fold(failure, |failure, (target, why)| failure.why(format!("{target}: {why}")));
    Err(failure.next(format!("deployctl preflight {env}")))
}

/// Two who ask at the same moment are two.
fn unique(by: &Actor, at: Timestamp, number: u64) -> String {
    format!("{}/{}/{}/{number}", by, at.as_nanosecond(), std::process::id())
}

async fn write(world: &World, target: &TargetId, intent: &Intent) -> Result<(), String> {
    let site = world.site(target).map_err(|failure| failure.what)?;
    let content = serde_json::to_vec(intent).expect("an intent holds nothing that JSON cannot");
    for number in intent.number..intent.number + TRIES {
        let name = format!("{}.{number:06}", intent.run);
        match site.state.create(RecordKind::Intent, &name, &content).await {
            Ok(()) => return Ok(()),
            Err(StateError::Exists { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("too many others ask at the same time".to_owned())
}

/// How a run that was spoken to came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It ended so: `deployed`, `rolled-back`.
    Ended(String),
    /// It went back, but on these targets, which gave no answer: they are owed the way back.
    Owed(Vec<TargetId>),
    /// Its process left without an end on record.
    Left,
}

/// Waits until a run has ended, or nobody works on it any more.
pub async fn ended(world: &World, live: &Live) -> End {
    let prefix = format!("{}.", live.plan.run);
    let sites = world.sites.iter().filter(|(target, _)| live.plan.targets.contains_key(*target));
    let mut journals: Vec<_> = sites
        .map(|(target, site)| (target.clone(), site.state.follow(RecordKind::Journal, &prefix)))
        .collect();
    loop {
        let mut seen = BTreeMap::new();
        for (target, journal) in &mut journals {
            if let Some(records) = &*journal.borrow_and_update() {
                seen.insert(target.clone(), records.clone());
            }
        }
        // The lock is given back a moment later: whoever waits for the end may want to begin.
        match journal::replay(&live.plan.run, &seen).map(|replayed| replayed.phase) {
            Ok(Phase::Ended { outcome, .. }) => {
                released(world, live).await;
                return End::Ended(outcome);
            }
            Ok(Phase::Aborting { owed, .. }) if !owed.is_empty() => {
                released(world, live).await;
                return End::Owed(owed);
            }
            _ => {}
        }
        let changes: Vec<_> = journals.iter_mut().map(|(_, journal)| Box::pin(journal.changed())).collect();
        let change = futures::future::select_all(changes);
        let silent = tokio::time::timeout(SIGN_OF_LIFE, change).await.is_err();
        if silent && !is_worked_on(world, &live.plan).await {
            return End::Left;
        }
    }
}

/// Whether a process shows signs of life that holds a lock for this run; true when no target answers.
pub async fn is_worked_on(world: &World, plan: &Plan) -> bool {
    let looks = world.sites.iter().filter(|(target, _)| plan.targets.contains_key(*target));
    let looks = looks.map(|(_, site)| tokio::time::timeout(GRACE, site.lock.inspect()));
    let looks = futures::future::join_all(looks).await;
    let answered: Vec<Option<Holder>> = looks.into_iter().flatten().flatten().collect();
    let prefix = format!("{}/", plan.run);
    let now = world.clock.now();
    let works = |holder: &Holder| holder.id.starts_with(&prefix) && !holder.expired(now);
    answered.is_empty() || answered.iter().flatten().any(works)
}

async fn released(world: &World, live: &Live) {
    for _ in 0..20 {
        if !is_worked_on(world, &live.plan).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
