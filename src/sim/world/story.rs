//! What a story of several processes needs of a world: copies of its beginning, deaths, a referee, an end of all faults.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{Shared, State, World};
use crate::sim::invariants::{Referee, Rules, Violation};
use crate::sim::kube::ApiService;
use crate::sim::kube::host::Identity;
use crate::sim::process::Death;
use crate::sim::queue::Millis;
use crate::sim::random::Random;
use crate::sim::traffic::Failed;

/// What is drawn after a thaw is not what was drawn before, whatever the seed: uids are given once.
const ANEW: u64 = 0x5eed_0fa4_07e2_b3a1;

/// A world as it stood, to begin others from. Needs no runtime.
pub struct Frozen {
    state: State,
    names: Vec<String>,
    lagging: bool,
}

/// The clock of an operator's machine, which may be wrong.
#[derive(Clone)]
pub struct OperatorClock {
    shared: Arc<Shared>,
}

impl crate::ports::Clock for OperatorClock {
    fn now(&self) -> Timestamp {
        let skew = self.shared.state().faults.clock_skew();
        self.shared.clock().now() + SignedDuration::from_millis(skew)
    }
}

/// What the referee saw of a story.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// What was broken.
    pub violations: Vec<Violation>,
    /// Breaches that the world caused.
    pub by_world: u64,
    /// The longest time with fewer pods than at the beginning, in seconds.
    pub worst_below_full: u64,
    /// Failed requests by who is to blame.
    pub failed: Failed,
    /// All requests.
    pub requests: u64,
}

impl State {
    /// A state of its own that stands as this one does; chance goes on from `random`.
    fn copy(&self, random: &mut Random) -> Self {
        Self {
            clusters: self.clusters.iter().map(|cluster| cluster.copy(random)).collect(),
            faults: self.faults.clone(),
            cloud: self.cloud.clone(),
            compose: self.compose.clone(),
            processes: self.processes.clone(),
            referee: self.referee.clone(),
            queue: self.queue.clone(),
            at: self.at,
            clock: self.clock,
            random: random.fork(),
        }
    }
}

impl Frozen {
    /// A world that goes on from here, by its own chance. Its clock starts now.
    #[must_use]
    pub fn thaw(&self, seed: u64) -> World {
        let mut state = self.state.copy(&mut Random::new(seed ^ ANEW));
        state.clock = state.clock.going_on_from(state.at);
        let world = World::of(state, self.names.clone());
        world.shared.lagging.store(self.lagging, std::sync::atomic::Ordering::Relaxed);
        world
    }
}

impl World {
    /// The world as it stands.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        let state = self.shared.state().copy(&mut Random::new(!ANEW));
        let lagging = self.shared.lagging.load(std::sync::atomic::Ordering::Relaxed);
        Frozen { state, names: self.shared.names.clone(), lagging }
    }

    /// A process of an operator's machine begins; what is returned turns true when it dies.
    #[must_use]
    pub fn begin_process(&self, name: &str) -> watch::Receiver<bool> {
        self.shared.state().processes.begin(name)
    }

    /// The API server of a cluster, as a process sees it.
    #[must_use]
    pub fn api_of(&self, cluster: &str, process: &str) -> ApiService {
        self.api(cluster).with_identity(Identity { uid: process.to_owned(), ..Identity::admin() })
    }

    /// The clock of the operator's machine.
    #[must_use]
    pub fn operator_clock(&self) -> OperatorClock {
        OperatorClock { shared: Arc::clone(&self.shared) }
    }

    /// A process dies at a write.
    pub fn schedule_death(&self, death: Death) {
        self.shared.state().processes.schedule(death);
    }

    /// Writes of all processes so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.shared.state().processes.writes()
    }

    /// Requests of a process so far.
    #[must_use]
    pub fn requests_of(&self, process: &str) -> u64 {
        self.shared.state().processes.requests(process)
    }

    /// Until when the operator's machine stands still, if it does.
    #[must_use]
    pub fn suspended_until(&self) -> Option<Millis> {
        let state = self.shared.state();
        state.faults.suspended_until(state.at)
    }

    /// A referee watches from now on.
    pub fn watch(&self, rules: Rules) {
        let mut state = self.shared.state();
        state.referee = Some(Referee::new(rules, &state.clusters));
    }

    /// A release came to a good end: the referee takes what runs now for known.
    pub fn accept(&self) {
        let mut state = self.shared.state();
        let State { referee, clusters, .. } = &mut *state;
        if let Some(referee) = referee {
            referee.accept(clusters);
        }
    }

    /// What the referee saw so far, and what users noticed since the world began.
    #[must_use]
    pub fn judgement(&self) -> Judgement {
        let state = self.shared.state();
        let mut judged = Judgement::default();
        for (_, received) in state.clusters.iter().flat_map(|cluster| cluster.traffic.received()) {
            judged.requests += received.all.requests;
            judged.failed.release += received.blamed.release;
            judged.failed.world += received.blamed.world;
            judged.failed.orchestration += received.blamed.orchestration;
        }
        if let Some(referee) = &state.referee {
            judged.violations = referee.violations().to_vec();
            judged.by_world = referee.by_world();
            judged.worst_below_full = referee.worst_below_full();
        }
        judged
    }

    /// What other operators changed by hand in a cluster: kind, namespace and name.
    #[must_use]
    pub fn meddled(&self, cluster: &str) -> Vec<(&'static str, String, String)> {
        let place = self.place(cluster);
        self.shared.state().clusters[place].meddled.iter().cloned().collect()
    }

    /// Everything that goes wrong is over.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.faults.end();
        let moment = state.moment();
        for place in 0..state.clusters.len() {
            let mut follow = Vec::new();
            state.clusters[place].heal(moment, &mut follow);
            state.push(place, follow);
        }
        drop(state);
        self.shared.changed();
    }
}
