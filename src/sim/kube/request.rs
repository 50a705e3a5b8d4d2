//! What a request asks for: its path, verb, query and headers, taken apart once.

use http::Method;

/// A request, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Resource, such as `deployments`; empty for paths that are no resource.
    pub resource: String,
    /// Subresource, such as `scale`.
    pub subresource: String,
    /// What follows the subresource: the path of a proxied request.
    pub rest: String,
    /// Namespace, empty at the cluster scope.
    pub namespace: String,
    /// Name of the object, empty for collections.
    pub name: String,
    /// The path as it was sent.
    pub path: String,
    /// The query's parameters.
    pub query: Vec<(String, String)>,
    /// The media type of the body.
    pub content_type: String,
    /// What the client accepts.
    pub accept: String,
    /// The program that asks: the part of the user agent before the slash.
    pub agent: String,
}

impl RequestInfo {
    /// Takes a request apart.
    #[must_use]
    pub fn of(parts: &http::request::Parts) -> Self {
        let header = |name: http::HeaderName| {
            parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let agent = header(http::header::USER_AGENT);
        let mut info = Self {
            path: parts.uri.path().to_owned(),
            query: parse_query(parts.uri.query().unwrap_or_default()),
            content_type: header(http::header::CONTENT_TYPE),
            accept: header(http::header::ACCEPT),
            agent: agent.split(['/', ' ']).next().unwrap_or_default().to_owned(),
            ..Self::default()
        };
        info.parse_path();
        info.verb = info.verb_of(&parts.method).to_owned();
        info
    }

    fn parse_path(&mut self) {
        let path = decode(&self.path, false);
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let rest = match segments.as_slice() {
            ["api", version, rest @ ..] => {
                (*version).clone_into(&mut self.version);
                rest
            }
            ["apis", group, version, rest @ ..] => {
                (*group).clone_into(&mut self.group);
                (*version).clone_into(&mut self.version);
                rest
            }
            _ => return,
        };
        let rest = match rest {
            ["namespaces", namespace, resource, rest @ ..]
                if !matches!(*resource, "status" | "finalize") || !rest.is_empty() =>
            {
                (*namespace).clone_into(&mut self.namespace);
                (*resource).clone_into(&mut self.resource);
                rest
            }
            [resource, rest @ ..] => {
                (*resource).clone_into(&mut self.resource);
                rest
            }
            [] => return,
        };
        if let [name, rest @ ..] = rest {
            (*name).clone_into(&mut self.name);
            if let [subresource, rest @ ..] = rest {
                (*subresource).clone_into(&mut self.subresource);
                self.rest = rest.join("/");
            }
        }
    }

    fn verb_of(&self, method: &Method) -> &'static str {
        match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if self.name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ if self.flag("watch") => "watch",
            _ if self.name.is_empty() => "list",
            _ => "get",
        }
    }

    /// A parameter of the query, empty if it was not given.
    #[must_use]
    pub fn param(&self, name: &str) -> &str {
        self.query.iter().rev().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Whether a parameter says yes.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.param(name), "1" | "true" | "True" | "t" | "T" | "TRUE")
    }

    /// Whether nothing may be changed.
    #[must_use]
    pub fn dry_run(&self) -> bool {
        self.param("dryRun") == "All"
    }

    /// The manager that owns what the request writes.
    #[must_use]
    pub fn manager(&self) -> &str {
        match self.param("fieldManager") {
            "" if self.agent.is_empty() => "unknown",
            "" => &self.agent,
            manager => manager,
        }
    }

    /// Whether the request changes anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

fn parse_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        })
        .collect()
}

/// Percent-decoding; in queries a plus is a space.
fn decode(text: &str, query: bool) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let hex = |at: usize| tail.get(at).and_then(|&c| char::from(c).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            (b'+', ..) if query => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: &str, uri: &str) -> RequestInfo {
        let request = http::Request::builder().method(method).uri(uri).body(()).expect("a request");
        RequestInfo::of(&request.into_parts().0)
    }

    #[test]
    fn paths_are_taken_apart() {
        let scale = info("PATCH", "/apis/apps/v1/namespaces/shop/deployments/api/scale?fieldManager=x%2Fy");
        assert_eq!(
            (scale.verb.as_str(), scale.group.as_str(), scale.namespace.as_str(), scale.resource.as_str()),
            ("patch", "apps", "shop", "deployments")
        );
        assert_eq!(
            (scale.name.as_str(), scale.subresource.as_str(), scale.manager()),
            ("api", "scale", "x/y")
        );
        let namespace = info("GET", "/api/v1/namespaces/shop");
        assert_eq!((namespace.resource.as_str(), namespace.name.as_str()), ("namespaces", "shop"));
        let finalize = info("PUT", "/api/v1/namespaces/shop/finalize");
        assert_eq!((finalize.resource.as_str(), finalize.subresource.as_str()), ("namespaces", "finalize"));
        let proxy = info("GET", "/api/v1/namespaces/shop/services/http:api:80/proxy/metrics/all");
        assert_eq!((proxy.name.as_str(), proxy.rest.as_str()), ("http:api:80", "metrics/all"));
        assert_eq!(info("GET", "/api/v1/pods?watch=1").verb, "watch");
    }
}
