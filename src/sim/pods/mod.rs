//! What runs the pods: one simulated process for every pod that has a node.
//!
//! A [`PodRun`] is the process behind a pod object, with what it counted and logged; `life` moves it through its
//! stages. Traffic reads who is alive; the pod object is what the API shows, and lags.

pub mod behaviour;
pub mod life;
pub mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use self::behaviour::Behaviour;
use self::status::Container;
use super::kube::controllers::object;
use super::queue::Millis;
use super::random::{Random, fnv};
use super::traffic::latency::Counters;
use crate::domain::object::{LABEL_COMPONENT, LABEL_REVISION};
use crate::sim::kube::store::Stored;

/// Places a pod in [`Kubelet::runs`]; never used again for another.
pub type PodIndex = usize;

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The image is being pulled, or cannot be.
    Pulling,
    /// The process runs.
    Running,
    /// The process ended and will be started again.
    Waiting,
    /// The process ended for good.
    Ended,
}

/// Ranges of times of the simulated nodes, in milliseconds.
#[derive(Clone, Debug)]
pub struct Times {
    /// From the assignment of a node to the first look.
    pub admit: (Millis, Millis),
    /// Pulling an image that the node does not have.
    pub pull: (Millis, Millis),
    /// From the start of the process until it could be ready.
    pub start: (Millis, Millis),
    /// From the request to stop until the process has ended.
    pub stop: (Millis, Millis),
    /// A job's process, unless its variable `JOB_SECONDS` says otherwise.
    pub job: (Millis, Millis),
    /// Whether images are on every node already.
    pub images_present: bool,
    /// The wait after the second crash; it doubles with every further one up to five minutes.
    pub crash_back_off: Millis,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            admit: (40, 160),
            pull: (300, 2_000),
            start: (500, 4_000),
            stop: (1_000, 3_000),
            job: (2_000, 6_000),
            images_present: false,
            crash_back_off: 10_000,
        }
    }
}

/// The process behind a pod.
#[allow(clippy::struct_excessive_bools)] // facts of a process that change independently
#[derive(Clone, Debug)]
pub struct PodRun {
    /// UID of the pod.
    pub uid: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// Node that it runs on.
    pub node: String,
    /// Address of the node.
    pub host_ip: String,
    /// Address of the pod.
    pub ip: String,
    /// Whether the address is known to the API yet.
    pub has_ip: bool,
    /// Image of the first container.
    pub image: String,
    /// Component that it belongs to (its label, or `app`).
    pub component: String,
    /// Revision label; empty for what deployctl did not make.
    pub revision: String,
    /// Version label.
    pub version: String,
    /// Whether it runs to its end instead of serving.
    pub job: bool,
    /// Whether the pod is started again when it ends.
    pub restart: bool,
    /// What image and variables say of its behaviour.
    pub own: Behaviour,
    /// CPU request in thousandths of a core.
    pub cpu_request: i64,
    /// A number of its own, for digests and ids.
    pub seed: u64,
    /// How far it is.
    pub stage: Stage,
    /// Whether the API shows it ready.
    pub ready: bool,
    /// Whether the image is on the node.
    pub pulled: bool,
    /// Whether init containers are done.
    pub init_done: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// When the process was last started.
    pub started_at: Millis,
    /// When that was, as objects carry it.
    pub started_text: String,
    /// How the process ended before.
    pub last_state: Option<Container>,
    /// Whether it was asked to stop.
    pub stopping: bool,
    /// Whether the process serves: false once it has ended or its node is lost.
    pub alive: bool,
    /// Whether the pod is gone from the API.
    pub gone: bool,
    /// Steps with another number are out of date.
    pub epoch: u32,
    /// Lines of the running process.
    pub log: Vec<(Millis, String)>,
    /// Lines of the process before.
    pub previous_log: Vec<(Millis, String)>,
    /// What it has counted since its start, as `/metrics` shows it.
    pub counters: Counters,
    /// What it has counted in its life, for reports.
    pub total: Counters,
    /// Requests of the last second.
    pub rate: f64,
    /// Requests per second, smoothed over about a minute.
    pub load: f64,
}

impl PodRun {
    fn of(pod: &Value, index: PodIndex, now: Millis) -> Self {
        let container = object::items(pod, &["spec", "containers"]).first().cloned().unwrap_or_default();
        let image = object::text(&container, &["image"]).to_owned();
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| if tag.contains('/') { "" } else { tag });
        let words =
            variable(&container, "FAULT").unwrap_or_else(|| tag.split('@').next().unwrap_or(tag).to_owned());
        let owner = object::controller_of(pod).map_or("", |owner| object::text(owner, &["kind"]));
        let policy = object::text(pod, &["spec", "restartPolicy"]);
        let component = [LABEL_COMPONENT, "app.kubernetes.io/name", "app"]
            .iter()
            .map(|key| object::label(pod, key))
            .find(|value| !value.is_empty());
        let version = [object::label(pod, "version"), object::label(pod, "app.kubernetes.io/version")]
            .into_iter()
            .find(|version| !version.is_empty())
            .unwrap_or(tag)
            .to_owned();
        Self {
            uid: object::uid(pod).to_owned(),
            namespace: object::namespace(pod).to_owned(),
            name: object::name(pod).to_owned(),
            node: object::text(pod, &["spec", "nodeName"]).to_owned(),
            host_ip: String::new(),
            ip: format!("10.{}.{}.{}", 240 + index / 62_500 % 15, index / 250 % 250, index % 250 + 2),
            has_ip: false,
            component: component.unwrap_or_default().to_owned(),
            revision: object::label(pod, LABEL_REVISION).to_owned(),
            version,
            job: owner == "Job" || matches!(policy, "Never" | "OnFailure"),
            restart: policy != "Never",
            own: Behaviour::parse(&words),
            cpu_request: object::cpu_millis(object::at(&container, &["resources", "requests", "cpu"])),
            seed: u64::from(fnv(object::uid(pod).as_bytes())),
            image,
            stage: Stage::Pulling,
            ready: false,
            pulled: false,
            init_done: false,
            restarts: 0,
            started_at: now,
            started_text: String::new(),
            last_state: None,
            stopping: false,
            alive: false,
            gone: false,
            epoch: 0,
            log: Vec::new(),
            previous_log: Vec::new(),
            counters: Counters::default(),
            total: Counters::default(),
            rate: 0.0,
            load: 0.0,
        }
    }

    /// True while the process can answer a request.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.alive && self.stage == Stage::Running
    }
}

fn variable(container: &Value, name: &str) -> Option<String> {
    object::items(container, &["env"])
        .iter()
        .find(|variable| variable["name"] == name)
        .map(|variable| object::text(variable, &["value"]).to_owned())
}

/// All processes of a cluster, those that have ended included.
#[derive(Clone, Debug, Default)]
pub struct Kubelet {
    /// By index; the order is that of their pods' scheduling.
    pub runs: Vec<PodRun>,
    by_uid: BTreeMap<String, PodIndex>,
    images: BTreeSet<(String, String)>,
    lost: BTreeSet<String>,
    /// The ranges of times.
    pub times: Times,
}

impl Kubelet {
    /// Nodes without processes, with these ranges of times.
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self { times, ..Self::default() }
    }

    /// The process behind the pod with this UID.
    #[must_use]
    pub fn of_uid(&self, uid: &str) -> Option<PodIndex> {
        self.by_uid.get(uid).copied()
    }

    /// The newest process of a pod of this name.
    #[must_use]
    pub fn of_name(&self, namespace: &str, name: &str) -> Option<PodIndex> {
        self.runs.iter().rposition(|run| run.name == name && run.namespace == namespace)
    }

    /// The indices of processes whose pods are in the API.
    pub fn present(&self) -> impl Iterator<Item = PodIndex> {
        self.by_uid.values().copied()
    }

    /// Takes a pod over that was given a node.
    pub fn take(&mut self, pod: &Arc<Stored>, now: Millis) -> PodIndex {
        let index = self.runs.len();
        let mut run = PodRun::of(pod, index, now);
        run.host_ip =
            format!("10.0.{}.{}", fnv(run.node.as_bytes()) % 250, fnv(run.node.as_bytes()) / 256 % 250 + 2);
        self.by_uid.insert(run.uid.clone(), index);
        self.runs.push(run);
        index
    }

    /// The pod is gone from the API.
    pub fn drop_pod(&mut self, uid: &str) {
        if let Some(index) = self.by_uid.remove(uid) {
            let run = &mut self.runs[index];
            run.gone = true;
            run.alive = false;
            run.ready = false;
            run.stage = Stage::Ended;
            run.epoch += 1;
        }
    }

    /// True if the node is lost.
    #[must_use]
    pub fn is_lost(&self, node: &str) -> bool {
        self.lost.contains(node)
    }

    /// A node is lost: nothing on it answers any more.
    pub fn lose_node(&mut self, node: &str) {
        self.lost.insert(node.to_owned());
        for run in self.runs.iter_mut().filter(|run| run.node == node) {
            run.alive = false;
            run.epoch += 1;
        }
    }

    /// Whether the node has the image.
    fn has_image(&self, node: &str, image: &str) -> bool {
        self.times.images_present || self.images.contains(&(node.to_owned(), image.to_owned()))
    }

    /// How long the node needs to have the image; 0 if it has it.
    fn pull_time(&mut self, node: &str, image: &str, random: &mut Random) -> Millis {
        let known = !self.images.insert((node.to_owned(), image.to_owned()));
        if known || self.times.images_present { 0 } else { random.millis(self.times.pull) }
    }

    /// The log of a pod: `previous` for the process before the last restart.
    #[must_use]
    pub fn log(&self, namespace: &str, name: &str, previous: bool) -> Option<&[(Millis, String)]> {
        let run = &self.runs[self.of_name(namespace, name)?];
        if previous && run.restarts == 0 {
            return None;
        }
        Some(if previous { &run.previous_log } else { &run.log })
    }
}
