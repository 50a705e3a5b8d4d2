//! `deployctl completions SHELL`.

use crate::cli::CliError;
use crate::cli::args::Cli;
use crate::cli::session::Session;
use crate::domain::error::Exit;
use clap::CommandFactory;

#[expect(clippy::unnecessary_wraps, reason = "all commands have one form")]
pub fn run(session: &Session, shell: clap_complete::Shell) -> Result<Exit, CliError> {
    // Written into memory first: `generate` panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "deployctl", &mut script);
    session.printer.document(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}
