//! Follows a run that goes on elsewhere until it ends, from its journals: one watch for each target.

use super::CliError;
use super::commands::status::progress;
use super::report::{Facts, Reporter};
use super::session::Session;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::step::Status;
use crate::plan::Plan;
use crate::ports::state::RecordKind;
use crate::run::journal::{self, Phase, Replayed};
use crate::run::story::Story;
use crate::run::{Report, World, intents, unfinished};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often it is asked whether anybody still works on the run.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Shows the run to its end; its exit code is the run's. Nothing if none is going on.
pub(super) async fn follow(session: &Session, world: &World) -> Result<Option<Exit>, CliError> {
    let Some(run) = unfinished::latest(world).await?.filter(unfinished::Run::is_unfinished) else {
        return Ok(None);
    };
    let reporter = Reporter::new(Arc::clone(&session.printer), Facts::of(&run.plan, false));
    let ticking = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            reporter.tick(world.clock.now());
        }
    };
    tokio::select! {
        exit = tell(world, &run, &reporter) => exit.map(Some),
        () = ticking => unreachable!("time does not end"),
    }
}

async fn tell(world: &World, run: &unfinished::Run, report: &dyn Report) -> Result<Exit, CliError> {
    let plan = &run.plan;
    let prefix = format!("{}.", plan.run);
    let sites = world.sites.iter().filter(|(target, _)| plan.targets.contains_key(*target));
    let mut doors: Vec<_> = sites
        .map(|(target, site)| (target.clone(), site.state.follow(RecordKind::Journal, &prefix)))
        .collect();
    let mut story = Story::new(plan);
    let mut told: BTreeSet<(String, String)> = BTreeSet::new();
    loop {
        let mut fresh = Vec::new();
        let mut journals = BTreeMap::new();
        for (target, door) in &mut doors {
            let Some(records) = &*door.borrow_and_update() else { continue };
            for record in records {
                if told.insert((target.to_string(), record.name.clone()))
                    && let Some(entry) = journal::entry(record)
                {
                    fresh.push((entry.at, record.name.clone(), target.clone(), entry));
                }
            }
            journals.insert(target.clone(), records.clone());
        }
        fresh.sort_by(|a, b| (a.0, &a.1, &a.2).cmp(&(b.0, &b.1, &b.2)));
        for (.., entry) in &fresh {
            story.take(entry).iter().for_each(|event| report.event(event));
        }
        if let Some(outcome) = story.outcome() {
            return Ok(exit_of(outcome));
        }
        let changes: Vec<_> = doors.iter_mut().map(|(_, door)| Box::pin(door.changed())).collect();
        let change = futures::future::select_all(changes);
        if tokio::time::timeout(SIGN_OF_LIFE, change).await.is_err()
            && !intents::is_worked_on(world, plan).await
        {
            let replayed = journal::replay(&plan.run, &journals)?;
            return left(world, run, &replayed, &mut story, report);
        }
    }
}

/// Nobody works on the run any more, and its journal has no end: interrupted, or dead.
fn left(
    world: &World,
    run: &unfinished::Run,
    replayed: &Replayed,
    story: &mut Story<'_>,
    report: &dyn Report,
) -> Result<Exit, CliError> {
    let plan = &run.plan;
    let run = &unfinished::Run { plan: plan.clone(), replayed: replayed.clone() };
    let mut tell = |outcome| {
        let told = story.left(world.clock.now(), outcome, run.serves());
        for event in &told {
            report.event(event);
        }
    };
    let failed = replayed.status.values().any(|status| *status == Status::Failed);
    if (run.serves() && failed) || !progress::not_taken_back(run).is_empty() {
        tell("broken");
        return Ok(Exit::Broken);
    }
    if replayed.phase == Phase::Interrupted {
        let moved = plan.targets.keys().filter(|target| !progress::moved(run, target).is_empty());
        let moved: Vec<&str> = moved.map(TargetId::as_str).collect();
        // A rollback that is interrupted moves no traffic.
        if moved.is_empty() || plan.rollback_of.is_some() {
            tell("interrupted");
            return Ok(Exit::Interrupted);
        }
        let what = format!("run {} was interrupted, and its process is gone", plan.run);
        let why = format!("traffic is not known to be on stable on {}", moved.join(", "));
        return Err(gone(plan, what).why(why).into());
    }
    if let Phase::Aborting { owed, .. } = &replayed.phase
        && !owed.is_empty()
    {
        tell("unknown");
        return Ok(Exit::Unknown);
    }
    let what = format!("run {} is not going on: its process is gone", plan.run);
    let why = "its lock has lapsed or was given back, and its journal has no end";
    Err(gone(plan, what).why(why).into())
}

fn gone(plan: &Plan, what: String) -> Failure {
    Failure::new(Code(624), Exit::Unknown, what)
        .next(format!("deployctl resume {}", plan.environment))
        .next(format!("deployctl rollback {}", plan.environment))
}

fn exit_of(outcome: &str) -> Exit {
    match outcome {
        "deployed" => Exit::Done,
        "rolled-back" => Exit::RolledBack,
        "interrupted" => Exit::Interrupted,
        "unknown" => Exit::Unknown,
        _ => Exit::Broken,
    }
}
