//! Those who write the release's objects from Git are paused before a target's first write and go on after the last.

use super::{Site, at};
use crate::domain::effect::Effect;
use crate::domain::environment::Environment;
use crate::domain::gitops::{GitopsMode, Syncer};
use crate::domain::object::ObjectRef;
use crate::domain::step::{Lane, Undo};

impl Site<'_> {
    pub(super) fn keep_git_out(&mut self) {
        for line in &self.input.syncers.unknown {
            self.warnings.push(format!("{}: {line}", self.target.id));
        }
        let steps = self.drafts.values().flat_map(|draft| &draft.steps).chain(&self.finish);
        if !steps.into_iter().any(|step| step.effect.writes()) {
            return;
        }
        for syncer in &self.input.syncers.active {
            self.warnings.push(words(self.inputs.env, syncer, &self.inputs.version, self.target.id.as_str()));
        }
        let syncers: Vec<ObjectRef> =
            self.input.syncers.active.iter().map(|syncer| syncer.object.clone()).collect();
        if syncers.is_empty() || self.inputs.env.gitops.mode != GitopsMode::Pause {
            return;
        }
        let names = syncers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let pause = Effect::PauseSync { syncers: syncers.clone() };
        let resume = Effect::ResumeSync { syncers };
        let undo = Undo::Effects { lane: Lane::Sync, effects: vec![resume.clone()] };
        let step = self.step(None, format!("pause {names}"), pause.clone(), undo);
        self.stage(at::PAUSE, "pause", "nobody else writes from Git", 0).steps.push(step);
        // Before anything is taken back it is paused again.
        let undo = Undo::Effects { lane: Lane::Traffic, effects: vec![pause] };
        let mut step = self.step(None, format!("let {names} sync again"), resume, undo);
        // Behind what components still clean up.
        step.level = self.levels.values().max().map_or(0, |level| level + 1);
        self.finish.push(step);
    }
}

fn words(env: &Environment, syncer: &Syncer, version: &str, target: &str) -> String {
    let (product, name) = (syncer.product(), &syncer.object);
    let count = syncer.manages.len();
    let first = syncer.manages.first().map(ToString::to_string).unwrap_or_default();
    let objects = if count == 1 { first } else { format!("{first} and {} more", count - 1) };
    let then = match env.gitops.mode {
        GitopsMode::Pause => format!(
            "it is paused until the run is over, and then writes what Git holds: Git must hold {version} by then, or it brings back what was before"
        ),
        GitopsMode::Refuse | GitopsMode::Ignore => "it would put them back while the run goes on".to_owned(),
    };
    format!("{target}: {product}'s {name} writes {objects} from Git by itself; {then}")
}
