//! Whole outputs, byte for byte, of values made by hand. `UPDATE_GOLDEN=1` writes what is compared with.

mod fixture;
mod records;
mod script;

use deployctl::cli::report::{self, ColorChoice, Facts, Format, Output, Printer, Reporter, Surroundings};
use deployctl::domain::error::{Code, Exit, Failure};
use deployctl::domain::event::{Event, Kind};
use deployctl::plan::Action;
use deployctl::run::world::Report;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Compares with `tests/golden/report/NAME`.
fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/report").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == actual, "{name} differs; it is now:\n{actual}");
}

/// A writer whose content can be read afterwards.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic while held").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic while held").clone()).expect("reports are UTF-8")
    }
}

fn json() -> Output {
    Output::new(Format::Json, ColorChoice::Auto, &Surroundings::default())
}

fn terminal(columns: usize, color: ColorChoice) -> Output {
    let around = Surroundings { terminal: true, columns: Some(columns), ..Surroundings::default() };
    Output::new(Format::Human, color, &around)
}

fn told(events: &[Event], output: Output, rehearsal: bool) -> String {
    let page = Page::default();
    let printer = Arc::new(Printer::new(output, Box::new(page.clone())));
    let reporter = Reporter::new(printer, Facts::of(&fixture::plan(), rehearsal));
    for event in events {
        reporter.event(event);
    }
    page.text()
}

#[test]
fn a_run_in_a_log() {
    golden("run-good.txt", &told(&script::good(), Output::plain(), true));
    golden("run-rolled-back.txt", &told(&script::rolled_back(), Output::plain(), false));
    golden("run-broken.txt", &told(&script::broken(), Output::plain(), false));
    golden("run-interrupted.txt", &told(&script::interrupted(), Output::plain(), false));
}

#[test]
fn a_run_as_ndjson() {
    let text = told(&script::broken(), json(), false);
    golden("run-broken.ndjson", &text);
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("every line is JSON");
        assert!(value["type"].is_string(), "{line}");
    }
}

/// After an interrupt only traffic went back, whoever gave no answer meanwhile; nothing was taken back, and `resume` goes on.
#[test]
fn an_interrupt_that_lost_a_region_says_what_went_back() {
    let mut events = script::interrupted();
    let Some(Kind::RunFinished { outcome, cause, owed, .. }) = events.last_mut().map(|event| &mut event.kind)
    else {
        panic!("the script ends");
    };
    (*outcome, *owed) = ("unknown", vec!["us-west-2".into()]);
    *cause = Some("interrupted by an operator; us-west-2 gives no answer".to_owned());
    golden("run-interrupted-lost.txt", &told(&events, Output::plain(), false));
}

/// What escape sequences do, readable in a file.
fn visible(text: &str) -> String {
    text.replace('\u{1b}', "␛").replace('\r', "␍")
}

#[test]
fn a_run_on_a_terminal() {
    let text = told(&script::rolled_back(), terminal(60, ColorChoice::Never), true);
    golden("live-60.txt", &visible(&text));
    // Colours are the only sequences that end in `m`.
    assert!(
        !text
            .split('\u{1b}')
            .skip(1)
            .any(|part| part.trim_start_matches(|c| "[0123456789;".contains(c)).starts_with('m'))
    );
    let text = told(&script::good(), terminal(100, ColorChoice::Always), true);
    golden("live-100-color.txt", &visible(&text));
}

#[test]
fn a_rehearsal_does_not_flood_a_terminal() {
    let events = script::good();
    let drawings =
        |rehearsal| told(&events, terminal(100, ColorChoice::Never), rehearsal).matches("[?2026h").count();
    assert_eq!(drawings(false), events.len());
    assert!(drawings(true) <= events.len() / 12 + 1);
}

#[test]
fn a_plan_as_a_comment() {
    let output = Output::new(Format::Github, ColorChoice::Auto, &Surroundings::default());
    let mut plan = fixture::plan();
    golden("plan.github.md", &report::plan::render(&plan, &output));
    let long = plan.targets.values_mut().next().expect("there is one");
    let change = long.changes[0].clone();
    long.changes.extend(std::iter::repeat_n(change, 2_000));
    let text = report::plan::render(&plan, &output);
    assert!(text.chars().count() <= 65_536 && text.contains("more lines"), "{}", text.chars().count());
}

#[test]
fn a_plan_before_it_is_approved() {
    golden("plan.txt", &report::plan::render(&fixture::plan(), &Output::plain()));
    golden("plan-60.txt", &report::plan::render(&fixture::plan(), &terminal(60, ColorChoice::Never)));
    golden("plan.json", &report::plan::render(&fixture::plan(), &json()));
}

#[test]
fn a_plan_never_shows_what_a_secret_holds() {
    for output in [Output::plain(), json(), terminal(100, ColorChoice::Always)] {
        let text = report::plan::render(&fixture::plan(), &output);
        assert!(!text.contains("aHVudGVyMg") && !text.contains("b2xk"), "{text}");
    }
}

#[test]
fn a_plan_without_changes_says_so() {
    let mut plan = fixture::plan();
    plan.warnings.clear();
    for target in plan.targets.values_mut() {
        target.changes.retain(|change| change.action == Action::Keep);
    }
    let expected = "No changes. prime-spark in production is as it should be.
  us-east-1, us-west-2: 2.0.6 (r7)

Plan: 0 to create, 0 to change, 0 to delete, 10 unchanged. (2 targets)
";
    assert_eq!(report::plan::render(&plan, &Output::plain()), expected);
}

#[test]
fn an_error_is_what_why_and_next() {
    let failure = Failure::new(Code(612), Exit::Locked, "us-east-1 is locked by ada@laptop")
        .why("deploy 2.0.7 since 03:00, 100% busy")
        .next("add --wait to queue behind it");
    let human = "error[DC0612]: us-east-1 is locked by ada@laptop
why:   deploy 2.0.7 since 03:00, 100% busy
next:  add --wait to queue behind it
";
    assert_eq!(report::failure::render(&failure, &Output::plain()), human);
    let around = Surroundings { github: true, ..Surroundings::default() };
    let github = Output::new(Format::Human, ColorChoice::Auto, &around);
    let annotation = "::error title=deployctl DC0612::us-east-1 is locked by ada@laptop%0Awhy:  deploy 2.0.7 since 03:00, 100%25 busy%0Anext: add --wait to queue behind it\n";
    assert_eq!(report::failure::render(&failure, &github), format!("{human}{annotation}"));
    let expected = concat!(
        r#"{"type":"error","code":"DC0612","exit":7,"next":["add --wait to queue behind it"],"#,
        r#""what":"us-east-1 is locked by ada@laptop","why":["deploy 2.0.7 since 03:00, 100% busy"]}"#,
        "\n"
    );
    assert_eq!(report::failure::render(&failure, &json()), expected);
}
