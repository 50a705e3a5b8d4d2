//! Workloads as their controllers leave them, made by hand; recorded ones are in `tests/it/adapters/recorded.rs`.

use super::*;
use crate::domain::observed::{Condition, Container, Event, ReplicaSet};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

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
    let set = ReplicaSet {
        uid: "rs".into(),
        owner_uid: "d".into(),
        rollout_revision: "1".into(),
        desired,
        ..ReplicaSet::default()
    };
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
            pending("1/2 pods ready (api-r2-abc-1: container api is not ready)"),
        ),
        (
            "one unlucky pod among three",
            3,
            vec![running(true), running(true), waiting("CrashLoopBackOff", 3)],
            pending("2/3 pods ready (api-r2-abc-2: container api crashes again and again (3 restarts, last exit 1 (Error)))"),
        ),
        (
            "all crash",
            2,
            vec![waiting("CrashLoopBackOff", 3), waiting("CrashLoopBackOff", 3)],
            Verdict::Failed {
                why: "2/2 pods of Deployment/api-r2: container api crashes again and again (3 restarts, last exit 1 (Error))"
                    .into(),
            },
        ),
        (
            "first crash is no verdict",
            1,
            vec![waiting("CrashLoopBackOff", 1)],
            pending("0/1 pods ready (api-r2-abc-0: container api ended and is started again, last exit 1 (Error))"),
        ),
        (
            "image missing",
            1,
            vec![waiting("ImagePullBackOff", 0)],
            Verdict::Failed {
                why: "1/1 pods of Deployment/api-r2: image shop/api:2 cannot be pulled: not found, the registry has no such image or tag".into(),
            },
        ),
    ];
    for (name, desired, pods, expected) in cases {
        let (snapshot, workload) = snapshot(desired, pods);
        assert_eq!(judge(&snapshot, &workload, NOW), expected, "{name}");
    }
}

#[test]
fn a_stale_status_is_never_taken_for_readiness() {
    let (mut snapshot, workload) = snapshot(1, vec![running(true)]);
    snapshot.workloads.get_mut(&workload).unwrap().generation = 3;
    assert!(matches!(judge(&snapshot, &workload, NOW), Verdict::Pending { .. }));
    snapshot.synced = false;
    assert!(matches!(judge(&snapshot, &workload, NOW), Verdict::Pending { .. }));
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
    assert_eq!(judge(&snapshot, &workload, NOW), Verdict::Failed { why });
}

fn told(about: &str, reason: &str, message: &str, second: i64) -> Event {
    Event {
        about: about.into(),
        reason: reason.into(),
        message: message.into(),
        count: 1,
        last: Some(Timestamp::from_second(second).unwrap()),
    }
}

fn fails(snapshot: &Snapshot, workload: &ObjectRef) -> bool {
    matches!(judge(snapshot, workload, NOW), Verdict::Failed { .. })
}

#[test]
fn what_a_node_did_to_a_pod_is_no_fault_of_the_release() {
    let crash = || waiting("CrashLoopBackOff", 5);
    let (mut one, workload) = snapshot(3, vec![crash()]);
    assert!(fails(&one, &workload), "the first new pod of a rolling update crashes");
    one.warnings.push(told("Pod/api-r2-abc-0", "NodeNotReady", "Node is not ready", 1));
    assert!(!fails(&one, &workload), "its node is dying");
    let evicted = Pod { disrupted: Some("Evicted".into()), ..crash() };
    let (snapshot, workload) = snapshot(3, vec![evicted, running(true), running(false)]);
    assert!(!fails(&snapshot, &workload));
}

#[test]
fn the_strategys_own_tolerance_counts() {
    let pods =
        || (0..4).map(|n| if n < 3 { waiting("CrashLoopBackOff", 5) } else { running(true) }).collect();
    let (mut snapshot, workload) = snapshot(4, pods());
    assert!(fails(&snapshot, &workload), "3 of 4, and none may be away");
    snapshot.workloads.get_mut(&workload).unwrap().tolerance = 3;
    assert!(!fails(&snapshot, &workload), "3 of 4, and 3 may be away");
}

#[test]
fn one_broken_pod_of_an_ordered_set_holds_up_all_that_follow() {
    let set = ObjectRef::new("apps/v1", "StatefulSet", "shop", "db");
    let state = Workload { uid: "s".into(), desired: 3, ordered: true, ..Workload::default() };
    let owned = |pod: Pod| Pod { owner_uid: "s".into(), ..pod };
    let mut snapshot = Snapshot { synced: true, ..Snapshot::default() };
    snapshot.workloads.insert(set.clone(), state);
    snapshot.pods.insert("db-0".into(), owned(running(true)));
    snapshot.pods.insert("db-1".into(), owned(waiting("CrashLoopBackOff", 3)));
    assert!(fails(&snapshot, &set));
    snapshot.workloads.get_mut(&set).unwrap().ordered = false;
    assert!(!fails(&snapshot, &set));
}

#[test]
fn events_tell_why_a_set_makes_no_pods_but_only_those_since_it_was_written() {
    let set = ObjectRef::new("apps/v1", "StatefulSet", "shop", "db");
    let written = Timestamp::from_second(100).unwrap();
    let state = Workload { desired: 3, changed: Some(written), ..Workload::default() };
    let mut snapshot = Snapshot { synced: true, ..Snapshot::default() };
    snapshot.workloads.insert(set.clone(), state);
    let quota = "create Pod db-0 in StatefulSet db failed error: pods \"db-0\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5";
    snapshot.warnings.push(told("StatefulSet/db", "FailedCreate", quota, 90));
    assert!(!fails(&snapshot, &set), "that was before");
    snapshot.warnings.push(told("StatefulSet/db", "FailedCreate", quota, 100));
    let why = "StatefulSet/db cannot create pods: quota q is used up: requested pods=1, used: pods=5, limited: pods=5";
    assert_eq!(judge(&snapshot, &set, NOW), Verdict::Failed { why: why.into() });
}

#[test]
fn a_quota_is_waited_for_while_old_pods_leave() {
    let (mut snapshot, workload) = snapshot(3, vec![]);
    let message = "exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3";
    let condition =
        Condition { status: "True".into(), reason: "FailedCreate".into(), message: message.into() };
    let state = snapshot.workloads.get_mut(&workload).unwrap();
    state.conditions.insert("ReplicaFailure".into(), condition);
    assert!(fails(&snapshot, &workload));
    let state = snapshot.workloads.get_mut(&workload).unwrap();
    (state.total, state.updated, state.tolerance) = (3, 0, 1);
    let said = "0/3 pods updated (no pod may be created: quota q is used up: requested pods=1, used: pods=3, limited: pods=3)";
    assert_eq!(judge(&snapshot, &workload, NOW), pending(said));
}

#[test]
fn bare_pods_replica_sets_and_jobs() {
    let job = ObjectRef::new("batch/v1", "Job", "shop", "migrate");
    let mut snapshot = Snapshot { synced: true, ..Snapshot::default() };
    let state = Workload { uid: "j".into(), desired: 1, paused: true, ..Workload::default() };
    snapshot.workloads.insert(job.clone(), state);
    assert_eq!(judge(&snapshot, &job, NOW), assumed("Job/migrate is suspended"));
    snapshot.workloads.get_mut(&job).unwrap().paused = false;
    let image = Pod { owner_uid: "j".into(), ..waiting("ImagePullBackOff", 0) };
    snapshot.pods.insert("migrate-x".into(), image);
    assert!(fails(&snapshot, &job), "a Job whose image is missing never ends");

    let pod = ObjectRef::new("v1", "Pod", "shop", "one");
    assert_eq!(judge(&snapshot, &pod, NOW), pending("Pod/one to exist"));
    snapshot.pods.insert("one".into(), running(false));
    assert_eq!(judge(&snapshot, &pod, NOW), pending("Pod/one to be ready"));
    snapshot.pods.insert("one".into(), Pod { phase: "Succeeded".into(), ..Pod::default() });
    assert_eq!(judge(&snapshot, &pod, NOW), Verdict::Healthy);
    snapshot.pods.insert("one".into(), waiting("CrashLoopBackOff", 4));
    assert!(fails(&snapshot, &pod));

    let set = ObjectRef::new("apps/v1", "ReplicaSet", "shop", "rs");
    let state = ReplicaSet { uid: "r".into(), desired: 2, total: 2, ready: 1, ..ReplicaSet::default() };
    snapshot.replica_sets.insert("rs".into(), state.clone());
    assert_eq!(judge(&snapshot, &set, NOW), pending("1/2 pods ready"));
    snapshot.replica_sets.insert("rs".into(), ReplicaSet { ready: 2, ..state });
    assert_eq!(judge(&snapshot, &set, NOW), Verdict::Healthy);
}

/// A `DaemonSet` of three nodes with a pod on each: node, phase, ready, whether its container is ready (`None`: no status).
#[test]
fn a_daemon_set_does_not_wait_for_nodes_that_are_away() {
    type Row = (&'static str, bool, Option<bool>);
    let judge_daemons = |tolerance: u32, updated: u32, rows: [Row; 3]| {
        let name = ObjectRef::new("apps/v1", "DaemonSet", "shop", "agent");
        let ready = rows.iter().filter(|(_, ready, _)| *ready).count() as u32;
        let state = Workload {
            uid: "ds".into(),
            generation: 1,
            observed_generation: 1,
            desired: 3,
            total: 3,
            updated,
            ready,
            available: ready,
            tolerance,
            ..Workload::default()
        };
        let mut snapshot = Snapshot { synced: true, ..Snapshot::default() };
        snapshot.workloads.insert(name.clone(), state);
        for (index, (phase, ready, container)) in rows.into_iter().enumerate() {
            let containers =
                container.map(|ready| Container { name: "agent".into(), ready, ..Container::default() });
            let pod = Pod {
                owner_uid: "ds".into(),
                phase: phase.into(),
                ready,
                node: format!("node-{index}"),
                created: Some(NOW),
                containers: containers.into_iter().collect(),
                ..Pod::default()
            };
            snapshot.pods.insert(format!("agent-{index}"), pod);
        }
        judge(&snapshot, &name, Timestamp::from_second(300).unwrap())
    };
    let (up, broken) = (("Running", true, Some(true)), ("Running", false, Some(false)));
    let (away, unheard) = (("Running", false, Some(true)), ("Pending", false, None));
    let assumed_without = |node: &str| {
        assumed(format!("2/3 pods of DaemonSet/agent are ready, the rest is on nodes that are away: {node}"))
    };
    assert_eq!(judge_daemons(1, 3, [up, up, up]), Verdict::Healthy);
    assert_eq!(judge_daemons(1, 3, [up, up, away]), assumed_without("node-2"));
    assert_eq!(judge_daemons(1, 2, [up, up, away]), assumed_without("node-2"), "it keeps the old pod");
    assert_eq!(judge_daemons(1, 3, [unheard, up, up]), assumed_without("node-0"));
    assert_eq!(
        judge_daemons(0, 3, [up, away, up]),
        assumed_without("node-1"),
        "none may be away for an update"
    );
    for (tolerance, updated, rows) in [
        (1, 3, [up, up, broken]),
        (1, 3, [up, away, broken]),
        (1, 3, [up, away, away]),
        (0, 3, [up, away, unheard]),
        (3, 3, [away, away, away]),
        (1, 1, [up, up, away]),
    ] {
        let verdict = judge_daemons(tolerance, updated, rows);
        assert!(matches!(verdict, Verdict::Pending { .. }), "{tolerance} {updated} {rows:?}: {verdict:?}");
    }
}
