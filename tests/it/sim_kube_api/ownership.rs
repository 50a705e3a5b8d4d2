//! Properties of field ownership under server-side apply: whatever managers apply, in whatever order, no field is
//! lost while somebody owns it, and a conflict is reported exactly if a differing value is owned by another.

use std::collections::BTreeMap;

use deployctl::sim::kube::ApiService;
use http_body_util::{BodyExt as _, Full};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::support::Server;

/// One apply: the manager, the fields that it sets, whether by force.
#[derive(Clone, Debug)]
struct Apply {
    manager: usize,
    fields: BTreeMap<String, u8>,
    force: bool,
}

fn applies() -> impl Strategy<Value = Vec<Apply>> {
    let fields = prop::collection::btree_map("[a-d]", 0..3_u8, 0..4);
    let one = (0..3_usize, fields, prop::bool::weighted(0.3));
    prop::collection::vec(one.prop_map(|(manager, fields, force)| Apply { manager, fields, force }), 1..14)
}

async fn send(service: ApiService, apply: &Apply) -> (u16, Value) {
    let data: BTreeMap<&String, String> =
        apply.fields.iter().map(|(name, value)| (name, value.to_string())).collect();
    let mut body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    if !data.is_empty() {
        // an empty map would be a field of its own, owned by whoever sends it
        body["data"] = json!(data);
    }
    let uri = format!(
        "/api/v1/namespaces/golden/configmaps/m?fieldManager=m{}&force={}",
        apply.manager, apply.force
    );
    let request = http::Request::patch(uri)
        .header("content-type", "application/apply-patch+yaml")
        .body(Full::new(bytes::Bytes::from(body.to_string())))
        .expect("a request");
    let response = service.oneshot(request).await.expect("an answer");
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (code, serde_json::from_slice(&bytes).expect("JSON"))
}

/// What ownership means, written down without any of the server's machinery.
#[derive(Default)]
struct Model {
    values: BTreeMap<String, u8>,
    owners: BTreeMap<usize, BTreeMap<String, u8>>,
}

impl Model {
    /// The fields that others own with another value.
    fn conflicts(&self, apply: &Apply) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for (_, owned) in self.owners.iter().filter(|(manager, _)| **manager != apply.manager) {
            for (name, value) in &apply.fields {
                if owned.contains_key(name) && self.values.get(name) != Some(value) {
                    found.push(format!(".data.{name}"));
                }
            }
        }
        found.sort();
        found
    }

    fn perform(&mut self, apply: &Apply) {
        let dropped = self.owners.insert(apply.manager, apply.fields.clone()).unwrap_or_default();
        for (name, value) in &apply.fields {
            if self.values.insert(name.clone(), *value) != Some(*value) {
                for (_, owned) in self.owners.iter_mut().filter(|(manager, _)| **manager != apply.manager) {
                    owned.remove(name);
                }
            }
        }
        for name in dropped.keys() {
            if !self.owners.values().any(|owned| owned.contains_key(name)) {
                self.values.remove(name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_field_is_lost_while_owned_and_conflicts_are_exact(applies in applies()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let outcome: Result<(), TestCaseError> = runtime.block_on(async {
            let server = Server::new();
            let mut model = Model::default();
            for apply in &applies {
                let conflicts = model.conflicts(apply);
                let (code, body) = send(server.service(), apply).await;
                if !conflicts.is_empty() && !apply.force {
                    prop_assert_eq!(code, 409, "{} {:?}", body, conflicts);
                    let causes = body["details"]["causes"].as_array().expect("causes").iter();
                    let mut named: Vec<String> =
                        causes.map(|cause| cause["field"].as_str().expect("a field").to_owned()).collect();
                    named.sort();
                    prop_assert_eq!(named, conflicts);
                    continue;
                }
                prop_assert!(code == 200 || code == 201, "{}", body);
                model.perform(apply);
                let found: BTreeMap<String, u8> = body["data"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, value)| (name.clone(), value.as_str().and_then(|v| v.parse().ok()).expect("a number")))
                    .collect();
                prop_assert_eq!(&found, &model.values);
            }
            Ok(())
        });
        outcome?;
    }
}
