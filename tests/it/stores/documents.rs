//! Numbers in JSON documents, against a small server.

use super::server::Server;
use super::{Known, measurement};
use deployctl::adapters::clock::SystemClock;
use deployctl::adapters::http_metrics::HttpMetrics;
use deployctl::domain::gate::Metric;
use deployctl::domain::metric_store::{HttpQuery, SecretText};
use deployctl::ports::metrics::{MetricsError, Reading};
use std::collections::BTreeMap;
use std::sync::Arc;

fn query(url: String) -> HttpQuery {
    HttpQuery {
        url,
        method: "GET".into(),
        headers: BTreeMap::new(),
        body: None,
        value: "/value".into(),
        requests: Some("/requests".into()),
    }
}

async fn asked(query: &HttpQuery, secrets: &Known) -> Result<Reading, MetricsError> {
    let store = HttpMetrics::new(secrets.door(), Arc::new(SystemClock)).unwrap();
    store.measure(&measurement(Metric::Http(Box::new(query.clone()))), query).await
}

#[tokio::test]
async fn the_question_is_filled_in_and_the_numbers_are_read() {
    let server = Server::new(|_| (200, r#"{"value": 0.25, "requests": 120}"#.to_owned())).await;
    let mut query = query(format!("{}/q?v={{{{ version }}}}&p={{{{ pods }}}}", server.url));
    query.method = "POST".into();
    query.body = Some(r#"{"sql": "r = '{{ revision }}' over {{ window_seconds }}"}"#.into());
    query.headers = BTreeMap::from([("Authorization".to_owned(), SecretText("Bearer ${env:TOKEN}".into()))]);
    let reading = asked(&query, &Known::of(&[("TOKEN", "a-token")])).await;
    assert_eq!(reading, Ok(Reading { value: Some(0.25), requests: Some(120.0) }));
    let [asked] = server.asked().try_into().unwrap();
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.path, "/q?v=1.4.0&p=%28%3F%3Aapi-r2-abc%29-%5Ba-z0-9%5D%2B");
    assert_eq!(asked.headers["authorization"], "Bearer a-token");
    assert_eq!(asked.headers["content-type"], "application/json");
    assert_eq!(asked.body, r#"{"sql": "r = '2' over 300"}"#);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let server = Server::new(|_| (200, "1".repeat(2_000_000))).await;
    let error = asked(&query(server.url.clone()), &Known::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "127.0.0.1 does not answer: the answer is longer than 1024 KiB");
    assert!(matches!(error, MetricsError::Down { .. }));
}

#[tokio::test]
async fn what_cannot_be_asked_is_told() {
    let mut server = Server::new(|asked| (401, format!("no {}", asked.headers["x-key"]))).await;
    let mut query = query(format!("{}/a", server.url));
    query.headers = BTreeMap::from([("X-Key".to_owned(), SecretText("${env:KEY}".into()))]);
    let known = Known::of(&[("KEY", "hidden-key")]);
    let error = asked(&query, &known).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "127.0.0.1 refuses these credentials: 127.0.0.1: 401 no ***; check http.headers"
    );
    let error = asked(&query, &Known::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "the header X-Key cannot be read: the environment variable KEY is not set");
    query.url = "http://{{ nobody }}".into();
    let error = asked(&query, &known).await.unwrap_err();
    assert!(error.to_string().starts_with("query refused: http.url: undefined value"), "{error}");
    query.url = server.url.clone();
    server.die().await;
    let error = asked(&query, &known).await.unwrap_err();
    assert!(error.to_string().starts_with("127.0.0.1 does not answer: "), "{error}");
}
