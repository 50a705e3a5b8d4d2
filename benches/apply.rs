//! A thousand objects on one API server: created, found unchanged, planned with ten changes; beside raw concurrent
//! server-side-apply requests in the same run, and beside kubectl and kapp where they are on the PATH.
//!
//! `KUBECONFIG=… cargo bench --bench apply` uses the current context and namespaces of its own, which it deletes.
//! Without `KUBECONFIG` the simulated API answers, in this process: that times our own work and no server's. Each phase
//! is a process of its own, so that its peak memory is its own too. Nothing is asserted: machines differ.

use deployctl::adapters::clock::SystemClock;
use deployctl::adapters::kubernetes::{KubeCluster, connect};
use deployctl::config::{self, Overrides};
use deployctl::domain::environment::{ClusterAddress, Environment};
use deployctl::domain::event::{Event, Kind};
use deployctl::domain::ids::TargetId;
use deployctl::domain::object::Object;
use deployctl::domain::release::Actor;
use deployctl::ports::Clock;
use deployctl::ports::state::Holder;
use deployctl::run::journal::{Journal, Replayed};
use deployctl::run::lease::{Leases, Patience};
use deployctl::run::prepare::{self, Request};
use deployctl::run::{Ending, Engine, Report, Site, World, unfinished};
use deployctl::sim;
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const IN_FLIGHT: usize = 64;
const PHASE: &str = "DEPLOYCTL_BENCH_PHASE";
const NAMESPACE: &str = "DEPLOYCTL_BENCH_NAMESPACE";
const TARGET: &str = "bench";

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// 600 `ConfigMap`s, 100 `ServiceAccount`s, 100 `Service`s, 200 `Deployment`s; the first `changed` `Service`s differ.
fn objects(namespace: &str, changed: usize) -> Vec<Value> {
    let labels = json!({"app.kubernetes.io/part-of": "bench"});
    let head = |kind: &str, api_version: &str, name: String| {
        json!({"apiVersion": api_version, "kind": kind,
               "metadata": {"name": name, "namespace": namespace, "labels": labels}})
    };
    let mut all = Vec::with_capacity(1000);
    for n in 0..600 {
        let mut map = head("ConfigMap", "v1", format!("map-{n}"));
        map["data"] =
            json!({"settings.yaml": format!("log: info\nworkers: {n}\ncache: on\n"), "MODE": "bench"});
        all.push(map);
    }
    for n in 0..100 {
        all.push(head("ServiceAccount", "v1", format!("account-{n}")));
        let mut service = head("Service", "v1", format!("service-{n}"));
        let port = if n < changed { 8081 } else { 8080 };
        service["spec"] = json!({"selector": {"app": format!("app-{n}")},
            "ports": [{"name": "http", "port": 80, "targetPort": port}]});
        all.push(service);
    }
    for n in 0..200 {
        let name = format!("app-{n}");
        let mut deployment = head("Deployment", "apps/v1", name.clone());
        deployment["spec"] = json!({
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "serviceAccountName": format!("account-{}", n % 100),
                    "containers": [{
                        "name": "main", "image": "example.com/app:1.0.0",
                        "envFrom": [{"configMapRef": {"name": format!("map-{n}")}}],
                        "ports": [{"containerPort": 8080}],
                        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                    }],
                },
            },
        });
        all.push(deployment);
    }
    all
}

/// An environment of one target, written into a folder of its own.
fn environment(namespace: &str) -> Environment {
    let root = std::env::temp_dir().join(format!("deployctl-bench-{namespace}"));
    std::fs::create_dir_all(root.join("environments")).expect("the temporary folder can be written");
    // The objects are handed over as they are: the component's folder only has to be there.
    std::fs::create_dir_all(root.join("manifests/app")).expect("the temporary folder can be written");
    std::fs::write(root.join("manifests/app/none.yaml"), "# nothing\n")
        .expect("the temporary folder can be written");
    let text = format!(
        "application: bench\nnamespace: {namespace}\nstate_namespace: {namespace}-state\nversion: 1.0.0\n\
         targets: {{{TARGET}: {{cluster: {{context: any}}, traffic: none}}}}\ncomponents: {{app: {{image: example.com/app}}}}\n"
    );
    std::fs::write(root.join("environments/bench.yaml"), text).expect("the temporary folder can be written");
    let loaded =
        config::load(&root, "bench", &Overrides::default()).unwrap_or_else(|wrong| panic!("{wrong}"));
    std::fs::remove_dir_all(&root).expect("the temporary folder is ours");
    loaded.environment
}

/// When the first step, which applies everything, was done: what follows is waiting for the cluster's controllers.
struct Stamps {
    began: Instant,
    applied: Mutex<Option<f64>>,
}

impl Report for Stamps {
    fn event(&self, event: &Event) {
        if let Kind::StepFinished { .. } = event.kind {
            let mut applied = self.applied.lock().expect("no panic while held");
            applied.get_or_insert(self.began.elapsed().as_secs_f64());
        }
    }
}

/// The doors to one cluster; metric store and outside are never asked.
fn world(env: &Environment, cluster: KubeCluster, clock: &Arc<dyn Clock>, simulated: &sim::World) -> World {
    let state = cluster.state_store(&env.state_namespace, &env.application, &env.name);
    let lock = cluster.lock(&env.state_namespace, &env.application, &env.name, Arc::clone(clock));
    let guard = cluster.guard_lock(&env.state_namespace, &env.application, &env.name, Arc::clone(clock));
    let site = Site {
        guard: Arc::new(guard),
        cluster: Some(Arc::new(cluster)),
        state: Arc::new(state),
        lock: Arc::new(lock),
        cloud: None,
        compose: None,
    };
    World {
        sites: BTreeMap::from([(TargetId::from(TARGET), site)]),
        metrics: Arc::new(simulated.metrics()),
        probe: Arc::new(simulated.probe(None)),
        secrets: Arc::new(deployctl::adapters::secrets::LocalSecrets),
        clock: Arc::clone(clock),
    }
}

fn request(env: &Environment, changed: usize) -> Request<'_> {
    let rendered = objects(&env.namespace, changed).into_iter();
    let rendered =
        rendered.map(|value| Object { component: None, origin: "bench".to_owned(), value }).collect();
    Request {
        env,
        version: "1.0.0".to_owned(),
        components: BTreeSet::new(),
        rendered: BTreeMap::from([(TargetId::from(TARGET), rendered)]),
        prune: Vec::new(),
        rollback: None,
        floor: deployctl::domain::ids::Revision(0),
        by: Actor { user: "bench".into(), host: "bench".into(), ci: None },
        reason: None,
    }
}

/// Plan, lock, journal, apply, wait, record: all that a deployment does. Returns the seconds until all was applied.
async fn deploy(world: &World, env: &Environment) -> f64 {
    let report = Stamps { began: now(), applied: Mutex::new(None) };
    let plan =
        prepare::plan(world, &request(env, 0)).await.unwrap_or_else(|why| panic!("{why}: {:?}", why.why));
    let at = world.clock.now();
    let holder = Holder {
        id: format!("{}/1", plan.run),
        by: plan.by.clone(),
        reason: "bench".into(),
        since: at,
        renewed: at,
        ttl: plan.limits.lease,
    };
    let targets: Vec<TargetId> = plan.targets.keys().cloned().collect();
    let leases =
        Leases::acquire(world, &targets, holder, Patience::None, &|_, _| {}, std::future::pending()).await;
    let leases = leases.unwrap_or_else(|why| panic!("{why}"));
    unfinished::store(world, &plan).await.unwrap_or_else(|why| panic!("{why}"));
    let stores = world.sites.iter().map(|(target, site)| (target.clone(), site.state.clone()));
    let journal = Journal::new(plan.run.clone(), 1, stores, world.clock.clone());
    let (_count, interrupts) = tokio::sync::watch::channel(0);
    let engine = Engine::new(&plan, world, &leases, journal, Replayed::default(), &report, interrupts);
    assert_eq!(engine.run(false).await, Ending::Deployed);
    drop(engine);
    report.applied.into_inner().expect("no panic while held").expect("objects were applied")
}

async fn plan(world: &World, env: &Environment, changed: usize) {
    let plan = prepare::plan(world, &request(env, changed))
        .await
        .unwrap_or_else(|why| panic!("{why}: {:?}", why.why));
    assert_eq!(plan.counts(), (0, changed, 0), "the plan sees what changed and nothing else");
}

/// What every tool does at least: 1,000 server-side applies, 64 at once.
async fn raw(client: &kube::Client, namespace: &str) {
    let requests = objects(namespace, 0).into_iter().map(|object| {
        let plural = match object["kind"].as_str() {
            Some("ConfigMap") => "configmaps",
            Some("ServiceAccount") => "serviceaccounts",
            Some("Service") => "services",
            _ => "deployments",
        };
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let root = if api_version.contains('/') { "/apis" } else { "/api" };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let uri = format!(
            "{root}/{api_version}/namespaces/{namespace}/{plural}/{name}?fieldManager=raw&force=true"
        );
        let request = http::Request::patch(uri).header("content-type", "application/apply-patch+yaml");
        let request = request.body(object.to_string().into_bytes()).expect("the request is well formed");
        async move { client.request_text(request).await.map(|text| text.len()) }
    });
    let mut answers = futures::stream::iter(requests).buffer_unordered(IN_FLIGHT);
    while let Some(answer) = answers.next().await {
        answer.unwrap_or_else(|why| panic!("{why}"));
    }
}

async fn raw_client() -> kube::Client {
    // Only the first to install one does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = kube::Config::infer().await.unwrap_or_else(|why| panic!("{why}"));
    kube::Client::try_from(config).unwrap_or_else(|why| panic!("{why}"))
}

async fn make_namespace(client: &kube::Client, name: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let request = http::Request::post("/api/v1/namespaces").header("content-type", "application/json");
    let request = request.body(namespace.to_string().into_bytes()).expect("the request is well formed");
    client.request_text(request).await.unwrap_or_else(|why| panic!("{why}"));
}

async fn drop_namespace(client: &kube::Client, name: &str) {
    let request = http::Request::delete(format!("/api/v1/namespaces/{name}")).body(Vec::new());
    // It may never have been made.
    let _ = client.request_text(request.expect("the request is well formed")).await;
}

/// One phase in this process, against a real server: seconds, then peak KiB, on stdout.
fn phase(name: &str, namespace: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (took, applied) = runtime.block_on(async {
        if name == "raw" {
            let client = raw_client().await;
            let began = now();
            raw(&client, namespace).await;
            return (began.elapsed(), 0.0);
        }
        let env = environment(namespace);
        let simulated = sim::World::new(&sim::WorldSpec::new(1, Vec::new()));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let began = now();
        let cluster = connect(&ClusterAddress::default()).await.unwrap_or_else(|why| panic!("{why}"));
        let world = world(&env, cluster, &clock, &simulated);
        let mut applied = 0.0;
        match name {
            "create" => applied = deploy(&world, &env).await,
            "unchanged" => plan(&world, &env, 0).await,
            _ => plan(&world, &env, 10).await,
        }
        (began.elapsed(), applied)
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    println!("{} {} {applied}", took.as_secs_f64(), line.split_whitespace().nth(1).unwrap_or("0"));
}

struct Measured {
    seconds: f64,
    /// Seconds until all was applied, for a deployment.
    applied: f64,
    peak_mib: f64,
}

/// One phase in a process of its own.
fn spawn(name: &str, namespace: &str) -> Measured {
    let output = Command::new(std::env::current_exe().expect("we know ourselves"))
        .env(PHASE, name)
        .env(NAMESPACE, namespace)
        .stderr(Stdio::inherit())
        .output()
        .expect("we can be started again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace().map(|word| word.parse::<f64>().unwrap_or(f64::NAN));
    let mut next = || words.next().unwrap_or(f64::NAN);
    Measured { seconds: next(), peak_mib: next() / 1024.0, applied: next() }
}

fn row(name: &str, seconds: f64, raw: f64, peak: Option<f64>, reach: &str) {
    let peak = peak.map_or_else(String::new, |mib| format!("{mib:.0} MiB"));
    println!("{name:<36} {seconds:>8.2} s {:>7.2} × {peak:>8}  {reach}", seconds / raw);
}

/// Rounds of raw requests and deployments in turn: other work on the machine hits both.
const ROUNDS: usize = 3;

fn real() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = runtime.block_on(raw_client());
    let mut measured: BTreeMap<&str, Vec<Measured>> = BTreeMap::new();
    for round in 0..ROUNDS {
        let ours = format!("dc-bench-{}-{round}", std::process::id());
        let other = format!("{ours}-raw");
        runtime.block_on(make_namespace(&client, &other));
        for (phase, namespace) in [("raw", &other), ("create", &ours), ("unchanged", &ours), ("ten", &ours)] {
            measured.entry(phase).or_default().push(spawn(phase, namespace));
        }
        for namespace in [&ours, &format!("{ours}-state"), &other] {
            runtime.block_on(drop_namespace(&client, namespace));
        }
    }
    println!("{:<36} {:>10} {:>9} {:>8}  reach", "1,000 objects, medians of 3", "time", "of raw", "peak");
    let median_of = |phase: &str, figure: fn(&Measured) -> f64| {
        let mut seconds: Vec<f64> = measured[phase].iter().map(figure).collect();
        seconds.sort_by(f64::total_cmp);
        seconds[ROUNDS / 2]
    };
    let median = |phase: &str| median_of(phase, |one| one.seconds);
    let raw = median("raw");
    row("raw requests, 64 at once", raw, raw, None, "");
    row("deploy, until all is applied", median_of("create", |one| one.applied), raw, None, "1.15 ×");
    for (phase, title, reach) in [
        ("create", "deploy, until all is ready", "64 MiB"),
        ("unchanged", "plan, nothing changed", "0.6 s"),
        ("ten", "plan, 10 changed", "1 s"),
    ] {
        let peak = measured[phase].iter().map(|one| one.peak_mib).fold(0.0, f64::max);
        row(title, median(phase), raw, Some(peak), reach);
    }
    tools(&runtime, &client, raw);
}

/// kubectl and kapp with the same objects.
fn tools(runtime: &tokio::runtime::Runtime, client: &kube::Client, raw: f64) {
    let cases: [(&str, &str, &[&str]); 5] = [
        ("kubectl", "kubectl apply --server-side", &["apply", "--server-side", "-f", "FILE"]),
        ("kubectl", "kubectl apply, again", &["apply", "--server-side", "-f", "FILE"]),
        ("kubectl", "kubectl diff --server-side", &["diff", "--server-side", "-f", "FILE"]),
        (
            "kapp",
            "kapp deploy",
            &["deploy", "-y", "-a", "bench", "-n", "NAMESPACE", "-f", "FILE", "--wait=false"],
        ),
        (
            "kapp",
            "kapp deploy, again",
            &["deploy", "-y", "-a", "bench", "-n", "NAMESPACE", "-f", "FILE", "--wait=false"],
        ),
    ];
    let mut namespaces = BTreeSet::new();
    for (program, title, args) in cases {
        let namespace = format!("dc-bench-{}-{program}", std::process::id());
        if !on_path(program) {
            continue;
        }
        if namespaces.insert(namespace.clone()) {
            runtime.block_on(make_namespace(client, &namespace));
        }
        let file = manifests(&namespace);
        let path = file.display().to_string();
        let filled = |arg: &&str| arg.replace("FILE", &path).replace("NAMESPACE", &namespace);
        let began = now();
        let status = Command::new(program).args(args.iter().map(filled)).stdout(Stdio::null()).status();
        row(title, began.elapsed().as_secs_f64(), raw, None, "");
        if !status.is_ok_and(|status| status.success()) {
            println!("  {program} did not succeed");
        }
        let _ = std::fs::remove_file(file);
    }
    for namespace in namespaces {
        runtime.block_on(drop_namespace(client, &namespace));
    }
}

fn on_path(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

/// The objects as a file of YAML documents (JSON is YAML).
fn manifests(namespace: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("{namespace}.yaml"));
    let mut file = std::fs::File::create(&path).expect("the temporary folder can be written");
    for object in objects(namespace, 0) {
        writeln!(file, "---\n{object}").expect("the temporary folder can be written");
    }
    path
}

/// The simulated API in this process: wall time of our own work and the simulation's.
fn simulated() {
    println!("KUBECONFIG is not set: the simulated API answers, in this process; no server is timed");
    println!("{:<36} {:>10} {:>9}", "1,000 objects", "time", "of raw");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let env = environment("bench");
    let stage = sim::World::new(&sim::WorldSpec::new(1, vec![sim::ClusterSpec::new(TARGET)]));
    let story = async {
        let client = kube::Client::new(stage.api(TARGET), "default");
        make_namespace(&client, "raw").await;
        let began = now();
        raw(&client, "raw").await;
        let raw = began.elapsed().as_secs_f64();
        row("raw requests, 64 at once", raw, raw, None, "");
        let clock: Arc<dyn Clock> = Arc::new(stage.clock());
        for (title, changed) in [
            ("deploy: plan, lock, apply, wait, record", None),
            ("plan, nothing changed", Some(0)),
            ("plan, 10 changed", Some(10)),
        ] {
            let cluster = KubeCluster::new(kube::Client::new(stage.api(TARGET), "default"), "simulated");
            let world = world(&env, cluster, &clock, &stage);
            let began = now();
            match changed {
                None => drop(deploy(&world, &env).await),
                Some(changed) => plan(&world, &env, changed).await,
            }
            row(title, began.elapsed().as_secs_f64(), raw, None, "");
        }
    };
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = story => {}
            () = stage.run() => unreachable!("the world never ends"),
        }
    });
}

fn main() {
    if let (Ok(name), Ok(namespace)) = (std::env::var(PHASE), std::env::var(NAMESPACE)) {
        return phase(&name, &namespace);
    }
    // `cargo test --benches` builds and starts benchmarks too: measuring is for `cargo bench`.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    if std::env::var_os("KUBECONFIG").is_some() { real() } else { simulated() }
}
