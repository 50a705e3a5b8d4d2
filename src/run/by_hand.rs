//! What a person types where the run could not do it: to look at it, to do it, and to let the run try again.

use super::tampered::touched;
use crate::domain::effect::{Effect, Size};
use crate::domain::event::StillWrong;
use crate::domain::ids::TargetId;
use crate::domain::object::ObjectRef;
use crate::domain::step::{Step, Undo};
use crate::plan::{Plan, hooks};

/// `kubectl --context prod-east -n shop`.
fn kubectl(plan: &Plan, target: &TargetId, namespace: &str) -> String {
    let context = plan.targets.get(target).and_then(|target| target.context.as_deref());
    let context = context.map_or_else(String::new, |context| format!(" --context {context}"));
    let namespace = if namespace.is_empty() { String::new() } else { format!(" -n {namespace}") };
    format!("kubectl{context}{namespace}")
}

/// `deployment/api-r2`.
fn named(object: &ObjectRef) -> String {
    format!("{}/{}", object.kind.to_lowercase(), object.name)
}

/// The command that shows an object.
pub(super) fn describe(plan: &Plan, target: &TargetId, object: &ObjectRef) -> String {
    format!("{} describe {}", kubectl(plan, target, &object.namespace), named(object))
}

/// What is wrong after an effect of a step failed.
pub(super) fn still_wrong(
    plan: &Plan,
    step: &Step,
    effect: &Effect,
    what: &str,
    cause: String,
    again: &str,
) -> StillWrong {
    let target = &step.target;
    let object = about(plan, effect);
    let mut next = match (effect, &object) {
        (Effect::RunJob(_), Some(job)) => {
            let kubectl = kubectl(plan, target, &job.namespace);
            vec![format!("{kubectl} logs {} --all-containers", named(job))]
        }
        (_, Some(object)) => vec![describe(plan, target, object)],
        (_, None) => Vec::new(),
    };
    next.extend(instead(plan, target, effect));
    next.push(match effect {
        Effect::RunJob(_) => format!("{again}  # runs it again"),
        _ => format!("{again}  # tries it again"),
    });
    if let (Effect::RunJob(_), Some(job)) = (effect, &object) {
        let kubectl = kubectl(plan, target, &job.namespace);
        let said = format!("{kubectl} annotate {} {}=by-hand", named(job), hooks::DONE);
        next.push(format!("{said} && {again}  # once its work is done by hand"));
    }
    StillWrong { target: target.clone(), what: what.to_owned(), object, cause, next }
}

/// What a person types where a step could not be taken back: to look at each object of its way back, and to do it instead.
#[must_use]
pub fn commands(plan: &Plan, step: &Step) -> Vec<String> {
    let effects = match &step.undo {
        Undo::Effects { effects, .. } => effects.as_slice(),
        Undo::None { .. } => &[],
    };
    let mut commands = Vec::new();
    for effect in effects {
        let look = about(plan, effect).map(|object| describe(plan, &step.target, &object));
        for command in look.into_iter().chain(instead(plan, &step.target, effect)) {
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
    }
    commands
}

/// The object that an effect is about, the first of several.
fn about(plan: &Plan, effect: &Effect) -> Option<ObjectRef> {
    match effect {
        Effect::RunJob(run) => Some(plan.objects[run.job].reference()),
        Effect::WaitReady { workloads, .. } => workloads.first().cloned(),
        Effect::Unstick { workload, .. }
        | Effect::WaitTraffic { workload, .. }
        | Effect::Guard { workload, .. } => Some(workload.clone()),
        Effect::Partition { object, .. } => Some(plan.objects[*object].reference()),
        Effect::PauseSync { syncers } | Effect::ResumeSync { syncers } => syncers.first().cloned(),
        _ => touched(plan, effect).into_iter().next(),
    }
}

/// The same by hand, where one command does it.
fn instead(plan: &Plan, target: &TargetId, effect: &Effect) -> Option<String> {
    match effect {
        Effect::Delete { objects } => {
            let first = objects.first()?;
            let beside = objects.iter().filter(|object| object.namespace == first.namespace);
            let names: Vec<String> = beside.map(named).collect();
            let kubectl = kubectl(plan, target, &first.namespace);
            Some(format!("{kubectl} delete {} --ignore-not-found", names.join(" ")))
        }
        Effect::Scale { workload, to: Size::Exactly(size) } => {
            let kubectl = kubectl(plan, target, &workload.namespace);
            Some(format!("{kubectl} scale {} --replicas={size}", named(workload)))
        }
        Effect::WaitReady { workloads, .. } => {
            let workload = workloads.first()?;
            let kubectl = kubectl(plan, target, &workload.namespace);
            Some(format!("{kubectl} get events --field-selector involvedObject.name={}", workload.name))
        }
        _ => None,
    }
}
