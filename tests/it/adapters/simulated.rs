//! The contract against the simulated API, in virtual time, and what the adapter does when requests fail.

use super::contract::{Rig, config_map, deployment};
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::object::ObjectRef;
use deployctl::ports::Clock;
use deployctl::ports::cluster::{Applied, Cluster, ClusterError, Permission, Terms};
use deployctl::ports::state::{Lock as _, LockError, RecordKind, StateError, StateStore as _};
use deployctl::sim::kube::ApiService;
use deployctl::sim::kube::errors::ApiStatus;
use deployctl::sim::kube::host::{Fault, Host, Identity, StandaloneHost};
use deployctl::sim::kube::request::RequestInfo;
use deployctl::sim::kube::store::Store;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A server whose garbage collector finishes foreground deletions at once, and that fails as it is told to.
struct TestHost {
    inner: StandaloneHost,
    /// Verb and resource of the next requests to fail, and how.
    faults: Mutex<VecDeque<(&'static str, Fault)>>,
    /// Verb and resource of every request.
    seen: Mutex<Vec<String>>,
}

impl Host for TestHost {
    fn store(&self) -> &Mutex<Store> {
        self.inner.store()
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn after_write(&self, _: &Identity, _: &RequestInfo, _: bool) {
        let mut store = self.store().lock().unwrap();
        for change in store.drain_changes() {
            if change.object["metadata"]["finalizers"] == json!(["foregroundDeletion"]) {
                // The object may be gone already.
                let _ = store.modify(self.now(), "gc", &change.key, |object| {
                    object["metadata"]["finalizers"] = Value::Null;
                });
            }
        }
    }

    fn fault(&self, _: &Identity, request: &RequestInfo) -> Option<Fault> {
        let name = format!("{} {}", request.verb, request.resource);
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|(wanted, _)| *wanted == name);
        self.seen.lock().unwrap().push(name);
        at.and_then(|at| faults.remove(at)).map(|(_, fault)| fault)
    }
}

/// The server's clock, or one that is wrong.
struct HostClock(Arc<TestHost>, SignedDuration);

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        self.0.now() + self.1
    }
}

struct World {
    host: Arc<TestHost>,
    rig: Rig,
}

impl World {
    async fn new() -> Self {
        let start = "2026-01-05T03:00:00Z".parse().unwrap();
        let host = Arc::new(TestHost {
            inner: StandaloneHost::new(Store::new(7), start),
            faults: Mutex::default(),
            seen: Mutex::default(),
        });
        let rig = Rig {
            cluster: KubeCluster::new(client(&host, Identity::admin()), "simulated"),
            other: client(&host, Identity::admin()),
            clock: Arc::new(HostClock(Arc::clone(&host), SignedDuration::ZERO)),
            namespace: "contract".into(),
        };
        for name in ["kube-system", "contract"] {
            let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            rig.cluster.apply(&namespace, Terms::PLAIN).await.unwrap();
        }
        Self { host, rig }
    }

    fn fail(&self, request: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.host.faults.lock().unwrap().extend(faults.into_iter().map(|fault| (request, fault)));
    }

    /// How often a request was made since the last call.
    fn count(&self, request: &str) -> usize {
        let mut seen = self.host.seen.lock().unwrap();
        let count = seen.iter().filter(|name| *name == request).count();
        seen.clear();
        count
    }
}

fn client(host: &Arc<TestHost>, identity: Identity) -> kube::Client {
    let service = ApiService::new(Arc::clone(host) as Arc<dyn Host>).with_identity(identity);
    kube::Client::new(service, "default")
}

fn refuse(code: u16, reason: &'static str, retry_after: Option<u64>) -> Fault {
    Fault::Refuse(ApiStatus::new(code, reason, format!("{reason}!")), retry_after)
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                World::new().await.rig.$name().await;
            }
        )*
    };
}

contract!(
    objects_are_applied_changed_and_deleted,
    conflicts_and_mistakes_are_told_apart,
    warnings_come_with_a_dry_run,
    kinds_made_on_the_way_are_found,
    records_are_created_once,
    large_records_come_back_whole,
    the_lock_has_one_holder,
    clocks_that_disagree_make_no_second_holder,
    what_happens_is_seen,
    who_is_who_is_known,
);

#[tokio::test(start_paused = true)]
async fn a_throttled_request_waits_as_long_as_the_server_wishes() {
    let world = World::new().await;
    let map = config_map("contract", "a", "1");
    world.fail(
        "patch configmaps",
        [refuse(429, "TooManyRequests", Some(2)), refuse(429, "TooManyRequests", None)],
    );
    let began = Instant::now();
    assert_eq!(world.rig.cluster.apply(&map, Terms::PLAIN).await, Ok(Applied::Created));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(world.count("patch configmaps"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_told_as_what_it_did() {
    let world = World::new().await;
    let cluster = &world.rig.cluster;
    for (value, faults, expected) in [
        ("1", vec![Fault::DropAfter], Applied::Created),
        ("2", vec![Fault::DropAfter, Fault::Drop], Applied::Updated),
        ("2", vec![Fault::DropAfter, refuse(503, "ServiceUnavailable", None)], Applied::Unchanged),
    ] {
        world.fail("patch configmaps", faults);
        let applied = cluster.apply(&config_map("contract", "a", value), Terms::PLAIN).await;
        assert_eq!(applied, Ok(expected), "{value}");
    }
    let object = ObjectRef::new("v1", "ConfigMap", "contract", "a");
    let change = |live: &Value| (live["data"]["k"] != "3").then(|| json!({ "data": { "k": "3" } }));
    world.fail("patch configmaps", [Fault::DropAfter]);
    assert_eq!(cluster.modify(&object, &change).await, Ok(Applied::Updated));
    world.fail("delete configmaps", [Fault::DropAfter]);
    assert_eq!(cluster.delete(&object).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_write_gives_up_in_the_time_that_the_lease_reckons_with() {
    let world = World::new().await;
    let map = config_map("contract", "a", "1");
    world.rig.cluster.apply(&map, Terms::PLAIN).await.unwrap();
    for fault in [Fault::Hang, Fault::Drop, refuse(503, "ServiceUnavailable", None)] {
        world.fail("patch configmaps", vec![fault; 100]);
        let began = Instant::now();
        let result = world.rig.cluster.apply(&map, Terms::PLAIN).await;
        assert!(matches!(result, Err(ClusterError::Unreachable { .. })), "{result:?}");
        assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
        world.host.faults.lock().unwrap().clear();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_not_stormed() {
    let world = World::new().await;
    let objects: Vec<ObjectRef> =
        (0..400).map(|n| ObjectRef::new("v1", "ConfigMap", &format!("contract-{n}"), "c")).collect();
    world.rig.cluster.plural("v1", "ConfigMap").await.unwrap();
    world.count("");
    world.fail("get configmaps", vec![Fault::Drop; 10_000]);
    let result = world.rig.cluster.get_all(&objects).await;
    assert!(matches!(result, Err(ClusterError::Unreachable { .. })));
    let sent = world.count("get configmaps");
    assert!(sent <= 64 + 256, "{sent} requests");
}

#[tokio::test(start_paused = true)]
async fn pauses_repeat_with_the_seed() {
    let mut took = Vec::new();
    for seed in [1, 1, 2] {
        let world = World::new().await;
        let cluster = KubeCluster::new(client(&world.host, Identity::admin()), "simulated").with_seed(seed);
        world.fail("get configmaps", vec![Fault::Drop; 4]);
        let began = Instant::now();
        cluster.get(&ObjectRef::new("v1", "ConfigMap", "contract", "a")).await.unwrap();
        took.push(began.elapsed());
    }
    assert_eq!(took[0], took[1]);
    assert_ne!(took[0], took[2]);
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_answer_was_lost_is_ours() {
    let world = World::new().await;
    let store = world.rig.cluster.state_store("state", "shop", "production");
    store.create(RecordKind::Journal, "0", b"").await.unwrap();
    world.fail("create secrets", [Fault::DropAfter]);
    assert_eq!(store.create(RecordKind::Journal, "1", b"mine").await, Ok(()));

    // Somebody else's record of that name, then a lost answer of our own try: not ours.
    let other = world.rig.cluster.state_store("state", "shop", "production");
    other.create(RecordKind::Journal, "2", b"theirs").await.unwrap();
    world.fail("create secrets", [Fault::Drop]);
    let exists = Err(StateError::Exists { name: "2".into() });
    assert_eq!(store.create(RecordKind::Journal, "2", b"mine").await, exists);
    assert_eq!(store.create(RecordKind::Journal, "2", b"theirs").await, exists, "no try of ours was lost");

    // The server goes away after it has stored the record; the run asks again later.
    world.fail("create secrets", std::iter::once(Fault::DropAfter).chain(vec![Fault::Drop; 50]));
    let lost = store.create(RecordKind::Journal, "3", b"mine").await;
    assert!(matches!(lost, Err(StateError::Unreachable { .. })), "{lost:?}");
    world.host.faults.lock().unwrap().clear();
    assert_eq!(store.create(RecordKind::Journal, "3", b"mine").await, Ok(()));
    assert_eq!(store.list(RecordKind::Journal, "").await.unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_was_lost_is_ours_and_costs_one_request_otherwise() {
    let world = World::new().await;
    let lock = world.rig.cluster.lock("state", "shop", "production", Arc::clone(&world.rig.clock));
    let holder = world.rig.holder("ana/1");
    world.fail("create leases", [Fault::DropAfter]);
    assert_eq!(lock.acquire(&holder).await, Ok(()));
    for fault in [Fault::DropAfter, Fault::Drop, refuse(500, "InternalError", None)] {
        world.fail("update leases", [fault]);
        assert_eq!(lock.renew(&world.rig.holder("ana/1")).await, Ok(()));
    }
    world.count("");
    assert_eq!(lock.renew(&world.rig.holder("ana/1")).await, Ok(()));
    assert_eq!(world.host.seen.lock().unwrap().as_slice(), ["update leases"]);

    world.fail("update leases", vec![Fault::Hang; 20]);
    let began = Instant::now();
    let lost = lock.renew(&world.rig.holder("ana/1")).await;
    assert!(matches!(lost, Err(LockError::Unreachable(_))), "{lost:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn watches_go_on_after_every_kind_of_break() {
    let world = World::new().await;
    let cluster = &world.rig.cluster;
    world.rig.until("everything", |s| s.synced).await;
    let receiver = cluster.follow("contract");
    let size = async |replicas: u32| {
        let object = deployment("contract", "web", "shop/web:1");
        cluster.apply(&object, Terms::PLAIN).await.unwrap();
        let reference = ObjectRef::of(&object);
        cluster.scale(&reference, replicas).await.unwrap();
        world
            .rig
            .until("the size", |s| s.workloads.get(&reference).is_some_and(|w| w.desired == replicas))
            .await;
    };
    size(2).await;
    assert_eq!(world.count("list deployments"), 1);

    // The watches are renewed twice a minute from where they were: nothing is listed again.
    tokio::time::sleep(Duration::from_mins(5)).await;
    size(3).await;
    assert_eq!(world.count("list deployments"), 0);
    assert_eq!(receiver.borrow().stale_since, None);

    // The server is away: what is known stays, and how old it is can be seen.
    world.fail("watch deployments", vec![Fault::Drop; 14]);
    world.fail("watch pods", vec![Fault::Drop; 14]);
    tokio::time::sleep(Duration::from_secs(35)).await;
    let since = receiver.borrow().stale_since.expect("the watch is broken");
    assert!(since.elapsed() > Duration::from_secs(5) && since.elapsed() <= Duration::from_secs(35));
    assert!(!receiver.borrow().workloads.is_empty());
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(receiver.borrow().stale_since, None);
    size(4).await;

    // The version is forgotten meanwhile: everything is listed anew.
    world.fail("watch deployments", vec![Fault::Drop; 4]);
    tokio::time::sleep(Duration::from_secs(26)).await;
    size_unseen(cluster, 5).await;
    world.host.store().lock().unwrap().compact();
    world.count("");
    size(6).await;
    assert_eq!(world.count("list deployments"), 1);
}

async fn size_unseen(cluster: &KubeCluster, replicas: u32) {
    cluster.scale(&ObjectRef::deployment("contract", "web"), replicas).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn everybody_shares_the_same_watches_and_they_end_with_the_cluster() {
    let world = World::new().await;
    let receivers: Vec<_> = (0..10).map(|_| world.rig.cluster.follow("contract")).collect();
    world.rig.until("everything", |s| s.synced).await;
    assert_eq!(world.count("list pods"), 1);
    drop(world.rig);
    for mut receiver in receivers {
        receiver.wait_for(|_| false).await.expect_err("nobody sends any more");
    }
}

#[tokio::test(start_paused = true)]
async fn what_we_may_not_see_is_told_and_does_not_keep_us_waiting() {
    let world = World::new().await;
    let denied =
        Identity::denied("ci", &[("*", "", "events", "contract"), ("list", "batch", "jobs", "contract")]);
    let cluster = KubeCluster::new(client(&world.host, denied.clone()), "simulated");
    let mut receiver = cluster.follow("contract");
    let snapshot = receiver.wait_for(|s| s.synced).await.unwrap().clone();
    assert_eq!(snapshot.unseen.keys().map(String::as_str).collect::<Vec<_>>(), ["events", "jobs"]);
    assert!(snapshot.unseen["events"].contains("User \"ci\" cannot list resource \"events\""));
    assert_eq!(snapshot.stale_since, None);
    let ask = |verb: &str, group: &str, resource: &str| Permission {
        verb: verb.into(),
        group: group.into(),
        resource: resource.into(),
        namespace: "contract".into(),
    };
    let wanted = [ask("create", "", "pods"), ask("get", "", "events"), ask("list", "batch", "jobs")];
    assert_eq!(cluster.lacking(&wanted).await, Ok(wanted[1..].to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_waits_for_finalizers_and_says_who_holds_it() {
    let world = World::new().await;
    let cluster = &world.rig.cluster;
    let mut map = config_map("contract", "held", "1");
    map["metadata"]["finalizers"] = json!(["example.com/slow"]);
    cluster.apply(&map, Terms::PLAIN).await.unwrap();
    let object = ObjectRef::of(&map);
    let let_go = async {
        tokio::time::sleep(Duration::from_secs(70)).await;
        let free = json!({ "metadata": { "finalizers": null } });
        cluster.modify(&object, &|_| Some(free.clone())).await.unwrap();
        Instant::now()
    };
    let deleted = async {
        cluster.delete(&object).await.unwrap();
        Instant::now()
    };
    let (freed, gone) = tokio::join!(let_go, deleted);
    assert!(gone.duration_since(freed) < Duration::from_millis(50), "seen, not polled for");

    cluster.apply(&map, Terms::PLAIN).await.unwrap();
    let Err(ClusterError::Server { message, .. }) = cluster.delete(&object).await else {
        panic!("nobody lets it go");
    };
    assert!(message.contains("held by example.com/slow"), "{message}");
}
