//! How much room nodes have left: what they give, less what their pods have asked for.

use crate::adapters::kubernetes::request::{self, Selection};
use crate::adapters::kubernetes::seen_pod::SeenPod;
use crate::adapters::kubernetes::send::{Api, Patience};
use crate::domain::observed::{NodeRoom, Taint};
use crate::domain::quantity;
use crate::ports::ClusterError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListOf<T> {
    metadata: ListMeta,
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListMeta {
    r#continue: String,
}

async fn list<T: DeserializeOwned + Default>(
    api: &Api,
    path: &str,
    fields: &str,
) -> Result<Vec<T>, ClusterError> {
    let mut items = Vec::new();
    let mut next = String::new();
    loop {
        let call = request::list(path, Selection { fields, labels: "" }, &next);
        let piece: ListOf<T> = api.read(&call, Patience::quick()).await?;
        items.extend(piece.items.unwrap_or_default());
        request::go_on(&mut next, piece.metadata.r#continue)?;
        if next.is_empty() {
            return Ok(items);
        }
    }
}

/// All nodes. Needs the right to list nodes, and pods of all namespaces.
pub(super) async fn rooms(api: &Api) -> Result<Vec<NodeRoom>, ClusterError> {
    let nodes: Vec<Value> = list(api, "/api/v1/nodes", "").await?;
    let pods: Vec<SeenPod> =
        list(api, "/api/v1/pods", "status.phase!=Succeeded,status.phase!=Failed").await?;
    let mut rooms: BTreeMap<String, NodeRoom> =
        nodes.iter().map(read).map(|room| (room.name.clone(), room)).collect();
    for pod in pods.into_iter().map(SeenPod::into_domain) {
        let Some(room) = rooms.get_mut(&pod.node) else { continue };
        for (resource, amount) in pod.requests {
            *room.requested.entry(resource).or_default() += amount;
        }
        *room.requested.entry("pods".to_owned()).or_default() += 1000;
    }
    Ok(rooms.into_values().collect())
}

fn read(node: &Value) -> NodeRoom {
    let allocatable = node.pointer("/status/allocatable").and_then(Value::as_object);
    let amounts = allocatable.into_iter().flatten();
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = |condition: &&Value| condition["type"] == "Ready" && condition["status"] == "True";
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let taints = node.pointer("/spec/taints").and_then(Value::as_array);
    let cordoned = node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false);
    NodeRoom {
        name: node.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        open: !cordoned && conditions.is_some_and(|all| all.iter().any(|c| ready(&c))),
        allocatable: amounts
            .filter_map(|(resource, amount)| {
                Some((resource.clone(), quantity::thousandths(amount.as_str()?)?))
            })
            .collect(),
        requested: BTreeMap::new(),
        labels: labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
        taints: taints.into_iter().flatten().map(taint).collect(),
    }
}

fn taint(taint: &Value) -> Taint {
    let text = |key: &str| taint[key].as_str().unwrap_or_default().to_owned();
    Taint { key: text("key"), value: text("value"), effect: text("effect") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_tells_what_it_gives_and_whether_it_takes_pods() {
        let node = |unschedulable: bool, ready: &str| {
            read(&json!({
                "metadata": {"name": "n"}, "spec": {"unschedulable": unschedulable},
                "status": {"allocatable": {"cpu": "3920m", "memory": "1Gi"},
                           "conditions": [{"type": "Ready", "status": ready}]},
            }))
        };
        let room = node(false, "True");
        assert!(room.open && room.allocatable["cpu"] == 3920);
        assert!(!node(true, "True").open && !node(false, "Unknown").open);
    }
}
