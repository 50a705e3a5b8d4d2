//! What a run puts on record when it ends: the release of each target, and what a first release took over.

use super::engine::Engine;
use super::releases;
use crate::domain::ids::{Revision, TargetId};
use crate::domain::release::{FORMAT, Outcome, Release};
use std::collections::BTreeMap;

impl Engine<'_> {
    /// The release as it ended on a target.
    pub(super) async fn record(
        &self,
        target: &TargetId,
        outcome: Outcome,
        cause: Option<String>,
    ) -> Result<(), String> {
        let plan = &self.plan.targets[target];
        let site = self.world.site(target).map_err(|failure| failure.what)?;
        let release = Release {
            workloads: plan.workloads.clone(),
            objects: plan.inventory.iter().map(|index| self.plan.objects[*index].clone()).collect(),
            evidence: self
                .evidence
                .lock()
                .expect("no panic while held")
                .get(target)
                .cloned()
                .unwrap_or_default(),
            backups: self.backups.lock().expect("no panic while held").clone(),
            cause,
            ..self.blank(target, self.plan.revision, self.plan.version.clone(), outcome)
        };
        let limit = self.plan.limits.history;
        releases::record(site.state.as_ref(), &release, limit).await.map_err(|error| error.to_string())
    }

    /// What a first release took over goes on record as revision 0: `rollback` leads back to it.
    pub(super) async fn record_adopted(&self, target: &TargetId) -> Result<(), String> {
        let Some(adopted) = &self.plan.targets[target].adopted else { return Ok(()) };
        let site = self.world.site(target).map_err(|failure| failure.what)?;
        let tag = |image: &str| image.rsplit_once(':').map_or("before", |(_, tag)| tag).to_owned();
        let version =
            adopted.workloads.values().next().map_or_else(String::new, |serving| tag(&serving.image));
        let release = Release {
            workloads: adopted.workloads.clone(),
            objects: adopted.objects.iter().map(|index| self.plan.objects[*index].clone()).collect(),
            ..self.blank(target, Revision(0), version, Outcome::Deployed)
        };
        let limit = self.plan.limits.history;
        releases::record(site.state.as_ref(), &release, limit).await.map_err(|error| error.to_string())
    }

    /// A record of this run without content.
    fn blank(&self, target: &TargetId, revision: Revision, version: String, outcome: Outcome) -> Release {
        Release {
            format: FORMAT,
            revision,
            target: target.clone(),
            version,
            outcome,
            cause: None,
            run: self.plan.run.clone(),
            by: self.plan.by.clone(),
            reason: self.plan.reason.clone(),
            started: self.began,
            ended: self.world.clock.now(),
            rollback_of: self.plan.rollback_of,
            workloads: BTreeMap::new(),
            objects: Vec::new(),
            evidence: Vec::new(),
            backups: Vec::new(),
        }
    }
}
