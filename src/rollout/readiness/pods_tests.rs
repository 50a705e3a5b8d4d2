//! Each cause as kubelets, schedulers and controllers say it.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn waiting(reason: &str, message: &str, restarts: u32) -> Container {
    Container {
        name: "api".into(),
        image: "shop/api:2".into(),
        restarts,
        waiting: Some((reason.into(), message.into())),
        probes: [
            ("readiness".into(), "GET /ready on port 8080".into()),
            ("liveness".into(), "GET /live on port 8080".into()),
        ]
        .into(),
        ..Container::default()
    }
}

fn cause_of(container: Container, events: &[(&str, &str)], age: i64) -> Option<Cause> {
    let pod = Pod {
        phase: "Pending".into(),
        created: Some(at(1000)),
        containers: vec![container],
        ..Pod::default()
    };
    of(&pod, events, age)
}

fn of(pod: &Pod, events: &[(&str, &str)], age: i64) -> Option<Cause> {
    let event = |(reason, message): &(&str, &str)| Event {
        about: "Pod/p".into(),
        reason: (*reason).into(),
        message: (*message).into(),
        count: 1,
        last: None,
    };
    let snapshot = Snapshot { warnings: events.iter().map(event).collect(), ..Snapshot::default() };
    Patient { snapshot: &snapshot, namespace: "shop", name: "p", pod, now: at(1000 + age) }.cause()
}

#[test]
fn a_container_that_cannot_start_says_which_object_or_key_is_missing() {
    let cases = [
        (r#"secret "db" not found"#, 5, "container api cannot start: Secret db does not exist", false),
        (r#"secret "db" not found"#, 15, "container api cannot start: Secret db does not exist", true),
        (
            "couldn't find key PASSWORD in Secret shop/db",
            15,
            "container api cannot start: Secret db has no key PASSWORD",
            true,
        ),
        (
            r#"configmap "api" not found"#,
            15,
            "container api cannot start: ConfigMap api does not exist",
            true,
        ),
        (
            "failed to sync secret cache: timed out waiting for the condition",
            15,
            "container api cannot start: CreateContainerConfigError: failed to sync secret cache: timed out waiting for the condition",
            false,
        ),
    ];
    for (message, age, what, sure) in cases {
        let cause = cause_of(waiting("CreateContainerConfigError", message, 0), &[], age).unwrap();
        assert_eq!((cause.what.as_str(), cause.sure, cause.sort), (what, sure, Sort::Config));
    }
}

#[test]
fn a_pull_is_explained_by_its_event_where_the_status_leaves_it_out() {
    let said = [("Failed", r#"Failed to pull image "shop/api:2": unauthorized: authentication required"#)];
    let back_off = waiting("ImagePullBackOff", r#"Back-off pulling image "shop/api:2""#, 0);
    let cause = cause_of(back_off, &said, 5).unwrap();
    assert_eq!((cause.sort, cause.sure), (Sort::ImageUnauthorized, true));
    let first = cause_of(waiting("ErrImagePull", "not found", 0), &[], 5).unwrap();
    assert_eq!((first.sort, first.sure), (Sort::ImageNotFound, false), "the first try is no verdict");
}

#[test]
fn a_crash_says_how_it_ended_and_what_killed_it() {
    let crash = |restarts, code, reason: &str| Container {
        last_exit: Some((code, reason.into())),
        ..waiting("CrashLoopBackOff", "back-off", restarts)
    };
    let what = |container, events: &[(&str, &str)]| cause_of(container, events, 5).unwrap().what;
    assert_eq!(
        what(crash(3, 137, "OOMKilled"), &[]),
        "container api crashes again and again (3 restarts, last exit 137 (out of memory))"
    );
    let live = [("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500")];
    assert_eq!(
        what(crash(3, 143, "Error"), &live),
        "container api is killed again and again (3 restarts, last exit 143 (terminated, SIGTERM)): its liveness probe fails: GET /live on port 8080 answered 500"
    );
    assert!(!cause_of(crash(1, 1, "Error"), &[], 5).unwrap().sure);
}

#[test]
fn probes_volumes_and_nodes_are_named_and_waited_for() {
    let running = Container { waiting: None, ..waiting("", "", 0) };
    let probe = cause_of(
        running.clone(),
        &[("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")],
        5,
    );
    let probe = probe.unwrap();
    assert_eq!(probe.what, "container api: its readiness probe fails: GET /ready on port 8080 answered 503");
    assert!(!probe.sure);
    let refused = cause_of(
        running,
        &[(
            "Unhealthy",
            r#"Readiness probe failed: Get "http://10.0.0.1:8080/ready": dial tcp 10.0.0.1:8080: connect: connection refused"#,
        )],
        5,
    );
    assert!(refused.unwrap().what.ends_with("GET /ready on port 8080: connection refused"));

    let creating = waiting("ContainerCreating", "", 0);
    let mount = [("FailedMount", r#"MountVolume.SetUp failed for volume "cfg" : configmap "api" not found"#)];
    let early = cause_of(creating.clone(), &mount, 5).unwrap();
    let late = cause_of(creating.clone(), &mount, 40).unwrap();
    assert_eq!(late.what, "volume cfg cannot be mounted: ConfigMap api does not exist");
    assert!(late.sure && !early.sure);
    let attach = [(
        "FailedAttachVolume",
        r#"Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) old"#,
    )];
    assert!(!cause_of(creating, &attach, 500).unwrap().sure, "the old pod may leave it yet");

    let huge = "0/6 nodes are available: 6 Insufficient cpu.".to_owned();
    let pod = Pod { unschedulable: Some(huge), created: Some(at(1000)), ..Pod::default() };
    assert!(!of(&pod, &[], 60).unwrap().sure && of(&pod, &[], 130).unwrap().sure);
    let evicted = Pod { disrupted: Some("Evicted".into()), phase: "Failed".into(), ..Pod::default() };
    assert_eq!(of(&evicted, &[], 0).unwrap().sort, Sort::Node);
    let crash = Container { last_exit: Some((1, "Error".into())), ..waiting("CrashLoopBackOff", "", 9) };
    let dying = Pod { containers: vec![crash], ..Pod::default() };
    assert_eq!(of(&dying, &[("NodeNotReady", "Node is not ready")], 0).unwrap().sort, Sort::Node);
}

#[test]
fn a_pod_that_ended_badly_says_how() {
    let ended = Container {
        ended: true,
        last_exit: Some((127, "Error".into())),
        waiting: None,
        ..waiting("", "", 0)
    };
    let pod = Pod { phase: "Failed".into(), containers: vec![ended], ..Pod::default() };
    let what = "the pod failed: container api ended with exit 127 (command not found)";
    assert_eq!(of(&pod, &[], 0).unwrap().what, what);
}
