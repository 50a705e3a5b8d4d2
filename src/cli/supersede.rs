//! Making way for a newer release: the run that goes on takes everything back first, in its own safe order. One whose
//! process is gone is taken back in its place.

use super::CliError;
use super::args::ConsentArgs;
use super::asking;
use super::commands::rollback;
use super::consent;
use super::console::Terminal;
use super::session::{Session, Wanted, actor};
use crate::domain::error::{Code, Exit};
use crate::domain::intent::Wish;
use crate::run::intents::{self, End, Live};
use crate::run::journal::Phase;
use crate::run::{World, lease, unfinished};
use std::time::Duration;

/// How long a run may be neither to be found nor over: it has its lock and stores its plan, or gives its lock back.
const BETWEEN: Duration = Duration::from_secs(30);

/// Ends a run that goes on or stopped in the middle, and waits until its lock is released; nothing if there is none. An
/// exit code if it could not be taken back whole.
pub(super) async fn make_way(
    session: &Session,
    world: &World,
    wanted: &Wanted,
    consent: &ConsentArgs,
) -> Result<Option<Exit>, CliError> {
    let began = tokio::time::Instant::now();
    loop {
        match intents::live(world, &wanted.env.name).await {
            Ok(live) => return end(session, world, wanted, &live, consent).await,
            Err(failure) if !matches!(failure.code, Code(623 | 624)) => return Err(failure.into()),
            Err(_) if lease::busy(world).await.is_none() || began.elapsed() > BETWEEN => break,
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
    match unfinished::latest(world).await?.filter(|run| run.bars(world)) {
        Some(run) => {
            let (version, plan) = (&wanted.version, &run.plan);
            let question = format!(
                "Take run {} ({}), which stopped in the middle, back for {version}?",
                plan.run, plan.version
            );
            consent::ask(&question, consent.auto_approve)?;
            in_its_place(session, world, wanted, consent).await
        }
        None => Ok(None),
    }
}

async fn end(
    session: &Session,
    world: &World,
    wanted: &Wanted,
    live: &Live,
    consent: &ConsentArgs,
) -> Result<Option<Exit>, CliError> {
    let (plan, version) = (&live.plan, &wanted.version);
    let who = &live.holder.by;
    if matches!(live.replayed.phase, Phase::Aborting { .. }) {
        session.note(&format!(
            "run {} ({}) of {who} is on its way back; waiting for it\n",
            plan.run, plan.version
        ));
    } else {
        let question =
            format!("Let run {} ({}) of {who} be taken back for {version}?", plan.run, plan.version);
        consent::ask(&question, consent.auto_approve)?;
        let wish = Wish::Abort { superseded_by: Some(version.clone()) };
        let intent = asking::ask(session, world, live, wish, consent.reason.as_deref()).await?;
        session.note(&format!(
            "run {} ({}) of {who} is told that {version} supersedes it\n",
            plan.run, plan.version
        ));
        let effect = format!("takes {} back for {version}", plan.version);
        if !asking::heard_or_gone(session, world, live, &intent, &effect).await? {
            return in_its_place(session, world, wanted, consent).await;
        }
    }
    match intents::ended(world, live).await {
        End::Ended(outcome) => {
            session.note(&format!("run {} is over ({outcome}); {version} is planned anew\n", plan.run));
            Ok(None)
        }
        End::Owed(targets) => Err(asking::owed(live, &targets).into()),
        End::Left => in_its_place(session, world, wanted, consent).await,
    }
}

/// Takes back a run whose process is gone.
async fn in_its_place(
    session: &Session,
    world: &World,
    wanted: &Wanted,
    consent: &ConsentArgs,
) -> Result<Option<Exit>, CliError> {
    let version = &wanted.version;
    session.note(&format!(
        "nobody works on that run any more: it is taken back here, then {version} is planned\n"
    ));
    let cause = format!("superseded by {version} of {}", actor());
    let console = Terminal { session, consent };
    match rollback::in_its_place(&console, &wanted.env, world, cause).await {
        Ok(Exit::Done) => Ok(None),
        Ok(exit) => Ok(Some(exit)),
        // It lacked its last record only, or somebody else has ended it meanwhile.
        Err(CliError::Failure(failure)) if matches!(failure.code, Code(623 | 627)) => Ok(None),
        Err(error) => Err(error),
    }
}
