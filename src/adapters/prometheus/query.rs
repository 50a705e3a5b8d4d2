//! From a measurement and the environment's templates to PromQL. Pure.

use super::SetupError;
use crate::domain::gate::Metric;
use crate::ports::metrics::{Measurement, MetricsError};
use minijinja::{Environment, UndefinedBehavior, context};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest base of a generated name: Kubernetes cuts what is longer before it adds five characters.
const LONGEST_BASE: usize = 58;
/// Bytes of a query: the engine reads an expression by recursion, without counting what its stack bears.
const LONGEST: usize = 8 << 10;
/// Steps of the engine that one query may take.
const FUEL: u64 = 50_000;
/// Template of the number of requests in the window.
const REQUESTS: &str = "requests";

/// The query templates by name.
pub(super) struct Templates(Environment<'static>);

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Templates")
    }
}

/// The queries of one measurement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Queries {
    pub value: String,
    pub requests: Option<String>,
}

impl Templates {
    pub(super) fn new(queries: &BTreeMap<String, String>) -> Result<Self, SetupError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_fuel(Some(FUEL));
        for (name, text) in queries {
            if text.len() > LONGEST {
                let message = format!("more than {} KiB of text are no query", LONGEST >> 10);
                return Err(SetupError::Template { name: name.clone(), message });
            }
            templates
                .add_template_owned(name.clone(), text.clone())
                .map_err(|error| SetupError::Template { name: name.clone(), message: error.to_string() })?;
        }
        Ok(Self(templates))
    }

    pub(super) fn render(&self, what: &Measurement) -> Result<Queries, MetricsError> {
        let value = match &what.metric {
            Metric::ErrorRate => self.named("error_rate", what)?,
            Metric::Availability => self.named("availability", what)?,
            Metric::Latency { .. } => self.named("latency", what)?,
            Metric::AgainstStable(_) => {
                return Err(MetricsError::Refused { message: "a comparison is no single query".to_owned() });
            }
            Metric::Query(text) if text.len() > LONGEST => {
                return Err(MetricsError::Refused { message: "the gate's query is too long".to_owned() });
            }
            Metric::Query(text) => {
                self.0.render_str(text, values(what)).map_err(|error| refused("the gate's query", &error))?
            }
        };
        let requests = match self.0.get_template(REQUESTS) {
            Ok(_) => Some(self.named(REQUESTS, what)?),
            Err(_) => None,
        };
        Ok(Queries { value, requests })
    }

    fn named(&self, name: &str, what: &Measurement) -> Result<String, MetricsError> {
        let Ok(template) = self.0.get_template(name) else {
            return Err(MetricsError::Refused {
                message: format!("there is no query template `{name}`; set metrics.queries.{name}"),
            });
        };
        template
            .render(values(what))
            .map_err(|error| refused(&format!("the query template `{name}`"), &error))
    }
}

fn refused(what: &str, error: &minijinja::Error) -> MetricsError {
    let detail = error.detail().unwrap_or("it cannot be rendered");
    MetricsError::Refused { message: format!("{what}: {}: {detail}", error.kind()) }
}

fn values(what: &Measurement) -> minijinja::Value {
    let quantile = if let Metric::Latency { quantile } = what.metric { Some(quantile) } else { None };
    context! {
        pods => quoted(&pods(&what.owners)),
        namespace => quoted(&what.namespace),
        component => quoted(what.component.as_str()),
        target => quoted(what.target.as_str()),
        region => quoted(&what.region),
        window => window(what.window),
        ..quantile.map_or_else(|| context! {}, |quantile| context! { quantile => quantile })
    }
}

/// Regular expression of the names of these owners' pods.
pub(super) fn pods(owners: &[String]) -> String {
    if owners.is_empty() {
        // No pod is named so.
        return "-".to_owned();
    }
    let (whole, cut): (Vec<&String>, Vec<&String>) =
        owners.iter().partition(|owner| owner.len() < LONGEST_BASE);
    let mut alternatives = Vec::new();
    if !whole.is_empty() {
        let names: Vec<String> = whole.into_iter().map(|owner| escaped(owner)).collect();
        alternatives.push(format!("(?:{})-[a-z0-9]+", names.join("|")));
    }
    for owner in cut {
        let base: String = format!("{owner}-").chars().take(LONGEST_BASE).collect();
        alternatives.push(format!("{}[a-z0-9]+", escaped(&base)));
    }
    alternatives.join("|")
}

/// A name in a regular expression.
fn escaped(name: &str) -> String {
    name.chars().fold(String::with_capacity(name.len()), |mut out, c| {
        if !c.is_ascii_alphanumeric() && c != '-' && c != '_' {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

/// A text inside a PromQL string.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A PromQL duration: `1m`, `90s`; never below the millisecond that it can say.
pub(super) fn window(window: Duration) -> String {
    let millis = window.as_millis().max(1);
    if millis.is_multiple_of(60_000) {
        format!("{}m", millis / 60_000)
    } else if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}

/// The body of a query request.
pub(super) fn form(query: &str, timeout: Duration) -> String {
    let mut url = reqwest::Url::parse("http://form/").expect("a constant");
    url.query_pairs_mut()
        .append_pair("query", query)
        .append_pair("timeout", &format!("{}s", timeout.as_secs()));
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ComponentId, TargetId};

    fn measurement(metric: Metric) -> Measurement {
        Measurement {
            metric,
            target: TargetId::from("us-east-1"),
            region: "us \"east\"".into(),
            namespace: "shop".into(),
            component: ComponentId::from("api"),
            owners: vec!["api-r2-7d4f".into(), "api.v3-99".into()],
            window: Duration::from_secs(90),
        }
    }

    fn templates(queries: &[(&str, &str)]) -> Templates {
        let queries = queries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Templates::new(&queries).unwrap()
    }

    #[test]
    fn templates_become_queries() {
        let templates = templates(&[
            ("error_rate", r#"rate(x{pod=~"{{ pods }}",ns="{{ namespace }}"}[{{ window }}])"#),
            ("latency", "q({{ quantile }}, {{ component }})"),
            ("requests", "n{{ '{' }}t=\"{{ target }}\"}"),
        ]);
        assert_eq!(
            templates.render(&measurement(Metric::ErrorRate)).unwrap(),
            Queries {
                value: r#"rate(x{pod=~"(?:api-r2-7d4f|api\\.v3-99)-[a-z0-9]+",ns="shop"}[90s])"#.into(),
                requests: Some(r#"n{t="us-east-1"}"#.into()),
            }
        );
        assert_eq!(
            templates.render(&measurement(Metric::Latency { quantile: 0.95 })).unwrap().value,
            "q(0.95, api)"
        );
        let query = Metric::Query("x{region=\"{{ region }}\"}".into());
        assert_eq!(templates.render(&measurement(query)).unwrap().value, r#"x{region="us \"east\""}"#);
    }

    #[test]
    fn mistakes_in_templates_are_told() {
        let templates = templates(&[("error_rate", "{{ pod }}"), ("availability", "{{ quantile }}")]);
        for (metric, expected) in [
            (Metric::ErrorRate, "the query template `error_rate`: undefined value"),
            (Metric::Availability, "the query template `availability`: undefined value"),
            (Metric::Latency { quantile: 0.5 }, "there is no query template `latency`"),
            (Metric::Query("{{ x".into()), "the gate's query: syntax error"),
        ] {
            let Err(MetricsError::Refused { message }) = templates.render(&measurement(metric)) else {
                panic!("{expected}");
            };
            assert!(message.starts_with(expected), "{message}");
        }
        let wrong = BTreeMap::from([("latency".to_owned(), "{% if %}".to_owned())]);
        assert!(
            matches!(Templates::new(&wrong), Err(SetupError::Template { name, .. }) if name == "latency")
        );
    }

    #[test]
    fn names_that_kubernetes_cuts_are_still_found() {
        assert_eq!(pods(&[]), "-");
        let long = "a".repeat(60);
        assert_eq!(pods(&["b".into(), long]), format!("(?:b)-[a-z0-9]+|{}[a-z0-9]+", "a".repeat(58)));
        assert_eq!(pods(&["c".repeat(57)]), format!("(?:{})-[a-z0-9]+", "c".repeat(57)));
        assert_eq!(pods(&["c".repeat(58)]), format!("{}[a-z0-9]+", "c".repeat(58)));
    }

    #[test]
    fn windows_are_whole_units() {
        for (millis, expected) in
            [(60_000, "1m"), (90_000, "90s"), (1500, "1500ms"), (3_600_000, "60m"), (0, "1ms")]
        {
            assert_eq!(window(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn the_form_is_encoded() {
        assert_eq!(
            form("a + b{c=\"d\"}", Duration::from_secs(10)),
            "query=a+%2B+b%7Bc%3D%22d%22%7D&timeout=10s"
        );
    }
}
