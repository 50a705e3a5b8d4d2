//! Canary analysis by a two-sample e-process: is the new revision worse than stable, as soon as its requests tell.
//!
//! Evidence is a wealth that cannot be expected to grow while the canary is tolerable; so looking after every scrape
//! costs nothing, and rolling back when it has grown by 1/α is wrong with probability α at most, over the *whole* rollout
//! (Ville's inequality). What it needs: requests of the two arms that fail independently but for clusters of at most φ,
//! and one of the two tolerances kept throughout. Control's rate may vary freely.
//!
//! | file | job |
//! |---|---|
//! | `params` | what is tolerated, what is bet on, how sure it must be |
//! | `evidence` | the e-value of one block |
//! | `wealth` | evidence over blocks, per gate and null |
//! | `burst` | clusters, from control's history |
//! | `guards` | no requests, no control |
//! | `judge` | blocks in, verdicts out |
//! | `explain` | a verdict in words |
//! | `streams` | raw counters of pods to aligned blocks |
//! | `power` | what a gate can see at a given traffic, beforehand |
//! | `analysis` | samples in, decisions out: what a driver holds |

mod analysis;
mod burst;
mod evidence;
mod explain;
mod guards;
mod judge;
mod params;
pub mod power;
mod streams;
mod wealth;

pub use analysis::{Analysis, Brake, Decision};
pub use burst::{Burst, dispersion, factor};
pub use evidence::{Contrast, Tally, ln_add, ln_e, ln_sum};
pub use explain::{Explanation, Null, Signal};
pub use guards::{Absolute, Starvation};
pub use judge::{Block, Judge, Judgement, Logs, Verdict};
pub use params::{Params, Tolerance};
pub use streams::{Arm, Counters, Counts, Intake, Streams};
pub use wealth::{Accounts, Against, Gate};
