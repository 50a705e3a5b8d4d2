//! The dead-man's switch: who puts traffic on stable when a run's process is gone.

use crate::domain::release::Actor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an environment says of its guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// How long it waits beyond the lock's lifetime and the time-out of a request, for somebody to resume the run.
    pub after: Duration,
    /// Whether a release is refused that nobody guards.
    pub required: bool,
    /// Image with `deployctl`, for a guard inside the cluster.
    pub image: Option<String>,
}

/// What a guard did to a run, for its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarded {
    /// Which guard.
    pub by: Actor,
    /// When the run's lock expired; absent where it had been given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapsed: Option<Timestamp>,
    /// Whether traffic is on stable by now; recorded once before the guard acts and once after.
    pub done: bool,
}

impl Guarded {
    /// One line for people: who did what, at which moment of the day (UTC), and why.
    #[must_use]
    pub fn line(&self, at: Timestamp) -> String {
        let clock = |time: Timestamp| time.strftime("%H:%M:%SZ").to_string();
        let did = if self.done { "put traffic on stable" } else { "began to put traffic on stable" };
        let why = match self.lapsed {
            Some(lapsed) => format!("after the run's lease expired at {}", clock(lapsed)),
            None => "since nobody worked on the run any more".to_owned(),
        };
        format!("guard (host {}) {did} at {} {why}", self.by.host, clock(at))
    }
}
