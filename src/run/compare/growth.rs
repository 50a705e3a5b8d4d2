//! What was counted between the rows of a store's past.

use super::read::counters;
use crate::domain::counters::PodSample;
use crate::rollout::sequential::{Counters, Counts};

/// What was counted between two neighbouring rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Time of the later one, seconds.
    pub at: f64,
    /// Between them, seconds.
    pub dt: f64,
    pub counts: Counts,
}

/// The counts alone.
pub(super) fn blocks(rows: &[PodSample], bounds: &[f64]) -> Vec<Counts> {
    growth(rows, bounds).into_iter().map(|row| row.counts).collect()
}

/// What was counted between neighbouring rows; a sum that falls (a pod went, or began anew) says nothing.
pub(super) fn growth(rows: &[PodSample], bounds: &[f64]) -> Vec<Row> {
    let sums: Vec<Option<Counters>> = rows.iter().map(|row| counters(row, bounds)).collect();
    let between = |before: &Counters, after: &Counters| {
        let grown = |before: f64, after: f64| (after >= before).then_some(after - before);
        let timed = grown(before.timed.unwrap_or(before.requests), after.timed.unwrap_or(after.requests))?;
        let within = before.within.iter().zip(&after.within).map(|(before, after)| grown(*before, *after));
        Some(Counts {
            requests: grown(before.requests, after.requests)?,
            errors: grown(before.errors, after.errors)?,
            timed,
            slow: within
                .map(|within| within.map(|within| (timed - within).max(0.0)))
                .collect::<Option<_>>()?,
        })
    };
    let pairs = rows.windows(2).zip(sums.windows(2));
    let grown = pairs.filter_map(|(rows, sums)| {
        let (at, dt) = (rows[1].at, rows[1].at - rows[0].at);
        Some(Row { at, dt, counts: between(sums[0].as_ref()?, sums[1].as_ref()?)? })
    });
    grown.filter(|row| row.dt > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: f64, requests: f64, errors: f64, fast: f64) -> PodSample {
        let buckets = vec![(0.1, fast), (f64::INFINITY, requests)];
        PodSample { pod: "p".into(), at, requests, errors, buckets }
    }

    #[test]
    fn history_becomes_blocks_and_what_falls_says_nothing() {
        let rows = [
            row(0.0, 10.0, 1.0, 8.0),
            row(15.0, 30.0, 2.0, 20.0),
            row(30.0, 5.0, 0.0, 5.0),
            row(45.0, 6.0, 0.0, 5.0),
        ];
        let blocks = blocks(&rows, &[0.1]);
        let shown: Vec<(f64, f64, f64)> = blocks.iter().map(|b| (b.requests, b.errors, b.slow[0])).collect();
        assert_eq!(shown, [(20.0, 1.0, 8.0), (1.0, 0.0, 1.0)]);
    }
}
