//! The simulated world: rollouts that really happen, traffic that is counted, faults, all from one seed.

mod faults;
mod recorded;
mod rig;
mod rollouts;
