//! `StatefulSets`: updated in part, and brought out of the state in which their controller waits for ever.
//!
//! With `podManagementPolicy: OrderedReady` the controller replaces no pod as long as one is not ready, so that a broken
//! template cannot be mended by the template before: the broken pods have to be deleted ("forced rollback" in the
//! Kubernetes documentation of `StatefulSet`).

use super::perform::{Stand, StepError};
use super::ready::seen_generation;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::observed::{LABEL_TEMPLATE_HASH, Snapshot};
use crate::domain::units::human;
use crate::rollout::{Verdict, readiness, share};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// On the way forward a pod of the old template may come to itself: so long it is left alone.
const PATIENCE: Duration = Duration::from_mins(1);
/// Some verdicts change by time alone.
const TICK: Duration = Duration::from_secs(5);

impl Stand<'_> {
    /// Applies a `StatefulSet` so that a share of its pods gets the new template.
    pub(super) async fn partition(&self, index: usize, percent: u8) -> Result<String, StepError> {
        let object = self.object(index);
        let reference = object.reference();
        let replicas = match object.value["spec"]["replicas"].as_u64() {
            Some(replicas) => replicas as u32,
            None => self.size_of(&reference).await?,
        };
        let updated = share::pods_of(replicas, percent);
        let mut value = object.value.clone();
        value["spec"]["updateStrategy"] =
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": replicas - updated}});
        let object = Object { value, ..object.clone() };
        let planned = self.planned(&[index]);
        self.apply_one(&object, reference.clone(), planned.get(&reference).copied()).await?;
        Ok(format!("{updated} of {replicas} pods get the new template"))
    }

    /// Waits until a `StatefulSet` is ready; deletes what its controller would wait for in vain.
    pub(super) async fn unstick(&self, workload: &ObjectRef, timeout: Duration) -> Result<String, StepError> {
        let cluster = self.cluster()?;
        let began = Instant::now();
        let live = self.in_contact("read", async || cluster.get(workload).await).await?;
        let live = match live {
            Some(live) => live,
            None if self.back => return Ok("was never there".to_owned()),
            None => return Err(StepError::failed(format!("{workload} is gone"))),
        };
        let generation = live.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
        let mut snapshots = cluster.follow(&workload.namespace);
        let mut told = String::new();
        let mut deleted = 0;
        let mut since: BTreeMap<ObjectRef, Instant> = BTreeMap::new();
        loop {
            let (verdict, broken) = {
                let snapshot = snapshots.borrow_and_update();
                if seen_generation(&snapshot, workload).is_some_and(|seen| seen >= generation) {
                    let verdict = readiness::judge(&snapshot, workload, self.world.clock.now());
                    (verdict, stuck(&snapshot, workload))
                } else {
                    (Verdict::Pending { waiting_for: format!("news of {workload}") }, Vec::new())
                }
            };
            if let (Verdict::Assumed { why }, false) = (&verdict, self.back) {
                self.tell_assumed(why);
            }
            let waiting_for = match verdict {
                Verdict::Healthy | Verdict::Assumed { .. } if deleted == 0 => return Ok("ready".to_owned()),
                Verdict::Healthy | Verdict::Assumed { .. } => {
                    return Ok(format!("ready; {deleted} broken pods were deleted"));
                }
                Verdict::Failed { why } => return Err(StepError::failed(self.explain(workload, why).await)),
                Verdict::Pending { waiting_for } => waiting_for,
            };
            if waiting_for != told {
                self.progress(waiting_for.clone());
                told = waiting_for;
            }
            let left = timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                let limit = human(timeout);
                let why = format!("{workload} was not ready within {limit}: {told}");
                return Err(StepError::failed(self.explain(workload, why).await));
            }
            since.retain(|pod, _| broken.contains(pod));
            for pod in self.hopeless(broken, &mut since) {
                self.progress(format!("{pod} is not ready and of another template: deleted"));
                self.may_write().await?;
                let what = format!("delete {pod}");
                let delete = self.in_contact(&what, async || cluster.delete(&pod).await);
                // One whose node is gone never goes: the wait tells of it.
                if let Ok(result) = tokio::time::timeout(left, delete).await {
                    result?;
                }
                deleted += 1;
            }
            if let Ok(Err(_)) = tokio::time::timeout(left.min(TICK), snapshots.changed()).await {
                return Err(StepError { cause: "the watch ended".to_owned(), unknown: true });
            }
        }
    }
}

impl Stand<'_> {
    /// On a way back all pods of the template that failed; forward only those that were not ready for a while.
    fn hopeless(&self, broken: Vec<ObjectRef>, since: &mut BTreeMap<ObjectRef, Instant>) -> Vec<ObjectRef> {
        if self.back {
            return broken;
        }
        let now = Instant::now();
        let long =
            broken.into_iter().filter(|pod| now - *since.entry(pod.clone()).or_insert(now) >= PATIENCE);
        long.collect()
    }
}

/// Pods of a template that the workload does not want any more, and that are not ready.
fn stuck(snapshot: &Snapshot, workload: &ObjectRef) -> Vec<ObjectRef> {
    let Some(state) = snapshot.workloads.get(workload) else { return Vec::new() };
    if state.observed_generation < state.generation || state.rollout_revision.is_empty() {
        return Vec::new();
    }
    let pods = snapshot.pods.iter().filter(|(name, pod)| {
        let made_from = pod.labels.get(LABEL_TEMPLATE_HASH);
        pod.owner_uid == state.uid
            && !pod.ready
            && !pod.terminating
            && ordinal(name).is_none_or(|ordinal| ordinal >= state.partition)
            && made_from.is_some_and(|hash| *hash != state.rollout_revision)
    });
    pods.map(|(name, _)| ObjectRef::new("v1", "Pod", &workload.namespace, name)).collect()
}

/// The number in a pod's name.
fn ordinal(pod: &str) -> Option<u32> {
    pod.rsplit_once('-').and_then(|(_, number)| number.parse().ok())
}
