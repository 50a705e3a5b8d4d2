//! Targets that a command leaves out: by choice (`--without`), or since they give no answer. Never silently.

use super::flow::Silent;
use super::session::unknown;
use crate::domain::environment::{Environment, Unreachable};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::TargetId;
use crate::domain::release::{Debt, Release};
use crate::run::unfinished::Run;
use crate::run::{World, debts, releases, unfinished};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The targets that `--without` names.
pub(super) fn chosen(env: &Environment, names: &[String]) -> Result<BTreeSet<TargetId>, Failure> {
    let known: Vec<String> = env.targets.iter().map(|target| target.id.to_string()).collect();
    match names.iter().find(|name| !known.contains(name)) {
        Some(name) => Err(unknown("target", "without", name, &known, &env.name)),
        None => Ok(names.iter().map(TargetId::new).collect()),
    }
}

/// The targets that a release leaves out: those of `--without`, and silent ones where the environment says `skip`.
pub(super) fn left_out(
    env: &Environment,
    mut chosen: BTreeSet<TargetId>,
    silent: &BTreeMap<TargetId, Failure>,
) -> Result<BTreeSet<TargetId>, Failure> {
    let unforeseen: Vec<(&TargetId, &Failure)> =
        silent.iter().filter(|(target, _)| !chosen.contains(*target)).collect();
    if let (Unreachable::Block, Some((_, failure))) = (env.unreachable, unforeseen.first()) {
        let flags: Vec<String> = unforeseen.iter().map(|(target, _)| format!("--without {target}")).collect();
        let next = format!("deployctl {} {}: it is owed the release then", env.name, flags.join(" "));
        let mut failure = (*failure).clone();
        failure.next.insert(0, next);
        return Err(failure);
    }
    chosen.extend(unforeseen.into_iter().map(|(target, _)| target.clone()));
    somebody_is_left(env, &chosen)?;
    Ok(chosen)
}

/// A target to which this machine knows no way is a mistake of this machine, not an outage: a release leaves it out by name
/// alone, whatever the environment says of silent ones.
pub(super) fn no_way_is_left_out_by_name(
    env: &Environment,
    closed: &BTreeMap<TargetId, Failure>,
    out: &BTreeSet<TargetId>,
) -> Result<(), Failure> {
    let Some((target, failure)) = closed.iter().find(|(target, _)| !out.contains(*target)) else {
        return Ok(());
    };
    let way_round = format!("deployctl {} --without {target}: it is owed the release then", env.name);
    Err(failure.clone().next(way_round))
}

/// The last target cannot be left out.
pub(super) fn somebody_is_left(env: &Environment, out: &BTreeSet<TargetId>) -> Result<(), Failure> {
    if env.targets.iter().any(|target| !out.contains(&target.id)) {
        return Ok(());
    }
    Err(Failure::new(Code(650), Exit::Usage, "no target is left")
        .why("what is left out is owed the release that the others have, and there are no others")
        .next(format!("deployctl status {}", env.name)))
}

/// What targets are owed, as those that answer tell.
pub(super) async fn debts(world: &World) -> Result<BTreeMap<TargetId, Debt>, Failure> {
    Ok(debts::open(&histories(world).await?))
}

/// The releases on record, by target.
pub(super) async fn histories(world: &World) -> Result<BTreeMap<TargetId, Vec<Release>>, Failure> {
    let reads = world.sites.iter().map(|(target, site)| async move {
        Ok((target.clone(), releases::history(target, site.state.as_ref()).await?))
    });
    futures::future::join_all(reads).await.into_iter().collect()
}

/// How long a target that is left out may take to tell its records.
const ANSWER: Duration = Duration::from_secs(5);

/// The records of targets that a command leaves out, as far as they answer soon.
pub(super) async fn known(world: &World, targets: &BTreeSet<TargetId>) -> BTreeMap<TargetId, Vec<Release>> {
    let reads =
        world.sites.iter().filter(|(target, _)| targets.contains(*target)).map(|(target, site)| async move {
            let read = releases::history(target, site.state.as_ref());
            Some((target.clone(), tokio::time::timeout(ANSWER, read).await.ok()?.ok()?))
        });
    futures::future::join_all(reads).await.into_iter().flatten().collect()
}

/// A target that is owed a release is part of the next one, or is left out again by name.
pub(super) fn no_debt_is_dropped(
    env: &Environment,
    debts: &BTreeMap<TargetId, Debt>,
    out: &BTreeSet<TargetId>,
) -> Result<(), Failure> {
    let asked = |target: &TargetId| env.target(target).is_some() || out.contains(target);
    let Some((target, debt)) = debts.iter().find(|(target, _)| !asked(target)) else { return Ok(()) };
    let name = &env.name;
    Err(Failure::new(Code(651), Exit::Usage, format!("{target} is owed {debt}"))
        .why("the next release goes there too, or leaves it out again by name")
        .next(format!("deployctl resume {name}, which pays it"))
        .next(format!("deployctl {name} --without {target}")))
}

/// Refuses while a target that came back still holds a run in the middle that the others have left behind.
pub(super) async fn nothing_is_left_behind(world: &World, env: &str) -> Result<(), Failure> {
    let left = unfinished::left_behind(world).await?;
    let Some((target, run)) = left.iter().next() else { return Ok(()) };
    Err(Failure::new(
        Code(653),
        Exit::Preflight,
        format!("{target} came back in the middle of run {}", run.plan.run),
    )
    .why(format!("the others have gone on without it; what it has of {} goes back first", run.plan.version))
    .next(format!("deployctl resume {env}"))
    .next(format!("or leave it out again: --without {target}")))
}

/// Silent targets of a run, each with its reason in one line.
pub(super) fn of_run(run: &Run, silent: &BTreeMap<TargetId, Failure>) -> Silent {
    let concerned = silent.iter().filter(|(target, _)| run.plan.targets.contains_key(*target));
    concerned.map(|(target, failure)| (target.clone(), failure.why.join("; "))).collect()
}

/// `west (no contact with …)`, for a line to an operator.
pub(super) fn listed(silent: &BTreeMap<TargetId, Failure>) -> String {
    let each = silent.iter().map(|(target, failure)| format!("{target} ({})", failure.why.join("; ")));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overrides};

    fn shop() -> Environment {
        let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shop"));
        config::load(root, "canary", &Overrides::default()).unwrap().environment
    }

    fn silent(names: &[&str]) -> BTreeMap<TargetId, Failure> {
        let failure = |name: &str| {
            Failure::new(Code(605), Exit::Preflight, format!("the cluster of {name} cannot be used"))
        };
        names.iter().map(|name| (TargetId::from(*name), failure(name))).collect()
    }

    #[test]
    fn a_silent_target_bars_the_release_and_the_refusal_names_the_way_round() {
        let refused = left_out(&shop(), BTreeSet::new(), &silent(&["west"])).unwrap_err();
        assert_eq!(refused.exit, Exit::Preflight);
        assert_eq!(refused.next[0], "deployctl canary --without west: it is owed the release then");
    }

    #[test]
    fn what_is_left_out_by_name_or_by_the_environment_is_left_out() {
        let west = BTreeSet::from([TargetId::from("west")]);
        assert_eq!(left_out(&shop(), west.clone(), &silent(&["west"])), Ok(west.clone()));
        assert_eq!(left_out(&shop(), west.clone(), &silent(&[])), Ok(west.clone()));
        let env = Environment { unreachable: Unreachable::Skip, ..shop() };
        assert_eq!(left_out(&env, BTreeSet::new(), &silent(&["west"])), Ok(west));
    }

    #[test]
    fn the_last_target_cannot_be_left_out() {
        let east = BTreeSet::from([TargetId::from("east")]);
        let env = Environment { unreachable: Unreachable::Skip, ..shop() };
        assert_eq!(left_out(&env, east, &silent(&["west"])).unwrap_err().code, Code(650));
        let names = ["west".to_owned(), "wset".to_owned()];
        let refused = chosen(&shop(), &names).unwrap_err();
        assert_eq!(refused.what, "canary has no target `wset`");
        assert_eq!(refused.next, ["--without west"]);
    }

    #[test]
    fn a_debt_is_not_dropped_by_a_release_elsewhere() {
        use crate::domain::ids::{Revision, RunId};
        use crate::domain::release::Due;
        let due = Due::Back { to: Revision(1) };
        let debt = Debt { run: RunId::new("r2"), revision: Revision(2), version: "1.1.0".into(), due };
        let debts = BTreeMap::from([(TargetId::from("west"), debt)]);
        let mut env = shop();
        assert_eq!(no_debt_is_dropped(&env, &debts, &BTreeSet::new()), Ok(()));
        env.targets.retain(|target| target.id.as_str() == "east");
        let refused = no_debt_is_dropped(&env, &debts, &BTreeSet::new()).unwrap_err();
        assert_eq!(refused.what, "west is owed the way back to r1 (1.1.0)");
        assert_eq!(no_debt_is_dropped(&env, &debts, &BTreeSet::from(["west".into()])), Ok(()));
    }
}
