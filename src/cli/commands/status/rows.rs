//! The workloads of a target: those on record, those that a run makes, and what their pods run.

use crate::cli::report::status::WorkloadRow;
use crate::domain::environment::Environment;
use crate::domain::ids::{ComponentId, TargetId};
use crate::domain::object::{Object, ObjectRef};
use crate::domain::observed::{Pod, Snapshot, Workload};
use crate::domain::release::{Release, ServingWorkload};
use crate::domain::units::human;
use crate::plan::Plan;
use crate::ports::Cluster;
use crate::run::weights::{self, Weight};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long the first look of the watches may take.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(10);

/// Kinds without which nothing can be said about pods.
const NEEDED: [&str; 3] = ["pods", "replicasets", "endpointslices"];

/// What is to be looked at on a target.
pub(super) struct Wanted<'a> {
    /// The release on record.
    pub release: Option<&'a Release>,
    /// The plan of a run that is not over, if the target is part of it.
    pub plan: Option<&'a Plan>,
    pub target: &'a TargetId,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    pub rows: Vec<WorkloadRow>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
    /// Components of which no pod is wanted, though the release wants some.
    pub idle: Vec<ComponentId>,
}

impl Wanted<'_> {
    /// The workloads of each component: what serves by the records first, then what the run adopts and makes.
    fn workloads(&self) -> BTreeMap<&ComponentId, Vec<&ServingWorkload>> {
        let plan = self.plan.and_then(|plan| plan.targets.get(self.target));
        let recorded = self.release.into_iter().flat_map(|release| &release.workloads);
        let adopted = plan.and_then(|plan| plan.adopted.as_ref());
        let adopted = adopted.into_iter().flat_map(|adopted| &adopted.workloads);
        let planned = plan.into_iter().flat_map(|plan| &plan.workloads);
        let mut all: BTreeMap<&ComponentId, Vec<&ServingWorkload>> = BTreeMap::new();
        for (component, serving) in recorded.chain(adopted).chain(planned) {
            let known = all.entry(component).or_default();
            if !known.iter().any(|other| other.workload == serving.workload) {
                known.push(serving);
            }
        }
        all
    }

    /// Objects of the release on record, then those of the plan.
    fn objects(&self) -> impl Iterator<Item = &Object> {
        let recorded = self.release.into_iter().flat_map(|release| &release.objects);
        recorded.chain(self.plan.into_iter().flat_map(|plan| &plan.objects))
    }

    fn manifest(&self, workload: &ObjectRef) -> Option<&Value> {
        self.objects().find(|object| object.reference() == *workload).map(|object| &object.value)
    }

    /// Whether a workload is the one that serves a component by the record.
    fn is_recorded(&self, component: &ComponentId, workload: &ObjectRef) -> bool {
        let recorded = self.release.and_then(|release| release.workloads.get(component));
        recorded.is_some_and(|serving| serving.workload == *workload)
    }

    /// The workload that the run makes for a component.
    fn made(&self, component: &ComponentId) -> Option<&ObjectRef> {
        Some(&self.plan?.targets.get(self.target)?.workloads.get(component)?.workload)
    }

    /// The Service of a component that users come to.
    fn service(&self, component: &ComponentId) -> Option<&str> {
        let mut own = self
            .objects()
            .filter(|object| object.kind() == "Service" && object.component.as_ref() == Some(component));
        own.next().map(Object::name)
    }

    /// Whether the release itself lets a component have no pods: by its manifest, or by an autoscaler that goes to nothing.
    fn may_be_idle(&self, workload: &ObjectRef) -> bool {
        let none =
            self.manifest(workload).and_then(|value| value.pointer("/spec/replicas")?.as_u64()) == Some(0);
        let scaled_to_none = |object: &Object| {
            let spec = &object.value["spec"];
            let (fewest, default) = match object.kind() {
                "ScaledObject" => (&spec["minReplicaCount"], 0),
                "HorizontalPodAutoscaler" => (&spec["minReplicas"], 1),
                _ => return false,
            };
            let named = spec["scaleTargetRef"]["name"].as_str();
            // A release names what it scales as in its manifest, a revision carries its number.
            let own = named.is_some_and(|name| name == workload.name || is_revision_of(&workload.name, name));
            own && fewest.as_u64().unwrap_or(default) == 0
        };
        none || workload.kind == "DaemonSet" || self.objects().any(scaled_to_none)
    }
}

/// The workloads of all components, and others of them that still have pods.
pub(super) async fn look(env: &Environment, cluster: &dyn Cluster, wanted: &Wanted<'_>) -> Seen {
    let workloads = wanted.workloads();
    let mut seen = Seen::default();
    let (snapshots, weights) =
        tokio::join!(snapshots(cluster, &workloads, wanted), weights_of(cluster, wanted));
    let (snapshots, mut unseen) = snapshots;
    seen.unseen.append(&mut unseen);
    let weights = weights.unwrap_or_else(|why| {
        seen.unseen.push(format!("how routes divide users cannot be seen: {why}"));
        BTreeMap::new()
    });
    for (component, weight) in &weights {
        if let Weight::Unknown(routes) = weight {
            let routes = routes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            seen.unseen.push(format!(
                "the weight of {component} is unknown: {routes} is as at none of the plan's weights"
            ));
        }
    }
    for (component, known) in workloads {
        let first = known[0];
        let Some(home) = snapshots.get(first.workload.namespace.as_str()) else { continue };
        let divided = Divided {
            service: wanted.service(component).map(str::to_owned),
            home,
            namespace: &first.workload.namespace,
            weight: weights.get(component),
            router: router_of(env, component),
            new: wanted.made(component),
        };
        let mut own = Vec::new();
        for serving in &known {
            let Some(snapshot) = snapshots.get(serving.workload.namespace.as_str()) else { continue };
            let is_recorded = wanted.is_recorded(component, &serving.workload);
            // What a run has not made yet has no row; what is on record and gone has one that says so.
            if is_recorded || snapshot.workloads.contains_key(&serving.workload) {
                let main = wanted.manifest(&serving.workload).and_then(main_container);
                own.extend(divided.rows(component, snapshot, &serving.workload, &serving.image, main));
            }
        }
        for snapshot in snapshots.values() {
            let others = snapshot.workloads.iter().filter(|(name, state)| {
                state.desired > 0
                    && !known.iter().any(|serving| serving.workload == **name)
                    && is_revision_of(&name.name, component.as_str())
            });
            for (name, _) in others {
                let main = wanted.manifest(&first.workload).and_then(main_container);
                own.extend(divided.rows(component, snapshot, name, "", main));
            }
        }
        let nothing = !own.is_empty() && own.iter().all(|row| row.ready == 0 && row.desired == 0);
        if nothing && !wanted.may_be_idle(&first.workload) {
            seen.idle.push(component.clone());
        }
        seen.rows.append(&mut own);
    }
    seen
}

async fn weights_of(
    cluster: &dyn Cluster,
    wanted: &Wanted<'_>,
) -> Result<BTreeMap<ComponentId, Weight>, String> {
    let Some(plan) = wanted.plan else { return Ok(BTreeMap::new()) };
    let look = tokio::time::timeout(FIRST_LOOK, weights::look(cluster, plan, wanted.target));
    let late = |_| Err(format!("no answer within {}", human(FIRST_LOOK)));
    look.await.map_or_else(late, |look| look.map_err(|error| error.to_string()))
}

/// The namespaces of all workloads and of the release's own namespaces, as the watches show them first.
async fn snapshots<'a>(
    cluster: &dyn Cluster,
    workloads: &BTreeMap<&ComponentId, Vec<&'a ServingWorkload>>,
    wanted: &'a Wanted<'_>,
) -> (BTreeMap<&'a str, Snapshot>, Vec<String>) {
    let known = workloads.values().flatten().map(|serving| serving.workload.namespace.as_str());
    let own = wanted.release.into_iter().flat_map(|release| &release.objects);
    let own = own.filter(|object| object.kind() == "Namespace").map(Object::name);
    let namespaces: BTreeSet<&str> = known.chain(own).collect();
    let looks = namespaces.into_iter().map(|namespace| async move {
        let mut snapshots = cluster.follow(namespace);
        let synced = tokio::time::timeout(FIRST_LOOK, snapshots.wait_for(|snapshot| snapshot.synced)).await;
        let snapshot = match synced {
            Ok(Ok(snapshot)) => Ok(snapshot.clone()),
            Ok(Err(_)) => Err("the watches have ended".to_owned()),
            Err(_) => Err(format!("no answer within {}", human(FIRST_LOOK))),
        };
        (namespace, snapshot)
    });
    let (mut seen, mut unseen) = (BTreeMap::new(), Vec::new());
    let kinds: BTreeSet<String> = workloads
        .values()
        .flatten()
        .map(|serving| format!("{}s", serving.workload.kind.to_lowercase()))
        .chain(NEEDED.map(str::to_owned))
        .collect();
    for (namespace, snapshot) in futures::future::join_all(looks).await {
        match snapshot {
            Ok(snapshot) => {
                let refused = snapshot.unseen.iter().filter(|(plural, _)| kinds.contains(*plural));
                unseen.extend(
                    refused.map(|(plural, why)| format!("{plural} in {namespace} cannot be seen: {why}")),
                );
                seen.insert(namespace, snapshot);
            }
            Err(why) => unseen.push(format!("pods in {namespace} cannot be seen: {why}")),
        }
    }
    (seen, unseen)
}

/// How the users of a component are divided.
struct Divided<'a> {
    service: Option<String>,
    /// The namespace of its Service as it was seen.
    home: &'a Snapshot,
    namespace: &'a str,
    weight: Option<&'a Weight>,
    router: &'static str,
    new: Option<&'a ObjectRef>,
}

impl Divided<'_> {
    /// One row for each image that pods of a workload run: the newest template's first.
    fn rows(
        &self,
        component: &ComponentId,
        snapshot: &Snapshot,
        workload: &ObjectRef,
        recorded: &str,
        main: Option<&str>,
    ) -> Vec<WorkloadRow> {
        let state = snapshot.workloads.get(workload);
        let groups = state.map(|state| by_image(snapshot, state, workload, main)).unwrap_or_default();
        let row = |image: &str, ready: u32, desired: u32, pods: &[&str]| {
            let share = self.share(workload, pods);
            let is_new = self.new == Some(workload);
            let weight = match self.weight {
                Some(Weight::Percent(percent)) => Some(weights::users(*percent, is_new, share)),
                _ => None,
            };
            WorkloadRow {
                component: component.clone(),
                workload: workload.clone(),
                image: image.to_owned(),
                ready,
                desired,
                // Where a route divides users, endpoints do not say how.
                share: share.filter(|_| self.weight.is_none()),
                weight,
                router: weight.map(|_| self.router.to_owned()),
            }
        };
        let (ready, desired) = state.map_or((0, 0), |state| (state.ready, state.desired));
        match groups.as_slice() {
            [] => vec![row(recorded, ready, desired, &[])],
            [one] => vec![row(&one.image, ready, desired, &one.pods)],
            [newest, older @ ..] => {
                let old: u32 = older.iter().map(Group::size).sum();
                let rest = desired.saturating_sub(old).max(newest.size());
                let first = row(&newest.image, newest.ready, rest, &newest.pods);
                let others =
                    older.iter().map(|group| row(&group.image, group.ready, group.size(), &group.pods));
                std::iter::once(first).chain(others).collect()
            }
        }
    }

    /// Percent of the Service's ready endpoints that are these pods. Endpoints in another namespace do not say who serves.
    fn share(&self, workload: &ObjectRef, pods: &[&str]) -> Option<u8> {
        if workload.namespace != self.namespace {
            return None;
        }
        let all = self.home.endpoints.get(self.service.as_deref()?)?;
        let ready: Vec<_> = all.iter().filter(|endpoint| endpoint.ready).collect();
        let ours = ready.iter().filter(|endpoint| pods.contains(&endpoint.pod.as_str())).count();
        (!ready.is_empty()).then(|| (ours * 100 / ready.len()) as u8)
    }
}

/// Pods of one workload that run one image.
struct Group<'s> {
    image: String,
    newest: bool,
    ready: u32,
    pods: Vec<&'s str>,
}

impl Group<'_> {
    fn size(&self) -> u32 {
        self.pods.len() as u32
    }
}

/// A workload's pods that are not going away, by the image of their main container; the newest template's first.
fn by_image<'s>(
    snapshot: &'s Snapshot,
    state: &Workload,
    workload: &ObjectRef,
    main: Option<&str>,
) -> Vec<Group<'s>> {
    let sets = snapshot.replica_sets.values().filter(|set| set.owner_uid == state.uid);
    let owners: BTreeSet<&str> = sets.map(|set| set.uid.as_str()).chain([state.uid.as_str()]).collect();
    let newest: BTreeSet<&str> = snapshot.current_pods(workload).into_iter().map(|(name, _)| name).collect();
    let mut groups: Vec<Group<'s>> = Vec::new();
    for (name, pod) in &snapshot.pods {
        if pod.terminating || !owners.contains(pod.owner_uid.as_str()) {
            continue;
        }
        let image = image_of(pod, main);
        let index = groups.iter().position(|group| group.image == image).unwrap_or_else(|| {
            groups.push(Group { image: image.to_owned(), newest: false, ready: 0, pods: Vec::new() });
            groups.len() - 1
        });
        let group = &mut groups[index];
        group.newest |= newest.contains(name.as_str());
        group.ready += u32::from(pod.ready);
        group.pods.push(name);
    }
    groups.sort_by_key(|group| !group.newest);
    groups
}

/// The image of the container of this name, as the manifest names its first; else of the pod's first.
fn image_of<'p>(pod: &'p Pod, main: Option<&str>) -> &'p str {
    let mut running = pod.containers.iter().filter(|container| !container.init);
    let named = running.clone().find(|container| Some(container.name.as_str()) == main);
    named.or_else(|| running.next()).map_or("", |container| container.image.as_str())
}

fn main_container(manifest: &Value) -> Option<&str> {
    manifest.pointer("/spec/template/spec/containers/0/name")?.as_str()
}

fn router_of(env: &Environment, component: &ComponentId) -> &'static str {
    let known = env.components.iter().find(|known| known.id == *component);
    known.and_then(|known| known.strategy.weighted_router()).map_or("by a route", |router| router.name())
}

/// `api-r12` (or plain `api`) is a revision of `api`.
fn is_revision_of(workload: &str, component: &str) -> bool {
    let Some(rest) = workload.strip_prefix(component) else { return false };
    rest.is_empty()
        || rest.strip_prefix("-r").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::observed::{Container, ReplicaSet};

    fn pod(owner: &str, image: &str, ready: bool) -> Pod {
        let container = |name: &str, image: &str, init| Container {
            name: name.into(),
            image: image.into(),
            init,
            ..Container::default()
        };
        let containers = vec![
            container("migrate", "migrate:9", true),
            container("api", image, false),
            container("mesh", "mesh:3", false),
        ];
        Pod { owner_uid: owner.into(), ready, containers, ..Pod::default() }
    }

    #[test]
    fn pods_of_a_workload_that_is_changed_in_place_are_told_apart_by_what_they_run() {
        let workload = ObjectRef::deployment("shop", "api");
        let state = Workload {
            uid: "d".into(),
            desired: 3,
            ready: 3,
            rollout_revision: "2".into(),
            ..Workload::default()
        };
        let set = |uid: &str, revision: &str| ReplicaSet {
            uid: uid.into(),
            owner_uid: "d".into(),
            rollout_revision: revision.into(),
            ..ReplicaSet::default()
        };
        let mut going = pod("old", "api:1", true);
        going.terminating = true;
        let snapshot = Snapshot {
            workloads: BTreeMap::from([(workload.clone(), state.clone())]),
            replica_sets: BTreeMap::from([
                ("api-a".into(), set("old", "1")),
                ("api-b".into(), set("new", "2")),
            ]),
            pods: BTreeMap::from([
                ("a1".into(), pod("old", "api:1", true)),
                ("a2".into(), pod("old", "api:1", true)),
                ("a3".into(), going),
                ("b1".into(), pod("new", "api:2", false)),
                ("x".into(), pod("somebody", "api:7", true)),
            ]),
            ..Snapshot::default()
        };
        let groups = by_image(&snapshot, &state, &workload, Some("api"));
        let told: Vec<_> =
            groups.iter().map(|group| (group.image.as_str(), group.ready, group.size())).collect();
        assert_eq!(told, [("api:2", 0, 1), ("api:1", 2, 2)]);
    }
}
