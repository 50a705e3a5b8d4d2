//! Jobs: pods that run to their end, tried again up to `backoffLimit`, counted once by their finalizer.

use std::sync::Arc;

use serde_json::{Value, json};

use super::object;
use super::pod_control::restarts;
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;

const ME: Controller = Controller::Job;
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// The wait after the first failed pod, in seconds; it doubles up to `LONGEST_WAIT`.
const FIRST_WAIT: i64 = 10;
const LONGEST_WAIT: i64 = 360;

struct View {
    job: Arc<Stored>,
    active: Vec<Arc<Stored>>,
    ready: i64,
    terminating: i64,
    /// Ended pods that are not counted yet.
    new_succeeded: Vec<Arc<Stored>>,
    new_failed: Vec<Arc<Stored>>,
    succeeded: i64,
    failed: i64,
}

impl View {
    fn of(cx: &Context<'_>, job: Arc<Stored>) -> Self {
        let mut view = Self {
            succeeded: object::count(&job, &["status", "succeeded"]),
            failed: object::count(&job, &["status", "failed"]),
            job,
            active: Vec::new(),
            ready: 0,
            terminating: 0,
            new_succeeded: Vec::new(),
            new_failed: Vec::new(),
        };
        for pod in cx.controlled(KindId::PODS, object::uid(&view.job)) {
            let tracked = object::items(&pod, &["metadata", "finalizers"]).iter().any(|one| one == TRACKING);
            match object::text(&pod, &["status", "phase"]) {
                "Succeeded" if tracked => view.new_succeeded.push(pod),
                "Failed" if tracked => view.new_failed.push(pod),
                "Succeeded" | "Failed" => {}
                _ if object::deleting(&pod) => view.terminating += 1,
                _ => {
                    view.ready += i64::from(object::ready(&pod));
                    view.active.push(pod);
                }
            }
        }
        view
    }

    /// Why the job is over, if it is: condition, reason, message.
    fn verdict(&self, cx: &Context<'_>) -> Option<(&'static str, &'static str, &'static str)> {
        let spec = |key: &str| object::number(&self.job, &["spec", key]);
        let failed =
            self.failed + self.new_failed.len() as i64 + self.active.iter().map(|p| restarts(p)).sum::<i64>();
        if failed > spec("backoffLimit").unwrap_or(6) {
            return Some(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"));
        }
        let running = cx.seconds_since(object::text(&self.job, &["status", "startTime"]));
        if let (Some(deadline), Some(running)) = (spec("activeDeadlineSeconds"), running)
            && running >= deadline as f64
        {
            return Some(("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"));
        }
        let succeeded = self.succeeded + self.new_succeeded.len() as i64;
        (succeeded >= spec("completions").unwrap_or(1)).then_some((
            "Complete",
            "CompletionsReached",
            "Reached expected number of succeeded pods",
        ))
    }
}

/// Looks at one Job.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(job) = cx.get(KindId::JOBS, namespace, name) else {
        return;
    };
    if object::deleting(&job) {
        release_all(cx, &job);
        return;
    }
    if finished(&job) {
        expire(cx, &job);
        return;
    }
    if job["spec"]["suspend"] == true {
        return;
    }
    let view = View::of(cx, job);
    let verdict = view.verdict(cx);
    if let Some(verdict) = verdict {
        for pod in &view.active {
            cx.delete(KindId::PODS, pod, ME);
        }
        finish(cx, &view, verdict);
        return;
    }
    if !view.new_failed.is_empty() || !view.new_succeeded.is_empty() {
        count_ended(cx, &view, None);
    }
    start_pods(cx, &view);
}

fn finished(job: &Value) -> bool {
    ["Complete", "Failed"]
        .iter()
        .any(|kind| object::condition(job, kind).is_some_and(|condition| condition["status"] == "True"))
}

fn start_pods(cx: &mut Context<'_>, view: &View) {
    let job = &view.job;
    let completions = object::number(job, &["spec", "completions"]).unwrap_or(1);
    let parallelism = object::number(job, &["spec", "parallelism"]).unwrap_or(1);
    let done = view.succeeded + view.new_succeeded.len() as i64;
    let missing = parallelism.min(completions - done) - view.active.len() as i64 - view.terminating;
    let mut started = 0;
    if missing > 0 {
        let wait = back_off(cx, view);
        if wait > 0.0 {
            cx.again(ME, job, (wait * 1000.0) as u64 + 10);
        } else {
            started = (0..missing).filter(|_| create_pod(cx, job)).count() as i64;
        }
    }
    let active = view.active.len() as i64 + started;
    let stamp = cx.stamp();
    cx.modify_status(KindId::JOBS, job, ME, |job| {
        let status = object::at(job, &["status"]).clone();
        let mut new = json!({
            "startTime": status.get("startTime").cloned().unwrap_or_else(|| stamp.into()),
        });
        object::set_unless_zero(&mut new, "active", active);
        for key in ["succeeded", "failed"] {
            object::set_unless_zero(&mut new, key, object::count(&status, &[key]));
        }
        new["terminating"] = view.terminating.into();
        new["uncountedTerminatedPods"] = json!({});
        new["ready"] = view.ready.into();
        job["status"] = new;
    });
    if let Some(deadline) = object::number(job, &["spec", "activeDeadlineSeconds"]) {
        cx.again(ME, job, deadline as u64 * 1000 + 10);
    }
}

/// Seconds to wait before the next pod after failures.
fn back_off(cx: &Context<'_>, view: &View) -> f64 {
    let failures = view.failed + view.new_failed.len() as i64;
    if failures == 0 {
        return 0.0;
    }
    let wait = (FIRST_WAIT << (failures - 1).min(10)).min(LONGEST_WAIT);
    let last = cx
        .controlled(KindId::PODS, object::uid(&view.job))
        .iter()
        .filter(|pod| object::text(pod, &["status", "phase"]) == "Failed")
        .filter_map(|pod| {
            let status = object::items(pod, &["status", "containerStatuses"]).first()?;
            cx.seconds_since(object::text(status, &["state", "terminated", "finishedAt"]))
        })
        .fold(f64::INFINITY, f64::min);
    if last.is_finite() { wait as f64 - last } else { 0.0 }
}

fn create_pod(cx: &mut Context<'_>, job: &Value) -> bool {
    let prefix = format!("{}-", object::name(job));
    let name = format!("{prefix}{}", cx.random.suffix(5));
    let mut pod = cx.pod_from(job, ("batch/v1", "Job"), object::at(job, &["spec", "template"]), &name);
    pod["metadata"]["generateName"] = prefix.into();
    pod["metadata"]["finalizers"] = json!([TRACKING]);
    for (key, value) in [("controller-uid", object::uid(job)), ("job-name", object::name(job))] {
        object::set(&mut pod, &["metadata", "labels", &format!("batch.kubernetes.io/{key}")], value.into());
        object::set(&mut pod, &["metadata", "labels", key], value.into());
    }
    match cx.create(KindId::PODS, pod, ME) {
        Ok(_) => {
            cx.event(job, ME, false, "SuccessfulCreate", &format!("Created pod: {name}"));
            true
        }
        Err(refused) => {
            cx.event(job, ME, true, "FailedCreate", &format!("Error creating: {}", refused.message));
            cx.back_off(ME, job, 1000);
            false
        }
    }
}

/// Announces what will be counted, lets the pods go, counts: a crash in between counts nothing twice. A job that is
/// over announces why with the first write (`ending.0`) and ends with the second (`ending.1`).
fn count_ended(cx: &mut Context<'_>, view: &View, ending: Option<(Value, Value)>) {
    let uids =
        |pods: &[Arc<Stored>]| -> Vec<Value> { pods.iter().map(|pod| object::uid(pod).into()).collect() };
    let mut uncounted = json!({});
    if !view.new_succeeded.is_empty() {
        uncounted["succeeded"] = uids(&view.new_succeeded).into();
    }
    if !view.new_failed.is_empty() {
        uncounted["failed"] = uids(&view.new_failed).into();
    }
    let stamp = cx.stamp();
    let (first, last) = ending.unzip();
    let active = if first.is_some() { 0 } else { view.active.len() as i64 };
    cx.modify_status(KindId::JOBS, &view.job, ME, |job| {
        let status = &mut job["status"];
        if let Some(first) = first {
            status["conditions"] = json!([first]);
        }
        object::set_unless_zero(status, "active", active);
        status["terminating"] = view.terminating.into();
        status["uncountedTerminatedPods"] = uncounted;
        status["ready"] = 0.into();
    });
    for pod in view.new_succeeded.iter().chain(&view.new_failed) {
        release(cx, pod);
    }
    cx.modify_status(KindId::JOBS, &view.job, ME, |job| {
        let status = &mut job["status"];
        if let Some(last) = last {
            if last["type"] == "Complete" {
                status["completionTime"] = stamp.into();
            }
            let mut conditions = object::items(status, &["conditions"]).to_vec();
            conditions.push(last);
            status["conditions"] = conditions.into();
        }
        object::set_unless_zero(status, "succeeded", view.succeeded + view.new_succeeded.len() as i64);
        object::set_unless_zero(status, "failed", view.failed + view.new_failed.len() as i64);
        status["uncountedTerminatedPods"] = json!({});
    });
}

fn condition(cx: &Context<'_>, kind: &str, reason: &str, message: &str) -> Value {
    let stamp = cx.stamp();
    json!({
        "type": kind, "status": "True", "lastProbeTime": stamp, "lastTransitionTime": stamp,
        "reason": reason, "message": message,
    })
}

fn finish(cx: &mut Context<'_>, view: &View, (kind, reason, message): (&str, &str, &str)) {
    let complete = kind == "Complete";
    let first = condition(cx, if complete { "SuccessCriteriaMet" } else { "FailureTarget" }, reason, message);
    let last = condition(cx, kind, reason, message);
    count_ended(cx, view, Some((first, last)));
    if complete {
        cx.event(&view.job, ME, false, "Completed", "Job completed");
    } else {
        cx.event(&view.job, ME, true, reason, message);
    }
}

/// Takes the tracking finalizer from a pod.
fn release(cx: &mut Context<'_>, pod: &Value) {
    cx.modify(KindId::PODS, pod, ME, |pod| {
        let mut finalizers = object::items(pod, &["metadata", "finalizers"]).to_vec();
        finalizers.retain(|one| one != TRACKING);
        let metadata = &mut pod["metadata"];
        if finalizers.is_empty() {
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.remove("finalizers");
            }
        } else {
            metadata["finalizers"] = finalizers.into();
        }
    });
}

fn release_all(cx: &mut Context<'_>, job: &Value) {
    for pod in cx.controlled(KindId::PODS, object::uid(job)) {
        release(cx, &pod);
    }
}

/// Deletes a finished job when its time to live has passed.
fn expire(cx: &mut Context<'_>, job: &Value) {
    let Some(ttl) = object::number(job, &["spec", "ttlSecondsAfterFinished"]) else {
        return;
    };
    let ended = object::items(job, &["status", "conditions"]).last();
    let ended = ended.map_or("", |condition| object::text(condition, &["lastTransitionTime"]));
    let since = cx.seconds_since(ended).unwrap_or(0.0);
    if since >= ttl as f64 {
        cx.delete_background(KindId::JOBS, job, ME);
    } else {
        cx.again(ME, job, ((ttl as f64 - since) * 1000.0) as u64 + 10);
    }
}
