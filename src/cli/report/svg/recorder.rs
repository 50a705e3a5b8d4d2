//! A run as an animated picture: what its live report shows, frame by frame, an hour in seconds.

use super::super::facts::Facts;
use super::super::lines::Lines;
use super::super::live::region;
use super::super::model::Model;
use super::super::output::{ColorChoice, Format, Output, Paint, Surroundings};
use super::super::text::between;
use super::cells::{Row, rows};
use super::{COLUMNS, Page};
use crate::domain::event::{Event, Kind};
use crate::run::world::Report;
use jiff::Timestamp;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Rows of the picture.
const ROWS: usize = 26;
/// Event time after which a frame is taken even if nothing scrolled.
const QUIET: Duration = Duration::from_mins(1);
/// Frames of a recording; more are thinned out.
const FRAMES: usize = 90;
/// Bytes that a picture may have.
const LIMIT: usize = 190_000;
/// Pixels between frames: a glyph may be wider than its cell.
const GAP: f64 = 20.0;
/// Seconds that the last frame stays.
const END_SECONDS: f64 = 8.0;

/// Records a run. Give it the events that the reporter gets.
pub struct Recorder {
    title: String,
    paint: Paint,
    film: Mutex<Film>,
}

struct Film {
    lines: Lines,
    model: Model,
    scrolled: Vec<Row>,
    frames: Vec<Frame>,
}

#[derive(Clone)]
struct Frame {
    at: Timestamp,
    rows: Vec<Row>,
}

impl Recorder {
    /// A recorder with the window's title: the command that was typed.
    #[must_use]
    pub fn new(title: &str, facts: Facts) -> Self {
        let paint = Output::new(Format::Human, ColorChoice::Always, &Surroundings::default()).paint();
        let facts = Arc::new(facts);
        let (lines, model) = (Lines::new(Arc::clone(&facts), paint, None), Model::new(facts));
        let film = Film { lines, model, scrolled: Vec::new(), frames: Vec::new() };
        Self { title: title.to_owned(), paint, film: Mutex::new(film) }
    }

    /// Shows a text before the run, e.g. the prompt with the command, or the plan.
    pub fn show(&self, at: Timestamp, text: &str) {
        let mut film = self.film.lock().unwrap_or_else(PoisonError::into_inner);
        film.scrolled.extend(rows(text, COLUMNS));
        film.shoot(at, &[]);
    }

    /// The picture: animated, and still on its last frame where motion is not wanted.
    #[must_use]
    pub fn finish(&self) -> String {
        let film = self.film.lock().unwrap_or_else(PoisonError::into_inner);
        let mut frames = film.frames.clone();
        while frames.len() > FRAMES {
            thin_out(&mut frames);
        }
        loop {
            let picture = picture(&self.title, &frames);
            if picture.len() <= LIMIT || frames.len() <= 2 {
                return picture;
            }
            thin_out(&mut frames);
        }
    }
}

impl Report for Recorder {
    fn event(&self, event: &Event) {
        let mut film = self.film.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = film.lines.take(event);
        film.model.take(event);
        let over = matches!(event.kind, Kind::RunFinished { .. });
        let quiet = film.frames.last().is_some_and(|frame| between(frame.at, event.at) < QUIET);
        if lines.is_empty() && quiet && !over {
            return;
        }
        film.scrolled.extend(lines.iter().flat_map(|line| match line.as_str() {
            "" => vec![Row::new()],
            line => rows(line, COLUMNS),
        }));
        let below = if over { Vec::new() } else { region(&film.model, self.paint, ROWS - 4, COLUMNS) };
        film.shoot(event.at, &below);
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("title", &self.title).finish_non_exhaustive()
    }
}

impl Film {
    /// The last scrolled rows, and the live region below them.
    fn shoot(&mut self, at: Timestamp, below: &[String]) {
        let below: Vec<Row> = below.iter().flat_map(|line| rows(line, COLUMNS)).collect();
        let room = ROWS.saturating_sub(below.len());
        let from = self.scrolled.len().saturating_sub(room);
        self.scrolled.drain(..from);
        let rows = [self.scrolled.clone(), below].concat();
        self.frames.push(Frame { at, rows });
    }
}

/// Every other frame goes; the last one stays.
fn thin_out(frames: &mut Vec<Frame>) {
    let last = frames.len().saturating_sub(1);
    let mut index = 0;
    frames.retain(|_| {
        let keep = (last - index).is_multiple_of(2);
        index += 1;
        keep
    });
}

/// Frames side by side behind a window that jumps from one to the next.
fn picture(title: &str, frames: &[Frame]) -> String {
    let mut page = Page::new(ROWS);
    let width = Page::width() + GAP;
    let mut reel = String::from("<g class=\"r\">");
    for (index, frame) in frames.iter().enumerate() {
        let x = index as f64 * width;
        write!(reel, "<g transform=\"translate({x:.0} 0)\">").expect("writing to a string cannot fail");
        for (row, cells) in frame.rows.iter().take(ROWS).enumerate() {
            reel.push_str(&page.line(cells, row));
        }
        reel.push_str("</g>\n");
    }
    reel.push_str("</g>");
    page.document(title, &animation(frames, width), &reel)
}

fn animation(frames: &[Frame], width: f64) -> String {
    let seconds: Vec<f64> = frames
        .windows(2)
        .map(|pair| (between(pair[0].at, pair[1].at).as_secs_f64() / 150.0).clamp(0.12, 0.8))
        .chain([END_SECONDS])
        .collect();
    let total: f64 = seconds.iter().sum();
    let mut steps = String::new();
    let mut passed = 0.0;
    for (index, duration) in seconds.iter().enumerate().take(frames.len()) {
        let (percent, x) = (passed / total * 100.0, index as f64 * width);
        write!(steps, "{percent:.2}%{{transform:translateX(-{x:.0}px)}}")
            .expect("writing to a string cannot fail");
        passed += duration;
    }
    let last = frames.len().saturating_sub(1) as f64 * width;
    write!(steps, "100%{{transform:translateX(-{last:.0}px)}}").expect("writing to a string cannot fail");
    format!(
        ".r{{transform:translateX(-{last:.0}px);animation:r {total:.1}s steps(1,end) infinite}}\
         @keyframes r{{{steps}}}\
         @media(prefers-reduced-motion:reduce){{.r{{animation:none}}}}"
    )
}
