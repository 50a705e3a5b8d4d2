//! Waiting for one's turn: a deployment that queues behind another plans only once that one is over, on what it left.

use super::lease::{self, Patience};
use super::world::World;
use crate::domain::error::Failure;
use crate::domain::units::human;
use std::time::Duration;
use tokio::time::Instant;

/// From one look at the locks to the next.
const LOOK: Duration = Duration::from_secs(1);

/// A place in the queue, with what is left of its patience.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    began: Instant,
    patience: Patience,
}

impl Queue {
    /// Begins to wait now.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self { began: Instant::now(), patience }
    }

    /// What is left of a limit; what has none stays as it is.
    #[must_use]
    pub fn left(&self) -> Patience {
        match self.patience {
            Patience::UpTo(limit) => Patience::UpTo(limit.saturating_sub(self.began.elapsed())),
            other => other,
        }
    }

    /// Whether it may wait on.
    #[must_use]
    pub fn is_patient(&self) -> bool {
        matches!(self.left(), Patience::UpTo(left) if !left.is_zero())
    }

    /// Waits until nobody who shows signs of life holds a lock of this world; each whom it waits for is told once.
    ///
    /// # Errors
    /// Somebody holds one and there is no patience left.
    pub async fn turn(&self, world: &World, telling: impl Fn(&str)) -> Result<(), Failure> {
        let mut told = None;
        while let Some((target, holder)) = lease::busy(world).await {
            let now = world.clock.now();
            if !self.is_patient() {
                let held = lease::held(&target, &holder, now);
                return Err(match self.patience {
                    Patience::UpTo(limit) => held.why(format!("waited {} for it, as told", human(limit))),
                    Patience::None | Patience::UntilLapsed => held,
                });
            }
            if told.as_ref() != Some(&holder.id) {
                let since = holder.since.strftime("%H:%M:%SZ");
                telling(&format!(
                    "{} ({}, since {since}) has the lock of {target}",
                    holder.by, holder.reason
                ));
                told = Some(holder.id);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}
