//! References to secrets: `${env:NAME}`, `${file:PATH}`, `${aws-sm:NAME#KEY}`. Parsed here, never resolved.

use crate::config::codes;
use crate::config::tree::{Kind, Node};
use crate::domain::diagnostic::{Diagnostic, Diagnostics, SourceFile};
use crate::domain::secret::SecretRef;
use std::ops::Range;

/// Reads a reference. The error is what to write instead, without a word of the text itself.
pub fn parse(text: &str) -> Result<SecretRef, String> {
    let wrong = || "write a reference: `${env:NAME}`, `${file:PATH}` or `${aws-sm:NAME#KEY}`".to_owned();
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).ok_or_else(wrong)?;
    let (scheme, name) = inner.split_once(':').ok_or_else(wrong)?;
    if name.is_empty() || name.contains(['{', '}', '\n']) {
        return Err(wrong());
    }
    match scheme {
        "env" if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            Ok(SecretRef::Env(name.to_owned()))
        }
        "env" => Err("name an environment variable of letters, digits and `_`: `${env:NAME}`".to_owned()),
        "file" => Ok(SecretRef::File(name.to_owned())),
        "aws-sm" => {
            let (name, key) = name.split_once('#').map_or((name, None), |(n, k)| (n, Some(k.to_owned())));
            Ok(SecretRef::AwsSecretsManager { name: name.to_owned(), key })
        }
        _ => Err(wrong()),
    }
}

/// Hides what stands under `secrets` of a file from every message, references apart.
pub fn mask(file: &SourceFile, root: Option<&Node>) {
    let mut ranges = Vec::new();
    match root {
        Some(root) => {
            if let Some(secrets) = root.get("secrets") {
                collect(secrets, &mut ranges);
            }
        }
        None => ranges = below_secrets(&file.text),
    }
    file.mask(ranges);
}

fn collect(node: &Node, ranges: &mut Vec<Range<usize>>) {
    for item in node.items() {
        collect(item, ranges);
    }
    for entry in node.entries() {
        collect(&entry.value, ranges);
    }
    let scalar = !matches!(node.kind, Kind::List(_) | Kind::Map(_));
    if scalar && parse(&node.text).is_err() {
        ranges.push(node.place.start..node.place.end);
    }
}

/// When the file is no YAML there is no tree: everything from `secrets:` to the next top-level key is hidden.
fn below_secrets(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut inside = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if !line.starts_with([' ', '\t', '#', '-', '}', ']', '\n', '\r']) {
            inside = line.starts_with("secrets") || line.starts_with("\"secrets") || line.starts_with('{');
        }
        if inside {
            let from = line.find(':').map_or(0, |colon| colon + 1);
            ranges.push(at + from..at + line.trim_end().len().max(from));
        }
        at += line.len();
    }
    ranges
}

/// A reference where none is resolved would be taken literally: say so.
pub fn check_elsewhere(root: &Node, out: &mut Diagnostics) {
    for entry in root.entries().iter().filter(|entry| entry.key != "secrets") {
        check_node(&entry.value, out);
    }
}

fn check_node(node: &Node, out: &mut Diagnostics) {
    for item in node.items() {
        check_node(item, out);
    }
    for entry in node.entries() {
        check_node(&entry.value, out);
    }
    let starts = ["${env:", "${file:", "${aws-sm:"];
    if matches!(node.kind, Kind::Text) && starts.iter().any(|start| node.text.contains(start)) {
        out.push(
            Diagnostic::error(
                codes::SECRET_ELSEWHERE,
                node.place.clone(),
                "a secret reference outside of `secrets`",
            )
            .why("references are resolved under `secrets` only; here the text would be taken literally")
            .help("move it to `secrets: {NAME: {KEY: …}}` and read that Secret with `secretKeyRef`"),
        );
    }
}
