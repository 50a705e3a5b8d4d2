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

/// Keys whose value is a secret wherever they stand.
const SECRET_KEYS: [&str; 2] = ["password", "bearer"];

/// Hides what stands under `secrets` of a file (and passwords elsewhere) from every message, references apart.
pub fn mask(file: &SourceFile, root: Option<&Node>) {
    let mut ranges = Vec::new();
    match root {
        Some(root) => {
            if let Some(secrets) = root.get("secrets") {
                collect(secrets, &mut ranges);
            }
            passwords(root, &mut ranges);
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

/// Passwords of metric stores, in keys of their own and inside URLs.
fn passwords(node: &Node, ranges: &mut Vec<Range<usize>>) {
    if let Some(targets) = node.get("targets") {
        for target in targets.entries() {
            if let Some(store) = target.value.get("prometheus") {
                urls(store, ranges);
                let basic = store.get("basic").into_iter().flat_map(Node::entries);
                for entry in store.entries().iter().chain(basic) {
                    if SECRET_KEYS.contains(&entry.key.as_str()) {
                        collect(&entry.value, ranges);
                    }
                }
            }
        }
    }
    let gates = node.get("gates").into_iter().flat_map(Node::entries);
    for url in gates.filter_map(|gate| gate.value.get("metric")?.get("http")?.get("url")) {
        urls(url, ranges);
    }
}

fn urls(node: &Node, ranges: &mut Vec<Range<usize>>) {
    for item in node.items() {
        urls(item, ranges);
    }
    for entry in node.entries() {
        urls(&entry.value, ranges);
    }
    let authority = node.text.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    if matches!(node.kind, Kind::Text) && authority.is_some_and(|authority| authority.contains('@')) {
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

/// Where references are resolved besides `secrets`; `*` stands for any key.
const RESOLVED: [&[&str]; 4] = [
    &["targets", "*", "prometheus", "basic", "password"],
    &["targets", "*", "prometheus", "bearer"],
    &["targets", "*", "prometheus", "headers", "*"],
    &["gates", "*", "metric", "http", "headers", "*"],
];

/// A reference where none is resolved would be taken literally: say so.
pub fn check_elsewhere(root: &Node, out: &mut Diagnostics) {
    let mut path = Vec::new();
    for entry in root.entries().iter().filter(|entry| entry.key != "secrets") {
        path.push(entry.key.as_str());
        check_node(&entry.value, &mut path, out);
        path.pop();
    }
}

fn is_resolved(path: &[&str]) -> bool {
    let fits = |known: &&&[&str]| {
        known.len() == path.len() && known.iter().zip(path).all(|(known, key)| *known == "*" || known == key)
    };
    RESOLVED.iter().any(|known| fits(&known))
}

fn check_node<'n>(node: &'n Node, path: &mut Vec<&'n str>, out: &mut Diagnostics) {
    for item in node.items() {
        check_node(item, path, out);
    }
    for entry in node.entries() {
        path.push(&entry.key);
        check_node(&entry.value, path, out);
        path.pop();
    }
    let starts = ["${env:", "${file:", "${aws-sm:"];
    if matches!(node.kind, Kind::Text)
        && starts.iter().any(|start| node.text.contains(start))
        && !is_resolved(path)
    {
        out.push(
            Diagnostic::error(
                codes::SECRET_ELSEWHERE,
                node.place.clone(),
                "a secret reference outside of `secrets`",
            )
            .why("references are resolved under `secrets` and in credentials of metric stores only; here the text would be taken literally")
            .help("move it to `secrets: {NAME: {KEY: …}}` and read that Secret with `secretKeyRef`"),
        );
    }
}
