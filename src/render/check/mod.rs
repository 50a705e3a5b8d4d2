//! Checks of rendered objects against each other, their kinds' schemas, the cluster's version and the policies.

use super::Document;
use crate::domain::diagnostic::Diagnostics;
use crate::domain::environment::Environment;

/// All checks of one target's objects.
#[must_use]
pub fn check(_environment: &Environment, _documents: &[Document]) -> Diagnostics {
    Diagnostics::new()
}
