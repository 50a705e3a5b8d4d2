//! Performs effects: one exhaustive match, every arm safe to repeat.

use crate::domain::effect::Effect;
use crate::domain::event::Kind;
use crate::domain::ids::{ComponentId, StepId, TargetId};
use crate::domain::object::{Object, ObjectRef};
use crate::domain::units::human;
use crate::plan::{Plan, order};
use crate::ports::Cluster;
use crate::ports::cloud::SnapshotState;
use crate::ports::cluster::ClusterError;
use crate::run::compare::Comparisons;
use crate::run::contact::{CONTACT, CONTACT_PAUSE};
use crate::run::control::Control;
use crate::run::engine::Engine;
use crate::run::hold::Hold;
use crate::run::lease::Leases;
use crate::run::weigh::Weight;
use crate::run::world::{Site, Teller, World};
use futures::stream::{self, StreamExt as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Requests of one effect that may be under way at once.
pub(super) const IN_FLIGHT: usize = 64;

/// Why an effect was not achieved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StepError {
    /// The root cause, one line.
    pub cause: String,
    /// Whether contact was lost, so that the outcome is unknown.
    pub unknown: bool,
}

impl StepError {
    pub fn failed(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), unknown: false }
    }

    pub fn of(what: &str, error: &ClusterError) -> Self {
        Self { cause: format!("{what}: {error}"), unknown: error.leaves_open() }
    }
}

/// What endpoints may lag behind pods that are ready.
const ENDPOINTS_LAG: Duration = Duration::from_secs(10);

/// What an effect is performed with.
pub(super) struct Stand<'a> {
    pub plan: &'a Plan,
    pub world: &'a World,
    pub leases: &'a Leases,
    pub control: &'a Control,
    pub teller: &'a Teller<'a>,
    pub comparisons: &'a Comparisons,
    pub target: &'a TargetId,
    pub step: &'a StepId,
    pub component: Option<&'a ComponentId>,
    /// Whether it is a way back: what was there before is put back whoever wrote since.
    pub back: bool,
}

impl Engine<'_> {
    /// Performs one effect, forward or back, in the name of a step.
    pub(super) async fn perform_for(
        &self,
        target: &TargetId,
        step: &StepId,
        component: Option<&ComponentId>,
        effect: &Effect,
        back: bool,
    ) -> Result<String, StepError> {
        let teller = self.teller();
        self.stand(&teller, target, step, component, back).perform(effect).await
    }

    /// What effects on a target are performed with, in the name of a step.
    pub(super) fn stand<'s>(
        &'s self,
        teller: &'s Teller<'s>,
        target: &'s TargetId,
        step: &'s StepId,
        component: Option<&'s ComponentId>,
        back: bool,
    ) -> Stand<'s> {
        Stand {
            plan: self.plan,
            world: self.world,
            leases: self.leases,
            control: &self.control,
            teller,
            comparisons: &self.comparisons,
            target,
            step,
            component,
            // Bringing an older release back is a way back, too.
            back: back || self.plan.rollback_of.is_some(),
        }
    }
}

impl Stand<'_> {
    pub fn site(&self) -> Result<&Site, StepError> {
        self.world.site(self.target).map_err(|failure| StepError::failed(failure.what))
    }

    pub fn cluster(&self) -> Result<&Arc<dyn Cluster>, StepError> {
        self.site()?.cluster().map_err(|error| StepError::failed(error.to_string()))
    }

    pub fn progress(&self, detail: String) {
        self.teller.tell(Kind::StepProgress {
            step: self.step.clone(),
            target: self.target.clone(),
            component: self.component.cloned(),
            detail,
        });
    }

    pub(super) fn object(&self, index: usize) -> &Object {
        &self.plan.objects[index]
    }

    /// Does one effect; says what came of it.
    pub async fn perform(&self, effect: &Effect) -> Result<String, StepError> {
        if effect.writes() {
            self.may_write().await?;
        }
        match effect {
            Effect::Apply { objects } => self.apply(objects).await,
            Effect::Create { objects } => self.create(objects).await,
            Effect::Switch { objects, to } => {
                self.apply(objects).await?;
                Ok(format!("traffic goes to {to}"))
            }
            Effect::Weigh { objects, percent, canaries, assumed } => {
                self.weigh(objects, *percent, canaries, assumed.as_deref()).await
            }
            Effect::WaitWeight { percent, before, canaries, probe, version, timeout } => {
                let (percent, before, timeout) = (*percent, *before, *timeout);
                self.wait_weight(&Weight { percent, before, canaries, probe, version, timeout }).await
            }
            Effect::Replace { objects } => self.replace(objects).await,
            Effect::Delete { objects } => self.delete(objects).await,
            Effect::Scale { workload, to } => self.scale(workload, to).await,
            Effect::Guard { autoscalers, workload, to } => {
                self.guard(autoscalers, workload, to.as_ref()).await
            }
            Effect::Regrow(stable) => self.regrow(stable).await,
            Effect::Partition { object, percent } => self.partition(*object, *percent).await,
            Effect::Unstick { workload, timeout } => self.unstick(workload, *timeout).await,
            Effect::RunJob(run) => self.run_job(run).await,
            Effect::WaitReady { workloads, timeout } => self.wait_ready(workloads, *timeout).await,
            Effect::WaitTraffic { service, workload, timeout } => {
                self.wait_traffic(service, workload, *timeout).await
            }
            Effect::Hold { duration, gates, arms, probes, patience, until, follow } => {
                let (duration, patience) = (*duration, *patience);
                self.hold(&Hold { duration, patience, until, gates, arms, probes, follow }).await
            }
            Effect::Smoke { tests, via } => self.smoke(tests, via).await,
            Effect::Snapshot { instance, snapshot, timeout } => {
                self.snapshot(instance, snapshot, *timeout).await
            }
            Effect::Terraform { dir } => self.terraform(dir).await,
            Effect::Compose { project, images, timeout } => self.compose(project, images, *timeout).await,
            Effect::PauseSync { syncers } => self.pause_sync(syncers).await,
            Effect::ResumeSync { syncers } => self.resume_sync(syncers).await,
            Effect::Advance { wave } => Ok(format!("wave {wave}")),
        }
    }

    /// The lock is asked before every write: no request may outlive it. One that could not be renewed for a while is
    /// waited for: it is still ours if nobody took it meanwhile, and the run ends where somebody did.
    pub(super) async fn may_write(&self) -> Result<(), StepError> {
        let until = Instant::now() + CONTACT;
        while !self.leases.holds(self.target, self.world.clock.now()) {
            if Instant::now() >= until {
                let cause = format!("the lock of {} is no longer held", self.target);
                return Err(StepError { cause, unknown: true });
            }
            tokio::time::sleep(CONTACT_PAUSE).await;
        }
        Ok(())
    }

    /// Repeats a request that got no answer, or that a server could not answer for the moment: every write is idempotent.
    pub(super) async fn in_contact<T, F>(&self, what: &str, request: F) -> Result<T, StepError>
    where
        F: AsyncFn() -> Result<T, ClusterError>,
    {
        let began = Instant::now();
        let mut told = false;
        loop {
            match request().await {
                Ok(value) => return Ok(value),
                Err(error) if error.may_pass() && began.elapsed() < CONTACT => {
                    if !std::mem::replace(&mut told, true) {
                        self.progress(format!("{error}; trying again"));
                    }
                    tokio::time::sleep(CONTACT_PAUSE).await;
                    self.may_write().await?;
                }
                Err(error) => return Err(StepError::of(what, &error)),
            }
        }
    }

    /// What needs others goes before them; what does not goes at once.
    async fn delete(&self, objects: &[ObjectRef]) -> Result<String, StepError> {
        let cluster = self.cluster()?;
        for wave in order::removal(objects) {
            let deletions: Vec<_> = wave
                .into_iter()
                .map(|reference| async move {
                    self.may_write().await?;
                    let what = format!("delete {reference}");
                    self.in_contact(&what, async || cluster.delete(reference).await).await
                })
                .collect();
            // All come to their end before a failure is told: none is left half asked.
            let done: Vec<_> = stream::iter(deletions).buffer_unordered(IN_FLIGHT).collect().await;
            done.into_iter().collect::<Result<(), StepError>>()?;
        }
        Ok(format!("{} deleted", objects.len()))
    }

    async fn wait_traffic(
        &self,
        service: &ObjectRef,
        workload: &ObjectRef,
        timeout: Duration,
    ) -> Result<String, StepError> {
        let cluster = self.cluster()?;
        let mut snapshots = cluster.follow(&service.namespace);
        let began = Instant::now();
        let mut told = String::new();
        loop {
            let state = {
                let snapshot = snapshots.borrow_and_update();
                let pods = snapshot.current_pods(workload);
                let wanted = pods.iter().filter(|(_, pod)| pod.ready && !pod.terminating).count();
                let own: Vec<&str> = pods.into_iter().map(|(name, _)| name).collect();
                let endpoints = snapshot.endpoints.get(&service.name).map_or(&[][..], Vec::as_slice);
                let ready = endpoints.iter().filter(|e| e.ready && own.contains(&e.pod.as_str())).count();
                let others = endpoints.iter().filter(|e| e.ready && !own.contains(&e.pod.as_str())).count();
                (ready, wanted, others)
            };
            // All pods that are ready, or, where a Service leads to some of them only, those that there are after a while.
            let enough = |ready: usize, wanted| ready >= wanted || began.elapsed() >= ENDPOINTS_LAG;
            match state {
                (ready, wanted, 0) if ready > 0 && enough(ready, wanted) => {
                    return Ok(format!("{} serves from {ready} pods", service.name));
                }
                (ready, _, others) => {
                    let now = format!(
                        "{} has {ready} endpoints of {}, {others} of others",
                        service.name, workload.name
                    );
                    if now != told {
                        self.progress(now.clone());
                        told = now;
                    }
                }
            }
            let left = timeout.saturating_sub(began.elapsed());
            let lag = ENDPOINTS_LAG.saturating_sub(began.elapsed());
            let look = if lag.is_zero() { left } else { left.min(lag) };
            match tokio::time::timeout(look, snapshots.changed()).await {
                Ok(Ok(())) => {}
                Err(_) if look < left => {}
                Ok(Err(_)) => return Err(StepError { cause: "the watch ended".to_owned(), unknown: true }),
                Err(_) => {
                    return Err(StepError::failed(format!(
                        "traffic did not move within {}: {told}",
                        human(timeout)
                    )));
                }
            }
        }
    }

    async fn snapshot(&self, instance: &str, snapshot: &str, timeout: Duration) -> Result<String, StepError> {
        let Some(cloud) = &self.site()?.cloud else { return Err(not_yet("RDS snapshots")) };
        cloud.create_snapshot(instance, snapshot).await.map_err(|error| StepError::failed(error.message))?;
        let began = Instant::now();
        loop {
            match cloud.snapshot(snapshot).await.map_err(|error| StepError::failed(error.message))? {
                SnapshotState::Available => return Ok(format!("{snapshot} is available")),
                SnapshotState::Failed(why) => {
                    return Err(StepError::failed(format!("snapshot {snapshot}: {why}")));
                }
                SnapshotState::Creating(percent) => self.progress(format!("{percent} %")),
            }
            if began.elapsed() > timeout {
                return Err(StepError::failed(format!(
                    "snapshot {snapshot} took longer than {}",
                    human(timeout)
                )));
            }
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
    }

    async fn terraform(&self, dir: &str) -> Result<String, StepError> {
        let Some(cloud) = &self.site()?.cloud else { return Err(not_yet("Terraform")) };
        cloud.terraform(dir).await.map_err(|error| StepError::failed(error.message))
    }

    async fn compose(
        &self,
        project: &str,
        images: &[(String, String)],
        timeout: Duration,
    ) -> Result<String, StepError> {
        let Some(compose) = &self.site()?.compose else { return Err(not_yet("Docker Compose")) };
        compose.pull(project, images).await.map_err(|error| StepError::failed(error.message))?;
        self.progress("images are here".to_owned());
        let down =
            compose.up(project, images, timeout).await.map_err(|error| StepError::failed(error.message))?;
        Ok(format!("up and healthy, {} of downtime", human(Duration::from_secs(down.as_secs()))))
    }
}

fn not_yet(what: &str) -> StepError {
    StepError::failed(format!("{what}: not yet possible on a real run, only in a rehearsal"))
}
