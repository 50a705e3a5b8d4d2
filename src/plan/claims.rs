//! Claims that have grown: a bound claim never shrinks, so that it keeps its size whatever a manifest says, on the way back, too.

use crate::domain::object::{Object, ObjectRef};
use crate::domain::quantity::number;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Where a claim says how large it is.
pub(super) const SIZE: &str = "/spec/resources/requests/storage";

/// The size that a claim keeps when `wanted` is applied to it: its own, where it is bound and asks for more by now.
#[must_use]
pub fn kept<'v>(wanted: &Value, live: &'v Value) -> Option<&'v Value> {
    if wanted["kind"] != "PersistentVolumeClaim" || live["status"]["phase"] != "Bound" {
        return None;
    }
    let size = |claim: &Value| number(claim.pointer(SIZE)?.as_str()?);
    let now = live.pointer(SIZE)?;
    (size(live)? > size(wanted)?).then_some(now)
}

/// Gives the claim that is wanted the size that the live one keeps; whether it keeps one.
pub fn keep(wanted: &mut Value, live: &Value) -> bool {
    let Some(size) = kept(wanted, live).cloned() else { return false };
    let requests = wanted.pointer_mut("/spec/resources/requests").and_then(Value::as_object_mut);
    requests.map(|requests: &mut Map<String, Value>| requests.insert("storage".to_owned(), size)).is_some()
}

/// Gives all wanted claims the sizes that the live ones keep; says which, for people.
pub fn keep_all(wanted: &mut [Object], live: &BTreeMap<ObjectRef, Value>) -> Vec<String> {
    let mut told = Vec::new();
    for object in wanted.iter_mut().filter(|object| object.kind() == "PersistentVolumeClaim") {
        let reference = object.reference();
        let asked = object.value.pointer(SIZE).and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(live) = live.get(&reference) else { continue };
        if keep(&mut object.value, live) {
            let now = object.value.pointer(SIZE).and_then(Value::as_str).unwrap_or_default();
            told.push(format!(
                "{reference} keeps its {now}: {} asks for {asked}, and a claim never shrinks",
                object.origin
            ));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bound_claim_keeps_what_it_has_and_no_other_does() {
        let claim = |size: &str, phase: &str| {
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"},
                "spec": {"resources": {"requests": {"storage": size}}}, "status": {"phase": phase}})
        };
        for (wanted, live, phase, expected) in [
            ("10Gi", "20Gi", "Bound", Some("20Gi")),
            ("10Gi", "10240Mi", "Bound", None),
            ("20Gi", "10Gi", "Bound", None),
            // What is not bound holds no data: it is made anew.
            ("10Gi", "20Gi", "Pending", None),
            ("much", "20Gi", "Bound", None),
        ] {
            let live = claim(live, phase);
            let mut wanted = Object { component: None, origin: "a.yaml:1".into(), value: claim(wanted, "") };
            assert_eq!(kept(&wanted.value, &live).and_then(Value::as_str), expected);
            let live = [(wanted.reference(), live)].into();
            let told = keep_all(std::slice::from_mut(&mut wanted), &live);
            assert_eq!(told.len(), usize::from(expected.is_some()));
            if let Some(size) = expected {
                assert_eq!(wanted.value.pointer(SIZE), Some(&json!(size)));
                assert_eq!(
                    told[0],
                    "PersistentVolumeClaim/data keeps its 20Gi: a.yaml:1 asks for 10Gi, and a claim never shrinks"
                );
            }
        }
    }
}
