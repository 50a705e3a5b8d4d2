//! `deployctl abort ENV`: a run that goes on elsewhere takes everything back, now. Where its process is gone, this one does it.

use super::rollback;
use crate::cli::CliError;
use crate::cli::args::{AbortArgs, ConsentArgs};
use crate::cli::console::Terminal;
use crate::cli::session::{Session, actor, choose_targets};
use crate::cli::{asking, flow, wiring};
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit};
use crate::domain::intent::Wish;
use crate::run::intents::{self, Live};
use crate::run::journal::Phase;
use crate::run::{World, unfinished};

pub fn run(session: &Session, args: &AbortArgs) -> Result<Exit, CliError> {
    let mut env = session.whole(&args.ask.env)?;
    choose_targets(&mut env, &args.ask.targets)?;
    flow::block_on(async {
        let world = wiring::with_silent(&env).await?;
        let live = match intents::live(&world, &env.name).await {
            Ok(live) => live,
            // Nobody works on it any more: whoever waits for the end means that it is to be taken back.
            Err(failure) if failure.code == Code(624) && !args.no_wait => {
                session.note(&format!("{}\n", failure.what));
                return take_back(session, &env, &world, args).await;
            }
            Err(failure) => return Err(failure.into()),
        };
        if !ask(session, &world, &live, args).await? {
            session.note(&format!("run {} is not going on: its process is gone\n", live.plan.run));
            return take_back(session, &env, &world, args).await;
        }
        if args.no_wait {
            return Ok(Exit::Done);
        }
        asking::outcome(session, &world, &live).await
    })
}

/// Lets the run turn back; false if its process is gone.
async fn ask(session: &Session, world: &World, live: &Live, args: &AbortArgs) -> Result<bool, CliError> {
    if let Phase::Aborting { cause, .. } = &live.replayed.phase {
        session.note(&format!("run {} is on its way back already: {cause}\n", live.plan.run));
        return Ok(args.no_wait
            || !asking::is_gone(session, world, live).await
            || is_over(world, live).await?);
    }
    let wish = Wish::Abort { superseded_by: None };
    let intent = asking::ask(session, world, live, wish, args.ask.reason.as_deref()).await?;
    let effect = format!("takes {} back", live.plan.version);
    if args.no_wait {
        asking::heard(session, world, live, &intent, &effect).await?;
        return Ok(true);
    }
    asking::heard_or_gone(session, world, live, &intent, &effect).await
}

/// Whether the run came to its end while its lock was watched.
async fn is_over(world: &World, live: &Live) -> Result<bool, CliError> {
    let run = unfinished::latest(world).await?;
    Ok(run.is_none_or(|run| run.plan.run != live.plan.run || !run.is_unfinished()))
}

async fn take_back(
    session: &Session,
    env: &Environment,
    world: &World,
    args: &AbortArgs,
) -> Result<Exit, CliError> {
    let cause = format!("aborted by {}", actor());
    let cause = args.ask.reason.as_ref().map_or_else(|| cause.clone(), |reason| format!("{cause}: {reason}"));
    // Nothing is asked: to abort is to consent.
    let console = Terminal { session, consent: &ConsentArgs::default() };
    rollback::in_its_place(&console, env, world, cause).await
}
