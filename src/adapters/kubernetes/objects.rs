//! Reading and writing single objects.

use crate::adapters::kubernetes::KubeCluster;
use crate::adapters::kubernetes::errors::are_ours;
use crate::adapters::kubernetes::request;
use crate::adapters::kubernetes::send::{Answer, Patience};
use crate::domain::object::{FIELD_MANAGER, ObjectRef};
use crate::ports::ClusterError;
use crate::ports::cluster::{Applied, Known, Terms, Tried};
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Fresh reads after a conflict before [`KubeCluster::modify_object`] gives up.
const MODIFY_TRIES: u32 = 8;

/// Type of a function that says how an object is to change.
pub(crate) type Change<'c> = dyn for<'v> Fn(&'v Value) -> Option<Value> + Send + Sync + 'c;

/// What tells whether a write changed an object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Mark {
    resource_version: String,
    generation: i64,
    labels: BTreeMap<String, String>,
    managed_fields: Vec<ManagedFields>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ManagedFields {
    manager: String,
    operation: String,
    subresource: String,
    time: String,
    fields_v1: Value,
}

#[derive(Deserialize)]
struct Marked {
    metadata: Mark,
}

impl Mark {
    fn own(&self) -> Option<&ManagedFields> {
        self.managed_fields.iter().find(|entry| {
            entry.manager == FIELD_MANAGER && entry.operation == "Apply" && entry.subresource.is_empty()
        })
    }

    /// Whether an apply of ours between the two changed nothing. A controller may have written the status in
    /// between (another `resourceVersion`): then our own entry, which the server stamps with the time whenever an
    /// apply of ours changes something, and the generation must be as they were.
    fn unchanged(&self, after: &Self) -> bool {
        self.resource_version == after.resource_version
            || (self.generation > 0
                && self.generation == after.generation
                && self.labels == after.labels
                && self.own().is_some()
                && self.own() == after.own())
    }
}

/// What tells how big a workload shall be; the rest of it, most of which is `managedFields`, is passed over.
#[derive(Deserialize)]
struct Scaled {
    #[serde(default)]
    spec: ScaledSpec,
}

#[derive(Default, Deserialize)]
struct ScaledSpec {
    replicas: Option<u32>,
}

impl KubeCluster {
    pub(crate) async fn get_object(&self, object: &ObjectRef) -> Result<Option<Value>, ClusterError> {
        self.read_object(object).await
    }

    pub(crate) async fn replicas_of(&self, workload: &ObjectRef) -> Result<Option<u32>, ClusterError> {
        let live: Option<Scaled> = self.read_object(workload).await?;
        Ok(live.and_then(|live| live.spec.replicas))
    }

    async fn read_object<T: DeserializeOwned>(&self, object: &ObjectRef) -> Result<Option<T>, ClusterError> {
        // A kind that the server does not know has no objects.
        let patience = Patience::read();
        let path = match self.discovery.path(&self.api, object, "", patience).await {
            Ok(path) => path,
            Err(ClusterError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        absent(self.api.read(&request::get(&path), patience).await)
    }

    pub(crate) async fn apply_object(&self, object: &Value, terms: Terms) -> Result<Applied, ClusterError> {
        if terms.dry_run {
            return Ok(self.try_object(object, terms).await?.applied);
        }
        let patience = Patience::write();
        let path = self.discovery.path(&self.api, &ObjectRef::of(object), "", patience).await?;
        // Of an object that nobody knows, what was there before tells change and no-op apart.
        let before: Option<Marked> = match terms.known {
            Known::Nothing => absent(self.api.read(&request::get_metadata(&path), patience).await)?,
            Known::Absent | Known::Differs => None,
        };
        let answer = self.send_apply(&path, object, terms, patience).await?;
        Ok(match (before, terms.known) {
            (_, Known::Absent) | (None, Known::Nothing) => Applied::Created,
            (_, _) if answer.status == StatusCode::CREATED => Applied::Created,
            (None, Known::Differs) => Applied::Updated,
            (Some(before), _) => {
                let after: Marked = self.api.parse(&answer)?;
                let same = before.metadata.unchanged(&after.metadata);
                if same { Applied::Unchanged } else { Applied::Updated }
            }
        })
    }

    pub(crate) async fn try_object(&self, object: &Value, terms: Terms) -> Result<Tried, ClusterError> {
        let (patience, terms) = (Patience::write(), Terms { dry_run: true, ..terms });
        let path = self.discovery.path(&self.api, &ObjectRef::of(object), "", patience).await?;
        let before: Option<Value> = match terms.known {
            Known::Absent => None,
            _ => absent(self.api.read(&request::get(&path), patience).await)?,
        };
        let answer = self.send_apply(&path, object, terms, patience).await?;
        let after: Value = self.api.parse(&answer)?;
        let applied = match before.map(substance) {
            None => Applied::Created,
            Some(before) if before == substance(after) => Applied::Unchanged,
            Some(_) => Applied::Updated,
        };
        Ok(Tried { applied, warnings: answer.warnings })
    }

    /// Applies; a conflict with fields that we scaled or modified ourselves is none.
    async fn send_apply(
        &self,
        path: &str,
        object: &Value,
        terms: Terms,
        patience: Patience,
    ) -> Result<Answer, ClusterError> {
        let Terms { force, dry_run, .. } = terms;
        match self.api.call(&request::apply(path, object, force, dry_run), patience).await {
            Err(ClusterError::Contested { fields }) if are_ours(&fields) => {
                self.api.call(&request::apply(path, object, true, dry_run), patience).await
            }
            result => result,
        }
    }

    pub(crate) async fn scale_object(
        &self,
        workload: &ObjectRef,
        replicas: u32,
    ) -> Result<u32, ClusterError> {
        #[derive(Deserialize)]
        struct Scale {
            #[serde(default)]
            spec: ScaleSpec,
        }
        #[derive(Default, Deserialize)]
        struct ScaleSpec {
            // Absent means zero here: the server has filled in the default of an unset `spec.replicas` already.
            #[serde(default)]
            replicas: u32,
        }
        let patience = Patience::write();
        let path = self.discovery.path(&self.api, workload, "scale", patience).await?;
        let before: Scale = self.api.read(&request::get(&path), patience).await?;
        if before.spec.replicas != replicas {
            let request = request::merge_patch(&path, &json!({ "spec": { "replicas": replicas } }));
            self.api.call(&request, patience).await?;
        }
        Ok(before.spec.replicas)
    }

    pub(crate) async fn modify_object(
        &self,
        object: &ObjectRef,
        change: &Change<'_>,
    ) -> Result<Applied, ClusterError> {
        let patience = Patience::write();
        let path = self.discovery.path(&self.api, object, "", patience).await?;
        let mut tries = 0;
        loop {
            let live: Value = self.api.read(&request::get(&path), patience).await?;
            let Some(mut wanted) = change(&live) else {
                // After a conflict it may have been our own lost try that did it; somebody changed it in any case.
                return Ok(if tries == 0 { Applied::Unchanged } else { Applied::Updated });
            };
            wanted["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
            match self.api.call(&request::merge_patch(&path, &wanted), patience).await {
                Ok(answer) => {
                    let after: Value = self.api.parse(&answer)?;
                    let same = after["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"];
                    return Ok(if same { Applied::Unchanged } else { Applied::Updated });
                }
                Err(ClusterError::Conflict { .. }) if tries + 1 < MODIFY_TRIES => {
                    tokio::time::sleep(self.api.pause(&path, tries) / 8).await;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// `None` for what is not there.
pub(crate) fn absent<T>(result: Result<T, ClusterError>) -> Result<Option<T>, ClusterError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ClusterError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An object without what every write or every controller touches.
fn substance(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for noise in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(noise);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(version: &str, generation: i64, time: &str) -> Mark {
        serde_json::from_value(json!({
            "resourceVersion": version, "generation": generation,
            "managedFields": [
                { "manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "time": version },
                { "manager": "deployctl", "operation": "Apply", "time": time, "fieldsV1": { "f:spec": {} } },
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_status_written_in_between_is_no_change_of_ours() {
        let before = mark("1", 4, "10:00");
        assert!(before.unchanged(&mark("1", 4, "10:00")));
        assert!(before.unchanged(&mark("2", 4, "10:00")), "status alone");
        assert!(!before.unchanged(&mark("2", 5, "10:00")), "spec");
        assert!(!before.unchanged(&mark("2", 4, "10:01")), "metadata");
        let plain = mark("1", 0, "10:00");
        assert!(!plain.unchanged(&mark("2", 0, "10:00")), "no generation to go by");
    }

    #[test]
    fn dry_runs_compare_what_a_release_means() {
        let live = json!({ "metadata": { "name": "a", "resourceVersion": "1", "generation": 1 }, "spec": { "a": 1 },
                           "status": { "x": 1 } });
        let same = json!({ "metadata": { "name": "a", "resourceVersion": "2" }, "spec": { "a": 1 } });
        assert_eq!(substance(live), substance(same));
    }
}
