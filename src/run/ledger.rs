//! What gates looked at, written down while a run goes on: for `metrics ENV --replay REV`, and so that a resume goes on
//! with the same tests.
//!
//! One record per run and target, written anew as a whole (and the one before deleted): every `SAVE_EVERY` while a hold
//! lasts (`BETWEEN_MEASURED` later where no test goes on), at its end, and after the traffic is back where a run fails.
//! Nothing ever waits for it on the way back.

use super::engine::Engine;
use super::world::World;
use crate::domain::event::Kind;
use crate::domain::evidence::{Compared, Counted, Evidence, Looked, Measured, Side, Taken};
use crate::domain::gate::Gate;
use crate::domain::ids::{ComponentId, Revision, RunId, StepId, TargetId};
use crate::domain::release::{FORMAT, format_of};
use crate::plan::Plan;
use crate::ports::state::{RecordKind, StateError, StateStore};
use crate::rollout::gate::Measured as Answer;
use crate::rollout::sequential::{Analysis, Block, Counts};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Longest time between two records while a hold lasts: what a resume has to judge a second time at most.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// How much longer where gates have limits alone: no resume needs what they measured, only a replay does, and a record that
/// grows with the run is a burden to the server.
pub(super) const BETWEEN_MEASURED: Duration = Duration::from_mins(2);
/// Longest wait for a record to be written or read, where the run waits at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Largest record, bytes before the store compresses it: one Secret holds it in any case.
const LARGEST: usize = 900 * 1024;
/// Largest state of a test that is kept, bytes.
const LARGEST_STATE: usize = 200 * 1024;

/// The tests and measurements of a run so far.
#[derive(Debug)]
pub(super) struct Ledger {
    run: RunId,
    revision: Revision,
    version: String,
    epoch: u64,
    sheets: Mutex<BTreeMap<TargetId, Sheet>>,
    /// One record at a time.
    writing: tokio::sync::Mutex<()>,
}

/// One target's.
#[derive(Debug, Default)]
struct Sheet {
    tests: Vec<Test>,
    measured: Vec<Measured>,
    thinned: u32,
    /// Records that the next one replaces.
    replaced: Vec<String>,
    /// Number of the next record.
    next: u32,
    /// How often anything came, and how much of it is on record.
    changes: u64,
    on_record: u64,
    /// When the last record was begun.
    saved: Option<Instant>,
}

#[derive(Debug)]
struct Test {
    kept: Compared,
    /// As it stands now; `None` of an earlier process that was not gone on with.
    now: Option<Analysis>,
}

/// A test of an earlier process of this run.
pub(super) struct Earlier {
    pub kept: Compared,
    /// The test as it stood; `None` if its state cannot be read.
    pub analysis: Option<Analysis>,
}

impl Ledger {
    pub fn new(plan: &Plan, epoch: u64) -> Self {
        Self {
            run: plan.run.clone(),
            revision: plan.revision,
            version: plan.version.clone(),
            epoch,
            sheets: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    fn with<T>(&self, target: &TargetId, work: impl FnOnce(&mut Sheet) -> T) -> T {
        let mut sheets = self.sheets.lock().expect("no panic while held");
        work(sheets.entry(target.clone()).or_default())
    }

    /// Number of this process of the run.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Writes down what a comparison saw. `head` is the test without its blocks.
    pub fn looked(&self, target: &TargetId, head: Compared, blocks: Vec<Looked>, now: &Analysis) {
        self.with(target, |sheet| {
            sheet.changes += 1;
            let known = sheet.tests.iter().position(|test| same_test(&test.kept, &head));
            let index = known.unwrap_or_else(|| {
                sheet.tests.push(Test { kept: head.clone(), now: None });
                sheet.tests.len() - 1
            });
            let test = &mut sheet.tests[index];
            let seen = std::mem::take(&mut test.kept.blocks);
            test.kept = head;
            test.kept.blocks = seen;
            test.kept.blocks.extend(blocks);
            test.now = Some(now.clone());
        });
    }

    /// Writes down one measurement.
    pub fn measured(&self, target: &TargetId, gate: &Gate, component: &ComponentId, taken: Taken) {
        self.with(target, |sheet| {
            sheet.changes += 1;
            let known = sheet
                .measured
                .iter()
                .position(|known| known.gate.name == gate.name && known.component == *component);
            let index = known.unwrap_or_else(|| {
                let (gate, component) = (gate.clone(), component.clone());
                sheet.measured.push(Measured { gate, component, readings: Vec::new() });
                sheet.measured.len() - 1
            });
            sheet.measured[index].readings.push(taken);
        });
    }

    /// The newest test of an earlier process of this gate and component.
    pub fn earlier(&self, target: &TargetId, gate: &Gate, component: &ComponentId) -> Option<Earlier> {
        self.with(target, |sheet| {
            let same = |test: &&Test| test.kept.gate.name == gate.name && test.kept.component == *component;
            let test = sheet.tests.iter().rev().find(same)?;
            let kept = Compared { blocks: Vec::new(), state: None, ..test.kept.clone() };
            Some(Earlier { kept, analysis: test.now.clone() })
        })
    }

    /// When it is time for the next record.
    pub fn due(&self, target: &TargetId) -> Instant {
        self.with(target, |sheet| *sheet.saved.get_or_insert_with(Instant::now)) + SAVE_EVERY
    }

    /// Whether a comparison goes on, whose state a resume needs.
    pub fn has_tests(&self, target: &TargetId) -> bool {
        self.with(target, |sheet| !sheet.tests.is_empty())
    }

    /// Writes a record if anything came since the last one. May be dropped: the next record replaces one that was begun.
    pub async fn save(&self, target: &TargetId, store: &dyn StateStore, now: Timestamp) {
        let _one = self.writing.lock().await;
        let Some((evidence, changes, number, replaced)) = self.page(target, now) else { return };
        let (content, evidence) = packed(evidence);
        let name = format!("{}.{:04}.{number:06}", self.run, self.epoch);
        // Before it is there: nobody may come back to say that it is.
        self.with(target, |sheet| sheet.replaced.push(name.clone()));
        // It waits for nobody: what this record misses, the next one has.
        if store.create(RecordKind::Evidence, &name, &content).await.is_err() {
            return;
        }
        self.with(target, |sheet| {
            sheet.on_record = changes;
            sheet.take_thinned(&evidence);
        });
        for old in replaced {
            // One that stays is tried again with the next record.
            if store.delete(RecordKind::Evidence, &old).await.is_ok() {
                self.with(target, |sheet| sheet.replaced.retain(|name| *name != old));
            }
        }
    }

    /// What the next record holds, up to which change, its number, and the records that it replaces.
    fn page(&self, target: &TargetId, now: Timestamp) -> Option<(Evidence, u64, u32, Vec<String>)> {
        self.with(target, |sheet| {
            sheet.saved = Some(Instant::now());
            if !sheet.is_unsaved() {
                return None;
            }
            sheet.next += 1;
            let evidence = Evidence {
                format: FORMAT,
                revision: self.revision,
                version: self.version.clone(),
                run: self.run.clone(),
                target: target.clone(),
                written: now,
                thinned: sheet.thinned,
                compared: sheet.tests.iter().map(Test::written).collect(),
                measured: sheet.measured.clone(),
            };
            Some((evidence, sheet.changes, sheet.next, sheet.replaced.clone()))
        })
    }

    /// Takes up what earlier processes of this run wrote down.
    ///
    /// # Errors
    /// Why it cannot be read.
    async fn recall(&self, target: &TargetId, store: &dyn StateStore) -> Result<(), String> {
        let prefix = format!("{}.", self.run);
        let listed = tokio::time::timeout(PATIENCE, store.list(RecordKind::Evidence, &prefix)).await;
        let records = match listed {
            Ok(records) => records.map_err(|error| error.to_string())?,
            Err(_) => return Err("no answer in time".to_owned()),
        };
        let Some(newest) = records.last() else { return Ok(()) };
        let evidence = read(&newest.content)?;
        self.with(target, |sheet| {
            sheet.replaced = records.iter().map(|record| record.name.clone()).collect();
            sheet.thinned = evidence.thinned;
            sheet.measured = evidence.measured;
            sheet.tests = evidence.compared.into_iter().map(Test::read).collect();
        });
        Ok(())
    }
}

impl Sheet {
    fn is_unsaved(&self) -> bool {
        self.changes > self.on_record
    }

    /// What was merged for the record stays merged; what came meanwhile is kept.
    fn take_thinned(&mut self, written: &Evidence) {
        if written.thinned == self.thinned {
            return;
        }
        self.thinned = written.thinned;
        for test in &mut self.tests {
            let Some(thin) = written.compared.iter().find(|one| same_test(one, &test.kept)) else { continue };
            let last = thin.blocks.last().map_or(f64::NEG_INFINITY, |block| block.at);
            let newer = test.kept.blocks.drain(..).filter(|block| block.at > last);
            test.kept.blocks = thin.blocks.iter().cloned().chain(newer.collect::<Vec<_>>()).collect();
        }
        for measured in &mut self.measured {
            let same =
                |one: &&Measured| one.gate.name == measured.gate.name && one.component == measured.component;
            let Some(thin) = written.measured.iter().find(same) else { continue };
            let last = thin.readings.last().map_or(f64::NEG_INFINITY, |taken| taken.at);
            let newer: Vec<Taken> = measured.readings.drain(..).filter(|taken| taken.at > last).collect();
            measured.readings = thin.readings.iter().cloned().chain(newer).collect();
        }
    }
}

impl Test {
    fn written(&self) -> Compared {
        let state = self.now.as_ref().and_then(|now| serde_json::to_value(now).ok());
        let state = state.filter(|state| state.to_string().len() <= LARGEST_STATE);
        Compared { state, ..self.kept.clone() }
    }

    fn read(mut kept: Compared) -> Self {
        let state = kept.state.take().and_then(|state| serde_json::from_value::<Analysis>(state).ok());
        Self { kept, now: state.filter(Analysis::is_sound) }
    }
}

fn same_test(one: &Compared, other: &Compared) -> bool {
    one.gate.name == other.gate.name && one.component == other.component && one.process == other.process
}

/// As bytes, made small enough, and what was written.
fn packed(mut evidence: Evidence) -> (Vec<u8>, Evidence) {
    /// Halves of halves: after so many there is next to nothing left.
    const ROUNDS: usize = 64;
    for _ in 0..ROUNDS {
        let content = serde_json::to_vec(&evidence).expect("evidence holds nothing that JSON cannot");
        if content.len() <= LARGEST {
            return (content, evidence);
        }
        evidence.thin();
    }
    // Only names and states are left of it then.
    evidence.compared.iter_mut().for_each(|compared| compared.state = None);
    (serde_json::to_vec(&evidence).expect("evidence holds nothing that JSON cannot"), evidence)
}

fn read(content: &[u8]) -> Result<Evidence, String> {
    let damaged = |error: serde_json::Error| format!("it is damaged: {error}");
    let format = format_of(content).map_err(damaged)?;
    if format > FORMAT {
        return Err(format!("a newer deployctl wrote it (format {format}, known up to {FORMAT})"));
    }
    serde_json::from_slice(content).map_err(damaged)
}

/// What the gates of a release's last run looked at, on one target; `None` if nothing is on record.
///
/// # Errors
/// Why what is on record cannot be read.
pub async fn recorded(store: &dyn StateStore, revision: Revision) -> Result<Option<Evidence>, String> {
    let prefix = format!("{}-", prefix_of(revision));
    let records = store.list(RecordKind::Evidence, &prefix).await.map_err(|error| error.to_string())?;
    records.last().map(|record| read(&record.content)).transpose()
}

/// What the names of a release's runs begin with.
fn prefix_of(revision: Revision) -> String {
    format!("r{:06}", revision.0)
}

/// Drops the evidence of releases that are older than the newest kept one and not kept themselves.
pub(super) async fn forget(store: &dyn StateStore, kept: &[Revision]) -> Result<(), StateError> {
    let Some(newest) = kept.iter().max().map(|newest| prefix_of(*newest)) else { return Ok(()) };
    let kept: Vec<String> = kept.iter().map(|revision| prefix_of(*revision)).collect();
    for record in store.list(RecordKind::Evidence, "").await? {
        let of = record.name.split('-').next().unwrap_or_default();
        if of < newest.as_str() && !kept.iter().any(|kept| kept == of) {
            store.delete(RecordKind::Evidence, &record.name).await?;
        }
    }
    Ok(())
}

/// A block as it is kept.
pub(super) fn looked(block: &Block, verdict: &str, ln_e: f64) -> Looked {
    let counted = |counts: &Counts| Counted {
        n: counts.requests,
        err: counts.errors,
        timed: counts.timed,
        slow: counts.slow.clone(),
    };
    Looked {
        at: block.at,
        dt: block.dt,
        weight: block.weight,
        new: counted(&block.canary),
        stable: counted(&block.control),
        verdict: verdict.to_owned(),
        ln_e,
    }
}

/// A kept block as a judge takes it.
#[must_use]
pub fn block(looked: &Looked) -> Block {
    let counts = |counted: &Counted| Counts {
        requests: counted.n,
        errors: counted.err,
        timed: counted.timed,
        slow: counted.slow.clone(),
    };
    let (canary, control) = (counts(&looked.new), counts(&looked.stable));
    Block { at: looked.at, dt: looked.dt, weight: looked.weight, canary, control }
}

/// A measurement as it is kept.
pub(super) fn taken(
    (at, hold): (f64, &StepId),
    new: &Answer,
    stable: Option<&Answer>,
    verdict: &str,
    ended: bool,
) -> Taken {
    let side = |answer: &Answer| match answer {
        Ok(reading) => {
            // JSON has no infinity: the largest number breaches the same limits.
            let sound = |value: Option<f64>| {
                value.filter(|value| !value.is_nan()).map(|value| value.clamp(f64::MIN, f64::MAX))
            };
            Side { value: sound(reading.value), requests: sound(reading.requests), down: false }
        }
        Err(_) => Side { value: None, requests: None, down: true },
    };
    let (new, stable) = (side(new), stable.map(side));
    Taken { at, hold: hold.clone(), new, stable, verdict: verdict.to_owned(), ended }
}

impl Engine<'_> {
    /// Takes up the tests of earlier processes of this run. Without them the comparisons begin anew, with a smaller share
    /// of the bound, and that is told.
    pub(super) async fn recall_tests(&self) {
        for (target, store) in self.stores() {
            if let Err(why) = self.comparisons.ledger.recall(target, store.as_ref()).await {
                let message = format!(
                    "what the gates saw before the run stopped cannot be read: {why}; comparisons begin anew with a \
                     smaller share of the bound"
                );
                self.teller().tell(Kind::Alert {
                    severity: "warning",
                    target: Some(target.clone()),
                    message,
                });
            }
        }
    }

    /// Writes down what is not on record yet; called when the traffic is where it should be.
    pub(super) async fn save_evidence(&self) {
        let ledger = &self.comparisons.ledger;
        let now = self.world.clock.now();
        let saves = self.stores().into_iter().map(|(target, store)| async move {
            let _ = tokio::time::timeout(PATIENCE, ledger.save(target, store.as_ref(), now)).await;
        });
        futures::future::join_all(saves).await;
    }

    fn stores(&self) -> Vec<(&TargetId, Arc<dyn StateStore>)> {
        stores(self.world, self.plan)
    }
}

fn stores<'p>(world: &World, plan: &'p Plan) -> Vec<(&'p TargetId, Arc<dyn StateStore>)> {
    plan.targets.keys().filter_map(|target| Some((target, world.site(target).ok()?.state.clone()))).collect()
}
