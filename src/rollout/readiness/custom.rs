//! Custom resources: by the project's own rule, else by the conventions that most controllers keep
//! (`observedGeneration`, `status.conditions`, `status.phase`).

use super::objects::text;
use super::{assumed, failed, pending};
use crate::domain::object::ObjectRef;
use crate::domain::readiness::{ReadinessRule, ReadyTest};
use crate::rollout::Verdict;
use serde_json::Value;

/// Conditions that mean readiness, the most telling first.
const READY: &[&str] =
    &["Ready", "Available", "Healthy", "Succeeded", "Complete", "Completed", "Established", "Synced"];
/// Words of `status.phase` (or `state`, `health`) that mean readiness.
const READY_WORDS: &[&str] = &[
    "ready",
    "running",
    "active",
    "available",
    "bound",
    "healthy",
    "succeeded",
    "complete",
    "completed",
    "deployed",
];
/// Words that mean failure.
const FAILED_WORDS: &[&str] = &["failed", "failure", "error", "degraded", "lost", "unhealthy"];
/// Words that mean that something is going on.
const PENDING_WORDS: &[&str] = &[
    "pending",
    "creating",
    "provisioning",
    "progressing",
    "initializing",
    "reconciling",
    "updating",
    "installing",
    "deploying",
    "starting",
    "waiting",
    "queued",
    "in progress",
    "inprogress",
];

/// One condition of a live object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveCondition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word, for programs.
    pub reason: String,
    /// A sentence, for people.
    pub message: String,
    observed_generation: Option<i64>,
}

impl LiveCondition {
    /// Its message, or its reason if it has none.
    #[must_use]
    pub fn said(&self) -> &str {
        if self.message.is_empty() { &self.reason } else { &self.message }
    }
}

/// The condition of that type in `status.conditions`.
#[must_use]
pub fn condition(live: &Value, kind: &str) -> Option<LiveCondition> {
    condition_in(live.pointer("/status/conditions")?.as_array()?, kind)
}

/// The condition of that type in a list of conditions.
pub(super) fn condition_in(conditions: &[Value], kind: &str) -> Option<LiveCondition> {
    let found = conditions.iter().find(|condition| text(condition, "/type") == kind)?;
    Some(LiveCondition {
        status: text(found, "/status").to_owned(),
        reason: text(found, "/reason").to_owned(),
        message: text(found, "/message").to_owned(),
        observed_generation: found.get("observedGeneration").and_then(Value::as_i64),
    })
}

/// Whether a condition speaks of a generation before the one that is live.
pub(super) fn is_old(live: &Value, condition: &LiveCondition) -> bool {
    let generation = live.pointer("/metadata/generation").and_then(Value::as_i64);
    condition.observed_generation.zip(generation).is_some_and(|(seen, now)| seen < now)
}

/// `status.observedGeneration`; some controllers write it as a text.
fn observed_generation(live: &Value) -> Option<i64> {
    let value = live.pointer("/status/observedGeneration")?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Whether the controller has not seen the live generation yet.
pub(super) fn lags(live: &Value) -> bool {
    let generation = live.pointer("/metadata/generation").and_then(Value::as_i64);
    observed_generation(live).zip(generation).is_some_and(|(seen, now)| seen < now)
}

/// Healthy when one condition is `True` for the live generation.
pub(super) fn condition_holds(live: &Value, name: &ObjectRef, kind: &str) -> Verdict {
    match condition(live, kind) {
        Some(found) if is_old(live, &found) => pending(format!("the controller to see {name}")),
        Some(found) if found.status == "True" => Verdict::Healthy,
        Some(found) if found.said().is_empty() => pending(format!("{name} to be {kind}")),
        Some(found) => pending(format!("{name} to be {kind} ({})", found.said())),
        None => pending(format!("{name} to be {kind}")),
    }
}

/// Judges a custom resource of which nothing is known.
pub(super) fn judge(live: &Value, name: &ObjectRef) -> Verdict {
    let Some(status) = live.get("status").filter(|status| status.as_object().is_some_and(|s| !s.is_empty()))
    else {
        return assumed(format!("no controller has written a status into {name}"));
    };
    if lags(live) {
        return pending(format!("the controller to see {name}"));
    }
    let holds = |kind: &str| condition(live, kind).filter(|found| found.status == "True");
    if let Some(stalled) = ["Stalled", "Failed", "Failure"].iter().find_map(|kind| holds(kind)) {
        return failed(format!("{name} failed: {}", stalled.said()));
    }
    if let Some(busy) = holds("Reconciling") {
        return pending(format!("{name} to be reconciled ({})", busy.said()));
    }
    if let Some(kind) = READY.iter().find(|kind| condition(live, kind).is_some()) {
        let verdict = condition_holds(live, name, kind);
        return if verdict == Verdict::Healthy { certain(live, name, kind) } else { verdict };
    }
    for key in ["phase", "state", "health"] {
        let word = status.get(key).and_then(Value::as_str).unwrap_or_default().to_lowercase();
        if READY_WORDS.contains(&word.as_str()) {
            return Verdict::Healthy;
        }
        if FAILED_WORDS.contains(&word.as_str()) {
            let said = text(live, "/status/message");
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            return failed(format!("{name}: its {key} is {word}{said}"));
        }
        if PENDING_WORDS.contains(&word.as_str()) {
            return pending(format!("{name} to be ready (its {key} is {word})"));
        }
    }
    if observed_generation(live).is_some() {
        return assumed(format!(
            "{name} was seen by its controller, but nothing in its status says that it is ready"
        ));
    }
    assumed(format!("nothing in the status of {name} says whether it is ready"))
}

/// A condition that holds may be of the generation before, where the controller never says which it saw.
fn certain(live: &Value, name: &ObjectRef, kind: &str) -> Verdict {
    let changed = live.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0) > 1;
    let told = condition(live, kind).is_some_and(|found| found.observed_generation.is_some());
    if changed && !told && observed_generation(live).is_none() {
        return assumed(format!("{name} is {kind}, but its controller does not say of which generation"));
    }
    Verdict::Healthy
}

/// Judges by the project's own rule.
pub(super) fn by_rule(live: &Value, name: &ObjectRef, rule: &ReadinessRule) -> Verdict {
    if lags(live) && rule.ready != ReadyTest::Exists {
        return pending(format!("the controller to see {name}"));
    }
    if let Some(test) = &rule.failed
        && passes(live, test)
    {
        return failed(format!("{name} failed: {}", told(live, test)));
    }
    if passes(live, &rule.ready) {
        Verdict::Healthy
    } else {
        pending(format!("{name}: {}", shown(live, &rule.ready)))
    }
}

fn passes(live: &Value, test: &ReadyTest) -> bool {
    match test {
        ReadyTest::Exists => true,
        ReadyTest::Condition { name, status } => {
            condition(live, name).is_some_and(|found| found.status == *status && !is_old(live, &found))
        }
        ReadyTest::Field { path, value } => field(live, path).is_some_and(|found| same(found, value)),
    }
}

/// `status.phase` → `/status/phase`.
fn field<'v>(live: &'v Value, path: &str) -> Option<&'v Value> {
    live.pointer(&format!("/{}", path.trim_start_matches('.').replace('.', "/")))
}

/// YAML's `3` and a status's `"3"` are the same to people.
fn same(found: &Value, wanted: &Value) -> bool {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    found == wanted || plain(found) == plain(wanted)
}

/// What the object says where a test found what it looks for.
fn told(live: &Value, test: &ReadyTest) -> String {
    match test {
        ReadyTest::Exists => "it exists".to_owned(),
        ReadyTest::Condition { name, status } => {
            let found = condition(live, name).filter(|found| !found.said().is_empty());
            found.map_or_else(|| format!("its condition {name} is {status}"), |found| found.said().to_owned())
        }
        ReadyTest::Field { path, value } => format!("its {path} is {value}"),
    }
}

/// What the object shows where a test looks in vain.
fn shown(live: &Value, test: &ReadyTest) -> String {
    match test {
        ReadyTest::Exists => "it exists".to_owned(),
        ReadyTest::Condition { name, status } => match condition(live, name) {
            None => format!("condition {name} to be {status} (it is not there)"),
            Some(found) => {
                let said =
                    if found.said().is_empty() { String::new() } else { format!(": {}", found.said()) };
                format!("condition {name} to be {status} (it is {}{said})", found.status)
            }
        },
        ReadyTest::Field { path, value } => {
            let is = field(live, path).map_or_else(|| "not there".to_owned(), ToString::to_string);
            format!("{path} to be {value} (it is {is})")
        }
    }
}
