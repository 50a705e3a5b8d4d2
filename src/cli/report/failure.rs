//! An error as an operator reads it: what failed, why, and the next command to type.

use super::output::{Format, Output, json_line};
use super::text::clean;
use crate::domain::error::Failure;
use serde_json::json;

/// The error for people or for NDJSON. Where GitHub reads along, people's text ends with an annotation; in JSON the
/// annotation would be noise, so a command prints [`annotation`] on standard error instead.
#[must_use]
pub fn render(failure: &Failure, output: &Output) -> String {
    match output.format {
        Format::Json => json_line(
            "error",
            json!({
                "code": failure.code.to_string(),
                "exit": failure.exit as u8,
                "what": failure.what,
                "why": failure.why,
                "next": failure.next,
            }),
        ),
        Format::Human | Format::Github if output.github => {
            format!("{}{}\n", human(failure, output), annotation(failure))
        }
        Format::Human | Format::Github => human(failure, output),
    }
}

fn human(failure: &Failure, output: &Output) -> String {
    let paint = output.paint();
    let head = paint.alarm(&format!("error[{}]", failure.code));
    let mut lines = vec![format!("{head}: {}", paint.bold(&clean(&failure.what)))];
    lines.extend(failure.why.iter().map(|why| format!("{}   {}", paint.yellow("why:"), clean(why))));
    lines.extend(failure.next.iter().map(|next| format!("{}  {}", paint.cyan("next:"), clean(next))));
    format!("{}\n", lines.join("\n"))
}

/// `::error title=…::…`, escaped as GitHub Actions wants it.
#[must_use]
pub fn annotation(failure: &Failure) -> String {
    let mut lines = vec![failure.what.clone()];
    lines.extend(failure.why.iter().map(|why| format!("why:  {why}")));
    lines.extend(failure.next.iter().map(|next| format!("next: {next}")));
    let title = property(&format!("deployctl {}", failure.code));
    format!("::error title={title}::{}", data(&lines.join("\n")))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
