//! Rollouts of the simulated controllers against those recorded from kube-apiserver v1.36.2 with its controller
//! manager and scheduler (`tests/golden/kube_watches.jsonl.gz`): the same story must show the same order.
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

use std::collections::BTreeMap;
use std::io::Read as _;

use deployctl::sim::kube::kinds::KindId;
use deployctl::sim::kube::store::{ChangeType, Propagation};
use serde_json::{Value, json};

use super::rig::{CLUSTER, NAMESPACE, Rig};

/// One state of an object: everything that is no count, and the counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    text: String,
    counts: Vec<i64>,
}

/// What happened to each object, by role.
type Story = BTreeMap<String, Vec<Shown>>;

#[derive(Default)]
struct Teller {
    names: BTreeMap<String, String>,
    story: Story,
}

impl Teller {
    /// Gives a `ReplicaSet` (or revision) the number of its first appearance.
    fn role(&mut self, kind: &str, name: &str) -> String {
        let known = self.names.keys().filter(|known| known.starts_with(kind)).count();
        let key = format!("{kind}/{name}");
        self.names.entry(key).or_insert_with(|| format!("{kind}#{known}")).clone()
    }

    fn tell(&mut self, typ: &str, object: &Value) {
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

/// Folds what the head of this file says.
fn fold(case: &str, mut story: Story) -> BTreeMap<String, Vec<Vec<Shown>>> {
    let mut folded: BTreeMap<String, Vec<Vec<Shown>>> = BTreeMap::new();
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

/// The recorded stories by case.
fn recorded() -> BTreeMap<String, BTreeMap<String, Vec<Vec<Shown>>>> {
    let mut text = String::new();
    let file = include_bytes!("../../golden/kube_watches.jsonl.gz");
    flate2::read::GzDecoder::new(&file[..]).read_to_string(&mut text).unwrap();
    text.lines()
        .map(|line| {
            let case: Value = serde_json::from_str(line).unwrap();
            let mut teller = Teller::default();
            for event in case["events"].as_array().unwrap() {
                if event["type"] != "BOOKMARK" {
                    teller.tell(event["type"].as_str().unwrap(), &event["object"]);
                }
            }
            let name = case["case"].as_str().unwrap().to_owned();
            let story = fold(&name, teller.story);
            (name, story)
        })
        .collect()
}

/// What happens in the simulation from `act` on, for `seconds`.
async fn simulated(
    case: &str,
    rig: &Rig,
    kinds: &[KindId],
    seconds: f64,
    act: impl FnOnce(&Rig),
) -> BTreeMap<String, Vec<Vec<Shown>>> {
    let from = rig.world.store(CLUSTER).lock().unwrap().version();
    act(rig);
    rig.wait(seconds).await;
    let store = rig.world.store(CLUSTER);
    let store = store.lock().unwrap();
    let mut changes = Vec::new();
    for kind in kinds {
        changes.extend(store.changes_since(*kind, from).unwrap().map(|recorded| recorded.change.clone()));
    }
    changes.sort_by_key(|change| change.seq);
    let mut teller = Teller::default();
    for change in changes {
        let typ = match change.typ {
            ChangeType::Added => "ADDED",
            ChangeType::Modified => "MODIFIED",
            ChangeType::Deleted => "DELETED",
        };
        teller.tell(typ, &change.object);
    }
    fold(case, teller.story)
}

fn compare(case: &str, real: &BTreeMap<String, Vec<Vec<Shown>>>, ours: &BTreeMap<String, Vec<Vec<Shown>>>) {
    let lines = |story: &BTreeMap<String, Vec<Vec<Shown>>>| {
        let mut lines = Vec::new();
        for (role, sequences) in story {
            for sequence in sequences {
                lines.push(role.clone());
                lines.extend(sequence.iter().map(|shown| format!("    {} {:?}", shown.text, shown.counts)));
            }
        }
        lines.join("\n")
    };
    assert!(real == ours, "{case}\n--- recorded\n{}\n--- simulated\n{}", lines(real), lines(ours));
}

const ROLLOUT: [KindId; 5] =
    [KindId::DEPLOYMENTS, KindId::REPLICA_SETS, KindId::PODS, KindId::EVENTS, KindId::ENDPOINT_SLICES];

/// A cluster whose nodes take the time that the recorded kubelet took.
async fn rig(seed: u64) -> Rig {
    Rig::with(seed, |cluster| {
        cluster.times.admit = (20, 30);
        cluster.times.images_present = true;
        cluster.times.start = (500, 800);
        cluster.times.stop = (300, 310);
        cluster.times.crash_back_off = 1_000;
        cluster.times.job = (500, 510);
        cluster.settings.endpoint_lag = (6, 12);
        cluster.settings.default_storage_class = false;
    })
    .await
}

fn template(app: &str, image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {
            "containers": [{"name": app, "image": image, "ports": [{"containerPort": 8000}]}],
            "terminationGracePeriodSeconds": 1,
        },
    })
}

fn api(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {
            "replicas": 3, "progressDeadlineSeconds": 8, "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template(name, "shop/api:v1"),
        },
    })
}

fn image(rig: &Rig, kind: KindId, name: &str, image: &str) {
    rig.modify(kind, name, |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
    });
}

#[tokio::test(start_paused = true)]
async fn deployments_roll_out_in_the_recorded_order() {
    let recorded = recorded();
    for seed in 1..=5 {
        let rig = rig(seed).await;
        rig.create(KindId::SERVICES, super::rig::service("api"));
        rig.wait(1.0).await;
        let story = simulated("rollout-create", &rig, &ROLLOUT, 4.0, |rig| {
            drop(rig.create(KindId::DEPLOYMENTS, api("api")));
        })
        .await;
        compare("rollout-create", &recorded["rollout-create"], &story);
        for (case, tag, seconds) in [
            ("rollout-good-image", "v2", 6.0),
            ("rollout-missing-image", "missing", 12.0),
            ("rollout-back-to-good-image", "v2", 3.0),
            ("rollout-crash", "crash", 12.0),
            ("rollout-after-crash", "v2", 3.0),
        ] {
            let act = |rig: &Rig| {
                image(rig, KindId::DEPLOYMENTS, "api", &format!("shop/api:{tag}"));
            };
            let story = simulated(case, &rig, &ROLLOUT, seconds, act).await;
            compare(case, &recorded[case], &story);
        }
        let scale =
            |rig: &Rig| rig.modify(KindId::DEPLOYMENTS, "api", |api| api["spec"]["replicas"] = 5.into());
        let story = simulated("scale-up-down", &rig, &ROLLOUT, 3.0, scale).await;
        compare("scale-up-down", &recorded["scale-up-down"], &story);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_whose_pods_are_denied_says_so_as_recorded() {
    let rig = Rig::new(1).await;
    rig.modify_namespace(|namespace| {
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "restricted".into();
    });
    let story = simulated("rollout-denied-by-pss", &rig, &ROLLOUT, 57.0, |rig| {
        drop(rig.create(KindId::DEPLOYMENTS, api("rootd")));
    })
    .await;
    let mut recorded = recorded().remove("rollout-denied-by-pss").unwrap();
    recorded.retain(|role, _| role != "Event about PersistentVolumeClaim");
    compare("rollout-denied-by-pss", &recorded, &story);
}

#[tokio::test(start_paused = true)]
async fn deletions_take_dependents_along_in_the_recorded_order() {
    let recorded = recorded();
    let rig = rig(3).await;
    rig.create(KindId::SERVICES, super::rig::service("api"));
    rig.create(KindId::DEPLOYMENTS, api("api"));
    rig.wait(5.0).await;
    let delete = |rig: &Rig| rig.delete(KindId::DEPLOYMENTS, "api", Propagation::Foreground);
    let mut story = simulated("delete", &rig, &ROLLOUT, 5.0, delete).await;
    let mut real = recorded["delete-deployment-foreground"].clone();
    // how the pods' ends are batched is timing
    for both in [&mut story, &mut real] {
        both.remove("slice");
    }
    compare("delete-deployment-foreground", &real, &story);
}

#[tokio::test(start_paused = true)]
async fn stateful_sets_go_in_the_recorded_order() {
    let recorded = recorded();
    for seed in 1..=5 {
        let rig = rig(seed).await;
        let kinds = [KindId::STATEFUL_SETS, KindId::PODS];
        let set = json!({
            "metadata": {"name": "db", "namespace": NAMESPACE},
            "spec": {
                "replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                "template": template("db", "shop/db:v1"),
            },
        });
        let story =
            simulated("", &rig, &kinds, 6.0, |rig| drop(rig.create(KindId::STATEFUL_SETS, set))).await;
        compare("statefulset-create", &recorded["statefulset-create"], &story);
        for (case, tag, partition) in [
            ("statefulset-update-partition-2", "v2", 2),
            ("statefulset-update-all", "v2", 0),
            ("statefulset-crash", "crash", 0),
        ] {
            let act = |rig: &Rig| {
                rig.modify(KindId::STATEFUL_SETS, "db", |set| {
                    set["spec"]["updateStrategy"] =
                        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}});
                    set["spec"]["template"]["spec"]["containers"][0]["image"] =
                        format!("shop/db:{tag}").into();
                });
            };
            let story = simulated("", &rig, &kinds, 6.0, act).await;
            compare(case, &recorded[case], &story);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn daemon_sets_go_in_the_recorded_order() {
    let recorded = recorded();
    for seed in 1..=5 {
        let rig = rig(seed).await;
        let kinds = [KindId::DAEMON_SETS, KindId::PODS];
        let set = json!({
            "metadata": {"name": "agent", "namespace": NAMESPACE},
            "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", "shop/agent:v1")},
        });
        let story = simulated("", &rig, &kinds, 4.0, |rig| drop(rig.create(KindId::DAEMON_SETS, set))).await;
        compare("daemonset-create", &recorded["daemonset-create"], &story);
        let act = |rig: &Rig| {
            image(rig, KindId::DAEMON_SETS, "agent", "shop/agent:v2");
        };
        let story = simulated("", &rig, &kinds, 12.0, act).await;
        compare("daemonset-update", &recorded["daemonset-update"], &story);
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_end_in_the_recorded_order() {
    let recorded = recorded();
    for (case, name, tag, limit) in
        [("job-succeeds", "migrate", "v1", 1), ("job-fails", "migrate2", "fail", 0)]
    {
        let rig = rig(1).await;
        let mut template = template("m", &format!("shop/migrate:{tag}"));
        template["spec"]["restartPolicy"] = "Never".into();
        let job = json!({
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"backoffLimit": limit, "template": template},
        });
        let kinds = [KindId::JOBS, KindId::PODS];
        let story = simulated("", &rig, &kinds, 10.0, |rig| drop(rig.create(KindId::JOBS, job))).await;
        compare(case, &recorded[case], &story);
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_away_in_the_recorded_order() {
    let recorded = recorded();
    let rig = rig(1).await;
    let claim = json!({
        "metadata": {"name": "data", "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    rig.create(KindId::DEPLOYMENTS, api("api"));
    rig.create(KindId::PERSISTENT_VOLUME_CLAIMS, claim);
    rig.wait(10.0).await;
    let story = simulated("", &rig, &[KindId::NAMESPACES], 40.0, Rig::delete_namespace).await;
    let shown = |story: &BTreeMap<String, Vec<Vec<Shown>>>| -> Vec<String> {
        // how often the content is looked at while it goes is timing
        let mut all: Vec<String> = story["Namespace"][0].iter().map(|shown| shown.text.clone()).collect();
        all.retain(|text| !text.contains("NamespaceContentRemaining=True"));
        all.dedup();
        all
    };
    let (first, last) = (&shown(&story)[0], shown(&story).last().cloned());
    assert_eq!(first, &shown(&recorded["namespace-terminating"])[0]);
    assert_eq!(last, shown(&recorded["namespace-terminating"]).last().cloned());
}
