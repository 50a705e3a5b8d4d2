//! Judging, without IO: is a workload ready, what does a gate's measurement mean, does a smoke test pass.

pub mod autoscaler;
pub mod exposition;
pub mod footprint;
pub mod gate;
pub mod gitops;
pub mod placement;
pub mod readiness;
pub mod router;
pub mod sequential;
pub mod share;
pub mod smoke;
pub mod versions;

/// What a look at something says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not there yet.
    Pending {
        /// What is missing.
        waiting_for: String,
    },
    /// As it should be.
    Healthy,
    /// Nothing tells whether it is: it is there, and taken for ready because nobody can know better.
    Assumed {
        /// Why nothing more can be said.
        why: String,
    },
    /// It will not come right by waiting.
    Failed {
        /// The root cause, one line.
        why: String,
    },
}
