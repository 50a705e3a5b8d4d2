//! `deployctl rehearse ENV`: the whole deployment by the same code, against a simulated world, in virtual time.

mod operator;

use crate::cli::CliError;
use crate::cli::args::RehearseArgs;
use crate::cli::flow;
use crate::cli::report::svg::Recorder;
use crate::cli::report::{Facts, Reporter};
use crate::cli::session::{Session, Wanted};
use crate::cli::unsimulated;
use crate::cli::wiring::{self, Simulated};
use crate::domain::environment::{Bake, Environment, Platform};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::event::{Event, Kind};
use crate::domain::object::Object;
use crate::domain::release::Actor;
use crate::domain::units;
use crate::run::guard::{BEAT, Guard, Pulse};
use crate::run::lease::Patience;
use crate::run::{Ending, Report, prepare};
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;

pub fn run(session: &Session, args: &RehearseArgs) -> Result<Exit, CliError> {
    if args.list_faults {
        list_faults(session);
        return Ok(Exit::Done);
    }
    let env = args.env.as_deref().unwrap_or_default();
    let mut wanted = session.wanted(env, &args.targets, &args.release)?;
    unsimulated::spare(session, &mut wanted.env);
    let faults = wiring::faults(&args.faults)?;
    let asks = args.asks.iter().map(|text| operator::read(text)).collect::<Result<Vec<_>, _>>()?;
    let interrupt_at = args.interrupt_at.as_deref().map(parse_time).transpose()?;
    virtual_time(async {
        let simulated = wiring::simulated(&wanted.env, args.seed, &routed(&wanted));
        let story = async {
            if !args.from_nothing {
                baseline(session, &wanted, &simulated).await?;
            }
            simulated.arm(&faults);
            release(session, &wanted, &simulated, args, interrupt_at, asks).await
        };
        let result = tokio::select! {
            biased;
            result = story => result,
            () = guard(&wanted.env, &simulated) => unreachable!("a guard watches on"),
            () = simulated.run() => unreachable!("the world never ends"),
        };
        // the process ends here: to take a whole world apart first would be waiting for nothing
        std::mem::forget(simulated);
        result
    })
}

/// Where the environment has a guard, one watches the rehearsal, too.
async fn guard(env: &Environment, simulated: &Simulated) {
    if env.guard.is_none() {
        return std::future::pending().await;
    }
    let doors = &simulated.doors;
    let by = Actor { user: "guard".to_owned(), host: "elsewhere".to_owned(), ci: None };
    let (pulse, (_stop, mut stopped)) = (Pulse::new(doors, &by), watch::channel(false));
    let mut guard = Guard::new(env, doors, by, &Silence);
    let beats = async {
        loop {
            pulse.beat(doors).await;
            tokio::time::sleep(BEAT).await;
        }
    };
    let watches = async {
        loop {
            guard.watch(&mut stopped).await;
        }
    };
    tokio::join!(beats, watches);
}

fn list_faults(session: &Session) {
    for (form, what) in wiring::known_faults() {
        if session.json() {
            session.print(&format!("{}\n", serde_json::json!({"type": "fault", "form": form, "what": what})));
        } else {
            session.print(&format!("{form:<44} {what}\n"));
        }
    }
}

/// Time stands still while anything can run, and jumps when all wait.
fn virtual_time<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.map_err(|error| {
        CliError::from(
            Failure::new(Code(1), Exit::Internal, "the runtime cannot start").why(error.to_string()),
        )
    })?;
    runtime.block_on(work)
}

fn parse_time(text: &str) -> Result<Duration, Failure> {
    units::parse_duration(text).map_err(|why| Failure::new(Code(706), Exit::Usage, why))
}

/// Components that a route leads to: users send requests to these.
fn routed(wanted: &Wanted) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let is_route = |object: &&Object| matches!(object.kind(), "Ingress" | "HTTPRoute" | "VirtualService");
    for object in wanted.rendered.values().flatten().filter(is_route) {
        let name = object.component.as_ref().map(ToString::to_string).unwrap_or_default();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The release before, brought there by the same code; then users for a while, so that gates have something to compare.
async fn baseline(session: &Session, wanted: &Wanted, simulated: &Simulated) -> Result<(), CliError> {
    let mut before = Wanted {
        env: wanted.env.clone(),
        version: version_before(&wanted.version),
        components: wanted.components.clone(),
        rendered: std::collections::BTreeMap::new(),
        prune: Vec::new(),
    };
    before.components.clear();
    before.env.version = Some(before.version.clone());
    if !matches!(before.env.platform, Platform::Compose { .. }) {
        before.rendered = crate::render::render_targets(&before.env, &before.version)?;
    }
    // What comes before the story needs neither backups nor waiting.
    before.env.backup.rds.clear();
    before.env.terraform = None;
    before.env.bake = Bake::default();
    before.env.approve_waves = None;
    let request = flow::request(&before, None, None);
    let plan = prepare::plan(&simulated.doors, &request).await?;
    let (_count, interrupts) = watch::channel(0);
    let ending =
        flow::perform(session, &simulated.doors, &request, &plan, Patience::None, &Silence, interrupts)
            .await?;
    if ending != Ending::Deployed {
        let why = format!("{ending:?}");
        return Err(Failure::new(
            Code(712),
            Exit::RolledBack,
            "the manifests do not come up in the simulated world",
        )
        .why(why)
        .next(format!("deployctl rehearse {} --from-nothing shows how", wanted.env.name))
        .into());
    }
    tokio::time::sleep(flow::WARM_UP).await;
    Ok(())
}

/// One patch version below; `0` for what is no version.
fn version_before(version: &str) -> String {
    let Some((head, patch)) = version.rsplit_once('.') else { return format!("{version}-before") };
    match patch.parse::<u64>() {
        Ok(number) if number > 0 => format!("{head}.{}", number - 1),
        _ => format!("{version}-before"),
    }
}

struct Silence;

impl Report for Silence {
    fn event(&self, _: &Event) {}
}

async fn release(
    session: &Session,
    wanted: &Wanted,
    simulated: &Simulated,
    args: &RehearseArgs,
    interrupt_at: Option<Duration>,
    asks: Vec<operator::Ask>,
) -> Result<Exit, CliError> {
    let doors = &simulated.doors;
    let request = flow::request(wanted, None, args.consent.reason.as_deref());
    let plan = prepare::plan(doors, &request).await?;
    flow::preflight(session, wanted, doors, &plan).await?;
    if !flow::approve(session, &plan, &args.consent)? {
        return Ok(Exit::Done);
    }
    let before = simulated.requests();
    let reporter = flow::reporter(session, &plan, true);
    let title = format!("deployctl rehearse {} --auto-approve", plan.environment);
    let recorder = args.record.as_ref().map(|_| Recorder::new(&title, Facts::of(&plan, true)));
    if let Some(recorder) = &recorder {
        recorder.show(doors.clock.now(), &format!("$ {title}\n"));
    }
    let firing = Firing { inner: &reporter, recorder: recorder.as_ref(), simulated };
    let (count, interrupts) = watch::channel(0);
    let run = flow::perform(session, doors, &request, &plan, Patience::None, &firing, interrupts);
    let operator = async {
        if let Some(at) = interrupt_at {
            tokio::time::sleep(at).await;
            count.send_replace(1);
        }
        std::future::pending::<()>().await;
    };
    let ending = tokio::select! {
        biased;
        ending = run => ending?,
        () = operator::play(doors, &plan, asks) => unreachable!("an operator never ends"),
        () = operator => unreachable!("an operator never ends"),
    };
    told(session, simulated, before);
    if let (Some(path), Some(recorder)) = (&args.record, &recorder) {
        write_picture(session, path, &recorder.finish())?;
    }
    Ok(flow::exit_of(&ending))
}

/// What the users noticed.
fn told(session: &Session, simulated: &Simulated, before: (u64, u64)) {
    let (requests, failed) = simulated.requests();
    let (requests, failed) = (requests - before.0, failed - before.1);
    if session.json() {
        let line = serde_json::json!({"type": "simulated_traffic", "requests": requests, "failed": failed});
        session.print(&format!("{line}\n"));
    } else if requests > 0 {
        session.print(&format!("users sent {requests} requests meanwhile; {failed} of them failed\n"));
    }
}

fn write_picture(session: &Session, path: &Path, picture: &str) -> Result<(), CliError> {
    std::fs::write(path, picture).map_err(|error| {
        Failure::new(Code(311), Exit::Usage, format!("{} cannot be written", path.display()))
            .why(error.to_string())
    })?;
    session.note(&format!("recorded: {}\n", path.display()));
    Ok(())
}

/// Passes events on, and begins the faults that wait for where the run has come to.
struct Firing<'a> {
    inner: &'a Reporter,
    recorder: Option<&'a Recorder>,
    simulated: &'a Simulated,
}

impl Report for Firing<'_> {
    fn event(&self, event: &Event) {
        match &event.kind {
            Kind::StageStarted { stage, .. } => {
                self.simulated.fire(&format!("stage:{stage}"));
            }
            Kind::StageFinished { weight, wave, .. } if *weight > 0 => {
                self.simulated.fire(&format!("weight:{weight}"));
                self.simulated.fire(&format!("wave:{wave}"));
            }
            Kind::StepStarted { step, .. } => {
                self.simulated.fire(&format!("step:{step}"));
            }
            _ => {}
        }
        self.inner.event(event);
        if let Some(recorder) = self.recorder {
            recorder.event(event);
        }
    }
}
