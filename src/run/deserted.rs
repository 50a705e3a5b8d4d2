//! A hold whose new revision has nobody left who is ready.
//!
//! Gates count answers: where nobody answers they have no data, and wait. Users do not.

use super::perform::{Stand, StepError};
use crate::domain::effect::Arm;
use crate::domain::ids::ComponentId;
use crate::domain::object::ObjectRef;
use crate::domain::observed::Snapshot;
use crate::domain::units::human;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A new revision without any ready pod for so long has failed. Pods that are moved to other nodes take less.
const LIMIT: Duration = Duration::from_mins(1);

/// Since when nobody of a component's new revision is ready.
#[derive(Debug, Default)]
pub(super) struct Deserted(BTreeMap<ComponentId, Instant>);

impl Deserted {
    /// Looks at the new revisions as they are now.
    ///
    /// # Errors
    /// One of them has been without ready pods for too long.
    pub fn look(&mut self, stand: &Stand<'_>, arms: &[Arm]) -> Result<(), StepError> {
        let cluster = stand.cluster()?;
        let now = Instant::now();
        for arm in arms {
            let snapshots = cluster.follow(&arm.new.namespace);
            if !is_deserted(&snapshots.borrow(), arm) {
                self.0.remove(&arm.component);
                continue;
            }
            let since = *self.0.entry(arm.component.clone()).or_insert(now);
            if now >= since + LIMIT {
                let name = &arm.new.name;
                return Err(StepError::failed(format!("no pod of {name} was ready for {}", human(LIMIT))));
            }
        }
        Ok(())
    }

    /// When to look again, if nobody is ready somewhere.
    pub fn due(&self) -> Option<Instant> {
        self.0.values().map(|since| *since + LIMIT).min()
    }
}

/// Whether the new revision shall have pods and none of them is ready, as far as one can see. What takes stable's pods
/// away as well is no fault of the release.
fn is_deserted(snapshot: &Snapshot, arm: &Arm) -> bool {
    let is_empty = |workload: &ObjectRef| {
        snapshot.workloads.get(workload).is_some_and(|state| state.desired > 0 && state.ready == 0)
    };
    let stable = arm.stable.as_ref().filter(|stable| **stable != arm.new);
    snapshot.synced && snapshot.stale_since.is_none() && is_empty(&arm.new) && !stable.is_some_and(is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::observed::Workload;

    fn reference(name: &str) -> ObjectRef {
        ObjectRef::new("apps/v1", "Deployment", "shop", name)
    }

    #[test]
    fn a_new_revision_is_deserted_when_none_of_its_pods_is_ready_and_stable_has_some() {
        let (new, stable) = (reference("api-r2"), reference("api-r1"));
        let arm = Arm { component: "api".into(), new: new.clone(), stable: Some(stable.clone()) };
        let workload = |desired, ready| Workload { desired, ready, ..Workload::default() };
        // new desired and ready, stable desired and ready, whether it is deserted
        for (new_has, stable_has, deserted) in [
            ((2, 0), (2, 2), true),
            ((2, 0), (0, 0), true),
            ((2, 1), (2, 2), false),
            ((0, 0), (2, 2), false),
            ((2, 0), (2, 0), false),
        ] {
            let mut snapshot = Snapshot { synced: true, ..Snapshot::default() };
            snapshot.workloads.insert(new.clone(), workload(new_has.0, new_has.1));
            snapshot.workloads.insert(stable.clone(), workload(stable_has.0, stable_has.1));
            assert_eq!(is_deserted(&snapshot, &arm), deserted, "{new_has:?} {stable_has:?}");
            snapshot.synced = false;
            assert!(!is_deserted(&snapshot, &arm), "what was not seen yet is not judged");
        }
    }
}
