//! Gates: how many requests a bad canary fails before its rollback begins, how often a healthy one is rolled back, and
//! what one step of the judge costs. Ours beside other tools' rules, on the same simulated requests.
//!
//! `cargo bench --bench gates` (`-- --runs N` for more, `-- --seed N` for others). Nothing is asserted: the figures are
//! estimates, each with its standard error. All of it is simulation; no real traffic is used.

mod chance;
mod ours;
mod peers;
mod traffic;

use chance::Chance;
use deployctl::rollout::sequential::{Analysis, Arm, Burst, Counters, Params};
use ours::{DIRECT, DIRECT_FROM_1, PROMETHEUS, Setup};
use std::time::{Duration, Instant};
use traffic::{Shape, World};

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn option(name: &str) -> Option<u64> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1)?.parse().ok()
}

fn main() {
    // `cargo test --benches` builds and starts benchmarks too: measuring is for `cargo bench`.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let (runs, seed) = (option("--runs").unwrap_or(300), option("--seed").unwrap_or(1));
    let shape = Shape::new();
    harmed(runs * 10, seed, &shape);
    false_rollbacks(runs, seed, &shape);
    step_time();
}

/// Mean and standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (square / (n - 1.0).max(1.0) / n).sqrt())
}

/// A generator for one run: the same for every rule, another for every run.
fn chance(seed: u64, run: u64) -> Chance {
    Chance::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ run)
}

const FAULTS: [f64; 2] = [1.0, 0.1];

fn harmed(runs: u64, seed: u64, shape: &Shape) {
    println!(
        "failed requests before rollback begins: 50 requests/s, canary 10 %, baseline 0.1 %, {runs} runs"
    );
    println!("{:<38} {:>16} {:>16}  wanted", "", "all fail", "10 % fail");
    let setups: [(&str, Setup, &str); 3] = [
        ("ours, Prometheus 15 s, brake", PROMETHEUS, "≤ 65 / ≤ 10"),
        ("ours, direct 5 s", DIRECT, "≤ 16 / ≤ 5"),
        ("ours, direct 5 s, first step 1 %", DIRECT_FROM_1, "≤ 4 / ≤ 4"),
    ];
    for (name, setup, wanted) in setups {
        let cells = FAULTS.map(|fault| {
            let world = World::broken(50.0, 0.001, fault);
            let runs = (0..runs).map(|run| ours::run(&world, &setup, shape, &mut chance(seed, run)).harmed);
            cell(&runs.collect::<Vec<_>>())
        });
        println!("{name:<38} {:>16} {:>16}  {wanted}", cells[0], cells[1]);
    }
    let expected = ["300 / 30", "1050 / 114", "150 / 16", "1800 / 180", "1500 / 150"];
    for ((name, rule), expected) in peers::RULES.into_iter().zip(expected) {
        let cells = FAULTS.map(|fault| {
            let world = World::broken(50.0, 0.001, fault);
            // rules without much chance in them need fewer runs
            let runs = (0..runs.div_ceil(10)).map(|run| {
                let watched = peers::watch(&world, &[(900.0, 0.1)], shape, &mut chance(seed, run));
                watched.harmed(rule(&watched))
            });
            cell(&runs.collect::<Vec<_>>())
        });
        println!("{name:<38} {:>16} {:>16}  about {expected}", cells[0], cells[1]);
    }
    println!();
}

fn cell(values: &[f64]) -> String {
    let (mean, error) = mean(values);
    format!("{mean:.1} ± {error:.1}")
}

fn false_rollbacks(runs: u64, seed: u64, shape: &Shape) {
    println!("healthy releases rolled back, % of {runs} runs of 50 minutes (wanted: ours ≤ 1 %)");
    println!(
        "{:<32} {:>6} {:>7} {:>9} {:>9} {:>6} {:>6} {:>8} {:>8}",
        "", "ours", "direct", "wrong br.", "absolute", "Argo", "fast", "Flagger", "Kayenta"
    );
    let mut worlds: Vec<(String, World)> = Vec::new();
    for baseline in [0.001, 0.01] {
        for rate in [5.0, 50.0, 500.0] {
            let name = format!("{rate} requests/s, {:.1} % fail", baseline * 100.0);
            worlds.push((name, World::healthy(rate, baseline)));
        }
    }
    let usual = World::healthy(50.0, 0.001);
    worlds.push(("shared incident 10 %, 50/s".into(), World { incident: true, ..usual }));
    let busy = World::healthy(500.0, 0.001);
    worlds.push(("shared incident 10 %, 500/s".into(), World { incident: true, ..busy }));
    worlds.push(("clustered errors, 50/s, 1 %".into(), World { clustered: true, baseline: 0.01, ..usual }));
    worlds.push(("1-s pauses, 50/s".into(), World { pauses: true, ..usual }));
    for (name, world) in worlds {
        print_false(&name, &world, runs, seed, shape);
    }
    println!();
}

fn print_false(name: &str, world: &World, runs: u64, seed: u64, shape: &Shape) {
    let (mut ours, mut direct, mut brakes, mut rules) = (0_u32, 0_u32, 0_u32, [0_u32; 5]);
    for run in 0..runs {
        let outcome = ours::run(world, &PROMETHEUS, shape, &mut chance(seed, run));
        ours += u32::from(outcome.rolled_back.is_some());
        brakes += u32::from(outcome.wrong_brakes > 0);
        // a third as often: it looks three times as often
        if run % 3 == 0 {
            let outcome = ours::run(world, &DIRECT, shape, &mut chance(seed, run));
            direct += u32::from(outcome.rolled_back.is_some());
        }
        let watched = peers::watch(world, PROMETHEUS.steps, shape, &mut chance(seed, run));
        for (count, (_, rule)) in rules.iter_mut().zip(peers::RULES) {
            *count += u32::from(rule(&watched).is_some());
        }
    }
    let percent = |count: u32, of: u64| 100.0 * f64::from(count) / of.max(1) as f64;
    let [absolute, argo, fast, flagger, kayenta] = rules.map(|count| percent(count, runs));
    println!(
        "{name:<32} {:>6.2} {:>7.2} {:>9.2} {absolute:>9.1} {argo:>6.1} {fast:>6.1} {flagger:>8.1} {kayenta:>8.1}",
        percent(ours, runs),
        percent(direct, runs.div_ceil(3)),
        percent(brakes, runs),
    );
}

/// One scrape round of a hundred pods with twelve buckets each: taken, aligned, judged and explained.
fn step_time() {
    const PODS: usize = 100;
    const ROUNDS: u32 = 400;
    let mut analysis = Analysis::new(Params::default(), Burst::none(12), 0.0, 5.0);
    analysis.set_weight(0.0, 0.1);
    let names: Vec<String> = (0..PODS).map(|pod| format!("pod-{pod}")).collect();
    for (index, name) in names.iter().enumerate() {
        let arm = if index < 10 { Arm::Canary } else { Arm::Control };
        analysis.pod(name, arm, Some(0.0));
    }
    let (mut total, mut worst) = (Duration::ZERO, Duration::ZERO);
    for round in 1..=ROUNDS {
        let requests = f64::from(round) * 1000.0;
        let within = (0..12).map(|bound| requests * f64::from(bound) / 12.0).collect();
        let counters = Counters { requests, errors: requests / 1000.0, timed: None, within };
        let began = now();
        for name in &names {
            analysis.take(name, f64::from(round) * 5.0, Some(&counters));
        }
        std::hint::black_box(analysis.decide());
        let took = began.elapsed();
        (total, worst) = (total + took, worst.max(took));
    }
    let mean = total / ROUNDS;
    println!(
        "one judge step over {PODS} pods with 12 buckets: mean {mean:?}, worst {worst:?} (wanted: ≤ 1 ms)"
    );
}
