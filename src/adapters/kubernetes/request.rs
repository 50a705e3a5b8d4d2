//! Requests to a Kubernetes API server, built purely: nothing here sends, waits or knows a server.

use crate::domain::object::FIELD_MANAGER;
use crate::ports::ClusterError;
use crate::ports::state::REQUEST_TIMEOUT;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Media type of a server-side apply whose body is JSON (JSON is YAML).
const APPLY: &str = "application/apply-patch+yaml";
const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
/// Asks for `metadata` alone; servers that do not know it answer the whole object, which reads the same.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=1,application/json";

/// One request. All of them may be sent twice with the effect of once: reads, applies, merge patches, deletions, and
/// creations whose senders know their own work when they meet it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// What is sent; the URI is path and query alone.
    pub request: Request<Bytes>,
}

/// Path of a resource: the collection, one object of it, or a subresource of that.
pub(crate) fn path(
    api_version: &str,
    plural: &str,
    namespace: &str,
    name: &str,
    subresource: &str,
) -> String {
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    let mut path = format!("{root}/{api_version}");
    if !namespace.is_empty() {
        let _ = write!(path, "/namespaces/{}", encode(namespace));
    }
    path.push('/');
    path.push_str(plural);
    for part in [name, subresource] {
        if !part.is_empty() {
            path.push('/');
            path.push_str(&encode(part));
        }
    }
    path
}

/// Path that lists the kinds of a group version.
pub(crate) fn discovery_path(api_version: &str) -> String {
    if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") }
}

/// Reads one thing.
pub(crate) fn get(path: &str) -> Call {
    call(Method::GET, path, &[], None)
}

/// Reads one object's metadata.
pub(crate) fn get_metadata(path: &str) -> Call {
    with_header(get(path), ACCEPT, METADATA_ONLY)
}

/// What part of a collection is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Selection<'a> {
    /// `fieldSelector`, empty for none.
    pub fields: &'a str,
    /// `labelSelector`, empty for none.
    pub labels: &'a str,
}

impl Selection<'_> {
    fn query(&self) -> Vec<(&'static str, String)> {
        [("fieldSelector", self.fields), ("labelSelector", self.labels)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name, value.to_owned()))
            .collect()
    }
}

/// Objects asked for in one piece of a list.
pub(crate) const CHUNK: u32 = 500;

/// One piece of a collection; `from` is the server's token for the next piece.
pub(crate) fn list(path: &str, selection: Selection<'_>, from: &str) -> Call {
    let mut query = selection.query();
    query.push(("limit", CHUNK.to_string()));
    if !from.is_empty() {
        query.push(("continue", from.to_owned()));
    }
    call(Method::GET, path, &query, None)
}

/// Notes where a list goes on. A server that names the place where it just was would be asked for ever.
pub(crate) fn go_on(next: &mut String, token: String) -> Result<(), ClusterError> {
    if !token.is_empty() && *next == token {
        let message = "the list does not end: its continuation leads to itself".to_owned();
        return Err(ClusterError::Server { code: 200, message });
    }
    *next = token;
    Ok(())
}

/// The changes of a collection since `version`, for at most `span`.
pub(crate) fn watch(path: &str, selection: Selection<'_>, version: &str, span: Duration) -> Call {
    let mut query = selection.query();
    query.push(("watch", "true".to_owned()));
    query.push(("resourceVersion", version.to_owned()));
    query.push(("allowWatchBookmarks", "true".to_owned()));
    query.push(("timeoutSeconds", span.as_secs().to_string()));
    call(Method::GET, path, &query, None)
}

/// Server-side apply, strict.
pub(crate) fn apply(path: &str, object: &Value, force: bool, dry_run: bool) -> Call {
    let mut query = vec![
        ("fieldManager", FIELD_MANAGER.to_owned()),
        ("fieldValidation", "Strict".to_owned()),
        ("force", force.to_string()),
    ];
    if dry_run {
        query.push(("dryRun", "All".to_owned()));
    }
    query.push(server_timeout());
    with_header(call(Method::PATCH, path, &query, Some(object)), CONTENT_TYPE, APPLY)
}

/// JSON merge patch. Idempotent: it names the end, not the way.
pub(crate) fn merge_patch(path: &str, changes: &Value) -> Call {
    let query = [("fieldManager", FIELD_MANAGER.to_owned()), server_timeout()];
    with_header(call(Method::PATCH, path, &query, Some(changes)), CONTENT_TYPE, MERGE_PATCH)
}

/// Creates an object in a collection. The sender must be able to tell its own first try from somebody else's object.
pub(crate) fn create(path: &str, object: &Value) -> Call {
    let query = [("fieldManager", FIELD_MANAGER.to_owned()), server_timeout()];
    call(Method::POST, path, &query, Some(object))
}

/// Replaces an object; its `resourceVersion` makes a repetition harmless.
pub(crate) fn replace(path: &str, object: &Value) -> Call {
    let query = [("fieldManager", FIELD_MANAGER.to_owned()), server_timeout()];
    call(Method::PUT, path, &query, Some(object))
}

/// What becomes of a deleted object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dependents {
    /// They go before it does.
    First,
    /// They go some time after, or there are none.
    Later,
}

/// Deletes an object; with a `uid` only the one that has it.
pub(crate) fn delete(path: &str, dependents: Dependents, uid: &str) -> Call {
    let policy = match dependents {
        Dependents::First => "Foreground",
        Dependents::Later => "Background",
    };
    let mut options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy });
    if !uid.is_empty() {
        options["preconditions"] = json!({ "uid": uid });
    }
    call(Method::DELETE, path, &[server_timeout()], Some(&options))
}

/// Asks whether we may do something.
pub(crate) fn access_review(verb: &str, group: &str, resource: &str, namespace: &str) -> Call {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let mut attributes = json!({ "verb": verb, "group": group, "resource": resource });
    for (key, value) in [("namespace", namespace), ("subresource", subresource)] {
        if !value.is_empty() {
            attributes[key] = value.into();
        }
    }
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": attributes },
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    call(Method::POST, path, &[], Some(&review))
}

/// Asks who we are.
pub(crate) fn who_am_i() -> Call {
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    call(Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &[], Some(&review))
}

/// The end of a container's log.
pub(crate) fn logs(namespace: &str, pod: &str, container: &str, previous: bool, lines: u32) -> Call {
    let mut query = vec![
        ("container", container.to_owned()),
        ("tailLines", lines.to_string()),
        ("timestamps", "true".to_owned()),
    ];
    if previous {
        query.push(("previous", "true".to_owned()));
    }
    call(Method::GET, &path("v1", "pods", namespace, pod, "log"), &query, None)
}

/// A request handed on to a pod or Service; `target` is `pods/NAME:PORT` or `services/NAME:PORT`.
pub(crate) fn proxy<'h>(
    namespace: &str,
    target: &str,
    method: &str,
    path_and_query: &str,
    headers: impl Iterator<Item = (&'h String, &'h String)>,
) -> Result<Request<Bytes>, String> {
    let (collection, name) =
        target.split_once('/').ok_or_else(|| format!("`{target}` is no proxy target"))?;
    let base = path("v1", collection, namespace, name, "proxy");
    let slash = if path_and_query.starts_with('/') { "" } else { "/" };
    let mut request = Request::builder().method(method).uri(format!("{base}{slash}{path_and_query}"));
    for (name, value) in headers {
        // These speak to the API server, not to the pod: it sets the pod's Host itself, and knows us by ours.
        let reserved =
            ["host", "authorization", "connection", "upgrade", "content-length", "transfer-encoding"];
        if !reserved.contains(&name.to_ascii_lowercase().as_str()) {
            request = request.header(name, value);
        }
    }
    request.body(Bytes::new()).map_err(|e| e.to_string())
}

/// Lets the server give up when we do, so that no write of ours is carried out later than we reckon with.
fn server_timeout() -> (&'static str, String) {
    ("timeout", format!("{}s", REQUEST_TIMEOUT.as_secs()))
}

fn call(method: Method, path: &str, query: &[(&str, String)], body: Option<&Value>) -> Call {
    let mut uri = path.to_owned();
    for (index, (name, value)) in query.iter().enumerate() {
        let _ = write!(uri, "{}{name}={}", if index == 0 { '?' } else { '&' }, encode(value));
    }
    let mut request = Request::builder().method(method).uri(uri).header(ACCEPT, JSON);
    let body = body.map_or_else(Bytes::new, |value| {
        Bytes::from(serde_json::to_vec(value).expect("a JSON value serializes"))
    });
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, JSON);
    }
    let request = request.body(body).expect("every part of the URI is encoded");
    Call { request }
}

fn with_header(mut call: Call, name: HeaderName, value: &'static str) -> Call {
    call.request.headers_mut().insert(name, HeaderValue::from_static(value));
    call
}

/// Percent-encodes all but unreserved characters and the colon, which names of RBAC roles and proxy targets hold.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(call: &Call) -> String {
        let request = &call.request;
        let kind = request.headers().get(CONTENT_TYPE).map_or("-", |value| value.to_str().unwrap());
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        format!("{} {} {kind} {body}", request.method(), request.uri()).trim_end().to_owned()
    }

    #[test]
    fn paths_are_those_of_the_api() {
        for (api_version, plural, namespace, name, sub, expected) in [
            ("v1", "pods", "shop", "api-1", "log", "/api/v1/namespaces/shop/pods/api-1/log"),
            ("v1", "namespaces", "", "shop", "", "/api/v1/namespaces/shop"),
            ("apps/v1", "deployments", "shop", "", "", "/apis/apps/v1/namespaces/shop/deployments"),
            (
                "rbac.authorization.k8s.io/v1",
                "clusterroles",
                "",
                "system:a b",
                "",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%20b",
            ),
        ] {
            assert_eq!(path(api_version, plural, namespace, name, sub), expected);
        }
        assert_eq!(discovery_path("v1"), "/api/v1");
        assert_eq!(discovery_path("apps/v1"), "/apis/apps/v1");
    }

    #[test]
    fn requests_are_what_the_api_server_expects() {
        let object = json!({ "a": 1 });
        let warnings = Selection { fields: "type=Warning", labels: "" };
        let labelled = Selection { fields: "", labels: "a=b,c in (d)" };
        let at = "/apis/apps/v1/namespaces/n/deployments/d";
        for (call, expected) in [
            (get(at), "GET /apis/apps/v1/namespaces/n/deployments/d -"),
            (
                list("/api/v1/events", warnings, "t=1"),
                "GET /api/v1/events?fieldSelector=type%3DWarning&limit=500&continue=t%3D1 -",
            ),
            (
                list("/api/v1/secrets", labelled, ""),
                "GET /api/v1/secrets?labelSelector=a%3Db%2Cc%20in%20%28d%29&limit=500 -",
            ),
            (
                watch("/api/v1/pods", Selection::default(), "17", Duration::from_secs(55)),
                "GET /api/v1/pods?watch=true&resourceVersion=17&allowWatchBookmarks=true&timeoutSeconds=55 -",
            ),
            (
                apply(at, &object, true, false),
                "PATCH /apis/apps/v1/namespaces/n/deployments/d?fieldManager=deployctl&fieldValidation=Strict\
                 &force=true&timeout=10s application/apply-patch+yaml {\"a\":1}",
            ),
            (
                apply(at, &object, false, true),
                "PATCH /apis/apps/v1/namespaces/n/deployments/d?fieldManager=deployctl&fieldValidation=Strict\
                 &force=false&dryRun=All&timeout=10s application/apply-patch+yaml {\"a\":1}",
            ),
            (
                merge_patch(at, &object),
                "PATCH /apis/apps/v1/namespaces/n/deployments/d?fieldManager=deployctl&timeout=10s \
                 application/merge-patch+json {\"a\":1}",
            ),
            (
                create("/api/v1/namespaces", &object),
                "POST /api/v1/namespaces?fieldManager=deployctl&timeout=10s application/json {\"a\":1}",
            ),
            (
                replace(at, &object),
                "PUT /apis/apps/v1/namespaces/n/deployments/d?fieldManager=deployctl&timeout=10s application/json \
                 {\"a\":1}",
            ),
            (
                delete(at, Dependents::Later, "u"),
                "DELETE /apis/apps/v1/namespaces/n/deployments/d?timeout=10s application/json \
                 {\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"preconditions\":{\"uid\":\"u\"},\"propagationPolicy\":\"Background\"}",
            ),
            (
                delete(at, Dependents::First, ""),
                "DELETE /apis/apps/v1/namespaces/n/deployments/d?timeout=10s application/json \
                 {\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"propagationPolicy\":\"Foreground\"}",
            ),
            (
                logs("n", "p", "c", true, 50),
                "GET /api/v1/namespaces/n/pods/p/log?container=c&tailLines=50&timestamps=true&previous=true -",
            ),
            (
                access_review("create", "", "pods/eviction", "n"),
                "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews application/json \
                 {\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":\"SelfSubjectAccessReview\",\
                 \"spec\":{\"resourceAttributes\":{\"group\":\"\",\"namespace\":\"n\",\
                 \"resource\":\"pods\",\"subresource\":\"eviction\",\"verb\":\"create\"}}}",
            ),
        ] {
            assert_eq!(shown(&call), expected);
        }
        let accept = get_metadata(at).request.headers()[ACCEPT].clone();
        assert!(accept.to_str().unwrap().contains("as=PartialObjectMetadata"));
    }

    #[test]
    fn a_proxied_request_keeps_our_credentials_ours() {
        let headers = std::collections::BTreeMap::from([
            ("Host".to_owned(), "shop.example".to_owned()),
            ("Authorization".to_owned(), "Bearer theirs".to_owned()),
            ("X-Smoke".to_owned(), "1".to_owned()),
        ]);
        let request = proxy("shop", "pods/api-1:8080", "GET", "/health?deep=1", headers.iter()).unwrap();
        assert_eq!(request.uri(), "/api/v1/namespaces/shop/pods/api-1:8080/proxy/health?deep=1");
        assert_eq!(request.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-smoke"]);
        assert!(proxy("shop", "api", "GET", "/", headers.iter()).is_err());
    }
}
