//! What happened to the objects of a rollout, in words that can be compared.
//!
//! What is compared: for every object its sequence of (change, deletion mark, generation lag, spec.replicas,
//! counts, conditions with reasons), for events the sequence of (change, type, reason, message) about each object.
//!
//! What is folded, on both sides alike:
//! - the interleaving of different objects: each kind has a watch of its own, and milliseconds decide;
//! - names: hashes become the order of appearance, pods and slices of pods are compared as sets of sequences;
//! - a repetition of the same state;
//! - a state if the next one differs in counts alone and every count moves in one direction from the one before
//!   through it to the next: how many looks a controller takes while several pods change is a matter of
//!   milliseconds; turns (a surge, a dip) stay;
//! - a Deployment's `replicas` counts its terminating pods too: whether it looks between the deletion of an old pod
//!   and the creation of a new one by another controller is a matter of milliseconds;
//! - of pods: `ContainerCreating` (the recorded kubelet does not write it), the write of grace period 0 just before
//!   a removal, the starts between crashes, and every crash after the first;
//! - events of kubelets (the recorded one tells none) and of objects that are not part of the story;
//! - retries of refused creations after the tenth, which go on for ever.

use serde_json::Value;
use std::collections::BTreeMap;

/// One state of an object: everything that is no count, and the counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    pub text: String,
    pub counts: Vec<i64>,
}

/// What happened to each object, by role.
pub type Story = BTreeMap<String, Vec<Shown>>;

#[derive(Default)]
pub struct Teller {
    names: BTreeMap<String, String>,
    pub story: Story,
}

impl Teller {
    /// Gives a `ReplicaSet` (or revision) the number of its first appearance.
    fn role(&mut self, kind: &str, name: &str) -> String {
        let known = self.names.keys().filter(|known| known.starts_with(kind)).count();
        let key = format!("{kind}/{name}");
        self.names.entry(key).or_insert_with(|| format!("{kind}#{known}")).clone()
    }

    pub fn tell(&mut self, typ: &str, object: &Value) {
        let kind = object["kind"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let (role, shown) = match kind {
            "Event" => match self.event(typ, object) {
                Some(told) => told,
                None => return,
            },
            "EndpointSlice" if name.starts_with("api-") => ("slice".to_owned(), slice(typ, object)),
            "EndpointSlice" => return,
            "ReplicaSet" => (self.role(kind, &name), self.workload(typ, object)),
            "Pod" if name == "huge" => return,
            "Pod" => match pod(typ, object) {
                Some(shown) => (format!("Pod/{name}"), shown),
                None => return,
            },
            _ => (kind.to_owned(), self.workload(typ, object)),
        };
        self.story.entry(role).or_default().push(shown);
    }

    fn event(&mut self, typ: &str, event: &Value) -> Option<(String, Shown)> {
        let about = &event["involvedObject"];
        let kind = about["kind"].as_str()?;
        let name = about["name"].as_str()?.to_owned();
        let kubelet = event["reportingComponent"] == "kubelet";
        if kubelet
            || !matches!(kind, "Deployment" | "ReplicaSet" | "Pod" | "PersistentVolumeClaim")
            || name == "huge"
        {
            return None;
        }
        let mut message = event["message"].as_str()?.to_owned();
        let reason = event["reason"].as_str()?;
        match reason {
            "ScalingReplicaSet" => {
                let set =
                    message.split(' ').find(|word| word.starts_with("api-") || word.starts_with("rootd-"))?;
                let set = set.to_owned();
                let role = self.role("ReplicaSet", &set);
                message = message.replace(&set, &role);
            }
            "FailedCreate" => {
                let quoted: Vec<&str> = message.split('"').collect();
                message = message.replace(quoted[1], "POD");
            }
            _ => message.clear(),
        }
        let role = match kind {
            "ReplicaSet" => format!("Event about {}", self.role(kind, &name)),
            _ => format!("Event about {kind}"),
        };
        Some((
            role,
            Shown {
                text: format!("{typ} {} {reason} {message}", event["type"].as_str()?),
                counts: Vec::new(),
            },
        ))
    }

    fn workload(&mut self, typ: &str, object: &Value) -> Shown {
        let metadata = &object["metadata"];
        let status = &object["status"];
        let lag =
            metadata["generation"].as_i64().unwrap_or(0) - status["observedGeneration"].as_i64().unwrap_or(0);
        let mut words = vec![format!("{typ} lag={lag}")];
        if let Some(replicas) = object["spec"]["replicas"].as_i64()
            && object["kind"] == "ReplicaSet"
        {
            words.push(format!("of {replicas}"));
        }
        for key in ["revision", "revision-history"] {
            let value = metadata["annotations"][format!("deployment.kubernetes.io/{key}")].as_str();
            words.extend(value.map(|value| format!("{key}={value}")));
        }
        if !metadata["deletionTimestamp"].is_null() {
            words.push(format!("deleting {}", metadata["finalizers"]));
        }
        for key in ["currentRevision", "updateRevision"] {
            if let Some(revision) = status[key].as_str() {
                words.push(format!("{key}={}", self.role("Revision", revision)));
            }
        }
        words.extend(status["phase"].as_str().map(str::to_owned));
        let uncounted = status["uncountedTerminatedPods"].as_object();
        words.extend(uncounted.map(|map| format!("uncounted={:?}", map.keys().collect::<Vec<_>>())));
        for condition in status["conditions"].as_array().into_iter().flatten() {
            let part = |key: &str| condition[key].as_str().unwrap_or_default();
            words.push(format!("{}={}:{}", part("type"), part("status"), part("reason")));
        }
        let text = words.join(" ");
        let mut counts: Vec<i64> = COUNTS.iter().map(|key| status[key].as_i64().unwrap_or(0)).collect();
        if object["kind"] == "Deployment" {
            counts[0] += status["terminatingReplicas"].as_i64().unwrap_or(0);
        }
        Shown { text, counts }
    }
}

const COUNTS: [&str; 17] = [
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
    "terminatingReplicas",
    "fullyLabeledReplicas",
    "currentReplicas",
    "currentNumberScheduled",
    "desiredNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "active",
    "succeeded",
    "failed",
];

fn slice(typ: &str, slice: &Value) -> Shown {
    let count = |key: &str| {
        let endpoints = slice["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
        endpoints.iter().filter(|endpoint| endpoint["conditions"][key] == true).count() as i64
    };
    let all = slice["endpoints"].as_array().map_or(0, Vec::len) as i64;
    Shown { text: typ.to_owned(), counts: vec![count("ready"), count("serving"), count("terminating"), all] }
}

fn pod(typ: &str, pod: &Value) -> Option<Shown> {
    let metadata = &pod["metadata"];
    let status = &pod["status"];
    let condition = |kind: &str| {
        let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    let deleting = !metadata["deletionTimestamp"].is_null();
    let state = &status["containerStatuses"][0]["state"];
    let waiting = state["waiting"]["reason"].as_str().unwrap_or_default();
    let last_grace = deleting && metadata["deletionGracePeriodSeconds"] == 0 && typ == "MODIFIED";
    let creating = waiting == "ContainerCreating";
    if last_grace || creating {
        return None;
    }
    let text = format!(
        "{typ} {} scheduled={} ready={} deleting={} {waiting}{}{}",
        status["phase"].as_str().unwrap_or_default(),
        pod["spec"]["nodeName"].is_string(),
        condition("Ready"),
        deleting,
        state["terminated"]["exitCode"].as_i64().map(|code| format!("exit {code}")).unwrap_or_default(),
        if metadata["finalizers"].is_array() { " finalizers" } else { "" },
    );
    Some(Shown { text, counts: Vec::new() })
}

/// The sequences of states of all objects of a role.
pub type Folded = BTreeMap<String, Vec<Vec<Shown>>>;

/// Folds what the head of this file says.
pub fn fold(case: &str, mut story: Story) -> Folded {
    let mut folded: Folded = BTreeMap::new();
    for (role, sequence) in &mut story {
        if role == "slice" {
            let ready = if case == "rollout-create" { 0 } else { 3 };
            sequence.insert(0, Shown { text: "MODIFIED".to_owned(), counts: vec![ready, ready, 0, ready] });
        }
        sequence.dedup();
        if role.starts_with("Pod/") {
            fold_crashes(sequence);
        }
        while let Some(place) =
            (1..sequence.len().saturating_sub(1)).find(|place| between(&sequence[place - 1..=place + 1]))
        {
            sequence.remove(place);
        }
        sequence.dedup();
        if role.starts_with("Event about") && sequence.iter().all(|shown| shown.text.contains("FailedCreate"))
        {
            sequence.truncate(10);
        }
        let role = if role.starts_with("Pod/") { "pods".to_owned() } else { role.clone() };
        folded.entry(role).or_default().push(std::mem::take(sequence));
    }
    for sequences in folded.values_mut() {
        sequences.sort();
    }
    folded
}

fn fold_crashes(sequence: &mut Vec<Shown>) {
    if !sequence
        .iter()
        .any(|shown| shown.text.contains("CrashLoopBackOff") && !shown.text.contains("deleting=true"))
    {
        return;
    }
    let mut seen = false;
    sequence.retain(|shown| {
        let crash = shown.text.contains("CrashLoopBackOff") && shown.text.contains("deleting=false");
        let start = shown.text.contains("MODIFIED Running")
            && !shown.text.contains("CrashLoop")
            && shown.text.contains("deleting=false");
        let keep = !start && (!crash || !seen);
        seen |= crash;
        keep
    });
}

/// True if the middle of three states is merely on the way from the first to the last.
fn between(three: &[Shown]) -> bool {
    let [a, b, c] = three else {
        return false;
    };
    b.text == c.text
        && !b.counts.is_empty()
        && (0..b.counts.len()).all(|i| {
            let (a, b, c) = (a.counts[i], b.counts[i], c.counts[i]);
            (a <= b && b <= c) || (a >= b && b >= c)
        })
}
