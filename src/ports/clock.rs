//! Wall-clock time. Sleeping and deadlines use tokio's clock, which a rehearsal makes virtual.

use jiff::Timestamp;

/// Tells what time it is.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}
