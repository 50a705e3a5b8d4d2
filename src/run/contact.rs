//! How lost contact is borne: what got no answer is asked again for a while.

use crate::ports::state::StateError;
use std::time::Duration;
use tokio::time::Instant;

/// How long something is tried against a server that gives no answer, or waits for a lock that could not be renewed,
/// before contact counts as lost.
pub(super) const CONTACT: Duration = Duration::from_mins(1);
/// From one try to the next.
pub(super) const CONTACT_PAUSE: Duration = Duration::from_secs(2);

/// How often a record is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tries {
    /// Once: the records of a way back wait for nobody, and a later `resume` records what is missing.
    One,
    /// On the way forward: again, for as long as lost contact is borne. It is the same record each time, so it does not
    /// matter whether an earlier try got through.
    Patient,
}

impl Tries {
    /// Asks a store.
    pub(super) async fn ask<T>(
        self,
        request: impl AsyncFn() -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let began = Instant::now();
        loop {
            match request().await {
                Err(StateError::Unreachable { .. }) if self == Self::Patient && began.elapsed() < CONTACT => {
                    tokio::time::sleep(CONTACT_PAUSE).await;
                }
                result => return result,
            }
        }
    }
}
