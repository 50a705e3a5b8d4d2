//! The command line: one command, one file in `commands/`, whose `run` reads top to bottom as the command's story.

mod absent;
pub mod args;
mod asking;
pub mod campaign;
mod commands;
mod consent;
mod console;
pub mod explain;
mod flow;
mod following;
mod paying;
pub mod replay;
pub mod report;
mod session;
mod signals;
mod supersede;
mod unsimulated;
mod wiring;

use crate::domain::diagnostic::Diagnostics;
use crate::domain::error::{Code, Exit, Failure};
use args::{Cli, Command};
use clap::Parser;
use session::Session;
use std::ffi::OsString;
use std::process::ExitCode;

/// What ends a command early.
#[derive(Debug)]
pub enum CliError {
    /// One thing failed.
    Failure(Failure),
    /// The configuration has mistakes.
    Mistakes(Diagnostics),
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Diagnostics> for CliError {
    fn from(mistakes: Diagnostics) -> Self {
        Self::Mistakes(mistakes)
    }
}

/// Runs the program on these arguments; what it prints and returns is all it does.
#[must_use]
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args::with_short_form(args)) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { Exit::Done as u8 });
        }
    };
    let session = Session::new(cli.global);
    let reads = only_reads(&cli.command);
    let exit = dispatch(&session, cli.command).unwrap_or_else(|error| session.explain_end(&error));
    ExitCode::from(session.account_for_output(exit, reads) as u8)
}

/// Whether all that a command is for is what it prints.
fn only_reads(command: &Command) -> bool {
    match command {
        Command::Deploy(args) => args.dry_run,
        Command::Rollback(args) => args.dry_run,
        Command::Promote(_)
        | Command::Pause(_)
        | Command::Approve(_)
        | Command::Abort(_)
        | Command::Resume(_)
        | Command::Guard(_)
        | Command::Lock { .. } => false,
        _ => true,
    }
}

fn dispatch(session: &Session, command: Command) -> Result<Exit, CliError> {
    comment_of_a_plan(session, &command)?;
    match command {
        Command::Deploy(args) => commands::deploy::run(session, &args),
        Command::Validate { env } => commands::validate::run(session, env.as_deref()),
        Command::Plan(args) => commands::plan::run(session, &args),
        Command::Render { what } => commands::render::run(session, &what),
        Command::Preflight { what } => commands::preflight::run(session, &what),
        Command::Smoke { place } => commands::smoke::run(session, &place),
        Command::Status { place, watch } => commands::status::run(session, &place, watch),
        Command::History { place } => commands::history::run(session, &place),
        Command::Show { place, revision } => commands::show::run(session, &place, revision.as_deref()),
        Command::Promote(args) => commands::promote::run(session, &args),
        Command::Pause(args) => commands::pause::run(session, &args),
        Command::Approve(args) => commands::approve::run(session, &args),
        Command::Abort(args) => commands::abort::run(session, &args),
        Command::Rollback(args) => commands::rollback::run(session, &args),
        Command::Resume(args) => commands::resume::run(session, &args),
        Command::Guard(args) => commands::guard::run(session, &args),
        Command::Lock { action } => commands::lock::run(session, &action),
        Command::Rehearse(args) => commands::rehearse::run(session, &args),
        Command::Metrics(args) => commands::metrics::run(session, &args),
        Command::Schema => commands::schema::run(session),
        Command::Completions { shell } => commands::completions::run(session, shell),
        Command::Explain { code } => commands::explain::run(session, code.as_deref()),
    }
}

/// A comment is made of a plan and of nothing else.
fn comment_of_a_plan(session: &Session, command: &Command) -> Result<(), Failure> {
    let plans = match command {
        Command::Plan(_) => true,
        Command::Deploy(args) => args.dry_run,
        Command::Rollback(args) => args.dry_run,
        _ => false,
    };
    if plans || session.output.format != report::Format::Github {
        return Ok(());
    }
    Err(Failure::new(Code(713), Exit::Usage, "only a plan can be a comment on GitHub")
        .next("deployctl plan ENV --output github"))
}
