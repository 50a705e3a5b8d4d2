//! What the calendar has to say about a plan.

use super::{Inputs, Overridden};
use crate::domain::calendar::Verdict;
use crate::domain::units::human;
use std::time::Duration;

/// The freeze that the release passes over, if somebody said so. A way back is never frozen.
pub(super) fn overridden(inputs: &Inputs<'_>) -> Option<Overridden> {
    let calendar = &inputs.env.calendar;
    let reason = calendar.overridden.clone().filter(|_| inputs.rollback_of.is_none())?;
    match calendar.at(inputs.created) {
        Verdict::Closed { why, .. } => Some(Overridden { freeze: why, reason }),
        Verdict::Open { .. } => None,
    }
}

/// That the environment is frozen now, or will be while the run is still on.
pub(super) fn warnings(
    inputs: &Inputs<'_>,
    expected: Duration,
    overridden: Option<&Overridden>,
) -> Vec<String> {
    let calendar = &inputs.env.calendar;
    if inputs.rollback_of.is_some() {
        return Vec::new();
    }
    match calendar.at(inputs.created) {
        Verdict::Closed { why, opens } => {
            let opens = opens.map_or_else(String::new, |at| format!("; opens {}", calendar.read(at)));
            let overridden = overridden.map(|overridden| format!("; overridden: {}", overridden.reason));
            vec![format!("{why}{}", overridden.unwrap_or(opens))]
        }
        Verdict::Open { until: Some((end, why)) } if inputs.created + expected > end => {
            let (end, about) = (calendar.read(end), human(Duration::from_secs(expected.as_secs())));
            vec![format!("the run takes about {about} and will still be on at {end}, when {why}")]
        }
        Verdict::Open { .. } => Vec::new(),
    }
}
