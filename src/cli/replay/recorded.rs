//! `deployctl metrics ENV --replay REV`: what the gates saw of a release, judged by the gates as they are now.

use crate::cli::args::PlaceArgs;
use crate::cli::report::replayed;
use crate::cli::session::{self, Session};
use crate::cli::{CliError, flow, wiring};
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::evidence::Evidence;
use crate::domain::ids::Revision;
use crate::run::rejudge::{self, Again};
use crate::run::{World, ledger, prepare, releases};

/// The command.
pub(in crate::cli) fn recorded(
    session: &Session,
    place: &PlaceArgs,
    revision: &str,
    as_recorded: bool,
    check: bool,
) -> Result<Exit, CliError> {
    let env = session.place(place)?;
    let revision = known(revision)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
        prepare::reach(&world).await?;
        let found = read(&world, &env, revision).await?;
        let gates = (!as_recorded).then_some(env.gates.as_slice());
        let all: Vec<Again> = found.iter().flat_map(|evidence| rejudge::again(evidence, gates)).collect();
        session.print(&replayed::render(&all));
        if session.output.terminal {
            session.note(&replayed::summary(&all));
        }
        let differs = |one: &&Again| {
            one.now.as_ref().is_some_and(|now| now.rollback_at.is_some() != one.then.rollback_at.is_some())
        };
        match all.iter().find(differs) {
            Some(one) if check => Err(Failure::new(
                Code(727),
                Exit::Internal,
                format!("{}: the gate says otherwise than when {revision} was released", one.name),
            )
            .why(replayed::line(one))
            .next(format!("deployctl metrics {} --replay {} --as-recorded", env.name, revision.0))
            .into()),
            _ => Ok(Exit::Done),
        }
    })
}

/// Without an environment it is a file that is judged.
fn known(text: &str) -> Result<Revision, Failure> {
    session::revision(text, "metrics", "--replay ")
        .map_err(|failure| failure.next("deployctl metrics --replay FILE, which judges a file"))
}

async fn read(world: &World, env: &Environment, revision: Revision) -> Result<Vec<Evidence>, Failure> {
    let mut found = Vec::new();
    let mut known: Vec<Revision> = Vec::new();
    for (target, site) in &world.sites {
        known.extend(
            releases::history(target, site.state.as_ref()).await?.into_iter().map(|release| release.revision),
        );
        let evidence = ledger::recorded(site.state.as_ref(), revision).await.map_err(|why| {
            let what = format!("what the gates saw of {revision} on {target} cannot be read");
            Failure::new(Code(726), Exit::Preflight, what)
                .why(why)
                .next(format!("deployctl show {} {}", env.name, revision.0))
        })?;
        found.extend(evidence);
    }
    if found.is_empty() {
        return Err(nothing(env, revision, &known));
    }
    Ok(found)
}

/// Why there is nothing to judge.
fn nothing(env: &Environment, revision: Revision, known: &[Revision]) -> Failure {
    if known.contains(&revision) {
        let what = format!("nothing is on record that gates saw of {revision}");
        return Failure::new(Code(725), Exit::Usage, what)
            .why("no gate looked at it: no hold under gates was reached, or its deployctl kept nothing yet")
            .next(format!("deployctl show {} {}", env.name, revision.0));
    }
    let failure = Failure::new(Code(724), Exit::Usage, format!("{} has no {revision} on record", env.name));
    let failure = match known.iter().min() {
        Some(oldest) if revision < *oldest => failure.why(format!(
            "{oldest} is the oldest that is kept (history: {}); what gates saw goes with its release",
            env.history_limit
        )),
        _ => failure,
    };
    failure.next(format!("deployctl history {}", env.name))
}
