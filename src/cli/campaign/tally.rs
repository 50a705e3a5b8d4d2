//! Listens to the processes of a story: fires the faults that wait for where the run has come to, and counts.

use crate::cli::wiring::Simulated;
use crate::domain::event::{Event, Kind};
use crate::domain::ids::{StepId, TargetId};
use crate::run::Report;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub labels: Vec<String>,
    pub retried: u64,
    /// From the turn to the end of each way back that came to its end.
    pub ways_back: Vec<Duration>,
    /// Targets that the last run that ended has left on its release though it went back.
    pub kept: Vec<TargetId>,
    turned: Option<Timestamp>,
    begun: BTreeSet<StepId>,
}

/// One story's listener.
pub(super) struct Tally<'a> {
    pub simulated: &'a Simulated,
    pub counts: Mutex<Counts>,
}

/// A listener for one process, with somebody who shows it.
pub(super) struct Heard<'a> {
    pub tally: &'a Tally<'a>,
    pub inner: Box<dyn Report + 'a>,
}

impl Report for Heard<'_> {
    fn event(&self, event: &Event) {
        self.tally.take(event);
        self.inner.event(event);
    }
}

impl<'a> Tally<'a> {
    pub fn new(simulated: &'a Simulated) -> Self {
        Self { simulated, counts: Mutex::default() }
    }

    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, event: &Event) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut labels = Vec::new();
        match &event.kind {
            Kind::StageStarted { stage, .. } => labels.push(format!("stage:{stage}")),
            Kind::StageFinished { weight, wave, .. } if *weight > 0 => {
                labels.extend([format!("weight:{weight}"), format!("wave:{wave}")]);
            }
            Kind::StepStarted { step, .. } => {
                labels.push(format!("step:{step}"));
                counts.retried += u64::from(!counts.begun.insert(step.clone()));
            }
            Kind::RollbackStarted { .. } => {
                labels.push("rollback:begin".to_owned());
                counts.turned = Some(event.at);
            }
            Kind::RollbackLane { lane } => {
                labels.push(format!("rollback:{}", format!("{lane:?}").to_lowercase()));
            }
            Kind::RunFinished { outcome: "rolled-back", kept, .. } => {
                counts.kept.clone_from(kept);
                let turned = counts.turned.take();
                counts.ways_back.extend(turned.map(|turned| event.at.duration_since(turned).unsigned_abs()));
            }
            _ => {}
        }
        for label in &labels {
            if !counts.labels.contains(label) {
                counts.labels.push(label.clone());
            }
        }
        drop(counts);
        for label in labels {
            self.simulated.world().fire(&label);
        }
    }
}
