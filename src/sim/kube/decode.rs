//! Decoding request bodies: what is refused before anything else is looked at, in the API's words.

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::domain::kube_schema::{ListKind, Problem, ProblemKind, Schema, Type};

use super::errors::ApiStatus;
use super::kinds::Kind;
use super::request::RequestInfo;
use super::shape::Shape;
use super::typed::item_element;

/// A decoded object and the warnings that go with the answer.
#[derive(Debug)]
pub struct Decoded {
    /// The object.
    pub object: Value,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

/// Decodes the object of a create or an update.
pub fn object(info: &RequestInfo, kind: &Kind, shape: &Shape, body: &[u8]) -> Result<Decoded, ApiStatus> {
    let object = parse(kind, body)?;
    check_kind(kind, &object)?;
    let warnings = check_fields(info, kind, shape, &object, body)?;
    Ok(Decoded { object, warnings })
}

fn parse(kind: &Kind, body: &[u8]) -> Result<Value, ApiStatus> {
    serde_json::from_slice(body).map_err(|error| {
        let text = String::from_utf8_lossy(body);
        let start: String = text.chars().take(30).collect();
        let shown = if start.len() < text.len() { format!("{start} ...") } else { start };
        let why = if error.is_eof() {
            "unexpected end of JSON input".to_owned()
        } else {
            let at = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
            let character = at.chars().nth(error.column().saturating_sub(1)).unwrap_or(' ');
            format!("invalid character '{character}' looking for beginning of value")
        };
        ApiStatus::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             {why} ({shown})",
            kind.kind
        ))
    })
}

fn check_kind(kind: &Kind, object: &Value) -> Result<(), ApiStatus> {
    let given = object["kind"].as_str().unwrap_or(&kind.kind);
    let expected = kind.api_version();
    let api_version = object["apiVersion"].as_str().unwrap_or(&expected);
    let (_, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if given != kind.kind {
        let family = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
        return Err(ApiStatus::bad_request(format!(
            "{given} in version \"{version}\" cannot be handled as a {}: converting ({version}.{given}) to \
             ({family}.{}): unknown conversion",
            kind.kind, kind.kind
        )));
    }
    if api_version != expected && !kind.custom {
        return Err(ApiStatus::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    Ok(())
}

/// Refuses what cannot be decoded; unknown and duplicate fields are errors, warnings or nothing, as asked.
fn check_fields(
    info: &RequestInfo,
    kind: &Kind,
    shape: &Shape,
    object: &Value,
    body: &[u8],
) -> Result<Vec<String>, ApiStatus> {
    let mut problems = Vec::new();
    shape.schema().check_type(&shape.root, object, &mut String::new(), &mut problems);
    let head =
        format!("{} in version \"{}\" cannot be handled as a {}: ", kind.kind, kind.version, kind.kind);
    if let Some(text) = problems.iter().find_map(|problem| undecodable(problem, kind)) {
        return Err(ApiStatus::bad_request(format!("{head}{text}")));
    }
    let mode = info.param("fieldValidation");
    if mode == "Ignore" {
        return Ok(Vec::new());
    }
    let mut strict = duplicate_fields(body);
    let unknown = problems.iter().filter(|problem| problem.kind == ProblemKind::Unknown);
    strict.extend(unknown.map(|problem| format!("unknown field \"{}\"", problem.path)));
    if mode == "Strict" && !strict.is_empty() {
        return Err(ApiStatus::bad_request(format!("{head}strict decoding error: {}", strict.join(", "))));
    }
    Ok(strict)
}

/// The text for a problem that no decoder can pass over.
fn undecodable(problem: &Problem, kind: &Kind) -> Option<String> {
    match &problem.kind {
        ProblemKind::BadQuantity(_) => Some(
            "quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                .to_owned(),
        ),
        ProblemKind::WrongType { expected, found } => {
            let path = strip_indices(&problem.path);
            let ty = match *expected {
                "integer" => "int32",
                "boolean" => "bool",
                "list" => "[]",
                "object" => "map",
                other => other,
            };
            let found = if *found == "list" { "array" } else { found };
            Some(format!(
                "json: cannot unmarshal {found} into Go struct field {}.{path} of type {ty}",
                kind.kind
            ))
        }
        _ => None,
    }
}

fn strip_indices(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text
}

/// The fields that a JSON text names twice in one object.
fn duplicate_fields(body: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let seed = Duplicates { path: String::new(), found: &mut found };
    // the text has been parsed before: it is valid
    let _ = seed.deserialize(&mut serde_json::Deserializer::from_slice(body));
    found
}

struct Duplicates<'a> {
    path: String,
    found: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Duplicates<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Duplicates<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen: Vec<String> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            if seen.contains(&name) {
                self.found.push(format!("duplicate field \"{path}\""));
            }
            seen.push(name);
            map.next_value_seed(Duplicates { path, found: self.found })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let path = format!("{}[{index}]", self.path);
            if seq.next_element_seed(Duplicates { path, found: self.found })?.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Decodes the configuration of a server-side apply, YAML or JSON, and checks it against the kind's types.
pub fn apply_config(info: &RequestInfo, kind: &Kind, shape: &Shape, body: &[u8]) -> Result<Value, ApiStatus> {
    let mut config: Value = if let Ok(config) = serde_json::from_slice(body) {
        config
    } else {
        let text = String::from_utf8_lossy(body);
        serde_saphyr::from_str(&text)
            .map_err(|error| ApiStatus::bad_request(format!("error decoding YAML: {error}")))?
    };
    if config["kind"].as_str().is_none_or(str::is_empty)
        || config["apiVersion"].as_str().is_none_or(str::is_empty)
    {
        return Err(ApiStatus::bad_request("Object 'Kind' is missing in the apply configuration"));
    }
    check_kind(kind, &config)?;
    if config["metadata"]["managedFields"].is_array() {
        return Err(ApiStatus::bad_request("metadata.managedFields must be nil"));
    }
    let metadata = super::write::metadata_mut(&mut config);
    metadata.insert("name".into(), info.name.clone().into());
    if !info.namespace.is_empty() {
        metadata.insert("namespace".into(), info.namespace.clone().into());
    }
    let mut errors = Vec::new();
    typed_errors(shape.schema(), &shape.root, &config, &mut String::new(), &mut errors);
    if errors.is_empty() {
        return Ok(config);
    }
    let text = if errors.len() == 1 {
        errors.remove(0)
    } else {
        format!("errors:\n{}", errors.iter().map(|error| format!("  {error}")).collect::<Vec<_>>().join("\n"))
    };
    let place = if info.namespace.is_empty() { String::new() } else { format!("{}/", info.namespace) };
    Err(ApiStatus::internal(format!(
        "failed to create typed patch object ({place}{}; {}, Kind={}): {text}",
        info.name,
        kind.api_version(),
        kind.kind
    )))
}

/// The contradictions of a value to its type, as server-side apply words them.
fn typed_errors(schema: &Schema, ty: &Type, value: &Value, path: &mut String, errors: &mut Vec<String>) {
    let length = path.len();
    match (ty, value) {
        (_, Value::Null) | (Type::Any, _) => {}
        (Type::Struct(_) | Type::Map { .. }, Value::Object(members)) => {
            for (name, member) in members {
                path.push('.');
                path.push_str(name);
                match ty {
                    Type::Map { element, .. } => typed_errors(schema, element, member, path, errors),
                    Type::Struct(id) => match schema.get(*id).field(name) {
                        Some(field) => typed_errors(schema, &field.ty, member, path, errors),
                        None if schema.get(*id).open => {}
                        None => errors.push(format!("{path}: field not declared in schema")),
                    },
                    _ => {}
                }
                path.truncate(length);
            }
        }
        (Type::List { element, kind }, Value::Array(items)) => {
            list_errors(schema, element, kind, items, path, errors);
        }
        (Type::Struct(_) | Type::Map { .. }, other) => {
            errors.push(format!("{path}: expected map, got {other}"));
        }
        (Type::List { .. }, other) => errors.push(format!("{path}: expected list, got {other}")),
        (Type::Int32 | Type::Int64 | Type::Number, other) if !other.is_number() => {
            errors.push(format!("{path}: expected numeric (int or float), got {}", go_type(other)));
        }
        (Type::Bool, other) if !other.is_boolean() => {
            errors.push(format!("{path}: expected boolean, got {}", go_type(other)));
        }
        (Type::String | Type::Enum(_) | Type::Bytes, other) if !other.is_string() => {
            errors.push(format!("{path}: expected string, got {}", go_type(other)));
        }
        _ => {}
    }
}

fn list_errors(
    schema: &Schema,
    element: &Type,
    kind: &ListKind,
    items: &[Value],
    path: &mut String,
    errors: &mut Vec<String>,
) {
    let length = path.len();
    let mut seen: Vec<String> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let label = if *kind == ListKind::Atomic {
            format!("[{index}]")
        } else if let Some(name) = item_element(schema, element, kind, item) {
            shown_element(&name)
        } else {
            errors.push(format!(
                "{path}: element {index}: associative list with keys has an element that omits key field"
            ));
            continue;
        };
        if *kind != ListKind::Atomic && seen.contains(&label) {
            errors.push(format!("{path}: duplicate entries for key {label}"));
        }
        path.push_str(&label);
        typed_errors(schema, element, item, path, errors);
        path.truncate(length);
        seen.push(label);
    }
}

fn shown_element(element: &str) -> String {
    let mut set = super::fields::FieldSet::default();
    set.insert(element, super::fields::Node::leaf());
    set.paths().pop().unwrap_or_default()
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::Array(_) => "list",
        _ => "map",
    }
}

/// Decodes a body that may be missing, such as that of a delete.
pub fn optional(body: &[u8]) -> Result<Value, ApiStatus> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    Value::deserialize(&mut serde_json::Deserializer::from_slice(body))
        .map_err(|error| ApiStatus::bad_request(format!("error decoding body: {error}")))
}
