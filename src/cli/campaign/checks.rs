//! What must hold at the end of a command and of a story, for which one has to know plans and journals.

use crate::cli::wiring::{Simulated, Violation};
use crate::domain::effect::Effect;
use crate::domain::environment::Environment;
use crate::domain::ids::TargetId;
use crate::domain::step::{Status, Step, Undo};
use crate::plan::hooks;
use crate::run::journal::Phase;
use crate::run::{Ending, unfinished};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The objects of the application, with what matters of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Picture {
    facts: BTreeMap<String, Value>,
    /// Jobs that have ended: nothing stands on them, and what would bring one back would run it again.
    ended: BTreeSet<String>,
    /// Jobs of a way back, which stay as the record that they have run.
    of_way_back: BTreeSet<String>,
}

impl Picture {
    /// As it is now.
    pub fn of(simulated: &Simulated, env: &Environment) -> Self {
        let objects = simulated.objects(env);
        let owned = autoscaled(&objects);
        let facts = objects.iter().map(|(name, object)| (name.clone(), facts(object, owned.contains(name))));
        let those = |is: fn(&Value) -> bool| {
            let found = objects.iter().filter(|(_, object)| object["kind"] == "Job" && is(object));
            found.map(|(name, _)| name.clone()).collect()
        };
        Self {
            facts: facts.collect(),
            ended: those(hooks::has_ended),
            of_way_back: those(hooks::is_of_way_back),
        }
    }

    /// How another differs from it, one line each; objects that other operators touched (absent from one) are passed over.
    pub fn differences(&self, other: &Self, passed_over: &BTreeSet<String>) -> Vec<String> {
        let names: BTreeSet<&String> = self.facts.keys().chain(other.facts.keys()).collect();
        let lines = names.into_iter().filter(|name| !passed_over.contains(*name)).filter_map(|name| {
            match (self.facts.get(name), other.facts.get(name)) {
                (Some(before), Some(after)) if before == after => None,
                (Some(before), Some(after)) => {
                    Some(format!("{name} differs: {}", first_difference(before, after, "")))
                }
                (Some(_), None) if self.ended.contains(name) => None,
                (Some(_), None) => Some(format!("{name} is gone")),
                _ if is_kept_by_kind(name) || other.of_way_back.contains(name) => None,
                _ => Some(format!("{name} was left behind")),
            }
        });
        lines.collect()
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.facts.keys().cloned().collect()
    }
}

/// Whether an object stays though no release needs it: others may live in it, or data.
fn is_kept_by_kind(name: &str) -> bool {
    let kind = name.split_once(' ').map_or(name, |(_, object)| object);
    ["Namespace/", "PersistentVolumeClaim/", "CustomResourceDefinition/"]
        .iter()
        .any(|kept| kind.starts_with(kept))
}

/// Workloads whose size belongs to an autoscaler.
fn autoscaled(objects: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let scalers = objects.iter().filter(|(_, object)| object["kind"] == "HorizontalPodAutoscaler");
    let owned = scalers.filter_map(|(name, scaler)| {
        let (target, reference) = (name.split_once(' ')?.0, &scaler["spec"]["scaleTargetRef"]);
        Some(format!("{target} {}/{}", reference["kind"].as_str()?, reference["name"].as_str()?))
    });
    owned.collect()
}

fn facts(object: &Value, autoscaled: bool) -> Value {
    let mut facts = Map::new();
    for part in ["spec", "data", "stringData", "rules", "roleRef", "subjects"] {
        if let Some(value) = object.get(part) {
            facts.insert(part.to_owned(), value.clone());
        }
    }
    if let Some(spec) = facts.get_mut("spec").and_then(Value::as_object_mut) {
        for given in ["clusterIP", "clusterIPs", "finalizers", "healthCheckNodePort"] {
            spec.remove(given);
        }
        if autoscaled && let Some(size) = spec.get("replicas").and_then(Value::as_u64) {
            spec.insert("replicas".to_owned(), (size > 0).into());
        }
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            port.as_object_mut().and_then(|port| port.remove("nodePort"));
        }
    }
    let kept =
        |name: &str| !name.starts_with("deployment.kubernetes.io/") && !name.starts_with("deployctl.dev/");
    let notes = object["metadata"]["annotations"].as_object().into_iter().flatten();
    let notes: Map<String, Value> =
        notes.filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    facts.insert("annotations".to_owned(), notes.into());
    facts.insert("labels".to_owned(), object["metadata"]["labels"].clone());
    facts.into()
}

fn first_difference(before: &Value, after: &Value, path: &str) -> String {
    if let (Value::Object(before), Value::Object(after)) = (before, after) {
        let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for key in keys {
            let (old, new) = (before.get(key), after.get(key));
            if old != new {
                return first_difference(
                    old.unwrap_or(&Value::Null),
                    new.unwrap_or(&Value::Null),
                    &format!("{path}.{key}"),
                );
            }
        }
    }
    format!("{path}: {before} → {after}")
}

/// What is wrong when a command says that it ended so.
pub(super) fn at_the_end(
    ending: &Ending,
    (before, now): (&Picture, &Picture),
    passed_over: &BTreeSet<String>,
    kept: &[TargetId],
    at: u64,
) -> Vec<Violation> {
    if !matches!(ending, Ending::RolledBack { .. }) {
        return Vec::new();
    }
    let lines = before.differences(now, passed_over);
    // Where an older release had come it stays, whatever happened elsewhere.
    let is_kept = |line: &String| kept.iter().any(|target| line.starts_with(&format!("{target} ")));
    let lines = lines.into_iter().filter(|line| !is_kept(line));
    lines.map(|what| Violation { at, invariant: "as-it-was", what }).collect()
}

/// What is wrong with the journal of a run that is over, and with what it left.
///
/// `known` names what the releases brought that came to a good end: they may keep it for a way back.
pub(super) fn settled(
    run: &unfinished::Run,
    known: &BTreeSet<String>,
    now: &Picture,
    passed_over: &BTreeSet<String>,
    at: u64,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut tell = |invariant, what| found.push(Violation { at, invariant, what });
    let Phase::Ended { outcome, .. } = &run.replayed.phase else {
        tell("stuck", format!("run {} is {:?} and nobody ends it", run.plan.run, run.replayed.phase));
        return found;
    };
    let status = |step: &Step| run.replayed.status.get(&step.id).copied().unwrap_or_default();
    let steps = || run.plan.stages.iter().flat_map(|stage| &stage.steps);
    for step in steps().filter(|step| matches!(step.undo, Undo::Effects { .. })) {
        let open =
            matches!(status(step), Status::Started | Status::Undoing | Status::Failed | Status::UndoFailed);
        if open {
            tell("journal", format!("{} is {:?} though the run ended ({outcome})", step.id, status(step)));
        }
    }
    if outcome == "deployed" {
        // A test of today that fails turns no older release away.
        let doubted = |step: &Step| {
            let asks = matches!(step.effect, Effect::Smoke { .. });
            run.plan.rollback_of.is_some() && asks && status(step) == Status::Failed
        };
        for step in steps().filter(|step| status(step) != Status::Done && !doubted(step)) {
            tell("journal", format!("{} is {:?} though the run ended (deployed)", step.id, status(step)));
        }
        let (wanted, names) = (inventory(run), now.names());
        // The Jobs of a release that is gone back to have done their work, and do not run again.
        let may_lack = |name: &&String| run.plan.rollback_of.is_some() && name.contains(" Job/");
        for name in wanted.difference(&names).filter(|name| !passed_over.contains(*name) && !may_lack(name)) {
            tell("deployed", format!("{name} is not there"));
        }
        let known: BTreeSet<String> = wanted.union(known).cloned().collect();
        for name in names.difference(&known).filter(|name| !now.of_way_back.contains(*name)) {
            tell("deployed", format!("{name} was left behind"));
        }
    }
    found
}

/// The objects of the release by name, as pictures name them.
fn inventory(run: &unfinished::Run) -> BTreeSet<String> {
    let targets = run.plan.targets.iter();
    let names = targets.flat_map(|(target, plan)| {
        let objects = plan.inventory.iter().map(|index| &run.plan.objects[*index]);
        let labelled = objects
            .filter(|object| object.value["metadata"]["labels"]["deployctl.dev/application"].is_string())
            .filter(|object| object.name() != run.plan.state_namespace);
        labelled.map(move |object| format!("{target} {}/{}", object.kind(), object.name()))
    });
    names.collect()
}
