//! What `GetMetricData` is sent. Pure.

use crate::adapters::templates::{render, values};
use crate::domain::metric_store::{CloudWatchQuery, CloudWatchSeries, CloudWatchValue};
use crate::ports::metrics::{Measurement, MetricsError};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// Id of what is judged; ids of an environment may not begin so.
pub(super) const VALUE: &str = "deployctl_value";
/// Id of the series that counts requests.
pub(super) const REQUESTS: &str = "deployctl_requests";

/// The queries with their templates filled in.
pub(super) struct Filled {
    queries: Vec<Value>,
    period: Duration,
}

pub(super) fn filled(what: &Measurement, query: &CloudWatchQuery) -> Result<Filled, MetricsError> {
    let period = query.period.as_secs();
    let series = |id: &str, series: &CloudWatchSeries, returned: bool| {
        let stat = stat(what, id, series, period)?;
        Ok::<Value, MetricsError>(json!({"Id": id, "MetricStat": stat, "ReturnData": returned}))
    };
    let mut queries = Vec::new();
    match &query.value {
        CloudWatchValue::Series(one) => queries.push(series(VALUE, one, true)?),
        CloudWatchValue::Expression(text) => {
            let text = render("cloudwatch.expression", text, &values(what, str::to_owned))?;
            queries.push(json!({"Id": VALUE, "Expression": text, "Period": period, "ReturnData": true}));
            for (id, one) in &query.queries {
                queries.push(series(id, one, false)?);
            }
        }
    }
    if let Some(one) = query.requests.as_ref().and_then(|id| query.queries.get(id)) {
        queries.push(series(REQUESTS, one, true)?);
    }
    Ok(Filled { queries, period: query.period })
}

fn stat(what: &Measurement, id: &str, series: &CloudWatchSeries, period: u64) -> Result<Value, MetricsError> {
    let known = values(what, str::to_owned);
    let text = |text: &str| render(&format!("cloudwatch.queries.{id}"), text, &known);
    let dimensions = series
        .dimensions
        .iter()
        .map(|(name, value)| Ok(json!({"Name": name, "Value": text(value)?})))
        .collect::<Result<Vec<Value>, MetricsError>>()?;
    let metric = json!({"Namespace": text(&series.namespace)?, "MetricName": text(&series.name)?,
        "Dimensions": dimensions});
    let mut stat = json!({"Metric": metric, "Period": period, "Stat": series.stat});
    if let Some(unit) = &series.unit {
        stat["Unit"] = json!(unit);
    }
    Ok(stat)
}

/// A request for the periods that lie whole in the window before now: one that still runs would be judged by a part of it.
pub(super) fn body(filled: &Filled, window: Duration, now: Timestamp, token: Option<&str>) -> Value {
    let period = i64::try_from(filled.period.as_secs().max(1)).unwrap_or(i64::MAX);
    let window = i64::try_from(window.as_secs()).unwrap_or(i64::MAX);
    // Finer than a minute, periods begin at whole multiples of themselves; else at whole minutes.
    let grain = period.min(60);
    let end = now.as_second() / grain * grain;
    let periods = (window / period).max(1);
    let mut body = json!({"MetricDataQueries": filled.queries, "StartTime": end - periods * period, "EndTime": end,
        "ScanBy": "TimestampDescending"});
    if let Some(token) = token {
        body["NextToken"] = json!(token);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::gate::Metric;
    use crate::domain::ids::{ComponentId, TargetId};
    use std::collections::BTreeMap;

    fn series(name: &str, dimension: &str) -> CloudWatchSeries {
        CloudWatchSeries {
            namespace: "Shop/{{ region }}".into(),
            name: name.into(),
            dimensions: BTreeMap::from([("Version".to_owned(), dimension.to_owned())]),
            stat: "Sum".into(),
            unit: None,
        }
    }

    fn query(value: CloudWatchValue) -> CloudWatchQuery {
        CloudWatchQuery {
            value,
            queries: BTreeMap::from([("all".to_owned(), series("Requests", "{{ version }}"))]),
            requests: Some("all".to_owned()),
            period: Duration::from_mins(1),
            region: None,
            profile: None,
            role: None,
        }
    }

    fn measurement(query: &CloudWatchQuery) -> Measurement {
        Measurement {
            metric: Metric::CloudWatch(Box::new(query.clone())),
            target: TargetId::from("east"),
            region: "us-east-1".into(),
            namespace: "shop".into(),
            component: ComponentId::from("api"),
            owners: vec!["api-r2-abc".into()],
            version: Some("1.4.0".into()),
            revision: Some("2".into()),
            window: Duration::from_mins(5),
        }
    }

    #[test]
    fn the_request_is_what_the_api_takes() {
        let query = query(CloudWatchValue::Series(series("Errors", "{{ component }}-{{ version }}")));
        let filled = filled(&measurement(&query), &query).unwrap();
        let now: Timestamp = "2026-03-01T10:07:31Z".parse().unwrap();
        let stat = |name: &str, version: &str| {
            json!({"Metric": {"Namespace": "Shop/us-east-1", "MetricName": name,
                "Dimensions": [{"Name": "Version", "Value": version}]}, "Period": 60, "Stat": "Sum"})
        };
        assert_eq!(
            body(&filled, Duration::from_mins(5), now, Some("more")),
            json!({"MetricDataQueries": [
                {"Id": "deployctl_value", "MetricStat": stat("Errors", "api-1.4.0"), "ReturnData": true},
                {"Id": "deployctl_requests", "MetricStat": stat("Requests", "1.4.0"), "ReturnData": true}],
                "StartTime": 1_772_359_320, "EndTime": 1_772_359_620, "ScanBy": "TimestampDescending",
                "NextToken": "more"})
        );
    }

    #[test]
    fn formulas_carry_the_series_that_they_name() {
        let query = query(CloudWatchValue::Expression("100 * all / 2".into()));
        let filled = filled(&measurement(&query), &query).unwrap();
        let seen: Vec<(&str, bool)> = filled
            .queries
            .iter()
            .map(|query| (query["Id"].as_str().unwrap(), query["ReturnData"].as_bool().unwrap()))
            .collect();
        assert_eq!(seen, [("deployctl_value", true), ("all", false), ("deployctl_requests", true)]);
        assert_eq!(filled.queries[0]["Expression"], "100 * all / 2");
    }

    #[test]
    fn only_whole_periods_are_asked_for() {
        let filled = |seconds| Filled { queries: Vec::new(), period: Duration::from_secs(seconds) };
        let now = Timestamp::from_second(1_000_037).unwrap();
        for (period, window, expected) in [
            (60, 60, (999_960, 1_000_020)),
            (300, 60, (999_720, 1_000_020)),
            (10, 30, (1_000_000, 1_000_030)),
        ] {
            let body = body(&filled(period), Duration::from_secs(window), now, None);
            let times = (body["StartTime"].as_i64().unwrap(), body["EndTime"].as_i64().unwrap());
            assert_eq!(times, expected, "{period} {window}");
            assert!(body.get("NextToken").is_none());
        }
    }

    #[test]
    fn what_is_not_known_is_told() {
        let query = query(CloudWatchValue::Series(series("Errors", "{{ revision }}")));
        let mut what = measurement(&query);
        what.revision = None;
        let Err(MetricsError::Refused { message }) = filled(&what, &query).map(|_| ()) else { panic!() };
        assert!(message.starts_with("cloudwatch.queries.deployctl_value: undefined value"), "{message}");
    }
}
