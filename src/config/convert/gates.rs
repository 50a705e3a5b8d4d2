//! Metric gates and the queries behind them.

use super::{Cx, time};
use crate::config::model::{EnvironmentFile, GateFile, MetricFile, MetricsFile, NoDataFile, SharedFile};
use crate::config::scalar::{Limit, parse_percent};
use crate::config::{codes, defaults};
use crate::domain::counters::CounterNames;
use crate::domain::environment::{Component, Platform, Target, TrafficClass};
use crate::domain::gate::{Gate, Metric, NoData, Shared};
use crate::domain::ids::ComponentId;
use crate::domain::units::parse_duration;
use std::collections::BTreeMap;

/// Query templates by metric, the file's over the defaults.
pub(super) fn queries(file: Option<&MetricsFile>) -> BTreeMap<String, String> {
    let none = MetricsFile::default();
    let queries = &file.unwrap_or(&none).queries;
    [
        ("error_rate", &queries.error_rate, defaults::QUERY_ERROR_RATE),
        ("latency", &queries.latency, defaults::QUERY_LATENCY),
        ("requests", &queries.requests, defaults::QUERY_REQUESTS),
        ("availability", &queries.availability, defaults::QUERY_AVAILABILITY),
    ]
    .into_iter()
    .map(|(name, given, default)| (name.to_owned(), given.clone().unwrap_or_else(|| default.to_owned())))
    .collect()
}

impl Cx<'_> {
    pub(super) fn gates(
        &mut self,
        file: &EnvironmentFile,
        components: &[Component],
        targets: &[Target],
    ) -> Vec<Gate> {
        let counters = self.counters(file.metrics.as_ref());
        let gates: Vec<Gate> = self
            .ordered(&["gates"])
            .iter()
            .filter_map(|name| Some((name, file.gates.get(name)?)))
            .filter_map(|(name, gate)| self.gate(name, gate, components, &counters))
            .collect();
        self.counted(super::calendar::bake(file).requests, &gates);
        let compose = matches!(self.platform_of(file), Platform::Compose { .. });
        let blind = |target: &&Target| target.traffic == TrafficClass::Live && target.prometheus.is_none();
        let blinded = !compose && gates.iter().any(|gate| gate.metric.asks_prometheus());
        for target in targets.iter().filter(blind).filter(|_| blinded) {
            let id = target.id.as_str();
            let diagnostic = self
                .error(
                    codes::BAD_GATE,
                    &["targets", id],
                    format!("there are gates, but target `{id}` has no `prometheus`"),
                )
                .why("a gate without data holds the run, then rolls it back")
                .help("add `prometheus: http://HOST:9090`, or `traffic: none` if no users arrive here");
            self.out.push(diagnostic);
        }
        gates
    }

    fn platform_of(&mut self, file: &EnvironmentFile) -> Platform {
        // The mistakes of the platform were reported when it was converted.
        let mut silent = crate::domain::diagnostic::Diagnostics::new();
        Cx { tree: self.tree, root: self.root, out: &mut silent, profile: None }.platform(file, "")
    }

    fn gate(
        &mut self,
        name: &str,
        file: &GateFile,
        components: &[Component],
        counters: &CounterNames,
    ) -> Option<Gate> {
        if file.against.is_some() {
            return Some(self.comparison(name, file, components, counters));
        }
        self.only_against(name);
        let metric = self.metric(name, file)?;
        let max = self.limit(name, "max", file.max.as_ref(), &metric);
        let min = self.limit(name, "min", file.min.as_ref(), &metric);
        let written = |key| self.tree.find(&["gates", name, key]).is_some();
        if !written("max") && !written("min") {
            let example = match metric {
                Metric::ErrorRate => "max: 5%",
                Metric::Latency { .. } => "max: 200ms",
                Metric::Availability => "min: 99.95%",
                Metric::Query(_) | Metric::CloudWatch(_) | Metric::Http(_) | Metric::AgainstStable(_) => {
                    "max: 3"
                }
            };
            let diagnostic = self
                .error(codes::BAD_GATE, &["gates", name], format!("gate `{name}` has no limit"))
                .why("it would measure and never decide")
                .help(format!("add `{example}`"));
            self.out.push(diagnostic);
        }
        if let (Some(low), Some(high)) = (min, max)
            && low > high
        {
            let diagnostic = self
                .error(
                    codes::CONFLICT,
                    &["gates", name, "min"],
                    format!("gate `{name}`: `min` is above `max`"),
                )
                .why("no value could pass");
            self.out.push(diagnostic);
        }
        self.direction(name, file, &metric);
        let window = time(file.window, defaults::WINDOW);
        let interval = time(file.interval, defaults::INTERVAL);
        for (key, value) in [("window", window), ("interval", interval)] {
            if value.as_secs() == 0 {
                let diagnostic = self
                    .error(codes::OUT_OF_RANGE, &["gates", name, key], format!("`{key}` is below one second"))
                    .help("write at least `1s`");
                self.out.push(diagnostic);
            }
        }
        Some(Gate {
            name: name.to_owned(),
            components: self.watched(name, file, components),
            metric,
            max,
            min,
            window,
            interval,
            breaches: file.breaches.unwrap_or(defaults::BREACHES),
            min_requests: file.min_requests.unwrap_or(defaults::MIN_REQUESTS),
            no_data: no_data(file),
            shared: match file.shared {
                Some(SharedFile::Rollback) => Shared::Rollback,
                _ => Shared::Hold,
            },
        })
    }

    pub(super) fn watched(
        &mut self,
        name: &str,
        file: &GateFile,
        components: &[Component],
    ) -> Vec<ComponentId> {
        let known: Vec<&str> = components.iter().map(|c| c.id.as_str()).collect();
        let Some(named) = &file.components else {
            return components.iter().map(|c| c.id.clone()).collect();
        };
        for (index, component) in named.iter().enumerate() {
            if !known.contains(&component.as_str()) {
                let path = ["gates", name, "components", &index.to_string()];
                self.unknown(codes::UNKNOWN_COMPONENT, "component", component, &path, &known);
            }
        }
        named.iter().map(ComponentId::new).collect()
    }

    fn metric(&mut self, name: &str, file: &GateFile) -> Option<Metric> {
        match (&file.metric, &file.query) {
            (Some(_), Some(_)) => {
                let diagnostic = self
                    .error(
                        codes::BAD_GATE,
                        &["gates", name, "query"],
                        format!("gate `{name}` measures two things"),
                    )
                    .help("keep `metric` or `query`");
                self.out.push(diagnostic);
                None
            }
            (None, Some(query)) => Some(Metric::Query(query.clone())),
            (Some(MetricFile::Word(word)), None) => self.metric_word(name, &word.0),
            (Some(MetricFile::Store(store)), None) => self.store_metric(name, store, file),
            (None, None) => {
                let node = self.tree.find(&["gates", name]);
                if node.is_some_and(|node| node.get("metric").is_none() && node.get("query").is_none()) {
                    let diagnostic = self
                        .error(codes::BAD_GATE, &["gates", name], format!("gate `{name}` measures nothing"))
                        .help("add `metric: error_rate`, `metric: p95`, `metric: availability`, `query: PROMQL`, `metric: {cloudwatch: …}` or \
                               `metric: {http: …}`");
                    self.out.push(diagnostic);
                }
                None
            }
        }
    }

    fn metric_word(&mut self, name: &str, word: &str) -> Option<Metric> {
        match word {
            "error_rate" => return Some(Metric::ErrorRate),
            "availability" => return Some(Metric::Availability),
            _ => {}
        }
        let percentile = word.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok());
        if let Some(percentile) = percentile.filter(|p| *p > 0.0 && *p < 100.0) {
            return Some(Metric::Latency { quantile: percentile / 100.0 });
        }
        let words = ["error_rate", "availability", "p50", "p90", "p95", "p99"];
        let path = ["gates", name, "metric"];
        let diagnostic = self
            .error(codes::UNKNOWN_WORD, &path, format!("`{word}` is not a metric"))
            .help(format!("{}; or use `query: PROMQL`", crate::config::walk::suggestion(word, &words)));
        self.out.push(diagnostic);
        None
    }

    fn limit(&mut self, name: &str, key: &str, given: Option<&Limit>, metric: &Metric) -> Option<f64> {
        let text = given?.0.trim();
        let read = match metric {
            Metric::ErrorRate | Metric::Availability => share(text),
            Metric::Latency { .. } => parse_duration(text).map(|time| time.as_secs_f64()).map_err(|_| {
                let number = text.parse::<f64>().is_ok();
                if number {
                    format!("write `{text}ms` or `{text}s`")
                } else {
                    "write e.g. `200ms`".to_owned()
                }
            }),
            Metric::Query(_) | Metric::CloudWatch(_) | Metric::Http(_) | Metric::AgainstStable(_) => {
                match text.strip_suffix('%') {
                    Some(_) => share(text),
                    None => text
                        .parse::<f64>()
                        .map_err(|_| "write a number in the unit of what is measured".to_owned()),
                }
            }
        };
        match read {
            Ok(value) => Some(value),
            Err(help) => {
                let what = metric.label();
                let message = format!("`{text}` is not a limit for {what} (`gates.{name}.{key}`)");
                let diagnostic = self.error(codes::BAD_UNIT, &["gates", name, key], message).help(help);
                self.out.push(diagnostic);
                None
            }
        }
    }

    /// An error rate with a minimum, or an availability with a maximum, is upside down.
    fn direction(&mut self, name: &str, file: &GateFile, metric: &Metric) {
        let (wrong, right) = match metric {
            Metric::Availability if file.max.is_some() && file.min.is_none() => ("max", "min"),
            Metric::ErrorRate | Metric::Latency { .. } if file.min.is_some() && file.max.is_none() => {
                ("min", "max")
            }
            _ => return,
        };
        let message = format!("gate `{name}` would pass when the {} is bad", metric.label());
        let diagnostic = self
            .error(codes::BAD_GATE, &["gates", name, wrong], message)
            .why(format!("`{wrong}` is the wrong side of this metric"))
            .help(format!("write `{right}:` instead of `{wrong}:`"));
        self.out.push(diagnostic);
    }
}

pub(super) fn no_data(file: &GateFile) -> NoData {
    match file.no_data {
        Some(NoDataFile::Fail) => NoData::Fail,
        Some(NoDataFile::Pass) => NoData::Pass,
        Some(NoDataFile::Hold) | None => NoData::Hold,
    }
}

/// `5%` or `0.05` as a ratio.
fn share(text: &str) -> Result<f64, String> {
    if text.ends_with('%') {
        return match parse_percent(text) {
            Ok(percent) if percent <= 100.0 => Ok(percent / 100.0),
            Ok(_) => Err("write a share from 0% to 100%".to_owned()),
            Err(_) => Err("write e.g. `5%`".to_owned()),
        };
    }
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..1.0).contains(&ratio) => Ok(ratio),
        Ok(_) => Err(format!("write `{text}%`")),
        Err(_) => Err("write e.g. `5%`".to_owned()),
    }
}
