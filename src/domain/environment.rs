//! An environment as the rest of the program sees it: checked, layered and complete.

pub use crate::domain::absence::Unreachable;
use crate::domain::calendar::Calendar;
use crate::domain::effect::Approval;
use crate::domain::gate::Gate;
use crate::domain::gitops::Gitops;
use crate::domain::guard::Guard;
use crate::domain::ids::{ComponentId, TargetId};
use crate::domain::metric_store::PrometheusStore;
use crate::domain::readiness::ReadinessRule;
use crate::domain::secret::SecretRef;
use crate::domain::units;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::domain::routing::{Mirror, Router, Testers};

/// Everything that one `environments/NAME.yaml` says, after `extends` and the command line.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `production`.
    pub name: String,
    /// `prime-spark`.
    pub application: String,
    /// Folder that relative paths (manifests) start from.
    pub root: PathBuf,
    /// What the components run on.
    pub platform: Platform,
    /// Namespace of the application's objects.
    pub namespace: String,
    /// Namespace of leases, journals and releases.
    pub state_namespace: String,
    /// Version of the application that is deployed when the command line names none.
    pub version: Option<String>,
    /// Kubernetes version (major, minor) that manifests are checked against.
    pub cluster_version: (u32, u32),
    /// Where the release goes, in the order of the file.
    pub targets: Vec<Target>,
    /// Whether these are some of its targets, chosen for one command: the others may have runs of their own at the same time.
    pub is_part: bool,
    /// Waves of targets; every target is in exactly one.
    pub waves: Vec<Vec<TargetId>>,
    /// What lies between one wave and the next.
    pub bake: Bake,
    /// One pod in one place before the first weight, if any.
    pub one_box: Option<OneBox>,
    /// How long a person may take to approve each wave after the first; nobody is asked if absent.
    pub approve_waves: Option<Approval>,
    /// When releases may go out.
    pub calendar: Calendar,
    /// Name of the set of defaults that was chosen, if any.
    pub profile: Option<String>,
    /// The parts of the application, dependencies before dependents.
    pub components: Vec<Component>,
    /// Metric gates that run during every hold and bake.
    pub gates: Vec<Gate>,
    /// Prometheus query templates by metric name (`error_rate`, `latency`, `requests`, `availability`).
    pub queries: BTreeMap<String, String>,
    /// The project's own rules for when objects are ready.
    pub readiness: Vec<ReadinessRule>,
    /// Checks after each cut-over.
    pub smoke: Vec<SmokeTest>,
    /// Backups before the first write.
    pub backup: Backup,
    /// Terraform to apply before the rollout, if any.
    pub terraform: Option<PathBuf>,
    /// The project's own test command, if any.
    pub tests: Option<Vec<String>>,
    /// Secrets that become Kubernetes Secrets: name → key → reference.
    pub secrets: BTreeMap<String, BTreeMap<String, SecretRef>>,
    /// Values of all templates before the target's own layer.
    pub values: Value,
    /// Levels of the manifest policies by policy name.
    pub policies: BTreeMap<String, PolicyLevel>,
    /// Monthly budget in US dollars, shown in the plan.
    pub budget_usd: Option<u32>,
    /// Where alerts go, by severity; shown in the plan until their adapters exist.
    pub alerts: BTreeMap<String, Vec<String>>,
    /// How long things may take.
    pub limits: Limits,
    /// Fields that are taken over from others: `FIELD`, or `Kind/name:FIELD`.
    pub take: Vec<String>,
    /// What is done about those who write the release's objects from Git.
    pub gitops: Gitops,
    /// Releases kept for `rollback`.
    pub history_limit: u32,
    /// What becomes of earlier waves when a later one fails.
    pub on_failure: OnFailure,
    /// What a release does about a target that gives no answer.
    pub unreachable: Unreachable,
    /// What the first interrupt does after traffic is on stable.
    pub on_interrupt: OnInterrupt,
    /// Who watches its runs from elsewhere; nobody if absent.
    pub guard: Option<Guard>,
}

impl Environment {
    /// The target of that name.
    #[must_use]
    pub fn target(&self, id: &TargetId) -> Option<&Target> {
        self.targets.iter().find(|target| target.id == *id)
    }

    /// The component of that name.
    #[must_use]
    pub fn component(&self, id: &ComponentId) -> Option<&Component> {
        self.components.iter().find(|component| component.id == *id)
    }
}

/// What the components run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Kubernetes clusters.
    Kubernetes,
    /// Docker Compose on one machine (adapter not there yet; `rehearse` simulates it).
    Compose {
        /// `local` or `ssh://user@host`.
        host: String,
        /// Compose project name.
        project: String,
        /// Whether a Hailo accelerator is required: it is exclusive, so only `recreate` works.
        hailo: bool,
    },
}

/// What lies between one wave and the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bake {
    /// How long gates watch the first wave.
    pub first: Duration,
    /// How long they watch each later wave but the last.
    pub later: Duration,
    /// Requests that each component with a gate must have had meanwhile on a live target; 0 for none.
    pub requests: u64,
}

/// One pod of the new revision in the first live target, before the first weight of any canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneBox {
    /// How long gates watch it.
    pub bake: Duration,
    /// Largest share of the traffic that a router sends to it, percent; where pods are the router, a share of the pods that
    /// is warned of when it is more.
    pub max_share: u8,
}

/// One place a release goes to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name on the command line.
    pub id: TargetId,
    /// `aws`, `gcp`, … for people.
    pub cloud: Option<String>,
    /// `us-east-1`.
    pub region: Option<String>,
    /// How its API server is reached.
    pub cluster: ClusterAddress,
    /// Whether users' requests arrive here.
    pub traffic: TrafficClass,
    /// Its Prometheus.
    pub prometheus: Option<PrometheusStore>,
    /// Base URL of the public ingress, for smoke tests.
    pub ingress: Option<String>,
    /// The target's own layer of template values.
    pub values: Value,
}

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClusterAddress {
    /// Context in the kubeconfig; the current one if absent.
    pub context: Option<String>,
    /// Path of the kubeconfig; `KUBECONFIG` or the default place if absent.
    pub kubeconfig: Option<PathBuf>,
    /// Name of an EKS cluster (adapter not there yet).
    pub eks: Option<String>,
}

/// Whether users' requests arrive at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficClass {
    /// Users' requests arrive: gates judge them.
    Live,
    /// A standby: judged by smoke tests, never by a vacuous gate.
    None,
}

/// One deployable part of the application.
#[derive(Clone, Debug)]
pub struct Component {
    /// `kva-api`.
    pub id: ComponentId,
    /// Image without a tag (the release's version becomes the tag), or pinned with tag or digest.
    pub image: String,
    /// Files or folders of manifest templates, relative to the root.
    pub manifests: Vec<PathBuf>,
    /// Components that must be done before this one.
    pub depends_on: Vec<ComponentId>,
    /// How a new revision takes over.
    pub strategy: Strategy,
    /// Bounds of its size.
    pub replicas: Replicas,
    /// How its answers tell its version, for counting what share of the traffic a router really sends to a revision.
    pub version_probe: Option<VersionProbe>,
    /// Values of this component's templates, above the environment's.
    pub values: Value,
}

impl Component {
    /// The image of a release: the version as tag unless the image is pinned already.
    #[must_use]
    pub fn image_for(&self, version: &str) -> String {
        if is_pinned(&self.image) { self.image.clone() } else { format!("{}:{version}", self.image) }
    }
}

/// The version that an image reference names: its tag, if it has one and is not pinned by digest.
#[must_use]
pub fn version_of(image: &str) -> Option<&str> {
    let last = image.rsplit('/').next().filter(|last| !last.contains('@'))?;
    last.split_once(':').map(|(_, tag)| tag)
}

/// Whether an image reference carries a tag or a digest.
#[must_use]
pub fn is_pinned(image: &str) -> bool {
    image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// Bounds of a component's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// Whether the environment says it; else a manifest may.
    pub given: bool,
    /// Fewest pods.
    pub min: u32,
    /// Most pods.
    pub max: u32,
    /// CPU utilisation that the autoscaler aims at, percent of the request.
    pub cpu_percent: Option<u32>,
    /// Memory utilisation that the autoscaler aims at, percent of the request.
    pub memory_percent: Option<u32>,
}

/// How a new revision takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// One Deployment, replaced pod by pod by its controller.
    Rolling,
    /// Stop, then start: downtime, stated in the plan.
    Recreate,
    /// A second full-size Deployment; all traffic switches at once.
    BlueGreen(BlueGreen),
    /// A growing share of the traffic.
    Canary(Canary),
}

impl Strategy {
    /// What carries the weights, where a route does.
    #[must_use]
    pub fn weighted_router(&self) -> Option<&Router> {
        match self {
            Self::Canary(canary) => Some(&canary.router).filter(|router| router.is_weighted()),
            Self::Rolling | Self::Recreate | Self::BlueGreen(_) => None,
        }
    }

    /// The second of two namespaces that take turns, if they do.
    #[must_use]
    pub fn green_namespace(&self) -> Option<&str> {
        match self {
            Self::BlueGreen(blue_green) => blue_green.green_namespace.as_deref(),
            Self::Rolling | Self::Recreate | Self::Canary(_) => None,
        }
    }
}

/// Parameters of a blue-green rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlueGreen {
    /// What carries the switch.
    pub switch: Switch,
    /// Namespace that takes turns with the environment's own: each release stands whole in the one that does not serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub green_namespace: Option<String>,
    /// Gates run this long on green after the switch, blue still at full size.
    #[serde(with = "units::duration")]
    pub hold: Duration,
    /// Before the switch green is reachable as Service `NAME-preview` for so long, smoke tests repeated meanwhile; not at
    /// all if zero.
    #[serde(default, with = "units::duration")]
    pub preview: Duration,
    /// Blue keeps its full size for so long after all waves are done, gates still watching.
    #[serde(default, with = "units::duration")]
    pub scale_down_after: Duration,
}

/// What carries a blue-green switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// The Service's selector.
    Service,
    /// The Ingress's backend (and the Service's selector for callers inside the cluster).
    Ingress,
    /// The namespace of the backends of `HTTPRoute`s.
    Gateway,
    /// The namespace in the destinations of `VirtualService`s.
    Istio,
}

/// Parameters of a canary rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Rising weights below 100; the last step to 100 is implied.
    pub steps: Vec<CanaryStep>,
    /// What carries the weights.
    #[serde(default)]
    pub router: Router,
    /// Copies of requests before the first weight, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// Whether stable is shrunk to what it still carries at each weight; only with a router that carries weights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dynamic_stable_scale: bool,
}

/// One weight of a canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStep {
    /// Percent of the traffic, 1–99.
    pub weight: u8,
    /// How long gates watch at this weight.
    #[serde(with = "units::duration")]
    pub hold: Duration,
    /// Whether a person has to approve before the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approval>,
    /// Size of the new revision at this step where a router carries the weight, percent of stable's, never below
    /// `weight`; the weight itself if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<u8>,
}

/// How the answers of a component tell its version, when they are asked for through the target's public ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionProbe {
    /// Path and query.
    pub path: String,
    /// Host header; the URL's own host if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where in an answer the version stands.
    pub place: VersionPlace,
}

/// Where in an answer the version stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionPlace {
    /// In this header (lower-case name).
    Header(String),
    /// At this JSON pointer of the body.
    Json(String),
    /// Anywhere in the body.
    Body,
}

/// An HTTP check after a cut-over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmokeTest {
    /// Its name in reports.
    pub name: String,
    /// The component it asks.
    pub component: ComponentId,
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Host header through the ingress; the URL's own host if absent.
    pub host: Option<String>,
    /// More request headers.
    pub headers: BTreeMap<String, String>,
    /// Way in after the cut-over. Before it, the new revision is always asked through the API server.
    pub through: Through,
    /// Status that must be answered.
    pub status: u16,
    /// Text that the body must contain.
    pub body_contains: Option<String>,
    /// Regular values: JSON pointer → value that must be there.
    pub json: BTreeMap<String, Value>,
    /// Slowest answer that still passes.
    #[serde(with = "units::duration")]
    pub max_latency: Duration,
    /// Longest wait for one answer.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Attempts before it fails.
    pub attempts: u32,
    /// Wait between attempts.
    #[serde(with = "units::duration")]
    pub retry_delay: Duration,
}

/// How a smoke test reaches the component after the cut-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// The target's public ingress URL.
    Ingress,
    /// The component's Service through the API server's proxy.
    Service,
}

/// Backups before the first write.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Backup {
    /// RDS instances to snapshot: identifier → target whose region holds it.
    pub rds: Vec<RdsBackup>,
    /// Oldest acceptable backup (recovery point objective).
    pub rpo: Option<Duration>,
    /// Time within which a restore must be done (recovery time objective).
    pub rto: Option<Duration>,
    /// S3 bucket that receives a copy.
    pub s3: Option<String>,
}

/// One database to snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RdsBackup {
    /// DB instance identifier.
    pub instance: String,
    /// Target whose region holds it.
    pub target: TargetId,
}

/// How loudly a manifest policy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyLevel {
    /// Not checked.
    Off,
    /// Reported.
    Warn,
    /// Refused.
    Error,
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a revision's pods to become ready.
    pub ready: Duration,
    /// For the whole run, holds included.
    pub run: Duration,
    /// For a backup.
    pub backup: Duration,
    /// How long a gate that stable breaches too may hold the run before it is rolled back.
    pub shared_breach: Duration,
    /// Lifetime of the lock without renewal.
    pub lease: Duration,
}

/// What the first interrupt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnInterrupt {
    /// Traffic on stable, then `resume` or `rollback` by the operator.
    Stop,
    /// All the way back at once.
    Rollback,
}

/// What becomes of earlier waves when a later one fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Everything goes back, everywhere.
    #[default]
    Rollback,
    /// The wave that failed goes back; waves that were done before keep the new release.
    Hold,
}
