//! The pod templates among the objects, and their containers.

use super::super::Document;
use serde_json::{Map, Value};

/// A pod template and the object that holds it.
pub struct PodTemplate<'a> {
    /// The object.
    pub document: &'a Document,
    /// Path of the template in the object.
    pub path: Vec<String>,
    /// The template: `metadata` and `spec`.
    pub value: &'a Value,
}

/// A container of a pod template.
pub struct Container<'a> {
    /// Its name.
    pub name: &'a str,
    /// Path in the object.
    pub path: Vec<String>,
    /// The container.
    pub value: &'a Value,
    /// Whether it only runs before the others.
    pub init: bool,
}

/// All pod templates.
pub fn templates(documents: &[Document]) -> Vec<PodTemplate<'_>> {
    let template = |document| -> Option<PodTemplate<'_>> {
        let document: &Document = document;
        let path: &[&str] = match document.kind() {
            "Pod" => &[],
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => &["spec", "template"],
            "CronJob" => &["spec", "jobTemplate", "spec", "template"],
            _ => return None,
        };
        let value = path.iter().try_fold(&document.value, |value, key| value.get(key))?;
        value.is_object().then(|| PodTemplate {
            document,
            path: path.iter().map(|step| (*step).to_owned()).collect(),
            value,
        })
    };
    documents.iter().filter_map(template).collect()
}

impl<'a> PodTemplate<'a> {
    /// The labels of its pods.
    pub fn labels(&self) -> Option<&'a Map<String, Value>> {
        self.value.pointer("/metadata/labels")?.as_object()
    }

    /// A path inside of it, from the object's root.
    pub fn at(&self, steps: &[&str]) -> Vec<String> {
        self.path.iter().cloned().chain(steps.iter().map(|step| (*step).to_owned())).collect()
    }

    /// Its containers, those that run first included.
    pub fn containers(&self) -> Vec<Container<'a>> {
        let mut found = Vec::new();
        for (key, init) in [("initContainers", true), ("containers", false)] {
            let list = self.value.get("spec").and_then(|spec| spec.get(key)).and_then(Value::as_array);
            for (index, value) in list.into_iter().flatten().enumerate() {
                let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
                // A sidecar is an init container that goes on running.
                let sidecar = value.get("restartPolicy").and_then(Value::as_str) == Some("Always");
                let path = self.at(&["spec", key, &index.to_string()]);
                found.push(Container { name, path, value, init: init && !sidecar });
            }
        }
        found
    }

    /// Names and numbers of all ports that its containers declare.
    pub fn ports(&self) -> Vec<(&'a str, i64)> {
        let port = |port: &'a Value| {
            let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
            Some((name, port.get("containerPort")?.as_i64()?))
        };
        let containers = self.containers();
        containers
            .iter()
            .flat_map(|container| super::items(container.value, "/ports"))
            .filter_map(port)
            .collect()
    }
}

impl Container<'_> {
    /// A path inside of it, from the object's root.
    pub fn at(&self, steps: &[&str]) -> Vec<String> {
        self.path.iter().cloned().chain(steps.iter().map(|step| (*step).to_owned())).collect()
    }
}

/// Borrows the steps of a path.
pub fn steps(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}
