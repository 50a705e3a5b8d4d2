//! `CloudWatch` as `moto` simulates it, where its server is installed: in `DEPLOYCTL_TEST_MOTO`, on the path, or where
//! `.ci/run` puts it.

use super::cloudwatch::{door, measured, query, series};
use super::sigv4::{KEY, SECRET};
use deployctl::adapters::aws::{Aws, Variables};
use deployctl::domain::metric_store::{CloudWatchValue, SigV4};
use deployctl::ports::metrics::Reading;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

struct Moto {
    child: Child,
    url: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("DEPLOYCTL_TEST_MOTO").map(PathBuf::from);
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("moto_server")).collect::<Vec<_>>()
    });
    let of_ci = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/moto/bin/moto_server"));
    named.into_iter().chain(on_path).chain([of_ci]).find(|file| file.is_file())
}

async fn moto() -> Option<Moto> {
    let Some(binary) = binary() else {
        super::skipped(
            "`moto_server` is not installed; CloudWatch was not tried (DEPLOYCTL_TEST_MOTO names it)",
        );
        return None;
    };
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let child = Command::new(binary)
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let moto = Moto { child, url: format!("http://127.0.0.1:{port}") };
    for _ in 0..600 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Some(moto);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("moto does not come up");
}

/// Puts values where a gate will look: some minutes back, each in the middle of a whole minute.
async fn put(moto: &Moto, name: &str, values: &[(i64, f64)]) {
    #[allow(clippy::disallowed_methods, reason = "moto goes by real time")]
    let minute = Timestamp::now().as_second() / 60 * 60;
    let data: Vec<Value> = values
        .iter()
        .map(|(back, value)| {
            json!({"MetricName": name, "Dimensions": [{"Name": "Version", "Value": "1.4.0"}], "Value": value,
                "Timestamp": minute - 60 * back + 30})
        })
        .collect();
    let body = json!({"Namespace": "Shop", "MetricData": data}).to_string();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.0"));
    headers.insert("x-amz-target", HeaderValue::from_static("GraniteServiceVersion20100801.PutMetricData"));
    let aws = Aws::new(Variables::of(&[("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)]));
    let how = SigV4 { region: "us-east-1".into(), service: "monitoring".into(), profile: None, role: None };
    let url = format!("{}/", moto.url);
    aws.sign(&how, (&Method::POST, &url), &mut headers, body.as_bytes()).await.unwrap();
    let answer = reqwest::Client::new().post(&url).headers(headers).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

#[tokio::test]
async fn what_was_put_is_read_by_version() {
    let Some(moto) = moto().await else { return };
    let store = door(&moto.url);
    put(&moto, "Errors", &[(1, 2.0), (2, 9.0), (2, 1.0)]).await;
    put(&moto, "Requests", &[(1, 40.0), (2, 60.0)]).await;
    let errors = || CloudWatchValue::Series(series("Errors"));
    let reading = measured(&store, &query(errors(), &[("all", "Requests")], Some("all"))).await;
    assert_eq!(reading, Ok(Reading { value: Some(2.0), requests: Some(100.0) }));

    let mut five_minutes = query(errors(), &[], None);
    five_minutes.period = Duration::from_mins(5);
    assert_eq!(measured(&store, &five_minutes).await, Ok(Reading { value: Some(12.0), requests: None }));

    let formula = CloudWatchValue::Expression("errors".into());
    let reading = measured(&store, &query(formula, &[("errors", "Errors")], None)).await;
    assert_eq!(reading, Ok(Reading { value: Some(2.0), requests: None }));

    let nobody = query(CloudWatchValue::Series(series("Nothing")), &[("all", "Nothing")], Some("all"));
    assert_eq!(measured(&store, &nobody).await, Ok(Reading { value: None, requests: Some(0.0) }));
}
