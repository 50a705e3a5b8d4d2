//! Campaigns: thousands of stories of random faults, crashes and commands, each in a simulated world of its own.
//!
//! What a seed gives does not depend on the number of cores: every story is drawn by its number and played on a clock
//! and a chance of its own, and what came of it is counted in the order of the numbers.

mod beginning;
mod checks;
mod commands;
mod draw;
mod figures;
mod holds;
mod operator;
pub mod schedule;
mod tally;
mod theatre;
mod watcher;

pub(super) use beginning::virtual_time;
pub(super) use holds::decisive;
pub(super) use schedule::given;
pub use schedule::{Ask, Crash, Schedule, Then};
pub(super) use theatre::Audience;
pub use theatre::{Life, Played, Tamper, Theatre};

use crate::cli::CliError;
use crate::cli::wiring::Violation;
use crate::domain::error::Failure;
use crate::domain::ids::ComponentId;
use draw::Ground;
pub use figures::{Broken, Figures, Left};
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Stories whose schedules are made shorter; of more, the flags are told as they were drawn.
const SHRUNK: usize = 5;
/// Stories that may be played to make one schedule shorter.
const TRIES: usize = 40;

/// What a campaign is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Campaign<'a> {
    /// Stories.
    pub stories: u64,
    /// Decides all of them.
    pub seed: u64,
    /// Threads that play; all cores if zero.
    pub threads: usize,
    /// Flags that say which release goes out into which world: part of the commands that play stories again.
    pub given: &'a [String],
}

/// Plays a campaign.
pub fn run(theatre: &Theatre, campaign: Campaign<'_>) -> Result<Figures, CliError> {
    run_before(theatre, campaign, &|_, _| {})
}

/// Plays a campaign; `told` hears after each story how many are done, and how many of them broke a rule.
pub(super) fn run_before(
    theatre: &Theatre,
    campaign: Campaign<'_>,
    told: &(dyn Fn(u64, u64) + Sync),
) -> Result<Figures, CliError> {
    let whole = survey(theatre, campaign.given, None)?;
    let alone = each_alone(theatre, campaign.given)?;
    let numbers: Vec<u64> = (0..campaign.stories).collect();
    let threads = if campaign.threads > 0 {
        campaign.threads
    } else {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    };
    let drawn = |number: &u64| Schedule {
        longest_hold: theatre.longest_hold,
        given: campaign.given.to_vec(),
        ..draw::schedule(campaign.seed, *number, &whole, &alone)
    };
    let (done, wrong) = (AtomicU64::new(0), AtomicU64::new(0));
    let stories = side_by_side(&numbers, threads, |number| {
        // of ten thousand stories nobody asks for the labels
        let played = Played { labels: Vec::new(), ..play(theatre, &drawn(number)) };
        wrong.fetch_add(u64::from(!played.violations.is_empty()), Ordering::Relaxed);
        told(done.fetch_add(1, Ordering::Relaxed) + 1, wrong.load(Ordering::Relaxed));
        played
    });
    let mut figures = Figures::of(theatre.longest_hold);
    let mut broken: Vec<(u64, Schedule, Violation)> = Vec::new();
    for (number, played) in numbers.iter().zip(stories) {
        if let Some(first) = played.violations.first() {
            broken.push((*number, drawn(number), first.clone()));
        }
        figures.add(*number, &played, &drawn);
    }
    let shortened = side_by_side(&broken[..broken.len().min(SHRUNK)], threads, |(_, schedule, violation)| {
        shrink(theatre, schedule, violation)
    });
    let mut shortened = shortened.into_iter();
    for (number, schedule, violation) in broken {
        let (schedule, violation) = shortened.next().unwrap_or((schedule, violation));
        figures.broken.push(Broken { number, schedule, violation });
    }
    Ok(figures)
}

/// What stories of one component can be made of, where several are released.
fn each_alone(theatre: &Theatre, given: &[String]) -> Result<Vec<Ground>, CliError> {
    let components = &theatre.wanted.env.components;
    if components.len() < 2 || !theatre.wanted.components.is_empty() {
        return Ok(Vec::new());
    }
    components.iter().map(|component| survey(theatre, given, Some(&component.id))).collect()
}

/// The story without any fault: it must end well, and shows what the others can be made of.
fn survey(theatre: &Theatre, given: &[String], only: Option<&ComponentId>) -> Result<Ground, CliError> {
    let (longest_hold, given) = (theatre.longest_hold, given.to_vec());
    let only = only.cloned();
    let quiet =
        Schedule { given, only: only.clone(), seed: 1, settle: true, longest_hold, ..Schedule::default() };
    let played = play(theatre, &quiet);
    if let Some(violation) = played.violations.first() {
        return Err(broken(&theatre.wanted.env.name, &quiet, violation).into());
    }
    let env = &theatre.wanted.env;
    let targets = env.targets.iter().map(|target| target.id.to_string());
    let components = env.components.iter().map(|component| component.id.to_string());
    let waiting = |label: &String| !label.starts_with("step:") || label.len() < 60;
    Ok(Ground {
        only,
        lasts: played.lives.first().map(|life| life.took).unwrap_or_default(),
        writes: played.writes,
        labels: played.labels.into_iter().filter(waiting).collect(),
        places: targets.chain(components).collect(),
    })
}

/// Does `work` on every item, on so many threads; what comes of it stands in the order of the items.
fn side_by_side<I: Sync, T: Send>(items: &[I], threads: usize, work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                while let Some((place, item)) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|place| Some((place, items.get(place)?)))
                {
                    let result = work(item);
                    done.lock().expect("no panic while held").push((place, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic while held");
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Plays a story; a panic is one more way to break a rule.
fn play(theatre: &Theatre, schedule: &Schedule) -> Played {
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| theatre.play(schedule, None)));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = text.unwrap_or_else(|| "without a word".to_owned());
        Played { violations: vec![Violation { at: 0, invariant: "panic", what }], ..Played::default() }
    })
}

/// The shortest schedule that still breaks the same rule, as far as a few tries find it.
fn shrink(theatre: &Theatre, schedule: &Schedule, violation: &Violation) -> (Schedule, Violation) {
    let (mut shortest, mut last) = (schedule.clone(), violation.clone());
    let mut tries = 0;
    'shorter: loop {
        for candidate in shortest.without_one_part() {
            if tries >= TRIES {
                break 'shorter;
            }
            tries += 1;
            let found = play(theatre, &candidate).violations;
            if let Some(same) = found.into_iter().find(|found| found.invariant == violation.invariant) {
                (shortest, last) = (candidate, same);
                continue 'shorter;
            }
        }
        break;
    }
    (shortest, last)
}

/// A rule that was broken, with the command that plays it again.
pub(super) fn broken(env: &str, schedule: &Schedule, violation: &Violation) -> Failure {
    use crate::domain::error::{Code, Exit};
    Failure::new(Code(732), Exit::Internal, format!("a rule was broken: {}", violation.invariant))
        .why(violation.what.clone())
        .next(command(env, schedule))
}

/// What plays a schedule again.
#[must_use]
pub fn command(env: &str, schedule: &Schedule) -> String {
    format!("deployctl rehearse {env} --auto-approve {}", schedule.flags().join(" "))
}
