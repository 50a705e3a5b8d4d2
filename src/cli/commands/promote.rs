//! `deployctl promote ENV`: a run that goes on elsewhere holds no longer.

use crate::cli::CliError;
use crate::cli::args::PromoteArgs;
use crate::cli::asking;
use crate::cli::session::Session;
use crate::domain::effect::Effect;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::intent::Wish;
use crate::domain::step::Stage;
use crate::run::intents::Live;

pub fn run(session: &Session, args: &PromoteArgs) -> Result<Exit, CliError> {
    asking::run(session, &args.ask, |live| wish(live, args.full))
}

/// What a promote means where the run stands now.
pub(in crate::cli) fn wish(live: &Live, full: bool) -> Result<(Wish, String), Failure> {
    let env = &live.plan.environment;
    if full {
        return Ok((Wish::PromoteFull, "goes on to the end without holding again".to_owned()));
    }
    let Some(present) = live.stage() else {
        return Ok((Wish::Resume, "goes on".to_owned()));
    };
    let approved = live.orders().approved;
    if waits_for_approval(present) && !approved.contains_key(&present.id) {
        return Err(Failure::new(Code(631), Exit::Usage, format!("`{}` waits for approval", present.title))
            .why("a promote shortens holds; it does not stand for an approval")
            .next(format!("deployctl approve {env}")));
    }
    // A pause is what stands against going on, wherever the run is.
    if live.orders().pause.is_some() && !holds(present) {
        return Ok((Wish::Resume, format!("goes on with `{}`", present.title)));
    }
    if holds(present) {
        let effect = format!("`{}` is over for it, the run goes on", present.title);
        return Ok((Wish::Promote { stage: present.id.clone() }, effect));
    }
    // Somebody else may have promoted a moment ago: nobody has seen the next hold yet.
    let after = live.plan.stages.iter().skip_while(|stage| stage.id != present.id);
    let failure = Failure::new(Code(632), Exit::Usage, format!("run {} does not hold now", live.plan.run));
    Err(match after.into_iter().find(|stage| holds(stage)) {
        Some(next) => failure
            .why(format!("it is at `{}`, on its way to `{}`", present.title, next.title))
            .next(format!("deployctl status {env} --watch"))
            .next(format!("deployctl promote {env}, once it holds there"))
            .next(format!("deployctl promote {env} --full, to hold no more at all")),
        None => failure
            .why(format!("it is at `{}`, and no hold comes after it", present.title))
            .next(format!("deployctl status {env} --watch")),
    })
}

/// Whether a stage is a hold.
pub(in crate::cli) fn holds(stage: &Stage) -> bool {
    stage.steps.iter().any(|step| matches!(step.effect, Effect::Hold { .. }))
}

/// Whether a stage needs a person's yes.
pub(in crate::cli) fn waits_for_approval(stage: &Stage) -> bool {
    stage
        .steps
        .iter()
        .any(|step| matches!(&step.effect, Effect::Hold { until, .. } if until.approval.is_some()))
}
