//! What is told beforehand of what gates see, beside what they then do.

use crate::support::{Life, Told, environment, virtually};
use deployctl::cli::report::{self, Output};
use deployctl::domain::environment::Environment;
use deployctl::domain::gate::{Metric, Source};
use deployctl::domain::ids::TargetId;
use deployctl::rollout::sequential::power::{Limit, Signal, Stretch};
use deployctl::rollout::sequential::{Analysis, Arm, Burst, Counters, Params, Verdict};
use deployctl::run::foresight::{self, Foresight, Traffic};
use deployctl::run::{Ending, gates_now};
use deployctl::sim::random::Random;
use std::time::Duration;

/// A rollout with this true rate of failures under the real analysis: whether it is caught within the holds. Arrivals and
/// failures are drawn; latency is judged, too, and nothing is wrong with it.
fn caught(params: &Params, burst: f64, rates: (f64, f64), rps: f64, holds: &[Stretch], seed: u64) -> bool {
    const LOOK: f64 = 5.0;
    let mut random = Random::new(seed);
    let bursts = Burst { errors: burst, latency: vec![1.0] };
    let mut analysis = Analysis::new(params.clone(), bursts, 0.0, LOOK);
    analysis.pod("c", Arm::Canary, Some(0.0));
    analysis.pod("b", Arm::Control, None);
    let zero = || Counters { requests: 0.0, errors: 0.0, timed: None, within: vec![0.0] };
    let mut counted = [zero(), zero()];
    analysis.feed("b", 0.0, Some(&counted[1]));
    let mut at = 0.0;
    for hold in holds {
        analysis.set_weight(at, hold.weight);
        for _ in 0..(hold.seconds / LOOK) as usize {
            at += LOOK;
            let shares = [(hold.weight, rates.0), (1.0 - hold.weight, rates.1)];
            for (arm, (share, rate)) in counted.iter_mut().zip(shares) {
                let requests = random.poisson(rps * share * LOOK);
                let errors = random.binomial(requests, rate);
                arm.requests += requests as f64;
                arm.errors += errors as f64;
                arm.within[0] += random.binomial(requests, 0.98) as f64;
            }
            analysis.take("b", at, Some(&counted[1]));
            analysis.take("c", at, Some(&counted[0]));
            if analysis.decide().is_some_and(|decision| decision.verdict == Verdict::Rollback) {
                return true;
            }
        }
    }
    false
}

/// At the rate that is told, nine of ten seeded rollouts at least are caught; at a third of it, not nine of ten.
#[test]
fn what_is_told_is_what_the_real_analysis_catches() {
    let params = Params { alpha: 0.0045, ..Params::default() };
    let one = |weight, seconds| vec![Stretch { weight, seconds }];
    let cases: [(f64, f64, f64, Vec<Stretch>); 8] = [
        (0.5, 0.001, 1.0, one(0.1, 600.0)),
        (2.0, 0.001, 2.0, one(0.1, 300.0)),
        (5.0, 0.001, 1.0, one(0.1, 300.0)),
        (5.0, 0.01, 1.0, one(0.1, 300.0)),
        (50.0, 0.001, 1.0, one(0.1, 300.0)),
        (50.0, 0.01, 2.0, one(0.05, 600.0)),
        (500.0, 0.001, 1.0, one(0.1, 300.0)),
        (5.0, 0.001, 1.0, vec![one(0.1, 300.0)[0], one(0.5, 300.0)[0]]),
    ];
    for (case, (rps, base, burst, holds)) in cases.into_iter().enumerate() {
        let signal =
            Signal { params: &params, tolerance: params.errors, share: 0.7, burst, base, rps, look_s: 5.0 };
        let rate = signal.sees(&holds).unwrap_or_else(|| panic!("case {case}: nothing is seen"));
        let share = |rate: f64| {
            let seeds = 0..200;
            let count = seeds.filter(|seed| caught(&params, burst, (rate, base), rps, &holds, *seed)).count();
            count as f64 / 200.0
        };
        let (at, third) = (share(rate), share(base + (rate - base) / 3.0));
        println!(
            "{rps} requests/s, {base}, φ {burst}, {holds:?}: told {rate:.4}, caught {at}; at a third {third}"
        );
        assert!(at >= 0.9, "case {case}: {rate}: {at}");
        assert!(third < 0.9, "case {case}: {rate}: a third of it is caught just as well: {third}");
    }
}

#[test]
fn a_limit_rolls_back_from_where_it_is_told() {
    let limit = Limit { max: 0.05, window: 120.0, interval: 30.0, breaches: 2, min_requests: 20.0 };
    for (rps, hold) in [(0.5, 300.0), (5.0, 300.0), (0.5, 900.0)] {
        let rate = limit.sight(rps, hold).rate.unwrap();
        let rolled = |rate: f64, seed: u64| {
            let mut random = Random::new(seed);
            let counts: Vec<(u64, u64)> = (0..(hold as usize))
                .map(|_| {
                    let requests = random.poisson(rps);
                    (requests, random.binomial(requests, rate))
                })
                .collect();
            let mut breaches = 0;
            for look in 1..=(hold / limit.interval) as usize {
                let until = look * limit.interval as usize;
                let window = &counts[until.saturating_sub(limit.window as usize)..until];
                let (n, k) = window.iter().fold((0, 0), |(n, k), (more, bad)| (n + more, k + bad));
                if (n as f64) < limit.min_requests {
                    continue;
                }
                breaches = if k as f64 / n as f64 > limit.max { breaches + 1 } else { 0 };
                if breaches == limit.breaches {
                    return true;
                }
            }
            false
        };
        let share = (0..300).filter(|seed| rolled(rate, *seed)).count() as f64 / 300.0;
        println!("{rps} requests/s for {hold} s: told {rate:.4}, rolled back {share}");
        assert!(share >= 0.9, "{rps} {hold}: {rate}: {share}");
        let below = (0..300).filter(|seed| rolled(0.02, *seed)).count() as f64 / 300.0;
        assert!(below < 0.9, "{rps} {hold}: {below}");
    }
}

fn shop(source: Source) -> Environment {
    let mut env = environment("beside");
    for gate in &mut env.gates {
        if let Metric::AgainstStable(comparison) = &mut gate.metric {
            comparison.source = source;
        }
    }
    env
}

/// Releases 1.0.0, waits, and looks at the plan of 1.1.0 and at `metrics ENV`.
fn foreseen(env: Environment, fault: Option<&'static str>) -> (Foresight, Foresight, Duration) {
    virtually(env, 7, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        tokio::time::sleep(Duration::from_hours(4)).await;
        if let Some(fault) = fault {
            story.world.add_fault(&fault.parse().unwrap());
        }
        let plan = story.plan("1.1.0").await;
        let began = tokio::time::Instant::now();
        let of_plan = foresight::of_plan(&story.doors, &plan).await;
        let took = began.elapsed();
        (of_plan, gates_now::foresee(&story.doors, &story.env).await.unwrap(), took)
    })
}

#[test]
fn a_plan_says_what_its_gates_will_see() {
    let (plan, metrics, _) = foreseen(shop(Source::Auto), None);
    print!("{}", report::foresight::render(&plan, &Output::plain()));
    print!("{}", report::foresight::render(&metrics, &Output::plain()));
    let view = &plan.views[0];
    assert_eq!(view.target, TargetId::from("east"));
    let Traffic::Traffic(figures) = &view.traffic else { panic!("{view:?}") };
    assert!((30.0..50.0).contains(&figures.median), "{figures:?}");
    for gate in ["beside", "error-rate"] {
        let sight = view.sights.iter().find(|sight| sight.gate == gate && sight.bad == "failed").unwrap();
        let sees = sight.sees.unwrap();
        assert!(sees > 0.001 && sees < 0.2, "{sight:?}");
        assert!(sight.all_bad_after_s.is_some_and(|after| after < 60.0), "{sight:?}");
    }
    assert!(view.sights.iter().any(|sight| sight.bad.starts_with("slower than")), "{view:?}");
    assert_eq!(plan.warnings, Vec::<String>::new());
    assert_eq!(metrics.views[0].sights[0].weight, view.sights[0].weight);
    assert!(metrics.views[0].sights[0].sees.is_some());
}

#[test]
fn without_a_store_the_pods_tell_and_a_store_that_is_down_holds_nothing_up() {
    let (down, _, took) = foreseen(shop(Source::Prometheus), Some("metrics-down:3600:east@1s"));
    print!("{}", report::foresight::render(&down, &Output::plain()));
    assert!(
        matches!(&down.views[0].traffic, Traffic::Unknown(why) if why == "no answer within 4s"),
        "{down:?}"
    );
    assert!(took <= Duration::from_secs(4), "{took:?}");
    let (blind, ..) = foreseen(shop(Source::Prometheus), Some("no-data:3600:east@1s"));
    print!("{}", report::foresight::render(&blind, &Output::plain()));
    let (pods, ..) = foreseen(shop(Source::Pods), Some("no-data:3600:east@1s"));
    print!("{}", report::foresight::render(&pods, &Output::plain()));
    let Traffic::Traffic(figures) = &pods.views[0].traffic else { panic!("{pods:?}") };
    assert!(
        figures.from.starts_with("since its pods began, ") && (25.0..50.0).contains(&figures.rps),
        "{figures:?}"
    );
}

#[test]
fn a_hold_that_sees_nothing_is_told_with_the_hold_that_would() {
    let mut env = shop(Source::Auto);
    for component in &mut env.components {
        if let deployctl::domain::environment::Strategy::Canary(canary) = &mut component.strategy {
            canary.steps.truncate(1);
            canary.steps[0].weight = 1;
            canary.steps[0].hold = Duration::from_secs(10);
        }
    }
    let (plan, ..) = foreseen(env, None);
    print!("{}", report::foresight::render(&plan, &Output::plain()));
    assert!(plan.warnings.iter().any(|warning| warning.contains(" would see ")), "{:?}", plan.warnings);
    assert!(
        plan.warnings.iter().any(|warning| warning.contains("under gate error-rate of api sees nothing")),
        "{:?}",
        plan.warnings
    );
}
