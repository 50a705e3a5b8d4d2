//! The counters behind a comparison with stable: which ones they are, and what a process said of them at one moment.

use regex::Regex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Which counters tell requests, errors and latency; the same words select them in Prometheus and in a pod's own
/// `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterNames {
    /// Counter of all requests.
    pub requests: Selector,
    /// Counter of the failed ones among them.
    pub errors: Selector,
    /// Histogram of their durations in seconds, by its base name (without `_bucket`).
    pub latency: Selector,
}

/// What one process had counted at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSample {
    /// Its pod.
    pub pod: String,
    /// Seconds since the epoch, by the clock of whoever scraped.
    pub at: f64,
    /// Requests.
    pub requests: f64,
    /// Failed ones among them.
    pub errors: f64,
    /// Requests no slower than each bound: seconds and count, by rising bound, `+Inf` last; empty without a histogram.
    pub buckets: Vec<(f64, f64)>,
}

/// A bound of a histogram; negative ones are of no latency.
#[must_use]
pub fn bound(le: &str) -> Option<f64> {
    let bound = match le {
        "+Inf" | "Inf" | "inf" | "+inf" => f64::INFINITY,
        le => le.parse().ok()?,
    };
    (bound >= 0.0).then_some(bound)
}

/// A `PromQL` vector selector without a range: `http_requests_total{status=~"5.."}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    /// Name of the metric.
    pub name: String,
    matchers: Vec<Matcher>,
}

#[derive(Clone, Debug)]
struct Matcher {
    label: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Is(String),
    IsNot(String),
    Like(String, Regex),
    Unlike(String, Regex),
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (name, rest) = text.split_once('{').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let name = name.trim();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if name.is_empty() || !name.chars().all(word) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("`{name}` is no name of a metric"));
        }
        let mut selector = Self { name: name.to_owned(), matchers: Vec::new() };
        let Some(rest) = rest else { return Ok(selector) };
        let mut rest = rest.trim_start();
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                return if after.trim().is_empty() {
                    Ok(selector)
                } else {
                    Err(format!(
                        "`{}` stands after the selector; ranges and functions do not belong here",
                        after.trim()
                    ))
                };
            }
            let (matcher, after) = matcher(rest)?;
            selector.matchers.push(matcher);
            rest = after.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if rest.starts_with('}') => rest,
                None => return Err("a matcher ends without `,` or `}`".to_owned()),
            };
        }
    }

    /// Whether a series of this metric is meant, by its labels.
    #[must_use]
    pub fn fits(&self, label: &dyn Fn(&str) -> Option<String>) -> bool {
        self.matchers.iter().all(|matcher| {
            // a label that is not there is an empty one
            let value = label(&matcher.label).unwrap_or_default();
            match &matcher.test {
                Test::Is(text) => value == *text,
                Test::IsNot(text) => value != *text,
                Test::Like(_, regex) => regex.is_match(&value),
                Test::Unlike(_, regex) => !regex.is_match(&value),
            }
        })
    }

    /// The same of another metric, such as a histogram's buckets.
    #[must_use]
    pub fn suffixed(&self, suffix: &str) -> Self {
        Self { name: format!("{}{suffix}", self.name), ..self.clone() }
    }

    /// As `PromQL`, with more conditions.
    #[must_use]
    pub fn with(&self, more: &[(&str, &str, &str)]) -> String {
        let own = self.matchers.iter().map(Matcher::words);
        format!("{}{}", self.name, braced(own.chain(more.iter().copied())))
    }

    /// As `PromQL`, all series that any of some selectors means, with more conditions; and maybe others, which [`fits`]
    /// tells apart: only the conditions that all of them share are asked for.
    ///
    /// [`fits`]: Self::fits
    #[must_use]
    pub fn any_of(selectors: &[&Self], more: &[(&str, &str, &str)]) -> String {
        // A metric's name holds nothing that a regular expression could mistake.
        let names: BTreeSet<&str> = selectors.iter().map(|selector| selector.name.as_str()).collect();
        let names = names.into_iter().collect::<Vec<_>>().join("|");
        let (first, others) =
            selectors.split_first().map_or((None, selectors), |(one, more)| (Some(*one), more));
        let shared =
            first.into_iter().flat_map(|first| first.matchers.iter().map(Matcher::words)).filter(|words| {
                others.iter().all(|other| other.matchers.iter().any(|matcher| matcher.words() == *words))
            });
        braced([("__name__", "=~", names.as_str())].into_iter().chain(shared).chain(more.iter().copied()))
    }
}

impl Matcher {
    /// Label, sign and text.
    fn words(&self) -> (&str, &str, &str) {
        let (sign, text) = match &self.test {
            Test::Is(text) => ("=", text),
            Test::IsNot(text) => ("!=", text),
            Test::Like(text, _) => ("=~", text),
            Test::Unlike(text, _) => ("!~", text),
        };
        (&self.label, sign, text)
    }
}

fn braced<'m>(matchers: impl Iterator<Item = (&'m str, &'m str, &'m str)>) -> String {
    let mut out = "{".to_owned();
    for (index, (label, sign, text)) in matchers.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{label}{sign}\"{}\"", escaped(text));
    }
    out.push('}');
    out
}

/// One matcher, and what follows it.
fn matcher(selector: &str) -> Result<(Matcher, &str), String> {
    let end = selector.find(['=', '!', '}', ',']).unwrap_or(selector.len());
    let label = selector[..end].trim();
    if label.is_empty() || !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!("`{label}` is no name of a label"));
    }
    let sign = ["=~", "!~", "!=", "="].into_iter().find(|sign| selector[end..].starts_with(sign));
    let Some(sign) = sign else { return Err(format!("after `{label}` one of = != =~ !~ is missing")) };
    let (value, rest) = string(selector[end + sign.len()..].trim_start())?;
    let regex =
        || Regex::new(&format!("^(?s:{value})$")).map_err(|_| format!("`{value}` is no regular expression"));
    let test = match sign {
        "=" => Test::Is(value),
        "!=" => Test::IsNot(value),
        "=~" => Test::Like(value.clone(), regex()?),
        _ => Test::Unlike(value.clone(), regex()?),
    };
    Ok((Matcher { label: label.to_owned(), test }, rest))
}

/// A quoted string, and what follows it.
fn string(text: &str) -> Result<(String, &str), String> {
    let mut chars = text.char_indices();
    let Some((_, quote @ ('"' | '\''))) = chars.next() else {
        return Err("the value of a matcher stands in quotes".to_owned());
    };
    let mut out = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((out, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, c)) => out.push(c),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err("a quote is not closed".to_owned())
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.matchers.is_empty() { f.write_str(&self.name) } else { f.write_str(&self.with(&[])) }
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Selector {}

impl TryFrom<String> for Selector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(selector: &str, labels: &[(&str, &str)]) -> bool {
        let label = |name: &str| {
            labels.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Selector::parse(selector).unwrap().fits(&label)
    }

    #[test]
    fn selectors_match_as_prometheus_does() {
        for (selector, labels, expected) in [
            ("x", &[][..], true),
            ("x{}", &[("a", "b")][..], true),
            (r#"x{status=~"5.."}"#, &[("status", "503")][..], true),
            (r#"x{status=~"5.."}"#, &[("status", "1503")][..], false),
            (r#"x{status=~"5..|429", }"#, &[("status", "429")][..], true),
            (r#"x{ status != "200" , method="GET" }"#, &[("status", "500"), ("method", "GET")][..], true),
            (r#"x{status!="200"}"#, &[("status", "200")][..], false),
            (r#"x{status!~"2.*"}"#, &[("status", "204")][..], false),
            (r#"x{status=""}"#, &[][..], true),
            (r#"x{a="b\"c\\d"}"#, &[("a", "b\"c\\d")][..], true),
        ] {
            assert_eq!(fits(selector, labels), expected, "{selector}");
        }
    }

    #[test]
    fn selectors_are_written_as_they_were_read() {
        for text in ["x", r#"x{a="b",c!="d",e=~"f|g",h!~"i\\.j"}"#] {
            assert_eq!(Selector::parse(text).unwrap().to_string(), text);
        }
        let selector = Selector::parse(r#"h{path!="/health"}"#).unwrap().suffixed("_bucket");
        assert_eq!(
            selector.with(&[("namespace", "=", "shop"), ("pod", "=~", r"api\.x-.*")]),
            r#"h_bucket{path!="/health",namespace="shop",pod=~"api\\.x-.*"}"#
        );
    }

    #[test]
    fn several_selectors_are_asked_for_at_once_by_what_they_share() {
        let parse = |text| Selector::parse(text).unwrap();
        let requests = parse(r#"x_total{job="api",path!="/health"}"#);
        let errors = parse(r#"x_total{job="api",code=~"5.."}"#);
        let latency = parse(r#"y_bucket{job="api"}"#);
        let own = [("pod", "=~", "a-.*")];
        for (selectors, expected) in [
            (vec![&requests, &errors, &latency], r#"{__name__=~"x_total|y_bucket",job="api",pod=~"a-.*"}"#),
            (vec![&errors], r#"{__name__=~"x_total",job="api",code=~"5..",pod=~"a-.*"}"#),
            (vec![&errors, &parse("x_total")], r#"{__name__=~"x_total",pod=~"a-.*"}"#),
        ] {
            assert_eq!(Selector::any_of(&selectors, &own), expected);
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expected) in [
            ("", "`` is no name of a metric"),
            ("rate(x[1m])", "`rate(x[1m])` is no name of a metric"),
            ("x{a}", "after `a` one of = != =~ !~ is missing"),
            ("x{a=b}", "the value of a matcher stands in quotes"),
            (r#"x{a="b}"#, "a quote is not closed"),
            (r#"x{a=~"("}"#, "`(` is no regular expression"),
            (r#"x{a="b"}[1m]"#, "`[1m]` stands after the selector; ranges and functions do not belong here"),
            (r#"x{a="b" c="d"}"#, "a matcher ends without `,` or `}`"),
            (r#"x{a="b""#, "a matcher ends without `,` or `}`"),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
