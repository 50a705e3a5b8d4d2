//! The simulated world: a discrete-event machine over clusters, clock and faults, driven by one future.
//!
//! Everything happens in the order of virtual time and, at one millisecond, in the order in which it was caused.
//! Nothing here sleeps or draws but from the world's own clock and seed. Run it on a current-thread runtime whose
//! clock is paused; [`World::run`] must be polled beside whatever uses the world.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::active::ActiveFaults;
use super::clock::VirtualClock;
use super::cloud::{CloudState, SimCloud};
use super::cluster::{Cluster, Happening, Moment, lock};
use super::compose::{ComposeState, SimCompose};
use super::faults::{Fault, FaultKind, ScheduledFault};
use super::host::ClusterHost;
use super::invariants::Referee;
use super::kube::ApiService;
use super::kube::request::RequestInfo;
use super::kube::store::Store;
use super::metrics::SimMetrics;
use super::probe::SimProbe;
use super::process::Processes;
use super::queue::{Millis, Queue};
use super::random::Random;
use super::report::WorldReport;
use super::spec::WorldSpec;
use super::traffic::Blame;
use crate::sim::kube::store::Stored;

mod story;
pub use story::{Frozen, Judgement, OperatorClock};

/// What happens at a time.
#[derive(Clone)]
enum Action {
    /// Something in a cluster.
    Cluster(usize, Happening),
    /// A second of traffic everywhere.
    Second,
    /// A fault of the schedule begins.
    Fault(usize),
}

/// Everything that changes.
pub struct State {
    /// Clusters, in the order of the specification.
    pub clusters: Vec<Cluster>,
    /// Faults.
    pub faults: ActiveFaults,
    /// Managed services.
    pub cloud: CloudState,
    /// Machines with Compose.
    pub compose: ComposeState,
    /// Processes of operators' machines.
    pub processes: Processes,
    referee: Option<Referee>,
    queue: Queue<Action>,
    at: Millis,
    clock: VirtualClock,
    random: Random,
}

/// What the world's handles share.
pub struct Shared {
    state: Mutex<State>,
    clock: VirtualClock,
    wake: Notify,
    /// Whether a watch cache has ever lagged here.
    lagging: AtomicBool,
    names: Vec<String>,
    stores: Vec<Arc<Mutex<Store>>>,
}

/// A simulated world; copies are the same world.
#[derive(Clone)]
pub struct World {
    shared: Arc<Shared>,
}

impl Shared {
    /// The state, at the present time: everything that is due has happened.
    pub fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(self.clock.millis());
        state
    }

    /// Something changed: what follows from it may come before what the driver waits for.
    pub fn changed(&self) {
        drop(self.state());
        self.wake.notify_one();
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> VirtualClock {
        self.clock
    }

    /// The objects of a cluster.
    #[must_use]
    pub fn store(&self, cluster: usize) -> &Mutex<Store> {
        &self.stores[cluster]
    }

    /// How far a cluster's watch cache lags behind.
    #[must_use]
    pub fn cache_lag(&self, cluster: usize) -> Duration {
        if !self.lagging.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let state = self.state();
        let fault = state.faults.of_kind(FaultKind::StaleRead, &self.names[cluster], state.at);
        fault.map_or(Duration::ZERO, |fault| Duration::from_secs_f64(fault.amount.max(0.0)))
    }

    fn cluster(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }
}

impl State {
    /// Lets everything happen that is due by `now`.
    fn advance(&mut self, now: Millis) {
        self.drain();
        while let Some((at, action)) = self.queue.pop_due(now) {
            self.at = self.at.max(at);
            match action {
                Action::Cluster(place, what) => {
                    let mut follow = Vec::new();
                    let moment = self.moment();
                    self.clusters[place].happen(what, moment, &self.faults, &mut follow);
                    self.push(place, follow);
                    self.moved(place);
                }
                Action::Second => {
                    self.second();
                    self.queue.push(self.at + 1_000, Action::Second);
                }
                Action::Fault(place) => self.begin(place),
            }
        }
        self.at = self.at.max(now);
        self.drain();
    }

    /// Takes over what API requests have written.
    fn drain(&mut self) {
        let moment = self.moment();
        for place in 0..self.clusters.len() {
            let mut follow = Vec::new();
            self.clusters[place].drain(moment, &mut follow);
            self.push(place, follow);
            self.moved(place);
        }
    }

    fn second(&mut self) {
        let moment = self.moment();
        for (place, cluster) in self.clusters.iter_mut().enumerate() {
            let referee = self.referee.as_ref();
            let blame = referee.map_or(Blame::World, |referee| referee.blame(place, cluster, &self.faults));
            cluster.second(moment, &self.faults, blame);
        }
        if let Some(referee) = &mut self.referee {
            referee.second(&self.clusters, &self.faults, self.at);
        }
    }

    fn moved(&mut self, place: usize) {
        if let Some(referee) = &mut self.referee {
            referee.moved(place, &self.clusters[place], self.at);
        }
    }

    /// A request is about to write.
    pub fn before_write(&mut self, place: usize, who: &str, request: &RequestInfo) {
        let judged =
            self.processes.knows(who) && request.resource != "leases" && request.resource != "secrets";
        if judged && let Some(referee) = &mut self.referee {
            referee.before(place, &self.clusters[place]);
        }
    }

    /// A request has written.
    pub fn after_write(&mut self, place: usize, who: &str, request: &RequestInfo) {
        if self.processes.knows(who)
            && let Some(referee) = &mut self.referee
        {
            referee.after(place, &self.clusters, &self.faults, who, request, self.at);
        }
    }

    fn push(&mut self, place: usize, follow: Vec<(Millis, Happening)>) {
        for (at, what) in follow {
            self.queue.push(at, Action::Cluster(place, what));
        }
    }

    /// The present.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment { at: self.at, now: self.clock.at(self.at) }
    }

    /// The world's randomness, for what belongs to no cluster.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn begin(&mut self, place: usize) {
        let at = self.at;
        if let Some(first) = self.clusters.first() {
            self.faults.settle_scope(place, &first.name);
        }
        if let Some(fault) = self.faults.begin(place, at) {
            self.strike(&fault);
        }
    }

    /// What a fault does once, when it begins.
    fn strike(&mut self, fault: &Fault) {
        let moment = self.moment();
        for place in 0..self.clusters.len() {
            let mut follow = Vec::new();
            self.clusters[place].strike(fault, moment, &self.faults, &mut follow);
            self.push(place, follow);
        }
        self.drain();
    }
}

impl World {
    /// A world as specified, at its beginning. Its clock starts now.
    #[must_use]
    pub fn new(spec: &WorldSpec) -> Self {
        let clock = VirtualClock::starting_at(spec.start);
        let mut random = Random::new(spec.seed);
        let clusters: Vec<Cluster> = spec
            .clusters
            .iter()
            .map(|cluster| Cluster::new(cluster, spec.start, spec.scrape_seconds, &mut random))
            .collect();
        let names = clusters.iter().map(|cluster| cluster.name.clone()).collect();
        let faults = ActiveFaults::new(&spec.faults);
        let mut queue = Queue::default();
        queue.push(1_000, Action::Second);
        for (at, place) in faults.timed() {
            queue.push(at, Action::Fault(place));
        }
        let state = State {
            clusters,
            faults,
            cloud: CloudState::default(),
            compose: ComposeState::default(),
            processes: Processes::default(),
            referee: None,
            queue,
            at: 0,
            clock,
            random,
        };
        Self::of(state, names)
    }

    fn of(state: State, names: Vec<String>) -> Self {
        let stores = state.clusters.iter().map(|cluster| Arc::clone(&cluster.store)).collect();
        let clock = state.clock;
        let shared = Shared {
            state: Mutex::new(state),
            clock,
            wake: Notify::new(),
            lagging: AtomicBool::new(false),
            names,
            stores,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Drives the world; never ends. Poll it beside what uses the world, and drop it after.
    pub async fn run(&self) {
        loop {
            let next = self.shared.state().queue.next_at();
            let next = self.shared.clock.instant(next.expect("the traffic of the next second is always due"));
            tokio::select! {
                biased;
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// The API server of a cluster, as its administrator sees it.
    ///
    /// # Panics
    /// If the world has no cluster of that name.
    #[must_use]
    pub fn api(&self, cluster: &str) -> ApiService {
        ApiService::new(Arc::new(ClusterHost::new(Arc::clone(&self.shared), self.place(cluster))))
    }

    fn place(&self, cluster: &str) -> usize {
        let place = self.shared.cluster(cluster);
        place.unwrap_or_else(|| panic!("the world has no cluster `{cluster}`"))
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> VirtualClock {
        self.shared.clock
    }

    /// Questions over HTTP from outside: to a cluster, or to whichever answers for a host.
    #[must_use]
    pub fn probe(&self, cluster: Option<&str>) -> SimProbe {
        SimProbe::new(Arc::clone(&self.shared), cluster.map(|name| self.place(name)))
    }

    /// The metric store, which knows all clusters by their names.
    #[must_use]
    pub fn metrics(&self) -> SimMetrics {
        SimMetrics::new(Arc::clone(&self.shared))
    }

    /// The managed services of a region.
    #[must_use]
    pub fn cloud(&self, region: &str) -> SimCloud {
        SimCloud::new(Arc::clone(&self.shared), region)
    }

    /// A machine that runs Compose projects.
    #[must_use]
    pub fn compose(&self, machine: &str) -> SimCompose {
        SimCompose::new(Arc::clone(&self.shared), machine)
    }

    /// The objects of a cluster, for tests and for what was there before the story begins. Call
    /// [`World::changed`] after writing.
    ///
    /// # Panics
    /// If the world has no cluster of that name.
    #[must_use]
    pub fn store(&self, cluster: &str) -> Arc<Mutex<Store>> {
        Arc::clone(&self.shared.stores[self.place(cluster)])
    }

    /// Lets every cluster serve the routes of the Gateway API and of Istio.
    pub fn serve_routes(&self) {
        for store in &self.shared.stores {
            super::routers::serve_routes(&mut lock(store), self.now());
        }
        self.changed();
    }

    /// Lets every cluster run Argo CD: its Applications heal what differs from their repository.
    pub fn serve_argo(&self) {
        for store in &self.shared.stores {
            super::routers::serve_argo(&mut lock(store), self.now());
        }
        self.changed();
    }

    /// Something was written past the API.
    pub fn changed(&self) {
        self.shared.changed();
    }

    /// What runs now is stable: faults of the version under test spare it from here on.
    pub fn mark_stable(&self) {
        let mut state = self.shared.state();
        for cluster in &mut state.clusters {
            cluster.mark_stable();
        }
    }

    /// Begins every fault that waits for `label`; how many that were.
    #[allow(clippy::must_use_candidate)] // called for what it does
    pub fn fire(&self, label: &str) -> usize {
        let mut state = self.shared.state();
        let places = state.faults.labelled(label);
        for place in &places {
            state.begin(*place);
        }
        drop(state);
        self.shared.wake.notify_one();
        places.len()
    }

    /// Adds a fault to the schedule and, if its time has come, begins it.
    pub fn add_fault(&self, fault: &ScheduledFault) {
        if fault.fault.kind == FaultKind::StaleRead {
            self.shared.lagging.store(true, Ordering::Relaxed);
        }
        let mut state = self.shared.state();
        let place = state.faults.add(fault);
        if let super::faults::When::At(at) = fault.when {
            let at = at.max(state.at);
            state.queue.push(at, Action::Fault(place));
        }
        drop(state);
        self.shared.changed();
    }

    /// Changes the requests per second that come for a component of a cluster.
    pub fn set_rate(&self, cluster: &str, component: &str, rps: f64) {
        let place = self.place(cluster);
        self.shared.state().clusters[place].traffic.set_rate(component, rps);
    }

    /// What has happened so far.
    #[must_use]
    pub fn report(&self) -> WorldReport {
        WorldReport::of(&self.shared.state())
    }

    /// All objects of a cluster, sorted by kind, namespace and name.
    #[must_use]
    pub fn snapshot(&self, cluster: &str) -> Vec<Arc<Stored>> {
        let place = self.place(cluster);
        drop(self.shared.state());
        let store = lock(&self.shared.stores[place]);
        let kinds: Vec<_> = store.kinds().iter().map(|(id, _)| id).collect();
        kinds.into_iter().flat_map(|kind| store.list(kind, None)).collect()
    }

    /// Virtual time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }
}
