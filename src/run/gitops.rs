//! Those who keep the cluster in step with Git: found before a run, paused while it goes on, given back at its end.

use super::perform::{Stand, StepError};
use crate::domain::event::Kind;
use crate::domain::gitops::{Gitops, GitopsMode, Syncer, Syncers};
use crate::domain::object::ObjectRef;
use crate::domain::units::human;
use crate::ports::Cluster;
use crate::ports::cluster::ClusterError;
use crate::rollout::gitops;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long a sync that had begun before the pause may go on writing.
const SYNC: Duration = Duration::from_mins(2);
/// From one look at it to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Who would write the wanted objects from Git. Fails only where the cluster gives no answer; what it refuses to tell is
/// part of what is found.
pub(super) async fn look(
    cluster: &dyn Cluster,
    settings: &Gitops,
    server: &str,
    wanted: &BTreeSet<ObjectRef>,
    live: &BTreeMap<ObjectRef, Value>,
) -> Result<Syncers, ClusterError> {
    let mut found = Syncers::default();
    if settings.mode == GitopsMode::Ignore {
        return Ok(found);
    }
    let applications = applications(cluster, &settings.argocd_namespace, &mut found).await?;
    found.active = gitops::applications(&applications, wanted, live, server);
    for (name, objects) in gitops::elsewhere(&applications, live) {
        found.unknown.push(format!(
            "{} say that Argo CD's Application {name} manages them; it is not in {} here, so nobody pauses it: if it syncs by itself it writes over the run",
            shown(&objects), settings.argocd_namespace
        ));
    }
    for (object, manages) in gitops::flux(live) {
        let known = cluster.plural(&object.api_version, &object.kind).await;
        let writer = match known {
            Ok(Some(_)) => cluster.get(&object).await,
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match writer {
            Ok(Some(writer)) if gitops::is_active(&writer) => {
                found.active.push(Syncer { object, manages, keeper: None });
            }
            Ok(Some(_)) => {}
            Ok(None) => found.unknown.push(format!(
                "{} say that Flux's {object} in {} manages them; it is not here, so nobody pauses it",
                shown(&manages),
                object.namespace
            )),
            Err(error @ ClusterError::Unreachable { .. }) => return Err(error),
            Err(error) => found.unknown.push(format!("Flux's {object} cannot be read: {error}")),
        }
    }
    Ok(found)
}

async fn applications(
    cluster: &dyn Cluster,
    namespace: &str,
    found: &mut Syncers,
) -> Result<Vec<Value>, ClusterError> {
    let listed = match cluster.plural(gitops::ARGO, "Application").await {
        Ok(None) => return Ok(Vec::new()),
        Ok(Some(_)) => cluster.list(gitops::ARGO, "Application", namespace).await,
        Err(error) => Err(error),
    };
    match listed {
        Ok(mut applications) => {
            // Items of a list need not say what they are.
            for application in &mut applications {
                application["kind"] = Value::from("Application");
                application["apiVersion"] = Value::from(gitops::ARGO);
            }
            Ok(applications)
        }
        Err(error @ ClusterError::Unreachable { .. }) => Err(error),
        Err(error) => {
            let why = format!("whether Argo CD writes objects of the release is not known: {error}");
            found.unknown.push(why);
            Ok(Vec::new())
        }
    }
}

/// `Service/api, VirtualService/api and 3 more`.
fn shown(objects: &[ObjectRef]) -> String {
    let names: Vec<String> = objects.iter().take(3).map(ToString::to_string).collect();
    match objects.len().saturating_sub(3) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

impl Stand<'_> {
    /// Pauses them for this run, and waits until a sync that had begun is over.
    pub(super) async fn pause_sync(&self, syncers: &[ObjectRef]) -> Result<String, StepError> {
        let cluster = self.cluster()?;
        let run = self.plan.run.as_str();
        for syncer in syncers {
            self.rewrite(syncer, "pause", &|live| gitops::pause(live, run)).await?;
        }
        let began = Instant::now();
        for syncer in syncers.iter().filter(|syncer| syncer.kind == "Application" && !self.back) {
            let what = format!("look at {syncer}");
            while self
                .in_contact(&what, async || cluster.get(syncer).await)
                .await?
                .is_some_and(|live| gitops::is_writing(&live))
            {
                if began.elapsed() >= SYNC {
                    let what = format!("{syncer} has been syncing for {} and is not done", human(SYNC));
                    return Err(StepError::failed(what));
                }
                self.progress(format!("{syncer} is still syncing what it began"));
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(format!("{} paused", syncers.len()))
    }

    /// Gives back what the pause took, and tells where Git differs from what serves now.
    pub(super) async fn resume_sync(&self, syncers: &[ObjectRef]) -> Result<String, StepError> {
        let cluster = self.cluster()?;
        let run = self.plan.run.as_str();
        for syncer in syncers {
            let what = format!("look at {syncer}");
            let live = self.in_contact(&what, async || cluster.get(syncer).await).await?;
            let differing = live.as_ref().map(gitops::differing).unwrap_or_default();
            self.rewrite(syncer, "resume", &|live| gitops::resume(live, run)).await?;
            if !differing.is_empty() {
                let message = format!(
                    "{syncer} syncs by itself again, and Git differs in {}: Argo CD writes what Git holds",
                    differing.join(", ")
                );
                let target = Some(self.target.clone());
                self.teller.tell(Kind::Alert { severity: "warning", target, message });
            }
        }
        Ok(format!("{} in step with Git again", syncers.len()))
    }

    async fn rewrite(
        &self,
        syncer: &ObjectRef,
        verb: &str,
        change: &(dyn for<'v> Fn(&'v Value) -> Option<Value> + Send + Sync),
    ) -> Result<(), StepError> {
        let cluster = self.cluster()?;
        self.may_write().await?;
        let what = format!("{verb} {syncer}");
        self.in_contact(&what, async || match cluster.modify(syncer, change).await {
            // What was deleted meanwhile writes nothing.
            Ok(_) | Err(ClusterError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }
}
