//! The doors to the world: few methods, in the domain's words. `adapters` and `sim` implement them.

pub mod clock;
pub mod cloud;
pub mod cluster;
pub mod compose;
pub mod metrics;
pub mod notifier;
pub mod probe;
pub mod secrets;
pub mod state;

pub use clock::Clock;
pub use cloud::Cloud;
pub use cluster::{Cluster, ClusterError};
pub use compose::Compose;
pub use metrics::Metrics;
pub use notifier::Notifier;
pub use probe::Probe;
pub use secrets::Secrets;
pub use state::{Lock, StateStore};
