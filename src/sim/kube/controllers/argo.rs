//! Argo CD: compares what an Application's repository holds with what is live, and writes where it is to heal by itself.
//!
//! The repository is a `ConfigMap` beside the Application, named by `spec.source.path`: every value is one manifest as JSON.

use serde_json::{Value, json};

use super::object;
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::patch::merge_patch;
use crate::sim::queue::Millis;

const ME: Controller = Controller::Argo;
/// Between two looks, which is also how soon it heals again (`--self-heal-timeout-seconds`, 5 by default).
const PERIOD: Millis = 5_000;

/// Looks at an Application.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(kind) = cx.store.kind("argoproj.io", "applications") else { return };
    let Some(application) = cx.get(kind, namespace, name) else { return };
    if !cx.due(ME, &application, PERIOD) {
        return;
    }
    cx.again(ME, &application, PERIOD);
    if object::annotation(&application, "argocd.argoproj.io/skip-reconcile") == "true" {
        return;
    }
    let manifests = manifests(cx, namespace, object::text(&application, &["spec", "source", "path"]));
    let automated = object::at(&application, &["spec", "syncPolicy", "automated"]);
    let heals = automated["selfHeal"] == true && automated["enabled"] != false;
    let mut resources = Vec::new();
    for manifest in &manifests {
        let api_version = object::text(manifest, &["apiVersion"]);
        let Some(kind) = cx.store.kinds().of_object(api_version, object::text(manifest, &["kind"])) else {
            continue;
        };
        let synced = is_live(cx, kind, manifest) || (heals && write(cx, kind, manifest));
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        resources.push(json!({
            "group": group, "kind": manifest["kind"], "namespace": object::namespace(manifest),
            "name": object::name(manifest), "status": if synced { "Synced" } else { "OutOfSync" },
        }));
    }
    let synced = resources.iter().all(|resource| resource["status"] == "Synced");
    let status = json!({
        "resources": resources,
        "sync": {"status": if synced { "Synced" } else { "OutOfSync" }},
    });
    cx.modify_status(kind, &application, ME, |application| object::set(application, &["status"], status));
}

fn manifests(cx: &Context<'_>, namespace: &str, repository: &str) -> Vec<Value> {
    let Some(repository) = cx.get(KindId::CONFIG_MAPS, namespace, repository) else { return Vec::new() };
    let data = object::at(&repository, &["data"]).as_object();
    let texts = data.into_iter().flat_map(|data| data.values()).filter_map(Value::as_str);
    texts.filter_map(|text| serde_json::from_str(text).ok()).collect()
}

/// Whether the live object says all that the manifest says.
fn is_live(cx: &Context<'_>, kind: KindId, manifest: &Value) -> bool {
    let live = cx.get(kind, object::namespace(manifest), object::name(manifest));
    live.is_some_and(|live| merge_patch(&live, manifest) == *live.value())
}

fn write(cx: &mut Context<'_>, kind: KindId, manifest: &Value) -> bool {
    match cx.get(kind, object::namespace(manifest), object::name(manifest)) {
        None => cx.create(kind, manifest.clone(), ME).is_ok(),
        Some(live) => {
            let healed = merge_patch(&live, manifest);
            cx.modify(kind, &live, ME, |object| *object = healed).is_some()
        }
    }
}
