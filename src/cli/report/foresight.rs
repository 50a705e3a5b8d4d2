//! What the gates will be able to see, as a person reads it beside a plan.

use super::output::{Format, Output, json_line};
use super::text::{clean, pad, width};
use crate::domain::units::human;
use crate::run::foresight::{Foresight, Sight, Traffic, View, percent, rate};
use std::time::Duration;

/// Nothing where no gate watches anything.
#[must_use]
pub fn render(foresight: &Foresight, output: &Output) -> String {
    if foresight.views.is_empty() {
        return String::new();
    }
    match output.format {
        Format::Json => return json_line("foresight", foresight),
        // The comment on a pull request is the plan alone.
        Format::Github => return String::new(),
        Format::Human => {}
    }
    let paint = output.paint();
    let mut lines =
        vec![String::new(), format!("{}:", paint.bold("What the gates can see, in nine of ten cases"))];
    for view in &foresight.views {
        lines.push(format!("  {}", heading(view)));
        lines.extend(sights(view));
    }
    lines.extend(
        foresight.warnings.iter().map(|warning| format!("  {} {}", paint.yellow("!"), clean(warning))),
    );
    format!("{}\n", lines.join("\n"))
}

fn heading(view: &View) -> String {
    let who = format!("{} {}", view.target, view.component);
    match &view.traffic {
        Traffic::Unknown(why) => format!("{who}: not known, {}", clean(why)),
        Traffic::Traffic(figures) => {
            let median = if (figures.median - figures.rps).abs() > 0.05 * figures.median {
                format!(" (median {})", rate(figures.median))
            } else {
                String::new()
            };
            format!(
                "{who}: {} requests/s{median}, {} failed, {}",
                rate(figures.rps),
                percent(figures.errors),
                clean(&figures.from)
            )
        }
    }
}

fn sights(view: &View) -> Vec<String> {
    let holds = |sight: &Sight| format!("{} % for {}", sight.weight, human(sight.hold));
    let names = view.sights.iter().map(|sight| width(&sight.gate)).max().unwrap_or(0);
    let weights = view.sights.iter().map(|sight| width(&holds(sight))).max().unwrap_or(0);
    let mut lines = Vec::new();
    let mut before = String::new();
    for sight in &view.sights {
        let name = if before == sight.gate { "" } else { sight.gate.as_str() };
        before.clone_from(&sight.gate);
        lines.push(format!(
            "    {}  {}  {}",
            pad(&clean(name), names),
            pad(&holds(sight), weights),
            words(sight)
        ));
    }
    lines
}

/// `from 4.1 % failed on (now 0.10 %); all failed: after 10s`.
fn words(sight: &Sight) -> String {
    if let Some(why) = &sight.why {
        return format!("nothing: {}", clean(why));
    }
    let Some(sees) = sight.sees else { return format!("nothing, not even if all are {}", sight.bad) };
    let now = sight.now.map_or_else(String::new, |now| format!(" (now {})", percent(now)));
    let after = sight.all_bad_after_s.map_or_else(String::new, |seconds| {
        format!("; all of them: after {}", human(Duration::from_secs(seconds.ceil() as u64)))
    });
    format!("from {} {} on{now}{after}", percent(sees), clean(&sight.bad))
}
