//! Which release a rollback brings back: one number for all of its targets, or a refusal that names what each would get. Pure.

use super::prepare::Rollback;
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{Revision, TargetId};
use crate::domain::release::{Debt, Due, Outcome, Release};
use crate::plan::lineage;
use std::collections::{BTreeMap, BTreeSet};

/// The releases on record, by target, oldest first.
pub type Histories = BTreeMap<TargetId, Vec<Release>>;

/// What a rollback brings back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The release, on record in every target that goes back.
    pub to: Revision,
    /// Targets that have nothing to go back to and stay as they are, each with the reason.
    pub stay: BTreeMap<TargetId, String>,
}

/// Chooses for these targets. Who is owed a way back (`owed`) goes back to where the others are.
///
/// # Errors
/// There is nothing to go back to, or the targets would go back to different releases.
pub fn choose(
    env: &Environment,
    histories: &Histories,
    owed: &BTreeMap<TargetId, Debt>,
    rollback: Rollback,
) -> Result<Chosen, Failure> {
    match rollback {
        Rollback::To(to) => this_one(env, histories, to),
        Rollback::Previous => the_one_before(env, histories, owed),
    }
}

/// The record of a release that served in a target.
#[must_use]
pub fn record(history: &[Release], revision: Revision) -> Option<&Release> {
    history.iter().find(|release| release.revision == revision && release.outcome == Outcome::Deployed)
}

/// Whether every target serves what this release brought.
#[must_use]
pub fn serves_everywhere(histories: &Histories, to: Revision) -> bool {
    histories.values().all(|history| serves(history, to))
}

/// Whether a target serves what this release brought.
#[must_use]
pub fn serves(history: &[Release], to: Revision) -> bool {
    let content = |revision| lineage::content(history, revision);
    lineage::serving(history).is_some_and(|now| content(now.revision) == content(to))
}

/// Why a target that never had this release has nothing to go back to; nothing if it had it, or may have had it: its oldest
/// records may have been dropped.
#[must_use]
pub fn never_had(env: &Environment, history: &[Release], to: Revision) -> Option<String> {
    let served: Vec<&Release> =
        history.iter().filter(|release| release.outcome == Outcome::Deployed).collect();
    let first = served.first().filter(|first| first.revision > to)?;
    let whole = served.len() < env.history_limit.max(2) as usize;
    whole.then(|| format!("it never had {to}: {} is the first release there", named(first)))
}

fn this_one(env: &Environment, histories: &Histories, to: Revision) -> Result<Chosen, Failure> {
    let mut stay = BTreeMap::new();
    let mut found: BTreeMap<&TargetId, &Release> = BTreeMap::new();
    for (target, history) in histories {
        match (record(history, to), never_had(env, history, to)) {
            (Some(release), _) => {
                found.insert(target, release);
            }
            (None, Some(why)) => {
                stay.insert(target.clone(), why);
            }
            (None, None) => return Err(not_on_record(env, target, history, to)),
        }
    }
    let Some((_, first)) = found.first_key_value() else {
        let (target, history) = histories.iter().next().ok_or_else(|| nobody(env))?;
        return Err(not_on_record(env, target, history, to));
    };
    // What was found when the first release came is each target's own.
    if to != Revision::default() && found.values().any(|release| release.version != first.version) {
        return Err(different(env, histories, &found));
    }
    Ok(Chosen { to, stay })
}

fn the_one_before(
    env: &Environment,
    histories: &Histories,
    owed: &BTreeMap<TargetId, Debt>,
) -> Result<Chosen, Failure> {
    let mut stay = BTreeMap::new();
    let mut found: BTreeMap<&TargetId, &Release> = BTreeMap::new();
    for (target, history) in histories {
        let due = match owed.get(target).map(|debt| &debt.due) {
            Some(Due::Back { to }) => record(history, *to),
            _ => None,
        };
        match due.or_else(|| lineage::below(history)) {
            Some(release) => {
                found.insert(target, release);
            }
            None => {
                stay.insert(target.clone(), nothing_below(history));
            }
        }
    }
    if found.is_empty() {
        return Err(none_before(env, histories));
    }
    // The same content may be on record under several numbers: one that all have is brought back.
    let names = found.iter().map(|(target, release)| {
        let history = &histories[*target];
        let content = lineage::content(history, release.revision);
        let same = history.iter().filter(|other| {
            other.outcome == Outcome::Deployed
                && other.version == release.version
                && lineage::content(history, other.revision) == content
        });
        same.map(|other| (other.revision, content, other.version.as_str())).collect::<BTreeSet<_>>()
    });
    let shared = names.reduce(|all, own| all.intersection(&own).copied().collect());
    match shared.and_then(|shared| shared.last().copied()) {
        Some((to, ..)) => Ok(Chosen { to, stay }),
        None => Err(different(env, histories, &found)),
    }
}

/// Why a rollback leads nowhere in a target.
fn nothing_below(history: &[Release]) -> String {
    match (lineage::serving(history), lineage::left(history)) {
        (None, _) => "nothing was deployed there".to_owned(),
        (Some(now), Some(left)) => match now.rollback_of {
            Some(of) => {
                format!("{} serves, which brought {of} back; {} was left for it", named(now), named(left))
            }
            None => format!("{} serves, and nothing that it stands on is on record", named(now)),
        },
        (Some(now), None) => format!("{} is the first release on record there", named(now)),
    }
}

fn none_before(env: &Environment, histories: &Histories) -> Failure {
    let targets = histories.keys().map(TargetId::as_str).collect::<Vec<_>>().join(", ");
    let what = format!("there is no release before the one that serves on {targets}");
    let failure =
        histories.iter().fold(Failure::new(Code(606), Exit::Usage, what), |failure, (target, history)| {
            failure.why(format!("{target}: {}", nothing_below(history)))
        });
    let left =
        histories.values().filter_map(|history| lineage::left(history)).max_by_key(|left| left.revision);
    let name = &env.name;
    let failure = match left {
        Some(left) => failure.next(format!(
            "deployctl rollback {name} --to {}  # brings {} back all the same",
            left.revision.0,
            named(left)
        )),
        None => failure,
    };
    failure.next(format!("deployctl history {name}"))
}

fn not_on_record(env: &Environment, target: &TargetId, history: &[Release], to: Revision) -> Failure {
    let served = history.iter().filter(|release| release.outcome == Outcome::Deployed);
    let known: Vec<String> = served.map(|release| release.revision.to_string()).collect();
    let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
    Failure::new(Code(606), Exit::Usage, format!("there is no release {to} to go back to on {target}"))
        .why(format!("{target} has on record: {known}"))
        .next(format!("deployctl history {}", env.name))
}

/// The targets would go back to different releases, and a run has one.
fn different(env: &Environment, histories: &Histories, found: &BTreeMap<&TargetId, &Release>) -> Failure {
    let name = &env.name;
    let what = format!("the targets of {name} would go back to different releases");
    let failure =
        found.iter().fold(Failure::new(Code(635), Exit::Usage, what), |failure, (target, release)| {
            let now = lineage::serving(&histories[*target]).map_or_else(String::new, named);
            failure.why(format!("{target}: from {now} to {}", named(release)))
        });
    let failure = match shared(histories) {
        Some(release) => failure.next(format!(
            "deployctl rollback {name} --to {}  # {}, which all of them have had",
            release.revision.0,
            named(release)
        )),
        None => failure,
    };
    found.iter().fold(failure, |failure, (target, release)| {
        let to = release.revision.0;
        failure.next(format!("deployctl rollback {name} --target {target} --to {to}  # {}", named(release)))
    })
}

/// The newest release that every target has had and none serves.
fn shared(histories: &Histories) -> Option<&Release> {
    let (_, first) = histories.first_key_value()?;
    first.iter().rev().find(|release| {
        histories.values().all(|history| {
            let same =
                record(history, release.revision).is_some_and(|other| other.version == release.version);
            same && !serves(history, release.revision)
        })
    })
}

fn nobody(env: &Environment) -> Failure {
    Failure::new(Code(606), Exit::Usage, "no target is left that could go back")
        .next(format!("deployctl status {}", env.name))
}

/// `1.1.0 (r2)`.
fn named(release: &Release) -> String {
    format!("{} ({})", release.version, release.revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overrides};
    use crate::domain::ids::RunId;
    use serde_json::json;

    fn shop() -> Environment {
        let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shop"));
        config::load(root, "canary", &Overrides::default()).unwrap().environment
    }

    /// `(number, the release that it brought back)`, 0 for none; the version is that of the content.
    fn history(target: &str, releases: &[(u32, u32)]) -> Vec<Release> {
        let mut versions: BTreeMap<u32, String> = BTreeMap::new();
        let release = |(number, of): &(u32, u32)| {
            let version = versions.get(of).cloned().unwrap_or_else(|| format!("1.{number}.0"));
            versions.insert(*number, version.clone());
            let mut value = json!({"format": 1, "revision": number, "target": target, "version": version,
                "outcome": "deployed", "run": "r", "by": {"user": "ana", "host": "desk"},
                "started": "2026-01-05T03:00:00Z", "ended": "2026-01-05T03:00:00Z", "workloads": {}, "objects": []});
            if *of > 0 {
                value["rollbackOf"] = json!(of);
            }
            serde_json::from_value(value).unwrap()
        };
        releases.iter().map(release).collect()
    }

    type Records = [(u32, u32)];

    fn histories(east: &Records, west: &Records) -> Histories {
        [("east", east), ("west", west)].map(|(id, own)| (id.into(), history(id, own))).into()
    }

    /// The number and who stays, or what is refused.
    fn told(chosen: Result<Chosen, Failure>) -> String {
        match chosen {
            Ok(Chosen { to, stay }) => {
                let stay: String =
                    stay.iter().map(|(target, why)| format!("; {target} stays: {why}")).collect();
                format!("{to}{stay}")
            }
            Err(failure) => {
                format!("{}\n{}\n{}", failure.what, failure.why.join("\n"), failure.next.join("\n"))
            }
        }
    }

    #[test]
    fn all_targets_go_back_to_one_release_or_none_does() {
        let previous = |east: &Records, west: &Records| {
            told(choose(&shop(), &histories(east, west), &BTreeMap::new(), Rollback::Previous))
        };
        assert_eq!(previous(&[(1, 0), (2, 0)], &[(1, 0), (2, 0)]), "r1");
        // One region came with r3.
        assert_eq!(
            previous(&[(1, 0), (3, 0)], &[(3, 0)]),
            "r1; west stays: 1.3.0 (r3) is the first release on record there"
        );
        // The same content under other numbers: the one that both have.
        assert_eq!(previous(&[(1, 0), (2, 0), (3, 1), (5, 0)], &[(1, 0), (2, 0), (4, 1), (5, 0)]), "r1");
        // r2 went to the east only.
        assert_eq!(
            previous(&[(1, 0), (2, 0), (3, 0)], &[(1, 0), (3, 0)]),
            "the targets of canary would go back to different releases\n\
             east: from 1.3.0 (r3) to 1.2.0 (r2)\n\
             west: from 1.3.0 (r3) to 1.1.0 (r1)\n\
             deployctl rollback canary --to 1  # 1.1.0 (r1), which all of them have had\n\
             deployctl rollback canary --target east --to 2  # 1.2.0 (r2)\n\
             deployctl rollback canary --target west --to 1  # 1.1.0 (r1)"
        );
    }

    #[test]
    fn what_was_left_is_not_brought_back_unless_it_is_named() {
        let both = &[(1, 0), (2, 0), (3, 1)];
        let histories = histories(both, both);
        let chosen = |rollback| told(choose(&shop(), &histories, &BTreeMap::new(), rollback));
        assert_eq!(
            chosen(Rollback::Previous),
            "there is no release before the one that serves on east, west\n\
             east: 1.1.0 (r3) serves, which brought r1 back; 1.2.0 (r2) was left for it\n\
             west: 1.1.0 (r3) serves, which brought r1 back; 1.2.0 (r2) was left for it\n\
             deployctl rollback canary --to 2  # brings 1.2.0 (r2) back all the same\n\
             deployctl history canary"
        );
        assert_eq!(chosen(Rollback::To(Revision(2))), "r2");
        assert!(serves_everywhere(&histories, Revision(1)) && !serves_everywhere(&histories, Revision(2)));
    }

    #[test]
    fn who_is_owed_a_way_back_goes_where_the_others_are() {
        let histories = histories(&[(1, 0), (2, 0), (3, 0), (4, 1)], &[(1, 0), (2, 0), (3, 0)]);
        let due = Due::Back { to: Revision(1) };
        let debt = Debt { run: RunId::new("r4"), revision: Revision(4), version: "1.1.0".into(), due };
        let owed = BTreeMap::from([(TargetId::from("west"), debt)]);
        let west = BTreeMap::from([("west".into(), histories[&"west".into()].clone())]);
        assert_eq!(told(choose(&shop(), &west, &owed, Rollback::Previous)), "r1");
        assert_eq!(told(choose(&shop(), &west, &BTreeMap::new(), Rollback::Previous)), "r2");
    }

    #[test]
    fn a_release_that_is_named_must_be_what_all_targets_know_by_that_number() {
        let to = |east: &Records, west: &Records, to| {
            told(choose(&shop(), &histories(east, west), &BTreeMap::new(), Rollback::To(Revision(to))))
        };
        assert_eq!(
            to(&[(1, 0), (3, 0)], &[(3, 0)], 1),
            "r1; west stays: it never had r1: 1.3.0 (r3) is the first release there"
        );
        // It has older ones, and this one is not among them.
        assert_eq!(
            to(&[(1, 0), (2, 0), (3, 0)], &[(1, 0), (3, 0)], 2),
            "there is no release r2 to go back to on west\nwest has on record: r1, r3\ndeployctl history canary"
        );
        // Two runs, each to one target, that took the same number.
        let other = |mut histories: Histories| {
            histories.get_mut(&"west".into()).unwrap()[1].version = "2.0.0".to_owned();
            histories
        };
        let same: &Records = &[(1, 0), (2, 0), (3, 0)];
        let both = other(histories(same, same));
        for rollback in [Rollback::To(Revision(2)), Rollback::Previous] {
            let refused = choose(&shop(), &both, &BTreeMap::new(), rollback).unwrap_err();
            assert_eq!(refused.code, Code(635));
            assert_eq!(refused.why[1], "west: from 1.3.0 (r3) to 2.0.0 (r2)");
        }
    }

    #[test]
    fn records_that_may_have_been_dropped_are_no_proof_that_a_release_was_never_there() {
        let mut env = shop();
        env.history_limit = 2;
        let trimmed = history("west", &[(3, 0), (4, 0)]);
        assert_eq!(never_had(&env, &trimmed, Revision(1)), None);
        env.history_limit = 10;
        assert!(never_had(&env, &trimmed, Revision(1)).is_some());
    }
}
