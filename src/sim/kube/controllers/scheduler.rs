//! The scheduler: pods to nodes that fit, spread over zones and nodes as well as may be.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::object;
use super::volumes;
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;

const ME: Controller = Controller::Scheduler;
const ZONE: &str = "topology.kubernetes.io/zone";

/// How often a pod that fits nowhere is tried again, in milliseconds (a freed place is seen at once).
const RETRY: u64 = 60_000;

/// Resources other than CPU and memory that pods may ask for.
const EXTENDED: [&str; 2] = ["nvidia.com/gpu", "ephemeral-storage"];

/// True if the pod waits for a node.
#[must_use]
pub fn waiting(pod: &Value) -> bool {
    object::text(pod, &["spec", "nodeName"]).is_empty() && object::active_pod(pod)
}

/// What a pod asks for, or a node has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Number of pods.
    pub pods: i64,
    /// Extended resources, in the order of `EXTENDED`.
    pub extended: [i64; 2],
}

impl Resources {
    /// What the containers of a pod request together.
    #[must_use]
    pub fn requested(pod: &Value) -> Self {
        let mut sum = Self { pods: 1, ..Self::default() };
        for container in object::items(pod, &["spec", "containers"]) {
            let requests = object::at(container, &["resources", "requests"]);
            let limits = object::at(container, &["resources", "limits"]);
            let asked =
                |key: &str| requests.get(key).or_else(|| limits.get(key)).cloned().unwrap_or_default();
            sum.cpu += object::cpu_millis(&asked("cpu"));
            sum.memory += object::quantity(&asked("memory"));
            for (place, key) in EXTENDED.iter().enumerate() {
                sum.extended[place] += object::quantity(&asked(key));
            }
        }
        sum
    }

    fn allocatable(node: &Value) -> Self {
        let has = |key: &str| object::at(node, &["status", "allocatable", key]);
        Self {
            cpu: object::cpu_millis(has("cpu")),
            memory: object::quantity(has("memory")),
            pods: object::quantity(has("pods")),
            extended: EXTENDED.map(|key| object::quantity(has(key))),
        }
    }

    fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.memory += other.memory;
        self.pods += other.pods;
        for (mine, more) in self.extended.iter_mut().zip(other.extended) {
            *mine += more;
        }
    }

    /// Why a pod that asks for `wanted` does not fit beside `self` into `room`.
    fn misfit(&self, wanted: &Self, room: &Self) -> Option<&'static str> {
        if self.pods + wanted.pods > room.pods {
            return Some("Too many pods");
        }
        if wanted.cpu > 0 && self.cpu + wanted.cpu > room.cpu {
            return Some("Insufficient cpu");
        }
        if wanted.memory > 0 && self.memory + wanted.memory > room.memory {
            return Some("Insufficient memory");
        }
        let short = (0..EXTENDED.len())
            .find(|i| wanted.extended[*i] > 0 && self.extended[*i] + wanted.extended[*i] > room.extended[*i]);
        short.map(|place| ["Insufficient nvidia.com/gpu", "Insufficient ephemeral-storage"][place])
    }
}

struct Place {
    node: Arc<Stored>,
    used: Resources,
    room: Resources,
    siblings: i64,
}

/// Tries to place one pod.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    let Some(pod) = cx.get(KindId::PODS, namespace, name) else {
        return;
    };
    if !waiting(&pod) {
        return;
    }
    let wanted = Resources::requested(&pod);
    let places = places(cx, &pod);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut fitting: Vec<&Place> = Vec::new();
    for place in &places {
        match reason_against(cx, &pod, place, &wanted) {
            Some(reason) => *reasons.entry(reason).or_default() += 1,
            None => fitting.push(place),
        }
    }
    match best(&places, &fitting) {
        Some(node) => bind(cx, &pod, &node),
        None => refuse(cx, &pod, places.len(), &reasons),
    }
}

fn places(cx: &Context<'_>, pod: &Value) -> Vec<Place> {
    let mut places: Vec<Place> = cx
        .list(KindId::NODES, None)
        .into_iter()
        .map(|node| Place {
            room: Resources::allocatable(&node),
            node,
            used: Resources::default(),
            siblings: 0,
        })
        .collect();
    let owner = object::controller_of(pod).map(|owner| object::text(owner, &["uid"]).to_owned());
    for other in cx.store.iter(KindId::PODS, None) {
        let node = object::text(other, &["spec", "nodeName"]);
        if node.is_empty() || object::ended_pod(other) {
            continue;
        }
        if let Some(place) = places.iter_mut().find(|place| object::name(&place.node) == node) {
            place.used.add(&Resources::requested(other));
            let sibling = owner.as_deref().is_some_and(|uid| object::controlled_by(other, uid));
            place.siblings += i64::from(sibling && !object::deleting(other));
        }
    }
    places
}

fn reason_against(cx: &Context<'_>, pod: &Value, place: &Place, wanted: &Resources) -> Option<String> {
    let node = &place.node;
    if let Some(pinned) = pinned_node(pod)
        && pinned != object::name(node)
    {
        return Some("node(s) didn't match Pod's node affinity/selector".into());
    }
    if let Some(taint) = untolerated_taint(pod, node) {
        return Some(format!("node(s) had untolerated taint {{{taint}}}"));
    }
    let selector = object::at(pod, &["spec", "nodeSelector"]);
    let selected = selector.as_object().is_none_or(serde_json::Map::is_empty)
        || object::selects_plain(selector, object::at(node, &["metadata", "labels"]));
    if !selected || !affinity_holds(pod, node) {
        return Some("node(s) didn't match Pod's node affinity/selector".into());
    }
    if unbound_claim(cx, pod) {
        return Some("pod has unbound immediate PersistentVolumeClaims".into());
    }
    place.used.misfit(wanted, &place.room).map(str::to_owned)
}

/// The node that a `DaemonSet`'s pod is meant for.
#[must_use]
pub fn pinned_node(pod: &Value) -> Option<&str> {
    let terms = object::items(
        pod,
        &[
            "spec",
            "affinity",
            "nodeAffinity",
            "requiredDuringSchedulingIgnoredDuringExecution",
            "nodeSelectorTerms",
        ],
    );
    let field = object::items(terms.first()?, &["matchFields"]).first()?;
    field["values"].get(0)?.as_str()
}

fn affinity_holds(pod: &Value, node: &Value) -> bool {
    let required = ["spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = object::items(object::at(pod, &required), &["nodeSelectorTerms"]);
    let labels = object::at(node, &["metadata", "labels"]);
    terms.is_empty()
        || terms.iter().any(|term| {
            let expressions = json!({"matchExpressions": object::at(term, &["matchExpressions"])});
            object::selects(&expressions, labels)
        })
}

/// The first taint of `node` that keeps `pod` away, as messages show it.
#[must_use]
pub fn untolerated_taint(pod: &Value, node: &Value) -> Option<String> {
    let tolerations = object::items(pod, &["spec", "tolerations"]);
    object::items(node, &["spec", "taints"])
        .iter()
        .filter(|taint| matches!(object::text(taint, &["effect"]), "NoSchedule" | "NoExecute"))
        .find(|taint| {
            !tolerations.iter().any(|toleration| {
                let key = object::text(toleration, &["key"]);
                let effect = object::text(toleration, &["effect"]);
                (key.is_empty() || key == object::text(taint, &["key"]))
                    && (effect.is_empty() || effect == object::text(taint, &["effect"]))
                    && (object::text(toleration, &["operator"]) == "Exists"
                        || object::text(toleration, &["value"]) == object::text(taint, &["value"]))
            })
        })
        .map(|taint| format!("{}: {}", object::text(taint, &["key"]), object::text(taint, &["value"])))
}

fn unbound_claim(cx: &Context<'_>, pod: &Value) -> bool {
    object::items(pod, &["spec", "volumes"]).iter().any(|volume| {
        let claim = object::text(volume, &["persistentVolumeClaim", "claimName"]);
        !claim.is_empty()
            && cx.get(KindId::PERSISTENT_VOLUME_CLAIMS, object::namespace(pod), claim).is_none_or(|claim| {
                object::text(&claim, &["status", "phase"]) != "Bound" && !volumes::waits_for_pod(cx, &claim)
            })
    })
}

/// The fitting node with the fewest siblings in its zone, then on itself, then with the least CPU asked for.
fn best(places: &[Place], fitting: &[&Place]) -> Option<Arc<Stored>> {
    let mut in_zone: BTreeMap<&str, i64> = BTreeMap::new();
    for place in places {
        *in_zone.entry(object::label(&place.node, ZONE)).or_default() += place.siblings;
    }
    fitting
        .iter()
        .min_by_key(|place| {
            let zone = in_zone.get(object::label(&place.node, ZONE)).copied().unwrap_or(0);
            (zone, place.siblings, place.used.cpu, place.used.pods, object::name(&place.node))
        })
        .map(|place| Arc::clone(&place.node))
}

fn bind(cx: &mut Context<'_>, pod: &Value, node: &Value) {
    let stamp = cx.stamp();
    let zone = object::label(node, ZONE).to_owned();
    let node_name = object::name(node).to_owned();
    cx.bind(pod, |pod| {
        pod["spec"]["nodeName"] = node_name.as_str().into();
        if !zone.is_empty() {
            object::set(pod, &["metadata", "labels", ZONE], zone.into());
        }
        let mut conditions = object::items(pod, &["status", "conditions"]).to_vec();
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        conditions.push(json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": stamp,
        }));
        object::set(pod, &["status", "conditions"], conditions.into());
    });
    let message =
        format!("Successfully assigned {}/{} to {node_name}", object::namespace(pod), object::name(pod));
    cx.event(pod, ME, false, "Scheduled", &message);
}

fn refuse(cx: &mut Context<'_>, pod: &Value, nodes: usize, reasons: &BTreeMap<String, usize>) {
    let mut parts: Vec<String> = reasons
        .iter()
        .map(
            |(reason, count)| {
                if reason.starts_with("pod has") { reason.clone() } else { format!("{count} {reason}") }
            },
        )
        .collect();
    parts.sort();
    let mut message = format!("0/{nodes} nodes are available");
    if parts.is_empty() {
        message = "no nodes available to schedule pods".into();
    } else {
        message = format!(
            "{message}: {}. no new claims to deallocate, preemption: 0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling.",
            parts.join(", ")
        );
    }
    let stamp = cx.stamp();
    cx.modify_status(KindId::PODS, pod, ME, |pod| {
        let condition = json!({
            "type": "PodScheduled", "status": "False", "lastProbeTime": null, "lastTransitionTime": stamp,
            "reason": "Unschedulable", "message": message,
        });
        let mut conditions = object::items(pod, &["status", "conditions"]).to_vec();
        super::pod_control::set_condition(&mut conditions, condition);
        object::set(pod, &["status", "phase"], "Pending".into());
        object::set(pod, &["status", "conditions"], conditions.into());
    });
    cx.event(pod, ME, true, "FailedScheduling", &message);
    cx.again(ME, pod, RETRY);
}
