//! What faults do to a cluster at the moment at which they begin.

use serde_json::json;

use super::active::{ActiveFaults, revision_number};
use super::cluster::{Cluster, Happening, Moment, lock};
use super::faults::{Fault, FaultKind};
use super::kube::controllers::object;
use super::kube::kinds::KindId;
use super::kube::store::{DeleteOptions, Key, Stored};
use super::pods::life::Step;
use super::pods::{PodIndex, Stage};
use super::queue::Millis;
use crate::domain::object::{LABEL_COMPONENT, LABEL_REVISION};
use std::sync::Arc;

/// Within so many milliseconds the processes of a version crash one after the other.
const CRASH_SPREAD: (Millis, Millis) = (100, 2_500);

/// Who steals Leases.
const SOMEBODY: &str = "somebody-else/1";

/// Who sets quotas.
const PLATFORM: &str = "platform-team";

/// The field manager of other operators.
pub const OTHERS: &str = "kubectl-edit";

impl Cluster {
    /// A fault begins.
    pub fn strike(
        &mut self,
        fault: &Fault,
        moment: Moment,
        faults: &ActiveFaults,
        follow: &mut Vec<(Millis, Happening)>,
    ) {
        match fault.kind {
            FaultKind::CrashLoop | FaultKind::PodCrashAfter | FaultKind::Unready => {
                self.strike_running(fault, moment, faults, follow);
            }
            _ if !fault.hits_cluster(&self.name) => {}
            FaultKind::NodeLoss => {
                self.lose_node(moment, follow);
            }
            FaultKind::Gone => {
                let mut store = lock(&self.store);
                store.compact();
                store.drop_watches();
            }
            FaultKind::WatchDrop | FaultKind::Partition => lock(&self.store).drop_watches(),
            FaultKind::RouterStuck | FaultKind::RouterLate => self.hinder(fault, moment, follow),
            FaultKind::Quota => self.fill_quotas(moment, 0),
            FaultKind::QuotaShrink => self.fill_quotas(moment, fault.amount.max(0.0) as usize),
            FaultKind::OperatorScales | FaultKind::OperatorSetsImage | FaultKind::OperatorEditsService => {
                self.meddle(fault, moment);
            }
            FaultKind::LeaseStolen => self.steal_leases(moment),
            _ => {}
        }
    }

    /// Processes that run already feel what begins now.
    fn strike_running(
        &mut self,
        fault: &Fault,
        moment: Moment,
        faults: &ActiveFaults,
        follow: &mut Vec<(Millis, Happening)>,
    ) {
        let effects = faults.effects(self, moment.at);
        let hit: Vec<PodIndex> = self
            .kubelet
            .present()
            .filter(|index| {
                let run = &self.kubelet.runs[*index];
                run.stage == Stage::Running && !run.stopping && effects.hits(fault, run)
            })
            .collect();
        for index in hit {
            let wait = self.spread(CRASH_SPREAD);
            let run = &self.kubelet.runs[index];
            let (at, step) = match fault.kind {
                FaultKind::PodCrashAfter => {
                    let due = run.started_at + (fault.amount * 1000.0) as Millis;
                    (due.max(moment.at + wait), Step::Exit(1))
                }
                FaultKind::Unready => (moment.at + wait, Step::Unready),
                _ => (moment.at + wait, Step::Exit(1)),
            };
            follow.push((at, Happening::Pod { index, epoch: run.epoch, step }));
        }
    }

    /// Every namespace that runs pods may run no more than it does now, or so many fewer.
    fn fill_quotas(&mut self, moment: Moment, fewer: usize) {
        let mut store = lock(&self.store);
        let mut namespaces: Vec<(String, usize)> = Vec::new();
        for pod in store.iter(KindId::PODS, None) {
            match namespaces.iter_mut().find(|(name, _)| name == object::namespace(pod)) {
                Some((_, count)) => *count += 1,
                None => namespaces.push((object::namespace(pod).to_owned(), 1)),
            }
        }
        for (namespace, count) in namespaces {
            let quota = json!({
                "apiVersion": "v1", "kind": "ResourceQuota",
                "metadata": {"name": "platform", "namespace": namespace},
                "spec": {"hard": {"pods": count.saturating_sub(fewer).to_string()}},
            });
            // a namespace that goes away takes none
            let key = Key::new(KindId::RESOURCE_QUOTAS, &namespace, "platform");
            let spec = quota["spec"].clone();
            if store.create(moment.now, PLATFORM, KindId::RESOURCE_QUOTAS, quota).is_err() {
                let _ = store.modify(moment.now, PLATFORM, &key, |quota| quota["spec"] = spec);
            }
        }
    }

    /// Somebody else holds every Lease of deployctl.
    fn steal_leases(&mut self, moment: Moment) {
        let mut store = lock(&self.store);
        let keys: Vec<Key> = store
            .iter(KindId::LEASES, None)
            .filter(|lease| object::namespace(lease) != "kube-node-lease")
            .map(|lease| Key::new(KindId::LEASES, object::namespace(lease), object::name(lease)))
            .collect();
        let stamp = super::clock::micros_text(moment.now);
        for key in keys {
            let _ = store.modify(moment.now, "deployctl", &key, |lease| {
                let transitions = object::count(lease, &["spec", "leaseTransitions"]) + 1;
                lease["spec"]["holderIdentity"] = SOMEBODY.into();
                lease["spec"]["leaseTransitions"] = transitions.into();
                lease["spec"]["acquireTime"] = stamp.as_str().into();
                lease["spec"]["renewTime"] = stamp.as_str().into();
            });
        }
    }

    /// What kept the cluster from working is over: its quotas are lifted, its routers follow again.
    pub fn heal(&mut self, moment: Moment, follow: &mut Vec<(Millis, Happening)>) {
        self.hindrance = super::routers::Hindrance::None;
        follow.push((moment.at, Happening::Route));
        let mut store = lock(&self.store);
        let quotas: Vec<Key> = store
            .iter(KindId::RESOURCE_QUOTAS, None)
            .filter(|quota| object::name(quota) == "platform")
            .map(|quota| Key::new(KindId::RESOURCE_QUOTAS, object::namespace(quota), "platform"))
            .collect();
        for key in quotas {
            let _ = store.delete(moment.now, PLATFORM, &key, &DeleteOptions::default());
        }
        let stolen: Vec<Key> = store
            .iter(KindId::LEASES, None)
            .filter(|lease| lease["spec"]["holderIdentity"] == SOMEBODY)
            .map(|lease| Key::new(KindId::LEASES, object::namespace(lease), object::name(lease)))
            .collect();
        for key in stolen {
            let _ = store
                .modify(moment.now, "deployctl", &key, |lease| lease["spec"]["holderIdentity"] = "".into());
        }
    }

    /// Another operator changes an object of the application by hand.
    fn meddle(&mut self, fault: &Fault, moment: Moment) {
        let kind = if fault.kind == FaultKind::OperatorEditsService {
            KindId::SERVICES
        } else {
            KindId::DEPLOYMENTS
        };
        let keys: Vec<Key> = {
            let store = lock(&self.store);
            let ours = |object: &&Arc<Stored>| {
                let component = object::label(object, LABEL_COMPONENT);
                !component.is_empty() && fault.hits_component(&self.name, component)
            };
            let objects = store.iter(kind, None).filter(ours);
            objects.map(|found| Key::new(kind, object::namespace(found), object::name(found))).collect()
        };
        let place = self.draw_below(keys.len());
        let Some(key) = keys.get(place) else { return };
        let done = lock(&self.store).modify(moment.now, OTHERS, key, |object| match fault.kind {
            FaultKind::OperatorScales => object["spec"]["replicas"] = (fault.amount.max(0.0) as u64).into(),
            FaultKind::OperatorSetsImage => {
                let image = &mut object["spec"]["template"]["spec"]["containers"][0]["image"];
                let name =
                    image.as_str().unwrap_or_default().rsplit_once(':').map(|(name, _)| name.to_owned());
                *image = format!("{}:hotfix", name.unwrap_or_default()).into();
            }
            _ => {
                if let Some(selector) = object["spec"]["selector"].as_object_mut() {
                    selector.remove(LABEL_REVISION);
                }
            }
        });
        if done.is_ok() {
            let kind = if key.kind == KindId::SERVICES { "Service" } else { "Deployment" };
            self.meddled.insert((kind, key.namespace.clone(), key.name.clone()));
        }
    }

    /// The newest revision of each component is called stable.
    pub fn mark_stable(&mut self) {
        for index in self.kubelet.present().collect::<Vec<_>>() {
            let run = &self.kubelet.runs[index];
            let revision = revision_number(&run.revision);
            let known = self.baseline.entry(run.component.clone()).or_insert(revision);
            *known = (*known).max(revision);
        }
    }
}
