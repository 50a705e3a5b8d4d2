//! Whether a workload's newest pods are all there and ready, or will never be.
//!
//! The root cause is looked for in the pods first: a crash loop is a failure after seconds, not after the
//! Deployment's own progress deadline.

use super::Verdict;
use crate::domain::object::ObjectRef;
use crate::domain::observed::{Container, Pod, Snapshot, Workload};
use std::collections::BTreeMap;

/// Restarts from which a crash loop is no accident.
const CRASHES_THAT_COUNT: u32 = 2;

/// Judges a workload against the size that it is asked to have.
#[must_use]
pub fn judge(snapshot: &Snapshot, workload: &ObjectRef) -> Verdict {
    if !snapshot.synced {
        return pending(format!("the first look at {}", workload.namespace));
    }
    let Some(state) = snapshot.workloads.get(workload) else {
        return pending(format!("{workload} to exist"));
    };
    if let Some(why) = doomed(snapshot, workload, state) {
        return Verdict::Failed { why };
    }
    if state.observed_generation < state.generation {
        return pending(format!("the controller to see {workload}"));
    }
    match workload.kind.as_str() {
        "Job" => judge_job(workload, state),
        _ => judge_replicas(snapshot, workload, state),
    }
}

/// Why a workload's new pods can never be ready, if so.
#[must_use]
pub fn doomed(snapshot: &Snapshot, workload: &ObjectRef, state: &Workload) -> Option<String> {
    let pods = snapshot.current_pods(workload);
    let alive: Vec<_> = pods.iter().filter(|(_, pod)| !pod.terminating).collect();
    let mut causes: BTreeMap<String, u32> = BTreeMap::new();
    let mut broken = 0;
    for (_, pod) in &alive {
        if let Some(cause) = pod_failure(pod) {
            *causes.entry(cause).or_default() += 1;
            broken += 1;
        }
    }
    let total = alive.len() as u32;
    // One unlucky pod is no failed release; all of them, or more than half of those wanted, are.
    if broken > 0 && (broken == total || broken * 2 > state.desired.max(1)) {
        let (cause, _) = causes.iter().max_by_key(|(_, count)| **count)?;
        return Some(format!("{broken}/{total} pods of {workload}: {cause}"));
    }
    let condition = |name: &str| state.conditions.get(name);
    if let Some(failure) = condition("ReplicaFailure").filter(|c| c.status == "True") {
        return Some(format!("{workload} cannot create pods: {}", failure.message));
    }
    if let Some(progress) = condition("Progressing")
        .filter(|c| c.status == "False" && c.reason == "ProgressDeadlineExceeded")
        .filter(|_| state.observed_generation >= state.generation)
    {
        let waiting = slowest(&alive).unwrap_or_else(|| progress.message.clone());
        return Some(format!("{workload} made no progress within its deadline: {waiting}"));
    }
    None
}

/// Why this pod will not become ready by waiting, if so.
#[must_use]
pub fn pod_failure(pod: &Pod) -> Option<String> {
    if pod.phase == "Failed" {
        return Some("the pod failed".to_owned());
    }
    pod.containers.iter().find_map(container_failure)
}

fn container_failure(container: &Container) -> Option<String> {
    let (reason, message) = container.waiting.as_ref()?;
    let name = &container.name;
    match reason.as_str() {
        "CrashLoopBackOff" if container.restarts >= CRASHES_THAT_COUNT => {
            let exit = container.last_exit.as_ref().map_or_else(String::new, |(code, reason)| {
                format!(", last exit {code} ({})", exit_meaning(*code, reason))
            });
            Some(format!("container {name} crashes again and again ({} restarts{exit})", container.restarts))
        }
        "ImagePullBackOff" => Some(format!("image {} cannot be pulled: {message}", container.image)),
        "InvalidImageName" | "ErrImageNeverPull" => {
            Some(format!("image {}: {reason}: {message}", container.image))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Some(format!("container {name}: {reason}: {message}"))
        }
        _ => None,
    }
}

/// What an exit code says, as the shell and the kernel use it.
#[must_use]
pub fn exit_meaning(code: i32, reason: &str) -> String {
    match code {
        137 if reason == "OOMKilled" => "out of memory".to_owned(),
        137 => "killed, SIGKILL".to_owned(),
        139 => "segmentation fault".to_owned(),
        143 => "terminated, SIGTERM".to_owned(),
        126 => "command not executable".to_owned(),
        127 => "command not found".to_owned(),
        _ => reason.to_owned(),
    }
}

fn judge_job(workload: &ObjectRef, state: &Workload) -> Verdict {
    let holds = |name: &str| state.conditions.get(name).filter(|c| c.status == "True");
    if let Some(failed) = holds("Failed") {
        return Verdict::Failed { why: format!("{workload} failed: {}", failed.message) };
    }
    if holds("Complete").is_some() { Verdict::Healthy } else { pending(format!("{workload} to complete")) }
}

fn judge_replicas(snapshot: &Snapshot, workload: &ObjectRef, state: &Workload) -> Verdict {
    let wanted = state.desired;
    let pods = snapshot.current_pods(workload);
    let detail = || {
        let why = slowest(&pods.iter().filter(|(_, pod)| !pod.terminating).collect::<Vec<_>>());
        why.map_or_else(String::new, |why| format!(" ({why})"))
    };
    if state.updated < wanted {
        return pending(format!("{}/{wanted} pods updated{}", state.updated, detail()));
    }
    if state.available < wanted || state.ready < wanted {
        return pending(format!("{}/{wanted} pods ready{}", state.ready.min(state.available), detail()));
    }
    if state.total > wanted {
        return pending(format!("{} old pods to go", state.total - wanted));
    }
    Verdict::Healthy
}

/// What the least advanced pod waits for.
fn slowest(pods: &[&(&str, &Pod)]) -> Option<String> {
    pods.iter().filter(|(_, pod)| !pod.ready).find_map(|(name, pod)| {
        if let Some(message) = &pod.unschedulable {
            return Some(format!("{name} cannot be scheduled: {message}"));
        }
        let container = pod.containers.iter().find(|c| !c.ready)?;
        Some(match &container.waiting {
            Some((reason, message)) if message.is_empty() => format!("{name}: {reason}"),
            Some((reason, message)) => format!("{name}: {reason}: {message}"),
            None => format!("{name}: container {} is not ready", container.name),
        })
    })
}

fn pending(waiting_for: String) -> Verdict {
    Verdict::Pending { waiting_for }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::observed::{Condition, ReplicaSet};

    fn snapshot(desired: u32, pods: Vec<Pod>) -> (Snapshot, ObjectRef) {
        let name = ObjectRef::deployment("shop", "api-r2");
        let ready = pods.iter().filter(|pod| pod.ready).count() as u32;
        let total = pods.len() as u32;
        let workload = Workload {
            uid: "d".into(),
            generation: 2,
            observed_generation: 2,
            desired,
            total,
            updated: total,
            ready,
            available: ready,
            rollout_revision: "1".into(),
            ..Workload::default()
        };
        let set =
            ReplicaSet { uid: "rs".into(), owner_uid: "d".into(), rollout_revision: "1".into(), desired };
        let mut snapshot = Snapshot { synced: true, ..Snapshot::default() };
        snapshot.workloads.insert(name.clone(), workload);
        snapshot.replica_sets.insert("api-r2-abc".into(), set);
        for (index, mut pod) in pods.into_iter().enumerate() {
            pod.owner_uid = "rs".into();
            snapshot.pods.insert(format!("api-r2-abc-{index}"), pod);
        }
        (snapshot, name)
    }

    fn running(ready: bool) -> Pod {
        let container = Container { name: "api".into(), ready, ..Container::default() };
        Pod { phase: "Running".into(), ready, containers: vec![container], ..Pod::default() }
    }

    fn waiting(reason: &str, restarts: u32) -> Pod {
        let container = Container {
            name: "api".into(),
            image: "shop/api:2".into(),
            restarts,
            waiting: Some((reason.into(), "not found".into())),
            last_exit: Some((1, "Error".into())),
            ..Container::default()
        };
        Pod { phase: "Pending".into(), containers: vec![container], ..Pod::default() }
    }

    #[test]
    fn a_workload_is_judged_by_its_newest_pods() {
        let cases: Vec<(&str, u32, Vec<Pod>, Verdict)> = vec![
            ("all ready", 2, vec![running(true), running(true)], Verdict::Healthy),
            ("none wanted", 0, vec![], Verdict::Healthy),
            (
                "one missing",
                2,
                vec![running(true), running(false)],
                pending("1/2 pods ready (api-r2-abc-1: container api is not ready)".into()),
            ),
            (
                "one unlucky pod among three",
                3,
                vec![running(true), running(true), waiting("CrashLoopBackOff", 3)],
                pending("2/3 pods ready (api-r2-abc-2: CrashLoopBackOff: not found)".into()),
            ),
            (
                "all crash",
                2,
                vec![waiting("CrashLoopBackOff", 2), waiting("CrashLoopBackOff", 3)],
                Verdict::Failed {
                    why: "2/2 pods of Deployment/api-r2: container api crashes again and again (3 restarts, last exit 1 (Error))"
                        .into(),
                },
            ),
            (
                "first crash is no verdict",
                1,
                vec![waiting("CrashLoopBackOff", 1)],
                pending("0/1 pods ready (api-r2-abc-0: CrashLoopBackOff: not found)".into()),
            ),
            (
                "image missing",
                1,
                vec![waiting("ImagePullBackOff", 0)],
                Verdict::Failed {
                    why: "1/1 pods of Deployment/api-r2: image shop/api:2 cannot be pulled: not found".into(),
                },
            ),
        ];
        for (name, desired, pods, expected) in cases {
            let (snapshot, workload) = snapshot(desired, pods);
            assert_eq!(judge(&snapshot, &workload), expected, "{name}");
        }
    }

    #[test]
    fn a_stale_status_is_never_taken_for_readiness() {
        let (mut snapshot, workload) = snapshot(1, vec![running(true)]);
        snapshot.workloads.get_mut(&workload).unwrap().generation = 3;
        assert!(matches!(judge(&snapshot, &workload), Verdict::Pending { .. }));
        snapshot.synced = false;
        assert!(matches!(judge(&snapshot, &workload), Verdict::Pending { .. }));
    }

    #[test]
    fn a_denied_pod_fails_with_the_servers_words() {
        let (mut snapshot, workload) = snapshot(1, vec![]);
        let condition = Condition {
            status: "True".into(),
            reason: "FailedCreate".into(),
            message: "exceeded quota: pods".into(),
        };
        snapshot.workloads.get_mut(&workload).unwrap().conditions.insert("ReplicaFailure".into(), condition);
        let why = "Deployment/api-r2 cannot create pods: exceeded quota: pods".to_owned();
        assert_eq!(judge(&snapshot, &workload), Verdict::Failed { why });
    }
}
