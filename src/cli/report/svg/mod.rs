//! A terminal's content as an SVG of its own: no scripts, no fonts from elsewhere, nothing that is fetched.

mod cells;
mod recorder;

pub use recorder::Recorder;

use cells::{Row, rows, spans};
use std::fmt::Write as _;

/// Columns of a picture; longer lines are continued in the next row.
const COLUMNS: usize = 110;
/// Size of one cell in pixels.
const CELL: (f64, f64) = (7.8, 18.0);
/// Space around the text, and height of the title bar.
const PADDING: f64 = 14.0;
const BAR: f64 = 34.0;

/// One picture of a terminal that shows this text, ANSI colours included.
#[must_use]
pub fn from_ansi(title: &str, text: &str) -> String {
    let rows = rows(text, COLUMNS);
    let mut page = Page::new(rows.len());
    let body: String = rows.iter().enumerate().map(|(index, row)| page.line(row, index)).collect();
    page.document(title, "", &body)
}

/// A picture in the making: its size, and the lines that were drawn, each once.
struct Page {
    rows: usize,
    lines: Vec<Row>,
    definitions: String,
}

impl Page {
    fn new(rows: usize) -> Self {
        Self { rows, lines: Vec::new(), definitions: String::new() }
    }

    fn width() -> f64 {
        COLUMNS as f64 * CELL.0
    }

    fn height(&self) -> f64 {
        self.rows as f64 * CELL.1
    }

    /// A reference to a line at a row; the line itself is defined at its first use.
    fn line(&mut self, row: &Row, index: usize) -> String {
        if row.is_empty() {
            return String::new();
        }
        let number = self.lines.iter().position(|known| known == row).unwrap_or_else(|| {
            let number = self.lines.len();
            self.definitions.push_str(&definition(number, row));
            self.lines.push(row.clone());
            number
        });
        let y = (index as f64 + 0.75) * CELL.1;
        format!("<use href=\"#l{number}\" y=\"{y:.1}\"/>")
    }

    fn document(&self, title: &str, style: &str, body: &str) -> String {
        let (width, height) = (Self::width() + 2.0 * PADDING, self.height() + BAR + 2.0 * PADDING);
        let title = escape(title);
        let center = width / 2.0;
        let dot = |x: u32, color: &str| format!("<circle cx=\"{x}\" cy=\"17\" r=\"6\" fill=\"{color}\"/>");
        let dots = [dot(20, "#ff5f56"), dot(40, "#ffbd2e"), dot(60, "#27c93f")].concat();
        let (inner_width, inner_height) = (Self::width(), self.height());
        let top = BAR + PADDING;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
             <title>{title}</title>\n\
             <style>text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,\"DejaVu Sans Mono\",monospace;fill:#c9d1d9;white-space:pre}}\
             .b{{font-weight:700}}.d{{opacity:.6}}{}{style}</style>\n\
             <defs>{}</defs>\n\
             <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#0d1117\"/>{dots}\
             <text x=\"{center}\" y=\"21\" text-anchor=\"middle\" class=\"d\">{title}</text>\n\
             <svg x=\"{PADDING}\" y=\"{top}\" width=\"{inner_width}\" height=\"{inner_height}\">{body}</svg>\n</svg>\n",
            cells::palette(),
            self.definitions,
        )
    }
}

/// A line: each run of equal style at its own column, stretched to its cells, so that any font keeps the columns.
fn definition(number: usize, row: &Row) -> String {
    let mut text = format!("<g id=\"l{number}\">");
    for span in spans(row) {
        let x = span.column as f64 * CELL.0;
        let length = span.text.chars().count() as f64 * CELL.0;
        let class = if span.class.is_empty() { String::new() } else { format!(" class=\"{}\"", span.class) };
        let content = escape(&span.text);
        write!(
            text,
            "<text x=\"{x:.1}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\"{class}>{content}</text>"
        )
        .expect("writing to a string cannot fail");
    }
    text.push_str("</g>\n");
    text
}

/// Text inside an element or an attribute. Leading spaces are columns, never text, so nothing is collapsed.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // A space is kept by every renderer, whatever it thinks of `white-space`.
            ' ' => escaped.push('\u{a0}'),
            // XML knows no other control characters, escaped or not.
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}
