//! What a component has to do now: requests, failures and slowness of what serves, by the store's last week, or by what its
//! pods have counted since they began.

use super::growth;
use super::read::{self, ENOUGH_HISTORY, HISTORY_STEP, HISTORY_WINDOW, Subject, UNKNOWN_BURST};
use super::scrape::{self, Endpoint};
use crate::domain::counters::PodSample;
use crate::domain::gate::{Comparison, Source};
use crate::domain::units::human;
use crate::ports::Cluster;
use crate::ports::metrics::CountersOf;
use crate::rollout::sequential::{Burst, Counts};
use crate::run::world::World;
use serde::Serialize;
use std::time::Duration;

/// How far back a store is asked.
const WEEK: Duration = Duration::from_hours(7 * 24);
/// In rows of what length.
const ROW: Duration = Duration::from_mins(5);
/// How far from this time of day a row may be, seconds.
const SAME_HOUR: f64 = 3600.0;
/// Fewest rows of this time of day that say anything; with fewer all rows count.
const ENOUGH_ROWS: usize = 6;
/// Pods that are read, where there is no store.
const MOST_PODS: usize = 10;
const DAY: f64 = 86400.0;

/// The traffic of a component on one target, as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Requests a second: of ten moments nine had more.
    pub rps: f64,
    /// Half of the moments had more.
    pub median: f64,
    /// Share of failed requests, 0–1.
    pub errors: f64,
    /// Share of requests slower than each finite bound (seconds), 0–1.
    pub slow: Vec<(f64, f64)>,
    /// Where it is from: `at this time of day in the last 6d`.
    pub from: String,
    /// How its errors and slow requests cluster.
    #[serde(skip)]
    pub burst: Burst,
}

/// What a comparison's counters say of what serves; an error says in words why it is not known.
pub(in crate::run) async fn figures(
    world: &World,
    cluster: &dyn Cluster,
    subject: &Subject<'_>,
    comparison: &Comparison,
) -> Result<Figures, String> {
    let mut why = "no store of metrics is set for this target".to_owned();
    if world.metrics.knows(subject.target) {
        match of_store(world, subject, comparison).await {
            Ok(figures) => return Ok(figures),
            Err(error) => why = error,
        }
    }
    if comparison.source == Source::Prometheus {
        return Err(why);
    }
    of_pods(world, cluster, subject, comparison).await.map_err(|error| format!("{why}; {error}"))
}

async fn of_store(world: &World, subject: &Subject<'_>, comparison: &Comparison) -> Result<Figures, String> {
    let now = world.clock.now();
    let of = |window| CountersOf {
        target: subject.target.clone(),
        namespace: subject.workload.namespace.clone(),
        component: subject.component.clone(),
        owners: subject.owners.to_vec(),
        names: comparison.counters.clone(),
        window,
    };
    let (week, recent) = (of(WEEK), of(HISTORY_WINDOW));
    let (week, recent) = tokio::join!(
        world.metrics.history(&week, now, ROW),
        world.metrics.history(&recent, now, HISTORY_STEP)
    );
    let (week, recent) = (week.map_err(|error| error.to_string())?, recent.unwrap_or_default());
    let bounds = week.iter().map(read::finite_bounds).find(|bounds| !bounds.is_empty()).unwrap_or_default();
    let fine = growth::growth(&recent, &bounds);
    let mut rows = growth::growth(&week, &bounds);
    if rows.len() < ENOUGH_ROWS {
        rows.clone_from(&fine);
    }
    let blocks: Vec<Counts> = fine.into_iter().map(|row| row.counts).collect();
    let burst = if blocks.len() < ENOUGH_HISTORY {
        unknown_burst(bounds.len())
    } else {
        Burst::of_history(&blocks, bounds.len())
    };
    // by the store's clock, which need not be ours
    let now = rows.last().map_or(0.0, |row| row.at);
    of_rows(&rows, &bounds, now, burst)
        .ok_or_else(|| format!("the store has no {} of what serves", comparison.counters.requests))
}

fn unknown_burst(bounds: usize) -> Burst {
    Burst { errors: UNKNOWN_BURST.0, latency: vec![UNKNOWN_BURST.1; bounds] }
}

/// The quietest tenth of the moments at this time of day, which is when the release goes out; rates of errors and slowness
/// are of all of it.
fn of_rows(rows: &[growth::Row], bounds: &[f64], now: f64, burst: Burst) -> Option<Figures> {
    let rate = |row: &growth::Row| row.counts.requests / row.dt;
    let off = |row: &&growth::Row| {
        let apart = (now - row.at).rem_euclid(DAY);
        apart.min(DAY - apart) <= SAME_HOUR
    };
    let same: Vec<f64> = rows.iter().filter(off).map(rate).collect();
    let days = ((now - rows.first()?.at) / DAY).ceil();
    let (mut rates, from) = if same.len() >= ENOUGH_ROWS && days > 1.0 {
        (same, format!("at this time of day in the last {days:.0} days"))
    } else {
        let span = Duration::from_secs((now - rows.first()?.at).max(60.0) as u64 / 60 * 60);
        (rows.iter().map(rate).collect(), format!("in the last {}", human(span)))
    };
    rates.sort_by(f64::total_cmp);
    let mut all = Counts { slow: vec![0.0; bounds.len()], ..Counts::default() };
    for row in rows {
        all.requests += row.counts.requests;
        all.errors += row.counts.errors;
        all.timed += row.counts.timed;
        all.slow.iter_mut().zip(&row.counts.slow).for_each(|(sum, slow)| *sum += slow);
    }
    let share = |part: f64, whole: f64| if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 };
    Some(Figures {
        rps: rates[rates.len() / 10],
        median: rates[rates.len() / 2],
        errors: share(all.errors, all.requests),
        slow: bounds.iter().zip(&all.slow).map(|(bound, slow)| (*bound, share(*slow, all.timed))).collect(),
        from,
        burst,
    })
}

/// What the pods themselves have counted since they began.
async fn of_pods(
    world: &World,
    cluster: &dyn Cluster,
    subject: &Subject<'_>,
    comparison: &Comparison,
) -> Result<Figures, String> {
    let workload = subject.workload;
    let live = cluster.get(workload).await.map_err(|error| error.to_string())?;
    let endpoint = Endpoint::of(live.as_ref().unwrap_or(&serde_json::Value::Null));
    let now = world.clock.now().as_millisecond() as f64 / 1000.0;
    let ages: Vec<(String, f64)> = {
        let snapshots = cluster.follow(&workload.namespace);
        let snapshot = snapshots.borrow();
        let created = |pod: &str| snapshot.pods.get(pod)?.created;
        let age = |pod: &String| Some((pod.clone(), now - created(pod)?.as_millisecond() as f64 / 1000.0));
        subject.pods.iter().filter_map(age).filter(|(_, age)| *age > 0.0).take(MOST_PODS).collect()
    };
    let asked = ages.iter().map(|(pod, age)| {
        let (namespace, endpoint, names) = (&workload.namespace, &endpoint, &comparison.counters);
        async move { (age, scrape::pod(cluster, namespace, pod, endpoint, names, now).await) }
    });
    let mut why = format!("{workload} has no pod that serves");
    let mut read_pods: Vec<(f64, PodSample)> = Vec::new();
    for (age, sample) in futures::future::join_all(asked).await {
        match sample {
            Ok(sample) => read_pods.push((*age, sample)),
            Err(error) => why = error,
        }
    }
    let bounds = read_pods
        .iter()
        .map(|(_, sample)| read::finite_bounds(sample))
        .find(|bounds| !bounds.is_empty())
        .unwrap_or_default();
    let rows: Vec<growth::Row> = read_pods
        .iter()
        .filter_map(|(age, sample)| {
            let zero = PodSample {
                pod: String::new(),
                at: now - age,
                requests: 0.0,
                errors: 0.0,
                buckets: sample.buckets.iter().map(|(bound, _)| (*bound, 0.0)).collect(),
            };
            growth::growth(&[zero, sample.clone()], &bounds).pop()
        })
        .collect();
    let oldest = read_pods.iter().map(|(age, _)| *age).fold(0.0, f64::max);
    let burst = unknown_burst(bounds.len());
    let mut figures = of_rows(&rows, &bounds, now, burst).ok_or(why)?;
    let all = rows.iter().map(|row| row.counts.requests / row.dt).sum::<f64>() / rows.len() as f64;
    (figures.rps, figures.median) = (all * subject.pods.len() as f64, all * subject.pods.len() as f64);
    figures.from =
        format!("since its pods began, {} ago", human(Duration::from_secs(oldest as u64 / 60 * 60)));
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: f64, requests: f64) -> growth::Row {
        let counts =
            Counts { requests, errors: requests / 100.0, timed: requests, slow: vec![requests / 10.0] };
        growth::Row { at, dt: 300.0, counts }
    }

    #[test]
    fn the_quiet_tenth_of_this_time_of_day_counts() {
        // three days: 3000 requests in a row at night, 30000 by day
        let night = |at: f64| (at % DAY) < DAY / 2.0;
        let rows: Vec<growth::Row> = (1..3 * 288)
            .map(|index| f64::from(index) * 300.0)
            .map(|at| row(at, if night(at) { 3000.0 } else { 30000.0 }))
            .collect();
        let at = |now: f64| of_rows(&rows, &[0.5], now, Burst::none(1)).unwrap();
        let (by_night, by_day) = (at(3.0 * DAY + DAY / 4.0), at(3.0 * DAY + DAY * 0.75));
        assert!((by_night.rps - 10.0).abs() < 1e-9 && (by_day.rps - 100.0).abs() < 1e-9);
        assert!((by_day.errors - 0.01).abs() < 1e-9 && (by_day.slow[0].1 - 0.1).abs() < 1e-9);
        assert_eq!(by_day.from, "at this time of day in the last 4 days");
        let young = of_rows(&rows[..4], &[0.5], 1500.0, Burst::none(1)).unwrap();
        assert_eq!(young.from, "in the last 20m");
        assert!(of_rows(&[], &[], 0.0, Burst::none(0)).is_none());
    }
}
