//! The environment file as people write it. These types are the JSON Schema; `convert` turns them into the
//! domain's. Every field is optional here because a file may extend another one; what must be there in the
//! end is checked on the layered result.

mod calendar;
mod checks;
mod gitops;
mod guard;
mod one_box;
mod stores;
mod strategy;
mod traffic;

pub use calendar::*;
pub use checks::*;
pub use gitops::*;
pub use guard::*;
pub use one_box::*;
pub use stores::*;
pub use strategy::*;
pub use traffic::*;

use crate::config::defaults;
use crate::config::scalar::{Percent, SecretText, Time, Version};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One environment of deployctl: `environments/NAME.yaml` is deployed with `deployctl deploy NAME`.
///
/// Required here or in the extended file: `application`, `targets` (on Kubernetes) and `components`. Everything
/// else has a default. Durations have a unit (`200ms`, `30s`, `5m`, `1h30m`), shares a percent sign (`5%`).
/// `${env:X}` and its like work under `secrets` only.
///
/// The manifests of a component are minijinja (Jinja2) templates in `manifests/COMPONENT/*.yaml`. They read
/// `application`, `environment`, `component`, `version`, `image`, `namespace`, `replicas.min`, `replicas.max`,
/// `replicas.cpu`, `replicas.memory`, `target.name`, `target.cloud`, `target.region`, `target.traffic` and
/// `values.NAME`; reading a value that is never set is an error. Name a Deployment and its Service like the
/// component (`name: {{ component }}`), never select on the version, and leave `replicas` out where a
/// `HorizontalPodAutoscaler` scales. Namespace and the labels of deployctl are added by themselves.
///
/// A minimal environment: `{application: shop, targets: {eu: {cluster: {context: eu}}}, components: {api: {image:
/// registry.example.com/shop/api}}}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "deployctl environment")]
pub struct EnvironmentFile {
    /// Another environment (name of a file beside this one, without `.yaml`) that this one builds upon. Mappings
    /// are merged key by key, lists and scalars replaced, `key: null` deletes.
    #[schemars(extend("examples" = ["base"]))]
    pub extends: Option<String>,
    /// Name of the application: lower-case letters, digits and `-`. Required.
    #[schemars(extend("examples" = ["prime-spark"]))]
    pub application: Option<String>,
    /// Namespace of the application's objects. Default: the application's name.
    pub namespace: Option<String>,
    /// Version that is deployed when the command line names none (`--version`). It becomes the tag of every image
    /// that has no tag or digest of its own, and `{{ version }}` in the templates.
    #[schemars(extend("examples" = ["1.4.0"]))]
    pub version: Option<Version>,
    /// What the components run on. Default: `kubernetes`.
    pub platform: Option<PlatformFile>,
    /// Kubernetes version (`MAJOR.MINOR`) that the manifests are checked against for removed API versions.
    #[schemars(extend("default" = defaults::CLUSTER_VERSION))]
    pub cluster_version: Option<Version>,
    /// Where a release goes, by name: a target is a cluster in a region. Required on Kubernetes.
    #[schemars(extend("examples" = [{"us-east-1": {"cloud": "aws", "cluster": {"context": "us-east-1"}, "traffic": "live"}}]))]
    pub targets: BTreeMap<String, TargetFile>,
    /// Order of the targets: every wave is a list of targets that are deployed at the same time; the next wave
    /// begins when the one before has been healthy for `bake`. Every target is in exactly one wave. Default: one
    /// wave per target in the order of the file.
    #[schemars(extend("examples" = [[["us-west-2"], ["us-east-1"]]]))]
    pub waves: Option<Vec<Vec<String>>>,
    /// How long gates watch a finished wave before the next one begins; `{time, min_requests}` asks for traffic, too.
    #[schemars(extend("default" = defaults::BAKE))]
    pub bake: Option<BakeFile>,
    /// Before the first weight of any canary: one pod of the new revision, in the first live target of the waves alone,
    /// baked under all gates. Default: none.
    #[schemars(extend("examples" = [{"bake": "1h"}]))]
    pub one_box: Option<OneBoxFile>,
    /// A person has to approve (`deployctl approve ENV`) before each wave after the first: how long that is waited for
    /// after the bake. Then the run is rolled back. Default: nobody is asked.
    #[schemars(extend("examples" = ["1h"]))]
    pub approve_waves: Option<Time>,
    /// A set of defaults for canary steps, bakes and the length of a run; what is written in the file wins.
    /// `fast`: 10 % 10m, 50 % 10m, bakes 30m then 10m. `standard`: 10 % 1h, 33 % 30m, bakes 4h then 1h. `careful`: 5 % 1h,
    /// 10 % 1h, 33 % 1h, bakes 12h then 2h. All ask for 100 requests in a bake where gates watch.
    pub profile: Option<ProfileName>,
    /// Times in which nothing goes out, in the zone of `allowed` unless one is named. Rollbacks, aborts and resumed
    /// runs are never frozen; `--override-freeze REASON` deploys all the same, on record.
    #[schemars(extend("examples" = [[{"from": "2026-12-20T00:00", "to": "2027-01-02T00:00", "reason": "Christmas"}]]))]
    pub freeze: Vec<FreezeFile>,
    /// The only hours in which a release may begin. Default: always.
    #[schemars(extend("examples" = [{"time_zone": "Europe/Berlin", "days": ["mon-thu"], "hours": "09:00-16:00"}]))]
    pub allowed: Option<AllowedFile>,
    /// The parts of the application, by name. Required.
    pub components: BTreeMap<String, ComponentFile>,
    /// How a new revision takes over, for all components that do not say otherwise. Default: `rolling`.
    pub strategy: Option<StrategyFile>,
    /// Metric gates, by name: conditions that must hold while a new revision takes traffic. A breach rolls back.
    pub gates: BTreeMap<String, GateFile>,
    /// How metrics are asked.
    pub metrics: Option<MetricsFile>,
    /// When objects are ready, for kinds that deployctl does not know (custom resources) or knows too strictly. Without a
    /// rule a custom resource is judged by `status.observedGeneration`, its conditions (`Ready`, `Available`, …) and
    /// `status.phase`; one that tells nothing is taken for ready after 10 seconds, and the run says so.
    #[schemars(extend("examples" = [[{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "ready": {"condition": "Ready"}, "failed": {"path": "status.phase", "value": "Failed"}}]]))]
    pub readiness: Option<Vec<ReadinessFile>>,
    /// HTTP checks after each cut-over, by name. A failure rolls back.
    pub smoke: BTreeMap<String, SmokeFile>,
    /// Backups that are made before the first write.
    pub backup: Option<BackupFile>,
    /// Infrastructure that is applied before the rollout.
    pub terraform: Option<TerraformFile>,
    /// The project's own tests, run before anything is written.
    pub tests: Option<TestsFile>,
    /// Kubernetes Secrets to make: name of the Secret, then key, then where the value is read from.
    #[schemars(extend("examples" = [{"app-secrets": {"DATABASE_PASSWORD": "${env:DB_PASSWORD}"}}]))]
    pub secrets: BTreeMap<String, BTreeMap<String, SecretText>>,
    /// Values for the templates, read as `{{ values.NAME }}`. Layers, the later wins: extended file, this file,
    /// component, target, `--set`.
    pub values: BTreeMap<String, Value>,
    /// How loudly the policies for manifests speak, by name. Default: `error` for `image-tag`, `probes`, `limits`;
    /// `warn` for `security-context`, `hpa-replicas`, `disruption-budget`, `deprecated-api`, `external-reference`.
    pub policies: PoliciesFile,
    /// Monthly budget in US dollars; shown in the plan.
    #[schemars(extend("examples" = [5000]))]
    pub budget: Option<u32>,
    /// Who is told, by severity (`critical`, `warning`, `info`).
    #[schemars(extend("examples" = [{"critical": ["pagerduty"], "warning": ["slack:#alerts"], "info": ["email:ops@example.com"]}]))]
    pub alerts: AlertsFile,
    /// How long things may take.
    pub limits: Option<LimitsFile>,
    /// Fields that a release takes over when somebody else owns them: `FIELD`, or `Kind/name:FIELD`. A field covers all
    /// that is in it. What is not named here (or with `--take`) and belongs to somebody else bars the release.
    #[schemars(extend("examples" = [["spec.replicas", "Service/web:spec.type"]]))]
    pub take: Vec<String>,
    /// Argo CD Applications and Flux Kustomizations that write objects of the release by themselves would take a rollout
    /// back while it goes on: `pause` holds their automatic sync until the run is over, `refuse` refuses the run, `ignore`
    /// does not look. Default: `pause`.
    #[schemars(extend("examples" = ["refuse", {"mode": "pause", "argocd_namespace": "gitops"}]))]
    pub gitops: Option<GitopsFile>,
    /// How many releases that served are kept for `rollback`, and, apart from them, how many that failed. The one that serves
    /// and the one before it always stay: 1 is as 2 for those that served.
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::HISTORY))]
    pub history: Option<u32>,
    /// What becomes of waves that are done when a later one fails: `rollback` takes them back, too, `hold` keeps the new
    /// release there. Abort, rollback and Ctrl-C are not concerned. Default: `rollback`.
    pub on_failure: Option<FailureFile>,
    /// A target that gives no answer: `block`, or `skip` (owed the release). Default: `block`.
    pub unreachable: Option<UnreachableFile>,
    /// What Ctrl-C does once traffic is back on the old version. Default: `stop`.
    pub on_interrupt: Option<InterruptFile>,
    /// Whether `deployctl guard ENV` puts traffic on stable when a run's machine dies. Default: `false`.
    pub guard: Option<GuardFile>,
    /// Namespace (in every cluster) of the locks, journals and releases of deployctl.
    #[schemars(extend("default" = defaults::STATE_NAMESPACE))]
    pub state_namespace: Option<String>,
}

/// What the components run on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PlatformFile {
    /// By name: `kubernetes`, or `compose` with all defaults.
    Named(PlatformName),
    /// With settings.
    Detailed(PlatformDetail),
}

/// A platform without settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformName {
    /// Kubernetes clusters, one per target.
    Kubernetes,
    /// Docker Compose on this machine.
    Compose,
}

/// A platform with settings.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlatformDetail {
    /// Docker Compose on one machine.
    pub compose: Option<ComposeFile>,
}

/// Docker Compose on one machine.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ComposeFile {
    /// The machine: `local`, or `ssh://user@host`.
    #[schemars(extend("default" = "local"))]
    pub host: Option<String>,
    /// Compose project name. Default: the application's name.
    pub project: Option<String>,
    /// Whether a Hailo accelerator is required. It is exclusive, so every component must use `recreate`.
    #[schemars(extend("default" = false))]
    pub hailo: Option<bool>,
}

/// One place a release goes to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetFile {
    /// Cloud, for people: `aws`, `gcp`, …
    pub cloud: Option<String>,
    /// Region. Default: the target's name.
    pub region: Option<String>,
    /// How the target's API server is reached. Required on Kubernetes.
    pub cluster: Option<ClusterFile>,
    /// Whether users' requests arrive here. Gates judge live targets; a standby (`none`) is judged by smoke tests
    /// and readiness. Default: `live`.
    pub traffic: Option<TrafficFile>,
    /// The target's Prometheus, by its base URL or with `url`, credentials and more. Required for gates that ask it.
    #[schemars(extend("examples" = ["http://prometheus.us-east-1.example.com:9090"]))]
    pub prometheus: Option<PrometheusFile>,
    /// Base URL of the target's public ingress, for smoke tests `through: ingress`.
    #[schemars(extend("examples" = ["https://us-east-1.example.com"]))]
    pub ingress: Option<String>,
    /// The target's own layer of template values, above the component's.
    pub values: BTreeMap<String, Value>,
}

/// How a cluster is reached. At least one of `context`, `kubeconfig` and `eks`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterFile {
    /// Context in the kubeconfig. Default: its current context.
    pub context: Option<String>,
    /// Path of the kubeconfig. Default: `$KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<String>,
    /// Name of an EKS cluster.
    pub eks: Option<String>,
}

/// Whether users' requests arrive at a target.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficFile {
    /// Users' requests arrive.
    Live,
    /// A standby without users.
    None,
}

/// One deployable part of the application.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ComponentFile {
    /// Image. Without tag and digest, the release's version becomes the tag. Required.
    #[schemars(extend("examples" = ["ghcr.io/prime-spark/kva-api", "postgres:17.6"]))]
    pub image: Option<String>,
    /// Files or folders of manifest templates (`*.yaml`), relative to the project's root. Default:
    /// `[manifests/COMPONENT]`. Files that begin with `_` are only included by others.
    pub manifests: Option<Vec<String>>,
    /// Components that must be healthy before this one is deployed.
    pub depends_on: Vec<String>,
    /// Bounds of its size: a number, or `min` and `max` for an autoscaler. Templates read
    /// `{{ replicas.min }}` and so on. Where no autoscaler decides, a release brings the component to this size. Default:
    /// what the workload's manifest says, else 1.
    pub replicas: Option<ReplicasFile>,
    /// How a new revision of this component takes over. Default: the environment's `strategy`.
    pub strategy: Option<StrategyFile>,
    /// How this component's answers tell its version, so that the share that a canary's router really sends is counted
    /// from outside, through the target's `ingress`, before anything goes on. Without it the share is assumed.
    pub version_probe: Option<VersionProbeFile>,
    /// Values for this component's templates, above the environment's.
    pub values: BTreeMap<String, Value>,
}

/// Bounds of a component's size.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ReplicasFile {
    /// Always this many pods.
    Fixed(u32),
    /// Between two numbers, moved by an autoscaler.
    Range(ReplicaRange),
}

/// Bounds for an autoscaler.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReplicaRange {
    /// Fewest pods. Default: 1.
    pub min: Option<u32>,
    /// Most pods. Default: `min`.
    pub max: Option<u32>,
    /// CPU utilisation that the autoscaler aims at, of what the pods request.
    #[schemars(extend("examples" = ["65%"]))]
    pub cpu: Option<Percent>,
    /// Memory utilisation that the autoscaler aims at, of what the pods request.
    #[schemars(extend("examples" = ["75%"]))]
    pub memory: Option<Percent>,
}

/// Backups that are made before the first write.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackupFile {
    /// RDS instances to snapshot.
    pub rds: Vec<RdsFile>,
    /// Oldest acceptable backup (recovery point objective).
    #[schemars(extend("examples" = ["15m"]))]
    pub rpo: Option<Time>,
    /// Time within which a restore must be done (recovery time objective).
    #[schemars(extend("examples" = ["1h"]))]
    pub rto: Option<Time>,
    /// S3 bucket that receives a copy.
    pub s3: Option<String>,
}

/// One database to snapshot.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RdsFile {
    /// DB instance identifier.
    pub instance: String,
    /// Target whose region holds it.
    pub target: String,
}

/// Infrastructure that is applied before the rollout.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TerraformFile {
    /// Folder of the configuration, relative to the project's root. Required.
    pub dir: Option<String>,
}

/// The project's own tests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestsFile {
    /// Program and arguments. Required.
    #[schemars(extend("examples" = [["pytest", "tests/", "-q"]]))]
    pub command: Option<Vec<String>>,
}

/// Policies for manifests: how loudly each speaks.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct PoliciesFile {
    /// Images without a tag, or with `latest`.
    #[schemars(extend("default" = "error"))]
    pub image_tag: Option<Level>,
    /// Containers without readiness and liveness probes.
    #[schemars(extend("default" = "error"))]
    pub probes: Option<Level>,
    /// Containers without requests or a memory limit.
    #[schemars(extend("default" = "error"))]
    pub limits: Option<Level>,
    /// Containers that may be root, escalate, write to their root filesystem or keep capabilities.
    #[schemars(extend("default" = "warn"))]
    pub security_context: Option<Level>,
    /// `replicas` in a workload that an autoscaler owns.
    #[schemars(extend("default" = "warn"))]
    pub hpa_replicas: Option<Level>,
    /// Disruption budgets that block every drain.
    #[schemars(extend("default" = "warn"))]
    pub disruption_budget: Option<Level>,
    /// API versions that a later Kubernetes removes.
    #[schemars(extend("default" = "warn"))]
    pub deprecated_api: Option<Level>,
    /// References to objects that none of the manifests defines.
    #[schemars(extend("default" = "warn"))]
    pub external_reference: Option<Level>,
}

/// How loudly a policy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Refused.
    Error,
    /// Reported.
    Warn,
    /// Not checked.
    Off,
}

/// Who is told: `pagerduty`, `slack:#channel`, `email:ADDRESS`, `webhook:URL`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsFile {
    /// When somebody must get up: a rollback that could not be completed.
    pub critical: Vec<String>,
    /// When somebody should look: a run that was rolled back, a hold that waits.
    pub warning: Vec<String>,
    /// When nobody has to do anything: a run that began or ended well.
    pub info: Vec<String>,
}

/// How long things may take.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsFile {
    /// For the pods of a revision to become ready.
    #[schemars(extend("default" = defaults::READY))]
    pub ready: Option<Time>,
    /// For the whole run, holds included.
    #[schemars(extend("default" = defaults::RUN))]
    pub run: Option<Time>,
    /// For a backup.
    #[schemars(extend("default" = defaults::BACKUP))]
    pub backup: Option<Time>,
    /// How long a gate without data, or a breach that the old version shows too, may hold the run before it is
    /// rolled back.
    #[schemars(extend("default" = defaults::SHARED_BREACH))]
    pub shared_breach: Option<Time>,
    /// Lifetime of the lock without renewal, 15 s at the least. Whoever comes after a run that died waits so long.
    #[schemars(extend("default" = defaults::LEASE))]
    pub lease: Option<Time>,
}

/// What Ctrl-C does once traffic is back on the old version.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InterruptFile {
    /// Stop there; `resume` or `rollback` goes on.
    Stop,
    /// Roll everything back.
    Rollback,
}
