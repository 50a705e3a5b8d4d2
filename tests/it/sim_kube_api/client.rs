//! The server used through the real client, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use deployctl::sim::kube::host::Identity;
use deployctl::sim::kube::store::{DeleteOptions, Key, KindId};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use super::support::{Server, start};

fn deployment(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api", "labels": {"app": "api"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "api"}}, "template": {
            "metadata": {"labels": {"app": "api"}}, "spec": {"containers": [{"name": "api", "image": image,
                "resources": {"requests": {"cpu": "0.5"}}}]}}}})
}

fn config_map(name: &str, value: &str, app: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"app": app}}, "data": {"k": value}}))
        .expect("a config map")
}

fn version(object: &impl kube::ResourceExt) -> String {
    object.resource_version().expect("stored objects have a version")
}

#[tokio::test(start_paused = true)]
async fn applying_the_same_again_changes_nothing() {
    let server = Server::new();
    let api: Api<Deployment> = Api::default_namespaced(server.client());
    let params = PatchParams::apply("deployctl");
    let first = api.patch("api", &params, &Patch::Apply(deployment("shop/api:v1"))).await.expect("created");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let again = api.patch("api", &params, &Patch::Apply(deployment("shop/api:v1"))).await.expect("the same");
    assert_eq!(version(&first), version(&again));
    assert_eq!(first.metadata.managed_fields, again.metadata.managed_fields);
    let changed = api.patch("api", &params, &Patch::Apply(deployment("shop/api:v2"))).await.expect("changed");
    assert_eq!(changed.metadata.generation, Some(2));
    assert_ne!(version(&first), version(&changed));
    let requests = &changed.spec.expect("a spec").template.spec.expect("a pod").containers[0].resources;
    let cpu = requests.as_ref().and_then(|all| all.requests.as_ref()).map(|all| all["cpu"].0.clone());
    assert_eq!(cpu.as_deref(), Some("500m"), "quantities are kept in canonical form");
}

#[tokio::test(start_paused = true)]
async fn requests_take_virtual_time() {
    let server = Server::new();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client());
    let began = tokio::time::Instant::now();
    api.create(&PostParams::default(), &config_map("a", "1", "x")).await.expect("created");
    api.get("a").await.expect("read");
    assert_eq!(began.elapsed(), Duration::from_millis(6));
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_objects_come_change_and_leave_its_selection() {
    let server = Server::new();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client());
    let params = WatchParams::default().labels("app in (x)").timeout(60);
    let mut events = api.watch(&params, "0").await.expect("a watch").boxed();
    api.create(&PostParams::default(), &config_map("a", "1", "x")).await.expect("created");
    api.create(&PostParams::default(), &config_map("other", "1", "y")).await.expect("created");
    let relabel = json!({"metadata": {"labels": {"app": "y"}}});
    let change = json!({"data": {"k": "2"}});
    for patch in [change, relabel] {
        api.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    }
    let mut seen = Vec::new();
    while let Some(event) = events.try_next().await.expect("an event") {
        let (typ, object) = match event {
            WatchEvent::Added(object) => ("added", object),
            WatchEvent::Modified(object) => ("modified", object),
            WatchEvent::Deleted(object) => ("deleted", object),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => panic!("{status:?}"),
        };
        let data: BTreeMap<String, String> = object.data.unwrap_or_default();
        seen.push(format!("{typ} {} {}", object.metadata.name.unwrap_or_default(), data["k"]));
    }
    assert_eq!(seen, ["added a 1", "modified a 2", "deleted a 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_forgotten_version_ends_with_410() {
    let server = Server::new();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client());
    let first = api.create(&PostParams::default(), &config_map("a", "1", "x")).await.expect("created");
    api.create(&PostParams::default(), &config_map("b", "1", "x")).await.expect("created");
    server.store().compact();
    let mut events = api.watch(&WatchParams::default(), &version(&first)).await.expect("accepted").boxed();
    let event = events.try_next().await.expect("an event");
    assert!(matches!(event, Some(WatchEvent::Error(status)) if status.code == 410));
    assert!(events.try_next().await.expect("the end").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_sends_bookmarks_and_ends_in_time() {
    let server = Server::new();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client());
    let now = server.store().version().to_string();
    let began = tokio::time::Instant::now();
    let params = WatchParams::default().timeout(150);
    let mut events = api.watch(&params, &now).await.expect("a watch").boxed();
    let mut bookmarks = 0;
    while let Some(event) = events.try_next().await.expect("an event") {
        assert!(matches!(event, WatchEvent::Bookmark(_)), "{event:?}");
        bookmarks += 1;
    }
    assert_eq!(bookmarks, 3, "two by the minute and one at the end");
    assert_eq!(began.elapsed().as_secs(), 150);
}

#[tokio::test(start_paused = true)]
async fn the_three_patches_patch() {
    let server = Server::new();
    let api: Api<Deployment> = Api::default_namespaced(server.client());
    let object = serde_json::from_value(deployment("shop/api:v1")).expect("a deployment");
    api.create(&PostParams::default(), &object).await.expect("created");
    let params = PatchParams::default();
    let strategic =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s:1"}]}}}});
    let after = api.patch("api", &params, &Patch::Strategic(strategic)).await.expect("patched");
    let containers = after.spec.and_then(|spec| spec.template.spec).expect("a pod").containers;
    assert_eq!(containers.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["api", "side"]);
    let merge = json!({"spec": {"template": {"spec": {"containers": [{"name": "only", "image": "o:1"}]}}}});
    let after = api.patch("api", &params, &Patch::Merge(merge)).await.expect("patched");
    assert_eq!(after.spec.and_then(|spec| spec.template.spec).expect("a pod").containers.len(), 1);
    let scale = api
        .patch_scale("api", &params, &Patch::Merge(json!({"spec": {"replicas": 7}})))
        .await
        .expect("scaled");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(7));
    assert_eq!(api.get("api").await.expect("read").metadata.generation, Some(4));
}

#[tokio::test(start_paused = true)]
async fn only_one_of_two_takes_a_lease() {
    let server = Server::new();
    let api: Api<Lease> = Api::default_namespaced(server.client());
    let lease = serde_json::from_value(json!({"metadata": {"name": "lock"},
        "spec": {"holderIdentity": "", "leaseDurationSeconds": 15}}))
    .expect("a lease");
    let lease: Lease = api.create(&PostParams::default(), &lease).await.expect("created");
    let take = |holder: &str| {
        let mut lease = lease.clone();
        lease.spec.as_mut().expect("a spec").holder_identity = Some(holder.to_owned());
        let api = api.clone();
        async move { api.replace("lock", &PostParams::default(), &lease).await }
    };
    let (one, two) = futures::join!(take("one"), take("two"));
    assert_eq!([one.is_ok(), two.is_ok()].iter().filter(|ok| **ok).count(), 1);
    let error = [one, two].into_iter().find_map(Result::err).expect("one lost");
    assert!(matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"));
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_of_one_state() {
    let server = Server::new();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client());
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &config_map(name, "1", "x")).await.expect("created");
    }
    let page = api.list(&ListParams::default().limit(2)).await.expect("a page");
    assert_eq!((page.items.len(), page.metadata.remaining_item_count), (2, Some(1)));
    api.delete("c", &DeleteParams::default()).await.expect("deleted");
    let token = page.metadata.continue_.expect("a token");
    let rest = api.list(&ListParams::default().limit(2).continue_token(&token)).await.expect("the rest");
    assert_eq!(rest.items.len(), 1, "the pages show the state that the first page was taken of");
    assert_eq!(api.list(&ListParams::default()).await.expect("all").items.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pod_stops_gracefully() {
    let server = Server::new();
    let api: Api<Pod> = Api::default_namespaced(server.client());
    let key = Key::new(KindId::PODS, "golden", "p");
    let pod = json!({"metadata": {"name": "p", "namespace": "golden"}, "spec": {"nodeName": "n",
        "containers": [{"name": "c", "image": "x:1"}]}});
    server.store().create(start(), "test", KindId::PODS, pod).expect("created");
    let answer = api.delete("p", &DeleteParams::default().grace_period(9)).await.expect("deleting");
    let pod = answer.left().expect("the pod is still there");
    assert_eq!(pod.metadata.deletion_grace_period_seconds, Some(9));
    assert!(api.get_opt("p").await.expect("read").is_some());
    let now = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
    server.store().delete(start(), "kubelet", &key, &now).expect("stopped");
    assert!(api.get_opt("p").await.expect("read").is_none());
}

#[tokio::test(start_paused = true)]
async fn finalizers_keep_a_deleted_object() {
    let server = Server::new();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client());
    let mut object = config_map("a", "1", "x");
    object.metadata.finalizers = Some(vec!["example.com/wait".to_owned()]);
    api.create(&PostParams::default(), &object).await.expect("created");
    api.delete("a", &DeleteParams::default()).await.expect("deleting");
    assert!(api.get("a").await.expect("still there").metadata.deletion_timestamp.is_some());
    let patch = json!({"metadata": {"finalizers": null}});
    api.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.expect("let go");
    assert!(api.get_opt("a").await.expect("read").is_none());
}

#[tokio::test(start_paused = true)]
async fn status_and_spec_are_written_apart() {
    let server = Server::new();
    let api: Api<Deployment> = Api::default_namespaced(server.client());
    api.patch("api", &PatchParams::apply("a"), &Patch::Apply(deployment("x:1"))).await.expect("created");
    let both = json!({"spec": {"replicas": 9}, "status": {"replicas": 4}});
    let after = api.patch("api", &PatchParams::default(), &Patch::Merge(&both)).await.expect("patched");
    assert_eq!(after.status.and_then(|status| status.replicas), None);
    assert_eq!(after.spec.and_then(|spec| spec.replicas), Some(9));
    let both = json!({"spec": {"replicas": 1}, "status": {"replicas": 4}});
    let after =
        api.patch_status("api", &PatchParams::default(), &Patch::Merge(&both)).await.expect("patched");
    assert_eq!(after.status.and_then(|status| status.replicas), Some(4));
    assert_eq!(after.spec.and_then(|spec| spec.replicas), Some(9));
    assert_eq!(after.metadata.generation, Some(2));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_is_told_so() {
    let mut server = Server::new();
    server.identity = Identity::denied("viewer", &[("create", "apps", "deployments", "golden")]);
    let api: Api<Deployment> = Api::default_namespaced(server.client());
    let object = serde_json::from_value(deployment("x:1")).expect("a deployment");
    let error = api.create(&PostParams::default(), &object).await.expect_err("denied");
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert_eq!(
        status.message,
        "deployments.apps is forbidden: User \"viewer\" cannot create resource \"deployments\" in API group \
         \"apps\" in the namespace \"golden\""
    );
    assert!(api.list(&ListParams::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_crd_serves_its_kind_with_its_own_list_keys() {
    let server = Server::new();
    let crd = json!({"metadata": {"name": "routes.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"plural": "routes", "kind": "Route"}, "versions": [{"name": "v1",
        "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "properties": {"rules": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"},
                    "weight": {"type": "integer"}}}}}}, "status": {"type": "object",
                "x-kubernetes-preserve-unknown-fields": true}}}}}]}});
    server.store().create(start(), "t", KindId::CUSTOM_RESOURCE_DEFINITIONS, crd).expect("created");
    let resource =
        kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("example.com", "v1", "Route"));
    let api: Api<kube::api::DynamicObject> = Api::default_namespaced_with(server.client(), &resource);
    for (manager, name) in [("one", "a"), ("two", "b")] {
        let route = json!({"apiVersion": "example.com/v1", "kind": "Route", "metadata": {"name": "r"},
            "spec": {"rules": [{"name": name, "weight": 1, "ignored": 1}]}});
        let strict = api.patch("r", &PatchParams::apply(manager), &Patch::Apply(&route)).await;
        assert!(matches!(strict, Err(kube::Error::Api(status)) if status.message.contains("not declared")));
        let route = json!({"apiVersion": "example.com/v1", "kind": "Route", "metadata": {"name": "r"},
            "spec": {"rules": [{"name": name, "weight": 1}]}});
        api.patch("r", &PatchParams::apply(manager), &Patch::Apply(&route)).await.expect("applied");
    }
    let route = api.get("r").await.expect("read");
    assert_eq!(route.data["spec"]["rules"].as_array().map(Vec::len), Some(2));
}
