//! Who would write a release's objects from Git, and how that is paused and given back. From live objects to findings and
//! merge patches, without IO.
//!
//! A pause is written down in the paused object itself, in the write that makes it: whoever ends the run, on whatever
//! machine, finds what to give back. Runs are counted there, since one Application may hold what two runs release.
//! Sources: argo-cd, `docs/user-guide/auto_sync.md` (`spec.syncPolicy.automated`, since 3.1 with `enabled`),
//! `docs/user-guide/resource_tracking.md`, `docs/operator-manual/applicationset/Controlling-Resource-Modification.md`
//! (toggling auto-sync); fluxcd/kustomize-controller and helm-controller, `spec.suspend`.

use crate::domain::gitops::Syncer;
use crate::domain::object::ObjectRef;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Annotation that holds what a pause took away, and for which runs.
pub const PAUSED: &str = "deployctl.dev/sync-paused";
/// API version of Argo CD's kinds.
pub const ARGO: &str = "argoproj.io/v1alpha1";

const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
const INSTANCE: &str = "app.kubernetes.io/instance";
/// Flux's labels on what it writes: name, then namespace.
const FLUX: [(&str, &str, &str, &str); 2] = [
    (
        "kustomize.toolkit.fluxcd.io/v1",
        "Kustomization",
        "kustomize.toolkit.fluxcd.io/name",
        "kustomize.toolkit.fluxcd.io/namespace",
    ),
    (
        "helm.toolkit.fluxcd.io/v2",
        "HelmRelease",
        "helm.toolkit.fluxcd.io/name",
        "helm.toolkit.fluxcd.io/namespace",
    ),
];

/// The Applications that write objects of the release into this cluster by themselves. `server` is the URL of its API
/// server.
#[must_use]
pub fn applications(
    applications: &[Value],
    wanted: &BTreeSet<ObjectRef>,
    live: &BTreeMap<ObjectRef, Value>,
    server: &str,
) -> Vec<Syncer> {
    let here = applications.iter().filter(|application| leads_here(application, server));
    let syncers = here.filter(|application| is_active(application)).filter_map(|application| {
        let name = text(application, "/metadata/name");
        let resources = application.pointer("/status/resources").and_then(Value::as_array);
        let listed = |object: &ObjectRef| {
            resources.is_some_and(|resources| resources.iter().any(|resource| is_of(resource, object)))
        };
        let tracked = |object: &ObjectRef| {
            live.get(object)
                .is_some_and(|live| tracker(object, live).is_some_and(|id| names(&id, application)))
        };
        let labelled =
            |object: &ObjectRef| live.get(object).is_some_and(|live| label(live, INSTANCE) == name);
        let ours = |object: &&ObjectRef| listed(object) || tracked(object) || labelled(object);
        let manages: Vec<ObjectRef> = wanted.iter().filter(ours).cloned().collect();
        (!manages.is_empty()).then(|| Syncer {
            object: ObjectRef {
                api_version: ARGO.into(),
                kind: "Application".into(),
                ..ObjectRef::of(application)
            },
            manages,
            keeper: keeper(application),
        })
    });
    syncers.collect()
}

/// Argo CD's names for those that say on live objects that they manage them, though none of `applications` is meant.
#[must_use]
pub fn elsewhere(
    applications: &[Value],
    live: &BTreeMap<ObjectRef, Value>,
) -> BTreeMap<String, Vec<ObjectRef>> {
    let mut found: BTreeMap<String, Vec<ObjectRef>> = BTreeMap::new();
    for (object, value) in live {
        let Some(id) = tracker(object, value) else { continue };
        if !applications.iter().any(|application| names(&id, application)) {
            found.entry(id).or_default().push(object.clone());
        }
    }
    found
}

/// The Flux objects that live objects say they are written by, and what each writes.
#[must_use]
pub fn flux(live: &BTreeMap<ObjectRef, Value>) -> BTreeMap<ObjectRef, Vec<ObjectRef>> {
    let mut found: BTreeMap<ObjectRef, Vec<ObjectRef>> = BTreeMap::new();
    for (object, value) in live {
        for (api_version, kind, name, namespace) in FLUX {
            let (name, namespace) = (label(value, name), label(value, namespace));
            if !name.is_empty() {
                let writer = ObjectRef::new(api_version, kind, namespace, name);
                found.entry(writer).or_default().push(object.clone());
            }
        }
    }
    found
}

/// Whether it writes from Git without being asked, or will again once the run that paused it is over.
#[must_use]
pub fn is_active(syncer: &Value) -> bool {
    if paused(syncer).is_some() {
        return true;
    }
    if syncer["kind"] == "Application" {
        let automated = &syncer["spec"]["syncPolicy"]["automated"];
        automated.is_object() && automated["enabled"] != false
    } else {
        syncer["spec"]["suspend"] != true
    }
}

/// Whether a sync that began before a pause is still writing.
#[must_use]
pub fn is_writing(application: &Value) -> bool {
    text(application, "/status/operationState/phase") == "Running"
}

/// The merge patch that pauses it for a run; `None` if it is already.
#[must_use]
pub fn pause(syncer: &Value, run: &str) -> Option<Value> {
    let before = paused(syncer);
    if before.is_none() && !is_active(syncer) {
        return None;
    }
    let mut note = before.unwrap_or_else(|| Note { runs: Vec::new(), took: taken(syncer).clone() });
    let known = note.runs.iter().any(|other| other == run);
    if known && !writes_by_itself(syncer) {
        return None;
    }
    if !known {
        note.runs.push(run.to_owned());
    }
    Some(patch(syncer, &off(syncer), Some(&note)))
}

/// The merge patch that gives back what the pause took, once no run needs it any more; `None` if nothing is to do.
#[must_use]
pub fn resume(syncer: &Value, run: &str) -> Option<Value> {
    let mut note = paused(syncer)?;
    let before = note.runs.len();
    note.runs.retain(|other| other != run);
    if note.runs.len() == before {
        return None;
    }
    if !note.runs.is_empty() {
        return Some(patch(syncer, &off(syncer), Some(&note)));
    }
    // Somebody switched it on meanwhile: theirs is the newer word.
    let back = if writes_by_itself(syncer) { taken(syncer).clone() } else { note.took };
    Some(patch(syncer, &back, None))
}

/// Objects that Argo CD itself sees to differ from Git; nothing unless it has compared.
#[must_use]
pub fn differing(application: &Value) -> Vec<String> {
    if text(application, "/status/sync/status") != "OutOfSync" {
        return Vec::new();
    }
    let resources = application.pointer("/status/resources").and_then(Value::as_array).into_iter().flatten();
    let differing = resources.filter(|resource| resource["status"] == "OutOfSync");
    differing.map(|resource| format!("{}/{}", text(resource, "/kind"), text(resource, "/name"))).collect()
}

/// Whether an `ApplicationSet` leaves the sync policy of its Applications as it finds it.
#[must_use]
pub fn leaves_policy(set: &Value, application: &str) -> bool {
    let rules = set.pointer("/spec/ignoreApplicationDifferences").and_then(Value::as_array);
    let leaves = |rule: &Value| {
        let named = rule.get("name").is_none_or(|name| name == "" || name == application);
        let has = |key: &str, paths: &[&str]| {
            let list = rule[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).any(|path| paths.contains(&path))
        };
        named
            && (has("jsonPointers", &["/spec/syncPolicy", "/spec/syncPolicy/automated"])
                || has("jqPathExpressions", &[".spec.syncPolicy", ".spec.syncPolicy.automated"]))
    };
    // Annotations of others are taken away as well, so the note of the pause must be left, too.
    let annotations = |rule: &Value| {
        let list = rule["jsonPointers"].as_array().into_iter().flatten();
        let pointer = list.filter_map(Value::as_str).any(|path| path == "/metadata/annotations");
        let list = rule["jqPathExpressions"].as_array().into_iter().flatten();
        pointer || list.filter_map(Value::as_str).any(|path| path == ".metadata.annotations")
    };
    let preserved = set.pointer("/spec/preservedFields/annotations").and_then(Value::as_array);
    let noted = preserved.is_some_and(|keys| keys.iter().any(|key| key == PAUSED));
    rules.is_some_and(|rules| rules.iter().any(leaves) && (noted || rules.iter().any(annotations)))
}

/// What a pause wrote down.
struct Note {
    runs: Vec<String>,
    took: Value,
}

fn paused(syncer: &Value) -> Option<Note> {
    let text = syncer["metadata"]["annotations"][PAUSED].as_str()?;
    let note: Value = serde_json::from_str(text).ok()?;
    let runs = note["runs"].as_array()?.iter().filter_map(|run| Some(run.as_str()?.to_owned()));
    Some(Note { runs: runs.collect(), took: note["took"].clone() })
}

/// The field that a pause changes, as it is.
fn taken(syncer: &Value) -> &Value {
    if syncer["kind"] == "Application" {
        &syncer["spec"]["syncPolicy"]["automated"]
    } else {
        &syncer["spec"]["suspend"]
    }
}

fn writes_by_itself(syncer: &Value) -> bool {
    if syncer["kind"] == "Application" {
        let automated = taken(syncer);
        automated.is_object() && automated["enabled"] != false
    } else {
        *taken(syncer) != true
    }
}

/// The field while it is paused.
fn off(syncer: &Value) -> Value {
    if syncer["kind"] == "Application" { Value::Null } else { json!(true) }
}

fn patch(syncer: &Value, field: &Value, note: Option<&Note>) -> Value {
    let note = note.map(|note| json!({"runs": note.runs, "took": note.took}).to_string());
    let spec = if syncer["kind"] == "Application" {
        json!({"syncPolicy": {"automated": field}})
    } else {
        json!({"suspend": field})
    };
    let annotations = Map::from_iter([(PAUSED.to_owned(), json!(note))]);
    json!({"metadata": {"annotations": annotations}, "spec": spec})
}

/// Whether an Application writes into the cluster that it is in, or into the one with this server.
fn leads_here(application: &Value, server: &str) -> bool {
    let destination = &application["spec"]["destination"];
    let to = destination["server"].as_str().unwrap_or_default().trim_end_matches('/');
    let inside = to == "https://kubernetes.default.svc" || to == server.trim_end_matches('/');
    if to.is_empty() { destination["name"] == "in-cluster" } else { inside }
}

/// Whether a line of `status.resources` means an object, in whatever version of its group.
fn is_of(resource: &Value, object: &ObjectRef) -> bool {
    let namespace = text(resource, "/namespace");
    text(resource, "/group") == object.group()
        && text(resource, "/kind") == object.kind
        && text(resource, "/name") == object.name
        && (namespace == object.namespace || object.namespace.is_empty())
}

/// Argo CD's name of the Application that tracks a live object: `APP`, or `NAMESPACE_APP`. An annotation that was copied
/// from another object counts for nothing, as it does for Argo CD.
fn tracker(object: &ObjectRef, live: &Value) -> Option<String> {
    let id = live["metadata"]["annotations"][TRACKING_ID].as_str()?;
    let mut parts = id.splitn(3, ':');
    let (name, kind, place) = (parts.next()?, parts.next()?, parts.next()?);
    let own = kind == format!("{}/{}", object.group(), object.kind)
        && place.rsplit('/').next() == Some(object.name.as_str());
    own.then(|| name.to_owned())
}

/// Whether a tracking id's first part is this Application.
fn names(id: &str, application: &Value) -> bool {
    let (namespace, name) = (text(application, "/metadata/namespace"), text(application, "/metadata/name"));
    id == name || id.split_once('_') == Some((namespace, name))
}

/// Who writes an Application in its turn.
fn keeper(application: &Value) -> Option<ObjectRef> {
    let namespace = text(application, "/metadata/namespace");
    let owners = application.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let set = owners.into_iter().flatten().find(|owner| owner["kind"] == "ApplicationSet");
    if let Some(set) = set {
        return Some(ObjectRef::new(ARGO, "ApplicationSet", namespace, text(set, "/name")));
    }
    let own =
        ObjectRef { api_version: ARGO.into(), kind: "Application".into(), ..ObjectRef::of(application) };
    let parent = tracker(&own, application)?;
    let name = parent.split_once('_').map_or(parent.as_str(), |(_, name)| name);
    Some(ObjectRef::new(ARGO, "Application", namespace, name))
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn label<'v>(value: &'v Value, key: &str) -> &'v str {
    value["metadata"]["labels"][key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application(spec: &Value) -> Value {
        json!({"apiVersion": ARGO, "kind": "Application", "metadata": {"name": "shop", "namespace": "argocd"},
               "spec": spec})
    }

    /// RFC 7386, as the API server merges.
    fn merge(object: &mut Value, patch: &Value) {
        let Some(fields) = patch.as_object() else { return *object = patch.clone() };
        if !object.is_object() {
            *object = json!({});
        }
        for (key, value) in fields {
            if value.is_null() {
                object.as_object_mut().unwrap().remove(key);
            } else {
                merge(&mut object[key.as_str()], value);
            }
        }
    }

    fn after(object: &Value, patch: Option<Value>) -> Value {
        let mut object = object.clone();
        merge(&mut object, &patch.expect("something is to do"));
        object
    }

    fn without_empty_annotations(mut object: Value) -> Value {
        if object["metadata"]["annotations"] == json!({}) {
            object["metadata"].as_object_mut().unwrap().remove("annotations");
        }
        object
    }

    #[test]
    fn a_pause_gives_back_exactly_what_it_took() {
        let argo = application(&json!({"syncPolicy": {"automated": {"selfHeal": true, "prune": true},
                                                      "syncOptions": ["ServerSideApply=true"]}}));
        let flux = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                          "metadata": {"name": "shop"}, "spec": {"interval": "1m"}});
        let explicit = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                              "metadata": {"name": "shop"}, "spec": {"suspend": false}});
        for object in [argo, flux, explicit] {
            let paused = after(&object, pause(&object, "r1"));
            assert!(!writes_by_itself(&paused), "{paused}");
            assert!(is_active(&paused), "it would write again: {paused}");
            assert_eq!(pause(&paused, "r1"), None, "a repeat changes nothing");
            let back = after(&paused, resume(&paused, "r1"));
            assert_eq!(without_empty_annotations(back.clone()), object);
            assert_eq!(resume(&back, "r1"), None);
        }
    }

    #[test]
    fn two_runs_pause_it_until_the_last_is_over() {
        let object = application(&json!({"syncPolicy": {"automated": {}}}));
        let first = after(&object, pause(&object, "r1"));
        let both = after(&first, pause(&first, "r2"));
        let one = after(&both, resume(&both, "r1"));
        assert!(!writes_by_itself(&one), "{one}");
        assert_eq!(resume(&one, "r1"), None);
        let none = after(&one, resume(&one, "r2"));
        assert_eq!(none["spec"], object["spec"]);
    }

    #[test]
    fn what_somebody_switched_on_meanwhile_stays() {
        let object = application(&json!({"syncPolicy": {"automated": {"prune": true}}}));
        let mut paused = after(&object, pause(&object, "r1"));
        paused["spec"]["syncPolicy"]["automated"] = json!({"selfHeal": true});
        assert!(pause(&paused, "r1").is_some(), "a repeated pause pauses again");
        let back = after(&paused, resume(&paused, "r1"));
        assert_eq!(back["spec"]["syncPolicy"]["automated"], json!({"selfHeal": true}));
    }

    #[test]
    fn what_does_not_write_by_itself_is_left_alone() {
        for spec in [
            json!({}),
            json!({"syncPolicy": {"syncOptions": []}}),
            json!({"syncPolicy": {"automated": {"enabled": false, "selfHeal": true}}}),
        ] {
            let object = application(&spec);
            assert!(!is_active(&object) && pause(&object, "r1").is_none(), "{spec}");
        }
    }

    #[test]
    fn applications_are_found_by_what_they_list_and_by_what_objects_say() {
        let service = ObjectRef::new("v1", "Service", "shop", "api");
        let wanted = BTreeSet::from([service.clone()]);
        let live = |metadata: Value| BTreeMap::from([(service.clone(), json!({"metadata": metadata}))]);
        let spec = |server: &str| json!({"destination": {"server": server}, "syncPolicy": {"automated": {"selfHeal": true}}});
        let inside = application(&spec("https://kubernetes.default.svc"));
        let mut lists = inside.clone();
        lists["status"] = json!({"resources": [{"kind": "Service", "namespace": "shop", "name": "api"}]});
        let mut other = lists.clone();
        other["spec"] = spec("https://other.example");
        let mut set = lists.clone();
        set["metadata"]["ownerReferences"] = json!([{"kind": "ApplicationSet", "name": "all"}]);
        let id = |id: &str| json!({"annotations": {TRACKING_ID: id}});
        let none = json!({});
        for (application, metadata, found, keeper) in [
            (&lists, none.clone(), true, None),
            (&inside, id("shop:/Service:shop/api"), true, None),
            (&inside, id("argocd_shop:/Service:shop/api"), true, None),
            (&inside, id("shop:/Service:shop/copied-from"), false, None),
            (&inside, json!({"labels": {INSTANCE: "shop"}}), true, None),
            (&inside, json!({"labels": {INSTANCE: "a-helm-release"}}), false, None),
            (&other, none.clone(), false, None),
            (&set, none.clone(), true, Some("all")),
        ] {
            let syncers =
                applications(std::slice::from_ref(application), &wanted, &live(metadata), "https://me");
            assert_eq!(syncers.len(), usize::from(found), "{application}");
            let owner = syncers.first().and_then(|syncer| syncer.keeper.as_ref());
            assert_eq!(owner.map(|owner| owner.name.as_str()), keeper);
        }
        let tracked = live(id("hub:/Service:shop/api"));
        assert_eq!(elsewhere(std::slice::from_ref(&inside), &tracked).keys().collect::<Vec<_>>(), ["hub"]);
        assert!(elsewhere(&[inside], &live(id("shop:/Service:shop/api"))).is_empty());
    }

    #[test]
    fn an_application_set_must_leave_both_what_a_pause_writes() {
        let set = |spec: Value| json!({"spec": spec});
        let policy = json!([{"jsonPointers": ["/spec/syncPolicy"]}]);
        assert!(!leaves_policy(&set(json!({})), "shop"));
        assert!(!leaves_policy(&set(json!({"ignoreApplicationDifferences": policy})), "shop"));
        let both =
            json!({"ignoreApplicationDifferences": policy, "preservedFields": {"annotations": [PAUSED]}});
        assert!(leaves_policy(&set(both), "shop"));
        let other = json!({"ignoreApplicationDifferences": [{"name": "other", "jsonPointers": ["/spec/syncPolicy"]}],
                           "preservedFields": {"annotations": [PAUSED]}});
        assert!(!leaves_policy(&set(other), "shop"));
    }
}
