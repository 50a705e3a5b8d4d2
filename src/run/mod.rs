//! Performs a plan and stays responsible: journal before act, undo on failure, resume from anywhere.

mod apply;
mod blame;
mod compare;
mod contact;
mod control;
mod dag;
pub mod definitions;
pub mod engine;
mod evidence;
pub mod gates_now;
pub mod guard;
mod hold;
pub mod intents;
pub mod journal;
mod judge;
mod kept;
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
pub mod story;
mod undo;
pub mod unfinished;
mod until;
mod weigh;
pub mod world;

pub use engine::{Ending, Engine};
pub use world::{Report, Site, World};
