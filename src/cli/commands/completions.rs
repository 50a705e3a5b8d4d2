//! `deployctl completions SHELL`.

use crate::cli::CliError;
use crate::cli::args::Cli;
use crate::domain::error::Exit;
use clap::CommandFactory;

#[expect(clippy::unnecessary_wraps, reason = "all commands have one form")]
pub fn run(shell: clap_complete::Shell) -> Result<Exit, CliError> {
    clap_complete::generate(shell, &mut Cli::command(), "deployctl", &mut std::io::stdout());
    Ok(Exit::Done)
}
