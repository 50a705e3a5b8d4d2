//! What a run tells while it goes on. Reports render these; nothing decides by them.

use crate::domain::ids::{ComponentId, Revision, RunId, StepId, TargetId};
use crate::domain::object::ObjectRef;
use crate::domain::step::Lane;
use crate::domain::units;
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// One thing that an operator has to put right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StillWrong {
    /// Where.
    pub target: TargetId,
    /// What was not achieved: `create api-r2 (example.com/api:1.1.0) is not taken back`.
    pub what: String,
    /// The object that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    /// Why, in the server's words where it said any.
    pub cause: String,
    /// Commands that show it, and that put it right.
    pub next: Vec<String>,
}

impl std::fmt::Display for StillWrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.target, self.what, self.cause)
    }
}

/// One thing that happened, and when.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// When (virtual in a rehearsal).
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What happened. `type` in NDJSON; fields are only ever added within one major version.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Kind {
    /// The run begins (or goes on, after a crash or interrupt).
    RunStarted {
        /// Its name.
        run: RunId,
        /// Environment.
        environment: String,
        /// Release number it makes.
        revision: Revision,
        /// Application version.
        version: String,
        /// Whether a run that had stopped goes on.
        resumed: bool,
        /// Expected length.
        #[serde(serialize_with = "units::duration::serialize")]
        expected: Duration,
    },
    /// A stage begins.
    StageStarted {
        /// Stage name.
        stage: String,
        /// For people.
        title: String,
        /// 1-based wave; 0 before all waves.
        wave: usize,
        /// Its targets.
        targets: Vec<TargetId>,
    },
    /// A stage is done.
    StageFinished {
        /// Stage name.
        stage: String,
        /// 1-based wave.
        wave: usize,
        /// Percent of live traffic on the new revision now.
        weight: u8,
    },
    /// A step begins.
    StepStarted {
        /// Its name.
        step: StepId,
        /// Where.
        target: TargetId,
        /// Whose.
        component: Option<ComponentId>,
        /// For people.
        title: String,
    },
    /// A step says how far it is: `3/6 ready`, `40 %`.
    StepProgress {
        /// Its name.
        step: StepId,
        /// Where.
        target: TargetId,
        /// Whose.
        component: Option<ComponentId>,
        /// For people.
        detail: String,
    },
    /// A step is done.
    StepFinished {
        /// Its name.
        step: StepId,
        /// Where.
        target: TargetId,
        /// Whose.
        component: Option<ComponentId>,
        /// What came of it.
        detail: String,
        /// How long it took.
        #[serde(serialize_with = "units::duration::serialize")]
        took: Duration,
    },
    /// A step failed.
    StepFailed {
        /// Its name.
        step: StepId,
        /// Where.
        target: TargetId,
        /// Whose.
        component: Option<ComponentId>,
        /// The root cause in one line.
        cause: String,
    },
    /// A gate was measured.
    GateMeasured {
        /// Gate name.
        gate: String,
        /// Where.
        target: TargetId,
        /// Whose.
        component: ComponentId,
        /// `healthy`, `bad`, `shared`, `not enough data`, `no data`, `backend down`, `suspicious`, `starved`.
        verdict: &'static str,
        /// Value of the new revision, formatted.
        new: Option<String>,
        /// Value of stable, formatted.
        stable: Option<String>,
        /// Limit, formatted.
        limit: String,
        /// What a comparison with stable rests on, in words and numbers.
        #[serde(skip_serializing_if = "Option::is_none")]
        explanation: Option<String>,
    },
    /// A smoke test was answered.
    SmokeTested {
        /// Test name.
        test: String,
        /// Where.
        target: TargetId,
        /// Whether it passed.
        passed: bool,
        /// What was answered.
        detail: String,
    },
    /// Something an operator should know, e.g. a gate that stable breaches too.
    Alert {
        /// `critical`, `warning`, `info`.
        severity: &'static str,
        /// Where.
        target: Option<TargetId>,
        /// What.
        message: String,
    },
    /// An operator asked something of the run from elsewhere.
    Asked {
        /// `promote`, `promote --full`, `pause`, `resume`, `approve`, `abort`.
        wish: &'static str,
        /// Who: `ana@desk`.
        by: String,
        /// Why.
        reason: Option<String>,
        /// When, by the asker's clock.
        asked: Timestamp,
    },
    /// The run stands still before a stage, since somebody paused it.
    Paused {
        /// The stage's title.
        before: String,
        /// Who, and why.
        by: String,
    },
    /// The run turns back.
    RollbackStarted {
        /// Why, one line.
        cause: String,
    },
    /// A lane of the rollback begins.
    RollbackLane {
        /// Which.
        lane: Lane,
    },
    /// A step was taken back.
    StepUndone {
        /// Its name.
        step: StepId,
        /// Where.
        target: TargetId,
        /// For people.
        title: String,
    },
    /// A step could not be taken back.
    UndoFailed {
        /// Its name.
        step: StepId,
        /// Where.
        target: TargetId,
        /// For people.
        title: String,
        /// Why.
        cause: String,
    },
    /// Evidence taken before the rollback deletes it.
    Evidence {
        /// Where.
        target: TargetId,
        /// Lines: pod states, events, logs.
        lines: Vec<String>,
    },
    /// An interrupt arrived: traffic goes to stable, or stays where it is if an older release is brought back.
    Interrupted,
    /// The run is over.
    RunFinished {
        /// `deployed`, `rolled-back`, `broken`, `interrupted`, `unknown`.
        outcome: &'static str,
        /// Release number.
        revision: Revision,
        /// Root cause when it did not end well.
        cause: Option<String>,
        /// How long it took.
        #[serde(serialize_with = "units::duration::serialize")]
        took: Duration,
        /// What to type next.
        next: Vec<String>,
        /// What is still wrong, when something is: one line each.
        remaining: Vec<String>,
        /// The same, with the objects and with what to type about each.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        still_wrong: Vec<StillWrong>,
        /// Whether the release serves all the same: an older one was brought back, and something beside it is wrong, or a
        /// target gives no answer.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        serves: bool,
        /// Targets of earlier waves that keep the new release.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        kept: Vec<TargetId>,
        /// Targets that gave no answer and are still to be taken back.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        owed: Vec<TargetId>,
    },
}
