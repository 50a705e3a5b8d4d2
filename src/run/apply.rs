//! Applying objects: each as soon as what it needs is there, many at once; what belongs to others is not taken unasked.

use super::dag;
use super::perform::{IN_FLIGHT, Stand, StepError};
use super::sealed;
use crate::domain::definitions::Definitions;
use crate::domain::field_path;
use crate::domain::object::{FIELD_MANAGER, Object, ObjectRef};
use crate::plan::contest::{self, Contest, Owned, Verdict};
use crate::plan::{Action, Change, claims, diff, immutable, order};
use crate::ports::Cluster;
use crate::ports::cluster::{Applied, ClusterError, FieldOwner, Known, Terms};
use crate::rollout::readiness::{LiveCondition, condition};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long a server may take to serve a kind that was defined just now.
const ESTABLISH: Duration = Duration::from_mins(1);

impl Stand<'_> {
    /// Applies objects of the plan.
    pub(super) async fn apply(&self, objects: &[usize]) -> Result<String, StepError> {
        let planned = self.planned(objects);
        let done = self
            .in_order(objects, async |object| {
                let reference = object.reference();
                let change = planned.get(&reference).copied();
                self.apply_one(object, reference, change).await
            })
            .await?;
        let count = |what: &Applied| done.iter().filter(|applied| *applied == what).count();
        let (created, changed) = (count(&Applied::Created), count(&Applied::Updated));
        Ok(format!("{created} created, {changed} changed, {} as they were", count(&Applied::Unchanged)))
    }

    /// Does something with each object once what it needs was done.
    async fn in_order<T>(
        &self,
        objects: &[usize],
        work: impl AsyncFn(&Object) -> Result<T, StepError>,
    ) -> Result<Vec<T>, StepError> {
        let list: Vec<&Object> = objects.iter().map(|index| self.object(*index)).collect();
        let needs = order::needs(&list)
            .map_err(|_| StepError::failed("objects wait for each other in a circle: plan again"))?;
        let (list, work) = (&list, &work);
        dag::each(&needs, IN_FLIGHT, |place| async move { work(list[place]).await }).await.map_err(|failed| {
            let others = failed.len() - 1;
            let unknown = failed.iter().any(|(_, error)| error.unknown);
            let (_, first) = failed.into_iter().next().expect("there is at least one failure");
            let more = if others == 0 { String::new() } else { format!(" (and {others} more failed)") };
            StepError { cause: format!("{}{more}", first.cause), unknown }
        })
    }

    pub(super) async fn apply_one(
        &self,
        object: &Object,
        reference: ObjectRef,
        change: Option<&Change>,
    ) -> Result<Applied, StepError> {
        self.may_write().await?;
        let what = format!("apply {reference} ({})", object.origin);
        let value = self.to_send(object, known(change)).await?;
        let applied = self.apply_contested(&reference, &what, value, change).await?;
        if reference.kind == "CustomResourceDefinition" {
            self.established(&reference).await?;
        }
        Ok(applied)
    }

    /// What the plan says of objects; on the way back that is of no use any more.
    pub(super) fn planned(&self, objects: &[usize]) -> HashMap<ObjectRef, &Change> {
        let target = self.plan.targets.get(self.target).filter(|_| !self.back);
        let wanted: HashSet<ObjectRef> =
            objects.iter().map(|index| self.object(*index).reference()).collect();
        let changes = target.into_iter().flat_map(|target| &target.changes);
        let changes =
            changes.filter(|change| change.action != Action::Delete && wanted.contains(&change.object));
        changes.map(|change| (change.object.clone(), change)).collect()
    }

    /// Applies; fields of others are taken only if the plan says so (on a way back always), and controllers keep theirs.
    async fn apply_contested(
        &self,
        reference: &ObjectRef,
        what: &str,
        mut value: Value,
        change: Option<&Change>,
    ) -> Result<Applied, StepError> {
        let cluster = self.cluster()?;
        let mut terms = Terms::PLAIN.knowing(known(change));
        // What a controller claims in between is left to it: each round leaves it more.
        for _ in 0..8 {
            let sent = self
                .in_contact(what, async || match cluster.apply(&value, terms).await {
                    Err(ClusterError::Contested { fields }) => Ok(Err(fields)),
                    result => result.map(Ok),
                })
                .await?;
            let fields = match sent {
                Ok(applied) => return Ok(applied),
                Err(fields) => fields,
            };
            let live = self.in_contact(what, async || cluster.get(reference).await).await?;
            let contests = self.settle(change, &mut value, &live.unwrap_or_default(), &fields);
            let open: Vec<String> = contests
                .iter()
                .filter(|contest| contest.verdict == Verdict::Open)
                .map(|contest| format!("{reference} · {contest}"))
                .collect();
            if !open.is_empty() && !self.back {
                let field = field_path::plain(&fields[0].field);
                let next = format!("take it with --take {field}, or leave the field out of the manifest");
                return Err(StepError::failed(format!(
                    "{what}: fields belong to somebody else: {}; {next}",
                    open.join("; ")
                )));
            }
            terms.force = contests.iter().all(|contest| contest.verdict != Verdict::Left);
        }
        if self.back {
            return self.in_contact(what, async || cluster.apply(&value, Terms::FORCED).await).await;
        }
        Err(StepError::failed(format!("{what}: its fields change hands faster than they can be applied")))
    }

    /// Decides contested fields as the plan did; fields that it did not foresee as it would have.
    pub(super) fn settle(
        &self,
        change: Option<&Change>,
        value: &mut Value,
        live: &Value,
        fields: &[FieldOwner],
    ) -> Vec<Contest> {
        let planned = change.map(|change| change.contests.as_slice()).unwrap_or_default();
        let taken =
            planned.iter().filter(|contest| matches!(contest.verdict, Verdict::Taken | Verdict::Adopted));
        let mut take: Vec<String> = taken.map(|contest| contest.field.clone()).collect();
        take.extend(self.plan.take.iter().cloned());
        contest::settle(value, live, &owned(fields), &take)
    }

    /// The object as it goes over the wire. Secrets get their values here and nowhere else.
    ///
    /// A workload whose size an autoscaler owns is applied without `replicas`. As long as we are the owner still (it was
    /// created with a size and never scaled since), leaving the field out would drop it to 1: so the live size goes along.
    pub(super) async fn to_send(&self, object: &Object, known: Known) -> Result<Value, StepError> {
        if object.kind() == "Secret" {
            return sealed::open(self.world.secrets.as_ref(), &object.value).await.map_err(StepError::failed);
        }
        if object.kind() == "PersistentVolumeClaim" && known != Known::Absent {
            return self.grown(object).await;
        }
        let scalable = matches!(object.kind(), "Deployment" | "StatefulSet") && known != Known::Absent;
        if !scalable || object.value["spec"].get("replicas").is_some() {
            return Ok(object.value.clone());
        }
        let cluster = self.cluster()?;
        let reference = object.reference();
        let live = self.in_contact("read the live size", async || cluster.get(&reference).await).await?;
        let mut value = object.value.clone();
        if let Some(live) = live.filter(owns_replicas) {
            value["spec"]["replicas"] = live["spec"]["replicas"].clone();
        }
        Ok(value)
    }

    /// A claim that grew meanwhile keeps its size: a server refuses less, and with it the whole way back.
    async fn grown(&self, object: &Object) -> Result<Value, StepError> {
        let cluster = self.cluster()?;
        let reference = object.reference();
        let live = self.in_contact("read the live size", async || cluster.get(&reference).await).await?;
        let mut value = object.value.clone();
        if live.is_some_and(|live| claims::keep(&mut value, &live)) {
            let size = value.pointer("/spec/resources/requests/storage").and_then(Value::as_str);
            self.progress(format!(
                "{reference} keeps its {}: a claim never shrinks",
                size.unwrap_or_default()
            ));
        }
        Ok(value)
    }

    /// Waits until the server serves what a definition defines: objects of the kind come next.
    async fn established(&self, definition: &ObjectRef) -> Result<(), StepError> {
        let cluster = self.cluster()?;
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let live = self.in_contact("read", async || cluster.get(definition).await).await?;
            let live = live.unwrap_or_default();
            if condition(&live, "Established").is_some_and(|found| found.status == "True") {
                return Ok(());
            }
            if began.elapsed() > ESTABLISH {
                let refused = condition(&live, "NamesAccepted").filter(|found| found.status == "False");
                let said = refused.as_ref().map(LiveCondition::said).filter(|said| !said.is_empty());
                let why = said.unwrap_or("the server does not say why");
                return Err(StepError::failed(format!("{definition} is not established: {why}")));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Creates what is immutable once made; what exists already is left as it is.
    pub(super) async fn create(&self, objects: &[usize]) -> Result<String, StepError> {
        let cluster = self.cluster()?;
        let mut created = 0;
        for index in objects {
            let object = self.object(*index);
            let reference = object.reference();
            let what = format!("create {reference} ({})", object.origin);
            let live = self.in_contact(&what, async || cluster.get(&reference).await).await?;
            // One that is going away is not there to stay: applying it fails with the server's words, and is told.
            if live.is_some_and(|live| live.pointer("/metadata/deletionTimestamp").is_none()) {
                continue;
            }
            self.may_write().await?;
            let terms = Terms::FORCED.knowing(Known::Absent);
            self.in_contact(&what, async || cluster.apply(&object.value, terms).await).await?;
            created += 1;
        }
        Ok(if created == 0 { "there already".to_owned() } else { "created".to_owned() })
    }

    /// Deletes what cannot be changed, waits until it is gone, and makes it anew. Repeated, it finds the new one and
    /// leaves it.
    pub(super) async fn replace(&self, objects: &[usize]) -> Result<String, StepError> {
        let cluster = self.cluster()?;
        let replaced = self
            .in_order(objects, async |object| {
                self.may_write().await?;
                let reference = object.reference();
                let what = format!("replace {reference} ({})", object.origin);
                let live = self.in_contact(&what, async || cluster.get(&reference).await).await?;
                let must_go = match &live {
                    Some(live) => self.cannot_become(cluster.as_ref(), object, live).await,
                    None => false,
                };
                if must_go {
                    self.progress(format!("{reference} is deleted, to be made anew"));
                    self.in_contact(&what, async || cluster.delete(&reference).await).await?;
                    self.may_write().await?;
                }
                let known = if live.is_none() || must_go { Known::Absent } else { Known::Nothing };
                let value = self.to_send(object, known).await?;
                let terms = Terms::FORCED.knowing(known);
                self.in_contact(&what, async || cluster.apply(&value, terms).await).await?;
                Ok(must_go)
            })
            .await?;
        let count = replaced.iter().filter(|must_go| **must_go).count();
        Ok(if count == 0 { "replaced already".to_owned() } else { format!("{count} replaced") })
    }

    /// Whether a live object cannot be changed into the wanted one: by the kinds' rules, else by the server's word.
    async fn cannot_become(&self, cluster: &dyn Cluster, object: &Object, live: &Value) -> bool {
        // The rules are those of built-in kinds.
        let changes = diff::fields(&Definitions::default(), &object.value, live, None);
        if immutable::replacement(&object.reference(), live, &changes).is_some() {
            return true;
        }
        let judged = cluster.apply(&object.value, Terms { force: true, ..Terms::DRY }).await;
        matches!(judged, Err(ClusterError::Invalid { message }) if immutable::says_immutable(&message))
    }
}

/// What the plan knows of an object's presence.
fn known(change: Option<&Change>) -> Known {
    match change.map(|change| change.action) {
        Some(Action::Create) => Known::Absent,
        Some(Action::Update | Action::Replace) => Known::Differs,
        _ => Known::Nothing,
    }
}

/// The plan's form of what the server says of owners.
pub(super) fn owned(fields: &[FieldOwner]) -> Vec<Owned<'_>> {
    fields
        .iter()
        .map(|FieldOwner { manager, subresource, field }| Owned { manager, subresource, field })
        .collect()
}

/// Whether our last apply is what `spec.replicas` stands on.
fn owns_replicas(live: &Value) -> bool {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.is_some_and(|entries| {
        entries.iter().any(|entry| {
            entry["manager"] == json!(FIELD_MANAGER)
                && entry["operation"] == json!("Apply")
                && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
        })
    })
}
