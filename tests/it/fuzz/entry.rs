//! One function per kind of input from outside: it takes bytes and does with them what the product does. Used by the
//! tests and by the targets of `fuzz/`. What may not happen: a panic, no end, memory without bound, or a refusal that
//! does not say where.

use deployctl::adapters::kubernetes::{KubeCluster, connect};
use deployctl::adapters::prometheus;
use deployctl::cli::replay::{self, Settings, Stop, Vector, Visit};
use deployctl::cli::report::{self, Format, Output};
use deployctl::config::{self, Overrides};
use deployctl::domain::counters::{CounterNames, Selector};
use deployctl::domain::definitions::{ApiKind, Definitions};
use deployctl::domain::diagnostic::Diagnostics;
use deployctl::domain::environment::ClusterAddress;
use deployctl::domain::error::Failure;
use deployctl::domain::ids::{RunId, TargetId};
use deployctl::domain::intent::{Intent, Orders};
use deployctl::domain::object::ObjectRef;
use deployctl::domain::{field_path, openapi, quantity, units};
use deployctl::plan::{diff, file};
use deployctl::ports::cluster::{Cluster as _, Terms};
use deployctl::ports::state::{Record, RecordKind, StateStore as _};
use deployctl::render::Renderer;
use deployctl::rollout::exposition::Exposition;
use deployctl::run::journal::{self, replay as replayed};
use deployctl::run::{intents, releases};
use deployctl::sim;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A refusal of an input, or nothing.
pub type Said = Result<(), String>;

/// What holds of every list of mistakes: there is text, and a place inside the file that it names.
fn placed(mistakes: &Diagnostics) -> Said {
    for mistake in mistakes {
        let (place, length) = (&mistake.place, mistake.place.file.text.len());
        if mistake.message.is_empty()
            || place.file.name.is_empty()
            || place.start > place.end
            || place.end > length
        {
            return Err(format!("a mistake without a place: {mistake:?}"));
        }
    }
    let _ = config::report::graphical(mistakes, true, 80);
    let _ = mistakes.to_json();
    Ok(())
}

/// What holds of every refusal: what, why, and what to type.
fn told(failure: &Failure) -> Said {
    if failure.what.is_empty() || failure.why.is_empty() || failure.next.is_empty() {
        return Err(format!("a refusal that does not say why or what next: {failure:?}"));
    }
    let _ = report::failure::render(failure, &Output::plain());
    Ok(())
}

/// A folder of this process.
fn folder(name: &str) -> PathBuf {
    let base = Path::new("/dev/shm");
    let base = if base.is_dir() { base.to_owned() } else { std::env::temp_dir() };
    base.join(format!("deployctl-fuzz-{name}-{}", std::process::id()))
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("it is inside of a folder")).expect("a folder can be made");
    std::fs::write(path, bytes).expect("a file can be written");
}

/// An environment file; what follows a line `=== base` is the file that it may extend.
pub fn environment(bytes: &[u8]) -> Said {
    let root = folder("environment");
    let text = String::from_utf8_lossy(bytes);
    let (own, base) = text.split_once("\n=== base\n").unwrap_or((&text, "application: shop\n"));
    // The bytes themselves, where they are no UTF-8.
    let own = if own.len() == text.len() { bytes } else { own.as_bytes() };
    write(&root.join("environments/fuzzed.yaml"), own);
    write(&root.join("environments/base.yaml"), base.as_bytes());
    let overrides = Overrides { set: vec!["a.b=[1".into(), "a.b={c: 1}".into()], ..Overrides::default() };
    match config::load(&root, "fuzzed", &overrides) {
        Ok(loaded) => placed(&loaded.warnings),
        Err(mistakes) if mistakes.is_empty() => Err("refused without a word".to_owned()),
        Err(mistakes) => placed(&mistakes),
    }
}

/// A manifest template of the shop's `api`.
pub fn template(bytes: &[u8]) -> Said {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shop = if shop.ends_with("fuzz") { shop.join("..") } else { shop.to_owned() };
    let env = config::load(&shop.join("tests/shop"), "canary", &Overrides::default());
    let mut env = env.map_err(|wrong| wrong.to_string())?.environment;
    env.components.truncate(1);
    env.root = folder("template");
    write(&env.root.join("manifests/api/all.yaml"), bytes);
    write(&env.root.join("manifests/api/_a"), b"{% include 'a' %}");
    let target = env.targets[0].clone();
    match Renderer::new(&env.root).render(&env, &target, "1.2.3") {
        Ok(rendered) => placed(&rendered.warnings),
        Err(mistakes) if mistakes.is_empty() => Err("refused without a word".to_owned()),
        Err(mistakes) => placed(&mistakes),
    }
}

/// A saved plan: read, and shown in every form.
pub fn plan(bytes: &[u8]) -> Said {
    let plan = match file::read("fuzzed.plan", bytes) {
        Ok(plan) => plan,
        Err(failure) => return told(&failure),
    };
    for format in [Format::Human, Format::Json, Format::Github] {
        let _ = report::plan::render(&plan, &Output { format, ..Output::plain() });
    }
    let facts = report::Facts::of(&plan, false);
    let _ = (facts, plan.counts(), file::write(&plan));
    let none = replayed(&plan.run, &BTreeMap::new()).map_err(|failure| failure.what)?;
    let _ = intents::present(&plan, &none, |_| true);
    Ok(())
}

/// A journal: one record a line, `TARGET NAME CONTENT`; replayed whole.
pub fn journal(bytes: &[u8]) -> Said {
    let mut journals: BTreeMap<TargetId, Vec<Record>> = BTreeMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let (Some(target), Some(name), Some(content)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let record = Record { name: text(name), content: content.to_vec(), damage: None };
        let _ = journal::entry(&record);
        journals.entry(TargetId::from(text(target).as_str())).or_default().push(record);
    }
    match replayed(&RunId::new("r1"), &journals) {
        Ok(_) => Ok(()),
        Err(failure) => {
            told(&failure)?;
            let names = |why: &String| journals.values().flatten().any(|record| why.contains(&record.name));
            failure
                .why
                .iter()
                .any(names)
                .then_some(())
                .ok_or_else(|| format!("it names no record: {failure:?}"))
        }
    }
}

/// A release's record: read as part of a history, and shown.
pub fn release(bytes: &[u8]) -> Said {
    block_on(async {
        let store = sim::memory::MemoryState::new(Arc::new(Still));
        store.create(RecordKind::Release, "000001", bytes).await.map_err(|error| error.to_string())?;
        match releases::history(&"east".into(), &store).await {
            Ok(_) => Ok(()),
            Err(failure) => {
                told(&failure)?;
                let named = failure.why.iter().chain([&failure.what]).any(|text| text.contains("000001"));
                named.then_some(()).ok_or_else(|| format!("it names no record: {failure:?}"))
            }
        }
    })
}

/// What operators asked: a JSON list of wishes.
#[expect(clippy::unnecessary_wraps, reason = "all entries are of one type")]
pub fn wishes(bytes: &[u8]) -> Said {
    if let Ok(intents) = serde_json::from_slice::<Vec<Intent>>(bytes) {
        let orders = Orders::of(&intents, 1);
        let _ = (orders.skips("w1"), intents.iter().map(|i| (i.line(), i.cause())).collect::<Vec<_>>());
    }
    Ok(())
}

struct Still;

impl deployctl::ports::Clock for Still {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
}

/// `metrics --replay`.
pub fn metrics(bytes: &[u8]) -> Said {
    struct Judging(Settings, usize);
    impl Visit for Judging {
        fn setting(&mut self, name: &str, value: &RawValue) -> Result<(), Stop> {
            self.0.take(name, value).map_err(Stop::Wrong)
        }
        fn vector(&mut self, index: usize, value: &RawValue) -> Result<(), Stop> {
            let vector = Vector::of(index, value).map_err(Stop::Wrong)?;
            replay::judge(&vector, &self.0.params.clone(), |judged| {
                let _ =
                    serde_json::to_string(&judged.logs).map_err(|error| Stop::Wrong(error.to_string()))?;
                self.1 += 1;
                if self.1 > 20_000 { Err(Stop::Closed) } else { Ok(()) }
            })
        }
    }
    match replay::read(bytes, &mut Judging(Settings::default(), 0)) {
        Err(Stop::Wrong(why)) if why.is_empty() => Err("refused without a word".to_owned()),
        _ => Ok(()),
    }
}

/// A process's own `/metrics`, in two pieces.
pub fn exposition(bytes: &[u8]) -> Said {
    let names = counter_names()?;
    for cut in [0, bytes.len() / 2] {
        let mut reader = Exposition::new(&names);
        reader.feed(&bytes[..cut]);
        reader.feed(&bytes[cut..]);
        let Some(sample) = reader.finish("pod", 1.0) else { continue };
        if sample.pod != "pod" {
            return Err(format!("{sample:?}"));
        }
    }
    Ok(())
}

fn counter_names() -> Result<CounterNames, String> {
    let selector = |text: &str| Selector::parse(text).map_err(|error| format!("{error:?}"));
    Ok(CounterNames {
        requests: selector("http_requests_total")?,
        errors: selector("http_requests_total{status=~\"5..\"}")?,
        latency: selector("http_request_duration_seconds")?,
    })
}

/// A metric store's answer.
pub fn store_answer(bytes: &[u8]) -> Said {
    let names = counter_names()?;
    for status in [200, 422, 503] {
        for said in [
            prometheus::number(status, bytes).err().map(|error| error.to_string()),
            prometheus::samples(&names, status, bytes).err().map(|error| error.to_string()),
        ] {
            if said.is_some_and(|text| text.is_empty() || text.len() > 1 << 20) {
                return Err("an error without a text, or with too much".to_owned());
            }
        }
    }
    Ok(())
}

/// What an API server answers to everything that is asked of it: objects, lists, watches, logs, documents, refusals.
#[expect(clippy::unnecessary_wraps, reason = "all entries are of one type")]
pub fn api_answer(bytes: &[u8]) -> Said {
    for (status, header) in [(200_u16, ""), (409, ""), (503, "18446744073709551615")] {
        let body = bytes.to_vec();
        let service = tower::service_fn(move |request: Request<Body>| {
            let body = body.clone();
            async move {
                // Where to find a kind is told right, so that there is a question to answer wrongly.
                let path = request.uri().path().to_owned();
                let found = match path.as_str() {
                    "/api/v1" => Some(resources("v1", &[("pods", "Pod"), ("configmaps", "ConfigMap")])),
                    "/apis/apps/v1" => Some(resources("apps/v1", &[("deployments", "Deployment")])),
                    _ => None,
                };
                let (status, body) = match found {
                    Some(list) => (200, list.to_string().into_bytes()),
                    None => (status, body),
                };
                let body = Full::from(body).map_err(|never| match never {}).boxed_unsync();
                let answer = Response::builder().status(status).header("retry-after", header);
                Ok::<_, std::io::Error>(answer.body(body).expect("a plain answer"))
            }
        });
        block_on(async move {
            let cluster = KubeCluster::new(kube::Client::new(service, "default"), "fuzzed");
            let pod = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"},
                "data": {"a": "b"}});
            let (object, deployment) = (ObjectRef::of(&pod), ObjectRef::deployment("shop", "a"));
            let _ = cluster.identity().await;
            let live = cluster.get(&object).await;
            let _ = cluster.list("apps/v1", "Deployment", "shop").await;
            let _ = cluster.get_all(&[object.clone(), deployment.clone()]).await;
            let _ = cluster.try_apply(&pod, Terms::DRY).await;
            let _ = cluster.apply(&pod, Terms::PLAIN).await;
            let _ = cluster.scale(&deployment, 3).await;
            let _ = cluster.logs("shop", "a", "a", false, 3).await;
            let _ = cluster.rooms().await;
            let other = ApiKind { api_version: "sea.example.com/v1".into(), kind: "Fleet".into() };
            let _ = cluster.schemas(&[other]).await;
            if let Ok(Some(live)) = live {
                let _ = diff::fields(&Definitions::default(), &pod, &live, Some(&pod));
            }
            let snapshots = cluster.follow("shop");
            tokio::time::sleep(Duration::from_secs(3)).await;
            let _ = snapshots.borrow().current_pods(&deployment).len();
        });
    }
    if let Ok(schema) = openapi::read(bytes) {
        for (group, version, kind) in schema.own_kinds() {
            let _ = schema.problems(group, version, kind, &json!({"spec": {"a": [1]}}));
        }
    }
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        let definitions = Definitions::of(std::iter::once(&value));
        let _ = diff::fields(&definitions, &value, &json!({}), None);
    }
    Ok(())
}

fn resources(version: &str, kinds: &[(&str, &str)]) -> Value {
    let one = |(name, kind): &(&str, &str)| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get", "list", "watch", "patch"]});
    json!({"kind": "APIResourceList", "groupVersion": version, "resources": kinds.iter().map(one).collect::<Vec<_>>()})
}

/// A kubeconfig. One that runs a program is passed over: a test starts none.
pub fn kubeconfig(bytes: &[u8]) -> Said {
    if bytes.windows(4).any(|four| four == b"exec" || four == b"auth") {
        return Ok(());
    }
    let path = folder("kubeconfig").join("config");
    write(&path, bytes);
    let address = ClusterAddress { context: Some("east".into()), kubeconfig: Some(path), eks: None };
    block_on(async {
        match connect(&address).await {
            Err(error) if error.to_string().is_empty() => Err("refused without a word".to_owned()),
            _ => Ok(()),
        }
    })
}

/// The small readers: times, quantities, paths of fields.
#[expect(clippy::unnecessary_wraps, reason = "all entries are of one type")]
pub fn words(bytes: &[u8]) -> Said {
    let text = String::from_utf8_lossy(bytes);
    for word in text.split_whitespace() {
        if let Ok(time) = units::parse_duration(word) {
            let _ = units::human(time);
        }
        let _ = (quantity::number(word), quantity::thousandths(word).map(|n| quantity::show("memory", n)));
        let mut object = json!({"spec": {"ports": [{"name": "http", "port": 80}], "a.b": 1}});
        let _ = field_path::get(&object, word).is_some();
        let _ = (
            field_path::remove(&mut object, word),
            field_path::covers(word, "spec.ports"),
            field_path::plain(word),
        );
    }
    Ok(())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// One of them.
pub type Entry = fn(&[u8]) -> Said;

/// All of them by name.
pub const ALL: [(&str, Entry); 12] = [
    ("environment", environment),
    ("template", template),
    ("plan", plan),
    ("journal", journal),
    ("release", release),
    ("wishes", wishes),
    ("metrics", metrics),
    ("exposition", exposition),
    ("store_answer", store_answer),
    ("api_answer", api_answer),
    ("kubeconfig", kubeconfig),
    ("words", words),
];
