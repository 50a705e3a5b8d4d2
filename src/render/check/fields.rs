//! Unknown fields, missing fields and wrong types, by the API server's own schema of the built-in kinds.

use super::super::Document;
use super::World;
use crate::config::codes;
use crate::config::tree::{Kind, Node};
use crate::domain::diagnostic::{Diagnostics, nearest};
use crate::domain::kube_schema::{self, Schema, StructId, Type, is_quantity};

pub(super) fn check(world: &mut World<'_>) {
    let schema = kube_schema::builtin();
    for document in world.documents {
        let reference = document.reference();
        let version = reference.api_version.rsplit('/').next().unwrap_or_default();
        match schema.root(reference.group(), version, &reference.kind) {
            Some(root) => {
                let mut walk = Walk { schema, document, out: &mut world.out };
                walk.fields(root, &document.tree, &mut Vec::new());
            }
            None => unknown_kind(document, schema, &mut world.out),
        }
    }
}

/// A kind that the built-in groups do not have is a slip; kinds of other groups are somebody's own.
fn unknown_kind(document: &Document, schema: &Schema, out: &mut Diagnostics) {
    let reference = document.reference();
    let (group, kind) = (reference.group(), reference.kind.as_str());
    let kinds = schema.kinds();
    if !kinds.iter().any(|(known, _, _)| *known == group) || super::versions::is_known(&reference) {
        return;
    }
    let versions: Vec<String> = kinds
        .iter()
        .filter(|(g, _, k)| *g == group && *k == kind)
        .map(|(g, v, _)| if g.is_empty() { (*v).to_owned() } else { format!("{g}/{v}") })
        .collect();
    let message = format!("Kubernetes has no {kind} in `{}`", reference.api_version);
    let elsewhere = kinds.iter().find(|(_, _, k)| *k == kind);
    let help = match (versions.last(), elsewhere) {
        (Some(version), _) => format!("write `apiVersion: {version}`"),
        (None, Some(("", v, _))) => format!("write `apiVersion: {v}`"),
        (None, Some((g, v, _))) => format!("write `apiVersion: {g}/{v}`"),
        (None, None) => match nearest(kind, kinds.iter().filter(|(g, _, _)| *g == group).map(|(_, _, k)| *k))
        {
            Some(near) => format!("write `kind: {near}`"),
            None => "check `apiVersion` and `kind`".to_owned(),
        },
    };
    let path = if elsewhere.is_some() { "apiVersion" } else { "kind" };
    out.push(document.error(codes::OBJECT_SHAPE, &[path], message).help(help));
}

struct Walk<'a> {
    schema: &'a Schema,
    document: &'a Document,
    out: &'a mut Diagnostics,
}

impl Walk<'_> {
    fn fields(&mut self, id: StructId, node: &Node, path: &mut Vec<String>) {
        let ty = self.schema.get(id);
        for entry in node.entries() {
            path.push(entry.key.clone());
            match ty.field(&entry.key) {
                Some(field) => self.value(&field.ty, &entry.value, path),
                None if ty.open => {}
                None => self.unknown(
                    &entry.key,
                    &ty.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
                    path,
                ),
            }
            path.pop();
        }
        for field in ty.fields.iter().filter(|field| field.required && field.default.is_none()) {
            if node.get(&field.name).is_none_or(|node| matches!(node.kind, Kind::Null)) {
                let message = format!("`{}` is missing in `{}`", field.name, shown(path));
                let help = format!("add `{}: …`", field.name);
                let steps: Vec<&str> = path.iter().map(String::as_str).collect();
                self.out.push(self.document.error(codes::OBJECT_SHAPE, &steps, message).help(help));
            }
        }
    }

    fn value(&mut self, ty: &Type, node: &Node, path: &mut Vec<String>) {
        match (ty, &node.kind) {
            (_, Kind::Null) | (Type::Any, _) => {}
            (Type::Struct(id), Kind::Map(_)) => self.fields(*id, node, path),
            (Type::Map { element, .. }, Kind::Map(entries)) => {
                for entry in entries {
                    path.push(entry.key.clone());
                    self.value(element, &entry.value, path);
                    path.pop();
                }
            }
            (Type::List { element, .. }, Kind::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    self.value(element, item, path);
                    path.pop();
                }
            }
            (Type::Enum(words), Kind::Text) => self.word(words, node, path),
            (Type::Quantity, Kind::Text) if !is_quantity(&node.text) => {
                let message = format!("`{}` is not an amount", node.text);
                self.report(codes::OBJECT_WRONG_TYPE, path, message, "write e.g. `250m`, `1.5` or `512Mi`");
            }
            _ => self.scalar(ty, node, path),
        }
    }

    fn word(&mut self, words: &[String], node: &Node, path: &[String]) {
        if node.text.is_empty() || words.contains(&node.text) {
            return;
        }
        let known: Vec<&str> = words.iter().map(String::as_str).collect();
        let help = match nearest(&node.text, known.iter().copied()) {
            Some(near) => format!("write `{near}`"),
            None => format!("write one of {}", known.join(", ")),
        };
        let message = format!("`{}` is not a value of `{}`", node.text, shown(path));
        self.report(codes::OBJECT_WRONG_TYPE, path, message, &help);
    }

    fn scalar(&mut self, ty: &Type, node: &Node, path: &[String]) {
        let fits = match (ty, &node.kind) {
            (Type::Int32, Kind::Number(n)) => n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Type::Int64, Kind::Number(n)) => n.is_i64() || n.is_u64(),
            (Type::IntOrString, Kind::Number(n)) => n.is_i64(),
            (Type::Number | Type::Quantity, Kind::Number(_)) | (Type::Bool, Kind::Bool(_)) => true,
            (_, Kind::Text) => is_text(ty),
            _ => false,
        };
        if fits {
            return;
        }
        let message = format!("`{}` takes {}, not {}", shown(path), ty_name(ty), node.describe());
        let scalar = matches!(node.kind, Kind::Number(_) | Kind::Bool(_));
        let text = matches!(ty, Type::String | Type::Enum(_) | Type::Time | Type::Bytes);
        let help = if text && scalar {
            format!("put quotes around it: `\"{}\"`, in a template `{{{{ … | quote }}}}`", node.text)
        } else if matches!(node.kind, Kind::Text) && matches!(ty, Type::Int32 | Type::Int64 | Type::Bool) {
            format!("write {} without quotes", ty_name(ty))
        } else {
            format!("write {}", ty_name(ty))
        };
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        let mut diagnostic = self.document.error(codes::OBJECT_WRONG_TYPE, &steps, message).help(help);
        if let Kind::Bool(value) = node.kind
            && node.text != value.to_string()
        {
            diagnostic.why = Some(format!("kubectl and Helm read a bare `{}` as `{value}` too", node.text));
        }
        self.out.push(diagnostic);
    }

    fn unknown(&mut self, key: &str, known: &[&str], path: &[String]) {
        let kind = self.document.kind();
        let parent = shown(&path[..path.len() - 1]);
        let message = format!("{kind} has no field `{key}` in `{parent}`");
        let help = match nearest(key, known.iter().copied()) {
            Some(near) => format!("write `{near}`"),
            None if known.len() <= 12 => format!("fields are: {}", known.join(", ")),
            None => "remove it, or check its indentation".to_owned(),
        };
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        self.out.push(self.document.key_error(codes::OBJECT_UNKNOWN_FIELD, &steps, message).help(help));
    }

    fn report(&mut self, code: u16, path: &[String], message: String, help: &str) {
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        self.out.push(self.document.error(code, &steps, message).help(help));
    }
}

/// Whether a text can be a value of the type.
fn is_text(ty: &Type) -> bool {
    let plain = matches!(ty, Type::String | Type::Time | Type::MicroTime | Type::Bytes);
    plain || matches!(ty, Type::IntOrString | Type::Quantity)
}

fn ty_name(ty: &Type) -> &'static str {
    match ty {
        Type::Struct(_) | Type::Map { .. } => "a mapping",
        Type::List { .. } => "a list",
        Type::Int32 | Type::Int64 => "a whole number",
        Type::Number => "a number",
        Type::Bool => "`true` or `false`",
        Type::IntOrString => "a whole number or a text",
        Type::Quantity => "an amount such as `250m`",
        _ => "a text",
    }
}

/// `spec.containers[0].image`.
fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        if step.chars().all(|c| c.is_ascii_digit()) {
            text.extend(["[", step, "]"]);
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(step);
        }
    }
    if text.is_empty() { "the object".to_owned() } else { text }
}
