//! `deployctl schema`: the JSON Schema of environment files.

use crate::cli::CliError;
use crate::config;
use crate::domain::error::Exit;
use std::io::Write as _;

#[expect(clippy::unnecessary_wraps, reason = "all commands have one form")]
pub fn run() -> Result<Exit, CliError> {
    // The schema is JSON already, whatever form was asked for.
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{:#}", config::json_schema());
    Ok(Exit::Done)
}
