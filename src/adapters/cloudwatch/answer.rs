//! What `GetMetricData` answers. Pure.

use super::request::{REQUESTS, VALUE};
use crate::adapters::web;
use crate::ports::metrics::Reading;
use serde::Deserialize;

/// Why there is no reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Throttled: a later request may pass.
    Busy(String),
    /// It failed, or was not reached.
    Down(String),
    /// The credentials are refused.
    Denied(String),
    /// The request is wrong.
    Refused(String),
}

impl Failed {
    /// Whether it is worth another try at once.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Down(_))
    }
}

/// One page.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    pub series: Vec<Series>,
    pub next: Option<String>,
}

/// One series, newest data point first.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Series {
    id: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    timestamps: Vec<f64>,
    #[serde(default)]
    values: Vec<f64>,
    #[serde(default)]
    status_code: String,
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(default)]
    code: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    metric_data_results: Vec<Series>,
    #[serde(default)]
    next_token: Option<String>,
}

/// An error of the JSON protocol; some services write `Message`.
#[derive(Default, Deserialize)]
struct Error {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(default, alias = "Message")]
    message: String,
}

pub(super) fn read(status: u16, body: &[u8]) -> Result<Page, Failed> {
    if status == 200 {
        let wrong = |error: serde_json::Error| Failed::Down(format!("the answer is not understood: {error}"));
        let answer: Answer = serde_json::from_slice(body).map_err(wrong)?;
        return Ok(Page {
            series: answer.metric_data_results,
            next: answer.next_token.filter(|t| !t.is_empty()),
        });
    }
    let error: Error = serde_json::from_slice(body).unwrap_or_default();
    let kind = error.kind.rsplit('#').next().unwrap_or_default().to_owned();
    let words = match (kind.as_str(), error.message.as_str()) {
        ("", _) => format!("{status} {}", web::line(body)),
        (kind, "") => format!("{status} {kind}"),
        (kind, message) => format!("{status} {kind}: {message}"),
    };
    Err(match kind.as_str() {
        _ if kind.starts_with("Throttl")
            || kind == "RequestLimitExceeded"
            || kind == "LimitExceededFault" =>
        {
            Failed::Busy(words)
        }
        "AccessDenied"
        | "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidClientTokenIdException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "NotAuthorized"
        | "OptInRequired" => Failed::Denied(words),
        _ => match status {
            429 => Failed::Busy(words),
            401 | 403 => Failed::Denied(words),
            400..=499 => Failed::Refused(words),
            _ => Failed::Down(words),
        },
    })
}

/// Puts a page behind those before it: a series may go on on the next one.
pub(super) fn merge(found: &mut Vec<Series>, page: Vec<Series>) {
    for series in page {
        match found.iter_mut().find(|known| known.id == series.id && known.label == series.label) {
            Some(known) => {
                known.timestamps.extend(series.timestamps);
                known.values.extend(series.values);
                known.messages.extend(series.messages);
                known.status_code = series.status_code;
            }
            None => found.push(series),
        }
    }
}

/// The newest data point of the value, and the sum of the requests.
pub(super) fn reading(found: &[Series], counts: bool) -> Result<Reading, Failed> {
    let value = single(found, VALUE)?;
    let requests = if counts { single(found, REQUESTS)? } else { None };
    // A counter of requests is only written when there are some: an empty series counts none.
    let sum = |series: &Series| series.values.iter().filter(|value| value.is_finite()).sum::<f64>();
    Ok(Reading { value: value.and_then(newest), requests: counts.then(|| requests.map_or(0.0, sum)) })
}

fn newest(series: &Series) -> Option<f64> {
    let points = series.timestamps.iter().zip(&series.values);
    let newest = points.max_by(|(one, _), (other, _)| one.total_cmp(other));
    newest.map(|(_, value)| *value).filter(|value| value.is_finite())
}

/// The one series of an id, if its account is whole.
fn single<'s>(found: &'s [Series], id: &str) -> Result<Option<&'s Series>, Failed> {
    let all: Vec<&Series> = found.iter().filter(|series| series.id == id).collect();
    let Some(series) = all.first() else { return Ok(None) };
    if all.len() > 1 {
        let labels: Vec<&str> = all.iter().take(3).map(|series| series.label.as_str()).collect();
        return Err(Failed::Refused(format!(
            "it gives {} series where one number is wanted: {}{}; wrap it in SUM(…), MAX(…) or AVG(…)",
            all.len(),
            labels.join(", "),
            if all.len() > 3 { ", …" } else { "" }
        )));
    }
    let why = series.messages.iter().map(|message| format!(": {} {}", message.code, message.value));
    let why: String = why.collect();
    match series.status_code.as_str() {
        "Forbidden" => Err(Failed::Denied(format!("{} is forbidden{why}", series.label))),
        "InternalError" => Err(Failed::Down(format!("an internal error of CloudWatch{why}"))),
        // Its newest points come first, so what is missing is older than what is judged.
        _ => Ok(Some(series)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pages(pages: &[Value]) -> Result<Reading, Failed> {
        let mut found = Vec::new();
        for page in pages {
            merge(&mut found, read(200, page.to_string().as_bytes())?.series);
        }
        reading(&found, true)
    }

    fn result(id: &str, values: &[f64], status: &str) -> Value {
        let times: Vec<i64> = (0..values.len() as i64).map(|at| 1_772_359_320 - 60 * at).collect();
        json!({"Id": id, "Label": "l", "Timestamps": times, "Values": values, "StatusCode": status})
    }

    fn page(results: &[Value]) -> Value {
        json!({"MetricDataResults": results})
    }

    #[test]
    fn the_newest_point_is_judged_and_requests_are_summed() {
        let (value, requests) = ("deployctl_value", "deployctl_requests");
        let all = |values: &[f64], counted: &[f64]| {
            pages(&[page(&[result(value, values, "Complete"), result(requests, counted, "Complete")])])
        };
        assert_eq!(all(&[3.0, 7.0], &[40.0, 20.0]), Ok(Reading { value: Some(3.0), requests: Some(60.0) }));
        assert_eq!(all(&[], &[]), Ok(Reading { value: None, requests: Some(0.0) }));
        assert_eq!(pages(&[page(&[])]), Ok(Reading { value: None, requests: Some(0.0) }));
        let first = page(&[result(value, &[3.0], "PartialData"), result(requests, &[40.0], "PartialData")]);
        let second = page(&[result(requests, &[2.0], "Complete")]);
        assert_eq!(pages(&[first, second]), Ok(Reading { value: Some(3.0), requests: Some(42.0) }));
    }

    #[test]
    fn a_result_that_is_none_is_told() {
        let (mut many, mut other) = (result("deployctl_value", &[1.0], "Complete"), json!({}));
        many["Label"] = json!("a");
        other.clone_from(&many);
        other["Label"] = json!("b");
        let Err(Failed::Refused(words)) = pages(&[page(&[many, other])]) else { panic!("two series") };
        assert_eq!(
            words,
            "it gives 2 series where one number is wanted: a, b; wrap it in SUM(…), MAX(…) or AVG(…)"
        );
        let mut failed = result("deployctl_value", &[], "InternalError");
        failed["Messages"] = json!([{"Code": "InternalError", "Value": "try again"}]);
        assert_eq!(
            pages(&[page(&[failed])]),
            Err(Failed::Down("an internal error of CloudWatch: InternalError try again".into()))
        );
        let forbidden = result("deployctl_value", &[], "Forbidden");
        assert_eq!(pages(&[page(&[forbidden])]), Err(Failed::Denied("l is forbidden".into())));
    }

    #[test]
    fn errors_are_told_apart() {
        let words = |kind: &str| json!({"__type": kind, "message": "m"}).to_string();
        for (status, body, expected) in [
            (
                400,
                words("com.amazon.coral.service#ThrottlingException"),
                Failed::Busy("400 ThrottlingException: m".into()),
            ),
            (400, words("Throttling"), Failed::Busy("400 Throttling: m".into())),
            (429, String::new(), Failed::Busy("429 ".into())),
            (403, words("AccessDenied"), Failed::Denied("403 AccessDenied: m".into())),
            (
                400,
                words("UnrecognizedClientException"),
                Failed::Denied("400 UnrecognizedClientException: m".into()),
            ),
            (400, words("ValidationError"), Failed::Refused("400 ValidationError: m".into())),
            (500, words("InternalFailure"), Failed::Down("500 InternalFailure: m".into())),
            (502, "<html>\nBad Gateway".to_owned(), Failed::Down("502 <html>".into())),
        ] {
            assert_eq!(read(status, body.as_bytes()), Err(expected), "{body}");
        }
        assert!(matches!(read(200, b"<html>"), Err(Failed::Down(_))));
    }
}
