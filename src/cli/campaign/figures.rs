//! What came of a campaign, counted, for people and for machines.

use super::schedule::Schedule;
use super::theatre::Played;
use crate::cli::wiring::Violation;
use crate::domain::error::Exit;
use crate::domain::units::human;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// A command after which a person has to look.
#[derive(Clone, Debug)]
pub struct Left {
    /// Number of the story.
    pub number: u64,
    /// The story.
    pub schedule: Schedule,
    /// What was typed.
    pub command: &'static str,
    /// What it said was still wrong.
    pub cause: String,
}

/// Of such commands so many are shown.
const SHOWN: usize = 3;

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Number of the story.
    pub number: u64,
    /// What still breaks it.
    pub schedule: Schedule,
    /// How.
    pub violation: Violation,
}

/// What came of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Stories.
    pub stories: u64,
    /// Commands by what was typed and how they ended: an exit code, or `died`.
    pub ends: BTreeMap<(&'static str, String), u64>,
    /// Rules that were broken, by story.
    pub broken: Vec<Broken>,
    /// Requests of users, and those that failed by the release, the world, the orchestration.
    pub requests: [u64; 4],
    /// Breaches that the world caused.
    pub by_world: u64,
    /// The longest time that a component had fewer ready pods than at the beginning.
    pub worst_below_full: Duration,
    /// Steps that were begun again.
    pub retried: u64,
    /// To what holds and bakes were cut, if any was longer.
    pub longest_hold: Option<Duration>,
    /// The first few stories with a command that could not put everything back (exit 6).
    pub left: Vec<Left>,
    ways_back: Vec<Duration>,
}

/// A command's end in words.
fn told(end: &str) -> String {
    let words = match end {
        "0" => "done",
        "1" => "internal error",
        "2" => "refused as impossible",
        "3" => "refused before it began",
        "5" => "rolled back",
        "6" => "not all put back",
        "7" => "lock held",
        "8" => "not approved",
        "9" => "outcome unknown",
        "130" => "interrupted",
        other => return other.to_owned(),
    };
    if end == "0" { words.to_owned() } else { format!("{words} (exit {end})") }
}

impl Figures {
    /// Nothing yet, of stories whose holds were cut to that.
    pub(super) fn of(longest_hold: Option<Duration>) -> Self {
        Self { longest_hold, ..Self::default() }
    }

    /// Counts a story.
    pub(super) fn add(&mut self, number: u64, played: &Played, drawn: &dyn Fn(&u64) -> Schedule) {
        self.stories += 1;
        for life in &played.lives {
            let end = life.exit.map_or_else(|| "died".to_owned(), |exit| (exit as u8).to_string());
            *self.ends.entry((life.command, end)).or_default() += 1;
            let known = self.left.last().is_some_and(|left| left.number == number);
            if life.exit == Some(Exit::Broken) && self.left.len() < SHOWN && !known {
                let (command, cause) = (life.command, life.cause.clone());
                self.left.push(Left { number, schedule: drawn(&number), command, cause });
            }
        }
        let failed = played.judgement.failed;
        let counts = [played.judgement.requests, failed.release, failed.world, failed.orchestration];
        for (sum, count) in self.requests.iter_mut().zip(counts) {
            *sum += count;
        }
        self.by_world += played.judgement.by_world;
        let below = Duration::from_secs(played.judgement.worst_below_full);
        self.worst_below_full = self.worst_below_full.max(below);
        self.retried += played.retried;
        self.ways_back.extend(&played.ways_back);
    }

    /// The time within which so many percent of all ways back came to their end.
    #[must_use]
    pub fn way_back(&self, percent: usize) -> Duration {
        let mut sorted = self.ways_back.clone();
        sorted.sort();
        let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default()
    }

    /// For people.
    #[must_use]
    pub fn text(&self, env: &str, seed: u64) -> String {
        let mut text = format!("{} stories of {env}, seed {seed}\n", self.stories);
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<28} {value}");
        };
        let mut by_command: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((command, end), count) in &self.ends {
            by_command.entry(command).or_default().push(format!("{count} {}", told(end)));
        }
        if let Some(longest) = self.longest_hold {
            line("holds and bakes", format!("cut to {}", human(longest)));
        }
        for (command, ends) in by_command {
            line(command, ends.join(", "));
        }
        let [requests, release, world, orchestration] = self.requests;
        line("requests", requests.to_string());
        line("  failed by the release", release.to_string());
        line("  failed by the world", world.to_string());
        line("  failed by deployctl", orchestration.to_string());
        line("below full capacity at most", human(self.worst_below_full));
        let seconds = |percent| human(Duration::from_secs_f64(self.way_back(percent).as_secs_f64().ceil()));
        line("way back, p50 and p99", format!("{} and {}", seconds(50), seconds(99)));
        line("steps begun again", self.retried.to_string());
        line("breaches by the world", self.by_world.to_string());
        line("rules broken", self.broken.len().to_string());
        for broken in &self.broken {
            let Violation { invariant, what, at } = &broken.violation;
            let at = human(Duration::from_millis(*at));
            let _ = write!(
                text,
                "\nstory {}: {invariant} at {at}: {what}\n  {}\n",
                broken.number,
                super::command(env, &broken.schedule)
            );
        }
        for left in &self.left {
            let _ = write!(
                text,
                "\nstory {}: {} could not put everything back: {}\n  {}\n",
                left.number,
                left.command,
                left.cause,
                super::command(env, &left.schedule)
            );
        }
        text
    }

    /// For machines: one event for each broken rule, and one for the whole.
    #[must_use]
    pub fn json(&self, env: &str, seed: u64) -> Vec<Value> {
        let broken = self.broken.iter().map(|broken| {
            json!({
                "type": "rule_broken", "story": broken.number, "rule": broken.violation.invariant,
                "what": broken.violation.what, "at_ms": broken.violation.at,
                "command": super::command(env, &broken.schedule),
            })
        });
        let ends = self
            .ends
            .iter()
            .map(|((command, end), count)| json!({"command": command, "end": end, "count": count}));
        let [requests, release, world, orchestration] = self.requests;
        let whole = json!({
            "type": "campaign_finished", "environment": env, "seed": seed, "stories": self.stories,
            "ends": ends.collect::<Vec<_>>(),
            "requests": {"all": requests, "failed_by_release": release, "failed_by_world": world,
                         "failed_by_orchestration": orchestration},
            "worst_below_full_capacity_s": self.worst_below_full.as_secs(),
            "way_back_ms": {"p50": self.way_back(50).as_millis() as u64, "p99": self.way_back(99).as_millis() as u64},
            "longest_hold_s": self.longest_hold.map(|longest| longest.as_secs()),
            "steps_begun_again": self.retried, "breaches_by_world": self.by_world,
            "rules_broken": self.broken.len(),
        });
        let left = self.left.iter().map(|left| {
            json!({
                "type": "not_put_back", "story": left.number, "typed": left.command, "what": left.cause,
                "command": super::command(env, &left.schedule),
            })
        });
        broken.chain(left).chain([whole]).collect()
    }
}
