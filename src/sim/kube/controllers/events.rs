//! Event objects, correlated as client-go does it: the same message counts up, the tenth different message of one
//! reason about one object is combined with those that follow.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object;
use crate::sim::clock::{micros_text, seconds_text};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::{Key, Store};
use crate::sim::random::Random;

/// Different messages of one reason about one object, before they are combined.
const DISTINCT_MESSAGES: usize = 10;

/// What stands before the message of a combined event.
const COMBINED: &str = "(combined from similar events): ";

#[derive(Clone, Debug, Default)]
struct Group {
    messages: BTreeMap<String, String>,
}

/// Tells events and remembers which were told.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    groups: BTreeMap<(String, String, String), Group>,
}

impl Recorder {
    /// Creates an Event about `about`, or counts up the one that says the same.
    #[allow(clippy::too_many_arguments)] // one caller, `Context::event`, which holds all of these
    pub fn tell(
        &mut self,
        store: &mut Store,
        now: Timestamp,
        about: &Value,
        component: &str,
        warning: bool,
        reason: &str,
        message: &str,
        random: &mut Random,
    ) {
        let key = (object::uid(about).to_owned(), reason.to_owned(), component.to_owned());
        let group = self.groups.entry(key).or_default();
        let combined = !group.messages.contains_key(message) && group.messages.len() + 1 >= DISTINCT_MESSAGES;
        let slot = if combined { COMBINED } else { message };
        let text = if combined { format!("{COMBINED}{message}") } else { message.to_owned() };
        let namespace = match object::namespace(about) {
            "" => "default",
            other => other,
        };
        if let Some(name) = group.messages.get(slot) {
            let known = Key::new(KindId::EVENTS, namespace, name);
            if store.modify(now, component, &known, |event| count_up(event, now, &text)).is_ok() {
                return;
            }
        }
        let name = format!("{}.{:x}", object::name(about), 0x18e9_0000_0000_0000_u64 | (random.bits() >> 16));
        group.messages.insert(slot.to_owned(), name.clone());
        let event = body(now, about, (namespace, &name), component, warning, reason, &text);
        // an event that cannot be stored (the namespace goes away) is lost, as in a real cluster
        let _ = store.create(now, component, KindId::EVENTS, event);
    }

    /// Forgets what was told about an object that is gone.
    pub fn forget(&mut self, uid: &str) {
        let from = (uid.to_owned(), String::new(), String::new());
        let keys: Vec<_> = self
            .groups
            .range(from..)
            .take_while(|(key, _)| key.0 == uid)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.groups.remove(&key);
        }
    }
}

fn count_up(event: &mut Value, now: Timestamp, text: &str) {
    if event["eventTime"].is_null() {
        event["count"] = (object::count(event, &["count"]) + 1).into();
        event["lastTimestamp"] = seconds_text(now).into();
    } else {
        let count = object::number(event, &["series", "count"]).unwrap_or(1) + 1;
        event["series"] = json!({"count": count, "lastObservedTime": micros_text(now)});
    }
    if event["message"] != text {
        event["message"] = text.into();
    }
}

fn body(
    now: Timestamp,
    about: &Value,
    (namespace, name): (&str, &str),
    component: &str,
    warning: bool,
    reason: &str,
    text: &str,
) -> Value {
    let kind = if warning { "Warning" } else { "Normal" };
    let mut event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "kind": about["kind"],
            "namespace": object::namespace(about),
            "name": object::name(about),
            "uid": object::uid(about),
            "apiVersion": about["apiVersion"],
            "resourceVersion": object::text(about, &["metadata", "resourceVersion"]),
        },
        "reason": reason,
        "message": text,
    });
    // the scheduler writes events of the new kind, every other component of the old
    let rest = if component == "default-scheduler" {
        json!({
            "source": {}, "firstTimestamp": null, "lastTimestamp": null, "type": kind,
            "eventTime": micros_text(now),
            "action": if reason == "Scheduled" { "Binding" } else { "Scheduling" },
            "reportingComponent": component, "reportingInstance": "default-scheduler-sim",
        })
    } else {
        let reporting = if text.starts_with(COMBINED) { "" } else { component };
        json!({
            "source": {"component": component},
            "firstTimestamp": seconds_text(now), "lastTimestamp": seconds_text(now), "count": 1, "type": kind,
            "eventTime": null, "reportingComponent": reporting, "reportingInstance": "",
        })
    };
    if let (Some(event), Value::Object(rest)) = (event.as_object_mut(), rest) {
        event.extend(rest);
    }
    event
}
