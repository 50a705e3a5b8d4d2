//! `deployctl validate`: every environment, every target, every object, every mistake at once.

use super::Renderer;
use crate::config::tree::{Kind, Node};
use crate::config::{self, Overrides, Reader, codes};
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::domain::environment::Environment;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// Stands for the version where an environment names none.
const ANY_VERSION: &str = "0.0.0";

/// What was checked, and what was found.
#[derive(Clone, Debug, Default)]
pub struct Validation {
    /// Environments that can be deployed.
    pub environments: usize,
    /// Files that are only extended.
    pub bases: usize,
    /// Objects of all targets together.
    pub objects: usize,
    /// The mistakes, sorted by place.
    pub diagnostics: Diagnostics,
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let bases =
            if self.bases == 0 { String::new() } else { format!(" on {}", count(self.bases, "base")) };
        write!(
            f,
            "{}{bases}, {}, {}, {}",
            count(self.environments, "environment"),
            count(self.objects, "object"),
            count(self.diagnostics.errors(), "error"),
            count(self.diagnostics.warnings(), "warning"),
        )
    }
}

/// Checks one environment, or all of a project.
#[must_use]
pub fn validate(root: &Path, only: Option<&str>) -> Validation {
    let mut reader = Reader::new(root);
    let mut renderer = Renderer::new(root);
    let names = only.map_or_else(|| reader.names(), |name| vec![name.to_owned()]);
    let mut found = Validation::default();
    let mut usage = Usage::default();
    if names.is_empty() {
        let attempt = config::attempt(&mut reader, root, "production", &Overrides::default());
        found.diagnostics.extend(attempt.diagnostics);
    }
    let mut trees = Vec::new();
    for name in &names {
        let attempt = config::attempt(&mut reader, root, name, &Overrides::default());
        let base = attempt.tree.as_ref().is_some_and(config::is_base);
        if base && only.is_none() {
            // A base has no targets to deploy to, and need not: its mistakes are told, its gaps are not.
            found.bases += 1;
            let gaps = [codes::BASE_ONLY, codes::MISSING];
            let mistakes = attempt.diagnostics.into_iter().filter(|d| !gaps.contains(&d.code.0));
            found.diagnostics.extend(mistakes);
            continue;
        }
        found.diagnostics.extend(attempt.diagnostics);
        found.environments += 1;
        let Some(environment) = attempt.environment else { continue };
        found.objects += render_all(&mut renderer, &environment, &mut found.diagnostics);
        usage.reads(&mut renderer, &environment);
        trees.extend(attempt.tree.map(|tree| (name.clone(), tree)));
    }
    if found.diagnostics.errors() == 0 {
        let own = only.map(|name| format!("environments/{name}.yaml"));
        found.diagnostics.extend(usage.unused(&trees, own.as_deref()));
    }
    found.diagnostics = found.diagnostics.sorted();
    found
}

fn render_all(renderer: &mut Renderer, environment: &Environment, out: &mut Diagnostics) -> usize {
    let version = environment.version.as_deref().unwrap_or(ANY_VERSION);
    let mut objects = 0;
    for target in &environment.targets {
        match renderer.render(environment, target, version) {
            Ok(done) => {
                objects += done.objects.len();
                out.extend(done.warnings);
            }
            // Missing manifests were reported where the environment names them.
            Err(mistakes) => out.extend(mistakes.into_iter().filter(|d| d.code.0 != codes::NO_MANIFESTS)),
        }
    }
    objects
}

/// Which values the templates read.
#[derive(Default)]
struct Usage {
    read: BTreeSet<String>,
}

impl Usage {
    fn reads(&mut self, renderer: &mut Renderer, environment: &Environment) {
        if environment.platform == crate::domain::environment::Platform::Kubernetes {
            for component in &environment.components {
                self.read.extend(renderer.reads(component));
            }
        }
    }

    /// Values that nothing reads, of all files or of one.
    fn unused(&self, trees: &[(String, Node)], only: Option<&str>) -> Vec<Diagnostic> {
        let mut found: BTreeMap<(String, usize), Diagnostic> = BTreeMap::new();
        for (_, tree) in trees {
            let parts = |key: &str| tree.get(key).map(Node::entries).unwrap_or_default();
            let nested = parts("components").iter().chain(parts("targets"));
            let layers = tree.get("values").into_iter().chain(nested.filter_map(|e| e.value.get("values")));
            for values in layers {
                self.unused_below(values, "values", only, &mut found);
            }
        }
        found.into_values().collect()
    }

    fn unused_below(
        &self,
        node: &Node,
        path: &str,
        only: Option<&str>,
        found: &mut BTreeMap<(String, usize), Diagnostic>,
    ) {
        for entry in node.entries() {
            let path = format!("{path}.{}", entry.key);
            let below = format!("{path}.");
            // Whoever reads a parent reads all of it.
            let whole = self.read.iter().any(|read| path == *read || path.starts_with(&format!("{read}.")));
            let part = self.read.iter().any(|read| read.starts_with(&below));
            if whole {
                continue;
            }
            if part && matches!(entry.value.kind, Kind::Map(_)) {
                self.unused_below(&entry.value, &path, only, found);
                continue;
            }
            let place: Place = entry.key_place.clone();
            if only.is_some_and(|only| place.file.name != only) {
                continue;
            }
            let diagnostic =
                Diagnostic::warning(codes::UNUSED_VALUE, place.clone(), format!("`{path}` is never used"))
                    .why("no template reads it; it may be misspelt, or left over");
            let known: Vec<&str> = self.read.iter().map(String::as_str).collect();
            let near =
                crate::domain::diagnostic::nearest(&path, known.iter().copied().filter(|r| *r != path));
            let diagnostic = match near {
                Some(near) => diagnostic.help(format!("remove it, or write `{near}` if that was meant")),
                None => diagnostic.help("remove it"),
            };
            found.insert((place.file.name.clone(), place.start), diagnostic);
        }
    }
}
