//! What the Kubernetes adapter promises, whichever API server it speaks to.

use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::object::ObjectRef;
use deployctl::domain::observed::Snapshot;
use deployctl::domain::release::Actor;
use deployctl::ports::Clock;
use deployctl::ports::cluster::{Applied, Cluster, ClusterError, FieldOwner, Permission, Terms};
use deployctl::ports::state::{Holder, Lock, LockError, RecordKind, StateError, StateStore};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A cluster, a second client that plays everybody else, and a namespace that the test owns.
pub struct Rig {
    pub cluster: KubeCluster,
    pub other: kube::Client,
    pub clock: Arc<dyn Clock>,
    pub namespace: String,
}

pub fn deployment(namespace: &str, name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": name } },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [ { "name": "main", "image": image, "ports": [ { "containerPort": 8080 } ] } ] },
            },
        },
    })
}

pub fn config_map(namespace: &str, name: &str, value: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": namespace },
            "data": { "k": value } })
}

impl Rig {
    fn others(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.other.clone(), &self.namespace, &resource)
    }

    pub async fn all(&self) {
        self.objects_are_applied_changed_and_deleted().await;
        self.conflicts_and_mistakes_are_told_apart().await;
        self.warnings_come_with_a_dry_run().await;
        self.kinds_made_on_the_way_are_found().await;
        self.records_are_created_once().await;
        self.large_records_come_back_whole().await;
        self.the_lock_has_one_holder().await;
        self.clocks_that_disagree_make_no_second_holder().await;
        self.what_happens_is_seen().await;
        self.who_is_who_is_known().await;
    }

    pub async fn objects_are_applied_changed_and_deleted(&self) {
        let (cluster, ns) = (&self.cluster, self.namespace.as_str());
        let object = deployment(ns, "web", "shop/web:1");
        let reference = ObjectRef::of(&object);
        assert_eq!(cluster.get(&reference).await, Ok(None));
        assert_eq!(cluster.apply(&object, Terms::DRY).await, Ok(Applied::Created));
        assert_eq!(cluster.get(&reference).await, Ok(None), "a dry run stores nothing");
        assert_eq!(cluster.apply(&object, Terms::PLAIN).await, Ok(Applied::Created));
        // The controller may write the status between the two.
        assert_eq!(cluster.apply(&object, Terms::PLAIN).await, Ok(Applied::Unchanged));
        assert_eq!(cluster.apply(&object, Terms::DRY).await, Ok(Applied::Unchanged));
        let newer = deployment(ns, "web", "shop/web:2");
        assert_eq!(cluster.apply(&newer, Terms::DRY).await, Ok(Applied::Updated));
        assert_eq!(cluster.apply(&newer, Terms::PLAIN).await, Ok(Applied::Updated));

        assert_eq!(cluster.scale(&reference, 3).await, Ok(2));
        assert_eq!(cluster.scale(&reference, 3).await, Ok(3));
        let live = cluster.get(&reference).await.unwrap().unwrap();
        assert_eq!(live["spec"]["replicas"], 3);

        // What we scaled is ours to apply.
        assert_eq!(cluster.apply(&newer, Terms::DRY).await, Ok(Applied::Updated));
        assert_eq!(cluster.apply(&newer, Terms::PLAIN).await, Ok(Applied::Updated));
        assert_eq!(cluster.scale(&reference, 2).await, Ok(2));

        let note = |live: &Value| {
            (live["metadata"]["annotations"]["note"] != "x")
                .then(|| json!({ "metadata": { "annotations": { "note": "x" } } }))
        };
        assert_eq!(cluster.modify(&reference, &note).await, Ok(Applied::Updated));
        assert_eq!(cluster.modify(&reference, &note).await, Ok(Applied::Unchanged));

        let absent = ObjectRef::deployment(ns, "nothing");
        let all = cluster.get_all(&[absent.clone(), reference.clone()]).await.unwrap();
        assert!(all[0].is_none() && all[1].is_some());
        assert!(matches!(cluster.modify(&absent, &note).await, Err(ClusterError::NotFound { .. })));
        assert!(matches!(cluster.scale(&absent, 1).await, Err(ClusterError::NotFound { .. })));

        let map = config_map(ns, "settings", "1");
        assert_eq!(cluster.apply(&map, Terms::PLAIN).await, Ok(Applied::Created));
        assert_eq!(cluster.apply(&map, Terms::PLAIN).await, Ok(Applied::Unchanged));
        for object in [ObjectRef::of(&map), absent] {
            assert_eq!(cluster.delete(&object).await, Ok(()));
            assert_eq!(cluster.get(&object).await, Ok(None));
        }
    }

    pub async fn conflicts_and_mistakes_are_told_apart(&self) {
        let (cluster, ns) = (&self.cluster, self.namespace.as_str());
        let mut map = config_map(ns, "owned", "theirs");
        let params = PatchParams::apply("somebody");
        self.others("v1", "ConfigMap").patch("owned", &params, &Patch::Apply(&map)).await.unwrap();
        map["data"]["k"] = "ours".into();
        let refused = cluster.apply(&map, Terms::PLAIN).await;
        let owner =
            FieldOwner { manager: "somebody".into(), subresource: String::new(), field: ".data.k".into() };
        assert_eq!(refused, Err(ClusterError::Contested { fields: vec![owner] }));
        assert_eq!(cluster.apply(&map, Terms::FORCED).await, Ok(Applied::Updated));

        let mut wrong = deployment(ns, "wrong", "shop/web:1");
        wrong["spec"]["replicaz"] = 3.into();
        let Err(ClusterError::Invalid { message }) = cluster.apply(&wrong, Terms::PLAIN).await else {
            panic!("an unknown field is a mistake");
        };
        assert!(message.contains("replicaz"), "{message}");
        wrong["spec"] = json!({ "replicas": -1 });
        assert!(matches!(cluster.apply(&wrong, Terms::PLAIN).await, Err(ClusterError::Invalid { .. })));

        let nowhere = config_map("no-such-namespace", "a", "1");
        let Err(ClusterError::NotFound { message }) = cluster.apply(&nowhere, Terms::PLAIN).await else {
            panic!("the namespace is missing");
        };
        assert!(message.contains("no-such-namespace"), "{message}");
        let homeless = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
        assert!(matches!(cluster.apply(&homeless, Terms::PLAIN).await, Err(ClusterError::Invalid { .. })));
    }

    pub async fn warnings_come_with_a_dry_run(&self) {
        let (cluster, ns) = (&self.cluster, self.namespace.as_str());
        let object = deployment(ns, "warned", "shop/web:1");
        let namespace = |level: &str| {
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": ns,
                "labels": { "pod-security.kubernetes.io/warn": level } } })
        };
        cluster.apply(&namespace("restricted"), Terms::FORCED).await.unwrap();
        let tried = cluster.try_apply(&object, Terms::PLAIN).await.unwrap();
        assert_eq!(tried.applied, Applied::Created);
        let [warning] = tried.warnings.as_slice() else { panic!("{tried:?}") };
        let expected = "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
                        (container \"main\" must set securityContext.allowPrivilegeEscalation=false), unrestricted \
                        capabilities (container \"main\" must set securityContext.capabilities.drop=[\"ALL\"])";
        assert!(warning.starts_with(expected), "{warning}");
        assert_eq!(cluster.get(&ObjectRef::of(&object)).await, Ok(None), "a trial stores nothing");
        cluster.apply(&namespace("privileged"), Terms::FORCED).await.unwrap();
        assert_eq!(cluster.try_apply(&object, Terms::PLAIN).await.unwrap().warnings, Vec::<String>::new());
    }

    pub async fn kinds_made_on_the_way_are_found(&self) {
        let cluster = &self.cluster;
        let group = format!("{}.example.com", self.namespace);
        let api_version = format!("{group}/v1");
        assert_eq!(cluster.plural("apps/v1", "Deployment").await, Ok(Some("deployments".into())));
        assert_eq!(cluster.plural("apps/v1", "Ship").await, Ok(None));
        assert_eq!(cluster.plural(&api_version, "Ship").await, Ok(None));
        let ship = json!({ "apiVersion": api_version, "kind": "Ship",
                           "metadata": { "name": "s", "namespace": self.namespace }, "spec": { "sails": 3 } });
        assert_eq!(cluster.get(&ObjectRef::of(&ship)).await, Ok(None));
        assert!(matches!(cluster.apply(&ship, Terms::PLAIN).await, Err(ClusterError::NotFound { .. })));
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("ships.{group}") },
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": { "kind": "Ship", "listKind": "ShipList", "plural": "ships", "singular": "ship" },
                "versions": [ { "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                    "type": "object", "properties": { "spec": { "type": "object",
                        "properties": { "sails": { "type": "integer" } } } } } } } ],
            },
        });
        assert_eq!(cluster.apply(&crd, Terms::PLAIN).await, Ok(Applied::Created));
        // A real server takes a moment to serve a new kind.
        let mut tries = 0;
        loop {
            match cluster.apply(&ship, Terms::PLAIN).await {
                Ok(applied) => break assert_eq!(applied, Applied::Created),
                Err(ClusterError::NotFound { .. }) if tries < 100 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(cluster.plural(&api_version, "Ship").await, Ok(Some("ships".into())));
        assert_eq!(cluster.delete(&ObjectRef::of(&ship)).await, Ok(()));
        assert_eq!(cluster.delete(&ObjectRef::of(&crd)).await, Ok(()));
    }

    pub async fn records_are_created_once(&self) {
        let state = format!("{}-state", self.namespace);
        let store = self.cluster.state_store(&state, "shop", "production");
        assert_eq!(store.list(RecordKind::Journal, "").await, Ok(Vec::new()), "no namespace yet");
        for name in ["run.a-2", "run.a-1", "run.b-1", "Odd Näme"] {
            assert_eq!(store.create(RecordKind::Journal, name, name.as_bytes()).await, Ok(()));
        }
        let again = store.create(RecordKind::Journal, "run.a-1", b"other").await;
        assert_eq!(again, Err(StateError::Exists { name: "run.a-1".into() }));
        assert_eq!(store.create(RecordKind::Release, "run.a-1", b"").await, Ok(()), "kinds are apart");
        let other = self.cluster.state_store(&state, "shop", "staging");
        assert_eq!(other.list(RecordKind::Journal, "").await, Ok(Vec::new()), "environments are apart");

        let names = async |prefix: &str| -> Vec<String> {
            let records = store.list(RecordKind::Journal, prefix).await.unwrap();
            assert!(records.iter().all(|record| record.content == record.name.as_bytes()));
            records.into_iter().map(|record| record.name).collect()
        };
        assert_eq!(names("").await, ["Odd Näme", "run.a-1", "run.a-2", "run.b-1"]);
        assert_eq!(names("run.a").await, ["run.a-1", "run.a-2"]);
        for _ in 0..2 {
            assert_eq!(store.delete(RecordKind::Journal, "run.a-1").await, Ok(()));
        }
        assert_eq!(names("run.a").await, ["run.a-2"]);

        let namespace =
            self.cluster.get(&ObjectRef::new("v1", "Namespace", "", &state)).await.unwrap().unwrap();
        assert_eq!(namespace["metadata"]["labels"]["velero.io/exclude-from-backup"], "true");
    }

    pub async fn large_records_come_back_whole(&self) {
        let state = format!("{}-state", self.namespace);
        let store = self.cluster.state_store(&state, "shop", "large");
        // Noise does not shrink: three parts.
        let mut seed = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as u8
        })
        .take(2_200_000)
        .collect();
        assert_eq!(store.create(RecordKind::Plan, "big", &noise).await, Ok(()));
        let records = store.list(RecordKind::Plan, "big").await.unwrap();
        assert!(records.len() == 1 && records[0].content == noise);

        // A part goes missing.
        let secrets: Api<DynamicObject> = {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
            Api::namespaced_with(self.other.clone(), &state, &resource)
        };
        let names: Vec<String> = secrets
            .list(&kube::api::ListParams::default().labels("deployctl.dev/environment=large"))
            .await
            .unwrap()
            .items
            .into_iter()
            .filter_map(|secret| secret.metadata.name)
            .collect();
        assert_eq!(names.len(), 3, "{names:?}");
        let part = names.iter().find(|name| name.contains(".p2-")).unwrap();
        secrets.delete(part, &kube::api::DeleteParams::default()).await.unwrap();
        let found = store.list(RecordKind::Plan, "").await.unwrap();
        let [found] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((found.name.as_str(), found.content.as_slice()), ("big", &[][..]));
        assert_eq!(found.damage, Some(format!("its part {part} is missing")));
        assert_eq!(store.place(RecordKind::Plan, "big"), format!("-n {state} secret/shop.large.plan.big"));
        assert_eq!(store.delete(RecordKind::Plan, "big").await, Ok(()));
        assert_eq!(store.list(RecordKind::Plan, "").await, Ok(Vec::new()));
    }

    pub fn holder(&self, id: &str) -> Holder {
        // Leases keep microseconds.
        let now = self.clock.now();
        let now = now - jiff::SignedDuration::from_nanos(i64::from(now.subsec_nanosecond() % 1000));
        Holder {
            id: id.to_owned(),
            by: Actor { user: id.to_owned(), host: "host".into(), ci: None },
            reason: "deploy 1.4.2".into(),
            since: now,
            renewed: now,
            ttl: Duration::from_secs(2),
        }
    }

    pub async fn the_lock_has_one_holder(&self) {
        let state = format!("{}-locks", self.namespace);
        let lock = |()| self.cluster.lock(&state, "shop", "production", Arc::clone(&self.clock));
        let (ours, theirs) = (lock(()), lock(()));
        let (ana, bob) = (self.holder("ana/1"), self.holder("bob/1"));
        assert_eq!(ours.inspect().await, Ok(None));
        assert!(matches!(ours.renew(&ana).await, Err(LockError::Gone(_))), "nothing to renew");
        assert_eq!(ours.acquire(&ana).await, Ok(()));
        assert_eq!(ours.acquire(&ana).await, Ok(()), "ours already");
        assert_eq!(theirs.inspect().await, Ok(Some(ana.clone())));
        assert_eq!(theirs.acquire(&bob).await, Err(LockError::Held(Box::new(ana.clone()))));
        let ana = Holder { renewed: self.holder("ana/1").renewed, ..ana };
        assert_eq!(ours.renew(&ana).await, Ok(()));
        assert_eq!(ours.renew(&ana).await, Ok(()), "by the version that is known");
        assert_eq!(theirs.release(&bob).await, Ok(()), "not bob's to give back");
        assert_eq!(theirs.inspect().await, Ok(Some(ana.clone())));
        assert_eq!(ours.release(&ana).await, Ok(()));
        assert_eq!(theirs.inspect().await, Ok(None));

        // One of many gets it.
        let racers: Vec<_> = (0..8).map(|n| (lock(()), self.holder(&format!("racer/{n}")))).collect();
        let won = futures::future::join_all(racers.iter().map(|(lock, holder)| lock.acquire(holder))).await;
        assert_eq!(won.iter().filter(|result| result.is_ok()).count(), 1, "{won:?}");
        assert_eq!(theirs.break_lock().await, Ok(()));
        let winner = won.iter().position(Result::is_ok).unwrap();
        let lost = racers[winner].0.renew(&racers[winner].1).await;
        assert!(matches!(lost, Err(LockError::Gone(_))), "{lost:?}");

        // Nobody renews: after the time-to-live and the time-out it is free.
        let ana = self.holder("ana/2");
        assert_eq!(ours.acquire(&ana).await, Ok(()));
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(theirs.acquire(&self.holder("bob/2")).await.is_err(), "a request may still be under way");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(theirs.acquire(&self.holder("bob/2")).await, Ok(()));
        assert!(matches!(ours.renew(&ana).await, Err(LockError::Held(by)) if by.id == "bob/2"));
    }

    pub async fn clocks_that_disagree_make_no_second_holder(&self) {
        struct Wrong(Arc<dyn Clock>, jiff::SignedDuration);
        impl Clock for Wrong {
            fn now(&self) -> jiff::Timestamp {
                self.0.now() + self.1
            }
        }
        let state = format!("{}-locks", self.namespace);
        let lock = |seconds: i64| {
            let clock = Wrong(Arc::clone(&self.clock), jiff::SignedDuration::from_secs(seconds));
            self.cluster.lock(&state, "shop", "skewed", Arc::new(clock))
        };
        let holder = |id: &str, seconds: i64| {
            let holder = self.holder(id);
            Holder { renewed: holder.renewed + jiff::SignedDuration::from_secs(seconds), ..holder }
        };
        for (ana, bob) in [(0, 3600), (3600, 0), (0, -3600), (-3600, 0)] {
            let (ours, theirs) = (lock(ana), lock(bob));
            ours.acquire(&holder("ana", ana)).await.unwrap();
            let refused = theirs.acquire(&holder("bob", bob)).await;
            assert!(matches!(refused, Err(LockError::Held(by)) if by.id == "ana"), "{ana} {bob}");
            tokio::time::sleep(Duration::from_secs(14)).await;
            assert_eq!(theirs.acquire(&holder("bob", bob)).await, Ok(()), "{ana} {bob}");
            theirs.release(&holder("bob", bob)).await.unwrap();
        }
    }

    /// Waits until the snapshot shows something.
    pub async fn until(&self, what: &str, shows: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let mut receiver = self.cluster.follow(&self.namespace);
        let seen = tokio::time::timeout(Duration::from_mins(1), receiver.wait_for(shows)).await;
        let Ok(seen) = seen else {
            panic!("{what} was not seen: {:#?}", *self.cluster.follow(&self.namespace).borrow())
        };
        seen.expect("the watches live as long as the cluster").clone()
    }

    pub async fn what_happens_is_seen(&self) {
        let (cluster, ns) = (&self.cluster, self.namespace.as_str());
        let snapshot = self.until("everything", |snapshot| snapshot.synced).await;
        assert_eq!((snapshot.stale_since, snapshot.unseen.len()), (None, 0));
        let object = deployment(ns, "seen", "shop/seen:1");
        let reference = ObjectRef::of(&object);
        cluster.apply(&object, Terms::PLAIN).await.unwrap();
        self.until("the deployment", |s| s.workloads.get(&reference).is_some_and(|w| w.desired == 2)).await;
        cluster.scale(&reference, 5).await.unwrap();
        let snapshot =
            self.until("its size", |s| s.workloads.get(&reference).is_some_and(|w| w.desired == 5)).await;
        assert!(snapshot.workloads[&reference].generation >= 2);
        let event = json!({
            "metadata": { "name": "seen.1" }, "involvedObject": { "kind": "Deployment", "name": "seen", "namespace": ns },
            "type": "Warning", "reason": "Tired", "message": "of waiting", "count": 3,
            "lastTimestamp": "2026-01-05T03:00:00Z", "reportingComponent": "", "reportingInstance": "",
            "source": {},
        });
        let event: DynamicObject = serde_json::from_value(event).unwrap();
        self.others("v1", "Event").create(&PostParams::default(), &event).await.unwrap();
        let snapshot = self.until("the warning", |s| s.warnings.iter().any(|e| e.reason == "Tired")).await;
        assert!(snapshot.warnings.iter().any(|e| e.about == "Deployment/seen" && e.count == 3));
        let slice = json!({
            "metadata": { "name": "seen-1", "labels": { "kubernetes.io/service-name": "seen" } },
            "addressType": "IPv4",
            "endpoints": [ { "addresses": ["10.1.2.3"], "conditions": { "ready": true },
                             "targetRef": { "kind": "Pod", "name": "seen-x", "namespace": ns } } ],
            "ports": [ { "port": 8080 } ],
        });
        let slice: DynamicObject = serde_json::from_value(slice).unwrap();
        let slices = self.others("discovery.k8s.io/v1", "EndpointSlice");
        slices.create(&PostParams::default(), &slice).await.unwrap();
        self.until("the endpoint", |s| s.endpoints.get("seen").is_some_and(|e| e[0].pod == "seen-x")).await;
        slices.delete("seen-1", &kube::api::DeleteParams::default()).await.unwrap();
        self.until("no endpoint", |s| !s.endpoints.contains_key("seen")).await;
        let workloads = self.others("apps/v1", "Deployment");
        let background = kube::api::DeleteParams::background();
        workloads.delete("seen", &background).await.unwrap();
        self.until("no deployment", |s| !s.workloads.contains_key(&reference)).await;
    }

    pub async fn who_is_who_is_known(&self) {
        let identity = self.cluster.identity().await.unwrap();
        assert!(identity.version.starts_with('v'), "{identity:?}");
        assert_eq!(identity.minor.0, 1);
        assert!(!identity.cluster_uid.is_empty() && !identity.user.is_empty());
        let permission = |verb: &str, group: &str, resource: &str| Permission {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            namespace: self.namespace.clone(),
        };
        let wanted = [permission("patch", "apps", "deployments"), permission("create", "", "secrets")];
        assert_eq!(self.cluster.lacking(&wanted).await, Ok(Vec::new()));
    }
}
