//! Metric stores: a target's Prometheus, and the stores that a gate names itself.

mod cloudwatch;

use super::Cx;
use crate::config::model::{
    GateFile, HttpMethodFile, HttpMetricFile, MetricStoreFile, PrometheusFile, PrometheusStoreFile,
    SigV4File, StoreTlsFile,
};
use crate::config::{codes, secrets};
use crate::domain::gate::{Gate, Metric};
use crate::domain::ids::ComponentId;
use crate::domain::metric_store::{HttpQuery, PrometheusStore, SecretText, SigV4, StoreAuth, StoreTls};
use std::collections::BTreeMap;

impl Cx<'_> {
    pub(super) fn prometheus(
        &mut self,
        target: &str,
        file: Option<&PrometheusFile>,
        region: &str,
    ) -> Option<PrometheusStore> {
        let path = ["targets", target, "prometheus"];
        match file? {
            PrometheusFile::Url(url) => {
                self.store_url(url, &path);
                Some(PrometheusStore::open(url))
            }
            PrometheusFile::Store(store) => Some(self.store(&path, store, region)),
        }
    }

    fn store(&mut self, path: &[&str], file: &PrometheusStoreFile, region: &str) -> PrometheusStore {
        let at = |keys: &[&str]| [path, keys].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
        self.store_url(&file.url, &[path, &["url"]].concat());
        let mut urls = vec![file.url.clone()];
        for (index, url) in file.fallback.iter().enumerate() {
            let here = at(&["fallback", &index.to_string()]);
            let here: Vec<&str> = here.iter().map(String::as_str).collect();
            self.store_url(url, &here);
            if urls.iter().any(|other| other.trim_end_matches('/') == url.trim_end_matches('/')) {
                let diagnostic = self
                    .error(codes::CONFLICT, &here, format!("`{url}` is there twice"))
                    .why("an endpoint that gives no answer gives none the second time either")
                    .help("take one of the two away");
                self.out.push(diagnostic);
            } else {
                urls.push(url.clone());
            }
        }
        let auth = self.auth(path, file, region);
        let headers = self.headers(&[path, &["headers"]].concat(), &file.headers, auth.is_some());
        let tls = file.tls.as_ref().map(|tls| self.store_tls(path, tls, &urls));
        PrometheusStore { urls, auth, headers, tls }
    }

    fn auth(&mut self, path: &[&str], file: &PrometheusStoreFile, region: &str) -> Option<StoreAuth> {
        let given: Vec<&str> = [
            ("basic", file.basic.is_some()),
            ("bearer", file.bearer.is_some()),
            ("sigv4", file.sigv4.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
        .collect();
        if let [first, second, ..] = given[..] {
            let diagnostic = self
                .error(
                    codes::CONFLICT,
                    &[path, &[second]].concat(),
                    format!("`{first}` and `{second}` both say who asks"),
                )
                .why("a request shows one set of credentials")
                .help(format!("keep `{first}` or `{second}`"));
            self.out.push(diagnostic);
        }
        if let Some(basic) = &file.basic {
            let password = secrets::parse(&basic.password.0).ok()?;
            return Some(StoreAuth::Basic { username: basic.username.clone(), password });
        }
        if let Some(bearer) = &file.bearer {
            return Some(StoreAuth::Bearer(secrets::parse(&bearer.0).ok()?));
        }
        file.sigv4.as_ref().map(|sigv4| StoreAuth::SigV4(self.sigv4(path, sigv4, region)))
    }

    fn sigv4(&mut self, path: &[&str], file: &SigV4File, region: &str) -> SigV4 {
        self.role(&[path, &["sigv4", "role"]].concat(), file.role.as_deref());
        SigV4 {
            region: file.region.clone().unwrap_or_else(|| region.to_owned()),
            service: file.service.clone().unwrap_or_else(|| "aps".to_owned()),
            profile: file.profile.clone(),
            role: file.role.clone(),
        }
    }

    fn role(&mut self, path: &[&str], role: Option<&str>) {
        if let Some(role) = role.filter(|role| !role.starts_with("arn:") && !role.starts_with("{{")) {
            let diagnostic = self
                .error(codes::UNKNOWN_WORD, path, format!("`{role}` is not the ARN of a role"))
                .help("write `arn:aws:iam::ACCOUNT:role/NAME`");
            self.out.push(diagnostic);
        }
    }

    fn store_tls(&mut self, path: &[&str], file: &StoreTlsFile, urls: &[String]) -> StoreTls {
        let here = [path, &["tls"]].concat();
        if let Some(url) = urls.iter().find(|url| !url.starts_with("https://")) {
            let diagnostic = self
                .error(codes::CONFLICT, &here, format!("`tls` is set, but `{url}` is not asked over TLS"))
                .help("write `https://…`, or take `tls` away");
            self.out.push(diagnostic);
        }
        let pair = |one: &str, other: &str| format!("`tls.{one}` without `tls.{other}`");
        let lonely = match (&file.cert, &file.key) {
            (Some(_), None) => Some(("cert", pair("cert", "key"), "key")),
            (None, Some(_)) => Some(("key", pair("key", "cert"), "cert")),
            _ => None,
        };
        if let Some((key, message, other)) = lonely {
            let diagnostic = self
                .error(codes::MISSING, &[here.as_slice(), &[key]].concat(), message)
                .why("a certificate is shown together with the proof that it is ours")
                .help(format!("add `{other}: PATH`"));
            self.out.push(diagnostic);
        }
        let file_of = |path: &String| self.root.join(path);
        StoreTls {
            ca: file.ca.as_ref().map(file_of),
            client: file
                .cert
                .as_ref()
                .zip(file.key.as_ref())
                .map(|(cert, key)| (file_of(cert), file_of(key))),
            server_name: file.server_name.clone(),
        }
    }

    fn headers(
        &mut self,
        path: &[&str],
        file: &BTreeMap<String, String>,
        authorised: bool,
    ) -> BTreeMap<String, SecretText> {
        for (name, text) in file {
            let here = [path, &[name.as_str()]].concat();
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(token) {
                let message = format!("`{name}` is not the name of a header");
                let diagnostic =
                    self.error(codes::BAD_NAME, &here, message).help("write e.g. `X-Scope-OrgID`");
                self.out.push(diagnostic);
            }
            if authorised && name.eq_ignore_ascii_case("authorization") {
                let diagnostic = self
                    .error(codes::CONFLICT, &here, "`headers` and another key both set `Authorization`")
                    .help("take the header away, or `basic`, `bearer` and `sigv4`");
                self.out.push(diagnostic);
            }
            if let Some(help) = wrong_reference(text) {
                let diagnostic = self
                    .error(
                        codes::BAD_SECRET,
                        &here,
                        format!("the header `{name}` has a reference to no secret"),
                    )
                    .help(help);
                self.out.push(diagnostic);
            }
        }
        file.iter().map(|(name, text)| (name.clone(), SecretText(text.clone()))).collect()
    }

    /// A URL of a store; a password in it would be in version control.
    fn store_url(&mut self, url: &str, path: &[&str]) {
        if password_in(url) {
            let diagnostic = self
                .error(codes::BAD_SECRET, path, "a password stands in the URL")
                .why("a literal secret would be in version control and in the lists of processes")
                .help("write `prometheus: {url: …, basic: {username: NAME, password: \"${env:NAME}\"}}`");
            self.out.push(diagnostic);
            return;
        }
        self.check_url(Some(url), path);
    }

    /// A gate that names its own store.
    pub(super) fn store_metric(
        &mut self,
        gate: &str,
        file: &MetricStoreFile,
        whole: &GateFile,
    ) -> Option<Metric> {
        let path = ["gates", gate, "metric"];
        let metric = match (&file.cloudwatch, &file.http) {
            (Some(cloudwatch), None) => {
                Metric::CloudWatch(Box::new(self.cloudwatch(gate, cloudwatch, whole)?))
            }
            (None, Some(http)) => Metric::Http(Box::new(self.http_metric(gate, http))),
            (Some(_), Some(_)) => {
                let diagnostic = self
                    .error(codes::BAD_GATE, &path, format!("gate `{gate}` measures two things"))
                    .help("keep `cloudwatch` or `http`");
                self.out.push(diagnostic);
                return None;
            }
            (None, None) => {
                // A store that is there but wrong was reported already.
                if self.tree.find(&path).is_some_and(|node| node.entries().is_empty()) {
                    let diagnostic = self
                        .error(codes::BAD_GATE, &path, format!("gate `{gate}` measures nothing"))
                        .help("add `cloudwatch: {…}` or `http: {…}`");
                    self.out.push(diagnostic);
                }
                return None;
            }
        };
        if whole.min_requests.is_some() && !metric.counts_requests() {
            let diagnostic = self
                .error(
                    codes::BAD_GATE,
                    &["gates", gate, "min_requests"],
                    format!("gate `{gate}` has `min_requests`, but nothing that counts requests"),
                )
                .help("add `requests` to the metric, or take `min_requests` away");
            self.out.push(diagnostic);
        }
        Some(metric)
    }

    /// A bake that waits for requests needs a gate that counts them, of each component that is watched.
    pub(super) fn counted(&mut self, wanted: u64, gates: &[Gate]) {
        if wanted == 0 {
            return;
        }
        let counted = |id: &ComponentId| {
            gates.iter().any(|gate| gate.components.contains(id) && gate.metric.counts_requests())
        };
        let mut told: Vec<&ComponentId> = Vec::new();
        for (gate, id) in gates.iter().flat_map(|gate| gate.components.iter().map(move |id| (gate, id))) {
            if counted(id) || told.contains(&id) {
                continue;
            }
            told.push(id);
            let message =
                format!("the bake waits for {wanted} requests of `{id}`, and no gate of it counts requests");
            let diagnostic = self
                .error(codes::BAD_GATE, &["gates", &gate.name], message)
                .why("it would not be known when there were enough")
                .help("add `requests` to the metric, or write `bake: {time: …, min_requests: 0}`");
            self.out.push(diagnostic);
        }
    }

    fn http_metric(&mut self, gate: &str, file: &HttpMetricFile) -> HttpQuery {
        let path = ["gates", gate, "metric", "http"];
        let at = |key: &'static str| [path.as_slice(), &[key]].concat();
        let rest = file.url.strip_prefix("http://").or_else(|| file.url.strip_prefix("https://"));
        if password_in(&file.url) {
            let diagnostic = self
                .error(codes::BAD_SECRET, &at("url"), "a password stands in the URL")
                .why("a literal secret would be in version control and in the lists of processes")
                .help("send it in a header: `headers: {Authorization: \"Bearer ${env:NAME}\"}`");
            self.out.push(diagnostic);
        } else if rest.is_none_or(str::is_empty) {
            let diagnostic = self
                .error(codes::UNKNOWN_WORD, &at("url"), format!("`{}` is not a URL", file.url))
                .help("write `http://…` or `https://…`");
            self.out.push(diagnostic);
        }
        for (key, pointer) in [("value", Some(&file.value)), ("requests", file.requests.as_ref())] {
            if let Some(pointer) = pointer.filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/'))
            {
                let diagnostic = self
                    .error(codes::UNKNOWN_WORD, &at(key), format!("`{pointer}` is not a JSON pointer"))
                    .help(format!("write `/{}`", pointer.replace('.', "/")));
                self.out.push(diagnostic);
            }
        }
        if matches!(file.method, Some(HttpMethodFile::Get)) && file.body.is_some() {
            let diagnostic = self
                .error(codes::CONFLICT, &at("body"), "a `GET` has no body")
                .help("write `method: POST`, or take `body` away");
            self.out.push(diagnostic);
        }
        let posts = file.method.map_or(file.body.is_some(), |method| matches!(method, HttpMethodFile::Post));
        HttpQuery {
            url: file.url.clone(),
            method: if posts { "POST" } else { "GET" }.to_owned(),
            headers: self.headers(&at("headers"), &file.headers, false),
            body: file.body.clone(),
            value: file.value.clone(),
            requests: file.requests.clone(),
        }
    }
}

/// Whether a URL has a password before its host.
fn password_in(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// What to write instead of the first `${…}` in a text that is no reference.
fn wrong_reference(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some(from) = rest.find("${") {
        let end = rest[from..].find('}').map_or(rest.len(), |length| from + length + 1);
        if let Err(help) = secrets::parse(&rest[from..end]) {
            return Some(help);
        }
        rest = &rest[end..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_seen() {
        assert!(password_in("https://me:hidden@prom:9090/a"));
        for url in
            ["https://prom:9090/a", "https://me@prom", "http://prom/a:b@c", "prom", "http://prom?x=a:b@c"]
        {
            assert!(!password_in(url), "{url}");
        }
    }
}
