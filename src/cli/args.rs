//! The command line.

mod asking;
mod guard;
mod metrics;
mod rehearse;

pub use asking::{AbortArgs, AskArgs, PromoteArgs};
pub use guard::GuardArgs;
pub use metrics::MetricsArgs;
pub use rehearse::{RehearseArgs, Then};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
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
#[derive(Clone, Debug, Default, Args)]
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
    /// Take a run back whose journal is damaged: all that it may have begun counts as begun
    #[arg(long)]
    pub despite_damaged_journal: bool,
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

/// `deployctl production …` is `deployctl deploy production …`: the first word that is no command is an environment.
#[must_use]
pub fn with_short_form(args: Vec<OsString>) -> Vec<OsString> {
    let cli = Cli::command();
    let is_command = |arg: &str| arg == "help" || cli.find_subcommand(arg).is_some();
    let takes_value = |arg: &str| matches!(arg, "-C" | "--root" | "-o" | "--output" | "--color");
    let mut index = 1;
    while let Some(arg) = args.get(index).and_then(|arg| arg.to_str()) {
        if takes_value(arg) {
            index += 2;
        } else if arg.starts_with('-') {
            index += 1;
        } else if is_command(arg) {
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

    #[test]
    fn the_definition_is_sound() {
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
