//! The simulated world: clusters, traffic, metrics, cloud and clock, on virtual time and one seed.
//!
//! It may know `domain` and `ports` (whose traits it implements) and nothing of `plan`, `rollout` or `run`.

pub mod kube;
