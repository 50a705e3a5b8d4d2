//! Reading a watch: what its lines mean, how it ends, and how long it may be silent.

use crate::adapters::errors::chain;
use crate::adapters::kubernetes::errors::Status;
use crate::adapters::kubernetes::lines::Lines;
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long one watch lasts. With the grace, a connection that has silently died is noticed within half a minute.
pub(crate) const SPAN: Duration = Duration::from_secs(25);
/// How much longer than that we listen before the connection counts as dead.
const GRACE: Duration = Duration::from_secs(5);
/// A watch that lasted this long was a good one: the next break starts the back-off anew.
pub(crate) const GOOD: Duration = Duration::from_secs(5);
/// How often a kind that we may not see is tried again.
pub(crate) const RETRY_FORBIDDEN: Duration = Duration::from_secs(30);

/// How a watch ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server closed it in order: go on from the last version.
    Over,
    /// It broke: go on from the last version once the server is back.
    Broken(String),
    /// The server has forgotten the version: list anew.
    Expired,
}

/// What a watch tells of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told<T> {
    /// It is there, in this state.
    Put(T),
    /// It is gone; this was its last state.
    Gone(T),
    /// Nothing but the version up to which all was told.
    Mark(T),
}

impl<T> Told<T> {
    /// The object, whatever became of it.
    pub(crate) fn object(&self) -> &T {
        match self {
            Self::Put(object) | Self::Gone(object) | Self::Mark(object) => object,
        }
    }
}

#[derive(Deserialize)]
struct Line<'l, T> {
    r#type: &'l str,
    object: T,
}

/// A watch that is open.
pub(crate) struct Tail {
    path: String,
    body: Body,
    lines: Lines,
    until: Instant,
}

impl Tail {
    /// Reads what is answered to the watch of that path, for [`SPAN`].
    pub(crate) fn of(path: &str, body: Body) -> Self {
        Self { path: path.to_owned(), body, lines: Lines::default(), until: Instant::now() + SPAN + GRACE }
    }

    /// All that the next packet tells, and how the watch ended if it has: those who wait are woken once per packet.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> (Vec<Told<T>>, Option<End>) {
        let end = match timeout_at(self.until, self.body.frame()).await {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(chunk) => return self.digest(&chunk),
                Err(_) => return (Vec::new(), None),
            },
            Ok(Some(Err(error))) => End::Broken(chain(&error)),
            Ok(None) => End::Over,
            Err(_) => End::Broken("the watch fell silent".to_owned()),
        };
        (Vec::new(), Some(end))
    }

    fn digest<T: DeserializeOwned>(&mut self, chunk: &[u8]) -> (Vec<Told<T>>, Option<End>) {
        self.lines.push(chunk);
        let mut told = Vec::new();
        while let Some(line) = self.lines.next() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match read_line(line) {
                Ok(Ok(event)) => told.push(event),
                Ok(Err(end)) => return (told, Some(end)),
                Err(error) => {
                    // What we cannot read we may have missed: a fresh list tells.
                    tracing::warn!(path = self.path, %error, "a watch event is not understood");
                    return (told, Some(End::Expired));
                }
            }
        }
        (told, None)
    }
}

/// One line of a watch: what it tells, or how it ends the watch.
fn read_line<T: DeserializeOwned>(line: &[u8]) -> serde_json::Result<Result<Told<T>, End>> {
    // the type stands first: only an error holds another object than those that are watched
    if line.trim_ascii_start().starts_with(br#"{"type":"ERROR""#) {
        let Line { object: status, .. }: Line<'_, Status> = serde_json::from_slice(line)?;
        let expired = status.code == 410 || matches!(status.reason.as_str(), "Expired" | "Gone");
        return Ok(Err(if expired { End::Expired } else { End::Broken(status.message) }));
    }
    let Line { r#type, object } = serde_json::from_slice(line)?;
    Ok(match r#type {
        "BOOKMARK" => Ok(Told::Mark(object)),
        // an error that was not written as all servers write it: a fresh list tells
        "ERROR" => Err(End::Expired),
        "DELETED" => Ok(Told::Gone(object)),
        _ => Ok(Told::Put(object)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    async fn read(text: &str) -> (Vec<Told<Value>>, Option<End>) {
        let mut tail = Tail::of("/watched", Body::from(text.as_bytes().to_vec()));
        tail.next().await
    }

    #[tokio::test]
    async fn a_packet_is_read_up_to_what_ends_the_watch() {
        let lines = r#"{"type":"ADDED","object":1}

{"type":"DELETED","object":2}
{"type":"BOOKMARK","object":3}
"#;
        let told = || vec![Told::Put(json!(1)), Told::Gone(json!(2)), Told::Mark(json!(3))];
        assert_eq!(read(lines).await, (told(), None));
        let error = |status: &str| format!("{lines}{{\"type\":\"ERROR\",\"object\":{status}}}\n{lines}");
        for (status, end) in [
            (r#"{"code":410}"#, End::Expired),
            (r#"{"reason":"Expired"}"#, End::Expired),
            (r#"{"code":500,"message":"etcd is away"}"#, End::Broken("etcd is away".to_owned())),
            ("7", End::Expired),
        ] {
            assert_eq!(read(&error(status)).await, (told(), Some(end)), "{status}");
        }
        assert_eq!(read("").await, (vec![], Some(End::Over)));
    }
}
