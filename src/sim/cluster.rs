//! One simulated cluster: its objects, controllers, processes and traffic, and how a change of one moves the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::active::ActiveFaults;
use super::faults::FaultKind;
use super::kube::controllers::events::Recorder;
use super::kube::controllers::{self, Context, Controller, Index, Work, object};
use super::kube::kinds::KindId;
use super::kube::store::{Change, ChangeType, Store, Stored};
use super::pods::life::{self, Step};
use super::pods::{Kubelet, PodIndex};
use super::queue::{Delayed, Millis, Pending};
use super::random::Random;
use super::routers::Hindrance;
use super::series::History;
use super::spec::ClusterSpec;
use super::traffic::{Answers, Blame, Traffic};
use crate::domain::object::LABEL_COMPONENT;

/// From the end of a job's pod until its controller counts it, in milliseconds: it works in batches.
const JOB_BATCH: (Millis, Millis) = (200, 1_000);

/// From the end of a dependent until the collector looks at its owner again, in milliseconds.
const OWNER_RETRY: (Millis, Millis) = (40, 70);

/// What happens in a cluster at a time.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A controller looks at an object.
    Work(Work),
    /// A controller looks at an object again, as it meant to, unless it is about to anyway.
    Again(Work),
    /// A process moves on, unless it has been overtaken.
    Pod {
        /// Which process.
        index: PodIndex,
        /// Out of date if the process has another epoch by then.
        epoch: u32,
        /// How it moves on.
        step: Step,
    },
    /// The routers take a change over.
    Plane,
    /// The routers look at what the API says again.
    Route,
    /// A lost node is noticed.
    NodeUnreachable(String),
    /// The pods of a lost node are given up.
    NodeEvicted(String),
}

/// A cluster.
#[derive(Clone)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its objects, shared with its API server.
    pub store: Arc<Mutex<Store>>,
    /// Its processes.
    pub kubelet: Kubelet,
    /// Its users.
    pub traffic: Traffic,
    /// What the metric store knows of it.
    pub history: History,
    /// The newest revision of each component when the world was last called stable.
    pub baseline: BTreeMap<String, u64>,
    /// What keeps its routers from what the API says.
    pub hindrance: Hindrance,
    /// How often the routers were given something new.
    pub planes: u64,
    /// Components that stop before they start anew, as their workloads say.
    recreated: BTreeSet<String>,
    /// What other operators changed by hand: kind, namespace and name.
    pub meddled: BTreeSet<(&'static str, String, String)>,
    spec: ClusterSpec,
    pub(super) random: Random,
    index: Index,
    pending: Pending<Work>,
    /// What controllers meant to look at again.
    again: Delayed<Work>,
    recorder: Recorder,
    failures: BTreeMap<Work, u32>,
    memory: BTreeMap<String, Vec<(Millis, i64)>>,
    due: BTreeMap<(Controller, String), Millis>,
    plane_dirty: bool,
}

/// The objects of `store`; a panic elsewhere does not spoil them, since every write is whole.
pub fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// An empty cluster with its nodes.
    #[must_use]
    pub fn new(spec: &ClusterSpec, now: Timestamp, scrape_seconds: u64, random: &mut Random) -> Self {
        let mut random = random.fork();
        let mut store = Store::new(random.bits());
        for place in 0..spec.nodes {
            let node = node(spec, place);
            let status = node["status"].clone();
            let made = store
                .create(now, "kubelet", KindId::NODES, node)
                .expect("a node of the specification is valid");
            let key = super::kube::store::Key::new(KindId::NODES, "", object::name(&made));
            // the API drops a status that is created with the object
            let _ = store.modify_status(now, "kubelet", &key, |node| node["status"] = status);
            let _ = store.modify(now, "kubelet", &key, |node| {
                if let Some(spec) = node["spec"].as_object_mut() {
                    spec.remove("taints");
                }
            });
        }
        let mut traffic = Traffic::new(&spec.load);
        traffic.held_share = spec.held_share;
        Self {
            name: spec.name.clone(),
            store: Arc::new(Mutex::new(store)),
            kubelet: Kubelet::new(spec.times.clone()),
            traffic,
            history: History::new(scrape_seconds),
            baseline: BTreeMap::new(),
            hindrance: Hindrance::None,
            planes: 0,
            recreated: BTreeSet::new(),
            meddled: BTreeSet::new(),
            spec: spec.clone(),
            random,
            index: Index::default(),
            pending: Pending::default(),
            again: Delayed::default(),
            recorder: Recorder::default(),
            failures: BTreeMap::new(),
            memory: BTreeMap::new(),
            due: BTreeMap::new(),
            plane_dirty: false,
        }
    }

    /// A cluster of its own that stands as this one does; chance goes on from `random`.
    #[must_use]
    pub fn copy(&self, random: &mut Random) -> Self {
        let mut copy = self.clone();
        copy.random = random.fork();
        let mut store = lock(&self.store).clone();
        store.reseed(copy.random.bits());
        copy.store = Arc::new(Mutex::new(store));
        copy
    }

    /// A wait from the cluster's randomness, in milliseconds.
    pub fn spread(&mut self, range: (Millis, Millis)) -> Millis {
        self.random.millis(range)
    }

    /// A whole number below `n` from the cluster's randomness.
    pub fn draw_below(&mut self, n: usize) -> usize {
        self.random.below(n)
    }

    /// A number in `[0, 1)` from the cluster's randomness.
    pub fn draw_unit(&mut self) -> f64 {
        self.random.unit()
    }

    /// Seconds that a request takes to a process of `component` under `rate` requests per second.
    pub fn draw_latency(&mut self, rate: f64, component: &str, added: f64) -> f64 {
        let capacity = self.traffic.pod_capacity(component);
        self.traffic.one_latency(rate, capacity, added, &mut self.random)
    }

    /// Its specification.
    #[must_use]
    pub fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// Does what is to happen now; what follows is pushed as (time, happening).
    pub fn happen(
        &mut self,
        what: Happening,
        moment: Moment,
        faults: &ActiveFaults,
        follow: &mut Vec<(Millis, Happening)>,
    ) {
        match what {
            Happening::Work(work) => self.work(&work, moment, follow),
            Happening::Again(work) => self.look_again(&work, moment, follow),
            Happening::Pod { index, epoch, step } => self.pod(index, epoch, step, moment, faults, follow),
            Happening::Plane => self.traffic.take_effect(),
            Happening::Route => self.plane_dirty = true,
            Happening::NodeUnreachable(node) => self.node_unreachable(&node, moment, follow),
            Happening::NodeEvicted(node) => self.evict(&node, moment, follow),
        }
        self.drain(moment, follow);
    }

    /// Gives every change since the last call to the controllers, the processes and the routers that it concerns.
    pub fn drain(&mut self, moment: Moment, follow: &mut Vec<(Millis, Happening)>) {
        loop {
            let changes = lock(&self.store).drain_changes();
            if changes.is_empty() {
                break;
            }
            for change in &changes {
                self.note(change, moment, follow);
            }
        }
        if self.plane_dirty {
            self.plane_dirty = false;
            self.route(moment, follow);
        }
    }

    fn note(&mut self, change: &Change, moment: Moment, follow: &mut Vec<(Millis, Happening)>) {
        let new = (change.typ != ChangeType::Deleted).then_some(&*change.object);
        let old = change.old.as_deref();
        self.index.note(&change.key, old.map(Stored::value), new.map(Stored::value));
        let kind = change.key.kind;
        if kind == KindId::EVENTS || kind == KindId::LEASES || kind == KindId::SECRETS {
            // what runs and releases write most: nobody but the quota cares, and only of new and gone ones
            if change.typ == ChangeType::Modified || kind != KindId::SECRETS {
                return;
            }
        }
        if kind == KindId::DEPLOYMENTS
            && object::text(&change.object, &["spec", "strategy", "type"]) == "Recreate"
        {
            self.recreated.insert(object::label(&change.object, LABEL_COMPONENT).to_owned());
        }
        if kind == KindId::PODS {
            self.note_pod(change, moment, follow);
        }
        let routed = [KindId::ENDPOINT_SLICES, KindId::INGRESSES, KindId::SERVICES].contains(&kind);
        let custom = || {
            matches!(
                object::text(&change.object, &["kind"]),
                "HTTPRoute" | "VirtualService" | "ReferenceGrant"
            )
        };
        self.plane_dirty |= routed || custom();
        if new.is_none() {
            self.recorder.forget(object::uid(&change.object));
        }
        let mut works = Vec::new();
        self.with_context(moment, follow, |cx| {
            controllers::watchers_of(cx, change, &mut |work| works.push(work));
        });
        for work in works {
            let lag = self.lag_of(&work, change);
            if self.pending.add(work.clone()) {
                follow.push((moment.at + lag, Happening::Work(work)));
            }
        }
    }

    fn lag_of(&mut self, work: &Work, change: &Change) -> Millis {
        let range = match work.controller {
            Controller::EndpointSlice => self.spec.settings.endpoint_lag,
            Controller::Job if change.key.kind == KindId::PODS => JOB_BATCH,
            Controller::GarbageCollector
                if change.typ == ChangeType::Deleted && work.name != object::uid(&change.object) =>
            {
                OWNER_RETRY
            }
            _ => self.spec.settings.controller_lag,
        };
        self.random.millis(range)
    }

    fn note_pod(&mut self, change: &Change, moment: Moment, follow: &mut Vec<(Millis, Happening)>) {
        let pod = &change.object;
        let uid = object::uid(pod);
        if change.typ == ChangeType::Deleted {
            self.kubelet.drop_pod(uid);
            return;
        }
        if object::text(pod, &["spec", "nodeName"]).is_empty() {
            return;
        }
        let index = if let Some(index) = self.kubelet.of_uid(uid) {
            index
        } else {
            let index = self.kubelet.take(pod, moment.at);
            let admit = self.random.millis(self.spec.times.admit);
            follow.push((moment.at + admit, Happening::Pod { index, epoch: 0, step: Step::Admit }));
            index
        };
        if object::deleting(pod)
            && !self.kubelet.runs[index].stopping
            && !self.kubelet.is_lost(&self.kubelet.runs[index].node)
        {
            let mut kubelet = std::mem::take(&mut self.kubelet);
            let wait = self.with_context(moment, follow, |cx| life::stop(cx, &mut kubelet, index, pod));
            let epoch = kubelet.runs[index].epoch;
            self.kubelet = kubelet;
            follow.push((moment.at + wait, Happening::Pod { index, epoch, step: Step::Stopped }));
        }
    }

    fn pod(
        &mut self,
        index: PodIndex,
        epoch: u32,
        step: Step,
        moment: Moment,
        faults: &ActiveFaults,
        follow: &mut Vec<(Millis, Happening)>,
    ) {
        if self.kubelet.runs[index].epoch != epoch {
            return;
        }
        let changed = faults.behaviour(self, index, moment.at);
        let behaviour = changed.unwrap_or_else(|| self.kubelet.runs[index].own.clone());
        let mut kubelet = std::mem::take(&mut self.kubelet);
        let later =
            self.with_context(moment, follow, |cx| life::step(cx, &mut kubelet, index, step, &behaviour));
        self.kubelet = kubelet;
        let epoch = self.kubelet.runs[index].epoch;
        for (after, step) in later {
            follow.push((moment.at + after, Happening::Pod { index, epoch, step }));
        }
    }

    fn work(&mut self, work: &Work, moment: Moment, follow: &mut Vec<(Millis, Happening)>) {
        self.pending.take(work);
        self.with_context(moment, follow, |cx| controllers::reconcile(cx, work));
    }

    pub(super) fn with_context<T>(
        &mut self,
        moment: Moment,
        follow: &mut Vec<(Millis, Happening)>,
        act: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        let mut later = Vec::new();
        let (kubelet, traffic) = (&self.kubelet, &self.traffic);
        let cpu = |uid: &str| cpu_use(kubelet, traffic, uid);
        let mut store = lock(&self.store);
        let mut context = Context {
            store: &mut store,
            index: &self.index,
            now: moment.now,
            at: moment.at,
            random: &mut self.random,
            settings: &self.spec.settings,
            recorder: &mut self.recorder,
            later: &mut later,
            failures: &mut self.failures,
            cpu: &cpu,
            memory: &mut self.memory,
            due: &mut self.due,
        };
        let result = act(&mut context);
        drop(store);
        for (at, work) in later {
            if self.again.add(at, &work) {
                follow.push((at, Happening::Again(work)));
            }
        }
        result
    }

    fn look_again(&mut self, work: &Work, moment: Moment, follow: &mut Vec<(Millis, Happening)>) {
        if self.again.take_due(work, moment.at) && !self.pending.waits(work) {
            self.work(work, moment, follow);
        }
    }

    /// One second of traffic and scraping.
    ///
    /// `blame` takes what finds nobody in time.
    pub fn second(&mut self, moment: Moment, faults: &ActiveFaults, blame: Blame) {
        let hour = moment.now.to_zoned(jiff::tz::TimeZone::UTC);
        let hour = f64::from(hour.hour()) + f64::from(hour.minute()) / 60.0;
        let effects = faults.effects(self, moment.at);
        let behaviour = |run: &super::pods::PodRun| effects.apply(run);
        let shared = [FaultKind::SharedErrorSpike, FaultKind::Dependency]
            .into_iter()
            .any(|kind| faults.of_kind(kind, &self.name, moment.at).is_some());
        let (baseline, recreated) = (&self.baseline, &self.recreated);
        let culprit = |run: &super::pods::PodRun| {
            let stable = baseline.get(&run.component).copied().unwrap_or(0);
            let tested = !shared && super::active::revision_number(&run.revision) > stable;
            if tested { Blame::Release } else { Blame::World }
        };
        // a first release has nobody to fall back on
        let nobody = |component: &str| {
            let alone = recreated.contains(component) || !baseline.contains_key(component);
            if alone && blame == Blame::Orchestration { Blame::Release } else { blame }
        };
        let rise = faults.of_kind(FaultKind::LoadRise, &self.name, moment.at);
        let answers = Answers { behaviour: &behaviour, culprit: &culprit, nobody: &nobody };
        self.traffic.rise = rise.map_or(1.0, |fault| (1.0 + fault.amount / 100.0).max(0.0));
        self.traffic.second(&mut self.kubelet, hour, &mut self.random, &answers, moment.at);
        self.history.scrape(&self.kubelet, moment.at);
    }
}

/// CPU use of the process of a pod, in thousandths of a core.
fn cpu_use(kubelet: &Kubelet, traffic: &Traffic, uid: &str) -> i64 {
    let run = kubelet.of_uid(uid).map(|index| &kubelet.runs[index]);
    run.filter(|run| run.answers()).map_or(0, |run| {
        let use_ = 0.06 + 0.9 * run.load / traffic.pod_capacity(&run.component).max(0.1);
        (run.cpu_request as f64 * use_).round() as i64
    })
}

/// A time in both its forms.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds since the world began.
    pub at: Millis,
    /// Time of day.
    pub now: Timestamp,
}

fn node(spec: &ClusterSpec, place: usize) -> Value {
    let name = format!("node-{place}");
    let zone =
        spec.zones.get(place % spec.zones.len().max(1)).cloned().unwrap_or_else(|| "zone-a".to_owned());
    let mut labels = json!({
        "kubernetes.io/arch": spec.architecture,
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/zone": zone,
        "topology.kubernetes.io/region": spec.name,
    });
    for (key, value) in &spec.node_labels {
        labels[key] = value.as_str().into();
    }
    let room = json!({"cpu": spec.node_cpu, "memory": spec.node_memory, "pods": "110", "ephemeral-storage": "100Gi"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {
            "capacity": room, "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}],
            "nodeInfo": {"architecture": spec.architecture, "operatingSystem": "linux", "kubeletVersion": "v1.36.2",
                "containerRuntimeVersion": "containerd://2.1.4", "osImage": "Bottlerocket OS 1.50.0", "kernelVersion": "6.12.40",
                "bootID": "", "kubeProxyVersion": "", "machineID": "", "systemUUID": ""},
        },
    })
}
