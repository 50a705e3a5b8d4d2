//! Raw samples of single processes: the queries for them, and what the answers say. Pure.

use super::answer;
use crate::adapters::templates::{pods, window};
use crate::domain::counters::{CounterNames, PodSample, Selector, bound};
use crate::ports::metrics::{CountersOf, MetricsError};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The label of a series that names its pod.
const POD: &str = "pod";
/// The label that names its metric.
const NAME: &str = "__name__";
/// A series that misses so many scrapes in a row, the newest ones, has ended: its process was started again.
const ENDED_AFTER: usize = 2;

/// The one query for all counters. Several would be evaluated one by one, and behind a load balancer by replicas that
/// scrape at different times: what one process counted at one moment would not be found together.
pub(super) fn query(what: &CountersOf) -> String {
    let (names, pods) = (&what.names, pods(&what.owners));
    let buckets = names.latency.suffixed("_bucket");
    let selector = Selector::any_of(&[&names.requests, &names.errors, &buckets], &own(what, &pods));
    format!("{selector}[{}]", window(what.window))
}

/// Requests, failed requests and buckets, in that order, each summed over processes, to be asked of a range.
pub(super) fn sums(what: &CountersOf) -> [String; 3] {
    let (names, pods) = (&what.names, pods(&what.owners));
    let own = own(what, &pods);
    let (requests, errors) = (names.requests.with(&own), names.errors.with(&own));
    let buckets = names.latency.suffixed("_bucket").with(&own);
    [format!("sum({requests})"), format!("sum({errors})"), format!("sum by (le) ({buckets})")]
}

fn own<'w>(what: &'w CountersOf, pods: &'w str) -> [(&'static str, &'static str, &'w str); 2] {
    [("namespace", "=", what.namespace.as_str()), (POD, "=~", pods)]
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

/// What a series counts; one may count several things.
struct Counting {
    requests: bool,
    errors: bool,
    bucket: Option<f64>,
    /// By the bits of the time, which sort as times do.
    points: BTreeMap<u64, f64>,
}

impl Counting {
    /// `None` for a series that was not asked for: the query asks for what all counters have in common.
    fn of(series: &Series, names: &CounterNames, buckets: &Selector) -> Option<Self> {
        let label = |name: &str| series.metric.get(name).cloned();
        let name = series.metric.get(NAME)?;
        let is = |selector: &Selector| *name == selector.name && selector.fits(&label);
        let bucket = is(buckets).then(|| series.metric.get("le").and_then(|le| bound(le))).flatten();
        let (requests, errors) = (is(&names.requests), is(&names.errors));
        let points = points(std::slice::from_ref(series)).map(|(_, at, value)| (at.to_bits(), value));
        let points: BTreeMap<u64, f64> = points.collect();
        let counts = requests || errors || bucket.is_some();
        (counts && !points.is_empty()).then_some(Self { requests, errors, bucket, points })
    }

    /// Its value at a time, zero after its end; `None` where it should have one.
    fn at(&self, time: u64, times: &BTreeSet<u64>) -> Option<f64> {
        let ended = || {
            let last = *self.points.keys().next_back()?;
            (time > last && times.range(last + 1..).nth(ENDED_AFTER - 1).is_some()).then_some(0.0)
        };
        self.points.get(&time).copied().or_else(ended)
    }
}

/// Puts together what each process counted at each moment. A scrape gives all its series one time, so they meet there.
/// Where one of them is missing (a store that merges the scrapes of two servers) the moment says nothing: a counter taken
/// for zero would look like a process that was started again, and all its requests like new ones.
pub(super) fn rows(names: &CounterNames, series: &[Series]) -> Vec<PodSample> {
    let buckets = names.latency.suffixed("_bucket");
    let mut pods: BTreeMap<&str, Vec<Counting>> = BTreeMap::new();
    for one in series {
        let pod = one.metric.get(POD).map_or("", String::as_str);
        pods.entry(pod).or_default().extend(Counting::of(one, names, &buckets));
    }
    pods.iter().flat_map(|(pod, counting)| rows_of(pod, counting)).collect()
}

fn rows_of(pod: &str, counting: &[Counting]) -> Vec<PodSample> {
    let requests = counting.iter().filter(|series| series.requests);
    let times: BTreeSet<u64> = requests.flat_map(|series| series.points.keys().copied()).collect();
    let row = |time: &u64| {
        let at = f64::from_bits(*time);
        let mut row = PodSample { pod: pod.to_owned(), at, requests: 0.0, errors: 0.0, buckets: Vec::new() };
        for series in counting {
            let value = series.at(*time, &times)?;
            row.requests += if series.requests { value } else { 0.0 };
            row.errors += if series.errors { value } else { 0.0 };
            if let Some(bound) = series.bucket {
                add(&mut row.buckets, bound, value);
            }
        }
        Some(row)
    };
    times.iter().filter_map(row).collect()
}

fn add(buckets: &mut Vec<(f64, f64)>, bound: f64, value: f64) {
    match buckets.binary_search_by(|(known, _)| known.total_cmp(&bound)) {
        Ok(place) => buckets[place].1 += value,
        Err(place) => buckets.insert(place, (bound, value)),
    }
}

/// Puts sums over processes together, by the moments of their range.
pub(super) fn summed(requests: &[Series], errors: &[Series], buckets: &[Series]) -> Vec<PodSample> {
    let mut rows: BTreeMap<u64, PodSample> = BTreeMap::new();
    for (pod, at, value) in points(requests) {
        let empty = || PodSample { pod: pod.to_owned(), at, requests: 0.0, errors: 0.0, buckets: Vec::new() };
        rows.entry(at.to_bits()).or_insert_with(empty).requests += value;
    }
    for (_, at, value) in points(errors) {
        if let Some(row) = rows.get_mut(&at.to_bits()) {
            row.errors += value;
        }
    }
    for series in buckets {
        let Some(bound) = series.metric.get("le").and_then(|le| bound(le)) else { continue };
        for (_, at, value) in points(std::slice::from_ref(series)) {
            let Some(row) = rows.get_mut(&at.to_bits()) else { continue };
            add(&mut row.buckets, bound, value);
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

    fn names() -> CounterNames {
        let selector = |text| Selector::parse(text).unwrap();
        CounterNames {
            requests: selector("http_requests_total"),
            errors: selector(r#"http_requests_total{status=~"5.."}"#),
            latency: selector("http_request_duration_seconds"),
        }
    }

    #[test]
    fn queries_ask_for_raw_samples() {
        let what = CountersOf {
            target: "east".into(),
            namespace: "shop".into(),
            component: "api".into(),
            owners: vec!["api-r2-7d4f".into()],
            names: names(),
            window: Duration::from_mins(1),
        };
        let own = r#"namespace="shop",pod=~"(?:api-r2-7d4f)-[a-z0-9]+"}"#;
        assert_eq!(
            query(&what),
            format!(r#"{{__name__=~"http_request_duration_seconds_bucket|http_requests_total",{own}[1m]"#)
        );
        assert_eq!(sums(&what)[1], format!(r#"sum(http_requests_total{{status=~"5..",{own})"#));
        assert_eq!(sums(&what)[2], format!("sum by (le) (http_request_duration_seconds_bucket{{{own})"));
        assert_eq!(
            range_form("x", 1000.0, Duration::from_mins(1), Duration::from_secs(15)),
            "query=x&start=940.000&end=1000.000&step=15"
        );
    }

    fn answer(result: &str) -> Vec<Series> {
        let body = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":{result}}}}}"#);
        read(200, body.as_bytes()).unwrap()
    }

    fn row(pod: &str, at: f64, requests: f64, errors: f64, buckets: &[(f64, f64)]) -> PodSample {
        PodSample { pod: pod.into(), at, requests, errors, buckets: buckets.to_vec() }
    }

    /// Series of requests and buckets: pod, status or bound, samples.
    fn series(of: &[(&str, &str, &str)]) -> Vec<Series> {
        let one = |(pod, label, values): &(&str, &str, &str)| {
            let (name, key) = match label.parse::<u16>() {
                Ok(_) => ("http_requests_total", "status"),
                Err(_) => ("http_request_duration_seconds_bucket", "le"),
            };
            format!(
                r#"{{"metric":{{"__name__":"{name}","pod":"{pod}","{key}":"{label}"}},"values":[{values}]}}"#
            )
        };
        answer(&format!("[{}]", of.iter().map(one).collect::<Vec<_>>().join(",")))
    }

    #[test]
    fn series_of_one_scrape_meet() {
        let all = series(&[
            ("a", "200", r#"[1.5,"10"],[16.5,"20"],[31.5,"NaN"]"#),
            ("a", "500", r#"[1.5,"1"],[16.5,"2"],[31.5,"3"]"#),
            ("a", "+Inf", r#"[1.5,"11"],[16.5,"22"],[31.5,"30"]"#),
            ("a", "0.1", r#"[1.5,"9"],[16.5,"20"],[31.5,"30"]"#),
            ("a", "x.", r#"[16.5,"1"]"#),
            ("b", "204", r#"[3.0,"7"]"#),
        ]);
        assert_eq!(
            rows(&names(), &all),
            [
                row("a", 1.5, 11.0, 1.0, &[(0.1, 9.0), (f64::INFINITY, 11.0)]),
                row("a", 16.5, 22.0, 2.0, &[(0.1, 20.0), (f64::INFINITY, 22.0)]),
                row("b", 3.0, 7.0, 0.0, &[]),
            ]
        );
        let other = answer(r#"[{"metric":{"__name__":"other","pod":"a"},"values":[[1.5,"1"]]}]"#);
        assert_eq!(rows(&names(), &other), []);
        let selected = CounterNames {
            requests: Selector::parse(r#"http_requests_total{status="200"}"#).unwrap(),
            ..names()
        };
        let two = series(&[("a", "200", r#"[1,"10"]"#), ("a", "404", r#"[1,"90"]"#)]);
        assert_eq!(rows(&selected, &two), [row("a", 1.0, 10.0, 0.0, &[])], "each counter by its own labels");
        assert!(matches!(read(200, br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#),
            Err(MetricsError::Refused { message }) if message.contains("a vector where raw samples")));
    }
    /// Two servers scrape the same pods at different times, and the store merges what they have, series by series.
    #[test]
    fn a_moment_at_which_a_counter_is_missing_says_nothing() {
        let merged = series(&[
            ("a", "200", r#"[0,"60"],[15,"70"],[30,"80"],[45,"90"]"#),
            ("a", "500", r#"[0,"40"],[22,"41"],[30,"42"],[37,"43"]"#),
        ]);
        assert_eq!(
            rows(&names(), &merged),
            [row("a", 0.0, 100.0, 40.0, &[]), row("a", 30.0, 122.0, 42.0, &[])]
        );
        // A process that is started again tells only what it has counted since.
        let again = series(&[
            ("a", "200", r#"[0,"60"],[15,"70"],[30,"5"],[45,"9"]"#),
            ("a", "500", r#"[0,"40"],[15,"41"]"#),
        ]);
        let expected = [
            row("a", 0.0, 100.0, 40.0, &[]),
            row("a", 15.0, 111.0, 41.0, &[]),
            row("a", 30.0, 5.0, 0.0, &[]),
            row("a", 45.0, 9.0, 0.0, &[]),
        ];
        assert_eq!(rows(&names(), &again), expected);
        // The first failed request makes a series of its own.
        let first =
            series(&[("a", "200", r#"[0,"60"],[15,"70"],[30,"80"]"#), ("a", "500", r#"[15,"1"],[30,"2"]"#)]);
        assert_eq!(rows(&names(), &first), [row("a", 15.0, 71.0, 1.0, &[]), row("a", 30.0, 82.0, 2.0, &[])]);
    }

    #[test]
    fn sums_meet_at_the_moments_of_their_range() {
        let one = |values: &str| answer(&format!(r#"[{{"metric":{{}},"values":[{values}]}}]"#));
        let buckets = answer(
            r#"[{"metric":{"le":"0.1"},"values":[[15,"18"]]},{"metric":{"le":"+Inf"},"values":[[15,"20"]]}]"#,
        );
        assert_eq!(
            summed(&one(r#"[0,"10"],[15,"20"]"#), &one(r#"[15,"2"],[30,"3"]"#), &buckets),
            [row("", 0.0, 10.0, 0.0, &[]), row("", 15.0, 20.0, 2.0, &[(0.1, 18.0), (f64::INFINITY, 20.0)])]
        );
    }
}
