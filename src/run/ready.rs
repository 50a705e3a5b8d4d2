//! Waiting until things are ready: workloads over the shared watch, other objects over one of their own.
//!
//! What nobody can judge is looked at for a moment, in case a controller is about to speak, and then taken for ready,
//! aloud.

use super::nodes_to_come::NodesToCome;
use super::perform::{Stand, StepError};
use crate::domain::event::Kind;
use crate::domain::object::ObjectRef;
use crate::domain::observed::{LiveObjects, Snapshot};
use crate::domain::units::human;
use crate::ports::{Cluster, ClusterError};
use crate::rollout::readiness::{self, Surroundings, pods};
use crate::rollout::{Verdict, readiness::Sort};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long an object of which nothing can be known is looked at before it is taken for ready.
const ASSUME_AFTER: Duration = Duration::from_secs(10);
/// An object of this age of which nobody has ever said anything is not looked at any longer.
const SILENT_AFTER: SignedDuration = SignedDuration::from_mins(1);
/// Some verdicts change by time alone.
const TICK: Duration = Duration::from_secs(5);
/// Longest time for what makes a cause clearer.
const EXPLAIN: Duration = Duration::from_secs(2);
/// Longest last words of a container in a cause.
const LAST_WORDS: usize = 160;

/// When a storage class makes the volume of a claim.
#[derive(Clone, PartialEq, Eq)]
enum Binding {
    AtOnce,
    /// When the first pod that mounts it is scheduled.
    AtFirstUse,
    /// We may not read the class, and the server's words.
    Unseen(String),
}

impl Stand<'_> {
    /// Waits for all of them at once; the first that can never be ready ends the wait.
    pub(super) async fn wait_ready(
        &self,
        objects: &[ObjectRef],
        timeout: Duration,
    ) -> Result<String, StepError> {
        let began = Instant::now();
        let rules = &self.plan.readiness;
        let (workloads, others): (Vec<&ObjectRef>, Vec<&ObjectRef>) =
            objects.iter().partition(|object| readiness::sort_of(object, rules) == Sort::Workload);
        let each =
            workloads.into_iter().map(|workload| self.wait_workload(workload, began + timeout, timeout));
        let (assumed, _) = futures::future::try_join(
            self.wait_objects(others.into_iter().cloned().collect(), timeout),
            futures::future::try_join_all(each),
        )
        .await?;
        let took = human(Duration::from_secs(began.elapsed().as_secs()));
        Ok(match assumed {
            0 => format!("ready after {took}"),
            _ if assumed == objects.len() => "assumed ready, nothing tells".to_owned(),
            _ => format!("ready after {took}, {assumed} of them assumed"),
        })
    }

    async fn wait_workload(
        &self,
        workload: &ObjectRef,
        until: Instant,
        timeout: Duration,
    ) -> Result<(), StepError> {
        let cluster = self.cluster()?;
        // The watch may lag behind our own writes: no verdict before it has seen the generation that is live now.
        let live = self.in_contact("read", async || cluster.get(workload).await).await?;
        let Some(live) = live else { return Err(StepError::failed(format!("{workload} is gone"))) };
        let generation = live.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
        let mut snapshots = cluster.follow(&workload.namespace);
        let mut waiting_for = String::new();
        let mut nodes = NodesToCome::default();
        loop {
            let verdict = {
                let snapshot = snapshots.borrow_and_update();
                if seen_generation(&snapshot, workload).is_some_and(|seen| seen >= generation) {
                    readiness::judge(&snapshot, workload, self.world.clock.now())
                } else {
                    Verdict::Pending { waiting_for: format!("news of {workload}") }
                }
            };
            let verdict = match verdict {
                Verdict::Failed { why } => self.unless_nodes_come(workload, why, &mut nodes).await,
                verdict => verdict,
            };
            match verdict {
                Verdict::Healthy => return Ok(()),
                Verdict::Assumed { why } => {
                    self.tell_assumed(&why);
                    return Ok(());
                }
                Verdict::Failed { why } => {
                    return Err(StepError::failed(self.explain(workload, why).await));
                }
                Verdict::Pending { waiting_for: now } => {
                    if now != waiting_for {
                        self.progress(now.clone());
                        waiting_for = now;
                    }
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = format!("{workload} was not ready within {}: {waiting_for}", human(timeout));
                return Err(StepError::failed(self.explain(workload, why).await));
            }
            if let Ok(Err(_)) = tokio::time::timeout(left.min(TICK), snapshots.changed()).await {
                return Err(StepError { cause: "the watch ended".to_owned(), unknown: true });
            }
        }
    }

    /// Returns how many were assumed.
    async fn wait_objects(&self, objects: Vec<ObjectRef>, timeout: Duration) -> Result<usize, StepError> {
        if objects.is_empty() {
            return Ok(0);
        }
        let cluster = self.cluster()?;
        let began = Instant::now();
        let bindings = self.bindings(&objects).await?;
        let watched = self.in_contact("watch", async || cluster.watch_objects(&objects).await).await;
        let mut sights = watched?;
        let mut told = String::new();
        loop {
            let looks: Vec<(Verdict, bool)> = {
                let sight = sights.borrow_and_update();
                let look = |object| {
                    (self.look(&sight, object, bindings.get(object)), self.is_silent(&sight, object))
                };
                objects.iter().map(look).collect()
            };
            let mut waiting = Vec::new();
            let mut assumed = Vec::new();
            let mut all_silent = true;
            for (verdict, silent) in looks {
                match verdict {
                    Verdict::Healthy => {}
                    Verdict::Assumed { why } => {
                        assumed.push(why);
                        all_silent &= silent;
                    }
                    Verdict::Pending { waiting_for } => waiting.push(waiting_for),
                    Verdict::Failed { why } => return Err(StepError::failed(why)),
                }
            }
            let patient = all_silent || began.elapsed() >= ASSUME_AFTER;
            if waiting.is_empty() && patient {
                for why in &assumed {
                    self.tell_assumed(why);
                }
                return Ok(assumed.len());
            }
            if let Some(now) = waiting.first().filter(|now| **now != told) {
                self.progress(now.clone());
                told.clone_from(now);
            }
            let left = timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                let what = waiting.join("; ");
                return Err(StepError::failed(format!("not ready within {}: {what}", human(timeout))));
            }
            if let Ok(Err(_)) = tokio::time::timeout(left.min(TICK), sights.changed()).await {
                return Err(StepError { cause: "the watch ended".to_owned(), unknown: true });
            }
        }
    }

    /// Whether an object has been there for long: what nobody has said of it until now nobody will say in ten seconds.
    fn is_silent(&self, sight: &LiveObjects, object: &ObjectRef) -> bool {
        let made = sight.objects.get(object).and_then(|live| live["metadata"]["creationTimestamp"].as_str());
        let made: Option<Timestamp> = made.and_then(|text| text.parse().ok());
        made.is_some_and(|made| self.world.clock.now().duration_since(made) >= SILENT_AFTER)
    }

    fn look(&self, sight: &LiveObjects, object: &ObjectRef, binding: Option<&Binding>) -> Verdict {
        if let Some(words) = sight.unseen.get(object) {
            return Verdict::Assumed { why: format!("{object} may not be watched: {words}") };
        }
        let Some(live) = sight.objects.get(object) else {
            return Verdict::Pending { waiting_for: format!("{object} to exist") };
        };
        let warning = self.cluster().ok().filter(|_| !object.namespace.is_empty()).and_then(|cluster| {
            let snapshots = cluster.follow(&object.namespace);
            let snapshot = snapshots.borrow();
            let about = object.to_string();
            let newest = snapshot.warnings.iter().rev().find(|event| event.about == about)?;
            Some(format!("{}: {}", newest.reason, newest.message))
        });
        let class_unseen = match binding {
            Some(Binding::Unseen(words)) => Some(words.clone()),
            _ => None,
        };
        let binds_at_first_use = binding == Some(&Binding::AtFirstUse);
        let around = Surroundings { binds_at_first_use, class_unseen, warning };
        readiness::judge_object(live, &self.plan.readiness, &around)
    }

    /// Of claims that name a storage class, when it makes the volume.
    async fn bindings(&self, objects: &[ObjectRef]) -> Result<BTreeMap<ObjectRef, Binding>, StepError> {
        let cluster = self.cluster()?;
        let mut of_class: BTreeMap<String, Binding> = BTreeMap::new();
        let mut bindings = BTreeMap::new();
        for claim in objects.iter().filter(|object| object.kind == "PersistentVolumeClaim") {
            let live = self.in_contact("read", async || cluster.get(claim).await).await?;
            let class = live.as_ref().and_then(|live| live.pointer("/spec/storageClassName")?.as_str());
            let Some(class) = class.filter(|class| !class.is_empty()) else { continue };
            if !of_class.contains_key(class) {
                of_class.insert(class.to_owned(), self.binding(class).await?);
            }
            bindings.insert(claim.clone(), of_class[class].clone());
        }
        Ok(bindings)
    }

    async fn binding(&self, class: &str) -> Result<Binding, StepError> {
        let cluster = self.cluster()?;
        let class = ObjectRef::new("storage.k8s.io/v1", "StorageClass", "", class);
        let read = self.in_contact("read", async || match cluster.get(&class).await {
            Err(ClusterError::Forbidden { message }) => Ok(Err(message)),
            result => result.map(Ok),
        });
        Ok(match read.await? {
            Err(words) => Binding::Unseen(words),
            Ok(Some(live)) if live["volumeBindingMode"] == json!("WaitForFirstConsumer") => {
                Binding::AtFirstUse
            }
            Ok(_) => Binding::AtOnce,
        })
    }

    pub(super) fn tell_assumed(&self, why: &str) {
        let message = format!("assumed ready: {why}");
        self.teller.tell(Kind::Alert { severity: "info", target: Some(self.target.clone()), message });
    }

    /// The cause with what only a look elsewhere tells: a crashed container's last words, how much room is missing.
    pub(super) async fn explain(&self, workload: &ObjectRef, why: String) -> String {
        let Ok(cluster) = self.cluster() else { return why };
        let suspect = {
            let snapshots = cluster.follow(&workload.namespace);
            let snapshot = snapshots.borrow();
            suspect(&snapshot, workload, self.world.clock.now())
        };
        let Some(suspect) = suspect else { return why };
        let more = async {
            match suspect.sort {
                pods::Sort::Crash | pods::Sort::PodFailed => {
                    last_words(cluster.as_ref(), &workload.namespace, &suspect).await
                }
                pods::Sort::Unschedulable => {
                    let nodes = cluster.rooms().await.ok()?;
                    readiness::shortage(&suspect.state, &nodes)
                }
                _ => None,
            }
        };
        match tokio::time::timeout(EXPLAIN, more).await {
            Ok(Some(more)) if !why.contains(&more) => format!("{why}; {more}"),
            _ => why,
        }
    }
}

/// A pod in which a cause shows.
struct Suspect {
    sort: pods::Sort,
    pod: String,
    state: crate::domain::observed::Pod,
}

fn suspect(snapshot: &Snapshot, workload: &ObjectRef, now: Timestamp) -> Option<Suspect> {
    let (name, cause) = readiness::suspect(snapshot, workload, now)?;
    Some(Suspect { sort: cause.sort, state: snapshot.pods.get(&name)?.clone(), pod: name })
}

/// The line of the log that says most: the last that speaks of an error, else the last.
async fn last_words(cluster: &dyn Cluster, namespace: &str, suspect: &Suspect) -> Option<String> {
    let container = suspect.state.containers.iter().max_by_key(|c| (!c.ready, c.restarts))?;
    let previous = container.restarts > 0;
    let log = cluster.logs(namespace, &suspect.pod, &container.name, previous, 20).await.ok()?;
    let lines: Vec<&str> =
        log.lines().map(|line| split_stamp(line).1.trim()).filter(|l| !l.is_empty()).collect();
    let speaks = |line: &&&str| {
        let lower = line.to_lowercase();
        ["error", "fatal", "panic", "exception", "cannot", "failed"].iter().any(|word| lower.contains(word))
    };
    let line = lines.iter().rev().find(speaks).or(lines.last())?;
    let short: String = line.chars().take(LAST_WORDS).collect();
    Some(format!("it said \"{short}\""))
}

/// The time that the server puts before a log line, and the rest.
pub(super) fn split_stamp(line: &str) -> (Option<Timestamp>, &str) {
    match line.split_once(' ') {
        Some((stamp, rest)) if stamp.contains('T') => match stamp.parse() {
            Ok(at) => (Some(at), rest),
            Err(_) => (None, line),
        },
        _ => (None, line),
    }
}

/// The generation that the watch has told of.
pub(super) fn seen_generation(snapshot: &Snapshot, workload: &ObjectRef) -> Option<i64> {
    match workload.kind.as_str() {
        "Pod" => snapshot.pods.get(&workload.name).map(|_| i64::MAX),
        "ReplicaSet" => snapshot.replica_sets.get(&workload.name).map(|set| set.generation),
        _ => snapshot.workloads.get(workload).map(|state| state.generation),
    }
}
