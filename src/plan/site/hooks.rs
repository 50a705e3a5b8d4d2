//! Jobs that have a way back: on the way forward a stage of their own, so that it is known whether they were begun; on the
//! way back to an older release the Jobs that undo them, once that release carries everything.

use super::{Site, at};
use crate::domain::effect::{Effect, RunJob};
use crate::domain::ids::ComponentId;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::release::{Release, RollbackJob};
use crate::domain::step::{Lane, Undo};
use crate::plan::hooks::{self, Left};
use crate::plan::inventory;
use std::collections::{BTreeMap, BTreeSet};

impl Site<'_> {
    /// Whether an object is a Job that did its work when the older release went out: on the way back to it, it does not run
    /// again.
    pub(super) fn has_run(&self, index: usize) -> bool {
        self.goes_back && self.input.named.objects[index].kind() == "Job"
    }

    /// Those of the Jobs to be applied that Jobs of the way back undo, by component.
    pub(super) fn undoable(&self, applied: &[usize]) -> BTreeMap<ComponentId, Vec<usize>> {
        let named = &self.input.named;
        let mut found: BTreeMap<ComponentId, Vec<usize>> = BTreeMap::new();
        for index in applied {
            let job = &named.objects[*index];
            let undone = named.rollback_jobs.iter().any(|back| hooks::undoes(back.component.as_ref(), job));
            if let Some(component) = job.component.clone().filter(|_| undone) {
                found.entry(component).or_default().push(*index);
            }
        }
        found
    }

    /// Runs Jobs of components that have a way back, before anything that needs them.
    pub(super) fn run_jobs(&mut self, undoable: BTreeMap<ComponentId, Vec<usize>>) {
        let named = &self.input.named;
        let left = Left { revision: self.inputs.revision, run: &self.inputs.run, objects: &named.objects };
        for (component, indices) in undoable {
            let undoes: Vec<usize> = indices.iter().map(|index| self.object_index(*index)).collect();
            let own = named.rollback_jobs.iter().filter(|job| job.component.as_ref() == Some(&component));
            let back: Vec<RunJob> = own.map(|job| self.rollback_job(job, left, undoes.clone())).collect();
            let title = format!("run {}; on the way back: {}", self.listed(&undoes), self.listed_runs(&back));
            let mut step = self.apply_step(Some(&component), title, &indices, Lane::Jobs);
            if let Undo::Effects { effects, .. } = &mut step.undo {
                effects.splice(0..0, back.into_iter().map(|run| Effect::RunJob(Box::new(run))));
            }
            let workloads: Vec<ObjectRef> =
                indices.iter().map(|index| self.references[*index].clone()).collect();
            let title = format!("wait until {} is complete", self.listed(&undoes));
            let effect = Effect::WaitReady { workloads, timeout: self.inputs.env.limits.ready };
            let undo = Undo::None { why: "waiting changes nothing".to_owned() };
            let wait = self.step(Some(&component), title, effect, undo);
            self.stage(at::JOBS, "jobs", "Jobs", 0).steps.extend([step, wait]);
            self.due.insert(component);
        }
    }

    /// On the way back to an older release: what the releases in between brought for it, newest first.
    pub(super) fn run_jobs_back(&mut self) {
        let left: Vec<&Release> = std::mem::take(&mut self.left_releases);
        for release in left {
            let source = Left { revision: release.revision, run: &release.run, objects: &release.objects };
            for known in release.rollback_jobs.iter().filter(|known| known.due) {
                let run = self.rollback_job(&known.job, source, Vec::new());
                let job = self.table.objects()[run.job].reference();
                let title =
                    format!("run {job}, which undoes Jobs of {} ({})", release.revision, release.version);
                let undo = Undo::None { why: "what it undid is not done again".to_owned() };
                let step =
                    self.step(known.job.component.as_ref(), title, Effect::RunJob(Box::new(run)), undo);
                self.stage(at::JOBS_BACK, "jobs-back", "Jobs of the way back", 100).steps.push(step);
            }
        }
    }

    /// What goes on record: whoever leaves this release runs these, as far as they are due.
    pub(super) fn rollback_jobs(&self) -> Vec<RollbackJob> {
        let to = self.inputs.rollback_of.filter(|_| self.goes_back);
        let before = to.and_then(|to| self.input.history.iter().find(|release| release.revision == to));
        let due = |job: &Object| match before {
            // It stands where the older one stood.
            Some(before) => before.rollback_jobs.iter().any(|known| known.due && known.job == *job),
            None => job.component.as_ref().is_some_and(|component| self.due.contains(component)),
        };
        let jobs = self.input.named.rollback_jobs.iter();
        jobs.map(|job| RollbackJob { job: job.clone(), due: due(job) }).collect()
    }

    /// Jobs of the way back that have ended and that nobody will repeat: with the next release they go.
    pub(super) fn jobs_of_ways_back(&self) -> Vec<ObjectRef> {
        let mut kept: BTreeSet<ObjectRef> = BTreeSet::new();
        if self.inputs.rollback_of.is_some() {
            let left = self.left_releases.iter();
            kept.extend(left.flat_map(|release| inventory::rollback_jobs(std::iter::once(*release))));
        }
        let all = inventory::rollback_jobs(self.input.history.iter());
        all.into_iter().filter(|job| self.input.live.contains_key(job) && !kept.contains(job)).collect()
    }

    fn rollback_job(&mut self, job: &Object, left: Left<'_>, undoes: Vec<usize>) -> RunJob {
        let ready = hooks::ready(job, left, self.inputs.env.limits.ready);
        let needs = ready.needs.into_iter().map(|object| self.put(object)).collect();
        RunJob { job: self.put(ready.job), needs, undoes, timeout: ready.timeout }
    }

    fn listed_runs(&self, runs: &[RunJob]) -> String {
        self.listed(&runs.iter().map(|run| run.job).collect::<Vec<_>>())
    }

    fn listed(&self, indices: &[usize]) -> String {
        let names = indices.iter().map(|index| self.table.objects()[*index].reference().to_string());
        names.collect::<Vec<_>>().join(", ")
    }
}
