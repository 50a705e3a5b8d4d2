//! Asking something of a run that goes on elsewhere: find it, leave the wish, see that it was heard.

use super::CliError;
use super::args::AskArgs;
use super::session::{Session, actor, choose_targets};
use super::{flow, wiring};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::intent::{Intent, Wish};
use crate::ports::state::Holder;
use crate::run::intents::{self, End, Live};
use crate::run::journal::Phase;
use crate::run::vigil::{self, Hearing, Sign};
use crate::run::{World, lease};
use serde_json::json;

/// Finds the run that goes on, leaves the wish that fits where it stands, and sees that it was heard. `wish` says what is
/// asked and what comes of it.
pub(super) fn run(
    session: &Session,
    args: &AskArgs,
    wish: impl Fn(&Live) -> Result<(Wish, String), Failure>,
) -> Result<Exit, CliError> {
    let mut env = session.whole(&args.env)?;
    choose_targets(&mut env, &args.targets)?;
    flow::block_on(async {
        let world = wiring::with_silent(&env).await?;
        let live = intents::live(&world, &env.name).await?;
        still_forward(&live)?;
        let (wish, effect) = wish(&live)?;
        let intent = ask(session, &world, &live, wish, args.reason.as_deref()).await?;
        heard(session, &world, &live, &intent, &effect).await
    })
}

/// Leaves a wish and says so, with the targets that could not be told.
pub(super) async fn ask(
    session: &Session,
    world: &World,
    live: &Live,
    wish: Wish,
    reason: Option<&str>,
) -> Result<Intent, CliError> {
    let (intent, silent) = intents::ask(world, live, wish, actor(), reason.map(str::to_owned)).await?;
    for (target, why) in live.silent.iter().chain(&silent) {
        session.note(&format!("warning: {target} could not be told: {why}\n"));
    }
    Ok(intent)
}

/// Waits until the run has put on record that it heard; says what comes of it, or that it did not answer in time.
pub(super) async fn heard(
    session: &Session,
    world: &World,
    live: &Live,
    intent: &Intent,
    effect: &str,
) -> Result<Exit, CliError> {
    let hearing = vigil::heard(world, live, intent).await;
    tell(session, live, intent, effect, hearing == Hearing::Heard);
    match hearing {
        Hearing::Heard => Ok(Exit::Done),
        Hearing::Over(outcome) => Err(too_late(live, &outcome).into()),
        Hearing::Unheard | Hearing::Lapsed => Err(unheard(live).into()),
    }
}

/// The same, and where nobody hears it, waits to see whether anybody is left who could: false once the run's process is
/// known to be gone. A run that is over is as good as one that heard: whoever waits for its end is told which.
pub(super) async fn heard_or_gone(
    session: &Session,
    world: &World,
    live: &Live,
    intent: &Intent,
    effect: &str,
) -> Result<bool, CliError> {
    let telling = |holder: &Holder| {
        session.note("nobody has heard it yet\n");
        waits_for(session, world, holder);
    };
    let hearing = vigil::hearing(world, live, intent, telling).await;
    tell(session, live, intent, effect, hearing == Hearing::Heard);
    match hearing {
        Hearing::Heard | Hearing::Over(_) => Ok(true),
        Hearing::Lapsed => Ok(false),
        Hearing::Unheard => Err(unheard(live).into()),
    }
}

/// Whether the process of a run is gone: what its lock tells, waited for and told.
pub(super) async fn is_gone(session: &Session, world: &World, live: &Live) -> bool {
    let telling = |holder: &Holder| waits_for(session, world, holder);
    vigil::watch(world, &live.plan, telling).await == Sign::Lapsed
}

/// The run that somebody works on. Whoever goes on with it, or takes it back, waits for a guard that puts its traffic on
/// stable.
pub(super) async fn after_guard(session: &Session, world: &World, env: &str) -> Result<Live, Failure> {
    let live = intents::live(world, env).await?;
    if !vigil::is_guard(&live.holder) {
        return Ok(live);
    }
    session.note(&format!("{} puts traffic on stable; this goes on once it has\n", live.holder.by));
    vigil::until_guard_is_done(world, &live.plan).await;
    intents::live(world, env).await
}

fn waits_for(session: &Session, world: &World, holder: &Holder) {
    session.note(&format!("{}\n", lease::lapses("the lock", holder, world.clock.now())));
}

fn tell(session: &Session, live: &Live, intent: &Intent, effect: &str, heard: bool) {
    let (run, env) = (&live.plan.run, &live.plan.environment);
    if session.json() {
        let told = json!({"type": "intent", "wish": intent.wish.verb(), "run": run, "environment": env,
            "by": intent.by.to_string(), "reason": intent.reason, "heard": heard});
        session.print(&format!("{told}\n"));
    } else if heard {
        session.print(&format!("run {run} of {} ({}): {effect}\n", live.plan.version, live.plan.revision));
    }
}

fn unheard(live: &Live) -> Failure {
    let env = &live.plan.environment;
    Failure::new(Code(626), Exit::Unknown, format!("run {} has not answered", live.plan.run))
        .why("the wish is on record; the run reads it as soon as it is in contact with a target again")
        .why(format!("it is run by {}", live.holder.by))
        .next(format!("deployctl status {env} --watch"))
        .next(format!("deployctl abort {env}, which takes it back itself if that process is gone"))
}

/// Waits for the end of a run that was told to abort; being back is what was asked for.
pub(super) async fn outcome(session: &Session, world: &World, live: &Live) -> Result<Exit, CliError> {
    let (run, env) = (&live.plan.run, &live.plan.environment);
    let release = format!("{} ({})", live.plan.version, live.plan.revision);
    let end = intents::ended(world, live).await;
    if session.json() {
        let outcome = match &end {
            End::Ended(outcome) => outcome.as_str(),
            End::Owed(_) => "owed",
            End::Left => "unfinished",
        };
        let told = json!({"type": "abort_finished", "run": run, "environment": env, "outcome": outcome});
        session.print(&format!("{told}\n"));
    }
    match end {
        End::Ended(outcome) if outcome == "rolled-back" => {
            if !session.json() {
                session.print(&format!("run {run}: {release} was taken back, all is as it was\n"));
            }
            Ok(Exit::Done)
        }
        End::Ended(outcome) => Err(too_late(live, &outcome).into()),
        End::Owed(targets) => Err(owed(live, &targets).into()),
        End::Left => Err(Failure::new(
            Code(628),
            Exit::Broken,
            format!("run {run} of {release} was not taken back whole"),
        )
        .why("its process ended, and its journal does not say that all is as it was")
        .next(format!("deployctl status {env}"))
        .next(format!("deployctl rollback {env}"))
        .into()),
    }
}

/// A run was over before it could hear what was asked.
fn too_late(live: &Live, outcome: &str) -> Failure {
    let (run, env) = (&live.plan.run, &live.plan.environment);
    Failure::new(Code(627), Exit::Usage, format!("it was too late: run {run} has ended ({outcome})"))
        .next(format!("deployctl status {env}"))
        .next(format!("deployctl rollback {env}, which brings the release before it back"))
}

/// A run went back where it could.
pub(super) fn owed(live: &Live, targets: &[TargetId]) -> Failure {
    let (run, env) = (&live.plan.run, &live.plan.environment);
    let names: Vec<&str> = targets.iter().map(TargetId::as_str).collect();
    let flags: Vec<String> = names.iter().map(|target| format!("--without {target}")).collect();
    let what = format!("run {run} was taken back, but not on {}", names.join(", "));
    Failure::new(Code(652), Exit::Unknown, what)
        .why("no answer came from there, so what serves there is unknown")
        .next(format!("deployctl resume {env}, once it answers"))
        .next(format!("deployctl {env} {}, for a release to the others", flags.join(" ")))
}

/// A run that is on its way back, or was interrupted, can be asked nothing more.
pub(super) fn still_forward(live: &Live) -> Result<(), Failure> {
    let (run, env) = (&live.plan.run, &live.plan.environment);
    let (what, why) = match &live.replayed.phase {
        Phase::Aborting { cause, .. } => ("is on its way back", cause.clone()),
        Phase::Interrupted => ("was interrupted", "it obeys nobody any more and ends in a moment".to_owned()),
        Phase::Forward | Phase::Ended { .. } => return Ok(()),
    };
    Err(Failure::new(Code(629), Exit::Usage, format!("run {run} {what}"))
        .why(why)
        .next(format!("deployctl status {env} --watch")))
}
