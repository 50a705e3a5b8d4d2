//! What a document says at a pointer. Pure.

use crate::adapters::web;
use crate::domain::metric_store::HttpQuery;
use crate::ports::metrics::{MetricsError, Reading};
use serde_json::Value;

pub(super) fn read(host: &str, status: u16, body: &[u8], query: &HttpQuery) -> Result<Reading, MetricsError> {
    let words = || format!("{host}: {status} {}", web::line(body)).trim_end().to_owned();
    match status {
        200..=299 => {}
        401 | 403 => {
            let message = format!("{host} refuses these credentials: {}; check http.headers", words());
            return Err(MetricsError::Denied { message });
        }
        408 | 429 | 500.. => return Err(MetricsError::Down { message: words() }),
        300..=399 => {
            let message = format!(
                "{host}: {status}, a redirect, which is not followed; name the new place in http.url"
            );
            return Err(MetricsError::Refused { message });
        }
        _ => return Err(MetricsError::Refused { message: words() }),
    }
    let document: Value = serde_json::from_slice(body)
        .or_else(|_| serde_json::from_str(&without_bare_numbers(&String::from_utf8_lossy(body))))
        .map_err(|error| MetricsError::Refused {
            message: format!("{host} answers no JSON: {error}: {}", web::line(body)),
        })?;
    let requests =
        query.requests.as_ref().map(|pointer| number(&document, "requests", pointer)).transpose()?;
    Ok(Reading { value: number(&document, "value", &query.value)?, requests: requests.flatten() })
}

/// The number at a pointer; nothing there, `null` and what is not finite are no data.
fn number(document: &Value, key: &str, pointer: &str) -> Result<Option<f64>, MetricsError> {
    let odd = |what: &str| MetricsError::Refused {
        message: format!("http.{key}: {what} stands at {pointer}, where a number is wanted"),
    };
    let number = match document.pointer(pointer) {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) => number.as_f64(),
        // Many interfaces write numbers in quotes, since JSON has no NaN.
        Some(Value::String(text)) => match text.trim().parse::<f64>() {
            Ok(number) => Some(number),
            Err(_) => return Err(odd(&format!("the text `{}`", web::line(text.as_bytes())))),
        },
        Some(Value::Bool(_)) => return Err(odd("true or false")),
        Some(Value::Array(_)) => return Err(odd("a list")),
        Some(Value::Object(_)) => return Err(odd("a mapping")),
    };
    Ok(number.filter(|number| number.is_finite()))
}

/// Some writers put `NaN` and `Infinity` bare into JSON: `null` in their place, outside of strings.
fn without_bare_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (place, part) in strings_apart(text) {
        if place == Place::Inside {
            out.push_str(part);
        } else {
            let part = ["-Infinity", "Infinity", "NaN"]
                .iter()
                .fold(part.to_owned(), |part, word| part.replace(word, "null"));
            out.push_str(&part);
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Inside,
    Outside,
}

/// The text cut at the ends of its strings.
fn strings_apart(text: &str) -> Vec<(Place, &str)> {
    let mut parts = Vec::new();
    let (mut from, mut place, mut escaped) = (0, Place::Outside, false);
    for (at, byte) in text.bytes().enumerate() {
        match (place, byte) {
            (Place::Inside, b'\\') if !escaped => {
                escaped = true;
                continue;
            }
            (_, b'"') if !escaped => {
                parts.push((place, &text[from..at]));
                from = at;
                place = if place == Place::Inside { Place::Outside } else { Place::Inside };
            }
            _ => {}
        }
        escaped = false;
    }
    parts.push((place, &text[from..]));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> HttpQuery {
        HttpQuery {
            url: String::new(),
            method: "GET".into(),
            headers: std::collections::BTreeMap::new(),
            body: None,
            value: "/data/0/value".into(),
            requests: Some("/data/0/count".into()),
        }
    }

    fn ok(body: &str) -> Result<Reading, MetricsError> {
        read("stats", 200, body.as_bytes(), &query())
    }

    #[test]
    fn numbers_are_found_at_their_pointers() {
        let reading = |value, requests| Ok(Reading { value, requests });
        assert_eq!(ok(r#"{"data":[{"value":0.25,"count":12}]}"#), reading(Some(0.25), Some(12.0)));
        assert_eq!(ok(r#"{"data":[{"value":"1e-3","count":"7"}]}"#), reading(Some(0.001), Some(7.0)));
        for nothing in [
            r#"{"data":[]}"#,
            "{}",
            "[]",
            r#"{"data":[{"value":null}]}"#,
            r#"{"data":[{"value":"NaN"}]}"#,
            r#"{"say":"a \"NaN\" of {","data":[{"value":NaN,"count":-Infinity}]}"#,
        ] {
            assert_eq!(ok(nothing), reading(None, None), "{nothing}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused_in_words() {
        for (value, words) in [
            (r#""high""#, "http.value: the text `high` stands at /data/0/value, where a number is wanted"),
            ("true", "http.value: true or false stands at /data/0/value, where a number is wanted"),
            ("[1]", "http.value: a list stands at /data/0/value, where a number is wanted"),
            ("{}", "http.value: a mapping stands at /data/0/value, where a number is wanted"),
        ] {
            let body = format!(r#"{{"data":[{{"value":{value}}}]}}"#);
            assert_eq!(ok(&body), Err(MetricsError::Refused { message: words.into() }));
        }
        let Err(MetricsError::Refused { message }) = ok("<html>") else { panic!("no JSON") };
        assert!(message.starts_with("stats answers no JSON: "), "{message}");
    }

    #[test]
    fn statuses_are_told_apart() {
        let down = |words: &str| Err(MetricsError::Down { message: words.into() });
        let refused = |words: &str| Err(MetricsError::Refused { message: words.into() });
        let status = |status, body: &str| read("stats", status, body.as_bytes(), &query());
        assert_eq!(status(503, "busy"), down("stats: 503 busy"));
        assert_eq!(status(429, ""), down("stats: 429"));
        assert_eq!(status(404, "no such series"), refused("stats: 404 no such series"));
        assert!(matches!(status(302, ""), Err(MetricsError::Refused { .. })));
        assert!(matches!(status(401, "no"), Err(MetricsError::Denied { message }) if message
            == "stats refuses these credentials: stats: 401 no; check http.headers"));
    }
}
