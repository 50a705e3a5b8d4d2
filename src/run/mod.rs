//! Performs a plan and stays responsible: journal before act, undo on failure, resume from anywhere.

mod apply;
mod blame;
mod dag;
pub mod engine;
mod evidence;
mod hold;
pub mod journal;
mod judge;
pub mod lease;
mod perform;
pub mod preflight;
pub mod prepare;
mod ready;
mod records;
pub mod releases;
mod sealed;
mod smoke;
pub mod smoke_now;
mod undo;
pub mod unfinished;
pub mod world;

use std::time::Duration;

/// How long something is tried on the way forward against a server that gives no answer, or waits for a lock that could
/// not be renewed, before contact counts as lost.
const CONTACT: Duration = Duration::from_mins(1);
/// From one try to the next.
const CONTACT_PAUSE: Duration = Duration::from_secs(2);

pub use engine::{Ending, Engine};
pub use world::{Report, Site, World};
