//! `PodDisruptionBudgets`: how many pods may be evicted now.

use std::collections::BTreeSet;

use serde_json::json;

use super::object;
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;

const ME: Controller = Controller::Disruption;

/// Looks at one budget.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(budget) = cx.get(KindId::POD_DISRUPTION_BUDGETS, namespace, name) else {
        return;
    };
    let selector = object::at(&budget, &["spec", "selector"]).clone();
    let pods: Vec<_> = cx
        .store
        .iter(KindId::PODS, Some(namespace))
        .filter(|pod| object::selects(&selector, object::at(pod, &["metadata", "labels"])))
        .filter(|pod| !object::ended_pod(pod))
        .cloned()
        .collect();
    if pods.is_empty() {
        cx.event(&budget, ME, false, "NoPods", "No matching pods found");
    }
    let healthy = pods.iter().filter(|pod| object::ready(pod) && !object::deleting(pod)).count() as i64;
    let expected = expected_pods(cx, &pods);
    let at_least = object::at(&budget, &["spec", "minAvailable"]);
    let at_most = object::at(&budget, &["spec", "maxUnavailable"]);
    let desired =
        match (object::share_of(at_least, expected, true), object::share_of(at_most, expected, true)) {
            (Some(least), _) => least,
            (None, Some(most)) => (expected - most).max(0),
            (None, None) => 0,
        };
    let allowed = if expected == 0 { 0 } else { (healthy - desired).max(0) };
    let stamp = cx.stamp();
    let generation = object::generation(&budget);
    cx.modify_status(KindId::POD_DISRUPTION_BUDGETS, &budget, ME, |budget| {
        let mut conditions = object::items(budget, &["status", "conditions"]).to_vec();
        let (status, reason) =
            if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        super::pod_control::set_condition(
            &mut conditions,
            json!({
                "type": "DisruptionAllowed", "status": status, "observedGeneration": generation,
                "lastTransitionTime": stamp, "reason": reason, "message": "",
            }),
        );
        budget["status"] = json!({
            "observedGeneration": generation, "disruptionsAllowed": allowed, "currentHealthy": healthy,
            "desiredHealthy": desired, "expectedPods": expected, "conditions": conditions,
        });
    });
}

/// How many pods the controllers of `pods` want; a pod without one counts for itself.
fn expected_pods(cx: &Context<'_>, pods: &[std::sync::Arc<Stored>]) -> i64 {
    let mut seen = BTreeSet::new();
    let mut expected = 0;
    for pod in pods {
        let Some(owner) = object::controller_of(pod) else {
            expected += 1;
            continue;
        };
        let uid = object::text(owner, &["uid"]);
        if !seen.insert(uid.to_owned()) {
            continue;
        }
        let scale = cx.index.key_of(uid).and_then(|key| cx.store.get(key));
        let wanted = scale.as_ref().and_then(|owner| object::number(owner, &["spec", "replicas"]));
        expected += wanted
            .unwrap_or_else(|| pods.iter().filter(|pod| object::controlled_by(pod, uid)).count() as i64);
    }
    expected
}
