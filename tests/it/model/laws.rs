//! The joins: whichever targets tell what, in whatever order and how often.

use deployctl::domain::ids::RunId;
use deployctl::domain::intent::{Intent, Orders, Wish};
use deployctl::domain::release::Actor;
use deployctl::run::journal::Phase;
use jiff::Timestamp;

fn phases() -> Vec<Phase> {
    let named = |targets: &[&str]| targets.iter().map(|target| (*target).into()).collect();
    let aborting = |cause: &str, kept: &[&str], owed: &[&str]| Phase::Aborting {
        cause: cause.into(),
        kept: named(kept),
        owed: named(owed),
    };
    let ended = Phase::ended;
    vec![
        Phase::Forward,
        Phase::Interrupted,
        aborting("a gate", &[], &[]),
        aborting("a gate", &["west"], &[]),
        aborting("an operator", &["east", "west"], &[]),
        aborting("an operator", &[], &["east"]),
        aborting("an operator", &[], &["west"]),
        ended("deployed"),
        ended("rolled-back"),
        Phase::Ended { outcome: "deployed".into(), owed: named(&["east"]) },
        Phase::Ended { outcome: "deployed".into(), owed: named(&["west"]) },
    ]
}

/// Whether a join is one: commutative, associative, idempotent, and nothing beats an abort. The first law that is broken.
fn laws(join: &dyn Fn(Phase, Phase) -> Phase) -> Result<(), String> {
    let all = phases();
    for a in &all {
        if join(a.clone(), a.clone()) != *a {
            return Err(format!("{a:?} twice is not itself"));
        }
        for b in &all {
            let ab = join(a.clone(), b.clone());
            if ab != join(b.clone(), a.clone()) {
                return Err(format!("{a:?} and {b:?}: the order counts"));
            }
            let aborts = |phase: &Phase| matches!(phase, Phase::Aborting { .. });
            if (aborts(a) || aborts(b)) && !aborts(&ab) {
                return Err(format!("{a:?} and {b:?}: the abort is lost"));
            }
            for c in &all {
                if join(ab.clone(), c.clone()) != join(a.clone(), join(b.clone(), c.clone())) {
                    return Err(format!("{a:?}, {b:?}, {c:?}: who is asked first counts"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn phases_join_whoever_is_asked_first_and_abort_beats_advance() {
    laws(&Phase::join).unwrap_or_else(|law| panic!("{law}"));
}

#[test]
fn a_wrong_join_is_found() {
    let rank = |phase: &Phase| match phase {
        Phase::Forward => 1,
        Phase::Interrupted => 2,
        Phase::Aborting { .. } => 3,
        Phase::Ended { .. } => 4,
    };
    let ended_wins = |a: Phase, b: Phase| if rank(&a) >= rank(&b) { a } else { b };
    let last_wins = |_: Phase, b: Phase| b;
    for wrong in [&ended_wins as &dyn Fn(Phase, Phase) -> Phase, &last_wins] {
        assert!(laws(wrong).is_err());
    }
}

fn wishes() -> Vec<Intent> {
    let stage = || "w1-hold-10".to_owned();
    let all = [
        (1, 1, Wish::Pause),
        (2, 1, Wish::Promote { stage: stage() }),
        // Two who asked at the same moment, of different targets.
        (3, 1, Wish::Pause),
        (3, 1, Wish::Resume),
        (4, 2, Wish::Abort { superseded_by: None }),
        (5, 1, Wish::Approve { stage: stage() }),
        (6, 2, Wish::Pause),
        (7, 2, Wish::PromoteFull),
    ];
    let intent = |(place, (number, epoch, wish)): (usize, (u64, u64, Wish))| Intent {
        format: 1,
        id: format!("id-{place}"),
        number,
        run: RunId::new("r1"),
        epoch,
        at: Timestamp::UNIX_EPOCH,
        by: Actor { user: "ana".into(), host: "desk".into(), ci: None },
        wish,
        reason: None,
    };
    all.into_iter().enumerate().map(intent).collect()
}

#[test]
fn wishes_come_to_the_same_in_whatever_order_and_however_often_targets_tell_them() {
    let all = wishes();
    for chosen in 0_u32..1 << all.len() {
        let some: Vec<&Intent> =
            all.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, w)| w).collect();
        for epoch in [1, 2, 3] {
            let orders = Orders::of(some.iter().copied(), epoch);
            for turn in 0..some.len() {
                let mut other = some.clone();
                other.rotate_left(turn);
                assert_eq!(Orders::of(other.iter().copied(), epoch), orders);
                other.reverse();
                assert_eq!(Orders::of(other.iter().copied(), epoch), orders);
                // Heard of by two targets.
                assert_eq!(Orders::of(other.iter().chain(&some).copied(), epoch), orders);
            }
            let aborts = some.iter().any(|wish| matches!(wish.wish, Wish::Abort { .. }));
            assert_eq!(orders.abort.is_some(), aborts, "nothing takes an abort back");
            let paused = orders.pause.as_ref();
            assert!(paused.is_none_or(|pause| pause.epoch == epoch), "a pause outlives its process");
        }
    }
}
