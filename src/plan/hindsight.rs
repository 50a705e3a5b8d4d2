//! What bringing an older release back does not undo, said before it is approved.

use crate::domain::ids::Revision;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::quantity::number;
use crate::domain::release::{Outcome, Release};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where a claim says how large it is.
const SIZE: &str = "/spec/resources/requests/storage";

/// One line for each: Jobs that ran since, claims that grew, objects that are gone and made anew.
#[must_use]
pub(super) fn not_undone(
    history: &[Release],
    live: &BTreeMap<ObjectRef, Value>,
    to: Revision,
) -> Vec<String> {
    let Some(then) = history.iter().find(|release| release.revision == to) else { return Vec::new() };
    let mut lines = jobs_since(history, then);
    for object in &then.objects {
        let reference = object.reference();
        match live.get(&reference) {
            Some(now) => lines.extend(grown(object, &reference, now, to)),
            None if holds_more_than_its_manifest(object) => lines.push(format!(
                "{reference} is gone since {to} and is made anew: what it held, and an address it had, do not come back"
            )),
            None => {}
        }
    }
    lines
}

/// What Jobs did: their releases, by Job.
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
            let maybe = if release.outcome == Outcome::Deployed { "" } else { ", if it ran" };
            let release = format!("{} ({}{maybe})", release.revision, release.version);
            ran.entry(job.reference()).or_default().push(release);
        }
    }
    ran.into_iter().map(|(job, of)| format!("what {job} did is not undone: {}", of.join(", "))).collect()
}

fn grown(object: &Object, reference: &ObjectRef, now: &Value, to: Revision) -> Option<String> {
    if object.kind() != "PersistentVolumeClaim" {
        return None;
    }
    let size = |value: &Value| Some(value.pointer(SIZE)?.as_str()?.to_owned());
    let (before, now) = (size(&object.value)?, size(now)?);
    let grew = number(&now)? > number(&before)?;
    grew.then(|| format!("{reference} keeps its {now}: {to} had {before}, and a claim never shrinks"))
}

/// Configuration and revisions' Deployments are their manifests and nothing else.
fn holds_more_than_its_manifest(object: &Object) -> bool {
    !matches!(object.kind(), "ConfigMap" | "Secret" | "Deployment" | "Job")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RunId;
    use crate::domain::release::{Actor, FORMAT};
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
            evidence: Vec::new(),
            asked: Vec::new(),
            backups: Vec::new(),
            owed: BTreeMap::new(),
            pays: None,
        }
    }

    fn lines(history: &[Release], live: &[Object]) -> Vec<String> {
        let live = live.iter().map(|object| (object.reference(), object.value.clone())).collect();
        not_undone(history, &live, Revision(1))
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
}
