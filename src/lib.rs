//! `deployctl` takes a release of an application to an environment and stays responsible for it until it is
//! healthy or everything is back as it was. See `ARCHITECTURE.md` for the way of the data.
//!
//! Arrows point down only: `cli` → `run` → `plan` → `rollout`/`render`/`config` → `ports` → `domain`;
//! `adapters` and `sim` implement `ports` and are named in `cli::wiring` alone.

pub mod adapters;
pub mod cli;
pub mod config;
pub mod domain;
pub mod plan;
pub mod ports;
pub mod render;
pub mod rollout;
pub mod run;
pub mod sim;
