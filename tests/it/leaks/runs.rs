//! Whole runs against the simulated clusters, whose server quotes what it was sent, and whose containers print what they
//! were given.

use super::forms::{FROM_ENV, FROM_FILE, IN_DATA, IN_MANIFEST, IN_PULL, LIVE, OPEN, REFERRED, clean, found};
use crate::support::{Life, Story, Told, copy, virtually};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::cli::report::{self, Format, Output};
use deployctl::config::{self, Overrides};
use deployctl::domain::environment::Environment;
use deployctl::domain::secret::{SecretRef, SecretValue};
use deployctl::plan::file;
use deployctl::ports::Clock;
use deployctl::ports::secrets::{SecretError, Secrets};
use deployctl::ports::state::RecordKind;
use deployctl::run::Ending;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tower::ServiceExt as _;

/// A copy of the shop that has secrets of every kind.
pub struct Shop(pub PathBuf);

impl Shop {
    pub fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("deployctl-leaks-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shop")), &root);
        std::fs::write(root.join("pass"), format!("{FROM_FILE}\n")).unwrap();
        let env = root.join("environments/canary.yaml");
        let mut text = std::fs::read_to_string(&env).unwrap();
        let secrets = format!(
            "secrets: {{db: {{PASSWORD: '${{env:LEAK_ENV}}', PIN: '${{file:{}}}'}}}}\n",
            root.join("pass").display()
        );
        text.push_str(&secrets);
        std::fs::write(env, text).unwrap();
        let pull =
            json!({"auths": {"ghcr.io": {"auth": STANDARD.encode(format!("bot:{IN_PULL}"))}}}).to_string();
        let secrets = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: plain}}\nstringData: {{token: {IN_MANIFEST:?}}}\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: data, annotations: {{deployctl.dev/name: keep}}}}\n\
             data: {{key: {}}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: pull}}\n\
             type: kubernetes.io/dockerconfigjson\ndata: {{.dockerconfigjson: {}}}\n",
            STANDARD.encode(IN_DATA),
            STANDARD.encode(pull),
        );
        std::fs::write(root.join("manifests/api/secrets.yaml"), secrets).unwrap();
        Self(root)
    }

    fn environment(&self) -> Environment {
        config::load(&self.0, "canary", &Overrides::default())
            .unwrap_or_else(|wrong| panic!("{wrong}"))
            .environment
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where the environment's secrets come from.
struct Canaries {
    /// Another value than before.
    other: AtomicBool,
}

#[async_trait]
impl Secrets for Canaries {
    async fn read(&self, reference: &SecretRef) -> Result<SecretValue, SecretError> {
        let value = match reference {
            SecretRef::Env(_) if self.other.load(Ordering::SeqCst) => LIVE,
            SecretRef::Env(_) => FROM_ENV,
            _ => FROM_FILE,
        };
        Ok(SecretValue::new(value.to_owned()))
    }
}

/// What a server says that quotes.
#[derive(Default)]
struct Talk {
    /// Whether it refuses Secrets, in these words: the whole of what it was sent.
    refuses: AtomicBool,
    refused: AtomicUsize,
    logs: AtomicUsize,
}

fn answer<E>(code: u16, body: Vec<u8>) -> Response<UnsyncBoxBody<Bytes, E>> {
    let body = Full::from(body).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).body(body).unwrap()
}

/// The story's clusters behind a server that quotes and containers that print.
fn talkative(story: &Story, talk: &Arc<Talk>, secrets: Arc<Canaries>) -> Story {
    let mut own = story.under(story.env.clone());
    own.doors.secrets = secrets;
    let env = &story.env;
    for (target, site) in &mut own.doors.sites {
        let (api, talk) = (story.world.api(target.as_str()), Arc::clone(talk));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (api, talk) = (api.clone(), Arc::clone(&talk));
            async move {
                let path = request.uri().path().to_owned();
                if path.ends_with("/log") {
                    talk.logs.fetch_add(1, Ordering::SeqCst);
                    let lines = REFERRED.iter().chain(&OPEN).map(|canary| {
                        format!(
                            "2026-01-05T03:00:00Z cannot log in with {canary} or {}\n",
                            STANDARD.encode(canary)
                        )
                    });
                    return Ok(answer(200, lines.collect::<String>().into_bytes()));
                }
                let writes = request.method() == Method::PATCH && path.contains("/secrets/");
                if writes && path.contains("/shop/") && talk.refuses.load(Ordering::SeqCst) {
                    talk.refused.fetch_add(1, Ordering::SeqCst);
                    let sent = request
                        .into_body()
                        .collect()
                        .await
                        .map(http_body_util::Collected::to_bytes)
                        .unwrap_or_default();
                    let sent = String::from_utf8_lossy(&sent).into_owned();
                    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422,
                        "reason": "Invalid", "message": format!("Secret is invalid: unexpected {sent}")});
                    return Ok(answer(422, status.to_string().into_bytes()));
                }
                api.oneshot(request).await
            }
        });
        let cluster =
            KubeCluster::new(kube::Client::new(service, "default"), target.to_string()).with_seed(1);
        let clock: Arc<dyn Clock> = Arc::new(story.world.clock());
        site.state = Arc::new(cluster.state_store(&env.state_namespace, &env.application, &env.name));
        site.lock = Arc::new(cluster.lock(&env.state_namespace, &env.application, &env.name, clock));
        site.cluster = Some(Arc::new(cluster));
    }
    own
}

/// All that is left behind in the clusters, and what it may hold.
async fn left_behind(story: &Story) {
    for (target, site) in &story.doors.sites {
        for kind in [RecordKind::Plan, RecordKind::Journal, RecordKind::Release, RecordKind::Intent] {
            for record in site.state.list(kind, "").await.unwrap() {
                let place = format!("{kind:?} {} of {target}", record.name);
                clean(&place, &String::from_utf8_lossy(&record.content), &REFERRED);
                let mut content: Value = serde_json::from_slice(&record.content).unwrap();
                // The objects of a release: the one thing in the records that may say what a manifest says.
                content.as_object_mut().unwrap().remove("objects");
                clean(&place, &content.to_string(), &[&OPEN[..], &[LIVE]].concat());
            }
        }
        for object in story.world.snapshot(target.as_str()) {
            let mut object: Value = (**object).clone();
            let name = format!("{} {} of {target}", object["kind"], object["metadata"]["name"]);
            if object["kind"] == "Secret" {
                for field in ["data", "stringData"] {
                    object.as_object_mut().unwrap().remove(field);
                }
            }
            clean(&name, &object.to_string(), &[&REFERRED[..], &OPEN[..], &[LIVE]].concat());
        }
    }
}

fn all() -> Vec<&'static str> {
    [&REFERRED[..], &OPEN[..], &[LIVE]].concat()
}

fn told(place: &str, told: &Told, life: &Life) {
    for event in told.0.lock().unwrap().iter() {
        clean(place, &format!("{event:?}"), &all());
        clean(place, &serde_json::to_string(event).unwrap(), &all());
    }
    clean(place, &format!("{life:?}"), &all());
}

async fn plans(place: &str, story: &Story, version: &str) {
    let plan = story.plan(version).await;
    clean(place, &String::from_utf8_lossy(&file::write(&plan)), &REFERRED);
    for format in [Format::Human, Format::Json, Format::Github] {
        let shown = report::plan::render(&plan, &Output { format, ..Output::plain() });
        clean(place, &shown, &all());
    }
}

#[test]
fn no_run_tells_or_leaves_behind_a_secret_however_it_ends() {
    let shop = Shop::new("runs");
    virtually(shop.environment(), 11, async |story| {
        let talk = Arc::new(Talk::default());
        let secrets = Arc::new(Canaries { other: AtomicBool::new(false) });
        let story = &talkative(story, &talk, Arc::clone(&secrets));

        plans("the first plan", story, "1.0.0").await;
        let report = Told::default();
        let life = story.deploy("1.0.0", &report).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        told("a deployment", &report, &life);
        left_behind(story).await;

        // Pods that crash, and say with what.
        story.world.mark_stable();
        story.world.add_fault(&"crash-loop:api".parse().unwrap());
        let report = Told::default();
        let life = story.deploy("1.1.0", &report).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        assert!(talk.logs.load(Ordering::SeqCst) > 0, "no log was read");
        let lines = format!("{:?}", report.0.lock().unwrap());
        assert!(lines.contains("cannot log in with [hidden]"), "the log is not shown at all: {lines}");
        told("a rollback", &report, &life);
        left_behind(story).await;

        // Another value, and a server that quotes it.
        secrets.other.store(true, Ordering::SeqCst);
        plans("a plan with another value", story, "1.2.0").await;
        talk.refuses.store(true, Ordering::SeqCst);
        let report = Told::default();
        let life = story.deploy("1.2.0", &report).await;
        assert!(talk.refused.load(Ordering::SeqCst) > 0, "no Secret was refused");
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        let lines = format!("{:?}", report.0.lock().unwrap());
        assert!(lines.contains("Secret is invalid"), "the refusal is not shown at all: {lines}");
        told("a refused Secret", &report, &life);
        left_behind(story).await;

        // The search finds what is there: the application's own Secrets.
        let secrets: Vec<Value> = story
            .world
            .snapshot("west")
            .iter()
            .map(|o| (***o).clone())
            .filter(|o: &Value| o["kind"] == "Secret")
            .collect();
        let text = serde_json::to_string(&secrets).unwrap();
        for canary in [FROM_ENV, FROM_FILE, IN_MANIFEST, IN_DATA] {
            assert!(!found(&text, &[canary]).is_empty(), "{canary} did not even reach the application");
        }
    });
}
