//! `deployctl ENV`: load, plan, check, ask, perform.

use super::{resume, rollback};
use crate::cli::CliError;
use crate::cli::args::{DeployArgs, Part, ReleaseArgs, ResumeArgs, RollbackArgs};
use crate::cli::console::{Console as _, Terminal};
use crate::cli::session::{Session, Wanted};
use crate::cli::wiring;
use crate::cli::{absent, consent, flow, supersede};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::object::Object;
use crate::plan::{Plan, file};
use crate::run::lease::Patience;
use crate::run::queue::Queue;
use crate::run::{World, debts, prepare, unfinished};
use std::collections::BTreeMap;
use std::path::Path;

/// What was rendered for targets that are left out.
type Owed = BTreeMap<TargetId, Vec<Object>>;

pub fn run(session: &Session, args: &DeployArgs) -> Result<Exit, CliError> {
    let saved = args.plan.as_deref().map(read).transpose()?;
    let release = saved.as_ref().map_or_else(|| args.what.release.clone(), release_of);
    let mut wanted = session.wanted(&args.what.place.env, &args.what.place.targets, &release)?.say(&args.say);
    leave_out(&mut wanted, &args.skip);
    wanted.env.calendar.overridden.clone_from(&args.override_freeze);
    if !args.dry_run {
        flow::not_frozen(&wanted.env, wiring::now())?;
    }
    let mut out = absent::chosen(&wanted.env, &args.without)?;
    let ended = flow::block_on(async {
        out.extend(saved.iter().flat_map(|plan| plan.owed.keys().cloned()));
        let (world, closed) = wiring::open(&wanted.env).await?;
        absent::no_way_is_left_out_by_name(&wanted.env, &closed, &out)?;
        let silent = prepare::silent(&world).await?;
        let out = absent::left_out(&wanted.env, out, &silent)?;
        debts::leave_out(&mut wanted.env, &out);
        let owed = debts::take_out(&mut wanted.rendered, &out);
        let world = world.but(&out);
        let queue = Queue::new(flow::patience(args.consent.wait.as_deref(), Patience::None)?);
        if args.supersede
            && let Some(exit) = supersede::make_way(session, &world, &wanted, &args.consent).await?
        {
            return Ok(exit);
        }
        let mut tested = false;
        loop {
            if !args.dry_run {
                wait_for_the_way(session, &world, &wanted, &queue).await?;
            }
            absent::no_debt_is_dropped(&wanted.env, &absent::debts(&world).await?, &out)?;
            if !tested {
                project_tests(session, &wanted, args)?;
                tested = true;
            }
            match go(session, args, &world, &wanted, saved.as_ref(), &owed, &queue).await {
                // Another one that queued was first.
                Err(CliError::Failure(failure))
                    if failure.code == Code(607) && saved.is_none() && queue.is_patient() =>
                {
                    session.note(&format!("{}; it is planned anew\n", failure.why.join("; ")));
                }
                ended => return ended,
            }
        }
    });
    match ended {
        Err(CliError::Failure(failure)) if failure.code == Code(608) && !args.dry_run => {
            heal(session, args, failure)
        }
        ended => ended,
    }
}

/// Plans, checks, asks, performs.
async fn go(
    session: &Session,
    args: &DeployArgs,
    world: &World,
    wanted: &Wanted,
    saved: Option<&Plan>,
    owed: &Owed,
    queue: &Queue,
) -> Result<Exit, CliError> {
    let mut plan = plan(world, wanted, args, saved).await?;
    if plan.owed.is_empty() {
        debts::owe_release(&mut plan, owed.clone());
    }
    let unchanged = !plan.has_changes();
    if args.dry_run || unchanged {
        session.print(&crate::cli::report::plan::render(&plan, &session.output));
        flow::foresee(session, world, &plan).await;
        flow::uncontested(&plan)?;
        if args.dry_run {
            session.say("dry run: nothing was written");
        }
        return Ok(Exit::Done);
    }
    flow::consented(session, &plan, &args.consent)?;
    flow::preflight(session, wanted, world, &plan).await?;
    flow::foresee(session, world, &plan).await;
    let console = Terminal { session, consent: &args.consent };
    console.approve(&plan)?;
    let request = flow::request(wanted, None, args.consent.reason.as_deref());
    Ok(flow::exit_of(&console.perform(world, &request, &plan, queue.left()).await?))
}

/// A run that stopped in the middle: whoever sits at a terminal may end it first.
fn heal(session: &Session, args: &DeployArgs, failure: Failure) -> Result<Exit, CliError> {
    if args.consent.auto_approve {
        return Err(failure.into());
    }
    let question = format!("{}: {}. What now?", failure.what, failure.why.join("; "));
    let ways = ["leave it as it is", "resume: go on with it", "rollback: take it back"];
    let (place, consent) = (args.what.place.clone(), args.consent.clone());
    match consent::choose(&question, &ways) {
        Some(1) => resume::run(session, &ResumeArgs { place, consent }),
        Some(2) => {
            let without = args.without.clone();
            let args = RollbackArgs {
                place,
                without,
                to: None,
                despite_damaged_journal: false,
                consent,
                dry_run: false,
            };
            rollback::run(session, &args)
        }
        _ => Err(failure.into()),
    }
}

/// A run that is going on is waited for, as far as `--wait` says, before the plan is made: it changes what the plan rests
/// on. One that stopped in the middle bars the way.
async fn wait_for_the_way(
    session: &Session,
    world: &World,
    wanted: &Wanted,
    queue: &Queue,
) -> Result<(), CliError> {
    queue.turn(world, |whom| session.note(&format!("waiting: {whom}\n"))).await?;
    match unfinished::latest(world).await?.filter(|run| run.bars(world)) {
        Some(run) => Err(flow::stopped_in_the_middle(&run, &wanted.env.name).into()),
        None => Ok(absent::nothing_is_left_behind(world, &wanted.env.name).await?),
    }
}

/// A saved plan.
fn read(path: &Path) -> Result<Plan, Failure> {
    let name = path.display().to_string();
    let content = std::fs::read(path).map_err(|error| {
        Failure::new(Code(310), Exit::Usage, format!("{name} cannot be read"))
            .why(error.to_string())
            .next("deployctl plan ENV --out FILE, which writes one")
    })?;
    file::read(&name, &content)
}

/// What a saved plan was asked for: the world is compared for the same release.
fn release_of(plan: &Plan) -> ReleaseArgs {
    let components = plan.components.iter().map(ToString::to_string).collect();
    ReleaseArgs { version: Some(plan.version.clone()), components, ..ReleaseArgs::default() }
}

/// The saved plan if it is still true, else a new one.
async fn plan(
    world: &World,
    wanted: &Wanted,
    args: &DeployArgs,
    saved: Option<&Plan>,
) -> Result<Plan, CliError> {
    let request = flow::request(wanted, None, args.consent.reason.as_deref());
    let fresh = prepare::plan(world, &request).await?;
    let Some(saved) = saved else { return Ok(fresh) };
    prepare::still_valid(saved, &fresh)?;
    Ok(saved.clone())
}

fn leave_out(wanted: &mut Wanted, parts: &[Part]) {
    for part in parts {
        match part {
            Part::Backup => wanted.env.backup.rds.clear(),
            Part::Smoke => wanted.env.smoke.clear(),
            Part::Tests => wanted.env.tests = None,
        }
    }
}

/// The project's own tests, before anything is planned; a dry run does not start them.
fn project_tests(session: &Session, wanted: &Wanted, args: &DeployArgs) -> Result<(), CliError> {
    let Some(command) = wanted.env.tests.as_ref().filter(|command| !command.is_empty() && !args.dry_run)
    else {
        return Ok(());
    };
    session.note(&format!("running the project's tests: {}\n", command.join(" ")));
    let status = std::process::Command::new(&command[0])
        .args(&command[1..])
        .current_dir(&session.root)
        .stdout(std::io::stderr())
        .status();
    let refused = |why: String| {
        Failure::new(Code(609), Exit::Preflight, "the project's own tests failed")
            .why(why)
            .next(format!("cd {} && {}", session.root.display(), command.join(" ")))
            .next("or leave them out: --skip tests")
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(refused(status.to_string()).into()),
        Err(error) => Err(refused(format!("{}: {error}", command[0])).into()),
    }
}
