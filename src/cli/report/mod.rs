//! How values look: for people on a terminal, for logs, for machines. Decides nothing and does no IO but through
//! [`Printer`].

pub mod checks;
mod ending;
mod facts;
pub mod failure;
pub mod foresight;
pub mod history;
mod lines;
mod live;
mod model;
pub(super) mod outlet;
mod output;
pub mod plan;
pub mod replayed;
mod reporter;
pub mod show;
pub mod status;
pub mod svg;
mod text;
mod witness;

pub use facts::{Facts, Sort, StepFacts, TargetFacts};
pub use output::{ColorChoice, Format, Output, Printer, Surroundings, UI_VERSION, message};
pub use reporter::{Reporter, Tee};
