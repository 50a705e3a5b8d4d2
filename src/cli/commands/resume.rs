//! `deployctl resume ENV`: goes on with a run that stopped in the middle, from any machine.

use crate::cli::CliError;
use crate::cli::args::ResumeArgs;
use crate::cli::session::Session;
use crate::cli::{consent, flow, wiring};
use crate::domain::error::{Code, Exit, Failure};
use crate::run::journal::Phase;
use crate::run::lease::Patience;
use crate::run::{prepare, unfinished};

pub fn run(session: &Session, args: &ResumeArgs) -> Result<Exit, CliError> {
    let env = session.place(&args.place)?;
    flow::block_on(async {
        let world = wiring::real(&env).await?;
        prepare::reach(&world).await?;
        let Some(run) = unfinished::latest(&world).await?.filter(unfinished::Run::is_unfinished) else {
            return Err(Failure::new(Code(614), Exit::Usage, format!("{} has no unfinished run", env.name))
                .next(format!("deployctl status {}", env.name))
                .into());
        };
        let back = match &run.replayed.phase {
            Phase::Aborting { cause } => Some(cause.clone()),
            Phase::Forward | Phase::Interrupted | Phase::Ended { .. } => None,
        };
        let what = if back.is_some() { "Finish taking back" } else { "Go on deploying" };
        consent::ask(&format!("{what} {} on {}?", run.plan.version, env.name), args.consent.auto_approve)?;
        let patience = flow::patience(args.consent.wait.as_deref(), Patience::UntilLapsed)?;
        let reporter = flow::reporter(session, &run.plan, false);
        let ending = flow::interruptible(&reporter, &world, async |interrupts| {
            flow::go_on(session, &world, &run, patience, back, &reporter, interrupts).await
        })
        .await?;
        Ok(flow::exit_of(&ending))
    })
}
