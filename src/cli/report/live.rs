//! The live report: a region at the bottom of a terminal that is redrawn in place, and lines that scroll above it.

use super::facts::Facts;
use super::lines::Lines;
use super::model::Model;
use super::output::Paint;
use super::text::cut;
use crate::domain::event::{Event, Kind};
use jiff::Timestamp;
use std::sync::Arc;

/// A rehearsal tells an hour in a blink: its region is drawn once for so many events.
const EVENTS_PER_DRAWING: usize = 12;
/// Terminals that know it show what comes between in one go; others ignore it.
const BEGIN_FRAME: &str = "\u{1b}[?2026h";
const END_FRAME: &str = "\u{1b}[?2026l";

/// The state of the region.
pub(super) struct Live {
    paint: Paint,
    lines: Lines,
    model: Model,
    scroll: Vec<String>,
    drawn: usize,
    undrawn_events: usize,
    patience: usize,
    over: bool,
}

impl Live {
    pub fn new(facts: Arc<Facts>, paint: Paint) -> Self {
        let patience = if facts.rehearsal { EVENTS_PER_DRAWING } else { 1 };
        Self {
            paint,
            lines: Lines::new(Arc::clone(&facts), paint, None),
            model: Model::new(facts),
            scroll: Vec::new(),
            drawn: 0,
            undrawn_events: 0,
            patience,
            over: false,
        }
    }

    /// What is to be written to the terminal after an event.
    pub fn take(&mut self, event: &Event, size: (usize, usize)) -> String {
        self.scroll.extend(self.lines.take(event));
        self.model.take(event);
        self.undrawn_events += 1;
        if matches!(event.kind, Kind::RunFinished { .. }) {
            self.over = true;
            return self.draw(&[]);
        }
        if self.undrawn_events < self.patience { String::new() } else { self.redraw(size) }
    }

    /// The same after a second without events.
    pub fn tick(&mut self, now: Timestamp, size: (usize, usize)) -> String {
        if self.over || self.drawn == 0 {
            return String::new();
        }
        self.model.at(now);
        self.redraw(size)
    }

    fn redraw(&mut self, (rows, columns): (usize, usize)) -> String {
        let region = region(&self.model, self.paint, rows, columns);
        self.draw(&region)
    }

    /// Scrolled lines in the place of the old region, the new region below them; one write, so that nothing flickers.
    fn draw(&mut self, region: &[String]) -> String {
        let up = if self.drawn > 0 { format!("\r\u{1b}[{}A", self.drawn) } else { String::new() };
        let mut text = format!("{BEGIN_FRAME}{up}");
        if !self.scroll.is_empty() {
            // A long line may wrap into rows of the old region.
            text.push_str("\u{1b}[J");
        }
        for line in self.scroll.drain(..) {
            text.push_str(&line);
            text.push('\n');
        }
        for line in region {
            text.push_str(line);
            text.push_str("\u{1b}[K\n");
        }
        text.push_str("\u{1b}[J");
        text.push_str(END_FRAME);
        self.drawn = region.len();
        self.undrawn_events = 0;
        text
    }
}

/// The region's lines, none wider or more than fit: a region that scrolled could not be redrawn.
pub(super) fn region(model: &Model, paint: Paint, rows: usize, columns: usize) -> Vec<String> {
    let columns = columns.saturating_sub(1);
    let mut lines: Vec<String> = model.view(paint, columns).iter().map(|line| cut(line, columns)).collect();
    let most = rows.saturating_sub(2).max(1);
    if lines.len() > most {
        let hidden = lines.len() - most + 1;
        lines.truncate(most - 1);
        lines.push(paint.dim(&format!("  … {hidden} more lines")));
    }
    lines
}
