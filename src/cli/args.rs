//! The command line.

mod asking;
mod guard;

pub use asking::{AbortArgs, AskArgs, PromoteArgs};
pub use guard::GuardArgs;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const AFTER: &str = "\
Examples:
  deployctl rehearse production --auto-approve   watch a whole deployment, nothing real is touched
  deployctl validate                             every mistake in every environment
  deployctl production --dry-run                 what would happen
  deployctl production --auto-approve            deploy (short for: deployctl deploy production)
  deployctl status production                    what runs, and what each next command would do
  deployctl rollback production                  back to the release before

Exit codes: 0 done, 1 internal error, 2 usage or configuration, 3 preflight refused, 4 changes present
(plan --detailed-exitcode), 5 failed and rolled back, 6 rollback incomplete, 7 lock held, 8 not approved,
9 outcome unknown, 130 interrupted with the state safe.";

/// Takes a release to an environment and stays responsible until it is healthy or everything is back as it was.
#[derive(Debug, Parser)]
#[command(name = "deployctl", version, after_help = AFTER, subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Folder that holds `environments/` and `manifests/`
    #[arg(short = 'C', long, global = true, value_name = "DIR", default_value = ".")]
    pub root: PathBuf,
    /// Form of the output
    #[arg(short, long, global = true, value_name = "FORM", default_value = "human")]
    pub output: Form,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: When,
    /// More of what goes on inside, on stderr (repeat for more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people: live on a terminal, time-stamped lines elsewhere
    Human,
    /// One JSON event a line on stdout, and nothing else there
    Json,
    /// A comment for a pull request on GitHub (Markdown), of plan and deploy --dry-run
    Github,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Deploy a release (also: `deployctl ENV`)
    Deploy(DeployArgs),
    /// Find every mistake in the environments and their manifests
    Validate {
        /// Environment; all if absent
        env: Option<String>,
    },
    /// Show what a deployment would do
    Plan(PlanArgs),
    /// Print the rendered manifests
    Render {
        /// Which release, where
        #[command(flatten)]
        what: WhatArgs,
    },
    /// Check everything that can be checked before the first write
    Preflight {
        /// Which release, where
        #[command(flatten)]
        what: WhatArgs,
    },
    /// Run the smoke tests now
    Smoke {
        /// Where
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// What runs, who holds the lock, what is unfinished
    Status {
        /// Where
        #[command(flatten)]
        place: PlaceArgs,
        /// Follow the run that goes on until it ends; its exit code is the run's
        #[arg(short, long)]
        watch: bool,
    },
    /// The releases on record
    History {
        /// Where
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// One release whole
    Show {
        /// Where
        #[command(flatten)]
        place: PlaceArgs,
        /// Its number, e.g. 12 or r12; the newest if absent
        revision: Option<String>,
    },
    /// Let a run that goes on elsewhere hold no longer
    Promote(PromoteArgs),
    /// Let a run that goes on elsewhere stay where it is
    Pause(AskArgs),
    /// Approve what a run waits for
    Approve(AskArgs),
    /// Let a run that goes on elsewhere take everything back, now
    Abort(AbortArgs),
    /// Take an unfinished run back, or bring an older release back
    Rollback(RollbackArgs),
    /// Go on with a run that stopped in the middle, or that is paused
    Resume(ResumeArgs),
    /// Watch an environment's runs; when the machine of one dies in the middle, put traffic on stable
    Guard(GuardArgs),
    /// The lock of an environment
    Lock {
        /// What to do with it
        #[command(subcommand)]
        action: LockAction,
    },
    /// The whole deployment against a simulated world, in virtual time
    Rehearse(RehearseArgs),
    /// Ask the gates once, of what serves now; or judge recorded metrics as a canary's gates would
    Metrics(MetricsArgs),
    /// Print the JSON Schema of environment files
    Schema,
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Explain an error code, e.g. DC0612
    Explain {
        /// The code; lists all if absent
        code: Option<String>,
    },
}

/// Which environment, and where in it.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// Environment: `environments/ENV.yaml`
    #[arg(value_name = "ENV")]
    pub env: String,
    /// Only this target (repeat for more)
    #[arg(short, long = "target", value_name = "TARGET")]
    pub targets: Vec<String>,
}

/// Which release, and where.
#[derive(Clone, Debug, Args)]
pub struct WhatArgs {
    /// Where
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Which release
    #[command(flatten)]
    pub release: ReleaseArgs,
}

/// Which release.
#[derive(Clone, Debug, Default, Args)]
pub struct ReleaseArgs {
    /// Version to deploy; the environment's own if absent
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Only this component (repeat for more); the others stay as they are
    #[arg(short, long = "component", value_name = "COMPONENT")]
    pub components: Vec<String>,
    /// Another image for a component
    #[arg(long = "image", value_name = "COMPONENT=REF")]
    pub images: Vec<String>,
    /// A template value above all layers
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

/// How a run is approved and identified.
#[derive(Clone, Debug, Args)]
pub struct ConsentArgs {
    /// Do not ask
    #[arg(long)]
    pub auto_approve: bool,
    /// With --auto-approve: also delete and make anew what cannot be changed
    #[arg(long)]
    pub allow_replace: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Wait for the lock instead of failing; with a limit, e.g. 15m
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "24h")]
    pub wait: Option<String>,
}

/// What a plan may do beyond what is ordinary.
#[derive(Clone, Debug, Default, Args)]
pub struct SayArgs {
    /// Take this field over from whoever owns it, e.g. spec.replicas or Service/web:spec.type (repeat for more)
    #[arg(long, value_name = "FIELD")]
    pub take: Vec<String>,
    /// Delete this object that no release holds any more though it would be kept, e.g. PersistentVolumeClaim/data
    /// (repeat for more)
    #[arg(long, value_name = "KIND/NAME")]
    pub prune: Vec<String>,
}

/// `deploy`.
#[derive(Clone, Debug, Args)]
pub struct DeployArgs {
    /// Which release, where
    #[command(flatten)]
    pub what: WhatArgs,
    /// Beyond what is ordinary
    #[command(flatten)]
    pub say: SayArgs,
    /// Approval
    #[command(flatten)]
    pub consent: ConsentArgs,
    /// Show the plan and stop: nothing is written
    #[arg(long)]
    pub dry_run: bool,
    /// Perform this saved plan, exactly, or refuse
    #[arg(long, value_name = "FILE", conflicts_with_all = ["version", "components", "images", "set", "take", "prune"])]
    pub plan: Option<PathBuf>,
    /// Deploy though the environment is frozen or the hour is not allowed, and why; goes on record
    #[arg(long, value_name = "REASON")]
    pub override_freeze: Option<String>,
    /// Leave this target out and owe it the release (repeat for more); `resume` brings it there later
    #[arg(long, value_name = "TARGET")]
    pub without: Vec<String>,
    /// When a run is going on, let it take everything back first, then deploy
    #[arg(long, conflicts_with_all = ["dry_run", "wait"])]
    pub supersede: bool,
    /// Leave a part out: backup, smoke, tests
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub skip: Vec<Part>,
}

/// A part of a deployment that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Backups
    Backup,
    /// Smoke tests
    Smoke,
    /// The project's own tests
    Tests,
}

/// `plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Which release, where
    #[command(flatten)]
    pub what: WhatArgs,
    /// Beyond what is ordinary
    #[command(flatten)]
    pub say: SayArgs,
    /// Leave this target out and owe it the release (repeat for more); `resume` brings it there later
    #[arg(long, value_name = "TARGET")]
    pub without: Vec<String>,
    /// Save the plan, to be performed by `deploy --plan FILE`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exit with 4 when there are changes
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `rollback`.
#[derive(Clone, Debug, Args)]
pub struct RollbackArgs {
    /// Where
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Leave this target out and owe it the way back (repeat for more)
    #[arg(long, value_name = "TARGET")]
    pub without: Vec<String>,
    /// Release to bring back, e.g. 12 or r12; the one before if absent
    #[arg(long, value_name = "REVISION")]
    pub to: Option<String>,
    /// Approval
    #[command(flatten)]
    pub consent: ConsentArgs,
    /// Show the plan and stop
    #[arg(long)]
    pub dry_run: bool,
}

/// `resume`.
#[derive(Clone, Debug, Args)]
pub struct ResumeArgs {
    /// Where
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Approval
    #[command(flatten)]
    pub consent: ConsentArgs,
}

/// `lock …`.
#[derive(Clone, Debug, Subcommand)]
pub enum LockAction {
    /// Who holds it, since when, and for what
    Status {
        /// Where
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Take it away from a holder that is gone
    Release {
        /// Where
        #[command(flatten)]
        place: PlaceArgs,
        /// Even from a holder that still shows signs of life
        #[arg(long)]
        force: bool,
    },
}

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

/// `metrics`.
#[derive(Clone, Debug, Args)]
pub struct MetricsArgs {
    /// Environment whose gates are asked, once, of what serves now
    #[arg(value_name = "ENV", required_unless_present = "replay")]
    pub env: Option<String>,
    /// Only this target (repeat for more)
    #[arg(short, long = "target", value_name = "TARGET", requires = "env")]
    pub targets: Vec<String>,
    /// With ENV: what the gates saw of this revision, judged by the gates as they are now. Without: recorded blocks or raw
    /// samples (JSON); - reads standard input
    #[arg(long, value_name = "REV|FILE")]
    pub replay: Option<String>,
    /// By the gates as they were when the revision was released
    #[arg(long, requires = "replay", requires = "env")]
    pub as_recorded: bool,
    /// Fail at what comes out otherwise than the file expects, or than it did then
    #[arg(long, requires = "replay")]
    pub check: bool,
}

/// Names of all commands, for the short form.
const COMMANDS: [&str; 23] = [
    "deploy",
    "validate",
    "plan",
    "render",
    "preflight",
    "smoke",
    "status",
    "history",
    "show",
    "promote",
    "pause",
    "approve",
    "abort",
    "rollback",
    "resume",
    "guard",
    "lock",
    "rehearse",
    "metrics",
    "schema",
    "completions",
    "explain",
    "help",
];

/// `deployctl production …` is `deployctl deploy production …`: the first word that is no command is an environment.
#[must_use]
pub fn with_short_form(args: Vec<OsString>) -> Vec<OsString> {
    let takes_value = |arg: &str| matches!(arg, "-C" | "--root" | "-o" | "--output" | "--color");
    let mut index = 1;
    while let Some(arg) = args.get(index).and_then(|arg| arg.to_str()) {
        if takes_value(arg) {
            index += 2;
        } else if arg.starts_with('-') {
            index += 1;
        } else if COMMANDS.contains(&arg) {
            return args;
        } else {
            let mut full = args.clone();
            full.insert(index, OsString::from("deploy"));
            return full;
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_is_known_to_the_short_form() {
        let command = Cli::command();
        for sub in command.get_subcommands() {
            assert!(COMMANDS.contains(&sub.get_name()), "{}", sub.get_name());
        }
        Cli::command().debug_assert();
    }

    #[test]
    fn the_first_word_that_is_no_command_is_an_environment() {
        let cases = [
            ("deployctl production --auto-approve", "deployctl deploy production --auto-approve"),
            ("deployctl -o json staging", "deployctl -o json deploy staging"),
            ("deployctl status production", "deployctl status production"),
            ("deployctl --version", "deployctl --version"),
            ("deployctl", "deployctl"),
        ];
        for (given, expected) in cases {
            let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
            assert_eq!(with_short_form(words(given)), words(expected));
        }
    }
}
