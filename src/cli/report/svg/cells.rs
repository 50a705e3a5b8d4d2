//! Text with ANSI colours → rows of styled characters → runs of one style.

use std::fmt::Write as _;

/// Colours 0–7, then their bright forms.
const COLORS: [&str; 16] = [
    "#484f58", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4", "#6e7681",
    "#ffa198", "#56d364", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#ffffff",
];

/// How a character looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    color: Option<u8>,
    bold: bool,
    dim: bool,
}

/// One row of a terminal.
pub(super) type Row = Vec<(char, Look)>;

/// Characters of one look that stand side by side.
pub(super) struct Span {
    pub column: usize,
    pub text: String,
    pub class: String,
}

/// The rows of a text, each at most `columns` wide. Sequences that are no colours are dropped.
pub(super) fn rows(text: &str, columns: usize) -> Vec<Row> {
    let mut look = Look::default();
    let mut rows = Vec::new();
    for line in text.lines() {
        let row = row(line, &mut look);
        match row.len() {
            0 => rows.push(Row::new()),
            _ => rows.extend(row.chunks(columns).map(<[_]>::to_vec)),
        }
    }
    rows
}

fn row(line: &str, look: &mut Look) -> Row {
    let mut row = Row::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => match characters.next() {
                Some('[') => {
                    let sequence: String =
                        characters.clone().take_while(|c| !c.is_ascii_alphabetic()).collect();
                    if characters.find(char::is_ascii_alphabetic) == Some('m') {
                        look.obey(&sequence);
                    }
                }
                // A window's title and the like, up to a bell.
                Some(']') => {
                    characters.find(|c| *c == '\u{7}');
                }
                _ => {}
            },
            '\t' => row.push((' ', *look)),
            c if c.is_control() => {}
            c => row.push((c, *look)),
        }
    }
    while row.last().is_some_and(|(character, _)| *character == ' ') {
        row.pop();
    }
    row
}

impl Look {
    fn obey(&mut self, sequence: &str) {
        for code in sequence.split(';').map(|code| code.parse::<u8>().unwrap_or(0)) {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                22 => (self.bold, self.dim) = (false, false),
                30..=37 => self.color = Some(code - 30),
                39 => self.color = None,
                90..=97 => self.color = Some(code - 90 + 8),
                _ => {}
            }
        }
    }

    fn class(self) -> String {
        let color = self.color.map(|color| format!("c{color}"));
        let bold = self.bold.then(|| "b".to_owned());
        let dim = self.dim.then(|| "d".to_owned());
        [color, bold, dim].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// The runs of a row; runs of blanks are left out.
pub(super) fn spans(row: &Row) -> Vec<Span> {
    let mut column = 0;
    let mut spans = Vec::new();
    for run in row.chunk_by(|(_, a), (_, b)| a == b) {
        let text: String = run.iter().map(|(character, _)| *character).collect();
        let start = text.chars().take_while(|c| *c == ' ').count();
        let shown = text.trim_matches(' ');
        if !shown.is_empty() {
            spans.push(Span { column: column + start, text: shown.to_owned(), class: run[0].1.class() });
        }
        column += run.len();
    }
    spans
}

/// Style rules of the colours.
pub(super) fn palette() -> String {
    let mut rules = String::new();
    for (number, color) in COLORS.iter().enumerate() {
        write!(rules, ".c{number}{{fill:{color}}}").expect("writing to a string cannot fail");
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, columns: usize) -> Vec<Vec<(usize, String, String)>> {
        let rows = rows(text, columns);
        rows.iter().map(|row| spans(row).into_iter().map(|s| (s.column, s.text, s.class)).collect()).collect()
    }

    #[test]
    fn colours_become_classes_and_other_sequences_nothing() {
        let text = "  a \u{1b}[31mred\u{1b}[0m\u{1b}[?2026h\n\n\u{1b}[1;92mok\u{1b}[0m\u{1b}]0;title\u{7}";
        let owned = |column, text: &str, class: &str| (column, text.to_owned(), class.to_owned());
        let expected =
            vec![vec![owned(2, "a", ""), owned(4, "red", "c1")], vec![], vec![owned(0, "ok", "c10 b")]];
        assert_eq!(shown(text, 80), expected);
    }

    #[test]
    fn long_lines_go_on_in_the_next_row() {
        let rows = rows("abcdef", 4);
        assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [4, 2]);
    }
}
