//! What is told of the way to a metric store while it is asked.

use super::perform::Stand;
use crate::domain::event::Kind;
use crate::ports::metrics::MetricsError;

impl Stand<'_> {
    /// Tells, once each, which endpoint of the target's store is asked from now on, and why.
    pub(super) fn tell_store_news(&self) {
        for message in self.world.metrics.notices(self.target) {
            let target = Some(self.target.clone());
            self.teller.tell(Kind::Alert { severity: "warning", target, message });
        }
    }
}

/// Why a gate has no answer, for people.
pub(super) fn silent(error: &MetricsError) -> String {
    match error {
        MetricsError::Denied { message } => message.clone(),
        MetricsError::Down { .. } | MetricsError::Refused { .. } => {
            format!("the metric store gives no answer: {error}")
        }
    }
}
