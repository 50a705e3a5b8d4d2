//! Where words go and how: format, colour, width, and the one door through which a command prints.

use super::{outlet, text};
use console::Style;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// Version of the NDJSON events: a reader refuses another major number and ignores fields that it does not know.
pub const UI_VERSION: &str = "1.0";

/// Width taken for what is not a terminal: a CI log.
const PIPE_WIDTH: usize = 120;
/// Rows taken for what does not say how many it has.
const ROWS: usize = 24;
/// Narrower than this nothing is laid out: the terminal wraps.
const LEAST_WIDTH: usize = 60;

/// What a command writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
    /// A plan as a comment on GitHub: Markdown. Everything else is as for people.
    Github,
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// If a person sees it.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What the process finds around itself, as far as output depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact of the outside, independent of the others"
)]
pub struct Surroundings {
    /// The stream is a terminal.
    pub terminal: bool,
    /// Its columns, where known.
    pub columns: Option<usize>,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set, not empty and not `0`.
    pub force_color: bool,
    /// `TERM=dumb`.
    pub dumb: bool,
    /// `GITHUB_ACTIONS=true`.
    pub github: bool,
}

impl Surroundings {
    /// Reads the environment, and the terminal behind standard output.
    #[must_use]
    pub fn of_stdout() -> Self {
        Self::read(&console::Term::stdout(), |name| std::env::var(name).ok())
    }

    fn read(term: &console::Term, variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        Self {
            terminal: term.is_term(),
            columns: term.size_checked().map(|(_, columns)| usize::from(columns)),
            no_color: set("NO_COLOR").is_some(),
            force_color: set("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            dumb: set("TERM").is_some_and(|value| value == "dumb"),
            github: set("GITHUB_ACTIONS").is_some_and(|value| value == "true"),
        }
    }
}

/// How a command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// For whom.
    pub format: Format,
    /// Whether colours are used.
    pub color: bool,
    /// Whether lines may be redrawn.
    pub terminal: bool,
    /// Columns.
    pub width: usize,
    /// Whether GitHub reads along.
    pub github: bool,
}

impl Output {
    /// The flag is stronger than the environment, `NO_COLOR` is stronger than `CLICOLOR_FORCE`; JSON has no colour.
    #[must_use]
    pub fn new(format: Format, color: ColorChoice, around: &Surroundings) -> Self {
        let live = around.terminal && !around.dumb;
        let color = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if around.no_color => false,
            ColorChoice::Auto => around.force_color || live,
        };
        Self {
            format,
            color: color && format == Format::Human,
            terminal: live && format == Format::Human,
            width: around.columns.filter(|_| around.terminal).unwrap_or(PIPE_WIDTH).max(LEAST_WIDTH),
            github: around.github,
        }
    }

    /// Plain text for people: what a log file holds.
    #[must_use]
    pub fn plain() -> Self {
        Self::new(Format::Human, ColorChoice::Never, &Surroundings::default())
    }

    pub(super) fn paint(&self) -> Paint {
        Paint { on: self.color }
    }
}

/// Colours, or nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    fn with(self, style: &Style, text: &str) -> String {
        if self.on && !text.is_empty() {
            style.clone().force_styling(true).apply_to(text).to_string()
        } else {
            text.to_owned()
        }
    }

    pub fn red(self, text: &str) -> String {
        self.with(&Style::new().red(), text)
    }

    pub fn alarm(self, text: &str) -> String {
        self.with(&Style::new().red().bold(), text)
    }

    pub fn green(self, text: &str) -> String {
        self.with(&Style::new().green(), text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.with(&Style::new().yellow(), text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.with(&Style::new().cyan(), text)
    }

    pub fn bold(self, text: &str) -> String {
        self.with(&Style::new().bold(), text)
    }

    pub fn dim(self, text: &str) -> String {
        self.with(&Style::new().dim(), text)
    }
}

/// One NDJSON line: `type` first, for the eye, then the value's own fields in the order of their names.
pub(super) fn json_line(kind: &str, value: impl Serialize) -> String {
    let fields = match serde_json::to_value(value).expect("reports hold nothing that JSON cannot") {
        fields @ Value::Object(_) => fields.to_string(),
        other => json!({"value": other}).to_string(),
    };
    let kind = json!(kind);
    let rest = fields
        .strip_prefix('{')
        .filter(|rest| *rest != "}")
        .map_or("}".to_owned(), |rest| format!(",{rest}"));
    format!("{{\"type\":{kind}{rest}\n")
}

/// The one door to a stream. With JSON, the version line goes first, once.
pub struct Printer {
    /// How it is written.
    pub output: Output,
    /// The terminal behind it, to be asked for its size.
    term: Option<console::Term>,
    stream: Mutex<Stream>,
}

struct Stream {
    writer: Box<dyn Write + Send>,
    greeted: bool,
    /// Why something could not be written, the first time.
    lost: Option<std::io::Error>,
}

impl Printer {
    /// A door to any writer.
    #[must_use]
    pub fn new(output: Output, writer: Box<dyn Write + Send>) -> Self {
        Self { output, term: None, stream: Mutex::new(Stream { writer, greeted: false, lost: None }) }
    }

    /// A door to standard output.
    #[must_use]
    pub fn stdout(output: Output) -> Self {
        let term = Some(console::Term::stdout());
        Self { term, ..Self::new(output, Box::new(outlet::To::Out)) }
    }

    /// Rows and columns, as they are now: windows change their size.
    pub(super) fn size(&self) -> (usize, usize) {
        let measured = self.term.as_ref().and_then(console::Term::size_checked);
        measured
            .map_or((ROWS, self.output.width), |(rows, columns)| (usize::from(rows), usize::from(columns)))
    }

    /// Prints a rendered text, with a newline at its end, and flushes. Nothing is printed for an empty text.
    pub fn print(&self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        if text.is_empty() {
            return;
        }
        self.raw(&format!("{text}{end}"));
    }

    /// Writes a document that has a form of its own, whatever form was asked for.
    pub(in crate::cli) fn document(&self, text: &str) {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).write(text);
    }

    /// Why some of the output is lost, when all that can be is written. A reader that went away has lost nothing that it wanted.
    pub(in crate::cli) fn lost(&self) -> Option<std::io::Error> {
        if self.term.is_some() {
            outlet::settle(None);
            return outlet::lost();
        }
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).lost.take()
    }

    /// Writes as it is. A full disk or a reader that went away must not stop a run half-way: see [`Printer::lost`].
    pub(super) fn raw(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let greeting = match self.output.format {
            Format::Json if !stream.greeted => version_line(),
            Format::Json | Format::Human | Format::Github => String::new(),
        };
        stream.greeted = true;
        stream.write(&format!("{greeting}{text}"));
    }
}

impl Stream {
    fn write(&mut self, text: &str) {
        let written = self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush());
        if let Err(error) = written
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            self.lost.get_or_insert(error);
        }
    }
}

impl std::fmt::Debug for Printer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Printer").field("output", &self.output).finish_non_exhaustive()
    }
}

fn version_line() -> String {
    json_line("version", json!({"deployctl": env!("CARGO_PKG_VERSION"), "ui": UI_VERSION}))
}

/// A text for people as a JSON reader gets it: one `message` event.
#[must_use]
pub fn message(text: &str, output: &Output) -> String {
    match output.format {
        Format::Human => format!("{text}\n"),
        Format::Github => format!("<!-- {} -->\n", text::clean(text)),
        Format::Json => json_line("message", json!({"message": text::clean(text)})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_flag_then_environment_then_terminal() {
        use ColorChoice::{Always, Auto, Never};
        let terminal = Surroundings { terminal: true, columns: Some(80), ..Surroundings::default() };
        let no_color = Surroundings { no_color: true, ..terminal.clone() };
        let dumb = Surroundings { dumb: true, ..terminal.clone() };
        let pipe = Surroundings::default();
        let forced = Surroundings { force_color: true, ..Surroundings::default() };
        let both = Surroundings { no_color: true, ..forced.clone() };
        let cases = [
            (Auto, &terminal, true),
            (Auto, &no_color, false),
            (Auto, &dumb, false),
            (Auto, &pipe, false),
            (Auto, &forced, true),
            (Auto, &both, false),
            (Always, &no_color, true),
            (Always, &pipe, true),
            (Never, &terminal, false),
            (Never, &forced, false),
        ];
        for (choice, around, expected) in cases {
            assert_eq!(
                Output::new(Format::Human, choice, around).color,
                expected,
                "{choice:?} in {around:?}"
            );
        }
    }

    #[test]
    fn only_a_real_terminal_is_redrawn_and_measured() {
        let around =
            |terminal, dumb, columns| Surroundings { terminal, columns, dumb, ..Surroundings::default() };
        let cases = [
            (Format::Human, around(true, false, Some(100)), true, 100),
            (Format::Human, around(true, true, Some(100)), false, 100),
            (Format::Human, around(true, false, Some(20)), true, 60),
            (Format::Human, around(false, false, Some(100)), false, 120),
            (Format::Human, around(true, false, None), true, 120),
            (Format::Json, around(true, false, Some(100)), false, 100),
        ];
        for (format, around, live, width) in cases {
            let output = Output::new(format, ColorChoice::Auto, &around);
            assert_eq!((output.terminal, output.width), (live, width), "{format:?} in {around:?}");
        }
    }

    #[test]
    fn variables_count_only_with_the_values_that_their_conventions_name() {
        let read = |pairs: &'static [(&str, &str)]| {
            Surroundings::read(&console::Term::stdout(), move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(!read(&[("NO_COLOR", "")]).no_color);
        assert!(read(&[("NO_COLOR", "0")]).no_color);
        assert!(!read(&[("CLICOLOR_FORCE", "0")]).force_color);
        assert!(read(&[("CLICOLOR_FORCE", "1")]).force_color);
        assert!(read(&[("TERM", "dumb")]).dumb);
        assert!(!read(&[("GITHUB_ACTIONS", "1")]).github);
        assert!(read(&[("GITHUB_ACTIONS", "true")]).github);
    }
}
