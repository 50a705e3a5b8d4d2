//! Finds the templates of components, reads each once, and renders them.

use super::context::context;
use super::decorate::decorate;
use super::document::{Document, Output};
use super::linemap::{self, Origin};
use super::{Rendered, template};
use crate::config::tree::{self, Dialect, Kind, Node};
use crate::config::{codes, read_source};
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Place, SourceFile};
use crate::domain::environment::{Component, Environment, Platform, Target};
use crate::domain::object::Object;
use crate::domain::secret::conceal_manifest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Renders templates of one project; reads and compiles each file once.
pub struct Renderer {
    root: PathBuf,
    engine: minijinja::Environment<'static>,
    globals: Vec<String>,
    files: Vec<Arc<SourceFile>>,
    /// Folder or file as named → the templates in it, or why there are none.
    found: BTreeMap<PathBuf, Found>,
}

/// What a `manifests` entry led to.
#[derive(Clone, Default)]
struct Found {
    templates: Vec<usize>,
    mistakes: Diagnostics,
}

impl Renderer {
    /// Renders templates below that folder.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let engine = template::engine();
        let globals = engine.globals().map(|(name, _)| name.to_owned()).collect();
        Self { root: root.to_owned(), engine, globals, files: Vec::new(), found: BTreeMap::new() }
    }

    /// Renders and checks all objects of a target.
    ///
    /// # Errors
    /// Every mistake at once, sorted by place.
    pub fn render(
        &mut self,
        environment: &Environment,
        target: &Target,
        version: &str,
    ) -> Result<Rendered, Diagnostics> {
        let (documents, mut out) = self.documents(environment, target, version);
        out.extend(super::check::check(environment, &documents));
        let out = out.sorted();
        if out.errors() > 0 {
            return Err(out);
        }
        let objects = documents
            .into_iter()
            .map(|document| {
                let origin = document.origin();
                Object { component: Some(document.component), origin, value: document.value }
            })
            .collect();
        Ok(Rendered { objects, warnings: out })
    }

    /// All documents of a target, as far as they can be rendered, and the mistakes on the way.
    pub fn documents(
        &mut self,
        environment: &Environment,
        target: &Target,
        version: &str,
    ) -> (Vec<Document>, Diagnostics) {
        let mut documents = Vec::new();
        let mut out = Diagnostics::new();
        if environment.platform == Platform::Kubernetes {
            for component in &environment.components {
                let context = context(environment, component, target, version);
                for template in self.templates_of(component, &mut out) {
                    self.render_file(template, &context, environment, component, &mut documents, &mut out);
                }
            }
        }
        (documents, out)
    }

    /// Dotted names that the templates of a component read.
    pub fn reads(&mut self, component: &Component) -> Vec<String> {
        let templates = self.templates_of(component, &mut Diagnostics::new());
        let names = templates.into_iter().filter_map(|index| {
            let template = self.engine.get_template(&self.files[index].name).ok()?;
            Some(template.undeclared_variables(true))
        });
        names.flatten().collect()
    }

    fn templates_of(&mut self, component: &Component, out: &mut Diagnostics) -> Vec<usize> {
        let mut templates = Vec::new();
        for path in &component.manifests {
            if !self.found.contains_key(path) {
                let found = self.find(path, component);
                self.found.insert(path.clone(), found);
            }
            let found = &self.found[path];
            out.extend(found.mistakes.clone());
            templates.extend(&found.templates);
        }
        templates
    }

    fn find(&mut self, path: &Path, component: &Component) -> Found {
        let mut found = Found::default();
        let full = self.root.join(path);
        let mut names: Vec<PathBuf> = Vec::new();
        if full.is_dir() {
            let entries = std::fs::read_dir(&full).into_iter().flatten().flatten();
            names.extend(entries.map(|entry| path.join(entry.file_name())).filter(|path| is_manifest(path)));
            names.sort();
        } else if full.is_file() {
            names.push(path.to_owned());
        }
        if names.is_empty() {
            let shown = path.display().to_string();
            let file = SourceFile::new(&shown, "");
            let message = format!("component `{}` has no manifests in {shown}", component.id);
            let why = if full.is_dir() { "the folder holds no *.yaml file" } else { "it does not exist" };
            found.mistakes.push(
                Diagnostic::error(codes::NO_MANIFESTS, Place::new(&file, 0..0), message).why(why).help(
                    format!(
                        "create it, or name other files: `components.{}.manifests: [PATH]`",
                        component.id
                    ),
                ),
            );
        }
        for name in names {
            match self.add(&name) {
                Ok(index) => {
                    let partial = name.file_name().is_some_and(|f| f.to_string_lossy().starts_with('_'));
                    if !partial {
                        found.templates.push(index);
                    }
                }
                Err(diagnostic) => found.mistakes.push(*diagnostic),
            }
        }
        found
    }

    /// Reads and compiles a file, and its twin with marks.
    fn add(&mut self, path: &Path) -> Result<usize, Box<Diagnostic>> {
        let name = path.to_string_lossy().replace('\\', "/");
        if let Some(index) = self.files.iter().position(|file| file.name == name) {
            return Ok(index);
        }
        let file = read_source(&self.root.join(path), &name)?;
        if let Some(endless) = template::endless_tag(&file) {
            return Err(endless);
        }
        let index = self.files.len();
        let marked = linemap::mark(&file.text, index);
        self.engine
            .add_template_owned(name.clone(), file.text.clone())
            .map_err(|error| Box::new(template::failure(&error, |_| None, &file, &Value::Null)))?;
        // The twin compiles wherever the original does; if not, lines are only guessed.
        let _ = self.engine.add_template_owned(format!("{name}{}", template::MARKED), marked);
        self.files.push(file);
        Ok(index)
    }

    fn render_file(
        &self,
        index: usize,
        context: &Value,
        environment: &Environment,
        component: &Component,
        documents: &mut Vec<Document>,
        out: &mut Diagnostics,
    ) {
        let file = &self.files[index];
        let Ok(template) = self.engine.get_template(&file.name) else { return };
        let before = out.errors();
        template::check_variables(&template, &self.globals, file, context, out);
        if out.errors() > before {
            return;
        }
        let variables = minijinja::Value::from(minijinja::value::Serde(context));
        let text = match template::render(&template, &variables) {
            Ok(text) => text,
            Err(error) => {
                let file_of = |name: &str| self.files.iter().find(|file| file.name == name).cloned();
                out.push(template::failure(&error, file_of, file, context));
                return;
            }
        };
        let origins = self.origins(&file.name, &variables, &text);
        let output = Arc::new(Output::new(text, file, &origins, &self.files));
        let (trees, mistakes) = tree::parse(&output.text, Dialect::Kubernetes);
        for mut mistake in mistakes {
            mistake.rendered = Some(output.snippet(&mistake.place));
            mistake.place = output.origin(&mistake.place);
            mistake.related.clear();
            out.push(mistake);
        }
        for tree in trees.into_iter().flat_map(expand_list) {
            if matches!(tree.kind, Kind::Null) {
                continue;
            }
            let value = tree.to_json();
            let mut document =
                Document { component: component.id.clone(), tree, value, output: Arc::clone(&output) };
            if document.kind() == "Secret" {
                conceal_manifest(&document.value);
            }
            if shape(&document, out) {
                decorate(&mut document.value, environment, &component.id);
                documents.push(document);
            }
        }
    }

    fn origins(&self, name: &str, variables: &minijinja::Value, text: &str) -> Vec<Option<Origin>> {
        let marked = self.engine.get_template(&format!("{name}{}", template::MARKED));
        let rendered = marked.and_then(|marked| template::render(&marked, variables));
        match rendered.map(|rendered| linemap::unmark(&rendered)) {
            Ok((plain, origins)) if plain == text => origins,
            _ => Vec::new(),
        }
    }
}

fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"))
}

/// `kind: List` is only a wrapping.
fn expand_list(mut tree: Node) -> Vec<Node> {
    let is_list = tree.get("kind").is_some_and(|kind| kind.text == "List");
    let Kind::Map(entries) = &mut tree.kind else { return vec![tree] };
    match entries.iter().position(|entry| is_list && entry.key == "items") {
        Some(at) => match entries.swap_remove(at).value.kind {
            Kind::List(items) => items,
            _ => Vec::new(),
        },
        None => vec![tree],
    }
}

/// Whether a document is an object at all.
fn shape(document: &Document, out: &mut Diagnostics) -> bool {
    if !document.value.is_object() {
        let message = format!("expected an object, found {}", document.tree.describe());
        out.push(
            document
                .error(codes::OBJECT_SHAPE, &[], message)
                .help("write `apiVersion`, `kind` and `metadata`"),
        );
        return false;
    }
    let before = out.errors();
    let kind = if document.kind().is_empty() { "object" } else { document.kind() };
    for (path, example) in [
        (&["apiVersion"][..], "apiVersion: v1"),
        (&["kind"], "kind: ConfigMap"),
        (&["metadata", "name"], "name: {{ component }}"),
    ] {
        let text = document.tree.find(path).map(|node| node.text.as_str()).unwrap_or_default();
        let generated = path.len() == 2 && document.tree.find(&["metadata", "generateName"]).is_some();
        if text.is_empty() && !generated {
            let message = format!("the {kind} has no `{}`", path.join("."));
            out.push(document.error(codes::OBJECT_SHAPE, path, message).help(format!("add `{example}`")));
        }
    }
    out.errors() == before
}
