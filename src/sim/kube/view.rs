//! Reading: objects and lists in the form that the client accepts, by selectors, in pages, at a version.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut as _, Bytes, BytesMut};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::api::encode;
use super::errors::ApiStatus;
use super::kinds::{Kind, KindId};
use super::request::RequestInfo;
use super::selectors::{FieldSelector, LabelSelector};
use super::store::Store;
use super::stored::Stored;
use super::table;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Objects as they are.
    Plain,
    /// Metadata only.
    Partial,
    /// Rows and columns.
    Table,
}

impl View {
    /// The form that a client asks for first.
    #[must_use]
    pub fn of(accept: &str) -> Self {
        let first = accept.split(',').next().unwrap_or_default();
        if first.contains("as=Table") {
            Self::Table
        } else if first.contains("as=PartialObjectMetadata") {
            Self::Partial
        } else {
            Self::Plain
        }
    }

    /// One object in this form.
    #[must_use]
    pub fn object(self, store: &Store, kind: KindId, object: &Stored, now: Timestamp) -> Bytes {
        match self {
            Self::Plain => object.bytes(),
            Self::Partial => encode(&partial(object.metadata_for_client())),
            Self::Table => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                encode(&table::table(store.kind_info(kind), &metadata, &[&object.for_client()], now))
            }
        }
    }
}

/// The metadata of an object, as an object of its own.
#[must_use]
pub fn partial(metadata: Value) -> Value {
    let mut partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"});
    partial["metadata"] = metadata;
    partial
}

/// Which objects a list or a watch is about.
#[derive(Clone, Debug)]
pub struct ListOptions {
    pub(crate) kind: KindId,
    pub(crate) namespace: Option<String>,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    limit: usize,
    start: Option<(u64, String)>,
    /// The version asked for, empty if none.
    pub(crate) version: Option<u64>,
    exact: bool,
}

impl ListOptions {
    /// Reads the options of a request.
    pub fn of(info: &RequestInfo, store: &Store, kind: KindId) -> Result<Self, ApiStatus> {
        let fields = FieldSelector::parse(info.param("fieldSelector"))?;
        let described = store.kind_info(kind);
        fields.check(if described.custom { "" } else { &described.plural })?;
        let namespace = (!info.namespace.is_empty()).then(|| info.namespace.clone());
        Ok(Self {
            kind,
            namespace,
            labels: LabelSelector::parse(info.param("labelSelector"))?,
            fields,
            limit: info.param("limit").parse().unwrap_or(0),
            start: parse_continue(info.param("continue"))?,
            version: parse_version(info)?,
            exact: info.param("resourceVersionMatch") == "Exact",
        })
    }

    /// Whether an object is meant.
    #[must_use]
    pub fn selects(&self, object: &Value) -> bool {
        (self.labels.is_empty() || self.labels.matches(&object["metadata"]["labels"]))
            && (self.fields.is_empty() || self.fields.matches(object))
    }

    /// The objects that are meant, before paging.
    pub fn selected(&self, store: &Store) -> Result<Vec<Arc<Stored>>, ApiStatus> {
        let at = match (&self.start, self.version) {
            (Some((version, _)), _) => Some(*version),
            (None, Some(version)) if self.exact => Some(version),
            _ => None,
        };
        let mut objects = match at {
            Some(version) => {
                store.list_at(self.kind, self.namespace.as_deref(), version).map_err(|_| self.expired())?
            }
            None => store.list(self.kind, self.namespace.as_deref()),
        };
        objects.retain(|object| self.selects(object));
        Ok(objects)
    }

    fn expired(&self) -> ApiStatus {
        let why = if self.start.is_some() {
            "The provided continue parameter is too old to display a consistent list result. You can start a new \
             list without the continue parameter."
        } else {
            "The resourceVersion for the provided list is too old."
        };
        ApiStatus::new(410, "Expired", why)
    }

    fn check_version(&self, store: &Store) -> Result<(), ApiStatus> {
        match self.version {
            Some(version) if version > store.version() => Err(ApiStatus {
                details: Some(json!({"causes": [{"reason": "ResourceVersionTooLarge",
                    "message": "Too large resource version"}], "retryAfterSeconds": 1})),
                ..ApiStatus::new(
                    504,
                    "Timeout",
                    format!("Timeout: Too large resource version: {version}, current: {}", store.version()),
                )
            }),
            _ => Ok(()),
        }
    }

    /// The list as a body.
    pub fn list(&self, store: &Store, view: View, now: Timestamp) -> Result<Bytes, ApiStatus> {
        self.check_version(store)?;
        let mut objects = self.selected(store)?;
        let version = match (&self.start, self.version) {
            (Some((version, _)), _) => *version,
            (None, Some(version)) if self.exact => version,
            _ => store.version(),
        };
        if let Some((_, start)) = &self.start {
            objects.retain(|object| self.place(object) >= *start);
        }
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), version.to_string().into());
        if self.limit > 0 && objects.len() > self.limit {
            let rest = objects.split_off(self.limit);
            let last = objects.last().map(|object| self.place(object)).unwrap_or_default();
            let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": format!("{last}\0")});
            metadata.insert("continue".into(), URL_SAFE_NO_PAD.encode(token.to_string()).into());
            if self.labels.is_empty() && self.fields.is_empty() {
                metadata.insert("remainingItemCount".into(), rest.len().into());
            }
        }
        Ok(self.encode(store, view, &metadata, &objects, now))
    }

    /// Where an object stands in the list: its name, with its namespace if the list spans all.
    fn place(&self, object: &Value) -> String {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        match (&self.namespace, object["metadata"]["namespace"].as_str()) {
            // sorts as the pair does, which a slash would not
            (None, Some(namespace)) => format!("{namespace}\u{1}{name}"),
            _ => name.to_owned(),
        }
    }

    fn encode(
        &self,
        store: &Store,
        view: View,
        metadata: &Map<String, Value>,
        objects: &[Arc<Stored>],
        now: Timestamp,
    ) -> Bytes {
        let kind = store.kind_info(self.kind);
        match view {
            View::Table => {
                let rows: Vec<Value> = objects.iter().map(|object| object.for_client()).collect();
                let rows: Vec<&Value> = rows.iter().collect();
                encode(&table::table(kind, &Value::Object(metadata.clone()), &rows, now))
            }
            View::Partial => {
                let items: Vec<Value> =
                    objects.iter().map(|object| partial(object.metadata_for_client())).collect();
                encode(&json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata, "items": items}))
            }
            View::Plain if kind.custom => encode(&json!({"apiVersion": kind.api_version(),
                "kind": format!("{}List", kind.kind), "metadata": metadata,
                "items": objects.iter().map(|object| object.for_client()).collect::<Vec<_>>()})),
            View::Plain => typed_list(kind, metadata, objects),
        }
    }
}

/// A list of a built-in kind, put together from its items as they are written out already.
fn typed_list(kind: &Kind, metadata: &Map<String, Value>, objects: &[Arc<Stored>]) -> Bytes {
    let head =
        encode(&TypedList { kind: format!("{}List", kind.kind), api_version: kind.api_version(), metadata });
    let items: usize = objects.iter().map(|object| object.item_bytes().len() + 1).sum();
    let mut list = BytesMut::with_capacity(head.len() + items + 16);
    list.put_slice(head.strip_suffix(b"}").unwrap_or(&head));
    list.put_slice(b",\"items\":[");
    for (place, object) in objects.iter().enumerate() {
        if place > 0 {
            list.put_u8(b',');
        }
        list.put_slice(object.item_bytes());
    }
    list.put_slice(b"]}");
    list.freeze()
}

/// The beginning of a list.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct TypedList<'a> {
    kind: String,
    api_version: String,
    metadata: &'a Map<String, Value>,
}

/// The version that a request names; a list refuses nonsense as 400, a watch as 500, as the API does.
fn parse_version(info: &RequestInfo) -> Result<Option<u64>, ApiStatus> {
    let text = info.param("resourceVersion");
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let why = format!(
            "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
        );
        ApiStatus::internal(why)
    })
}

fn parse_continue(token: &str) -> Result<Option<(u64, String)>, ApiStatus> {
    if token.is_empty() {
        return Ok(None);
    }
    let decoded: Option<Value> =
        URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let parts = decoded.as_ref().and_then(|token| Some((token["rv"].as_u64()?, token["start"].as_str()?)));
    match parts {
        Some((version, start)) => Ok(Some((version, start.trim_start_matches('/').to_owned()))),
        None => Err(ApiStatus::bad_request("continue key is not valid: illegal base64 data")),
    }
}
