//! Recorded streams of metrics, judged again: the file's format, and what the judge says of each block; and what the gates
//! saw of a release.

pub mod compare;
mod fields;
mod judged;
mod recorded;
mod settings;
mod stream;
mod vector;

pub use judged::{Judged, judge};
pub(in crate::cli) use recorded::recorded;
pub use settings::Settings;
pub use stream::{Stop, Visit, read};
pub use vector::Vector;
