//! Virtual time: a fixed start plus what has passed on tokio's clock.
//!
//! Under `tokio::time::pause` this clock moves only when every task waits, so hours cost milliseconds.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

use super::queue::Millis;

/// The clock of a world. Copies show the same time.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock {
    start: Timestamp,
    epoch: Instant,
    /// Milliseconds that had passed at the epoch.
    before: Millis,
}

impl VirtualClock {
    /// A clock that shows `start` now.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self { start, epoch: Instant::now(), before: 0 }
    }

    /// A clock of the same start that shows `millis` after it now.
    #[must_use]
    pub fn going_on_from(&self, millis: Millis) -> Self {
        Self { start: self.start, epoch: Instant::now(), before: millis }
    }

    /// Whole virtual milliseconds since the start.
    #[must_use]
    pub fn millis(&self) -> Millis {
        self.before + self.epoch.elapsed().as_millis() as Millis
    }

    /// The virtual time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.at(self.millis())
    }

    /// The time of day at `millis` after the start.
    #[must_use]
    pub fn at(&self, millis: Millis) -> Timestamp {
        self.start + SignedDuration::from_millis(millis as i64)
    }

    /// The tokio instant of `millis` after the start, to sleep until.
    #[must_use]
    pub fn instant(&self, millis: Millis) -> Instant {
        self.epoch + Duration::from_millis(millis.saturating_sub(self.before))
    }

    /// Milliseconds from the start to `time`; 0 before the start.
    #[must_use]
    pub fn millis_of(&self, time: Timestamp) -> Millis {
        time.duration_since(self.start).as_millis().max(0) as Millis
    }
}

impl crate::ports::Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        VirtualClock::now(self)
    }
}

/// RFC 3339 in whole seconds, as `metav1.Time` is written.
#[must_use]
pub fn seconds_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// RFC 3339 in microseconds, as `metav1.MicroTime` is written.
#[must_use]
pub fn micros_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
