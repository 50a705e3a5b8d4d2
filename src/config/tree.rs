//! YAML as a tree whose every node knows its place, so that all mistakes can be shown at once.
//!
//! Serde stops at the first error and forgets where a value came from once files are layered; this tree does
//! neither. Depth, size and alias expansion are bounded: a hostile file is refused, never followed.

use crate::config::codes;
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Place, SourceFile};
use serde_json::{Map, Number, Value};
use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Deepest nesting of a file.
const MAX_DEPTH: usize = 64;
/// Most nodes of an environment file, expanded aliases included.
const MAX_NODES: usize = 20_000;
/// Most nodes of a rendered manifest: definitions of custom resources are long.
const MAX_MANIFEST_NODES: usize = 200_000;
/// Largest file.
const MAX_BYTES: usize = 4 << 20;

/// Whose reading of plain scalars applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// YAML 1.2 core: environment files.
    Core,
    /// What kubectl reads in manifests: `yes`/`on` are booleans, `0644` is octal.
    Kubernetes,
}

/// One value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub kind: Kind,
    /// Text of a scalar as written (quotes and escapes resolved); empty for collections.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number or a fraction.
    Number(Number),
    /// A text; see [`Node::text`].
    Text,
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the file.
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_place: Place,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The entries of a mapping; none for everything else.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        if let Kind::Map(entries) = &self.kind { entries } else { &[] }
    }

    /// The items of a list; none for everything else.
    #[must_use]
    pub fn items(&self) -> &[Node] {
        if let Kind::List(items) = &self.kind { items } else { &[] }
    }

    /// The entry of that key.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of that key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The value at a path of keys and list indexes.
    #[must_use]
    pub fn find(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match &node.kind {
            Kind::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => node.get(step),
        })
    }

    /// The place of the deepest part of a path that exists: of the key where the value is a collection, of
    /// the value where it is a scalar.
    #[must_use]
    pub fn place_of(&self, path: &[&str]) -> Place {
        let mut node = self;
        let mut place = None;
        for step in path {
            let next = match &node.kind {
                Kind::List(items) => {
                    step.parse::<usize>().ok().and_then(|i| items.get(i)).map(|n| (n, n.place.clone()))
                }
                _ => node.entry(step).map(|entry| (&entry.value, entry.best_place())),
            };
            let Some((child, at)) = next else { break };
            node = child;
            place = Some(at);
        }
        place.unwrap_or_else(|| Place::line_of(&self.place.file, 1))
    }

    /// What kind of value it is, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing (null)".to_owned(),
            Kind::Bool(value) => format!("the boolean `{value}`"),
            Kind::Number(_) => format!("the number `{}`", self.text),
            Kind::Text => "a text".to_owned(),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The value without its places.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text => Value::String(self.text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }

    fn count(&self) -> usize {
        1 + self.items().iter().map(Self::count).sum::<usize>()
            + self.entries().iter().map(|entry| 1 + entry.value.count()).sum::<usize>()
    }
}

impl Entry {
    /// The value's place if it is a scalar, else the key's: where an eye should look.
    #[must_use]
    pub fn best_place(&self) -> Place {
        match self.value.kind {
            Kind::List(_) | Kind::Map(_) => self.key_place.clone(),
            _ if self.value.place.start == self.value.place.end => self.key_place.clone(),
            _ => self.value.place.clone(),
        }
    }
}

/// Reads all documents of a text. What could be read is returned even when there are mistakes.
pub fn parse(file: &Arc<SourceFile>, dialect: Dialect) -> (Vec<Node>, Diagnostics) {
    let mut builder = Builder {
        file,
        dialect,
        documents: Vec::new(),
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        out: Diagnostics::new(),
    };
    builder.run();
    (builder.documents, builder.out)
}

/// Reads a text that must be one mapping; an empty text is an empty mapping.
pub fn parse_mapping(file: &Arc<SourceFile>) -> (Option<Node>, Diagnostics) {
    let (mut documents, mut out) = parse(file, Dialect::Core);
    if let Some(second) = documents.get(1) {
        let place = second.place.clone();
        out.push(
            Diagnostic::error(codes::SYNTAX, place, "a second YAML document begins here")
                .why("an environment file is one document; what follows `---` would be ignored")
                .help("remove the `---` line, or move this part to a file of its own"),
        );
    }
    if documents.is_empty() {
        if out.is_empty() {
            let empty = Place::line_of(file, 1);
            return (Some(Node { kind: Kind::Map(Vec::new()), text: String::new(), place: empty }), out);
        }
        return (None, out);
    }
    let root = documents.swap_remove(0);
    match root.kind {
        Kind::Map(_) => (Some(root), out),
        Kind::Null => (Some(Node { kind: Kind::Map(Vec::new()), ..root }), out),
        _ => {
            let message = format!("expected a mapping of keys to values, found {}", root.describe());
            out.push(
                Diagnostic::error(codes::WRONG_TYPE, root.place.clone(), message)
                    .help("write keys and values, e.g. `application: my-app`"),
            );
            (None, out)
        }
    }
}

/// A collection whose end has not come yet.
struct Open {
    anchor: usize,
    start: Span,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Entries, key: Option<(String, Place)> },
}

struct Builder<'a> {
    file: &'a Arc<SourceFile>,
    dialect: Dialect,
    documents: Vec<Node>,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    out: Diagnostics,
}

impl Builder<'_> {
    fn run(&mut self) {
        let file = self.file;
        if file.text.len() > MAX_BYTES {
            let message = format!("the file is larger than {} MiB", MAX_BYTES >> 20);
            self.out.push(Diagnostic::error(codes::TOO_LARGE, Place::new(file, 0..0), message));
            return;
        }
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
        let shift = file.text.len() - text.len();
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = match event {
                Ok(pair) => pair,
                Err(error) => {
                    let at = error.marker().byte_offset().unwrap_or(0) + shift;
                    self.out.push(syntax_error(file, at, &error.info()));
                    return;
                }
            };
            if !self.event(event, span, shift) {
                return;
            }
        }
    }

    /// Takes one event; false when the file must not be followed any further.
    fn event(&mut self, event: Event<'_>, span: Span, shift: usize) -> bool {
        let place = place_of(self.file, span, shift);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced = tag.is_some_and(|tag| tag.core_suffix() == Some("str"));
                let plain = style == ScalarStyle::Plain && !forced;
                let kind = if plain { resolve(&text, self.dialect) } else { Kind::Text };
                let node = Node { kind, text: text.into_owned(), place };
                return self.finish(node, anchor);
            }
            Event::SequenceStart(_, anchor, _) => {
                self.stack.push(Open { anchor, start: span, content: Content::List(Vec::new()) });
            }
            Event::MappingStart(_, anchor, _) => {
                let content = Content::Map { entries: Entries::default(), key: None };
                self.stack.push(Open { anchor, start: span, content });
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close(place.end, shift),
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id) else {
                    self.out.push(
                        Diagnostic::error(codes::SYNTAX, place, "an alias inside what it stands for")
                            .why("the value would contain itself")
                            .help("write the value out"),
                    );
                    return false;
                };
                let count = target.count();
                if self.nodes + count > self.most_nodes() {
                    self.out.push(too_many(place, self.most_nodes()));
                    return false;
                }
                self.nodes += count;
                let node = Node { place, ..target.clone() };
                return self.finish(node, 0);
            }
            _ => {}
        }
        true
    }

    fn most_nodes(&self) -> usize {
        match self.dialect {
            Dialect::Core => MAX_NODES,
            Dialect::Kubernetes => MAX_MANIFEST_NODES,
        }
    }

    fn close(&mut self, end: usize, shift: usize) -> bool {
        let Some(open) = self.stack.pop() else { return true };
        let start = open.start.start.byte_offset().unwrap_or(0) + shift;
        let place = Place::new(self.file, start..end.max(start));
        let kind = match open.content {
            Content::List(items) => Kind::List(items),
            Content::Map { entries, .. } => Kind::Map(entries.list),
        };
        self.finish(Node { kind, text: String::new(), place }, open.anchor)
    }

    fn finish(&mut self, node: Node, anchor: usize) -> bool {
        self.nodes += 1;
        if self.nodes > self.most_nodes() {
            self.out.push(too_many(node.place, self.most_nodes()));
            return false;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.documents.push(node);
            return true;
        };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, key } => match key.take() {
                None => *key = Some(key_of(node, &mut self.out)),
                Some((name, key_place)) => {
                    entries.add(Entry { key: name, key_place, value: node }, &mut self.out);
                }
            },
        }
        true
    }
}

fn key_of(node: Node, out: &mut Diagnostics) -> (String, Place) {
    if matches!(node.kind, Kind::List(_) | Kind::Map(_)) {
        out.push(
            Diagnostic::error(codes::SYNTAX, node.place.clone(), "a collection cannot be a key")
                .why("`{{ … }}` without quotes also reads as a mapping inside a mapping")
                .help("write a text before the `:`; quote values that begin with `{`"),
        );
    }
    (node.text, node.place)
}

/// The entries of a mapping, with an index so that many keys stay cheap.
#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    index: HashMap<String, usize>,
    /// Keys that only `<<` brought.
    merged: HashSet<String>,
}

impl Entries {
    fn add(&mut self, entry: Entry, out: &mut Diagnostics) {
        if entry.key == "<<" {
            return self.merge(entry.value);
        }
        let Some(first) = self.index.get(&entry.key).map(|at| &mut self.list[*at]) else {
            return self.push(entry);
        };
        // A key that only `<<` brought may be overridden; one that was written twice is a mistake.
        if !self.merged.remove(&entry.key) {
            let message = format!("`{}` is there twice", entry.key);
            out.push(
                Diagnostic::error(codes::DUPLICATE_KEY, entry.key_place.clone(), message)
                    .why("only one of the two values could count")
                    .help("remove one of them, or merge the two")
                    .related(first.key_place.clone(), "first written here"),
            );
        }
        first.value = entry.value;
    }

    fn push(&mut self, entry: Entry) {
        self.index.insert(entry.key.clone(), self.list.len());
        self.list.push(entry);
    }

    /// Entries that `<<` brings, where the mapping has none of its own.
    fn merge(&mut self, value: Node) {
        let sources = match value.kind {
            Kind::List(items) => items,
            _ => vec![value],
        };
        for source in sources {
            let Kind::Map(entries) = source.kind else { continue };
            for entry in entries {
                if !self.index.contains_key(&entry.key) {
                    self.merged.insert(entry.key.clone());
                    self.push(entry);
                }
            }
        }
    }
}

fn too_many(place: Place, most: usize) -> Diagnostic {
    Diagnostic::error(codes::TOO_LARGE, place, format!("more than {most} values"))
        .why("aliases that repeat aliases grow without bound")
        .help("write the values out, or split the file")
}

fn place_of(file: &Arc<SourceFile>, span: Span, shift: usize) -> Place {
    let start = span.start.byte_offset().unwrap_or(0) + shift;
    let end = span.end.byte_offset().unwrap_or(0) + shift;
    Place::new(file, start..end.max(start))
}

fn syntax_error(file: &Arc<SourceFile>, at: usize, info: &str) -> Diagnostic {
    // The parser often stops at the line break; the eye needs the last thing before it.
    let at = at.min(file.text.len());
    let place = Place::new(file, at..at + 1);
    let (line, _) = place.line_column();
    let text = file.line(line);
    let help = if text.trim_start().starts_with('\t') || file.text[file.line_start(line)..].starts_with('\t')
    {
        "indent with spaces: YAML forbids tabs"
    } else if text.contains("{{") {
        "put quotes around a value that contains `{{`"
    } else if info.contains("nest") || info.contains("depth") {
        "flatten the file: no environment needs such depth"
    } else {
        "check indentation, colons and quotes here and on the line before"
    };
    Diagnostic::error(codes::SYNTAX, place, format!("not valid YAML: {info}")).help(help)
}

fn resolve(text: &str, dialect: Dialect) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        _ => {}
    }
    if dialect == Dialect::Kubernetes {
        match text {
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => return Kind::Bool(true),
            "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => return Kind::Bool(false),
            _ => {}
        }
        if let Some(octal) = text.strip_prefix('0').filter(|rest| !rest.is_empty())
            && let Ok(number) = i64::from_str_radix(octal, 8)
        {
            return Kind::Number(number.into());
        }
    }
    number(text).map_or(Kind::Text, Kind::Number)
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    if let Some(octal) = digits.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok().map(Number::from);
    }
    let first = digits.chars().next()?;
    if !first.is_ascii_digit() && first != '.' {
        return None;
    }
    if !digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+')) {
        return None;
    }
    let plain = text.strip_prefix('+').unwrap_or(text);
    if let Ok(whole) = plain.parse::<i64>() {
        return Some(whole.into());
    }
    if let Ok(whole) = plain.parse::<u64>() {
        return Some(whole.into());
    }
    plain.parse::<f64>().ok().and_then(Number::from_f64)
}
