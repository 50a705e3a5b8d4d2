//! What the served API looks like on the wire, since everything else here rests on it.

use super::Story;
use super::server::CERTIFICATE;
use super::stage::{QUICK, Stage};
use reqwest::{Certificate, Client, Response};
use serde_json::{Value, json};

pub const STORIES: &[Story] = &[("the wire", wire)];

fn client() -> Client {
    deployctl::adapters::http::HttpProbe::new().expect("TLS has a provider from here on");
    let certificate = Certificate::from_pem(CERTIFICATE.as_bytes()).unwrap();
    Client::builder().add_root_certificate(certificate).build().unwrap()
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// One event of a watch.
async fn event(response: &mut Response) -> Value {
    let chunk = response.chunk().await.unwrap().expect("the watch goes on");
    serde_json::from_slice(&chunk).unwrap()
}

fn wire() {
    let stage = Stage::new("wire", QUICK);
    let (url, token) = (format!("https://{}", stage.east.api), stage.east.token());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = client();
        let get = |path: &str| client.get(format!("{url}{path}"));
        // As recorded of a real server: tests/golden/kube_exchanges.jsonl.gz, `unauthorized`.
        let refusal = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Unauthorized", "reason": "Unauthorized", "code": 401});
        for wrong in [None, Some("another-token")] {
            let request = get("/api/v1/namespaces");
            let request = if let Some(wrong) = wrong { request.bearer_auth(wrong) } else { request };
            let response = request.send().await.unwrap();
            assert_eq!((response.status().as_u16(), header(&response, "content-type")), (401, "application/json"));
            assert_eq!(response.json::<Value>().await.unwrap(), refusal);
        }
        let list = get("/api/v1/namespaces/shop/services").bearer_auth(&token).send().await.unwrap();
        assert_eq!(header(&list, "cache-control"), "no-cache, private");
        let length: usize = header(&list, "content-length").parse().unwrap();
        let list = list.bytes().await.unwrap();
        assert_eq!(list.len(), length);
        let list: Value = serde_json::from_slice(&list).unwrap();
        // A watch from there on has no length, and tells each change as it happens.
        let version = list["metadata"]["resourceVersion"].as_str().unwrap();
        let watch = format!("/api/v1/namespaces/shop/services?watch=true&resourceVersion={version}");
        let mut watch = get(&watch).bearer_auth(&token).send().await.unwrap();
        assert_eq!(header(&watch, "transfer-encoding"), "chunked");
        let patch = json!({"metadata": {"labels": {"seen": "yes"}}});
        stage.patch_by_hand(&stage.east, "/api/v1/namespaces/shop/services/api", &patch);
        let changed = event(&mut watch).await;
        assert_eq!((&changed["type"], &changed["object"]["metadata"]["labels"]["seen"]), (&json!("MODIFIED"), &json!("yes")));
        // All at once, and the bookmark that ends it.
        let initial = "/api/v1/namespaces/shop/services?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
        let mut initial = get(initial).bearer_auth(&token).send().await.unwrap();
        assert_eq!(event(&mut initial).await["type"], "ADDED");
        assert_eq!(event(&mut initial).await["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
        // When the server goes away, the stream ends in the middle.
        stage.east.open(false);
        assert!(watch.chunk().await.is_err(), "no end was sent");
        let error = get("/version").bearer_auth(&token).send().await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
    });
}
