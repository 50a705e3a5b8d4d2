//! Checks before the first write: read-only, side by side, each with its fix.

mod capacity;
mod counts;
mod gitops;
mod guard;
mod metrics;
mod objects;
mod permissions;
mod routers;

pub(super) use metrics::{Place, serving_now};

use super::world::{Site, World};
use super::{lease, unfinished};
use crate::domain::environment::{Environment, Platform};
use crate::domain::ids::TargetId;
use crate::domain::units::human;
use crate::plan::Plan;
use crate::ports::Cluster;
use serde::Serialize;
use std::time::Duration;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Fine.
    Pass,
    /// Worth knowing.
    Warn,
    /// The run is refused.
    Fail,
}

/// One check's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// How it came out.
    pub level: Level,
    /// Where; `None` for the whole environment.
    pub target: Option<TargetId>,
    /// What was checked.
    pub name: String,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Check {
    fn new(level: Level, target: Option<&TargetId>, name: &str, detail: impl Into<String>) -> Self {
        Self { level, target: target.cloned(), name: name.to_owned(), detail: detail.into(), fix: None }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// Everything that can be checked without a plan: what has no adapter yet.
#[must_use]
pub fn adapters(env: &Environment, world: &World) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut missing = |what: &str, key: &str| {
        checks.push(
            Check::new(Level::Fail, None, what, format!("{what}: not yet possible on a real run"))
                .fix(format!("leave `{key}` out, or see it simulated: deployctl rehearse {}", env.name)),
        );
    };
    let cloud = |target: &TargetId| world.sites.get(target).is_some_and(|site| site.cloud.is_some());
    if env.backup.rds.iter().any(|backup| world.sites.contains_key(&backup.target) && !cloud(&backup.target))
    {
        missing("RDS snapshots", "backup.rds");
    }
    if env.terraform.is_some() && !world.sites.keys().any(cloud) {
        missing("Terraform", "terraform");
    }
    let compose = world.sites.values().any(|site| site.compose.is_some());
    if matches!(env.platform, Platform::Compose { .. }) && !compose {
        missing("Docker Compose", "platform: compose");
    }
    checks
}

/// All checks of a plan.
pub async fn check(env: &Environment, world: &World, plan: &Plan) -> Vec<Check> {
    let mut checks = adapters(env, world);
    checks.extend(earlier_run(env, world).await);
    let clusters =
        world.sites.iter().filter_map(|(target, site)| Some((target, site, site.cluster.as_ref()?)));
    let targets =
        clusters.map(|(target, site, cluster)| on_target(env, world, plan, target, site, cluster.as_ref()));
    checks.extend(futures::future::join_all(targets).await.into_iter().flatten());
    checks
}

/// How long a check of a way back may take.
const ADVICE: Duration = Duration::from_secs(8);

/// The checks that concern a way back, each for a bounded time. None of them bars it: what fails is a warning. Gates and
/// guards have no part in it.
pub async fn advise(env: &Environment, world: &World, plan: &Plan) -> Vec<Check> {
    let clusters =
        world.sites.iter().filter_map(|(target, site)| Some((target, site, site.cluster.as_ref()?)));
    let targets = clusters.map(|(target, site, cluster)| async move {
        let cluster = cluster.as_ref();
        let parts = tokio::join!(
            in_time(target, "reach", version(env, target, cluster)),
            in_time(target, "permissions", permissions::check(plan, target, cluster)),
            in_time(target, "objects", objects::check(plan, target, cluster)),
            in_time(target, "routers", routers::check(env, plan, target, cluster)),
            in_time(target, "capacity", capacity::check(plan, target, cluster)),
            in_time(target, "counts", counts::check(plan, target, cluster)),
            in_time(target, "gitops", gitops::check(env, plan, target, cluster)),
            in_time(target, "lock", lock(world, target, site)),
        );
        let (version, permissions, objects, routers, capacity, counts, gitops, lock) = parts;
        [version, permissions, objects, routers, capacity, counts, gitops, lock].concat()
    });
    let mut checks = futures::future::join_all(targets).await.concat();
    for check in &mut checks {
        check.level = check.level.min(Level::Warn);
    }
    checks
}

async fn in_time(target: &TargetId, name: &str, check: impl Future<Output = Vec<Check>>) -> Vec<Check> {
    tokio::time::timeout(ADVICE, check).await.unwrap_or_else(|_| {
        let detail = format!("not known: no answer within {}", human(ADVICE));
        vec![Check::new(Level::Warn, Some(target), name, detail)]
    })
}

async fn earlier_run(env: &Environment, world: &World) -> Vec<Check> {
    match unfinished::latest(world).await {
        Ok(Some(run)) if run.is_unfinished() && lease::busy(world).await.is_some() => {
            let detail = format!("run {} is going on", run.plan.run);
            vec![Check::new(Level::Warn, None, "earlier run", detail).fix("add --wait to queue behind it")]
        }
        Ok(Some(run)) if run.is_unfinished() => {
            let detail = format!("run {} stopped in the middle", run.plan.run);
            let fix = format!("deployctl resume {0}, or deployctl rollback {0}", env.name);
            vec![Check::new(Level::Fail, None, "earlier run", detail).fix(fix)]
        }
        Ok(_) => vec![Check::new(Level::Pass, None, "earlier run", "none is unfinished")],
        Err(failure) => vec![
            Check::new(
                Level::Fail,
                None,
                "earlier run",
                format!("{}: {}", failure.what, failure.why.join("; ")),
            )
            .fix(failure.next.join("; ")),
        ],
    }
}

async fn on_target(
    env: &Environment,
    world: &World,
    plan: &Plan,
    target: &TargetId,
    site: &Site,
    cluster: &dyn Cluster,
) -> Vec<Check> {
    let (version, permissions, objects, routers, capacity, counts, gitops, lock, guard, gates) = tokio::join!(
        version(env, target, cluster),
        permissions::check(plan, target, cluster),
        objects::check(plan, target, cluster),
        routers::check(env, plan, target, cluster),
        capacity::check(plan, target, cluster),
        counts::check(plan, target, cluster),
        gitops::check(env, plan, target, cluster),
        lock(world, target, site),
        guard::check(env, world, plan, target),
        metrics::check(env, world, plan, target, cluster),
    );
    [version, permissions, objects, routers, capacity, counts, gitops, lock, guard, gates].concat()
}

async fn version(env: &Environment, target: &TargetId, cluster: &dyn Cluster) -> Vec<Check> {
    let identity = match cluster.identity().await {
        Ok(identity) => identity,
        Err(error) => {
            return vec![
                Check::new(Level::Fail, Some(target), "reach", error.to_string()).fix("check the kubeconfig"),
            ];
        }
    };
    let detail = format!("{} at {} as {}", identity.version, identity.server, identity.user);
    let mut checks = vec![Check::new(Level::Pass, Some(target), "reach", detail)];
    if identity.minor != env.cluster_version {
        let (have, want) = (identity.minor, env.cluster_version);
        let detail =
            format!("the cluster is {}.{}, manifests are checked for {}.{}", have.0, have.1, want.0, want.1);
        let fix = format!("cluster_version: \"{}.{}\"", have.0, have.1);
        checks.push(Check::new(Level::Warn, Some(target), "version", detail).fix(fix));
    }
    checks
}

async fn lock(world: &World, target: &TargetId, site: &Site) -> Vec<Check> {
    match site.lock.inspect().await {
        Ok(None) => vec![Check::new(Level::Pass, Some(target), "lock", "free")],
        Ok(Some(holder)) if holder.expired(world.clock.now()) => {
            let detail = format!("left behind by {} ({}), lapsed", holder.by, holder.reason);
            vec![Check::new(Level::Warn, Some(target), "lock", detail)]
        }
        Ok(Some(holder)) => {
            let age = world.clock.now().duration_since(holder.since).unsigned_abs();
            let age = human(Duration::from_secs(age.as_secs()));
            let detail = format!("held by {} for {age} ({})", holder.by, holder.reason);
            vec![Check::new(Level::Warn, Some(target), "lock", detail).fix("add --wait to queue behind it")]
        }
        Err(error) => {
            let fix = "allow get on leases.coordination.k8s.io in the state namespace";
            vec![Check::new(Level::Fail, Some(target), "lock", error.to_string()).fix(fix)]
        }
    }
}
