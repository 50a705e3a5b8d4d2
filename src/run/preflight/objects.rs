//! Whether the server would take the plan's objects: asked in dry runs, and read off the schemas where it cannot be asked.

use super::{Check, Level};
use crate::domain::definitions::{ApiKind, Definitions, Source};
use crate::domain::ids::TargetId;
use crate::domain::kube_schema::{Problem, ProblemKind};
use crate::domain::object::{Object, ObjectRef};
use crate::plan::{Action, Plan};
use crate::ports::Cluster;
use crate::ports::cluster::{ClusterError, Known, Terms};
use crate::run::perform::IN_FLIGHT;
use futures::stream::{self, StreamExt as _};
use std::collections::{BTreeMap, BTreeSet};

/// New objects that are tried in a dry run. Each costs the server what its creation costs; of more than these, the schema
/// (which rendering has checked) and the first ones have to speak for the rest.
const TRIED: usize = 128;

/// The server judges what would be sent, without storing it; what it does not know yet is held against its definition.
pub(super) async fn check(plan: &Plan, target: &TargetId, cluster: &dyn Cluster) -> Vec<Check> {
    let Some(target_plan) = plan.targets.get(target) else { return Vec::new() };
    let actions: BTreeMap<&ObjectRef, Action> =
        target_plan.changes.iter().map(|change| (&change.object, change.action)).collect();
    let namespaces: BTreeSet<&str> = target_plan
        .changes
        .iter()
        .filter(|change| change.object.kind == "Namespace" && change.action == Action::Create)
        .map(|change| change.object.name.as_str())
        .collect();
    let all: Vec<&Object> = target_plan.inventory.iter().map(|index| &plan.objects[*index]).collect();
    let mut refused = by_definition(&all);
    let mut to_try = Vec::new();
    let (mut new, mut homeless) = (0, 0);
    for object in all.into_iter().filter(|object| object.kind() != "Secret") {
        let reference = object.reference();
        let known = match actions.get(&reference) {
            Some(Action::Create) => Known::Absent,
            Some(Action::Update) => Known::Differs,
            // What is replaced cannot be changed: the server would only repeat why.
            _ => continue,
        };
        if namespaces.contains(reference.namespace.as_str()) {
            homeless += 1;
            continue;
        }
        new += usize::from(known == Known::Absent);
        if known == Known::Differs || new <= TRIED {
            to_try.push((object, reference, Terms { force: true, known, ..Terms::DRY }));
        }
    }
    let tried = to_try.len();
    let asked = to_try.into_iter().map(|(object, reference, terms)| async move {
        let result = cluster.apply(&object.value, terms).await;
        (format!("{reference} ({})", object.origin), result)
    });
    let answers: Vec<_> = stream::iter(asked).buffered(IN_FLIGHT).collect().await;
    for (name, result) in answers {
        match result {
            Ok(_) | Err(ClusterError::NotFound { .. }) => {}
            Err(error) => refused.push(format!("{name} is refused: {error}")),
        }
    }
    let fail = |detail| Check::new(Level::Fail, Some(target), "objects", detail).fix("mend the manifest");
    if refused.is_empty() {
        vec![Check::new(Level::Pass, Some(target), "objects", said(tried, new, homeless))]
    } else {
        refused.into_iter().map(fail).collect()
    }
}

/// What was tried, and what was not.
fn said(tried: usize, new: usize, homeless: usize) -> String {
    let rest = new.saturating_sub(TRIED);
    match (tried, homeless, rest) {
        (0, 1.., _) => "not tried: their namespace is part of the plan".to_owned(),
        (_, _, 1..) => {
            format!("the server accepts {tried} in a dry run; {rest} more are held against the schema alone")
        }
        _ => format!("the server accepts all {tried} in a dry run"),
    }
}

/// Objects of kinds that the plan itself defines, held against that definition.
fn by_definition(objects: &[&Object]) -> Vec<String> {
    let definitions = Definitions::of(objects.iter().map(|object| &object.value));
    let mut refused = Vec::new();
    for object in objects {
        let definition = definitions.find(&ApiKind::of(&object.value));
        let own = definition.filter(|definition| definition.source == Source::Release);
        let problems = own.map(|definition| definition.problems(&object.value)).unwrap_or_default();
        let wrong = problems.iter().map(in_words);
        let name = format!("{} ({})", object.reference(), object.origin);
        refused.extend(
            wrong.map(|wrong| format!("{name} does not fit its definition in this release: {wrong}")),
        );
    }
    refused
}

fn in_words(problem: &Problem) -> String {
    let path = &problem.path;
    match &problem.kind {
        ProblemKind::Unknown => format!("{path} is no field of it"),
        ProblemKind::Missing => format!("{path} is missing"),
        ProblemKind::WrongType { expected, found } => {
            format!("{path} is of type {found}; {expected} is declared")
        }
        ProblemKind::BadQuantity(text) => format!("{path} is `{text}`, which is no quantity"),
        ProblemKind::NotAllowed { value, allowed } => {
            format!("{path} is `{value}`, not one of {}", allowed.join(", "))
        }
    }
}
