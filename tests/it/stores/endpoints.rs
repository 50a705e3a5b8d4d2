//! A store behind more than one endpoint, and its credentials, against small servers.

use super::server::{Asked, Server};
use super::{Known, east, secret};
use deployctl::adapters::aws::{Aws, Variables};
use deployctl::adapters::prometheus::Prometheus;
use deployctl::domain::metric_store::{PrometheusStore, SecretText, StoreAuth};
use deployctl::ports::Metrics as _;
use deployctl::ports::metrics::MetricsError;
use std::collections::BTreeMap;
use std::sync::Arc;

const SUCCESS: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}"#;

fn store(wanted: PrometheusStore, secrets: &Known) -> Prometheus {
    let aws = Arc::new(Aws::new(Variables::of(&[])));
    Prometheus::new(&BTreeMap::from([(east(), wanted)]), &BTreeMap::new(), &secrets.door(), &aws).unwrap()
}

fn at(urls: &[&str]) -> PrometheusStore {
    PrometheusStore { urls: urls.iter().map(|url| (*url).to_owned()).collect(), ..PrometheusStore::default() }
}

async fn good() -> Server {
    Server::new(|_| (200, SUCCESS.to_owned())).await
}

async fn always(status: u16, body: &'static str) -> Server {
    Server::new(move |_| (status, body.to_owned())).await
}

fn message(result: Result<(), MetricsError>) -> String {
    let Err(MetricsError::Down { message }) = result else { panic!("{result:?}") };
    message
}

#[tokio::test]
async fn the_next_endpoint_carries_on_and_that_is_told_once() {
    let (mut first, second) = (good().await, good().await);
    let store = store(at(&[&first.url, &second.url]), &Known::default());
    for _ in 0..2 {
        store.reachable(&east()).await.unwrap();
    }
    assert_eq!((first.asked().len(), second.asked().len()), (2, 0));
    assert_eq!(store.notices(&east()), [] as [String; 0]);

    first.die().await;
    for _ in 0..3 {
        store.reachable(&east()).await.unwrap();
    }
    assert_eq!(second.asked().len(), 3);
    let [notice] = store.notices(&east()).try_into().expect("told once");
    let begins = format!(
        "Prometheus of east is asked at {} from now on; {}: does not answer: ",
        second.url, first.url
    );
    assert!(notice.starts_with(&begins) && notice.contains("refused"), "{notice}");
    assert_eq!(store.notices(&east()), [] as [String; 0]);
}

#[tokio::test]
async fn an_endpoint_that_failed_is_left_alone_for_a_while() {
    let (broken, second) = (always(503, "upstream is away").await, good().await);
    let store = store(at(&[&broken.url, &second.url]), &Known::default());
    for _ in 0..4 {
        store.reachable(&east()).await.unwrap();
    }
    assert_eq!((broken.asked().len(), second.asked().len()), (1, 4));
    let [notice] = store.notices(&east()).try_into().unwrap();
    assert!(notice.ends_with(": no Prometheus answers there: 503 upstream is away"), "{notice}");
}

#[tokio::test]
async fn a_wrong_query_is_wrong_everywhere() {
    let wrong = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
    let (first, second) = (always(400, wrong).await, good().await);
    let store = store(at(&[&first.url, &second.url]), &Known::default());
    assert_eq!(store.reachable(&east()).await, Err(MetricsError::Refused { message: "parse error".into() }));
    assert_eq!(second.asked(), []);
    assert_eq!(store.notices(&east()), [] as [String; 0]);
}

#[tokio::test]
async fn only_when_none_answers_the_store_is_down_and_each_cause_is_told() {
    let (mut first, second) = (good().await, always(502, "<html>").await);
    first.die().await;
    let store = store(at(&[&first.url, &second.url]), &Known::default());
    let told = message(store.reachable(&east()).await);
    assert!(
        told.starts_with(&format!("no Prometheus of east answers: {}: does not answer: ", first.url)),
        "{told}"
    );
    assert!(told.ends_with(&format!("; {}: no Prometheus answers there: 502 <html>", second.url)), "{told}");

    // one that refuses us and one that is away: that is away
    let refuses = always(401, "Unauthorized").await;
    let store = super::endpoints::store(at(&[&refuses.url, &first.url]), &Known::default());
    let told = message(store.reachable(&east()).await);
    assert!(told.contains(": refuses these credentials: 401 Unauthorized; "), "{told}");
}

fn with_bearer(url: &str) -> PrometheusStore {
    PrometheusStore { auth: Some(StoreAuth::Bearer(secret("TOKEN"))), ..PrometheusStore::open(url) }
}

#[tokio::test]
async fn a_token_is_read_for_every_request() {
    let server = good().await;
    let secrets = Known::of(&[("TOKEN", "one\n")]);
    let store = store(with_bearer(&server.url), &secrets);
    store.reachable(&east()).await.unwrap();
    secrets.set("TOKEN", "two");
    store.reachable(&east()).await.unwrap();
    let seen: Vec<String> =
        server.asked().iter().map(|asked| asked.headers["authorization"].clone()).collect();
    assert_eq!(seen, ["Bearer one", "Bearer two"]);
}

#[tokio::test]
async fn passwords_and_headers_are_sent_and_never_told() {
    let echo = |asked: &Asked| {
        let headers = &asked.headers;
        (403, format!("who is {} of {}?", headers["authorization"], headers["x-scope-orgid"]))
    };
    let server = Server::new(echo).await;
    let secrets = Known::of(&[("PASSWORD", "pass:word"), ("TENANT", "tenant-of-secrets")]);
    let mut wanted = PrometheusStore::open(&server.url);
    wanted.auth = Some(StoreAuth::Basic { username: "ana".into(), password: secret("PASSWORD") });
    wanted.headers = BTreeMap::from([("X-Scope-OrgID".to_owned(), SecretText("a-${env:TENANT}".into()))]);
    let store = store(wanted, &secrets);
    let Err(MetricsError::Denied { message }) = store.reachable(&east()).await else { panic!() };
    let [asked] = server.asked().try_into().unwrap();
    // `ana:pass:word` in base64
    assert_eq!(asked.headers["authorization"], "Basic YW5hOnBhc3M6d29yZA==");
    assert_eq!(asked.headers["x-scope-orgid"], "a-tenant-of-secrets");
    assert_eq!(
        message,
        "Prometheus of east refuses these credentials: 403 who is Basic *** of a-***?; check targets.east.prometheus"
    );
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_told_without_asking() {
    let server = good().await;
    let store = store(with_bearer(&server.url), &Known::default());
    assert_eq!(
        store.reachable(&east()).await,
        Err(MetricsError::Denied {
            message: "Prometheus of east: the bearer token cannot be read: the environment variable TOKEN is not set; check \
                      targets.east.prometheus"
                .into()
        })
    );
    assert_eq!(server.asked(), []);
}

#[tokio::test]
async fn credentials_follow_no_redirect() {
    let server = always(302, "").await;
    let store = store(with_bearer(&server.url), &Known::of(&[("TOKEN", "token")]));
    let told = message(store.reachable(&east()).await);
    assert_eq!(told, "Prometheus of east: no Prometheus answers there: 302 ");
    assert_eq!(server.asked().len(), 1);
}
