//! What preflight found: target by target, each check with its fix.

use super::output::{Format, Output, Paint, json_line};
use super::text::{clean, count, pad, width};
use crate::domain::ids::TargetId;
use crate::run::preflight::{Check, Level};
use serde_json::json;

/// All checks, those of the whole environment first, then totals.
#[must_use]
pub fn render(checks: &[Check], output: &Output) -> String {
    let number = |level: Level| checks.iter().filter(|check| check.level == level).count();
    let (passed, warned, failed) = (number(Level::Pass), number(Level::Warn), number(Level::Fail));
    if output.format == Format::Json {
        let mut text: String = checks.iter().map(|check| json_line("check", check)).collect();
        let totals = json!({"passed": passed, "warnings": warned, "failed": failed});
        text.push_str(&json_line("checks", totals));
        return text;
    }
    let paint = output.paint();
    let names = checks.iter().map(|check| width(&clean(&check.name))).max().unwrap_or(0);
    let mut targets: Vec<Option<&TargetId>> = checks.iter().map(|check| check.target.as_ref()).collect();
    targets.sort();
    targets.dedup();
    let mut lines = Vec::new();
    for target in targets {
        lines.push(target.map_or_else(|| "environment".to_owned(), |id| paint.bold(id.as_str())));
        let own = checks.iter().filter(|check| check.target.as_ref() == target);
        lines.extend(own.flat_map(|check| check_lines(check, names, paint)));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.push(totals(passed, warned, failed, paint));
    format!("{}\n", lines.join("\n"))
}

fn check_lines(check: &Check, names: usize, paint: Paint) -> Vec<String> {
    let mark = match check.level {
        Level::Pass => paint.green("✓"),
        Level::Warn => paint.yellow("!"),
        Level::Fail => paint.red("✗"),
    };
    let name = pad(&clean(&check.name), names);
    let mut lines = vec![format!("  {mark} {name}  {}", clean(&check.detail))];
    if let Some(fix) = &check.fix {
        lines.push(format!("    {}  {} {}", pad("", names), paint.cyan("fix:"), clean(fix)));
    }
    lines
}

fn totals(passed: usize, warned: usize, failed: usize, paint: Paint) -> String {
    let mut parts = vec![format!("{passed} passed")];
    if warned > 0 {
        parts.push(paint.yellow(&count(warned, "warning", "warnings")));
    }
    if failed > 0 {
        parts.push(paint.red(&format!("{failed} failed: a run is refused")));
    }
    format!("Preflight: {}.", parts.join(", "))
}
