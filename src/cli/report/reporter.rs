//! What a run tells, as it tells it: live on a terminal, as lines in a log, or as NDJSON.

use super::facts::Facts;
use super::lines::{HEARTBEAT, Lines};
use super::live::Live;
use super::output::{Format, Printer};
use crate::domain::event::Event;
use crate::run::world::Report;
use jiff::Timestamp;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Takes a run's events and prints them through a [`Printer`].
pub struct Reporter {
    printer: Arc<Printer>,
    view: Mutex<View>,
    has_begun: AtomicBool,
}

enum View {
    Live(Box<Live>),
    Plain(Box<Lines>),
    Json,
}

impl Reporter {
    /// The report that fits the printer's output.
    #[must_use]
    pub fn new(printer: Arc<Printer>, facts: Facts) -> Self {
        let output = printer.output;
        let facts = Arc::new(facts);
        // Nobody waits for virtual time: a rehearsal needs no sign of life.
        let heartbeat = (!facts.rehearsal).then_some(HEARTBEAT);
        let view = match output.format {
            Format::Json => {
                if facts.rehearsal {
                    let note = json!({"note": "nothing real is touched"});
                    printer.raw(&super::output::json_line("rehearsal", note));
                }
                View::Json
            }
            Format::Human if output.terminal => View::Live(Box::new(Live::new(facts, output.paint()))),
            Format::Human | Format::Github => {
                View::Plain(Box::new(Lines::new(facts, output.paint(), heartbeat)))
            }
        };
        Self { printer, view: Mutex::new(view), has_begun: AtomicBool::new(false) }
    }

    /// Whether the run has told anything yet: before that it holds locks at most.
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// Time has passed: elapsed times move on, and a log shows a sign of life. Call it about once a second; not needed
    /// in a rehearsal.
    pub fn tick(&self, now: Timestamp) {
        match &mut *self.view.lock().unwrap_or_else(PoisonError::into_inner) {
            View::Live(live) => self.printer.raw(&live.tick(now, self.printer.size())),
            View::Plain(lines) => self.print_lines(&lines.tick(now)),
            View::Json => {}
        }
    }

    fn print_lines(&self, lines: &[String]) {
        if !lines.is_empty() {
            self.printer.raw(&format!("{}\n", lines.join("\n")));
        }
    }
}

impl Report for Reporter {
    fn event(&self, event: &Event) {
        self.has_begun.store(true, Ordering::Relaxed);
        // Written while the lock is held: lines of two targets must not change places.
        match &mut *self.view.lock().unwrap_or_else(PoisonError::into_inner) {
            View::Live(live) => self.printer.raw(&live.take(event, self.printer.size())),
            View::Plain(lines) => self.print_lines(&lines.take(event)),
            View::Json => {
                let line = serde_json::to_string(event).expect("events hold nothing that JSON cannot");
                self.printer.raw(&format!("{line}\n"));
            }
        }
    }
}

/// Tells several listeners the same.
pub struct Tee(pub Vec<Arc<dyn Report>>);

impl Report for Tee {
    fn event(&self, event: &Event) {
        self.0.iter().for_each(|report| report.event(event));
    }
}

impl std::fmt::Debug for Tee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tee").field(&self.0.len()).finish()
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").field("printer", &self.printer).finish_non_exhaustive()
    }
}
