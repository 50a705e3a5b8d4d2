//! The object changes: `+ ~ - -/+`, by component, field by field; targets with equal changes together.

use super::super::output::Paint;
use super::super::text::{clean, fold};
use super::fields;
use super::objects;
use crate::domain::ids::{ComponentId, TargetId};
use crate::domain::object::ObjectRef;
use crate::plan::{Action, Change, Contest, Plan, Verdict};
use std::collections::BTreeMap;

/// Lines by targets.
pub(super) fn render(plan: &Plan, paint: Paint) -> Vec<(Vec<TargetId>, Vec<String>)> {
    let by_target =
        plan.targets.iter().map(|(id, target)| (id.clone(), on_target(plan, &target.changes, paint)));
    fold(by_target)
}

fn on_target(plan: &Plan, changes: &[Change], paint: Paint) -> Vec<String> {
    let mut groups: BTreeMap<Option<&ComponentId>, Vec<&Change>> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.action != Action::Keep) {
        groups.entry(change.component.as_ref()).or_default().push(change);
    }
    let mut lines = Vec::new();
    let alone = groups.len() == 1;
    // What all components share comes first in a map of options, and last on the page.
    let shared = groups.remove(&None);
    for (component, group) in groups.into_iter().chain(shared.map(|group| (None, group))) {
        match component {
            Some(id) => lines.push(format!("  {}", paint.bold(id.as_str()))),
            None if alone => {}
            None => lines.push("  shared".to_owned()),
        }
        lines.extend(group_lines(plan, &group, paint));
    }
    let kept = changes.iter().filter(|change| change.action == Action::Keep).count();
    if kept > 0 {
        lines.push(paint.dim(&format!("  {} unchanged", objects(kept))));
    }
    lines
}

fn group_lines(plan: &Plan, group: &[&Change], paint: Paint) -> Vec<String> {
    let with = |object: &ObjectRef, action: Action| {
        group.iter().any(|change| change.object == *object && change.action == action)
    };
    let mut lines = Vec::new();
    for change in group {
        let replaced = with(&change.object, Action::Delete) && with(&change.object, Action::Create);
        let mark = match change.action {
            Action::Create if replaced => paint.yellow("-/+"),
            Action::Create => paint.green("  +"),
            Action::Update => paint.yellow("  ~"),
            Action::Replace => paint.yellow("-/+"),
            // The line of the creation stands for both.
            Action::Delete if replaced => continue,
            Action::Delete => paint.red("  -"),
            Action::Keep => continue,
        };
        lines.push(format!("  {mark} {}{}", name(plan, &change.object), note(change)));
        if let Some(why) = &change.replaced {
            lines.push(format!("        {}: {}", paint.yellow("replaced"), clean(why)));
        }
        lines.extend(change.contests.iter().map(|contest| format!("        {}", contested(contest, paint))));
        lines.extend(fields::render(change, paint).into_iter().map(|line| format!("        {line}")));
    }
    lines
}

/// Who owns the field, and who gets it.
fn contested(contest: &Contest, paint: Paint) -> String {
    let verdict = match contest.verdict {
        Verdict::Open => paint.red("belongs to somebody else"),
        Verdict::Taken => paint.yellow("taken over"),
        Verdict::Adopted => paint.dim("adopted"),
        Verdict::Left => paint.dim("left to its controller"),
    };
    format!("{verdict}: {}", clean(&contest.to_string()))
}

fn name(plan: &Plan, object: &ObjectRef) -> String {
    let elsewhere = !object.namespace.is_empty() && object.namespace != plan.namespace;
    let namespace = if elsewhere { format!(" in {}", object.namespace) } else { String::new() };
    clean(&format!("{object}{namespace}"))
}

fn note(change: &Change) -> String {
    change.note.as_ref().map_or_else(String::new, |note| format!(" ({})", clean(note)))
}
