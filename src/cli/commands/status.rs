//! `deployctl status ENV`: what serves, who holds the lock, what drifted, what is unfinished. Reads only.

mod drift;
pub(in crate::cli) mod progress;

use super::promote::waits_for_approval;
use crate::cli::CliError;
use crate::cli::args::PlaceArgs;
use crate::cli::report::status::{
    LockRow, NextCommand, ServingRelease, StatusView, TargetStatus, UnfinishedRun, Unreadable, WorkloadRow,
    render,
};
use crate::cli::session::Session;
use crate::cli::{absent, flow, following, wiring};
use crate::domain::environment::{Environment, Target};
use crate::domain::error::{Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::intent::Intent;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::observed::Snapshot;
use crate::domain::release::{Outcome, Release};
use crate::domain::units::human;
use crate::ports::Cluster;
use crate::run::guard;
use crate::run::intents::{self, Live};
use crate::run::journal::Phase;
use crate::run::vigil;
use crate::run::{Site, World, durations, releases, unfinished};
use drift::Drift;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long the first look of the watches may take.
const FIRST_LOOK: Duration = Duration::from_secs(10);

pub fn run(session: &Session, place: &PlaceArgs, watch: bool) -> Result<Exit, CliError> {
    let env = session.place(place)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
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
        let (status, drifts) = match world.site(&target.id) {
            Ok(site) => on_target(world, target, site).await,
            Err(failure) => silent(target, failure.what),
        };
        (target.id.clone(), status, drifts)
    });
    let (looks, live, guard) =
        tokio::join!(futures::future::join_all(looks), intents::live(world, &env.name), guards(env, world));
    // A target that gives no answer says so in its own row; what the others know is told all the same.
    let silent: BTreeSet<TargetId> = looks
        .iter()
        .filter(|(_, status, _)| status.unreachable.is_some())
        .map(|(target, ..)| target.clone())
        .collect();
    let here = world.but(&silent);
    let (run, owed, earlier) =
        tokio::join!(unfinished::latest(&here), absent::debts(&here), durations::of_rollbacks(&here));
    let (run, unreadable) = match run {
        Ok(run) => (run.filter(unfinished::Run::is_unfinished), None),
        Err(failure) => (None, Some(cannot_be_read(failure, &env.name))),
    };
    let owed = owed.unwrap_or_default().into_iter().map(|(target, debt)| (target, debt.to_string()));
    let mut targets = BTreeMap::new();
    for (target, mut status, drifts) in looks {
        let plan = run.as_ref().and_then(|run| run.plan.targets.get(&target));
        (status.drift, status.changed_by_run) = drift::told(drifts, plan);
        targets.insert(target, status);
    }
    Ok(StatusView {
        application: env.application.clone(),
        environment: env.name.clone(),
        namespace: env.namespace.clone(),
        at: world.clock.now(),
        targets,
        owed: owed.collect(),
        unreadable,
        unfinished: run.map(|run| describe(&run, &silent, live.ok().as_ref(), &earlier)),
        guard,
    })
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

fn silent(target: &Target, why: String) -> (TargetStatus, Vec<Drift>) {
    let status = TargetStatus {
        traffic: target.traffic,
        unreachable: Some(why),
        serving: None,
        workloads: Vec::new(),
        lock: None,
        drift: Vec::new(),
        changed_by_run: 0,
    };
    (status, Vec::new())
}

async fn on_target(world: &World, target: &Target, site: &Site) -> (TargetStatus, Vec<Drift>) {
    let cluster = match site.cluster() {
        Ok(cluster) => cluster,
        Err(error) => return silent(target, error.to_string()),
    };
    if let Err(error) = cluster.identity().await {
        return silent(target, error.to_string());
    }
    let history = match releases::history(&target.id, site.state.as_ref()).await {
        Ok(history) => history,
        Err(failure) => return silent(target, format!("{}: {}", failure.what, failure.why.join("; "))),
    };
    let serving = history.iter().rev().find(|release| release.outcome == Outcome::Deployed);
    let now = world.clock.now();
    let lock = site.lock.inspect().await.ok().flatten();
    let (workloads, drifts) = match serving {
        Some(release) => {
            tokio::join!(rows(cluster.as_ref(), release), drift::look(cluster.as_ref(), release))
        }
        None => (Vec::new(), Vec::new()),
    };
    let status = TargetStatus {
        traffic: target.traffic,
        unreachable: None,
        serving: serving.map(|release| ServingRelease {
            revision: release.revision,
            version: release.version.clone(),
            since: release.ended,
        }),
        workloads,
        lock: lock.map(|holder| LockRow {
            lapsed: holder.expired(now),
            lapses: holder.lapses(),
            by: holder.by,
            reason: holder.reason,
            since: holder.since,
        }),
        drift: Vec::new(),
        changed_by_run: 0,
    };
    (status, drifts)
}

/// The serving workloads, and others of the same components that still have pods.
async fn rows(cluster: &dyn Cluster, release: &Release) -> Vec<WorkloadRow> {
    let serving = release.workloads.values().map(|serving| serving.workload.namespace.as_str());
    let own = release.objects.iter().filter(|object| object.kind() == "Namespace");
    let namespaces: BTreeSet<&str> = serving.chain(own.map(Object::name)).collect();
    let looks = namespaces.into_iter().map(|namespace| async move {
        let mut snapshots = cluster.follow(namespace);
        let synced = tokio::time::timeout(FIRST_LOOK, snapshots.wait_for(|snapshot| snapshot.synced)).await;
        Some((namespace, synced.ok()?.ok()?.clone()))
    });
    let seen: BTreeMap<&str, Snapshot> =
        futures::future::join_all(looks).await.into_iter().flatten().collect();
    let mut rows = Vec::new();
    for (component, serving) in &release.workloads {
        let Some(snapshot) = seen.get(serving.workload.namespace.as_str()) else { continue };
        let service = service_of(release, component.as_str());
        let share = |workload: &ObjectRef| share(snapshot, service.as_deref()?, workload);
        let state = snapshot.workloads.get(&serving.workload);
        rows.push(WorkloadRow {
            component: component.clone(),
            workload: serving.workload.clone(),
            image: serving.image.clone(),
            ready: state.map_or(0, |state| state.ready),
            desired: state.map_or(0, |state| state.desired),
            share: share(&serving.workload),
        });
        for (namespace, snapshot) in &seen {
            let others = snapshot.workloads.iter().filter(|(name, state)| {
                state.desired > 0
                    && **name != serving.workload
                    && is_revision_of(&name.name, component.as_str())
            });
            // Endpoints in another namespace do not say who serves.
            let beside = *namespace == serving.workload.namespace;
            rows.extend(others.map(|(name, state)| WorkloadRow {
                component: component.clone(),
                workload: name.clone(),
                image: image_of(snapshot, name),
                ready: state.ready,
                desired: state.desired,
                share: if beside { share(name) } else { None },
            }));
        }
    }
    rows
}

/// `api-r12` (or plain `api`) is a revision of `api`.
fn is_revision_of(workload: &str, component: &str) -> bool {
    let Some(rest) = workload.strip_prefix(component) else { return false };
    rest.is_empty()
        || rest.strip_prefix("-r").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn image_of(snapshot: &Snapshot, workload: &ObjectRef) -> String {
    let pods = snapshot.current_pods(workload);
    pods.first().and_then(|(_, pod)| pod.containers.last()).map(|c| c.image.clone()).unwrap_or_default()
}

fn service_of(release: &Release, component: &str) -> Option<String> {
    let services = release.objects.iter().filter(|object| object.kind() == "Service");
    let mut own =
        services.filter(|object| object.component.as_ref().is_some_and(|id| id.as_str() == component));
    own.next().map(|object| object.name().to_owned())
}

fn share(snapshot: &Snapshot, service: &str, workload: &ObjectRef) -> Option<u8> {
    let ready: Vec<_> = snapshot.endpoints.get(service)?.iter().filter(|endpoint| endpoint.ready).collect();
    let own: Vec<&str> = snapshot.current_pods(workload).into_iter().map(|(name, _)| name).collect();
    let ours = ready.iter().filter(|endpoint| own.contains(&endpoint.pod.as_str())).count();
    (!ready.is_empty()).then(|| (ours * 100 / ready.len()) as u8)
}

/// What a rollback would do, as far as the targets that answer tell.
fn way_back(run: &unfinished::Run, silent: &BTreeSet<TargetId>, earlier: &[Duration]) -> String {
    let known = progress::way_back(run, earlier);
    let unknown: Vec<&str> =
        run.plan.targets.keys().filter(|target| silent.contains(*target)).map(TargetId::as_str).collect();
    if unknown.is_empty() {
        return known;
    }
    format!("{known}; what it has to do on {} is not known", unknown.join(", "))
}

/// Where an unfinished run stands, and what each next command would do.
fn describe(
    run: &unfinished::Run,
    silent: &BTreeSet<TargetId>,
    live: Option<&Live>,
    earlier: &[Duration],
) -> UnfinishedRun {
    let plan = &run.plan;
    let at = intents::present(plan, &run.replayed, |_| true)
        .map_or_else(|| "the end".to_owned(), |stage| format!("wave {}, {}", stage.wave, stage.title));
    let (phase, cause, resume) = match &run.replayed.phase {
        Phase::Forward => (format!("going forward at {at}"), None, format!("goes on at {at}")),
        Phase::Interrupted => {
            let rests = plan.rollback_of.is_some();
            let how = if rests { "on its way back" } else { "with traffic on stable" };
            let phase = format!("interrupted {how}");
            let guarded = run.replayed.guarded.as_ref();
            (guarded.map_or(phase, |(at, what)| what.line(*at)), None, format!("goes on at {at}"))
        }
        Phase::Aborting { cause, .. } => {
            let guarded = run.replayed.guarded.as_ref();
            let guarded = guarded.map_or_else(String::new, |(at, what)| format!("; {}", what.line(*at)));
            let phase = format!("rolling back{guarded}");
            (phase, Some(cause.clone()), "finishes taking it back".to_owned())
        }
        Phase::Ended { owed, .. } if !owed.is_empty() => {
            let owed = owed.iter().map(TargetId::as_str).collect::<Vec<_>>().join(", ");
            (format!("brought back, and owed to {owed}"), None, format!("brings it back on {owed}"))
        }
        Phase::Ended { outcome, .. } => (format!("ended: {outcome}"), None, "does nothing".to_owned()),
    };
    let orders = live.map(Live::orders).unwrap_or_default();
    let phase = match (&orders.pause, &run.replayed.phase) {
        (Some(pause), Phase::Forward) => format!("{phase}, paused by {}", pause.who()),
        _ => phase,
    };
    let next = next_commands(run, silent, live, earlier, &resume);
    UnfinishedRun {
        run: plan.run.clone(),
        revision: plan.revision,
        version: plan.version.clone(),
        live: live.is_some(),
        phase,
        cause,
        progress: progress::by_target(run, silent),
        asked: run.replayed.asked.iter().map(Intent::line).collect(),
        next,
    }
}

/// What may be typed, and what each would do; `resume` says what that would.
fn next_commands(
    run: &unfinished::Run,
    silent: &BTreeSet<TargetId>,
    live: Option<&Live>,
    earlier: &[Duration],
    resume: &str,
) -> Vec<NextCommand> {
    let env = &run.plan.environment;
    let command = |verb: &str, effect: &str| NextCommand {
        command: format!("deployctl {verb}"),
        effect: effect.to_owned(),
    };
    match (live, &run.replayed.phase) {
        (None, _) => vec![
            command(&format!("resume {env}"), resume),
            command(&format!("rollback {env}"), &way_back(run, silent, earlier)),
        ],
        (Some(_), Phase::Aborting { .. }) => {
            vec![
                command(&format!("status {env} --watch"), "follows it to its end"),
                command(
                    &format!("resume {env}"),
                    "if its process is gone: waits for its lock, then finishes it",
                ),
            ]
        }
        // It gives the run back in a moment, and hears no wishes.
        (Some(live), _) if vigil::is_guard(&live.holder) => vec![
            command(&format!("resume {env}"), "waits for the guard, then goes on"),
            command(&format!("rollback {env}"), "waits for the guard, then takes the rest back"),
        ],
        (Some(live), _) => {
            let paused = live.orders().pause.is_some();
            let mut next = Vec::new();
            if live.stage().is_some_and(waits_for_approval) {
                next.push(command(&format!("approve {env}"), "approves what it waits for"));
            }
            if paused {
                next.push(command(&format!("resume {env}"), "lets it go on where it stands"));
            } else {
                next.push(command(&format!("pause {env}"), "lets it stay where it is"));
            }
            next.push(command(&format!("promote {env}"), "ends the present hold"));
            next.push(command(&format!("abort {env}"), "takes everything of it back, now"));
            if !paused {
                let effect = "if its process is gone: waits for its lock, then goes on";
                next.push(command(&format!("resume {env}"), effect));
            }
            next
        }
    }
}
