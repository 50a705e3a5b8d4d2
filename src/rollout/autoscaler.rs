//! What an autoscaler's object says: whom it scales, within which bounds, and how many pods its last look asks for.
//!
//! `HorizontalPodAutoscaler` and KEDA's `ScaledObject` (which keeps a `HorizontalPodAutoscaler` of its own).

use serde_json::{Value, json};

/// A ratio this near to one changes nothing: `--horizontal-pod-autoscaler-tolerance` of kube-controller-manager.
const TOLERANCE: f64 = 0.1;

/// Whether an object is one.
#[must_use]
pub fn is_one(object: &Value) -> bool {
    let group = object["apiVersion"].as_str().unwrap_or_default().split('/').next();
    matches!(
        (group, object["kind"].as_str()),
        (Some("autoscaling"), Some("HorizontalPodAutoscaler")) | (Some("keda.sh"), Some("ScaledObject"))
    )
}

/// Kind and name of what it scales.
#[must_use]
pub fn target(object: &Value) -> (&str, &str) {
    let target = &object["spec"]["scaleTargetRef"];
    // KEDA takes a Deployment where no kind stands.
    (target["kind"].as_str().unwrap_or("Deployment"), target["name"].as_str().unwrap_or_default())
}

/// The fields of its lower and its upper bound.
fn bounds(object: &Value) -> (&'static str, &'static str) {
    match object["kind"].as_str() {
        Some("ScaledObject") => ("minReplicaCount", "maxReplicaCount"),
        _ => ("minReplicas", "maxReplicas"),
    }
}

/// Most pods that it may ask for.
#[must_use]
pub fn most(object: &Value) -> Option<u32> {
    object["spec"][bounds(object).1].as_u64().map(|most| most as u32)
}

/// Fewest pods that it asks for, as far as the object says.
#[must_use]
pub fn fewest(object: &Value) -> Option<u32> {
    object["spec"][bounds(object).0].as_u64().map(|fewest| fewest as u32)
}

/// The same with a lower bound of at least `floor`, never above its upper one, and never lower than it was.
#[must_use]
pub fn floored(object: &Value, floor: u32) -> Value {
    let own = fewest(object).unwrap_or(0);
    let wanted = floor.min(most(object).unwrap_or(u32::MAX)).max(own);
    let mut value = object.clone();
    if wanted > own {
        value["spec"][bounds(object).0] = json!(wanted);
    }
    value
}

/// Where the autoscaler that a `ScaledObject` keeps is found; its own name for any other.
#[must_use]
pub fn measuring(object: &Value) -> String {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if object["kind"] != "ScaledObject" {
        return name.to_owned();
    }
    let given = object.pointer("/spec/advanced/horizontalPodAutoscalerConfig/name").and_then(Value::as_str);
    given.map_or_else(|| format!("keda-hpa-{name}"), str::to_owned)
}

/// Pods that all of a component's load asks for, by the last look of a live autoscaler at `size` pods that carry `share`
/// of it (0–1). `None` where it has not measured, and never more than its upper bound.
///
/// The autoscaler's own formula, `size · measured / wanted`, the largest of all metrics; what is measured per pod stands for
/// the share that these pods carry, what is measured of the whole (`Object`, `External`) for all of it.
#[must_use]
pub fn asks_for(live: &Value, size: u32, share: f64) -> Option<u32> {
    if size == 0 || share <= 0.0 {
        return None;
    }
    let specs = live.pointer("/spec/metrics")?.as_array()?;
    let seen = live.pointer("/status/currentMetrics")?.as_array()?;
    let wanted = specs.iter().filter_map(|spec| {
        let kind = spec["type"].as_str()?;
        let mut field = kind.to_owned();
        field[..1].make_ascii_lowercase();
        let of = |metric: &Value| metric[&field].clone();
        let spec = of(spec);
        let current = seen.iter().find(|seen| seen["type"] == kind && same(&of(seen), &spec)).map(of)?;
        let ratio = ratio(&spec["target"], &current["current"])?;
        let whole = matches!(kind, "Object" | "External");
        Some(if whole { f64::from(size) * ratio } else { f64::from(size) * ratio / share.min(1.0) })
    });
    let wanted =
        wanted.fold(None, |most: Option<f64>, next| Some(most.map_or(next, |most| most.max(next))))?;
    let base = f64::from(size);
    let pods = if (wanted / base - 1.0).abs() <= TOLERANCE { base } else { wanted.ceil() };
    Some((pods as u32).min(most(live).unwrap_or(u32::MAX)))
}

/// Whether two entries speak of the same metric.
fn same(one: &Value, other: &Value) -> bool {
    ["name", "container", "metric", "describedObject"].iter().all(|key| one.get(key) == other.get(key))
}

/// Measured over wanted.
fn ratio(target: &Value, current: &Value) -> Option<f64> {
    let number = |value: &Value, key: &str| {
        let text = value.get(key)?;
        text.as_f64()
            .or_else(|| crate::domain::quantity::thousandths(text.as_str()?).map(|n| n as f64 / 1000.0))
    };
    let key = ["averageUtilization", "averageValue", "value"];
    let pair = key.into_iter().find_map(|key| Some((number(target, key)?, number(current, key)?)));
    pair.filter(|(wanted, _)| *wanted > 0.0).map(|(wanted, measured)| measured / wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hpa(percent: u64) -> Value {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "api"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "api-r1"}, "minReplicas": 4, "maxReplicas": 20,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 70}}}]},
            "status": {"currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                "current": {"averageUtilization": percent, "averageValue": "1"}}}]}})
    }

    #[test]
    fn a_floor_is_raised_within_the_bounds_and_never_lowered() {
        for (floor, becomes) in [(2, 4), (4, 4), (9, 9), (30, 20)] {
            assert_eq!(fewest(&floored(&hpa(70), floor)), Some(becomes), "{floor}");
        }
        let scaled = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "jobs"},
            "spec": {"scaleTargetRef": {"name": "worker"}, "maxReplicaCount": 9}});
        assert!(is_one(&scaled) && is_one(&hpa(1)));
        assert_eq!(target(&scaled), ("Deployment", "worker"));
        assert_eq!(floored(&scaled, 3)["spec"]["minReplicaCount"], 3);
        assert_eq!(floored(&scaled, 0), scaled, "nothing is set that was not there");
        assert_eq!((measuring(&scaled), measuring(&hpa(1))), ("keda-hpa-jobs".to_owned(), "api".to_owned()));
    }

    #[test]
    fn the_load_is_that_of_all_the_traffic() {
        for (percent, size, share, pods) in [
            (70, 4, 1.0, Some(4)),
            (75, 4, 1.0, Some(4)),  // within the tolerance
            (140, 4, 1.0, Some(8)), // twice the load
            (70, 4, 0.5, Some(8)),  // half of the traffic goes elsewhere
            (35, 4, 0.5, Some(4)),
            (35, 8, 0.5, Some(8)),
            (140, 12, 0.5, Some(20)), // the upper bound
            (70, 0, 1.0, None),
        ] {
            assert_eq!(asks_for(&hpa(percent), size, share), pods, "{percent} % of {size} with {share}");
        }
        let mut blind = hpa(70);
        blind["status"]["currentMetrics"] = json!([{"type": ""}]);
        assert_eq!(asks_for(&blind, 4, 1.0), None);
        let mut queue = hpa(70);
        queue["spec"]["metrics"] = json!([{"type": "External", "external": {"metric": {"name": "queue"},
            "target": {"type": "AverageValue", "averageValue": "30"}}}]);
        queue["status"]["currentMetrics"] = json!([{"type": "External", "external": {"metric": {"name": "queue"},
            "current": {"averageValue": "60"}}}]);
        assert_eq!(asks_for(&queue, 4, 0.5), Some(8), "the queue is that of all pods");
    }
}
