//! What the gates of a release will be able to see, told before it begins: advice about the traffic of now, no part of the
//! plan that is approved.

mod waves;

use super::compare::{self, Figures, Subject, first_params};
use super::preflight::serving_now;
use super::world::World;
use crate::domain::effect::{Arm, Effect};
use crate::domain::environment::{Environment, Strategy, TrafficClass};
use crate::domain::gate::{Comparison, Gate, Metric, Source, Tolerated};
use crate::domain::ids::{ComponentId, TargetId};
use crate::domain::object::ObjectRef;
use crate::domain::units::{self, human};
use crate::plan::Plan;
use crate::ports::metrics::{Measurement, revision_in};
use crate::rollout::sequential::power::{Limit, Signal, Stretch};
use crate::rollout::sequential::{Params, Tolerance};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use waves::busier_first;

/// Longest wait for what a target's traffic was: a plan does not wait for a slow store.
const PATIENCE: Duration = Duration::from_secs(4);
/// A hold that sees nothing below this rate (0–1) is warned of, and the hold that would is looked for.
const BLIND: f64 = 0.2;
/// Longest hold that is proposed.
const LONGEST: Duration = Duration::from_hours(24);
/// Looked back over where no counters are known.
const LAST_HOUR: Duration = Duration::from_hours(1);
/// Seconds between looks at the pods, and between the samples of a store, which come a scrape late.
const LOOKS: f64 = 5.0;
const SCRAPES: f64 = 15.0;
/// A latency bound is spoken of that this share of stable's requests exceeds at most.
const USUAL: f64 = 0.05;

/// What can be seen, by target and component.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Foresight {
    /// Every watched component of every live target.
    pub views: Vec<View>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// One component on one target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// Where.
    pub target: TargetId,
    /// Whose.
    pub component: ComponentId,
    /// Its traffic, or why it is not known.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// What each gate sees by the end of each hold.
    pub sights: Vec<Sight>,
}

/// What is known of the traffic.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// This.
    Traffic(Figures),
    /// Nothing, because of this.
    Unknown(String),
}

/// What one gate sees by the end of one hold, of a fault that was there from the beginning of the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sight {
    /// The gate.
    pub gate: String,
    /// What is counted as bad: `failed`, `slower than 500 ms`.
    pub bad: String,
    /// Stable's share of it now (0–1), where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<f64>,
    /// The hold's weight, percent.
    pub weight: u8,
    /// Its length.
    #[serde(with = "units::duration")]
    pub hold: Duration,
    /// The smallest true share (0–1) that is noticed in nine of ten cases; `None`: nothing is.
    pub sees: Option<f64>,
    /// How long it takes when all requests are bad, seconds from the beginning of the first hold (for a limit: of this one).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all_bad_after_s: Option<f64>,
    /// Why nothing is seen, where more time does not help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What a component's holds are on one target.
struct Watched<'a> {
    target: &'a TargetId,
    region: String,
    workload: ObjectRef,
    component: ComponentId,
    gates: Vec<&'a Gate>,
    /// Weight in percent, and length.
    holds: Vec<(u8, Duration)>,
}

/// Of a plan.
pub async fn of_plan(world: &World, plan: &Plan) -> Foresight {
    let mut watched: Vec<Watched<'_>> = Vec::new();
    for stage in &plan.stages {
        for step in &stage.steps {
            let Effect::Hold { gates, arms, duration, .. } = &step.effect else { continue };
            for arm in arms.iter().filter(|_| !duration.is_zero()) {
                add(&mut watched, plan, &step.target, gates, arm, (stage.weight, *duration));
            }
        }
    }
    let tests = compare::tests_of(plan).len();
    let mut foresight = look(world, watched, &first_params(tests, 1)).await;
    foresight.warnings.extend(busier_first(&foresight.views, &plan.waves));
    foresight
}

fn add<'p>(
    watched: &mut Vec<Watched<'p>>,
    plan: &'p Plan,
    target: &'p TargetId,
    gates: &'p [Gate],
    arm: &Arm,
    hold: (u8, Duration),
) {
    let gates: Vec<&Gate> = gates.iter().filter(|gate| gate.components.contains(&arm.component)).collect();
    if gates.is_empty() {
        return;
    }
    let known = watched.iter_mut().find(|one| one.target == target && one.component == arm.component);
    match known {
        Some(known) => known.holds.push(hold),
        None => watched.push(Watched {
            target,
            region: plan.targets.get(target).map_or_else(|| target.to_string(), |plan| plan.region.clone()),
            workload: arm.stable.clone().unwrap_or_else(|| arm.new.clone()),
            component: arm.component.clone(),
            gates,
            holds: vec![hold],
        }),
    }
}

/// Of an environment, for `metrics ENV`: its components' own weights and holds, beside what serves.
pub async fn of_environment(
    world: &World,
    env: &Environment,
    serving: &BTreeMap<(TargetId, ComponentId), ObjectRef>,
) -> Foresight {
    let mut watched = Vec::new();
    for target in env.targets.iter().filter(|target| target.traffic == TrafficClass::Live) {
        for component in &env.components {
            let Some(workload) = serving.get(&(target.id.clone(), component.id.clone())) else { continue };
            let gates: Vec<&Gate> =
                env.gates.iter().filter(|gate| gate.components.contains(&component.id)).collect();
            let holds = match &component.strategy {
                Strategy::Canary(canary) => {
                    canary.steps.iter().map(|step| (step.weight, step.hold)).collect()
                }
                Strategy::BlueGreen(green) => vec![(100, green.hold)],
                Strategy::Rolling | Strategy::Recreate => Vec::new(),
            };
            let holds: Vec<(u8, Duration)> = holds.into_iter().filter(|(_, hold)| !hold.is_zero()).collect();
            if !gates.is_empty() && !holds.is_empty() {
                let region = target.region.clone().unwrap_or_else(|| target.id.to_string());
                let (workload, component) = (workload.clone(), component.id.clone());
                watched.push(Watched { target: &target.id, region, workload, component, gates, holds });
            }
        }
    }
    let compares = |gate: &&&Gate| matches!(gate.metric, Metric::AgainstStable(_));
    let tests = watched.iter().flat_map(|one| one.gates.iter().filter(compares)).count();
    let mut foresight = look(world, watched, &first_params(tests, 1)).await;
    foresight.warnings.extend(busier_first(&foresight.views, &env.waves));
    foresight
}

async fn look(world: &World, watched: Vec<Watched<'_>>, params: &Params) -> Foresight {
    let views = watched.iter().map(|one| async move {
        let known = tokio::time::timeout(PATIENCE, traffic(world, one)).await;
        let late = || Err(format!("no answer within {}", human(PATIENCE)));
        let traffic = known.unwrap_or_else(|_| late());
        view(one, traffic, params)
    });
    let looked = futures::future::join_all(views).await;
    let mut foresight = Foresight::default();
    for (view, warnings) in looked {
        foresight.views.push(view);
        foresight.warnings.extend(warnings);
    }
    foresight
}

/// What the component has to do now: by the counters of its comparison, else by what the store says of the last hour.
async fn traffic(world: &World, one: &Watched<'_>) -> Result<Figures, String> {
    let site = world.site(one.target).map_err(|failure| failure.what)?;
    let cluster = site.cluster().map_err(|error| error.to_string())?.as_ref();
    let now = serving_now(cluster, &one.workload).await;
    let Some(workload) = &now.workload else { return Err("nothing serves yet".to_owned()) };
    let comparison = one.gates.iter().find_map(|gate| comparison(gate));
    let (target, component) = (one.target, &one.component);
    if let Some(comparison) = comparison {
        let subject = Subject { target, component, workload, owners: &now.owners, pods: &now.pods };
        return compare::figures(world, cluster, &subject, comparison).await.and_then(busy);
    }
    if !world.metrics.knows(target) {
        return Err("no store of metrics is set for this target".to_owned());
    }
    let what = Measurement {
        metric: Metric::ErrorRate,
        target: target.clone(),
        region: one.region.clone(),
        namespace: workload.namespace.clone(),
        component: component.clone(),
        owners: now.owners,
        version: None,
        revision: revision_in(&workload.name),
        window: LAST_HOUR,
    };
    let reading = world.metrics.measure(&what).await.map_err(|error| error.to_string())?;
    let Some(requests) = reading.requests else {
        return Err("the store cannot tell its requests".to_owned());
    };
    let rps = requests / LAST_HOUR.as_secs_f64();
    let burst = crate::rollout::sequential::Burst::none(0);
    let errors = reading.value.filter(|value| value.is_finite()).unwrap_or_default();
    let from = "in the last hour".to_owned();
    busy(Figures { rps, median: rps, errors, slow: Vec::new(), from, burst })
}

/// Of what nobody asks for, nothing can be told.
fn busy(figures: Figures) -> Result<Figures, String> {
    if figures.rps > 0.0 { Ok(figures) } else { Err(format!("no request was counted {}", figures.from)) }
}

fn comparison(gate: &Gate) -> Option<&Comparison> {
    match &gate.metric {
        Metric::AgainstStable(comparison) => Some(comparison),
        _ => None,
    }
}

fn view(one: &Watched<'_>, traffic: Result<Figures, String>, params: &Params) -> (View, Vec<String>) {
    let (target, component) = (one.target.clone(), one.component.clone());
    let figures = match traffic {
        Ok(figures) => figures,
        Err(why) => {
            return (
                View { target, component, traffic: Traffic::Unknown(why), sights: Vec::new() },
                Vec::new(),
            );
        }
    };
    let (mut sights, mut warnings) = (Vec::new(), Vec::new());
    for gate in &one.gates {
        match comparison(gate) {
            Some(comparison) => {
                for asked in signals(comparison, &figures) {
                    sights.extend(compared(one, gate, comparison, &asked, (&figures, params), &mut warnings));
                }
            }
            None => sights.extend(limited(one, gate, &figures, &mut warnings)),
        }
    }
    (View { target, component, traffic: Traffic::Traffic(figures), sights }, warnings)
}

/// What of a comparison is spoken of.
struct Asked {
    bad: String,
    base: f64,
    tolerated: Tolerated,
    share: f64,
    burst: f64,
}

/// Failed requests, and those slower than the lowest bound that stable's hardly ever exceed.
fn signals(comparison: &Comparison, figures: &Figures) -> Vec<Asked> {
    let defaults = Params::default();
    let judged = comparison.latency.filter(|_| !figures.slow.is_empty());
    let share = if judged.is_some() { defaults.error_share } else { 1.0 };
    let mut asked = vec![Asked {
        bad: "failed".to_owned(),
        base: figures.errors,
        tolerated: comparison.errors,
        share,
        burst: figures.burst.errors,
    }];
    let bound = figures.slow.iter().position(|(_, share)| *share <= USUAL);
    if let (Some(tolerated), Some(bound)) = (judged, bound) {
        let (seconds, base) = figures.slow[bound];
        asked.push(Asked {
            bad: format!("slower than {:.0} ms", seconds * 1000.0),
            base,
            tolerated,
            share: defaults.latency_share / figures.slow.len() as f64,
            burst: figures.burst.latency.get(bound).copied().unwrap_or(1.0),
        });
    }
    asked
}

fn compared(
    one: &Watched<'_>,
    gate: &Gate,
    comparison: &Comparison,
    asked: &Asked,
    (figures, params): (&Figures, &Params),
    warnings: &mut Vec<String>,
) -> Vec<Sight> {
    let tolerance = Tolerance { ratio: asked.tolerated.ratio, margin: asked.tolerated.margin };
    let (share, burst, base, rps) = (asked.share, asked.burst, asked.base, figures.rps);
    let store = comparison.source == Source::Prometheus;
    let look_s = if store { SCRAPES } else { LOOKS };
    let every = if store { 2.0 * SCRAPES } else { LOOKS };
    let signal = Signal { params, tolerance, share, burst, base, rps, look_s };
    let stretches: Vec<Stretch> = one.holds.iter().map(stretch).collect();
    let mut sights = Vec::new();
    for (index, (weight, hold)) in one.holds.iter().enumerate() {
        // Holds at 100 % have nothing to compare with; they are told where there are no others.
        if *weight >= 100 && one.holds.iter().any(|(weight, _)| *weight < 100) {
            break;
        }
        let upto = &stretches[..=index];
        let sees = signal.sees(upto);
        let after = signal.after(1.0, upto).map(|after| (after / every).ceil() * every);
        if index == 0 && sees.is_none_or(|sees| sees > BLIND) && asked.bad == "failed" {
            let longer = |hold: Duration| signal.sees(&[stretch(&(*weight, hold))]);
            warnings.push(blind(one, gate, (*weight, *hold), asked, (sees, figures.rps), longer));
        }
        sights.push(Sight {
            gate: gate.name.clone(),
            bad: asked.bad.clone(),
            now: Some(asked.base),
            weight: *weight,
            hold: *hold,
            sees,
            all_bad_after_s: after,
            why: None,
        });
    }
    sights
}

fn stretch((weight, hold): &(u8, Duration)) -> Stretch {
    Stretch { weight: f64::from(*weight) / 100.0, seconds: hold.as_secs_f64() }
}

/// `hold 10 % for 5m sees nothing below 60 % failed requests at 0.2 requests/s; 40m would see 20 %`.
fn blind(
    one: &Watched<'_>,
    gate: &Gate,
    (weight, hold): (u8, Duration),
    asked: &Asked,
    (sees, rps): (Option<f64>, f64),
    longer: impl Fn(Duration) -> Option<f64>,
) -> String {
    let nothing = sees.map_or_else(
        || format!("nothing, even if all requests are {},", asked.bad),
        |sees| format!("nothing below {} {} requests", percent(sees), asked.bad),
    );
    let head = format!(
        "{}: hold {weight} % for {} under gate {} of {} sees {nothing} at {} requests/s",
        one.target,
        human(hold),
        gate.name,
        one.component,
        rate(rps)
    );
    let mut wanted = hold;
    while wanted < LONGEST {
        wanted = (wanted * 3 / 2).min(LONGEST);
        let whole = Duration::from_secs(wanted.as_secs().div_ceil(60) * 60);
        if let Some(sees) = longer(whole).filter(|sees| *sees <= BLIND) {
            return format!("{head}; {} would see {}", human(whole), percent(sees));
        }
    }
    format!(
        "{head}; no hold up to {} would see {}: raise the weight, or probe it",
        human(LONGEST),
        percent(BLIND)
    )
}

/// A share as people read it: two digits that count.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 {
        format!("{percent:.0} %")
    } else if percent >= 1.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.2} %")
    }
}

/// Requests a second as people read them.
#[must_use]
pub fn rate(rps: f64) -> String {
    if rps >= 10.0 {
        format!("{rps:.0}")
    } else if rps >= 1.0 {
        format!("{rps:.1}")
    } else {
        format!("{rps:.2}")
    }
}

/// The share of requests that a gate limits, and what is bad about them.
fn limit_of(gate: &Gate) -> Option<(f64, String)> {
    match &gate.metric {
        Metric::ErrorRate => Some((gate.max?, "failed".to_owned())),
        Metric::Availability => Some((1.0 - gate.min?, "failed".to_owned())),
        // A p95 above its limit is more than 5 % of the requests slower than that.
        Metric::Latency { quantile } => {
            Some((1.0 - quantile, format!("slower than {:.0} ms", gate.max? * 1000.0)))
        }
        Metric::AgainstStable(_) | Metric::Query(_) | Metric::CloudWatch(_) | Metric::Http(_) => None,
    }
}

fn limited(one: &Watched<'_>, gate: &Gate, figures: &Figures, warnings: &mut Vec<String>) -> Vec<Sight> {
    let shown = one.holds.iter().filter(|(weight, _)| *weight < 100 || one.holds.len() == 1);
    let sight = |(weight, hold): &(u8, Duration), bad: &str| Sight {
        gate: gate.name.clone(),
        bad: bad.to_owned(),
        now: (bad == "failed").then_some(figures.errors),
        weight: *weight,
        hold: *hold,
        sees: None,
        all_bad_after_s: None,
        why: None,
    };
    let Some((max, bad)) = limit_of(gate) else {
        let why = "it is a query of your own: nothing can be said of it".to_owned();
        return shown.map(|hold| Sight { why: Some(why.clone()), ..sight(hold, "bad") }).take(1).collect();
    };
    let limit = Limit {
        max,
        window: gate.window.as_secs_f64(),
        interval: gate.interval.as_secs_f64().max(1.0),
        breaches: gate.breaches,
        min_requests: gate.min_requests as f64,
    };
    let mut sights = Vec::new();
    for hold in shown {
        let (weight, length) = hold;
        let seen = limit.sight(figures.rps * f64::from(*weight) / 100.0, length.as_secs_f64());
        let why = if !seen.judges {
            Some(format!(
                "{:.0} requests in {}, of {} that it wants",
                seen.requests,
                human(gate.window.min(*length)),
                gate.min_requests
            ))
        } else if seen.rate.is_none() {
            Some(format!(
                "{} requests come too late for {} breaches, one every {}",
                gate.min_requests,
                gate.breaches.max(1),
                human(gate.interval)
            ))
        } else {
            None
        };
        if let Some(why) = why.as_ref().filter(|_| sights.is_empty()) {
            warnings.push(format!(
                "{}: hold {weight} % for {} under gate {} of {} sees nothing at {} requests/s: {why}",
                one.target,
                human(*length),
                gate.name,
                one.component,
                rate(figures.rps)
            ));
        }
        sights.push(Sight { sees: seen.rate, all_bad_after_s: seen.after, why, ..sight(hold, &bad) });
    }
    sights
}

#[cfg(test)]
mod tests;
