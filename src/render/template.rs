//! The template engine: strict, without escapes for the web, with the filters that manifests need, and errors
//! that name the value at fault.

use crate::config::codes;
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Place, SourceFile, nearest};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Error, ErrorKind, UndefinedBehavior, Value};
use serde_json::Value as Json;
use std::sync::Arc;

/// Deepest recursion of macros and includes.
const RECURSION: usize = 50;

/// Steps of the engine that one template may take, loops and macros counted out: some thousands are usual.
const FUEL: u64 = 100_000;

/// Bytes that one template may become; as much as is read as YAML.
const MOST_TEXT: usize = 4 << 20;

/// Bytes of one `{{ … }}` or `{% … %}`.
const LONGEST_TAG: usize = 8 << 10;

/// Ends the name of the marked twin of a template.
pub const MARKED: char = '\0';

/// A fresh engine.
pub fn engine() -> minijinja::Environment<'static> {
    let mut engine = minijinja::Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_recursion_limit(RECURSION);
    engine.set_debug(true);
    engine.set_fuel(Some(FUEL));
    engine.set_syntax(
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().expect("defaults fit"),
    );
    engine.set_formatter(|out, _, value| {
        if value.is_none() {
            return Err(Error::new(ErrorKind::InvalidOperation, "the value is `null`, which is no text"));
        }
        if matches!(value.kind(), ValueKind::Map | ValueKind::Seq) {
            let what = "the value is a collection: write `| toyaml` or `| tojson` behind it";
            return Err(Error::new(ErrorKind::InvalidOperation, what));
        }
        write!(out, "{value}").map_err(Error::from)
    });
    engine.set_path_join_callback(|name, parent| {
        let (parent, marked) = parent.strip_suffix(MARKED).map_or((parent, false), |plain| (plain, true));
        let folder = parent.rsplit_once('/').map_or("", |(folder, _)| folder);
        let beside = name.contains('/') || folder.is_empty();
        let mut joined = if beside { name.to_owned() } else { format!("{folder}/{name}") };
        if marked {
            joined.push(MARKED);
        }
        joined.into()
    });
    super::bounded::bound(&mut engine);
    engine.add_filter("tojson", |value: Value| serde_json::to_string(&value).map_err(unusable));
    engine.add_filter("quote", |value: Value| serde_json::to_string(&value.to_string()).map_err(unusable));
    engine.add_filter("toyaml", to_yaml);
    engine
}

/// A tag that is longer than anything a person writes. The engine reads an expression by recursion, without counting what
/// its stack bears.
pub fn endless_tag(file: &Arc<SourceFile>) -> Option<Box<Diagnostic>> {
    let text = file.text.as_bytes();
    let mut at = 0;
    while let Some(open) = text[at..].windows(2).position(|two| matches!(two, b"{{" | b"{%" | b"{#")) {
        let start = at + open;
        let end = match text[start + 1] {
            b'#' => start + 2 + file.text[start + 2..].find("#}").unwrap_or(text.len() - start - 2),
            _ => end_of_tag(text, start + 2),
        };
        if text[start + 1] != b'#' && end - start > LONGEST_TAG {
            let (line, _) = file.line_column(start);
            let message = format!("a tag of more than {} KiB", LONGEST_TAG >> 10);
            let mistake = Diagnostic::error(codes::TEMPLATE_SYNTAX, Place::line_of(file, line), message);
            return Some(Box::new(mistake.help("close it, or put what it says under `values:`")));
        }
        at = end.max(start + 2);
    }
    None
}

/// Where a tag ends: at its brace outside of quotes.
fn end_of_tag(text: &[u8], from: usize) -> usize {
    let (mut quote, mut escaped) = (None, false);
    for at in from..text.len() {
        match (quote, text[at]) {
            _ if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), byte) if byte == open => quote = None,
            (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
            (None, b'}') if matches!(text[at - 1], b'}' | b'%') && at > from => return at,
            _ => {}
        }
    }
    text.len()
}

/// Renders a template, up to a length.
pub fn render(template: &minijinja::Template<'_, '_>, variables: &Value) -> Result<String, Error> {
    let mut text = Bounded(Vec::new());
    template.render_captured_to(variables.clone(), &mut text)?;
    String::from_utf8(text.0).map_err(unusable)
}

/// Text that does not grow beyond [`MOST_TEXT`].
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_TEXT {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn to_yaml(value: &Value) -> Result<String, Error> {
    // A collection goes below its key, so the trailing line break would only be in the way.
    serde_saphyr::to_string(value).map(|text| text.trim_end().to_owned()).map_err(unusable)
}

fn unusable(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::BadSerialization, error.to_string())
}

/// Reports every variable that a template reads and nobody sets, in branches that are not taken too.
pub fn check_variables(
    template: &minijinja::Template<'_, '_>,
    globals: &[String],
    file: &Arc<SourceFile>,
    context: &Json,
    out: &mut Diagnostics,
) {
    let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    names.sort();
    for name in &names {
        let Some((missing, known)) = missing_step(name, context) else { continue };
        if globals.iter().any(|global| global == name.split('.').next().unwrap_or_default()) {
            continue;
        }
        let Some(range) = find_expression(&file.text, name) else { continue };
        out.push(undefined(Place::new(file, range), name, &missing, &known));
    }
}

/// The first step of a dotted path that is not there, and what is there instead.
fn missing_step(path: &str, context: &Json) -> Option<(String, Vec<String>)> {
    let mut node = context;
    let mut walked = String::new();
    for step in path.split('.') {
        let Json::Object(map) = node else { return None };
        let next = map.get(step);
        let prefix = walked.clone();
        if !walked.is_empty() {
            walked.push('.');
        }
        walked.push_str(step);
        if let Some(next) = next {
            node = next;
        } else {
            let dot = if prefix.is_empty() { "" } else { "." };
            return Some((walked, map.keys().map(|key| format!("{prefix}{dot}{key}")).collect()));
        }
    }
    None
}

fn undefined(place: Place, name: &str, missing: &str, known: &[String]) -> Diagnostic {
    let mut diagnostic =
        Diagnostic::error(codes::TEMPLATE_UNDEFINED, place, format!("`{name}` is never set"));
    let set = match missing.strip_prefix("values.") {
        Some(path) => format!("set `{path}` under `values:`"),
        None => "put it under `values:` and read it as `values.NAME`".to_owned(),
    };
    let near = nearest(missing, known.iter().map(String::as_str));
    diagnostic.help = Some(match near {
        Some(near) => format!("write `{near}`, or {set}, or give a default: `| default(…)`"),
        None => format!("{set}, or give a default: `| default(…)`"),
    });
    let mut shown: Vec<&str> = known.iter().map(String::as_str).collect();
    shown.sort_unstable();
    diagnostic.why = Some(if shown.is_empty() {
        "an undefined value would become an empty text".to_owned()
    } else {
        let more = if shown.len() > 12 { ", …" } else { "" };
        format!("there are: {}{more}", shown[..shown.len().min(12)].join(", "))
    });
    diagnostic
}

/// Where a dotted name is read without a guard; `None` when every use has one (`default`, `is defined`).
fn find_expression(text: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut first = None;
    let mut guarded = false;
    for (at, _) in text.match_indices(name) {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        if before.is_some_and(|c| word(c) || c == '.') || after.is_some_and(word) || !in_expression(text, at)
        {
            continue;
        }
        let rest = text[at + name.len()..].trim_start();
        let rest = rest.strip_prefix('|').map_or(rest, str::trim_start);
        guarded |= ["default(", "default ", "d(", "is defined", "is not defined", "is undefined"]
            .iter()
            .any(|guard| rest.starts_with(guard));
        first = first.or(Some(at..at + name.len()));
    }
    // A name that was not found as text was built by the engine; the rendering itself will tell.
    first.filter(|_| !guarded)
}

fn in_expression(text: &str, at: usize) -> bool {
    let before = &text[..at];
    let open = before.rfind("{{").max(before.rfind("{%"));
    let close = before.rfind("}}").max(before.rfind("%}"));
    open.is_some_and(|open| close.is_none_or(|close| close < open))
}

/// What the engine says, as a diagnostic.
pub fn failure(
    error: &Error,
    file_of: impl Fn(&str) -> Option<Arc<SourceFile>>,
    asked: &Arc<SourceFile>,
    context: &Json,
) -> Diagnostic {
    // The innermost error is the cause; the outer ones only say which include led there.
    let mut cause = error;
    while let Some(inner) = std::error::Error::source(cause).and_then(|s| s.downcast_ref::<Error>()) {
        cause = inner;
    }
    let file = cause.name().and_then(&file_of).unwrap_or_else(|| Arc::clone(asked));
    let line = cause.line().unwrap_or(1);
    let place = match cause.range().filter(|range| range.start < range.end && range.end <= file.text.len()) {
        Some(range) => Place::new(&file, range),
        None => Place::line_of(&file, line),
    };
    let expression = file.text[place.start..place.end].to_owned();
    let detail = cause.detail().map_or_else(|| cause.kind().to_string(), str::to_owned);
    match cause.kind() {
        ErrorKind::UndefinedError => undefined_at_runtime(place, &expression, &detail),
        ErrorKind::SyntaxError => Diagnostic::error(codes::TEMPLATE_SYNTAX, place, detail)
            .help("check the `{{ … }}` and `{% … %}` parts of this line"),
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => {
            let help =
                "filters: tojson, toyaml, quote, indent(n), default(x), upper, lower, replace, trim, join";
            Diagnostic::error(codes::TEMPLATE_FAILED, place, detail).help(help)
        }
        ErrorKind::OutOfFuel => {
            Diagnostic::error(codes::TEMPLATE_FAILED, place, "the template takes too many steps")
                .why(format!("more than {FUEL}: a loop inside a loop, or a macro that calls itself"))
                .help("loop over fewer values")
        }
        ErrorKind::WriteFailure => {
            Diagnostic::error(codes::TEMPLATE_FAILED, place, "the template becomes too long")
                .why(format!("more than {} MiB of text", MOST_TEXT >> 20))
                .help("loop over fewer values, or split the file")
        }
        ErrorKind::TemplateNotFound => Diagnostic::error(codes::NOT_FOUND, place, detail)
            .help("name a file of the same folder, or its path from the project's root"),
        _ => {
            let mut diagnostic = Diagnostic::error(codes::TEMPLATE_FAILED, place, detail);
            let values = values_in(&file.line(line), context);
            if !values.is_empty() {
                diagnostic.why = Some(values.join(", "));
            }
            diagnostic
        }
    }
}

fn undefined_at_runtime(place: Place, expression: &str, detail: &str) -> Diagnostic {
    let message = format!("`{}` is undefined", expression.trim());
    let mut diagnostic = Diagnostic::error(codes::TEMPLATE_UNDEFINED, place, message)
        .help("set it under `values:`, or give a default: `| default(…)`");
    if detail != "undefined value" {
        diagnostic.why = Some(detail.to_owned());
    }
    diagnostic
}

/// The values that a line of a template reads, as `name = value`.
fn values_in(line: &str, context: &Json) -> Vec<String> {
    let path = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let mut found = Vec::new();
    for word in line.split(|c: char| !path(c)).filter(|word| word.contains(|c: char| c.is_alphabetic())) {
        let pointer = format!("/{}", word.replace('.', "/"));
        if let Some(value) = context.pointer(&pointer) {
            let mut text = value.to_string();
            if text.chars().count() > 60 {
                text = format!("{}…", text.chars().take(60).collect::<String>());
            }
            let line = format!("`{word}` is {text}");
            if !found.contains(&line) {
                found.push(line);
            }
        }
    }
    found
}
