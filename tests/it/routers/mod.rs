//! Canaries whose weights a router carries.

mod preflight;
mod refusals;
mod runs;
