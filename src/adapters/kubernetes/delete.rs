//! Deleting an object and waiting, by watching, until it is gone.
//!
//! Its dependents go first, which takes the server's garbage collector to let it go. The collector looks for kinds that were
//! defined since only every 30 seconds: the first objects of a new kind may take that long, whoever deletes them.

use crate::adapters::kubernetes::KubeCluster;
use crate::adapters::kubernetes::request::{self, Dependents, Selection};
use crate::adapters::kubernetes::send::Patience;
use crate::adapters::kubernetes::tail::{SPAN, Tail, Told};
use crate::domain::object::ObjectRef;
use crate::ports::ClusterError;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long an object may take to go. Longer means that a finalizer's owner does not answer.
const LIMIT: Duration = Duration::from_mins(5);
/// Between reads where watching is not allowed.
const POLL: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Listed {
    metadata: ListMeta,
    #[serde(default)]
    items: Option<Vec<Doomed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
}

#[derive(Deserialize)]
struct Doomed {
    metadata: DoomedMeta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DoomedMeta {
    uid: String,
    finalizers: Vec<String>,
}

/// What a look at the object showed.
enum Look {
    Gone,
    /// Still there; the version to watch from, if watching is allowed.
    Held {
        finalizers: Vec<String>,
        version: Option<String>,
    },
}

impl KubeCluster {
    pub(crate) async fn delete_object(&self, object: &ObjectRef) -> Result<(), ClusterError> {
        // One patience for all that goes before the write: it must not outlive the lease that its sender has asked for.
        let patience = Patience::write();
        let path = match self.discovery.path(&self.api, object, "", patience).await {
            Ok(path) => path,
            Err(ClusterError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Its identity first: an object of that name which somebody creates anew is not the one we wait for.
        let read = self.api.read::<Doomed>(&request::get_metadata(&path), patience).await;
        let uid = match read {
            Ok(doomed) => doomed.metadata.uid,
            Err(ClusterError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        match self.api.call(&request::delete(&path, Dependents::First, &uid), patience).await {
            Ok(_) => self.await_absence(object, &path, &uid).await,
            Err(ClusterError::NotFound { .. }) => Ok(()),
            // Somebody deleted it and made another of that name: that one nobody asked us to delete.
            Err(error @ ClusterError::Conflict { .. }) => {
                let gone = matches!(self.look_once(object, &path, &uid).await?, Look::Gone);
                if gone { Ok(()) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    async fn look_once(&self, object: &ObjectRef, path: &str, uid: &str) -> Result<Look, ClusterError> {
        let collection = path.rsplit_once('/').map_or(path, |(collection, _)| collection);
        let field = format!("metadata.name={}", object.name);
        self.look(path, collection, Selection { fields: &field, labels: "" }, uid).await
    }

    async fn await_absence(&self, object: &ObjectRef, path: &str, uid: &str) -> Result<(), ClusterError> {
        let collection = path.rsplit_once('/').map_or(path, |(collection, _)| collection);
        let field = format!("metadata.name={}", object.name);
        let selection = Selection { fields: &field, labels: "" };
        let limit = Instant::now() + LIMIT;
        let mut tries = 0;
        loop {
            let (held, watch_from) = match self.look(path, collection, selection, uid).await {
                Ok(Look::Gone) => return Ok(()),
                Ok(Look::Held { finalizers, version }) => (finalizers, version),
                Err(ClusterError::Unreachable { .. }) if Instant::now() < limit => (Vec::new(), None),
                Err(error) => return Err(error),
            };
            if Instant::now() >= limit {
                let by = if held.is_empty() { "its dependents".to_owned() } else { held.join(", ") };
                let message = format!("{object} is still there {LIMIT:?} after its deletion, held by {by}");
                return Err(ClusterError::Server { code: 504, message });
            }
            match watch_from {
                Some(version) if self.watch_absence(collection, selection, uid, &version, limit).await => {
                    return Ok(());
                }
                // The watch ran out or broke off: look again, not faster than the back-off allows.
                Some(_) => tokio::time::sleep(self.api.pause(path, tries)).await,
                None => tokio::time::sleep(POLL).await,
            }
            tries = (tries + 1).min(4);
        }
    }

    async fn look(
        &self,
        path: &str,
        collection: &str,
        selection: Selection<'_>,
        uid: &str,
    ) -> Result<Look, ClusterError> {
        let listed =
            self.api.read::<Listed>(&request::list(collection, selection, ""), Patience::read()).await;
        let (found, version) = match listed {
            Ok(list) => {
                (list.items.unwrap_or_default().into_iter().next(), Some(list.metadata.resource_version))
            }
            Err(ClusterError::NotFound { .. }) => (None, None),
            // Roles of old let us delete and get by name, not list.
            Err(ClusterError::Forbidden { .. }) => {
                let read = self.api.read::<Doomed>(&request::get_metadata(path), Patience::read()).await;
                (crate::adapters::kubernetes::objects::absent(read)?, None)
            }
            Err(error) => return Err(error),
        };
        Ok(match found {
            Some(doomed) if doomed.metadata.uid == uid => {
                Look::Held { finalizers: doomed.metadata.finalizers, version }
            }
            _ => Look::Gone,
        })
    }

    /// Whether a watch told that the object is gone.
    async fn watch_absence(
        &self,
        collection: &str,
        selection: Selection<'_>,
        uid: &str,
        version: &str,
        limit: Instant,
    ) -> bool {
        let Ok(body) = self.api.open(&request::watch(collection, selection, version, SPAN)).await else {
            return false;
        };
        let mut tail = Tail::of(collection, body);
        while let Ok((told, end)) = timeout_at(limit, tail.next::<Doomed>()).await {
            if told.iter().any(|told| matches!(told, Told::Gone(object) if object.metadata.uid == uid)) {
                return true;
            }
            if end.is_some() {
                break;
            }
        }
        false
    }
}
