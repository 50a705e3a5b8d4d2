//! (module under construction)
pub mod report;
