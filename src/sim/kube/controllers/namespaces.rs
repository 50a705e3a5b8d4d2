//! Namespaces: what every new one gets, and how one goes away with everything in it.

use serde_json::{Value, json};

use super::object;
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::{DeleteOptions, Key, Propagation};

const ME: Controller = Controller::Namespace;

/// Between two looks at a namespace that is not empty yet, in milliseconds.
const RETRY: u64 = 5_000;

/// Looks at one namespace.
pub fn sync(cx: &mut Context<'_>, name: &str) {
    let Some(namespace) = cx.get(KindId::NAMESPACES, "", name) else {
        return;
    };
    if object::deleting(&namespace) {
        terminate(cx, name, &namespace);
        return;
    }
    furnish(cx, name);
}

/// The default `ServiceAccount` and the cluster's CA.
fn furnish(cx: &mut Context<'_>, name: &str) {
    if cx.get(KindId::CONFIG_MAPS, name, "kube-root-ca.crt").is_none() {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "kube-root-ca.crt", "namespace": name,
                "annotations": {"kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."},
            },
            "data": {"ca.crt": "-----BEGIN CERTIFICATE-----\nc2ltdWxhdGVk\n-----END CERTIFICATE-----\n"},
        });
        // exists already if two looks met
        let _ = cx.create(KindId::CONFIG_MAPS, map, ME);
    }
    if cx.get(KindId::SERVICE_ACCOUNTS, name, "default").is_none() {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}});
        let _ = cx.create(KindId::SERVICE_ACCOUNTS, account, ME);
    }
}

fn terminate(cx: &mut Context<'_>, name: &str, namespace: &Value) {
    let since = cx.seconds_since(object::text(namespace, &["metadata", "deletionTimestamp"])).unwrap_or(0.0);
    let known = object::condition(namespace, "NamespaceContentRemaining").is_some();
    if !known && since < RETRY as f64 / 1000.0 {
        // the controller takes its time before the first look
        let wait = RETRY - ((since.max(0.0) * 1000.0) as u64).min(RETRY);
        cx.again(ME, namespace, wait.max(1));
        return;
    }
    delete_content(cx, name);
    let (remaining, finalizers) = remaining(cx, name);
    write_conditions(cx, namespace, &remaining, &finalizers);
    if remaining.is_empty() {
        cx.store.finalize_namespace(name);
    } else {
        cx.again(ME, namespace, RETRY);
    }
}

fn content(cx: &Context<'_>, name: &str) -> Vec<Key> {
    let kinds: Vec<KindId> =
        cx.store.kinds().iter().filter(|(_, kind)| kind.namespaced).map(|(id, _)| id).collect();
    kinds
        .into_iter()
        .flat_map(|kind| {
            cx.store.iter(kind, Some(name)).map(move |object| Key::new(kind, name, object::name(object)))
        })
        .collect()
}

fn delete_content(cx: &mut Context<'_>, name: &str) {
    for key in content(cx, name) {
        let known = cx.store.get(&key).is_some_and(|object| !object::deleting(&object));
        if known {
            let propagation = Some(Propagation::Background);
            let options = DeleteOptions { propagation, ..DeleteOptions::default() };
            // an owner's deletion may have taken it along
            let _ = cx.store.delete(cx.now, ME.user(), &key, &options);
        }
    }
}

/// What is left by resource, and by finalizer, as the conditions say it.
fn remaining(cx: &Context<'_>, name: &str) -> (Vec<String>, Vec<String>) {
    use std::collections::BTreeMap;
    let (mut by_resource, mut by_finalizer) =
        (BTreeMap::<String, usize>::new(), BTreeMap::<String, usize>::new());
    for key in content(cx, name) {
        *by_resource.entry(cx.store.kind_info(key.kind).resource()).or_default() += 1;
        let object = cx.store.get(&key);
        for finalizer in object.iter().flat_map(|object| object::items(object, &["metadata", "finalizers"])) {
            *by_finalizer.entry(finalizer.as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    let resources =
        by_resource.iter().map(|(resource, count)| format!("{resource}. has {count} resource instances"));
    let finalizers =
        by_finalizer.iter().map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"));
    (resources.collect(), finalizers.collect())
}

fn write_conditions(cx: &mut Context<'_>, namespace: &Value, resources: &[String], finalizers: &[String]) {
    let stamp = cx.stamp();
    let condition = |kind: &str, bad: bool, reasons: (&str, &str), messages: (&str, String)| {
        let (status, reason, message) =
            if bad { ("True", reasons.1, messages.1) } else { ("False", reasons.0, messages.0.to_owned()) };
        json!({"type": kind, "status": status, "lastTransitionTime": stamp, "reason": reason, "message": message})
    };
    let conditions = vec![
        condition(
            "NamespaceDeletionDiscoveryFailure",
            false,
            ("ResourcesDiscovered", ""),
            ("All resources successfully discovered", String::new()),
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            ("ParsedGroupVersions", ""),
            ("All legacy kube types successfully parsed", String::new()),
        ),
        condition(
            "NamespaceDeletionContentFailure",
            false,
            ("ContentDeleted", ""),
            ("All content successfully deleted, may be waiting on finalization", String::new()),
        ),
        condition(
            "NamespaceContentRemaining",
            !resources.is_empty(),
            ("ContentRemoved", "SomeResourcesRemain"),
            (
                "All content successfully removed",
                format!("Some resources are remaining: {}", resources.join(", ")),
            ),
        ),
        condition(
            "NamespaceFinalizersRemaining",
            !finalizers.is_empty(),
            ("ContentHasNoFinalizers", "SomeFinalizersRemain"),
            (
                "All content-preserving finalizers finished",
                format!("Some content in the namespace has finalizers remaining: {}", finalizers.join(", ")),
            ),
        ),
    ];
    cx.modify_status(KindId::NAMESPACES, namespace, ME, |namespace| {
        let mut merged = object::items(namespace, &["status", "conditions"]).to_vec();
        for condition in conditions {
            super::pod_control::set_condition(&mut merged, condition);
        }
        object::set(namespace, &["status", "conditions"], merged.into());
    });
}
