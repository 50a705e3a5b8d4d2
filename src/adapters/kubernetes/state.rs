//! Records as Secrets: created once, immutable, compressed, checked, in parts where one Secret is too small.
//!
//! The Secret named `APPLICATION.ENVIRONMENT.KIND.NAME` is the record's head; it is written last, so a record is
//! there as a whole or not at all. Further parts are named by their content: one that a dead writer left behind is
//! neither in the way nor ever read.

use crate::adapters::kubernetes::namespace::{
    self, LABEL_APPLICATION, LABEL_ENVIRONMENT, LABEL_MANAGED_BY, MANAGED_BY, dns_part, hex_sha256,
};
use crate::adapters::kubernetes::objects::absent;
use crate::adapters::kubernetes::request::{self, Dependents, Selection};
use crate::adapters::kubernetes::send::{Api, Exchange, Patience};
use crate::ports::state::{Record, RecordKind, StateError};
use crate::ports::{ClusterError, StateStore};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

mod follow;
use follow::Follower;

/// Type of the Secrets.
const TYPE: &str = "deployctl.dev/record";
const LABEL_KIND: &str = "deployctl.dev/record-kind";
const NAME: &str = "deployctl.dev/record-name";
const CHECKSUM: &str = "deployctl.dev/sha256";
const PARTS: &str = "deployctl.dev/parts";
/// Key of the data.
const KEY: &str = "record";
/// Compressed bytes in one Secret; the API server takes 1 MiB.
const PART: usize = 900 * 1024;
/// Largest record that is read back: what would unpack to more is not ours.
const LARGEST: u64 = 256 * 1024 * 1024;
/// Tries to write into a namespace that was made a moment ago.
const FRESH_NAMESPACE_TRIES: u32 = 5;

/// The records of one application and environment in one cluster.
pub struct SecretStore {
    api: Arc<Api>,
    namespace: String,
    application: String,
    environment: String,
    /// Records that we may have written without being told: found identical later, they are ours.
    doubtful: Mutex<BTreeSet<String>>,
}

#[derive(Deserialize)]
struct SecretList {
    metadata: ListMeta,
    items: Option<Vec<Secret>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListMeta {
    r#continue: String,
    #[serde(rename = "resourceVersion")]
    resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Secret {
    metadata: Meta,
    data: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
    #[serde(rename = "resourceVersion")]
    resource_version: String,
    annotations: BTreeMap<String, String>,
}

impl SecretStore {
    pub(crate) fn new(api: Arc<Api>, namespace: &str, application: &str, environment: &str) -> Self {
        Self {
            api,
            namespace: namespace.to_owned(),
            application: dns_part(application, 50),
            environment: dns_part(environment, 40),
            doubtful: Mutex::default(),
        }
    }

    fn path(&self, name: &str) -> String {
        request::path("v1", "secrets", &self.namespace, name, "")
    }

    fn head(&self, kind: RecordKind, name: &str) -> String {
        format!("{}.{}.{}.{}", self.application, self.environment, kind.as_str(), record_part(name))
    }

    fn secret(&self, kind: RecordKind, name: &str, annotations: &Value, data: &[u8]) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": TYPE,
            "immutable": true,
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": {
                    LABEL_MANAGED_BY: MANAGED_BY,
                    LABEL_APPLICATION: self.application,
                    LABEL_ENVIRONMENT: self.environment,
                    LABEL_KIND: kind.as_str(),
                },
                "annotations": annotations,
            },
            "data": { KEY: BASE64.encode(data) },
        })
    }

    /// Creates a Secret, and the namespace on the way if it is missing.
    async fn post(&self, secret: &Value) -> Exchange {
        // Whether a second try meets our own first one is told by the content.
        let call = request::create(&self.path(""), secret);
        let patience = Patience::write();
        let mut tries = 0;
        loop {
            let exchange = self.api.exchange(&call, patience).await;
            if !matches!(exchange.result, Err(ClusterError::NotFound { .. }))
                || tries == FRESH_NAMESPACE_TRIES
            {
                return exchange;
            }
            if tries > 0 {
                // The admission of a fresh namespace lags behind its creation.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            if let Err(error) = namespace::ensure(&self.api, &self.namespace, patience).await {
                return Exchange { result: Err(error), ..exchange };
            }
            tries += 1;
        }
    }

    fn doubt(&self, head: &str) {
        self.doubtful.lock().expect("no panic while held").insert(head.to_owned());
    }

    fn is_doubtful(&self, head: &str) -> bool {
        self.doubtful.lock().expect("no panic while held").contains(head)
    }

    /// Whether the record that exists has this content.
    async fn is_identical(&self, head: &str, checksum: &str) -> Result<bool, ClusterError> {
        let call = request::get_metadata(&self.path(head));
        let found: Option<Secret> = absent(self.api.read(&call, Patience::read()).await)?;
        Ok(found
            .is_some_and(|secret| secret.metadata.annotations.get(CHECKSUM).is_some_and(|c| c == checksum)))
    }

    async fn secrets(&self, kind: RecordKind) -> Result<Vec<Secret>, StateError> {
        let found = read_all(&self.api, &self.path(""), &self.labels(kind), Patience::read).await;
        found.map(|(secrets, _)| secrets).map_err(state_error)
    }

    fn labels(&self, kind: RecordKind) -> String {
        format!(
            "{LABEL_APPLICATION}={},{LABEL_ENVIRONMENT}={},{LABEL_KIND}={}",
            self.application,
            self.environment,
            kind.as_str()
        )
    }
}

/// All Secrets with these labels, and the version at which that was so.
async fn read_all(
    api: &Api,
    path: &str,
    labels: &str,
    patience: fn() -> Patience,
) -> Result<(Vec<Secret>, String), ClusterError> {
    let selection = Selection { fields: "", labels };
    let mut secrets = Vec::new();
    let mut next = String::new();
    loop {
        let call = request::list(path, selection, &next);
        let piece: SecretList = match api.read(&call, patience()).await {
            Ok(piece) => piece,
            Err(ClusterError::Server { code: 410, .. }) if !next.is_empty() => {
                secrets.clear();
                next.clear();
                continue;
            }
            Err(error) => return Err(error),
        };
        secrets.extend(piece.items.unwrap_or_default());
        request::go_on(&mut next, piece.metadata.r#continue)?;
        if next.is_empty() {
            return Ok((secrets, piece.metadata.resource_version));
        }
    }
}

/// The records that these Secrets are, sorted by name; those that cannot be read with what is wrong.
fn records<'s>(secrets: impl Iterator<Item = &'s Secret> + Clone, prefix: &str) -> Vec<Record> {
    let by_name = by_name(secrets.clone());
    let found: BTreeMap<&str, &Secret> =
        heads(secrets).filter(|(name, _)| name.starts_with(prefix)).collect();
    found.into_iter().map(|(name, head)| record(name, head, &by_name)).collect()
}

fn by_name<'s>(secrets: impl Iterator<Item = &'s Secret>) -> BTreeMap<&'s str, &'s Secret> {
    secrets.map(|secret| (secret.metadata.name.as_str(), secret)).collect()
}

/// The Secrets that are heads, by the names of their records.
fn heads<'s>(secrets: impl Iterator<Item = &'s Secret>) -> impl Iterator<Item = (&'s str, &'s Secret)> {
    secrets.filter_map(|head| Some((head.metadata.annotations.get(NAME)?.as_str(), head)))
}

fn record(name: &str, head: &Secret, by_name: &BTreeMap<&str, &Secret>) -> Record {
    let (content, damage) = match read_record(head, by_name) {
        Ok(content) => (content, None),
        Err(wrong) => (Vec::new(), Some(wrong)),
    };
    Record { name: name.to_owned(), content, damage }
}

impl std::fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretStore").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

#[async_trait]
impl StateStore for SecretStore {
    async fn create(&self, kind: RecordKind, name: &str, content: &[u8]) -> Result<(), StateError> {
        let head = self.head(kind, name);
        let packed = pack(content);
        let mut chunks = packed.chunks(PART);
        let first = chunks.next().unwrap_or_default();
        let mut further = Vec::new();
        for (index, chunk) in chunks.enumerate() {
            let part = part_name(&head, index + 2, chunk);
            // One that is there already holds the same bytes: its name says so.
            match self.post(&self.secret(kind, &part, &json!({}), chunk)).await.result {
                Ok(_) | Err(ClusterError::Conflict { .. }) => further.push(part),
                Err(error) => return Err(state_error(error)),
            }
        }
        let checksum = hex_sha256(content);
        let annotations = json!({ NAME: name, CHECKSUM: checksum, PARTS: further.join(",") });
        let exchange = self.post(&self.secret(kind, &head, &annotations, first)).await;
        match exchange.result {
            Ok(_) => Ok(()),
            Err(ClusterError::Conflict { .. }) => {
                if exchange.maybe_done_before {
                    // Whatever becomes of the look at it: the next attempt must not take it for somebody else's.
                    self.doubt(&head);
                }
                if self.is_doubtful(&head) {
                    if self.is_identical(&head, &checksum).await.map_err(state_error)? {
                        return Ok(());
                    }
                    // Records do not change: it is somebody else's for good.
                    self.doubtful.lock().expect("no panic while held").remove(&head);
                }
                Err(StateError::Exists { name: name.to_owned() })
            }
            Err(error) => {
                let error = state_error(error);
                if matches!(error, StateError::Unreachable { .. }) {
                    self.doubt(&head);
                }
                Err(error)
            }
        }
    }

    async fn list(&self, kind: RecordKind, prefix: &str) -> Result<Vec<Record>, StateError> {
        Ok(records(self.secrets(kind).await?.iter(), prefix))
    }

    /// Only this one is unpacked.
    async fn newest(&self, kind: RecordKind) -> Result<Option<Record>, StateError> {
        let secrets = self.secrets(kind).await?;
        let last = heads(secrets.iter()).max_by_key(|(name, _)| *name);
        Ok(last.map(|(name, head)| record(name, head, &by_name(secrets.iter()))))
    }

    fn place(&self, kind: RecordKind, name: &str) -> String {
        format!("-n {} secret/{}", self.namespace, self.head(kind, name))
    }

    fn follow(&self, kind: RecordKind, prefix: &str) -> watch::Receiver<Option<Vec<Record>>> {
        let (sender, receiver) = watch::channel(None);
        let follower = Follower {
            api: Arc::clone(&self.api),
            path: self.path(""),
            labels: self.labels(kind),
            prefix: prefix.to_owned(),
            secrets: BTreeMap::new(),
            sender,
        };
        tokio::spawn(follower.run());
        receiver
    }

    async fn delete(&self, kind: RecordKind, name: &str) -> Result<(), StateError> {
        let head = self.head(kind, name);
        let call = request::get_metadata(&self.path(&head));
        let patience = Patience::write();
        let found: Option<Secret> = absent(self.api.read(&call, patience).await).map_err(state_error)?;
        let Some(secret) = found else { return Ok(()) };
        // The head first: what has none is no record.
        for name in std::iter::once(head.as_str()).chain(further_parts(&secret)) {
            let call = request::delete(&self.path(name), Dependents::Later, "");
            absent(self.api.call(&call, patience).await).map_err(state_error)?;
        }
        Ok(())
    }
}

/// A record's name as the end of a Secret's name. Dots stay where they part what a Secret may be named.
fn record_part(name: &str) -> String {
    let plain = name.len() <= 120 && name.split('.').all(|part| dns_part(part, 63) == part);
    if plain { name.to_owned() } else { dns_part(name, 63) }
}

/// Name of a further part, by number and content. [`dns_part`] makes no record's name end so.
fn part_name(head: &str, number: usize, chunk: &[u8]) -> String {
    format!("{head}.p{number}-x{}", &hex_sha256(chunk)[..16])
}

fn further_parts(head: &Secret) -> impl Iterator<Item = &str> {
    head.metadata
        .annotations
        .get(PARTS)
        .map(String::as_str)
        .unwrap_or_default()
        .split(',')
        .filter(|p| !p.is_empty())
}

fn pack(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}

/// The content of a record, put together and checked.
fn read_record(head: &Secret, by_name: &BTreeMap<&str, &Secret>) -> Result<Vec<u8>, String> {
    let mut packed = Vec::new();
    let parts = further_parts(head).map(|name| by_name.get(name).copied().ok_or(name));
    for part in std::iter::once(Ok(head)).chain(parts) {
        let part = part.map_err(|name| format!("its part {name} is missing"))?;
        let text = part.data.get(KEY).ok_or_else(|| format!("the Secret {} is empty", part.metadata.name))?;
        let bytes = BASE64.decode(text).map_err(|e| format!("the Secret {}: {e}", part.metadata.name))?;
        packed.extend_from_slice(&bytes);
    }
    let mut content = Vec::new();
    GzDecoder::new(packed.as_slice())
        .take(LARGEST)
        .read_to_end(&mut content)
        .map_err(|e| format!("it does not unpack: {e}"))?;
    let wanted = head.metadata.annotations.get(CHECKSUM).map(String::as_str).unwrap_or_default();
    if hex_sha256(&content) != wanted {
        return Err("its checksum is wrong".to_owned());
    }
    Ok(content)
}

fn state_error(error: ClusterError) -> StateError {
    match error {
        ClusterError::Unreachable { .. } | ClusterError::Server { code: 401 | 429 | 500.., .. } => {
            StateError::Unreachable { message: error.to_string() }
        }
        ClusterError::Contested { .. } => StateError::Forbidden { message: error.to_string() },
        ClusterError::NotFound { message }
        | ClusterError::Conflict { message }
        | ClusterError::Forbidden { message }
        | ClusterError::Invalid { message }
        | ClusterError::Server { message, .. } => StateError::Forbidden { message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_names_keep_their_dots_and_never_look_like_parts() {
        assert_eq!(
            record_part("shop.production.20260105-030000-1-00012"),
            "shop.production.20260105-030000-1-00012"
        );
        let part = part_name("shop.production.plan.a", 2, b"x");
        let own = part.strip_prefix("shop.production.plan.").unwrap();
        assert_ne!(record_part(own), own);
        for odd in ["A", "a..b", "a.", ".a", "a/b", &"a.".repeat(100)] {
            let part = record_part(odd);
            assert_ne!(part, odd);
            assert_eq!(dns_part(&part.replace('x', "y"), 63), part.replace('x', "y"));
        }
    }

    #[test]
    fn a_record_is_put_together_from_its_parts_and_checked() {
        let content: Vec<u8> =
            (0..4000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let packed = pack(&content);
        let (first, second) = packed.split_at(packed.len() / 2);
        let secret = |name: &str, annotations: &[(&str, String)], data: &[u8]| Secret {
            metadata: Meta {
                name: name.to_owned(),
                resource_version: String::new(),
                annotations: annotations.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
            },
            data: BTreeMap::from([(KEY.to_owned(), BASE64.encode(data))]),
        };
        let head = secret("h", &[(PARTS, "p2".into()), (CHECKSUM, hex_sha256(&content))], first);
        let tail = secret("p2", &[], second);
        let both = BTreeMap::from([("h", &head), ("p2", &tail)]);
        assert_eq!(read_record(&head, &both), Ok(content.clone()));

        let alone = BTreeMap::from([("h", &head)]);
        assert_eq!(read_record(&head, &alone), Err("its part p2 is missing".to_owned()));
        let other = secret("h", &[(CHECKSUM, hex_sha256(b"other"))], &packed);
        assert_eq!(read_record(&other, &alone), Err("its checksum is wrong".to_owned()));
        let torn = secret("h", &[(CHECKSUM, hex_sha256(&content))], first);
        assert!(read_record(&torn, &alone).unwrap_err().starts_with("it does not unpack"));
    }
}
