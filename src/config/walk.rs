//! Checks a tree against the JSON Schema of the environment and reports every mistake, not the first only.
//!
//! One definition serves editors, `deployctl schema` and this check, so the three cannot disagree. Beside the
//! mistakes it returns the value with all that is wrong left out, so that later checks run on the rest.

use crate::config::scalar::{self, UNIT};
use crate::config::tree::{Kind, Node};
use crate::config::{codes, schema};
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Place, nearest};
use crate::domain::units::parse_duration;
use serde_json::{Map, Value};

/// Checks a whole file or the layers of several.
pub fn check(root: &Node) -> (Value, Diagnostics) {
    let mut walker = Walker { root: schema::shared(), out: Diagnostics::new() };
    let value = walker.check(root, walker.root, &mut Vec::new()).unwrap_or(Value::Object(Map::new()));
    (value, walker.out)
}

struct Walker<'s> {
    root: &'s Value,
    out: Diagnostics,
}

impl<'s> Walker<'s> {
    fn resolve(&self, schema: &'s Value) -> &'s Value {
        let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { return schema };
        self.root.pointer(reference.trim_start_matches('#')).unwrap_or(schema)
    }

    /// The value if it fits; `None` after a mistake, or for `null` (which deletes).
    fn check(&mut self, node: &Node, schema: &'s Value, path: &mut Vec<String>) -> Option<Value> {
        let schema = self.resolve(schema);
        if schema.as_bool() == Some(true) || is_anything(schema) {
            return Some(node.to_json());
        }
        if matches!(node.kind, Kind::Null) {
            return None;
        }
        if let Some(branches) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array)
        {
            return self.check_branches(node, branches, path);
        }
        if !accepts(schema, node) {
            self.wrong_type(node, &[schema], path);
            return None;
        }
        match &node.kind {
            Kind::Map(_) => self.check_map(node, schema, path),
            Kind::List(_) => self.check_list(node, schema, path),
            _ => self.check_scalar(node, schema, path),
        }
    }

    fn check_branches(
        &mut self,
        node: &Node,
        branches: &'s [Value],
        path: &mut Vec<String>,
    ) -> Option<Value> {
        let flat = self.flatten(branches);
        let words: Vec<&str> = flat.iter().flat_map(|branch| words_of(branch)).collect();
        if !words.is_empty() && matches!(node.kind, Kind::Text | Kind::Bool(_) | Kind::Number(_)) {
            let number_fits = flat.iter().find(|b| words_of(b).is_empty() && accepts(b, node));
            return match number_fits {
                Some(branch) => self.check(node, branch, path),
                None => self.check_word(node, &words, path),
            };
        }
        let Some(branch) = flat.iter().find(|branch| accepts(branch, node)) else {
            self.wrong_type(node, &flat, path);
            return None;
        };
        self.check(node, branch, path)
    }

    fn flatten(&self, branches: &'s [Value]) -> Vec<&'s Value> {
        branches
            .iter()
            .flat_map(|branch| {
                let branch = self.resolve(branch);
                match branch.get("anyOf").or_else(|| branch.get("oneOf")).and_then(Value::as_array) {
                    Some(inner) => self.flatten(inner),
                    None => vec![branch],
                }
            })
            .collect()
    }

    fn check_map(&mut self, node: &Node, schema: &'s Value, path: &mut Vec<String>) -> Option<Value> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.as_bool() != Some(false));
        let names = schema.get("propertyNames").map(|names| self.resolve(names));
        let mut value = Map::new();
        for entry in node.entries() {
            let known = properties.and_then(|properties| properties.get(&entry.key));
            let Some(child) = known.or(others) else {
                self.unknown_key(&entry.key, &entry.key_place, properties, path);
                continue;
            };
            if known.is_none() && !self.check_name(&entry.key, &entry.key_place, names, path) {
                continue;
            }
            path.push(entry.key.clone());
            let read = self.check(&entry.value, child, path);
            path.pop();
            if let Some(read) = read {
                value.insert(entry.key.clone(), read);
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let mut complete = true;
        for key in required.filter_map(Value::as_str) {
            if node.get(key).is_none() {
                let message = format!("`{key}` is missing{}", inside(path));
                let about = properties.and_then(|p| p.get(key)).and_then(|s| self.about(s));
                let mut diagnostic = Diagnostic::error(codes::MISSING, node.place.clone(), message);
                diagnostic.why = about;
                self.out.push(diagnostic.help(format!("add `{key}: …`")));
            }
            complete &= value.contains_key(key);
        }
        complete.then_some(Value::Object(value))
    }

    fn check_name(&mut self, key: &str, at: &Place, names: Option<&'s Value>, path: &[String]) -> bool {
        let Some(names) = names else { return true };
        let branches = names.get("oneOf").or_else(|| names.get("anyOf")).and_then(Value::as_array);
        let flat = branches.map_or_else(|| vec![names], |branches| self.flatten(branches));
        let words: Vec<&str> = flat.iter().flat_map(|branch| words_of(branch)).collect();
        if words.is_empty() || words.contains(&key) {
            return true;
        }
        let help = suggestion(key, &words);
        let message = format!("unknown key `{key}`{}", inside(path));
        self.out.push(Diagnostic::error(codes::UNKNOWN_KEY, at.clone(), message).help(help));
        false
    }

    fn unknown_key(&mut self, key: &str, at: &Place, known: Option<&'s Map<String, Value>>, path: &[String]) {
        let words: Vec<&str> = known.into_iter().flat_map(|map| map.keys().map(String::as_str)).collect();
        let message = format!("unknown key `{key}`{}", inside(path));
        let mut diagnostic = Diagnostic::error(codes::UNKNOWN_KEY, at.clone(), message);
        diagnostic.help = Some(suggestion(key, &words));
        if let Some(near) = nearest(key, words.iter().copied())
            && let Some(about) = known.and_then(|map| map.get(near)).and_then(|schema| self.about(schema))
        {
            diagnostic.why = Some(format!("`{near}`: {about}"));
        }
        self.out.push(diagnostic);
    }

    /// The first sentence of a schema's description.
    fn about(&self, schema: &'s Value) -> Option<String> {
        let text = schema.get("description").or_else(|| self.resolve(schema).get("description"))?.as_str()?;
        let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(one_line.split_once(". ").map_or(one_line.clone(), |(first, _)| format!("{first}.")))
    }

    fn check_list(&mut self, node: &Node, schema: &'s Value, path: &mut Vec<String>) -> Option<Value> {
        let items = schema.get("items")?;
        let mut list = Vec::new();
        for (index, item) in node.items().iter().enumerate() {
            path.push(index.to_string());
            if matches!(item.kind, Kind::Null) {
                let message = format!("an empty item{}", inside(path));
                self.out.push(
                    Diagnostic::error(codes::WRONG_TYPE, item.place.clone(), message)
                        .help("write a value after the `-`, or remove the line"),
                );
            } else if let Some(value) = self.check(item, items, path) {
                list.push(value);
            }
            path.pop();
        }
        Some(Value::Array(list))
    }

    fn check_scalar(&mut self, node: &Node, schema: &'s Value, path: &[String]) -> Option<Value> {
        if let Some(unit) = schema.get(UNIT).and_then(Value::as_str) {
            return self.check_unit(node, unit, path);
        }
        let words = words_of(schema);
        if !words.is_empty() {
            return self.check_word(node, &words, path);
        }
        if types_of(schema).contains(&"string") {
            return Some(Value::String(node.text.clone()));
        }
        self.check_range(node, schema, path)
    }

    fn check_range(&mut self, node: &Node, schema: &'s Value, path: &[String]) -> Option<Value> {
        let value = node.to_json();
        let number = value.as_f64().unwrap_or_default();
        let limit = |key: &str| schema.get(key).and_then(Value::as_f64);
        let (low, high) = (limit("minimum"), limit("maximum"));
        if low.is_some_and(|low| number < low) || high.is_some_and(|high| number > high) {
            let range = match (low, high) {
                (Some(low), Some(high)) => format!("from {low} to {high}"),
                (Some(low), None) => format!("at least {low}"),
                (None, high) => format!("at most {}", high.unwrap_or_default()),
            };
            let message = format!("`{}` is out of range for `{}`", node.text, path.join("."));
            self.out.push(
                Diagnostic::error(codes::OUT_OF_RANGE, node.place.clone(), message)
                    .help(format!("write a number {range}")),
            );
            return None;
        }
        Some(value)
    }

    fn check_word(&mut self, node: &Node, words: &[&str], path: &[String]) -> Option<Value> {
        if words.contains(&node.text.as_str()) {
            return Some(Value::String(node.text.clone()));
        }
        let message = format!("`{}` is not a value of `{}`", node.text, path.join("."));
        self.out.push(
            Diagnostic::error(codes::UNKNOWN_WORD, node.place.clone(), message)
                .help(suggestion(&node.text, words)),
        );
        None
    }

    fn check_unit(&mut self, node: &Node, unit: &str, path: &[String]) -> Option<Value> {
        let text = node.text.as_str();
        let number = matches!(node.kind, Kind::Number(_));
        let wrong = match unit {
            "duration" if number => {
                Some(format!("`{text}` has no unit; write `{text}s`, `{text}m` or `{text}h`"))
            }
            "duration" => parse_duration(text).err(),
            "percent" => scalar::parse_percent(text).err(),
            "secret" => {
                return match crate::config::secrets::parse(text) {
                    Ok(_) => Some(Value::String(text.to_owned())),
                    Err(help) => {
                        self.secret_literal(node, &help, path);
                        None
                    }
                };
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            let (what, help) = wrong.split_once("; ").unwrap_or((&wrong, ""));
            let message = format!("{what} (`{}`)", path.join("."));
            self.out.push(Diagnostic::error(codes::BAD_UNIT, node.place.clone(), message).help(help));
            // With a guessed unit the rest of a canary's step can still be checked.
            return (unit == "duration" && number).then(|| Value::String(format!("{text}s")));
        }
        Some(Value::String(text.to_owned()))
    }

    /// Says nothing of the value: it may be a real secret.
    fn secret_literal(&mut self, node: &Node, help: &str, path: &[String]) {
        let message = format!("`{}` is not a reference to a secret", path.join("."));
        self.out.push(
            Diagnostic::error(codes::BAD_SECRET, node.place.clone(), message)
                .why("a literal secret would be in version control, in plans and in logs")
                .help(help),
        );
    }

    fn wrong_type(&mut self, node: &Node, schemas: &[&'s Value], path: &[String]) {
        let mut wanted: Vec<&str> = Vec::new();
        for word in schemas.iter().flat_map(|schema| types_of(schema)).filter(|word| *word != "null") {
            let name = match word {
                "object" => "a mapping",
                "array" => "a list",
                "string" => "a text",
                "integer" => "a whole number",
                "number" => "a number",
                "boolean" => "`true` or `false`",
                _ => continue,
            };
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        let wanted = wanted.join(" or ");
        let place = path.join(".");
        let message = format!("`{place}` takes {wanted}, not {}", node.describe());
        let mut diagnostic = Diagnostic::error(codes::WRONG_TYPE, node.place.clone(), message);
        let last = path.last().map_or("key", String::as_str);
        diagnostic.help = Some(match (&node.kind, wanted.as_str()) {
            (Kind::Bool(_), "a text") => format!("put quotes around it: `\"{}\"`", node.text),
            (Kind::List(_) | Kind::Map(_), "a list") => format!("write `{last}: [a, b]`"),
            (_, "a list") => format!("put it into a list: `{last}: [{}]`", node.text),
            (_, "a mapping") => format!("write keys and values below `{last}:`"),
            (_, "a whole number") => "write digits only, e.g. `3`".to_owned(),
            _ => format!("write {wanted} after `{last}:`"),
        });
        self.out.push(diagnostic);
    }
}

/// A schema that takes every value (`values`, expected JSON).
fn is_anything(schema: &Value) -> bool {
    let Some(map) = schema.as_object() else { return false };
    !["type", "$ref", "anyOf", "oneOf", "properties", "enum", "const"]
        .iter()
        .any(|key| map.contains_key(*key))
}

fn types_of(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn words_of(schema: &Value) -> Vec<&str> {
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return vec![word];
    }
    schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn accepts(schema: &Value, node: &Node) -> bool {
    let types = types_of(schema);
    let any = |wanted: &[&str]| types.iter().any(|word| wanted.contains(word));
    match &node.kind {
        Kind::Null => any(&["null"]),
        Kind::Bool(_) => any(&["boolean"]),
        // A version or a port written without quotes is as good a text as any.
        Kind::Number(number) if number.is_f64() => any(&["number", "string"]),
        Kind::Number(_) => any(&["integer", "number", "string"]),
        Kind::Text => any(&["string"]),
        Kind::List(_) => any(&["array"]),
        Kind::Map(_) => any(&["object"]),
    }
}

fn inside(path: &[String]) -> String {
    if path.is_empty() { String::new() } else { format!(" in `{}`", path.join(".")) }
}

/// The nearest of the words, or all of them.
pub(super) fn suggestion(wrong: &str, words: &[&str]) -> String {
    match nearest(wrong, words.iter().copied()) {
        Some(near) => format!("write `{near}`"),
        None if words.is_empty() => "remove it".to_owned(),
        None => format!(
            "write one of {}",
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        ),
    }
}
