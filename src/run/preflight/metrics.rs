//! Whether the gates will have something to judge by: queries that are understood, counters that are there.

use super::{Check, Level};
use crate::domain::environment::{Environment, TrafficClass};
use crate::domain::gate::{Comparison, Gate, Metric, Shared};
use crate::domain::ids::{ComponentId, Revision, TargetId};
use crate::domain::object::ObjectRef;
use crate::plan::Plan;
use crate::ports::Cluster;
use crate::ports::metrics::{Measurement, MetricsError, revision_in};
use crate::rollout::gate::Measured;
use crate::run::compare::{self, Subject};
use crate::run::world::World;
use std::time::Duration;

/// Longest wait for the first look at the namespace.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// The gates' queries must be understood, and should have data, for what serves now.
pub(super) async fn check(
    env: &Environment,
    world: &World,
    plan: &Plan,
    target: &TargetId,
    cluster: &dyn Cluster,
) -> Vec<Check> {
    let live = env.target(target).is_some_and(|target| target.traffic == TrafficClass::Live);
    if env.gates.is_empty() || !live {
        return Vec::new();
    }
    let mut checks = Vec::new();
    let mut away = false;
    if env.gates.iter().any(|gate| gate.metric.asks_prometheus())
        && let Err(error) = world.metrics.reachable(target).await
    {
        away = true;
        checks.push(unanswered(target, &error));
    }
    checks.extend(blurred(env, target));
    let mut measured = false;
    for (gate, id) in env.gates.iter().flat_map(|gate| gate.components.iter().map(move |id| (gate, id))) {
        let Some(serving) = plan.targets.get(target).and_then(|plan| plan.workloads.get(id)) else {
            continue;
        };
        if away && gate.metric.asks_prometheus() {
            continue;
        }
        let now = serving_now(cluster, &serving.workload).await;
        if let Metric::AgainstStable(comparison) = &gate.metric {
            checks.extend(comparable(world, target, cluster, (gate, id, comparison), &now).await);
        } else {
            measured = true;
            checks.extend(answered(env, world, plan, target, (gate, id), &now).await);
        }
    }
    for notice in world.metrics.notices(target) {
        let fix = format!("the fallback carries on; mend the first endpoint of targets.{target}.prometheus");
        checks.push(Check::new(Level::Warn, Some(target), "metrics", notice).fix(fix));
    }
    if measured && checks.iter().all(|check| check.level == Level::Pass) {
        checks.push(Check::new(Level::Pass, Some(target), "metrics", "the gates' queries are answered"));
    }
    checks
}

/// The target's Prometheus does not answer, or not to us.
fn unanswered(target: &TargetId, error: &MetricsError) -> Check {
    let (detail, fix) = match error {
        MetricsError::Denied { message } => (
            message.clone(),
            format!("check the credentials of targets.{target}.prometheus, and what they allow"),
        ),
        error => (
            format!("the metric store gives no answer: {error}"),
            format!("check targets.{target}.prometheus"),
        ),
    };
    Check::new(Level::Fail, Some(target), "metrics", detail).fix(fix)
}

/// Gates whose queries do not say which version they ask about: what the new one does badly looks like stable's fault too.
fn blurred(env: &Environment, target: &TargetId) -> Vec<Check> {
    let blurred = env
        .gates
        .iter()
        .filter(|gate| gate.shared == Shared::Hold && !gate.metric.tells_versions_apart(&env.queries));
    blurred
        .map(|gate| {
            let detail = format!(
                "gate {} cannot tell versions apart: what it asks names none of {{{{ pods }}}}, {{{{ version }}}} and \
                 {{{{ revision }}}}, so a breach counts as stable's too and holds the run up instead of rolling it back",
                gate.name
            );
            let fix = match gate.metric {
                Metric::Query(_) => format!("name one of them in gates.{}.query, or set shared: rollback", gate.name),
                Metric::CloudWatch(_) | Metric::Http(_) => {
                    format!("name one of them in gates.{}.metric, or set shared: rollback", gate.name)
                }
                _ => "name one of them in metrics.queries".to_owned(),
            };
            Check::new(Level::Warn, Some(target), "metrics", detail).fix(fix)
        })
        .collect()
}

/// What serves a component now.
#[derive(Default)]
pub(in crate::run) struct Now {
    /// Its workload, if pods of it are ready.
    pub workload: Option<ObjectRef>,
    /// Owners of its pods, of any revision.
    pub owners: Vec<String>,
    /// Its ready pods.
    pub pods: Vec<String>,
}

/// Where a gate is asked outside of a run, and of what.
#[derive(Clone, Copy)]
pub(in crate::run) struct Place<'a> {
    /// Which store.
    pub target: &'a TargetId,
    /// The target's region name.
    pub region: &'a str,
    /// Namespace of the pods.
    pub namespace: &'a str,
    /// Version that serves.
    pub version: &'a str,
    /// Release that serves.
    pub revision: Revision,
}

impl Place<'_> {
    /// The revision in the workload's name; the release's where it is changed in place.
    fn revision_of(&self, workload: Option<&ObjectRef>) -> String {
        workload
            .and_then(|workload| revision_in(&workload.name))
            .unwrap_or_else(|| self.revision.0.to_string())
    }
}

impl Now {
    /// What a gate's metric says of it.
    pub async fn measure(
        &self,
        world: &World,
        gate: &Gate,
        component: &ComponentId,
        place: Place<'_>,
    ) -> Measured {
        let none = || vec!["none".to_owned()];
        let what = Measurement {
            metric: gate.metric.clone(),
            target: place.target.clone(),
            region: place.region.to_owned(),
            namespace: place.namespace.to_owned(),
            component: component.clone(),
            owners: if self.owners.is_empty() { none() } else { self.owners.clone() },
            version: Some(place.version.to_owned()),
            revision: Some(place.revision_of(self.workload.as_ref())),
            window: gate.window,
        };
        world.metrics.measure(&what).await
    }
}

async fn answered(
    env: &Environment,
    world: &World,
    plan: &Plan,
    target: &TargetId,
    (gate, id): (&Gate, &ComponentId),
    now: &Now,
) -> Option<Check> {
    let planned = &plan.targets[target];
    let place = Place {
        target,
        region: &planned.region,
        namespace: &env.namespace,
        version: planned.previous_version.as_ref().unwrap_or(&plan.version),
        revision: planned.previous.unwrap_or(Revision(0)),
    };
    match now.measure(world, gate, id, place).await {
        Err(MetricsError::Refused { message }) => {
            let detail = format!("gate {} of {id}: {message}", gate.name);
            Some(Check::new(Level::Fail, Some(target), "metrics", detail).fix("mend the query"))
        }
        Err(MetricsError::Denied { message }) => {
            let detail = format!("gate {} of {id}: {message}", gate.name);
            let fix = "check the credentials, and what they allow";
            Some(Check::new(Level::Fail, Some(target), "metrics", detail).fix(fix))
        }
        Err(MetricsError::Down { message }) => {
            let fix = match gate.metric {
                Metric::CloudWatch(_) => "is CloudWatch reached from here, and is the region right?",
                Metric::Http(_) => "is it reached from here?",
                _ => "check Prometheus",
            };
            let detail = format!("gate {} of {id}: {message}", gate.name);
            Some(Check::new(Level::Fail, Some(target), "metrics", detail).fix(fix))
        }
        Ok(reading) if reading.value.is_none() && !now.owners.is_empty() => {
            let detail = format!("gate {} of {id}: no data about what serves now", gate.name);
            let fix = match gate.metric {
                Metric::CloudWatch(_) => "are namespace, name and all dimensions as CloudWatch has them?",
                Metric::Http(_) => "does the document have a number at the pointer?",
                _ => "is the component scraped, and does the query match its labels?",
            };
            Some(Check::new(Level::Warn, Some(target), "metrics", detail).fix(fix))
        }
        Ok(_) => None,
    }
}

/// Whether a comparison will find its counters; nothing to ask where nothing serves yet.
async fn comparable(
    world: &World,
    target: &TargetId,
    cluster: &dyn Cluster,
    (gate, id, comparison): (&Gate, &ComponentId, &Comparison),
    now: &Now,
) -> Option<Check> {
    let workload = now.workload.as_ref()?;
    let subject = Subject { target, component: id, workload, owners: &now.owners, pods: &now.pods };
    Some(match compare::probe(world, cluster, &subject, comparison).await {
        Ok((how, true)) => {
            Check::new(Level::Pass, Some(target), "metrics", format!("gate {} of {id}: {how}", gate.name))
        }
        Ok((how, false)) => {
            let name = &comparison.counters.requests;
            let detail = format!("gate {} of {id}: {how}, which has counted no {name} yet", gate.name);
            Check::new(Level::Warn, Some(target), "metrics", detail)
                .fix("has it had requests, and is metrics.counters.requests its name?")
        }
        Err(why) => {
            let detail = format!("gate {} of {id} has nothing to compare: {why}", gate.name);
            let fix = "grant `get` on pods/proxy and let the API server reach the pods, or set targets.TARGET.prometheus; \
                       metrics.counters says what is counted";
            Check::new(Level::Fail, Some(target), "metrics", detail).fix(fix)
        }
    })
}

/// The component as it serves now, under any revision.
pub(in crate::run) async fn serving_now(cluster: &dyn Cluster, workload: &ObjectRef) -> Now {
    let mut snapshots = cluster.follow(&workload.namespace);
    let synced = snapshots.wait_for(|snapshot| snapshot.synced);
    let Ok(Ok(snapshot)) = tokio::time::timeout(LOOK_TIMEOUT, synced).await else {
        return Now::default();
    };
    let base = workload.name.rsplit_once("-r").map_or(workload.name.as_str(), |(base, _)| base).to_owned();
    let serving = |deployment: &ObjectRef| {
        deployment.name == base
            || deployment.name.strip_prefix(&base).is_some_and(|rest| rest.starts_with("-r"))
    };
    let mut now = Now::default();
    for (name, _) in snapshot.workloads.iter().filter(|(name, state)| serving(name) && state.ready > 0) {
        now.workload = Some(name.clone());
        if name.kind == "Deployment" {
            now.owners.extend(snapshot.current_replica_sets(name).into_iter().map(str::to_owned));
        } else {
            now.owners.push(name.name.clone());
        }
        let ready = snapshot.current_pods(name).into_iter().filter(|(_, pod)| pod.ready && !pod.terminating);
        now.pods = ready.map(|(name, _)| name.to_owned()).collect();
    }
    now
}
