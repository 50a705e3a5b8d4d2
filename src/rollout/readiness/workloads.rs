//! Whether a workload's newest pods are all there and ready, or will never be.
//!
//! The root cause is looked for in the pods first: a crash loop is a failure after seconds, not after the
//! Deployment's own progress deadline.

use super::pods::{self, Cause, Patient, Sort};
use super::{assumed, failed, pending};
use crate::domain::object::ObjectRef;
use crate::domain::observed::{Pod, Snapshot, Workload};
use crate::rollout::Verdict;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Judges a workload against the size that it is asked to have, or a pod.
#[must_use]
pub fn judge(snapshot: &Snapshot, workload: &ObjectRef, now: Timestamp) -> Verdict {
    if !snapshot.synced {
        return pending(format!("the first look at {}", workload.namespace));
    }
    match workload.kind.as_str() {
        "Pod" => return judge_pod(snapshot, workload, now),
        "ReplicaSet" => return judge_replica_set(snapshot, workload, now),
        _ => {}
    }
    let Some(state) = snapshot.workloads.get(workload) else {
        return pending(format!("{workload} to exist"));
    };
    if workload.kind == "Job" {
        return judge_job(snapshot, workload, state, now);
    }
    if state.observed_generation < state.generation {
        return pending(format!("the controller to see {workload}"));
    }
    if let Some(why) = doomed(snapshot, workload, state, now) {
        return failed(why);
    }
    judge_replicas(snapshot, workload, state, now)
}

/// Why a workload can never be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doom {
    /// What stands in the way of most of its pods (or of creating any).
    pub cause: Cause,
    /// Pods of which that is true.
    pub broken: usize,
    /// Its newest pods.
    pub total: usize,
    /// One of the broken pods.
    pub pod: Option<String>,
}

/// Why a workload's new pods can never be ready, in one line, if so.
#[must_use]
pub fn doomed(snapshot: &Snapshot, workload: &ObjectRef, state: &Workload, now: Timestamp) -> Option<String> {
    if let Some(doom) = doom(snapshot, workload, state, now) {
        return Some(match doom.cause.sort {
            Sort::Denied => format!("{workload} cannot create pods: {}", doom.cause.what),
            _ => format!("{}/{} pods of {workload}: {}", doom.broken, doom.total, doom.cause.what),
        });
    }
    let current = state.observed_generation >= state.generation;
    let progress = state.conditions.get("Progressing").filter(|_| current)?;
    let late = progress.status == "False" && progress.reason == "ProgressDeadlineExceeded";
    if late {
        let waiting = slowest(snapshot, workload, now).unwrap_or_else(|| progress.message.clone());
        return Some(format!("{workload} made no progress within its deadline: {waiting}"));
    }
    None
}

/// What no waiting cures, counted against what the workload's own strategy tolerates: one unlucky pod is no failed
/// release; all new pods are, or more than may be away.
#[must_use]
pub fn doom(snapshot: &Snapshot, workload: &ObjectRef, state: &Workload, now: Timestamp) -> Option<Doom> {
    // Until the controller has seen the spec, the newest pods are those of the one before.
    if state.observed_generation < state.generation {
        return None;
    }
    let pods = examined(snapshot, workload, now);
    // What a node did to a pod says nothing about the release, and another pod takes its place.
    let own: Vec<_> = pods.iter().filter(|(_, _, cause)| !is_nodes(cause.as_ref())).collect();
    let mut causes: BTreeMap<&Cause, Vec<&str>> = BTreeMap::new();
    for (name, _, cause) in &own {
        if let Some(cause) = cause.as_ref().filter(|cause| cause.sure) {
            causes.entry(cause).or_default().push(name);
        }
    }
    let mut broken: usize = causes.values().map(Vec::len).sum();
    if causes.keys().any(|cause| cause.sort == Sort::Crash) {
        // Between two crashes a process runs for a moment: it is no better than the others.
        broken += own.iter().filter(|(_, pod, cause)| is_between_crashes(pod, cause.as_ref())).count();
    }
    let total = own.len();
    let tolerated = state.tolerance.max(state.desired / 2) as usize;
    if broken > 0 && (broken == total || broken > tolerated || state.ordered) {
        let (cause, names) = causes.into_iter().max_by_key(|(_, names)| names.len())?;
        let pod = names.first().map(|name| (*name).to_owned());
        // Others are about to come to the same: they count among the afflicted, not for the verdict.
        let alike =
            own.iter().filter(|(_, _, other)| other.as_ref().is_some_and(|o| o.sort == cause.sort)).count();
        return Some(Doom { cause: cause.clone(), broken: broken.max(alike), total, pod });
    }
    let cause = denial(snapshot, workload, state).filter(|cause| cause.sure)?;
    (pods.len() < state.desired as usize).then_some(Doom { cause, broken: 0, total, pod: None })
}

fn is_nodes(cause: Option<&Cause>) -> bool {
    cause.is_some_and(|cause| cause.sort == Sort::Node)
}

fn is_between_crashes(pod: &Pod, cause: Option<&Cause>) -> bool {
    cause.is_none_or(|cause| !cause.sure) && pod.containers.iter().any(|c| !c.ready && c.restarts >= 2)
}

/// The workload's newest pods that are there to stay, each with its cause.
fn examined<'s>(
    snapshot: &'s Snapshot,
    workload: &'s ObjectRef,
    now: Timestamp,
) -> Vec<(&'s str, &'s Pod, Option<Cause>)> {
    let alive = snapshot.current_pods(workload).into_iter().filter(|(_, pod)| !pod.terminating);
    alive
        .map(|(name, pod)| {
            let patient = Patient { snapshot, namespace: &workload.namespace, name, pod, now };
            (name, pod, patient.cause())
        })
        .collect()
}

/// Why the controller may not create pods: its own condition, or the events about it.
fn denial(snapshot: &Snapshot, workload: &ObjectRef, state: &Workload) -> Option<Cause> {
    let namespace = &workload.namespace;
    let condition = state.conditions.get("ReplicaFailure").filter(|c| c.status == "True");
    let cause = match condition {
        Some(condition) => pods::denied(namespace, &condition.message),
        // A Deployment has the condition; of the others only events speak.
        None if workload.kind == "Deployment" => return None,
        None => pods::denial(snapshot, namespace, &workload.to_string(), state.changed)?,
    };
    // Old pods that leave make room in a quota.
    let room_to_come = state.tolerance > 0 && state.total > state.updated && cause.what.contains("quota ");
    Some(if room_to_come { Cause { sure: false, ..cause } } else { cause })
}

fn judge_job(snapshot: &Snapshot, workload: &ObjectRef, state: &Workload, now: Timestamp) -> Verdict {
    let holds = |name: &str| state.conditions.get(name).filter(|c| c.status == "True");
    if let Some(condition) = holds("Failed") {
        let pods = snapshot.current_pods(workload);
        let cause = pods.into_iter().find_map(|(name, pod)| {
            Patient { snapshot, namespace: &workload.namespace, name, pod, now }.cause()
        });
        let cause = cause.map_or_else(String::new, |cause| format!(" ({})", cause.what));
        return failed(format!("{workload} failed: {}{cause}", condition.message));
    }
    if holds("Complete").is_some() {
        return Verdict::Healthy;
    }
    if state.paused {
        return assumed(format!("{workload} is suspended"));
    }
    // What cannot start is not helped by the Job's own retries; a pod that ended badly is.
    let doom = doom(snapshot, workload, state, now);
    if let Some(doom) = doom.filter(|doom| !matches!(doom.cause.sort, Sort::PodFailed | Sort::Crash)) {
        return failed(format!("{workload} cannot run: {}", doom.cause.what));
    }
    let detail = slowest(snapshot, workload, now).map_or_else(String::new, |why| format!(" ({why})"));
    pending(format!("{workload} to complete{detail}"))
}

fn judge_replicas(snapshot: &Snapshot, workload: &ObjectRef, state: &Workload, now: Timestamp) -> Verdict {
    let wanted = state.desired;
    let detail = || {
        let why = slowest(snapshot, workload, now).or_else(|| {
            let denial = denial(snapshot, workload, state)?;
            Some(format!("no pod may be created: {}", denial.what))
        });
        why.map_or_else(String::new, |why| format!(" ({why})"))
    };
    let away = nodes_away(snapshot, workload, now);
    // As many as its own strategy lets be away, and one in any case: beyond that the release may be what its nodes suffer
    // from. Where no pod is ready nothing is known.
    let excused = (away.len() as u32).min(state.tolerance.max(1)).min(wanted.saturating_sub(1));
    let to_update = if state.on_delete { 0 } else { wanted.saturating_sub(state.partition) };
    if state.updated < to_update.saturating_sub(excused) {
        if state.paused {
            return failed(format!("{workload} is paused: nothing new is rolled out until it is resumed"));
        }
        return pending(format!("{}/{to_update} pods updated{}", state.updated, detail()));
    }
    let there = state.available.min(state.ready);
    if there < wanted.saturating_sub(excused) {
        return pending(format!("{there}/{wanted} pods ready{}", detail()));
    }
    if state.total > wanted {
        return pending(format!("{} old pods to go", state.total - wanted));
    }
    if there < wanted || state.updated < to_update {
        let nodes = away.into_iter().collect::<Vec<_>>().join(", ");
        return assumed(format!(
            "{there}/{wanted} pods of {workload} are ready, the rest is on nodes that are away: {nodes}"
        ));
    }
    Verdict::Healthy
}

/// Nodes of a `DaemonSet` that do not answer. It wants a pod on them all the same, for as long as they are in the cluster,
/// where any other workload gets its pods elsewhere.
fn nodes_away<'s>(snapshot: &'s Snapshot, workload: &ObjectRef, now: Timestamp) -> BTreeSet<&'s str> {
    if workload.kind != "DaemonSet" {
        return BTreeSet::new();
    }
    let pods = snapshot.current_pods(workload);
    let served: BTreeSet<&str> =
        pods.iter().filter(|(_, pod)| pod.ready).map(|(_, pod)| pod.node.as_str()).collect();
    let cut_off = pods.into_iter().filter(|(name, pod)| {
        Patient { snapshot, namespace: &workload.namespace, name, pod, now }.is_cut_off()
    });
    cut_off.map(|(_, pod)| pod.node.as_str()).filter(|node| !served.contains(node)).collect()
}

fn judge_pod(snapshot: &Snapshot, reference: &ObjectRef, now: Timestamp) -> Verdict {
    let Some((name, pod)) = snapshot.pods.get_key_value(&reference.name) else {
        return pending(format!("{reference} to exist"));
    };
    if pod.ready || pod.phase == "Succeeded" {
        return Verdict::Healthy;
    }
    match (Patient { snapshot, namespace: &reference.namespace, name, pod, now }).cause() {
        // Nobody makes a bare pod anew.
        Some(cause) if cause.sure || (cause.sort == Sort::Node && pod.phase == "Failed") => {
            failed(format!("{reference}: {}", cause.what))
        }
        Some(cause) => pending(format!("{reference} to be ready ({})", cause.what)),
        None => pending(format!("{reference} to be ready")),
    }
}

fn judge_replica_set(snapshot: &Snapshot, reference: &ObjectRef, now: Timestamp) -> Verdict {
    let Some(set) = snapshot.replica_sets.get(&reference.name) else {
        return pending(format!("{reference} to exist"));
    };
    if set.observed_generation < set.generation {
        return pending(format!("the controller to see {reference}"));
    }
    if let Some(condition) = set.conditions.get("ReplicaFailure").filter(|c| c.status == "True") {
        let cause = pods::denied(&reference.namespace, &condition.message);
        if cause.sure {
            return failed(format!("{reference} cannot create pods: {}", cause.what));
        }
    }
    let own = snapshot.pods.iter().filter(|(_, pod)| pod.owner_uid == set.uid && !pod.terminating);
    let causes: Vec<Cause> = own
        .filter_map(|(name, pod)| {
            Patient { snapshot, namespace: &reference.namespace, name, pod, now }.cause()
        })
        .collect();
    let sure = causes.iter().filter(|cause| cause.sure).count();
    if let Some(cause) = causes.iter().find(|cause| cause.sure).filter(|_| sure > set.desired as usize / 2) {
        return failed(format!("{sure}/{} pods of {reference}: {}", set.desired, cause.what));
    }
    match (set.ready.min(set.total), set.desired) {
        (ready, wanted) if ready >= wanted && set.total == wanted => Verdict::Healthy,
        (ready, wanted) => {
            let why = causes.first().map_or_else(String::new, |cause| format!(" ({})", cause.what));
            pending(format!("{ready}/{wanted} pods ready{why}"))
        }
    }
}

/// Why its controller may create no pods, if that is so.
#[must_use]
pub fn refusal(snapshot: &Snapshot, workload: &ObjectRef) -> Option<Cause> {
    let state = snapshot.workloads.get(workload)?;
    let short = snapshot.current_pods(workload).len() < state.desired as usize;
    denial(snapshot, workload, state).filter(|_| short)
}

/// The pod in which the cause shows best: a sure one before an unsure one.
#[must_use]
pub fn suspect(snapshot: &Snapshot, workload: &ObjectRef, now: Timestamp) -> Option<(String, Cause)> {
    let pods = examined(snapshot, workload, now);
    let known = pods.into_iter().filter_map(|(name, _, cause)| Some((name.to_owned(), cause?)));
    known.filter(|(_, cause)| cause.sort != Sort::Node).max_by_key(|(_, cause)| cause.sure)
}

/// What the least advanced pod waits for.
fn slowest(snapshot: &Snapshot, workload: &ObjectRef, now: Timestamp) -> Option<String> {
    let pods = examined(snapshot, workload, now);
    let unready = || pods.iter().filter(|(_, pod, _)| !pod.ready && pod.phase != "Succeeded");
    let known = unready().find_map(|(name, _, cause)| Some(format!("{name}: {}", cause.as_ref()?.what)));
    known.or_else(|| {
        unready().find_map(|(name, pod, _)| {
            let container = pod.containers.iter().find(|c| !c.ready && !c.init)?;
            Some(match &container.waiting {
                Some((reason, message)) if message.is_empty() => format!("{name}: {reason}"),
                Some((reason, message)) => format!("{name}: {reason}: {message}"),
                None => format!("{name}: container {} is not ready", container.name),
            })
        })
    })
}

#[cfg(test)]
#[path = "workloads_tests.rs"]
mod tests;
