//! A simulated machine with Docker Compose and an exclusive accelerator: a Raspberry Pi 5 with a Hailo-8.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::faults::FaultKind;
use super::pods::behaviour::Behaviour;
use super::queue::Millis;
use super::world::{Shared, State};
use crate::ports::compose::{Compose, ComposeError, Service};

/// Pulling an arm64 image over a home connection, in milliseconds.
const PULL: (Millis, Millis) = (20_000, 90_000);

/// Stopping a container, in milliseconds.
const STOP: (Millis, Millis) = (800, 2_500);

/// From the start of a container to its first passed health check, in milliseconds.
const START: (Millis, Millis) = (2_000, 8_000);

/// A container of a project.
#[derive(Clone, Debug)]
struct Running {
    image: String,
    healthy_at: Option<Millis>,
}

/// All machines.
#[derive(Clone, Debug, Default)]
pub struct ComposeState {
    projects: BTreeMap<(String, String), BTreeMap<String, Running>>,
    images: BTreeMap<String, Vec<String>>,
    downtime: BTreeMap<(String, String), Millis>,
}

/// One machine.
#[derive(Clone)]
pub struct SimCompose {
    shared: Arc<Shared>,
    machine: String,
}

/// The tag of an image, where its behaviour is written.
fn behaviour_of(image: &str) -> Behaviour {
    Behaviour::parse(image.rsplit_once(':').map_or("", |(_, tag)| tag))
}

fn refused(message: impl Into<String>) -> ComposeError {
    ComposeError { message: message.into() }
}

impl SimCompose {
    /// The machine of that name.
    #[must_use]
    pub fn new(shared: Arc<Shared>, machine: &str) -> Self {
        Self { shared, machine: machine.to_owned() }
    }

    fn key(&self, project: &str) -> (String, String) {
        (self.machine.clone(), project.to_owned())
    }

    /// Makes services run at these images, as if they had always done.
    pub fn seed(&self, project: &str, images: &[(String, String)]) {
        let mut state = self.shared.state();
        let running = images
            .iter()
            .map(|(service, image)| (service.clone(), Running { image: image.clone(), healthy_at: Some(0) }))
            .collect();
        state.compose.projects.insert(self.key(project), running);
        let known = state.compose.images.entry(self.machine.clone()).or_default();
        known.extend(images.iter().map(|(_, image)| image.clone()));
    }

    /// Milliseconds for which some service of a project was not answering because of `up`.
    #[must_use]
    pub fn downtime(&self, project: &str) -> Millis {
        self.shared.state().compose.downtime.get(&self.key(project)).copied().unwrap_or(0)
    }

    /// Stops a project and forgets it.
    pub fn down(&self, project: &str) {
        self.shared.state().compose.projects.remove(&self.key(project));
    }

    /// How long one service needs to stop, and to start if it does.
    fn times(&self, state: &mut State, image: &str) -> (Millis, Option<Millis>) {
        let now = state.moment().at;
        let busy = state.faults.of_kind(FaultKind::DeviceBusy, &self.machine, now).is_some();
        let behaviour = behaviour_of(image);
        let stop = state.random().millis(STOP);
        let start = state.random().millis(START);
        let never = busy || behaviour.crash || behaviour.unready;
        let start = behaviour.slow_start.map_or(start, |seconds| (seconds * 1000.0) as Millis);
        (stop, (!never).then_some(start))
    }
}

#[async_trait]
impl Compose for SimCompose {
    async fn services(&self, project: &str) -> Result<Vec<Service>, ComposeError> {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let state = self.shared.state();
        let now = state.moment().at;
        let running = state.compose.projects.get(&self.key(project)).cloned().unwrap_or_default();
        let service = |(name, running): (String, Running)| Service {
            name,
            healthy: running.healthy_at.is_some_and(|at| at <= now)
                && !behaviour_of(&running.image).smoke_fail,
            image: running.image,
        };
        Ok(running.into_iter().map(service).collect())
    }

    async fn pull(&self, _project: &str, images: &[(String, String)]) -> Result<(), ComposeError> {
        for (service, image) in images {
            let wait = {
                let mut state = self.shared.state();
                let known = state.compose.images.entry(self.machine.clone()).or_default();
                let new = !known.contains(image);
                if new && !behaviour_of(image).missing {
                    known.push(image.clone());
                }
                if new { state.random().millis(PULL) } else { 400 }
            };
            if behaviour_of(image).missing {
                tokio::time::sleep(Duration::from_secs(1)).await;
                return Err(refused(format!(
                    "{service} Error manifest for {image} not found: manifest unknown"
                )));
            }
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        Ok(())
    }

    async fn up(
        &self,
        project: &str,
        images: &[(String, String)],
        timeout: Duration,
    ) -> Result<Duration, ComposeError> {
        let mut longest = 0;
        let mut unhealthy = None;
        {
            let mut state = self.shared.state();
            let now = state.moment().at;
            let before = state.compose.projects.get(&self.key(project)).cloned().unwrap_or_default();
            let mut after = before.clone();
            after.retain(|service, _| images.iter().any(|(wanted, _)| wanted == service));
            for (service, image) in images {
                let old = before.get(service);
                if old.is_some_and(|old| old.image == *image && old.healthy_at.is_some()) {
                    continue;
                }
                let (stop, start) = self.times(&mut state, image);
                let stop = if old.is_some() { stop } else { 0 };
                let healthy_at = start.map(|start| now + stop + start);
                longest = longest.max(stop + start.unwrap_or(timeout.as_millis() as Millis));
                if healthy_at.is_none_or(|at| at > now + timeout.as_millis() as Millis) {
                    unhealthy = Some(service.clone());
                }
                after.insert(service.clone(), Running { image: image.clone(), healthy_at });
            }
            state.compose.projects.insert(self.key(project), after);
            *state.compose.downtime.entry(self.key(project)).or_default() += longest;
        }
        if let Some(service) = unhealthy {
            tokio::time::sleep(timeout).await;
            return Err(refused(format!("container {project}-{service}-1 is unhealthy")));
        }
        let downtime = Duration::from_millis(longest);
        tokio::time::sleep(downtime).await;
        Ok(downtime)
    }
}
