//! A schedule: everything that goes wrong in one story and everything that is asked meanwhile, as flags of `rehearse`.

use crate::cli::args::RehearseArgs;
use crate::cli::wiring::{self, Death, ScheduledFault};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::ComponentId;
use crate::domain::units;
use std::time::Duration;

/// What can be asked.
pub(in crate::cli) const WISHES: [&str; 7] =
    ["promote", "promote-full", "pause", "resume", "approve", "abort", "deploy"];

/// Something that an operator elsewhere does at a virtual time after the story's begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// One of `WISHES`.
    pub wish: String,
    /// When.
    pub at: Duration,
}

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Before or after a write, counted over the whole story.
    Write(Death),
    /// At a time after the story's begin.
    At(Duration),
}

/// What the operator types when a process is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// `deployctl resume ENV`
    Resume,
    /// `deployctl rollback ENV`
    Rollback,
}

/// One story.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    /// Flags that say which release goes out into which world, where they were given.
    pub given: Vec<String>,
    /// Only this component is released.
    pub only: Option<ComponentId>,
    /// Decides all chance.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Vec<ScheduledFault>,
    /// What operators elsewhere do.
    pub asks: Vec<Ask>,
    /// Ctrl-C.
    pub interrupt_at: Option<Duration>,
    /// Deaths of processes.
    pub crashes: Vec<Crash>,
    /// Commands after the first.
    pub then: Vec<Then>,
    /// Whether, when all that is over, the world heals and `resume` is typed until nothing is unfinished.
    pub settle: bool,
    /// To what holds and bakes of the environment were cut, if any was longer.
    pub longest_hold: Option<Duration>,
}

impl Ask {
    /// Reads `pause@12m`.
    pub(in crate::cli) fn read(text: &str) -> Result<Self, Failure> {
        let wrong = |why: String| {
            Failure::new(Code(714), Exit::Usage, format!("--ask {text} cannot be read"))
                .why(why)
                .next(format!("write WISH@TIME, e.g. pause@12m; wishes: {}", WISHES.join(", ")))
        };
        let Some((wish, at)) = text.split_once('@') else { return Err(wrong("there is no `@`".to_owned())) };
        if !WISHES.contains(&wish) {
            return Err(wrong(format!("`{wish}` cannot be asked")));
        }
        Ok(Self { wish: wish.to_owned(), at: units::parse_duration(at).map_err(wrong)? })
    }
}

impl Crash {
    /// Reads `write:37`, `write:37:after` or `12m`.
    pub(in crate::cli) fn read(text: &str) -> Result<Self, Failure> {
        let wrong = |why: String| {
            Failure::new(Code(731), Exit::Usage, format!("--crash-at {text} cannot be read"))
                .why(why)
                .next("write a time, e.g. 12m, or the number of a write: write:37, write:37:after")
        };
        let Some(rest) = text.strip_prefix("write:") else {
            return Ok(Self::At(units::parse_duration(text).map_err(wrong)?));
        };
        let (number, after) = match rest.split_once(':') {
            Some((number, "after")) => (number, true),
            Some((_, other)) => return Err(wrong(format!("`{other}` is not `after`"))),
            None => (rest, false),
        };
        let at = number.parse().map_err(|_| wrong(format!("`{number}` is no number")))?;
        Ok(Self::Write(Death { at, after }))
    }
}

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write(Death { at, after: false }) => write!(f, "write:{at}"),
            Self::Write(Death { at, after: true }) => write!(f, "write:{at}:after"),
            Self::At(at) => f.write_str(&units::human(*at)),
        }
    }
}

/// The flags that say which release goes out into which world, as a shell takes them.
pub(in crate::cli) fn given(args: &RehearseArgs) -> Vec<String> {
    let release = &args.release;
    let version: Vec<String> = release.version.iter().cloned().collect();
    let repeated = [
        ("--target", &args.targets),
        ("--version", &version),
        ("--component", &release.components),
        ("--image", &release.images),
        ("--set", &release.set),
    ];
    let flags = repeated
        .into_iter()
        .flat_map(|(flag, values)| values.iter().map(move |value| format!("{flag} {}", in_a_shell(value))));
    let from_nothing = args.from_nothing.then(|| "--from-nothing".to_owned());
    let replace = args.consent.allow_replace.then(|| "--allow-replace".to_owned());
    flags.chain(from_nothing).chain(replace).collect()
}

fn in_a_shell(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

impl Schedule {
    /// As a command line asks for it.
    pub(in crate::cli) fn of(args: &RehearseArgs) -> Result<Self, Failure> {
        let interrupt = args
            .interrupt_at
            .as_deref()
            .map(|text| units::parse_duration(text).map_err(|why| Failure::new(Code(706), Exit::Usage, why)));
        let then = args.then.iter().map(|then| match then {
            crate::cli::args::Then::Resume => Then::Resume,
            crate::cli::args::Then::Rollback => Then::Rollback,
        });
        Ok(Self {
            given: given(args),
            // A component that is asked for is so by the flags that were given.
            only: None,
            seed: args.seed,
            faults: wiring::faults(&args.faults)?,
            asks: args.asks.iter().map(|text| Ask::read(text)).collect::<Result<_, _>>()?,
            interrupt_at: interrupt.transpose()?,
            crashes: args.crash_at.iter().map(|text| Crash::read(text)).collect::<Result<_, _>>()?,
            then: then.collect(),
            settle: args.settle,
            longest_hold: None,
        })
    }

    /// The flags that play it again.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let mut flags = self.given.clone();
        flags.extend(self.only.iter().map(|component| format!("--component {component}")));
        flags.push(format!("--seed {}", self.seed));
        flags.extend(self.faults.iter().map(|fault| format!("--fault {fault}")));
        flags.extend(self.asks.iter().map(|ask| format!("--ask {}@{}", ask.wish, units::human(ask.at))));
        flags.extend(self.interrupt_at.map(|at| format!("--interrupt-at {}", units::human(at))));
        flags.extend(self.crashes.iter().map(|crash| format!("--crash-at {crash}")));
        flags.extend(self.then.iter().map(|then| match then {
            Then::Resume => "--then resume".to_owned(),
            Then::Rollback => "--then rollback".to_owned(),
        }));
        flags.extend(self.settle.then(|| "--settle".to_owned()));
        flags.extend(self.longest_hold.map(super::holds::flag));
        flags
    }

    /// Every schedule that is this one without one of its parts.
    #[must_use]
    pub fn without_one_part(&self) -> Vec<Self> {
        let mut shorter = Vec::new();
        for place in 0..self.faults.len() {
            let mut less = self.clone();
            less.faults.remove(place);
            shorter.push(less);
        }
        for place in 0..self.asks.len() {
            let mut less = self.clone();
            less.asks.remove(place);
            shorter.push(less);
        }
        for place in 0..self.crashes.len() {
            let mut less = self.clone();
            less.crashes.remove(place);
            shorter.push(less);
        }
        for place in 0..self.then.len() {
            let mut less = self.clone();
            less.then.remove(place);
            shorter.push(less);
        }
        if self.interrupt_at.is_some() {
            shorter.push(Self { interrupt_at: None, ..self.clone() });
        }
        if self.settle {
            shorter.push(Self { settle: false, ..self.clone() });
        }
        shorter
    }
}
