//! What a gate can see before it has to: from what true rate on a fault is noticed, by the test that will decide.
//!
//! No simulation of its own but the test itself, over a course that is worse than nine in ten: the same e-values, prior,
//! fixed share, burst factors, thresholds, weights and looks, fed with the 8 % quantile of the new revision's bad requests and
//! the 98 % quantile of stable's (Poisson, widened by the dispersion behind φ), spread evenly over time. A fault of the rate
//! that crosses the bar there is noticed in nine of ten rollouts at least; `tests/it/power.rs` checks that against drawn
//! rollouts under the real `Analysis`. Errors and latency are taken each by itself, latency at one bound of the histogram:
//! a real slowness shows at several and is noticed earlier.

use super::burst::CAUTION;
use super::evidence::Tally;
use super::guards::Absolute;
use super::params::{Params, Tolerance};
use super::wealth::Accounts;

/// Quantiles of the course: of ten faulty rollouts at least nine are noticed (8 % + 2 %, union bound).
const LOW: f64 = 0.08;
const HIGH: f64 = 0.98;
/// Blocks that a hold is taken in: the evidence is that of its sums, but for the fixed share between them.
const BLOCKS: usize = 6;
/// Halvings of a search, from 1 down to 10⁻⁵ on a logarithmic scale: to within 2 %.
const HALVINGS: usize = 10;
/// Lowest rate that is looked for.
const LOWEST: f64 = 1e-5;

/// A hold: how long, and the new revision's share of the traffic (0–1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// 0–1; from 1 on there is nothing to compare with, and the absolute limit of the guard judges.
    pub weight: f64,
    /// Seconds.
    pub seconds: f64,
}

/// One signal of a comparison: what stable shows, and how the test takes it.
#[derive(Clone, Debug)]
pub struct Signal<'a> {
    /// The test.
    pub params: &'a Params,
    /// What is tolerated.
    pub tolerance: Tolerance,
    /// Its share of all evidence, 0–1.
    pub share: f64,
    /// φ.
    pub burst: f64,
    /// Stable's rate, 0–1.
    pub base: f64,
    /// Requests a second of both arms together.
    pub rps: f64,
    /// Seconds between looks.
    pub look_s: f64,
}

impl Signal<'_> {
    /// The smallest true rate (0–1) of a fault from the beginning that is noticed by the end of the last of these holds;
    /// `None` if not even 1 is.
    #[must_use]
    pub fn sees(&self, holds: &[Stretch]) -> Option<f64> {
        let courses = self.courses(holds);
        smallest(|rate| self.notices(rate, &courses))
    }

    /// How long into the holds a fault of this rate is noticed, seconds.
    #[must_use]
    pub fn after(&self, rate: f64, holds: &[Stretch]) -> Option<f64> {
        let whole: f64 = holds.iter().map(|hold| hold.seconds).sum();
        let courses = self.courses(holds);
        if !self.notices(rate, &courses) {
            return None;
        }
        let (mut low, mut high) = (0.0, whole);
        for _ in 0..12 {
            let middle = f64::midpoint(low, high);
            if self.notices(rate, &cut(&courses, middle)) { high = middle } else { low = middle }
        }
        Some(high)
    }

    fn notices(&self, rate: f64, courses: &[Course]) -> bool {
        let rate = rate.min(1.0);
        let bad: f64 = courses.iter().map(|course| course.canary * rate).sum();
        let beside: f64 = courses.iter().map(|course| course.control).sum();
        // φ is CAUTION times the dispersion that was measured.
        let dispersion = (self.burst / CAUTION).max(1.0);
        let stable = ratio(quantile(beside * self.base, dispersion, HIGH).min(beside), beside);
        let bar = self.params.ln_rollback() - self.share.ln();
        let fresh = Accounts::new(&self.params.prior);
        let (mut nulls, mut alone) = ([fresh.clone(), fresh], Absolute::new(self.params));
        for course in courses {
            let dt = course.seconds / BLOCKS as f64;
            let (had, beside) = (course.canary / BLOCKS as f64, course.control / BLOCKS as f64);
            for _ in 0..BLOCKS {
                let seen = if course.bets.is_empty() {
                    let k = had * rate * ratio(quantile(bad, dispersion, LOW), bad);
                    let canary = Tally::new(had * (1.0 - rate) + k, k);
                    alone.settle(canary, self.burst, dt, self.params) >= self.params.ln_rollback()
                } else {
                    let settled = nulls.iter_mut().zip(&course.bets).map(|(accounts, bets)| {
                        let paid = bets.map(|bet| {
                            let k = had * rate * ratio(quantile(bad, dispersion * bet.spread, LOW), bad);
                            let n = had * (1.0 - rate) + k;
                            (k * bet.bad + beside * stable * bet.stable - n * bet.drain) / self.burst
                        });
                        accounts.settle(paid, dt, self.params)
                    });
                    settled.fold(f64::INFINITY, f64::min) >= bar
                };
                if seen {
                    return true;
                }
            }
        }
        false
    }

    /// The holds as the test goes through them, one look after the other.
    fn courses(&self, holds: &[Stretch]) -> Vec<Course> {
        let course = |hold: &Stretch| {
            let (canary, control) =
                (self.rps * hold.weight.min(1.0), self.rps * (1.0 - hold.weight).max(0.0));
            let nulls = [(self.tolerance.ratio, 0.0), (1.0, self.tolerance.margin)];
            let compared = hold.weight < 1.0;
            let looks = Looks::new(canary * self.look_s, control * self.look_s);
            let bets = nulls
                .iter()
                .filter(|_| compared)
                .map(|(r, d)| self.params.multiples.map(|multiple| looks.bet(*r, *d, multiple * r)));
            let bets = bets.collect();
            Course {
                seconds: hold.seconds,
                canary: canary * hold.seconds,
                control: control * hold.seconds,
                bets,
            }
        };
        holds.iter().map(course).collect()
    }
}

/// A hold with its expected requests, and what they are worth to each bet; no bets where nothing is compared.
struct Course {
    seconds: f64,
    canary: f64,
    control: f64,
    bets: Vec<[Bet; 5]>,
}

/// What requests are worth to one bet, ln, in the mean over looks.
#[derive(Clone, Copy)]
struct Bet {
    /// A bad request of the new revision.
    bad: f64,
    /// A bad request of stable.
    stable: f64,
    /// What each request of the new revision costs.
    drain: f64,
    /// How much more the worth of bad requests varies than their number does.
    spread: f64,
}

/// The looks of a hold. A look with few requests says less than its share of a long one: `a` depends on how many requests
/// of each arm it happens to hold, and is 1 where one of them has none. So the worth of a request is the mean over what may
/// stand beside it.
struct Looks {
    canary: Vec<(f64, f64)>,
    control: Vec<(f64, f64)>,
}

impl Looks {
    fn new(canary: f64, control: f64) -> Self {
        Self { canary: spread(canary), control: spread(control) }
    }

    fn bet(&self, r: f64, d: f64, rho: f64) -> Bet {
        let b = |n_c: f64, n_b: f64| (n_b + r * n_c) / (n_b + rho * n_c);
        let mut bet = Bet { bad: 0.0, stable: 0.0, drain: 0.0, spread: 1.0 };
        let mut squares = 0.0;
        for (n_c, chance_c) in &self.canary {
            for (n_b, chance_b) in &self.control {
                let chance = chance_c * chance_b;
                // beside a request of the new revision there are those that come without it, and itself
                if *n_b > 0.0 {
                    let a = rho / r * b(n_c + 1.0, *n_b);
                    bet.bad += chance * a.ln();
                    squares += chance * a.ln().powi(2);
                    bet.drain += chance * d * (a - 1.0);
                }
                if *n_c > 0.0 {
                    bet.stable += chance * b(*n_c, n_b + 1.0).ln();
                }
            }
        }
        if bet.bad > 0.0 {
            bet.spread = (squares / bet.bad.powi(2)).max(1.0);
        }
        bet
    }
}

/// Numbers of requests in a look and their chances; only the mean where it is large.
fn spread(mean: f64) -> Vec<(f64, f64)> {
    /// Above it a look's ratio of arms hardly varies.
    const MANY: f64 = 30.0;
    if mean > MANY {
        return vec![(mean, 1.0)];
    }
    let mut numbers = Vec::new();
    let (mut count, mut chance, mut left) = (0.0, (-mean).exp(), 1.0);
    while left > 1e-3 {
        numbers.push((count, chance));
        left -= chance;
        count += 1.0;
        chance *= mean / count;
    }
    numbers
}

/// A gate with a limit on a share of the requests: `max` 5 % failed, or at most 5 % slower than the limit of a p95.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Largest share that passes, 0–1.
    pub max: f64,
    /// Seconds that a measurement looks back.
    pub window: f64,
    /// Seconds between measurements.
    pub interval: f64,
    /// Consecutive breaches that roll back.
    pub breaches: u32,
    /// Fewest requests for a verdict.
    pub min_requests: f64,
}

/// What a gate with a limit sees in one hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitSight {
    /// Requests in a whole window, or in the hold where that is shorter.
    pub requests: f64,
    /// Whether nine of ten measurements at least have `min_requests`.
    pub judges: bool,
    /// The smallest true rate that rolls back by the end of the hold in nine of ten cases.
    pub rate: Option<f64>,
    /// When a fault of rate 1 rolls back, seconds into the hold.
    pub after: Option<f64>,
}

impl Limit {
    /// At so many requests a second of the new revision. Its pods count from the beginning of the hold on, so that a
    /// window is not diluted by what was before; breaches are counted in each hold by itself.
    #[must_use]
    pub fn sight(&self, rps: f64, hold: f64) -> LimitSight {
        let looks = (hold / self.interval).floor();
        let breaches = f64::from(self.breaches.max(1));
        let had = |at: f64| rps * at.min(self.window);
        let enough = |at: f64| quantile(had(at), 1.0, LOW) >= self.min_requests && had(at) > 0.0;
        let first = looks - breaches + 1.0;
        let whole = first >= 1.0 && enough(first * self.interval);
        let each = LOW / breaches;
        let notices = |rate: f64| {
            let n = had(first * self.interval);
            whole && quantile(n * rate, 1.0, each) > self.max * n
        };
        let mut after = None;
        let mut look = 1.0;
        while after.is_none() && whole && look <= first && self.max < 1.0 {
            if enough(look * self.interval) {
                after = Some((look + breaches - 1.0) * self.interval);
            }
            look += 1.0;
        }
        LimitSight { requests: had(hold), judges: enough(hold), rate: smallest(notices), after }
    }
}

/// The smallest rate that something holds for, by halving; it is taken to hold for all rates above.
fn smallest(holds: impl Fn(f64) -> bool) -> Option<f64> {
    if !holds(1.0) {
        return None;
    }
    let (mut low, mut high) = (LOWEST.ln(), 0.0_f64);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if holds(middle.exp()) { high = middle } else { low = middle }
    }
    Some(high.exp())
}

/// The first so many seconds of the holds.
fn cut(courses: &[Course], mut seconds: f64) -> Vec<Course> {
    let mut first = Vec::new();
    for course in courses.iter().filter(|course| course.seconds > 0.0) {
        if seconds <= 0.0 {
            break;
        }
        let part = (seconds / course.seconds).min(1.0);
        seconds -= course.seconds;
        first.push(Course {
            seconds: course.seconds * part,
            canary: course.canary * part,
            control: course.control * part,
            bets: course.bets.clone(),
        });
    }
    first
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A quantile of counts with this mean whose variance is `dispersion` times that of a Poisson's.
fn quantile(mean: f64, dispersion: f64, probability: f64) -> f64 {
    /// Above it the Poisson is a normal distribution for all that is asked here.
    const NORMAL: f64 = 400.0;
    let clusters = mean / dispersion;
    if clusters <= 0.0 {
        return 0.0;
    }
    if clusters > NORMAL {
        return (mean + normal(probability) * (mean * dispersion).sqrt()).max(0.0);
    }
    let (mut count, mut weight) = (0.0, (-clusters).exp());
    let mut below = weight;
    while below < probability && count < 10.0 * NORMAL {
        count += 1.0;
        weight *= clusters / count;
        below += weight;
    }
    count * dispersion
}

/// Quantile of the standard normal distribution, to 4.5·10⁻⁴: Abramowitz and Stegun (1964), 26.2.23.
fn normal(probability: f64) -> f64 {
    let tail = probability.min(1.0 - probability).max(1e-12);
    let t = (-2.0 * tail.ln()).sqrt();
    let above = 2.515_517 + 0.802_853 * t + 0.010_328 * t * t;
    let below = 1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t * t * t;
    let value = t - above / below;
    if probability < 0.5 { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (mean, probability, expected) in
            [(1.0, 0.08, 0.0), (3.0, 0.08, 1.0), (10.0, 0.08, 6.0), (10.0, 0.98, 17.0), (0.0, 0.98, 0.0)]
        {
            assert!((quantile(mean, 1.0, probability) - expected).abs() < 1e-9, "{mean} {probability}");
        }
        // both sides of the change to the normal distribution
        assert!((quantile(399.0, 1.0, 0.08) - quantile(401.0, 1.0, 0.08)).abs() < 4.0);
        assert!((normal(0.98) - 2.053_7).abs() < 1e-3 && (normal(0.08) + 1.405_1).abs() < 1e-3);
        assert!(quantile(100.0, 4.0, 0.08) < quantile(100.0, 1.0, 0.08));
    }

    fn signal(params: &Params, rps: f64, base: f64) -> Signal<'_> {
        Signal { params, tolerance: params.errors, share: 0.7, burst: 1.0, base, rps, look_s: 5.0 }
    }

    #[test]
    fn more_traffic_more_time_and_more_weight_see_more() {
        let params = Params::default();
        let hold = |weight, seconds| [Stretch { weight, seconds }];
        let at =
            |rps, weight, seconds| signal(&params, rps, 0.001).sees(&hold(weight, seconds)).unwrap_or(2.0);
        assert!(at(50.0, 0.1, 300.0) < at(5.0, 0.1, 300.0));
        assert!(at(5.0, 0.1, 3000.0) < at(5.0, 0.1, 300.0));
        assert!(at(5.0, 0.5, 300.0) < at(5.0, 0.1, 300.0));
        assert_eq!(signal(&params, 0.01, 0.001).sees(&hold(0.1, 60.0)), None);
        assert_eq!(signal(&params, 0.0, 0.0).sees(&hold(0.1, 60.0)), None);
        let soon = signal(&params, 50.0, 0.001).after(1.0, &hold(0.1, 300.0)).unwrap();
        let later = signal(&params, 50.0, 0.001).after(0.02, &hold(0.1, 300.0)).unwrap();
        assert!(soon < 5.0 && later > soon && later < 300.0, "{soon} {later}");
    }

    #[test]
    fn two_holds_see_more_than_one_and_alone_the_guard_judges() {
        let params = Params::default();
        let one = [Stretch { weight: 0.1, seconds: 300.0 }];
        let two = [one[0], Stretch { weight: 0.5, seconds: 300.0 }];
        let signal = signal(&params, 5.0, 0.001);
        assert!(signal.sees(&two).unwrap() < signal.sees(&one).unwrap());
        let alone = signal.sees(&[Stretch { weight: 1.0, seconds: 3000.0 }]).unwrap();
        assert!(alone > params.absolute_max && alone < 3.0 * params.absolute_max, "{alone}");
    }

    #[test]
    fn a_limit_needs_its_requests_and_its_breaches() {
        let limit = Limit { max: 0.05, window: 300.0, interval: 60.0, breaches: 2, min_requests: 20.0 };
        let few = limit.sight(0.02, 600.0);
        assert!(!few.judges && few.rate.is_none() && few.after.is_none(), "{few:?}");
        let some = limit.sight(5.0, 600.0);
        assert!(some.judges && (some.requests - 1500.0).abs() < 1e-9);
        assert!(some.rate.is_some_and(|rate| rate > 0.05 && rate < 0.08), "{some:?}");
        assert_eq!(some.after, Some(120.0));
        let short = limit.sight(5.0, 60.0);
        assert_eq!((short.rate, short.after), (None, None), "two breaches need two measurements");
    }
}
