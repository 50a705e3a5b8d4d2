//! The gates outside a run: each once, for what serves now.

use super::compare::{self, Subject};
use super::foresight::{self, Foresight};
use super::preflight::{Place, serving_now};
use super::releases;
use super::world::World;
use crate::domain::environment::{Environment, TrafficClass};
use crate::domain::error::Failure;
use crate::domain::gate::{Gate, Metric};
use crate::domain::ids::{ComponentId, TargetId};
use crate::domain::release::Outcome;
use crate::rollout::gate::{self, GateVerdict, Measured};

/// What one gate says of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Where.
    pub target: TargetId,
    /// Which gate.
    pub gate: String,
    /// Of whom.
    pub component: ComponentId,
    /// `healthy`, `bad`, `not enough data`, `no data`, `backend down`.
    pub verdict: &'static str,
    /// Value and limit, or where the counters of a comparison are read.
    pub detail: String,
}

/// Asks every gate on every target where users are. A comparison has nothing to compare outside a rollout: it says where
/// its counters are.
///
/// # Errors
/// When a target's records cannot be read.
pub async fn run(world: &World, env: &Environment) -> Result<Vec<Judged>, Failure> {
    let mut judged = Vec::new();
    for target in env.targets.iter().filter(|target| target.traffic == TrafficClass::Live) {
        let site = world.site(&target.id)?;
        let history = releases::history(&target.id, site.state.as_ref()).await?;
        let Some(release) = history.iter().rev().find(|release| release.outcome == Outcome::Deployed) else {
            continue;
        };
        let region = target.region.clone().unwrap_or_else(|| target.id.to_string());
        for (gate, id) in env.gates.iter().flat_map(|gate| gate.components.iter().map(move |id| (gate, id))) {
            let (Some(serving), Some(cluster)) = (release.workloads.get(id), &site.cluster) else { continue };
            let now = serving_now(cluster.as_ref(), &serving.workload).await;
            let workload = now.workload.as_ref().unwrap_or(&serving.workload);
            let (verdict, detail) = if let Metric::AgainstStable(comparison) = &gate.metric {
                let (owners, pods) = (&now.owners, &now.pods);
                let subject = Subject { target: &target.id, component: id, workload, owners, pods };
                match compare::probe(world, cluster.as_ref(), &subject, comparison).await {
                    Ok((how, true)) => ("healthy", format!("counters are {how}")),
                    Ok((how, false)) => {
                        ("no data", format!("counters are {how}; no request was counted yet"))
                    }
                    Err(why) => ("backend down", why),
                }
            } else {
                let place = Place {
                    target: &target.id,
                    region: &region,
                    namespace: &workload.namespace,
                    version: &release.version,
                    revision: release.revision,
                };
                match now.owners.as_slice() {
                    [] => (GateVerdict::NoData.label(), "no pod serves".to_owned()),
                    _ => judged_by_limit(gate, &now.measure(world, gate, id, place).await),
                }
            };
            let (target, gate, component) = (target.id.clone(), gate.name.clone(), id.clone());
            judged.push(Judged { target, gate, component, verdict, detail });
        }
    }
    Ok(judged)
}

/// What the gates would see of a release now.
///
/// # Errors
/// When a target's records cannot be read.
pub async fn foresee(world: &World, env: &Environment) -> Result<Foresight, Failure> {
    let mut serving = std::collections::BTreeMap::new();
    for (target, site) in &world.sites {
        let history = releases::history(target, site.state.as_ref()).await?;
        let release = history.into_iter().rev().find(|release| release.outcome == Outcome::Deployed);
        for (component, workload) in release.into_iter().flat_map(|release| release.workloads) {
            serving.insert((target.clone(), component), workload.workload);
        }
    }
    Ok(foresight::of_environment(world, env, &serving).await)
}

fn judged_by_limit(gate: &Gate, measured: &Measured) -> (&'static str, String) {
    let verdict = gate::judge(gate, measured, None);
    let limit = gate::limit_text(gate);
    let detail = match measured {
        Ok(reading) => {
            let value =
                reading.value.map_or_else(|| "no value".to_owned(), |value| gate.metric.format(value));
            let requests =
                reading.requests.map_or_else(String::new, |requests| format!(", {requests:.0} requests"));
            format!("{} {value} (limit {limit}{requests})", gate.metric.label())
        }
        Err(error) => error.to_string(),
    };
    (verdict.label(), detail)
}
