//! `deployctl show ENV [REVISION]`: one release whole.

use crate::cli::CliError;
use crate::cli::args::PlaceArgs;
use crate::cli::session::{self, Session};
use crate::cli::{absent, flow, report, wiring};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::release::Release;
use crate::run::prepare;

pub fn run(session: &Session, place: &PlaceArgs, revision: Option<&str>) -> Result<Exit, CliError> {
    let env = session.place(place)?;
    let revision = revision.map(|text| session::revision(text, "show", "")).transpose()?;
    flow::block_on(async {
        let world = wiring::with_silent(&env).await?;
        let silent = prepare::silent(&world).await?;
        if !silent.is_empty() {
            session.note(&format!("no answer: {}\n", absent::listed(&silent)));
        }
        let mut found: Vec<Release> = Vec::new();
        for history in absent::histories(&world.but(silent.keys())).await?.into_values() {
            let wanted = revision.or_else(|| history.last().map(|release| release.revision));
            found.extend(history.into_iter().filter(|release| Some(release.revision) == wanted));
        }
        if found.is_empty() {
            let what =
                revision.map_or_else(|| "release".to_owned(), |revision| format!("release {revision}"));
            return Err(Failure::new(
                Code(606),
                Exit::Usage,
                format!("{} has no {what} on record", env.name),
            )
            .next(format!("deployctl history {}", env.name))
            .into());
        }
        session.print(&report::show::render(&found, &session.output));
        Ok(Exit::Done)
    })
}
