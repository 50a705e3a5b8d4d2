//! What came of a campaign, counted, for people and for machines.

use super::schedule::Schedule;
use super::theatre::Played;
use crate::cli::wiring::Violation;
use crate::domain::units::human;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

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
    ways_back: Vec<Duration>,
}

impl Figures {
    /// Counts a story.
    pub(super) fn add(&mut self, played: &Played) {
        self.stories += 1;
        for life in &played.lives {
            let end = life.exit.map_or_else(|| "died".to_owned(), |exit| (exit as u8).to_string());
            *self.ends.entry((life.command, end)).or_default() += 1;
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
        self.ways_back.sort();
    }

    /// The time within which so many percent of all ways back came to their end.
    #[must_use]
    pub fn way_back(&self, percent: usize) -> Duration {
        let place = (self.ways_back.len() * percent).div_ceil(100).saturating_sub(1);
        self.ways_back.get(place).copied().unwrap_or_default()
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
            let end = if end == "died" { end.clone() } else { format!("exit {end}") };
            by_command.entry(command).or_default().push(format!("{count} {end}"));
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
            "steps_begun_again": self.retried, "breaches_by_world": self.by_world,
            "rules_broken": self.broken.len(),
        });
        broken.chain([whole]).collect()
    }
}
