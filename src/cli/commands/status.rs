//! `deployctl status ENV`: what serves, who holds the lock, what drifted, what is unfinished. Reads only.

mod drift;
pub(in crate::cli) mod progress;
mod rows;
mod standing;

use crate::cli::CliError;
use crate::cli::args::PlaceArgs;
use crate::cli::report::status::{LockRow, ServingRelease, StatusView, TargetStatus, Unreadable, render};
use crate::cli::session::Session;
use crate::cli::{absent, flow, following, wiring};
use crate::domain::environment::{Environment, Target};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::release::{Outcome, Release};
use crate::domain::units::human;
use crate::run::guard;
use crate::run::intents;
use crate::run::unfinished::{self, Run};
use crate::run::{Site, World, durations, releases};
use progress::Unread;
use rows::Wanted;
use standing::{NOT_ASKED, SILENT, Standing};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub fn run(session: &Session, place: &PlaceArgs, watch: bool) -> Result<Exit, CliError> {
    let env = session.place(place)?;
    flow::block_on(async {
        let world = wiring::with_silent(&env).await?;
        if watch && let Some(exit) = following::follow(session, &world).await? {
            return Ok(exit);
        }
        let view = look(&env, &world).await?;
        session.print(&render(&view, &session.output));
        Ok(Exit::Done)
    })
}

async fn look(env: &Environment, world: &World) -> Result<StatusView, CliError> {
    let looks = env.targets.iter().map(|target| async move {
        let records = match world.site(&target.id) {
            Ok(site) => records(world, target, site).await,
            Err(failure) => Err(failure.what),
        };
        (target, records)
    });
    let (records, live, guard) =
        tokio::join!(futures::future::join_all(looks), intents::live(world, &env.name), guards(env, world));
    // A target that gives no answer says so in its own row; what the others know is told all the same.
    let silent: BTreeSet<TargetId> =
        records.iter().filter(|(_, records)| records.is_err()).map(|(target, _)| target.id.clone()).collect();
    let here = world.but(&silent);
    let (run, owed, earlier, left_behind) = tokio::join!(
        unfinished::latest(&here),
        absent::debts(&here),
        durations::of_rollbacks(&here),
        unfinished::left_behind(&here)
    );
    let mut unseen = Vec::new();
    let (run, unreadable) = match run {
        Ok(run) => (run.filter(Run::is_unfinished), None),
        Err(failure) => (None, Some(cannot_be_read(failure, &env.name))),
    };
    let owed = owed.unwrap_or_else(|failure| {
        unseen.push(format!("what targets are owed cannot be read: {failure}"));
        BTreeMap::new()
    });
    // Where the newest run cannot be read that is told, with more.
    let left_behind = left_behind.unwrap_or_default();
    let live = match live {
        Ok(live) => Some(live),
        // Nothing goes on, or its process is gone.
        Err(failure) if [Code(623), Code(624)].contains(&failure.code) || unreadable.is_some() => None,
        Err(failure) => {
            unseen.push(format!("whether anybody works on a run cannot be seen: {failure}"));
            None
        }
    };
    let sights = records.into_iter().map(|(target, records)| {
        let (run, here) = (run.as_ref(), &here);
        async move {
            let status = match records {
                Ok(records) => on_target(env, here, target, records, run).await,
                Err(why) => self::silent(target, why),
            };
            (target.id.clone(), status)
        }
    });
    let targets = futures::future::join_all(sights).await.into_iter().collect();
    let unread = run.as_ref().map(|run| unread(run, &here, &silent)).unwrap_or_default();
    let unfinished = run.as_ref().map(|run| {
        let standing = Standing { run, unread: &unread, live: live.as_ref(), earlier: &earlier };
        standing.told()
    });
    Ok(StatusView {
        application: env.application.clone(),
        environment: env.name.clone(),
        namespace: env.namespace.clone(),
        at: world.clock.now(),
        targets,
        owed: owed.into_iter().map(|(target, debt)| (target, debt.to_string())).collect(),
        left_behind: left_behind.into_iter().map(|(target, run)| (target, named(&run))).collect(),
        unreadable,
        unfinished,
        guard,
        unseen,
    })
}

/// `run X of 1.1.0 (r2)`
fn named(run: &Run) -> String {
    format!("run {} of {} ({})", run.plan.run, run.plan.version, run.plan.revision)
}

/// Targets of a run whose journals were not read.
fn unread(run: &Run, here: &World, silent: &BTreeSet<TargetId>) -> Unread {
    let missing = run.plan.targets.keys().filter(|target| !here.sites.contains_key(*target));
    missing.map(|target| (target.clone(), if silent.contains(target) { SILENT } else { NOT_ASKED })).collect()
}

/// What is wrong with records. This command is not a next one.
fn cannot_be_read(failure: Failure, env: &str) -> Unreadable {
    let Failure { code, what, why, mut next, .. } = failure.of_environment(env);
    let this = format!("deployctl status {env}");
    next.retain(|command| !command.starts_with(&this));
    Unreadable { code: code.to_string(), what, why, next }
}

/// The guard of each target, where one is wanted or was seen.
async fn guards(env: &Environment, world: &World) -> Vec<String> {
    let looks = env.targets.iter().map(|target| async move {
        let line = match guard::seen(world, &target.id).await {
            Ok(Some(seen)) => {
                let ago = human(Duration::from_secs(seen.ago.as_secs()));
                let gone = if seen.alive { "" } else { ", and not since" };
                format!("seen {ago} ago on host {}{gone}", seen.host)
            }
            Ok(None) if env.guard.is_some() => "none".to_owned(),
            // A target that gives no answer says so in its own row.
            Ok(None) | Err(_) => return None,
        };
        Some(format!("{}: {line}", target.id))
    });
    futures::future::join_all(looks).await.into_iter().flatten().collect()
}

fn silent(target: &Target, why: String) -> TargetStatus {
    TargetStatus {
        traffic: target.traffic,
        unreachable: Some(why),
        serving: None,
        carried: None,
        workloads: Vec::new(),
        idle: Vec::new(),
        unseen: Vec::new(),
        lock: None,
        drift: Vec::new(),
        changed_by_run: 0,
    }
}

/// What a target has on record.
struct Records {
    /// The release that serves.
    serving: Option<Release>,
    lock: Option<LockRow>,
    unseen: Vec<String>,
}

async fn records(world: &World, target: &Target, site: &Site) -> Result<Records, String> {
    let cluster = site.cluster().map_err(|error| error.to_string())?;
    cluster.identity().await.map_err(|error| error.to_string())?;
    let (history, lock) =
        tokio::join!(releases::history(&target.id, site.state.as_ref()), site.lock.inspect());
    let history = history.map_err(|failure| format!("{}: {}", failure.what, failure.why.join("; ")))?;
    let serving = history.into_iter().rev().find(|release| release.outcome == Outcome::Deployed);
    let now = world.clock.now();
    let mut unseen = Vec::new();
    let holder = lock.unwrap_or_else(|error| {
        unseen.push(format!("its lock cannot be read: {error}"));
        None
    });
    let lock = holder.map(|holder| LockRow {
        lapsed: holder.expired(now),
        lapses: holder.lapses(),
        by: holder.by,
        reason: holder.reason,
        since: holder.since,
    });
    Ok(Records { serving, lock, unseen })
}

/// What lives on a target that answers, with what an unfinished run made of it.
async fn on_target(
    env: &Environment,
    world: &World,
    target: &Target,
    records: Records,
    run: Option<&Run>,
) -> TargetStatus {
    let Records { serving, lock, mut unseen } = records;
    let cluster = match world.site(&target.id).map(Site::cluster) {
        Ok(Ok(cluster)) => cluster.as_ref(),
        Ok(Err(error)) => return silent(target, error.to_string()),
        Err(failure) => return silent(target, failure.what),
    };
    let run = run.filter(|run| run.plan.targets.contains_key(&target.id));
    let wanted = Wanted { release: serving.as_ref(), plan: run.map(|run| &run.plan), target: &target.id };
    let drifts = async {
        match &serving {
            Some(release) => drift::look(cluster, release).await,
            None => Ok(Vec::new()),
        }
    };
    let (mut seen, drifts) = tokio::join!(rows::look(env, cluster, &wanted), drifts);
    unseen.append(&mut seen.unseen);
    let drifts = drifts.unwrap_or_else(|error| {
        unseen.push(format!("whether anything drifted cannot be seen: {error}"));
        Vec::new()
    });
    let (drift, changed_by_run) = drift::told(drifts, run, &target.id);
    let carried = run.filter(|run| progress::carries_traffic(run, &target.id));
    TargetStatus {
        traffic: target.traffic,
        unreachable: None,
        carried: carried.map(|run| format!("{} ({})", run.plan.version, run.plan.revision)),
        serving: serving.map(|release| ServingRelease {
            revision: release.revision,
            version: release.version.clone(),
            since: release.ended,
        }),
        workloads: seen.rows,
        idle: seen.idle,
        unseen,
        lock,
        drift,
        changed_by_run,
    }
}
