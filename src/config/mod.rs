//! The YAML that people write: read, layered, checked against its schema, and turned into the domain's types.
//!
//! Knows nothing of clusters and reads no secret.

pub mod codes;
mod convert;
pub mod defaults;
mod layers;
mod load;
mod model;
pub mod report;
mod scalar;
mod schema;
mod secrets;
pub mod tree;
pub mod values;
mod walk;

pub use layers::{Reader, read_source};
pub use load::{Attempt, Loaded, Overrides, attempt, is_base, load};
pub use schema::json_schema;
