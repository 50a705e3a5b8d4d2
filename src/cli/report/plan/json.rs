//! The plan as one NDJSON event. Objects stand in it by name: their content, and what Secrets hold, stays out.

use super::super::output::json_line;
use super::fields::is_secret;
use super::stages;
use crate::domain::step::{Stage, Step, Undo};
use crate::domain::units::human;
use crate::plan::{Action, Change, Plan, TargetPlan};
use serde_json::{Value, json};

/// `{"type":"plan",…}`
pub(super) fn render(plan: &Plan) -> String {
    let (create, change, delete) = plan.counts();
    let changes = plan.targets.values().flat_map(|target| &target.changes);
    let keep = changes.filter(|change| change.action == Action::Keep).count();
    let targets: serde_json::Map<String, Value> =
        plan.targets.iter().map(|(id, target)| (id.to_string(), target_json(target))).collect();
    json_line(
        "plan",
        json!({
            "application": plan.application,
            "environment": plan.environment,
            "run": plan.run,
            "revision": plan.revision,
            "version": plan.version,
            "rollback_of": plan.rollback_of,
            "reason": plan.reason,
            "expected": human(plan.expected),
            "counts": {"create": create, "change": change, "delete": delete, "unchanged": keep},
            "targets": targets,
            "waves": plan.waves,
            "stages": plan.stages.iter().map(stage_json).collect::<Vec<_>>(),
            "warnings": plan.warnings,
            "not_undone": plan.not_undone,
        }),
    )
}

fn target_json(target: &TargetPlan) -> Value {
    json!({
        "traffic": target.traffic,
        "previous": target.previous,
        "previous_version": target.previous_version,
        "changes": target.changes.iter().map(change_json).collect::<Vec<_>>(),
    })
}

fn change_json(change: &Change) -> Value {
    let secret = is_secret(change);
    let fields: Vec<Value> = change
        .fields
        .iter()
        .map(|field| {
            if secret {
                json!({"path": field.path, "hidden": true})
            } else {
                json!({"path": field.path, "from": field.from, "to": field.to})
            }
        })
        .collect();
    json!({
        "object": change.object,
        "component": change.component,
        "action": change.action,
        "fields": fields,
        "contests": change.contests,
        "replaced": change.replaced,
        "note": change.note,
    })
}

fn stage_json(stage: &Stage) -> Value {
    json!({
        "stage": stage.id,
        "title": stage.title,
        "wave": stage.wave,
        "weight": stage.weight,
        "hold": stages::hold(stage),
        "steps": stage.steps.iter().map(step_json).collect::<Vec<_>>(),
    })
}

fn step_json(step: &Step) -> Value {
    let (undo, why) = match &step.undo {
        Undo::Effects { lane, .. } => (json!(lane), Value::Null),
        Undo::None { why } => (Value::Null, json!(why)),
    };
    json!({
        "step": step.id,
        "target": step.target,
        "component": step.component,
        "title": step.title,
        "undo": undo,
        "no_undo": why,
    })
}
