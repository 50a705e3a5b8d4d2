//! What targets that were left out of a release are still owed. Pure.

use crate::domain::environment::Environment;
use crate::domain::ids::{Revision, TargetId};
use crate::domain::object::Object;
use crate::domain::release::{Debt, Due, Outcome, Release};
use crate::plan::{Plan, lineage};
use std::collections::{BTreeMap, BTreeSet};

/// What is owed now, by target, as far as the records of these targets tell (oldest release first). The newest release
/// that serves anywhere says who was left out; who has had it, or anything newer, since then is owed nothing.
#[must_use]
pub fn open(histories: &BTreeMap<TargetId, Vec<Release>>) -> BTreeMap<TargetId, Debt> {
    let deployed = histories.values().flatten().filter(|release| release.outcome == Outcome::Deployed);
    let Some(newest) = deployed.max_by_key(|release| (release.revision, release.started)) else {
        return BTreeMap::new();
    };
    let paid = |target: &TargetId, debt: &Debt| {
        let mut releases = histories.get(target).into_iter().flatten();
        releases.any(|release| {
            let later = release.revision > newest.revision && release.started > newest.started;
            release.outcome == Outcome::Deployed && (release.pays.as_ref() == Some(&debt.run) || later)
        })
    };
    let owed = newest.owed.iter().filter(|(target, debt)| !paid(target, debt));
    owed.map(|(target, debt)| (target.clone(), debt.clone())).collect()
}

/// A release that is held: a later wave failed and went back, and earlier ones kept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its version.
    pub version: String,
    /// Targets that keep it.
    pub on: Vec<TargetId>,
    /// Targets that are back on the release before.
    pub back: Vec<TargetId>,
}

/// Whether the newest release serves on some targets while the same run went back on others.
#[must_use]
pub fn held(histories: &BTreeMap<TargetId, Vec<Release>>) -> Option<Held> {
    let newest = histories.values().flatten().max_by_key(|release| (release.revision, release.started))?;
    let with = |outcome: Outcome| -> Vec<TargetId> {
        let of = |releases: &Vec<Release>| {
            releases.last().is_some_and(|release| release.run == newest.run && release.outcome == outcome)
        };
        histories.iter().filter(|(_, releases)| of(releases)).map(|(target, _)| target.clone()).collect()
    };
    let (on, back) = (with(Outcome::Deployed), with(Outcome::RolledBack));
    let is_held = newest.rollback_of.is_none() && !on.is_empty() && !back.is_empty();
    is_held.then(|| Held { version: newest.version.clone(), on, back })
}

/// Targets that a rollback to the release before leaves where they are, and why: those that went back when a later wave of
/// a held release failed, and those that never had the release that goes back now.
#[must_use]
pub fn before_already(histories: &BTreeMap<TargetId, Vec<Release>>) -> BTreeMap<TargetId, String> {
    let mut stay = BTreeMap::new();
    if let Some(held) = held(histories) {
        let on = held.on.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        for target in held.back {
            stay.insert(target, format!("it went back when {} failed, which {on} kept", held.version));
        }
    }
    // Who is owed a way back has what goes back, as nobody else has by now.
    let never_had = open(histories)
        .into_iter()
        .filter(|(target, debt)| histories.contains_key(target) && matches!(debt.due, Due::Release { .. }));
    for (target, debt) in never_had {
        stay.insert(target, format!("it never had {debt}, which it is owed"));
    }
    // One that is back, or never had it, whatever its records say of how that went. A release that was brought back counts
    // as what it was.
    let serving = histories.iter().filter_map(|(target, history)| {
        let release = lineage::serving(history)?;
        Some((target, release, lineage::content(history, release.revision)))
    });
    let serving: Vec<(&TargetId, &Release, Revision)> = serving.collect();
    let newest = serving.iter().map(|(.., content)| *content).max();
    for (target, release, _) in serving.iter().filter(|(.., content)| Some(*content) < newest) {
        let Release { version, revision, .. } = release;
        let why = || format!("it serves {version} ({revision}), which is older than what goes back now");
        stay.entry((*target).clone()).or_insert_with(why);
    }
    stay
}

/// Leaves targets out of what is asked for.
pub fn leave_out(env: &mut Environment, out: &BTreeSet<TargetId>) {
    env.targets.retain(|target| !out.contains(&target.id));
    for wave in &mut env.waves {
        wave.retain(|target| !out.contains(target));
    }
    env.waves.retain(|wave| !wave.is_empty());
}

/// Takes what was rendered for targets that are left out.
pub fn take_out(
    rendered: &mut BTreeMap<TargetId, Vec<Object>>,
    out: &BTreeSet<TargetId>,
) -> BTreeMap<TargetId, Vec<Object>> {
    out.iter().filter_map(|target| Some((target.clone(), rendered.remove(target)?))).collect()
}

/// A plan owes the targets that it leaves out the release that it makes.
pub fn owe_release(plan: &mut Plan, rendered: BTreeMap<TargetId, Vec<Object>>) {
    for (target, objects) in rendered {
        let due = Due::Release { components: plan.components.clone(), objects };
        owe(plan, target, due);
    }
}

/// A plan that brings an older release back owes the targets that it leaves out the same way back.
pub fn owe_way_back(plan: &mut Plan, targets: impl IntoIterator<Item = TargetId>) {
    let Some(to) = plan.rollback_of else { return };
    for target in targets {
        owe(plan, target, Due::Back { to });
    }
}

fn owe(plan: &mut Plan, target: TargetId, due: Due) {
    let (run, revision, version) = (plan.run.clone(), plan.revision, plan.version.clone());
    let debt = Debt { run, revision, version, due };
    let env = &plan.environment;
    plan.warnings.push(format!(
        "{target} is left out and owed {debt}: deployctl resume {env} brings it there once it answers"
    ));
    plan.owed.insert(target, debt);
}

/// A plan for a target that is owed something pays for it; what others are owed stays on record.
pub fn pay(plan: &mut Plan, target: &TargetId, debts: &BTreeMap<TargetId, Debt>) {
    plan.pays = debts.get(target).map(|debt| debt.run.clone());
    plan.owed = debts.iter().filter(|(id, _)| *id != target).map(|(id, d)| (id.clone(), d.clone())).collect();
}
