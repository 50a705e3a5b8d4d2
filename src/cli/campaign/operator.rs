//! Operators of a story: what they ask of the run, from elsewhere, and that they approve what waits for them.

use super::schedule::Ask;
use super::theatre::Elsewhere;
use crate::cli::commands::promote;
use crate::cli::wiring::Simulated;
use crate::domain::environment::{Environment, Strategy};
use crate::domain::intent::Wish;
use crate::domain::release::Actor;
use crate::run::World;
use crate::run::intents::{self, Live};
use std::time::Duration;
use tokio::time::Instant;

/// How often an operator looks whether something waits for approval.
const LOOK: Duration = Duration::from_mins(1);
/// How often an operator types again what was not heard.
const PATIENCE: u32 = 30;

/// Asks what is to be asked, and approves what nobody else does. Never ends.
pub(super) async fn play(simulated: &Simulated, env: &Environment, asks: &[Ask], elsewhere: &dyn Elsewhere) {
    let began = Instant::now();
    let own = asks.iter().any(|ask| ask.wish == "approve");
    let approving = needs_approval(env) && !own;
    if asks.is_empty() && !approving {
        return std::future::pending().await;
    }
    let asking = asks.iter().map(async |ask| {
        tokio::time::sleep_until(began + ask.at).await;
        if ask.wish == "deploy" {
            return elsewhere.second_release().await;
        }
        // Whoever paused a release does not forget it: what was not heard is typed again.
        let tries = if ask.wish == "resume" { PATIENCE } else { 1 };
        for _ in 0..tries {
            if asked(simulated, env, &ask.wish).await {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    let approving = async {
        if approving {
            let (doors, _) = simulated.process(env, "operator");
            approve(&doors, &env.name).await;
        }
    };
    tokio::join!(futures::future::join_all(asking), approving);
    std::future::pending::<()>().await;
}

/// One command, a process of its own; whether the wish was taken down.
async fn asked(simulated: &Simulated, env: &Environment, wished: &str) -> bool {
    let (doors, mut dead) = simulated.process(env, "operator");
    let command = async {
        let Ok(live) = intents::live(&doors, &env.name).await else { return false };
        let Some(wish) = wish(&live, wished) else { return false };
        intents::ask(&doors, &live, wish, who("operator"), None).await.is_ok()
    };
    tokio::select! {
        biased;
        _ = dead.wait_for(|dead| *dead) => false,
        taken = command => taken,
    }
}

/// Whether any hold of a release waits for a person.
fn needs_approval(env: &Environment) -> bool {
    let waits = env.components.iter().any(|component| match &component.strategy {
        Strategy::Canary(canary) => canary.steps.iter().any(|step| step.approve.is_some()),
        _ => false,
    });
    waits || env.approve_waves.is_some()
}

/// Approves what has waited since the last look.
async fn approve(doors: &World, env: &str) {
    let mut seen = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(live) = intents::live(doors, env).await else { continue };
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
