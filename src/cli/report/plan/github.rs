//! The plan as a comment on a pull request: what it comes to in one line, the rest folded away, within GitHub's limit.

use super::super::output::Output;
use super::super::text::clean;
use super::{changes, serving, stages, summary};
use crate::domain::environment::TrafficClass;
use crate::domain::units::human;
use crate::plan::{Plan, Verdict};
use std::fmt::Write as _;

/// Longest comment that GitHub takes, in characters.
const LONGEST: usize = 65_536;
/// What a reader of a log has.
const WIDTH: usize = 120;
/// Kept free for the ends of folded parts and the line that says what was cut.
const RESERVE: usize = 512;

/// Markdown. Its first line is a mark by which a comment is found again and replaced.
pub(super) fn render(plan: &Plan) -> String {
    let mut page = Page { text: String::new(), left: LONGEST - RESERVE };
    page.line(&format!("<!-- deployctl plan {} -->", plain(&plan.environment)));
    let (application, environment) = (plain(&plan.application), plain(&plan.environment));
    page.line(&format!("### {application} → {environment}: {} as {}", plain(&plan.version), plan.revision));
    page.line("");
    let paint = Output::plain().paint();
    page.line(&format!(
        "{} Takes about {}.",
        plain(&summary(plan, paint)),
        human(super::whole_seconds(plan.expected))
    ));
    page.line("");
    targets(plan, &mut page);
    alerts(plan, &mut page);
    for (targets, shown) in changes::render(plan, paint) {
        let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let lines: Vec<String> = shown.iter().map(|line| as_diff(line)).collect();
        page.folded(&format!("Changes on {}", plain(&names.join(", "))), "diff", &lines);
    }
    if plan.has_changes() {
        // Its first line is the heading.
        page.folded("What happens", "text", &stages::render(plan, paint, WIDTH)[1..]);
    }
    page.text
}

fn targets(plan: &Plan, page: &mut Page) {
    page.line("| target | from | wave | traffic |");
    page.line("|---|---|---|---|");
    for (id, target) in &plan.targets {
        let wave = plan.waves.iter().position(|wave| wave.contains(id)).map_or(1, |index| index + 1);
        let traffic = match target.traffic {
            TrafficClass::Live => "live",
            TrafficClass::None => "standby",
        };
        page.line(&format!("| {} | {} | {wave} | {traffic} |", plain(id.as_str()), plain(&serving(target))));
    }
    page.line("");
}

/// What a reviewer must not overlook stays unfolded.
fn alerts(plan: &Plan, page: &mut Page) {
    let mut caution: Vec<String> = plan
        .open_contests()
        .map(|(target, object, contest)| format!("{target}: {object} belongs to somebody else: {contest}"))
        .collect();
    caution.extend(plan.replacements().map(|(target, change)| {
        let why = change.replaced.as_deref().unwrap_or_default();
        format!("{target}: {} is deleted and made anew: {why}", change.object)
    }));
    let mut warnings = plan.warnings.clone();
    for (target, change) in plan.targets.iter().flat_map(|(id, t)| t.changes.iter().map(move |c| (id, c))) {
        let taken = change.contests.iter().filter(|contest| contest.verdict == Verdict::Taken);
        warnings.extend(taken.map(|contest| format!("{target}: {} is taken over: {contest}", change.object)));
    }
    for (kind, lines) in [("CAUTION", caution), ("WARNING", warnings)] {
        if !lines.is_empty() {
            page.line(&format!("> [!{kind}]"));
            for line in lines {
                page.line(&format!("> - {}", plain(&line)));
            }
            page.line("");
        }
    }
}

/// A line of the changes as GitHub colours it: the mark comes first.
fn as_diff(line: &str) -> String {
    let text = line.trim_start();
    let indent = " ".repeat(line.len() - text.len());
    for (mark, colour) in [("-/+ ", '!'), ("+ ", '+'), ("- ", '-'), ("~ ", '!')] {
        if let Some(rest) = text.strip_prefix(mark) {
            let shown = if colour == '!' { mark } else { "" };
            return format!("{colour} {}{shown}{rest}", indent.get(4..).unwrap_or_default());
        }
    }
    format!("  {line}")
}

/// Text that Markdown and HTML leave alone, and that calls nobody.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for character in clean(text).chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // A word joiner keeps it from being a mention or a reference.
            '@' | '#' => out.extend([character, '\u{2060}']),
            '|' | '*' | '_' | '`' | '[' | ']' | '~' => out.extend(['\\', character]),
            other => out.push(other),
        }
    }
    out
}

/// A text that stops at a limit, counted in characters.
struct Page {
    text: String,
    left: usize,
}

impl Page {
    fn fits(&mut self, line: &str) -> bool {
        let length = line.chars().count() + 1;
        let fits = length <= self.left;
        self.left = self.left.saturating_sub(if fits { length } else { 0 });
        fits
    }

    fn line(&mut self, line: &str) {
        if self.fits(line) {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// A part that opens on a click; what does not fit is counted.
    fn folded(&mut self, title: &str, language: &str, lines: &[String]) {
        let longest = lines.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        let (open, close) = (
            format!("<details><summary>{title}</summary>\n\n{fence}{language}"),
            format!("{fence}\n\n</details>\n"),
        );
        if !self.fits(&open) || !self.fits(&close) {
            return;
        }
        self.text.push_str(&open);
        self.text.push('\n');
        let mut shown = 0;
        for line in lines {
            if !self.fits(line) {
                break;
            }
            self.text.push_str(line);
            self.text.push('\n');
            shown += 1;
        }
        if shown < lines.len() {
            let more = lines.len() - shown;
            let _ = writeln!(self.text, "… and {more} more lines: deployctl plan shows them");
        }
        self.text.push_str(&close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_their_mark_first() {
        for (line, expected) in [
            ("    + ConfigMap/app", "+ ConfigMap/app"),
            ("    ~ Service/api", "! ~ Service/api"),
            ("  -/+ Job/seed", "! -/+ Job/seed"),
            ("        spec.replicas: 2 → 3", "          spec.replicas: 2 → 3"),
            ("  shared", "    shared"),
        ] {
            assert_eq!(as_diff(line), expected);
        }
    }

    #[test]
    fn nothing_in_a_comment_calls_or_closes_anything() {
        assert_eq!(plain("</details> @ana #1 a_b"), "&lt;/details&gt; @\u{2060}ana #\u{2060}1 a\\_b");
        let mut page = Page { text: String::new(), left: LONGEST };
        page.folded("x", "diff", &["+ ```".to_owned()]);
        assert!(page.text.contains("````diff\n+ ```\n````\n"), "{}", page.text);
    }

    #[test]
    fn a_comment_ends_within_the_limit_and_says_what_it_left_out() {
        let mut page = Page { text: String::new(), left: 1000 };
        page.folded("x", "diff", &vec!["é".repeat(99); 20]);
        assert!(page.text.chars().count() < 1000 + RESERVE);
        assert!(page.text.contains("more lines") && page.text.ends_with("</details>\n"), "{}", page.text);
    }
}
