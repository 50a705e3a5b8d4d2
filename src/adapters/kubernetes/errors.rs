//! What an API server's refusals mean in the port's words. Pure.

use crate::domain::object::FIELD_MANAGER;
use crate::domain::secret::redact;
use crate::ports::ClusterError;
use crate::ports::cluster::FieldOwner;
use serde::Deserialize;

/// The parts of a `metav1.Status` that carry meaning for us.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    pub kind: String,
    pub message: String,
    pub reason: String,
    pub code: u16,
    details: Option<Details>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    causes: Vec<Cause>,
    retry_after_seconds: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
    field: String,
}

impl Status {
    /// Reads an answer's body; what is no Status (a load balancer's page) becomes its first line.
    pub(crate) fn read(code: u16, body: &[u8]) -> Self {
        if let Ok(status) = serde_json::from_slice::<Self>(body)
            && status.kind == "Status"
        {
            return Self { code, message: redact(&status.message).into_owned(), ..status };
        }
        let text = String::from_utf8_lossy(body);
        let text = redact(&text);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("(empty answer)");
        let message = line.chars().take(200).collect();
        Self { message, code, ..Self::default() }
    }

    /// Whether it came from a Kubernetes API server (as against a proxy in front of it, or the pod behind it).
    pub(crate) fn is_kubernetes(&self) -> bool {
        self.kind == "Status"
    }

    /// The server's own wish for a pause, in seconds.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        self.details.as_ref().and_then(|details| details.retry_after_seconds)
    }

    /// A 500 that says that the request is wrong: server-side apply reports unknown fields so, and a bad
    /// `resourceVersion`. Sending it again cannot help.
    pub(crate) fn is_our_mistake(&self) -> bool {
        const SIGNS: [&str; 4] =
            ["field not declared in schema", "failed to create typed", "Invalid value", "unknown field"];
        self.code == 500 && self.reason.is_empty() && SIGNS.iter().any(|sign| self.message.contains(sign))
    }

    /// The port's error.
    pub(crate) fn into_error(self, server: &str) -> ClusterError {
        let fields = self.owners();
        if self.code == 409 && !fields.is_empty() {
            return ClusterError::Contested { fields };
        }
        let message = self.message.clone();
        match self.code {
            // The server says one word here, which tells nobody what to do about it.
            401 => ClusterError::Server {
                code: 401,
                message: format!("{message}: the server does not know these credentials"),
            },
            403 => ClusterError::Forbidden { message },
            404 => ClusterError::NotFound { message },
            409 => ClusterError::Conflict { message },
            400 | 422 => ClusterError::Invalid { message },
            500 if self.is_our_mistake() => ClusterError::Invalid { message },
            // A gateway's 502 and 504 and a server's own 503 and 504 leave open whether the request was carried out.
            502..=504 => ClusterError::Unreachable {
                server: server.to_owned(),
                message: format!("{} {message}", self.code),
            },
            code => ClusterError::Server { code, message },
        }
    }

    /// Who owns the contested fields, one by one.
    fn owners(&self) -> Vec<FieldOwner> {
        let causes = self.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
        let contested = causes.iter().filter(|cause| cause.reason == "FieldManagerConflict");
        contested.map(|cause| owner(&cause.message, &cause.field)).collect()
    }
}

/// Whether contested fields are all our own: what we scaled or modified stands against what we apply.
pub(crate) fn are_ours(fields: &[FieldOwner]) -> bool {
    fields.iter().all(|field| field.manager == FIELD_MANAGER)
}

/// `kubectl` and `scale` from `conflict with "kubectl" with subresource "scale" using apps/v1`.
fn owner(message: &str, field: &str) -> FieldOwner {
    let mut quoted = message.split('"').skip(1).step_by(2);
    let manager = quoted.next().unwrap_or(message).to_owned();
    let subresource = quoted.next().filter(|_| message.contains("with subresource")).unwrap_or_default();
    FieldOwner { manager, subresource: subresource.to_owned(), field: field.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, body: &str) -> ClusterError {
        Status::read(code, body.as_bytes()).into_error("east")
    }

    #[test]
    fn refusals_keep_the_servers_words() {
        let status = |message: &str| {
            format!(
                r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"{message}","code":0}}"#
            )
        };
        let quota = "configmaps c2 is forbidden: exceeded quota: q, requested: count/configmaps=1";
        assert_eq!(error(403, &status(quota)), ClusterError::Forbidden { message: quota.into() });
        let gone = "namespaces nope not found";
        assert_eq!(error(404, &status(gone)), ClusterError::NotFound { message: gone.into() });
        assert_eq!(
            error(401, &status("Unauthorized")),
            ClusterError::Server {
                code: 401,
                message: "Unauthorized: the server does not know these credentials".into()
            }
        );
        let typed = "failed to create typed patch object (g/api; apps/v1, Kind=Deployment): .spec.replicaz: field not \
                     declared in schema";
        assert_eq!(error(500, &status(typed)), ClusterError::Invalid { message: typed.into() });
        assert_eq!(
            error(500, &status("etcdserver: leader changed")),
            ClusterError::Server { code: 500, message: "etcdserver: leader changed".into() }
        );
        assert_eq!(
            error(503, "<html>\n<h1>Bad gateway</h1>"),
            ClusterError::Unreachable { server: "east".into(), message: "503 <html>".into() }
        );
        assert_eq!(error(413, ""), ClusterError::Server { code: 413, message: "(empty answer)".into() });
    }

    #[test]
    fn a_conflict_names_the_owner_of_each_field() {
        let body = r#"{"kind":"Status","message":"Apply failed with 2 conflicts: ...","reason":"Conflict","code":409,
            "details":{"causes":[
              {"reason":"FieldManagerConflict","field":".spec.replicas",
               "message":"conflict with \"kubectl\" with subresource \"scale\" using apps/v1"},
              {"reason":"FieldManagerConflict","field":".metadata.labels.app",
               "message":"conflict with \"kubectl-client-side-apply\" using apps/v1"}]}}"#;
        let refused = error(409, body);
        assert_eq!(
            refused.to_string(),
            "kubectl (scale) owns .spec.replicas; kubectl-client-side-apply owns .metadata.labels.app"
        );
        let ClusterError::Contested { fields } = refused else { panic!("{refused:?}") };
        assert!(!are_ours(&fields));
        let ours = |manager: &str, subresource: &str| FieldOwner {
            manager: manager.into(),
            subresource: subresource.into(),
            field: ".spec.replicas".into(),
        };
        assert!(are_ours(&[ours("deployctl", "scale"), ours("deployctl", "")]));
        assert!(!are_ours(&[ours("deployctl", ""), ours("deployctl-old", "")]));
    }

    #[test]
    fn the_servers_wish_for_a_pause_is_read() {
        let body = br#"{"kind":"Status","message":"slow down","details":{"retryAfterSeconds":3},"code":429}"#;
        assert_eq!(Status::read(429, body).retry_after(), Some(3));
    }
}
