//! `deployctl rollback ENV`: takes an unfinished run back, or brings an older release back.

use super::status::progress;
use crate::cli::CliError;
use crate::cli::args::RollbackArgs;
use crate::cli::console::{Console, Terminal};
use crate::cli::flow::Way;
use crate::cli::session::{Session, Wanted, actor, revision};
use crate::cli::{absent, asking, flow, report, wiring};
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{Revision, TargetId};
use crate::domain::units::human;
use crate::plan::Plan;
use crate::run::journal::Phase;
use crate::run::lease::Patience;
use crate::run::prepare::{self, Rollback};
use crate::run::{Ending, World, debts, durations, unfinished};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub fn run(session: &Session, args: &RollbackArgs) -> Result<Exit, CliError> {
    let mut env = session.whole(&args.place.env)?;
    crate::cli::session::choose_targets(&mut env, &args.place.targets)?;
    let to = args.to.as_deref().map(|text| revision(text, "rollback", "--to ")).transpose()?;
    // A name that is wrong is told before any cluster is asked.
    let out = absent::chosen(&env, &args.without)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
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
    if !args.dry_run {
        // Whether anybody works on it is told by the locks.
        let _ = asking::after_guard(session, world, &env.name).await;
    }
    let silent = prepare::silent(world).await?;
    let unforeseen = silent.keys().any(|target| !out.contains(target));
    out.extend(silent.keys().cloned());
    absent::somebody_is_left(&env, &out)?;
    let world = world.but(&out);
    if unforeseen {
        session.note(&format!("no answer: {}; the others are taken back\n", absent::listed(&silent)));
    }
    let run = if args.despite_damaged_journal {
        unfinished::despite_damage(&world).await
    } else {
        unfinished::latest(&world).await
    };
    if let Some(run) = run?.filter(|run| run.bars(&world)) {
        let mut left_out = absent::of_run(&run, &silent);
        for target in out.iter().filter(|target| run.plan.targets.contains_key(*target)) {
            left_out.entry(target.clone()).or_insert_with(|| "left out by --without".to_owned());
        }
        tell(session, &world, &run).await;
        if args.dry_run {
            session.say("dry run: nothing was written");
            return Ok(Exit::Done);
        }
        let verb = if run.serves() { "End the run of" } else { "Take back" };
        let question = format!("{verb} {} on {}?", run.plan.version, run.plan.environment);
        console.ask(&question)?;
        let patience = flow::patience(args.consent.wait.as_deref(), Patience::UntilLapsed)?;
        let cause = args.consent.reason.clone().unwrap_or_else(|| format!("taken back by {}", actor()));
        let (exit, concluded) = take_back(console, &world, &run, left_out, patience, cause).await?;
        if exit != Exit::Done || (to.is_none() && !concluded) {
            return Ok(exit);
        }
    }
    absent::nothing_is_left_behind(&world, &env.name).await?;
    let exit = bring_back(console, &world, env, &out, to, args).await?;
    // What a silent target serves is not known: `resume` finds out.
    Ok(if exit == Exit::Done && unforeseen && !args.dry_run { Exit::Unknown } else { exit })
}

/// Takes a run back whose process is gone, for somebody who told it to abort.
pub(super) async fn in_its_place(
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
        Err(CliError::Failure(failure)) if failure.code == Code(614) && is_back(world, run).await => {
            console
                .session()
                .note(&format!("run {} was taken back by somebody else meanwhile\n", run.plan.run));
            return Ok((Exit::Done, false));
        }
        Err(CliError::Failure(failure)) if failure.code == Code(612) => {
            let abort = format!(
                "deployctl abort {}  # if its run goes on: it goes back itself",
                run.plan.environment
            );
            return Err(failure.next(abort).into());
        }
        ending => ending?,
    };
    // Being back is what was asked for. A run that lacked only its records is concluded: what it brought goes back next.
    let back = matches!(ending, Ending::RolledBack { .. });
    Ok((if back { Exit::Done } else { flow::exit_of(&ending) }, ending == Ending::Deployed))
}

/// Whether the run has been taken back by now.
async fn is_back(world: &World, run: &unfinished::Run) -> bool {
    let Ok(Some(now)) = unfinished::latest(world).await else { return false };
    now.plan.run == run.plan.run
        && matches!(&now.replayed.phase, Phase::Ended { outcome, .. } if outcome == "rolled-back")
}

/// Measured, or else estimated.
fn how_long(plan: &Plan, last: Option<Duration>) -> String {
    let seconds = |duration: Duration| human(Duration::from_secs(duration.as_secs()));
    match last {
        Some(took) => format!("the last time that an older release was brought back took {}", seconds(took)),
        None => format!(
            "an older release was not brought back before; estimated: {}, 20s for each stage that waits for pods",
            seconds(plan.expected)
        ),
    }
}

async fn bring_back(
    console: &impl Console,
    world: &World,
    mut env: Environment,
    out: &BTreeSet<TargetId>,
    to: Option<Revision>,
    args: &RollbackArgs,
) -> Result<Exit, CliError> {
    let session = console.session();
    let rollback = to.map_or(Rollback::Previous, Rollback::To);
    let histories = absent::histories(world).await?;
    let stay = if to.is_none() { debts::before_already(&histories) } else { BTreeMap::new() };
    let (owed, mut left_out) = (debts::open(&histories), out.clone());
    left_out.extend(stay.keys().cloned());
    debts::leave_out(&mut env, &left_out);
    let world = &world.but(stay.keys());
    let wanted = Wanted {
        env,
        version: String::new(),
        components: BTreeSet::new(),
        rendered: BTreeMap::new(),
        prune: Vec::new(),
    };
    let request = flow::request(&wanted, Some(rollback), args.consent.reason.as_deref());
    let mut plan = prepare::plan(world, &request).await?;
    plan.warnings.extend(stay.iter().map(|(target, why)| format!("{target} stays as it is: {why}")));
    // Who has not had the release that goes back now is there already.
    debts::owe_way_back(&mut plan, out.iter().filter(|target| !owed.contains_key(*target)).cloned());
    if plan.has_changes() {
        session.note(&format!("{}\n", how_long(&plan, durations::of_last_brought_back(&histories))));
    }
    if args.dry_run {
        session.print(&report::plan::render(&plan, &session.output));
        session.say("dry run: nothing was written");
        return Ok(Exit::Done);
    }
    console.approve(&plan)?;
    let patience = flow::patience(args.consent.wait.as_deref(), Patience::UntilLapsed)?;
    Ok(flow::exit_of(&console.perform(world, &request, &plan, patience).await?))
}
