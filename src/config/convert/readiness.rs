//! The project's own rules for when objects are ready.

use super::Cx;
use crate::config::codes;
use crate::config::model::{EnvironmentFile, ReadyTestFile};
use crate::domain::readiness::{ReadinessRule, ReadyTest};
use serde_json::Value;

/// Kinds whose pods are judged: a rule could send traffic to pods that are not there.
const OWN: &[(&str, &str)] = &[
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("batch", "Job"),
    ("v1", "Pod"),
];

impl Cx<'_> {
    pub(super) fn readiness(&mut self, file: &EnvironmentFile) -> Vec<ReadinessRule> {
        let mut rules: Vec<ReadinessRule> = Vec::new();
        for (index, rule) in file.readiness.iter().flatten().enumerate() {
            let at = index.to_string();
            let path = ["readiness", at.as_str()];
            let group = rule.api_version.split('/').next().unwrap_or_default();
            if OWN.contains(&(group, rule.kind.as_str())) {
                let message = format!("a {} is judged by its pods, no rule can change that", rule.kind);
                let diagnostic = self
                    .error(codes::BAD_READINESS, &[path[0], path[1], "kind"], message)
                    .why("traffic must never be sent to pods that are not ready")
                    .help("remove the rule");
                self.out.push(diagnostic);
                continue;
            }
            if rules.iter().any(|known| known.covers(&rule.api_version, &rule.kind)) {
                let message = format!("there is a rule for {} already", rule.kind);
                let diagnostic = self
                    .error(codes::BAD_READINESS, &path, message)
                    .why("the first would always win")
                    .help("remove one of the two");
                self.out.push(diagnostic);
                continue;
            }
            let ready = self.ready_test(&rule.ready, &[path[0], path[1], "ready"]);
            let failed =
                rule.failed.as_ref().map(|test| self.ready_test(test, &[path[0], path[1], "failed"]));
            let (Some(ready), false) = (ready, failed == Some(None)) else { continue };
            if failed.as_ref().and_then(Option::as_ref) == Some(&ReadyTest::Exists) {
                let diagnostic = self
                    .error(
                        codes::BAD_READINESS,
                        &[path[0], path[1], "failed"],
                        "every object would have failed",
                    )
                    .help("name a condition, or a path and a value");
                self.out.push(diagnostic);
                continue;
            }
            rules.push(ReadinessRule {
                api_version: rule.api_version.clone(),
                kind: rule.kind.clone(),
                ready,
                failed: failed.flatten(),
            });
        }
        rules
    }

    /// Exactly one of `condition`, `path` and `exists`.
    fn ready_test(&mut self, file: &ReadyTestFile, path: &[&str]) -> Option<ReadyTest> {
        let status = || file.status.map_or("True", |status| status.word()).to_owned();
        match (&file.condition, &file.path, file.exists) {
            (Some(name), None, None) if file.value.is_none() => {
                Some(ReadyTest::Condition { name: name.clone(), status: status() })
            }
            (None, Some(path), None) if file.status.is_none() && file.value.is_some() => {
                let value = file.value.clone().unwrap_or(Value::Null);
                Some(ReadyTest::Field { path: path.clone(), value })
            }
            (None, None, Some(true)) if file.status.is_none() && file.value.is_none() => {
                Some(ReadyTest::Exists)
            }
            _ => {
                let diagnostic = self
                    .error(codes::BAD_READINESS, path, "this says nothing, or two things at once")
                    .help(
                        "write `{condition: Ready, status: \"True\"}`, `{path: status.phase, value: Running}` or `{exists: true}`",
                    );
                self.out.push(diagnostic);
                None
            }
        }
    }
}
