//! Jobs on the way back: each runs once, whoever repeats the step.

use super::engine::Engine;
use super::perform::{Stand, StepError};
use crate::domain::effect::RunJob;
use crate::domain::ids::TargetId;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::step::Status;
use crate::plan::hooks::{self, Standing};
use crate::ports::cluster::{Known, Terms};
use std::time::Duration;

/// How long the watch may take to tell that a Job is gone.
const NEWS: Duration = Duration::from_secs(30);

impl Stand<'_> {
    /// Runs a Job to its end. One that has ended well, or of which a person says so, is not run again; one that runs is
    /// waited for; one that failed makes room.
    pub(super) async fn run_job(&self, run: &RunJob) -> Result<String, StepError> {
        let (job, cluster) = (self.object(run.job), self.cluster()?);
        let reference = job.reference();
        let what = format!("run {reference} ({})", job.origin);
        let live = self.in_contact(&what, async || cluster.get(&reference).await).await?;
        let standing = live.as_ref().map(|live| hooks::standing(live, &job.value));
        match standing {
            Some(Standing::Ended) => return Ok(format!("{reference} has ended well already")),
            Some(Standing::Excused) => return Ok(format!("{reference}: done by hand")),
            Some(Standing::Runs) => self.progress(format!("{reference} is under way already")),
            Some(Standing::Stale) => {
                self.may_write().await?;
                self.in_contact(&what, async || cluster.delete(&reference).await).await?;
                // A new Job has the generation of the old one: only its absence tells them apart.
                let mut seen = cluster.follow(&reference.namespace);
                let gone = seen.wait_for(|seen| seen.synced && !seen.workloads.contains_key(&reference));
                let _ = tokio::time::timeout(NEWS, gone).await;
            }
            None => {}
        }
        let made = self.make_again(&run.needs).await?;
        if standing != Some(Standing::Runs) {
            self.may_write().await?;
            let terms = Terms::FORCED.knowing(Known::Absent);
            self.in_contact(&what, async || cluster.apply(&job.value, terms).await).await?;
        }
        let ended = self.wait_ready(std::slice::from_ref(&reference), run.timeout).await?;
        for needed in made {
            self.may_write().await?;
            self.in_contact(&what, async || cluster.delete(&needed).await).await?;
        }
        Ok(format!("{reference}: {ended}"))
    }

    /// Makes what the Job needs and is gone; says what that was.
    async fn make_again(&self, needs: &[usize]) -> Result<Vec<ObjectRef>, StepError> {
        let cluster = self.cluster()?;
        let objects: Vec<&Object> = needs.iter().map(|index| self.object(*index)).collect();
        let references: Vec<ObjectRef> = objects.iter().map(|object| object.reference()).collect();
        let live =
            self.in_contact("read what the Job needs", async || cluster.get_all(&references).await).await?;
        let mut made = Vec::new();
        for ((object, reference), live) in objects.into_iter().zip(references).zip(live) {
            if live.is_none() {
                self.apply_one(object, reference.clone(), None).await?;
                made.push(reference);
            }
        }
        Ok(made)
    }
}

impl Engine<'_> {
    /// Whether there is nothing for the Job to undo: the step that makes what it undoes was begun and not done, and none
    /// of that is there.
    pub(super) async fn never_made(
        &self,
        target: &TargetId,
        run: &RunJob,
        was: Status,
    ) -> Result<bool, StepError> {
        if was == Status::Done || run.undoes.is_empty() {
            return Ok(false);
        }
        let wanted: Vec<&Object> = run.undoes.iter().map(|index| &self.plan.objects[*index]).collect();
        // One that is deleted by its own time to live may have been there.
        if wanted.iter().any(|job| job.value.pointer("/spec/ttlSecondsAfterFinished").is_some()) {
            return Ok(false);
        }
        let site = self.world.site(target).map_err(|failure| StepError::failed(failure.what))?;
        let cluster = site.cluster().map_err(|error| StepError::failed(error.to_string()))?;
        let references: Vec<ObjectRef> = wanted.iter().map(|job| job.reference()).collect();
        let live = cluster.get_all(&references).await.map_err(|error| StepError::of("read Jobs", &error))?;
        let is_ours = |(wanted, live): (&&Object, &Option<serde_json::Value>)| {
            live.as_ref().is_some_and(|live| hooks::is_made_from(live, &wanted.value))
        };
        Ok(!wanted.iter().zip(&live).any(is_ours))
    }
}
