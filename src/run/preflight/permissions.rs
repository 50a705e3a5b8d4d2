//! Whether we may do what the plan does: its writes, its watches, and what lock, journal and releases need. Nothing else
//! is asked for.

use super::{Check, Level, routers};
use crate::domain::definitions::ApiKind;
use crate::domain::effect::{Effect, RunJob, SmokeVia};
use crate::domain::ids::TargetId;
use crate::domain::object::ObjectRef;
use crate::domain::readiness::ReadinessRule;
use crate::domain::step::Undo;
use crate::plan::{Action, Plan, hooks};
use crate::ports::Cluster;
use crate::ports::cluster::{ClusterError, Permission};
use crate::rollout::readiness::{Sort, sort_of};
use std::collections::{BTreeMap, BTreeSet};

/// What every watch does.
const WATCH: [&str; 2] = ["list", "watch"];

/// The permissions that the plan needs, and those without which it only tells less.
pub(super) async fn check(plan: &Plan, target: &TargetId, cluster: &dyn Cluster) -> Vec<Check> {
    if !plan.targets.contains_key(target) {
        return Vec::new();
    }
    let demands = Demands::of(plan, target);
    let lacking = async {
        let mut wanted = demands.resolved(cluster).await?;
        wanted.extend(routers::permissions(plan, target, cluster).await);
        wanted.sort();
        wanted.dedup();
        let lacking = cluster.lacking(&wanted).await?;
        Ok::<_, ClusterError>((wanted.len(), lacking))
    };
    let (asked, lacking) = match lacking.await {
        Ok(answer) => answer,
        Err(error) => return vec![Check::new(Level::Warn, Some(target), "permissions", error.to_string())],
    };
    // Events only explain.
    let (words, missing): (Vec<_>, Vec<_>) = lacking.into_iter().partition(|p| p.resource == "events");
    let list = |lacking: &[Permission]| {
        lacking.iter().map(|p| format!("{} {}", p.verb, p.resource)).collect::<Vec<_>>().join(", ")
    };
    let mut checks = Vec::new();
    if missing.is_empty() {
        let detail = format!("all {} that the plan needs", asked - words.len());
        checks.push(Check::new(Level::Pass, Some(target), "permissions", detail));
    } else {
        let detail = format!("missing: {}", list(&missing));
        checks.push(
            Check::new(Level::Fail, Some(target), "permissions", detail)
                .fix("grant them in a Role, or use another context"),
        );
    }
    if !words.is_empty() {
        let detail = format!("missing: {}; causes of failures will be told less clearly", list(&words));
        let check = Check::new(Level::Warn, Some(target), "permissions", detail);
        checks.push(check.fix("grant them in a Role"));
    }
    checks
}

/// A kind in a namespace (empty for the cluster), with the subresource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: ApiKind,
    subresource: &'static str,
    namespace: String,
}

/// Verbs by place.
#[derive(Debug, Default)]
struct Demands(BTreeMap<Place, BTreeSet<&'static str>>);

impl Demands {
    fn of(plan: &Plan, target: &TargetId) -> Self {
        let mut demands = Self::default();
        demands.state(&plan.state_namespace);
        demands.writes(plan, target);
        for step in plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| step.target == *target) {
            demands.effect(&step.effect, &plan.readiness);
            for run in hooks::of_step(step) {
                demands.job(plan, run);
            }
            if let Undo::Effects { effects, .. } = &step.undo {
                for effect in effects {
                    demands.effect(effect, &plan.readiness);
                }
            }
        }
        demands
    }

    fn add(&mut self, verbs: &[&'static str], api_version: &str, kind: &str, namespace: &str) {
        self.add_to("", verbs, api_version, kind, namespace);
    }

    fn add_to(
        &mut self,
        subresource: &'static str,
        verbs: &[&'static str],
        api_version: &str,
        kind: &str,
        namespace: &str,
    ) {
        let kind = ApiKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let place = Place { kind, subresource, namespace: namespace.to_owned() };
        self.0.entry(place).or_default().extend(verbs);
    }

    /// Lock, journal and releases.
    fn state(&mut self, namespace: &str) {
        self.add(&["get", "create", "update", "delete"], "coordination.k8s.io/v1", "Lease", namespace);
        self.add(&["list", "watch", "create", "delete"], "v1", "Secret", namespace);
    }

    fn writes(&mut self, plan: &Plan, target: &TargetId) {
        for change in &plan.targets[target].changes {
            let verbs: &[&str] = match change.action {
                Action::Create | Action::Update => &["patch"],
                Action::Replace => &["patch", "delete"],
                Action::Delete => &["delete"],
                Action::Keep => continue,
            };
            let ObjectRef { api_version, kind, namespace, .. } = &change.object;
            self.add(verbs, api_version, kind, namespace);
        }
    }

    /// What an effect needs beyond the writes of the plan's changes.
    fn effect(&mut self, effect: &Effect, rules: &[ReadinessRule]) {
        match effect {
            Effect::Scale { workload: ObjectRef { api_version, kind, namespace, .. }, .. } => {
                self.add_to("/scale", &["patch"], api_version, kind, namespace);
            }
            Effect::Regrow(stable) => {
                let ObjectRef { api_version, kind, namespace, .. } = &stable.workload;
                self.add_to("/scale", &["patch"], api_version, kind, namespace);
                self.follow(&stable.workload);
                self.follow(&stable.beside);
            }
            Effect::WaitReady { workloads, .. } => {
                for object in workloads {
                    if sort_of(object, rules) == Sort::Workload {
                        self.follow(object);
                    } else {
                        self.watch(&object.api_version, &object.kind, &object.namespace);
                    }
                }
            }
            Effect::WaitTraffic { service, workload, .. } => {
                self.follow(workload);
                self.watch("discovery.k8s.io/v1", "EndpointSlice", &service.namespace);
            }
            Effect::Hold { arms, .. } => {
                let workloads = arms.iter().flat_map(|arm| arm.stable.iter().chain([&arm.new]));
                workloads.for_each(|workload| self.follow(workload));
            }
            Effect::Smoke { via: SmokeVia::Pods { workloads }, .. } => {
                for (_, workload) in workloads {
                    self.follow(workload);
                }
            }
            Effect::Unstick { workload, .. } => {
                self.follow(workload);
                self.add(&["delete"], "v1", "Pod", &workload.namespace);
            }
            Effect::PauseSync { syncers } | Effect::ResumeSync { syncers } => {
                for ObjectRef { api_version, kind, namespace, .. } in syncers {
                    self.add(&["get", "patch"], api_version, kind, namespace);
                }
            }
            Effect::Apply { .. }
            // what they ask for is in the plan's objects
            | Effect::RunJob(_)
            | Effect::Guard { .. }
            | Effect::Partition { .. }
            | Effect::Create { .. }
            | Effect::Replace { .. }
            | Effect::Delete { .. }
            | Effect::Switch { .. }
            // what routers write, they say themselves
            | Effect::Weigh { .. }
            | Effect::WaitWeight { .. }
            | Effect::Smoke { via: SmokeVia::Public { .. }, .. }
            | Effect::Snapshot { .. }
            | Effect::Terraform { .. }
            | Effect::Compose { .. }
            | Effect::Advance { .. } => {}
        }
    }

    /// A Job of the way back is made, deleted if it failed before, and watched.
    fn job(&mut self, plan: &Plan, run: &RunJob) {
        let job = plan.objects[run.job].reference();
        self.add(&["get", "patch", "delete"], &job.api_version, &job.kind, &job.namespace);
        self.follow(&job);
    }

    fn watch(&mut self, api_version: &str, kind: &str, namespace: &str) {
        self.add(&WATCH, api_version, kind, namespace);
        if !namespace.is_empty() {
            self.add(&WATCH, "v1", "Event", namespace);
        }
    }

    /// A workload is judged by itself and by its pods; those of a Deployment are found through its `ReplicaSets`.
    fn follow(&mut self, workload: &ObjectRef) {
        self.watch(&workload.api_version, &workload.kind, &workload.namespace);
        self.watch("v1", "Pod", &workload.namespace);
        if workload.kind == "Deployment" {
            self.watch("apps/v1", "ReplicaSet", &workload.namespace);
        }
    }

    /// The permissions in the server's words. A kind that the plan itself brings is not known yet, and left out.
    async fn resolved(&self, cluster: &dyn Cluster) -> Result<Vec<Permission>, ClusterError> {
        let mut permissions = BTreeSet::new();
        for (place, verbs) in &self.0 {
            let ApiKind { api_version, kind } = &place.kind;
            let Some(plural) = cluster.plural(api_version, kind).await? else { continue };
            permissions.extend(verbs.iter().map(|verb| Permission {
                verb: (*verb).to_owned(),
                group: place.kind.group_version().0.to_owned(),
                resource: format!("{plural}{}", place.subresource),
                namespace: place.namespace.clone(),
            }));
        }
        Ok(permissions.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::readiness::ReadyTest;
    use std::time::Duration;

    fn watched(effect: &Effect, rules: &[ReadinessRule]) -> Vec<String> {
        let mut demands = Demands::default();
        demands.effect(effect, rules);
        let kinds = demands.0.iter().map(|(place, verbs)| {
            let verbs = if verbs.iter().eq(&WATCH) { String::new() } else { format!(" {verbs:?}") };
            format!("{}{}@{}{verbs}", place.kind.kind, place.subresource, place.namespace)
        });
        kinds.collect()
    }

    #[test]
    fn what_is_watched_is_what_is_waited_for() {
        let object = |api_version: &str, kind: &str, namespace: &str| {
            ObjectRef::new(api_version, kind, namespace, "x")
        };
        let wait = |workloads: &[ObjectRef]| Effect::WaitReady {
            workloads: workloads.to_vec(),
            timeout: Duration::ZERO,
        };
        let deployment = ObjectRef::deployment("shop", "api");
        let cases = [
            (
                wait(&[deployment.clone(), object("batch/v1", "Job", "shop")]),
                vec!["ReplicaSet@shop", "Deployment@shop", "Job@shop", "Event@shop", "Pod@shop"],
            ),
            (wait(&[object("apps/v1", "StatefulSet", "db")]), vec!["StatefulSet@db", "Event@db", "Pod@db"]),
            (
                wait(&[
                    object("v1", "PersistentVolumeClaim", "shop"),
                    object("a.example.com/v1", "Cart", "shop"),
                ]),
                vec!["Cart@shop", "Event@shop", "PersistentVolumeClaim@shop"],
            ),
            (
                wait(&[object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "")]),
                vec!["CustomResourceDefinition@"],
            ),
            (
                Effect::WaitTraffic {
                    service: object("v1", "Service", "shop"),
                    workload: deployment.clone(),
                    timeout: Duration::ZERO,
                },
                vec!["Deployment@shop", "ReplicaSet@shop", "EndpointSlice@shop", "Event@shop", "Pod@shop"],
            ),
            (
                Effect::Scale { workload: deployment.clone(), to: crate::domain::effect::Size::Exactly(1) },
                vec![r#"Deployment/scale@shop {"patch"}"#],
            ),
            (Effect::Apply { objects: vec![0] }, vec![]),
        ];
        for (effect, mut expected) in cases {
            let mut found = watched(&effect, &[]);
            found.sort();
            expected.sort_unstable();
            assert_eq!(found, expected, "{effect:?}");
        }
    }

    #[test]
    fn a_rule_of_the_project_makes_a_kind_watched_by_itself() {
        let rule = ReadinessRule {
            api_version: "batch/v1".into(),
            kind: "CronJob".into(),
            ready: ReadyTest::Exists,
            failed: None,
        };
        let nightly = ObjectRef::new("batch/v1", "CronJob", "shop", "nightly");
        let effect = Effect::WaitReady { workloads: vec![nightly], timeout: Duration::ZERO };
        assert_eq!(watched(&effect, &[rule]), ["CronJob@shop", "Event@shop"]);
    }
}
