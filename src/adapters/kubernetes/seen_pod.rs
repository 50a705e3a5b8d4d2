//! A watched pod, read straight from the server's JSON, and what it is in the domain's words. Pure.

use crate::adapters::kubernetes::seen::{Meta, SeenCondition};
use crate::domain::observed::{Container, Pod};
use crate::domain::quantity;
use crate::domain::secret::redact;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SeenPod {
    pub metadata: Meta,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
    containers: Vec<ContainerSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerSpec {
    name: String,
    resources: Resources,
    readiness_probe: Option<Probe>,
    liveness_probe: Option<Probe>,
    startup_probe: Option<Probe>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Probe {
    http_get: Option<HttpGet>,
    tcp_socket: Option<Socket>,
    grpc: Option<Socket>,
    exec: Option<Exec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HttpGet {
    path: String,
    port: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Socket {
    port: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Exec {
    command: Vec<String>,
}

impl Probe {
    /// What it asks: `GET /ready on port 8080`.
    fn describe(&self) -> String {
        // A port is a number or the name of one.
        let plain = |port: &Value| port.as_str().map_or_else(|| port.to_string(), str::to_owned);
        if let Some(HttpGet { path, port }) = &self.http_get {
            let path = if path.is_empty() { "/" } else { path };
            return format!("GET {path} on port {}", plain(port));
        }
        if let Some(socket) = &self.tcp_socket {
            return format!("TCP port {}", plain(&socket.port));
        }
        if let Some(grpc) = &self.grpc {
            return format!("gRPC port {}", plain(&grpc.port));
        }
        self.exec.as_ref().map(|exec| exec.command.join(" ")).unwrap_or_default()
    }
}

impl ContainerSpec {
    fn probes(&self) -> BTreeMap<String, String> {
        let all = [
            ("readiness", &self.readiness_probe),
            ("liveness", &self.liveness_probe),
            ("startup", &self.startup_probe),
        ];
        all.into_iter()
            .filter_map(|(name, probe)| Some((name.to_owned(), probe.as_ref()?.describe())))
            .collect()
    }
}

impl PodSpec {
    /// What the containers request together. Init containers run before the others and seldom ask for more.
    fn requests(&self) -> BTreeMap<String, u64> {
        let mut sum: BTreeMap<String, u64> = BTreeMap::new();
        for (resource, amount) in self.containers.iter().flat_map(|container| &container.resources.requests) {
            // `cpu: 1` is a number in JSON.
            let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
            *sum.entry(resource.clone()).or_default() += quantity::thousandths(&text).unwrap_or(0);
        }
        sum
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: String,
    reason: String,
    message: String,
    conditions: Vec<SeenCondition>,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    image: String,
    ready: bool,
    restart_count: u32,
    state: ContainerState,
    last_state: ContainerState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Phase>,
    terminated: Option<Phase>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Phase {
    reason: String,
    message: String,
    exit_code: i32,
}

impl SeenPod {
    pub(crate) fn into_domain(self) -> Pod {
        let Self { metadata, spec, status } = self;
        let condition = |kind: &str| status.conditions.iter().find(|condition| condition.r#type == kind);
        let unschedulable = condition("PodScheduled")
            .filter(|c| c.status == "False" && c.reason == "Unschedulable")
            .map(|c| c.message.clone());
        let disrupted = condition("DisruptionTarget")
            .filter(|c| c.status == "True")
            .map(|c| c.reason.clone())
            .or_else(|| is_disruption(&status.reason).then(|| status.reason.clone()))
            .or_else(|| (status.phase == "Unknown").then(|| "NodeUnreachable".to_owned()));
        let probes: BTreeMap<&str, BTreeMap<String, String>> =
            spec.containers.iter().map(|container| (container.name.as_str(), container.probes())).collect();
        let containers = |statuses: Vec<ContainerStatus>, init: bool| {
            let all = statuses.into_iter().map(|status| {
                let probes = probes.get(status.name.as_str()).filter(|_| !init).cloned().unwrap_or_default();
                Container { init, probes, ..status.into_domain() }
            });
            all.collect::<Vec<_>>()
        };
        Pod {
            owner_uid: metadata.controller(),
            ready: condition("Ready").is_some_and(|c| c.status == "True"),
            terminating: metadata.deletion_timestamp.is_some(),
            unschedulable,
            disrupted,
            created: metadata.creation_timestamp,
            message: if status.message.is_empty() { status.reason } else { status.message },
            requests: spec.requests(),
            containers: [
                containers(status.init_container_statuses, true),
                containers(status.container_statuses, false),
            ]
            .concat(),
            labels: metadata.labels,
            phase: status.phase,
            node: spec.node_name,
        }
    }
}

/// Reasons that a kubelet or the node's controller gives when the pod itself did nothing wrong.
fn is_disruption(reason: &str) -> bool {
    matches!(reason, "Evicted" | "Preempting" | "NodeLost" | "NodeShutdown" | "Terminated" | "Shutdown")
}

impl ContainerStatus {
    fn into_domain(self) -> Container {
        let ended = self.state.terminated.is_some();
        // A container that has ended for good tells so in `state`, one that was started again in `lastState`.
        let exit = self.state.terminated.or(self.last_state.terminated);
        Container {
            name: self.name,
            image: self.image,
            ready: self.ready,
            restarts: self.restart_count,
            waiting: self
                .state
                .waiting
                .map(|waiting| (waiting.reason, redact(&waiting.message).into_owned())),
            exit_message: exit
                .as_ref()
                .map(|exit| redact(exit.message.trim()).into_owned())
                .unwrap_or_default(),
            last_exit: exit.map(|exit| (exit.exit_code, exit.reason)),
            ended,
            ..Container::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_tells_why_it_does_not_run() {
        let seen: SeenPod = serde_json::from_value(json!({
            "metadata": { "name": "api-x", "labels": { "app": "api" }, "deletionTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [ { "uid": "other" }, { "uid": "rs", "controller": true } ] },
            "spec": { "nodeName": "n1", "containers": [
                { "name": "api", "resources": { "requests": { "cpu": "250m", "memory": "1Gi" } },
                  "readinessProbe": { "httpGet": { "path": "/ready", "port": 8080 } },
                  "livenessProbe": { "tcpSocket": { "port": "http" } } },
                { "name": "proxy", "resources": { "requests": { "cpu": 1 } } } ] },
            "status": { "phase": "Running",
                "conditions": [ { "type": "Ready", "status": "False" },
                    { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no gpu" } ],
                "initContainerStatuses": [ { "name": "migrate", "restartCount": 0,
                    "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } } ],
                "containerStatuses": [ { "name": "api", "image": "api:2", "ready": false, "restartCount": 3,
                    "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s" } },
                    "lastState": { "terminated": { "exitCode": 137, "reason": "OOMKilled", "message": "oom\n" } } } ] },
        }))
        .unwrap();
        let pod = seen.into_domain();
        assert_eq!((pod.owner_uid.as_str(), pod.node.as_str()), ("rs", "n1"));
        assert!(pod.terminating && !pod.ready);
        assert_eq!(pod.unschedulable.as_deref(), Some("no gpu"));
        let names: Vec<&str> = pod.containers.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["migrate", "api"]);
        let api = &pod.containers[1];
        assert_eq!(api.waiting, Some(("CrashLoopBackOff".into(), "back-off 40s".into())));
        assert_eq!(api.last_exit, Some((137, "OOMKilled".into())));
        assert_eq!(api.exit_message, "oom");
        assert_eq!(api.probes["readiness"], "GET /ready on port 8080");
        assert_eq!(api.probes["liveness"], "TCP port http");
        assert!(pod.containers[0].init && !api.init && pod.containers[0].ended && !api.ended);
        assert_eq!((pod.requests["cpu"], pod.requests["memory"]), (1250, 1_073_741_824_000));
        assert_eq!(pod.containers[0].last_exit, Some((0, "Completed".into())));
    }
}
