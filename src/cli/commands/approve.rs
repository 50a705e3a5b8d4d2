//! `deployctl approve ENV`: what a run waits for is approved.

use super::promote::waits_for_approval;
use crate::cli::CliError;
use crate::cli::args::AskArgs;
use crate::cli::asking;
use crate::cli::session::Session;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::intent::Wish;
use crate::domain::step::Stage;
use crate::run::intents::Live;

pub fn run(session: &Session, args: &AskArgs) -> Result<Exit, CliError> {
    asking::run(session, args, |live| {
        let stage = asked_for(live)?;
        Ok((Wish::Approve { stage: stage.id.clone() }, format!("`{}` is approved", stage.title)))
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
