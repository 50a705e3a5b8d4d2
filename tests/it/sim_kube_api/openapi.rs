//! Documents of kinds, held against one that a real server (v1.36.2) gave of the same definition; descriptions, paths and
//! the types of other kinds were taken out of the recording.

use super::support::Server;
use deployctl::domain::definitions::{ApiKind, Definitions};
use deployctl::domain::openapi;
use serde_json::{Value, json};
use std::sync::Arc;

fn recorded() -> (Value, Value) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/kube_openapi.json");
    let text = std::fs::read_to_string(path).expect("the recording is in the repository");
    let mut recording: Value = serde_json::from_str(&text).expect("it is JSON");
    (recording["crd"].take(), recording["document"].take())
}

async fn get(server: &Server, path: &str) -> (u16, Value) {
    server.send(&json!({"method": "GET", "path": path})).await
}

#[tokio::test(start_paused = true)]
async fn a_document_is_what_a_real_server_gives_and_its_address_changes_with_it() {
    let (crd, document) = recorded();
    let server = Server::new();
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let create = json!({"method": "POST", "path": crds, "body": crd, "contentType": "application/json"});
    assert_eq!(server.send(&create).await.0, 201);
    let address = async || {
        let (_, index) = get(&server, "/openapi/v3").await;
        index["paths"]["apis/fleet.example.com/v1"]["serverRelativeURL"].as_str().map(str::to_owned)
    };
    let first = address().await.expect("the group is in the index");
    assert!(first.starts_with("/openapi/v3/apis/fleet.example.com/v1?hash="), "{first}");
    let (code, answer) = get(&server, &first).await;
    assert_eq!(code, 200);
    let expected = document["components"]["schemas"].as_object().unwrap();
    let found = answer["components"]["schemas"].as_object().unwrap();
    for (name, schema) in expected {
        assert_eq!(found.get(name), Some(schema), "{name}");
    }
    assert_eq!(found.len(), expected.len());

    let name = format!("{crds}/fleets.fleet.example.com");
    let patch = json!({"method": "PATCH", "path": name, "contentType": "application/json-patch+json", "body": [{
        "op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/more",
        "value": {"type": "string"}}]});
    assert_eq!(server.send(&patch).await.0, 200);
    assert_ne!(address().await, Some(first));
    assert_eq!(get(&server, "/openapi/v3/apis/nobody.example.com/v1").await.0, 404);
}

#[test]
fn a_definition_and_the_servers_document_of_it_judge_alike() {
    let (crd, document) = recorded();
    let by_release = Definitions::of([&crd].into_iter());
    let schema = openapi::read(document.to_string().as_bytes()).expect("it is JSON");
    let by_server = Definitions::default().and_served(vec![Arc::new(schema)]);
    let kind = ApiKind { api_version: "fleet.example.com/v1".into(), kind: "Fleet".into() };
    let fleet = |spec: Value| {
        json!({"apiVersion": "fleet.example.com/v1", "kind": "Fleet",
        "metadata": {"name": "a", "labels": {"a": "b"}, "ownerReferences": []}, "spec": spec})
    };
    for (spec, wrong) in [
        (
            json!({"ships": [{"berth": 1, "sails": 3}], "size": 2, "harbour": "80%", "amount": 3, "mode": null,
                "free": {"a": [1]}, "nothing": [{}], "flags": ["a"], "when": "2026-01-05T03:00:00Z",
                "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {}}}),
            vec![],
        ),
        (json!({"ships": [{"berth": "1"}]}), vec!["spec.ships[0].berth"]),
        (json!({"ships": [{"berth": 1, "mast": 1}], "sise": 1}), vec!["spec.ships[0].mast", "spec.sise"]),
        (json!({"size": "2", "ships": [{}]}), vec!["spec.size", "spec.ships[0].berth"]),
        (
            json!({"ships": {}, "mode": "c", "harbour": [], "flags": "a"}),
            vec!["spec.ships", "spec.mode", "spec.harbour", "spec.flags"],
        ),
        (json!({"ships": [], "template": {"metadata": {"nmae": "x"}}}), vec!["spec.template.metadata.nmae"]),
        (json!({}), vec!["spec.ships"]),
    ] {
        let object = fleet(spec);
        let paths = |definitions: &Definitions| {
            let problems = definitions.find(&kind).expect("the kind is defined").problems(&object);
            let mut paths: Vec<String> = problems.into_iter().map(|problem| problem.path).collect();
            paths.retain(|path| !matches!(path.as_str(), "spec.template.apiVersion" | "spec.template.kind"));
            paths.sort();
            paths
        };
        let mut wrong: Vec<String> = wrong.into_iter().map(str::to_owned).collect();
        wrong.sort();
        assert_eq!((paths(&by_release), paths(&by_server)), (wrong.clone(), wrong), "{object}");
    }
}
