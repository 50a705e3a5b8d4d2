//! What a failure looked like, taken before the rollback deletes it. Bounded in time: it never holds up the way back.
//!
//! One line each, its sort as the first word: `blocked`, `event TIME`, `log TIME`, `diff`; states of pods begin with the
//! workload's name.

use super::ready::split_stamp;
use crate::domain::ids::TargetId;
use crate::domain::object::ObjectRef;
use crate::domain::observed::{Event, Pod, Snapshot};
use crate::ports::Cluster;
use crate::rollout::readiness::{self, pods::Cause};
use crate::run::world::Site;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time for all logs of one target.
const LOG_TIMEOUT: Duration = Duration::from_secs(2);
/// Lines of a log that are kept.
const LOG_LINES: u32 = 20;
/// Events that are kept of one workload.
const EVENTS: usize = 20;

/// What was seen of one workload.
#[derive(Default)]
pub(super) struct Findings {
    /// Pod states, equal ones clustered.
    pub states: Vec<String>,
    /// Warning events and log lines.
    pub moments: Vec<(Option<Timestamp>, String)>,
    /// Why its pods are not ready.
    pub cause: Option<Cause>,
}

/// Looks at workloads that the run was bringing in: their pods, the events about them and the last words of the pod that
/// tells most.
pub(super) async fn collect(site: &Site, workloads: &[ObjectRef], now: Timestamp) -> Vec<Findings> {
    let Ok(cluster) = site.cluster() else { return Vec::new() };
    let ill = |workload: &&ObjectRef| {
        let snapshots = cluster.follow(&workload.namespace);
        let snapshot = snapshots.borrow();
        readiness::suspect(&snapshot, workload, now).is_some()
            || readiness::refusal(&snapshot, workload).is_some()
    };
    // Where pods are ill, the logs of those that are well only hide the cause; where none is, any may hold it.
    let any_ill = workloads.iter().any(|workload| ill(&workload));
    let looks = workloads.iter().map(|workload| async move {
        let snapshots = cluster.follow(&workload.namespace);
        let (mut findings, suspect) = {
            let snapshot = snapshots.borrow();
            let cause = readiness::suspect(&snapshot, workload, now);
            let findings = Findings {
                states: pod_states(&snapshot, workload),
                moments: events(&snapshot, workload),
                cause: cause.map(|(_, cause)| cause).or_else(|| readiness::refusal(&snapshot, workload)),
            };
            (findings, suspect(&snapshot, workload, now))
        };
        if let Some((pod, container, restarted)) = suspect.filter(|_| findings.cause.is_some() || !any_ill) {
            let lines = logs(cluster.as_ref(), &workload.namespace, &pod, &container, restarted).await;
            findings.moments.extend(lines);
        }
        findings
    });
    futures::future::join_all(looks).await
}

/// The findings of a target as lines, events and logs on one time line.
pub(super) fn lines(target: &TargetId, findings: Vec<Findings>) -> Vec<String> {
    let mut states = Vec::new();
    let mut moments: Vec<(Option<Timestamp>, String)> = Vec::new();
    for found in findings {
        states.extend(found.states);
        moments.extend(found.moments);
    }
    moments.sort_by_key(|(at, _)| *at);
    moments.dedup();
    states.extend(moments.into_iter().map(|(_, line)| line));
    states.into_iter().map(|line| format!("{target}: {line}")).collect()
}

fn pod_states(snapshot: &Snapshot, workload: &ObjectRef) -> Vec<String> {
    let pods = snapshot.current_pods(workload);
    let total = pods.len();
    // How many, and the fewest and most restarts.
    let mut clusters: BTreeMap<String, (usize, u32, u32)> = BTreeMap::new();
    for (_, pod) in &pods {
        let restarts = pod.containers.iter().map(|container| container.restarts).max().unwrap_or(0);
        let cluster = clusters.entry(state_of(pod)).or_insert((0, restarts, restarts));
        *cluster = (cluster.0 + 1, cluster.1.min(restarts), cluster.2.max(restarts));
    }
    let line = |(state, (count, fewest, most)): (String, (usize, u32, u32))| {
        let restarts = match (fewest, most) {
            (_, 0) => String::new(),
            (1, 1) => " (1 restart)".to_owned(),
            (fewest, most) if fewest == most => format!(" ({most} restarts)"),
            (fewest, most) => format!(" ({fewest} to {most} restarts)"),
        };
        format!("{}: {count}/{total} pods {state}{restarts}", workload.name)
    };
    clusters.into_iter().map(line).collect()
}

fn state_of(pod: &Pod) -> String {
    let waiting = pod.containers.iter().find_map(|c| c.waiting.as_ref().map(|(reason, _)| reason));
    match waiting {
        Some(reason) => reason.clone(),
        None if pod.terminating => "terminating".to_owned(),
        None if pod.ready => "ready".to_owned(),
        None if pod.unschedulable.is_some() => "unschedulable".to_owned(),
        None => format!("{}, not ready", pod.phase),
    }
}

/// Warnings about the workload, its newest `ReplicaSets` and its newest pods.
fn events(snapshot: &Snapshot, workload: &ObjectRef) -> Vec<(Option<Timestamp>, String)> {
    let pods = snapshot.current_pods(workload);
    let sets = snapshot.current_replica_sets(workload);
    let is_ours = |event: &&Event| match event.about.split_once('/') {
        Some(("Pod", name)) => pods.iter().any(|(pod, _)| *pod == name),
        Some(("ReplicaSet", name)) => sets.contains(&name),
        _ => event.about == workload.to_string(),
    };
    let recent = snapshot.warnings.iter().rev().filter(is_ours).take(EVENTS);
    let line = |event: &Event| {
        let times = if event.count > 1 { format!(" ×{}", event.count) } else { String::new() };
        let text = format!("{} {}{times}: {}", event.about, event.reason, event.message);
        (event.last, format!("event {}{text}", stamp(event.last)))
    };
    recent.map(line).collect()
}

/// `2026-01-05T03:10:07Z `, or nothing.
fn stamp(at: Option<Timestamp>) -> String {
    at.map_or_else(String::new, |at| format!("{} ", at.strftime("%Y-%m-%dT%H:%M:%SZ")))
}

/// The pod most worth reading: one with a cause, one that is not ready, else any.
fn suspect(snapshot: &Snapshot, workload: &ObjectRef, now: Timestamp) -> Option<(String, String, bool)> {
    let pods = snapshot.current_pods(workload);
    let known = readiness::suspect(snapshot, workload, now).map(|(name, _)| name);
    let (name, pod) = pods
        .iter()
        .find(|(name, _)| known.as_deref() == Some(*name))
        .or_else(|| pods.iter().find(|(_, pod)| !pod.ready))
        .or_else(|| pods.first())?;
    let container = pod.containers.iter().max_by_key(|container| (!container.ready, container.restarts))?;
    Some(((*name).to_owned(), container.name.clone(), container.restarts > 0))
}

async fn logs(
    cluster: &dyn Cluster,
    namespace: &str,
    pod: &str,
    container: &str,
    previous: bool,
) -> Vec<(Option<Timestamp>, String)> {
    let request = cluster.logs(namespace, pod, container, previous, LOG_LINES);
    let Ok(Ok(text)) = tokio::time::timeout(LOG_TIMEOUT, request).await else { return Vec::new() };
    let line = |line: &str| {
        let (at, said) = split_stamp(line);
        (at, format!("log {}{pod}: {said}", stamp(at)))
    };
    text.lines().map(line).collect()
}
