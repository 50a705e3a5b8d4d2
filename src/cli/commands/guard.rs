//! `deployctl guard ENV`: puts traffic on stable when the machine of a run dies in the middle.

mod manifest;
mod rights;

use crate::cli::CliError;
use crate::cli::args::GuardArgs;
use crate::cli::session::{Session, actor};
use crate::cli::{flow, signals, wiring};
use crate::domain::environment::{Environment, Platform};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::event::{Event, Kind};
use crate::domain::release::Actor;
use crate::run::guard::{BEAT, Guard, Pulse, Round};
use crate::run::{Report, World};
use jiff::Timestamp;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;

/// From one try to find a way to the clusters to the next.
const RETRY: Duration = Duration::from_secs(10);
/// How old the heartbeat file of a living guard may be.
const STALE: Duration = Duration::from_mins(1);

pub fn run(session: &Session, args: &GuardArgs) -> Result<Exit, CliError> {
    if args.manifest {
        return manifest::print(session, args);
    }
    if let (true, Some(file)) = (args.check, &args.heartbeat_file) {
        return Ok(check(session, file));
    }
    let env = session.place(&args.place)?;
    if matches!(env.platform, Platform::Compose { .. }) {
        let what = format!("{} has no cluster whose runs could be watched", env.name);
        return Err(Failure::new(Code(660), Exit::Usage, what)
            .next(format!("deployctl resume {}, where a run stopped in the middle", env.name))
            .into());
    }
    if args.in_cluster && env.targets.len() != 1 {
        let names = env.targets.iter().map(|target| target.id.to_string()).collect::<Vec<_>>();
        let what = "a guard inside a cluster watches one target";
        return Err(Failure::new(Code(660), Exit::Usage, what)
            .why(format!("{} has: {}", env.name, names.join(", ")))
            .next(format!("deployctl guard {} --in-cluster --target {}", env.name, names[0]))
            .into());
    }
    let by = Actor { user: "guard".to_owned(), ..actor() };
    flow::block_on(async {
        let (world, closed) = wiring::guarding(&env, args.in_cluster).await?;
        for failure in &closed {
            session.note(&format!("warning: {}: {}\n", failure.what, failure.why.join("; ")));
        }
        let log = Log { session };
        if args.once {
            return once(&env, &world, by, &log).await;
        }
        let pulse = Pulse::new(&world, &by);
        let (stop, stopped) = watch::channel(false);
        tokio::select! {
            () = watch_on(session, &env, args, &by, stopped) => {
                pulse.end(&world).await;
                Ok(Exit::Done)
            }
            () = beat(session, &pulse, &world, args.heartbeat_file.as_deref()) => unreachable!("it beats for ever"),
            error = signals::end(stop) => Err(Failure::new(Code(1), Exit::Internal, "signals cannot be received")
                .why(error.to_string())
                .into()),
        }
    })
}

async fn once(env: &Environment, world: &World, by: Actor, log: &Log<'_>) -> Result<Exit, CliError> {
    match Guard::new(env, world, by, log).once().await {
        Round::Quiet => {
            log.session.say("no run needs a guard now");
            Ok(Exit::Done)
        }
        Round::Stable { .. } => Ok(Exit::Interrupted),
        Round::Incomplete { unknown: false, .. } => Ok(Exit::Broken),
        Round::Incomplete { unknown: true, .. } => Ok(Exit::Unknown),
        Round::Silent => Err(Failure::new(Code(610), Exit::Unknown, "no target gives an answer")
            .next(format!("deployctl status {}", env.name))
            .into()),
    }
}

/// Watches until it is told to stop. After it has acted it begins anew with new doors: what an act needed to follow (pods,
/// routes) is not followed for weeks.
async fn watch_on(
    session: &Session,
    env: &Environment,
    args: &GuardArgs,
    by: &Actor,
    mut stop: watch::Receiver<bool>,
) {
    let log = Log { session };
    let names = env.targets.iter().map(|target| target.id.to_string()).collect::<Vec<_>>();
    session.say(&format!("guard (host {}) watches {} on {}", by.host, env.name, names.join(", ")));
    while !*stop.borrow() {
        match wiring::guarding(env, args.in_cluster).await {
            Ok((world, _)) => {
                Guard::new(env, &world, by.clone(), &log).watch(&mut stop).await;
            }
            Err(failure) => {
                session.note(&format!("warning: {}: {}\n", failure.what, failure.why.join("; ")));
                let _ = tokio::time::timeout(RETRY, stop.wait_for(|stop| *stop)).await;
            }
        }
    }
}

/// Signs of life, for runs (a Lease on every target) and for a probe of the pod (a file).
async fn beat(session: &Session, pulse: &Pulse, world: &World, file: Option<&Path>) {
    let mut told = false;
    loop {
        pulse.beat(world).await;
        if let Some(file) = file
            && let Err(error) = std::fs::write(file, world.clock.now().to_string())
            && !std::mem::replace(&mut told, true)
        {
            session.note(&format!("warning: {} cannot be written: {error}\n", file.display()));
        }
        tokio::time::sleep(BEAT).await;
    }
}

fn check(session: &Session, file: &Path) -> Exit {
    let written = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<Timestamp>().ok());
    let age = written.map(|at| wiring::now().duration_since(at).unsigned_abs());
    let alive = age.is_some_and(|age| age < STALE);
    session.say(if alive { "the guard is alive" } else { "the guard shows no sign of life" });
    if alive { Exit::Done } else { Exit::Internal }
}

/// What a guard tells, one line each: it may run for weeks without a terminal.
struct Log<'a> {
    session: &'a Session,
}

impl Report for Log<'_> {
    fn event(&self, event: &Event) {
        if self.session.json() {
            let line = serde_json::to_string(event).expect("events hold nothing that JSON cannot");
            return self.session.print(&format!("{line}\n"));
        }
        let at = event.at.strftime("%Y-%m-%d %H:%M:%SZ");
        let text = match &event.kind {
            Kind::Alert { severity, target: Some(target), message } => {
                format!("{severity}: {target}: {message}")
            }
            Kind::Alert { severity, target: None, message } => format!("{severity}: {message}"),
            Kind::StepUndone { target, title, .. } => format!("{target}: taken back: {title}"),
            Kind::UndoFailed { target, title, cause, .. } => {
                format!("{target}: not taken back: {title}: {cause}")
            }
            Kind::StepProgress { target, detail, .. } => format!("{target}: {detail}"),
            _ => return,
        };
        self.session.say(&format!("{at} {text}"));
    }
}
