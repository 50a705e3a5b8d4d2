//! What tests of whole runs share: a small shop in two simulated regions, and the life of one command.

mod folders;
mod rollouts;

pub use folders::copy;
pub use rollouts::{alerts, api_sizes, begin_under_load, compared_alone, watched};

use async_trait::async_trait;
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::config::{self, Overrides};
use deployctl::domain::environment::{Environment, TrafficClass};
use deployctl::domain::error::Failure;
use deployctl::domain::event::Event;
use deployctl::domain::ids::{Revision, TargetId};
use deployctl::domain::object::Object;
use deployctl::domain::release::Actor;
use deployctl::domain::secret::{SecretRef, SecretValue};
use deployctl::plan::Plan;
use deployctl::ports::Clock;
use deployctl::ports::secrets::{SecretError, Secrets};
use deployctl::ports::state::{Holder, Record, RecordKind, StateError, StateStore};
use deployctl::render;
use deployctl::run::journal::{Journal, Phase, Replayed};
use deployctl::run::lease::{Leases, Patience};
use deployctl::run::prepare::{self, Request, Rollback};
use deployctl::run::tampered::Tampered;
use deployctl::run::{Ending, Engine, Report, Site, World, debts, unfinished};
use deployctl::sim;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// The shop's files: `tests/shop`.
pub fn environment(name: &str) -> Environment {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shop"));
    config::load(&root, name, &Overrides::default()).unwrap_or_else(|wrong| panic!("{wrong}")).environment
}

/// A simulated world with the doors to it.
pub struct Story {
    pub env: Environment,
    pub world: sim::World,
    pub doors: World,
    /// Journal records written so far, over all targets.
    pub written: Arc<AtomicUsize>,
    /// At which record the process dies, and whether before or after it is stored.
    pub dies: Arc<Mutex<Option<(usize, bool)>>>,
    dead: watch::Sender<bool>,
}

/// Everything that a run told.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<Event>>);

impl Report for Told {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

struct NoSecret;

#[async_trait]
impl Secrets for NoSecret {
    async fn read(&self, reference: &SecretRef) -> Result<SecretValue, SecretError> {
        Ok(SecretValue::new(format!("value of {reference}")))
    }
}

/// A store in front of which the process dies.
struct Mortal {
    inner: Arc<dyn StateStore>,
    written: Arc<AtomicUsize>,
    dies: Arc<Mutex<Option<(usize, bool)>>>,
    dead: watch::Sender<bool>,
}

#[async_trait]
impl StateStore for Mortal {
    async fn create(&self, kind: RecordKind, name: &str, content: &[u8]) -> Result<(), StateError> {
        let number = self.written.fetch_add(1, Ordering::SeqCst);
        let death = *self.dies.lock().unwrap();
        if let Some((at, stored)) = death
            && number == at
        {
            if stored {
                self.inner.create(kind, name, content).await?;
            }
            self.dead.send_replace(true);
            std::future::pending::<()>().await;
        }
        self.inner.create(kind, name, content).await
    }

    fn place(&self, kind: RecordKind, name: &str) -> String {
        self.inner.place(kind, name)
    }

    async fn list(&self, kind: RecordKind, prefix: &str) -> Result<Vec<Record>, StateError> {
        self.inner.list(kind, prefix).await
    }

    fn follow(&self, kind: RecordKind, prefix: &str) -> watch::Receiver<Option<Vec<Record>>> {
        self.inner.follow(kind, prefix)
    }

    async fn delete(&self, kind: RecordKind, name: &str) -> Result<(), StateError> {
        self.inner.delete(kind, name).await
    }
}

/// Doors of one machine to the simulated world.
fn doors(
    env: &Environment,
    world: &sim::World,
    seed: u64,
    state: impl Fn(Arc<dyn StateStore>) -> Arc<dyn StateStore>,
) -> World {
    let clock: Arc<dyn Clock> = Arc::new(world.clock());
    let mut sites = BTreeMap::new();
    for target in &env.targets {
        let client = kube::Client::new(world.api(target.id.as_str()), "default");
        let cluster = KubeCluster::new(client, target.id.to_string()).with_seed(seed);
        let records = cluster.state_store(&env.state_namespace, &env.application, &env.name);
        let lock = cluster.lock(&env.state_namespace, &env.application, &env.name, Arc::clone(&clock));
        let guard = cluster.guard_lock(&env.state_namespace, &env.application, &env.name, Arc::clone(&clock));
        let site = Site {
            guard: Arc::new(guard),
            cluster: Some(Arc::new(cluster)),
            state: state(Arc::new(records)),
            lock: Arc::new(lock),
            cloud: None,
            compose: None,
        };
        sites.insert(target.id.clone(), site);
    }
    World {
        sites,
        metrics: Arc::new(world.metrics()),
        probe: Arc::new(world.probe(None)),
        secrets: Arc::new(NoSecret),
        clock,
    }
}

/// How one command ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Life {
    /// It came to an end.
    Ended(Ending),
    /// The process died.
    Died,
    /// It refused.
    Refused(Failure),
}

impl Story {
    pub fn new(env: Environment, seed: u64) -> Self {
        let clusters = env.targets.iter().map(|target| {
            let spec = sim::ClusterSpec::new(target.id.as_str());
            let live = target.traffic == TrafficClass::Live;
            if live { spec.with_load(vec![sim::LoadSpec::new("api", 40.0)]) } else { spec }
        });
        let world = sim::World::new(&sim::WorldSpec::new(seed, clusters.collect()));
        Self::of(env, world, seed)
    }

    /// The same in a world that was made elsewhere.
    pub fn of(env: Environment, world: sim::World, seed: u64) -> Self {
        world.serve_routes();
        let (written, dies) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
        let (dead, _) = watch::channel(false);
        let mortal = |inner| Mortal {
            inner,
            written: Arc::clone(&written),
            dies: Arc::clone(&dies),
            dead: dead.clone(),
        };
        let doors = doors(&env, &world, seed, |inner| Arc::new(mortal(inner)));
        Self { env, world, doors, written, dies, dead }
    }

    /// The doors as they are on another machine.
    pub fn elsewhere(&self) -> World {
        doors(&self.env, &self.world, 99, |inner| inner)
    }

    /// The same world for another environment.
    pub fn under(&self, env: Environment) -> Self {
        Self {
            env,
            world: self.world.clone(),
            doors: self.doors.clone(),
            written: Arc::clone(&self.written),
            dies: Arc::clone(&self.dies),
            dead: self.dead.clone(),
        }
    }

    pub fn request(&self, version: &str, rollback: Option<Rollback>) -> Request<'_> {
        Request {
            env: &self.env,
            version: version.to_owned(),
            components: BTreeSet::new(),
            rendered: render::render_targets(&self.env, version).unwrap(),
            prune: vec![],
            rollback,
            floor: Revision(0),
            by: Actor { user: "ana".into(), host: "desk".into(), ci: None },
            reason: None,
        }
    }

    pub async fn plan(&self, version: &str) -> Plan {
        prepare::plan(&self.doors, &self.request(version, None)).await.unwrap()
    }

    /// `deployctl ENV --version V`.
    pub async fn deploy(&self, version: &str, report: &dyn Report) -> Life {
        self.deploy_interrupted(version, report, None).await
    }

    /// The same, interrupted after a time.
    pub async fn deploy_interrupted(
        &self,
        version: &str,
        report: &dyn Report,
        after: Option<Duration>,
    ) -> Life {
        let plan = self.plan(version).await;
        self.new_run(&plan, report, after).await
    }

    /// `deployctl rollback ENV` without an unfinished run.
    pub async fn bring_back(&self, report: &dyn Report) -> Life {
        let request = self.request("", Some(Rollback::Previous));
        match prepare::plan(&self.doors, &request).await {
            Ok(plan) => self.new_run(&plan, report, None).await,
            Err(failure) => Life::Refused(failure),
        }
    }

    /// Performs a plan that was made already.
    pub async fn new_run(&self, plan: &Plan, report: &dyn Report, after: Option<Duration>) -> Life {
        let work = async {
            let leases = self.lock(plan, 1).await?;
            unfinished::store(&self.doors, plan).await?;
            Ok((leases, Replayed::default()))
        };
        self.live(plan, 1, work, None, report, after).await
    }

    /// The same world for whoever leaves these targets out: what was rendered for them comes with it.
    pub fn without(&self, out: &[&str], version: &str) -> (Self, BTreeMap<TargetId, Vec<Object>>) {
        let out: BTreeSet<TargetId> = out.iter().map(|target| TargetId::from(*target)).collect();
        let mut story = self.under(self.env.clone());
        let mut rendered = render::render_targets(&self.env, version).unwrap();
        debts::leave_out(&mut story.env, &out);
        let owed = debts::take_out(&mut rendered, &out);
        story.doors = story.doors.but(&out);
        (story, owed)
    }

    /// `deployctl rollback ENV` of an unfinished run while some targets give no answer.
    pub async fn take_back_what_answers(&self, silent: &[&str], report: &dyn Report) -> Life {
        let here = silent.iter().map(|target| TargetId::from(*target)).collect::<Vec<_>>();
        let run = unfinished::latest(&self.doors.but(&here)).await.unwrap().unwrap();
        let silent: BTreeMap<TargetId, String> =
            here.into_iter().map(|target| (target, "no contact".to_owned())).collect();
        self.take_back(&run, &silent, report).await
    }

    /// `deployctl resume ENV` of a run that brings an older release back, while some targets give no answer.
    pub async fn go_on_where_it_answers(&self, silent: &[&str], report: &dyn Report) -> Life {
        let here = silent.iter().map(|target| TargetId::from(*target)).collect::<Vec<_>>();
        let run = unfinished::latest(&self.doors.but(&here)).await.unwrap().unwrap();
        let silent: BTreeMap<TargetId, String> =
            here.into_iter().map(|target| (target, "no contact".to_owned())).collect();
        let epoch = run.replayed.epoch + 1;
        let mut answering = run.plan.clone();
        answering.targets.retain(|target, _| !silent.contains_key(target));
        let work = async { Ok((self.lock(&answering, epoch).await?, run.replayed.clone())) };
        Box::pin(self.live_but(&run.plan, epoch, work, None, &silent, report, None)).await
    }

    /// A run goes back, but where nobody answers.
    pub async fn take_back(
        &self,
        run: &unfinished::Run,
        silent: &BTreeMap<TargetId, String>,
        report: &dyn Report,
    ) -> Life {
        let epoch = run.replayed.epoch + 1;
        let mut here = run.plan.clone();
        here.targets.retain(|target, _| !silent.contains_key(target));
        let work = async { Ok((self.lock(&here, epoch).await?, run.replayed.clone())) };
        let cause = match &run.replayed.phase {
            Phase::Aborting { cause, .. } => cause.clone(),
            _ => "taken back".to_owned(),
        };
        Box::pin(self.live_but(&run.plan, epoch, work, Some(cause), silent, report, None)).await
    }

    /// `deployctl resume ENV` when objects were changed by hand since the run stopped.
    pub async fn go_on_putting_back(&self, tampered: Vec<Tampered>, report: &dyn Report) -> Life {
        let run = unfinished::latest(&self.doors).await.unwrap().unwrap();
        let epoch = run.replayed.epoch + 1;
        let leases = self.lock(&run.plan, epoch).await.unwrap();
        let stores = self.doors.sites.iter().map(|(target, site)| (target.clone(), site.state.clone()));
        let journal = Journal::new(run.plan.run.clone(), epoch, stores, self.doors.clock.clone());
        let (_count, interrupts) = watch::channel(0);
        let engine =
            Engine::new(&run.plan, &self.doors, &leases, journal, run.replayed.clone(), report, interrupts);
        Life::Ended(engine.putting_back(tampered).run(true).await)
    }

    /// `deployctl resume ENV`, or with a cause `deployctl rollback ENV`.
    pub async fn go_on(&self, back: Option<&str>, report: &dyn Report) -> Life {
        let run = match unfinished::latest(&self.doors).await {
            Ok(Some(run)) if run.is_unfinished() => run,
            Ok(_) => {
                return Life::Refused(Failure::new(
                    deployctl::domain::Code(614),
                    deployctl::domain::error::Exit::Usage,
                    "none",
                ));
            }
            Err(failure) => return Life::Refused(failure),
        };
        let epoch = run.replayed.epoch + 1;
        let leases = match self.lock(&run.plan, epoch).await {
            Ok(leases) => leases,
            Err(failure) => return Life::Refused(failure),
        };
        let run = match unfinished::again(&self.doors, &run).await {
            Ok(run) => run,
            Err(failure) => {
                leases.release(&self.doors).await;
                return Life::Refused(failure);
            }
        };
        let epoch = run.replayed.epoch + 1;
        let cause = match (&run.replayed.phase, back) {
            (Phase::Aborting { cause, .. }, _) => Some(cause.clone()),
            (_, back) => back.map(str::to_owned),
        };
        let work = async { Ok((leases, run.replayed.clone())) };
        self.live(&run.plan, epoch, work, cause, report, None).await
    }

    async fn lock(&self, plan: &Plan, epoch: u64) -> Result<Leases, Failure> {
        let now = self.doors.clock.now();
        let holder = Holder {
            id: format!("{}/{epoch}", plan.run),
            by: plan.by.clone(),
            reason: "test".into(),
            since: now,
            renewed: now,
            ttl: plan.limits.lease,
        };
        let targets: Vec<TargetId> = plan.targets.keys().cloned().collect();
        Leases::acquire(&self.doors, &targets, holder, Patience::UntilLapsed, &|_, _| {}, pending()).await
    }

    /// One process: it works until it ends or dies.
    async fn live(
        &self,
        plan: &Plan,
        epoch: u64,
        prepare: impl Future<Output = Result<(Leases, Replayed), Failure>>,
        back: Option<String>,
        report: &dyn Report,
        after: Option<Duration>,
    ) -> Life {
        Box::pin(self.live_but(plan, epoch, prepare, back, &BTreeMap::new(), report, after)).await
    }

    #[expect(clippy::too_many_arguments, reason = "the life of a process has that many sides")]
    async fn live_but(
        &self,
        plan: &Plan,
        epoch: u64,
        prepare: impl Future<Output = Result<(Leases, Replayed), Failure>>,
        back: Option<String>,
        silent: &BTreeMap<TargetId, String>,
        report: &dyn Report,
        after: Option<Duration>,
    ) -> Life {
        self.dead.send_replace(false);
        let mut dead = self.dead.subscribe();
        let (count, interrupts) = watch::channel(0);
        let work = async {
            let (leases, replayed) = match prepare.await {
                Ok(ready) => ready,
                Err(failure) => return Life::Refused(failure),
            };
            let stores = self.doors.sites.iter().map(|(target, site)| (target.clone(), site.state.clone()));
            let journal = Journal::new(plan.run.clone(), epoch, stores, self.doors.clock.clone());
            let engine = Engine::new(plan, &self.doors, &leases, journal, replayed, report, interrupts);
            let engine = engine.leaving_out(silent);
            Life::Ended(match back {
                Some(cause) => engine.abort(cause).await,
                None => engine.run(epoch > 1).await,
            })
        };
        let operator = async {
            if let Some(after) = after {
                tokio::time::sleep(after).await;
                count.send_replace(1);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            life = work => life,
            _ = dead.wait_for(|dead| *dead) => Life::Died,
            () = operator => unreachable!("an operator never ends"),
        }
    }

    /// The application's objects as they are wanted and served: name → what matters of it.
    pub fn objects(&self) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        for target in &self.env.targets {
            for object in self.world.snapshot(target.id.as_str()) {
                let kind = object["kind"].as_str().unwrap_or_default();
                let wanted = ["Deployment", "Service", "ConfigMap", "HorizontalPodAutoscaler", "Ingress"]
                    .contains(&kind);
                let ours = object["metadata"]["namespace"] == self.env.namespace.as_str();
                if wanted && ours && object["metadata"]["labels"]["deployctl.dev/application"].is_string() {
                    let name = format!(
                        "{} {kind}/{}",
                        target.id,
                        object["metadata"]["name"].as_str().unwrap_or_default()
                    );
                    let facts = [
                        &object["spec"]["replicas"],
                        &object["spec"]["selector"],
                        &object["spec"]["scaleTargetRef"]["name"],
                        &object["spec"]["rules"],
                        &object["data"],
                        &object["spec"]["template"]["spec"]["containers"][0]["image"],
                    ];
                    seen.insert(name, facts.map(ToString::to_string).join(" "));
                }
            }
        }
        seen
    }

    /// Deployments and their sizes on one target.
    pub fn sizes(&self, target: &str) -> BTreeMap<String, u64> {
        let objects = self.world.snapshot(target);
        let deployments =
            objects.iter().filter(|o| o["kind"] == "Deployment" && o["metadata"]["namespace"] == "shop");
        deployments
            .map(|o| {
                (
                    o["metadata"]["name"].as_str().unwrap().to_owned(),
                    o["spec"]["replicas"].as_u64().unwrap_or(0),
                )
            })
            .collect()
    }

    /// Waits, with the watches, until the cluster has come to rest.
    pub async fn rest(&self) {
        tokio::time::sleep(Duration::from_mins(2)).await;
        for site in self.doors.sites.values() {
            let _ = site.cluster().unwrap().identity().await;
        }
    }
}

/// Runs a story in virtual time.
pub fn virtually<T>(env: Environment, seed: u64, story: impl AsyncFnOnce(&Story) -> T) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let stage = Story::new(env, seed);
        let world = stage.world.clone();
        tokio::select! {
            biased;
            value = story(&stage) => value,
            () = world.run() => unreachable!("the world never ends"),
        }
    })
}
