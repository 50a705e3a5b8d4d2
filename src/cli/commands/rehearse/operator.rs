//! Operators of a rehearsal: what they ask of the run, from elsewhere, and that they approve what waits for them.

use crate::cli::commands::promote;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::intent::Wish;
use crate::domain::release::Actor;
use crate::domain::units;
use crate::plan::Plan;
use crate::run::World;
use crate::run::intents::{self, Live};
use std::time::Duration;
use tokio::time::Instant;

/// How often an operator looks whether something waits for approval.
const LOOK: Duration = Duration::from_mins(1);
/// What can be asked.
const WISHES: [&str; 6] = ["promote", "promote-full", "pause", "resume", "approve", "abort"];

/// Something to be asked at a virtual time after the run's begin.
#[derive(Debug)]
pub(super) struct Ask {
    wish: String,
    at: Duration,
}

/// Reads `pause@12m`.
pub(super) fn read(text: &str) -> Result<Ask, Failure> {
    let wrong = |why: String| {
        Failure::new(Code(714), Exit::Usage, format!("--ask {text} cannot be read"))
            .why(why)
            .next(format!("write WISH@TIME, e.g. pause@12m; wishes: {}", WISHES.join(", ")))
    };
    let Some((wish, at)) = text.split_once('@') else { return Err(wrong("there is no `@`".to_owned())) };
    if !WISHES.contains(&wish) {
        return Err(wrong(format!("`{wish}` cannot be asked")));
    }
    Ok(Ask { wish: wish.to_owned(), at: units::parse_duration(at).map_err(wrong)? })
}

/// Asks what is to be asked, and approves what nobody else does. Never ends.
pub(super) async fn play(doors: &World, plan: &Plan, mut asks: Vec<Ask>) {
    let began = Instant::now();
    asks.sort_by_key(|ask| ask.at);
    let asking = async {
        for ask in &asks {
            tokio::time::sleep_until(began + ask.at).await;
            if let Ok(live) = intents::live(doors, &plan.environment).await
                && let Some(wish) = wish(&live, &ask.wish)
            {
                let _ = intents::ask(doors, &live, wish, who("operator"), None).await;
            }
        }
    };
    let own = asks.iter().any(|ask| ask.wish == "approve");
    let waits = plan.stages.iter().any(promote::waits_for_approval) && !own;
    let approving = async {
        if waits {
            approve(doors, plan).await;
        }
    };
    tokio::join!(asking, approving);
    std::future::pending::<()>().await;
}

/// Approves what has waited since the last look.
async fn approve(doors: &World, plan: &Plan) {
    let mut seen = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(live) = intents::live(doors, &plan.environment).await else { continue };
        let stage =
            live.stage().filter(|stage| promote::waits_for_approval(stage)).map(|stage| stage.id.clone());
        if let Some(stage) = stage.clone().filter(|stage| seen.as_ref() == Some(stage))
            && !live.orders().approved.contains_key(&stage)
        {
            let _ = intents::ask(doors, &live, Wish::Approve { stage }, who("rehearsal"), None).await;
        }
        seen = stage;
    }
}

fn wish(live: &Live, name: &str) -> Option<Wish> {
    Some(match name {
        "promote" => promote::wish(live, false).ok()?.0,
        "promote-full" => Wish::PromoteFull,
        "pause" => Wish::Pause,
        "resume" => Wish::Resume,
        "approve" => Wish::Approve { stage: live.stage()?.id.clone() },
        _ => Wish::Abort { superseded_by: None },
    })
}

fn who(user: &str) -> Actor {
    Actor { user: user.to_owned(), host: "elsewhere".to_owned(), ci: None }
}
