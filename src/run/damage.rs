//! A journal with a damaged record that is not its last one: what is certain all the same, and the way out.
//!
//! What the record said is not known, so what followed it cannot be told. For going forward that is too little. For a way
//! back it is enough to know what *may* have been begun: every step's way back is safe where nothing, or half of it, was
//! done. So everything counts as begun that the run can have come to, and all of it is taken back.

use super::journal::{self, Entry, Phase, ReadError, Replayed, What, epoch_of};
use super::world::World;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{StepId, TargetId};
use crate::domain::step::{Stage, Status};
use crate::plan::Plan;
use crate::ports::state::{Record, RecordKind};
use std::collections::BTreeMap;

/// Records by target.
pub(super) type Journals = BTreeMap<TargetId, Vec<Record>>;

/// Reads journals; of one that is damaged it is told where, what is certain, and what can be done.
pub(super) fn replay(world: &World, plan: &Plan, journals: &Journals) -> Result<Replayed, Failure> {
    journal::replay(&plan.run, journals)
        .map_err(|failure| if failure.code == Code(603) { explained(world, plan, journals) } else { failure })
}

fn explained(world: &World, plan: &Plan, journals: &Journals) -> Failure {
    let env = &plan.environment;
    let what = format!("the journal of run {} ({} as {}) is damaged", plan.run, plan.version, plan.revision);
    let mut failure = Failure::new(Code(603), Exit::Broken, what);
    let mut looks = Vec::new();
    for (target, records) in journals {
        let own = BTreeMap::from([(target.clone(), records.clone())]);
        let Err(refused) = journal::replay(&plan.run, &own) else { continue };
        let good =
            records.iter().take_while(|record| !refused.why[0].contains(&record.name)).collect::<Vec<_>>();
        let Some(bad) = records.get(good.len()) else { continue };
        let place = world.sites.get(target).map(|site| site.state.place(RecordKind::Journal, &bad.name));
        let place = place.unwrap_or_default();
        failure = failure.why(format!("{} ({place})", refused.why[0]));
        failure = failure.why(certain(plan, target, &good));
        let context = plan.targets.get(target).and_then(|target| target.context.as_deref());
        let context = context.map_or_else(String::new, |context| format!(" --context {context}"));
        looks.push(format!("kubectl{context} get {place} -o yaml"));
    }
    let failure = failure
        .why("what came after it is not certain, so nobody can go on from here: the run can only be taken back")
        .next(format!("deployctl status {env}, which shows what is live"))
        .next(format!(
            "deployctl rollback {env} --despite-damaged-journal, which takes back all that {} may have begun, traffic first",
            plan.version
        ))
        .next(format!("deployctl rollback {env} --despite-damaged-journal --to REVISION, for an older release after that"));
    looks.into_iter().fold(failure, Failure::next)
}

/// `east: certain until 03:12:05Z: 12 of 30 steps done, in flight: hold 20 % for 1m`.
fn certain(plan: &Plan, target: &TargetId, good: &[&Record]) -> String {
    let own = BTreeMap::from([(target.clone(), good.iter().map(|record| (*record).clone()).collect())]);
    let known = journal::replay(&plan.run, &own).unwrap_or_default();
    let steps = || plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| step.target == *target);
    let with = |wanted: Status| {
        let status = |id: &StepId| known.status.get(id).copied().unwrap_or_default();
        steps().filter(|step| status(&step.id) == wanted).collect::<Vec<_>>()
    };
    let (done, flight) = (with(Status::Done), with(Status::Started));
    let at = known.last.map_or_else(|| "the beginning".to_owned(), |at| at.strftime("%H:%M:%SZ").to_string());
    let titles: Vec<&str> = flight.iter().map(|step| step.title.as_str()).collect();
    let flight = if titles.is_empty() {
        "nothing in flight".to_owned()
    } else {
        format!("in flight: {}", titles.join(", "))
    };
    format!("{target}: certain until {at}: {} of {} steps done, {flight}", done.len(), steps().count())
}

/// The run as it is taken to stand for a way back: what cannot be known counts as begun.
///
/// # Errors
/// A newer deployctl wrote records: they are not damaged.
pub(super) fn assume(plan: &Plan, journals: &Journals) -> Result<Replayed, Failure> {
    if let Ok(replayed) = journal::replay(&plan.run, journals) {
        return Ok(replayed);
    }
    let mut state = Replayed::default();
    let mut phases = Vec::new();
    for (target, records) in journals {
        let own = BTreeMap::from([(target.clone(), records.clone())]);
        match journal::replay(&plan.run, &own) {
            Ok(known) => {
                phases.push(known.phase);
                state.status.extend(known.status);
            }
            Err(failure) if failure.code == Code(603) => {
                let mut phase = Phase::Forward;
                for entry in records.iter().filter_map(journal::entry) {
                    gather(&mut state, &mut phase, entry);
                }
                phases.push(phase);
                state.assumed.insert(target.clone(), damaged(records));
            }
            Err(failure) => return Err(failure),
        }
        let epochs = records.iter().map(|record| epoch_of(&record.name));
        state.epoch = epochs.chain([state.epoch]).max().unwrap_or_default();
    }
    state.phase = phases.into_iter().reduce(Phase::join).unwrap_or(Phase::Forward);
    let begun = |stage: &Stage| stage.steps.iter().any(|step| state.status.contains_key(&step.id));
    // A record may be lost that began the stage after the last one that is known.
    let reach = plan.stages.iter().rposition(begun).map_or(1, |last| last + 2);
    for step in plan.stages.iter().take(reach).flat_map(|stage| &stage.steps) {
        if state.assumed.contains_key(&step.target) && state.status.get(&step.id) != Some(&Status::Done) {
            state.status.insert(step.id.clone(), Status::Started);
        }
    }
    Ok(state)
}

fn gather(state: &mut Replayed, phase: &mut Phase, entry: Entry) {
    state.last = state.last.max(Some(entry.at));
    match entry.what {
        What::Phase(next) => *phase = next,
        What::Steps { steps, event, detail } => {
            for step in steps {
                if let Some(detail) = &detail {
                    state.causes.insert(step.clone(), detail.clone());
                }
                state.status.insert(step, event.leads_to());
            }
        }
        What::Restated(restated) => state.status.extend(restated.status),
        What::Asked(_) | What::Overridden(_) | What::Guarded(_) => {}
    }
}

/// Names of the records that cannot be read; of a journal whose every record can be, nothing.
fn damaged(records: &[Record]) -> Vec<String> {
    let is_damaged = |record: &&Record| matches!(journal::read(record), Err(ReadError::Damaged(_)));
    records.iter().filter(is_damaged).map(|record| record.name.clone()).collect()
}
