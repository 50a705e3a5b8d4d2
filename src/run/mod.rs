//! Performs a plan and stays responsible: journal before act, undo on failure, resume from anywhere.

mod apply;
mod blame;
mod contact;
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
mod weigh;
pub mod world;

pub use engine::{Ending, Engine};
pub use world::{Report, Site, World};
