//! Asking something of a run that goes on elsewhere: find it, leave the wish, see that it was heard.

use super::CliError;
use super::args::AskArgs;
use super::session::{Session, actor};
use super::{flow, wiring};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::intent::{Intent, Wish};
use crate::ports::state::RecordKind;
use crate::run::World;
use crate::run::intents::{self, End, Live};
use crate::run::journal::{self, Phase};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a run may take to say on record that it heard.
const HEARING: Duration = Duration::from_secs(10);

/// Finds the run that goes on, leaves the wish that fits where it stands, and sees that it was heard. `wish` says what is
/// asked and what comes of it.
pub(super) fn run(
    session: &Session,
    args: &AskArgs,
    wish: impl Fn(&Live) -> Result<(Wish, String), Failure>,
) -> Result<Exit, CliError> {
    let env = session.whole(&args.env)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
        let live = intents::live(&world, &env.name).await?;
        still_forward(&live)?;
        let (wish, effect) = wish(&live)?;
        let intent = ask(session, &world, &live, wish, args.reason.as_deref()).await?;
        heard(session, &world, &live, &intent, &effect).await
    })
}

/// Leaves a wish and says so, with the targets that could not be told.
pub(super) async fn ask(
    session: &Session,
    world: &World,
    live: &Live,
    wish: Wish,
    reason: Option<&str>,
) -> Result<Intent, CliError> {
    let (intent, silent) = intents::ask(world, live, wish, actor(), reason.map(str::to_owned)).await?;
    for (target, why) in live.silent.iter().chain(&silent) {
        session.note(&format!("warning: {target} could not be told: {why}\n"));
    }
    Ok(intent)
}

/// Waits until the run has put on record that it heard; says what comes of it, or that it did not answer in time.
pub(super) async fn heard(
    session: &Session,
    world: &World,
    live: &Live,
    intent: &Intent,
    effect: &str,
) -> Result<Exit, CliError> {
    let in_time = tokio::time::timeout(HEARING, on_record(world, live, intent)).await.is_ok();
    let (run, env) = (&live.plan.run, &live.plan.environment);
    if session.json() {
        let told = json!({"type": "intent", "wish": intent.wish.verb(), "run": run, "environment": env,
            "by": intent.by.to_string(), "reason": intent.reason, "heard": in_time});
        session.print(&format!("{told}\n"));
    } else if in_time {
        session.print(&format!("run {run} of {} ({}): {effect}\n", live.plan.version, live.plan.revision));
    }
    if in_time {
        return Ok(Exit::Done);
    }
    Err(Failure::new(Code(626), Exit::Unknown, format!("run {run} has not answered"))
        .why("the wish is on record; the run reads it as soon as it is in contact with a target again")
        .why(format!("it is run by {}", live.holder.by))
        .next(format!("deployctl status {env} --watch"))
        .into())
}

/// Ends when the journal of any target holds the wish, or the run is over.
async fn on_record(world: &World, live: &Live, intent: &Intent) {
    let prefix = format!("{}.", live.plan.run);
    let sites = world.sites.iter().filter(|(target, _)| live.plan.targets.contains_key(*target));
    let waits = sites.map(|(target, site)| {
        let mut door = site.state.follow(RecordKind::Journal, &prefix);
        Box::pin(async move {
            loop {
                let journals: BTreeMap<TargetId, _> = door
                    .borrow_and_update()
                    .iter()
                    .map(|records| (target.clone(), records.clone()))
                    .collect();
                let replayed = journal::replay(&live.plan.run, &journals).unwrap_or_default();
                let known = replayed.asked.iter().any(|known| known.id == intent.id);
                if known || matches!(replayed.phase, Phase::Ended { .. }) {
                    return;
                }
                if door.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
    });
    let waits: Vec<_> = waits.collect();
    futures::future::select_all(waits).await;
}

/// Waits for the end of a run that was told to abort; being back is what was asked for.
pub(super) async fn outcome(session: &Session, world: &World, live: &Live) -> Result<Exit, CliError> {
    let (run, env) = (&live.plan.run, &live.plan.environment);
    let release = format!("{} ({})", live.plan.version, live.plan.revision);
    let end = intents::ended(world, live).await;
    if session.json() {
        let outcome = match &end {
            End::Ended(outcome) => outcome.as_str(),
            End::Owed(_) => "owed",
            End::Left => "unfinished",
        };
        let told = json!({"type": "abort_finished", "run": run, "environment": env, "outcome": outcome});
        session.print(&format!("{told}\n"));
    }
    match end {
        End::Ended(outcome) if outcome == "rolled-back" => {
            if !session.json() {
                session.print(&format!("run {run}: {release} was taken back, all is as it was\n"));
            }
            Ok(Exit::Done)
        }
        End::Ended(outcome) => Err(Failure::new(
            Code(627),
            Exit::Usage,
            format!("it was too late: run {run} has ended ({outcome})"),
        )
        .next(format!("deployctl rollback {env}"))
        .next(format!("deployctl status {env}"))
        .into()),
        End::Owed(targets) => Err(owed(live, &targets).into()),
        End::Left => Err(Failure::new(
            Code(628),
            Exit::Broken,
            format!("run {run} of {release} was not taken back whole"),
        )
        .why("its process ended, and its journal does not say that all is as it was")
        .next(format!("deployctl status {env}"))
        .next(format!("deployctl rollback {env}"))
        .into()),
    }
}

/// A run went back where it could.
pub(super) fn owed(live: &Live, targets: &[TargetId]) -> Failure {
    let (run, env) = (&live.plan.run, &live.plan.environment);
    let names: Vec<&str> = targets.iter().map(TargetId::as_str).collect();
    let flags: Vec<String> = names.iter().map(|target| format!("--without {target}")).collect();
    let what = format!("run {run} was taken back, but not on {}", names.join(", "));
    Failure::new(Code(652), Exit::Unknown, what)
        .why("no answer came from there, so what serves there is unknown")
        .next(format!("deployctl resume {env}, once it answers"))
        .next(format!("deployctl {env} {}, for a release to the others", flags.join(" ")))
}

/// A run that is on its way back can be asked nothing more.
pub(super) fn still_forward(live: &Live) -> Result<(), Failure> {
    let Phase::Aborting { cause, .. } = &live.replayed.phase else { return Ok(()) };
    Err(Failure::new(Code(629), Exit::Usage, format!("run {} is on its way back", live.plan.run))
        .why(cause.clone())
        .next(format!("deployctl status {} --watch", live.plan.environment)))
}
