//! `deployctl pause ENV`: a run that goes on elsewhere stays where it is after its present step.

use crate::cli::CliError;
use crate::cli::args::AskArgs;
use crate::cli::session::Session;
use crate::cli::{asking, flow, wiring};
use crate::domain::error::Exit;
use crate::domain::intent::Wish;
use crate::run::intents;

pub fn run(session: &Session, args: &AskArgs) -> Result<Exit, CliError> {
    let env = session.whole(&args.env)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
        let live = intents::live(&world, &env.name).await?;
        asking::still_forward(&live)?;
        let intent = asking::ask(session, &world, &live, Wish::Pause, args.reason.as_deref()).await?;
        let at = live.stage().map_or_else(String::new, |stage| format!(" after `{}`", stage.title));
        let effect = format!("stays{at} until resume, promote or abort; it keeps the lock");
        asking::heard(session, &world, &live, &intent, &effect).await
    })
}
