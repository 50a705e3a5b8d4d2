//! Gates that compare with stable, and the counters behind them.

use super::Cx;
use super::gates::no_data;
use crate::config::model::{CountersFile, GateFile, LatencyFile, MetricsFile, SourceFile, ToleratedFile};
use crate::config::{codes, defaults};
use crate::domain::counters::{CounterNames, Selector};
use crate::domain::environment::Component;
use crate::domain::gate::{Comparison, Gate, Metric, Shared, Source, Tolerated};
use std::time::Duration;

/// What is tolerated of errors if nothing is said: as the analysis was measured with.
const ERRORS: Tolerated = Tolerated { ratio: 1.1, margin: 0.0005 };
/// The same of slow requests.
const LATENCY: Tolerated = Tolerated { ratio: 1.5, margin: 0.01 };
/// Keys that only a comparison has.
const ONLY_AGAINST: [&str; 4] = ["errors", "latency", "early_promotion", "source"];
/// Keys that a comparison has no use for.
const ONLY_LIMITS: [&str; 9] =
    ["metric", "query", "max", "min", "window", "interval", "breaches", "min_requests", "shared"];

impl Cx<'_> {
    pub(super) fn comparison(
        &mut self,
        name: &str,
        file: &GateFile,
        components: &[Component],
        counters: &CounterNames,
    ) -> Gate {
        self.refuse(name, &ONLY_LIMITS, "belongs to a gate with a limit, not to `against: stable`");
        let errors = self.tolerated(name, "errors", file.errors, ERRORS);
        let latency = match file.latency {
            Some(LatencyFile::Off(_)) => None,
            Some(LatencyFile::Tolerated(given)) => {
                Some(self.tolerated(name, "latency", Some(given), LATENCY))
            }
            None => Some(LATENCY),
        };
        let comparison = Comparison {
            errors,
            latency,
            early_promotion: file.early_promotion.unwrap_or(false),
            source: match file.source {
                Some(SourceFile::Pods) => Source::Pods,
                Some(SourceFile::Prometheus) => Source::Prometheus,
                Some(SourceFile::Auto) | None => Source::Auto,
            },
            counters: counters.clone(),
        };
        Gate {
            name: name.to_owned(),
            components: self.watched(name, file, components),
            metric: Metric::AgainstStable(comparison),
            max: None,
            min: None,
            window: Duration::ZERO,
            interval: Duration::ZERO,
            breaches: 1,
            min_requests: 0,
            no_data: no_data(file),
            shared: Shared::Hold,
        }
    }

    /// Keys of a comparison in a gate that is none.
    pub(super) fn only_against(&mut self, name: &str) {
        self.refuse(name, &ONLY_AGAINST, "belongs to a gate with `against: stable`");
    }

    fn refuse(&mut self, name: &str, keys: &[&str], why: &str) {
        for key in keys {
            if self.tree.find(&["gates", name, key]).is_some() {
                let message = format!("`{key}` {why}");
                let diagnostic = self
                    .error(codes::BAD_GATE, &["gates", name, key], message)
                    .help(format!("take `{key}` away"));
                self.out.push(diagnostic);
            }
        }
    }

    fn tolerated(
        &mut self,
        name: &str,
        key: &str,
        given: Option<ToleratedFile>,
        default: Tolerated,
    ) -> Tolerated {
        let given = given.unwrap_or_default();
        let ratio = given.ratio.unwrap_or(default.ratio);
        let margin = given.margin.map_or(default.margin, |percent| percent.0 / 100.0);
        if !(1.0..=100.0).contains(&ratio) {
            let diagnostic = self
                .error(
                    codes::OUT_OF_RANGE,
                    &["gates", name, key, "ratio"],
                    "`ratio` is not between 1 and 100".to_owned(),
                )
                .why("1 tolerates what the old version shows, 2 twice as much");
            self.out.push(diagnostic);
        }
        Tolerated { ratio, margin }
    }

    /// The counters, the file's over the defaults.
    pub(super) fn counters(&mut self, file: Option<&MetricsFile>) -> CounterNames {
        let none = CountersFile::default();
        let given = file.map_or(&none, |file| &file.counters);
        CounterNames {
            requests: self.selector("requests", given.requests.as_deref(), defaults::COUNTER_REQUESTS),
            errors: self.selector("errors", given.errors.as_deref(), defaults::COUNTER_ERRORS),
            latency: self.selector("latency", given.latency.as_deref(), defaults::COUNTER_LATENCY),
        }
    }

    fn selector(&mut self, key: &str, given: Option<&str>, default: &str) -> Selector {
        let read = Selector::parse(given.unwrap_or(default));
        read.unwrap_or_else(|why| {
            let message = format!("`metrics.counters.{key}` is no selector: {why}");
            let diagnostic = self
                .error(codes::BAD_GATE, &["metrics", "counters", key], message)
                .help(format!("write e.g. `{default}`"));
            self.out.push(diagnostic);
            Selector::parse(default).expect("the default is a selector")
        })
    }
}
