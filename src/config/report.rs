//! Mistakes drawn for a terminal. The plain form, for pipes, logs and tests, is `Display` of the diagnostics.

use crate::domain::diagnostic::{Diagnostic, Diagnostics, Place, Severity};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use std::fmt;

/// Longest line that is drawn; longer ones are shown in the plain form, which clips them.
const LONGEST: usize = 1000;

/// Draws mistakes with their source lines.
#[must_use]
pub fn graphical(diagnostics: &Diagnostics, color: bool, width: usize) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width)
        .with_links(false)
        .with_context_lines(1)
        .with_wrap_lines(true);
    let mut text = String::new();
    for diagnostic in diagnostics {
        // The drawing library cannot point into lines longer than 65,535 columns, and nobody can read them.
        let places =
            std::iter::once(&diagnostic.place).chain(diagnostic.related.iter().map(|(place, _)| place));
        let too_long = |place: &Place| place.line_column().1 + place.text().len() > LONGEST;
        if places.into_iter().any(too_long) {
            text.push_str(&diagnostic.to_string());
            continue;
        }
        let drawing = Drawing::new(diagnostic);
        if handler.render_report(&mut text, &drawing).is_err() {
            // A String takes every write; were it not so, the plain form still says everything.
            text.push_str(&diagnostic.to_string());
        }
        text.push('\n');
    }
    text
}

struct Drawing<'a> {
    diagnostic: &'a Diagnostic,
    code: String,
    help: Option<String>,
    source: NamedSource<String>,
    labels: Vec<LabeledSpan>,
}

impl<'a> Drawing<'a> {
    fn new(diagnostic: &'a Diagnostic) -> Self {
        let place = &diagnostic.place;
        let length = place.text().len();
        let mut labels = vec![LabeledSpan::new_primary_with_span(None, (place.start, length))];
        // One drawing shows one file; places in others are named in the help.
        let mut notes: Vec<String> = diagnostic.help.iter().cloned().collect();
        for (other, note) in &diagnostic.related {
            if other.file.name == place.file.name {
                let length = other.end - other.start;
                labels.push(LabeledSpan::new_with_span(Some(note.clone()), (other.start, length)));
            } else {
                notes.push(format!("{note}: {other}"));
            }
        }
        if let Some(rendered) = &diagnostic.rendered {
            notes.push(format!("rendered as:\n{rendered}"));
        }
        Self {
            diagnostic,
            code: diagnostic.code.to_string(),
            help: (!notes.is_empty()).then(|| notes.join("\n")),
            source: NamedSource::new(&place.file.name, place.file.shown_text()),
            labels,
        }
    }
}

impl fmt::Debug for Drawing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl fmt::Display for Drawing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)?;
        match &self.diagnostic.why {
            Some(why) => write!(f, "\n{why}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Drawing<'_> {}

impl miette::Diagnostic for Drawing<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}
