//! Selectors that must match pods.

use super::super::Document;
use super::pods::PodTemplate;
use super::{World, namespace_of, text};
use crate::config::codes;
use crate::domain::diagnostic::{Diagnostic, Severity};
use serde_json::{Map, Value};

pub(super) fn check(world: &mut World<'_>) {
    for index in 0..world.documents.len() {
        let document = &world.documents[index];
        match document.kind() {
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => own_pods(world, document),
            "Service" => service(world, document),
            "PodDisruptionBudget" => {
                matches_some(
                    world,
                    document,
                    &["spec", "selector"],
                    Severity::Error,
                    "no drain waits for it",
                );
            }
            "NetworkPolicy" => matches_some(
                world,
                document,
                &["spec", "podSelector"],
                Severity::Warning,
                "it protects nothing of this application",
            ),
            _ => {}
        }
    }
}

/// A workload whose selector misses its own pods is refused by the API server.
fn own_pods(world: &mut World<'_>, document: &Document) {
    let Some(selector) = document.value.pointer("/spec/selector") else { return };
    let none = Map::new();
    let labels = document.value.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
    if selects(selector, labels.unwrap_or(&none)) {
        return;
    }
    let mut path = vec!["spec", "selector"];
    let wanted = selector.get("matchLabels").and_then(Value::as_object);
    let differs =
        wanted.into_iter().flatten().find(|(key, value)| labels.and_then(|l| l.get(*key)) != Some(*value));
    if let Some((key, _)) = differs {
        path.extend(["matchLabels", key.as_str()]);
    }
    let reference = document.reference();
    let message = format!("{reference} selects other pods than its own");
    let mut diagnostic = document
        .error(codes::OBJECT_SELECTOR, &path, message)
        .why("the selector must match the labels of `spec.template`, or the API server refuses it");
    if let Some((key, value)) = differs {
        let value = value.as_str().unwrap_or_default();
        diagnostic.help = Some(format!("add the label `{key}: {value}` to `spec.template.metadata.labels`"));
    } else if wanted.is_none_or(Map::is_empty) {
        diagnostic.help = Some("add `matchLabels` with a label of the pod template".to_owned());
    }
    let place = document.place(&["spec", "template", "metadata", "labels"]);
    world.out.push(diagnostic.related(place, "the labels of its pods"));
}

fn service(world: &mut World<'_>, document: &Document) {
    let selector = document.value.pointer("/spec/selector").and_then(Value::as_object);
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else { return };
    if text(&document.value, "/spec/type") == "ExternalName" {
        return;
    }
    let wrapped = serde_json::json!({ "matchLabels": selector });
    let matched: Vec<usize> = matching(world, document, &wrapped);
    if matched.is_empty() && elsewhere(world, document, &wrapped) {
        return;
    }
    if matched.is_empty() {
        let message = format!("{} selects no pod", document.reference());
        let diagnostic = document
            .error(codes::OBJECT_SELECTOR, &["spec", "selector"], message)
            .why("it would have no endpoints: every request to it would fail")
            .help(label_help(world, document));
        world.out.push(diagnostic);
        return;
    }
    if selector.contains_key("version") {
        let message = format!("{} selects one version only", document.reference());
        let diagnostic = document
            .error(codes::OBJECT_SELECTOR, &["spec", "selector", "version"], message)
            .why("during a rollout pods of two versions serve; the old ones would lose their traffic at once")
            .help("remove `version` from the selector");
        world.out.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
    }
    ports(world, document, &matched);
}

/// A Service never reaches pods of another namespace, whatever they are labelled: said as such where pods of one would
/// match.
fn elsewhere(world: &mut World<'_>, document: &Document, selector: &Value) -> bool {
    let fits = |pod: &&PodTemplate<'_>| pod.labels().is_some_and(|labels| selects(selector, labels));
    let Some(pod) = world.pods.iter().find(fits) else { return false };
    let (own, other) = (namespace_of(document), namespace_of(pod.document));
    let message = format!(
        "{} in namespace `{own}` selects pods that exist only in namespace `{other}`",
        document.reference()
    );
    let place = pod.document.place(&path_of(pod));
    let diagnostic = document
        .error(codes::OBJECT_SELECTOR, &["spec", "selector"], message)
        .why("a Service leads to pods of its own namespace: it would have no endpoints, and every request to it would fail")
        .help(format!(
            "keep the Service beside its pods in `{other}`, and let the route lead there; for blue and green in two namespaces write `strategy: {{blue_green: {{green_namespace: {other}, switch: gateway}}}}` (or `istio`), which does that; or put the pods into `{own}`"
        ))
        .related(place, "the labels of those pods");
    world.out.push(diagnostic);
    true
}

/// The ports that a Service sends to must be open on its pods.
fn ports(world: &mut World<'_>, document: &Document, matched: &[usize]) {
    let open: Vec<(&str, i64)> = matched.iter().flat_map(|index| world.pods[*index].ports()).collect();
    for (index, port) in super::items(&document.value, "/spec/ports").iter().enumerate() {
        let index = index.to_string();
        let (key, target) = match port.get("targetPort") {
            Some(target) => ("targetPort", target),
            None => ("port", port.get("port").unwrap_or(&Value::Null)),
        };
        let path = ["spec", "ports", &index, key];
        let missing = match target {
            Value::String(name) => !open.iter().any(|(known, _)| known == name),
            Value::Number(number) => {
                !open.is_empty() && !open.iter().any(|(_, n)| Some(*n) == number.as_i64())
            }
            _ => false,
        };
        if !missing {
            continue;
        }
        let named = target.is_string();
        let shown = target.as_str().map_or_else(|| target.to_string(), str::to_owned);
        let message = format!("the pods of {} have no port `{shown}`", document.reference());
        let known: Vec<String> = open
            .iter()
            .map(|(name, n)| if name.is_empty() { n.to_string() } else { format!("{name} ({n})") })
            .collect();
        let help = match open.first() {
            Some((name, _)) if !name.is_empty() && open.len() == 1 => format!("write `targetPort: {name}`"),
            Some(_) => format!("ports are: {}", known.join(", ")),
            None => "declare it under `ports` of the container".to_owned(),
        };
        let diagnostic = document.error(codes::OBJECT_REFERENCE, &path, message).help(help);
        let severity = if named { Severity::Error } else { Severity::Warning };
        world.out.push(Diagnostic { severity, ..diagnostic });
    }
}

fn matches_some(world: &mut World<'_>, document: &Document, path: &[&str], severity: Severity, why: &str) {
    let pointer = format!("/{}", path.join("/"));
    let Some(selector) = document.value.pointer(&pointer) else { return };
    if is_empty(selector) || !matching(world, document, selector).is_empty() {
        return;
    }
    let message = format!("{} selects no pod", document.reference());
    let help = label_help(world, document);
    let diagnostic = document.error(codes::OBJECT_SELECTOR, path, message).why(why).help(help);
    world.out.push(Diagnostic { severity, ..diagnostic });
}

/// The labels that pods of the same component carry in their manifests.
fn label_help(world: &World<'_>, document: &Document) -> String {
    let of_component = |pod: &&PodTemplate<'_>| pod.document.component == document.component;
    let pods = world.pods.iter().find(of_component).or_else(|| world.pods.first());
    let labels = pods.and_then(|pod| pod.document.tree.find(&path_of(pod))).map(|labels| {
        labels
            .entries()
            .iter()
            .filter(|entry| entry.key != "version")
            .map(|entry| format!("`{}: {}`", entry.key, entry.value.text))
            .collect::<Vec<_>>()
    });
    match labels.filter(|labels| !labels.is_empty()) {
        Some(labels) => format!("the pods carry {}", labels.join(", ")),
        None => "give the pod template a label and select it".to_owned(),
    }
}

fn path_of<'p>(pod: &'p PodTemplate<'_>) -> Vec<&'p str> {
    pod.path.iter().map(String::as_str).chain(["metadata", "labels"]).collect()
}

fn matching(world: &World<'_>, document: &Document, selector: &Value) -> Vec<usize> {
    let fits = |pod: &PodTemplate<'_>| {
        namespace_of(pod.document) == namespace_of(document)
            && pod.labels().is_some_and(|labels| selects(selector, labels))
    };
    world.pods.iter().enumerate().filter(|(_, pod)| fits(pod)).map(|(index, _)| index).collect()
}

fn is_empty(selector: &Value) -> bool {
    let none = |key: &str| match selector.get(key) {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => true,
    };
    none("matchLabels") && none("matchExpressions")
}

/// Whether a label selector matches; an empty one of a workload matches nothing that was meant.
fn selects(selector: &Value, labels: &Map<String, Value>) -> bool {
    if is_empty(selector) {
        return false;
    }
    let wanted = selector.get("matchLabels").and_then(Value::as_object);
    let equal = wanted.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let expressions = super::items(selector, "/matchExpressions");
    equal && expressions.iter().all(|expression| matches_expression(expression, labels))
}

fn matches_expression(expression: &Value, labels: &Map<String, Value>) -> bool {
    let label = labels.get(text(expression, "/key"));
    let listed = label.is_some_and(|label| super::items(expression, "/values").contains(label));
    match text(expression, "/operator") {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        _ => true,
    }
}
