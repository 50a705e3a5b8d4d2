//! Whether the gates will have something to judge by: queries that are understood, counters that are there.

use super::{Check, Level};
use crate::domain::environment::{Environment, TrafficClass};
use crate::domain::gate::{Comparison, Gate, Metric, Source};
use crate::domain::ids::{ComponentId, TargetId};
use crate::domain::object::ObjectRef;
use crate::plan::Plan;
use crate::ports::Cluster;
use crate::ports::metrics::{Measurement, MetricsError};
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
    if env.gates.iter().any(asks_a_store)
        && let Err(error) = world.metrics.reachable(target).await
    {
        let detail = format!("the metric store gives no answer: {error}");
        return vec![
            Check::new(Level::Fail, Some(target), "metrics", detail)
                .fix(format!("check targets.{target}.prometheus")),
        ];
    }
    let mut checks = Vec::new();
    let mut measured = false;
    for (gate, id) in env.gates.iter().flat_map(|gate| gate.components.iter().map(move |id| (gate, id))) {
        let Some(serving) = plan.targets.get(target).and_then(|plan| plan.workloads.get(id)) else {
            continue;
        };
        let now = serving_now(cluster, &serving.workload).await;
        if let Metric::AgainstStable(comparison) = &gate.metric {
            checks.extend(comparable(world, target, cluster, (gate, id, comparison), &now).await);
        } else {
            measured = true;
            checks.extend(answered(env, world, plan, target, (gate, id), &now).await);
        }
    }
    if measured && checks.iter().all(|check| check.level == Level::Pass) {
        checks.push(Check::new(Level::Pass, Some(target), "metrics", "the gates' queries are answered"));
    }
    checks
}

fn asks_a_store(gate: &Gate) -> bool {
    !matches!(&gate.metric, Metric::AgainstStable(comparison) if comparison.source != Source::Prometheus)
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

impl Now {
    /// What a gate's metric says of it.
    pub async fn measure(
        &self,
        world: &World,
        gate: &Gate,
        component: &ComponentId,
        (target, region, namespace): (&TargetId, &str, &str),
    ) -> Measured {
        let none = || vec!["none".to_owned()];
        let what = Measurement {
            metric: gate.metric.clone(),
            target: target.clone(),
            region: region.to_owned(),
            namespace: namespace.to_owned(),
            component: component.clone(),
            owners: if self.owners.is_empty() { none() } else { self.owners.clone() },
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
    let place = (target, plan.targets[target].region.as_str(), env.namespace.as_str());
    match now.measure(world, gate, id, place).await {
        Err(MetricsError::Refused { message }) => {
            let detail = format!("gate {} of {id}: {message}", gate.name);
            Some(Check::new(Level::Fail, Some(target), "metrics", detail).fix("mend the query"))
        }
        Err(MetricsError::Down { message }) => {
            Some(Check::new(Level::Fail, Some(target), "metrics", message).fix("check Prometheus"))
        }
        Ok(reading) if reading.value.is_none() && !now.owners.is_empty() => {
            let detail = format!("gate {} of {id}: no data about what serves now", gate.name);
            let fix = "is the component scraped, and does the query match its labels?";
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
        now.owners.extend(snapshot.current_replica_sets(name).into_iter().map(str::to_owned));
        let ready = snapshot.current_pods(name).into_iter().filter(|(_, pod)| pod.ready && !pod.terminating);
        now.pods = ready.map(|(name, _)| name.to_owned()).collect();
    }
    now
}
