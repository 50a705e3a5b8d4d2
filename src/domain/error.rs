//! The errors an operator meets: a stable code, what failed, why, and the next command to type.

use std::fmt;

/// Stable codes: `deployctl explain CODE` tells more. The kind of a code decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DC{:04}", self.0)
    }
}

/// Exit codes of the program; stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Internal error.
    Internal = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Preflight refused.
    Preflight = 3,
    /// Changes present (`plan --detailed-exitcode`).
    Changes = 4,
    /// Failed, rolled back, all healthy.
    RolledBack = 5,
    /// Failed and rollback incomplete: an operator must look.
    Broken = 6,
    /// Lock held.
    Locked = 7,
    /// Not approved.
    NotApproved = 8,
    /// Outcome unknown (contact lost).
    Unknown = 9,
    /// Interrupted, state safe.
    Interrupted = 130,
}

/// An error as an operator reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stable code.
    pub code: Code,
    /// Exit code of the command.
    pub exit: Exit,
    /// What failed, one line.
    pub what: String,
    /// Why, as far as known.
    pub why: Vec<String>,
    /// The next commands to type.
    pub next: Vec<String>,
}

impl Failure {
    /// A failure without detail yet.
    pub fn new(code: Code, exit: Exit, what: impl Into<String>) -> Self {
        Self { code, exit, what: what.into(), why: Vec::new(), next: Vec::new() }
    }

    /// Adds a line of why.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// Adds a next command.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }
}

impl Failure {
    /// Commands that were named for any environment are named for this one.
    #[must_use]
    pub fn of_environment(mut self, name: &str) -> Self {
        for next in &mut self.next {
            let word = |word: &str| {
                let bare = word.trim_end_matches([',', ';']);
                if bare == "ENV" { word.replacen("ENV", name, 1) } else { word.to_owned() }
            };
            *next = next.split(' ').map(word).collect::<Vec<_>>().join(" ");
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}
