//! `deployctl rehearse`.

use super::{ConsentArgs, ReleaseArgs};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `rehearse`.
#[derive(Clone, Debug, Args)]
pub struct RehearseArgs {
    /// Environment: `environments/ENV.yaml`
    #[arg(value_name = "ENV", required_unless_present = "list_faults")]
    pub env: Option<String>,
    /// Only this target (repeat for more)
    #[arg(short, long = "target", value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Which release
    #[command(flatten)]
    pub release: ReleaseArgs,
    /// Approval; without it a rehearsal on a terminal asks as a deployment would
    #[command(flatten)]
    pub consent: ConsentArgs,
    /// A fault, e.g. error-spike:20@weight:25 (repeat for more; --list-faults says how)
    #[arg(long = "fault", value_name = "FAULT")]
    pub faults: Vec<String>,
    /// What can go wrong, by name
    #[arg(long)]
    pub list_faults: bool,
    /// Seed of all chance: the same seed prints the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Begin with an empty cluster instead of one that serves the release before
    #[arg(long)]
    pub from_nothing: bool,
    /// Interrupt (Ctrl-C) the run at this virtual time, e.g. 12m
    #[arg(long, value_name = "TIME")]
    pub interrupt_at: Option<String>,
    /// Ask something of the run at this virtual time, as from another machine, e.g. pause@12m (repeat for more): promote,
    /// promote-full, pause, resume, approve, abort; deploy begins a second release. What nobody approves so is approved
    /// after a minute or two.
    #[arg(long = "ask", value_name = "WISH@TIME")]
    pub asks: Vec<String>,
    /// Let the process die at this virtual time, or at its Nth write: write:37, write:37:after (repeat for more)
    #[arg(long, value_name = "WHEN")]
    pub crash_at: Vec<String>,
    /// What the operator types, from an empty directory, once the process is over (repeat for more)
    #[arg(long, value_name = "COMMAND")]
    pub then: Vec<Then>,
    /// In the end all faults are over, and resume is typed until no run is unfinished
    #[arg(long)]
    pub settle: bool,
    /// Play N stories of random faults, crashes and commands instead, and report what breaks a rule
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["faults", "asks", "crash_at", "then", "settle", "interrupt_at", "record"])]
    pub campaign: Option<u64>,
    /// No hold and no bake lasts longer than this, e.g. 2m. A campaign cuts them to what its gates need to decide, once;
    /// `--longest-hold 24h` leaves them whole
    #[arg(long, value_name = "TIME")]
    pub longest_hold: Option<String>,
    /// Record the session as an SVG picture
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// What an operator types next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Then {
    /// deployctl resume ENV
    Resume,
    /// deployctl rollback ENV
    Rollback,
}
