//! The ports that a run works through, put together by `cli::wiring` alone.

use crate::domain::error::{Code, Exit, Failure};
use crate::domain::event::{Event, Kind};
use crate::domain::ids::TargetId;
use crate::ports::{Clock, Cloud, Cluster, ClusterError, Compose, Lock, Metrics, Probe, Secrets, StateStore};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One target's doors.
#[derive(Clone)]
pub struct Site {
    /// Its cluster; a Compose machine has none.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Its records.
    pub state: Arc<dyn StateStore>,
    /// Its lock.
    pub lock: Arc<dyn Lock>,
    /// A guard's sign of life.
    pub guard: Arc<dyn Lock>,
    /// Managed services beside it, where an adapter exists.
    pub cloud: Option<Arc<dyn Cloud>>,
    /// A Compose engine, where an adapter exists.
    pub compose: Option<Arc<dyn Compose>>,
}

impl Site {
    /// The cluster, where there is one.
    pub fn cluster(&self) -> Result<&Arc<dyn Cluster>, ClusterError> {
        let none = || ClusterError::NotFound { message: "this target is no cluster".to_owned() };
        self.cluster.as_ref().ok_or_else(none)
    }
}

/// All doors of a run.
#[derive(Clone)]
pub struct World {
    /// By target.
    pub sites: BTreeMap<TargetId, Site>,
    /// The metric store.
    pub metrics: Arc<dyn Metrics>,
    /// HTTP from outside.
    pub probe: Arc<dyn Probe>,
    /// Secret values.
    pub secrets: Arc<dyn Secrets>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl World {
    /// The doors of the others.
    #[must_use]
    pub fn but<'t>(&self, left_out: impl IntoIterator<Item = &'t TargetId>) -> Self {
        let mut others = self.clone();
        for target in left_out {
            others.sites.remove(target);
        }
        others
    }

    /// The doors of one target.
    pub fn site(&self, target: &TargetId) -> Result<&Site, Failure> {
        self.sites.get(target).ok_or_else(|| {
            Failure::new(Code(601), Exit::Usage, format!("target {target} is not part of this command"))
                .why("the plan names it, but it was left out on the command line")
                .next("run the command without --target")
        })
    }
}

/// Takes what a run tells. Renders it, stores it, or drops it; never decides by it.
pub trait Report: Send + Sync {
    /// One event.
    fn event(&self, event: &Event);
}

/// A report with the clock that dates its events.
pub(crate) struct Teller<'a> {
    pub report: &'a dyn Report,
    pub clock: &'a dyn Clock,
}

impl Teller<'_> {
    pub fn tell(&self, kind: Kind) {
        self.report.event(&Event { at: self.clock.now(), kind });
    }
}
