//! Making way for a newer release: the run that goes on takes everything back first, in its own safe order.

use super::CliError;
use super::args::ConsentArgs;
use super::asking;
use super::consent;
use super::session::{Session, Wanted};
use crate::domain::error::{Code, Failure};
use crate::domain::intent::Wish;
use crate::run::intents::{self, End, Live};
use crate::run::journal::Phase;
use crate::run::{World, lease};
use std::time::Duration;

/// How long a run may be neither to be found nor over: it has its lock and stores its plan, or gives its lock back.
const BETWEEN: Duration = Duration::from_secs(30);

/// Ends a run that goes on, and waits until its lock is released; nothing if none goes on.
pub(super) async fn make_way(
    session: &Session,
    world: &World,
    wanted: &Wanted,
    consent: &ConsentArgs,
) -> Result<(), CliError> {
    let began = tokio::time::Instant::now();
    loop {
        match intents::live(world, &wanted.env.name).await {
            Ok(live) => return end(session, world, wanted, &live, consent).await,
            Err(failure) if !matches!(failure.code, Code(623 | 624)) => return Err(failure.into()),
            Err(_) if lease::busy(world).await.is_none() => return Ok(()),
            Err(_) if began.elapsed() > BETWEEN => return Ok(()),
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

async fn end(
    session: &Session,
    world: &World,
    wanted: &Wanted,
    live: &Live,
    consent: &ConsentArgs,
) -> Result<(), CliError> {
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
        asking::ask(session, world, live, wish, consent.reason.as_deref()).await?;
        session.note(&format!(
            "run {} ({}) of {who} is told that {version} supersedes it\n",
            plan.run, plan.version
        ));
    }
    match intents::ended(world, live).await {
        End::Ended(outcome) => {
            session.note(&format!("run {} is over ({outcome}); {version} is planned anew\n", plan.run));
            Ok(())
        }
        End::Owed(targets) => Err(asking::owed(live, &targets).into()),
        End::Left => Err(left(live).into()),
    }
}

fn left(live: &Live) -> Failure {
    let (run, env) = (&live.plan.run, &live.plan.environment);
    Failure::new(Code(628), crate::domain::error::Exit::Broken, format!("run {run} was not taken back whole"))
        .why("its process ended, and its journal does not say that all is as it was; nothing new was begun")
        .next(format!("deployctl status {env}"))
        .next(format!("deployctl rollback {env}"))
}
