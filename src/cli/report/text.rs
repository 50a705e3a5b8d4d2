//! Text for a terminal: cleaned of what could steer it, measured in columns, folded, laid out in tables.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

/// One line without escape sequences, control characters and bidirectional overrides: what a cluster or a log says is
/// shown, never obeyed.
pub(super) fn clean(text: &str) -> String {
    let text = console::strip_ansi_codes(text);
    let mut line = String::with_capacity(text.len());
    for character in text.trim_end().chars() {
        match character {
            '\n' => line.push_str(" ⏎ "),
            '\t' => line.push(' '),
            c if c.is_control() => {}
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c => line.push(c),
        }
    }
    line
}

/// Columns that a text takes, escape sequences not counted.
pub(super) fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

/// The text, followed by spaces up to `columns`.
pub(super) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// At most `columns` wide, cut with an ellipsis.
pub(super) fn cut(text: &str, columns: usize) -> String {
    console::truncate_str(text, columns, "…").into_owned()
}

/// `3 pods`, `1 pod`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `a, b, c`.
pub(super) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// The same thing said of several is said once: values in the order of their first key, each with its keys.
pub(super) fn fold<K: Ord + Clone, V: PartialEq>(
    pairs: impl IntoIterator<Item = (K, V)>,
) -> Vec<(Vec<K>, V)> {
    let mut folded: Vec<(Vec<K>, V)> = Vec::new();
    for (key, value) in pairs {
        match folded.iter_mut().find(|(_, known)| *known == value) {
            Some((keys, _)) => keys.push(key),
            None => folded.push((vec![key], value)),
        }
    }
    folded
}

/// `03:05:12`, UTC.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// `2026-01-05 03:05:12Z`.
pub(super) fn date_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Time between two moments, in whole seconds; zero when they come in the wrong order.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).map_or(Duration::ZERO, whole_seconds)
}

/// Without the fraction of a second, unless that is all there is.
pub(super) fn whole_seconds(duration: Duration) -> Duration {
    if duration < Duration::from_secs(1) { duration } else { Duration::from_secs(duration.as_secs()) }
}

/// Columns padded to their widest cell; the last one is left ragged, rows without content are dropped.
pub(super) fn table(rows: &[Vec<String>], indent: usize) -> Vec<String> {
    let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
    for (column, cell) in rows.iter().flat_map(|row| row.iter().enumerate()) {
        let widest = widths.entry(column).or_default();
        *widest = (*widest).max(width(cell));
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().filter(|(column, _)| widths[column] > 0);
        let cells: Vec<String> = cells.map(|(column, cell)| pad(cell, widths[&column])).collect();
        format!("{}{}", " ".repeat(indent), cells.join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Words in lines of at most `columns`.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_taken_out() {
        let cases = [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("two\nlines\n", "two ⏎ lines"),
            ("tab\tbell\u{7}\r", "tab bell"),
            ("evil\u{202e}txt", "eviltxt"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tables_align_and_drop_columns_without_content() {
        let rows = [
            vec!["a".into(), String::new(), "long".into(), "x".into()],
            vec!["bbb".into(), String::new(), "s".into(), String::new()],
        ];
        assert_eq!(table(&rows, 2), ["  a    long  x", "  bbb  s"]);
    }

    #[test]
    fn equal_things_are_folded_in_order() {
        assert_eq!(fold([("a", 1), ("b", 2), ("c", 1)]), [(vec!["a", "c"], 1), (vec!["b"], 2)]);
    }

    #[test]
    fn words_wrap_at_the_width() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("", 8), Vec::<String>::new());
    }
}
