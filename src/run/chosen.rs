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
#[must_use]
pub fn named(release: &Release) -> String {
    format!("{} ({})", release.version, release.revision)
}
