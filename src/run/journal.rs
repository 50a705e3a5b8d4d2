//! The journal: records that are created before and after acting, never rewritten, one sequence per target.
//!
//! Names sort in the order of writing: `RUN.EPOCH.SEQ`. The epoch is the number of the process that works on the run;
//! a record that exists already means that another process took the run over.

use super::contact::Tries;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::guard::Guarded;
use crate::domain::ids::{RunId, StepId, TargetId};
use crate::domain::intent::Intent;
use crate::domain::release::FORMAT;
use crate::domain::step::{Status, Transition, next};
use crate::ports::Clock;
use crate::ports::state::{Record, RecordKind, StateError, StateStore};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// Version of the deployctl that wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub writer: String,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Something happened to steps of this target.
    Steps {
        /// Which.
        steps: Vec<StepId>,
        /// What.
        event: Transition,
        /// More, e.g. the cause of a failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// The run as a whole entered a phase.
    Phase(Phase),
    /// An operator asked something of the run from elsewhere.
    Asked(Intent),
    /// The run goes out though the environment is frozen: why, and what stands against it.
    Overridden(String),
    /// A guard puts traffic on stable, or has done so.
    Guarded(Guarded),
    /// The records before this one do not count any more, since some of them are damaged: whoever goes on takes the steps
    /// to stand so.
    Restated(Restated),
}

/// Where the steps of one target are taken to stand after a damaged record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restated {
    /// Names of the damaged records.
    pub damaged: Vec<String>,
    /// Those of which something is, or may be, done.
    pub status: BTreeMap<StepId, Status>,
}

/// Where a run stands. Later variants beat earlier ones when targets disagree: abort beats advance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Going forward (first, or again after a resume).
    Forward,
    /// Stopped with traffic on stable.
    Interrupted,
    /// Going back.
    Aborting {
        /// Why.
        cause: String,
        /// Targets of earlier waves that keep the new release.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept: Vec<TargetId>,
        /// Targets that gave no answer when all others were back: `resume` takes them back once they answer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        owed: Vec<TargetId>,
    },
    /// Over.
    Ended {
        /// `deployed`, `rolled-back`, `broken`.
        outcome: String,
        /// Targets that gave no answer when an older release was back on all others: `resume` brings it back there, too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        owed: Vec<TargetId>,
    },
}

impl Phase {
    /// Over everywhere.
    #[must_use]
    pub fn ended(outcome: &str) -> Self {
        Self::Ended { outcome: outcome.to_owned(), owed: Vec::new() }
    }

    /// Why it goes back, if it does: whoever goes on with it goes on with that.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::Aborting { cause, .. } => Some(cause),
            Self::Forward | Self::Interrupted | Self::Ended { .. } => None,
        }
    }

    /// What two targets know, together: the furthest that either knows of, and an end counts only when nobody is still
    /// aborting. Of two aborts that one holds which takes more back. In any order, however often, it comes to the same.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let rank = |phase: &Self| match phase {
            Self::Forward => 1,
            Self::Interrupted => 2,
            Self::Ended { .. } => 3,
            Self::Aborting { .. } => 4,
        };
        match (self, other) {
            (
                Self::Aborting { cause: one, kept, owed },
                Self::Aborting { cause: two, kept: too, owed: more },
            ) => {
                let kept = kept.into_iter().filter(|target| too.contains(target)).collect();
                let owed: BTreeSet<TargetId> = owed.into_iter().chain(more).collect();
                Self::Aborting { cause: one.min(two), kept, owed: owed.into_iter().collect() }
            }
            (Self::Ended { outcome: one, owed }, Self::Ended { outcome: two, owed: more }) => {
                let owed: BTreeSet<TargetId> = owed.into_iter().chain(more).collect();
                Self::Ended { outcome: one.max(two), owed: owed.into_iter().collect() }
            }
            (one, two) if rank(&one) >= rank(&two) => one,
            (_, two) => two,
        }
    }
}

/// Writes the journal of one run, as one process (epoch) of it.
pub struct Journal {
    run: RunId,
    epoch: u64,
    stores: BTreeMap<TargetId, (Arc<dyn StateStore>, AtomicU64)>,
    clock: Arc<dyn Clock>,
}

impl Journal {
    /// A writer for process number `epoch` of a run.
    pub fn new(
        run: RunId,
        epoch: u64,
        stores: impl IntoIterator<Item = (TargetId, Arc<dyn StateStore>)>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let stores = stores.into_iter().map(|(target, store)| (target, (store, AtomicU64::new(0)))).collect();
        Self { run, epoch, stores, clock }
    }

    /// Number of this process of the run.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Writes one record, durably, before it returns.
    pub async fn write(&self, target: &TargetId, what: What, tries: Tries) -> Result<(), StateError> {
        let Some((store, seq)) = self.stores.get(target) else {
            return Err(StateError::Unreachable { message: format!("{target} is not part of this command") });
        };
        let number = seq.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.{:04}.{number:06}", self.run, self.epoch);
        let writer = env!("CARGO_PKG_VERSION").to_owned();
        let entry = Entry { format: FORMAT, writer, at: self.clock.now(), what };
        let content = serde_json::to_vec(&entry).expect("an entry holds nothing that JSON cannot");
        tries.ask(async || store.create(RecordKind::Journal, &name, &content).await).await
    }

    /// Writes about steps.
    pub async fn steps(
        &self,
        target: &TargetId,
        steps: Vec<StepId>,
        event: Transition,
        detail: Option<String>,
        tries: Tries,
    ) -> Result<(), StateError> {
        if steps.is_empty() {
            return Ok(());
        }
        self.write(target, What::Steps { steps, event, detail }, tries).await
    }

    /// Writes a phase into every target; returns the targets that could not be told.
    pub async fn phase(&self, phase: &Phase, tries: Tries) -> Vec<(TargetId, StateError)> {
        self.phase_on(phase, tries, |_| true).await
    }

    /// Writes a phase into some of the targets: nobody waits for one that is known to give no answer.
    pub(super) async fn phase_on(
        &self,
        phase: &Phase,
        tries: Tries,
        told: impl Fn(&TargetId) -> bool,
    ) -> Vec<(TargetId, StateError)> {
        let writes = self.stores.keys().filter(|target| told(target)).map(|target| async move {
            let written = self.write(target, What::Phase(phase.clone()), tries).await;
            written.err().map(|error| (target.clone(), error))
        });
        futures::future::join_all(writes).await.into_iter().flatten().collect()
    }
}

/// A run's state as its journals tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Where each step stands.
    pub status: BTreeMap<StepId, Status>,
    /// Where the run stands.
    pub phase: Phase,
    /// Highest epoch seen.
    pub epoch: u64,
    /// When the last record was written.
    pub last: Option<Timestamp>,
    /// Causes of failures by step.
    pub causes: BTreeMap<StepId, String>,
    /// What operators asked of it, each wish once.
    pub asked: Vec<Intent>,
    /// What a guard did last, and when, unless the run went on since.
    pub guarded: Option<(Timestamp, Guarded)>,
    /// Damaged records by target, where what they said is made up for by assumptions (see `run::damage`): the process
    /// that goes on puts these on record.
    pub assumed: BTreeMap<TargetId, Vec<String>>,
}

impl Default for Replayed {
    fn default() -> Self {
        Self {
            status: BTreeMap::new(),
            phase: Phase::Forward,
            epoch: 0,
            last: None,
            causes: BTreeMap::new(),
            asked: Vec::new(),
            guarded: None,
            assumed: BTreeMap::new(),
        }
    }
}

/// Reads the journals of all reachable targets into one state.
pub fn replay(run: &RunId, journals: &BTreeMap<TargetId, Vec<Record>>) -> Result<Replayed, Failure> {
    let mut state = Replayed::default();
    let mut phases: Vec<Phase> = Vec::new();
    let mut over_at: BTreeSet<&TargetId> = BTreeSet::new();
    for (target, records) in journals {
        let mut phase = Phase::Forward;
        let mut guarded = None;
        let (records, over) = (since_restated(records), is_over(records));
        for (index, record) in records.iter().enumerate() {
            let entry = match read(record) {
                Ok(entry) => entry,
                // A record that was being written when the process died is the last one, and nothing rests on it.
                // A newer kind of record is never torn: it is refused.
                Err(ReadError::Damaged(_)) if index + 1 == records.len() => break,
                // Nobody goes on with what is over.
                Err(ReadError::Damaged(_)) if over => continue,
                Err(error) => return Err(refused(run, target, record, &error)),
            };
            state.epoch = state.epoch.max(epoch_of(&record.name));
            state.last = state.last.max(Some(entry.at));
            match entry.what {
                What::Phase(next) => {
                    guarded = guarded.filter(|_| next != Phase::Forward);
                    phase = next;
                }
                What::Overridden(_) => {}
                What::Guarded(what) => guarded = Some((entry.at, what)),
                What::Restated(restated) => state.status.extend(restated.status),
                What::Asked(intent) if state.asked.iter().any(|known| known.id == intent.id) => {}
                What::Asked(intent) => state.asked.push(intent),
                What::Steps { steps, event, detail } => {
                    let back = matches!(
                        event,
                        Transition::StartUndo | Transition::FinishUndo | Transition::FailUndo
                    );
                    if back && phase == Phase::Forward {
                        // It turned back, and the record that says why is missing: a person decides how it goes on.
                        phase = Phase::Interrupted;
                    }
                    for step in steps {
                        let status = state.status.get(&step).copied().unwrap_or_default();
                        let status = match next(status, event) {
                            Ok(status) => status,
                            Err(_) if over => event.leads_to(),
                            Err(illegal) => {
                                let error = ReadError::Damaged(format!("{step}: {illegal}"));
                                return Err(refused(run, target, record, &error));
                            }
                        };
                        if let Some(detail) = &detail {
                            state.causes.insert(step.clone(), detail.clone());
                        }
                        state.status.insert(step, status);
                    }
                }
            }
        }
        if matches!(phase, Phase::Ended { .. }) {
            over_at.insert(target);
        }
        phases.push(phase);
        // One that is still at work somewhere is not done.
        let rank = |(at, what): &(Timestamp, Guarded)| (!what.done, *at);
        state.guarded = state.guarded.into_iter().chain(guarded).max_by_key(rank);
    }
    state.phase = phases.into_iter().reduce(Phase::join).unwrap_or(Phase::Forward);
    if let Phase::Ended { owed, .. } = &mut state.phase {
        // What was owed to a target is settled by its own journal, whoever could not be told of it.
        owed.retain(|target| !over_at.contains(target));
    }
    Ok(state)
}

/// The records that count: those from the last one that restates where all stands.
fn since_restated(records: &[Record]) -> &[Record] {
    let restates = |record: &Record| matches!(entry(record), Some(Entry { what: What::Restated(_), .. }));
    &records[records.iter().rposition(restates).unwrap_or(0)..]
}

/// Whether the last word is that the run is over.
fn is_over(records: &[Record]) -> bool {
    let last = records.last().and_then(entry);
    matches!(last, Some(Entry { what: What::Phase(Phase::Ended { .. }), .. }))
}

/// What a record says, if it can be read.
#[must_use]
pub fn entry(record: &Record) -> Option<Entry> {
    read(record).ok()
}

#[derive(Debug)]
pub(super) enum ReadError {
    /// Another version wrote it, and this one cannot read it: which, and what is strange about it.
    Newer {
        writer: String,
        why: String,
    },
    Damaged(String),
}

#[derive(Deserialize)]
struct Head {
    format: u32,
    #[serde(default)]
    writer: String,
}

pub(super) fn read(record: &Record) -> Result<Entry, ReadError> {
    if let Some(damage) = &record.damage {
        return Err(ReadError::Damaged(damage.clone()));
    }
    let damaged = |error: serde_json::Error| ReadError::Damaged(error.to_string());
    let head: Head = serde_json::from_slice(&record.content).map_err(damaged)?;
    if head.format > FORMAT {
        let why = format!("format {}, and this one knows up to {FORMAT}", head.format);
        return Err(ReadError::Newer { writer: head.writer, why });
    }
    serde_json::from_slice(&record.content).map_err(|error| {
        // Whole, and of a kind that is not known here: nothing is damaged.
        let strange = error.is_data() && error.to_string().starts_with("unknown variant");
        if strange {
            ReadError::Newer { writer: head.writer, why: error.to_string() }
        } else {
            damaged(error)
        }
    })
}

fn refused(run: &RunId, target: &TargetId, record: &Record, error: &ReadError) -> Failure {
    match error {
        ReadError::Newer { writer, why } => {
            let writer = if writer.is_empty() { String::new() } else { format!(" ({writer})") };
            Failure::new(
                Code(602),
                Exit::Usage,
                format!("the journal of run {run} was written by a newer deployctl{writer}"),
            )
            .why(format!("{target}: record {}: {why}; this is {}", record.name, env!("CARGO_PKG_VERSION")))
            .next("use the deployctl that wrote it, or a newer one")
        }
        ReadError::Damaged(why) => {
            Failure::new(Code(603), Exit::Broken, format!("the journal of run {run} is damaged"))
                .why(format!("{target}: record {}: {why}", record.name))
                .next("deployctl status ENV, which shows what is live")
                .next("deployctl rollback ENV --despite-damaged-journal")
        }
    }
}

pub(super) fn epoch_of(name: &str) -> u64 {
    name.rsplit('.').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, what: What) -> Record {
        let entry = Entry { format: FORMAT, writer: String::new(), at: Timestamp::UNIX_EPOCH, what };
        Record { name: name.into(), content: serde_json::to_vec(&entry).unwrap(), damage: None }
    }

    fn steps(event: Transition) -> What {
        What::Steps { steps: vec!["a".into()], event, detail: None }
    }

    #[test]
    fn a_torn_last_record_is_passed_over_and_any_other_is_refused() {
        let run = RunId::new("r1");
        let torn = Record { name: "r1.0001.000001".into(), content: b"{\"form".to_vec(), damage: None };
        let good = record("r1.0001.000000", steps(Transition::Start));
        let journals = BTreeMap::from([("east".into(), vec![good.clone(), torn.clone()])]);
        let state = replay(&run, &journals).unwrap();
        assert_eq!(state.status[&"a".into()], Status::Started);
        let journals = BTreeMap::from([("east".into(), vec![torn, good])]);
        assert_eq!(replay(&run, &journals).unwrap_err().code, Code(603));
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let newer = Record {
            name: "r1.0001.000000".into(),
            content: br#"{"format":99,"odd":1}"#.to_vec(),
            damage: None,
        };
        let journals = BTreeMap::from([("east".into(), vec![newer])]);
        assert_eq!(replay(&RunId::new("r1"), &journals).unwrap_err().code, Code(602));
    }

    #[test]
    fn a_kind_of_record_that_is_not_known_is_of_a_newer_version_and_not_damaged() {
        let content = br#"{"format":1,"writer":"9.1.0","at":"2026-01-05T03:00:00Z","what":{"teleported":7}}"#;
        let strange = Record { name: "r1.0001.000000".into(), content: content.to_vec(), damage: None };
        let journals = BTreeMap::from([("east".into(), vec![strange])]);
        let refused = replay(&RunId::new("r1"), &journals).unwrap_err();
        assert_eq!(refused.code, Code(602));
        assert_eq!(refused.what, "the journal of run r1 was written by a newer deployctl (9.1.0)");
    }

    #[test]
    fn abort_beats_advance_when_targets_disagree() {
        let run = RunId::new("r1");
        let abort = Phase::Aborting { cause: "gate".into(), kept: Vec::new(), owed: Vec::new() };
        let journals = BTreeMap::from([
            ("east".into(), vec![record("r1.0001.000000", What::Phase(abort.clone()))]),
            ("west".into(), vec![record("r1.0001.000000", What::Phase(Phase::Forward))]),
        ]);
        assert_eq!(replay(&run, &journals).unwrap().phase, abort);
    }
}
