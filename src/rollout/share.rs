//! Pod counts for a share of the traffic, where the router is the number of pods.

/// Pods of the new revision beside `stable` pods for `percent` of all: `round(stable · p / (100 − p))`, at least 1.
///
/// Stable keeps its full size during a canary, so the new revision grows beside it; half-way cases round up.
#[must_use]
pub fn pods_beside(stable: u32, percent: u8) -> u32 {
    let percent = u32::from(percent.clamp(1, 99));
    let rest = 100 - percent;
    ((stable * percent + rest / 2) / rest).max(1)
}

/// Pods that carry `percent` of what `whole` pods carry: `⌈whole · p / 100⌉`, at least 1.
#[must_use]
pub fn part_of(whole: u32, percent: u8) -> u32 {
    (whole * u32::from(percent)).div_ceil(100).max(1)
}

/// The same, and not fewer than `least` where `whole` has so many.
#[must_use]
pub fn part_or_least(whole: u32, percent: u8, least: u32) -> u32 {
    part_of(whole, percent).max(least.min(whole))
}

/// Percent of the traffic that stays with a new revision while the pods of stable come back, of a load that `full` pods
/// carry: what the ready ones of stable cannot carry (rounded up, so that they never get more than that), as far as the new
/// revision has ready pods for it.
#[must_use]
pub fn left_to_new(full: u32, stable: u32, new: u32) -> u8 {
    let pods = full.saturating_sub(stable).min(new);
    (u64::from(pods) * 100).div_ceil(u64::from(full.max(1))).min(100) as u8
}

/// Pods of `whole` that are `percent` of them, rounded: at least 1, where there is one.
#[must_use]
pub fn pods_of(whole: u32, percent: u8) -> u32 {
    ((whole * u32::from(percent) + 50) / 100).max(1).min(whole)
}

/// The share that is really reached, percent of all pods.
#[must_use]
pub fn reached_percent(new: u32, stable: u32) -> f64 {
    let total = new + stable;
    if total == 0 { 0.0 } else { f64::from(new) * 100.0 / f64::from(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_to_whole_pods_and_never_to_none() {
        for (stable, percent, pods) in [
            (6, 10, 1),
            (6, 25, 2),
            (6, 50, 6),
            (20, 10, 2),
            (20, 25, 7),
            (1, 5, 1),
            (0, 50, 1),
            (10, 99, 990),
            (100, 1, 1),
        ] {
            assert_eq!(pods_beside(stable, percent), pods, "{percent} % beside {stable}");
        }
        for (whole, percent, pods) in [(6, 10, 1), (6, 25, 2), (6, 50, 3), (4, 1, 1), (0, 50, 1), (7, 100, 7)]
        {
            assert_eq!(part_of(whole, percent), pods, "{percent} % of {whole}");
        }
        for (whole, percent, least, pods) in [(6, 50, 0, 3), (6, 25, 4, 4), (6, 25, 9, 6), (1, 1, 0, 1)] {
            assert_eq!(
                part_or_least(whole, percent, least),
                pods,
                "{percent} % of {whole}, {least} at least"
            );
        }
        for (full, stable, new, percent) in [
            (6, 3, 3, 50),
            (6, 4, 3, 34), // four pods carry no more than 66 %
            (6, 3, 0, 0),  // nobody else is there
            (6, 0, 6, 100),
            (6, 2, 1, 17),
            (6, 7, 3, 0),
            (0, 0, 3, 0),
        ] {
            assert_eq!(left_to_new(full, stable, new), percent, "{stable} of {full} beside {new}");
        }
        for (whole, percent, pods) in
            [(3, 33, 1), (3, 67, 2), (5, 10, 1), (5, 50, 3), (1, 5, 1), (0, 50, 0), (4, 99, 4)]
        {
            assert_eq!(pods_of(whole, percent), pods, "{percent} % of {whole}");
        }
        assert!((reached_percent(1, 6) - 14.285_714).abs() < 1e-3);
        assert!(reached_percent(0, 0).abs() < f64::EPSILON);
    }
}
