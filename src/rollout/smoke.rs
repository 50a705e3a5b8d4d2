//! Whether an HTTP answer passes a smoke test.

use crate::domain::environment::SmokeTest;
use crate::domain::secret::redact;
use crate::domain::units;
use crate::ports::probe::{HttpAnswer, ProbeError};
use serde_json::Value;

/// Judges one attempt; the error says what was wrong with the answer.
pub fn judge(test: &SmokeTest, answer: &Result<HttpAnswer, ProbeError>) -> Result<String, String> {
    let answer = answer.as_ref().map_err(|error| error.message.clone())?;
    if answer.status != test.status {
        return Err(format!(
            "answered {} instead of {}: {}",
            answer.status,
            test.status,
            excerpt(&answer.body)
        ));
    }
    if let Some(text) = &test.body_contains
        && !answer.body.contains(text.as_str())
    {
        return Err(format!("the body does not contain {text:?}: {}", excerpt(&answer.body)));
    }
    check_json(test, &answer.body)?;
    if answer.latency > test.max_latency {
        let (took, limit) = (units::human(answer.latency), units::human(test.max_latency));
        return Err(format!("took {took}, more than {limit}"));
    }
    Ok(format!("{} in {}", answer.status, units::human(answer.latency)))
}

fn check_json(test: &SmokeTest, body: &str) -> Result<(), String> {
    if test.json.is_empty() {
        return Ok(());
    }
    let value: Value =
        serde_json::from_str(body).map_err(|_| format!("the body is no JSON: {}", excerpt(body)))?;
    for (pointer, wanted) in &test.json {
        match value.pointer(pointer) {
            Some(found) if found == wanted => {}
            Some(found) => return Err(format!("{pointer} is {found} instead of {wanted}")),
            None => return Err(format!("{pointer} is missing in {}", excerpt(body))),
        }
    }
    Ok(())
}

/// The first 120 characters of a body, on one line.
fn excerpt(body: &str) -> String {
    let body = redact(body);
    let line: String = body.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect();
    if line.trim().is_empty() { "(empty body)".to_owned() } else { line.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::environment::Through;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn test() -> SmokeTest {
        SmokeTest {
            name: "health".into(),
            component: "api".into(),
            method: "GET".into(),
            path: "/health".into(),
            host: None,
            headers: BTreeMap::new(),
            through: Through::Ingress,
            status: 200,
            body_contains: Some("ok".into()),
            json: BTreeMap::from([("/status".to_owned(), Value::from("ok"))]),
            max_latency: Duration::from_millis(500),
            timeout: Duration::from_secs(5),
            attempts: 3,
            retry_delay: Duration::from_secs(1),
        }
    }

    #[test]
    fn an_answer_passes_only_when_all_of_it_is_as_expected() {
        let answer = |status, body: &str, millis| {
            Ok(HttpAnswer {
                status,
                headers: BTreeMap::new(),
                body: body.into(),
                latency: Duration::from_millis(millis),
            })
        };
        let good = r#"{"status":"ok"}"#;
        let cases = [
            (answer(200, good, 30), Ok("200 in 30ms")),
            (answer(503, "no endpoints", 1), Err("answered 503 instead of 200: no endpoints")),
            (answer(200, "fine", 1), Err("the body does not contain \"ok\": fine")),
            (answer(200, "ok", 1), Err("the body is no JSON: ok")),
            (answer(200, r#"{"status":"bad ok"}"#, 1), Err("/status is \"bad ok\" instead of \"ok\"")),
            (answer(200, r#"{"x":"ok"}"#, 1), Err("/status is missing in {\"x\":\"ok\"}")),
            (answer(200, good, 900), Err("took 900ms, more than 500ms")),
            (Err(ProbeError { message: "connection refused".into() }), Err("connection refused")),
        ];
        for (answer, expected) in cases {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(judge(&test(), &answer), expected);
        }
    }
}
