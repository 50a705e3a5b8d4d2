//! How values look: for people on a terminal, for logs, for machines. Decides nothing and does no IO but through
//! [`Printer`].

mod ending;
mod facts;
pub mod failure;
mod lines;
mod live;
mod model;
mod output;
pub mod plan;
mod reporter;
mod text;

pub use facts::{Facts, Sort, StepFacts, TargetFacts};
pub use output::{ColorChoice, Format, Output, Printer, Surroundings, UI_VERSION, message};
pub use reporter::Reporter;
