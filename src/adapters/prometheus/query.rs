//! From a measurement and the environment's templates to PromQL. Pure.

use super::SetupError;
use crate::adapters::templates::{FUEL, LONGEST, refused, values};
use crate::domain::gate::Metric;
use crate::ports::metrics::{Measurement, MetricsError};
use minijinja::{Environment, UndefinedBehavior};
use std::collections::BTreeMap;
use std::time::Duration;

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
            Metric::AgainstStable(_) | Metric::CloudWatch(_) | Metric::Http(_) => {
                return Err(MetricsError::Refused {
                    message: "this is no single query of Prometheus".to_owned(),
                });
            }
            Metric::Query(text) if text.len() > LONGEST => {
                return Err(MetricsError::Refused { message: "the gate's query is too long".to_owned() });
            }
            Metric::Query(text) => self
                .0
                .render_str(text, values(what, quoted))
                .map_err(|error| refused("the gate's query", &error))?,
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
            .render(values(what, quoted))
            .map_err(|error| refused(&format!("the query template `{name}`"), &error))
    }
}

/// A text inside a PromQL string.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
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
            version: Some("1.4.0".into()),
            revision: None,
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
        let query = Metric::Query("x{version=\"{{ version }}\"}".into());
        assert_eq!(templates.render(&measurement(query)).unwrap().value, r#"x{version="1.4.0"}"#);
    }

    #[test]
    fn mistakes_in_templates_are_told() {
        let templates = templates(&[("error_rate", "{{ pod }}"), ("availability", "{{ quantile }}")]);
        for (metric, expected) in [
            (Metric::ErrorRate, "the query template `error_rate`: undefined value"),
            (Metric::Availability, "the query template `availability`: undefined value"),
            (Metric::Latency { quantile: 0.5 }, "there is no query template `latency`"),
            (Metric::Query("{{ x".into()), "the gate's query: syntax error"),
            (Metric::Query("{{ revision }}".into()), "the gate's query: undefined value"),
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
    fn the_form_is_encoded() {
        assert_eq!(
            form("a + b{c=\"d\"}", Duration::from_secs(10)),
            "query=a+%2B+b%7Bc%3D%22d%22%7D&timeout=10s"
        );
    }
}
