//! Bringing an older release back: which one, what is said of it beforehand, and what is refused.

use crate::cli::CliError;
use crate::cli::args::RollbackArgs;
use crate::cli::console::Console;
use crate::cli::session::Wanted;
use crate::cli::{absent, flow, report};
use crate::domain::effect::Effect;
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{Revision, TargetId};
use crate::domain::release::{Debt, Due, Outcome, Release};
use crate::domain::units::human;
use crate::plan::{Plan, lineage};
use crate::run::chosen::{self, Chosen, Histories};
use crate::run::lease::Patience;
use crate::run::prepare::{self, Rollback};
use crate::run::unfinished::Run;
use crate::run::{World, debts, durations, sealed};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Targets that a rollback leaves out.
pub(super) struct LeftOut {
    /// All of them: named on the command line, or silent.
    pub targets: BTreeSet<TargetId>,
    /// The records of those that were named and answer all the same.
    pub known: Histories,
}

/// Brings a release back in all targets of `world`, which are all that are not left out.
pub(super) async fn bring_back(
    console: &impl Console,
    world: &World,
    mut env: Environment,
    left_out: &LeftOut,
    to: Option<Revision>,
    args: &RollbackArgs,
) -> Result<Exit, CliError> {
    let session = console.session();
    let histories = absent::histories(world).await?;
    let owed = debts::open(&histories);
    let by_name = to.is_some();
    let Chosen { to, stay } = choose(&env, &histories, &owed, to)?;
    if !by_name {
        let going = histories.iter().filter(|(target, _)| !stay.contains_key(*target));
        not_twice(&env.name, going, to)?;
    }
    let due = due(&histories, left_out, &owed, to);
    let mut out = left_out.targets.clone();
    out.extend(stay.keys().cloned());
    debts::leave_out(&mut env, &out);
    let world = &world.but(stay.keys());
    let name = env.name.clone();
    let wanted = Wanted {
        env,
        version: String::new(),
        components: BTreeSet::new(),
        rendered: BTreeMap::new(),
        prune: Vec::new(),
    };
    // What was chosen is asked for by name: another look must not choose anything else.
    let request = flow::request(&wanted, Some(Rollback::To(to)), args.consent.reason.as_deref());
    let mut plan = prepare::plan(world, &request).await?;
    let going: Histories = histories.iter().filter(|(id, _)| !stay.contains_key(*id)).map(owned).collect();
    if chosen::serves_everywhere(&going, to) && !does_anything(&plan) {
        return Err(serves_already(&name, &plan, to).into());
    }
    plan.warnings.extend(stay.iter().map(|(target, why)| format!("{target} stays as it is: {why}")));
    let spared = left_out.targets.iter().filter(|target| !due.contains(*target));
    let why = format!("left out and owed nothing: {to} serves there already, or never did");
    plan.warnings.extend(spared.map(|target| format!("{target} is {why}")));
    debts::owe_way_back(&mut plan, due);
    sealed::openable(world, &plan).await?;
    if does_anything(&plan) {
        session.note(&format!("{}\n", how_long(&plan, durations::of_last_brought_back(&histories))));
    }
    if args.dry_run {
        session.print(&report::plan::render(&plan, &session.output));
        session.say("dry run: nothing was written");
        return Ok(Exit::Done);
    }
    flow::advise(session, &wanted.env, world, &plan).await;
    console.approve(&plan)?;
    let patience = flow::patience(args.consent.wait.as_deref(), Patience::UntilLapsed)?;
    Ok(flow::exit_of(&console.perform(world, &request, &plan, patience).await?))
}

fn owned<'h>((target, history): (&'h TargetId, &'h Vec<Release>)) -> (TargetId, Vec<Release>) {
    (target.clone(), history.clone())
}

/// One release for all, and who stays where it is.
fn choose(
    env: &Environment,
    histories: &Histories,
    owed: &BTreeMap<TargetId, Debt>,
    to: Option<Revision>,
) -> Result<Chosen, Failure> {
    let already = if to.is_none() { debts::before_already(histories) } else { BTreeMap::new() };
    let going: Histories = histories.iter().filter(|(id, _)| !already.contains_key(*id)).map(owned).collect();
    let rollback = to.map_or(Rollback::Previous, Rollback::To);
    match chosen::choose(env, &going, owed, rollback) {
        Ok(Chosen { to, stay }) => Ok(Chosen { to, stay: already.into_iter().chain(stay).collect() }),
        Err(mut failure) => {
            for (target, debt) in owed {
                failure.why.push(format!("{target} is owed {debt}"));
            }
            if let Some(target) = owed.keys().next() {
                failure
                    .next
                    .insert(0, format!("deployctl resume {}  # pays what {target} is owed", env.name));
            }
            Err(failure)
        }
    }
}

/// A rollback that names no release undoes the newest one. Where that was done already, by whoever was first or by the run
/// itself, it goes no further back unasked.
fn not_twice<'h>(
    env: &str,
    mut going: impl Iterator<Item = (&'h TargetId, &'h Vec<Release>)>,
    to: Revision,
) -> Result<(), Failure> {
    let done = going.find_map(|(target, history)| {
        let (newest, now) = (history.last()?, lineage::serving(history)?);
        let at = |release: &Release| {
            format!("at {} by {}", release.ended.strftime("%Y-%m-%d %H:%M:%SZ"), release.by)
        };
        if newest.outcome == Outcome::RolledBack {
            let (failed, serves) = (chosen::named(newest), chosen::named(now));
            Some(format!("{target}: {failed} was taken back already {}; {serves} serves", at(newest)))
        } else if now.rollback_of.is_some() && !chosen::serves(history, to) {
            Some(format!("{target}: {} was brought back already {}", chosen::named(now), at(now)))
        } else {
            None
        }
    });
    let Some(done) = done else { return Ok(()) };
    Err(Failure::new(Code(656), Exit::Usage, format!("the newest release of {env} was taken back already"))
        .why(done)
        .why("a rollback that names no release undoes the newest one, and goes no further")
        .next(format!("deployctl status {env}"))
        .next(format!("deployctl rollback {env} --to {}  # goes further back", to.0)))
}

/// Whether performing it would do anything: a Job of the way back changes no object of the release.
fn does_anything(plan: &Plan) -> bool {
    let mut steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    plan.has_changes() || steps.any(|step| matches!(step.effect, Effect::RunJob(_)))
}

/// Targets that are left out and owed the same way back: all but those that are known to be there, or never to have had
/// the release.
fn due(
    histories: &Histories,
    left_out: &LeftOut,
    owed: &BTreeMap<TargetId, Debt>,
    to: Revision,
) -> BTreeSet<TargetId> {
    // Who never had the newest release stands on what it stands on.
    let below = |history: &Vec<Release>| lineage::below(history).map(|release| release.revision);
    let is_below = histories.values().any(|history| below(history) == Some(to));
    let nothing_to_do = |target: &TargetId| match left_out.known.get(target) {
        Some(history) => chosen::record(history, to).is_none() || chosen::serves(history, to),
        None => is_below && owed.get(target).is_some_and(|debt| matches!(debt.due, Due::Release { .. })),
    };
    left_out.targets.iter().filter(|target| !nothing_to_do(target)).cloned().collect()
}

fn serves_already(env: &str, plan: &Plan, to: Revision) -> Failure {
    let targets = plan.targets.keys().map(TargetId::as_str).collect::<Vec<_>>().join(", ");
    Failure::new(Code(636), Exit::Usage, format!("{} ({to}) serves already on {targets}", plan.version))
        .why("nothing of it differs; nothing was written")
        .next(format!("deployctl history {env}"))
}

/// A run that failed is back here, and owed elsewhere: the rollback that somebody wants was done already.
pub(super) async fn owed_elsewhere(
    env: &Environment,
    world: &World,
    run: &Run,
    silent: &BTreeMap<TargetId, Failure>,
) -> Failure {
    let (plan, name) = (&run.plan, &env.name);
    let owed = run.owed().iter().map(TargetId::as_str).collect::<Vec<_>>().join(", ");
    let what = format!("run {} ({}) is still to be taken back on {owed}", plan.run, plan.version);
    let failure = Failure::new(Code(655), Exit::Unknown, what);
    let failure = run.owed().iter().fold(failure, |failure, target| match silent.get(target) {
        Some(silent) => failure.why(format!("{target}: {}", silent.why.join("; "))),
        None => failure.why(format!("{target} is left out of this command")),
    });
    let histories = absent::histories(world).await.unwrap_or_default();
    let serve = histories.iter().filter_map(|(target, history)| {
        let now = lineage::serving(history)?;
        Some(format!("{target} is back on {} ({}) already", now.version, now.revision))
    });
    let failure = serve.fold(failure, Failure::why);
    let further = match chosen::choose(env, &histories, &BTreeMap::new(), Rollback::Previous) {
        Ok(Chosen { to, .. }) => to.0.to_string(),
        Err(_) => "N".to_owned(),
    };
    failure
        .why("a rollback now would take what is back one release further")
        .next(format!("deployctl resume {name}  # once {owed} answers: it ends the run there"))
        .next(format!("deployctl rollback {name} --to {further}  # if that is what you want"))
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
