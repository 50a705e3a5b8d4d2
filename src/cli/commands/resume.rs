//! `deployctl resume ENV`: goes on with a run that stopped in the middle, from any machine.

use crate::cli::CliError;
use crate::cli::args::ResumeArgs;
use crate::cli::console::{Console, Terminal};
use crate::cli::flow::Way;
use crate::cli::session::Session;
use crate::cli::{absent, asking, flow, paying, wiring};
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::intent::Wish;
use crate::run::intents::Live;
use crate::run::journal::Phase;
use crate::run::lease::Patience;
use crate::run::tampered;
use crate::run::{World, prepare, unfinished};

pub fn run(session: &Session, args: &ResumeArgs) -> Result<Exit, CliError> {
    let env = session.place(&args.place)?;
    flow::block_on(async {
        let world = wiring::with_silent(&env).await?;
        go(&Terminal { session, consent: &args.consent }, &env, &world).await
    })
}

/// The command, wherever it is given.
pub(in crate::cli) async fn go(
    console: &impl Console,
    env: &Environment,
    world: &World,
) -> Result<Exit, CliError> {
    if let Ok(live) = asking::after_guard(console.session(), world, &env.name).await
        && let Some(exit) = go_on_there(console, world, &live).await?
    {
        return Ok(exit);
    }
    let silent = prepare::silent(world).await?;
    let here = world.but(silent.keys());
    let Some(run) = unfinished::latest(&here).await?.filter(unfinished::Run::is_unfinished) else {
        return match paying::pay(console, env, &here).await? {
            Some(exit) => Ok(exit),
            None => Err(nothing(&env.name).into()),
        };
    };
    let back = run.replayed.phase.cause().map(str::to_owned);
    let mut silent_here = absent::of_run(&run, &silent);
    if back.is_some() || run.plan.rollback_of.is_some() {
        let beyond = run.plan.targets.keys().filter(|target| !world.sites.contains_key(*target));
        silent_here.extend(beyond.map(|target| (target.clone(), "left out by --target".to_owned())));
    }
    if let (false, Some(target)) = (run.bars(&here), run.owed().first()) {
        let which = if back.is_some() { "from" } else { "to" };
        let owed = format!("the way back {which} {}", run.plan.version);
        return Err(paying::still_silent(env, target, &owed).into());
    }
    // An older release is brought back wherever that can be.
    if let (None, None, Some(target)) = (&back, run.plan.rollback_of, silent_here.keys().next()) {
        return Err(not_forward(&silent[target], &env.name).into());
    }
    // A way back puts everything back as it was, whoever changed it.
    let tampered = if back.is_some() { Vec::new() } else { tampered::look(&here, &run).await? };
    let what = match (&back, tampered.len()) {
        (Some(_), _) => "Finish taking back",
        (None, 0) if run.plan.rollback_of.is_some() => "Go on bringing back",
        (None, 0) => "Go on deploying",
        (None, _) => "Put that back as the run left it, and go on deploying",
    };
    flow::tell_tampered(console.session(), &tampered);
    console.ask(&format!("{what} {} on {}?", run.plan.version, env.name))?;
    let patience = flow::patience(console.consent().wait.as_deref(), Patience::UntilLapsed)?;
    let way = Way { back, silent: silent_here, tampered };
    Ok(flow::exit_of(&console.go_on(&here, &run, patience, way).await?))
}

fn nothing(env: &str) -> Failure {
    Failure::new(
        Code(614),
        Exit::Usage,
        format!("{env} has no unfinished run, and no target is owed anything"),
    )
    .next(format!("deployctl status {env}"))
}

/// Forward a run goes in all its targets or not at all; back it goes wherever it can.
fn not_forward(silent: &Failure, env: &str) -> Failure {
    silent
        .clone()
        .why("a run goes forward only where all its targets answer")
        .next(format!("deployctl rollback {env}, which takes back what can be reached"))
}

/// A run that somebody works on: paused, it goes on; else there is nothing to resume. Nothing is returned once its process
/// is known to be gone.
async fn go_on_there(console: &impl Console, world: &World, live: &Live) -> Result<Option<Exit>, CliError> {
    let session = console.session();
    let goes_back = matches!(live.replayed.phase, Phase::Aborting { .. });
    let Some(pause) = live.orders().pause.filter(|_| !goes_back) else {
        if asking::is_gone(session, world, live).await {
            return Ok(None);
        }
        asking::still_forward(live)?;
        return Err(Failure::new(Code(612), Exit::Locked, format!("run {} is going on", live.plan.run))
            .why(format!("{} runs it, and nobody paused it", live.holder.by))
            .next(format!("deployctl status {} --watch", live.plan.environment))
            .into());
    };
    let intent = asking::ask(session, world, live, Wish::Resume, console.consent().reason.as_deref()).await?;
    let effect = format!("goes on, it was paused by {}", pause.who());
    let heard = asking::heard_or_gone(session, world, live, &intent, &effect).await?;
    Ok(heard.then_some(Exit::Done))
}
