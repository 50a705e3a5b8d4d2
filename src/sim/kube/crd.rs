//! Custom resource definitions: what one that was created makes the cluster serve.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::kinds::Kind;
use super::shape::Shape;
use super::store::{Key, Store};
use super::write::{Ownership, Writer, time};

impl Store {
    /// Serves what a CRD defines and says so in its status, as the API server's own controllers do.
    pub(crate) fn establish(&mut self, now: Timestamp, key: &Key) {
        let Some(crd) = self.get(key) else { return };
        let spec = &crd["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let Some(stored) = versions.iter().find(|version| version["storage"] == true) else { return };
        let kind = Kind {
            group: text(&spec["group"]),
            version: text(&stored["name"]),
            kind: text(&spec["names"]["kind"]),
            plural: text(&spec["names"]["plural"]),
            namespaced: spec["scope"] == "Namespaced",
            custom: true,
            status: stored["subresources"]["status"].is_object(),
            scale: stored["subresources"]["scale"].is_object(),
            generation: true,
        };
        let id = self.serve(kind, Shape::of_crd(&stored["schema"]["openAPIV3Schema"]));
        for version in versions.iter().filter(|version| version["served"] == true) {
            self.serve_alias(id, version["name"].as_str().unwrap_or_default());
        }
        if crd["status"]["acceptedNames"]["kind"] == spec["names"]["kind"] {
            return;
        }
        let mut object = crd.value().clone();
        object["status"]["acceptedNames"] = spec["names"].clone();
        let at = time(now);
        object["status"]["conditions"] = json!([
            {"type": "NamesAccepted", "status": "True", "lastTransitionTime": at, "reason": "NoConflicts",
             "message": "no conflicts found"},
            {"type": "Established", "status": "True", "lastTransitionTime": at, "reason": "InitialNamesAccepted",
             "message": "the initial names have been accepted"}]);
        let writer = Writer { now, manager: "kube-apiserver", subresource: "status", dry_run: false };
        self.update_as(&writer, key, object, Ownership::Update)
            .expect("the status of a CRD that was read just now can be written");
    }

    /// Ends what a deleted CRD defined: its objects and its paths.
    pub(crate) fn abolish(&mut self, crd: &Value) {
        let group = crd["spec"]["group"].as_str().unwrap_or_default();
        let plural = crd["spec"]["names"]["plural"].as_str().unwrap_or_default();
        let Some(kind) = self.kind(group, plural) else { return };
        for object in self.list(kind, None) {
            self.remove(&super::write::key_of(kind, &object));
        }
        self.stop_serving(kind);
    }
}
