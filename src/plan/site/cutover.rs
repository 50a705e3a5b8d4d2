//! After the cut-over: public smoke tests, bake, and what is cleaned up at the end.

use super::{Site, at, until};
use crate::domain::effect::{Arm, Effect, SmokeVia};
use crate::domain::ids::ComponentId;
use crate::domain::step::{Lane, Undo};
use crate::domain::units::human;
use crate::plan::build::is_live;
use std::time::Duration;

impl Site<'_> {
    pub(super) fn smoke_and_bake(&mut self, last_wave: bool) {
        if self.moved.is_empty() {
            return;
        }
        let components: Vec<ComponentId> = self.moved.iter().map(|(id, _)| id.clone()).collect();
        let tests = self.tests(&components);
        if !tests.is_empty() {
            let services = components
                .iter()
                .filter_map(|id| self.services(id).into_iter().next().map(|service| (id.clone(), service)))
                .collect();
            let effect = Effect::Smoke { tests, via: SmokeVia::Public { services } };
            let undo = Undo::None { why: "asking changes nothing".to_owned() };
            let step = self.step(None, "smoke-test the public way".to_owned(), effect, undo);
            self.stage(at::SMOKE, "smoke", "smoke tests", 100).steps.push(step);
        }
        if self.inputs.rollback_of.is_some() {
            return;
        }
        // Nobody uses a first release yet: it bakes by time and probes, and gates would wait for requests in vain.
        let first = self.input.previous().is_none() && self.arms.is_empty();
        let settling = if first { Duration::ZERO } else { self.settling() };
        let bake = &self.inputs.env.bake;
        let baking = if self.wave == 1 { bake.first } else { bake.later };
        let duration = if last_wave { settling } else { baking };
        let judged = is_live(self) && !first;
        let until = self.until_baked(last_wave, judged);
        if duration.is_zero() && until.is_time_alone() {
            return;
        }
        let arms =
            self.moved.iter().map(|(id, new)| Arm { component: id.clone(), new: new.clone(), stable: None });
        let title = format!("bake wave {} for {}{}", self.wave, human(duration), until::words(&until));
        let step = until::held(self.hold_step(duration, arms.collect(), judged), until);
        self.stage(at::BAKE, "bake", &title, 100).steps.push(step);
    }

    /// After the last wave the gates look once more, at full weight, over their longest window.
    pub(super) fn settling(&self) -> Duration {
        let live = is_live(self);
        self.inputs
            .env
            .gates
            .iter()
            .filter(|_| live)
            .map(|gate| gate.window + gate.interval)
            .max()
            .unwrap_or_default()
    }

    /// Jobs that earlier ways back ran.
    pub(super) fn clean_up_jobs(&mut self) {
        let objects = self.jobs_of_ways_back();
        if objects.is_empty() {
            return;
        }
        let title = format!("delete {} Jobs of earlier ways back", objects.len());
        // Made again, they would run again.
        let undo = Undo::Effects { lane: Lane::Config, effects: Vec::new() };
        self.finish.push(self.step(None, title, Effect::Delete { objects }, undo));
    }

    pub(super) fn clean_up(&mut self) {
        let mut objects = self.doomed.clone();
        objects.retain(|object| !self.left.contains(object));
        if objects.is_empty() {
            return;
        }
        let title = format!("delete {} objects that no release needs", objects.len());
        // A Job that is made again runs again.
        let again = objects.iter().filter(|reference| reference.kind != "Job").cloned().collect::<Vec<_>>();
        let restore = again.iter().filter_map(|reference| self.before(reference)).collect();
        let undo = Undo::Effects { lane: Lane::Config, effects: vec![Effect::Apply { objects: restore }] };
        self.finish.push(self.step(None, title, Effect::Delete { objects }, undo));
    }
}
