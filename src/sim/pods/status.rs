//! The status of a pod as a kubelet writes it.

use serde_json::{Value, json};

use super::PodRun;
use crate::sim::kube::controllers::object;

/// The state of the containers, all alike.
#[derive(Clone, Debug)]
pub enum Container {
    /// Not running, for this reason.
    Waiting {
        /// Why, in a word.
        reason: &'static str,
        /// Why, for people; may be empty.
        message: String,
    },
    /// Running.
    Running {
        /// RFC 3339.
        since: String,
    },
    /// Ended.
    Ended {
        /// Exit code.
        code: i32,
        /// RFC 3339.
        since: String,
        /// RFC 3339.
        until: String,
    },
}

impl Container {
    fn value(&self, container_id: &str) -> Value {
        match self {
            Self::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
            Self::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
            Self::Running { since } => json!({"running": {"startedAt": since}}),
            Self::Ended { code, since, until } => json!({"terminated": {
                "exitCode": code, "reason": if *code == 0 { "Completed" } else { "Error" },
                "startedAt": since, "finishedAt": until, "containerID": container_id,
            }}),
        }
    }
}

/// The status of `pod` with phase, conditions and containers of `run`; the times of conditions that stay are kept.
#[must_use]
pub fn of(pod: &Value, run: &PodRun, phase: &str, containers: &Container, stamp: &str) -> Value {
    let names: Vec<(String, String)> = object::items(pod, &["spec", "containers"])
        .iter()
        .map(|container| {
            (object::text(container, &["name"]).to_owned(), object::text(container, &["image"]).to_owned())
        })
        .collect();
    let unready = names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ");
    let statuses: Vec<Value> =
        names.iter().map(|(name, image)| container_status(run, name, image, containers)).collect();
    let ended = matches!(phase, "Succeeded" | "Failed");
    let conditions = conditions(pod, run.ready, ended, phase, &unready, stamp);
    let started = match object::text(pod, &["status", "startTime"]) {
        "" => stamp.to_owned(),
        known => known.to_owned(),
    };
    let quality = object::at(pod, &["status", "qosClass"]).clone();
    let mut status = json!({
        "observedGeneration": object::generation(pod),
        "phase": phase,
        "conditions": conditions,
        "hostIP": run.host_ip,
        "hostIPs": [{"ip": run.host_ip}],
        "startTime": started,
        "containerStatuses": statuses,
        "qosClass": if quality.is_null() { json!("BestEffort") } else { quality },
    });
    if run.has_ip {
        status["podIP"] = run.ip.as_str().into();
        status["podIPs"] = json!([{"ip": run.ip}]);
    }
    if run.init_done
        && let Some(init) = init_statuses(pod, stamp)
    {
        status["initContainerStatuses"] = init;
    }
    status
}

fn container_status(run: &PodRun, name: &str, image: &str, state: &Container) -> Value {
    let id = format!("containerd://{:016x}{:04x}", run.seed, run.restarts);
    let running = matches!(state, Container::Running { .. });
    let mut status = json!({
        "name": name,
        "state": state.value(&id),
        "lastState": run.last_state.as_ref().map_or_else(|| json!({}), |last| last.value(&id)),
        "ready": run.ready && running,
        "restartCount": run.restarts,
        "image": image,
        "imageID": if run.pulled { format!("{}@sha256:{:064x}", image.split(':').next().unwrap_or(image), run.seed) } else { String::new() },
        "started": running && run.ready,
    });
    if run.pulled {
        status["containerID"] = id.into();
    }
    status
}

fn conditions(pod: &Value, ready: bool, ended: bool, phase: &str, unready: &str, stamp: &str) -> Vec<Value> {
    let known = |kind: &str| object::condition(pod, kind).cloned();
    let make = |kind: &str, holds: bool, reason: &str, message: String| {
        let status = if holds { "True" } else { "False" };
        let since = known(kind)
            .filter(|old| old["status"] == status)
            .map_or_else(|| stamp.into(), |old| old["lastTransitionTime"].clone());
        let mut condition =
            json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since});
        if !reason.is_empty() {
            condition["reason"] = reason.into();
        }
        if !message.is_empty() {
            condition["message"] = message.into();
        }
        condition
    };
    let (reason, message) = match (ready, ended, phase) {
        (true, ..) => ("", String::new()),
        (_, true, "Succeeded") => ("PodCompleted", String::new()),
        (_, true, _) => ("PodFailed", String::new()),
        _ => ("ContainersNotReady", format!("containers with unready status: [{unready}]")),
    };
    let sandbox = !ended && phase == "Running";
    vec![
        make("PodReadyToStartContainers", sandbox, "", String::new()),
        make("Initialized", true, "", String::new()),
        make("Ready", ready, reason, message.clone()),
        make("ContainersReady", ready, reason, message),
        known("PodScheduled").unwrap_or_else(|| make("PodScheduled", true, "", String::new())),
    ]
}

/// All init containers have done their work.
fn init_statuses(pod: &Value, stamp: &str) -> Option<Value> {
    let containers = object::items(pod, &["spec", "initContainers"]);
    if containers.is_empty() {
        return None;
    }
    let statuses: Vec<Value> = containers
        .iter()
        .map(|container| {
            json!({
                "name": object::text(container, &["name"]), "image": object::text(container, &["image"]),
                "imageID": "", "lastState": {}, "ready": true, "restartCount": 0, "started": false,
                "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": stamp, "finishedAt": stamp}},
            })
        })
        .collect();
    Some(statuses.into())
}
