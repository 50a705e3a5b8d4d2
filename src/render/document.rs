//! One rendered document: its object, and the way from any field of it back to the template's line.

use super::linemap::Origin;
use crate::config::tree::Node;
use crate::domain::diagnostic::{Diagnostic, Place, SourceFile};
use crate::domain::ids::ComponentId;
use crate::domain::object::ObjectRef;
use serde_json::Value;
use std::sync::Arc;

/// A rendered template file with the origins of its lines.
#[derive(Debug)]
pub struct Output {
    /// The rendered text.
    pub text: Arc<SourceFile>,
    /// The template it came from.
    pub template: Arc<SourceFile>,
    /// Template lines by rendered line.
    pub origins: Vec<Option<(Arc<SourceFile>, usize)>>,
}

/// One document of a rendered file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Whose it is.
    pub component: ComponentId,
    /// The rendered tree.
    pub tree: Node,
    /// The object, as it is applied.
    pub value: Value,
    /// The file it stands in.
    pub output: Arc<Output>,
}

impl Output {
    /// Resolves the origins of lines.
    #[must_use]
    pub fn new(
        text: String,
        template: &Arc<SourceFile>,
        origins: &[Option<Origin>],
        files: &[Arc<SourceFile>],
    ) -> Self {
        let resolve = |origin: &Option<Origin>| {
            origin.and_then(|(file, line)| Some((Arc::clone(files.get(file)?), line)))
        };
        Self {
            text: SourceFile::new(&template.name, text),
            template: Arc::clone(template),
            origins: origins.iter().map(resolve).collect(),
        }
    }

    /// The place in the template that a rendered place came from.
    #[must_use]
    pub fn origin(&self, rendered: &Place) -> Place {
        let (line, _) = rendered.line_column();
        let Some((file, number)) = self.origins.get(line - 1).cloned().flatten() else {
            return Place::line_of(&self.template, line.min(self.template.lines()));
        };
        let whole = Place::line_of(&file, number);
        let template_line = file.line(number);
        if template_line == rendered.file.line(line) {
            let start = file.line_start(number) + (rendered.start - rendered.file.line_start(line));
            return Place::new(&file, start..start + rendered.text().len());
        }
        // The word itself where the template's line holds it once, else the line.
        let word = rendered.text();
        let text = &file.text[whole.start..whole.end];
        let mut found = text.match_indices(word).filter(|_| !word.is_empty());
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Place::new(&file, whole.start + at..whole.start + at + word.len()),
            _ => whole,
        }
    }

    /// A few rendered lines around a place.
    #[must_use]
    pub fn snippet(&self, rendered: &Place) -> String {
        let (line, _) = rendered.line_column();
        let from = line.saturating_sub(1).max(1);
        (from..=line + 1)
            .filter(|number| self.text.line_start(*number) < self.text.text.len())
            .map(|number| format!("{number:>4} | {}", self.text.line(number)))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Document {
    /// The object's name.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::of(&self.value)
    }

    /// `kind`, or empty.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.value.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// `manifests/kva-api/service.yaml:3`.
    #[must_use]
    pub fn origin(&self) -> String {
        let place = self.output.origin(&self.tree.place);
        format!("{}:{}", place.file.name, place.line_column().0)
    }

    /// The template's place of a field.
    #[must_use]
    pub fn place(&self, path: &[&str]) -> Place {
        self.output.origin(&self.rendered_place(path))
    }

    fn rendered_place(&self, path: &[&str]) -> Place {
        let mut place = self.tree.place_of(path);
        if path.is_empty() || self.tree.find(&path[..1]).is_none() {
            place = self.tree.place.clone();
        }
        place
    }

    /// An error about a field, with what was rendered there. Secrets are not shown.
    #[must_use]
    pub fn error(&self, code: u16, path: &[&str], message: impl Into<String>) -> Diagnostic {
        self.error_at(&self.rendered_place(path), code, message)
    }

    /// An error about a key itself, not its value.
    #[must_use]
    pub fn key_error(&self, code: u16, path: &[&str], message: impl Into<String>) -> Diagnostic {
        let (parents, last) = path.split_at(path.len().saturating_sub(1));
        let entry = last.first().and_then(|key| self.tree.find(parents)?.entry(key));
        let place = entry.map_or_else(|| self.rendered_place(path), |entry| entry.key_place.clone());
        self.error_at(&place, code, message)
    }

    fn error_at(&self, rendered: &Place, code: u16, message: impl Into<String>) -> Diagnostic {
        let place = self.output.origin(rendered);
        let diagnostic = Diagnostic::error(code, place, message);
        let verbatim = diagnostic.place.file.line(diagnostic.place.line_column().0).trim()
            == self.output.text.line(rendered.line_column().0).trim();
        if verbatim || self.kind() == "Secret" {
            return diagnostic;
        }
        let snippet = self.output.snippet(rendered);
        diagnostic.rendered(snippet)
    }
}
