//! Smoke tests.

use super::{Cx, time};
use crate::config::model::{EnvironmentFile, ExpectFile, MethodFile, SmokeFile, ThroughFile};
use crate::config::{codes, defaults};
use crate::domain::environment::{Component, SmokeTest, Target, Through};
use crate::domain::ids::ComponentId;

impl Cx<'_> {
    pub(super) fn smoke(
        &mut self,
        file: &EnvironmentFile,
        components: &[Component],
        targets: &[Target],
    ) -> Vec<SmokeTest> {
        self.ordered(&["smoke"])
            .iter()
            .filter_map(|name| Some((name, file.smoke.get(name)?)))
            .map(|(name, smoke)| self.smoke_test(name, smoke, components, targets))
            .collect()
    }

    fn smoke_test(
        &mut self,
        name: &str,
        file: &SmokeFile,
        components: &[Component],
        targets: &[Target],
    ) -> SmokeTest {
        let known: Vec<&str> = components.iter().map(|c| c.id.as_str()).collect();
        match &file.component {
            Some(component) if !known.contains(&component.as_str()) => {
                let path = ["smoke", name, "component"];
                self.unknown(codes::UNKNOWN_COMPONENT, "component", component, &path, &known);
            }
            Some(_) => {}
            None => self.missing(
                &["smoke", name, "component"],
                &format!("smoke test `{name}` names no component"),
                "add `component: NAME`",
            ),
        }
        let path = file.path.clone().unwrap_or_default();
        if file.path.is_none() {
            let message = format!("smoke test `{name}` has no path");
            self.missing(&["smoke", name, "path"], &message, "add `path: /health`");
        } else if !path.starts_with('/') {
            let diagnostic = self
                .error(codes::BAD_NAME, &["smoke", name, "path"], format!("`{path}` is not a path"))
                .help(format!("write `/{path}`"));
            self.out.push(diagnostic);
        }
        if matches!(file.through, Some(ThroughFile::Ingress)) {
            self.check_ingress(name, targets);
        }
        let expect = file.expect.clone().unwrap_or_default();
        self.check_pointers(name, &expect);
        let timeout = time(file.timeout, defaults::SMOKE_TIMEOUT);
        SmokeTest {
            name: name.to_owned(),
            component: ComponentId::new(file.component.clone().unwrap_or_default()),
            method: method(file.method).to_owned(),
            path,
            host: file.host.clone(),
            headers: file.headers.clone(),
            through: match file.through {
                Some(ThroughFile::Ingress) => Through::Ingress,
                _ => Through::Service,
            },
            status: expect.status.unwrap_or(200),
            body_contains: expect.contains,
            json: expect.json,
            max_latency: expect.max_latency.map_or(timeout, |time| time.0),
            timeout,
            attempts: file.attempts.unwrap_or(defaults::ATTEMPTS),
            retry_delay: time(file.retry_delay, defaults::RETRY_DELAY),
        }
    }

    fn check_ingress(&mut self, name: &str, targets: &[Target]) {
        for target in targets.iter().filter(|target| target.ingress.is_none()) {
            let id = target.id.as_str();
            let diagnostic = self
                .error(
                    codes::CONFLICT,
                    &["smoke", name, "through"],
                    format!("smoke test `{name}` goes through the ingress, but target `{id}` has none"),
                )
                .help(format!("add `ingress: https://HOST` to `targets.{id}`, or write `through: service`"))
                .related(self.key_place(&["targets", id]), "no `ingress` here");
            self.out.push(diagnostic);
        }
    }

    fn check_pointers(&mut self, name: &str, expect: &ExpectFile) {
        for pointer in expect.json.keys().filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            let path = ["smoke", name, "expect", "json", pointer];
            let place = self.key_place(&path);
            let message = format!("`{pointer}` is not a JSON pointer");
            self.out.push(
                crate::domain::Diagnostic::error(codes::BAD_NAME, place, message)
                    .help(format!("write `/{}`", pointer.replace('.', "/"))),
            );
        }
    }
}

fn method(file: Option<MethodFile>) -> &'static str {
    match file {
        None | Some(MethodFile::Get) => "GET",
        Some(MethodFile::Head) => "HEAD",
        Some(MethodFile::Post) => "POST",
        Some(MethodFile::Options) => "OPTIONS",
    }
}
