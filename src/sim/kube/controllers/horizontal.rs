//! `HorizontalPodAutoscalers`: replicas by CPU and memory use, always within their bounds.

use std::sync::Arc;

use serde_json::{Value, json};

use super::object;
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;

const ME: Controller = Controller::HorizontalPodAutoscaler;

/// A ratio this near to one changes nothing.
const TOLERANCE: f64 = 0.1;

/// Memory use of a pod in percent of its request: the simulated processes neither grow nor leak.
const MEMORY_PERCENT: i64 = 55;

/// Scaling down follows the highest advice of so many seconds, unless the behaviour says otherwise.
const STABILIZATION: i64 = 300;

/// What the metrics advise.
enum Advice {
    Replicas { wanted: i64, metrics: Vec<Use> },
    Unknown { reason: &'static str, message: String },
}

/// How much of a resource the pods use, in percent of what they asked for.
struct Use {
    resource: String,
    percent: i64,
}

/// A condition of an autoscaler, without its time.
struct Said<'a> {
    kind: &'static str,
    holds: &'static str,
    reason: &'a str,
    message: &'a str,
}

impl<'a> Said<'a> {
    fn new(kind: &'static str, holds: &'static str, reason: &'a str, message: &'a str) -> Self {
        Self { kind, holds, reason, message }
    }

    fn stands(&self, scaler: &Value) -> bool {
        object::condition(scaler, self.kind).is_some_and(|known| {
            known["status"] == self.holds
                && known["reason"] == self.reason
                && known["message"] == self.message
        })
    }

    fn value(&self, stamp: &str) -> Value {
        json!({"type": self.kind, "status": self.holds, "lastTransitionTime": stamp, "reason": self.reason,
               "message": self.message})
    }
}

/// Looks at one autoscaler, and again a period later.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(scaler) = cx.get(KindId::HORIZONTAL_POD_AUTOSCALERS, namespace, name) else {
        return;
    };
    if object::deleting(&scaler) || !cx.due(ME, &scaler, cx.settings.hpa_period) {
        return;
    }
    let reference = object::at(&scaler, &["spec", "scaleTargetRef"]);
    let kind = match object::text(reference, &["kind"]) {
        "StatefulSet" => KindId::STATEFUL_SETS,
        _ => KindId::DEPLOYMENTS,
    };
    let Some(target) = cx.get(kind, namespace, object::text(reference, &["name"])) else {
        let message = format!(
            "the HPA controller was unable to get the target's current scale: deployments.apps \"{}\" not found",
            object::text(reference, &["name"])
        );
        cx.event(&scaler, ME, true, "FailedGetScale", &message);
        let able = Said::new("AbleToScale", "False", "FailedGetScale", &message);
        write_status(cx, &scaler, None, &[able], &[]);
        return;
    };
    let current = object::number(&target, &["spec", "replicas"]).unwrap_or(1);
    let succeeded = "the HPA controller was able to get the target's current scale";
    let able = Said::new("AbleToScale", "True", "SucceededGetScale", succeeded);
    if current == 0 {
        let message = "scaling is disabled since the replica count of the target is zero";
        let active = Said::new("ScalingActive", "False", "ScalingDisabled", message);
        write_status(cx, &scaler, Some((current, 0)), &[able, active], &[]);
        return;
    }
    match advise(cx, &scaler, &target, current) {
        Advice::Unknown { reason, message } => {
            let why = message.rsplit("replica count: ").next().unwrap_or(&message).to_owned();
            cx.event(&scaler, ME, true, reason, &why);
            if reason == "FailedGetResourceMetric" {
                let first = why.replacen(
                    "failed to get",
                    "failed to get cpu resource metric value: failed to get",
                    1,
                );
                let invalid = format!("invalid metrics (1 invalid out of 1), first error is: {first}");
                cx.event(&scaler, ME, true, "FailedComputeMetricsReplicas", &invalid);
            }
            let active = Said::new("ScalingActive", "False", reason, &message);
            // out of bounds is repaired without any metric
            let wanted = within_bounds(&scaler, current).0;
            apply(cx, kind, &scaler, &target, current, wanted);
            write_status(
                cx,
                &scaler,
                Some((current, if wanted == current { 0 } else { wanted })),
                &[able, active],
                &[],
            );
        }
        Advice::Replicas { wanted, metrics } => {
            let wanted = stabilized(cx, &scaler, current, wanted);
            let (wanted, limited) = within_bounds(&scaler, wanted);
            let message = "the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)";
            let active = Said::new("ScalingActive", "True", "ValidMetricFound", message);
            let limited = Said::new("ScalingLimited", limited.0, limited.1, limited.2);
            apply(cx, kind, &scaler, &target, current, wanted);
            write_status(cx, &scaler, Some((current, wanted)), &[able, active, limited], &metrics);
        }
    }
}

/// The pods that the target's selector matches, which need not be its own.
fn pods_of(cx: &Context<'_>, target: &Value) -> Vec<Arc<Stored>> {
    let selector = object::at(target, &["spec", "selector"]);
    cx.store
        .iter(KindId::PODS, Some(object::namespace(target)))
        .filter(|pod| {
            object::selects(selector, object::at(pod, &["metadata", "labels"])) && object::active_pod(pod)
        })
        .cloned()
        .collect()
}

fn advise(cx: &Context<'_>, scaler: &Value, target: &Value, current: i64) -> Advice {
    let failed = |reason, why: &str| Advice::Unknown {
        reason,
        message: format!("the HPA was unable to compute the replica count: {why}"),
    };
    let pods = pods_of(cx, target);
    if let Some(rivals) = rivals(cx, scaler, target, &pods) {
        return failed("AmbiguousSelector", &rivals);
    }
    let ready: Vec<&Stored> = pods.iter().filter(|pod| object::ready(pod)).map(|pod| &**pod).collect();
    let mut wanted: Option<i64> = None;
    let mut metrics = Vec::new();
    for metric in object::items(scaler, &["spec", "metrics"]) {
        let name = object::text(metric, &["resource", "name"]);
        if object::text(metric, &["type"]) != "Resource" {
            continue;
        }
        if !cx.settings.resource_metrics {
            let why = format!(
                "failed to get {name} utilization: unable to get metrics for resource {name}: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
            );
            return failed("FailedGetResourceMetric", &why);
        }
        let aim = object::number(metric, &["resource", "target", "averageUtilization"]).unwrap_or(80);
        match utilization(cx, &ready, name) {
            Err(why) => return failed("FailedGetResourceMetric", &why),
            Ok((percent, ready)) => {
                let ratio = percent / aim as f64;
                let needed = if (ratio - 1.0).abs() <= TOLERANCE {
                    current
                } else {
                    // pods that are not ready yet count as idle when that would scale up
                    let count = if ratio > 1.0 { ready.max(1) } else { ready.max(current) };
                    (ratio * count as f64).ceil() as i64
                };
                wanted = Some(wanted.map_or(needed, |most: i64| most.max(needed)));
                metrics.push(Use { resource: name.to_owned(), percent: percent.round() as i64 });
            }
        }
    }
    match wanted {
        Some(wanted) => Advice::Replicas { wanted, metrics },
        None => failed("FailedGetExternalMetric", "no metrics known to return"),
    }
}

/// Average use in percent of the request, and over how many ready pods.
fn utilization(cx: &Context<'_>, pods: &[&Stored], name: &str) -> Result<(f64, i64), String> {
    let (mut used, mut requested, mut ready) = (0, 0, 0);
    for pod in pods {
        let request = super::quota::of_pod(pod, name);
        if request == 0 {
            let container = object::items(pod, &["spec", "containers"])
                .first()
                .map_or("", |c| object::text(c, &["name"]));
            return Err(format!(
                "failed to get {name} utilization: missing request for {name} in container {container} of Pod {}",
                object::name(pod)
            ));
        }
        ready += 1;
        requested += request;
        used += match name {
            "cpu" => (cx.cpu)(object::uid(pod)),
            _ => request * MEMORY_PERCENT / 100,
        };
    }
    if ready == 0 {
        return Err(format!(
            "failed to get {name} utilization: did not receive metrics for targeted pods (pods might be unready)"
        ));
    }
    Ok((used as f64 * 100.0 / requested as f64, ready))
}

/// Other autoscalers that match some of the same pods: none of them acts then.
fn rivals(cx: &Context<'_>, scaler: &Value, target: &Value, pods: &[Arc<Stored>]) -> Option<String> {
    let namespace = object::namespace(scaler);
    let shares_pods = |other: &Value| {
        !apart(target, other)
            && pods_of(cx, other).iter().any(|pod| pods.iter().any(|mine| Arc::ptr_eq(mine, pod)))
    };
    let mut names: Vec<String> = cx
        .store
        .iter(KindId::HORIZONTAL_POD_AUTOSCALERS, Some(namespace))
        .filter(|other| object::name(other) != object::name(scaler))
        .filter(|other| {
            let name = object::text(other, &["spec", "scaleTargetRef", "name"]);
            cx.store.lookup(KindId::DEPLOYMENTS, namespace, name).is_some_and(|other| shares_pods(other))
        })
        .map(|other| format!("{namespace}/{}", object::name(other)))
        .collect();
    if names.is_empty() {
        return None;
    }
    names.push(format!("{namespace}/{}", object::name(scaler)));
    names.sort();
    let selector = object::pairs(object::at(target, &["spec", "selector", "matchLabels"]));
    Some(format!("pods by selector {selector} are controlled by multiple HPAs: [{}]", names.join(" ")))
}

/// True if no pod can match both workloads: one label that they want with different values.
fn apart(one: &Value, other: &Value) -> bool {
    let labels = |workload| object::at(workload, &["spec", "selector", "matchLabels"]);
    let others = labels(other);
    let wanted = labels(one).as_object().into_iter().flatten();
    wanted.into_iter().any(|(key, value)| others.get(key).is_some_and(|known| known != value))
}

/// The highest advice of the stabilization window, when the newest would scale down.
fn stabilized(cx: &mut Context<'_>, scaler: &Value, current: i64, wanted: i64) -> i64 {
    let window = object::number(scaler, &["spec", "behavior", "scaleDown", "stabilizationWindowSeconds"]);
    let window = window.unwrap_or(STABILIZATION).unsigned_abs() * 1000;
    let at = cx.at;
    // the size found at the very first look is advice, too; a window of nothing forgets it at once
    let advice = cx.memory.entry(object::uid(scaler).to_owned()).or_insert_with(|| vec![(at, current)]);
    advice.retain(|(then, _)| then + window >= at);
    advice.push((at, wanted));
    if wanted >= current {
        return wanted;
    }
    advice.iter().map(|(_, wanted)| *wanted).max().unwrap_or(wanted).min(current)
}

fn within_bounds(scaler: &Value, wanted: i64) -> (i64, (&'static str, &'static str, &'static str)) {
    let least = object::number(scaler, &["spec", "minReplicas"]).unwrap_or(1);
    let most = object::number(scaler, &["spec", "maxReplicas"]).unwrap_or(i64::MAX);
    if wanted > most {
        (
            most,
            ("True", "TooManyReplicas", "the desired replica count is more than the maximum replica count"),
        )
    } else if wanted < least {
        (
            least,
            ("True", "TooFewReplicas", "the desired replica count is less than the minimum replica count"),
        )
    } else {
        (wanted, ("False", "DesiredWithinRange", "the desired count is within the acceptable range"))
    }
}

fn apply(cx: &mut Context<'_>, kind: KindId, scaler: &Value, target: &Value, current: i64, wanted: i64) {
    if wanted == current {
        return;
    }
    cx.modify(kind, target, ME, |target| target["spec"]["replicas"] = wanted.into());
    let why = if wanted > current {
        "cpu resource utilization (percentage of request) above target"
    } else {
        "All metrics below target"
    };
    cx.event(scaler, ME, false, "SuccessfulRescale", &format!("New size: {wanted}; reason: {why}"));
    let stamp = cx.stamp();
    cx.modify_status(KindId::HORIZONTAL_POD_AUTOSCALERS, scaler, ME, |scaler| {
        object::set(scaler, &["status", "lastScaleTime"], stamp.into());
    });
}

/// Says what the autoscaler sees; most looks have nothing new to say.
fn write_status(
    cx: &mut Context<'_>,
    scaler: &Value,
    replicas: Option<(i64, i64)>,
    conditions: &[Said<'_>],
    metrics: &[Use],
) {
    cx.again(ME, scaler, cx.settings.hpa_period);
    let number = |field: &str| object::number(scaler, &["status", field]);
    let stands = replicas.is_none_or(|(current, wanted)| {
        number("currentReplicas") == Some(current) && number("desiredReplicas") == Some(wanted)
    });
    if stands && conditions.iter().all(|said| said.stands(scaler)) && same_metrics(scaler, metrics) {
        return;
    }
    let stamp = cx.stamp();
    cx.modify_status(KindId::HORIZONTAL_POD_AUTOSCALERS, scaler, ME, |scaler| {
        let mut merged = object::items(scaler, &["status", "conditions"]).to_vec();
        for said in conditions {
            super::pod_control::set_condition(&mut merged, said.value(&stamp));
        }
        let status = &mut scaler["status"];
        if let Some((current, wanted)) = replicas {
            status["currentReplicas"] = current.into();
            status["desiredReplicas"] = wanted.into();
        }
        status["currentMetrics"] = metrics_value(metrics);
        status["conditions"] = merged.into();
    });
}

fn same_metrics(scaler: &Value, metrics: &[Use]) -> bool {
    let known = object::items(scaler, &["status", "currentMetrics"]);
    !metrics.is_empty()
        && known.len() == metrics.len()
        && known.iter().zip(metrics).all(|(known, now)| {
            let percent = object::number(known, &["resource", "current", "averageUtilization"]);
            object::text(known, &["resource", "name"]) == now.resource && percent == Some(now.percent)
        })
}

fn metrics_value(metrics: &[Use]) -> Value {
    if metrics.is_empty() {
        return json!([{"type": ""}]);
    }
    let resource = |one: &Use| {
        let current = json!({"averageUtilization": one.percent, "averageValue": "0"});
        json!({"type": "Resource", "resource": {"name": one.resource, "current": current}})
    };
    metrics.iter().map(resource).collect()
}
