//! `deployctl pause ENV`: a run that goes on elsewhere stays where it is after its present step.

use crate::cli::CliError;
use crate::cli::args::AskArgs;
use crate::cli::asking;
use crate::cli::session::Session;
use crate::domain::error::Exit;
use crate::domain::intent::Wish;

pub fn run(session: &Session, args: &AskArgs) -> Result<Exit, CliError> {
    asking::run(session, args, |live| {
        let at = live.stage().map_or_else(String::new, |stage| format!(" after `{}`", stage.title));
        Ok((Wish::Pause, format!("stays{at} until resume, promote or abort; it keeps the lock")))
    })
}
