//! What a controller may touch: the objects of its cluster, the time, randomness, events and its own work queue.
//!
//! Every controller reads and writes through this one door, so the store can change without them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Controller;
use super::events::Recorder;
use super::object;
use crate::sim::clock::seconds_text;
use crate::sim::kube::errors::ApiStatus;
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;
use crate::sim::kube::store::{DeleteOptions, Key, Propagation, Store};
use crate::sim::queue::Millis;
use crate::sim::random::Random;

/// One object that one controller has to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Work {
    /// Who looks.
    pub controller: Controller,
    /// The namespace of the object, empty for what has none.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
}

impl Work {
    fn on(controller: Controller, object: &Value) -> Self {
        let (namespace, name) = (object::namespace(object).to_owned(), object::name(object).to_owned());
        Self { controller, namespace, name }
    }
}

/// What of a cluster's behaviour can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether a default storage class provisions volumes.
    pub default_storage_class: bool,
    /// Whether the resource metrics API answers (without it an HPA cannot see CPU).
    pub resource_metrics: bool,
    /// From a change to the controller's look at it, in milliseconds.
    pub controller_lag: (Millis, Millis),
    /// From a pod's change to the `EndpointSlice`, in milliseconds.
    pub endpoint_lag: (Millis, Millis),
    /// How often an HPA looks, in milliseconds.
    pub hpa_period: Millis,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_storage_class: true,
            resource_metrics: true,
            controller_lag: (3, 9),
            endpoint_lag: (20, 120),
            hpa_period: 15_000,
        }
    }
}

/// Which objects depend on which owner, by the owner's UID.
#[derive(Clone, Debug, Default)]
pub struct Index {
    dependents: BTreeMap<String, BTreeSet<Key>>,
    alive: BTreeMap<String, Key>,
}

impl Index {
    /// Notes what a change of one object does to the index.
    pub fn note(&mut self, key: &Key, old: Option<&Value>, new: Option<&Value>) {
        for owner in old.map_or(&[][..], |o| object::items(o, &["metadata", "ownerReferences"])) {
            if let Some(set) = self.dependents.get_mut(object::text(owner, &["uid"])) {
                set.remove(key);
            }
        }
        for owner in new.map_or(&[][..], |o| object::items(o, &["metadata", "ownerReferences"])) {
            let uid = object::text(owner, &["uid"]);
            if let Some(set) = self.dependents.get_mut(uid) {
                set.insert(key.clone());
            } else {
                self.dependents.insert(uid.to_owned(), BTreeSet::from([key.clone()]));
            }
        }
        match (old, new) {
            (None, Some(new)) => {
                self.alive.insert(object::uid(new).to_owned(), key.clone());
            }
            (Some(old), None) => {
                self.alive.remove(object::uid(old));
            }
            _ => {}
        }
    }

    /// The keys of what names `uid` as an owner.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = &Key> {
        self.dependents.get(uid).into_iter().flatten()
    }

    /// True while the object with `uid` exists.
    #[must_use]
    pub fn exists(&self, uid: &str) -> bool {
        self.alive.contains_key(uid)
    }

    /// The key of the object with `uid`.
    #[must_use]
    pub fn key_of(&self, uid: &str) -> Option<&Key> {
        self.alive.get(uid)
    }
}

/// CPU use of a pod by its UID, in thousandths of a core, as the resource metrics API would tell it.
pub type CpuUse<'a> = &'a dyn Fn(&str) -> i64;

/// A controller's door to its cluster.
pub struct Context<'a> {
    /// The objects.
    pub store: &'a mut Store,
    /// Who owns what.
    pub index: &'a Index,
    /// Virtual time of day.
    pub now: Timestamp,
    /// Virtual milliseconds since the world began.
    pub at: Millis,
    /// The cluster's randomness.
    pub random: &'a mut Random,
    /// Settings of the cluster.
    pub settings: &'a Settings,
    /// Events are told here.
    pub recorder: &'a mut Recorder,
    /// Looks to take later.
    pub later: &'a mut Vec<(Millis, Work)>,
    /// How often in a row a look failed, for the back-off.
    pub failures: &'a mut BTreeMap<Work, u32>,
    /// CPU use of the running pods.
    pub cpu: CpuUse<'a>,
    /// What autoscalers advised when, by UID.
    pub memory: &'a mut BTreeMap<String, Vec<(Millis, i64)>>,
    /// When periodic looks are due, by controller and UID.
    pub due: &'a mut BTreeMap<(Controller, String), Millis>,
}

impl Context<'_> {
    /// The object of `kind`, if it is there.
    #[must_use]
    pub fn get(&self, kind: KindId, namespace: &str, name: &str) -> Option<Arc<Stored>> {
        self.store.get(&Key::new(kind, namespace, name))
    }

    /// All objects of `kind` in `namespace`, or everywhere, in the order of their keys.
    #[must_use]
    pub fn list(&self, kind: KindId, namespace: Option<&str>) -> Vec<Arc<Stored>> {
        self.store.list(kind, namespace)
    }

    /// The objects of `kind` that the object with `uid` controls, in the order of their keys.
    #[must_use]
    pub fn controlled(&self, kind: KindId, uid: &str) -> Vec<Arc<Stored>> {
        self.index
            .dependents(uid)
            .filter(|key| key.kind == kind)
            .filter_map(|key| self.store.get(key))
            .filter(|object| object::controlled_by(object, uid))
            .collect()
    }

    /// Creates `object`; the API's answer if it is refused.
    pub fn create(&mut self, kind: KindId, object: Value, who: Controller) -> Result<Arc<Stored>, ApiStatus> {
        self.store.create(self.now, who.user(), kind, object)
    }

    /// Gives a pod its node: spec and status in one write that is no new generation.
    pub fn bind(&mut self, pod: &Value, change: impl FnOnce(&mut Value)) {
        let key = Key::new(KindId::PODS, object::namespace(pod), object::name(pod));
        if let Some(known) = self.store.get(&key) {
            let mut bound = (*known).clone();
            change(bound.value_mut());
            self.store.put(key, bound);
        }
    }

    /// Changes an object in place, everything but its status; nothing is written if nothing changed: most looks of a
    /// controller find that there is nothing to write, and should cost no more than a comparison.
    pub fn modify(
        &mut self,
        kind: KindId,
        object: &Value,
        who: Controller,
        change: impl FnOnce(&mut Value),
    ) -> Option<Arc<Stored>> {
        let known = self.store.lookup(kind, object::namespace(object), object::name(object))?;
        let mut changed = known.value().clone();
        change(&mut changed);
        if changed == *known.value() {
            return Some(Arc::clone(known));
        }
        self.store.update(self.now, who.user(), kind, changed).ok()
    }

    /// Changes the status (and, as controllers do, the annotations) of an object; nothing is written if nothing
    /// changed. `change` does not see the spec.
    pub fn modify_status(
        &mut self,
        kind: KindId,
        object: &Value,
        who: Controller,
        change: impl FnOnce(&mut Value),
    ) -> Option<Arc<Stored>> {
        let known = self.store.lookup(kind, object::namespace(object), object::name(object))?;
        let mut part = status_part(known);
        change(&mut part);
        if holds(known, &part) {
            return Some(Arc::clone(known));
        }
        let changed = with_part(known, part);
        self.store.update_status(self.now, who.user(), kind, changed).ok()
    }

    /// Deletes an object as its kind is deleted (a pod with its grace period).
    pub fn delete(&mut self, kind: KindId, object: &Value, who: Controller) -> bool {
        let key = Key::new(kind, object::namespace(object), object::name(object));
        self.store.delete(self.now, who.user(), &key, &DeleteOptions::default()).is_ok()
    }

    /// Deletes an object, and then what it owns.
    pub fn delete_background(&mut self, kind: KindId, object: &Value, who: Controller) -> bool {
        let key = Key::new(kind, object::namespace(object), object::name(object));
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        self.store.delete(self.now, who.user(), &key, &options).is_ok()
    }

    /// Takes a pod from the API without asking its node.
    pub fn remove_pod(&mut self, pod: &Value) {
        let key = Key::new(KindId::PODS, object::namespace(pod), object::name(pod));
        let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
        // gone already if its node came first
        let _ = self.store.delete(self.now, Controller::GarbageCollector.user(), &key, &options);
    }

    /// True if the periodic look of `who` at `object` is due; the next is due a `period` (milliseconds) later.
    pub fn due(&mut self, who: Controller, object: &Value, period: Millis) -> bool {
        let due = self.due.entry((who, object::uid(object).to_owned())).or_insert(self.at);
        if *due > self.at {
            return false;
        }
        *due = self.at + period;
        true
    }

    /// Tells an event about `object`.
    pub fn event(&mut self, about: &Value, who: Controller, warning: bool, reason: &str, message: &str) {
        self.recorder.tell(
            self.store,
            self.now,
            about,
            who.component(),
            warning,
            reason,
            message,
            self.random,
        );
    }

    /// Looks again in `after` milliseconds.
    pub fn again(&mut self, who: Controller, object: &Value, after: Millis) {
        self.later.push((self.at + after, Work::on(who, object)));
    }

    /// Looks again after a back-off that doubles from `first` milliseconds with every failure in a row.
    pub fn back_off(&mut self, who: Controller, object: &Value, first: Millis) {
        let failures = self.failures.entry(Work::on(who, object)).or_insert(0);
        let wait = first << (*failures).min(17);
        *failures += 1;
        self.again(who, object, wait.min(1_000_000));
    }

    /// The look succeeded: the next back-off begins anew.
    pub fn succeeded(&mut self, who: Controller, object: &Value) {
        if self.failures.is_empty() {
            return;
        }
        self.failures.remove(&Work::on(who, object));
    }

    /// The time of day as objects carry it, in whole seconds.
    #[must_use]
    pub fn stamp(&self) -> String {
        seconds_text(self.now)
    }

    /// Whole seconds since the time that stands in an object; `None` if none stands there.
    #[must_use]
    pub fn seconds_since(&self, stamp: &str) -> Option<f64> {
        let then: Timestamp = stamp.parse().ok()?;
        Some(self.now.duration_since(then).as_secs_f64())
    }

    /// A pod of `template` for `owner`, not created yet.
    #[must_use]
    pub fn pod_from(
        &mut self,
        owner: &Value,
        owner_kind: (&str, &str),
        template: &Value,
        pod_name: &str,
    ) -> Value {
        let mut metadata = json!({
            "name": pod_name,
            "namespace": object::namespace(owner),
        });
        for part in ["labels", "annotations", "finalizers"] {
            let found = object::at(template, &["metadata", part]);
            if !found.is_null() {
                metadata[part] = found.clone();
            }
        }
        metadata["ownerReferences"] = json!([object::owner_reference(owner, owner_kind.0, owner_kind.1)]);
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": object::at(template, &["spec"]).clone(),
        })
    }
}

/// What a status update may change: the status and the metadata.
fn status_part(object: &Value) -> Value {
    let fields = ["metadata", "status"].into_iter();
    let fields = fields.filter_map(|name| Some((name.to_owned(), object.get(name)?.clone())));
    Value::Object(fields.collect())
}

/// True if `object` says what `part` says.
fn holds(object: &Value, part: &Value) -> bool {
    ["metadata", "status"].into_iter().all(|name| object.get(name) == part.get(name))
}

/// A copy of `object` with `part` in place of what it is about.
fn with_part(object: &Value, mut part: Value) -> Value {
    let mut whole = Map::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let value = match part.get_mut(name) {
            Some(new) => new.take(),
            None => value.clone(),
        };
        whole.insert(name.clone(), value);
    }
    if let Some(status) = part.get_mut("status").filter(|status| !status.is_null()) {
        whole.insert("status".to_owned(), status.take());
    }
    whole.into()
}
