//! Pods that no node takes while an autoscaler of nodes is at work for them: they are waited for to the end of the wait.

use super::perform::Stand;
use crate::domain::object::ObjectRef;
use crate::domain::observed::Pod;
use crate::rollout::Verdict;
use crate::rollout::readiness::{self, pods};
use std::time::Duration;
use tokio::time::Instant;

/// How long an autoscaler's word is taken for its last.
const AGAIN: Duration = Duration::from_secs(15);

/// What an autoscaler said last, and when it was asked for.
#[derive(Default)]
pub(super) struct NodesToCome {
    asked: Option<(Instant, Option<String>)>,
}

impl Stand<'_> {
    /// A failure, unless its cause is that no node takes the pods and one is on its way.
    pub(super) async fn unless_nodes_come(
        &self,
        workload: &ObjectRef,
        why: String,
        nodes: &mut NodesToCome,
    ) -> Verdict {
        let Some((name, pod)) = self.homeless(workload) else { return Verdict::Failed { why } };
        let known = nodes.asked.as_ref().filter(|(at, _)| at.elapsed() < AGAIN);
        let word = match known {
            Some((_, word)) => word.clone(),
            None => self.autoscalers_word(workload, &name, &pod).await,
        };
        if known.is_none() {
            nodes.asked = Some((Instant::now(), word.clone()));
        }
        match word {
            Some(word) => Verdict::Pending { waiting_for: format!("{why}; a node is to come ({word})") },
            None => Verdict::Failed { why },
        }
    }

    /// One of the pods of a workload that cannot be ready because no node takes them.
    fn homeless(&self, workload: &ObjectRef) -> Option<(String, Pod)> {
        let snapshots = self.cluster().ok()?.follow(&workload.namespace);
        let snapshot = snapshots.borrow();
        let state = snapshot.workloads.get(workload)?;
        let doom = readiness::doom(&snapshot, workload, state, self.world.clock.now())?;
        let name = doom.pod.filter(|_| doom.cause.sort == pods::Sort::Unschedulable)?;
        let pod = snapshot.pods.get(&name)?.clone();
        Some((name, pod))
    }

    /// Its events are no warnings, so no watch tells of them.
    async fn autoscalers_word(&self, workload: &ObjectRef, name: &str, pod: &Pod) -> Option<String> {
        let cluster = self.cluster().ok()?;
        let about = ObjectRef::new("v1", "Pod", &workload.namespace, name);
        let events = self.in_contact("read its events", async || cluster.events(&about).await).await.ok()?;
        readiness::node_to_come(pod, &events)
    }
}
