//! The rules of other tools, as their documentation and defaults say, on the same traffic. They see every request at
//! once, without a scrape's delay, except where a rule needs two scrapes; none is delayed in acting.

use crate::chance::Chance;
use crate::traffic::{CONTROLS, Pod, Shape, World};

/// What a rule looks at: both arms' sums every 15 s from 0 on.
pub struct Seen {
    /// Requests and errors of the canary.
    canary: Vec<(f64, f64)>,
    control: Vec<(f64, f64)>,
}

const TICK: f64 = 15.0;

/// Serves a rollout at these steps whole.
pub fn watch(world: &World, steps: &[(f64, f64)], shape: &Shape, chance: &mut Chance) -> Seen {
    let mut pods: Vec<Pod> = (0..=CONTROLS).map(|index| Pod::new(index == 0, 0.0)).collect();
    let mut seen = Seen { canary: vec![(0.0, 0.0)], control: vec![(0.0, 0.0)] };
    let ticks = steps.iter().flat_map(|(seconds, weight)| vec![*weight; (seconds / TICK) as usize]);
    for (tick, weight) in ticks.enumerate() {
        let until = (tick + 1) as f64 * TICK;
        let mut control = (0.0, 0.0);
        for pod in &mut pods {
            let part = if pod.canary { weight } else { (1.0 - weight) / CONTROLS as f64 };
            pod.serve(world, world.rate * part, until, chance, shape);
            if !pod.canary {
                control = (control.0 + pod.requests, control.1 + pod.errors);
            }
        }
        seen.canary.push((pods[0].requests, pods[0].errors));
        seen.control.push(control);
    }
    seen
}

/// Failed requests and errors by a time, and the error rate over a window.
impl Seen {
    fn end(&self) -> f64 {
        (self.canary.len() - 1) as f64 * TICK
    }

    /// Failed canary requests until a rule stopped it, or to the end.
    pub fn harmed(&self, stopped: Option<f64>) -> f64 {
        self.canary[(stopped.unwrap_or(self.end()) / TICK).round() as usize].1
    }

    fn rate(arm: &[(f64, f64)], at: f64, window: f64) -> f64 {
        let to = (at / TICK).round() as usize;
        let from = ((at - window).max(0.0) / TICK).round() as usize;
        let (n, k) = (arm[to].0 - arm[from].0, arm[to].1 - arm[from].1);
        k / n
    }

    fn canary_rate(&self, at: f64, window: f64) -> f64 {
        Self::rate(&self.canary, at, window)
    }

    fn times(&self, first: f64, every: f64) -> impl Iterator<Item = f64> {
        let end = self.end();
        (0..).map(move |n| first + f64::from(n) * every).take_while(move |at| *at <= end)
    }
}

/// The rules, with what stops each.
pub const RULES: [(&str, Rule); 5] = [
    ("absolute: 5m over 5 %, every 60 s", absolute),
    ("Argo-style: 60 s, limit 3, 95 %", argo),
    ("Argo aggressive: 15 s, limit 0, 1m", argo_fast),
    ("Flagger-style: 1m, threshold 5, 99 %", flagger),
    ("Kayenta-style: 5m, Mann-Whitney", kayenta),
];

/// When a rule stops the rollout.
pub type Rule = fn(&Seen) -> Option<f64>;

fn absolute(seen: &Seen) -> Option<f64> {
    seen.times(60.0, 60.0).find(|at| seen.canary_rate(*at, 300.0) > 0.05)
}

/// Rolls back when `failed > failureLimit`: the fourth failure. First measured after 30 s; NaN is no success.
fn argo(seen: &Seen) -> Option<f64> {
    nth_failure(seen.times(30.0, 60.0), 4, |at| 1.0 - seen.canary_rate(at, 60.0) >= 0.95)
}

/// The first measurement has one scrape and no rate yet.
fn argo_fast(seen: &Seen) -> Option<f64> {
    nth_failure(seen.times(30.0, 15.0), 1, |at| 1.0 - seen.canary_rate(at, 60.0) >= 0.95)
}

/// `failedChecks ≥ threshold` is asked at the tick after the last failure.
fn flagger(seen: &Seen) -> Option<f64> {
    let last = nth_failure(seen.times(60.0, 60.0), 5, |at| 1.0 - seen.canary_rate(at, 60.0) >= 0.99)?;
    Some(last + 60.0).filter(|at| *at <= seen.end())
}

fn nth_failure(mut times: impl Iterator<Item = f64>, nth: u32, passes: impl Fn(f64) -> bool) -> Option<f64> {
    let mut failures = 0;
    times.find(|at| {
        failures += u32::from(!passes(*at));
        failures >= nth
    })
}

/// Error rates of each minute so far under a Mann-Whitney interval, every five minutes.
fn kayenta(seen: &Seen) -> Option<f64> {
    seen.times(300.0, 300.0).find(|until| {
        let minutes = (1..=(until / 60.0) as u32).map(|minute| f64::from(minute) * 60.0);
        let points = |arm: &[(f64, f64)]| -> Vec<f64> {
            minutes.clone().map(|at| Seen::rate(arm, at, 60.0)).filter(|rate| !rate.is_nan()).collect()
        };
        high(&points(&seen.canary), &points(&seen.control))
    })
}

/// Kayenta's classifier: High when the lower end of the 98 % interval of the shift exceeds a quarter of its estimate.
fn high(canary: &[f64], control: &[f64]) -> bool {
    let (low, top) = (least(canary) - most(control), most(canary) - least(control));
    if canary.len() < 2 || control.len() < 2 || low >= top {
        return false;
    }
    let root = |target: f64| {
        let (mut low, mut top) = (low, top);
        for _ in 0..60 {
            let middle = f64::midpoint(low, top);
            if statistic(canary, control, middle) > target { low = middle } else { top = middle }
        }
        f64::midpoint(low, top)
    };
    let mean = |points: &[f64]| points.iter().sum::<f64>() / points.len() as f64;
    root(2.326) > 0.25 * root(0.0).abs() && mean(canary) >= mean(control)
}

fn least(points: &[f64]) -> f64 {
    points.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(points: &[f64]) -> f64 {
    points.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// W(μ) with the correction for continuity and for ties.
fn statistic(x: &[f64], y: &[f64], shift: f64) -> f64 {
    let (n, m) = (x.len() as f64, y.len() as f64);
    let mut all: Vec<(f64, bool)> = x.iter().map(|x| (x - shift, true)).collect();
    all.extend(y.iter().map(|y| (*y, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut ranks, mut ties, mut from) = (0.0, 0.0, 0);
    while from < all.len() {
        let same = all[from..].iter().take_while(|point| (point.0 - all[from].0).abs() < 1e-12).count();
        let rank = from as f64 + f64::midpoint(same as f64, 1.0);
        ranks += rank * all[from..from + same].iter().filter(|point| point.1).count() as f64;
        ties += (same as f64).powi(3) - same as f64;
        from += same;
    }
    let dz = ranks - n * (n + 1.0) / 2.0 - n * m / 2.0;
    let total = n + m;
    let variance = n * m / 12.0 * ((total + 1.0) - ties / (total * (total - 1.0)));
    if variance <= 0.0 { 0.0 } else { (dz - 0.5 * dz.signum()) / variance.sqrt() }
}
