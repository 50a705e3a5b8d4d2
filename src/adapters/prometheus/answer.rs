//! What a Prometheus server's answer says. Pure.

use crate::adapters::web;
use crate::ports::metrics::MetricsError;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// How a cause begins where somebody answered who lets us not in.
pub(super) const REFUSES: &str = "refuses these credentials";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Sample,
}

/// Time and value; the value is a text, since JSON has no NaN.
#[derive(Deserialize)]
struct Sample(#[allow(dead_code, reason = "the time of an instant query is now")] f64, String);

/// What a query gives: the kind of the result, and it.
pub(super) fn data(status: u16, body: &[u8]) -> Result<(String, Value), MetricsError> {
    let down = |message: String| MetricsError::Down { message };
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        let line = web::line(body);
        return Err(match status {
            401 | 403 => MetricsError::Denied { message: format!("{REFUSES}: {status} {line}") },
            _ => down(format!("no Prometheus answers there: {status} {line}")),
        });
    };
    if answer.status != "success" {
        let Answer { error_type, error, .. } = answer;
        return Err(match error_type.as_str() {
            "bad_data" => MetricsError::Refused { message: error },
            // A gateway before the store that speaks its language (Mimir, Thanos with a tenant, Amazon's).
            kind if matches!(status, 401 | 403) => {
                MetricsError::Denied { message: format!("{REFUSES}: {status} {kind}: {error}") }
            }
            // What fails in the middle (too many samples, a store behind Thanos, series that overlap while pods
            // change) may work in a minute.
            kind => down(format!("{status} {kind}: {error}")),
        });
    }
    let Some(Data { result_type, result }) = answer.data else {
        return Err(down("the answer holds no data".to_owned()));
    };
    Ok((result_type, result))
}

/// The one number that an instant query gives, if there is one.
pub(super) fn read(status: u16, body: &[u8]) -> Result<Option<f64>, MetricsError> {
    let (result_type, result) = data(status, body)?;
    let odd =
        |e: serde_json::Error| MetricsError::Down { message: format!("the answer is not understood: {e}") };
    let sample = match result_type.as_str() {
        "scalar" => Some(serde_json::from_value::<Sample>(result).map_err(odd)?),
        "vector" => {
            let series: Vec<Series> = serde_json::from_value(result).map_err(odd)?;
            if series.len() > 1 {
                return Err(MetricsError::Refused { message: too_many(&series) });
            }
            series.into_iter().next().map(|series| series.value)
        }
        other => {
            return Err(MetricsError::Refused {
                message: format!(
                    "it gives a {other}, not one number; is there a function such as rate() missing?"
                ),
            });
        }
    };
    let value = sample.and_then(|Sample(_, text)| text.parse::<f64>().ok());
    // 0/0 of a side without traffic, or a quantile of nothing: no data. More than any number is a value: failures divided
    // by successes, where there are none of these.
    Ok(value.filter(|value| !value.is_nan()))
}

fn too_many(series: &[Series]) -> String {
    let mut shown: Vec<String> = series
        .iter()
        .take(3)
        .map(|series| {
            let labels: Vec<String> =
                series.metric.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
            format!("{{{}}}", labels.join(","))
        })
        .collect();
    if series.len() > 3 {
        shown.push("…".to_owned());
    }
    format!(
        "it gives {} series where one number is wanted: {}; wrap it in sum(…), max(…) or avg(…)",
        series.len(),
        shown.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn success(data: &str) -> Result<Option<f64>, MetricsError> {
        read(200, format!(r#"{{"status":"success","data":{data}}}"#).as_bytes())
    }

    fn vector(values: &[&str]) -> Result<Option<f64>, MetricsError> {
        let series: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(n, value)| format!(r#"{{"metric":{{"pod":"p{n}"}},"value":[1767582000.123,"{value}"]}}"#))
            .collect();
        success(&format!(r#"{{"resultType":"vector","result":[{}]}}"#, series.join(",")))
    }

    #[test]
    fn one_number_or_none_is_read() {
        assert_eq!(vector(&["0.041"]), Ok(Some(0.041)));
        assert_eq!(vector(&[]), Ok(None));
        assert_eq!(vector(&["NaN"]), Ok(None));
        assert_eq!(vector(&["+Inf"]), Ok(Some(f64::INFINITY)));
        assert_eq!(vector(&["-Inf"]), Ok(Some(f64::NEG_INFINITY)));
        assert_eq!(success(r#"{"resultType":"scalar","result":[1767582000,"7"]}"#), Ok(Some(7.0)));
    }

    #[test]
    fn what_is_no_number_is_refused_with_advice() {
        let Err(MetricsError::Refused { message }) = vector(&["1", "2", "3", "4"]) else {
            panic!("four series")
        };
        assert_eq!(
            message,
            "it gives 4 series where one number is wanted: {pod=\"p0\"} {pod=\"p1\"} {pod=\"p2\"} …; wrap it in sum(…), \
             max(…) or avg(…)"
        );
        assert!(matches!(
            success(r#"{"resultType":"matrix","result":[]}"#),
            Err(MetricsError::Refused { .. })
        ));
        let bad = br#"{"status":"error","errorType":"bad_data","error":"parse error: unexpected )"}"#;
        assert_eq!(
            read(400, bad),
            Err(MetricsError::Refused { message: "parse error: unexpected )".into() })
        );
    }

    #[test]
    fn refused_credentials_are_no_failure_of_the_store() {
        for (status, body, words) in [
            (401, "Unauthorized\n", "401 Unauthorized"),
            (
                403,
                r#"{"message":"Missing Authentication Token"}"#,
                r#"403 {"message":"Missing Authentication Token"}"#,
            ),
            (
                401,
                r#"{"status":"error","errorType":"bad_auth","error":"no org id"}"#,
                "401 bad_auth: no org id",
            ),
        ] {
            assert_eq!(
                read(status, body.as_bytes()),
                Err(MetricsError::Denied { message: format!("refuses these credentials: {words}") })
            );
        }
    }

    #[test]
    fn what_may_pass_is_no_refusal() {
        for (status, body) in [
            (422, r#"{"status":"error","errorType":"execution","error":"too many samples"}"#),
            (503, r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#),
            (502, "<html>Bad Gateway</html>"),
            (404, "404 page not found"),
            (200, ""),
        ] {
            assert!(matches!(read(status, body.as_bytes()), Err(MetricsError::Down { .. })), "{body}");
        }
    }
}
