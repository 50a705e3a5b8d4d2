//! Finds environment files, follows `extends`, and lays one over the other. Every node keeps its place, so a
//! message about a layered value names the file that set it.

use crate::config::tree::{self, Dialect, Entry, Kind, Node};
use crate::config::{codes, secrets, walk};
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Place, SourceFile, nearest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest chain of `extends`.
const MAX_LAYERS: usize = 16;

/// Reads files once, however many environments extend them.
pub struct Reader {
    root: PathBuf,
    files: BTreeMap<String, Layer>,
}

/// One file as read.
#[derive(Clone)]
pub struct Layer {
    /// Its text.
    pub file: Arc<SourceFile>,
    tree: Option<Node>,
    diagnostics: Diagnostics,
}

/// An environment with everything that it extends.
pub struct Layered {
    /// The file named, then what it extends, nearest first.
    pub files: Vec<Arc<SourceFile>>,
    /// All layers in one.
    pub tree: Node,
}

impl Reader {
    /// Reads environments of the project in that folder.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), files: BTreeMap::new() }
    }

    /// Names of all files in `environments/`, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(self.root.join("environments")) else { return Vec::new() };
        let mut names: Vec<String> = folder
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    /// Reads an environment and all that it extends.
    pub fn layered(&mut self, name: &str, out: &mut Diagnostics) -> Option<Layered> {
        let mut chain: Vec<(String, Layer)> = Vec::new();
        let mut next = Some((name.to_owned(), None));
        while let Some((name, asked_at)) = next.take() {
            if let Some(at) = Self::circle(&chain, &name, asked_at.as_ref()) {
                out.push(at);
                break;
            }
            let layer = match self.layer(&name, asked_at.as_ref()) {
                Ok(layer) => layer,
                Err(diagnostic) => {
                    out.push(*diagnostic);
                    break;
                }
            };
            out.extend(layer.diagnostics.clone());
            next = layer.tree.as_ref().and_then(|tree| tree.get("extends")).and_then(|node| {
                matches!(node.kind, Kind::Text).then(|| (node.text.clone(), Some(node.place.clone())))
            });
            chain.push((name, layer));
        }
        let files: Vec<_> = chain.iter().map(|(_, layer)| Arc::clone(&layer.file)).collect();
        let first = files.first()?;
        let mut tree = empty(first);
        for (_, layer) in chain.iter().rev() {
            let over = layer.tree.clone()?;
            tree = merge(tree, over, &mut Vec::new(), out);
        }
        // A message about the whole environment belongs to the file that was asked for.
        tree.place = Place::line_of(first, 1);
        if let Kind::Map(entries) = &mut tree.kind {
            entries.retain(|entry| entry.key != "extends");
        }
        Some(Layered { files, tree })
    }

    fn circle(chain: &[(String, Layer)], name: &str, at: Option<&Place>) -> Option<Diagnostic> {
        let known = chain.iter().any(|(known, _)| known == name);
        if !known && chain.len() < MAX_LAYERS {
            return None;
        }
        let circle = chain.iter().map(|(known, _)| known.as_str()).chain([name]).collect::<Vec<_>>();
        let message = format!("`extends` goes in a circle: {}", circle.join(" → "));
        Some(
            Diagnostic::error(codes::EXTENDS_CYCLE, at?.clone(), message)
                .why("no file could be read first")
                .help("put what they share in a third file that extends neither"),
        )
    }

    fn layer(&mut self, name: &str, asked_at: Option<&Place>) -> Result<Layer, Box<Diagnostic>> {
        if let Some(layer) = self.files.get(name) {
            return Ok(layer.clone());
        }
        let shown = format!("environments/{name}.yaml");
        let plain = !name.is_empty() && !name.contains(['/', '\\', '\0']) && !name.starts_with('.');
        let path = self.root.join(&shown);
        if !plain || !path.is_file() {
            return Err(Box::new(self.not_there(name, asked_at)));
        }
        let layer = read_layer(&path, &shown)?;
        self.files.insert(name.to_owned(), layer.clone());
        Ok(layer)
    }

    fn not_there(&self, name: &str, asked_at: Option<&Place>) -> Diagnostic {
        let names = self.names();
        let known = names.iter().map(String::as_str);
        let help = match nearest(name, known) {
            Some(near) => format!("write `{near}`; there are: {}", names.join(", ")),
            None if names.is_empty() => {
                "create `environments/NAME.yaml`; `deployctl schema` prints all that it may hold".to_owned()
            }
            None => format!("there are: {}", names.join(", ")),
        };
        if let Some(at) = asked_at {
            let message = format!("`extends: {name}`: there is no environments/{name}.yaml");
            Diagnostic::error(codes::NOT_FOUND, at.clone(), message).help(help)
        } else {
            let file = SourceFile::new("command line", name);
            let place = Place::new(&file, 0..name.len());
            let message = format!("there is no environment `{name}`");
            Diagnostic::error(codes::UNKNOWN_ENVIRONMENT, place, message)
                .why(format!(
                    "{} does not exist",
                    self.root.join(format!("environments/{name}.yaml")).display()
                ))
                .help(help)
        }
    }
}

/// Reads a text file for quoting.
pub fn read_source(path: &Path, shown: &str) -> Result<Arc<SourceFile>, Box<Diagnostic>> {
    let bytes = std::fs::read(path).map_err(|error| {
        let file = SourceFile::new(shown, "");
        let message = format!("{shown} cannot be read: {error}");
        Box::new(Diagnostic::error(codes::NOT_FOUND, Place::new(&file, 0..0), message))
    })?;
    String::from_utf8(bytes).map(|text| SourceFile::new(shown, text)).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let valid = String::from_utf8_lossy(&error.as_bytes()[..at]).into_owned();
        let file = SourceFile::new(shown, valid);
        secrets::mask(&file, None);
        let message = format!("{shown} is not UTF-8 text: byte {at} cannot be read");
        Box::new(
            Diagnostic::error(codes::NOT_FOUND, Place::new(&file, at..at), message)
                .help("save the file as UTF-8"),
        )
    })
}

fn read_layer(path: &Path, shown: &str) -> Result<Layer, Box<Diagnostic>> {
    let file = read_source(path, shown)?;
    let (tree, mut diagnostics) = tree::parse_mapping(&file);
    let broken = diagnostics.iter().any(|d| d.code.0 == codes::SYNTAX || d.code.0 == codes::TOO_LARGE);
    // A half-read tree would bring follow-up mistakes that are none.
    let tree = tree.filter(|_| !broken);
    secrets::mask(&file, tree.as_ref());
    if let Some(tree) = &tree {
        diagnostics.extend(walk::check(tree).1);
        secrets::check_elsewhere(tree, &mut diagnostics);
    }
    Ok(Layer { file, tree, diagnostics })
}

fn empty(file: &Arc<SourceFile>) -> Node {
    Node { kind: Kind::Map(Vec::new()), text: String::new(), place: Place::line_of(file, 1) }
}

/// Lays one mapping over another: mappings are merged, all else is replaced, `null` deletes.
fn merge(base: Node, over: Node, path: &mut Vec<String>, out: &mut Diagnostics) -> Node {
    let Node { kind: Kind::Map(mut entries), text, .. } = base else { return strip_nulls(over) };
    let Kind::Map(overs) = over.kind else { return over };
    for entry in overs {
        let at = entries.iter().position(|known| known.key == entry.key);
        if matches!(entry.value.kind, Kind::Null) {
            match at {
                Some(at) => {
                    entries.remove(at);
                }
                None if path.is_empty() && entry.key == "extends" => {}
                None if path.first().is_some_and(|top| top == "values") || !deletes(&entry) => {
                    entries.push(entry);
                }
                None => out.push(nothing_to_delete(&entry)),
            }
            continue;
        }
        let Some(at) = at else {
            entries.push(strip_entry(entry));
            continue;
        };
        path.push(entry.key.clone());
        let known = &mut entries[at];
        let old = std::mem::replace(&mut known.value, empty(&entry.key_place.file));
        let both_maps = matches!((&old.kind, &entry.value.kind), (Kind::Map(_), Kind::Map(_)));
        known.value = if both_maps && !is_other_choice(&entry.key, &old, &entry.value) {
            merge(old, entry.value, path, out)
        } else {
            strip_nulls(entry.value)
        };
        known.key_place = entry.key_place;
        path.pop();
    }
    Node { kind: Kind::Map(entries), text, place: over.place }
}

/// Only a written `null` deletes; a key with nothing behind it is an empty value.
fn deletes(entry: &Entry) -> bool {
    !entry.value.text.is_empty()
}

/// `strategy: {canary: …}` laid over `strategy: {blue_green: …}` is a choice of its own, not both.
fn is_other_choice(key: &str, old: &Node, new: &Node) -> bool {
    matches!(key, "strategy" | "platform")
        && !old.entries().iter().any(|known| new.entries().iter().any(|entry| entry.key == known.key))
}

/// What is new brings no nulls with it: there was nothing to delete, and nothing is set.
fn strip_nulls(mut node: Node) -> Node {
    if let Kind::Map(entries) = node.kind {
        let kept = entries
            .into_iter()
            .filter(|entry| !(matches!(entry.value.kind, Kind::Null) && deletes(entry)))
            .map(strip_entry)
            .collect();
        node.kind = Kind::Map(kept);
    }
    node
}

/// Template values may well be null; everywhere else it means "not set".
fn strip_entry(entry: Entry) -> Entry {
    if entry.key == "values" { entry } else { Entry { value: strip_nulls(entry.value), ..entry } }
}

fn nothing_to_delete(entry: &Entry) -> Diagnostic {
    let message = format!("`{}: null` deletes nothing", entry.key);
    Diagnostic::warning(codes::NOTHING_TO_DELETE, entry.key_place.clone(), message)
        .why("no file that this one extends sets the key")
        .help("remove the line")
}

/// Reads one `--set path.to.value=VALUE` into the tree of a mapping.
pub fn set_override(text: &str, out: &mut Diagnostics) -> Option<Node> {
    let file = SourceFile::new("--set", text);
    let whole = Place::new(&file, 0..text.len());
    let parts = text.split_once('=').map(|(path, value)| (path.split('.').collect::<Vec<_>>(), value));
    let Some((path, value)) = parts.filter(|(path, _)| path.iter().all(|step| !step.is_empty())) else {
        out.push(
            Diagnostic::error(
                codes::BAD_OVERRIDE,
                whole,
                format!("`--set {text}` is not `path.to.value=VALUE`"),
            )
            .help("write e.g. `--set kva.log_level=debug`"),
        );
        return None;
    };
    let source = SourceFile::new("--set", value);
    let (mut documents, mistakes) = tree::parse(&source, Dialect::Core);
    if !mistakes.is_empty() || documents.len() > 1 {
        out.extend(mistakes);
        return None;
    }
    let mut node = documents.pop().unwrap_or_else(|| Node {
        kind: Kind::Text,
        text: String::new(),
        place: whole.clone(),
    });
    for step in path.iter().rev() {
        let entry = Entry { key: (*step).to_owned(), key_place: whole.clone(), value: node };
        node = Node { kind: Kind::Map(vec![entry]), text: String::new(), place: whole.clone() };
    }
    Some(node)
}
