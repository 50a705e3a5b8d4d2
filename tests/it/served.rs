//! Kinds that are neither built in nor part of the release: what they look like is asked of the server, once, and only
//! where a release holds one.

use crate::apply::request;
use crate::support::{Story, environment, virtually};
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::definitions::ApiKind;
use deployctl::domain::ids::TargetId;
use deployctl::plan::{Action, Plan};
use deployctl::ports::Cluster;
use deployctl::ports::cluster::Terms;
use deployctl::run::World;
use deployctl::run::prepare;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tower::ServiceExt as _;

/// What happens to questions for documents: nothing, or this answer; `None` never comes.
pub type Trouble = Option<(u16, &'static str)>;

/// The east with all questions for documents written down.
pub struct Server {
    /// Paths of the questions.
    pub asked: Arc<Mutex<Vec<String>>>,
    pub cluster: Arc<dyn Cluster>,
}

impl Server {
    pub fn new(story: &Story, cache: Option<&Folder>) -> Self {
        Self::build(story, cache, |_| None)
    }

    /// A server that answers questions for some documents otherwise.
    fn troubled(story: &Story, trouble: Trouble, path: &'static str) -> Self {
        Self::build(story, None, move |asked| asked.starts_with(path).then_some(trouble))
    }

    fn build(
        story: &Story,
        cache: Option<&Folder>,
        trouble: impl Fn(&str) -> Option<Trouble> + Send + Clone + 'static,
    ) -> Self {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (api, log) = (story.world.api("east"), Arc::clone(&asked));
        let service = tower::service_fn(move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let found = path.starts_with("/openapi").then(|| trouble(&path)).flatten();
            if path.starts_with("/openapi") {
                log.lock().unwrap().push(path);
            }
            let answer = api.clone().oneshot(request);
            async move {
                match found {
                    None => answer.await,
                    Some(None) => std::future::pending().await,
                    Some(Some((code, text))) => {
                        let body = Full::from(text).map_err(|never| match never {}).boxed_unsync();
                        let code = StatusCode::from_u16(code).unwrap();
                        Ok(Response::builder().status(code).body(body).unwrap())
                    }
                }
            }
        });
        let mut cluster = KubeCluster::new(kube::Client::new(service, "default"), "east");
        if let Some(cache) = cache {
            cluster = cluster.with_document_cache(cache.0.clone());
        }
        Self { asked, cluster: Arc::new(cluster) }
    }

    /// The story's world, with this server in the east, and no west.
    pub fn world(&self, story: &Story) -> World {
        let mut world = story.doors.clone();
        world.sites.retain(|target, _| *target == TargetId::from("east"));
        world.sites.get_mut(&TargetId::from("east")).unwrap().cluster = Some(Arc::clone(&self.cluster));
        world
    }

    pub async fn plan(&self, story: &Story, objects: &[Value]) -> Plan {
        prepare::plan(&self.world(story), &request(story, objects)).await.unwrap()
    }

    /// What was asked since the last look.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("deployctl-{name}-{}", std::process::id()));
        // One of an earlier run, if there is any.
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const INDEX: &str = "/openapi/v3";
const DOCUMENT: &str = "/openapi/v3/apis/sea.example.com/v1";

/// Fleets: their ships are told apart by berth, which nobody would guess.
fn crd(more: &Value) -> Value {
    let mut ship = json!({"berth": {"type": "integer"}, "sails": {"type": "integer", "default": 2}});
    ship.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let ships = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["berth"],
        "items": {"type": "object", "required": ["berth"], "properties": ship}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "fleets.sea.example.com"},
        "spec": {
            "group": "sea.example.com", "scope": "Namespaced",
            "names": {"kind": "Fleet", "listKind": "FleetList", "plural": "fleets", "singular": "fleet"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "ships": ships, "port": {"x-kubernetes-int-or-string": true},
                    "flags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}}}}}}],
        },
    })
}

pub async fn define(story: &Story, more: Value) {
    let cluster = story.doors.sites[&TargetId::from("east")].cluster().unwrap();
    cluster.apply(&crd(&more), Terms::FORCED).await.unwrap();
}

pub fn fleet(ships: &[(u8, u8)]) -> Value {
    let ships: Vec<Value> =
        ships.iter().map(|(berth, sails)| json!({"berth": berth, "sails": sails})).collect();
    json!({"apiVersion": "sea.example.com/v1", "kind": "Fleet", "metadata": {"name": "home", "namespace": "default"},
        "spec": {"ships": ships, "port": 80, "flags": ["a", "b"]}})
}

fn fields(plan: &Plan) -> Vec<String> {
    let changes = &plan.targets[&TargetId::from("east")].changes;
    let fleet = changes.iter().find(|change| change.object.kind == "Fleet").unwrap();
    assert_eq!(fleet.action == Action::Keep, fleet.fields.is_empty());
    fleet.fields.iter().map(|field| field.path.clone()).collect()
}

#[test]
fn items_of_a_kind_that_the_server_defines_are_told_apart_by_its_keys() {
    virtually(environment("canary"), 3, async |story| {
        define(story, json!({})).await;
        let server = Server::new(story, None);
        server.cluster.apply(&fleet(&[(1, 2), (2, 2)]), Terms::FORCED).await.unwrap();

        let reordered = server.plan(story, &[fleet(&[(2, 2), (1, 2)])]).await;
        assert_eq!(fields(&reordered), Vec::<String>::new());
        let changed = server.plan(story, &[fleet(&[(3, 2), (2, 4), (1, 2)])]).await;
        assert_eq!(fields(&changed), ["spec.ships[berth=3]", "spec.ships[berth=2].sails"]);
        assert_eq!(server.asked(), [INDEX, DOCUMENT], "once a command, however many plans it makes");

        server.cluster.apply(&fleet(&[(3, 2), (2, 4), (1, 2)]), Terms::FORCED).await.unwrap();
        assert!(fields(&server.plan(story, &[fleet(&[(3, 2), (2, 4), (1, 2)])]).await).is_empty());
    });
}

#[test]
fn an_ordinary_release_asks_for_no_documents() {
    virtually(environment("canary"), 3, async |story| {
        define(story, json!({})).await;
        let server = Server::new(story, None);
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "shop"},
            "spec": {"ports": [{"port": 80}]}});
        server.plan(story, &[service, fleet(&[(1, 2)]), crd(&json!({}))]).await;
        assert_eq!(server.asked(), Vec::<String>::new());
    });
}

#[test]
fn a_document_is_fetched_again_only_if_it_changed() {
    virtually(environment("canary"), 3, async |story| {
        define(story, json!({})).await;
        let cache = Folder::new("documents");
        let next_command = async |expected: &[&str]| {
            let server = Server::new(story, Some(&cache));
            let plan = server.plan(story, &[fleet(&[(1, 2)])]).await;
            assert_eq!(server.asked(), expected);
            plan
        };
        next_command(&[INDEX, DOCUMENT]).await;
        next_command(&[INDEX]).await;
        let files = cache.files();
        assert_eq!(files.len(), 1);
        std::fs::write(&files[0], "broken").unwrap();
        next_command(&[INDEX, DOCUMENT]).await;
        next_command(&[INDEX]).await;

        define(story, json!({"captain": {"type": "string"}})).await;
        next_command(&[INDEX, DOCUMENT]).await;
        next_command(&[INDEX]).await;
        assert_eq!(cache.files().len(), 2);
    });
}

#[test]
fn a_server_without_documents_holds_nothing_up() {
    virtually(environment("canary"), 3, async |story| {
        define(story, json!({})).await;
        let healthy = Server::new(story, None);
        healthy.cluster.apply(&fleet(&[(1, 2), (2, 2)]), Terms::FORCED).await.unwrap();
        for (trouble, path) in [
            (Some((404, "404 page not found")), INDEX),
            (Some((403, "")), INDEX),
            (Some((200, "<html>")), INDEX),
            (Some((200, "{}")), INDEX),
            (
                Some((
                    200,
                    r#"{"paths": {"apis/sea.example.com/v1": {"serverRelativeURL": "https://elsewhere"}}}"#,
                )),
                INDEX,
            ),
            (Some((503, "service unavailable")), DOCUMENT),
            (Some((200, "{\"components\": 7}")), DOCUMENT),
            (None, DOCUMENT),
            (None, INDEX),
        ] {
            let began = tokio::time::Instant::now();
            let server = Server::troubled(story, trouble, path);
            let plan = server.plan(story, &[fleet(&[(1, 2), (2, 4)])]).await;
            assert_eq!(fields(&plan), ["spec.ships[1].sails"], "{trouble:?} at {path}");
            assert!(began.elapsed().as_secs() < 12, "{trouble:?} at {path}: {:?}", began.elapsed());
        }
        let other = ApiKind { api_version: "sky.example.com/v1".into(), kind: "Plane".into() };
        assert!(healthy.cluster.schemas(&[other]).await.is_empty());
    });
}
