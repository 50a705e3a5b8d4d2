//! The simulated world: clusters, traffic, metrics, cloud and clock, on virtual time and one seed.
//!
//! It may know `domain` and `ports` (whose traits it implements) and nothing of `plan`, `rollout` or `run`.

pub mod active;
pub mod clock;
pub mod cloud;
pub mod cluster;
pub mod compose;
pub mod faults;
pub mod host;
pub mod invariants;
pub mod kube;
pub mod memory;
pub mod metrics;
mod nodes;
pub mod pods;
pub mod probe;
pub mod process;
pub mod queue;
pub mod random;
pub mod report;
pub mod routers;
pub mod series;
pub mod spec;
mod strike;
pub mod traffic;
pub mod world;

pub use faults::{Fault, ScheduledFault};
pub use spec::{ClusterSpec, WorldSpec};
pub use traffic::LoadSpec;
pub use world::World;
