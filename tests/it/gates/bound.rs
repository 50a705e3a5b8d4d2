//! What the bound on false rollbacks rests on, by exact enumeration; and that no input makes a number that is none.

use deployctl::rollout::sequential::{
    Block, Burst, Contrast, Counts, Judge, Logs, Params, Tally, Verdict, ln_e,
};
use proptest::prelude::*;

fn binomial(n: u32, k: u32, p: f64) -> f64 {
    let ways = (0..k).fold(1.0, |ways, i| ways * f64::from(n - i) / f64::from(i + 1));
    ways * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32)
}

/// Every outcome of a block with its probability.
fn outcomes(n_c: u32, n_b: u32, p_c: f64, p_b: f64) -> impl Iterator<Item = (u32, u32, f64)> {
    (0..=n_c).flat_map(move |k_c| {
        (0..=n_b).map(move |k_b| (k_c, k_b, binomial(n_c, k_c, p_c) * binomial(n_b, k_b, p_b)))
    })
}

fn block(at: f64, canary: (f64, f64), control: (f64, f64)) -> Block {
    let counts = |(requests, errors): (f64, f64)| Counts { requests, errors, timed: requests, slow: vec![] };
    Block { at, dt: 15.0, weight: Some(0.1), canary: counts(canary), control: counts(control) }
}

fn judge() -> Judge {
    Judge::new(Params::default(), Burst::none(0))
}

#[test]
fn the_mean_e_value_is_one_at_most_under_both_nulls_and_their_reverses() {
    let mut highest: f64 = 0.0;
    for (n_c, n_b) in [(1, 1), (1, 9), (3, 5), (5, 3), (9, 2), (6, 12)] {
        for (r, d) in [(1.1, 0.0), (1.0, 0.0005), (1.5, 0.0), (1.0, 0.01), (2.0, 0.0), (1.0, 0.02)] {
            for multiple in [0.05, 0.5, 0.8, 1.6, 8.0, 1000.0] {
                for p_b in [0.0, 0.001, 0.05, 0.3, 0.45] {
                    let p_c: f64 = r * p_b + d;
                    let mean: f64 = outcomes(n_c, n_b, p_c.min(1.0), p_b)
                        .map(|(k_c, k_b, probability)| {
                            let canary = Tally::new(f64::from(n_c), f64::from(k_c));
                            let control = Tally::new(f64::from(n_b), f64::from(k_b));
                            probability * ln_e(Contrast { canary, control }, r, d, multiple * r).exp()
                        })
                        .sum();
                    assert!(mean <= 1.0 + 1e-12, "{mean}: {n_c} {n_b} {r} {d} {multiple} {p_b}");
                    highest = highest.max(mean);
                }
            }
        }
    }
    assert!(highest > 0.999_999, "the bound is far from tight: {highest}");
}

#[test]
fn the_mean_evidence_of_two_blocks_is_one_at_most_whatever_control_does_between_them() {
    let params = Params::default();
    let tolerated = |p_b: f64| (params.errors.ratio * p_b).max(p_b + params.errors.margin);
    for (first, second) in [(0.001, 0.4), (0.3, 0.3), (0.2, 0.01)] {
        let mut mean = 0.0;
        for (k_c, k_b, chance) in outcomes(3, 6, tolerated(first), first) {
            let mut judge = judge();
            judge.observe(&block(15.0, (3.0, f64::from(k_c)), (6.0, f64::from(k_b))));
            for (k_c, k_b, then) in outcomes(4, 5, tolerated(second), second) {
                let next = block(30.0, (4.0, f64::from(k_c)), (5.0, f64::from(k_b)));
                mean += chance * then * judge.clone().observe(&next).logs.ln_e.exp();
            }
        }
        assert!(mean <= 1.0 + 1e-12, "{mean}");
    }
}

#[test]
fn looking_is_free_a_peek_is_what_the_block_would_say() {
    let mut judge = judge();
    judge.observe(&block(15.0, (75.0, 1.0), (675.0, 1.0)));
    let next = block(30.0, (75.0, 2.0), (675.0, 0.0));
    let peeked = judge.peek(&next);
    assert_eq!(peeked.to_bits(), judge.peek(&next).to_bits());
    assert!((peeked - judge.observe(&next).logs.ln_e).abs() < 1e-12);
}

#[test]
fn clusters_weigh_as_much_less_as_they_are_large() {
    let say = |burst: f64| {
        let mut judge = Judge::new(Params::default(), Burst { errors: burst, latency: vec![] });
        judge.observe(&block(15.0, (75.0, 12.0), (675.0, 1.0))).logs.ln_e
    };
    assert!(say(1.0) > say(3.0) && say(3.0) > say(10.0));
    // a factor below 1 would break the bound, so it is none
    assert_eq!(say(0.1).to_bits(), say(1.0).to_bits());
}

#[test]
fn a_new_step_begins_its_evidence_for_promotion_and_its_time_anew_but_no_other() {
    let at = |at: f64, weight: f64| Block { weight: Some(weight), ..block(at, (750.0, 1.0), (6750.0, 70.0)) };
    let mut judge = judge();
    let mut last = judge.observe(&at(15.0, 0.1));
    for n in 2..=20 {
        last = judge.observe(&at(f64::from(n) * 15.0, 0.1));
    }
    assert_eq!(last.verdict, Verdict::PromoteReady);
    assert!(
        last.explanation.text.starts_with("the canary is as good as stable"),
        "{}",
        last.explanation.text
    );
    let after = judge.observe(&Block { weight: Some(0.25), ..block(315.0, (750.0, 1.0), (2250.0, 23.0)) });
    assert!(after.logs.ln_safe < last.logs.ln_safe && after.verdict == Verdict::Continue);
    assert!((after.logs.ln_e - last.logs.ln_e).abs() < 0.1, "the evidence against it goes on");
    // a brake is no step
    let braked = judge.observe(&Block { canary: Counts::default(), ..at(330.0, 0.0) });
    assert_eq!(braked.logs.ln_safe.to_bits(), after.logs.ln_safe.to_bits());
}

#[test]
fn each_judge_gets_its_share_of_alpha() {
    let params = Params::default().split(4);
    assert!((params.ln_rollback() - (400.0_f64).ln()).abs() < 1e-12);
    let bad = block(15.0, (4.0, 3.0), (36.0, 0.0));
    let verdict = |params: Params| Judge::new(params, Burst::none(0)).observe(&bad).verdict;
    assert_eq!(verdict(Params::default()), Verdict::Rollback);
    assert_eq!(verdict(params), Verdict::HoldSuspicious);
}

#[test]
fn a_rollback_says_what_weighs_most_in_numbers() {
    let slow =
        |requests: f64, slow: f64| Counts { requests, errors: 0.0, timed: requests, slow: vec![0.0, slow] };
    let block =
        Block { at: 15.0, dt: 15.0, weight: None, canary: slow(75.0, 60.0), control: slow(675.0, 7.0) };
    let mut judge = Judge::new(Params::default(), Burst::none(2)).with_bounds(vec![0.1, 0.5]);
    let said = judge.observe(&block);
    assert_eq!(said.verdict, Verdict::Rollback);
    let text = &said.explanation.text;
    for part in ["requests slower than 500 ms 60 of 75 (80.00 %)", "7 of 675 (1.04 %)", "needed 100 : 1"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(said.explanation.factor() > 1e20 && (said.explanation.threshold() - 100.0).abs() < 1e-9);
}

fn all_finite(logs: &Logs) -> bool {
    let single =
        [logs.ln_err_ratio, logs.ln_err_margin, logs.ln_e, logs.ln_safe, logs.ln_starve, logs.ln_abs];
    single.iter().chain(&logs.ln_lat).all(|log| log.is_finite())
}

prop_compose! {
    fn any_counts()(requests in any::<f64>(), errors in any::<f64>(), timed in any::<f64>(), slow in prop::collection::vec(any::<f64>(), 0..4)) -> Counts {
        Counts { requests, errors, timed, slow }
    }
}

prop_compose! {
    fn any_block()(at in any::<f64>(), dt in any::<f64>(), weight in prop::option::of(any::<f64>()), canary in any_counts(), control in any_counts()) -> Block {
        Block { at, dt, weight, canary, control }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_makes_a_number_that_is_none(blocks in prop::collection::vec(any_block(), 1..12)) {
        let mut judge = Judge::new(Params::default(), Burst { errors: 2.0, latency: vec![1.0, f64::NAN] });
        for block in &blocks {
            prop_assert!(judge.peek(block).is_finite());
            let logs = judge.observe(block).logs;
            prop_assert!(all_finite(&logs), "{logs:?}");
        }
        prop_assert!(all_finite(&judge.at(f64::INFINITY).logs));
    }

    #[test]
    fn one_more_error_of_the_canary_never_lowers_the_evidence(
        blocks in prop::collection::vec((1_u32..200, 0_u32..20, 1_u32..2000, 0_u32..40), 1..8),
        where_ in 0_usize..8,
    ) {
        let (mut less, mut more) = (judge(), judge());
        for (index, (n_c, k_c, n_b, k_b)) in blocks.iter().enumerate() {
            let errors = (*k_c).min(n_c - 1);
            let extra = u32::from(index == where_ % blocks.len());
            let at = f64::from(index as u32) * 15.0;
            let control = (f64::from(*n_b), f64::from(*k_b));
            let lower = less.observe(&block(at, (f64::from(*n_c), f64::from(errors)), control)).logs;
            let higher = more.observe(&block(at, (f64::from(*n_c), f64::from(errors + extra)), control)).logs;
            prop_assert!(higher.ln_e >= lower.ln_e - 1e-9);
            prop_assert!(higher.ln_safe <= lower.ln_safe + 1e-9);
        }
    }

    #[test]
    fn a_silent_arm_says_nothing(n in 0.0..1e6_f64, k in 0.0..1e6_f64, blocks in 1_u32..20) {
        let mut judge = judge();
        for index in 1..=blocks {
            let at = f64::from(index) * 15.0;
            let logs = judge.observe(&block(at, (0.0, 0.0), (n, k))).logs;
            prop_assert!(logs.ln_e.abs() < 1e-9 && logs.ln_safe.abs() < 1e-9, "{logs:?}");
        }
    }
}
