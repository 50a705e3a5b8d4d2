//! How metric stores are reached and asked: Prometheus with its credentials, `CloudWatch`, anything that answers JSON.

use crate::domain::secret::SecretRef;
use crate::domain::units;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One target's Prometheus: one store behind one or more endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrometheusStore {
    /// Base URLs in the order in which they are tried; at least one.
    pub urls: Vec<String>,
    /// Who asks.
    pub auth: Option<StoreAuth>,
    /// More request headers, by name.
    pub headers: BTreeMap<String, SecretText>,
    /// Certificates beside those that the machine trusts.
    pub tls: Option<StoreTls>,
}

impl PrometheusStore {
    /// A store at one URL that asks for no credentials.
    #[must_use]
    pub fn open(url: impl Into<String>) -> Self {
        Self { urls: vec![url.into()], ..Self::default() }
    }
}

/// Credentials of requests to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAuth {
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// Where the password is.
        password: SecretRef,
    },
    /// A token, read anew for every request: a projected service account's is replaced every hour.
    Bearer(SecretRef),
    /// AWS Signature Version 4.
    SigV4(SigV4),
}

/// What a request to AWS is signed with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SigV4 {
    /// `us-east-1`.
    pub region: String,
    /// `aps` (Amazon Managed Service for Prometheus), `monitoring` (`CloudWatch`).
    pub service: String,
    /// Profile of the shared files; the usual chain of credentials if absent.
    pub profile: Option<String>,
    /// ARN of a role that is assumed with these credentials.
    pub role: Option<String>,
}

/// Files of a TLS connection, PEM. They are read anew when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreTls {
    /// Authorities that the server's certificate is checked against, instead of the machine's.
    pub ca: Option<PathBuf>,
    /// The client's certificate (and what lies between it and its authority), and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Name that the server's certificate must have, where it is not the URL's host.
    pub server_name: Option<String>,
}

/// A text with references to secrets in it: `Bearer ${env:TOKEN}`. Holds the references, never a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

/// A part of a [`SecretText`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Text(String),
    /// Read when it is needed; an error names what is no reference.
    Secret(Result<SecretRef, String>),
}

impl SecretText {
    /// Its parts in order.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut rest = self.0.as_str();
        while let Some(from) = rest.find("${") {
            let Some(length) = rest[from..].find('}') else { break };
            let (before, reference) = (&rest[..from], &rest[from..=from + length]);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Secret(SecretRef::parse(reference).ok_or_else(|| reference.to_owned())));
            rest = &rest[from + length + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        parts
    }
}

/// What `CloudWatch` is asked. All texts are templates (`{{ version }}`, `{{ region }}`, …).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudWatchQuery {
    /// Whose value is judged.
    pub value: CloudWatchValue,
    /// Series by id, for an expression and for `requests`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub queries: BTreeMap<String, CloudWatchSeries>,
    /// Id of the series whose sum is the number of requests in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<String>,
    /// Length of one data point; the newest one is judged.
    #[serde(with = "units::duration")]
    pub period: Duration,
    /// Region that is asked; the target's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Profile of the shared files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// ARN of a role to assume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// One series, or a formula over several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloudWatchValue {
    /// A series.
    Series(CloudWatchSeries),
    /// Metric math over the ids of `queries`, or a Metrics Insights query.
    Expression(String),
}

/// A statistic of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudWatchSeries {
    /// `AWS/ApplicationELB`.
    pub namespace: String,
    /// `HTTPCode_Target_5XX_Count`.
    pub name: String,
    /// By name; all that the metric has, since `CloudWatch` matches the whole set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
    /// `Sum`, `Average`, `p99`, …
    pub stat: String,
    /// Only values of this unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl CloudWatchSeries {
    fn texts(&self) -> impl Iterator<Item = &str> {
        [self.namespace.as_str(), &self.name].into_iter().chain(self.dimensions.values().map(String::as_str))
    }
}

impl CloudWatchQuery {
    /// Every text that is a template.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.queries.values().flat_map(CloudWatchSeries::texts).collect();
        match &self.value {
            CloudWatchValue::Series(series) => texts.extend(series.texts()),
            CloudWatchValue::Expression(text) => texts.push(text),
        }
        texts
    }
}

/// A request over HTTP whose answer is JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpQuery {
    /// A template; what is filled in is percent-encoded.
    pub url: String,
    /// `GET` or `POST`.
    pub method: String,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretText>,
    /// A template; what is filled in is escaped as inside a JSON string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// JSON pointer to the number that is judged.
    pub value: String,
    /// JSON pointer to the number of requests in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<String>,
}

impl HttpQuery {
    /// Every text that is a template.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        std::iter::once(self.url.as_str()).chain(self.body.as_deref()).collect()
    }
}

/// Names in a template by which versions of a component are told apart.
pub const VERSION_NAMES: [&str; 3] = ["pods", "version", "revision"];

/// Whether one of [`VERSION_NAMES`] stands inside a template's `{{ … }}` or `{% … %}`.
#[must_use]
pub fn names_a_version(template: &str) -> bool {
    let blocks = |open: &'static str, close: &'static str| {
        template.split(open).skip(1).map(move |rest| rest.split(close).next().unwrap_or_default())
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    blocks("{{", "}}")
        .chain(blocks("{%", "%}"))
        .any(|block| block.split(|c| !word(c)).any(|name| VERSION_NAMES.contains(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_in_a_text_are_found() {
        let parts = |text: &str| SecretText(text.to_owned()).parts();
        let secret = |name: &str| Part::Secret(Ok(SecretRef::Env(name.to_owned())));
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(parts("tenant-a"), [text("tenant-a")]);
        assert_eq!(parts("${env:A}"), [secret("A")]);
        assert_eq!(
            parts("Bearer ${env:A}.${env:B}!"),
            [text("Bearer "), secret("A"), text("."), secret("B"), text("!")]
        );
        assert_eq!(parts("${vault:A}"), [Part::Secret(Err("${vault:A}".to_owned()))]);
        assert_eq!(parts("${env:A"), [text("${env:A")]);
        assert_eq!(parts(""), []);
    }

    #[test]
    fn a_template_that_tells_versions_apart_names_one() {
        for template in
            ["x{pod=~\"{{ pods }}\"}", "{{version}}", "a/{{ revision }}", "{% if version %}a{% endif %}"]
        {
            assert!(names_a_version(template), "{template}");
        }
        for template in
            ["version", "{{ component }} pods", "{{ conversion }}", "", "{{ namespace }}/pods/{{ region }}"]
        {
            assert!(!names_a_version(template), "{template}");
        }
    }
}
