//! `deployctl abort ENV`: a run that goes on elsewhere takes everything back, now.

use crate::cli::CliError;
use crate::cli::args::AbortArgs;
use crate::cli::session::Session;
use crate::cli::{asking, flow, wiring};
use crate::domain::error::Exit;
use crate::domain::intent::Wish;
use crate::run::intents;
use crate::run::journal::Phase;

pub fn run(session: &Session, args: &AbortArgs) -> Result<Exit, CliError> {
    let env = session.whole(&args.ask.env)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
        let live = intents::live(&world, &env.name).await?;
        if let Phase::Aborting { cause, .. } = &live.replayed.phase {
            session.note(&format!("run {} is on its way back already: {cause}\n", live.plan.run));
        } else {
            let wish = Wish::Abort { superseded_by: None };
            let intent = asking::ask(session, &world, &live, wish, args.ask.reason.as_deref()).await?;
            let effect = format!("takes {} back", live.plan.version);
            asking::heard(session, &world, &live, &intent, &effect).await?;
        }
        if args.no_wait {
            return Ok(Exit::Done);
        }
        asking::outcome(session, &world, &live).await
    })
}
