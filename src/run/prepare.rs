//! Observes every target and makes the plan from what is wanted and what is there.

use super::chosen::{self, Chosen};
use super::definitions::definitions;
use super::gitops;
use super::judge;
use super::releases;
use super::sealed;
use super::world::World;
use crate::domain::environment::{Environment, Platform};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{ComponentId, Revision, RunId, TargetId};
use crate::domain::object::{Object, ObjectRef};
use crate::domain::release::{Actor, Outcome, Release};
use crate::plan::compose::ComposeInput;
use crate::plan::naming::{self, Named};
use crate::plan::{self, Inputs, Plan, TargetInput, inventory, order, router, steady, turns};
use crate::ports::cluster::{ClusterError, Identity};
use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The environment.
    pub env: &'a Environment,
    /// Version to deploy.
    pub version: String,
    /// Only these components; all if empty.
    pub components: BTreeSet<ComponentId>,
    /// Rendered objects by target; empty for a rollback.
    pub rendered: BTreeMap<TargetId, Vec<Object>>,
    /// Objects that no release needs and that are deleted though their kind is kept: `Kind/name`.
    pub prune: Vec<String>,
    /// Release to bring back.
    pub rollback: Option<Rollback>,
    /// The release gets this number at the least.
    pub floor: Revision,
    /// Who asks.
    pub by: Actor,
    /// Why.
    pub reason: Option<String>,
}

/// Which release to bring back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollback {
    /// The one before the one that serves.
    Previous,
    /// This one.
    To(Revision),
}

/// Who a target's cluster is, and what is on record there.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The cluster.
    pub identity: Identity,
    /// Releases, oldest first.
    pub history: Vec<Release>,
}

/// Whether every cluster answers, side by side: said before anything else is asked of it.
pub async fn reach(world: &World) -> Result<(), Failure> {
    match silent(world).await?.into_values().next() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// The targets that give no answer, and why; all are asked side by side.
///
/// # Errors
/// None answers, or one answers that we may not.
pub async fn silent(world: &World) -> Result<BTreeMap<TargetId, Failure>, Failure> {
    let asked = world.sites.iter().map(|(target, site)| async move {
        let refused = |error: &ClusterError| unreachable(target, error);
        // A machine without a cluster has nobody who could be silent.
        let Some(cluster) = &site.cluster else { return Ok(None) };
        match cluster.identity().await {
            Ok(_) => Ok(None),
            Err(error) if error.leaves_open() => Ok(Some((target.clone(), refused(&error)))),
            Err(error) => Err(refused(&error)),
        }
    });
    let asked: Vec<_> = futures::future::join_all(asked).await.into_iter().collect::<Result<_, Failure>>()?;
    let silent: BTreeMap<TargetId, Failure> = asked.into_iter().flatten().collect();
    match silent.values().next() {
        Some(failure) if silent.len() == world.sites.len() => Err(failure.clone()),
        _ => Ok(silent),
    }
}

/// Looks at every target of the world, side by side.
pub async fn look(world: &World) -> Result<BTreeMap<TargetId, Seen>, Failure> {
    let looks = world.sites.iter().map(|(target, site)| async move {
        let cluster = site.cluster().map_err(|error| unreachable(target, &error))?;
        let (identity, history) =
            tokio::join!(cluster.identity(), releases::history(target, site.state.as_ref()));
        let identity = identity.map_err(|error| unreachable(target, &error))?;
        Ok((target.clone(), Seen { identity, history: history? }))
    });
    futures::future::join_all(looks).await.into_iter().collect()
}

/// A cluster that does not answer, as an operator reads it.
#[must_use]
pub fn unreachable(target: &TargetId, error: &ClusterError) -> Failure {
    Failure::new(Code(605), Exit::Preflight, format!("the cluster of {target} cannot be used"))
        .why(error.to_string())
        .next("check the target's `cluster:` and your kubeconfig")
        .next("deployctl rehearse ENV, which needs no cluster")
}

/// Makes the plan. Reads only.
pub async fn plan(world: &World, request: &Request<'_>) -> Result<Plan, Failure> {
    if matches!(request.env.platform, Platform::Compose { .. }) {
        return compose(world, request).await;
    }
    let seen = look(world).await?;
    let newest = seen.values().flat_map(|seen| &seen.history).map(|release| release.revision).max();
    let revision = newest.unwrap_or_default().next().max(request.floor);
    let created = world.clock.now();
    let sealed = if request.rollback.is_some() {
        Vec::new()
    } else {
        sealed::seal(request.env, world.secrets.as_ref()).await?
    };
    let mut version = request.version.clone();
    let rollback_of =
        request.rollback.map(|rollback| bring_back(request.env, &seen, rollback)).transpose()?;
    let mut wanted_here = Vec::new();
    for (target, seen) in seen {
        let named = match rollback_of.and_then(|to| chosen::record(&seen.history, to)) {
            None => wanted(request, &target, &sealed, revision, &seen)?,
            Some(release) => {
                version.clone_from(&release.version);
                Named {
                    objects: release.objects.clone(),
                    workloads: release.workloads.clone(),
                    rollback_jobs: release.rollback_jobs.iter().map(|known| known.job.clone()).collect(),
                    told: Vec::new(),
                }
            }
        };
        order::check(&named.objects)?;
        if request.rollback.is_none() {
            router::check(request.env, &named)?;
        }
        wanted_here.push((target, named, seen));
    }
    let observed = wanted_here.into_iter().map(|(target, named, seen)| async move {
        let input = observe(world, request, &target, named, seen, revision).await?;
        Ok((target, input))
    });
    let mut targets: BTreeMap<TargetId, TargetInput> =
        futures::future::join_all(observed).await.into_iter().collect::<Result<_, Failure>>()?;
    let env = match rollback_of {
        Some(_) => plan::former::environment(request.env, &mut targets),
        None => Cow::Borrowed(request.env),
    };
    if request.rollback.is_none() {
        for (target, input) in &targets {
            steady::check(request.env, target, input)?;
        }
    }
    let inputs = Inputs {
        env: &env,
        version,
        revision,
        components: request.components.iter().cloned().collect(),
        prune: request.prune.clone(),
        rollback_of,
        run: run_id(request.env, revision, created),
        by: request.by.clone(),
        reason: request.reason.clone(),
        created,
        targets,
    };
    Ok(plan::build(&inputs))
}

/// The release that comes back in every one of these targets.
fn bring_back(
    env: &Environment,
    seen: &BTreeMap<TargetId, Seen>,
    rollback: Rollback,
) -> Result<Revision, Failure> {
    let histories = seen.iter().map(|(target, seen)| (target.clone(), seen.history.clone())).collect();
    let Chosen { to, stay } = chosen::choose(env, &histories, &BTreeMap::new(), rollback)?;
    match stay.into_iter().next() {
        None => Ok(to),
        Some((target, why)) => {
            let what = format!("there is no release {to} to go back to on {target}");
            Err(Failure::new(Code(606), Exit::Usage, what)
                .why(why)
                .next(format!("deployctl rollback {} --without {target}", env.name)))
        }
    }
}

async fn compose(world: &World, request: &Request<'_>) -> Result<Plan, Failure> {
    let Platform::Compose { project, .. } = &request.env.platform else {
        unreachable!("the caller looked");
    };
    let mut running = BTreeMap::new();
    let mut history = BTreeMap::new();
    for (target, site) in &world.sites {
        let Some(engine) = &site.compose else {
            return Err(Failure::new(
                Code(615),
                Exit::Preflight,
                "Docker Compose: not yet possible on a real run",
            )
            .next(format!("deployctl rehearse {}", request.env.name)));
        };
        let services = engine.services(project).await.map_err(|error| {
            Failure::new(Code(605), Exit::Preflight, format!("the engine of {target} cannot be used"))
                .why(error.message)
        })?;
        running.insert(target.clone(), services);
        history.insert(target.clone(), releases::history(target, site.state.as_ref()).await?);
    }
    let created = world.clock.now();
    let newest = history.values().flatten().map(|release: &Release| release.revision).max();
    let input = ComposeInput {
        env: request.env,
        version: request.version.clone(),
        run: run_id(request.env, newest.unwrap_or_default().next(), created),
        by: request.by.clone(),
        reason: request.reason.clone(),
        created,
        running,
        history,
    };
    Ok(plan::compose::build(&input))
}

/// The release's objects under their final names. Components that were not asked for stay as the release before has them.
fn wanted(
    request: &Request<'_>,
    target: &TargetId,
    sealed: &[Object],
    revision: Revision,
    seen: &Seen,
) -> Result<Named, Failure> {
    let previous = seen.history.iter().rev().find(|release| release.outcome == Outcome::Deployed);
    let mut objects = sealed.to_vec();
    objects.extend(request.rendered.get(target).cloned().unwrap_or_default());
    let namespace = &request.env.namespace;
    let has_namespace =
        objects.iter().any(|object| object.kind() == "Namespace" && object.name() == namespace);
    if !has_namespace && namespace != "default" {
        objects.insert(0, turns::namespace_object(request.env, namespace));
    }
    let shared = turns::shared(request.env, &objects);
    objects.splice(0..0, shared);
    let chosen = |object: &Object| object.component.as_ref().is_none_or(|id| request.components.contains(id));
    if !request.components.is_empty() {
        objects.retain(chosen);
    }
    let mut named = naming::name(request.env, objects, revision, previous)?;
    if let (false, Some(previous)) = (request.components.is_empty(), previous) {
        named.objects.extend(previous.objects.iter().filter(|object| !chosen(object)).cloned());
        let jobs = previous.rollback_jobs.iter().map(|known| &known.job).filter(|job| !chosen(job));
        named.rollback_jobs.extend(jobs.cloned());
        let others = previous.workloads.iter().filter(|(id, _)| !request.components.contains(*id));
        named.workloads.extend(others.map(|(id, serving)| (id.clone(), serving.clone())));
    }
    Ok(named)
}

/// Fetches every live object that matters (wanted ones, those of earlier releases, and what a first release may adopt),
/// and asks the server about those that seem changed.
async fn observe(
    world: &World,
    request: &Request<'_>,
    target: &TargetId,
    named: Named,
    seen: Seen,
    revision: Revision,
) -> Result<TargetInput, Failure> {
    let mut references: BTreeSet<ObjectRef> = named.objects.iter().map(Object::reference).collect();
    references.extend(seen.history.iter().flat_map(|release| release.objects.iter().map(Object::reference)));
    references.extend(inventory::rollback_jobs(seen.history.iter()));
    let suffix = format!("-{revision}");
    let originals = named.workloads.values().filter_map(|serving| {
        let name = serving.workload.name.strip_suffix(&suffix)?.to_owned();
        Some(ObjectRef { name, ..serving.workload.clone() })
    });
    references.extend(originals);
    let references: Vec<ObjectRef> = references.into_iter().collect();
    let cluster = world.site(target)?.cluster().map_err(|error| unreachable(target, &error))?;
    let objects: Vec<&Object> = named.objects.iter().collect();
    let (live, definitions) =
        tokio::join!(cluster.get_all(&references), definitions(cluster.as_ref(), &objects));
    let live = live.map_err(|error| unreachable(target, &error))?;
    let live: BTreeMap<ObjectRef, Value> = references
        .iter()
        .cloned()
        .zip(live)
        .filter_map(|(reference, live)| Some((reference, live?)))
        .collect();
    let wanted: BTreeSet<ObjectRef> = references.into_iter().collect();
    let syncers =
        gitops::look(cluster.as_ref(), &request.env.gitops, &seen.identity.server, &wanted, &live).await;
    let mut input = TargetInput {
        cluster_uid: seen.identity.cluster_uid,
        named,
        live,
        definitions,
        history: seen.history,
        syncers: syncers.map_err(|error| unreachable(target, &error))?,
        judged: BTreeMap::new(),
    };
    let take = &request.env.take;
    judge::judge(target, cluster.as_ref(), take, request.rollback.is_some(), &mut input).await?;
    Ok(input)
}

/// `r000012-20260105t030000z`: sorts by release, is a DNS name. Where targets are released to on their own, two such runs may
/// begin in the same second: they have no target in common, and each is named after its first.
fn run_id(env: &Environment, revision: Revision, now: Timestamp) -> RunId {
    let part = env.targets.first().filter(|_| env.is_part);
    let part = part.map_or_else(String::new, |target| format!("-{}", target.id));
    RunId::new(format!("r{:06}-{}{part}", revision.0, now.strftime("%Y%m%dt%H%M%Sz")))
}

/// Refuses a plan that was made for another state of the world.
pub fn still_valid(saved: &Plan, fresh: &Plan) -> Result<(), Failure> {
    let refuse = |why: String| {
        Failure::new(Code(607), Exit::Usage, "the plan is of an older world")
            .why(why)
            .next(format!("deployctl plan {} --out FILE", saved.environment))
    };
    if saved.environment != fresh.environment || saved.application != fresh.application {
        return Err(refuse(format!("it was made for {} {}", saved.application, saved.environment)));
    }
    if saved.targets.keys().ne(fresh.targets.keys()) {
        return Err(refuse("its targets are others than those of this command".to_owned()));
    }
    for (target, then) in &saved.targets {
        let now = &fresh.targets[target];
        if then.cluster_uid != now.cluster_uid {
            return Err(refuse(format!("{target} is another cluster than the one it was made for")));
        }
        if then.previous != now.previous {
            return Err(refuse(format!("{target} has had another release since")));
        }
        if then.fingerprint != now.fingerprint {
            return Err(refuse(format!("objects on {target} changed since it was made")));
        }
    }
    Ok(())
}
