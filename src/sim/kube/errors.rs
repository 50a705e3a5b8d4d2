//! Failures as the API reports them: a `Status` object with a code, a reason and, often, causes.

use serde_json::{Map, Value, json};

use super::kinds::Kind;

/// What the API answers instead of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiStatus {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason; empty where the API gives none.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// The `details` field, where there is one.
    pub details: Option<Value>,
}

impl std::fmt::Display for ApiStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl std::error::Error for ApiStatus {}

/// One reason why a field of an object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable kind of the failure, such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// The text after the field's path.
    pub message: String,
    /// Path of the field.
    pub field: String,
}

impl Cause {
    /// A value that is not allowed; `value` is shown as JSON.
    #[must_use]
    pub fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {why}"),
            field: field.into(),
        }
    }

    /// A field that must be given.
    #[must_use]
    pub fn required(field: impl Into<String>, why: &str) -> Self {
        let message =
            if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") };
        Self { reason: "FieldValueRequired", message, field: field.into() }
    }

    /// A value outside a closed set.
    #[must_use]
    pub fn unsupported(field: impl Into<String>, value: &Value, allowed: &[&str]) -> Self {
        let allowed: Vec<String> = allowed.iter().map(|one| format!("\"{one}\"")).collect();
        Self {
            reason: "FieldValueNotSupported",
            message: format!("Unsupported value: {value}: supported values: {}", allowed.join(", ")),
            field: field.into(),
        }
    }

    /// A field that must not be set or changed here.
    #[must_use]
    pub fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Self { reason: "FieldValueForbidden", message: format!("Forbidden: {why}"), field: field.into() }
    }

    /// A key of a list that appears twice.
    #[must_use]
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self {
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {value}"),
            field: field.into(),
        }
    }
}

fn details(kind: &Kind, name: &str) -> Map<String, Value> {
    let mut details = Map::new();
    if !name.is_empty() {
        details.insert("name".into(), name.into());
    }
    if !kind.group.is_empty() {
        details.insert("group".into(), kind.group.clone().into());
    }
    details.insert("kind".into(), kind.plural.clone().into());
    details
}

impl ApiStatus {
    /// A status with a message and no details.
    #[must_use]
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    /// 400 with reason `BadRequest`.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 500 without a reason, as the API answers for errors of the request that it did not classify.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// 404 of an object.
    #[must_use]
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self {
            details: Some(Value::Object(details(kind, name))),
            ..Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.resource()))
        }
    }

    /// 409 of a create.
    #[must_use]
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        Self {
            details: Some(Value::Object(details(kind, name))),
            ..Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.resource()))
        }
    }

    /// 409 of a write that lost a race or failed a precondition.
    #[must_use]
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        Self {
            details: Some(Value::Object(details(kind, name))),
            ..Self::new(
                409,
                "Conflict",
                format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource()),
            )
        }
    }

    /// 409 of a stale `resourceVersion`.
    #[must_use]
    pub fn stale(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 403 by admission or authorization.
    #[must_use]
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let named = if name.is_empty() { kind.resource() } else { format!("{} \"{name}\"", kind.resource()) };
        Self {
            details: Some(Value::Object(details(kind, name))),
            ..Self::new(403, "Forbidden", format!("{named} is forbidden: {why}"))
        }
    }

    /// 403 for a resource that need not be served.
    #[must_use]
    pub fn forbidden_resource(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let kind = Kind {
            group: group.to_owned(),
            version: String::new(),
            kind: String::new(),
            plural: resource.to_owned(),
            namespaced: false,
            custom: false,
            status: false,
            scale: false,
            generation: false,
        };
        Self::forbidden(&kind, name, why)
    }

    /// 422 with one cause per refused field.
    #[must_use]
    pub fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        let texts: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let text = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        let gk =
            if kind.group.is_empty() { kind.kind.clone() } else { format!("{}.{}", kind.kind, kind.group) };
        let mut details = details(kind, name);
        details.insert("kind".into(), kind.kind.clone().into());
        let causes: Vec<Value> = causes
            .iter()
            .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
            .collect();
        details.insert("causes".into(), causes.into());
        Self {
            details: Some(Value::Object(details)),
            ..Self::new(422, "Invalid", format!("{gk} \"{name}\" is invalid: {text}"))
        }
    }

    /// The `Status` object of the answer's body.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("kind".into(), "Status".into());
        body.insert("apiVersion".into(), "v1".into());
        body.insert("metadata".into(), json!({}));
        body.insert("status".into(), "Failure".into());
        body.insert("message".into(), self.message.clone().into());
        if !self.reason.is_empty() {
            body.insert("reason".into(), self.reason.into());
        }
        if let Some(details) = &self.details {
            body.insert("details".into(), details.clone());
        }
        body.insert("code".into(), self.code.into());
        Value::Object(body)
    }
}
