//! Who the cluster is, who we are to it, what we may do, and what its pods say.

use crate::adapters::errors::chain;
use crate::adapters::kubernetes::errors::Status;
use crate::adapters::kubernetes::request::{self, Selection};
use crate::adapters::kubernetes::seen::SeenEvent;
use crate::adapters::kubernetes::send::{Api, Patience};
use crate::domain::object::ObjectRef;
use crate::domain::observed::Event;
use crate::domain::units::human;
use crate::ports::ClusterError;
use crate::ports::cluster::{Identity, Permission};
use crate::ports::probe::{HttpAnswer, HttpQuestion, ProbeError};
use http::Response;
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Most of a body that an answer keeps.
const BODY_LIMIT: usize = 64 * 1024;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ServerVersion {
    git_version: String,
    major: String,
    minor: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    metadata: Uid,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Uid {
    uid: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Review {
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ReviewStatus {
    allowed: bool,
    user_info: UserInfo,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserInfo {
    username: String,
}

/// Who is who. A cluster whose `kube-system` we may not see is known by its URL.
pub(super) async fn identity(api: &Api) -> Result<Identity, ClusterError> {
    let patience = Patience::quick();
    let (version, system, me) = (
        request::get("/version"),
        request::get_metadata("/api/v1/namespaces/kube-system"),
        request::who_am_i(),
    );
    let (version, system, me) = tokio::join!(
        biased;
        api.read::<ServerVersion>(&version, patience),
        api.read::<Named>(&system, patience),
        api.read::<Review>(&me, patience),
    );
    let version = version?;
    let cluster_uid = match system {
        Ok(namespace) => namespace.metadata.uid,
        Err(ClusterError::Forbidden { .. } | ClusterError::NotFound { .. }) => api.server.clone(),
        Err(error) => return Err(error),
    };
    let user = match me {
        Ok(review) => review.status.user_info.username,
        // A server before 1.28, or a role that forbids even this.
        Err(ClusterError::Forbidden { .. } | ClusterError::NotFound { .. }) => "unknown".to_owned(),
        Err(error) => return Err(error),
    };
    let minor = (number(&version.major), number(&version.minor));
    Ok(Identity { cluster_uid, version: version.git_version, minor, server: api.server.clone(), user })
}

/// The number at the beginning: managed clusters say `36+`.
fn number(text: &str) -> u32 {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or_default()
}

/// The permission, if we lack it.
pub(super) async fn denied(api: &Api, permission: &Permission) -> Result<Option<Permission>, ClusterError> {
    let Permission { verb, group, resource, namespace } = permission;
    let call = request::access_review(verb, group, resource, namespace);
    let review: Review = api.read(&call, Patience::read()).await?;
    Ok((!review.status.allowed).then(|| permission.clone()))
}

/// The events about an object: fewer than fit into one piece of a list, the server's recorders see to that.
pub(super) async fn events(api: &Api, about: &ObjectRef) -> Result<Vec<Event>, ClusterError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Listed {
        items: Option<Vec<SeenEvent>>,
    }
    let fields = format!("involvedObject.kind={},involvedObject.name={}", about.kind, about.name);
    let path = request::path("v1", "events", &about.namespace, "", "");
    let call = request::list(&path, Selection { fields: &fields, labels: "" }, "");
    let listed: Listed = api.read(&call, Patience::brief()).await?;
    Ok(listed.items.unwrap_or_default().into_iter().map(SeenEvent::into_domain).collect())
}

/// The end of a container's log.
pub(super) async fn logs(
    api: &Api,
    namespace: &str,
    pod: &str,
    container: &str,
    previous: bool,
    lines: u32,
) -> Result<String, ClusterError> {
    let answer =
        api.call(&request::logs(namespace, pod, container, previous, lines), Patience::brief()).await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

/// Asks a pod or Service through the API server. One try: the caller knows what an answer is worth.
pub(super) async fn proxy(
    api: &Api,
    namespace: &str,
    target: &str,
    question: &HttpQuestion,
    timeout: Duration,
) -> Result<HttpAnswer, ProbeError> {
    let failed = |message: String| ProbeError { message };
    let headers = question.headers.iter();
    let request =
        request::proxy(namespace, target, &question.method, &question.url, headers).map_err(failed)?;
    let began = Instant::now();
    let until = began + timeout;
    let response = api.pass(request, until).await.map_err(|error| failed(error.to_string()))?;
    let status = response.status().as_u16();
    let headers = lower_case(&response);
    let body = read_body(response.into_body(), until).await.map_err(failed)?;
    not_reached(status, &body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(HttpAnswer { status, headers, body, latency: began.elapsed() })
}

/// The API server speaks for itself when it did not reach the pod.
fn not_reached(status: u16, body: &[u8]) -> Result<(), ProbeError> {
    let own = (status >= 400).then(|| Status::read(status, body)).filter(Status::is_kubernetes);
    own.map_or(Ok(()), |own| Err(ProbeError { message: own.message }))
}

/// Hands an answer over piece by piece.
pub(super) async fn stream(
    api: &Api,
    namespace: &str,
    target: &str,
    path: &str,
    limit: usize,
    timeout: Duration,
    sink: &mut (dyn for<'p> FnMut(&'p [u8]) + Send),
) -> Result<(), ProbeError> {
    let failed = |message: String| ProbeError { message };
    let request = request::proxy(namespace, target, "GET", path, std::iter::empty::<(&String, &String)>())
        .map_err(failed)?;
    let until = Instant::now() + timeout;
    let response = api.pass(request, until).await.map_err(|error| failed(error.to_string()))?;
    let status = response.status().as_u16();
    if status != 200 {
        not_reached(status, &read_body(response.into_body(), until).await.map_err(failed)?)?;
        return Err(failed(format!("{path} answers {status}")));
    }
    let mut body = response.into_body();
    let mut room = limit;
    while let Some(frame) = timeout_at(until, body.frame())
        .await
        .map_err(|_| failed(format!("{path} did not answer to its end within {}", human(timeout))))?
    {
        let frame = frame.map_err(|error| failed(format!("the answer broke off: {}", chain(&error))))?;
        let Ok(data) = frame.into_data() else { continue };
        room = room
            .checked_sub(data.len())
            .ok_or_else(|| failed(format!("{path} answers with more than {limit} bytes")))?;
        sink(&data);
    }
    Ok(())
}

fn lower_case(response: &Response<Body>) -> BTreeMap<String, String> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// Reads a body up to the limit.
async fn read_body(mut body: Body, until: Instant) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    loop {
        match timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    let room = BODY_LIMIT - out.len();
                    out.extend_from_slice(&data[..data.len().min(room)]);
                }
                if out.len() == BODY_LIMIT {
                    return Ok(out);
                }
            }
            Ok(None) => return Ok(out),
            Ok(Some(Err(error))) => return Err(format!("the answer broke off: {}", chain(&error))),
            Err(_) => return Err("the answer did not end in time".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_managed_clusters_are_read() {
        assert_eq!((number("1"), number("36+"), number(""), number("x")), (1, 36, 0, 0));
    }
}
