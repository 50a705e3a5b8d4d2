//! What is not as the release left it, and what of that a run did that is not over.

use crate::domain::field_path;
use crate::domain::object::{FIELD_MANAGER, Object, ObjectRef};
use crate::domain::release::Release;
use crate::plan::{Action, TargetPlan, diff};
use crate::ports::Cluster;
use crate::run::definitions::definitions;
use crate::run::tampered::writer;
use serde_json::Value;
use std::collections::BTreeSet;

/// Drifted fields that are shown per target.
const LINES: usize = 12;

/// One field that is not as the release left it.
pub(super) struct Drift {
    object: ObjectRef,
    /// Whether nobody else owns the field.
    ours: bool,
    line: String,
}

/// Fields that are live with another value than the release gave them, and who wrote last.
pub(super) async fn look(cluster: &dyn Cluster, release: &Release) -> Vec<Drift> {
    let references: Vec<ObjectRef> = release.objects.iter().map(Object::reference).collect();
    let Ok(live) = cluster.get_all(&references).await else { return Vec::new() };
    let objects: Vec<&Object> = release.objects.iter().collect();
    let definitions = definitions(cluster, &objects).await;
    let mut drifts = Vec::new();
    for (object, live) in release.objects.iter().zip(live) {
        let reference = object.reference();
        let Some(live) = live else {
            let text = format!("{reference} is gone");
            drifts.push(Drift { object: reference, ours: true, line: text });
            continue;
        };
        if object.kind() == "Secret" {
            continue;
        }
        let changes = diff::fields(&definitions, &object.value, &live, None)
            .into_iter()
            .filter(|change| change.path != "spec.replicas");
        let text =
            |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        drifts.extend(changes.map(|change| {
            let (ours, theirs) = (text(&change.to), text(&change.from));
            let writer = writer(&live, &change.path);
            let told = format!("{reference} {}: {ours} → {theirs}{writer}", change.path);
            Drift { object: reference.clone(), ours: is_ours(&live, &change.path), line: told }
        }));
    }
    drifts
}

/// The drifts as lines, and how many objects a run that is not over changed itself: those have not drifted.
pub(super) fn told(drifts: Vec<Drift>, plan: Option<&TargetPlan>) -> (Vec<String>, usize) {
    let changed = |object: &ObjectRef| {
        let mut changes = plan.into_iter().flat_map(|plan| &plan.changes);
        changes.any(|change| change.object == *object && change.action != Action::Keep)
    };
    let (by_run, others): (Vec<Drift>, Vec<Drift>) =
        drifts.into_iter().partition(|drift| drift.ours && changed(&drift.object));
    let by_run: BTreeSet<ObjectRef> = by_run.into_iter().map(|drift| drift.object).collect();
    let mut lines: Vec<String> = others.into_iter().map(|drift| drift.line).collect();
    let more = lines.len().saturating_sub(LINES);
    if more > 0 {
        lines.truncate(LINES);
        lines.push(format!("and {more} more"));
    }
    (lines, by_run.len())
}

/// Whether deployctl owns the field as it is now; of a field that is gone, whether nobody owns it.
fn is_ours(live: &Value, path: &str) -> bool {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let mut owners =
        entries.into_iter().flatten().filter(|entry| field_path::is_in(&entry["fieldsV1"], path));
    owners.all(|entry| entry["manager"] == FIELD_MANAGER)
}
