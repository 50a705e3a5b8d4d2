//! Which objects of earlier releases a new one no longer needs.

use crate::domain::object::{LABEL_REVISION, Object, ObjectRef};
use crate::domain::release::{Outcome, Release};
use std::collections::BTreeSet;

/// Kinds that are never deleted by a release: what is in them cannot be brought back.
#[must_use]
pub fn is_kept(kind: &str) -> bool {
    matches!(kind, "Namespace" | "PersistentVolumeClaim" | "PersistentVolume" | "CustomResourceDefinition")
}

/// Whether an object is one of a revision or of a content: kept as long as a release in history may need it again.
fn is_immutable(object: &Object) -> bool {
    let labelled = object.value["metadata"]["labels"].get(LABEL_REVISION).is_some();
    matches!(object.kind(), "ConfigMap" | "Secret") || (object.kind() == "Deployment" && labelled)
}

/// What to delete once the new release serves: what only older releases hold, less what history needs for a rollback.
///
/// `history` is sorted by revision, oldest first; `limit` releases are kept, the new one included.
#[must_use]
pub fn superseded(new: &[&Object], history: &[Release], limit: u32) -> Vec<ObjectRef> {
    let wanted: BTreeSet<ObjectRef> = new.iter().map(|object| object.reference()).collect();
    let served: Vec<&Release> = history.iter().filter(|r| r.outcome == Outcome::Deployed).collect();
    let keep = served.len().saturating_sub((limit as usize).saturating_sub(1));
    let mut needed = wanted.clone();
    for release in &served[keep..] {
        needed.extend(release.objects.iter().filter(|o| is_immutable(o)).map(Object::reference));
    }
    let mut gone: BTreeSet<ObjectRef> = BTreeSet::new();
    for object in served.iter().flat_map(|release| &release.objects) {
        let reference = object.reference();
        let never = object.value["metadata"]["annotations"]["deployctl.dev/prune"] == "never";
        if !needed.contains(&reference) && !is_kept(&reference.kind) && !never {
            gone.insert(reference);
        }
    }
    gone.into_iter().collect()
}
