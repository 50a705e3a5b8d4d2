//! Reads a process's own `/metrics` (Prometheus text or `OpenMetrics`) as it arrives: only what counts is kept.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use crate::domain::counters::{CounterNames, PodSample, Selector, bound};
use std::collections::BTreeMap;

/// The longest line that is read; longer ones are skipped.
const LONGEST_LINE: usize = 64 * 1024;

/// What has been read so far.
#[derive(Debug)]
pub struct Exposition<'a> {
    names: &'a CounterNames,
    buckets_of: Selector,
    line: Vec<u8>,
    skipping: bool,
    /// Whether anything at all is told.
    speaks: bool,
    requests: f64,
    errors: f64,
    /// By the bits of the bound, which sort as the bounds do from zero on.
    buckets: BTreeMap<u64, f64>,
}

impl<'a> Exposition<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(names: &'a CounterNames) -> Self {
        Self {
            names,
            buckets_of: names.latency.suffixed("_bucket"),
            line: Vec::new(),
            skipping: false,
            speaks: false,
            requests: 0.0,
            errors: 0.0,
            buckets: BTreeMap::new(),
        }
    }

    /// Takes the next piece in, wherever it was cut.
    pub fn feed(&mut self, mut piece: &[u8]) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.keep(&piece[..end]);
            self.end_line();
            piece = &piece[end + 1..];
        }
        self.keep(piece);
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.line.len() + piece.len() > LONGEST_LINE {
            self.skipping = true;
        }
        if !self.skipping {
            self.line.extend_from_slice(piece);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !std::mem::take(&mut self.skipping)
            && let Ok(line) = std::str::from_utf8(&line)
        {
            self.take(line.trim());
        }
        self.line = line;
        self.line.clear();
    }

    fn take(&mut self, line: &str) {
        let Some((name, labels, value)) = parts(line) else { return };
        self.speaks = true;
        let label = |wanted: &str| label_of(labels, wanted);
        if name == self.names.requests.name && self.names.requests.fits(&label) {
            self.requests += value;
        }
        if name == self.names.errors.name && self.names.errors.fits(&label) {
            self.errors += value;
        }
        if name == self.buckets_of.name
            && self.buckets_of.fits(&label)
            && let Some(bound) = label("le").and_then(|le| bound(&le))
        {
            *self.buckets.entry(bound.to_bits()).or_default() += value;
        }
    }

    /// All that was said, by a pod, at a moment (seconds since the epoch); nothing if it tells no metrics at all. A
    /// counter that is not there has counted nothing yet: many appear with the first request.
    #[must_use]
    pub fn finish(mut self, pod: &str, at: f64) -> Option<PodSample> {
        self.end_line();
        let buckets = self.buckets.into_iter().map(|(bits, count)| (f64::from_bits(bits), count)).collect();
        let Self { requests, errors, .. } = self;
        self.speaks.then(|| PodSample { pod: pod.to_owned(), at, requests, errors, buckets })
    }
}

/// Name, labels (without braces) and value of a sample's line; comments and what is no number are nothing.
fn parts(line: &str) -> Option<(&str, &str, f64)> {
    if line.starts_with('#') {
        return None;
    }
    // The first brace need not be of labels: one may follow that belongs to an exemplar.
    let (name, rest) = line.split_at(line.find(|c: char| c == '{' || c.is_whitespace())?);
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => {
            let end = closing(rest)?;
            (&rest[..end], &rest[end + 1..])
        }
        None => ("", rest),
    };
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    (value.is_finite() && !name.is_empty()).then_some((name, labels, value))
}

/// Where the labels end: at the first brace outside of quotes.
fn closing(labels: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// The value of a label.
fn label_of(labels: &str, wanted: &str) -> Option<String> {
    let mut rest = labels;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start().strip_prefix('"')?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    c => value.push(c),
                },
                (_, c) => value.push(c),
            }
        };
        if name.trim_matches([',', ' ']) == wanted {
            return Some(value);
        }
        rest = &after[end + 1..];
    }
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

    const TEXT: &str = r#"# HELP http_requests_total All.
# TYPE http_requests_total counter
http_requests_total{method="GET",status="200"} 1027 1395066363000
http_requests_total{method="POST",path="/a}\"b",status="503"} 3
http_requests_total{status="200"} NaN
http_request_duration_seconds_bucket{le="0.1"} 2.0e+2
http_request_duration_seconds_bucket{path="/x",le="0.1"} 1
http_request_duration_seconds_bucket{le="2.5"} 900
http_request_duration_seconds_bucket{le="+Inf"} 1030
http_request_duration_seconds_sum 12.5
other_total 99
broken{a="b
"#;

    #[test]
    fn counters_are_summed_over_their_labels() {
        let names = names();
        let expected = PodSample {
            pod: "api-1".into(),
            at: 7.0,
            requests: 1030.0,
            errors: 3.0,
            buckets: vec![(0.1, 201.0), (2.5, 900.0), (f64::INFINITY, 1030.0)],
        };
        for size in [1, 2, 7, 64, TEXT.len()] {
            let mut exposition = Exposition::new(&names);
            TEXT.as_bytes().chunks(size).for_each(|piece| exposition.feed(piece));
            assert_eq!(exposition.finish("api-1", 7.0), Some(expected.clone()), "pieces of {size}");
        }
    }

    #[test]
    fn samples_have_labels_or_none_and_exemplars_or_none() {
        let names = names();
        for (line, expected) in [
            ("http_requests_total 5", 5.0),
            (r#"http_requests_total 5 # {trace_id="a"} 1"#, 5.0),
            (r#"http_requests_total 5 1395066363.000 # {trace_id="a"} 1 1395066363.000"#, 5.0),
            (r#"http_requests_total{status="200"} 6 # {trace_id="}"} 1"#, 6.0),
            (r#"http_requests_total {status="200"} 7"#, 7.0),
            ("http_requests_total{} 8", 8.0),
            ("http_requests_total\t9", 9.0),
        ] {
            let mut exposition = Exposition::new(&names);
            exposition.feed(line.as_bytes());
            let read = exposition.finish("p", 0.0).map(|sample| sample.requests);
            assert_eq!(read, Some(expected), "{line}");
        }
    }

    #[test]
    fn a_process_that_tells_no_metrics_says_nothing() {
        let names = names();
        for text in ["", "<html>", "\n\u{0}\u{1}{}{}{}\n", "http_requests_total{\"} 3", "{} 4"] {
            let mut exposition = Exposition::new(&names);
            exposition.feed(text.as_bytes());
            assert_eq!(exposition.finish("p", 0.0), None, "{text:?}");
        }
        let mut exposition = Exposition::new(&names);
        exposition.feed(b"other_total 3\n");
        assert!(exposition.finish("p", 0.0).unwrap().requests.abs() < f64::EPSILON);
        let mut exposition = Exposition::new(&names);
        for _ in 0..3 {
            exposition.feed(&vec![b'x'; LONGEST_LINE]);
        }
        exposition.feed(b"\nhttp_requests_total 5");
        assert_eq!(exposition.finish("p", 0.0).unwrap().requests.to_string(), "5");
    }
}
