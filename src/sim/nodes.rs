//! Nodes that are lost: when that is noticed, and what becomes of their pods.

use serde_json::{Value, json};

use super::cluster::{Cluster, Happening, Moment, lock};
use super::kube::controllers::{Controller, object};
use super::kube::kinds::KindId;
use super::queue::Millis;

impl Cluster {
    /// A node stops answering; returns its name.
    pub fn lose_node(&mut self, moment: Moment, follow: &mut Vec<(Millis, Happening)>) -> Option<String> {
        let nodes: Vec<String> = {
            let store = lock(&self.store);
            store
                .iter(KindId::NODES, None)
                .map(|node| object::name(node).to_owned())
                .filter(|node| !self.kubelet.is_lost(node))
                .collect()
        };
        let used: Vec<&String> = nodes
            .iter()
            .filter(|node| self.kubelet.present().any(|index| self.kubelet.runs[index].node == **node))
            .collect();
        let candidates: Vec<&String> = if used.is_empty() { nodes.iter().collect() } else { used };
        let node = (*candidates.get(self.random.below(candidates.len()))?).clone();
        self.kubelet.lose_node(&node);
        follow.push((moment.at + 40_000, Happening::NodeUnreachable(node.clone())));
        follow.push((moment.at + 340_000, Happening::NodeEvicted(node.clone())));
        Some(node)
    }

    pub(super) fn node_unreachable(
        &mut self,
        node: &str,
        moment: Moment,
        follow: &mut Vec<(Millis, Happening)>,
    ) {
        let stamp = super::clock::seconds_text(moment.now);
        self.with_context(moment, follow, |cx| {
            let Some(object) = cx.get(KindId::NODES, "", node) else {
                return;
            };
            cx.modify_status(KindId::NODES, &object, Controller::Kubelet, |node| {
                let ready = json!({
                    "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
                    "message": "Kubelet stopped posting node status.", "lastTransitionTime": stamp,
                });
                object::set(node, &["status", "conditions"], json!([ready]));
            });
            cx.modify(KindId::NODES, &object, Controller::Kubelet, |node| {
                object::set(
                    node,
                    &["spec", "taints"],
                    json!([
                        {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule", "timeAdded": stamp},
                        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": stamp},
                    ]),
                );
            });
            cx.event(
                &object,
                Controller::Kubelet,
                false,
                "NodeNotReady",
                &format!("Node {node} status is now: NodeNotReady"),
            );
            for pod in cx.list(KindId::PODS, None) {
                if object::text(&pod, &["spec", "nodeName"]) == node && object::ready(&pod) {
                    cx.modify_status(KindId::PODS, &pod, Controller::Kubelet, |pod| set_unready(pod, &stamp));
                    cx.event(&pod, Controller::Kubelet, true, "NodeNotReady", "Node is not ready");
                }
            }
        });
        for run in self.kubelet.runs.iter_mut().filter(|run| run.node == node) {
            run.ready = false;
        }
    }

    pub(super) fn evict(&mut self, node: &str, moment: Moment, follow: &mut Vec<(Millis, Happening)>) {
        self.with_context(moment, follow, |cx| {
            for pod in cx.list(KindId::PODS, None) {
                if object::text(&pod, &["spec", "nodeName"]) == node {
                    cx.event(
                        &pod,
                        Controller::GarbageCollector,
                        false,
                        "TaintManagerEviction",
                        &format!(
                            "Marking for deletion Pod {}/{}",
                            object::namespace(&pod),
                            object::name(&pod)
                        ),
                    );
                    // nobody is there to confirm: the pod is taken from the API by force
                    cx.remove_pod(&pod);
                }
            }
        });
    }
}

/// A pod that is not ready any more because its node is not.
fn set_unready(pod: &mut Value, stamp: &str) {
    for condition in pod["status"]["conditions"].as_array_mut().into_iter().flatten() {
        if matches!(object::text(condition, &["type"]), "Ready" | "ContainersReady") {
            condition["status"] = "False".into();
            condition["lastTransitionTime"] = stamp.into();
        }
    }
}
