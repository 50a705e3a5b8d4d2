//! The parts of a run that several commands share: plan, preflight, lock, perform.

use super::CliError;
use super::args::ConsentArgs;
use super::consent;
use super::report::{self, Facts, Reporter};
use super::session::{Session, Wanted, actor};
use crate::domain::calendar::Verdict;
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{Revision, TargetId};
use crate::domain::release::Actor;
use crate::domain::units;
use crate::plan::Plan;
use crate::ports::state::Holder;
use crate::run::journal::{Journal, Replayed};
use crate::run::lease::{self, Leases, Patience};
use crate::run::preflight::{self, Level};
use crate::run::prepare::{self, Request, Rollback};
use crate::run::tampered::{self, Tampered};
use crate::run::{Ending, Engine, Report, World, unfinished};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Plans and journals of ended runs that are kept for `show` and `status`.
const RUNS_KEPT: usize = 5;

/// The request that a release as asked for makes.
pub(super) fn request<'a>(
    wanted: &'a Wanted,
    rollback: Option<Rollback>,
    reason: Option<&str>,
) -> Request<'a> {
    Request {
        env: &wanted.env,
        version: wanted.version.clone(),
        components: wanted.components.clone(),
        rendered: wanted.rendered.clone(),
        prune: wanted.prune.clone(),
        rollback,
        floor: Revision::default(),
        by: actor(),
        reason: reason.map(str::to_owned),
    }
}

/// Refuses what may not go out now; a reason to do it all the same is on record later.
pub(super) fn not_frozen(env: &Environment, now: Timestamp) -> Result<(), Failure> {
    let calendar = &env.calendar;
    let Verdict::Closed { why, opens } = calendar.at(now) else { return Ok(()) };
    if calendar.overridden.is_some() {
        return Ok(());
    }
    let failure =
        Failure::new(Code(634), Exit::Preflight, format!("nothing may go out to {} now", env.name)).why(why);
    let failure = match opens {
        Some(at) => failure.why(format!("it opens again {}", calendar.read(at))),
        None => failure.why("no time is in sight when it opens again"),
    };
    Err(failure
        .next(format!("deployctl {} --override-freeze REASON", env.name))
        .next(format!("deployctl rollback {}, which is never frozen", env.name)))
}

/// Checks everything; a failed check refuses the run.
pub(super) async fn preflight(
    session: &Session,
    wanted: &Wanted,
    world: &World,
    plan: &Plan,
) -> Result<(), CliError> {
    let checks = preflight::check(&wanted.env, world, plan).await;
    session.print(&report::checks::render(&checks, &session.output));
    let failed = checks.iter().filter(|check| check.level == Level::Fail).count();
    if failed == 0 {
        return Ok(());
    }
    let subject =
        if failed == 1 { "a preflight check".to_owned() } else { format!("{failed} preflight checks") };
    Err(Failure::new(Code(604), Exit::Preflight, format!("{subject} failed"))
        .why("nothing was written")
        .next(format!("mend it, then: deployctl preflight {}", wanted.env.name))
        .into())
}

/// What the checks say of a way back. It is told, and holds nobody up: an operator must be able to go back.
pub(super) async fn advise(session: &Session, env: &Environment, world: &World, plan: &Plan) {
    let checks = preflight::advise(env, world, plan).await;
    session.print(&report::checks::render(&checks, &session.output));
}

/// What `--wait` says.
pub(super) fn patience(wait: Option<&str>, otherwise: Patience) -> Result<Patience, Failure> {
    let Some(text) = wait else { return Ok(otherwise) };
    let limit = units::parse_duration(text).map_err(|why| {
        Failure::new(Code(706), Exit::Usage, format!("--wait: {why}")).next("write e.g. --wait 15m")
    })?;
    Ok(Patience::UpTo(limit))
}

/// Takes the locks, says who is waited for.
async fn lock(
    session: &Session,
    world: &World,
    plan: &Plan,
    holder: Holder,
    patience: Patience,
    silent: &Silent,
    interrupts: &watch::Receiver<u32>,
) -> Result<Leases, Failure> {
    let here = plan.targets.keys().filter(|target| !silent.contains_key(*target));
    let targets: Vec<TargetId> = here.cloned().collect();
    let waiting = |target: &TargetId, other: &Holder| {
        let line = match patience {
            Patience::None | Patience::UntilLapsed => {
                lease::lapses(&format!("the lock of {target}"), other, world.clock.now())
            }
            Patience::UpTo(limit) => {
                let (by, reason) = (&other.by, &other.reason);
                format!("waiting up to {} for the lock of {target}: {by} ({reason})", units::human(limit))
            }
        };
        session.note(&format!("{line}\n"));
    };
    Leases::acquire(world, &targets, holder, patience, &waiting, given_up(interrupts, plan)).await
}

/// An interrupt before anything was begun.
async fn given_up(interrupts: &watch::Receiver<u32>, plan: &Plan) -> Failure {
    let mut interrupts = interrupts.clone();
    if interrupts.wait_for(|count| *count > 0).await.is_err() {
        std::future::pending::<()>().await;
    }
    Failure::new(Code(637), Exit::Interrupted, format!("interrupted before {} was begun", plan.run))
        .why("nothing was written; the locks are given back")
        .next(format!("deployctl status {}", plan.environment))
}

/// Holders of locks in this process.
static HOLDERS: AtomicU64 = AtomicU64::new(0);

fn holder(world: &World, plan: &Plan, epoch: u64, by: Actor) -> Holder {
    let now = world.clock.now();
    let verb = if plan.rollback_of.is_some() { "rollback to" } else { "deploy" };
    Holder {
        // Two who begin in the same second, each as process 1 of a container, are two.
        id: format!(
            "{}/{epoch}/{}.{}.{}",
            plan.run,
            by.host,
            std::process::id(),
            HOLDERS.fetch_add(1, Ordering::Relaxed)
        ),
        by,
        reason: format!("{verb} {}", plan.version),
        since: now,
        renewed: now,
        ttl: plan.limits.lease,
    }
}

/// Performs a new plan: lock, a last look that the world is still the one that was planned for, run.
pub(super) async fn perform(
    session: &Session,
    world: &World,
    request: &Request<'_>,
    plan: &Plan,
    patience: Patience,
    report: &dyn Report,
    interrupts: watch::Receiver<u32>,
) -> Result<Ending, CliError> {
    let ours = holder(world, plan, 1, actor());
    let leases = lock(session, world, plan, ours, patience, &Silent::new(), &interrupts).await?;
    let looks = async {
        let fresh = prepare::plan(world, request).await?;
        prepare::still_valid(plan, &fresh)?;
        match unfinished::latest(world).await?.filter(|run| run.bars(world)) {
            Some(run) => Err(stopped_in_the_middle(&run, &plan.environment)),
            None => Ok(()),
        }
    };
    let looked = tokio::select! {
        biased;
        failure = given_up(&interrupts, plan) => Err(failure),
        looked = looks => looked,
    };
    // A plan that is stored is begun.
    let prepared = match looked {
        Ok(()) => unfinished::store(world, plan).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = prepared {
        leases.release(world).await;
        return Err(failure.into());
    }
    let engine = engine(world, plan, &leases, Replayed::default(), 1, report, interrupts);
    let ending = Box::pin(engine.run(false)).await;
    tidy(session, world).await;
    Ok(ending)
}

/// A run that nobody finished bars the way for others: a CI job that was cancelled, a laptop that was lost.
pub(super) fn stopped_in_the_middle(run: &unfinished::Run, env: &str) -> Failure {
    let plan = &run.plan;
    let last = run
        .replayed
        .last
        .map_or_else(|| "never".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let by = plan.by.ci.as_ref().map_or_else(|| plan.by.to_string(), |ci| format!("{} ({ci})", plan.by));
    let failure = Failure::new(Code(608), Exit::Preflight, format!("run {} stopped in the middle", plan.run))
        .why(format!("{by} was deploying {} ({})", plan.version, plan.revision))
        .why(format!("nobody holds its lock any more; its last record is of {last}"))
        .next(format!("deployctl resume {env}"))
        .next(format!("deployctl rollback {env}"))
        .next(format!("deployctl status {env}, which says what is live and what each of these would do"));
    match run.owed() {
        [] => failure,
        owed => {
            let flags: Vec<String> = owed.iter().map(|target| format!("--without {target}")).collect();
            failure.next(format!("deployctl {env} {}, for a release to the others", flags.join(" ")))
        }
    }
}

/// Targets that give no answer, and why.
pub(super) type Silent = BTreeMap<TargetId, String>;

/// Where a run that stopped goes from here.
#[derive(Default)]
pub(super) struct Way {
    /// Back, and why; forward if absent.
    pub back: Option<String>,
    /// Targets that are passed over on a way back.
    pub silent: Silent,
    /// What is put back before it goes forward.
    pub tampered: Vec<Tampered>,
}

/// Goes on with, or takes back, a run that stopped. What is taken back waits for no target that is silent.
pub(super) async fn go_on(
    session: &Session,
    world: &World,
    run: &unfinished::Run,
    patience: Patience,
    way: Way,
    report: &dyn Report,
    interrupts: watch::Receiver<u32>,
) -> Result<Ending, CliError> {
    let holder = holder(world, &run.plan, run.replayed.epoch + 1, actor());
    let leases = lock(session, world, &run.plan, holder, patience, &way.silent, &interrupts).await?;
    let stands = tokio::select! {
        biased;
        failure = given_up(&interrupts, &run.plan) => Err(failure),
        stands = as_it_stands(session, world, run, way) => stands,
    };
    let (run, way) = match stands {
        Ok(now) => now,
        Err(failure) => {
            leases.release(world).await;
            return Err(failure.into());
        }
    };
    let (plan, epoch) = (&run.plan, run.replayed.epoch + 1);
    let engine = engine(world, plan, &leases, run.replayed.clone(), epoch, report, interrupts);
    let engine = engine.leaving_out(&way.silent).putting_back(way.tampered);
    let ending = match way.back {
        Some(cause) => Box::pin(engine.abort(cause)).await,
        None => Box::pin(engine.run(true)).await,
    };
    tidy(session, world).await;
    Ok(ending)
}

/// The run and its way now that its locks are ours: a guard, or another operator, may have worked on it while they were
/// waited for.
async fn as_it_stands(
    session: &Session,
    world: &World,
    run: &unfinished::Run,
    mut way: Way,
) -> Result<(unfinished::Run, Way), Failure> {
    let now = unfinished::again(world, run).await?;
    if way.back.is_none() {
        way.back = now.replayed.phase.cause().map(str::to_owned);
    }
    if way.back.is_none() && now.replayed.epoch != run.replayed.epoch {
        way.tampered = tampered::look(world, &now).await?;
        tell_tampered(session, &way.tampered);
    }
    Ok((now, way))
}

/// What was changed by hand since the run stopped.
pub(super) fn tell_tampered(session: &Session, tampered: &[Tampered]) {
    if tampered.is_empty() {
        return;
    }
    session.note("changed since the run stopped, and put back if it goes on:\n");
    for found in tampered {
        for line in &found.lines {
            session.note(&format!("  {}: {} {line}\n", found.target, found.object));
        }
    }
}

fn engine<'a>(
    world: &'a World,
    plan: &'a Plan,
    leases: &'a Leases,
    replayed: Replayed,
    epoch: u64,
    report: &'a dyn Report,
    interrupts: watch::Receiver<u32>,
) -> Engine<'a> {
    let stores = world.sites.iter().filter(|(target, _)| plan.targets.contains_key(target));
    let stores = stores.map(|(target, site)| (target.clone(), site.state.clone()));
    let journal = Journal::new(plan.run.clone(), epoch, stores, world.clock.clone());
    Engine::new(plan, world, leases, journal, replayed, report, interrupts)
}

/// Old journals go; that they could not is no reason to fail.
async fn tidy(session: &Session, world: &World) {
    if let Err((target, error)) = unfinished::forget_old(world, RUNS_KEPT).await {
        session.note(&format!("warning: old journals of {target} could not be dropped: {error}\n"));
    }
}

/// The exit code of a forward run.
pub(super) fn exit_of(ending: &Ending) -> Exit {
    match ending {
        Ending::Deployed => Exit::Done,
        Ending::RolledBack { .. } => Exit::RolledBack,
        Ending::Broken { .. } => Exit::Broken,
        Ending::Interrupted => Exit::Interrupted,
        Ending::Unknown { .. } => Exit::Unknown,
    }
}

/// Runs a piece of work while interrupts are counted and the report shows that time passes.
pub(super) async fn interruptible<T>(
    reporter: &Reporter,
    world: &World,
    plan: &Plan,
    work: impl AsyncFnOnce(watch::Receiver<u32>) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let (count, receiver) = watch::channel(0);
    let brings_back = plan.rollback_of.is_some();
    let first = if brings_back { "it stops where it is" } else { "traffic goes to stable" };
    let ticking = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            reporter.tick(world.clock.now());
        }
    };
    tokio::select! {
        result = work(receiver) => result,
        () = ticking => unreachable!("time does not end"),
        error = super::signals::listen(count, &plan.environment, first, || reporter.has_begun()) => {
            Err(Failure::new(Code(1), Exit::Internal, "signals cannot be received").why(error.to_string()).into())
        }
    }
}

/// Refuses a plan that would change fields of others that nobody gave it.
pub(super) fn uncontested(plan: &Plan) -> Result<(), Failure> {
    let lines: Vec<String> = plan
        .open_contests()
        .map(|(target, object, contest)| format!("{target} · {object} · {contest}"))
        .collect();
    let Some((_, object, first)) = plan.open_contests().next() else { return Ok(()) };
    let count = if lines.len() == 1 {
        "a field belongs".to_owned()
    } else {
        format!("{} fields belong", lines.len())
    };
    let failure = Failure::new(Code(304), Exit::Preflight, format!("{count} to somebody else"));
    let failure = lines.into_iter().fold(failure, Failure::why);
    Err(failure
        .next(format!("take it over: --take {object}:{}", first.field))
        .next("or leave the field out of the manifest: it stays theirs"))
}

/// Refuses, before anything is checked or asked, what a plan may not do unasked.
pub(super) fn consented(session: &Session, plan: &Plan, consent: &ConsentArgs) -> Result<(), CliError> {
    let refused = uncontested(plan).and_then(|()| replaceable(plan, consent));
    if refused.is_err() {
        session.print(&report::plan::render(plan, &session.output));
    }
    Ok(refused?)
}

/// Replacing needs a yes of its own where nobody is asked.
fn replaceable(plan: &Plan, consent: &ConsentArgs) -> Result<(), Failure> {
    let replaced: Vec<String> = plan
        .replacements()
        .map(|(target, change)| {
            let why = change.replaced.as_deref().unwrap_or_default();
            format!("{target}: {} is deleted and made anew: {why}", change.object)
        })
        .collect();
    if replaced.is_empty() || !consent.auto_approve || consent.allow_replace {
        return Ok(());
    }
    let failure =
        Failure::new(Code(305), Exit::NotApproved, "objects have to be replaced, which nobody approved");
    Err(replaced
        .into_iter()
        .fold(failure, Failure::why)
        .next("add --allow-replace, or keep those fields as they are"))
}

/// Says what the gates of a plan will be able to see: advice, which neither holds the command up nor fails it.
pub(super) async fn foresee(session: &Session, world: &World, plan: &Plan) {
    if plan.has_changes() {
        let foresight = crate::run::foresight::of_plan(world, plan).await;
        session.print(&report::foresight::render(&foresight, &session.output));
    }
}

/// Prints a plan, asks, and says whether there is anything to do. A way back is asked for in any case: its Jobs change no
/// object, and it goes on record.
pub(super) fn approve(session: &Session, plan: &Plan, consent: &ConsentArgs) -> Result<bool, CliError> {
    session.print(&report::plan::render(plan, &session.output));
    uncontested(plan)?;
    replaceable(plan, consent)?;
    if !plan.has_changes() && plan.rollback_of.is_none() {
        return Ok(false);
    }
    let verb = if plan.rollback_of.is_some() { "Bring back" } else { "Deploy" };
    let replaced = plan.replacements().count();
    let replacing = if replaced == 0 { String::new() } else { format!(", replacing {replaced} objects") };
    let question = format!("{verb} {} to {}{replacing}?", plan.version, plan.environment);
    consent::ask(&question, consent.auto_approve)?;
    Ok(true)
}

/// A reporter for a run of this session.
pub(super) fn reporter(session: &Session, plan: &Plan, rehearsal: bool) -> Reporter {
    Reporter::new(Arc::clone(&session.printer), Facts::of(plan, rehearsal))
}

/// The runtime of commands that talk to real clusters.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        CliError::from(
            Failure::new(Code(1), Exit::Internal, "the runtime cannot start").why(error.to_string()),
        )
    })?;
    runtime.block_on(work)
}

/// How long the leader of a rehearsal lets traffic flow before the release.
pub(super) const WARM_UP: Duration = Duration::from_mins(5);
