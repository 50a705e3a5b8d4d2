//! One object's fields, old → new. What a Secret holds is never shown.

use super::super::output::Paint;
use super::super::text::clean;
use crate::plan::{Change, FieldChange};
use serde_json::Value;

/// Longer values are cut: the JSON form has them whole.
const VALUE_LENGTH: usize = 160;
/// Lines of a text that are shown of each side.
const TEXT_LINES: usize = 8;

/// One line a field, more for texts of several lines.
pub(super) fn render(change: &Change, paint: Paint) -> Vec<String> {
    let secret = is_secret(change);
    change
        .fields
        .iter()
        .flat_map(|field| if secret { hidden(field, paint) } else { shown(field, paint) })
        .collect()
}

pub(super) fn is_secret(change: &Change) -> bool {
    change.object.kind == "Secret"
}

/// Of a Secret only the key is said: even an annotation may hold a copy of the data.
fn hidden(field: &FieldChange, paint: Paint) -> Vec<String> {
    let what = match (&field.from, &field.to) {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "changed",
    };
    vec![format!("{}: {}", clean(&field.path), paint.dim(&format!("{what} (value not shown)")))]
}

fn shown(field: &FieldChange, paint: Paint) -> Vec<String> {
    let path = clean(&field.path);
    match (&field.from, &field.to) {
        (Some(Value::String(from)), Some(Value::String(to))) if from.contains('\n') || to.contains('\n') => {
            let mut lines = vec![format!("{path}:")];
            lines.extend(text_lines(from, to, paint));
            lines
        }
        (None, Some(to)) => vec![format!("{path}: {}", paint.green(&format!("+ {}", value(to))))],
        (Some(from), None) => vec![format!("{path}: {}", paint.red(&format!("- {}", value(from))))],
        (from, to) => {
            let side = |side: &Option<Value>| side.as_ref().map_or_else(|| "nothing".to_owned(), value);
            vec![format!("{path}: {} → {}", paint.red(&side(from)), paint.green(&side(to)))]
        }
    }
}

/// A value on one line: words as they are, anything that could be misread as JSON.
fn value(value: &Value) -> String {
    let plain = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@+%".contains(c))
    };
    let text = match value {
        Value::String(text) if plain(text) && serde_json::from_str::<Value>(text).is_err() => text.clone(),
        other => other.to_string(),
    };
    let length = text.chars().count();
    if length <= VALUE_LENGTH {
        return clean(&text);
    }
    let start: String = text.chars().take(VALUE_LENGTH).collect();
    format!("{}… ({length} characters)", clean(&start))
}

/// The lines between the equal beginning and the equal end of two texts.
fn text_lines(from: &str, to: &str, paint: Paint) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (from.lines().collect(), to.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[same..], &new[same..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let side = |lines: &[&str], mark: &str, color: &dyn Fn(&str) -> String| {
        let mut shown: Vec<String> =
            lines.iter().take(TEXT_LINES).map(|line| color(&format!("  {mark} {}", clean(line)))).collect();
        if lines.len() > TEXT_LINES {
            shown.push(format!("  {mark} … {} more lines", lines.len() - TEXT_LINES));
        }
        shown
    };
    let mut lines = vec![format!("  @ line {}", same + 1)];
    lines.extend(side(old, "-", &|text| paint.red(text)));
    lines.extend(side(new, "+", &|text| paint.green(text)));
    lines
}
