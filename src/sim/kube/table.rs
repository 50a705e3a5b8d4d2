//! Tables: the columns that `kubectl get` prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::kinds::Kind;
use super::selectors::LabelSelector;
use super::view::partial;

const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some \
    resources may allow a client to request the generation of an appropriate name automatically. Name is primarily \
    intended for creation idempotence and configuration definition. Cannot be updated. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is \
    not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It \
    is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A column: name, description, priority, and the cell of an object.
struct Column(&'static str, &'static str, u8, fn(&Value, Timestamp) -> Value);

fn name(object: &Value, _: Timestamp) -> Value {
    object["metadata"]["name"].clone()
}

fn age(object: &Value, now: Timestamp) -> Value {
    let created =
        object["metadata"]["creationTimestamp"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    created.map_or_else(|| "<unknown>".into(), |created| duration((now - created).get_seconds()).into())
}

/// A duration as kubectl prints it: two units at most, one where the second says little.
fn duration(seconds: i64) -> String {
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        i64::MIN..120 => format!("{}s", seconds.max(0)),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

fn each(object: &Value, field: &str) -> Value {
    let containers = object["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
    let values: Vec<&str> = containers.filter_map(|container| container[field].as_str()).collect();
    values.join(",").into()
}

const DEPLOYMENT: &[Column] = &[
    Column("Name", NAME, 0, name),
    Column("Ready", "Number of the pod with ready state", 0, |object, _| {
        let ready = object["status"]["readyReplicas"].as_i64().unwrap_or(0);
        format!("{ready}/{}", object["spec"]["replicas"].as_i64().unwrap_or(0)).into()
    }),
    Column(
        "Up-to-date",
        "Total number of non-terminating pods targeted by this deployment that have the desired template spec.",
        0,
        |object, _| object["status"]["updatedReplicas"].as_i64().unwrap_or(0).into(),
    ),
    Column(
        "Available",
        "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this \
         deployment.",
        0,
        |object, _| object["status"]["availableReplicas"].as_i64().unwrap_or(0).into(),
    ),
    Column("Age", AGE, 0, age),
    Column("Containers", "Names of each container in the template.", 1, |object, _| each(object, "name")),
    Column("Images", "Images referenced by each container in the template.", 1, |object, _| {
        each(object, "image")
    }),
    Column(
        "Selector",
        "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by \
         this deployment. It must match the pod template's labels.",
        1,
        |object, _| LabelSelector::of_object(&object["spec"]["selector"]).unwrap_or_default().text().into(),
    ),
];

const POD: &[Column] = &[
    Column("Name", NAME, 0, name),
    Column("Ready", "The aggregate readiness state of this pod for accepting traffic.", 0, |object, _| {
        let statuses =
            object["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ready = statuses.iter().filter(|status| status["ready"] == true).count();
        format!("{ready}/{}", object["spec"]["containers"].as_array().map_or(0, Vec::len)).into()
    }),
    Column("Status", "The aggregate status of the containers in this pod.", 0, |object, _| {
        if !object["metadata"]["deletionTimestamp"].is_null() {
            return "Terminating".into();
        }
        let mut statuses = object["status"]["containerStatuses"].as_array().into_iter().flatten();
        let waiting = statuses.find_map(|status| status["state"]["waiting"]["reason"].as_str());
        waiting.or(object["status"]["phase"].as_str()).unwrap_or("Unknown").into()
    }),
    Column(
        "Restarts",
        "The number of times the containers in this pod have been restarted.",
        0,
        |object, _| {
            let statuses = object["status"]["containerStatuses"].as_array().into_iter().flatten();
            let restarts: i64 = statuses.filter_map(|status| status["restartCount"].as_i64()).sum();
            restarts.to_string().into()
        },
    ),
    Column("Age", AGE, 0, age),
];

const OTHER: &[Column] = &[Column("Name", NAME, 0, name), Column("Age", AGE, 0, age)];

/// Objects as a table.
#[must_use]
pub fn table(kind: &Kind, metadata: &Value, objects: &[&Value], now: Timestamp) -> Value {
    let columns = match (kind.group.as_str(), kind.plural.as_str()) {
        ("apps", "deployments") => DEPLOYMENT,
        ("", "pods") => POD,
        _ => OTHER,
    };
    let definitions: Vec<Value> = columns
        .iter()
        .map(|Column(name, description, priority, _)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": "string", "format": format, "description": description,
                "priority": priority})
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|column| (column.3)(object, now)).collect();
            json!({"cells": cells, "object": partial(object["metadata"].clone())})
        })
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows})
}
