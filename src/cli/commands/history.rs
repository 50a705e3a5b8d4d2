//! `deployctl history ENV`: the releases on record, from any machine.

use crate::cli::CliError;
use crate::cli::args::PlaceArgs;
use crate::cli::session::Session;
use crate::cli::{flow, report, wiring};
use crate::domain::error::Exit;
use crate::run::{prepare, releases};
use std::collections::BTreeMap;

pub fn run(session: &Session, place: &PlaceArgs) -> Result<Exit, CliError> {
    let env = session.place(place)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
        prepare::reach(&world).await?;
        let mut histories = BTreeMap::new();
        for (target, site) in &world.sites {
            histories.insert(target.clone(), releases::history(target, site.state.as_ref()).await?);
        }
        session.print(&report::history::render(&histories, &session.output));
        Ok(Exit::Done)
    })
}
