//! The adapters: one contract against the simulated API and a real one, faults by script, local servers.

mod contract;
mod http;
mod prometheus;
mod real;
mod simulated;
