//! What an older release is to the one that serves: which releases are left on the way to it, newest first.
//!
//! A release stands on the one that served before it; one that brought an older one back stands where that one stood, and
//! what was left then is left for good.

use crate::domain::ids::Revision;
use crate::domain::release::{Outcome, Release};
use std::collections::BTreeMap;

/// The release whose content another one brought; itself, where it is no release that brought an older one back.
#[must_use]
pub fn content(history: &[Release], revision: Revision) -> Revision {
    lines(history).get(&revision).and_then(|line| line.last()).map_or(revision, |layer| layer.content)
}

/// The release that serves now.
#[must_use]
pub fn serving(history: &[Release]) -> Option<&Release> {
    history.iter().rev().find(|release| release.outcome == Outcome::Deployed)
}

/// The release that the one which serves now stands on: where a rollback leads.
#[must_use]
pub fn below(history: &[Release]) -> Option<&Release> {
    let lines = lines(history);
    let line = lines.get(&serving(history)?.revision)?;
    let [.., below, _] = line.as_slice() else {
        // What stood there before it was brought back is not on record: what served before it is known by its number.
        let oldest = line.first()?.content;
        let older = |release: &&Release| release.outcome == Outcome::Deployed && release.revision < oldest;
        return history.iter().rev().find(older);
    };
    history.iter().find(|release| release.revision == below.revision)
}

/// The newest release that was left for the one that serves now, or for one that it stands on.
#[must_use]
pub fn left(history: &[Release]) -> Option<&Release> {
    let lines = lines(history);
    let line = lines.get(&serving(history)?.revision)?;
    // What lies before all that is known to be in effect was not left.
    let oldest = line.first()?.content;
    let was_left = |number: Revision| number > oldest && line.iter().all(|layer| layer.content != number);
    let served = history.iter().rev().filter(|release| release.outcome == Outcome::Deployed);
    served.filter(|release| release.rollback_of.is_none()).find(|release| was_left(release.revision))
}

/// One release that is in effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layer {
    /// Whose record tells of it.
    revision: Revision,
    /// The release that brought its content first.
    content: Revision,
}

/// The way from the release that serves to another one.
#[derive(Clone, Debug, Default)]
pub(super) struct Way<'h> {
    /// What is left, newest first.
    pub left: Vec<&'h Release>,
    /// Whether it leads into a release that is not in effect: forward, though its number is an older one.
    pub enters: bool,
}

/// The way to release `to`; `history` is sorted, oldest first.
pub(super) fn way(history: &[Release], to: Revision) -> Way<'_> {
    let lines = lines(history);
    let (Some((_, now)), Some(then)) = (lines.last_key_value(), lines.get(&to)) else {
        return Way::default();
    };
    let shared = now.iter().zip(then).take_while(|(a, b)| a.content == b.content).count();
    let record = |layer: &Layer| history.iter().find(|release| release.revision == layer.revision);
    let left = now[shared..].iter().rev().filter_map(record).collect();
    // What lies before all that is known to be in effect is gone back to.
    let oldest = now.first().map(|layer| layer.content);
    let enters = then[shared..].last().is_some_and(|layer| Some(layer.content) > oldest);
    Way { left, enters }
}

/// For each release that served: what was in effect then, oldest first.
fn lines(history: &[Release]) -> BTreeMap<Revision, Vec<Layer>> {
    let mut lines: BTreeMap<Revision, Vec<Layer>> = BTreeMap::new();
    let mut present: Vec<Layer> = Vec::new();
    for release in history.iter().filter(|release| release.outcome == Outcome::Deployed) {
        let revision = release.revision;
        present = match release.rollback_of {
            None => {
                let own = Layer { revision, content: revision };
                present.into_iter().chain([own]).collect()
            }
            Some(of) => {
                let mut line = lines.get(&of).cloned().unwrap_or_default();
                let content = line.pop().map_or(of, |layer| layer.content);
                line.push(Layer { revision, content });
                line
            }
        };
        lines.insert(revision, present.clone());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `(number, the release that it brought back)`; 0 for none.
    fn history(releases: &[(u32, u32)]) -> Vec<Release> {
        let release = |(number, of): &(u32, u32)| {
            let mut value = json!({"format": 1, "revision": number, "target": "east", "version": "1", "outcome": "deployed",
                "run": "r", "by": {"user": "ana", "host": "desk"}, "started": "2026-01-05T03:00:00Z",
                "ended": "2026-01-05T03:00:00Z", "workloads": {}, "objects": []});
            if *of > 0 {
                value["rollback_of"] = json!(of);
                value["rollbackOf"] = json!(of);
            }
            serde_json::from_value(value).unwrap()
        };
        releases.iter().map(release).collect()
    }

    #[test]
    fn what_is_left_on_the_way_to_an_older_release() {
        for (releases, to, left, enters) in [
            (&[(1, 0), (2, 0), (3, 0)][..], 2, &[3][..], false),
            (&[(1, 0), (2, 0), (3, 0)], 1, &[3, 2], false),
            // 3 was left by 4, which stands where 2 stood.
            (&[(1, 0), (2, 0), (3, 0), (4, 2)], 1, &[4], false),
            (&[(1, 0), (2, 0), (3, 0), (4, 2)], 2, &[], false),
            // Forward again, into what was left.
            (&[(1, 0), (2, 0), (3, 0), (4, 2)], 3, &[], true),
            // What 3 stood on is what 5 stands on: 2, whatever brought it back meanwhile.
            (&[(1, 0), (2, 0), (3, 0), (4, 2), (5, 3)], 1, &[5, 2], false),
            (&[(1, 0), (2, 0), (3, 1), (4, 0)], 2, &[4], true),
            // The record of what 4 brought back is gone.
            (&[(1, 0), (4, 2)], 1, &[4], false),
        ] {
            let history = history(releases);
            let way = way(&history, Revision(to));
            let found: Vec<u32> = way.left.iter().map(|release| release.revision.0).collect();
            assert_eq!((found.as_slice(), way.enters), (left, enters), "{releases:?} to {to}");
        }
    }

    #[test]
    fn a_rollback_leads_to_what_the_serving_release_stands_on() {
        for (releases, expected, was_left) in [
            (&[(1, 0)][..], None, None),
            (&[(1, 0), (2, 0), (3, 0)], Some(2), None),
            // 3 stands where 1 stood, and nothing is below that.
            (&[(1, 0), (2, 0), (3, 1)], None, Some(2)),
            (&[(1, 0), (2, 0), (3, 0), (4, 2)], Some(1), Some(3)),
            (&[(1, 0), (2, 0), (3, 1), (4, 0)], Some(3), Some(2)),
            // Forward again.
            (&[(1, 0), (2, 0), (3, 1), (4, 2)], Some(1), None),
            // The record of what 4 brought back is gone: 1 served before it, whatever stood between them.
            (&[(1, 0), (4, 2)], Some(1), None),
            (&[(3, 0), (4, 2)], None, Some(3)),
        ] {
            let history = history(releases);
            let number = |release: Option<&Release>| release.map(|release| release.revision.0);
            let found = (number(below(&history)), number(left(&history)));
            assert_eq!(found, (expected, was_left), "{releases:?}");
        }
        let history = history(&[(1, 0), (2, 0), (3, 1), (4, 3)]);
        let contents: Vec<u32> = (1..=5).map(|number| content(&history, Revision(number)).0).collect();
        assert_eq!(contents, [1, 2, 1, 1, 5], "what is not on record is itself");
    }
}
