//! `deployctl resume ENV`: goes on with a run that stopped in the middle, from any machine.

use crate::cli::CliError;
use crate::cli::args::ResumeArgs;
use crate::cli::session::Session;
use crate::cli::{asking, consent, flow, wiring};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::intent::Wish;
use crate::run::intents::{self, Live};
use crate::run::lease::Patience;
use crate::run::{World, prepare, unfinished};

pub fn run(session: &Session, args: &ResumeArgs) -> Result<Exit, CliError> {
    let env = session.place(&args.place)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
        if let Ok(live) = intents::live(&world, &env.name).await {
            return go_on_there(session, &world, &live, args).await;
        }
        prepare::reach(&world).await?;
        let Some(run) = unfinished::latest(&world).await?.filter(unfinished::Run::is_unfinished) else {
            return Err(Failure::new(Code(614), Exit::Usage, format!("{} has no unfinished run", env.name))
                .next(format!("deployctl status {}", env.name))
                .into());
        };
        let back = run.replayed.phase.cause().map(str::to_owned);
        let what = if back.is_some() { "Finish taking back" } else { "Go on deploying" };
        consent::ask(&format!("{what} {} on {}?", run.plan.version, env.name), args.consent.auto_approve)?;
        let patience = flow::patience(args.consent.wait.as_deref(), Patience::UntilLapsed)?;
        let reporter = flow::reporter(session, &run.plan, false);
        let ending = flow::interruptible(&reporter, &world, async |interrupts| {
            flow::go_on(session, &world, &run, patience, back, &reporter, interrupts).await
        })
        .await?;
        Ok(flow::exit_of(&ending))
    })
}

/// A run that somebody works on: paused, it goes on; else there is nothing to resume.
async fn go_on_there(
    session: &Session,
    world: &World,
    live: &Live,
    args: &ResumeArgs,
) -> Result<Exit, CliError> {
    asking::still_forward(live)?;
    let Some(pause) = live.orders().pause else {
        return Err(Failure::new(Code(612), Exit::Locked, format!("run {} is going on", live.plan.run))
            .why(format!("{} runs it, and nobody paused it", live.holder.by))
            .next(format!("deployctl status {} --watch", live.plan.environment))
            .into());
    };
    let intent = asking::ask(session, world, live, Wish::Resume, args.consent.reason.as_deref()).await?;
    asking::heard(session, world, live, &intent, &format!("goes on, it was paused by {}", pause.who())).await
}
