//! Targets that keep the new release when the run fails elsewhere: those of earlier waves (`on_failure: hold`), and those on
//! which an older release that was brought back carries everything.

use super::engine::Engine;
use crate::domain::environment::OnFailure;
use crate::domain::ids::TargetId;
use crate::domain::release::Outcome;
use crate::domain::step::Status;

impl Engine<'_> {
    /// Targets that a failure now leaves on the new release: those of waves that were done before, or those that an older
    /// release has reached.
    pub(super) fn keeps(&self) -> Vec<TargetId> {
        if self.brings_back() {
            return self.plan.targets.keys().filter(|target| self.is_reached(target)).cloned().collect();
        }
        if self.plan.limits.on_failure == OnFailure::Rollback {
            return Vec::new();
        }
        let is_done = |stage: &&crate::domain::step::Stage| {
            stage.steps.iter().all(|step| self.status(step) == Status::Done)
        };
        let present = self.plan.stages.iter().find(|stage| !is_done(stage));
        let wave = present.map_or(self.plan.waves.len(), |stage| stage.wave);
        self.plan.waves.iter().take(wave.saturating_sub(1)).flatten().cloned().collect()
    }

    pub(super) fn is_kept(&self, target: &TargetId) -> bool {
        self.kept.lock().expect("no panic while held").contains(target)
    }

    /// What serves on record is what serves: the new release, where it is kept; and what the gates saw.
    pub(super) async fn record_kept(&self) {
        let kept = self.kept.lock().expect("no panic while held").clone();
        for target in kept {
            // As with all records of a way back, the journal is the truth.
            let _ = self.record_adopted(&target).await;
            let _ = self.record(&target, Outcome::Deployed, None).await;
        }
        self.save_evidence().await;
    }

    /// What may be typed about targets that differ now.
    pub(super) fn kept_next(&self) -> Vec<String> {
        let kept = self.kept.lock().expect("no panic while held");
        if kept.is_empty() {
            return Vec::new();
        }
        let env = &self.plan.environment;
        vec![format!("deployctl rollback {env}")]
    }
}
