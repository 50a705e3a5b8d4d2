//! `deployctl schema`: the JSON Schema of environment files.

use crate::cli::CliError;
use crate::cli::session::Session;
use crate::config;
use crate::domain::error::Exit;

#[expect(clippy::unnecessary_wraps, reason = "all commands have one form")]
pub fn run(session: &Session) -> Result<Exit, CliError> {
    // The schema is JSON already, whatever form was asked for.
    session.printer.document(&format!("{:#}\n", config::json_schema()));
    Ok(Exit::Done)
}
