//! Where an unfinished run stands, and what each next command would do.

use super::progress::{self, Unread};
use crate::cli::commands::promote::{holds, waits_for_approval};
use crate::cli::report::status::{NextCommand, UnfinishedRun};
use crate::domain::ids::TargetId;
use crate::domain::intent::Intent;
use crate::domain::step::{Status, Step, first_open};
use crate::run::by_hand;
use crate::run::intents::Live;
use crate::run::journal::Phase;
use crate::run::unfinished::Run;
use crate::run::vigil;
use std::time::Duration;

/// What was found of a run that is not over.
pub(super) struct Standing<'r> {
    pub run: &'r Run,
    /// Targets of it whose journals were not read.
    pub unread: &'r Unread,
    /// Its process, if that shows signs of life.
    pub live: Option<&'r Live>,
    /// How long earlier rollbacks took.
    pub earlier: &'r [Duration],
}

impl Standing<'_> {
    /// The run in words.
    pub fn told(&self) -> UnfinishedRun {
        let (plan, replayed) = (&self.run.plan, &self.run.replayed);
        let (phase, resume) = self.phase();
        let orders = self.live.map(Live::orders).unwrap_or_default();
        let phase = match (&orders.pause, &replayed.phase) {
            (Some(pause), Phase::Forward) => format!("{phase}, paused by {}", pause.who()),
            _ => phase,
        };
        let failed = progress::not_taken_back(self.run);
        UnfinishedRun {
            run: plan.run.clone(),
            revision: plan.revision,
            version: plan.version.clone(),
            brings_back: plan.rollback_of,
            by: plan.by.clone(),
            reason: plan.reason.clone(),
            begun: plan.created,
            last: replayed.last,
            live: self.live.is_some(),
            phase,
            cause: replayed.phase.cause().map(str::to_owned),
            progress: progress::by_target(self.run, self.unread),
            asked: replayed.asked.iter().map(Intent::line).collect(),
            by_hand: failed.into_iter().flat_map(|step| by_hand::commands(plan, step)).collect(),
            next: self.next_commands(&resume),
        }
    }

    /// The phase, and what `resume` does in it.
    fn phase(&self) -> (String, String) {
        let place = self.place();
        let guarded = self.run.replayed.guarded.as_ref().map(|(at, what)| what.line(*at));
        match &self.run.replayed.phase {
            Phase::Forward => (format!("going forward at {place}"), self.forward(&place)),
            Phase::Interrupted => (self.interrupted(guarded), self.forward(&place)),
            Phase::Aborting { .. } => {
                let guarded = guarded.map_or_else(String::new, |line| format!("; {line}"));
                (format!("rolling back{guarded}"), "finishes taking it back".to_owned())
            }
            Phase::Ended { owed, .. } if !owed.is_empty() => {
                let owed = owed.iter().map(TargetId::as_str).collect::<Vec<_>>().join(", ");
                (format!("brought back, and owed to {owed}"), format!("brings it back on {owed}"))
            }
            Phase::Ended { outcome, .. } => (format!("ended: {outcome}"), "does nothing".to_owned()),
        }
    }

    /// What `resume` does with a run that did not turn back.
    fn forward(&self, place: &str) -> String {
        let silent = self.unread.iter().find(|(_, why)| **why == SILENT);
        match silent {
            // An older release is brought back wherever that can be.
            Some((target, _)) if self.run.plan.rollback_of.is_none() => {
                format!("is refused until {target} answers")
            }
            _ => format!("goes on at {place}"),
        }
    }

    /// The stage at which a resume goes on, as the engine finds it, by the targets whose journals were read.
    fn place(&self) -> String {
        let run = self.run;
        let known = run.plan.part(|target| !self.unread.contains_key(target));
        let interrupted = run.replayed.phase == Phase::Interrupted && run.plan.rollback_of.is_none();
        let status = |step: &Step| run.replayed.status.get(&step.id).copied().unwrap_or(Status::Pending);
        let first = first_open(&known.stages, interrupted, status);
        let stage = known.stages.get(first);
        let place = match (stage, self.unread.iter().next()) {
            (Some(stage), _) => format!("wave {}, {}", stage.wave, stage.title),
            (None, None) => "the end".to_owned(),
            (None, Some((target, why))) => return format!("a stage of {target}, which {why}"),
        };
        if self.unread.is_empty() {
            return place;
        }
        let read: Vec<&str> = known.targets.keys().map(TargetId::as_str).collect();
        format!("{place}, as far as {} tells", read.join(" and "))
    }

    /// What an interrupt or a guard came to: the traffic is on stable only where every step that moved it is known to be
    /// taken back.
    fn interrupted(&self, guarded: Option<String>) -> String {
        let plan = &self.run.plan;
        if plan.rollback_of.is_some() {
            return "interrupted on its way back, which moves no traffic".to_owned();
        }
        let read = plan.targets.keys().filter(|target| !self.unread.contains_key(*target));
        let moved: Vec<String> = read
            .filter_map(|target| {
                let steps = progress::moved(self.run, target);
                let titles: Vec<&str> = steps.iter().map(|step| step.title.as_str()).collect();
                (!steps.is_empty()).then(|| format!("{target}: {}", titles.join(", ")))
            })
            .collect();
        let unread = self.unread.iter().map(|(target, why)| format!("{target}, which {why}"));
        let unread: Vec<String> = unread.collect();
        if self.live.is_some() && !moved.is_empty() {
            return guarded.unwrap_or_else(|| "interrupted, traffic is being put on stable".to_owned());
        }
        let unknown = [moved, unread].concat();
        if !unknown.is_empty() {
            let head = guarded.unwrap_or_else(|| "interrupted".to_owned());
            return format!("{head}; traffic is NOT known to be on stable on {}", unknown.join("; "));
        }
        let served =
            plan.targets.values().any(|target| target.previous.is_some() || target.adopted.is_some());
        guarded.unwrap_or_else(|| {
            if served {
                "interrupted with traffic on stable".to_owned()
            } else {
                "interrupted; nothing served before it".to_owned()
            }
        })
    }

    /// What a rollback would do, as far as the targets that were read tell.
    fn way_back(&self) -> String {
        let known = match self.run.brings_back() {
            Some(of) => {
                let up = self.run.plan.targets.values().find_map(|target| target.previous);
                let up =
                    up.map_or_else(String::new, |left| format!("; with --to {} it gives that up", left.0));
                return format!("goes on bringing {of} back, as resume does{up}");
            }
            None => progress::way_back(self.run, self.earlier),
        };
        if self.unread.is_empty() {
            return known;
        }
        let unknown: Vec<&str> = self.unread.keys().map(TargetId::as_str).collect();
        format!("{known}; what it has to do on {} is not known", unknown.join(", "))
    }

    /// What may be typed, and what each would do; `resume` says what that would.
    fn next_commands(&self, resume: &str) -> Vec<NextCommand> {
        let env = &self.run.plan.environment;
        let command = |verb: &str, effect: &str| NextCommand {
            command: format!("deployctl {verb}"),
            effect: effect.to_owned(),
        };
        let watch = || command(&format!("status {env} --watch"), "follows it to its end");
        match (self.live, &self.run.replayed.phase) {
            (None, _) => {
                let mut next = vec![
                    command(&format!("resume {env}"), resume),
                    command(&format!("rollback {env}"), &self.way_back()),
                ];
                // What is merely owed to a silent target bars nothing that leaves that out.
                if self.run.owed().is_empty() {
                    next.push(command(env, "refused (DC0608) until one of these has ended it"));
                }
                next
            }
            (Some(_), Phase::Aborting { .. }) => {
                let effect = "if its process is gone: waits for its lock, then finishes it";
                vec![watch(), command(&format!("resume {env}"), effect)]
            }
            // It gives the run back in a moment, and hears no wishes.
            (Some(live), _) if vigil::is_guard(&live.holder) => vec![
                command(&format!("resume {env}"), "waits for the guard, then goes on"),
                command(&format!("rollback {env}"), "waits for the guard, then takes the rest back"),
            ],
            (Some(_), Phase::Interrupted) => vec![
                watch(),
                command(&format!("resume {env}"), &format!("once that has ended: {resume}")),
                command(&format!("rollback {env}"), "once that has ended: takes the rest back"),
            ],
            (Some(live), _) => {
                let paused = live.orders().pause.is_some();
                let mut next = Vec::new();
                if live.stage().is_some_and(waits_for_approval) {
                    next.push(command(&format!("approve {env}"), "approves what it waits for"));
                }
                if paused {
                    next.push(command(&format!("resume {env}"), "lets it go on where it stands"));
                } else {
                    next.push(command(&format!("pause {env}"), "lets it stay where it is"));
                }
                if paused || live.stage().is_some_and(holds) {
                    next.push(command(&format!("promote {env}"), "ends the present hold"));
                }
                next.push(command(&format!("abort {env}"), "takes everything of it back, now"));
                if !paused {
                    let effect = "if its process is gone: waits for its lock, then goes on";
                    next.push(command(&format!("resume {env}"), effect));
                }
                next
            }
        }
    }
}

/// Why a target that was asked was not read.
pub(super) const SILENT: &str = "gives no answer";
/// Why one that `--target` leaves out was not.
pub(super) const NOT_ASKED: &str = "was not asked";

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
