//! Whether the server would take the plan's objects: asked in dry runs, and read off their kinds' definitions where they
//! are no built-in ones (those, rendering has checked).

use super::{Check, Level};
use crate::domain::definitions::{ApiKind, Definitions, Source};
use crate::domain::ids::TargetId;
use crate::domain::kube_schema::{Problem, ProblemKind};
use crate::domain::object::{Object, ObjectRef};
use crate::plan::{Action, Plan, TargetPlan, hooks};
use crate::ports::Cluster;
use crate::ports::cluster::{ClusterError, Known, Terms};
use crate::run::definitions::definitions;
use crate::run::perform::IN_FLIGHT;
use futures::stream::{self, StreamExt as _};
use std::collections::{BTreeMap, BTreeSet};

/// New objects that are tried in a dry run. Each costs the server what its creation costs; of more than these, the schema
/// (which rendering has checked) and the first ones have to speak for the rest.
const TRIED: usize = 128;
/// Objects that are named by one warning.
const NAMED: usize = 5;

/// The server judges what would be sent, without storing it; what it does not know yet is held against its definition.
pub(super) async fn check(plan: &Plan, target: &TargetId, cluster: &dyn Cluster) -> Vec<Check> {
    let Some(target_plan) = plan.targets.get(target) else { return Vec::new() };
    let mut all: Vec<&Object> = target_plan.inventory.iter().map(|index| &plan.objects[*index]).collect();
    // What the server would refuse on the way back is told before there is one.
    let back = jobs_of_the_way_back(plan, target);
    let made: BTreeSet<ObjectRef> = back.iter().map(|job| job.reference()).collect();
    all.extend(back);
    let fit = Fit::of(&all, &definitions(cluster, &all).await);
    let trial = Trial::of(&all, target_plan, &made, &fit.misfits);
    let answers = trial.ask(cluster).await;
    let mut refused = fit.refused;
    refused.extend(answers.refused);
    let mut checks: Vec<Check> = if refused.is_empty() {
        let accepted = trial.said(answers.accepted);
        let said = fit.said.map_or_else(|| accepted.clone(), |fit| format!("{accepted}; {fit}"));
        vec![Check::new(Level::Pass, Some(target), "objects", said)]
    } else {
        let fail = |detail| Check::new(Level::Fail, Some(target), "objects", detail).fix("mend the manifest");
        refused.into_iter().map(fail).collect()
    };
    let warn = |detail| Check::new(Level::Warn, Some(target), "warnings", detail);
    checks.extend(clustered(answers.warnings).into_iter().map(warn));
    checks
}

fn jobs_of_the_way_back<'p>(plan: &'p Plan, target: &TargetId) -> Vec<&'p Object> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| step.target == *target);
    steps.flat_map(hooks::of_step).map(|run| &plan.objects[run.job]).collect()
}

/// How objects agree with the definitions of their kinds.
struct Fit {
    refused: Vec<String>,
    misfits: BTreeSet<ObjectRef>,
    /// Which definitions judged how many.
    said: Option<String>,
}

impl Fit {
    fn of(objects: &[&Object], definitions: &Definitions) -> Self {
        let (mut refused, mut misfits) = (Vec::new(), BTreeSet::new());
        let (mut by_release, mut by_server) = (0, 0);
        for object in objects {
            let Some(definition) = definitions.find(&ApiKind::of(&object.value)) else { continue };
            let judge = match definition.source {
                Source::Release => "its definition in this release",
                Source::Server => "the server's schema",
                Source::Builtin => continue,
            };
            by_release += usize::from(definition.source == Source::Release);
            by_server += usize::from(definition.source == Source::Server);
            let problems = definition.problems(&object.value);
            if problems.is_empty() {
                continue;
            }
            let name = format!("{} ({})", object.reference(), object.origin);
            let wrong = problems.iter().map(in_words);
            refused.extend(wrong.map(|wrong| format!("{name} does not fit {judge}: {wrong}")));
            misfits.insert(object.reference());
        }
        let part = |count: usize, what: &str| {
            (count > 0).then(|| format!("{count} {} {what}", if count == 1 { "fits" } else { "fit" }))
        };
        let own = if by_release == 1 {
            "its definition in this release"
        } else {
            "their definitions in this release"
        };
        let parts: Vec<String> =
            part(by_release, own).into_iter().chain(part(by_server, "the server's schema")).collect();
        let said = (!parts.is_empty()).then(|| parts.join(", "));
        Self { refused, misfits, said }
    }
}

/// What is tried in dry runs, and what is not.
struct Trial<'p> {
    asked: Vec<(&'p Object, ObjectRef, Known)>,
    /// Accepted while the plan was made, with the server's warnings.
    before: Vec<(ObjectRef, &'p [String])>,
    new: usize,
    /// New objects whose namespace is new too: the server cannot judge them yet.
    homeless: usize,
}

/// What the server said.
#[derive(Default)]
struct Answers {
    accepted: usize,
    refused: Vec<String>,
    /// Text and object.
    warnings: Vec<(String, String)>,
}

impl<'p> Trial<'p> {
    fn of(
        objects: &[&'p Object],
        plan: &'p TargetPlan,
        made: &BTreeSet<ObjectRef>,
        misfits: &BTreeSet<ObjectRef>,
    ) -> Self {
        let actions: BTreeMap<&ObjectRef, Action> =
            plan.changes.iter().map(|change| (&change.object, change.action)).collect();
        let created = plan.changes.iter().filter(|change| change.action == Action::Create);
        let namespaces: BTreeSet<&str> = created
            .filter(|change| change.object.kind == "Namespace")
            .map(|change| change.object.name.as_str())
            .collect();
        let mut trial = Self { asked: Vec::new(), before: Vec::new(), new: 0, homeless: 0 };
        // Values of Secrets are not here, and shall not be sent before they have to be.
        for object in objects.iter().filter(|object| object.kind() != "Secret") {
            let reference = object.reference();
            let known = match actions.get(&reference) {
                Some(Action::Create) => Known::Absent,
                Some(Action::Update) => Known::Differs,
                None if made.contains(&reference) => Known::Absent,
                // What is replaced cannot be changed: the server would only repeat why.
                _ => continue,
            };
            if misfits.contains(&reference) {
                continue;
            }
            if namespaces.contains(reference.namespace.as_str()) {
                trial.homeless += 1;
                continue;
            }
            trial.new += usize::from(known == Known::Absent);
            if let Some(warnings) = plan.tried.get(&reference) {
                trial.before.push((reference, warnings));
            } else if known == Known::Differs || trial.new <= TRIED {
                trial.asked.push((object, reference, known));
            }
        }
        trial
    }

    async fn ask(&self, cluster: &dyn Cluster) -> Answers {
        let mut answers = Answers { accepted: self.before.len(), ..Answers::default() };
        for (reference, warnings) in &self.before {
            answers.warnings.extend(warnings.iter().map(|text| (text.clone(), reference.to_string())));
        }
        let asked = self.asked.iter().map(|(object, reference, known)| async move {
            let terms = Terms { force: true, known: *known, ..Terms::DRY };
            (object, reference, cluster.try_apply(&object.value, terms).await)
        });
        let asked: Vec<_> = stream::iter(asked).buffered(IN_FLIGHT).collect().await;
        for (object, reference, result) in asked {
            match result {
                Ok(tried) => {
                    answers.accepted += 1;
                    let warnings = tried.warnings.into_iter();
                    answers.warnings.extend(warnings.map(|text| (text, reference.to_string())));
                }
                // Its kind is part of the plan.
                Err(ClusterError::NotFound { .. }) => {}
                Err(error) => {
                    answers.refused.push(format!("{reference} ({}) is refused: {error}", object.origin));
                }
            }
        }
        answers
    }

    fn said(&self, accepted: usize) -> String {
        let rest = self.new.saturating_sub(TRIED);
        match (accepted, self.homeless, rest) {
            (0, 1.., _) => "not tried: their namespace is part of the plan".to_owned(),
            (_, _, 1..) => {
                format!(
                    "the server accepts {accepted} in a dry run; {rest} more are held against the schema alone"
                )
            }
            _ => format!("the server accepts all {accepted} in a dry run"),
        }
    }
}

/// Equal warnings once, with the objects that they concern.
fn clustered(warnings: Vec<(String, String)>) -> Vec<String> {
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (text, object) in warnings {
        texts.entry(text).or_default().insert(object);
    }
    let one = |(text, objects): (String, BTreeSet<String>)| {
        let more = objects.len().saturating_sub(NAMED);
        let names = objects.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("{names}{more}: {text}")
    };
    texts.into_iter().map(one).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_warnings_are_told_once_with_all_they_concern() {
        let warn = |text: &str, object: String| (text.to_owned(), object);
        let mut warnings: Vec<(String, String)> =
            (0..7).map(|n| warn("would violate", format!("Deployment/d{n}"))).collect();
        warnings.push(warn("is deprecated", "Endpoints/e".to_owned()));
        warnings.push(warn("is deprecated", "Endpoints/e".to_owned()));
        assert_eq!(
            clustered(warnings),
            [
                "Endpoints/e: is deprecated",
                "Deployment/d0, Deployment/d1, Deployment/d2, Deployment/d3, Deployment/d4 and 2 more: would violate",
            ]
        );
    }
}
