//! `deployctl lock status|release ENV`.

use crate::cli::CliError;
use crate::cli::args::{LockAction, PlaceArgs};
use crate::cli::session::Session;
use crate::cli::{flow, wiring};
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::units::human;
use crate::ports::state::Holder;
use crate::run::World;
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

/// How long a target may take to show its lock; a slow one holds up none of the others for longer.
const ANSWER: Duration = Duration::from_secs(8);

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
    let looks = env.targets.iter().map(|target| async move {
        let site = world.site(&target.id).map_err(|failure| failure.what)?;
        let late = |_| Err(format!("no answer within {}", human(ANSWER)));
        let look = tokio::time::timeout(ANSWER, site.lock.inspect()).await;
        look.map_or_else(late, |look| look.map_err(|error| error.to_string()))
    });
    let looks = futures::future::join_all(looks).await;
    let now = world.clock.now();
    let mut silent = None;
    for (target, look) in env.targets.iter().zip(looks) {
        let holder = match look {
            Ok(holder) => holder,
            Err(why) => {
                if session.json() {
                    let line = json!({"type": "lock", "target": target.id, "unreadable": why});
                    session.print(&format!("{line}\n"));
                } else {
                    session.print(&format!("{:<14} gives no answer: {why}\n", target.id));
                }
                silent.get_or_insert((&target.id, why));
                continue;
            }
        };
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
    match silent {
        Some((target, why)) => Err(unreadable(target, &why).into()),
        None => Ok(Exit::Done),
    }
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
        let holder = lock.inspect().await.map_err(|error| unreadable(&target.id, &error.to_string()))?;
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
        lock.break_lock().await.map_err(|error| unreadable(&target.id, &error.to_string()))?;
        session.say(&format!("{:<14} released, was held by {}", target.id, holder.by));
    }
    Ok(Exit::Done)
}

fn unreadable(target: &TargetId, why: &str) -> Failure {
    Failure::new(Code(610), Exit::Preflight, format!("the lock of {target} cannot be read"))
        .why(why)
        .next("deployctl preflight ENV")
}
