//! Canaries: their steps, what carries their weights, and how the share that arrives is counted.

use super::{Cx, calendar};
use crate::config::codes;
use crate::config::model::{CanaryFile, RouterFile, RouterName, StepFile, VersionProbeFile};
use crate::domain::effect::Approval;
use crate::domain::environment::{
    Canary, CanaryStep, NginxRouter, Router, Strategy, VersionPlace, VersionProbe,
};

impl Cx<'_> {
    pub(super) fn canary(&mut self, file: &CanaryFile, path: &[&str]) -> Strategy {
        let router = file.router.as_ref().map_or(Router::Pods, |router| self.router(router, path));
        let Some(steps) = &file.steps else {
            return Strategy::Canary(Canary { router, ..calendar::canary(self.profile) });
        };
        if steps.is_empty() {
            let path = [path, &["canary", "steps"]].concat();
            let diagnostic = self
                .error(codes::BAD_STEPS, &path, "a canary without steps")
                .why("all traffic would move at once, unwatched")
                .help("write e.g. `steps: [{weight: 10%, hold: 5m}]`, or `strategy: rolling`");
            self.out.push(diagnostic);
        }
        let mut last = 0.0;
        for (index, step) in steps.iter().enumerate() {
            let weight = step.weight.0;
            let at = index.to_string();
            let path = [path, &["canary", "steps", &at, "weight"]].concat();
            if !(1.0..100.0).contains(&weight) || weight.fract() != 0.0 {
                let diagnostic = self
                    .error(codes::BAD_STEPS, &path, format!("a weight of {weight} %"))
                    .why("the weights of a canary lie between 1 % and 99 %; the step to 100 % follows by itself")
                    .help("write a whole share from 1% to 99%, or remove the step");
                self.out.push(diagnostic);
            } else if weight <= last {
                let diagnostic = self
                    .error(codes::BAD_STEPS, &path, format!("{weight} % follows {last} %: weights must rise"))
                    .why("a canary never takes traffic back to go on")
                    .help(format!("write more than {last}%, or remove the step"));
                self.out.push(diagnostic);
            }
            last = weight.max(last);
        }
        let steps = steps
            .iter()
            .enumerate()
            .map(|(index, step)| CanaryStep {
                weight: step.weight.0.clamp(1.0, 99.0) as u8,
                hold: step.hold.0,
                scale: self.scale(step, index, &router, path),
                approve: step.approve.map(|time| Approval { within: time.0 }),
            })
            .collect();
        Strategy::Canary(Canary { steps, router })
    }

    /// A size below the weight would send more traffic than stands ready.
    fn scale(&mut self, step: &StepFile, index: usize, router: &Router, path: &[&str]) -> Option<u8> {
        let scale = step.scale?.0;
        let at = index.to_string();
        let path = [path, &["canary", "steps", &at, "scale"]].concat();
        let weight = step.weight.0;
        let mistake = if !router.is_weighted() {
            Some((
                "`scale` with pods as the router",
                "pods are the traffic there: their number is the weight",
            ))
        } else if !(weight..=100.0).contains(&scale) || scale.fract() != 0.0 {
            Some(("a scale outside of weight and 100 %", "a smaller revision could not carry its share"))
        } else {
            None
        };
        if let Some((message, why)) = mistake {
            let help =
                format!("write a whole share from {weight}% to 100% with another `router`, or remove it");
            let diagnostic = self.error(codes::BAD_STEPS, &path, message).why(why).help(help);
            self.out.push(diagnostic);
        }
        Some(scale.clamp(1.0, 100.0) as u8)
    }

    fn router(&mut self, file: &RouterFile, path: &[&str]) -> Router {
        let detail = match file {
            RouterFile::Named(RouterName::Pods) => return Router::Pods,
            RouterFile::Named(RouterName::Nginx) => return Router::Nginx(NginxRouter::default()),
            RouterFile::Named(RouterName::Gateway) => return Router::Gateway,
            RouterFile::Named(RouterName::Istio) => return Router::Istio,
            RouterFile::Named(RouterName::Alb) => return Router::Alb,
            RouterFile::Detailed(detail) => detail,
        };
        let Some(nginx) = &detail.nginx else {
            let path = [path, &["canary", "router"]].concat();
            let diagnostic = self
                .error(codes::CONFLICT, &path, "a router is one of its names, or `nginx` with settings")
                .help("write e.g. `router: gateway`, or `router: {nginx: {header: X-Canary}}`");
            self.out.push(diagnostic);
            return Router::Pods;
        };
        for (key, value) in [("header", &nginx.header), ("cookie", &nginx.cookie)] {
            let Some(value) = value.as_ref().filter(|value| !is_token(value)) else { continue };
            let path = [path, &["canary", "router", "nginx", key]].concat();
            let diagnostic = self
                .error(codes::BAD_NAME, &path, format!("`{value}` is not the name of a {key}"))
                .help("write letters, digits, `-` and `_`");
            self.out.push(diagnostic);
        }
        Router::Nginx(NginxRouter { header: nginx.header.clone(), cookie: nginx.cookie.clone() })
    }

    /// Nothing is counted by a probe that does not say where the version stands.
    pub(super) fn version_probe(&mut self, file: &VersionProbeFile, id: &str) -> Option<VersionProbe> {
        let at = ["components", id, "version_probe"];
        let path = file.path.clone().unwrap_or_default();
        if file.path.is_none() {
            let message = format!("the version probe of `{id}` has no path");
            self.missing(&["components", id, "version_probe", "path"], &message, "add `path: /version`");
        } else if !path.starts_with('/') {
            let at = ["components", id, "version_probe", "path"];
            let diagnostic = self
                .error(codes::BAD_NAME, &at, format!("`{path}` is not a path"))
                .help(format!("write `/{path}`"));
            self.out.push(diagnostic);
        }
        let json = file.json.as_ref();
        if let Some(pointer) = json.filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            let at = ["components", id, "version_probe", "json"];
            let diagnostic = self
                .error(codes::BAD_NAME, &at, format!("`{pointer}` is not a JSON pointer"))
                .help(format!("write `/{}`", pointer.replace('.', "/")));
            self.out.push(diagnostic);
        }
        let header = file.header.as_ref().map(|name| VersionPlace::Header(name.to_ascii_lowercase()));
        let json = json.map(|pointer| VersionPlace::Json(pointer.clone()));
        let body = file.body.filter(|body| *body).map(|_| VersionPlace::Body);
        let mut places = [header, json, body].into_iter().flatten();
        let (Some(place), None) = (places.next(), places.next()) else {
            let message = format!("the version probe of `{id}` does not say where the version stands");
            let diagnostic = self
                .error(codes::CONFLICT, &at, message)
                .why("it is read in exactly one place")
                .help("keep one of `header: NAME`, `json: /POINTER`, `body: true`");
            self.out.push(diagnostic);
            return None;
        };
        Some(VersionProbe { path, host: file.host.clone(), place })
    }
}

/// A name of a header or a cookie.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}
