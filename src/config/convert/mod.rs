//! The layered file becomes the domain's environment, once. Every contradiction between keys is found here.

mod blue_green;
mod calendar;
mod comparison;
mod components;
mod gates;
mod gitops;
mod guard;
mod one_box;
mod readiness;
mod smoke;
mod stores;
mod targets;
mod traffic;

use crate::config::defaults::Profile;
use crate::config::model::{
    EnvironmentFile, FailureFile, InterruptFile, Level, LimitsFile, PoliciesFile, UnreachableFile,
};
use crate::config::scalar::Time;
use crate::config::tree::Node;
use crate::config::walk::suggestion;
use crate::config::{codes, defaults, secrets};
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::domain::effect::Approval;
use crate::domain::environment::{
    Environment, Limits, OnFailure, OnInterrupt, Platform, PolicyLevel, Strategy, TrafficClass, Unreachable,
};
use crate::domain::secret::SecretRef;
use crate::domain::units::{human, parse_duration};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Turns a file into an environment. `None` when it lacks what everything else stands on.
pub fn convert(
    name: &str,
    root: &Path,
    tree: &Node,
    file: &EnvironmentFile,
    out: &mut Diagnostics,
) -> Option<Environment> {
    let before = out.errors();
    let mut cx = Cx { tree, root, out, profile: calendar::profile(file) };
    let application = cx.application(file);
    let namespace = file.namespace.clone().or_else(|| application.clone()).unwrap_or_default();
    if file.namespace.is_some() {
        cx.check_name(&namespace, &["namespace"]);
    }
    let state_namespace = file.state_namespace.clone().unwrap_or(defaults::STATE_NAMESPACE.to_owned());
    cx.check_name(&state_namespace, &["state_namespace"]);
    let platform = cx.platform(file, application.as_deref().unwrap_or_default());
    let compose = matches!(platform, Platform::Compose { .. });
    let targets = cx.targets(file, name, compose);
    let waves = cx.waves(file, &targets);
    let components = cx.components(file, &platform);
    let gates = cx.gates(file, &components, &targets);
    let smoke = cx.smoke(file, &components, &targets);
    let readiness = cx.readiness(file);
    let backup = cx.backup(file, &targets);
    let limits = limits(file.limits.as_ref(), calendar::profile(file));
    let one_box = cx.one_box(file, &components, &targets);
    let environment = Environment {
        name: name.to_owned(),
        application: application?,
        root: root.to_owned(),
        platform,
        namespace,
        state_namespace,
        version: file.version.as_ref().map(|version| version.0.clone()),
        cluster_version: cx.cluster_version(file),
        targets,
        is_part: false,
        waves,
        bake: calendar::bake(file),
        one_box,
        approve_waves: file.approve_waves.map(|time| Approval { within: time.0 }),
        calendar: cx.calendar(file),
        profile: calendar::profile(file).map(|profile| profile.name.to_owned()),
        components,
        gates,
        queries: gates::queries(file.metrics.as_ref()),
        readiness,
        smoke,
        backup,
        terraform: cx.terraform(file, root),
        tests: cx.tests(file),
        secrets: cx.secrets(file),
        values: Value::Object(file.values.clone().into_iter().collect()),
        policies: policies(&file.policies),
        budget_usd: file.budget,
        alerts: cx.alerts(file),
        limits,
        take: cx.take(file),
        gitops: cx.gitops(file),
        history_limit: file.history.unwrap_or(defaults::HISTORY),
        on_failure: match file.on_failure {
            Some(FailureFile::Hold) => OnFailure::Hold,
            Some(FailureFile::Rollback) | None => OnFailure::Rollback,
        },
        unreachable: match file.unreachable {
            Some(UnreachableFile::Skip) => Unreachable::Skip,
            Some(UnreachableFile::Block) | None => Unreachable::Block,
        },
        on_interrupt: match file.on_interrupt {
            Some(InterruptFile::Rollback) => OnInterrupt::Rollback,
            _ => OnInterrupt::Stop,
        },
        guard: cx.guard(file, compose),
    };
    cx.check_duration(&environment);
    // A base file is read for its mistakes; what it lacks is no second mistake.
    (cx.out.errors() == before || !environment.components.is_empty()).then_some(environment)
}

/// What every part of the conversion needs: the tree for places, and where mistakes go.
struct Cx<'a> {
    tree: &'a Node,
    root: &'a Path,
    out: &'a mut Diagnostics,
    profile: Option<&'static Profile>,
}

impl Cx<'_> {
    fn place(&self, path: &[&str]) -> Place {
        self.tree.place_of(path)
    }

    fn error(&self, code: u16, path: &[&str], message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.place(path), message)
    }

    fn missing(&mut self, path: &[&str], message: &str, help: &str) {
        // A value that is there but wrong was reported already.
        if self.tree.find(path).is_none() {
            let diagnostic = self.error(codes::MISSING, path, message).help(help);
            self.out.push(diagnostic);
        }
    }

    /// Names become names of objects and labels.
    fn check_name(&mut self, name: &str, path: &[&str]) {
        let body = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let ends = !name.starts_with('-') && !name.ends_with('-');
        if name.is_empty() || (body && ends && name.len() <= 63) {
            return;
        }
        let better: String = name
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(63)
            .collect::<String>()
            .trim_matches('-')
            .to_owned();
        let place = match self.tree.find(path).map(|node| node.text == name) {
            Some(true) => self.place(path),
            _ => self.key_place(path),
        };
        let help =
            if better.is_empty() { "write e.g. `my-app`".to_owned() } else { format!("write `{better}`") };
        self.out.push(
            Diagnostic::error(codes::BAD_NAME, place, format!("`{name}` is not a valid name"))
                .why("names become names of Kubernetes objects: at most 63 of a–z, 0–9 and `-`, no `-` at the ends")
                .help(help),
        );
    }

    fn key_place(&self, path: &[&str]) -> Place {
        let (parents, last) = path.split_at(path.len().saturating_sub(1));
        let entry = last.first().and_then(|key| self.tree.find(parents)?.entry(key));
        entry.map_or_else(|| self.place(path), |entry| entry.key_place.clone())
    }

    /// Names in the order of the file (the maps of the model are sorted).
    fn ordered(&self, path: &[&str]) -> Vec<String> {
        let node = self.tree.find(path);
        node.map(|node| node.entries().iter().map(|entry| entry.key.clone()).collect()).unwrap_or_default()
    }

    /// Reports a name that is none of the known ones.
    fn unknown(&mut self, code: u16, what: &str, name: &str, path: &[&str], known: &[&str]) {
        let help = suggestion(name, known);
        let diagnostic = self.error(code, path, format!("there is no {what} `{name}`")).help(help);
        self.out.push(diagnostic);
    }

    fn application(&mut self, file: &EnvironmentFile) -> Option<String> {
        if let Some(name) = &file.application {
            self.check_name(name, &["application"]);
            Some(name.clone())
        } else {
            self.missing(
                &["application"],
                "`application` is missing",
                "add `application: NAME`: it names the locks, releases and labels",
            );
            None
        }
    }

    fn cluster_version(&mut self, file: &EnvironmentFile) -> (u32, u32) {
        let text = file.cluster_version.as_ref().map_or(defaults::CLUSTER_VERSION, |version| &version.0);
        let parsed = text
            .trim_start_matches('v')
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?)));
        parsed.unwrap_or_else(|| {
            let diagnostic = self
                .error(codes::BAD_UNIT, &["cluster_version"], format!("`{text}` is not a Kubernetes version"))
                .help("write `MAJOR.MINOR`, e.g. `\"1.36\"`");
            self.out.push(diagnostic);
            (1, 36)
        })
    }

    fn terraform(&mut self, file: &EnvironmentFile, root: &Path) -> Option<PathBuf> {
        let terraform = file.terraform.as_ref()?;
        let Some(dir) = &terraform.dir else {
            self.missing(&["terraform", "dir"], "`terraform` names no folder", "add `dir: terraform`");
            return None;
        };
        if !root.join(dir).is_dir() {
            let diagnostic = self
                .error(codes::NOT_FOUND, &["terraform", "dir"], format!("there is no folder `{dir}`"))
                .why(format!("paths start from {}", root.display()));
            self.out.push(diagnostic);
        }
        Some(PathBuf::from(dir))
    }

    /// A field's path has no blanks, and an object before it is `Kind/name`.
    fn take(&mut self, file: &EnvironmentFile) -> Vec<String> {
        for (index, text) in file.take.iter().enumerate() {
            let field = text.split_once(':').map_or(text.as_str(), |(_, field)| field);
            let named = text.split_once(':').is_none_or(|(name, _)| name.split('/').count() == 2);
            if field.trim_start_matches('.').is_empty() || text.contains(char::is_whitespace) || !named {
                let message = format!("`{text}` names no field");
                let place = ["take", &index.to_string()];
                let help =
                    "write a path as the plan shows it, e.g. `spec.replicas` or `Service/web:spec.type`";
                let diagnostic = self.error(codes::OUT_OF_RANGE, &place, message).help(help);
                self.out.push(diagnostic);
            }
        }
        file.take.clone()
    }

    fn tests(&mut self, file: &EnvironmentFile) -> Option<Vec<String>> {
        let command = file.tests.as_ref()?.command.clone();
        if command.as_ref().is_none_or(Vec::is_empty) {
            let path = ["tests", "command"];
            let help = "add `command: [PROGRAM, ARGUMENT, …]`";
            if command.is_some() {
                let diagnostic = self.error(codes::MISSING, &path, "`tests.command` is empty").help(help);
                self.out.push(diagnostic);
            } else {
                self.missing(&path, "`tests` names no command", help);
            }
        }
        command
    }

    fn secrets(&mut self, file: &EnvironmentFile) -> BTreeMap<String, BTreeMap<String, SecretRef>> {
        for name in file.secrets.keys() {
            self.check_name(name, &["secrets", name]);
        }
        let read = |keys: &BTreeMap<String, crate::config::scalar::SecretText>| {
            keys.iter().filter_map(|(key, text)| Some((key.clone(), secrets::parse(&text.0).ok()?))).collect()
        };
        file.secrets.iter().map(|(name, keys)| (name.clone(), read(keys))).collect()
    }

    fn alerts(&mut self, file: &EnvironmentFile) -> BTreeMap<String, Vec<String>> {
        let all = [
            ("critical", &file.alerts.critical),
            ("warning", &file.alerts.warning),
            ("info", &file.alerts.info),
        ];
        for (severity, channels) in all {
            for (index, channel) in channels.iter().enumerate() {
                let (kind, rest) = channel.split_once(':').unwrap_or((channel, ""));
                let fits = match kind {
                    "pagerduty" => true,
                    "slack" => rest.starts_with('#'),
                    "email" => rest.contains('@'),
                    "webhook" => rest.starts_with("http"),
                    _ => false,
                };
                if !fits {
                    let path = ["alerts", severity, &index.to_string()];
                    let diagnostic = self
                        .error(codes::UNKNOWN_WORD, &path, format!("`{channel}` is no way to tell anybody"))
                        .help(
                            "write `pagerduty`, `slack:#channel`, `email:NAME@HOST` or `webhook:https://…`",
                        );
                    self.out.push(diagnostic);
                }
            }
        }
        all.into_iter()
            .filter(|(_, channels)| !channels.is_empty())
            .map(|(severity, channels)| (severity.to_owned(), channels.clone()))
            .collect()
    }

    /// A lock must outlive every write that is sent under it; the holds alone must fit into the time that a run may
    /// take.
    fn check_duration(&mut self, environment: &Environment) {
        if environment.limits.lease.as_secs() < defaults::SHORTEST_LEASE {
            let shortest = defaults::SHORTEST_LEASE;
            let message = format!("`lease: {}` is out of range", human(environment.limits.lease));
            let diagnostic = self
                .error(codes::OUT_OF_RANGE, &["limits", "lease"], message)
                .why("a write may take ten seconds, and nothing is sent that could outlive the lock")
                .help(format!("write at least `{shortest}s`"));
            self.out.push(diagnostic);
        }
        let hold = |strategy: &Strategy| match strategy {
            Strategy::Canary(canary) => {
                let mirror = canary.mirror.map(|mirror| mirror.hold).unwrap_or_default();
                canary.steps.iter().map(|step| step.hold).sum::<Duration>() + mirror
            }
            Strategy::BlueGreen(blue_green) => blue_green.hold,
            Strategy::Rolling | Strategy::Recreate => Duration::ZERO,
        };
        let longest = environment.components.iter().map(|c| hold(&c.strategy)).max().unwrap_or_default();
        let is_live = |wave: &&Vec<_>| {
            wave.iter().any(|id| environment.target(id).is_some_and(|t| t.traffic == TrafficClass::Live))
        };
        let live = environment.waves.iter().filter(is_live).count();
        let waves = environment.waves.len();
        let one_box = environment.one_box.map(|one_box| one_box.bake).unwrap_or_default();
        let needed = longest * u32::try_from(live).unwrap_or(u32::MAX)
            + calendar::bakes(&environment.bake, waves)
            + one_box;
        if needed > environment.limits.run {
            let (needed, limit) = (human(needed), human(environment.limits.run));
            let message = format!("holds and bakes alone take {needed}, `limits.run` is {limit}");
            let diagnostic = self
                .error(codes::CONFLICT, &["limits", "run"], message)
                .why("every run would be rolled back for taking too long")
                .help("raise `limits.run`, or shorten the holds");
            self.out.push(diagnostic);
        }
    }
}

/// A duration, or its default.
fn time(given: Option<Time>, default: &str) -> Duration {
    given.map_or_else(|| parse_duration(default).unwrap_or_default(), |time| time.0)
}

fn limits(file: Option<&LimitsFile>, profile: Option<&Profile>) -> Limits {
    let none = LimitsFile::default();
    let file = file.unwrap_or(&none);
    Limits {
        ready: time(file.ready, defaults::READY),
        run: time(file.run, profile.map_or(defaults::RUN, |profile| profile.run)),
        backup: time(file.backup, defaults::BACKUP),
        shared_breach: time(file.shared_breach, defaults::SHARED_BREACH),
        lease: time(file.lease, defaults::LEASE),
    }
}

fn policies(file: &PoliciesFile) -> BTreeMap<String, PolicyLevel> {
    let level = |given: Option<Level>, default: PolicyLevel| match given {
        Some(Level::Error) => PolicyLevel::Error,
        Some(Level::Warn) => PolicyLevel::Warn,
        Some(Level::Off) => PolicyLevel::Off,
        None => default,
    };
    [
        ("image-tag", level(file.image_tag, PolicyLevel::Error)),
        ("probes", level(file.probes, PolicyLevel::Error)),
        ("limits", level(file.limits, PolicyLevel::Error)),
        ("security-context", level(file.security_context, PolicyLevel::Warn)),
        ("hpa-replicas", level(file.hpa_replicas, PolicyLevel::Warn)),
        ("disruption-budget", level(file.disruption_budget, PolicyLevel::Warn)),
        ("deprecated-api", level(file.deprecated_api, PolicyLevel::Warn)),
        ("external-reference", level(file.external_reference, PolicyLevel::Warn)),
    ]
    .into_iter()
    .map(|(name, level)| (name.to_owned(), level))
    .collect()
}

/// The template values of a mapping.
fn values(map: &BTreeMap<String, Value>) -> Value {
    Value::Object(map.clone().into_iter().collect::<Map<_, _>>())
}
