//! Whether those who write the release's objects from Git can be kept from it.

use super::{Check, Level};
use crate::domain::environment::Environment;
use crate::domain::gitops::{GitopsMode, Syncer};
use crate::domain::ids::TargetId;
use crate::plan::Plan;
use crate::ports::Cluster;
use crate::rollout::gitops;

/// Checks everyone that the plan found.
pub(super) async fn check(
    env: &Environment,
    plan: &Plan,
    target: &TargetId,
    cluster: &dyn Cluster,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let found = plan.targets.get(target).map_or(&[][..], |target| &target.syncers);
    for syncer in found {
        checks.push(match env.gitops.mode {
            GitopsMode::Refuse => refused(target, syncer),
            GitopsMode::Pause => kept(target, syncer, cluster).await,
            GitopsMode::Ignore => continue,
        });
    }
    checks
}

fn refused(target: &TargetId, syncer: &Syncer) -> Check {
    let detail = format!(
        "{}'s {} writes {} of this release from Git and would put it back while the run goes on",
        syncer.product(),
        syncer.object,
        if syncer.manages.len() == 1 {
            syncer.manages[0].to_string()
        } else {
            format!("{} objects", syncer.manages.len())
        }
    );
    let name = &syncer.object.name;
    let by_hand = match syncer.object.kind.as_str() {
        "Application" => format!("argocd app set {name} --sync-policy none"),
        "HelmRelease" => format!("flux suspend helmrelease {name}"),
        _ => format!("flux suspend kustomization {name}"),
    };
    Check::new(Level::Fail, Some(target), "gitops", detail)
        .fix(format!("set `gitops: pause` to have it paused for the run, or do it yourself: {by_hand}"))
}

async fn kept(target: &TargetId, syncer: &Syncer, cluster: &dyn Cluster) -> Check {
    let name = &syncer.object;
    let pass = || {
        let detail = format!("{} {name} is paused until the run is over", syncer.product());
        Check::new(Level::Pass, Some(target), "gitops", detail)
    };
    let Some(keeper) = &syncer.keeper else { return pass() };
    if keeper.kind != "ApplicationSet" {
        let detail = format!("{name} is written by {keeper}, which may take its pause back");
        return Check::new(Level::Warn, Some(target), "gitops", detail)
            .fix(format!("does {keeper} heal what differs? Then pause it, too"));
    }
    match cluster.get(keeper).await {
        Ok(Some(set)) if gitops::leaves_policy(&set, &name.name) => pass(),
        Ok(Some(_)) => {
            let detail = format!("{name} is made by {keeper}, which takes a pause back at once");
            Check::new(Level::Fail, Some(target), "gitops", detail).fix(format!(
                "let it be: `ignoreApplicationDifferences: [{{jsonPointers: [/spec/syncPolicy]}}]` and `preservedFields: {{annotations: [{}]}}` in the spec of {keeper}",
                gitops::PAUSED
            ))
        }
        Ok(None) => pass(),
        Err(error) => {
            let detail = format!("{name} is made by {keeper}, which cannot be read: {error}");
            Check::new(Level::Warn, Some(target), "gitops", detail)
                .fix("does it leave `/spec/syncPolicy` alone? Otherwise it takes a pause back")
        }
    }
}
