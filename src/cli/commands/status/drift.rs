//! What is not as the release left it, and what of that a run did that is not over.

use crate::domain::effect::Effect;
use crate::domain::field_path;
use crate::domain::ids::TargetId;
use crate::domain::object::{FIELD_MANAGER, Object, ObjectRef};
use crate::domain::release::Release;
use crate::domain::step::{Status, Step, Undo};
use crate::plan::{Action, Plan, diff};
use crate::ports::Cluster;
use crate::ports::cluster::ClusterError;
use crate::run::definitions::definitions;
use crate::run::tampered::{touched, writer};
use crate::run::unfinished::Run;
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
///
/// # Errors
/// The objects cannot be read.
pub(super) async fn look(cluster: &dyn Cluster, release: &Release) -> Result<Vec<Drift>, ClusterError> {
    let references: Vec<ObjectRef> = release.objects.iter().map(Object::reference).collect();
    let live = cluster.get_all(&references).await?;
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
        drifts.extend(changes.map(|change| {
            let (ours, theirs) =
                (shown(&change.path, change.to.as_ref()), shown(&change.path, change.from.as_ref()));
            let writer = writer(&live, &change.path);
            let told = format!("{reference} {}: {ours} → {theirs}{writer}", change.path);
            Drift { object: reference.clone(), ours: is_ours(&live, &change.path), line: told }
        }));
    }
    Ok(drifts)
}

/// A value for people. What a variable is set to by hand may be a secret: that it is another one is all that is told.
fn shown(path: &str, value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let last = path.rsplit('.').next().unwrap_or_default();
    let in_variables = path.contains(".env[") || last == "env";
    if in_variables && last == "value" {
        return HIDDEN.to_owned();
    }
    let mut value = value.clone();
    hide(&mut value, in_variables);
    value.to_string()
}

fn hide(value: &mut Value, in_variables: bool) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, in_variables)),
        Value::Object(fields) => {
            for (name, field) in fields {
                if in_variables && name == "value" {
                    *field = Value::from(HIDDEN);
                } else {
                    hide(field, name == "env");
                }
            }
        }
        _ => {}
    }
}

/// What stands for the value of a variable.
const HIDDEN: &str = "(not shown)";

/// The drifts as lines, and how many objects a run that is not over changed itself: those have not drifted.
pub(super) fn told(drifts: Vec<Drift>, run: Option<&Run>, target: &TargetId) -> (Vec<String>, usize) {
    let changed = by_run(run, target);
    let changed = |object: &ObjectRef| changed.contains(object);
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

/// The objects that an unfinished run changes as a whole, and those that its steps have written so far, such as a route at
/// a weight.
fn by_run(run: Option<&Run>, target: &TargetId) -> BTreeSet<ObjectRef> {
    let Some(run) = run else { return BTreeSet::new() };
    let changes = run.plan.targets.get(target).into_iter().flat_map(|plan| &plan.changes);
    let planned = changes.filter(|change| change.action != Action::Keep).map(|change| change.object.clone());
    let steps = run.plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| step.target == *target);
    let begun = steps
        .filter(|step| run.replayed.status.get(&step.id).copied().unwrap_or_default() != Status::Pending);
    planned.chain(begun.flat_map(|step| written(&run.plan, step))).collect()
}

/// What a step and its way back write.
fn written(plan: &Plan, step: &Step) -> Vec<ObjectRef> {
    let back = match &step.undo {
        Undo::Effects { effects, .. } => effects.as_slice(),
        Undo::None { .. } => &[],
    };
    let mut written = Vec::new();
    for effect in std::iter::once(&step.effect).chain(back) {
        written.extend(touched(plan, effect));
        let more: &[usize] = match effect {
            Effect::Guard { autoscalers, .. } => autoscalers,
            Effect::Regrow(stable) => &stable.autoscalers,
            Effect::Partition { object, .. } => std::slice::from_ref(object),
            _ => &[],
        };
        written.extend(more.iter().map(|index| plan.objects[*index].reference()));
    }
    written
}

/// Whether deployctl owns the field as it is now; of a field that is gone, whether nobody owns it.
fn is_ours(live: &Value, path: &str) -> bool {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let mut owners =
        entries.into_iter().flatten().filter(|entry| field_path::is_in(&entry["fieldsV1"], path));
    owners.all(|entry| entry["manager"] == FIELD_MANAGER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_variable_is_set_to_is_not_shown_and_everything_else_is() {
        let variable = "spec.template.spec.containers[name=api].env[name=TOKEN]";
        for (path, value, told) in [
            (format!("{variable}.value"), json!("hunter2"), "(not shown)"),
            (
                variable.to_owned(),
                json!({"name": "TOKEN", "value": "hunter2"}),
                r#"{"name":"TOKEN","value":"(not shown)"}"#,
            ),
            (
                "spec.template.spec.containers[name=side]".to_owned(),
                json!({"image": "side:1", "env": [{"name": "TOKEN", "value": "hunter2"}]}),
                r#"{"env":[{"name":"TOKEN","value":"(not shown)"}],"image":"side:1"}"#,
            ),
            ("data.LOG_LEVEL".to_owned(), json!("debug"), "\"debug\""),
        ] {
            assert_eq!(shown(&path, Some(&value)), told, "{path}");
        }
        assert_eq!(shown(&format!("{variable}.value"), None), "nothing");
    }
}
