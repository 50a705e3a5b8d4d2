//! A pod's own counters, read through the API server.

use crate::domain::counters::{CounterNames, PodSample};
use crate::ports::Cluster;
use crate::rollout::exposition::Exposition;
use serde_json::Value;
use std::time::Duration;

/// Longest wait for one pod: less than the time to the next look.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Largest answer that is read, bytes.
const LIMIT: usize = 16 << 20;

/// Where the pods of a workload tell their counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    port: String,
    path: String,
}

impl Endpoint {
    /// As the pod template says: by the annotations `prometheus.io/port` and `prometheus.io/path`, else at the port named
    /// `metrics`, else at the first port of all; `/metrics`.
    pub fn of(workload: &Value) -> Self {
        let template = &workload["spec"]["template"];
        let annotation = |name: &str| template["metadata"]["annotations"][name].as_str().map(str::to_owned);
        let containers = template["spec"]["containers"].as_array().into_iter().flatten();
        let ports: Vec<&Value> =
            containers.flat_map(|one| one["ports"].as_array().into_iter().flatten()).collect();
        let named = ports.iter().find(|port| port["name"] == "metrics").or(ports.first());
        let number = named.and_then(|port| port["containerPort"].as_u64()).map(|port| port.to_string());
        Self {
            port: annotation("prometheus.io/port").or(number).unwrap_or_default(),
            path: annotation("prometheus.io/path").unwrap_or_else(|| "/metrics".to_owned()),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, ":{}{}", self.port, self.path)
    }
}

/// Reads one pod's counters. `at` is the moment that all pods of a look share.
///
/// # Errors
/// Why they could not be read, in words.
pub(super) async fn pod(
    cluster: &dyn Cluster,
    namespace: &str,
    pod: &str,
    endpoint: &Endpoint,
    names: &CounterNames,
    at: f64,
) -> Result<PodSample, String> {
    let target = if endpoint.port.is_empty() {
        format!("pods/{pod}")
    } else {
        format!("pods/{pod}:{}", endpoint.port)
    };
    let mut exposition = Exposition::new(names);
    let mut sink = |piece: &[u8]| exposition.feed(piece);
    cluster
        .stream(namespace, &target, &endpoint.path, LIMIT, TIMEOUT, &mut sink)
        .await
        .map_err(|error| error.message)?;
    exposition.finish(pod, at).ok_or_else(|| format!("{} tells no metrics", endpoint.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_template_says_where_the_counters_are() {
        let of = |annotations: Value, ports: Value| {
            Endpoint::of(&json!({"spec": {"template": {
                "metadata": {"annotations": annotations}, "spec": {"containers": [{"ports": ports}, {}]}}}}))
            .to_string()
        };
        assert_eq!(of(json!({}), json!([{"containerPort": 8080}])), ":8080/metrics");
        let ports = json!([{"containerPort": 8080}, {"name": "metrics", "containerPort": 9102}]);
        assert_eq!(of(json!({}), ports.clone()), ":9102/metrics");
        assert_eq!(of(json!({"prometheus.io/port": "1", "prometheus.io/path": "/m"}), ports), ":1/m");
        assert_eq!(Endpoint::of(&json!({})).to_string(), ":/metrics");
    }
}
