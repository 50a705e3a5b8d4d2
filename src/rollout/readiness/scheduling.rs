//! Why no node takes a pod: which resource is short, on how many nodes, and by how much.

use super::pods::{Cause, Sort};
use crate::domain::observed::{Event, NodeRoom, Pod};
use crate::domain::quantity;

/// The cause in the scheduler's words: `0/6 nodes are available: 6 Insufficient cpu. preemption: …`.
pub(super) fn cause(words: &str) -> Cause {
    let reasons = words.split_once("nodes are available: ").and_then(|(count, rest)| {
        let nodes: u32 = count.trim().trim_end_matches('/').rsplit('/').next()?.trim().parse().ok()?;
        // The first sentence names the reasons; what follows is about preemption and claims.
        let end = [". no new claims", ". preemption", ", preemption"]
            .iter()
            .filter_map(|mark| rest.find(mark))
            .min()
            .unwrap_or(rest.len());
        let reasons = rest[..end].trim_end_matches('.').split(", ").map(|reason| one(reason, nodes));
        Some(reasons.collect::<Vec<_>>().join(", "))
    });
    let what = reasons.unwrap_or_else(|| words.to_owned());
    Cause::new(Sort::Unschedulable, format!("no node takes it: {what}"))
        .remedy(Some("kubectl describe nodes".to_owned()))
}

/// `6 Insufficient cpu` → `6 of 6 nodes have too little cpu`.
fn one(reason: &str, nodes: u32) -> String {
    let Some((count, what)) = reason.split_once(' ') else { return reason.to_owned() };
    let Ok(count) = count.parse::<u32>() else { return reason.to_owned() };
    match what.strip_prefix("Insufficient ") {
        Some(resource) => format!("{count} of {nodes} nodes have too little {resource}"),
        None if what == "Too many pods" => format!("{count} of {nodes} nodes have as many pods as they take"),
        None => format!("{count} of {nodes}: {}", what.trim_start_matches("node(s) ")),
    }
}

/// What an autoscaler of nodes says that will take a pod, from the events about it; `None` if none is at work for it. The
/// newest word counts: cluster-autoscaler's `TriggeredScaleUp` or `NotTriggerScaleUp`, Karpenter's `Nominated`.
#[must_use]
pub fn node_to_come(pod: &Pod, events: &[Event]) -> Option<String> {
    // Names come back: a `StatefulSet` gives the next pod the same one. Both are the server's time, to the second.
    let is_its_own = |event: &&Event| match (event.last, pod.created) {
        (Some(last), Some(created)) => last.as_second() >= created.as_second(),
        _ => true,
    };
    let words = |event: &&Event| {
        matches!(event.reason.as_str(), "TriggeredScaleUp" | "NotTriggerScaleUp" | "Nominated")
    };
    let newest = events.iter().filter(words).filter(is_its_own).max_by_key(|event| event.last)?;
    (newest.reason != "NotTriggerScaleUp").then(|| format!("{}: {}", newest.reason, newest.message))
}

/// How much is missing for one such pod, on the node that comes nearest: `cpu: a pod asks for 2, the roomiest of 6 nodes
/// has 1.3 left (700m missing)`. `None` when every resource fits somewhere: then it is not the amount.
#[must_use]
pub fn shortage(pod: &Pod, nodes: &[NodeRoom]) -> Option<String> {
    let open: Vec<&NodeRoom> = nodes.iter().filter(|node| node.open).collect();
    let parts: Vec<String> = pod
        .requests
        .iter()
        .filter_map(|(resource, wanted)| {
            let left = |node: &&NodeRoom| {
                let given = node.allocatable.get(resource).copied().unwrap_or(0);
                given.saturating_sub(node.requested.get(resource).copied().unwrap_or(0))
            };
            let most = open.iter().map(left).max().unwrap_or(0);
            let text = |amount: u64| quantity::show(resource, amount);
            (most < *wanted).then(|| {
                format!(
                    "{resource}: a pod asks for {}, the roomiest of {} nodes has {} left ({} missing)",
                    text(*wanted),
                    open.len(),
                    text(most),
                    text(wanted - most)
                )
            })
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_schedulers_words_are_read() {
        let cases = [
            (
                "0/6 nodes are available: 6 Insufficient cpu. no new claims to deallocate, preemption: 0/6 nodes are available: 6 Preemption is not helpful for scheduling.",
                "no node takes it: 6 of 6 nodes have too little cpu",
            ),
            (
                "0/4 nodes are available: 1 Insufficient memory, 3 node(s) had untolerated taint {gpu: }. preemption: 0/4 nodes are available: 4 No preemption victims found for incoming pod.",
                "no node takes it: 1 of 4 nodes have too little memory, 3 of 4: had untolerated taint {gpu: }",
            ),
            (
                "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
                "no node takes it: pod has unbound immediate PersistentVolumeClaims",
            ),
            ("no nodes available to schedule pods", "no node takes it: no nodes available to schedule pods"),
        ];
        for (words, expected) in cases {
            assert_eq!(cause(words).what, expected);
        }
    }

    #[test]
    fn an_autoscalers_newest_word_about_this_very_pod_counts() {
        let at = |second: i64| jiff::Timestamp::from_second(second).ok();
        let pod = Pod { created: at(100), ..Pod::default() };
        let event = |reason: &str, second: i64| Event {
            about: "Pod/p".into(),
            reason: reason.into(),
            message: "m".into(),
            count: 1,
            last: at(second),
        };
        for (events, expected) in [
            (vec![], None),
            (vec![event("FailedScheduling", 110)], None),
            (
                vec![event("FailedScheduling", 130), event("TriggeredScaleUp", 120)],
                Some("TriggeredScaleUp: m"),
            ),
            (vec![event("Nominated", 120)], Some("Nominated: m")),
            (vec![event("TriggeredScaleUp", 120), event("NotTriggerScaleUp", 150)], None),
            (
                vec![event("TriggeredScaleUp", 150), event("NotTriggerScaleUp", 120)],
                Some("TriggeredScaleUp: m"),
            ),
            (vec![event("TriggeredScaleUp", 90)], None),
        ] {
            assert_eq!(node_to_come(&pod, &events).as_deref(), expected, "{events:?}");
        }
    }

    #[test]
    fn the_node_that_comes_nearest_says_how_much_is_missing() {
        let amounts = |cpu: u64| BTreeMap::from([("cpu".to_owned(), cpu)]);
        let node = |used: u64, open: bool| NodeRoom {
            open,
            allocatable: amounts(4000),
            requested: amounts(used),
            ..NodeRoom::default()
        };
        let pod = Pod { requests: amounts(2000), ..Pod::default() };
        let nodes = [node(3000, true), node(2700, true), node(0, false)];
        let text = "cpu: a pod asks for 2, the roomiest of 2 nodes has 1.3 left (700m missing)";
        assert_eq!(shortage(&pod, &nodes).as_deref(), Some(text));
        assert_eq!(shortage(&pod, &[node(0, true)]), None);
    }
}
