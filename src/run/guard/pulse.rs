//! Signs of life of guards, and who has seen them.

use super::ANSWER;
use crate::domain::ids::TargetId;
use crate::domain::release::Actor;
use crate::ports::state::Holder;
use crate::run::world::World;
use futures::future::join_all;
use std::time::Duration;

/// From one sign of life to the next.
pub const BEAT: Duration = Duration::from_secs(10);
/// How long a sign of life counts.
const ALIVE: Duration = Duration::from_secs(30);

/// A guard's sign of life: a Lease of its own on every target, so that a run may know that it is watched.
pub struct Pulse {
    holder: Holder,
}

impl Pulse {
    /// Not yet given.
    #[must_use]
    pub fn new(world: &World, by: &Actor) -> Self {
        let now = world.clock.now();
        let id = format!("guard/{}/{}", by.host, now.as_nanosecond());
        let reason = "watches the runs of this environment".to_owned();
        Self { holder: Holder { id, by: by.clone(), reason, since: now, renewed: now, ttl: ALIVE } }
    }

    /// Gives it once. Where another guard shows signs of life, that one counts; a target out of reach is told of by the
    /// watch.
    pub async fn beat(&self, world: &World) {
        let holder = Holder { renewed: world.clock.now(), ..self.holder.clone() };
        let beats =
            world.sites.values().map(|site| tokio::time::timeout(ANSWER, site.guard.acquire(&holder)));
        let _ = join_all(beats).await;
    }

    /// Takes it back.
    pub async fn end(&self, world: &World) {
        let ends =
            world.sites.values().map(|site| tokio::time::timeout(ANSWER, site.guard.release(&self.holder)));
        let _ = join_all(ends).await;
    }
}

/// The guard of a target and when it was last seen; nothing if there never was one, or it has ended.
///
/// # Errors
/// The target gives no answer in time, or this one in its words.
pub async fn seen(world: &World, target: &TargetId) -> Result<Option<Seen>, String> {
    let site = world.site(target).map_err(|failure| failure.what)?;
    let late = |_| Err("it gave no answer in time".to_owned());
    let look = tokio::time::timeout(ANSWER, site.guard.inspect()).await;
    let holder = look.map_or_else(late, |look| look.map_err(|error| error.to_string()))?;
    let now = world.clock.now();
    Ok(holder.map(|holder| Seen {
        alive: !holder.expired(now),
        ago: now.duration_since(holder.renewed).unsigned_abs(),
        host: holder.by.host,
    }))
}

/// A guard's last sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it runs.
    pub host: String,
    /// How long ago.
    pub ago: Duration,
    /// Whether that is recent.
    pub alive: bool,
}
