//! A story's stage: a world of two regions in real time on a thread of its own, and the machines from which its operators
//! type commands.

use super::machine::{Folder, Machine, Running, until};
use super::region::Region;
use crate::support::{Life, Story, Told};
use deployctl::adapters::clock::SystemClock;
use deployctl::adapters::http::HttpProbe;
use deployctl::config::{self, Overrides};
use deployctl::ports::probe::HttpQuestion;
use deployctl::ports::{Clock as _, Probe as _};
use deployctl::run::Ending;
use deployctl::sim::pods::Times;
use deployctl::sim::world::Frozen;
use deployctl::sim::{ClusterSpec, LoadSpec, World, WorldSpec};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

/// The canary of a story that goes to its end.
pub const QUICK: &str = "[{weight: 50%, hold: 2s}]";
/// What a run says when it stays there.
pub const STAYS_NOW: &str = "): hold 50 % for 20m";
/// One that stays at its weight until somebody does something about it.
pub const STAYS: &str = "[{weight: 50%, hold: 20m}]";
/// One that waits for a person.
pub const ASKS: &str = "[{weight: 50%, hold: 1s, approve: 20m}]";

/// What every story begins with: release 1.0.0 in both regions, deployed in virtual time and at rest.
static SERVING: LazyLock<Frozen> = LazyLock::new(|| std::thread::spawn(serving).join().unwrap());

fn serving() -> Frozen {
    let folder = Folder::new("before");
    folder.write_environment(QUICK, ["http://east.example", "http://west.example"]);
    folder.write_manifests();
    let loaded = config::load(&folder.0, "prod", &Overrides::default());
    let env = loaded.unwrap_or_else(|wrong| panic!("{wrong}")).environment;
    runtime().block_on(async {
        let story = Story::of(env, empty(), 1);
        let world = story.world.clone();
        let deployed = async {
            let life = story.deploy("1.0.0", &Told::default()).await;
            assert_eq!(life, Life::Ended(Ending::Deployed));
            story.rest().await;
        };
        tokio::select! {
            () = deployed => world.freeze(),
            () = world.run() => unreachable!("the world never ends"),
        }
    })
}

/// Two regions with nothing in them, a quarter of an hour ago. Their pods start quickly.
fn empty() -> World {
    let region = |name: &str| {
        let times = Times { pull: (20, 80), start: (100, 400), stop: (50, 200), ..Times::default() };
        ClusterSpec { times, plane_lag: (20, 100), ..ClusterSpec::new(name) }
    };
    let east = region("east").with_load(vec![LoadSpec::new("api", 20.0)]);
    let start = SystemClock.now() - Duration::from_mins(15);
    World::new(&WorldSpec { start, ..WorldSpec::new(7, vec![east, region("west")]) })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// A world in real time and what reaches it.
pub struct Stage {
    pub east: Region,
    pub west: Region,
    world: World,
    runtime: tokio::runtime::Handle,
    steps: String,
    end: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
    /// The machine on which the story begins: it has the manifests.
    pub desk: Machine,
}

impl Stage {
    /// 1.0.0 serves in both regions; releases take these steps.
    pub fn new(name: &str, steps: &str) -> Self {
        LazyLock::force(&SERVING);
        Self::begin(name, steps, || SERVING.thaw(7))
    }

    /// Both regions are empty.
    pub fn from_nothing(name: &str, steps: &str) -> Self {
        Self::begin(name, steps, empty)
    }

    fn begin(name: &str, steps: &str, world: fn() -> World) -> Self {
        let (ready, begun) = mpsc::channel();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let world = world();
                catch_up(&world).await;
                let regions = (Region::serve(&world, "east"), Region::serve(&world, "west"));
                ready.send((world.clone(), tokio::runtime::Handle::current(), regions)).unwrap();
                tokio::select! {
                    _ = ended => {}
                    () = world.run() => unreachable!("the world never ends"),
                }
            });
        });
        let (world, runtime, (east, west)) = begun.recv().expect("the world's thread tells why it failed");
        let desk = Machine::new(name, steps, &east, &west);
        desk.folder.write_manifests();
        Self { east, west, world, runtime, steps: steps.to_owned(), end: Some((end, thread)), desk }
    }

    /// Another machine, with the environment's file and a kubeconfig and nothing else.
    pub fn elsewhere(&self, name: &str) -> Machine {
        Machine::new(name, &self.steps, &self.east, &self.west)
    }

    /// Looks at the world, on its thread.
    pub fn world<T: Send + 'static>(&self, look: impl FnOnce(&World) -> T + Send + 'static) -> T {
        let world = self.world.clone();
        self.within(async move { look(&world) })
    }

    /// How many records the run of the second release has in its journal in a region.
    pub fn records(&self, region: &Region) -> usize {
        let region = region.clone();
        self.world(move |world| region.records(world))
    }

    /// Waits until the run of the second release holds at its weight, and has put that on record.
    pub fn holds(&self, run: &mut Running) {
        run.says(STAYS_NOW);
        // A first record, then two for each of five stages, then the beginning of the hold.
        until(|| self.records(&self.east) >= 12, || "no hold is on record".to_owned());
    }

    /// What matters of the application's objects that no controller made, by region, kind and name.
    pub fn objects(&self) -> BTreeMap<String, String> {
        self.world(|world| ["east", "west"].into_iter().flat_map(|region| objects(world, region)).collect())
    }

    /// The versions that answer users of a region: fifty requests to its public address.
    pub fn answers(&self, region: &Region) -> BTreeSet<String> {
        let question = HttpQuestion {
            method: "GET".to_owned(),
            url: format!("http://{}/", region.ingress),
            headers: BTreeMap::from([("host".to_owned(), "api.example".to_owned())]),
        };
        self.within(async move {
            let probe = HttpProbe::new().unwrap();
            let mut versions = BTreeSet::new();
            for _ in 0..50 {
                let answer = probe.ask(&question, Duration::from_secs(30)).await.unwrap();
                let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
                versions.insert(body["version"].as_str().unwrap_or(&answer.body).to_owned());
            }
            versions
        })
    }

    /// Waits until every lock may be taken over from a process that is gone: its lease and the time that a request may
    /// take have passed.
    pub fn wait_for_leases_to_lapse(&self) {
        let lapsed = |world: &World| {
            ["east", "west"].iter().flat_map(|region| world.snapshot(region)).all(|object| {
                let renewed = object["spec"]["renewTime"].as_str().and_then(|text| text.parse().ok());
                let since = |time: jiff::Timestamp| world.now().duration_since(time).as_secs();
                object["kind"] != "Lease" || renewed.is_none_or(|time| since(time) > 26)
            })
        };
        until(|| self.world(lapsed), || "the leases do not lapse".to_owned());
    }

    /// Changes a live object through the API, as `kubectl patch --type merge` does.
    pub fn patch_by_hand(&self, region: &Region, url: &str, patch: &Value) {
        let service = self.world.api(&region.name);
        let request = Request::patch(format!("{url}?fieldManager=kubectl-patch"))
            .header(CONTENT_TYPE, "application/merge-patch+json")
            .body(Full::new(Bytes::from(patch.to_string())))
            .unwrap();
        let status = self.within(async move { service.oneshot(request).await.unwrap().status() });
        assert_eq!(status, StatusCode::OK, "{url}");
    }

    /// Deletes a live object through the API, as `kubectl delete` does.
    pub fn delete_by_hand(&self, region: &Region, url: &str) {
        let service = self.world.api(&region.name);
        let request = Request::delete(url).body(Full::new(Bytes::new())).unwrap();
        let status = self.within(async move { service.oneshot(request).await.unwrap().status() });
        assert_eq!(status, StatusCode::OK, "{url}");
    }

    /// Waits for work on the world's thread.
    fn within<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.runtime.spawn(async move { tell.send(work.await) });
        told.recv().expect("the world goes on until the story ends")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.end.take() {
            let _ = end.send(());
            let _ = thread.join();
        }
    }
}

/// In virtual time until it is as late there as here; in real time from then on.
async fn catch_up(world: &World) {
    let behind = SystemClock.now().duration_since(world.now());
    let behind = Duration::try_from(behind).expect("the world begins in the past");
    tokio::select! {
        () = tokio::time::sleep(behind) => {}
        () = world.run() => unreachable!("the world never ends"),
    }
    tokio::time::resume();
}

fn objects(world: &World, region: &str) -> Vec<(String, String)> {
    let kinds = ["Deployment", "Service", "ConfigMap", "Ingress"];
    let all = world.snapshot(region);
    let ours = all.iter().filter(|object| {
        object["metadata"]["namespace"] == "shop"
            && object["metadata"]["labels"]["deployctl.dev/application"].is_string()
            && kinds.iter().any(|kind| object["kind"] == *kind)
    });
    let told = ours.map(|object| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = format!("{region} {}/{}", text(&object["kind"]), text(&object["metadata"]["name"]));
        let spec = &object["spec"];
        let image = &spec["template"]["spec"]["containers"][0]["image"];
        let annotations = &object["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"];
        let facts =
            [&spec["replicas"], &spec["selector"], image, &spec["rules"], &object["data"], annotations];
        (name, facts.map(ToString::to_string).join(" "))
    });
    told.collect()
}
