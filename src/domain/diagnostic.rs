//! A mistake in something that people write: where it stands, why it is one, and what to write instead.
//!
//! Values only. Drawing for terminals lives above; the plain form here is stable and compared byte for byte.

use crate::domain::error::Code;
use serde_json::{Value, json};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A text that people wrote, kept for quoting its lines.
#[derive(Debug, Default)]
pub struct SourceFile {
    /// Path as shown in messages, relative to the project.
    pub name: String,
    /// The whole text.
    pub text: String,
    /// Byte ranges that may hold secrets: never quoted.
    masks: OnceLock<Vec<Range<usize>>>,
    /// Where each line starts, found out once: a thousand objects ask for their places.
    starts: OnceLock<Vec<usize>>,
}

impl SourceFile {
    /// Keeps a text under its name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        let (name, text) = (name.into(), text.into());
        Arc::new(Self { name, text, masks: OnceLock::new(), starts: OnceLock::new() })
    }

    fn starts(&self) -> &[usize] {
        self.starts.get_or_init(|| {
            std::iter::once(0).chain(self.text.match_indices('\n').map(|(at, _)| at + 1)).collect()
        })
    }

    /// How many lines the text has; an empty one has one.
    #[must_use]
    pub fn lines(&self) -> usize {
        let last_is_empty = self.text.ends_with('\n');
        (self.starts().len() - usize::from(last_is_empty)).max(1)
    }

    /// Names the byte ranges that may hold secrets; only the first call counts.
    pub fn mask(&self, ranges: Vec<Range<usize>>) {
        // A second parse of the same text finds the same ranges.
        let _ = self.masks.set(ranges);
    }

    /// Line and column (both from 1, columns in characters) of a byte offset.
    #[must_use]
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let offset = self.floor(offset);
        let line = self.starts().partition_point(|start| *start <= offset);
        (line, self.text[self.starts()[line - 1]..offset].chars().count() + 1)
    }

    /// The text of a line (from 1) as it may be shown: secrets replaced.
    #[must_use]
    pub fn line(&self, number: usize) -> String {
        let start = self.line_start(number);
        let end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        self.shown(start..end).trim_end_matches('\r').replace('\t', " ")
    }

    /// Byte offset at which a line (from 1) starts.
    #[must_use]
    pub fn line_start(&self, number: usize) -> usize {
        self.starts().get(number.saturating_sub(1)).copied().unwrap_or(self.text.len())
    }

    /// The whole text with every byte of a secret replaced, so that byte offsets stay true.
    #[must_use]
    pub fn shown_text(&self) -> String {
        self.text
            .char_indices()
            .map(|(at, c)| if c != '\n' && self.hides(at) { "*".repeat(c.len_utf8()) } else { c.to_string() })
            .collect()
    }

    fn hides(&self, at: usize) -> bool {
        self.masks.get().is_some_and(|masks| masks.iter().any(|mask| mask.contains(&at)))
    }

    fn shown(&self, range: Range<usize>) -> String {
        self.text[range.clone()]
            .char_indices()
            .map(|(at, c)| if c != '\n' && self.hides(range.start + at) { '*' } else { c })
            .collect()
    }

    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// A range of a source text.
#[derive(Clone, Debug)]
pub struct Place {
    /// The text.
    pub file: Arc<SourceFile>,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

impl Place {
    /// A range of a file.
    #[must_use]
    pub fn new(file: &Arc<SourceFile>, range: Range<usize>) -> Self {
        let start = file.floor(range.start);
        Self { file: Arc::clone(file), start, end: file.floor(range.end).max(start) }
    }

    /// A whole line (from 1) of a file, without its indentation.
    #[must_use]
    pub fn line_of(file: &Arc<SourceFile>, number: usize) -> Self {
        let start = file.line_start(number);
        let text = file.text[start..].lines().next().unwrap_or_default();
        let indent = text.len() - text.trim_start().len();
        Self::new(file, start + indent..start + text.trim_end().len().max(indent))
    }

    /// The text at the place, as far as it goes on its first line. It may hold a secret.
    #[must_use]
    pub fn text(&self) -> &str {
        self.file.text[self.start..self.end].lines().next().unwrap_or_default()
    }

    /// Line and column, both from 1.
    #[must_use]
    pub fn line_column(&self) -> (usize, usize) {
        self.file.line_column(self.start)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_column();
        write!(f, "{}:{line}:{column}", self.file.name)
    }
}

/// How bad a mistake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing may be deployed.
    Error,
    /// Probably not meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Stable code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, one line.
    pub message: String,
    /// Where.
    pub place: Place,
    /// Why it is wrong.
    pub why: Option<String>,
    /// What to write instead.
    pub help: Option<String>,
    /// Other places that matter, each with its part in this.
    pub related: Vec<(Place, String)>,
    /// What a template became at this place.
    pub rendered: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: u16, place: Place, message: impl Into<String>) -> Self {
        Self {
            code: Code(code),
            severity: Severity::Error,
            message: message.into(),
            place,
            why: None,
            help: None,
            related: Vec::new(),
            rendered: None,
        }
    }

    /// A warning at a place.
    pub fn warning(code: u16, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, place, message) }
    }

    /// Says why.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Says what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Points at another place too.
    #[must_use]
    pub fn related(mut self, place: Place, note: impl Into<String>) -> Self {
        self.related.push((place, note.into()));
        self
    }

    /// Shows what the template became.
    #[must_use]
    pub fn rendered(mut self, snippet: impl Into<String>) -> Self {
        self.rendered = Some(snippet.into());
        self
    }

    fn key(&self) -> (String, usize, u16, String) {
        (self.place.file.name.clone(), self.place.start, self.code.0, self.message.clone())
    }

    fn to_json(&self) -> Value {
        let (line, column) = self.place.line_column();
        json!({
            "file": self.place.file.name,
            "line": line,
            "column": column,
            "severity": self.severity.word(),
            "code": self.code.to_string(),
            "message": self.message,
            "why": self.why,
            "help": self.help,
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}[{}]: {}", self.severity.word(), self.code, self.message)?;
        let related = self.related.iter().map(|(place, note)| (place, note.as_str()));
        let places: Vec<(&Place, &str)> = std::iter::once((&self.place, "")).chain(related).collect();
        let last = places.iter().map(|(place, _)| place.line_column().0).max().unwrap_or_default();
        let gutter = last.to_string().len();
        for (index, (place, note)) in places.into_iter().enumerate() {
            write_snippet(f, place, note, if index == 0 { "-->" } else { ":::" }, gutter)?;
        }
        if let Some(why) = &self.why {
            writeln!(f, "  = why: {why}")?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "  = help: {help}")?;
        }
        if let Some(rendered) = &self.rendered {
            writeln!(f, "  = rendered as:")?;
            for line in rendered.lines() {
                writeln!(f, "      {line}")?;
            }
        }
        Ok(())
    }
}

fn write_snippet(
    f: &mut fmt::Formatter<'_>,
    place: &Place,
    note: &str,
    arrow: &str,
    gutter: usize,
) -> fmt::Result {
    let (line, column) = place.line_column();
    let text = place.file.line(line);
    let (shown, caret_at) = clipped(&text, column);
    writeln!(f, "{:gutter$} {arrow} {place}", "")?;
    writeln!(f, "{:gutter$} |", "")?;
    writeln!(f, "{}", format!("{line:gutter$} | {shown}").trim_end())?;
    let here = place.text().chars().count();
    let room = shown.chars().count().saturating_sub(caret_at);
    let carets = "^".repeat(here.min(room).max(1));
    let note = if note.is_empty() { String::new() } else { format!(" {note}") };
    writeln!(f, "{:gutter$} | {:caret_at$}{carets}{note}", "", "")
}

/// Long lines are shown around the place only: a line of 100 kB helps nobody.
fn clipped(text: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 160;
    let length = text.chars().count();
    if length <= WIDTH {
        return (text.to_owned(), column - 1);
    }
    let from = (column - 1).saturating_sub(WIDTH / 2).min(length - WIDTH);
    let shown: String = text.chars().skip(from).take(WIDTH).collect();
    (shown, column - 1 - from)
}

/// Most mistakes that are shown: whoever has more has one cause, and it stands among them.
const MOST: usize = 500;

/// All mistakes that were found.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Adds many.
    pub fn extend(&mut self, others: impl IntoIterator<Item = Diagnostic>) {
        self.list.extend(others);
    }

    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// How many are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// How many are warnings.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.len() - self.errors()
    }

    /// Sorts by place and drops what was found twice (a base file is read by every environment).
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.list.sort_by_cached_key(Diagnostic::key);
        self.list.dedup_by(|a, b| a.key() == b.key());
        if let Some(first_left_out) = self.list.get(MOST) {
            let more = self.list.len() - MOST;
            let mut note = first_left_out.clone();
            note.message = format!("{} (and {more} more mistakes, not shown)", note.message);
            self.list.truncate(MOST);
            self.list.push(note);
        }
        self
    }

    /// The JSON form: one object per mistake, for editors and CI.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Array(self.list.iter().map(Diagnostic::to_json).collect())
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        Self { list: vec![one] }
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

/// The known word nearest to a wrong one, if one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = wrong.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|word| {
            let other = word.to_lowercase().replace('-', "_");
            let score = if other == folded { 1.0 } else { strsim::jaro_winkler(&folded, &other) };
            // Jaro-Winkler alone calls `cpu` and `cluster` cousins; edits must be few as well.
            let edits = strsim::osa_distance(&folded, &other);
            (word, if edits <= 1 + folded.chars().count() / 3 { score } else { 0.0 })
        })
        .filter(|(_, score)| *score >= 0.75)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(word, _)| word)
}
