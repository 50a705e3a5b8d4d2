//! Where the counters of both arms come from: the pods themselves while they let us, else the metric store.

use super::arms::{Serving, sort};
use super::growth::blocks;
use super::scrape::{self, Endpoint};
use super::{Comparer, Contest, Place};
use crate::domain::counters::PodSample;
use crate::domain::gate::{Comparison, Source, Tolerated};
use crate::domain::ids::{ComponentId, TargetId};
use crate::domain::object::ObjectRef;
use crate::ports::Cluster;
use crate::ports::metrics::{CountersOf, MetricsError};
use crate::rollout::sequential::{Analysis, Arm as Side, Burst, Counters, Decision, Tolerance};
use crate::run::perform::{Stand, StepError};
use crate::run::world::World;
use std::collections::BTreeMap;
use std::time::Duration;

/// How far back a store is asked for samples: two scrapes of a minute's interval.
const SAMPLES_WINDOW: Duration = Duration::from_mins(2);
/// How much of stable's past says how its errors cluster, and in blocks of what length.
pub(super) const HISTORY_WINDOW: Duration = Duration::from_hours(2);
pub(super) const HISTORY_STEP: Duration = Duration::from_secs(15);
/// Longest wait for an answer of the store.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// Scrape interval of a store whose samples do not tell it, seconds.
const USUAL_INTERVAL: f64 = 15.0;
/// Fewest blocks of history that say anything of clusters.
pub(super) const ENOUGH_HISTORY: usize = 40;
/// Burst factors where stable's past is not known: errors are taken to come in twos, slow requests in threes.
pub(super) const UNKNOWN_BURST: (f64, f64) = (2.0, 3.0);
/// Pods that are read of each arm at most: more would load the API server and say little more.
const MOST_PODS: usize = 50;

/// What a look found: of the new revision, of stable.
#[derive(Debug)]
pub(super) struct Samples {
    new: Vec<PodSample>,
    stable: Vec<PodSample>,
    /// Pods that were asked and gave nothing.
    failed: Vec<(String, Side)>,
}

impl Samples {
    /// Whether it says nothing of the new revision.
    pub(super) fn is_silent(&self) -> bool {
        self.new.is_empty()
    }
}

/// A comparison, and what its first samples said: of one that goes on from an earlier process, all since then.
type First = (Comparer, Vec<Decision>);

impl Stand<'_> {
    /// Finds out where the counters come from, and what histograms they have; nothing if there are none yet.
    pub(super) async fn first_look(&self, contest: &Contest<'_>) -> Result<Option<First>, MetricsError> {
        let mut refused = None;
        if contest.comparison.source != Source::Prometheus {
            match self.pods_place(contest).await {
                Ok(place) => match self.begin(place, contest).await {
                    Ok(Some(first)) => return Ok(Some(first)),
                    Ok(None) => {}
                    Err(error) => refused = Some(error),
                },
                Err(error) => refused = Some(MetricsError::Down { message: error.cause }),
            }
        }
        if contest.comparison.source != Source::Pods && self.has_store() {
            return self.begin(Place::Store, contest).await;
        }
        refused.map_or(Ok(None), Err)
    }

    fn has_store(&self) -> bool {
        self.world.metrics.knows(self.target)
    }

    async fn pods_place(&self, contest: &Contest<'_>) -> Result<Place, StepError> {
        let new = self.endpoint(&contest.arm.new).await?;
        let stable = match &contest.arm.stable {
            Some(stable) => Some(self.endpoint(stable).await?),
            None => None,
        };
        Ok(Place::Pods(new, stable))
    }

    async fn endpoint(&self, workload: &ObjectRef) -> Result<Endpoint, StepError> {
        let cluster = self.cluster()?;
        let live = self.in_contact("read the workload", async || cluster.get(workload).await).await?;
        Ok(Endpoint::of(live.as_ref().unwrap_or(&serde_json::Value::Null)))
    }

    async fn begin(&self, source: Place, contest: &Contest<'_>) -> Result<Option<First>, MetricsError> {
        let samples = self.read(&source, contest).await?;
        let all = || samples.stable.iter().chain(&samples.new);
        if samples.new.is_empty() || (contest.arm.stable.is_some() && samples.stable.is_empty()) {
            return Ok(None);
        }
        let bounds: Vec<f64> = match contest.comparison.latency {
            Some(_) => all().map(finite_bounds).find(|bounds| !bounds.is_empty()).unwrap_or_default(),
            None => Vec::new(),
        };
        if let Some(mut comparer) = self.taken_up(&source, contest, &bounds) {
            let decisions = self.feed(contest, &mut comparer, samples);
            return Ok(Some((comparer, decisions)));
        }
        let mut params = self.comparisons.params.clone();
        params.errors = tolerance(contest.comparison.errors);
        params.latency = contest.comparison.latency.map_or(params.latency, tolerance);
        let burst = self.burst(contest, &bounds).await;
        let (start, interval) = match source {
            Place::Pods(..) => (self.now(), super::LOOK_INTERVAL.as_secs_f64()),
            // by the store's clock, which need not be ours
            Place::Store => (newest(all()), scrape_interval(all())),
        };
        let mut comparer = Comparer {
            analysis: Analysis::new(params, burst, start, interval).with_bounds(bounds.clone()),
            source,
            bounds,
            newest: BTreeMap::new(),
            weight: None,
            process: self.comparisons.ledger.epoch(),
            silenced: false,
        };
        let decisions = self.feed(contest, &mut comparer, samples);
        Ok(Some((comparer, decisions)))
    }

    /// How stable's errors and slow requests cluster, from its past where a store knows it.
    async fn burst(&self, contest: &Contest<'_>, bounds: &[f64]) -> Burst {
        let unknown = || Burst { errors: UNKNOWN_BURST.0, latency: vec![UNKNOWN_BURST.1; bounds.len()] };
        if contest.arm.stable.is_none() || !self.has_store() {
            return unknown();
        }
        let what = self.counters_of(contest, Side::Control, HISTORY_WINDOW);
        let asked = self.world.metrics.history(&what, self.world.clock.now(), HISTORY_STEP);
        let Ok(Ok(rows)) = tokio::time::timeout(STORE_TIMEOUT, asked).await else { return unknown() };
        let blocks = blocks(&rows, bounds);
        if blocks.len() < ENOUGH_HISTORY { unknown() } else { Burst::of_history(&blocks, bounds.len()) }
    }

    pub(super) async fn read(&self, source: &Place, contest: &Contest<'_>) -> Result<Samples, MetricsError> {
        match source {
            Place::Pods(new, stable) => self.read_pods(contest, new, stable.as_ref()).await,
            Place::Store => {
                let stable = async {
                    match &contest.arm.stable {
                        Some(_) => self.read_store(contest, Side::Control).await,
                        None => Ok(Vec::new()),
                    }
                };
                let (new, stable) = tokio::try_join!(self.read_store(contest, Side::Canary), stable)?;
                let now = newest(new.iter().chain(&stable));
                let new = self.lives(contest.arm, Side::Canary, new, now);
                let stable = self.lives(contest.arm, Side::Control, stable, now);
                Ok(Samples { new, stable, failed: Vec::new() })
            }
        }
    }

    async fn read_store(&self, contest: &Contest<'_>, side: Side) -> Result<Vec<PodSample>, MetricsError> {
        let what = self.counters_of(contest, side, SAMPLES_WINDOW);
        if what.owners.is_empty() {
            return Ok(Vec::new());
        }
        let late = |_| MetricsError::Down { message: "the metric store gives no answer".to_owned() };
        tokio::time::timeout(STORE_TIMEOUT, self.world.metrics.samples(&what)).await.map_err(late)?
    }

    fn counters_of(&self, contest: &Contest<'_>, side: Side, window: Duration) -> CountersOf {
        CountersOf {
            target: self.target.clone(),
            namespace: contest.arm.new.namespace.clone(),
            component: contest.arm.component.clone(),
            owners: self.owners_of(contest.arm, sort(side)),
            names: contest.comparison.counters.clone(),
            window,
        }
    }

    /// All pods of both arms at the same moment.
    async fn read_pods(
        &self,
        contest: &Contest<'_>,
        new: &Endpoint,
        stable: Option<&Endpoint>,
    ) -> Result<Samples, MetricsError> {
        let down = |message: String| MetricsError::Down { message };
        let cluster = self.cluster().map_err(|error| down(error.cause))?.as_ref();
        let at = self.now();
        let names = &contest.comparison.counters;
        let namespace = contest.arm.new.namespace.as_str();
        let ask = |side: Side, endpoint: &Endpoint| {
            let endpoint = endpoint.clone();
            self.serving(contest.arm, side).into_iter().take(MOST_PODS).map(move |pod: Serving| {
                let endpoint = endpoint.clone();
                async move {
                    let read = scrape::pod(cluster, namespace, &pod.name, &endpoint, names, at).await;
                    let read = read.map(|sample| PodSample { pod: pod.life.clone(), ..sample });
                    (side, pod.life, read)
                }
            })
        };
        let mut asked: Vec<_> = ask(Side::Canary, new).collect();
        asked.extend(stable.into_iter().flat_map(|endpoint| ask(Side::Control, endpoint)));
        let mut samples = Samples { new: Vec::new(), stable: Vec::new(), failed: Vec::new() };
        let mut why = None;
        for (side, pod, read) in futures::future::join_all(asked).await {
            match (side, read) {
                (Side::Canary, Ok(sample)) => samples.new.push(sample),
                (Side::Control, Ok(sample)) => samples.stable.push(sample),
                (side, Err(error)) => {
                    why = Some(format!("pod {pod}: {error}"));
                    samples.failed.push((pod, side));
                }
            }
        }
        match why {
            Some(why) if samples.new.is_empty() => Err(down(why)),
            _ => Ok(samples),
        }
    }

    pub(super) fn now(&self) -> f64 {
        self.world.clock.now().as_millisecond() as f64 / 1000.0
    }

    /// Now, on the clock of the samples: a store's need not be ours.
    pub(super) fn clock_of(&self, source: &Place, analysis: &Analysis) -> f64 {
        match source {
            Place::Pods(..) => self.now(),
            Place::Store => analysis.streams().now(),
        }
    }

    /// Gives the analysis what is new, in the order of time; what was read at one moment is judged together.
    pub(super) fn feed(
        &self,
        contest: &Contest<'_>,
        comparer: &mut Comparer,
        samples: Samples,
    ) -> Vec<Decision> {
        self.know_pods(contest, comparer);
        self.tell_weight(contest, comparer);
        let sides = [(Side::Canary, samples.new), (Side::Control, samples.stable)];
        let mut fresh: Vec<(f64, String, Option<Counters>)> = Vec::new();
        for (side, samples) in sides {
            for sample in samples {
                let newest = comparer.newest.entry(sample.pod.clone()).or_insert(f64::NEG_INFINITY);
                if sample.at > *newest {
                    *newest = sample.at;
                    comparer.analysis.pod(&sample.pod, side, None);
                    fresh.push((sample.at, sample.pod.clone(), counters(&sample, &comparer.bounds)));
                }
            }
        }
        fresh.extend(samples.failed.into_iter().map(|(pod, _)| (self.now(), pod, None)));
        fresh.sort_by(|one, other| one.0.total_cmp(&other.0).then_with(|| one.1.cmp(&other.1)));
        let mut decisions = Vec::new();
        for moment in fresh.chunk_by(|one, other| one.0.total_cmp(&other.0).is_eq()) {
            for (at, pod, counters) in moment {
                comparer.analysis.take(pod, *at, counters.as_ref());
            }
            decisions.extend(comparer.analysis.decide());
        }
        if decisions.is_empty() {
            decisions.extend(comparer.analysis.at(self.clock_of(&comparer.source, &comparer.analysis)));
        }
        decisions
    }

    /// Pods are made known before their samples: those of the new revision began to count during the rollout.
    fn know_pods(&self, contest: &Contest<'_>, comparer: &mut Comparer) {
        let began = self.plan.created.as_millisecond() as f64 / 1000.0;
        for side in [Side::Canary, Side::Control] {
            for pod in self.serving(contest.arm, side) {
                comparer.analysis.pod(&pod.life, side, pod.created.filter(|created| *created >= began));
            }
        }
    }

    /// Tells the analysis which share of the requests the new revision should get, where that is known.
    fn tell_weight(&self, contest: &Contest<'_>, comparer: &mut Comparer) {
        let count = |side| self.serving(contest.arm, side).len();
        let new = count(Side::Canary);
        let weight = match (&contest.arm.stable, contest.routed) {
            _ if comparer.analysis.braked() || comparer.silenced => return,
            (None, _) => Some(1.0),
            (Some(_), Some(routed)) => Some(routed),
            (Some(_), None) => {
                let stable = count(Side::Control);
                let whole = new <= MOST_PODS && stable <= MOST_PODS;
                (whole && stable > 0).then(|| new as f64 / (new + stable) as f64)
            }
        };
        if let Some(weight) = weight.filter(|weight| comparer.weight != Some(*weight)) {
            comparer.weight = Some(weight);
            let at = self.clock_of(&comparer.source, &comparer.analysis);
            comparer.analysis.set_weight(at, weight);
        }
    }
}

fn tolerance(given: Tolerated) -> Tolerance {
    Tolerance { ratio: given.ratio, margin: given.margin }
}

pub(super) fn finite_bounds(sample: &PodSample) -> Vec<f64> {
    sample.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect()
}

/// A sample as the analysis takes it; nothing if its histogram has other bounds.
pub(super) fn counters(sample: &PodSample, bounds: &[f64]) -> Option<Counters> {
    let count = |bound: f64| {
        sample.buckets.iter().find(|(known, _)| known.total_cmp(&bound).is_eq()).map(|(_, count)| *count)
    };
    if sample.buckets.is_empty() && sample.requests <= 0.0 {
        let within = vec![0.0; bounds.len()];
        return Some(Counters { requests: 0.0, errors: 0.0, timed: Some(0.0), within });
    }
    let within = bounds.iter().map(|bound| count(*bound)).collect::<Option<Vec<f64>>>()?;
    Some(Counters {
        requests: sample.requests,
        errors: sample.errors,
        timed: count(f64::INFINITY).filter(|_| !bounds.is_empty()),
        within,
    })
}

fn newest<'s>(samples: impl Iterator<Item = &'s PodSample>) -> f64 {
    samples.map(|sample| sample.at).fold(0.0, f64::max)
}

/// The usual time between two samples of one pod.
fn scrape_interval<'s>(samples: impl Iterator<Item = &'s PodSample>) -> f64 {
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for sample in samples {
        times.entry(&sample.pod).or_default().push(sample.at);
    }
    let mut gaps: Vec<f64> = Vec::new();
    for times in times.values_mut() {
        times.sort_by(f64::total_cmp);
        gaps.extend(times.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 0.0));
    }
    gaps.sort_by(f64::total_cmp);
    gaps.get(gaps.len() / 2).copied().unwrap_or(USUAL_INTERVAL)
}

/// A component as it serves now.
pub(in crate::run) struct Subject<'a> {
    pub target: &'a TargetId,
    pub component: &'a ComponentId,
    pub workload: &'a ObjectRef,
    /// Owners of its pods.
    pub owners: &'a [String],
    /// Its ready pods.
    pub pods: &'a [String],
}

/// Where a comparison finds the counters that it needs at what serves now, and whether they have counted anything yet.
///
/// # Errors
/// Why it does not, in words.
pub(in crate::run) async fn probe(
    world: &World,
    cluster: &dyn Cluster,
    subject: &Subject<'_>,
    comparison: &Comparison,
) -> Result<(String, bool), String> {
    let workload = subject.workload;
    let mut missing = Vec::new();
    if comparison.source != Source::Prometheus {
        let live = cluster.get(workload).await.map_err(|error| error.to_string())?;
        let endpoint = Endpoint::of(live.as_ref().unwrap_or(&serde_json::Value::Null));
        match subject.pods.first() {
            None => missing.push(format!("{workload} has no pod that serves")),
            Some(pod) => {
                match scrape::pod(cluster, &workload.namespace, pod, &endpoint, &comparison.counters, 0.0)
                    .await
                {
                    Ok(sample) => {
                        return Ok((
                            format!("read from the pods themselves ({endpoint})"),
                            sample.requests > 0.0,
                        ));
                    }
                    Err(error) => missing.push(format!("pod {pod}: {error}")),
                }
            }
        }
    }
    if comparison.source != Source::Pods && world.metrics.knows(subject.target) {
        let what = CountersOf {
            target: subject.target.clone(),
            namespace: workload.namespace.clone(),
            component: subject.component.clone(),
            owners: subject.owners.to_vec(),
            names: comparison.counters.clone(),
            window: SAMPLES_WINDOW,
        };
        match world.metrics.samples(&what).await {
            Ok(samples) if !samples.is_empty() => {
                let every = scrape_interval(samples.iter());
                return Ok((format!("read from the metric store, scraped every {every:.0} s"), true));
            }
            Ok(_) => missing.push(format!("the metric store has no {}", comparison.counters.requests)),
            Err(error) => missing.push(error.to_string()),
        }
    }
    Err(missing.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: f64, requests: f64, errors: f64, fast: f64) -> PodSample {
        let buckets = vec![(0.1, fast), (f64::INFINITY, requests)];
        PodSample { pod: "p".into(), at, requests, errors, buckets }
    }

    #[test]
    fn a_histogram_of_other_bounds_is_no_sample() {
        assert!(counters(&row(0.0, 1.0, 0.0, 1.0), &[0.2]).is_none());
        let taken = counters(&row(0.0, 9.0, 0.0, 7.0), &[0.1]).unwrap();
        assert_eq!((taken.timed, taken.within), (Some(9.0), vec![7.0]));
        assert_eq!(counters(&row(0.0, 9.0, 0.0, 7.0), &[]).unwrap().timed, None);
    }

    #[test]
    fn the_scrape_interval_is_the_usual_gap() {
        let rows = [0.0, 15.0, 30.1, 75.0].map(|at| row(at, 1.0, 0.0, 0.0));
        assert!((scrape_interval(rows.iter()) - 15.1).abs() < 1e-9);
        assert!((scrape_interval(rows[..1].iter()) - USUAL_INTERVAL).abs() < 1e-9);
    }
}
