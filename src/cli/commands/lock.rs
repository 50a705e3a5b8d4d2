//! `deployctl lock status|release ENV`.

use crate::cli::CliError;
use crate::cli::args::{LockAction, PlaceArgs};
use crate::cli::session::Session;
use crate::cli::{flow, wiring};
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::units::human;
use crate::ports::state::{Holder, LockError};
use crate::run::World;
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

pub fn run(session: &Session, action: &LockAction) -> Result<Exit, CliError> {
    match action {
        LockAction::Status { place } => {
            with_world(session, place, async |env, world| status(session, &env, &world).await)
        }
        LockAction::Release { place, force } => {
            with_world(session, place, async |env, world| release(session, &env, &world, *force).await)
        }
    }
}

fn with_world(
    session: &Session,
    place: &PlaceArgs,
    work: impl AsyncFnOnce(Environment, World) -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    let env = session.place(place)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
        work(env, world).await
    })
}

async fn status(session: &Session, env: &Environment, world: &World) -> Result<Exit, CliError> {
    for target in &env.targets {
        let holder =
            world.site(&target.id)?.lock.inspect().await.map_err(|error| unreadable(&target.id, &error))?;
        let now = world.clock.now();
        if session.json() {
            let line = json!({"type": "lock", "target": target.id, "held": holder.is_some(),
                "expired": holder.as_ref().is_some_and(|h| h.expired(now)),
                "by": holder.as_ref().map(|h| h.by.to_string()), "ci": holder.as_ref().and_then(|h| h.by.ci.clone()),
                "reason": holder.as_ref().map(|h| h.reason.clone()), "since": holder.as_ref().map(|h| h.since),
                "renewed": holder.as_ref().map(|h| h.renewed)});
            session.print(&format!("{line}\n"));
        } else {
            let text = holder.map_or_else(|| "free".to_owned(), |holder| describe(&holder, now));
            session.print(&format!("{:<14} {text}\n", target.id));
        }
    }
    Ok(Exit::Done)
}

fn describe(holder: &Holder, now: Timestamp) -> String {
    let age = |then: Timestamp| human(Duration::from_secs(now.duration_since(then).unsigned_abs().as_secs()));
    let state = if holder.expired(now) { "left behind by" } else { "held by" };
    let ci = holder.by.ci.as_ref().map_or_else(String::new, |ci| format!(", {ci}"));
    format!(
        "{state} {}{ci}: {}, since {:.0} ({} ago), last sign of life {} ago",
        holder.by,
        holder.reason,
        holder.since.strftime("%Y-%m-%d %H:%M:%SZ"),
        age(holder.since),
        age(holder.renewed)
    )
}

async fn release(session: &Session, env: &Environment, world: &World, force: bool) -> Result<Exit, CliError> {
    for target in &env.targets {
        let lock = &world.site(&target.id)?.lock;
        let holder = lock.inspect().await.map_err(|error| unreadable(&target.id, &error))?;
        let Some(holder) = holder else {
            session.say(&format!("{:<14} was free", target.id));
            continue;
        };
        if !holder.expired(world.clock.now()) && !force {
            return Err(Failure::new(Code(613), Exit::Locked, format!("the lock of {} is alive", target.id))
                .why(describe(&holder, world.clock.now()))
                .next(format!(
                    "wait for it, or take it all the same: deployctl lock release {} --force",
                    env.name
                ))
                .into());
        }
        lock.break_lock().await.map_err(|error| unreadable(&target.id, &error))?;
        session.say(&format!("{:<14} released, was held by {}", target.id, holder.by));
    }
    Ok(Exit::Done)
}

fn unreadable(target: &TargetId, error: &LockError) -> Failure {
    Failure::new(Code(610), Exit::Preflight, format!("the lock of {target} cannot be read"))
        .why(error.to_string())
        .next("deployctl preflight ENV")
}
