//! The dead-man's switch: watches the locks of an environment, and when a run's process is gone in the middle of a canary or
//! a switch, takes the run over and puts traffic on stable: the traffic lane of the way back and no more. What is left is
//! the same as after the first Ctrl-C: `resume` goes on, `rollback` takes the rest back.

mod look;
mod pulse;

pub use pulse::{BEAT, Pulse, Seen, seen};

use super::contact::Tries;
use super::engine::Engine;
use super::journal::{Journal, Phase, What};
use super::lease::{Leases, Loss, MOVED};
use super::undo::Remaining;
use super::world::{Report, Teller, World};
use crate::domain::environment::Environment;
use crate::domain::event::Kind;
use crate::domain::guard::Guarded;
use crate::domain::ids::{RunId, TargetId};
use crate::domain::release::Actor;
use crate::domain::step::Lane;
use crate::plan::Plan;
use crate::ports::state::{Holder, REQUEST_TIMEOUT};
use futures::future::join_all;
use jiff::Timestamp;
use look::{Look, look};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How the reason of a guard's lock begins.
pub(super) const REASON: &str = "guard: ";

/// From one look at the locks to the next.
pub const EVERY: Duration = Duration::from_secs(3);
/// How long a lock that has lapsed must have been seen so. After an API server was away, or this machine slept, whoever
/// holds it is the first to show that he lives.
const STEADY: Duration = Duration::from_secs(5);
/// How long a target may take to show its lock; a slow one holds up none of the others for longer.
const ANSWER: Duration = Duration::from_secs(5);

/// What came of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Round {
    /// There was nothing to do.
    Quiet,
    /// No target gave an answer.
    Silent,
    /// Traffic was put on stable.
    Stable {
        /// Of which run.
        run: RunId,
        /// Where.
        targets: Vec<TargetId>,
    },
    /// Traffic could not be put on stable everywhere.
    Incomplete {
        /// What is left, one line each.
        remaining: Vec<String>,
        /// Whether contact or a lock was lost: it is tried again.
        unknown: bool,
    },
}

/// A lock as it was seen last.
struct Sight {
    /// Who held it, by the holder's own last sign of life; nobody if absent.
    mark: Option<(String, Timestamp)>,
    /// Since when it has been so.
    since: Instant,
    /// Nothing is to be done about it until it changes.
    settled: bool,
}

impl Sight {
    /// Whether a lock is held by the same hand as then, with no sign of life since. Where clocks disagree the time of the
    /// last one is told by the server in whole seconds, and trembles.
    fn is_of(&self, holder: Option<&Holder>) -> bool {
        match (&self.mark, holder) {
            (None, None) => true,
            (Some((id, renewed)), Some(holder)) => {
                *id == holder.id && holder.renewed.duration_since(*renewed).unsigned_abs() <= MOVED
            }
            _ => false,
        }
    }
}

/// One guard.
pub struct Guard<'a> {
    world: &'a World,
    by: Actor,
    /// How long a lock may be nobody's while a run is not over.
    lease: Duration,
    after: Duration,
    report: &'a dyn Report,
    sights: BTreeMap<TargetId, Sight>,
    silent: BTreeSet<TargetId>,
}

impl<'a> Guard<'a> {
    /// A guard of the targets that this world has doors to.
    pub fn new(env: &Environment, world: &'a World, by: Actor, report: &'a dyn Report) -> Self {
        let after = env.guard.as_ref().map(|guard| guard.after).unwrap_or_default();
        let (sights, silent) = (BTreeMap::new(), BTreeSet::new());
        Self { world, by, lease: env.limits.lease, after, report, sights, silent }
    }

    /// Watches until it has acted, or until `stop` turns true; what it has begun it brings to an end.
    pub async fn watch(&mut self, stop: &mut watch::Receiver<bool>) -> Round {
        loop {
            let round = self.round().await;
            if *stop.borrow() || !matches!(round, Round::Quiet | Round::Silent) {
                return round;
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                changed = stop.changed() => if changed.is_err() {
                    tokio::time::sleep(EVERY).await;
                }
            }
        }
    }

    /// Looks once, and a second time where a lock is held: whoever holds it may show that he lives. A lock that is free is
    /// left alone, since one look cannot tell for how long it has been so.
    pub async fn once(&mut self) -> Round {
        let round = self.round().await;
        if round == Round::Quiet && self.sights.values().any(|sight| sight.mark.is_some()) {
            tokio::time::sleep(STEADY).await;
            return self.round().await;
        }
        round
    }

    /// Looks at the locks once, and acts if nobody works on a run whose traffic is in between.
    pub async fn round(&mut self) -> Round {
        let holders = self.inspect().await;
        if holders.is_empty() {
            return Round::Silent;
        }
        let now = self.world.clock.now();
        let due: Vec<TargetId> = holders
            .iter()
            .filter(|(target, holder)| self.is_due(target, holder.as_ref(), now))
            .map(|(target, _)| target.clone())
            .collect();
        if due.is_empty() {
            return Round::Quiet;
        }
        let looks = match look(self.world, holders.keys()).await {
            Ok(looks) => looks,
            // Contact was lost, or a record cannot be read: the next look may tell more.
            Err(why) => {
                self.tell("warning", None, format!("the records of the run cannot be read: {why}"));
                return Round::Quiet;
            }
        };
        // A lock may be nobody's, and its target without any run.
        let ran = |target: &TargetId| looks.iter().any(|look| look.newest_of.contains(target));
        self.settle(&due.iter().filter(|target| !ran(target)).cloned().collect::<Vec<_>>());
        for look in looks {
            let round = self.look_after(&look, &holders, &due).await;
            if round != Round::Quiet {
                return round;
            }
        }
        Round::Quiet
    }

    /// Acts if nobody works on this run and its traffic is in between.
    async fn look_after(
        &mut self,
        look: &Look,
        holders: &BTreeMap<TargetId, Option<Holder>>,
        due: &[TargetId],
    ) -> Round {
        let now = self.world.clock.now();
        let prefix = format!("{}/", look.plan.run);
        let works = |holder: &Holder| holder.id.starts_with(&prefix) && !holder.expired(now);
        if holders.values().flatten().any(works) {
            return Round::Quiet;
        }
        let due: Vec<TargetId> =
            due.iter().filter(|target| look.newest_of.contains(*target)).cloned().collect();
        // A lock that was given back though traffic could not be put on stable: somebody was told so.
        let free = |target: &TargetId| holders.get(target).is_some_and(Option::is_none);
        let mine = |target: &TargetId| due.contains(target) && !(free(target) && look.gave_up(target));
        let targets: Vec<TargetId> = look.in_between().into_iter().filter(mine).collect();
        let idle: Vec<TargetId> = due.iter().filter(|target| !targets.contains(target)).cloned().collect();
        self.settle(&idle);
        if targets.is_empty() {
            if !due.is_empty() {
                self.explain(look);
            }
            return Round::Quiet;
        }
        let lapsed = targets.iter().filter_map(|target| holders.get(target)?.as_ref());
        let lapsed = lapsed.filter_map(|holder| holder.renewed.checked_add(holder.ttl).ok()).max();
        self.act(&look.plan, &targets, lapsed).await
    }

    /// Who holds the lock of each target that answers in time.
    async fn inspect(&mut self) -> BTreeMap<TargetId, Option<Holder>> {
        let looks = self.world.sites.iter().map(|(target, site)| async move {
            let late = || Err("it gave no answer in time".to_owned());
            let look = tokio::time::timeout(ANSWER, site.lock.inspect()).await;
            (target.clone(), look.map_or_else(|_| late(), |look| look.map_err(|error| error.to_string())))
        });
        let mut holders = BTreeMap::new();
        for (target, look) in join_all(looks).await {
            match look {
                Ok(holder) => {
                    if self.silent.remove(&target) {
                        self.tell("info", Some(&target), "is watched again".to_owned());
                    }
                    self.note(&target, holder.as_ref());
                    holders.insert(target, holder);
                }
                Err(why) => {
                    self.sights.remove(&target);
                    if self.silent.insert(target.clone()) {
                        self.tell("warning", Some(&target), format!("is out of the guard's reach: {why}"));
                    }
                }
            }
        }
        holders
    }

    fn note(&mut self, target: &TargetId, holder: Option<&Holder>) {
        let known = self.sights.get(target).is_some_and(|sight| sight.is_of(holder));
        if !known {
            let mark = holder.map(|holder| (holder.id.clone(), holder.renewed));
            self.sights.insert(target.clone(), Sight { mark, since: Instant::now(), settled: false });
        }
    }

    /// Whether nobody can be at work on this target: its lock has lapsed by the rule of a takeover, by the server's clock or
    /// by having been seen unchanged for so long; or it has been nobody's for as long.
    fn is_due(&self, target: &TargetId, holder: Option<&Holder>, now: Timestamp) -> bool {
        let Some(sight) = self.sights.get(target).filter(|sight| !sight.settled) else { return false };
        let ttl = holder.map_or(self.lease, |holder| holder.ttl);
        let patience = ttl + REQUEST_TIMEOUT + self.after;
        let lapsed = holder.is_some_and(|holder| {
            holder.expired(now) && now.duration_since(holder.renewed).unsigned_abs() > patience
        });
        let seen = sight.since.elapsed();
        (lapsed && seen >= STEADY) || seen > patience
    }

    fn settle(&mut self, targets: &[TargetId]) {
        for target in targets {
            if let Some(sight) = self.sights.get_mut(target) {
                sight.settled = true;
            }
        }
    }

    fn tell(&self, severity: &'static str, target: Option<&TargetId>, message: String) {
        let teller = Teller { report: self.report, clock: self.world.clock.as_ref() };
        teller.tell(Kind::Alert { severity, target: target.cloned(), message });
    }

    /// Says once why a run that nobody works on is left as it is.
    fn explain(&self, look: &Look) {
        if let Some(why) = look.left_alone() {
            let Plan { run, version, environment, .. } = &look.plan;
            let message = format!(
                "run {run} of {version} stopped in the middle and is left as it is: {why}; deployctl resume {environment} goes on"
            );
            self.tell("warning", None, message);
        }
    }

    /// Takes the run over and puts traffic on stable; gives the locks back.
    async fn act(&mut self, plan: &Plan, targets: &[TargetId], lapsed: Option<Timestamp>) -> Round {
        let now = self.world.clock.now();
        let holder = Holder {
            id: format!("{}/guard/{}/{}", plan.run, self.by.host, now.as_nanosecond()),
            by: self.by.clone(),
            reason: format!("{REASON}traffic of {} to stable", plan.environment),
            since: now,
            renewed: now,
            ttl: plan.limits.lease,
        };
        let (leases, _) = Leases::take_over(self.world, targets, holder).await;
        if leases.targets().is_empty() {
            return Round::Quiet;
        }
        let round = tokio::select! {
            biased;
            (target, Loss::Silent(why) | Loss::Taken(why)) = leases.keep(self.world) => {
                let remaining = vec![format!("the lock of {target} was lost: {why}")];
                Round::Incomplete { remaining, unknown: true }
            }
            round = self.to_stable(plan, &leases, lapsed) => round,
        };
        // After lost contact they lapse by themselves, and it is tried again.
        if !matches!(round, Round::Incomplete { unknown: true, .. }) {
            leases.release(self.world).await;
        }
        self.conclude(plan, &round);
        round
    }

    fn conclude(&self, plan: &Plan, round: &Round) {
        let env = &plan.environment;
        match round {
            Round::Stable { run, targets } => {
                let places = targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let message = format!(
                    "traffic of {places} is on stable, run {run} is given back; deployctl resume {env} goes on, \
                     deployctl rollback {env} takes the rest back"
                );
                self.tell("warning", None, message);
            }
            Round::Incomplete { remaining, unknown } => {
                let next = if *unknown { "it is tried again" } else { "an operator must look" };
                let left = remaining.join("; ");
                self.tell("critical", None, format!("traffic could not be put on stable ({next}): {left}"));
            }
            Round::Quiet | Round::Silent => {}
        }
    }

    /// The traffic lane of the way back, on the targets whose locks were had.
    async fn to_stable(&self, plan: &Plan, leases: &Leases, lapsed: Option<Timestamp>) -> Round {
        // Now that the locks are ours nobody else writes: what is read here holds.
        let fresh = look(self.world, self.world.sites.keys().filter(|target| !self.silent.contains(*target)));
        let look = match fresh.await {
            Ok(looks) => match looks.into_iter().find(|look| look.plan.run == plan.run) {
                Some(look) => look,
                None => return Round::Quiet,
            },
            Err(why) => return Round::Incomplete { remaining: vec![why], unknown: true },
        };
        let ours = leases.targets();
        let mut targets: Vec<TargetId> = look.in_between();
        targets.retain(|target| ours.contains(target));
        if targets.is_empty() {
            return Round::Quiet;
        }
        let stores =
            targets.iter().filter_map(|id| Some((id.clone(), self.world.site(id).ok()?.state.clone())));
        let epoch = look.replayed.epoch + 1;
        let journal = Journal::new(plan.run.clone(), epoch, stores, self.world.clock.clone());
        let guarded = |done| What::Guarded(Guarded { by: self.by.clone(), lapsed, done });
        let (targets, mut lines) = first_records(&journal, targets, &guarded(false)).await;
        if targets.is_empty() {
            return Round::Incomplete { remaining: lines, unknown: true };
        }
        let Plan { run, version, environment, .. } = plan;
        let expired = lapsed.map_or_else(
            || "nobody works on it".to_owned(),
            |at| format!("its lease expired at {}", at.strftime("%Y-%m-%d %H:%M:%SZ")),
        );
        let message = format!("run {run} of {version} to {environment}: {expired}; traffic goes to stable");
        self.tell("warning", None, message);
        let part = plan.part(|target| targets.contains(target));
        let (_count, interrupts) = watch::channel(0);
        let replayed = look.replayed.clone();
        let engine = Engine::new(&part, self.world, leases, journal, replayed, self.report, interrupts);
        if let Phase::Aborting { kept, .. } = &look.replayed.phase {
            engine.kept.lock().expect("no panic while held").clone_from(kept);
        } else {
            // As after an interrupt: `resume` may go forward again.
            record(&engine.journal, &targets, &What::Phase(Phase::Interrupted), Tries::One).await;
        }
        let mut remaining = Remaining::default();
        engine.undo(&[Lane::Traffic], &mut remaining).await;
        let unknown =
            remaining.wrong.iter().any(|wrong| engine.is_absent(&wrong.target)) || !lines.is_empty();
        lines.extend(remaining.wrong.iter().map(ToString::to_string));
        if !lines.is_empty() {
            return Round::Incomplete { remaining: lines, unknown };
        }
        record(&engine.journal, &targets, &guarded(true), Tries::Patient).await;
        Round::Stable { run: run.clone(), targets }
    }
}

/// Journal before act: a target whose journal does not take the first record is left as it is, and so is one where another
/// process has taken the same epoch. Returns the others, and what is wrong.
async fn first_records(
    journal: &Journal,
    targets: Vec<TargetId>,
    first: &What,
) -> (Vec<TargetId>, Vec<String>) {
    let writes = targets.into_iter().map(|target| async move {
        let written = journal.write(&target, first.clone(), Tries::Patient).await;
        (target, written)
    });
    let (mut written, mut lines) = (Vec::new(), Vec::new());
    for (target, result) in join_all(writes).await {
        match result {
            Ok(()) => written.push(target),
            Err(error) => lines.push(format!("the journal of {target} cannot be written: {error}")),
        }
    }
    (written, lines)
}

/// What cannot be recorded is reconciled by whoever resumes the run.
async fn record(journal: &Journal, targets: &[TargetId], what: &What, tries: Tries) {
    let writes = targets.iter().map(|target| journal.write(target, what.clone(), tries));
    let _ = join_all(writes).await;
}
