//! Where an object contradicts the shape of its kind.

use super::{Schema, StructId, Type, is_quantity};
use serde_json::Value;

/// One place where an object contradicts its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the field, such as `spec.template.spec.containers[0].image`.
    pub path: String,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

/// How a field contradicts its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The kind has no such field.
    Unknown,
    /// A required field is absent.
    Missing,
    /// The value is of another type.
    WrongType {
        /// The declared type.
        expected: &'static str,
        /// The type of the value.
        found: &'static str,
    },
    /// The value is not a quantity.
    BadQuantity(String),
    /// The value is not one of the allowed ones.
    NotAllowed {
        /// The value.
        value: String,
        /// The allowed values.
        allowed: Vec<String>,
    },
}

impl Schema {
    /// Everything about an object that contradicts the declared types.
    #[must_use]
    pub fn problems(&self, group: &str, version: &str, kind: &str, object: &Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(root) = self.root(group, version, kind) {
            self.check_type(&Type::Struct(root), object, &mut String::new(), &mut problems);
        }
        problems
    }

    /// Checks a value against a type; problems are added in the order of the value's fields.
    pub fn check_type(&self, ty: &Type, value: &Value, path: &mut String, problems: &mut Vec<Problem>) {
        match (ty, value) {
            (_, Value::Null) | (Type::Any, _) => {}
            (Type::Struct(id), Value::Object(fields)) => self.check_struct(*id, fields, path, problems),
            (Type::Map { element, .. }, Value::Object(entries)) => {
                for (name, value) in entries {
                    within(path, name, |path| self.check_type(element, value, path, problems));
                }
            }
            (Type::List { element, .. }, Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let length = path.len();
                    path.push('[');
                    path.push_str(&index.to_string());
                    path.push(']');
                    self.check_type(element, item, path, problems);
                    path.truncate(length);
                }
            }
            (Type::Quantity, Value::String(text)) if !is_quantity(text) => {
                problems.push(Problem { path: path.clone(), kind: ProblemKind::BadQuantity(text.clone()) });
            }
            (Type::Enum(allowed), Value::String(text)) if !text.is_empty() && !allowed.contains(text) => {
                let kind = ProblemKind::NotAllowed { value: text.clone(), allowed: allowed.clone() };
                problems.push(Problem { path: path.clone(), kind });
            }
            _ => {
                if !ty.accepts(value) {
                    let kind = ProblemKind::WrongType { expected: ty.name(), found: value_name(value) };
                    problems.push(Problem { path: path.clone(), kind });
                }
            }
        }
    }

    fn check_struct(
        &self,
        id: StructId,
        fields: &serde_json::Map<String, Value>,
        path: &mut String,
        problems: &mut Vec<Problem>,
    ) {
        let ty = self.get(id);
        for (name, value) in fields {
            within(path, name, |path| match ty.field(name) {
                Some(field) => self.check_type(&field.ty, value, path, problems),
                None if ty.open => {}
                None => problems.push(Problem { path: path.clone(), kind: ProblemKind::Unknown }),
            });
        }
        for field in ty.fields.iter().filter(|field| field.required && field.default.is_none()) {
            if fields.get(&field.name).is_none_or(Value::is_null) {
                within(path, &field.name, |path| {
                    problems.push(Problem { path: path.clone(), kind: ProblemKind::Missing });
                });
            }
        }
    }
}

/// Calls with a field's name added to a path.
fn within(path: &mut String, name: &str, call: impl FnOnce(&mut String)) {
    let length = path.len();
    if length > 0 {
        path.push('.');
    }
    path.push_str(name);
    call(path);
    path.truncate(length);
}

impl Type {
    fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::String | Self::Time | Self::MicroTime | Self::Bytes | Self::Enum(_) => value.is_string(),
            Self::Int32 => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Self::Int64 => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Bool => value.is_boolean(),
            Self::Quantity => value.is_string() || value.is_number(),
            Self::IntOrString => value.is_string() || value.is_i64(),
            Self::Struct(_) | Self::Map { .. } => value.is_object(),
            Self::List { .. } => value.is_array(),
            Self::Any => true,
        }
    }

    /// What a person calls the type.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::String | Self::Enum(_) => "string",
            Self::Time | Self::MicroTime => "time",
            Self::Bytes => "base64 string",
            Self::Int32 | Self::Int64 => "integer",
            Self::Number => "number",
            Self::Bool => "boolean",
            Self::Quantity => "quantity",
            Self::IntOrString => "integer or string",
            Self::Struct(_) | Self::Map { .. } => "object",
            Self::List { .. } => "list",
            Self::Any => "anything",
        }
    }
}

fn value_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kube_schema::builtin;
    use serde_json::json;

    #[test]
    fn unknown_fields_are_found_with_their_path() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicaz": 1, "template": {
            "spec": {"containers": [{"name": "a", "imagee": "x"}]}}}});
        let problems = builtin().problems("apps", "v1", "Deployment", &object).into_iter();
        let unknown = problems.filter(|problem| problem.kind == ProblemKind::Unknown);
        let paths: Vec<String> = unknown.map(|problem| problem.path).collect();
        assert_eq!(paths, ["spec.replicaz", "spec.template.spec.containers[0].imagee"]);
    }
}
