//! Canaries: their steps, what carries their weights, and how the share that arrives is counted.

use super::{Cx, calendar};
use crate::config::codes;
use crate::config::model::{
    CanaryFile, HeaderFile, MirrorFile, RouterFile, RouterName, StepFile, TestersFile, VersionProbeFile,
};
use crate::domain::effect::Approval;
use crate::domain::environment::{
    Canary, CanaryStep, Mirror, Router, Strategy, Testers, VersionPlace, VersionProbe,
};

impl Cx<'_> {
    pub(super) fn canary(&mut self, file: &CanaryFile, path: &[&str]) -> Strategy {
        let router = file.router.as_ref().map_or(Router::Pods, |router| self.router(router, path));
        let mirror = file.mirror.as_ref().map(|mirror| self.mirror(mirror, &router, path));
        let dynamic_stable_scale = self.dynamic(file, &router, path);
        let Some(steps) = &file.steps else {
            let steps = calendar::canary(self.profile).steps;
            return Strategy::Canary(Canary { steps, router, mirror, dynamic_stable_scale });
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
        Strategy::Canary(Canary { steps, router, mirror, dynamic_stable_scale })
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

    /// Where pods are the traffic, fewer pods of stable would be less traffic to it.
    fn dynamic(&mut self, file: &CanaryFile, router: &Router, path: &[&str]) -> bool {
        if file.dynamic_stable_scale && !router.is_weighted() {
            let path = [path, &["canary", "dynamic_stable_scale"]].concat();
            let diagnostic = self
                .error(codes::CONFLICT, &path, "`dynamic_stable_scale` with pods as the router")
                .why("pods are the traffic there: with fewer pods stable would get less of it than the step says")
                .help("remove it, or let another `router` carry the weights");
            self.out.push(diagnostic);
        }
        file.dynamic_stable_scale
    }

    /// Not every router copies requests.
    fn mirror(&mut self, file: &MirrorFile, router: &Router, path: &[&str]) -> Mirror {
        let path = [path, &["canary", "mirror"]].concat();
        let why = match router {
            Router::Gateway(_) | Router::Istio(_) => None,
            Router::Pods => Some("no route is written, so nothing copies requests"),
            Router::Nginx(_) => Some(
                "ingress-nginx copies all requests or none, by an annotation of the Ingress itself, which is never written",
            ),
            Router::Alb(_) => Some("an Application Load Balancer does not copy requests"),
        };
        if let Some(why) = why {
            let message = format!("`mirror` with `router: {}`", router.name());
            let diagnostic = self
                .error(codes::CONFLICT, &path, message)
                .why(why)
                .help("remove `mirror`, or let `gateway` or `istio` carry the weights");
            self.out.push(diagnostic);
        }
        let share = file.share.map_or(100.0, |share| share.0);
        if !(1.0..=100.0).contains(&share) || share.fract() != 0.0 {
            let path = [path.as_slice(), &["share"]].concat();
            let diagnostic = self
                .error(codes::OUT_OF_RANGE, &path, format!("a share of {share} %"))
                .help("write a whole share from 1% to 100%");
            self.out.push(diagnostic);
        }
        Mirror { percent: share.clamp(1.0, 100.0) as u8, hold: file.hold.0 }
    }

    fn router(&mut self, file: &RouterFile, path: &[&str]) -> Router {
        let none = Testers::default;
        let detail = match file {
            RouterFile::Named(RouterName::Pods) => return Router::Pods,
            RouterFile::Named(RouterName::Nginx) => return Router::Nginx(none()),
            RouterFile::Named(RouterName::Gateway) => return Router::Gateway(none()),
            RouterFile::Named(RouterName::Istio) => return Router::Istio(none()),
            RouterFile::Named(RouterName::Alb) => return Router::Alb(none()),
            RouterFile::Detailed(detail) => detail,
        };
        let by_header = |file: &HeaderFile| Testers { header: file.header.clone(), cookie: None };
        let by_both =
            |file: &TestersFile| Testers { header: file.header.clone(), cookie: file.cookie.clone() };
        let given = [
            detail.nginx.as_ref().map(|file| Router::Nginx(by_both(file))),
            detail.gateway.as_ref().map(|file| Router::Gateway(by_header(file))),
            detail.istio.as_ref().map(|file| Router::Istio(by_both(file))),
            detail.alb.as_ref().map(|file| Router::Alb(by_header(file))),
        ];
        let mut given = given.into_iter().flatten();
        let (Some(router), None) = (given.next(), given.next()) else {
            let path = [path, &["canary", "router"]].concat();
            let diagnostic = self
                .error(codes::CONFLICT, &path, "a router is one of its names, or one of them with settings")
                .help("write e.g. `router: gateway`, or `router: {nginx: {header: X-Canary}}`");
            self.out.push(diagnostic);
            return Router::Pods;
        };
        let Some(testers) = router.testers() else { return router };
        for (key, value) in [("header", &testers.header), ("cookie", &testers.cookie)] {
            let Some(value) = value.as_ref().filter(|value| !is_token(value)) else { continue };
            let path = [path, &["canary", "router", router.name(), key]].concat();
            let diagnostic = self
                .error(codes::BAD_NAME, &path, format!("`{value}` is not the name of a {key}"))
                .help("write letters, digits, `-` and `_`");
            self.out.push(diagnostic);
        }
        router
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
