//! `deployctl history ENV`: the releases on record, from any machine.

use crate::cli::CliError;
use crate::cli::args::PlaceArgs;
use crate::cli::session::Session;
use crate::cli::{absent, flow, report, wiring};
use crate::domain::error::Exit;
use crate::run::prepare;

pub fn run(session: &Session, place: &PlaceArgs) -> Result<Exit, CliError> {
    let env = session.place(place)?;
    flow::block_on(async {
        let world = wiring::with_silent(&env).await?;
        let silent = prepare::silent(&world).await?;
        if !silent.is_empty() {
            session.note(&format!("no answer: {}\n", absent::listed(&silent)));
        }
        let histories = absent::histories(&world.but(silent.keys())).await?;
        session.print(&report::history::render(&histories, &session.output));
        Ok(Exit::Done)
    })
}
