//! `CloudWatch` against a server that plays its moods; `moto` has the real calls.

use super::measurement;
use super::server::Server;
use super::sigv4::{KEY, SECRET, check};
use deployctl::adapters::aws::{Aws, Variables};
use deployctl::adapters::clock::SystemClock;
use deployctl::adapters::cloudwatch::CloudWatch;
use deployctl::domain::gate::Metric;
use deployctl::domain::metric_store::{CloudWatchQuery, CloudWatchSeries, CloudWatchValue};
use deployctl::ports::metrics::{MetricsError, Reading};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub(super) fn series(name: &str) -> CloudWatchSeries {
    CloudWatchSeries {
        namespace: "Shop".into(),
        name: name.into(),
        dimensions: BTreeMap::from([("Version".to_owned(), "{{ version }}".to_owned())]),
        stat: "Sum".into(),
        unit: None,
    }
}

pub(super) fn query(
    value: CloudWatchValue,
    queries: &[(&str, &str)],
    requests: Option<&str>,
) -> CloudWatchQuery {
    CloudWatchQuery {
        value,
        queries: queries.iter().map(|(id, name)| ((*id).to_owned(), series(name))).collect(),
        requests: requests.map(str::to_owned),
        period: Duration::from_mins(1),
        region: None,
        profile: None,
        role: None,
    }
}

pub(super) fn door(url: &str) -> CloudWatch {
    let variables = Variables::of(&[
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ENDPOINT_URL_CLOUDWATCH", url),
    ]);
    CloudWatch::new(Arc::new(Aws::new(variables)), Arc::new(SystemClock)).unwrap()
}

pub(super) async fn measured(store: &CloudWatch, query: &CloudWatchQuery) -> Result<Reading, MetricsError> {
    store.measure(&measurement(Metric::CloudWatch(Box::new(query.clone()))), query).await
}

fn errors() -> CloudWatchQuery {
    query(CloudWatchValue::Series(series("Errors")), &[("all", "Requests")], Some("all"))
}

fn result(id: &str, values: &[f64]) -> Value {
    let times: Vec<usize> = (0..values.len()).map(|at| 1_772_359_320 - 60 * at).collect();
    json!({"Id": id, "Label": id, "Timestamps": times, "Values": values, "StatusCode": "Complete"})
}

#[tokio::test]
async fn a_signed_request_is_sent_and_pages_are_followed() {
    let server = Server::new(|asked| {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        let page = match body["NextToken"].as_str() {
            None => json!({"MetricDataResults": [result("deployctl_value", &[3.0]), result("deployctl_requests", &[40.0])],
                "NextToken": "more"}),
            Some(_) => json!({"MetricDataResults": [result("deployctl_requests", &[2.0])]}),
        };
        (200, page.to_string())
    })
    .await;
    let reading = measured(&door(&server.url), &errors()).await;
    assert_eq!(reading, Ok(Reading { value: Some(3.0), requests: Some(42.0) }));
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    for asked in &asked {
        check(asked, (KEY, SECRET), "us-east-1", "monitoring");
        assert_eq!(asked.headers["x-amz-target"], "GraniteServiceVersion20100801.GetMetricData");
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        let dimensions = &body["MetricDataQueries"][0]["MetricStat"]["Metric"]["Dimensions"];
        assert_eq!(*dimensions, json!([{"Name": "Version", "Value": "1.4.0"}]));
    }
}

#[tokio::test]
async fn a_throttled_request_is_sent_again_and_not_for_ever() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let server = Server::new(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => (400, json!({"__type": "ThrottlingException", "message": "Rate exceeded"}).to_string()),
        1 => (500, json!({"__type": "InternalServiceFault"}).to_string()),
        2 => (200, json!({"MetricDataResults": [result("deployctl_value", &[1.0])]}).to_string()),
        _ => (400, json!({"__type": "Throttling", "message": "Rate exceeded"}).to_string()),
    })
    .await;
    let store = door(&server.url);
    let reading = measured(&store, &errors()).await;
    assert_eq!(reading, Ok(Reading { value: Some(1.0), requests: Some(0.0) }));
    assert_eq!(server.asked().len(), 3);
    let error = measured(&store, &errors()).await;
    let message = "CloudWatch in us-east-1 (for east): 400 Throttling: Rate exceeded".to_owned();
    assert_eq!(error, Err(MetricsError::Down { message }));
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn refusals_are_told_apart_and_not_repeated() {
    let server = Server::new(|asked| {
        let wrong = asked.body.contains("Wrong");
        let kind = if wrong { "ValidationError" } else { "UnrecognizedClientException" };
        (400, json!({"__type": format!("com.amazon#{kind}"), "message": "m"}).to_string())
    })
    .await;
    let store = door(&server.url);
    let Err(MetricsError::Denied { message }) = measured(&store, &errors()).await else { panic!() };
    assert!(
        message.starts_with(
            "CloudWatch in us-east-1 (for east) refuses these credentials: 400 UnrecognizedClientException: m; check"
        ),
        "{message}"
    );
    let wrong = query(CloudWatchValue::Series(series("Wrong")), &[], None);
    let Err(MetricsError::Refused { .. }) = measured(&store, &wrong).await else { panic!() };
    assert_eq!(server.asked().len(), 2);
}
