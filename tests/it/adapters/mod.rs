//! The adapters: one contract against the simulated API and a real one, faults by script, local servers.

mod connecting;
mod contract;
mod http;
mod prometheus;
mod real;
mod scripted;
mod simulated;
