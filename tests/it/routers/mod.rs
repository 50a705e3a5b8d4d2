//! Canaries whose weights a router carries.

mod gitops;
mod mirror;
mod preflight;
mod refusals;
mod runs;
mod testers;
mod turns;
mod weights;
