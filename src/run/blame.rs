//! What a failed step holds up, and which change of a manifest most likely brought the failure. Pure.

use crate::domain::definitions::Definitions;
use crate::domain::ids::{ComponentId, TargetId};
use crate::domain::object::ObjectRef;
use crate::domain::release::Release;
use crate::domain::step::{Status, Step};
use crate::plan::{Action, FieldChange, Plan, diff};
use crate::rollout::readiness::pods::Sort;
use serde_json::Value;
use std::collections::BTreeSet;

/// Changed fields that are shown of one workload.
const FIELDS: usize = 6;
/// Of those that are not shown, how many are named: their paths are long.
const NAMED: usize = 2;
/// Longest value of a field.
const VALUE: usize = 100;

/// What could not begin because of the steps that failed on this target, one line each.
pub(super) fn blocked(plan: &Plan, target: &TargetId, status: &dyn Fn(&Step) -> Status) -> Vec<String> {
    let mut lines = Vec::new();
    for stage in &plan.stages {
        let here = || stage.steps.iter().filter(|step| step.target == *target);
        let Some(failed) = here().find(|step| status(step) == Status::Failed) else { continue };
        let later: BTreeSet<&ComponentId> =
            here().filter(|s| s.level > failed.level).filter_map(|s| s.component.as_ref()).collect();
        let unbegun = unbegun(plan, target, status);
        let names: Vec<String> = later
            .union(&unbegun)
            .filter(|id| failed.component.as_ref() != Some(**id))
            .map(|id| workload(plan, target, id))
            .collect();
        if !names.is_empty() {
            let after = failed.component.as_ref().map_or_else(String::new, |id| format!(" (after {id})"));
            lines.push(format!("blocked {}{after}", names.join(", ")));
        }
    }
    if lines.is_empty() && !failed_here(plan, target, status) {
        return lines;
    }
    let others = plan.targets.keys().filter(|id| {
        // A backup before all waves is no beginning.
        let mut steps = plan
            .stages
            .iter()
            .filter(|stage| stage.wave > 0)
            .flat_map(|stage| &stage.steps)
            .filter(|step| step.target == **id)
            .peekable();
        *id != target && steps.peek().is_some() && steps.all(|step| status(step) == Status::Pending)
    });
    lines.extend(others.map(|id| format!("blocked all of {id} (not begun)")));
    lines
}

fn failed_here(plan: &Plan, target: &TargetId, status: &dyn Fn(&Step) -> Status) -> bool {
    let mut steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    steps.any(|step| step.target == *target && status(step) == Status::Failed)
}

/// Components of which no step was begun.
fn unbegun<'p>(
    plan: &'p Plan,
    target: &TargetId,
    status: &dyn Fn(&Step) -> Status,
) -> BTreeSet<&'p ComponentId> {
    let steps = || plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| step.target == *target);
    let begun: BTreeSet<&ComponentId> =
        steps().filter(|step| status(step) != Status::Pending).filter_map(|s| s.component.as_ref()).collect();
    steps().filter_map(|step| step.component.as_ref()).filter(|id| !begun.contains(id)).collect()
}

fn workload(plan: &Plan, target: &TargetId, id: &ComponentId) -> String {
    let serving = plan.targets.get(target).and_then(|target| target.workloads.get(id));
    serving.map_or_else(|| id.to_string(), |serving| serving.workload.to_string())
}

/// The fields of a workload that changed since the release before and have to do with the cause.
pub(super) fn hunk(
    plan: &Plan,
    target: &TargetId,
    workload: &ObjectRef,
    before: Option<&Release>,
    cause: Option<Sort>,
) -> Vec<String> {
    let Some(fields) = changed(plan, target, workload, before) else { return Vec::new() };
    let (mut shown, mut hidden): (Vec<&FieldChange>, Vec<&FieldChange>) =
        fields.iter().partition(|field| matters(&field.path, cause));
    if shown.is_empty() {
        std::mem::swap(&mut shown, &mut hidden);
    }
    let beyond = shown.split_off(shown.len().min(FIELDS));
    hidden.splice(..0, beyond);
    let mut lines: Vec<String> = shown
        .into_iter()
        .map(|field| {
            format!(
                "diff {workload} {}: {} → {}",
                field.path,
                value(field.from.as_ref()),
                value(field.to.as_ref())
            )
        })
        .collect();
    if fields.is_empty() {
        lines.push(format!("diff {workload} nothing: its manifest is that of the release before"));
    } else if !hidden.is_empty() {
        lines.push(format!("diff {workload} also changed: {}", named(&hidden)));
    }
    lines
}

/// Fields by their names; many are counted.
fn named(fields: &[&FieldChange]) -> String {
    let names: Vec<&str> = fields.iter().take(NAMED).map(|field| field.path.as_str()).collect();
    let names = names.join(", ");
    match fields.len().saturating_sub(NAMED) {
        0 => names,
        1 => format!("{names} and 1 more field"),
        more => format!("{names} and {more} more fields"),
    }
}

fn changed(
    plan: &Plan,
    target: &TargetId,
    workload: &ObjectRef,
    before: Option<&Release>,
) -> Option<Vec<FieldChange>> {
    let here = plan.targets.get(target)?;
    let change = here.changes.iter().find(|change| change.object == *workload)?;
    if change.action == Action::Update {
        return Some(change.fields.clone());
    }
    // A revision's own Deployment is new as a whole: what changed is what differs from the one before.
    let before = before?;
    let component = here.workloads.iter().find(|(_, serving)| serving.workload == *workload)?.0;
    let old = before.workloads.get(component)?;
    let old = before.objects.iter().find(|object| object.reference() == old.workload)?;
    let new =
        here.inventory.iter().map(|index| &plan.objects[*index]).find(|o| o.reference() == *workload)?;
    let fields = diff::fields(&Definitions::default(), &new.value, &old.value, Some(&old.value));
    Some(fields.into_iter().filter(|field| !is_our_own(&field.path)).collect())
}

/// Names, labels and sizes that differ from revision to revision by themselves.
fn is_our_own(path: &str) -> bool {
    path.starts_with("metadata")
        || path.starts_with("spec.selector")
        || path.contains("deployctl.dev/")
        || path == "spec.replicas"
}

/// Whether a field can have brought a failure of this sort.
fn matters(path: &str, cause: Option<Sort>) -> bool {
    let names = |parts: &[&str]| parts.iter().any(|part| path.contains(part));
    match cause {
        None | Some(Sort::Crash | Sort::PodFailed | Sort::Node) => true,
        Some(Sort::ImageNotFound | Sort::ImagePlatform | Sort::ImageUnauthorized | Sort::ImagePull) => {
            names(&[".image", "imagePull", "serviceAccount", "nodeSelector"])
        }
        Some(Sort::Config) => {
            names(&["env", "command", "args", "securityContext", "configMap", "secret", ".image"])
        }
        Some(Sort::Mount) => names(&["volume", "configMap", "secret"]),
        Some(Sort::Unschedulable) => names(&[
            "resources",
            "nodeSelector",
            "affinity",
            "tolerations",
            "topologySpread",
            "hostPort",
            "volume",
        ]),
        Some(Sort::Denied) => {
            names(&["resources", "securityContext", "serviceAccount", "labels", "annotations", "host"])
        }
        Some(Sort::Probe) => names(&["Probe", "port", ".image", "env", "command", "args"]),
    }
}

fn value(value: Option<&Value>) -> String {
    let text = match value {
        None => return "(none)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    if text.chars().count() <= VALUE {
        return text;
    }
    format!("{}…", text.chars().take(VALUE).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_not_shown_are_named_and_many_are_counted() {
        let fields = ["spec.replicas", "spec.paused", "spec.a", "spec.b"].map(|path| FieldChange {
            path: path.to_owned(),
            from: None,
            to: None,
        });
        let named = |count: usize| named(&fields[..count].iter().collect::<Vec<_>>());
        assert_eq!(named(1), "spec.replicas");
        assert_eq!(named(2), "spec.replicas, spec.paused");
        assert_eq!(named(3), "spec.replicas, spec.paused and 1 more field");
        assert_eq!(named(4), "spec.replicas, spec.paused and 2 more fields");
    }
}
