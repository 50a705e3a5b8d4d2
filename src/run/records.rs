//! What a run puts on record when it ends: the release of each target, and what a first release took over.

use super::contact::Tries;
use super::engine::Engine;
use super::{blame, evidence, releases};
use crate::domain::event::Kind;
use crate::domain::ids::{Revision, TargetId};
use crate::domain::object::ObjectRef;
use crate::domain::release::{FORMAT, Outcome, Release};
use crate::plan::Action;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time for reading the release before, which only serves to show what changed.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(2);

impl Engine<'_> {
    /// The release as it ended on a target.
    pub(super) async fn record(
        &self,
        target: &TargetId,
        outcome: Outcome,
        cause: Option<String>,
    ) -> Result<(), String> {
        let plan = &self.plan.targets[target];
        let release = Release {
            workloads: plan.workloads.clone(),
            objects: plan.inventory.iter().map(|index| self.plan.objects[*index].clone()).collect(),
            rollback_jobs: plan.rollback_jobs.clone(),
            evidence: self
                .evidence
                .lock()
                .expect("no panic while held")
                .get(target)
                .cloned()
                .unwrap_or_default(),
            asked: self.control.lines(),
            backups: self.backups.lock().expect("no panic while held").clone(),
            cause,
            owed: if outcome == Outcome::Deployed { self.plan.owed.clone() } else { BTreeMap::new() },
            pays: self.plan.pays.clone(),
            ..self.blank(target, self.plan.revision, self.plan.version.clone(), outcome)
        };
        self.put(target, &release).await
    }

    async fn put(&self, target: &TargetId, release: &Release) -> Result<(), String> {
        let site = self.world.site(target).map_err(|failure| failure.what)?;
        let tries = if release.outcome == Outcome::Deployed { Tries::Patient } else { Tries::One };
        let limit = self.plan.limits.history;
        let recorded = tries.ask(async || releases::record(site.state.as_ref(), release, limit).await).await;
        recorded.map_err(|error| error.to_string())
    }

    /// What a first release took over goes on record as revision 0: `rollback` leads back to it.
    pub(super) async fn record_adopted(&self, target: &TargetId) -> Result<(), String> {
        let Some(adopted) = &self.plan.targets[target].adopted else { return Ok(()) };
        let tag = |image: &str| image.rsplit_once(':').map_or("before", |(_, tag)| tag).to_owned();
        let version =
            adopted.workloads.values().next().map_or_else(String::new, |serving| tag(&serving.image));
        let release = Release {
            workloads: adopted.workloads.clone(),
            objects: adopted.objects.iter().map(|index| self.plan.objects[*index].clone()).collect(),
            ..self.blank(target, Revision(0), version, Outcome::Deployed)
        };
        self.put(target, &release).await
    }

    /// Keeps and tells what the failure looked like. All targets at once: the way back waits for the slowest log, two
    /// seconds at the most.
    pub(super) async fn take_evidence(&self) {
        let looks = self.touched().into_iter().map(|target| async move {
            let lines = self.evidence_of(&target).await;
            (target, lines)
        });
        for (target, lines) in futures::future::join_all(looks).await {
            if !lines.is_empty() {
                self.teller().tell(Kind::Evidence { target: target.clone(), lines: lines.clone() });
                self.evidence.lock().expect("no panic while held").insert(target, lines);
            }
        }
    }

    async fn evidence_of(&self, target: &TargetId) -> Vec<String> {
        let (Ok(site), Some(plan)) = (self.world.site(target), self.plan.targets.get(target)) else {
            return Vec::new();
        };
        let changed = |workload: &ObjectRef| {
            plan.changes.iter().any(|change| change.object == *workload && change.action != Action::Keep)
        };
        let workloads: Vec<ObjectRef> =
            plan.workloads.values().map(|serving| serving.workload.clone()).filter(changed).collect();
        let (findings, history) = tokio::join!(
            evidence::collect(site, &workloads, self.world.clock.now()),
            tokio::time::timeout(HISTORY_TIMEOUT, releases::history(target, site.state.as_ref())),
        );
        let history = history.ok().and_then(Result::ok).unwrap_or_default();
        let before = history.iter().rev().find(|release| release.outcome == Outcome::Deployed);
        let mut blamed = blame::blocked(self.plan, target, &|step| self.status(step));
        for (workload, found) in workloads.iter().zip(&findings) {
            let Some(cause) = &found.cause else { continue };
            blamed.extend(blame::hunk(self.plan, target, workload, before, Some(cause.sort)));
            if let Some(command) = &cause.remedy {
                let place =
                    if command.starts_with("kubectl") { format!("  # on {target}") } else { String::new() };
                let hint = format!("{command}{place}");
                let mut hints = self.hints.lock().expect("no panic while held");
                if !hints.contains(&hint) {
                    hints.push(hint);
                }
            }
        }
        let mut lines: Vec<String> = blamed.into_iter().map(|line| format!("{target}: {line}")).collect();
        lines.extend(evidence::lines(target, findings));
        lines
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
            overridden: self.plan.overridden.as_ref().map(ToString::to_string),
            started: self.began,
            ended: self.world.clock.now(),
            rollback_of: self.plan.rollback_of,
            workloads: BTreeMap::new(),
            objects: Vec::new(),
            rollback_jobs: Vec::new(),
            evidence: Vec::new(),
            asked: Vec::new(),
            backups: Vec::new(),
            owed: BTreeMap::new(),
            pays: None,
        }
    }
}
