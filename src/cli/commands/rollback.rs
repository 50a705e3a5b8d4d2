//! `deployctl rollback ENV`: takes an unfinished run back, or brings an older release back.

mod older;

use super::status::progress;
use crate::cli::CliError;
use crate::cli::args::RollbackArgs;
use crate::cli::console::{Console, Terminal};
use crate::cli::flow::Way;
use crate::cli::session::{Session, actor, revision};
use crate::cli::{absent, asking, flow, wiring};
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{Revision, TargetId};
use crate::run::journal::Phase;
use crate::run::lease::Patience;
use crate::run::{Ending, World, durations, prepare, tampered, unfinished};
use std::collections::BTreeSet;

pub fn run(session: &Session, args: &RollbackArgs) -> Result<Exit, CliError> {
    let mut env = session.whole(&args.place.env)?;
    crate::cli::session::choose_targets(&mut env, &args.place.targets)?;
    let to = args.to.as_deref().map(|text| revision(text, "rollback", "--to ")).transpose()?;
    // A name that is wrong is told before any cluster is asked.
    let out = absent::chosen(&env, &args.without)?;
    flow::block_on(async {
        let world = wiring::with_silent(&env).await?;
        go(&Terminal { session, consent: &args.consent }, env, &world, (to, out), args).await
    })
}

/// The command, wherever it is given: to a release, and without some targets.
pub(in crate::cli) async fn go(
    console: &impl Console,
    env: Environment,
    world: &World,
    (to, mut out): (Option<Revision>, BTreeSet<TargetId>),
    args: &RollbackArgs,
) -> Result<Exit, CliError> {
    let session = console.session();
    let everywhere = world;
    let world = &everywhere.but(&out);
    if !args.dry_run {
        nobody_works_on_it(session, world, &env.name, args).await?;
    }
    absent::somebody_is_left(&env, &out)?;
    let silent = prepare::silent(world).await?;
    let named = std::mem::replace(&mut out, silent.keys().cloned().collect());
    out.extend(named.iter().cloned());
    let world = &world.but(silent.keys());
    if !silent.is_empty() {
        session.note(&format!("no answer: {}; the others are taken back\n", absent::listed(&silent)));
    }
    let run = if args.despite_damaged_journal {
        unfinished::despite_damage(world).await
    } else {
        unfinished::latest(world).await
    };
    let run = run?.filter(unfinished::Run::is_unfinished);
    if let (Some(run), None) = (run.as_ref().filter(|run| !run.bars(world)), to) {
        return Err(older::owed_elsewhere(&env, world, run, &silent).await.into());
    }
    if let Some(run) = run.filter(|run| run.bars(world)) {
        let mut left_out = absent::of_run(&run, &silent);
        for target in run.plan.targets.keys().filter(|target| !world.sites.contains_key(*target)) {
            let flag = if named.contains(target) { "--without" } else { "--target" };
            left_out.entry(target.clone()).or_insert_with(|| format!("left out by {flag}"));
        }
        let brings = run.brings_back();
        if brings.is_some() && to.is_none_or(|to| Some(to) == brings) {
            return finish(console, world, &run, left_out, args).await;
        }
        tell(session, world, &run).await;
        if args.dry_run {
            session.say("dry run: nothing was written");
            return Ok(Exit::Done);
        }
        let verb = if run.serves() { "End the run of" } else { "Take back" };
        let question = format!("{verb} {} on {}?", run.plan.version, run.plan.environment);
        console.ask(&question)?;
        let patience = flow::patience(args.consent.wait.as_deref(), Patience::UntilLapsed)?;
        let cause = args.consent.reason.clone().unwrap_or_else(|| format!("taken back by {}", actor()));
        let (exit, concluded) = take_back(console, world, &run, left_out, patience, cause).await?;
        let served = || run.plan.targets.values().all(|target| to == target.previous);
        if exit != Exit::Done || (!concluded && (to.is_none() || (brings.is_some() && served()))) {
            return Ok(exit);
        }
        if let (None, Some(of)) = (to, run.plan.rollback_of) {
            // What it brought back is what was wanted; nobody asked for what lies before that.
            session.note(&format!(
                "{} serves, as {of} did; its run is ended, and nothing goes further back\n",
                run.plan.version
            ));
            return Ok(exit);
        }
    }
    absent::nothing_is_left_behind(world, &env.name).await?;
    let left_out = older::LeftOut { known: absent::known(everywhere, &named).await, targets: out };
    let exit = older::bring_back(console, world, env, &left_out, to, args).await?;
    // What a silent target serves is not known: `resume` finds out.
    Ok(if exit == Exit::Done && !silent.is_empty() && !args.dry_run { Exit::Unknown } else { exit })
}

/// Refuses at once, with what helps, while somebody works on a run: it would not be taken back, and its locks are not touched.
/// Whoever says `--wait` waits for it.
async fn nobody_works_on_it(
    session: &Session,
    world: &World,
    env: &str,
    args: &RollbackArgs,
) -> Result<(), CliError> {
    let Ok(live) = asking::after_guard(session, world, env).await else { return Ok(()) };
    if args.consent.wait.is_some() || asking::is_gone(session, world, &live).await {
        return Ok(());
    }
    let plan = &live.plan;
    let what = format!("run {} ({}) is going on", plan.run, plan.version);
    let failure = Failure::new(Code(612), Exit::Locked, what)
        .why(format!("{} runs it ({})", live.holder.by, live.holder.reason));
    let watch = format!("deployctl status {env} --watch");
    let abort = |what: &str| format!("deployctl abort {env}  # {what}");
    let failure = match (&live.replayed.phase, plan.rollback_of) {
        (Phase::Aborting { cause, .. }, _) => {
            failure.why(format!("it is on its way back already: {cause}")).next(watch)
        }
        (_, Some(of)) => failure
            .why(format!("it brings {of} back already"))
            .next(watch)
            .next(abort("gives that up: what served before serves again")),
        (_, None) => failure.next(abort("it takes everything back, now")).next(watch),
    };
    Err(failure.into())
}

/// A rollback that stopped in the middle is gone on with: that it is given up has to be said by name.
async fn finish(
    console: &impl Console,
    world: &World,
    run: &unfinished::Run,
    silent: flow::Silent,
    args: &RollbackArgs,
) -> Result<Exit, CliError> {
    let (session, plan) = (console.session(), &run.plan);
    let release = format!("{} ({})", plan.version, plan.rollback_of.unwrap_or(plan.revision));
    session.note(&format!(
        "run {} brings {release} back and stopped in the middle: it is gone on with\n",
        plan.run
    ));
    let left: BTreeSet<Revision> = plan.targets.values().filter_map(|target| target.previous).collect();
    for left in left {
        session
            .note(&format!("  deployctl rollback {} --to {}  # gives that up\n", plan.environment, left.0));
    }
    if args.dry_run {
        session.say("dry run: nothing was written");
        return Ok(Exit::Done);
    }
    let tampered = tampered::look(world, run).await?;
    flow::tell_tampered(session, &tampered);
    console.ask(&format!("Go on bringing {release} back on {}?", plan.environment))?;
    let patience = flow::patience(args.consent.wait.as_deref(), Patience::UntilLapsed)?;
    let way = Way { back: None, silent, tampered };
    match console.go_on(world, run, patience, way).await {
        Err(CliError::Failure(failure))
            if failure.code == Code(614) && outcome(world, run).await.as_deref() == Some("deployed") =>
        {
            session.note(&format!("{release} was brought back by somebody else meanwhile\n"));
            Ok(Exit::Done)
        }
        ending => Ok(flow::exit_of(&ending?)),
    }
}

/// Takes a run back whose process is gone, for somebody who told it to abort.
pub(in crate::cli) async fn in_its_place(
    console: &impl Console,
    env: &Environment,
    world: &World,
    cause: String,
) -> Result<Exit, CliError> {
    let silent = prepare::silent(world).await?;
    let world = world.but(silent.keys());
    let Some(run) = unfinished::latest(&world).await?.filter(unfinished::Run::is_unfinished) else {
        return Err(Failure::new(Code(623), Exit::Usage, format!("no run of {} is going on", env.name))
            .why("the targets that answer know of none that is not over")
            .next(format!("deployctl status {}", env.name))
            .into());
    };
    tell(console.session(), &world, &run).await;
    let left_out = absent::of_run(&run, &silent);
    let patience = Patience::UntilLapsed;
    let (exit, concluded) = take_back(console, &world, &run, left_out, patience, cause).await?;
    if concluded {
        let what = format!("it was too late: run {} has ended (deployed)", run.plan.run);
        return Err(Failure::new(Code(627), Exit::Usage, what)
            .next(format!("deployctl rollback {}", env.name))
            .into());
    }
    Ok(exit)
}

/// How far an unfinished run came, and what taking it back means.
async fn tell(session: &Session, world: &World, run: &unfinished::Run) {
    let plan = &run.plan;
    let how = if run.serves() {
        "serves, and something beside it failed"
    } else {
        "stopped in the middle: it is taken back"
    };
    session.note(&format!("run {} ({}) {how}\n", plan.run, plan.version));
    for (target, damaged) in &run.replayed.assumed {
        session.note(&format!(
            "{target}: damaged: {}; all that the run may have begun counts as begun, and is taken back\n",
            damaged.join(", ")
        ));
    }
    let earlier = durations::of_rollbacks(world).await;
    session.note(&format!("rollback {}\n", progress::way_back(run, &earlier)));
    for line in progress::cannot_be_undone(run) {
        session.note(&format!("cannot be undone: {line}\n"));
    }
}

/// Takes an unfinished run back; says, too, whether it was concluded instead.
async fn take_back(
    console: &impl Console,
    world: &World,
    run: &unfinished::Run,
    silent: flow::Silent,
    patience: Patience,
    cause: String,
) -> Result<(Exit, bool), CliError> {
    let way = Way { back: Some(cause), silent, tampered: Vec::new() };
    let ending = match console.go_on(world, run, patience, way).await {
        Err(CliError::Failure(failure)) if failure.code == Code(614) => {
            return match outcome(world, run).await.as_deref() {
                Some("rolled-back") => {
                    let told = format!("run {} was taken back by somebody else meanwhile\n", run.plan.run);
                    console.session().note(&told);
                    Ok((Exit::Done, false))
                }
                // It went out while it was waited for: what it brought goes back next.
                Some("deployed") => Ok((Exit::Done, true)),
                _ => Err(failure.into()),
            };
        }
        ending => ending?,
    };
    // Being back is what was asked for. A run that lacked only its records is concluded: what it brought goes back next.
    let back = matches!(ending, Ending::RolledBack { .. });
    Ok((if back { Exit::Done } else { flow::exit_of(&ending) }, ending == Ending::Deployed))
}

/// How the run has ended by now, if it has.
async fn outcome(world: &World, run: &unfinished::Run) -> Option<String> {
    let now = unfinished::latest(world).await.ok().flatten().filter(|now| now.plan.run == run.plan.run)?;
    match now.replayed.phase {
        Phase::Ended { outcome, .. } => Some(outcome),
        _ => None,
    }
}
