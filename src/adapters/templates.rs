//! What templates of queries are filled in with. Pure.

use crate::domain::gate::Metric;
use crate::ports::metrics::{Measurement, MetricsError, only_pod};
use minijinja::{Environment, UndefinedBehavior, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest base of a generated name: Kubernetes cuts what is longer before it adds five characters.
const LONGEST_BASE: usize = 58;

/// Steps of the engine that one template may take.
pub(crate) const FUEL: u64 = 50_000;
/// Bytes of a template: the engine reads an expression by recursion, without counting what its stack bears.
pub(crate) const LONGEST: usize = 8 << 10;

/// What stands in for each name; texts go through `encode` for the place where they will stand.
pub(crate) fn values(what: &Measurement, encode: fn(&str) -> String) -> BTreeMap<&'static str, Value> {
    let text = |text: &str| Value::from(encode(text));
    let mut values = BTreeMap::from([
        ("pods", text(&pods(&what.owners))),
        ("namespace", text(&what.namespace)),
        ("component", text(what.component.as_str())),
        ("target", text(what.target.as_str())),
        ("region", text(&what.region)),
        ("window", Value::from(window(what.window))),
    ]);
    // What is not known is undefined, so that a template that needs it is refused in words.
    values.extend(what.version.as_ref().map(|version| ("version", text(version))));
    values.extend(what.revision.as_ref().map(|revision| ("revision", text(revision))));
    if let Metric::Latency { quantile } = what.metric {
        values.insert("quantile", Value::from(quantile));
    }
    values
}

/// Fills a template in; `name` is what it is called in an error.
pub(crate) fn render(
    name: &str,
    template: &str,
    values: &BTreeMap<&'static str, Value>,
) -> Result<String, MetricsError> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    if template.len() > LONGEST {
        return Err(MetricsError::Refused { message: format!("{name} is too long") });
    }
    environment.render_str(template, values).map_err(|error| refused(name, &error))
}

/// Why a template cannot be filled in.
pub(crate) fn refused(what: &str, error: &minijinja::Error) -> MetricsError {
    let detail = error.detail().unwrap_or("it cannot be rendered");
    MetricsError::Refused { message: format!("{what}: {}: {detail}", error.kind()) }
}

/// Regular expression of the names of these owners' pods.
pub(crate) fn pods(owners: &[String]) -> String {
    if owners.is_empty() {
        // No pod is named so.
        return "-".to_owned();
    }
    let mut alternatives: Vec<String> =
        owners.iter().filter_map(|owner| only_pod(owner)).map(escaped).collect();
    let sets = owners.iter().filter(|owner| only_pod(owner).is_none());
    let (whole, cut): (Vec<&String>, Vec<&String>) = sets.partition(|owner| owner.len() < LONGEST_BASE);
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

/// A duration as Prometheus and others write it: `1m`, `90s`; never below the millisecond that it can say.
pub(crate) fn window(window: Duration) -> String {
    let millis = window.as_millis().max(1);
    if millis.is_multiple_of(60_000) {
        format!("{}m", millis / 60_000)
    } else if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
