//! What `resume` does for targets that were left out: runs that others left behind go back, then each gets what it is
//! owed, by a plan of its own with all its checks, gates and smoke tests.

use super::args::ConsentArgs;
use super::console::Console;
use super::flow::Way;
use super::session::Wanted;
use super::{CliError, absent, flow};
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{Revision, TargetId};
use crate::domain::release::{Debt, Due};
use crate::plan::lineage;
use crate::run::journal::Phase;
use crate::run::lease::Patience;
use crate::run::prepare::{self, Request, Rollback};
use crate::run::unfinished::{self, Run};
use crate::run::{Ending, World, chosen, debts, releases, sealed};
use std::collections::{BTreeMap, BTreeSet};

/// Does all that can be done now; nothing if nothing is owed. `world` holds the targets that answer.
pub(super) async fn pay(
    console: &impl Console,
    env: &Environment,
    world: &World,
) -> Result<Option<Exit>, CliError> {
    let left = unfinished::left_behind(world).await?;
    let owed = absent::debts(world).await?;
    let here: Vec<&TargetId> = owed.keys().filter(|target| world.sites.contains_key(*target)).collect();
    for (target, debt) in owed.iter().filter(|(target, _)| !world.sites.contains_key(*target)) {
        console.session().note(&format!("{target} still gives no answer; it is owed {debt}\n"));
    }
    if left.is_empty() && here.is_empty() {
        return match owed.iter().next() {
            Some((target, debt)) => Err(still_silent(env, target, &debt.to_string()).into()),
            None => Ok(None),
        };
    }
    for (target, run) in &left {
        let exit = take_back(console, world, target, run).await?;
        if exit != Exit::RolledBack {
            return Ok(Some(exit));
        }
    }
    let mut never_had = None;
    for target in here {
        if let Some(failure) = nothing_to_go_back_to(env, world, target, &owed[target]).await? {
            never_had = never_had.or(Some(failure));
            continue;
        }
        let exit = pay_one(console, env, world, target, &owed).await?;
        if exit != Exit::Done {
            return Ok(Some(exit));
        }
    }
    never_had.map_or(Ok(Some(Exit::Done)), |failure| Err(failure.into()))
}

/// A target that was silent when the others went back may never have had the release that they went back to. Nobody can
/// bring it there; the others do not wait for it.
async fn nothing_to_go_back_to(
    env: &Environment,
    world: &World,
    target: &TargetId,
    debt: &Debt,
) -> Result<Option<Failure>, Failure> {
    let Due::Back { to } = debt.due else { return Ok(None) };
    let history = releases::history(target, world.site(target)?.state.as_ref()).await?;
    if chosen::record(&history, to).is_some() {
        return Ok(None);
    }
    let what = format!("{target} is owed {debt}, and has no {to} on record");
    let failure = Failure::new(Code(606), Exit::Usage, what);
    let failure = match lineage::serving(&history) {
        Some(now) => failure.why(format!("it serves {} ({})", now.version, now.revision)),
        None => failure.why("nothing was deployed there"),
    };
    let name = &env.name;
    Ok(Some(
        failure
            .next(format!("deployctl {name} --version VERSION  # a release that goes there, too, settles it"))
            .next(format!("deployctl history {name} --target {target}")),
    ))
}

/// Nothing can be done for it yet.
pub(super) fn still_silent(env: &Environment, target: &TargetId, owed: &str) -> Failure {
    Failure::new(Code(652), Exit::Unknown, format!("{target} still gives no answer"))
        .why(format!("it is owed {owed}"))
        .next(format!("deployctl resume {}, once it answers", env.name))
        .next(format!("deployctl {} --without {target}, for a release to the others", env.name))
}

/// The others decided; a target that comes back adopts it.
async fn take_back(
    console: &impl Console,
    world: &World,
    target: &TargetId,
    run: &Run,
) -> Result<Exit, CliError> {
    let (plan, cause) = (&run.plan, cause(run));
    console.session().note(&format!(
        "{target} came back in the middle of run {} ({}), which the others have left behind: {cause}\n",
        plan.run, plan.version
    ));
    console.ask(&format!("Take {} back on {target}?", plan.version))?;
    let patience = flow::patience(console.consent().wait.as_deref(), Patience::UntilLapsed)?;
    let way = Way { back: Some(cause), ..Way::default() };
    Ok(flow::exit_of(&console.go_on(world, run, patience, way).await?))
}

fn cause(run: &Run) -> String {
    match &run.replayed.phase {
        Phase::Aborting { cause, .. } => cause.clone(),
        _ => "the others have gone on".to_owned(),
    }
}

async fn pay_one(
    console: &impl Console,
    env: &Environment,
    world: &World,
    target: &TargetId,
    owed: &BTreeMap<TargetId, Debt>,
) -> Result<Exit, CliError> {
    let (session, consent) = (console.session(), console.consent());
    let debt = &owed[target];
    session.note(&format!("{target} is owed {debt}\n"));
    let wanted = wanted(env, target, debt);
    let world = &world.but(world.sites.keys().filter(|id| *id != target));
    let rollback = match &debt.due {
        Due::Back { to } => Some(Rollback::To(*to)),
        Due::Release { .. } => None,
    };
    let request = request(&wanted, rollback, debt.revision, consent);
    let mut plan = prepare::plan(world, &request).await?;
    debts::pay(&mut plan, target, owed);
    flow::consented(session, &plan, consent)?;
    if rollback.is_some() {
        sealed::openable(world, &plan).await?;
        flow::advise(session, &wanted.env, world, &plan).await;
    } else {
        flow::preflight(session, &wanted, world, &plan).await?;
    }
    console.approve(&plan)?;
    let patience = flow::patience(consent.wait.as_deref(), Patience::UntilLapsed)?;
    let ending = console.perform(world, &request, &plan, patience).await?;
    if ending == Ending::Deployed {
        session.note(&format!("{target} has what it was owed\n"));
    }
    Ok(flow::exit_of(&ending))
}

fn request<'a>(
    wanted: &'a Wanted,
    rollback: Option<Rollback>,
    floor: Revision,
    consent: &ConsentArgs,
) -> Request<'a> {
    Request { floor, ..flow::request(wanted, rollback, consent.reason.as_deref()) }
}

/// The release as it was asked for when the target was left out, for this target alone.
fn wanted(env: &Environment, target: &TargetId, debt: &Debt) -> Wanted {
    let mut env = env.clone();
    let others = env.targets.iter().map(|other| other.id.clone()).filter(|other| other != target).collect();
    debts::leave_out(&mut env, &others);
    let (components, rendered) = match &debt.due {
        Due::Release { components, objects } => {
            let rendered = BTreeMap::from([(target.clone(), objects.clone())]);
            (components.iter().cloned().collect(), rendered)
        }
        Due::Back { .. } => (BTreeSet::new(), BTreeMap::new()),
    };
    Wanted { env, version: debt.version.clone(), components, rendered, prune: Vec::new() }
}
