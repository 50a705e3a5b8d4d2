//! Which objects of earlier releases a new one no longer needs, and which of them may be deleted.

use super::hooks;
use crate::domain::object::{
    FIELD_MANAGER, LABEL_APPLICATION, LABEL_ENVIRONMENT, LABEL_REVISION, Object, ObjectRef,
};
use crate::domain::release::{Outcome, Release};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Annotation that says whether a release may delete an object that it no longer holds.
const PRUNE: &str = "deployctl.dev/prune";

/// Kinds that are never deleted by a release unless asked: what is in them cannot be brought back.
#[must_use]
pub fn is_kept(kind: &str) -> bool {
    matches!(kind, "Namespace" | "PersistentVolumeClaim" | "PersistentVolume" | "CustomResourceDefinition")
}

/// Whether an object is one of a revision or of a content: kept as long as a release in history may need it again.
fn is_immutable(object: &Object) -> bool {
    let labelled = object.value["metadata"]["labels"].get(LABEL_REVISION).is_some();
    matches!(object.kind(), "ConfigMap" | "Secret") || (object.kind() == "Deployment" && labelled)
}

/// What no release needs once the new one serves: what only older releases hold, less what history needs for a rollback;
/// each as the newest of them has it.
///
/// `history` is sorted by revision, oldest first; `limit` releases are kept, the new one included, and the one before it
/// always.
#[must_use]
pub fn superseded<'r>(new: &[&Object], history: &'r [Release], limit: u32) -> Vec<&'r Object> {
    let served: Vec<&Release> = history.iter().filter(|r| r.outcome == Outcome::Deployed).collect();
    let keep = served.len().saturating_sub((limit as usize).saturating_sub(1).max(1));
    let mut needed: BTreeSet<ObjectRef> = new.iter().map(|object| object.reference()).collect();
    for release in &served[keep..] {
        needed.extend(release.objects.iter().filter(|o| is_immutable(o)).map(Object::reference));
    }
    let objects = served.iter().flat_map(|release| &release.objects);
    let by_name: BTreeMap<ObjectRef, &Object> = objects.map(|object| (object.reference(), object)).collect();
    by_name
        .into_iter()
        .filter(|(reference, _)| !needed.contains(reference))
        .map(|(_, object)| object)
        .collect()
}

/// The Jobs that the ways back from these releases made, as they are named.
#[must_use]
pub fn rollback_jobs<'r>(releases: impl Iterator<Item = &'r Release>) -> Vec<ObjectRef> {
    let of = |release: &'r Release| {
        let due = release.rollback_jobs.iter().filter(|known| known.due);
        due.map(|known| hooks::name_of(&known.job, release.revision))
    };
    releases.flat_map(of).collect()
}

/// What becomes of an object that no release needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is deleted.
    Delete,
    /// It is kept, and why.
    Keep(String),
}

/// Decides what may be deleted.
#[derive(Clone, Copy, Debug)]
pub struct Keeper<'a> {
    /// Our application.
    pub application: &'a str,
    /// Our environment.
    pub environment: &'a str,
    /// What was asked for by name: `Kind/name`.
    pub asked: &'a [String],
}

impl Keeper<'_> {
    /// What becomes of an object, as the release had it and as it is live.
    #[must_use]
    pub fn fate(&self, object: &Object, live: &Value) -> Fate {
        let name = object.reference().to_string();
        if let Some(holder) = self.holder(live) {
            return Fate::Keep(holder);
        }
        if self.asked.contains(&name) {
            return Fate::Delete;
        }
        let never = |value: &Value| value["metadata"]["annotations"][PRUNE] == "never";
        let ask = format!("--prune {name} deletes it");
        if never(&object.value) || never(live) {
            Fate::Keep(format!("{PRUNE}: never; {ask}"))
        } else if is_kept(object.kind()) {
            Fate::Keep(format!("what is in it cannot be brought back; {ask}"))
        } else if let Some(manager) = other_applier(live) {
            Fate::Keep(format!("{manager} applies it too; {ask}"))
        } else {
            Fate::Delete
        }
    }

    /// Who else holds the object.
    fn holder(&self, live: &Value) -> Option<String> {
        let owners = live.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        if let Some(owner) = owners.and_then(|owners| owners.first()) {
            let text = |key: &str| owner[key].as_str().unwrap_or("unknown").to_owned();
            return Some(format!("it belongs to {}/{}", text("kind"), text("name")));
        }
        let label = |key: &str| live["metadata"]["labels"].get(key).and_then(Value::as_str);
        let other = |key: &str, own: &str| label(key).filter(|value| *value != own).map(str::to_owned);
        let application = other(LABEL_APPLICATION, self.application)
            .map(|name| format!("it belongs to application {name}"));
        application.or_else(|| {
            other(LABEL_ENVIRONMENT, self.environment).map(|name| format!("it belongs to environment {name}"))
        })
    }
}

/// Somebody else whose manifests hold the object, from its managed fields.
fn other_applier(live: &Value) -> Option<&str> {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array)?;
    let others =
        entries.iter().filter(|entry| entry["operation"] == "Apply" && entry["subresource"].is_null());
    others.filter_map(|entry| entry["manager"].as_str()).find(|manager| *manager != FIELD_MANAGER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_hold_is_never_deleted_and_what_is_precious_only_when_asked() {
        let asked = ["PersistentVolumeClaim/asked".to_owned(), "Job/owned".to_owned()];
        let keeper = Keeper { application: "shop", environment: "prod", asked: &asked };
        let applied = |manager: &str| json!({"managedFields": [{"manager": manager, "operation": "Apply"}]});
        for (kind, name, metadata, kept) in [
            ("Service", "a", json!({}), None),
            ("Service", "a", applied("deployctl"), None),
            ("Service", "a", applied("argocd"), Some("argocd applies it too; --prune Service/a deletes it")),
            (
                "Service",
                "a",
                json!({"labels": {"deployctl.dev/application": "shop", "deployctl.dev/environment": "prod"}}),
                None,
            ),
            (
                "Service",
                "a",
                json!({"labels": {"deployctl.dev/application": "bank"}}),
                Some("it belongs to application bank"),
            ),
            (
                "Service",
                "a",
                json!({"labels": {"deployctl.dev/environment": "stage"}}),
                Some("it belongs to environment stage"),
            ),
            (
                "Job",
                "owned",
                json!({"ownerReferences": [{"kind": "CronJob", "name": "x"}]}),
                Some("it belongs to CronJob/x"),
            ),
            (
                "Service",
                "a",
                json!({"annotations": {PRUNE: "never"}}),
                Some("deployctl.dev/prune: never; --prune Service/a deletes it"),
            ),
            (
                "PersistentVolumeClaim",
                "data",
                json!({}),
                Some("what is in it cannot be brought back; --prune PersistentVolumeClaim/data deletes it"),
            ),
            ("PersistentVolumeClaim", "asked", json!({}), None),
        ] {
            let value = json!({"kind": kind, "metadata": {"name": name}});
            let object = Object { component: None, origin: String::new(), value };
            let fate = keeper.fate(&object, &json!({"metadata": metadata}));
            let expected = kept.map_or(Fate::Delete, |why| Fate::Keep(why.to_owned()));
            assert_eq!(fate, expected, "{kind}/{name} {metadata}");
        }
    }
    fn release(revision: u32, objects: &[(&str, &str, &str)]) -> Release {
        let objects: Vec<Value> = objects
            .iter()
            .map(|(api, kind, name)| {
                json!({"origin": "", "value": {"apiVersion": api, "kind": kind, "metadata": {"name": name}}})
            })
            .collect();
        serde_json::from_value(json!({"format": 1, "revision": revision, "target": "east", "version": "1",
            "outcome": "deployed", "run": "r", "by": {"user": "ana", "host": "desk"},
            "started": "2026-01-05T03:00:00Z", "ended": "2026-01-05T03:00:00Z", "workloads": {}, "objects": objects}))
        .unwrap()
    }

    #[test]
    fn an_object_of_another_version_of_its_api_is_the_same() {
        let old = [
            ("networking.istio.io/v1beta1", "VirtualService", "api"),
            ("autoscaling/v1", "HorizontalPodAutoscaler", "api"),
            ("networking.istio.io/v1beta1", "VirtualService", "gone"),
            ("sea.example.com/v1", "Service", "api"),
        ];
        let new = [
            ("networking.istio.io/v1", "VirtualService", "api"),
            ("autoscaling/v2", "HorizontalPodAutoscaler", "api"),
            ("v1", "Service", "api"),
        ];
        for (then, now, expected) in [
            (
                &old[..],
                &new[..],
                &["sea.example.com/v1 Service/api", "networking.istio.io/v1beta1 VirtualService/gone"][..],
            ),
            (&new, &old, &["v1 Service/api"]),
        ] {
            let (history, wanted) = ([release(1, then)], release(2, now));
            let wanted: Vec<&Object> = wanted.objects.iter().collect();
            let mut found: Vec<String> = superseded(&wanted, &history, 10)
                .into_iter()
                .map(|object| format!("{} {}", object.reference().api_version, object.reference()))
                .collect();
            found.sort();
            let mut expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
            expected.sort();
            assert_eq!(found, expected);
        }
    }
}
