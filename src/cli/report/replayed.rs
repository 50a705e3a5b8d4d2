//! What gates saw of a release, judged again: as JSON lines, and in short for people.

use crate::run::rejudge::Again;
use serde_json::json;
use std::fmt::Write as _;

/// Every look as one JSON line, and one that sums up each gate.
#[must_use]
pub fn render(all: &[Again]) -> String {
    let mut out = String::new();
    for one in all {
        for look in &one.looks {
            let mut line = json!(look);
            line["vector"] = json!(one.name);
            let _ = writeln!(out, "{line}");
        }
        let line = json!({"vector": one.name, "looks": one.looks.len(), "then": one.then, "now": one.now,
            "explanation": one.text, "notes": one.notes});
        let _ = writeln!(out, "{line}");
    }
    out
}

/// For people at a terminal.
#[must_use]
pub fn summary(all: &[Again]) -> String {
    let mut out = "\n".to_owned();
    for one in all {
        let _ = writeln!(out, "{}", line(one));
        for note in &one.notes {
            let _ = writeln!(out, "    {note}");
        }
    }
    out
}

/// One gate in one line.
#[must_use]
pub fn line(one: &Again) -> String {
    let Some(now) = &one.now else { return format!("{}: then {}; not judged again", one.name, one.then) };
    format!("{}: then {}; now {now}: {}", one.name, one.then, one.text)
}
