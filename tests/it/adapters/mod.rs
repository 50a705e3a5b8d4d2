//! The adapters: one contract against the simulated API and a real one, faults by script, local servers.

use std::io::Write as _;

mod connecting;
mod contract;
mod http;
mod looking;
mod patience;
mod prometheus;
mod real;
mod recorded;
mod scripted;
mod simulated;

/// Says that a test was not run; past the test harness, which swallows what `eprintln!` writes.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
