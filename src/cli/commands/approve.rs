//! `deployctl approve ENV`: what a run waits for is approved.

use super::promote::waits_for_approval;
use crate::cli::CliError;
use crate::cli::args::AskArgs;
use crate::cli::session::Session;
use crate::cli::{asking, flow, wiring};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::intent::Wish;
use crate::domain::step::Stage;
use crate::run::intents::{self, Live};

pub fn run(session: &Session, args: &AskArgs) -> Result<Exit, CliError> {
    let env = session.whole(&args.env)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
        let live = intents::live(&world, &env.name).await?;
        asking::still_forward(&live)?;
        let stage = asked_for(&live)?;
        let (wish, effect) =
            (Wish::Approve { stage: stage.id.clone() }, format!("`{}` is approved", stage.title));
        let intent = asking::ask(session, &world, &live, wish, args.reason.as_deref()).await?;
        asking::heard(session, &world, &live, &intent, &effect).await
    })
}

/// The stage that waits for a person's yes: the present one, never one to come.
fn asked_for(live: &Live) -> Result<&Stage, Failure> {
    let env = &live.plan.environment;
    let nothing = |why: String| {
        Failure::new(Code(633), Exit::Usage, format!("run {} waits for no approval", live.plan.run))
            .why(why)
            .next(format!("deployctl status {env} --watch"))
    };
    let Some(present) = live.stage() else { return Err(nothing("it is at its end".to_owned())) };
    if !waits_for_approval(present) {
        return Err(nothing(format!("it stands at `{}`", present.title)));
    }
    match live.orders().approved.get(&present.id) {
        Some(before) => Err(nothing(format!("`{}` is approved by {}", present.title, before.who()))),
        None => Ok(present),
    }
}
