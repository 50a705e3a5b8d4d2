//! What a failure looked like, taken before the rollback deletes it. Bounded in time: it never holds up the way back.

use crate::domain::ids::TargetId;
use crate::domain::object::ObjectRef;
use crate::domain::observed::{Pod, Snapshot};
use crate::ports::Cluster;
use crate::run::world::Site;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time for all logs of one target.
const LOG_TIMEOUT: Duration = Duration::from_secs(2);
/// Lines of a log that are kept.
const LOG_LINES: u32 = 20;

/// Pod states (equal ones clustered), warning events and the last log lines of what the run was bringing in.
pub(super) async fn collect(target: &TargetId, site: &Site, workloads: &[ObjectRef]) -> Vec<String> {
    let Ok(cluster) = site.cluster() else { return Vec::new() };
    let looks = workloads.iter().map(|workload| async move {
        let snapshots = cluster.follow(&workload.namespace);
        let (mut lines, suspect) = {
            let snapshot = snapshots.borrow();
            (pod_states(&snapshot, workload), suspect(&snapshot, workload))
        };
        if let Some((pod, container, restarted)) = suspect {
            lines.extend(logs(cluster.as_ref(), &workload.namespace, &pod, &container, restarted).await);
        }
        lines
    });
    let mut lines = futures::future::join_all(looks).await.concat();
    if let Some(workload) = workloads.first() {
        let snapshots = cluster.follow(&workload.namespace);
        let snapshot = snapshots.borrow();
        let ours = |about: &str| workloads.iter().any(|workload| about.contains(&workload.name));
        let recent = snapshot.warnings.iter().rev().filter(|event| ours(&event.about)).take(10);
        lines.extend(
            recent.map(|e| format!("event {} {} ×{}: {}", e.about, e.reason, e.count.max(1), e.message)),
        );
    }
    lines.into_iter().map(|line| format!("{target}: {line}")).collect()
}

fn pod_states(snapshot: &Snapshot, workload: &ObjectRef) -> Vec<String> {
    let pods = snapshot.current_pods(workload);
    let total = pods.len();
    let mut clusters: BTreeMap<String, usize> = BTreeMap::new();
    for (_, pod) in &pods {
        *clusters.entry(state_of(pod)).or_default() += 1;
    }
    clusters
        .into_iter()
        .map(|(state, count)| format!("{}: {count}/{total} pods {state}", workload.name))
        .collect()
}

fn state_of(pod: &Pod) -> String {
    let waiting =
        pod.containers.iter().find_map(|c| c.waiting.as_ref().map(|(reason, _)| (reason, c.restarts)));
    match waiting {
        Some((reason, restarts)) if restarts > 0 => format!("{reason} ({restarts} restarts)"),
        Some((reason, _)) => reason.clone(),
        None if pod.terminating => "terminating".to_owned(),
        None if pod.ready => "ready".to_owned(),
        None => format!("{}, not ready", pod.phase),
    }
}

/// The pod most worth reading: one that is not ready, else any.
fn suspect(snapshot: &Snapshot, workload: &ObjectRef) -> Option<(String, String, bool)> {
    let pods = snapshot.current_pods(workload);
    let (name, pod) = pods.iter().find(|(_, pod)| !pod.ready).or_else(|| pods.first())?;
    let container = pod.containers.iter().max_by_key(|container| container.restarts)?;
    Some(((*name).to_owned(), container.name.clone(), container.restarts > 0))
}

async fn logs(
    cluster: &dyn Cluster,
    namespace: &str,
    pod: &str,
    container: &str,
    previous: bool,
) -> Vec<String> {
    let request = cluster.logs(namespace, pod, container, previous, LOG_LINES);
    match tokio::time::timeout(LOG_TIMEOUT, request).await {
        Ok(Ok(text)) => text.lines().map(|line| format!("log {pod}: {line}")).collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}
