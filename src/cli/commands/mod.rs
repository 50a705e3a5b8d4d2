//! One command, one file.

pub mod abort;
pub mod approve;
pub mod completions;
pub mod deploy;
pub mod explain;
pub mod guard;
pub mod history;
pub mod lock;
pub mod metrics;
pub mod pause;
pub mod plan;
pub mod preflight;
pub mod promote;
pub mod rehearse;
pub mod render;
pub mod resume;
pub mod rollback;
pub mod schema;
pub mod show;
pub mod smoke;
pub mod status;
pub mod validate;
