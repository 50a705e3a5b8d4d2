//! `deployctl preflight ENV`: everything that can be checked before the first write.

use crate::cli::CliError;
use crate::cli::args::WhatArgs;
use crate::cli::session::Session;
use crate::cli::{flow, wiring};
use crate::domain::error::Exit;
use crate::run::prepare;

pub fn run(session: &Session, what: &WhatArgs) -> Result<Exit, CliError> {
    let wanted = session.wanted(&what.place.env, &what.place.targets, &what.release)?;
    flow::block_on(async {
        let world = wiring::real(&wanted.env).await?;
        let plan = prepare::plan(&world, &flow::request(&wanted, None, None)).await?;
        flow::preflight(session, &wanted, &world, &plan).await?;
        Ok(Exit::Done)
    })
}
