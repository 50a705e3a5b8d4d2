//! What an older release is to the one that serves: which releases are left on the way to it, newest first.
//!
//! A release stands on the one that served before it; one that brought an older one back stands where that one stood, and
//! what was left then is left for good.

use crate::domain::ids::Revision;
use crate::domain::release::{Outcome, Release};
use std::collections::BTreeMap;

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
}
