//! What must hold of every release whatever goes wrong, checked after every write and every second.
//!
//! The referee sees what the clusters see: objects, traffic as the routers send it, the Lease, and who writes what. It
//! knows nothing of plans, strategies or runs. A breach counts against deployctl when a write of deployctl causes it,
//! or when it lasts longer than deployctl needed to mend it; what the world causes is counted apart.

mod capacity;
mod lock;
mod waves;

use std::collections::{BTreeMap, BTreeSet};

use super::active::ActiveFaults;
use super::cluster::Cluster;
use super::faults::FaultKind;
use super::kube::request::RequestInfo;
use super::queue::Millis;
use super::traffic::Blame;
use capacity::Subject;
use lock::Held;

/// A breach that deployctl could mend for so long counts against it, in milliseconds: the gates need two windows to be
/// sure, and the way back its time.
const PATIENCE: Millis = 300_000;

/// What a process saw may have changed so shortly before it wrote, in milliseconds: nobody can know better.
const UNSEEN: Millis = 5_000;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// The weights of a route sum to 100.
    Weights,
    /// No backend with weight has zero ready endpoints.
    Endpoints,
    /// Ready capacity carries what is sent to it.
    Capacity,
    /// Never fewer pods than a budget says must be available.
    Available,
    /// One wave at a time; the next not before the bake of the one before has passed.
    Waves,
    /// Only the holder of the lock writes.
    Lock,
}

impl Invariant {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Endpoints => "endpoints",
            Self::Capacity => "capacity",
            Self::Available => "available",
            Self::Waves => "waves",
            Self::Lock => "lock",
        }
    }
}

/// One invariant that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Virtual milliseconds since the world began.
    pub at: Millis,
    /// The invariant's name.
    pub invariant: &'static str,
    /// How, in one line.
    pub what: String,
}

/// What the referee is told of the environment.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Waves of clusters, by name.
    pub waves: Vec<Vec<String>>,
    /// From the last write of each wave to the first of the next, at least, in milliseconds.
    pub bakes: Vec<Millis>,
    /// Components of which nobody can count who answers: a router that lies about them is the world's.
    pub assumed: BTreeSet<String>,
}

/// A breach that goes on.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// For how long deployctl could have mended it.
    mendable: Millis,
    /// Whether a write of deployctl began it.
    ours: bool,
    told: bool,
}

/// What is known of one cluster.
#[derive(Clone, Debug, Default)]
struct Watched {
    lock: Option<Held>,
    /// What stood promised before the write that is under way.
    before: BTreeMap<Subject, String>,
    fresh_before: u64,
    standing: BTreeMap<Subject, Standing>,
    last_write: Option<Millis>,
    planes: u64,
    /// Ready endpoints of each Service, and when they last grew fewer.
    ready: BTreeMap<(String, String), (usize, Option<Millis>)>,
    full: BTreeMap<String, usize>,
    /// What ran before, or came to a good end.
    images: BTreeSet<String>,
    below_full: BTreeMap<String, u64>,
    worst_below_full: u64,
}

/// Watches one world.
#[derive(Clone, Debug, Default)]
pub struct Referee {
    rules: Rules,
    clusters: Vec<Watched>,
    violations: Vec<Violation>,
    by_world: u64,
}

impl Referee {
    /// Watches these clusters from now on; what they have now is their full size.
    #[must_use]
    pub fn new(rules: Rules, clusters: &[Cluster]) -> Self {
        let watched = clusters.iter().map(|cluster| Watched {
            full: capacity::sizes(cluster),
            images: waves::images(cluster),
            planes: u64::MAX,
            ..Watched::default()
        });
        Self { rules, clusters: watched.collect(), violations: Vec::new(), by_world: 0 }
    }

    /// What was broken so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What runs now came to a good end: who goes back to it later brings nothing new, and needs no bake.
    pub fn accept(&mut self, clusters: &[Cluster]) {
        for (watched, cluster) in self.clusters.iter_mut().zip(clusters) {
            watched.images.extend(waves::images(cluster));
        }
    }

    /// Breaches that the world caused.
    #[must_use]
    pub fn by_world(&self) -> u64 {
        self.by_world
    }

    /// The longest time that a component had fewer ready pods than at the beginning, in seconds.
    #[must_use]
    pub fn worst_below_full(&self) -> u64 {
        self.clusters.iter().map(|watched| watched.worst_below_full).max().unwrap_or(0)
    }

    /// A process is about to write.
    pub fn before(&mut self, place: usize, cluster: &Cluster) {
        let watched = &mut self.clusters[place];
        watched.before = capacity::promised(cluster);
        watched.fresh_before = waves::fresh(cluster, &watched.images);
    }

    /// A process has written.
    pub fn after(
        &mut self,
        place: usize,
        clusters: &[Cluster],
        faults: &ActiveFaults,
        who: &str,
        request: &RequestInfo,
        now: Millis,
    ) {
        let cluster = &clusters[place];
        let watched = &mut self.clusters[place];
        if request.resource == "leases" {
            watched.lock = Held::read(cluster, who, request, now);
            return;
        }
        if watched.lock.as_ref().is_some_and(|held| held.is_about(request)) {
            return;
        }
        if lock::is_state(cluster, request) {
            return;
        }
        let name = &cluster.name;
        let write = format!("{} {}/{} on {name}", request.verb, request.resource, request.name);
        if let Some(why) = lock::trespass(watched.lock.as_ref(), cluster, who, now) {
            self.violations.push(violation(now, Invariant::Lock, format!("{who}: {write}: {why}")));
        }
        if request.resource == "secrets" {
            return;
        }
        let lag = faults.of_kind(FaultKind::StaleRead, name, now).map_or(0.0, |fault| fault.amount);
        let unseen = UNSEEN + (lag * 1000.0) as Millis;
        let promised = capacity::promised(cluster);
        for (subject, what) in &promised {
            let shaken = subject.service.as_ref().and_then(|service| watched.ready.get(service));
            let shaken = shaken.and_then(|(_, at)| *at).is_some_and(|at| now < at + unseen);
            // what a component lacked before it lacks no less behind another Service
            let known = |before: &Subject| {
                before == subject
                    || (subject.invariant == Invariant::Capacity
                        && (before.invariant, &before.name) == (subject.invariant, &subject.name))
            };
            let by_world = shaken
                || !cluster.meddled.is_empty()
                || capacity::node_took_of_stable(cluster, subject)
                || (cluster.is_hindered() && self.rules.assumed.contains(&subject.name));
            let ours = !by_world && !watched.before.keys().any(known);
            if ours {
                watched.standing.entry(subject.clone()).or_default().ours = true;
                self.violations.push(violation(now, subject.invariant, format!("{write}: {what}")));
            }
        }
        let fresh = waves::fresh(cluster, &watched.images);
        let more = fresh > watched.fresh_before;
        watched.last_write = Some(now);
        if more && let Some(why) = self.too_early(name, clusters, now) {
            self.violations.push(violation(now, Invariant::Waves, format!("{write}: {why}")));
        }
    }

    /// Why a cluster may not get more of the new version yet, if it may not.
    fn too_early(&self, name: &str, clusters: &[Cluster], now: Millis) -> Option<String> {
        let wave_of =
            |name: &str| self.rules.waves.iter().position(|wave| wave.iter().any(|member| member == name));
        let own = wave_of(name)?;
        clusters.iter().zip(&self.clusters).find_map(|(cluster, watched)| {
            let wave = wave_of(&cluster.name).filter(|wave| *wave < own)?;
            let bake = self.rules.bakes.get(wave).copied().unwrap_or(0);
            let Some(at) = watched.last_write else {
                return Some(format!("{} of an earlier wave has not begun", cluster.name));
            };
            (now < at + bake).then(|| {
                let (ago, bake) = ((now - at) / 1000, bake / 1000);
                format!(
                    "{} of an earlier wave was written {ago} s ago, its bake lasts {bake} s",
                    cluster.name
                )
            })
        })
    }

    /// Something moved in a cluster.
    pub fn moved(&mut self, place: usize, cluster: &Cluster, now: Millis) {
        let watched = &mut self.clusters[place];
        if watched.planes == cluster.planes {
            return;
        }
        watched.planes = cluster.planes;
        for (service, ready) in capacity::endpoints(cluster) {
            let known = watched.ready.entry(service).or_insert((ready, None));
            if ready < known.0 {
                known.1 = Some(now);
            }
            known.0 = ready;
        }
        let breaches = capacity::present(cluster);
        watched.standing.retain(|subject, _| breaches.contains_key(subject));
        for subject in breaches.into_keys() {
            if let std::collections::btree_map::Entry::Vacant(vacant) = watched.standing.entry(subject) {
                vacant.insert(Standing::default());
                self.by_world += 1;
            }
        }
    }

    /// A second has passed: breaches that go on grow older.
    pub fn second(&mut self, clusters: &[Cluster], faults: &ActiveFaults, now: Millis) {
        for (place, cluster) in clusters.iter().enumerate() {
            self.moved(place, cluster, now);
            let watched = &mut self.clusters[place];
            watched.count_full(cluster);
            let able = watched.lock.as_ref().is_some_and(|held| held.stands(cluster, now))
                && cluster.meddled.is_empty()
                && !is_cut_off(faults, &cluster.name, now);
            if !able {
                continue;
            }
            for (subject, standing) in &mut watched.standing {
                let may_be_ours = || {
                    capacity::is_mendable(cluster, subject)
                        && !capacity::node_took(cluster, subject, |_| true)
                };
                if standing.told || !may_be_ours() {
                    continue;
                }
                standing.mendable += 1_000;
                if standing.mendable >= PATIENCE {
                    standing.told = true;
                    let what = format!(
                        "{}: {subject} for {} s, and nothing mends it",
                        cluster.name,
                        PATIENCE / 1000
                    );
                    self.violations.push(violation(now, subject.invariant, what));
                }
            }
        }
    }

    /// Who takes requests away from users that find nobody in time.
    #[must_use]
    pub fn blame(&self, place: usize, cluster: &Cluster, faults: &ActiveFaults) -> Blame {
        if self.clusters[place].standing.values().any(|standing| standing.ours) {
            return Blame::Orchestration;
        }
        let disturbing = faults.history(&cluster.name).filter(|(_, fault)| fault.kind.disturbs_traffic());
        match disturbing.max_by_key(|(began, _)| *began) {
            Some((_, fault)) if fault.kind.on_pods() && !fault.kind.spares_no_version() => Blame::Release,
            Some(_) => Blame::World,
            None => Blame::Orchestration,
        }
    }
}

impl Watched {
    fn count_full(&mut self, cluster: &Cluster) {
        for (component, size) in capacity::sizes(cluster) {
            let full = self.full.get(&component).copied().unwrap_or(0);
            let below = self.below_full.entry(component).or_default();
            *below = if size < full { *below + 1 } else { 0 };
            self.worst_below_full = self.worst_below_full.max(*below);
        }
    }
}

/// Whether an operator's machine can change nothing in a cluster now.
fn is_cut_off(faults: &ActiveFaults, cluster: &str, now: Millis) -> bool {
    [
        FaultKind::ApiDown,
        FaultKind::Partition,
        FaultKind::TokenExpired,
        FaultKind::DiskFull,
        FaultKind::Throttle,
        FaultKind::StaleRead,
    ]
    .into_iter()
    .any(|kind| faults.of_kind(kind, cluster, now).is_some())
}

fn violation(at: Millis, invariant: Invariant, what: String) -> Violation {
    Violation { at, invariant: invariant.name(), what }
}
