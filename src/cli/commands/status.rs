//! `deployctl status ENV`: what serves, who holds the lock, what drifted, what is unfinished. Reads only.

use crate::cli::CliError;
use crate::cli::args::PlaceArgs;
use crate::cli::report::status::{
    LockRow, NextCommand, ServingRelease, StatusView, TargetStatus, UnfinishedRun, WorkloadRow, render,
};
use crate::cli::session::Session;
use crate::cli::{flow, wiring};
use crate::domain::environment::{Environment, Target};
use crate::domain::error::Exit;
use crate::domain::field_path;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::observed::Snapshot;
use crate::domain::release::{Outcome, Release};
use crate::domain::step::Status;
use crate::plan::diff;
use crate::ports::Cluster;
use crate::run::definitions::definitions;
use crate::run::journal::Phase;
use crate::run::{Site, World, releases, unfinished};
use serde_json::Value;
use std::time::Duration;

/// How long the first look of the watches may take.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// Drifted fields that are shown per target.
const DRIFT_LINES: usize = 12;

pub fn run(session: &Session, place: &PlaceArgs) -> Result<Exit, CliError> {
    let env = session.place(place)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
        let view = look(&env, &world).await?;
        session.print(&render(&view, &session.output));
        Ok(Exit::Done)
    })
}

async fn look(env: &Environment, world: &World) -> Result<StatusView, CliError> {
    let looks = env.targets.iter().map(|target| async move {
        let status = match world.site(&target.id) {
            Ok(site) => on_target(world, target, site).await,
            Err(failure) => silent(target, failure.what),
        };
        (target.id.clone(), status)
    });
    let targets = futures::future::join_all(looks).await.into_iter().collect();
    // A target that gives no answer says so in its own row; what the others know of a run is not for sure then.
    let run = unfinished::latest(world).await.ok().flatten().filter(unfinished::Run::is_unfinished);
    Ok(StatusView {
        application: env.application.clone(),
        environment: env.name.clone(),
        at: world.clock.now(),
        targets,
        unfinished: run.map(|run| describe(&run)),
    })
}

fn silent(target: &Target, why: String) -> TargetStatus {
    TargetStatus {
        traffic: target.traffic,
        unreachable: Some(why),
        serving: None,
        workloads: Vec::new(),
        lock: None,
        drift: Vec::new(),
    }
}

async fn on_target(world: &World, target: &Target, site: &Site) -> TargetStatus {
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
    let (workloads, drift) = match serving {
        Some(release) => tokio::join!(rows(cluster.as_ref(), release), drift(cluster.as_ref(), release)),
        None => (Vec::new(), Vec::new()),
    };
    TargetStatus {
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
            by: holder.by,
            reason: holder.reason,
            since: holder.since,
        }),
        drift,
    }
}

/// The serving workloads, and others of the same components that still have pods.
async fn rows(cluster: &dyn Cluster, release: &Release) -> Vec<WorkloadRow> {
    let Some(namespace) = release.workloads.values().map(|serving| serving.workload.namespace.clone()).next()
    else {
        return Vec::new();
    };
    let mut snapshots = cluster.follow(&namespace);
    let synced = tokio::time::timeout(FIRST_LOOK, snapshots.wait_for(|snapshot| snapshot.synced)).await;
    let Ok(Ok(snapshot)) = synced else { return Vec::new() };
    let mut rows = Vec::new();
    for (component, serving) in &release.workloads {
        let service = service_of(release, component.as_str());
        let share = |workload: &ObjectRef| share(&snapshot, service.as_deref()?, workload);
        let state = snapshot.workloads.get(&serving.workload);
        rows.push(WorkloadRow {
            component: component.clone(),
            workload: serving.workload.clone(),
            image: serving.image.clone(),
            ready: state.map_or(0, |state| state.ready),
            desired: state.map_or(0, |state| state.desired),
            share: share(&serving.workload),
        });
        let others = snapshot.workloads.iter().filter(|(name, state)| {
            state.desired > 0 && **name != serving.workload && is_revision_of(&name.name, component.as_str())
        });
        rows.extend(others.map(|(name, state)| WorkloadRow {
            component: component.clone(),
            workload: name.clone(),
            image: image_of(&snapshot, name),
            ready: state.ready,
            desired: state.desired,
            share: share(name),
        }));
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

/// Fields that are live with another value than the release gave them, and who wrote last.
async fn drift(cluster: &dyn Cluster, release: &Release) -> Vec<String> {
    let references: Vec<ObjectRef> = release.objects.iter().map(Object::reference).collect();
    let Ok(live) = cluster.get_all(&references).await else { return Vec::new() };
    let objects: Vec<&Object> = release.objects.iter().collect();
    let definitions = definitions(cluster, &objects).await;
    let mut lines = Vec::new();
    for (object, live) in release.objects.iter().zip(live) {
        let reference = object.reference();
        let Some(live) = live else {
            lines.push(format!("{reference} is gone"));
            continue;
        };
        if object.kind() == "Secret" {
            continue;
        }
        let changes = diff::fields(&definitions, &object.value, &live, None)
            .into_iter()
            .filter(|change| change.path != "spec.replicas");
        let text =
            |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        lines.extend(changes.map(|change| {
            let (ours, theirs) = (text(&change.to), text(&change.from));
            format!("{reference} {}: {ours} → {theirs}{}", change.path, writer(&live, &change.path))
        }));
    }
    let more = lines.len().saturating_sub(DRIFT_LINES);
    if more > 0 {
        lines.truncate(DRIFT_LINES);
        lines.push(format!("and {more} more"));
    }
    lines
}

/// ` (kubectl-edit, 2026-01-05T03:12:00Z)`: who owns the field now; of a field that is gone, who wrote last.
fn writer(live: &Value, path: &str) -> String {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let others: Vec<&Value> = entries
        .into_iter()
        .flatten()
        .filter(|entry| entry["manager"] != crate::domain::object::FIELD_MANAGER)
        .collect();
    let when = |entry: &&Value| entry["time"].as_str().unwrap_or_default().to_owned();
    let owner =
        others.iter().filter(|entry| field_path::is_in(&entry["fieldsV1"], path)).copied().max_by_key(when);
    // A status is written all the time, and says nothing about who took a field away.
    let last = || others.iter().filter(|entry| entry.get("subresource").is_none()).copied().max_by_key(when);
    owner.or_else(last).map_or_else(String::new, |entry| {
        let text = |key: &str| entry[key].as_str().unwrap_or("unknown").to_owned();
        format!(" ({}, {})", text("manager"), text("time"))
    })
}

/// Where an unfinished run stands, and what each next command would do.
fn describe(run: &unfinished::Run) -> UnfinishedRun {
    let (plan, env) = (&run.plan, &run.plan.environment);
    let is_done = |id| run.replayed.status.get(id) == Some(&Status::Done);
    let next_stage = plan.stages.iter().find(|stage| !stage.steps.iter().all(|step| is_done(&step.id)));
    let at = next_stage
        .map_or_else(|| "the end".to_owned(), |stage| format!("wave {}, {}", stage.wave, stage.title));
    let (phase, cause, resume) = match &run.replayed.phase {
        Phase::Forward => (format!("going forward at {at}"), None, format!("goes on at {at}")),
        Phase::Interrupted => {
            ("interrupted with traffic on stable".to_owned(), None, format!("goes on at {at}"))
        }
        Phase::Aborting { cause } => {
            ("rolling back".to_owned(), Some(cause.clone()), "finishes taking it back".to_owned())
        }
        Phase::Ended { outcome } => (format!("ended: {outcome}"), None, "does nothing".to_owned()),
    };
    let command =
        |verb: &str, effect: String| NextCommand { command: format!("deployctl {verb} {env}"), effect };
    UnfinishedRun {
        run: plan.run.clone(),
        revision: plan.revision,
        version: plan.version.clone(),
        phase,
        cause,
        next: vec![command("resume", resume), command("rollback", "takes everything of it back".to_owned())],
    }
}
