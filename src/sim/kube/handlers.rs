//! What each request does: the way from its path and verb to the store.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::api::{Answer, ApiService, Incoming};
use super::decode::{self, Decoded};
use super::delete::{DeleteOptions, Deleted, Propagation};
use super::errors::{ApiStatus, Cause};
use super::kinds::{Kind, KindId};
use super::patch;
use super::request::RequestInfo;
use super::store::{Key, Store, Stored};
use super::view::{ListOptions, View};
use super::write::{Ownership, Writer};

/// What is answered for paths that lead nowhere.
pub(crate) fn path_not_found() -> ApiStatus {
    ApiStatus::new(404, "PathNotFound", "404 page not found\n")
}

impl ApiService {
    pub(crate) fn dispatch(&self, incoming: &Incoming) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        if info.resource.is_empty() {
            return self.discovery(info);
        }
        if let Some(answer) = self.review(incoming)? {
            return Ok(answer);
        }
        let Some(kind) = self.store().kinds().by_resource(&info.group, &info.version, &info.resource) else {
            return Err(path_not_found());
        };
        if !info.subresource.is_empty() {
            return self.subresource(incoming, kind);
        }
        match info.verb.as_str() {
            "get" => self.get(info, kind),
            "list" => self.list(info, kind),
            "watch" => self.watch(info, kind),
            "create" => self.create(incoming, kind),
            "update" => self.update(incoming, kind, ""),
            "patch" => self.patch(incoming, kind, ""),
            "delete" => self.delete(incoming, kind),
            _ => self.delete_collection(incoming, kind),
        }
    }

    pub(crate) fn writer<'a>(&self, info: &'a RequestInfo, subresource: &'a str) -> Writer<'a> {
        Writer { now: self.host.now(), manager: info.manager(), subresource, dry_run: info.dry_run() }
    }

    pub(crate) fn get(&self, info: &RequestInfo, kind: KindId) -> Result<Answer, ApiStatus> {
        let store = self.store();
        let key = key_of(info, kind);
        let Some(object) = store.peek(&key) else {
            return Err(ApiStatus::not_found(store.kind_info(kind), &info.name));
        };
        Ok(Answer::Json(StatusCode::OK, self.shown(info, &store, kind, object), Vec::new()))
    }

    /// An object in the form that the client asks for.
    fn shown(&self, info: &RequestInfo, store: &Store, kind: KindId, object: &Stored) -> Bytes {
        View::of(&info.accept).object(store, kind, object, self.host.now())
    }

    fn list(&self, info: &RequestInfo, kind: KindId) -> Result<Answer, ApiStatus> {
        let store = self.store();
        let options = ListOptions::of(info, &store, kind)?;
        let bytes = options.list(&store, View::of(&info.accept), self.host.now())?;
        Ok(Answer::Json(StatusCode::OK, bytes, Vec::new()))
    }

    fn create(&self, incoming: &Incoming, kind: KindId) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let mut store = self.store();
        let Decoded { object, warnings } = sent(incoming, &store, kind)?;
        let created = store.create_as(&self.writer(info, ""), kind, object, Ownership::Update)?;
        let warnings = [store.pod_security_warnings(kind, &created), warnings].concat();
        Ok(Answer::Json(StatusCode::CREATED, self.shown(info, &store, kind, &created), warnings))
    }

    pub(crate) fn update(
        &self,
        incoming: &Incoming,
        kind: KindId,
        subresource: &str,
    ) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let mut store = self.store();
        let Decoded { mut object, warnings } = sent(incoming, &store, kind)?;
        check_name(info, &mut object)?;
        let (writer, key) = (self.writer(info, subresource), key_of(info, kind));
        let updated = store.update_as(&writer, &key, object, Ownership::Update)?;
        let warnings = [store.pod_security_warnings(kind, &updated), warnings].concat();
        Ok(Answer::Json(StatusCode::OK, self.shown(info, &store, kind, &updated), warnings))
    }

    pub(crate) fn patch(
        &self,
        incoming: &Incoming,
        kind: KindId,
        subresource: &str,
    ) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let mut store = self.store();
        let writer = self.writer(info, subresource);
        let key = key_of(info, kind);
        let media = info.content_type.split(';').next().unwrap_or_default().trim();
        let (object, code) = if media == "application/apply-patch+yaml" {
            if info.param("fieldManager").is_empty() {
                return Err(missing_manager());
            }
            let config =
                decode::apply_config(info, store.kind_info(kind), &store.shape(kind), &incoming.body)?;
            let (object, created) = store.apply_as(&writer, &key, &config, info.flag("force"))?;
            (object, if created { StatusCode::CREATED } else { StatusCode::OK })
        } else {
            let patched = patched(&store, &key, media, &incoming.body)?;
            let bytes = serde_json::to_vec(&patched).unwrap_or_default();
            decode::object(info, store.kind_info(kind), &store.shape(kind), &bytes)?;
            (store.update_as(&writer, &key, patched, Ownership::Update)?, StatusCode::OK)
        };
        let warnings = store.pod_security_warnings(kind, &object);
        Ok(Answer::Json(code, self.shown(info, &store, kind, &object), warnings))
    }

    fn delete(&self, incoming: &Incoming, kind: KindId) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let options = delete_options(incoming)?;
        let mut store = self.store();
        let deleted = store.delete(self.host.now(), info.manager(), &key_of(info, kind), &options)?;
        // these kinds answer with the object even if it is gone
        let shows_object = matches!(
            kind,
            KindId::PODS
                | KindId::SERVICES
                | KindId::SERVICE_ACCOUNTS
                | KindId::PERSISTENT_VOLUME_CLAIMS
                | KindId::PERSISTENT_VOLUMES
                | KindId::POD_TEMPLATES
                | KindId::RESOURCE_QUOTAS
        );
        match &deleted {
            Deleted::Gone(object) if !shows_object => {
                Ok(Answer::object(StatusCode::OK, &deletion_status(store.kind_info(kind), object)))
            }
            _ => {
                let bytes = self.shown(info, &store, kind, deleted.object());
                Ok(Answer::Json(StatusCode::OK, bytes, Vec::new()))
            }
        }
    }

    fn delete_collection(&self, incoming: &Incoming, kind: KindId) -> Result<Answer, ApiStatus> {
        let info = &incoming.info;
        let options = delete_options(incoming)?;
        let mut store = self.store();
        let list = ListOptions::of(info, &store, kind)?;
        let bytes = list.list(&store, View::Plain, self.host.now())?;
        for object in list.selected(&store)? {
            let key = super::write::key_of(kind, &object);
            store.delete(self.host.now(), info.manager(), &key, &options)?;
        }
        Ok(Answer::Json(StatusCode::OK, bytes, Vec::new()))
    }
}

/// The object of a create or an update, in the namespace that the path names.
fn sent(incoming: &Incoming, store: &Store, kind: KindId) -> Result<Decoded, ApiStatus> {
    let info = &incoming.info;
    let mut sent = decode::object(info, store.kind_info(kind), &store.shape(kind), &incoming.body)?;
    check_namespace(info, store.kind_info(kind), &mut sent.object)?;
    Ok(sent)
}

/// The key that a request's path names.
pub(crate) fn key_of(info: &RequestInfo, kind: KindId) -> Key {
    Key::new(kind, &info.namespace, &info.name)
}

fn missing_manager() -> ApiStatus {
    let cause = Cause::required("fieldManager", "is required for apply patch");
    ApiStatus {
        details: Some(json!({"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [
            {"reason": cause.reason, "message": cause.message, "field": cause.field}]})),
        ..ApiStatus::new(
            422,
            "Invalid",
            format!("PatchOptions.meta.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message),
        )
    }
}

/// The object that a patch makes of the stored one.
fn patched(store: &Store, key: &Key, media: &str, body: &[u8]) -> Result<Value, ApiStatus> {
    let info = store.kind_info(key.kind);
    let Some(object) = store.peek(key) else { return Err(ApiStatus::not_found(info, &key.name)) };
    let object = &object.for_client();
    let parse = || -> Result<Value, ApiStatus> {
        serde_json::from_slice(body)
            .map_err(|error| ApiStatus::bad_request(format!("error decoding patch: {error}")))
    };
    match media {
        "application/json-patch+json" => patch::json_patch(object, &parse()?),
        "application/merge-patch+json" => Ok(patch::merge_patch(object, &parse()?)),
        "application/strategic-merge-patch+json" if !info.custom => {
            let shape = store.shape(key.kind);
            Ok(patch::strategic_merge(shape.schema(), &shape.root, object, &parse()?))
        }
        _ => {
            let strategic = if info.custom { "" } else { ", application/strategic-merge-patch+json" };
            Err(ApiStatus::new(
                415,
                "UnsupportedMediaType",
                format!(
                    "the body of the request was in an unknown format - accepted media types include: \
                     application/json-patch+json, application/merge-patch+json{strategic}, \
                     application/apply-patch+yaml"
                ),
            ))
        }
    }
}

fn check_namespace(info: &RequestInfo, kind: &Kind, object: &mut Value) -> Result<(), ApiStatus> {
    if !kind.namespaced {
        return Ok(());
    }
    let metadata = super::write::metadata_mut(object);
    match metadata.get("namespace").and_then(Value::as_str) {
        None | Some("") => {
            metadata.insert("namespace".into(), info.namespace.clone().into());
            Ok(())
        }
        Some(namespace) if namespace == info.namespace => Ok(()),
        Some(_) => Err(ApiStatus::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

fn check_name(info: &RequestInfo, object: &mut Value) -> Result<(), ApiStatus> {
    let metadata = super::write::metadata_mut(object);
    match metadata.get("name").and_then(Value::as_str) {
        None | Some("") => {
            metadata.insert("name".into(), info.name.clone().into());
            Ok(())
        }
        Some(name) if name == info.name => Ok(()),
        Some(name) => Err(ApiStatus::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            info.name
        ))),
    }
}

/// The options of a delete, from its body and its query.
pub(crate) fn delete_options(incoming: &Incoming) -> Result<DeleteOptions, ApiStatus> {
    let body = decode::optional(&incoming.body)?;
    let info = &incoming.info;
    let policy = body["propagationPolicy"].as_str().unwrap_or_else(|| info.param("propagationPolicy"));
    let propagation = match policy {
        "Foreground" => Some(Propagation::Foreground),
        "Orphan" => Some(Propagation::Orphan),
        "Background" => Some(Propagation::Background),
        _ => None,
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let dry_run = body["dryRun"].as_array().is_some_and(|all| !all.is_empty());
    Ok(DeleteOptions {
        propagation,
        grace_seconds: body["gracePeriodSeconds"]
            .as_i64()
            .or_else(|| info.param("gracePeriodSeconds").parse().ok()),
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        dry_run: dry_run || info.dry_run(),
    })
}

fn deletion_status(kind: &Kind, object: &Value) -> Value {
    let mut details = serde_json::Map::new();
    details.insert("name".into(), object["metadata"]["name"].clone());
    if !kind.group.is_empty() {
        details.insert("group".into(), kind.group.clone().into());
    }
    details.insert("kind".into(), kind.plural.clone().into());
    details.insert("uid".into(), object["metadata"]["uid"].clone());
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
