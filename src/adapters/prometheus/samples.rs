//! Raw samples of single processes: the queries for them, and what the answers say. Pure.

use super::answer;
use crate::adapters::templates::{pods, window};
use crate::domain::counters::{PodSample, bound};
use crate::ports::metrics::{CountersOf, MetricsError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The label of a series that names its pod.
const POD: &str = "pod";

/// The queries for requests, failed requests and buckets, in that order.
pub(super) fn queries(what: &CountersOf) -> [String; 3] {
    let window = window(what.window);
    selectors(what).map(|selector| format!("{selector}[{window}]"))
}

/// The same summed over processes, to be asked of a range.
pub(super) fn sums(what: &CountersOf) -> [String; 3] {
    let [requests, errors, buckets] = selectors(what);
    [format!("sum({requests})"), format!("sum({errors})"), format!("sum by (le) ({buckets})")]
}

fn selectors(what: &CountersOf) -> [String; 3] {
    let pods = pods(&what.owners);
    let own = [("namespace", "=", what.namespace.as_str()), (POD, "=~", pods.as_str())];
    let names = &what.names;
    [&names.requests, &names.errors, &names.latency.suffixed("_bucket")].map(|selector| selector.with(&own))
}

/// The body of a request for a range that ends now (seconds since the epoch).
pub(super) fn range_form(query: &str, now: f64, window: Duration, step: Duration) -> String {
    let mut url = reqwest::Url::parse("http://form/").expect("a constant");
    url.query_pairs_mut()
        .append_pair("query", query)
        .append_pair("start", &format!("{:.3}", now - window.as_secs_f64()))
        .append_pair("end", &format!("{now:.3}"))
        .append_pair("step", &format!("{}", step.as_secs_f64()));
    url.query().unwrap_or_default().to_owned()
}

/// A series with its samples.
#[derive(Deserialize)]
pub(super) struct Series {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// Reads an answer that holds series.
pub(super) fn read(status: u16, body: &[u8]) -> Result<Vec<Series>, MetricsError> {
    let (kind, result) = answer::data(status, body)?;
    if kind != "matrix" {
        return Err(MetricsError::Refused {
            message: format!("it gives a {kind} where raw samples are wanted"),
        });
    }
    serde_json::from_value(result)
        .map_err(|error| MetricsError::Down { message: format!("the answer is not understood: {error}") })
}

/// Puts together what was counted by one process at one moment. A scrape gives all its series one time, so they meet
/// there; where requests were not counted nothing is known.
pub(super) fn merge(requests: &[Series], errors: &[Series], buckets: &[Series]) -> Vec<PodSample> {
    let mut rows: BTreeMap<(&str, u64), PodSample> = BTreeMap::new();
    for (pod, at, value) in points(requests) {
        let empty = || PodSample { pod: pod.to_owned(), at, requests: 0.0, errors: 0.0, buckets: Vec::new() };
        rows.entry((pod, at.to_bits())).or_insert_with(empty).requests += value;
    }
    for (pod, at, value) in points(errors) {
        if let Some(row) = rows.get_mut(&(pod, at.to_bits())) {
            row.errors += value;
        }
    }
    for series in buckets {
        let Some(bound) = series.metric.get("le").and_then(|le| bound(le)) else { continue };
        for (pod, at, value) in points(std::slice::from_ref(series)) {
            let Some(row) = rows.get_mut(&(pod, at.to_bits())) else { continue };
            match row.buckets.binary_search_by(|(known, _)| known.total_cmp(&bound)) {
                Ok(place) => row.buckets[place].1 += value,
                Err(place) => row.buckets.insert(place, (bound, value)),
            }
        }
    }
    rows.into_values().collect()
}

fn points(series: &[Series]) -> impl Iterator<Item = (&str, f64, f64)> {
    series.iter().flat_map(|series| {
        let pod = series.metric.get(POD).map_or("", String::as_str);
        // stale markers and NaN say nothing
        let numbers = series.values.iter().filter_map(|(at, text)| Some((*at, text.parse::<f64>().ok()?)));
        numbers.filter(|(_, value)| value.is_finite()).map(move |(at, value)| (pod, at, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::counters::{CounterNames, Selector};

    #[test]
    fn queries_ask_for_raw_samples() {
        let selector = |text| Selector::parse(text).unwrap();
        let what = CountersOf {
            target: "east".into(),
            namespace: "shop".into(),
            component: "api".into(),
            owners: vec!["api-r2-7d4f".into()],
            names: CounterNames {
                requests: selector("http_requests_total"),
                errors: selector(r#"http_requests_total{status=~"5.."}"#),
                latency: selector("http_request_duration_seconds"),
            },
            window: Duration::from_mins(1),
        };
        let own = r#"namespace="shop",pod=~"(?:api-r2-7d4f)-[a-z0-9]+"}"#;
        assert_eq!(
            queries(&what),
            [
                format!("http_requests_total{{{own}[1m]"),
                format!(r#"http_requests_total{{status=~"5..",{own}[1m]"#),
                format!("http_request_duration_seconds_bucket{{{own}[1m]"),
            ]
        );
        assert_eq!(sums(&what)[2], format!("sum by (le) (http_request_duration_seconds_bucket{{{own})"));
        assert_eq!(
            range_form("x", 1000.0, Duration::from_mins(1), Duration::from_secs(15)),
            "query=x&start=940.000&end=1000.000&step=15"
        );
    }

    #[test]
    fn series_of_one_scrape_meet() {
        let answer = |result: &str| {
            let body =
                format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":{result}}}}}"#);
            read(200, body.as_bytes()).unwrap()
        };
        let requests = answer(
            r#"[{"metric":{"pod":"a","status":"200"},"values":[[1.5,"10"],[16.5,"20"],[31.5,"NaN"]]},
                {"metric":{"pod":"a","status":"500"},"values":[[16.5,"2"]]},
                {"metric":{"pod":"b"},"values":[[3.0,"7"]]}]"#,
        );
        let errors = answer(r#"[{"metric":{"pod":"a"},"values":[[16.5,"2"],[99,"5"]]}]"#);
        let buckets = answer(
            r#"[{"metric":{"pod":"a","le":"+Inf"},"values":[[16.5,"22"]]},
                {"metric":{"pod":"a","le":"0.1"},"values":[[16.5,"20"]]},
                {"metric":{"pod":"a","le":"0.1"},"values":[[16.5,"1"]]},
                {"metric":{"pod":"a","le":"x"},"values":[[16.5,"1"]]}]"#,
        );
        let row = |pod: &str, at, requests, errors, buckets: &[(f64, f64)]| PodSample {
            pod: pod.into(),
            at,
            requests,
            errors,
            buckets: buckets.to_vec(),
        };
        assert_eq!(
            merge(&requests, &errors, &buckets),
            [
                row("a", 1.5, 10.0, 0.0, &[]),
                row("a", 16.5, 22.0, 2.0, &[(0.1, 21.0), (f64::INFINITY, 22.0)]),
                row("b", 3.0, 7.0, 0.0, &[]),
            ]
        );
        assert!(matches!(read(200, br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#),
            Err(MetricsError::Refused { message }) if message.contains("a vector where raw samples")));
    }
}
