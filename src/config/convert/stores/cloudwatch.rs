//! Gates that ask `CloudWatch`.

use crate::config::convert::{Cx, time};
use crate::config::model::{CloudWatchFile, CloudWatchSeriesFile, GateFile};
use crate::config::walk::suggestion;
use crate::config::{codes, defaults};
use crate::domain::metric_store::{CloudWatchQuery, CloudWatchSeries, CloudWatchValue};
use std::collections::BTreeMap;
use std::time::Duration;

/// Units that `CloudWatch` knows (`StandardUnit` of its API).
const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];
/// Statistics that `CloudWatch` has by name.
const STATS: [&str; 6] = ["Average", "Sum", "Minimum", "Maximum", "SampleCount", "IQM"];
/// How its other statistics begin: `p99`, `tm90`, `TM(10%:90%)`.
const STAT_PREFIXES: [&str; 5] = ["p", "tm", "wm", "tc", "ts"];
const STAT_RANGES: [&str; 5] = ["PR(", "TM(", "WM(", "TC(", "TS("];

impl Cx<'_> {
    pub(super) fn cloudwatch(
        &mut self,
        gate: &str,
        file: &CloudWatchFile,
        whole: &GateFile,
    ) -> Option<CloudWatchQuery> {
        let path = ["gates", gate, "metric", "cloudwatch"];
        let at = |key: &'static str| [path.as_slice(), &[key]].concat();
        let queries: BTreeMap<String, CloudWatchSeries> = file
            .queries
            .iter()
            .map(|(id, series)| {
                (id.clone(), self.series(&[path.as_slice(), &["queries", id]].concat(), series))
            })
            .collect();
        for id in file.queries.keys() {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let fits = id.starts_with(|c: char| c.is_ascii_lowercase()) && id.chars().all(word);
            if !fits || id.starts_with("deployctl_") {
                let message = format!("`{id}` cannot be the id of a query");
                let diagnostic = self
                    .error(codes::BAD_NAME, &[path.as_slice(), &["queries", id]].concat(), message)
                    .help("begin with a small letter, and use letters, digits and `_`");
                self.out.push(diagnostic);
            }
        }
        if let Some(id) = file.requests.as_ref().filter(|id| !file.queries.contains_key(*id)) {
            let known: Vec<&str> = file.queries.keys().map(String::as_str).collect();
            let diagnostic = self
                .error(codes::BAD_GATE, &at("requests"), format!("there is no query `{id}`"))
                .help(suggestion(id, &known));
            self.out.push(diagnostic);
        }
        self.role(&at("role"), file.role.as_deref());
        let value = self.cloudwatch_value(gate, file)?;
        Some(CloudWatchQuery {
            value,
            queries,
            requests: file.requests.clone(),
            period: self.period(gate, file, whole),
            region: file.region.clone(),
            profile: file.profile.clone(),
            role: file.role.clone(),
        })
    }

    /// One metric, or an expression.
    fn cloudwatch_value(&mut self, gate: &str, file: &CloudWatchFile) -> Option<CloudWatchValue> {
        let path = ["gates", gate, "metric", "cloudwatch"];
        let single = [
            ("namespace", file.namespace.is_some()),
            ("name", file.name.is_some()),
            ("stat", file.stat.is_some()),
            ("unit", file.unit.is_some()),
            ("dimensions", !file.dimensions.is_empty()),
        ];
        if let Some(text) = &file.expression {
            if let Some((key, _)) = single.iter().find(|(_, given)| *given) {
                let diagnostic = self
                    .error(
                        codes::BAD_GATE,
                        &[path.as_slice(), &[*key]].concat(),
                        format!("`{key}` says nothing beside `expression`"),
                    )
                    .help(format!("move it below `queries: {{ID: {{{key}: …}}}}`, or take it away"));
                self.out.push(diagnostic);
            }
            return Some(CloudWatchValue::Expression(text.clone()));
        }
        if let Some(id) = file.queries.keys().find(|id| file.requests.as_ref() != Some(id)) {
            let diagnostic = self
                .error(
                    codes::BAD_GATE,
                    &[path.as_slice(), &["queries", id]].concat(),
                    format!("nothing uses the query `{id}`"),
                )
                .help("add an `expression` that names it, or take it away");
            self.out.push(diagnostic);
        }
        let missing = single[..3].iter().find(|(key, given)| {
            let written = self.tree.find(&[path.as_slice(), &[*key]].concat()).is_some();
            !given && !written
        });
        if let Some((key, _)) = missing {
            let diagnostic = self
                .error(codes::BAD_GATE, &path, format!("the metric of gate `{gate}` has no `{key}`"))
                .help(format!("add `{key}: …`, or write an `expression`"));
            self.out.push(diagnostic);
        }
        let series = CloudWatchSeriesFile {
            namespace: file.namespace.clone()?,
            name: file.name.clone()?,
            dimensions: file.dimensions.clone(),
            stat: file.stat.clone()?,
            unit: file.unit.clone(),
        };
        Some(CloudWatchValue::Series(self.series(&path, &series)))
    }

    fn series(&mut self, path: &[&str], file: &CloudWatchSeriesFile) -> CloudWatchSeries {
        if !is_stat(&file.stat) {
            let diagnostic = self
                .error(
                    codes::UNKNOWN_WORD,
                    &[path, &["stat"]].concat(),
                    format!("`{}` is not a statistic of CloudWatch", file.stat),
                )
                .help(format!("{}, or e.g. `p99`", suggestion(&file.stat, &STATS)));
            self.out.push(diagnostic);
        }
        if let Some(unit) = file.unit.as_deref().filter(|unit| !UNITS.contains(unit)) {
            let message = format!("`{unit}` is not a unit of CloudWatch");
            let diagnostic = self
                .error(codes::UNKNOWN_WORD, &[path, &["unit"]].concat(), message)
                .help(suggestion(unit, &UNITS));
            self.out.push(diagnostic);
        }
        CloudWatchSeries {
            namespace: file.namespace.clone(),
            name: file.name.clone(),
            dimensions: file.dimensions.clone(),
            stat: file.stat.clone(),
            unit: file.unit.clone(),
        }
    }

    /// Length of a data point: what is written, or the whole minutes of the window.
    fn period(&mut self, gate: &str, file: &CloudWatchFile, whole: &GateFile) -> Duration {
        let window = time(whole.window, defaults::WINDOW);
        let minutes = Duration::from_mins((window.as_secs() / 60).max(1));
        let period = file.period.map_or(minutes, |time| time.0);
        let path = ["gates", gate, "metric", "cloudwatch", "period"];
        let seconds = period.as_secs();
        let whole_seconds = period.subsec_nanos() == 0;
        if !whole_seconds
            || !([1, 5, 10, 20, 30].contains(&seconds) || (seconds > 0 && seconds.is_multiple_of(60)))
        {
            let diagnostic = self
                .error(codes::OUT_OF_RANGE, &path, "`period` is none that CloudWatch keeps")
                .help("write `1s`, `5s`, `10s`, `20s`, `30s` or whole minutes");
            self.out.push(diagnostic);
        }
        if period > window {
            let path = if file.period.is_some() { &path[..] } else { &path[..4] };
            let diagnostic = self
                .error(codes::OUT_OF_RANGE, path, format!("gate `{gate}` looks back less than one `period`"))
                .why("no whole data point would lie in its window")
                .help("raise `window`, or set a shorter `period`");
            self.out.push(diagnostic);
        }
        period
    }
}

fn is_stat(stat: &str) -> bool {
    let digits = |rest: &str| {
        !rest.is_empty() && rest.parse::<f64>().is_ok_and(|value| (0.0..=100.0).contains(&value))
    };
    STATS.contains(&stat)
        || STAT_PREFIXES.iter().any(|prefix| stat.strip_prefix(prefix).is_some_and(digits))
        || (stat.ends_with(')') && STAT_RANGES.iter().any(|range| stat.starts_with(range)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_known() {
        for stat in ["Sum", "p99", "p99.9", "tm90", "TM(10%:90%)", "IQM", "PR(:300)"] {
            assert!(is_stat(stat), "{stat}");
        }
        for stat in ["sum", "", "p", "p101", "95", "max", "TM(10"] {
            assert!(!is_stat(stat), "{stat}");
        }
    }
}
