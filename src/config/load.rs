//! One environment from its files, with every mistake in them.

use crate::config::convert::convert;
use crate::config::layers::{Layered, Reader, set_override};
use crate::config::model::EnvironmentFile;
use crate::config::tree::Node;
use crate::config::values::merge_values;
use crate::config::walk::suggestion;
use crate::config::{codes, walk};
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Place, SourceFile};
use crate::domain::environment::Environment;
use crate::domain::ids::ComponentId;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// What the command line sets above the files.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--version`.
    pub version: Option<String>,
    /// `--image COMPONENT=REFERENCE`.
    pub images: Vec<(String, String)>,
    /// `--set path.to.value=VALUE`: template values above all layers.
    pub set: Vec<String>,
    /// For commands that work from records and render nothing: files that the environment names need not be here.
    pub records_only: bool,
}

/// An environment and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The environment.
    pub environment: Environment,
    /// What is probably not meant.
    pub warnings: Diagnostics,
    /// The files it was read from, the one named first.
    pub sources: Vec<Arc<SourceFile>>,
}

/// An environment as far as it could be read.
pub struct Attempt {
    /// The environment, if there is enough of it to go on with.
    pub environment: Option<Environment>,
    /// All layers in one tree, if the files are YAML.
    pub tree: Option<Node>,
    /// The files, the one named first.
    pub sources: Vec<Arc<SourceFile>>,
    /// Every mistake, unsorted.
    pub diagnostics: Diagnostics,
}

/// Reads `environments/NAME.yaml` below a folder, with what it extends and what the command line sets.
///
/// # Errors
/// Every mistake at once, sorted by place.
pub fn load(root: &Path, name: &str, overrides: &Overrides) -> Result<Loaded, Diagnostics> {
    let attempt = attempt(&mut Reader::new(root), root, name, overrides);
    let absent = |code| overrides.records_only && matches!(code, codes::NO_MANIFESTS | codes::NOT_FOUND);
    let mut diagnostics = Diagnostics::new();
    diagnostics.extend(attempt.diagnostics.sorted().into_iter().filter(|mistake| !absent(mistake.code.0)));
    match attempt.environment {
        Some(environment) if diagnostics.errors() == 0 => {
            Ok(Loaded { environment, warnings: diagnostics, sources: attempt.sources })
        }
        _ => Err(diagnostics),
    }
}

/// Reads an environment as far as it goes.
pub fn attempt(reader: &mut Reader, root: &Path, name: &str, overrides: &Overrides) -> Attempt {
    let mut out = Diagnostics::new();
    let layered = reader.layered(name, &mut out);
    let Some(Layered { files, tree }) = layered else {
        return Attempt { environment: None, tree: None, sources: Vec::new(), diagnostics: out };
    };
    let (value, mistakes) = walk::check(&tree);
    out.extend(mistakes);
    let base = is_base(&tree);
    let environment = match serde_json::from_value::<EnvironmentFile>(value) {
        Ok(_) if base => {
            out.push(base_only(name, &files));
            None
        }
        Ok(file) => convert(name, root, &tree, &file, &mut out),
        Err(error) => {
            // The schema and the types are one definition: a disagreement is still better told than hidden.
            let place = Place::line_of(&files[0], 1);
            out.push(Diagnostic::error(
                codes::WRONG_TYPE,
                place,
                format!("the file cannot be read: {error}"),
            ));
            None
        }
    };
    let mut attempt = Attempt { environment, tree: Some(tree), sources: files, diagnostics: out };
    apply(&mut attempt, overrides);
    attempt
}

/// A file that others extend: it has neither targets nor a platform, nor says what to deploy where.
#[must_use]
pub fn is_base(tree: &Node) -> bool {
    tree.get("targets").is_none() && tree.get("platform").is_none()
}

fn base_only(name: &str, files: &[Arc<SourceFile>]) -> Diagnostic {
    let place = Place::line_of(&files[0], 1);
    Diagnostic::error(codes::BASE_ONLY, place, format!("`{name}` names no targets"))
        .why("it can only be extended: there is no cluster that a release could go to")
        .help(
            "add `targets: {NAME: {cluster: {context: CONTEXT}}}`, or deploy an environment that extends it",
        )
}

fn apply(attempt: &mut Attempt, overrides: &Overrides) {
    let Some(environment) = &mut attempt.environment else { return };
    if let Some(version) = &overrides.version {
        environment.version = Some(version.clone());
    }
    let known: Vec<String> = environment.components.iter().map(|c| c.id.to_string()).collect();
    for (component, image) in &overrides.images {
        let id = ComponentId::new(component);
        if let Some(found) = environment.components.iter_mut().find(|c| c.id == id) {
            found.image.clone_from(image);
        } else {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let text = format!("{component}={image}");
            let place = Place::new(&SourceFile::new("--image", text), 0..component.len());
            let message = format!("there is no component `{component}`");
            attempt.diagnostics.push(
                Diagnostic::error(codes::UNKNOWN_COMPONENT, place, message)
                    .help(suggestion(component, &known)),
            );
        }
    }
    let mut set = Value::Object(Map::new());
    for text in &overrides.set {
        if let Some(node) = set_override(text, &mut attempt.diagnostics) {
            merge_values(&mut set, &node.to_json());
        }
    }
    // The target's layer is the last one, so the command line goes there to win over all.
    for target in &mut environment.targets {
        merge_values(&mut target.values, &set);
    }
}
