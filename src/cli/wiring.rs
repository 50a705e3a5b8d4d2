//! The only place that names adapters and the simulation.

use crate::adapters::aws::{Aws, Variables};
use crate::adapters::clock::SystemClock;
use crate::adapters::cloudwatch::CloudWatch;
use crate::adapters::http::HttpProbe;
use crate::adapters::http_metrics::HttpMetrics;
use crate::adapters::kubernetes::{self, KubeCluster};
use crate::adapters::prometheus::Prometheus;
use crate::adapters::secrets::LocalSecrets;
use crate::adapters::stores::Stores;
use crate::domain::environment::{Component, Environment, Platform, Router, Target, TrafficClass};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::object::LABEL_APPLICATION;
use crate::domain::secret::{SecretRef, SecretValue, redact};
use crate::ports::secrets::SecretError;
use crate::ports::{Clock, Secrets};
use crate::run::{Site, World};
use crate::sim;
use crate::sim::memory::MemoryState;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

pub(super) use crate::sim::faults::{Fault, FaultKind, ScheduledFault, When};
pub(super) use crate::sim::invariants::Violation;
pub(super) use crate::sim::process::Death;
pub(super) use crate::sim::random::Random;
pub(super) use crate::sim::world::Judgement;

/// What time it really is.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

/// The real world: a cluster per target, reached as the environment says. No network is used yet.
///
/// # Errors
/// There is no way to one of them.
pub(super) async fn real(env: &Environment) -> Result<World, Failure> {
    let (world, closed) = open(env).await?;
    match closed.into_values().next() {
        Some(failure) => Err(failure),
        None => Ok(world),
    }
}

/// The same for commands that one region must not blind: a target to which there is no way (its context is missing, its
/// credential plugin fails) is one that gives no answer, and says why. These failures come with the world.
///
/// # Errors
/// There is no way to any of them.
pub(super) async fn open(env: &Environment) -> Result<(World, BTreeMap<TargetId, Failure>), Failure> {
    if matches!(env.platform, Platform::Compose { .. }) {
        return Err(Failure::new(
            Code(615),
            Exit::Preflight,
            "Docker Compose: not yet possible on a real run",
        )
        .why("nothing was written")
        .next(format!("deployctl rehearse {}", env.name)));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (mut sites, mut closed) = (BTreeMap::new(), BTreeMap::new());
    // Side by side: a credential plugin takes its time.
    let connects = env.targets.iter().map(|target| kubernetes::connect(&target.cluster));
    for (target, connected) in env.targets.iter().zip(futures::future::join_all(connects).await) {
        let cluster = connected.unwrap_or_else(|error| {
            let why = error.to_string();
            closed.insert(target.id.clone(), no_way(env, target, &why));
            kubernetes::closed(target.id.as_str(), &why)
        });
        sites.insert(target.id.clone(), site(cluster, env, &clock));
    }
    let first = env.targets.iter().find_map(|target| closed.get(&target.id));
    if let (Some(failure), true) = (first, closed.len() == env.targets.len()) {
        return Err(failure.clone());
    }
    Ok((world(env, sites, clock, Arc::new(LocalSecrets))?, closed))
}

/// The same, where the failures are told by what the targets do not answer.
pub(super) async fn with_silent(env: &Environment) -> Result<World, Failure> {
    Ok(open(env).await?.0)
}

/// The real world as a guard sees it: the targets to which there is a way, by the kubeconfig or from inside of a cluster.
/// Says why of the others. It has no secrets: what puts traffic on stable needs none.
pub(super) async fn guarding(env: &Environment, in_cluster: bool) -> Result<(World, Vec<Failure>), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (mut sites, mut closed) = (BTreeMap::new(), Vec::new());
    for target in &env.targets {
        let cluster = if in_cluster {
            kubernetes::connect_in_cluster()
        } else {
            kubernetes::connect(&target.cluster).await
        };
        match cluster {
            Ok(cluster) => {
                sites.insert(target.id.clone(), site(cluster, env, &clock));
            }
            Err(error) => closed.push(no_way(env, target, &error.to_string())),
        }
    }
    if sites.is_empty()
        && let Some(failure) = closed.pop()
    {
        return Err(failure);
    }
    Ok((world(env, sites, clock, Arc::new(NoSecret))?, closed))
}

struct NoSecret;

#[async_trait]
impl Secrets for NoSecret {
    async fn read(&self, reference: &SecretRef) -> Result<SecretValue, SecretError> {
        Err(SecretError { message: format!("{reference}: a guard has no secrets") })
    }
}

fn world(
    env: &Environment,
    sites: BTreeMap<TargetId, Site>,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn Secrets>,
) -> Result<World, Failure> {
    let metrics = stores(env, &secrets, &clock).map_err(|why| {
        Failure::new(Code(616), Exit::Usage, "the metric store cannot be asked")
            .why(redact(&why))
            .next(format!("deployctl validate {}", env.name))
    })?;
    let probe = HttpProbe::new().map_err(|error| {
        Failure::new(Code(1), Exit::Internal, "there is no way to ask over HTTP").why(error.to_string())
    })?;
    Ok(World { sites, metrics: Arc::new(metrics), probe: Arc::new(probe), secrets, clock })
}

/// Every metric store that a gate may ask. Nobody is asked for credentials yet.
fn stores(env: &Environment, secrets: &Arc<dyn Secrets>, clock: &Arc<dyn Clock>) -> Result<Stores, String> {
    let aws = Arc::new(Aws::new(Variables::process()));
    let of_targets =
        env.targets.iter().filter_map(|target| Some((target.id.clone(), target.prometheus.clone()?)));
    let prometheus = Prometheus::new(&of_targets.collect(), &env.queries, secrets, &aws);
    Ok(Stores {
        prometheus: prometheus.map_err(|error| error.to_string())?,
        cloudwatch: CloudWatch::new(aws, Arc::clone(clock))?,
        http: HttpMetrics::new(Arc::clone(secrets), Arc::clone(clock))?,
    })
}

/// A cluster with the records and the lock that live in it.
fn site(cluster: KubeCluster, env: &Environment, clock: &Arc<dyn Clock>) -> Site {
    let (namespace, application, name) = (&env.state_namespace, &env.application, &env.name);
    let state = cluster.state_store(namespace, application, name);
    let lock = cluster.lock(namespace, application, name, Arc::clone(clock));
    let guard = cluster.guard_lock(namespace, application, name, Arc::clone(clock));
    Site {
        guard: Arc::new(guard),
        cluster: Some(Arc::new(cluster)),
        state: Arc::new(state),
        lock: Arc::new(lock),
        cloud: None,
        compose: None,
    }
}

fn no_way(env: &Environment, target: &Target, why: &str) -> Failure {
    let context =
        target.cluster.context.as_ref().map_or_else(String::new, |name| format!(" (context {name})"));
    Failure::new(
        Code(605),
        Exit::Preflight,
        format!("there is no way to the cluster of {}{context}", target.id),
    )
    .why(why)
    .next(format!("check targets.{}.cluster, or set KUBECONFIG", target.id))
    .next(format!("deployctl rehearse {}, which needs no cluster", env.name))
}

/// A simulated world, for one story.
pub(super) struct Simulated {
    world: sim::World,
    seed: u64,
    /// What machines without a cluster keep.
    memories: BTreeMap<TargetId, Arc<MemoryState>>,
}

/// A simulated world as it stood, to begin stories from.
pub(super) struct Frozen {
    world: sim::world::Frozen,
    memories: BTreeMap<TargetId, Arc<MemoryState>>,
}

/// Requests per second that users send to each component of a live target: what the first two receive, then the rest.
const LOADS: [f64; 3] = [60.0, 25.0, 10.0];

/// Requests per second that users send for each pod that there is at least, at the most: one can answer 20.
const EACH: f64 = 12.0;

/// The environment's targets as simulated clusters (or a Compose machine), under the load of users where they are live.
pub(super) fn simulated(env: &Environment, seed: u64, routed: &[String]) -> Simulated {
    let clusters = env.targets.iter().map(|target| {
        let spec = sim::spec::ClusterSpec::new(target.id.as_str());
        if target.traffic == TrafficClass::None {
            return spec;
        }
        let loads = routed.iter().enumerate().map(|(i, name)| {
            let component = env.components.iter().find(|component| component.id.as_str() == name);
            let bearable = component.map_or(f64::INFINITY, |known| f64::from(known.replicas.min) * EACH);
            sim::traffic::LoadSpec::new(name, LOADS[i.min(2)].min(bearable))
        });
        spec.with_load(loads.collect())
    });
    let world = sim::world::World::new(&sim::spec::WorldSpec::new(seed, clusters.collect()));
    let defined_elsewhere = |component: &Component| {
        matches!(component.strategy.weighted_router(), Some(Router::Gateway(_) | Router::Istio(_)))
    };
    if env.components.iter().any(defined_elsewhere) {
        world.serve_routes();
    }
    for target in &env.targets {
        let cloud = world.cloud(target.region.as_deref().unwrap_or(target.id.as_str()));
        for backup in env.backup.rds.iter().filter(|backup| backup.target == target.id) {
            cloud.set_instance(&backup.instance, Some("available"));
        }
    }
    let clock: Arc<dyn Clock> = Arc::new(world.clock());
    let machines = env.targets.iter().filter(|_| matches!(env.platform, Platform::Compose { .. }));
    let memories = machines.map(|target| (target.id.clone(), Arc::new(MemoryState::new(Arc::clone(&clock)))));
    Simulated { memories: memories.collect(), world, seed }
}

impl Frozen {
    /// A world that goes on from here, by its own chance.
    pub fn thaw(&self, seed: u64) -> Simulated {
        let world = self.world.thaw(seed);
        let clock: Arc<dyn Clock> = Arc::new(world.clock());
        let copied = |memory: &Arc<MemoryState>| Arc::new(memory.copy(Arc::clone(&clock)));
        let memories = self.memories.iter().map(|(target, memory)| (target.clone(), copied(memory)));
        Simulated { memories: memories.collect(), world, seed }
    }
}

impl Simulated {
    /// The world as it stands.
    pub fn freeze(&self) -> Frozen {
        Frozen { world: self.world.freeze(), memories: self.memories.clone() }
    }

    /// The doors of a process on an operator's machine; the second turns true when the process dies.
    pub fn process(&self, env: &Environment, name: &str) -> (World, watch::Receiver<bool>) {
        let dead = self.world.begin_process(name);
        let clock: Arc<dyn Clock> = Arc::new(self.world.operator_clock());
        let mut sites = BTreeMap::new();
        for (index, target) in env.targets.iter().enumerate() {
            let mut site = if let Some(memory) = self.memories.get(&target.id) {
                let compose = Arc::new(self.world.compose(target.id.as_str()));
                let (state, lock) = (memory.clone(), memory.clone());
                // Nobody guards a machine without a cluster.
                let guard = Arc::new(MemoryState::new(Arc::clone(&clock)));
                Site { cluster: None, state, lock, guard, cloud: None, compose: Some(compose) }
            } else {
                let client = kube::Client::new(self.world.api_of(target.id.as_str(), name), "default");
                let cluster = KubeCluster::new(client, format!("simulated://{}", target.id));
                site(cluster.with_seed(self.seed.wrapping_add(index as u64)), env, &clock)
            };
            let region = target.region.as_deref().unwrap_or(target.id.as_str());
            site.cloud = Some(Arc::new(self.world.cloud(region)));
            sites.insert(target.id.clone(), site);
        }
        let doors = World {
            sites,
            metrics: Arc::new(self.world.metrics()),
            probe: Arc::new(self.world.probe(None)),
            secrets: Arc::new(AnySecret),
            clock,
        };
        (doors, dead)
    }

    /// The world itself.
    pub fn world(&self) -> &sim::World {
        &self.world
    }

    /// Drives the world; poll it beside what uses the doors.
    pub async fn run(&self) {
        self.world.run().await;
    }

    /// Adds faults whose times count from now. What runs now is stable: faults of the version under test spare it.
    pub fn arm(&self, faults: &[ScheduledFault]) {
        self.world.mark_stable();
        let now = self.world.clock().millis();
        for fault in faults {
            let when = match &fault.when {
                When::At(at) => When::At(now + at),
                When::Label(label) => When::Label(label.clone()),
            };
            self.world.add_fault(&ScheduledFault { fault: fault.fault.clone(), when });
        }
    }

    /// A referee watches from now on: waves and bake are the environment's.
    pub fn watch(&self, env: &Environment, bakes: bool) {
        let names = |wave: &Vec<TargetId>| wave.iter().map(ToString::to_string).collect();
        let bake = |place: usize| if place == 0 { env.bake.first } else { env.bake.later };
        let bakes = (0..env.waves.len()).map(|place| if bakes { bake(place).as_millis() as u64 } else { 0 });
        let assumed = env.components.iter().filter(|component| component.version_probe.is_none());
        self.world.watch(sim::invariants::Rules {
            waves: env.waves.iter().map(names).collect(),
            bakes: bakes.collect(),
            assumed: assumed.map(|component| component.id.to_string()).collect(),
        });
    }

    /// The objects of the application in a target that no controller made, by kind and name: what matters of each.
    pub fn objects(&self, env: &Environment) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        for target in env.targets.iter().filter(|target| !self.memories.contains_key(&target.id)) {
            let meddled = self.world.meddled(target.id.as_str());
            for object in self.world.snapshot(target.id.as_str()) {
                let metadata = &object["metadata"];
                if metadata["labels"][LABEL_APPLICATION] != env.application.as_str()
                    || metadata["ownerReferences"].is_array()
                {
                    continue;
                }
                let text =
                    |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
                let by_hand = meddled.iter().any(|(kind, place, known)| {
                    *kind == text("/kind") && place == namespace && known == name
                });
                if !by_hand && namespace != env.state_namespace && name != env.state_namespace {
                    let key = format!("{} {}/{name}", target.id, text("/kind"));
                    found.insert(key, object.value().clone());
                }
            }
        }
        found
    }
}

/// Reads the faults of a command line.
pub(super) fn faults(texts: &[String]) -> Result<Vec<ScheduledFault>, Failure> {
    let read = |text: &String| {
        text.parse::<ScheduledFault>().map_err(|error| {
            Failure::new(Code(711), Exit::Usage, format!("--fault {text} cannot be read"))
                .why(error.to_string())
                .next("deployctl rehearse --list-faults")
        })
    };
    texts.iter().map(read).collect()
}

/// What can go wrong: how it is written, and what it does.
pub(super) fn known_faults() -> Vec<(String, &'static str)> {
    Fault::list()
}

/// In a rehearsal every secret has a value, and it is no secret.
struct AnySecret;

#[async_trait]
impl Secrets for AnySecret {
    async fn read(&self, reference: &SecretRef) -> Result<SecretValue, SecretError> {
        Ok(SecretValue::new(format!("simulated value of {reference}")))
    }
}
