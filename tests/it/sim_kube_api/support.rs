//! A server without a world, raw requests to it, recorded answers, and the fields that differ in every run.

use std::io::Read as _;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use deployctl::sim::kube::ApiService;
use deployctl::sim::kube::host::{Host, Identity, StandaloneHost};
use deployctl::sim::kube::kinds::KindId;
use deployctl::sim::kube::store::Store;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// A cluster on its own.
pub struct Server {
    pub host: Arc<StandaloneHost>,
    pub identity: Identity,
}

pub fn start() -> jiff::Timestamp {
    "2026-11-21T03:16:51Z".parse().expect("a time")
}

impl Server {
    pub fn new() -> Self {
        let host = Arc::new(StandaloneHost::new(Store::new(7), start()));
        let server = Self { host, identity: Identity::admin() };
        server.load(&json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "golden", "labels": {"kubernetes.io/metadata.name": "golden"}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}));
        server
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.host.store().lock().expect("no test panics while it holds the store")
    }

    pub fn service(&self) -> ApiService {
        ApiService::new(Arc::clone(&self.host) as Arc<dyn Host>).with_identity(self.identity.clone())
    }

    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "golden")
    }

    /// Takes an object over as it is.
    pub fn load(&self, object: &Value) {
        let mut store = self.store();
        let kind = kind_of(&store, object);
        store.load(kind, object.clone());
    }

    /// Sends a request; the answer is JSON, or text as a JSON string.
    pub async fn send(&self, request: &Value) -> (u16, Value) {
        let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
        let body = match &request["body"] {
            Value::Null => Bytes::new(),
            Value::String(raw) => raw.clone().into(),
            body => serde_json::to_vec(body).expect("a body").into(),
        };
        let mut builder =
            http::Request::builder().method(&*text("method")).uri(text("path").replace(' ', "%20"));
        builder = builder.header("user-agent", "kubectl/v1.36.2");
        for (header, field) in [("content-type", "contentType"), ("accept", "accept")] {
            if request[field].is_string() {
                builder = builder.header(header, text(field));
            }
        }
        let request = builder.body(Full::new(body)).expect("a request");
        let response = self.service().oneshot(request).await.expect("an answer");
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

pub fn kind_of(store: &Store, object: &Value) -> KindId {
    let text = |field: &str| object[field].as_str().expect("objects have a kind").to_owned();
    store.kinds().of_object(&text("apiVersion"), &text("kind")).expect("the kind is served")
}

/// The recorded exchanges of a file in tests/golden.
pub fn recorded(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).expect("the recording is in the repository");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzipped text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Replaces what differs in every run: uids, times, versions, addresses, generated names.
pub fn normalise(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match name.as_str() {
                    "resourceVersion" | "continue" | "clusterIP" | "nodePort" | "uid"
                        if !value.is_object() =>
                    {
                        *value = json!(format!("<{name}>"));
                    }
                    "clusterIPs" => *value = json!(["<clusterIP>"]),
                    "controller-uid" | "batch.kubernetes.io/controller-uid" if value.is_string() => {
                        *value = json!("<uid>");
                    }
                    "time" | "creationTimestamp" | "deletionTimestamp" | "lastTransitionTime"
                        if value.is_string() =>
                    {
                        *value = json!("<time>");
                    }
                    // the recorded controllers and the recorded server had names of their own
                    "manager" if value == "xapi" => *value = json!("kube-apiserver"),
                    _ => normalise(value),
                }
            }
            if let Some(entries) = fields.get_mut("managedFields").and_then(Value::as_array_mut) {
                // their order follows from times, which are gone now
                entries.sort_by_key(|entry| (entry["operation"].to_string(), entry["manager"].to_string()));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        Value::String(text) => {
            if text.starts_with("kube-api-access-") {
                "kube-api-access-<generated>".clone_into(text);
            }
            if let Some(at) = text.find("too old resource version") {
                text.truncate(at + "too old resource version".len());
            }
        }
        _ => {}
    }
}
