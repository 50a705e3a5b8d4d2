//! Holding the lock of every target that a run writes, for as long as it writes.

use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::units::human;
use crate::ports::state::{Holder, LockError, REQUEST_TIMEOUT};
use crate::run::contact::CONTACT;
use crate::run::world::World;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// How long a target may be out of reach once its lease has run out, before the run gives it up.
const ABSENCE: Duration = Duration::from_mins(2);
/// From one try to renew a lease that has run out to the next.
const RETRY: Duration = Duration::from_secs(1);
/// What a last sign of life may seem to move by without a renewal: servers tell time in whole seconds. The shortest lease
/// is renewed every 2.5 s.
pub(super) const MOVED: Duration = Duration::from_secs(2);

/// How long to wait for a lock that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    None,
    /// Until a holder that shows no sign of life has lapsed.
    UntilLapsed,
    /// As long as it takes, up to this.
    UpTo(Duration),
}

/// How a lease was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its target gives no answer, or refuses us; nobody is known to have taken it.
    Silent(String),
    /// Somebody took it.
    Taken(String),
}

/// The leases of a run.
#[derive(Debug)]
pub struct Leases {
    holder: Holder,
    /// When each was last known to be ours.
    renewed: Mutex<BTreeMap<TargetId, (tokio::time::Instant, Timestamp)>>,
}

impl Leases {
    /// No lock at all, for work that writes nothing.
    #[must_use]
    pub fn none() -> Self {
        let by = crate::domain::release::Actor { user: String::new(), host: String::new(), ci: None };
        let epoch = Timestamp::UNIX_EPOCH;
        let holder = Holder {
            id: String::new(),
            by,
            reason: String::new(),
            since: epoch,
            renewed: epoch,
            ttl: Duration::ZERO,
        };
        Self { holder, renewed: Mutex::new(BTreeMap::new()) }
    }

    /// Takes the locks of these targets in sorted order; gives back what it took when one is not to be had, or when it is
    /// given up before it has them all.
    pub async fn acquire(
        world: &World,
        targets: &[TargetId],
        holder: Holder,
        patience: Patience,
        waiting: &(dyn Fn(&TargetId, &Holder) + Sync),
        given_up: impl Future<Output = Failure>,
    ) -> Result<Self, Failure> {
        let leases = Self { holder, renewed: Mutex::new(BTreeMap::new()) };
        let mut sorted = targets.to_vec();
        sorted.sort();
        tokio::pin!(given_up);
        for target in &sorted {
            let stamp = (tokio::time::Instant::now(), world.clock.now());
            let taken = tokio::select! {
                biased;
                taken = leases.acquire_one(world, target, patience, waiting) => taken,
                why = &mut given_up => {
                    // A request that was under way may have arrived.
                    leases.note(target, stamp);
                    Err(why)
                }
            };
            if let Err(failure) = taken {
                leases.release(world).await;
                return Err(failure);
            }
        }
        Ok(leases)
    }

    /// Takes those locks of these targets that nobody holds who shows a sign of life; says why of the others. What was
    /// left behind is not given back for the sake of another target: a lock that is free is nobody's to watch.
    pub(super) async fn take_over(
        world: &World,
        targets: &[TargetId],
        holder: Holder,
    ) -> (Self, Vec<(TargetId, Failure)>) {
        let leases = Self { holder, renewed: Mutex::new(BTreeMap::new()) };
        let takes = targets.iter().map(|target| async {
            let taken = leases.acquire_one(world, target, Patience::None, &|_, _| {}).await;
            taken.err().map(|failure| (target.clone(), failure))
        });
        let refused = futures::future::join_all(takes).await.into_iter().flatten().collect();
        (leases, refused)
    }

    /// Whose locks these are.
    pub(super) fn targets(&self) -> Vec<TargetId> {
        self.renewed.lock().expect("no panic while held").keys().cloned().collect()
    }

    async fn acquire_one(
        &self,
        world: &World,
        target: &TargetId,
        patience: Patience,
        waiting: &(dyn Fn(&TargetId, &Holder) + Sync),
    ) -> Result<(), Failure> {
        let lock = &world.site(target)?.lock;
        let began = tokio::time::Instant::now();
        let mut first_seen: Option<Timestamp> = None;
        let mut told = false;
        loop {
            let stamp = (tokio::time::Instant::now(), world.clock.now());
            let holder = Holder { renewed: stamp.1, ..self.holder.clone() };
            match lock.acquire(&holder).await {
                Ok(()) => {
                    self.note(target, stamp);
                    return Ok(());
                }
                Err(LockError::Held(other)) => {
                    let first = *first_seen.get_or_insert(other.renewed);
                    let patient = match patience {
                        Patience::None => false,
                        Patience::UntilLapsed => other.renewed.duration_since(first).unsigned_abs() <= MOVED,
                        Patience::UpTo(limit) => began.elapsed() < limit,
                    };
                    if !patient {
                        return Err(held(target, &other, world.clock.now()));
                    }
                    if !told {
                        waiting(target, &other);
                        told = true;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(LockError::Unreachable(why) | LockError::Gone(why)) => {
                    return Err(Failure::new(
                        Code(610),
                        Exit::Preflight,
                        format!("the lock of {target} cannot be had"),
                    )
                    .why(why)
                    .next("deployctl preflight ENV"));
                }
                Err(LockError::Forbidden(why)) => {
                    return Err(Failure::new(Code(611), Exit::Preflight, format!("we may not take the lock of {target}"))
                        .why(why)
                        .next("allow get, create, update, delete on leases.coordination.k8s.io in the state namespace"));
                }
            }
        }
    }

    /// Ours since `stamp`, which was taken before the request was sent: what others may count from is never later.
    fn note(&self, target: &TargetId, stamp: (tokio::time::Instant, Timestamp)) {
        self.renewed.lock().expect("no panic while held").insert(target.clone(), stamp);
    }

    /// Whether a write to this target may be sent now: its longest way must end before the lease does.
    #[must_use]
    pub fn holds(&self, target: &TargetId, now: Timestamp) -> bool {
        self.silence(target, now).is_some_and(|silence| silence + REQUEST_TIMEOUT < self.holder.ttl)
    }

    /// How long ago the lease was last known to be ours.
    fn silence(&self, target: &TargetId, now: Timestamp) -> Option<Duration> {
        let renewed = self.renewed.lock().expect("no panic while held");
        let (instant, wall) = renewed.get(target)?;
        // Wall time counts a suspended laptop, tokio's does not: the longer of the two is believed.
        Some(instant.elapsed().max(now.duration_since(*wall).unsigned_abs()))
    }

    /// Renews until a lease is lost; returns which, and why. Runs beside the work.
    pub async fn keep(&self, world: &World) -> (TargetId, Loss) {
        // a short lease leaves little beyond the longest way of a write: it is renewed in half of that
        let spare = self.holder.ttl.saturating_sub(REQUEST_TIMEOUT);
        let every = (self.holder.ttl / 3).min(spare / 2);
        loop {
            let pause = if self.all_hold(world) { every } else { every.min(RETRY) };
            tokio::time::sleep(pause).await;
            if let Err(lost) = self.renew_all(world).await {
                return lost;
            }
        }
    }

    /// Asks whether all of them are still ours, if that is not certain: a process that slept does not know.
    pub(super) async fn confirm(&self, world: &World) -> Result<(), (TargetId, Loss)> {
        if self.all_hold(world) { Ok(()) } else { self.renew_all(world).await }
    }

    fn all_hold(&self, world: &World) -> bool {
        let now = world.clock.now();
        self.targets().iter().all(|target| self.holds(target, now))
    }

    async fn renew_all(&self, world: &World) -> Result<(), (TargetId, Loss)> {
        let targets = self.targets();
        let renewals =
            targets.into_iter().map(|target| async move { (self.renew(world, &target).await, target) });
        let mut renewed = futures::future::join_all(renewals).await.into_iter();
        renewed.try_for_each(|(renewed, target)| renewed.map_err(|loss| (target, loss)))
    }

    async fn renew(&self, world: &World, target: &TargetId) -> Result<(), Loss> {
        let Ok(site) = world.site(target) else { return Ok(()) };
        let stamp = (tokio::time::Instant::now(), world.clock.now());
        let holder = Holder { renewed: stamp.1, ..self.holder.clone() };
        match site.lock.renew(&holder).await {
            Ok(()) => {
                self.note(target, stamp);
                Ok(())
            }
            Err(LockError::Held(other)) => {
                Err(Loss::Taken(format!("{} took it over ({})", other.by, other.reason)))
            }
            Err(LockError::Gone(why)) => Err(Loss::Taken(why)),
            // A refusal may pass like lost contact: a token that is being renewed, an authenticator that is away for a moment.
            Err(LockError::Forbidden(_)) if self.is_silent_for(target, world.clock.now(), CONTACT) => Ok(()),
            // Credentials that were revoked concern their target alone: what others hold can still be taken back.
            Err(LockError::Forbidden(why)) => Err(Loss::Silent(format!("it refuses our credentials: {why}"))),
            // No contact is not yet a loss. Nothing is written while it lasts, and if nobody else took the lease
            // when its time was up, the next renewal that gets through proves that it was ours all along.
            Err(LockError::Unreachable(_)) if self.is_silent_for(target, world.clock.now(), ABSENCE) => {
                Ok(())
            }
            Err(LockError::Unreachable(why)) => {
                Err(Loss::Silent(format!("it could not be renewed in time: {why}")))
            }
        }
    }

    /// Whether the lease has been over for less than this.
    fn is_silent_for(&self, target: &TargetId, now: Timestamp, less: Duration) -> bool {
        self.silence(target, now).is_some_and(|silence| silence < self.holder.ttl + less)
    }

    /// Holds this one no longer: its target gives no answer, and the lock lapses by itself.
    pub(super) fn forget(&self, target: &TargetId) {
        self.renewed.lock().expect("no panic while held").remove(target);
    }

    /// Whether this one was taken and not given up.
    pub(super) fn knows(&self, target: &TargetId) -> bool {
        self.renewed.lock().expect("no panic while held").contains_key(target)
    }

    /// Gives all of them back; what cannot be given back lapses by itself.
    pub async fn release(&self, world: &World) {
        for target in self.targets() {
            if let Ok(site) = world.site(&target) {
                let _ = site.lock.release(&self.holder).await;
            }
        }
    }
}

/// Somebody who shows signs of life and holds a lock of this world.
pub async fn busy(world: &World) -> Option<(TargetId, Holder)> {
    for (target, site) in &world.sites {
        if let Ok(Some(holder)) = site.lock.inspect().await
            && !holder.expired(world.clock.now())
        {
            return Some((target.clone(), holder));
        }
    }
    None
}

/// From when on somebody else may go on: `the lock was last renewed 4s ago by ana@desk (deploy 1.4.2): if nobody renews it,
/// this goes on at 03:12:40Z`.
#[must_use]
pub fn lapses(lock: &str, holder: &Holder, now: Timestamp) -> String {
    let silent = human(Duration::from_secs(now.duration_since(holder.renewed).unsigned_abs().as_secs()));
    let Holder { by, reason, .. } = holder;
    let at = holder.lapses().strftime("%H:%M:%SZ");
    format!(
        "{lock} was last renewed {silent} ago by {by} ({reason}): if nobody renews it, this goes on at {at}"
    )
}

/// Who holds it, since when, and how to wait.
pub(super) fn held(target: &TargetId, holder: &Holder, now: Timestamp) -> Failure {
    let age = human(Duration::from_secs(now.duration_since(holder.since).unsigned_abs().as_secs()));
    let silent = human(Duration::from_secs(now.duration_since(holder.renewed).unsigned_abs().as_secs()));
    let mut failure = Failure::new(Code(612), Exit::Locked, format!("{target} is locked by {}", holder.by))
        .why(format!(
            "{} since {} ({age} ago), last sign of life {silent} ago",
            holder.reason,
            holder.since.strftime("%Y-%m-%d %H:%M:%SZ")
        ));
    if let Some(ci) = &holder.by.ci {
        failure = failure.why(format!("CI job: {ci}"));
    }
    failure.next("add --wait to queue behind it").next("deployctl lock status ENV")
}
