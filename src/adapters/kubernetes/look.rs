//! Objects that somebody waits for, kept current by one LIST+WATCH per kind and namespace for as long as he listens.

use crate::adapters::kubernetes::discovery::Discovery;
use crate::adapters::kubernetes::request::{self, Selection};
use crate::adapters::kubernetes::send::{Api, Patience};
use crate::adapters::kubernetes::tail::{End, GOOD, RETRY_FORBIDDEN, SPAN, Tail, Told};
use crate::domain::object::ObjectRef;
use crate::domain::observed::LiveObjects;
use crate::ports::ClusterError;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// The objects of one kind in one namespace.
struct Group {
    api: Arc<Api>,
    path: String,
    api_version: String,
    kind: String,
    namespace: String,
    names: BTreeSet<String>,
    /// One object alone is asked for by name.
    fields: String,
    sender: watch::Sender<LiveObjects>,
}

/// Begins to watch; ends when the receiver is dropped.
pub(super) async fn watch_objects(
    api: &Arc<Api>,
    discovery: &Discovery,
    objects: &[ObjectRef],
) -> Result<watch::Receiver<LiveObjects>, ClusterError> {
    let (sender, receiver) = watch::channel(LiveObjects::default());
    let mut by_kind: BTreeMap<(&str, &str, &str), BTreeSet<String>> = BTreeMap::new();
    for object in objects {
        let key = (object.api_version.as_str(), object.kind.as_str(), object.namespace.as_str());
        by_kind.entry(key).or_default().insert(object.name.clone());
    }
    let mut groups = Vec::new();
    for ((api_version, kind, namespace), names) in by_kind {
        let first = ObjectRef::new(api_version, kind, namespace, names.first().map_or("", String::as_str));
        let resource = discovery.resource(api, &first, Patience::read()).await?;
        let namespace = if resource.namespaced { namespace } else { "" };
        let fields = if names.len() == 1 { format!("metadata.name={}", first.name) } else { String::new() };
        groups.push(Group {
            api: Arc::clone(api),
            path: request::path(api_version, &resource.plural, namespace, "", ""),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: first.namespace,
            names,
            fields,
            sender: sender.clone(),
        });
    }
    tokio::spawn(async move {
        let all = futures::future::join_all(groups.into_iter().map(Group::follow));
        tokio::select! {
            () = sender.closed() => {}
            _ = all => {}
        }
    });
    Ok(receiver)
}

impl Group {
    async fn follow(self) {
        let mut breaks = 0;
        loop {
            let began = Instant::now();
            let outcome = match self.list().await {
                Ok(version) => self.watch(version).await,
                Err(error) => Err(error),
            };
            let pause = match outcome {
                // Too old, or closed in order after its time: a fresh list is small.
                Ok(()) if began.elapsed() >= GOOD => {
                    breaks = 0;
                    continue;
                }
                Err(error @ (ClusterError::Forbidden { .. } | ClusterError::NotFound { .. })) => {
                    self.refused(&error);
                    RETRY_FORBIDDEN
                }
                // A server (or a proxy) that hangs up at once must not be asked in a tight loop.
                Ok(()) | Err(_) => self.api.pause(&self.path, breaks),
            };
            breaks += 1;
            tokio::time::sleep(pause).await;
        }
    }

    fn references(&self) -> impl Iterator<Item = ObjectRef> + '_ {
        self.names.iter().map(|name| ObjectRef::new(&self.api_version, &self.kind, &self.namespace, name))
    }

    fn reference(&self, object: &Value) -> Option<ObjectRef> {
        let name = object.pointer("/metadata/name")?.as_str()?;
        self.names
            .contains(name)
            .then(|| ObjectRef::new(&self.api_version, &self.kind, &self.namespace, name))
    }

    fn refused(&self, error: &ClusterError) {
        self.sender.send_modify(|live| {
            live.unseen.extend(self.references().map(|reference| (reference, error.to_string())));
        });
    }

    async fn list(&self) -> Result<String, ClusterError> {
        let mut found = Vec::new();
        let mut next = String::new();
        let version = loop {
            let selection = Selection { fields: &self.fields, labels: "" };
            let mut piece: Value =
                self.api.read(&request::list(&self.path, selection, &next), Patience::quick()).await?;
            let items = piece.get_mut("items").map(Value::take);
            if let Some(Value::Array(items)) = items {
                found.extend(items.into_iter().filter_map(|item| Some((self.reference(&item)?, item))));
            }
            let text = |key: &str| piece["metadata"][key].as_str().unwrap_or_default().to_owned();
            request::go_on(&mut next, text("continue"))?;
            if next.is_empty() {
                break text("resourceVersion");
            }
        };
        self.sender.send_modify(|live| {
            for reference in self.references() {
                live.objects.remove(&reference);
                live.unseen.remove(&reference);
                live.looked_for.insert(reference);
            }
            for (reference, mut object) in found {
                // Items of a list do not say what they are.
                object["apiVersion"] = self.api_version.as_str().into();
                object["kind"] = self.kind.as_str().into();
                live.objects.insert(reference, object);
            }
        });
        Ok(version)
    }

    /// Watches from `version` until the watch is over; an error when it could not be had or broke.
    async fn watch(&self, version: String) -> Result<(), ClusterError> {
        let selection = Selection { fields: &self.fields, labels: "" };
        let call = request::watch(&self.path, selection, &version, SPAN);
        let mut tail = match self.api.open(&call).await {
            Ok(body) => Tail::of(&self.path, body),
            Err(ClusterError::Server { code: 410, .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        loop {
            let (told, end) = tail.next().await;
            self.take_in(told);
            match end {
                None => {}
                Some(End::Over | End::Expired) => return Ok(()),
                Some(End::Broken(message)) => {
                    return Err(ClusterError::Unreachable { server: self.api.server.clone(), message });
                }
            }
        }
    }

    fn take_in(&self, told: Vec<Told<Value>>) {
        for told in told {
            let Some(reference) = self.reference(told.object()) else { continue };
            self.sender.send_modify(|live| match told {
                Told::Put(object) => {
                    live.objects.insert(reference, object);
                }
                Told::Gone(_) => {
                    live.objects.remove(&reference);
                }
                Told::Mark(_) => {}
            });
        }
    }
}
