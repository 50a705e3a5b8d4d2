//! What bringing an older release back does not undo, said before it is approved.

use super::claims::SIZE;
use super::hooks;
use crate::domain::ids::{Revision, TargetId};
use crate::domain::object::{Object, ObjectRef};
use crate::domain::quantity::number;
use crate::domain::release::{Outcome, Release};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Where a `StatefulSet` holds what its claims are made from.
const TEMPLATES: &str = "/spec/volumeClaimTemplates";

/// One line for each: Jobs that ran since, releases of which nothing is known, claims that grew, objects that are gone and
/// made anew.
#[must_use]
pub(super) fn not_undone(
    history: &[Release],
    live: &BTreeMap<ObjectRef, Value>,
    to: Revision,
    unknown: &[Revision],
) -> Vec<String> {
    let Some(then) = history.iter().find(|release| release.revision == to) else { return Vec::new() };
    let mut lines = jobs_since(history, then);
    lines.extend(unknown.iter().map(|revision| {
        format!("what Jobs of {revision} did, if it had any, is not undone: its record is gone")
    }));
    for object in &then.objects {
        let reference = object.reference();
        match live.get(&reference) {
            Some(now) => lines.extend(grown(object, &reference, now, to)),
            None => lines.extend(
                lost(object.kind())
                    .map(|lost| format!("{reference} is gone since {to} and is made anew: {lost}")),
            ),
        }
    }
    lines
}

/// Releases after `to` that left no record here, though they were not merely passed by: by number, up to the newest.
/// `elsewhere` finds another target's record of a release.
pub(super) fn unknown<'h>(
    target: &TargetId,
    history: &[Release],
    to: Revision,
    elsewhere: impl Fn(Revision) -> Option<&'h Release>,
) -> Vec<Revision> {
    let newest = history.last().map_or(to, |release| release.revision);
    let known: BTreeSet<Revision> = history.iter().map(|release| release.revision).collect();
    let passed_by = |revision: Revision| {
        elsewhere(revision)
            .is_some_and(|other| other.outcome != Outcome::Deployed || other.owed.contains_key(target))
    };
    let between = (to.0 + 1..newest.0).map(Revision);
    between.filter(|revision| !known.contains(revision) && !passed_by(*revision)).collect()
}

/// What Jobs did that no Job of the way back undoes: their releases, by Job.
fn jobs_since(history: &[Release], then: &Release) -> Vec<String> {
    let mut ran: BTreeMap<ObjectRef, Vec<String>> = BTreeMap::new();
    let mut known: Vec<&Object> = then.objects.iter().collect();
    for release in history.iter().filter(|release| release.revision > then.revision) {
        for job in release.objects.iter().filter(|object| object.kind() == "Job") {
            // A Job that is carried on from release to release ran once.
            if known.iter().any(|other| other.value == job.value) {
                continue;
            }
            known.push(job);
            if is_undone(release, job) {
                continue;
            }
            let maybe = if release.outcome == Outcome::Deployed { "" } else { ", if it ran" };
            let release = format!("{} ({}{maybe})", release.revision, release.version);
            ran.entry(job.reference()).or_default().push(release);
        }
    }
    ran.into_iter().map(|(job, of)| format!("what {job} did is not undone: {}", of.join(", "))).collect()
}

/// Whether a Job of the way back undoes what this one did: in its own run, when its release was left, or now.
fn is_undone(release: &Release, job: &Object) -> bool {
    let mut back = release.rollback_jobs.iter().filter(|known| known.due);
    release.outcome != Outcome::Broken && back.any(|known| hooks::undoes(known.job.component.as_ref(), job))
}

fn grown(object: &Object, reference: &ObjectRef, now: &Value, to: Revision) -> Vec<String> {
    let line = |whose: String, before: Option<&Value>, now: Option<&Value>| {
        let (before, now) = (before?.as_str()?, now?.as_str()?);
        let grew = number(now)? > number(before)?;
        grew.then(|| format!("{whose} keeps its {now}: {to} had {before}, and a claim never shrinks"))
    };
    match object.kind() {
        "PersistentVolumeClaim" => {
            line(reference.to_string(), object.value.pointer(SIZE), now.pointer(SIZE)).into_iter().collect()
        }
        "StatefulSet" => {
            let templates = |value: &'_ Value| -> Vec<Value> {
                value.pointer(TEMPLATES).and_then(Value::as_array).cloned().unwrap_or_default()
            };
            let now = templates(now);
            let same = |one: &Value| {
                now.iter().find(|other| other["metadata"]["name"] == one["metadata"]["name"]).cloned()
            };
            let lines = templates(&object.value).into_iter().filter_map(|before| {
                let name = before["metadata"]["name"].as_str()?.to_owned();
                let now = same(&before)?;
                line(format!("each claim `{name}` of {reference}"), before.pointer(SIZE), now.pointer(SIZE))
            });
            lines.collect()
        }
        _ => Vec::new(),
    }
}

/// What does not come back with an object's manifest; nothing of configuration and revisions' Deployments, which are their
/// manifests and nothing else.
fn lost(kind: &str) -> Option<&'static str> {
    match kind {
        "ConfigMap" | "Secret" | "Deployment" | "Job" => None,
        "PersistentVolumeClaim" => Some("it is empty; its data is where its volume is, if that was retained"),
        "Namespace" => Some("all that was in it, and that no release holds, is lost"),
        "CustomResourceDefinition" => Some("all objects of its kind went with it"),
        _ => Some("what it held, and an address it had, do not come back"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RunId;
    use crate::domain::release::{Actor, Debt, Due, FORMAT, RollbackJob};
    use jiff::Timestamp;
    use serde_json::json;

    fn object(kind: &str, name: &str, spec: &Value) -> Object {
        let api = if kind == "Job" { "batch/v1" } else { "v1" };
        let metadata = json!({"name": name, "namespace": "shop"});
        let value = json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec});
        Object { component: None, origin: String::new(), value }
    }

    fn claim(size: &str) -> Object {
        object("PersistentVolumeClaim", "data", &json!({"resources": {"requests": {"storage": size}}}))
    }

    fn job(name: &str, image: &str) -> Object {
        object("Job", name, &json!({"image": image}))
    }

    fn release(revision: u32, outcome: Outcome, objects: Vec<Object>) -> Release {
        Release {
            format: FORMAT,
            revision: Revision(revision),
            target: "east".into(),
            version: format!("1.{revision}.0"),
            outcome,
            cause: None,
            run: RunId::new("r"),
            by: Actor { user: "ana".into(), host: "desk".into(), ci: None },
            reason: None,
            overridden: None,
            started: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            rollback_of: None,
            workloads: BTreeMap::new(),
            objects,
            rollback_jobs: Vec::new(),
            evidence: Vec::new(),
            asked: Vec::new(),
            backups: Vec::new(),
            owed: BTreeMap::new(),
            pays: None,
        }
    }

    fn lines(history: &[Release], live: &[Object]) -> Vec<String> {
        let live = live.iter().map(|object| (object.reference(), object.value.clone())).collect();
        not_undone(history, &live, Revision(1), &[])
    }

    #[test]
    fn jobs_of_later_releases_are_named_once_each_time_they_ran() {
        let history = [
            release(1, Outcome::Deployed, vec![job("seed", "a")]),
            release(2, Outcome::Deployed, vec![job("seed", "a"), job("migrate", "a")]),
            release(3, Outcome::RolledBack, vec![job("seed", "a"), job("migrate", "b")]),
            release(4, Outcome::Deployed, vec![job("migrate", "b"), job("clean", "a")]),
        ];
        assert_eq!(
            lines(&history, &[]),
            [
                "what Job/clean did is not undone: r4 (1.4.0)",
                "what Job/migrate did is not undone: r2 (1.2.0), r3 (1.3.0, if it ran)",
            ]
        );
    }

    #[test]
    fn claims_that_grew_and_objects_that_are_gone_are_named() {
        let service = object("Service", "web", &json!({}));
        let map = object("ConfigMap", "web-1", &json!({}));
        let history = [
            release(1, Outcome::Deployed, vec![claim("10Gi"), service.clone(), map]),
            release(2, Outcome::Deployed, vec![claim("20Gi")]),
        ];
        assert_eq!(
            lines(&history, &[claim("20Gi")]),
            [
                "PersistentVolumeClaim/data keeps its 20Gi: r1 had 10Gi, and a claim never shrinks",
                "Service/web is gone since r1 and is made anew: what it held, and an address it had, do not come back",
            ]
        );
        assert!(lines(&history, &[claim("10240Mi"), service]).is_empty());
    }

    #[test]
    fn what_a_job_of_the_way_back_undoes_is_not_named() {
        let of =
            |name: &str, component: &str| Object { component: Some(component.into()), ..job(name, name) };
        let with = |revision, outcome, due| {
            let job = of("unmigrate", "db");
            let jobs = vec![of("migrate", "db"), of("warm", "web")];
            Release { rollback_jobs: vec![RollbackJob { job, due }], ..release(revision, outcome, jobs) }
        };
        let first = release(1, Outcome::Deployed, vec![]);
        let named = |second: Release| lines(&[first.clone(), second], &[]);
        let warm = "what Job/warm did is not undone: r2 (1.2.0)".to_owned();
        assert_eq!(named(with(2, Outcome::Deployed, true)), [warm.as_str()]);
        assert_eq!(named(with(2, Outcome::Deployed, false)).len(), 2, "it has nothing to undo");
        assert_eq!(named(with(2, Outcome::Broken, true)).len(), 2, "nobody knows");
    }

    #[test]
    fn claims_of_a_set_and_what_went_with_its_objects_are_named() {
        let set = |size: &str| {
            let claim =
                json!({"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": size}}}});
            object("StatefulSet", "db", &json!({"volumeClaimTemplates": [claim]}))
        };
        let (space, kind) =
            (object("Namespace", "far", &json!({})), object("CustomResourceDefinition", "carts", &json!({})));
        let history = [release(1, Outcome::Deployed, vec![set("10Gi"), claim("1Gi"), space, kind])];
        assert_eq!(
            lines(&history, &[set("20Gi")]),
            [
                "each claim `data` of StatefulSet/db keeps its 20Gi: r1 had 10Gi, and a claim never shrinks",
                "PersistentVolumeClaim/data is gone since r1 and is made anew: it is empty; its data is where its volume is, if that was retained",
                "Namespace/far is gone since r1 and is made anew: all that was in it, and that no release holds, is lost",
                "CustomResourceDefinition/carts is gone since r1 and is made anew: all objects of its kind went with it",
            ]
        );
    }

    #[test]
    fn a_release_without_a_record_is_unknown_unless_it_passed_the_target_by() {
        let served = |revision| release(revision, Outcome::Deployed, vec![]);
        let history = [served(1), served(3), served(8)];
        let mut left_out = served(4);
        let due = Due::Back { to: Revision(1) };
        let debt = Debt { run: RunId::new("r"), revision: Revision(4), version: String::new(), due };
        left_out.owed.insert("east".into(), debt);
        let others = [left_out, release(5, Outcome::RolledBack, vec![]), served(6)];
        let elsewhere = |revision| others.iter().find(|other| other.revision == revision);
        let found = unknown(&"east".into(), &history, Revision(1), elsewhere);
        assert_eq!(found, [2, 6, 7].map(Revision));
    }
}
