//! Garbage collection: dependents go after their owner (background), before it (foreground), or stay (orphan).

use serde_json::Value;

use super::object;
use super::{Context, Controller};
use crate::sim::kube::store::{DeleteOptions, Key, Propagation};

const ME: Controller = Controller::GarbageCollector;
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    object::items(object, &["metadata", "finalizers"]).iter().any(|one| one == finalizer)
}

/// True if the deletion of `object` waits for the garbage collector.
#[must_use]
pub fn blocked(object: &Value) -> bool {
    object::deleting(object) && (has_finalizer(object, FOREGROUND) || has_finalizer(object, ORPHAN))
}

/// Looks at the object with this UID: as an owner, and as a dependent whose owners may be gone.
pub fn sync(cx: &mut Context<'_>, uid: &str) {
    let Some(key) = cx.index.key_of(uid).cloned() else {
        let dependents: Vec<Key> = cx.index.dependents(uid).cloned().collect();
        for dependent in dependents {
            collect(cx, &dependent);
        }
        return;
    };
    let Some(object) = cx.store.get(&key) else {
        return;
    };
    if blocked(&object) {
        if has_finalizer(&object, ORPHAN) {
            orphan_dependents(cx, &key, uid);
        } else {
            delete_dependents_first(cx, &key, uid);
        }
        return;
    }
    if !object::items(&object, &["metadata", "ownerReferences"]).is_empty() {
        collect(cx, &key);
    }
}

/// Deletes a dependent that has no owner left; drops references to owners that are gone from one that has.
fn collect(cx: &mut Context<'_>, key: &Key) {
    let Some(object) = cx.store.get(key) else {
        return;
    };
    let owners = object::items(&object, &["metadata", "ownerReferences"]);
    let (alive, gone): (Vec<_>, Vec<_>) =
        owners.iter().cloned().partition(|owner| cx.index.exists(object::text(owner, &["uid"])));
    if gone.is_empty() {
        return;
    }
    if alive.is_empty() {
        if !object::deleting(&object) {
            let propagation = Some(Propagation::Background);
            let options = DeleteOptions { propagation, ..DeleteOptions::default() };
            // somebody else may have deleted it in between
            let _ = cx.store.delete(cx.now, ME.user(), key, &options);
        }
    } else {
        let _ = cx.store.modify(cx.now, ME.user(), key, |object| {
            object["metadata"]["ownerReferences"] = alive.into();
        });
    }
}

fn delete_dependents_first(cx: &mut Context<'_>, key: &Key, uid: &str) {
    let dependents: Vec<Key> = cx.index.dependents(uid).cloned().collect();
    let mut blocking = false;
    for dependent in &dependents {
        let Some(object) = cx.store.get(dependent) else {
            continue;
        };
        blocking |= object::items(&object, &["metadata", "ownerReferences"])
            .iter()
            .any(|owner| owner["uid"] == uid && owner["blockOwnerDeletion"] == true);
        if object::deleting(&object) {
            continue;
        }
        // what has dependents of its own waits for them in turn
        let nested = cx.index.dependents(object::uid(&object)).next().is_some();
        let propagation = Some(if nested { Propagation::Foreground } else { Propagation::Background });
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        let _ = cx.store.delete(cx.now, ME.user(), dependent, &options);
    }
    if !blocking {
        drop_finalizer(cx, key, FOREGROUND);
    }
}

fn orphan_dependents(cx: &mut Context<'_>, key: &Key, uid: &str) {
    let dependents: Vec<Key> = cx.index.dependents(uid).cloned().collect();
    for dependent in &dependents {
        let _ = cx.store.modify(cx.now, ME.user(), dependent, |object| {
            let mut owners = object::items(object, &["metadata", "ownerReferences"]).to_vec();
            owners.retain(|owner| owner["uid"] != uid);
            object["metadata"]["ownerReferences"] = owners.into();
        });
    }
    drop_finalizer(cx, key, ORPHAN);
}

fn drop_finalizer(cx: &mut Context<'_>, key: &Key, finalizer: &str) {
    let _ = cx.store.modify(cx.now, ME.user(), key, |object| {
        let mut finalizers = object::items(object, &["metadata", "finalizers"]).to_vec();
        finalizers.retain(|one| one != finalizer);
        object["metadata"]["finalizers"] = finalizers.into();
    });
}
