//! Jobs that run when a release is left backwards (`deployctl.dev/on: rollback`): each undoes what the other Jobs of its
//! component did.
//!
//! They are kept with the release and are no part of its way forward. A Job that runs has the number of the release that is
//! left in its name, and that release's run in an annotation: whoever repeats the step, hours later or on another machine,
//! knows by these that it has run.

use super::diff::{self, object_mut};
use super::order;
use crate::domain::definitions::Definitions;
use crate::domain::effect::{Effect, RunJob};
use crate::domain::ids::{ComponentId, Revision, RunId};
use crate::domain::object::{ANNOTATION_ON, ON_ROLLBACK, Object, ObjectRef};
use crate::domain::step::{Step, Undo};
use serde_json::{Value, json};
use std::time::Duration;

/// Annotation that names the run of the release that is left.
const RUN: &str = "deployctl.dev/left-run";
/// Annotation by which a person says that a Job's work is done, whatever became of the Job.
pub const DONE: &str = "deployctl.dev/done";
/// What the controller may take to notice that a Job's time is over.
const NOTICED_WITHIN: Duration = Duration::from_mins(1);
/// Kinds that are made again for a Job where they are gone: what its pods read, mount and run as.
const MADE_AGAIN: [&str; 5] = ["ConfigMap", "Secret", "ServiceAccount", "Role", "RoleBinding"];

/// A release that is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left<'r> {
    /// Its number.
    pub revision: Revision,
    /// Its run.
    pub run: &'r RunId,
    /// Its objects, as they are applied.
    pub objects: &'r [Object],
}

/// A Job that is ready to run, with what it needs.
pub(super) struct Ready {
    pub job: Object,
    pub needs: Vec<Object>,
    pub timeout: Duration,
}

/// Whether an object runs on the way back only.
#[must_use]
pub fn is_rollback_job(object: &Object) -> bool {
    object.kind() == "Job" && object.value["metadata"]["annotations"][ANNOTATION_ON] == ON_ROLLBACK
}

/// Takes the Jobs of the way back out of a release's objects, in the order in which they run.
pub(super) fn take_out(objects: &mut Vec<Object>) -> Vec<Object> {
    let (jobs, others): (Vec<Object>, Vec<Object>) =
        std::mem::take(objects).into_iter().partition(is_rollback_job);
    *objects = others;
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order::apply_order(&mut order, &jobs);
    order.into_iter().map(|index| jobs[index].clone()).collect()
}

/// Whether a Job undoes what this one did: it is another one of the same component.
pub(super) fn undoes(component: Option<&ComponentId>, job: &Object) -> bool {
    job.kind() == "Job" && component.is_some() && job.component.as_ref() == component
}

/// The Job's name when the release is left.
pub(super) fn name_of(job: &Object, left: Revision) -> ObjectRef {
    let reference = job.reference();
    ObjectRef { name: format!("{}-{left}", reference.name), ..reference }
}

/// The Job under the name of the release that is left. Kubernetes ends it when its time is over, whoever watches; it is not
/// deleted by its own time to live, so that a repeated step finds it.
pub(super) fn ready(job: &Object, left: Left<'_>, limit: Duration) -> Ready {
    let needs = needs(job, left.objects);
    let mut job = job.clone();
    let name = name_of(&job, left.revision).name;
    let metadata = object_mut(&mut job.value["metadata"]);
    metadata.insert("name".to_owned(), json!(name));
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    object_mut(annotations).insert(RUN.to_owned(), json!(left.run));
    let spec = object_mut(&mut job.value["spec"]);
    spec.remove("ttlSecondsAfterFinished");
    let own = spec.get("activeDeadlineSeconds").and_then(Value::as_u64).filter(|seconds| *seconds > 0);
    let seconds = own.unwrap_or(limit.as_secs().max(1));
    spec.insert("activeDeadlineSeconds".to_owned(), json!(seconds));
    Ready { job, needs, timeout: Duration::from_secs(seconds) + NOTICED_WITHIN }
}

/// What the Job's pods read, mount and run as, directly or through others.
fn needs(job: &Object, objects: &[Object]) -> Vec<Object> {
    let all: Vec<&Object> = objects.iter().chain([job]).collect();
    let Ok(needs) = order::needs(&all) else { return Vec::new() };
    let (mut open, mut found) = (vec![objects.len()], Vec::new());
    while let Some(place) = open.pop() {
        for need in &needs[place] {
            if MADE_AGAIN.contains(&all[*need].kind()) && !found.contains(need) {
                found.push(*need);
                open.push(*need);
            }
        }
    }
    found.sort_unstable();
    found.into_iter().map(|place| objects[place].clone()).collect()
}

/// How a live Job stands to the one that is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has ended well.
    Ended,
    /// A person says that its work is done.
    Excused,
    /// It has not ended.
    Runs,
    /// It has failed, or is of another release of that number.
    Stale,
}

/// Whether a live Job is one of a way back.
#[must_use]
pub fn is_of_way_back(live: &Value) -> bool {
    live["metadata"]["annotations"][RUN].is_string()
}

/// Whether a live Job has ended, well or not.
#[must_use]
pub fn has_ended(live: &Value) -> bool {
    ["Complete", "Failed"].iter().any(|kind| holds(live, kind))
}

fn holds(live: &Value, kind: &str) -> bool {
    let conditions = live.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

/// How a live Job stands to the one that is to run.
#[must_use]
pub fn standing(live: &Value, wanted: &Value) -> Standing {
    let annotation = |object: &Value, name: &str| object["metadata"]["annotations"][name].clone();
    let holds = |kind: &str| holds(live, kind);
    let goes = live.pointer("/metadata/deletionTimestamp").is_some();
    if annotation(live, RUN) != annotation(wanted, RUN) || goes {
        Standing::Stale
    } else if !annotation(live, DONE).is_null() {
        Standing::Excused
    } else if holds("Complete") || holds("SuccessCriteriaMet") {
        Standing::Ended
    } else if holds("Failed") || holds("FailureTarget") {
        Standing::Stale
    } else {
        Standing::Runs
    }
}

/// Whether a live Job was made from this manifest: its pods are the same.
#[must_use]
pub fn is_made_from(live: &Value, manifest: &Value) -> bool {
    let changes = diff::fields(&Definitions::default(), manifest, live, None);
    !changes.iter().any(|change| change.path.starts_with("spec.template"))
}

/// The Jobs that a step runs on the way back.
pub fn of_step(step: &Step) -> impl Iterator<Item = &RunJob> {
    let undo = match &step.undo {
        Undo::Effects { effects, .. } => effects.as_slice(),
        Undo::None { .. } => &[],
    };
    undo.iter().chain([&step.effect]).filter_map(|effect| match effect {
        Effect::RunJob(run) => Some(run.as_ref()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, name: &str, annotations: &Value, pods: &Value) -> Object {
        let metadata = json!({"name": name, "namespace": "shop", "annotations": annotations});
        let spec = json!({"template": {"spec": pods}, "ttlSecondsAfterFinished": 60});
        let value = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec});
        Object { component: Some("db".into()), origin: String::new(), value }
    }

    fn back(name: &str, pods: &Value) -> Object {
        object("Job", name, &json!({ANNOTATION_ON: ON_ROLLBACK}), pods)
    }

    #[test]
    fn jobs_of_the_way_back_are_no_part_of_the_way_forward_and_run_in_order() {
        let mut later = back("a-later", &json!({}));
        later.value["metadata"]["annotations"]["deployctl.dev/depends-on"] = json!("Job/first");
        let forward = object("Job", "migrate", &json!({}), &json!({}));
        let mut objects = vec![forward.clone(), later, back("first", &json!({}))];
        let jobs = take_out(&mut objects);
        assert_eq!(objects, [forward]);
        assert_eq!(jobs.iter().map(Object::name).collect::<Vec<_>>(), ["first", "a-later"]);
    }

    #[test]
    fn a_job_is_named_for_the_release_that_is_left_and_brings_what_it_needs() {
        let container = json!({"name": "a", "envFrom": [{"configMapRef": {"name": "settings"}}]});
        let pods = json!({"serviceAccountName": "mover", "containers": [container]});
        let others = [
            ("ConfigMap", "settings"),
            ("ConfigMap", "other"),
            ("ServiceAccount", "mover"),
            ("Service", "db"),
        ];
        let others: Vec<Object> =
            others.iter().map(|(kind, name)| object(kind, name, &json!({}), &json!({}))).collect();
        let run = RunId::new("r000012-x");
        let left = Left { revision: Revision(12), run: &run, objects: &others };
        let ready = ready(&back("unmigrate", &pods), left, Duration::from_mins(3));
        assert_eq!(ready.job.name(), "unmigrate-r12");
        assert_eq!(ready.job.value["spec"]["activeDeadlineSeconds"], 180);
        assert!(ready.job.value["spec"].get("ttlSecondsAfterFinished").is_none());
        let needs: Vec<ObjectRef> = ready.needs.iter().map(Object::reference).collect();
        assert_eq!(needs.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["settings", "mover"]);
        assert_eq!(ready.timeout, Duration::from_mins(4));
    }

    #[test]
    fn a_job_that_has_ended_well_is_known_by_its_run() {
        let job = |run: &str, done: bool, condition: &str| {
            let mut annotations = json!({RUN: run});
            if done {
                annotations[DONE] = json!("by hand");
            }
            json!({"metadata": {"annotations": annotations},
                "status": {"conditions": [{"type": condition, "status": "True"}]}})
        };
        let wanted = job("r12", false, "");
        for (live, expected) in [
            (job("r12", false, "Complete"), Standing::Ended),
            (job("r12", false, "Failed"), Standing::Stale),
            (job("r12", true, "Failed"), Standing::Excused),
            (job("r12", false, "Suspended"), Standing::Runs),
            (job("r11", false, "Complete"), Standing::Stale),
            (json!({"metadata": {"annotations": {RUN: "r12"}}}), Standing::Runs),
        ] {
            assert_eq!(standing(&live, &wanted), expected, "{live}");
        }
    }
}
